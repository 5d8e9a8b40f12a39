--- # Waits
--- What waits for others, who never come. They cost no CPU time.

--# case: sleep
sleep(1000)

--# case: sleep in pcall
while true do pcall(sleep, 1000) end

--# case: sleep in a callback
('x'):gsub('x', function() sleep(1000) end)

--# case: sleep in tasks
local t = {} for i = 1, 5000 do t[i] = function() sleep(1000) end end async.all(t)

--# case: process.run
--# allow: process
process.run{cmd = '/usr/bin/sleep', args = {'1000'}}

--# case: process and a full pipe
--# allow: process
local child = process.spawn{cmd = '/usr/bin/sleep', args = {'1000'}, stdin = 'pipe', stdout = 'pipe', stderr = 'pipe'}
while true do child:write(('x'):rep(1 << 16)) end

--# case: process and a pipe that says nothing
--# allow: process
process.spawn{cmd = '/usr/bin/sleep', args = {'1000'}, stdout = 'pipe'}:read()

--# case: a program that ends for no signal
--# allow: process
process.run{cmd = '/bin/sh', args = {'-c', 'trap "" TERM INT HUP; while :; do sleep 1; done'}}

--# case: shell.exec
--# allow: shell
shell.exec('sleep 1000')

--# case: io.popen
--# allow: shell
io.popen('sleep 1000'):read('a')

--# case: terminal
--# allow: process,pty
process.spawn_pty{cmd = '/usr/bin/sleep', args = {'1000'}}:read()
