--- # What makes the host hold memory
--- Each builtin that takes bytes or gives them, with as many as it will. `big` is a text of 8 MiB, `many` makes many calls at a
--- time of which each may fail: see `attacks.rs`. The directive `stderr` has a word of the error that it must end in; without
--- one it may succeed.

--# case: crypto
--# stderr: --host-memory
many(20, function() crypto.jwt_sign({x = big}, ('k'):rep(32), 'HS256') end)

--# case: crypto
--# stderr: too many for a key
many(20, function() crypto.jwt_sign({x = 1}, big, 'HS256') end)

--# case: crypto
--# stderr: --host-memory
many(10, function() crypto.encrypt(('k'):rep(32), big, {aad = big}) end)

--# case: crypto
many(20, function() crypto.decrypt(('k'):rep(32), big) end)

--# case: crypto
many(20, function() crypto.hash(big, 'sha256') crypto.random(1 << 18) end)

--# case: crypto
local t = {} for i = 1, 200000 do t[i] = 0 end
crypto.jwt_verify('a.b.c', {keys = t})

--# case: crypto
--# allow: fs
--# stderr: --host-memory
many(20, function() crypto.hash_file(big, 'sha256') end)

--# case: crypto
--# allow: fs
async.timeout(1, function() many(300, function() crypto.hash_file('sparse') end) end)

--# case: fs
--# allow: fs
--# stderr: memory
fs.read('sparse')

--# case: fs
--# allow: fs
--# stderr: memory
many(300, function() return #fs.read('sparse') end)

--# case: fs
--# allow: fs
many(20, function(i) fs.write('out' .. i % 4, big) end)

--# case: fs
--# allow: fs
many(3, function() fs.read(big) end)

--# case: fs
--# allow: fs
--# stderr: --host-memory
many(10, function() fs.copy(big, big) end)

--# case: fs
--# allow: fs
many(20, function() fs.glob(big) end)

--# case: fs
--# allow: fs
many(300, function(i) fs.copy('small', 'copy' .. i) end)

--# case: fs
--# allow: fs
fs.glob('many/*')

--# case: fs
--# allow: fs
--# stderr: --host-memory
big = nil many(20, function() return #fs.glob('many/*') end)

--# case: fs
--# allow: fs
--# stderr: memory
big = nil many(20, function() return #fs.readdir('many') end)

--# case: io
--# allow: fs
--# stderr: memory
for line in io.lines('sparse') do end

--# case: io
--# allow: fs
local f = io.open('out', 'w') many(20, function() f:write(big) f:seek('set') end)

--# case: disk
--# allow: disk,fs
--# stderr: --host-memory
many(20, function() disk.usage(big) end)

--# case: tar
--# allow: fs
--# stderr: --host-memory
many(10, function() tar.extract(big, big) end)

--# case: tar
--# allow: fs
many(10, function(i) tar.create('t' .. i % 4 .. '.tar', {a = big, b = big}) end)

--# case: tar
--# allow: fs
big = nil fs.write('b.tar.gz', compress.gzip(('\0'):rep(40 << 20)))
many(100, function(i) tar.extract('b.tar.gz', 'x' .. i) end)

--# case: compress
--# allow: fs
--# stderr: --host-memory
many(10, function() compress.pack_file(big, big, {format = 'gz'}) end)

--# case: compress
--# allow: fs
many(300, function(i) compress.pack_file('small', 's' .. i .. '.xz') end)

--# case: compress
many(20, function() return #compress.gzip(big) end)

--# case: compress
many(4, function() return #compress.xz(big) end)

--# case: compress
many(4, function() return #compress.zstd(big, {level = 15}) end)

--# case: compress
--# stderr: --host-memory
compress.zstd(big, {level = 19})

--# case: compress
--# stderr: memory
local z = compress.zstd(('x'):rep(20 << 20)) big = nil
many(50, function() return #compress.unzstd(z) end)

--# case: compress
local z = compress.xz(big, {level = 9})
many(50, function() return #compress.unxz(z) end)

--# case: http
--# allow: http
--# stderr: memory
http.get('http://127.0.0.1:${HTTP_PORT}/endless', {max_body = 0})

--# case: http
--# allow: http
--# stderr: memory
many(20, function()
http.get('http://127.0.0.1:${HTTP_PORT}/endless', {max_body = 0}) end)

--# case: http
--# allow: http
--# stderr: memory
http.get('http://127.0.0.1:${HTTP_PORT}/bomb/200', {max_body = 0})

--# case: http
--# allow: http
--# stderr: header
http.get('http://127.0.0.1:${HTTP_PORT}/headers/10000')

--# case: http
--# allow: http
many(30, function() http.get('http://127.0.0.1:${HTTP_PORT}/headers/400?size=500') end)

--# case: http
--# allow: http
big = nil local open, count = {}, 0
many(300, function(i)
  open[i] = http.get('http://127.0.0.1:${HTTP_PORT}/pile/unread/2000000', {stream = true})
  count = count + 1
end)
http.get('http://127.0.0.1:${HTTP_PORT}/piled/unread/' .. count)

--# case: http
--# allow: http
big = nil local open, count = {}, 0
many(300, function(i)
  open[i] = http.get('http://127.0.0.1:${HTTP_PORT}/pile/begun/2000000', {stream = true})
  count = count + 1
  open[i].body:read(1)
end)
http.get('http://127.0.0.1:${HTTP_PORT}/piled/begun/' .. count)

--# case: http
--# allow: http
--# stderr: --host-memory
many(20, function()
http.post('http://127.0.0.1:${WS_SILENT_PORT}/', big, {timeout = 1}) end)

--# case: http
--# allow: http,fs
many(300, function()
http.post('http://127.0.0.1:${WS_SILENT_PORT}/', nil, {body_file = 'sparse', timeout = 1}) end)

--# case: http
--# allow: http
many(20, function() http.get('http://127.0.0.1:${HTTP_PORT}/' .. big) end)

--# case: http
--# allow: http
many(20, function()
http.get('http://127.0.0.1:${HTTP_PORT}/', {headers = {a = big}}) end)

--# case: http
--# allow: http
many(20, function()
http.get('https://127.0.0.1:${HTTPS_PORT}/', {ca_cert = big}) end)

--# case: ws
--# allow: ws
local open = {} for i = 1, 100 do
open[i] = ws.connect('ws://127.0.0.1:${WS_PORT}/large?size=1000000') end
ws.recv(ws.connect('ws://127.0.0.1:${WS_PORT}/piled?size=1000000&count=100'))

--# case: ws
--# allow: ws
--# stderr: --host-memory
local c = ws.connect('ws://127.0.0.1:${WS_PORT}/large?size=100000000', {max_message = 0})
ws.recv(c)

--# case: ws
--# allow: ws
local c = ws.connect('ws://127.0.0.1:${WS_PORT}/echo', {max_message = 0})
many(20, function() ws.send(c, big) end)

--# case: ws
--# allow: ws
local open, text = {}, ('x'):rep(1 << 20) big = nil for i = 1, 150 do
open[i] = ws.connect('ws://127.0.0.1:${WS_PORT}/large?size=1') ws.send(open[i], text) end

--# case: ws
--# allow: ws
big = nil local open = {} for i = 1, 150 do
open[i] = ws.connect('ws://127.0.0.1:${WS_PORT}/large?size=1000000') ws.recv(open[i]) end

--# case: oci
--# allow: oci
many(100, function() oci.manifest('${FAKE}/endless:1') end)

--# case: oci
--# allow: oci
many(2, function() oci.manifest('${FAKE}/x:' .. big) end)

--# case: oci
--# allow: oci
--# stderr: --host-memory
many(20, function() oci.mutate('${FAKE}/x:1', '${FAKE}/y:1', {a = big}) end)

--# case: process
--# allow: process
--# stderr: memory
process.run{cmd = '/usr/bin/head',
args = {'-c', '2000000000', '/dev/zero'}, max_output = 1 << 40}

--# case: process
--# allow: process
big = nil many(20, function() return #process.run{cmd = '/usr/bin/head',
args = {'-c', '15000000', '/dev/zero'}}.stdout end)

--# case: process
--# allow: process
--# stderr: memory
many(20, function() process.run{cmd = '/bin/cat', stdin = big} end)

--# case: process
--# allow: process
--# stderr: too long
many(20, function() process.run{cmd = '/bin/true', args = {big}} end)

--# case: shell
--# allow: shell
--# stderr: memory
shell.exec('head -c 2000000000 /dev/zero', {max_output = 1 << 40})

--# case: shell
--# allow: shell
--# stderr: memory
many(20, function() shell.exec('cat', {stdin = big}) end)

--# case: shell
--# allow: shell
--# stderr: too long
many(20, function() shell.exec(big) end)

--# case: pty
--# allow: pty
many(20, function() process.spawn_pty{cmd = '/bin/true', args = {big}} end)

--# case: db
--# allow: db=sqlite::memory:
--# stderr: --host-memory
local all = {} for i = 1, 40 do local c = db.connect('sqlite::memory:')
all[i] = c db.execute(c, 'create table t(x)')
for j = 1, 64 do db.execute(c, 'insert into t values (zeroblob(1000000))') end end

--# case: db
--# allow: db=sqlite::memory:
--# stderr: too big
local c = db.connect('sqlite::memory:', {max_bytes = 1 << 30})
db.query(c, 'select zeroblob(500000000)')

--# case: db
--# allow: db=sqlite::memory:
--# stderr: memory
big = nil many(20, function()
local c = db.connect('sqlite::memory:', {max_bytes = 1 << 30})
return #db.query(c, 'select zeroblob(15000000)') end)

--# case: db
--# allow: db=sqlite::memory:
--# stderr: memory
local c = db.connect('sqlite::memory:') db.query(c,
  'with recursive n(i) as (select 1 union all select i + 1 from n limit 2000000) ' ..
  'select count(*) from (select i, hex(randomblob(100)) h from n order by h)')

--# case: db
--# allow: db=sqlite::memory:
--# stderr: memory
many(20, function()
db.query(db.connect('sqlite::memory:'), 'select ?', {big}) end)

--# case: db
--# allow: db=sqlite::memory:
local c, t = db.connect('sqlite::memory:'), {}
for i = 1, 300000 do t[i] = db.null end db.query(c, 'select ?', t)

--# case: db
--# allow: db
--# stderr: memory
many(20, function()
return #db.query(db.connect('${PG_URL}'), 'select length($1::text)', {big}) end)

--# case: db
--# allow: db
--# stderr: memory
many(20, function()
return #db.query(db.connect('${MY_URL}'), 'select length(?)', {big}) end)

--# case: db
--# allow: db
--# stderr: memory
big = nil local c = db.connect('${PG_URL}', {max_connections = 20})
many(20, function() return #db.query(c, [[select repeat('x', 15000000)]]) end)

--# case: db
--# allow: db
--# stderr: memory
big = nil local c = db.connect('${PG_URL}')
db.execute(c, [[select repeat('x', 500000000)]])

--# case: print
many(20, function() print(big) end)

--# case: log
many(20, function() log.info(big) end)

--# case: log
local t = {} for i = 1, 200000 do t[i] = 0 end log.info('x', {t = t})

--# case: env
many(300, function(i) env.set('A' .. i, ('x'):rep(1 << 16)) end)

--# case: env
--# allow: env
many(20, function() env.get(big) end)

--# case: require
many(2, function() require(big) end)

--# case: cgroup
--# allow: cgroup
many(20, function() cgroup.memory(big) end)

--# case: linux
--# allow: linux
many(300, function() linux.diskstats() end)

--# case: systemd
--# allow: systemd
many(3, function() systemd.unit_status(big) end)

--# case: apt
--# allow: apt
many(20, function() apt.query(big) end)

--# case: async
big = nil many(100000, function() sleep(100) end)
