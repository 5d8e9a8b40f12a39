--- # Output
--- More than a pipe and every buffer takes.

--# case: print
while true do print(('x'):rep(1000)) end

--# case: io.write
io.write(('x'):rep(4000000)) io.stdout:flush()

--# case: print and sleep
print(('x'):rep(4000000)) sleep(1000)

--# case: io.stderr
while true do io.stderr:write(('x'):rep(1000), '\n') end

--# case: log.error
while true do log.error(('x'):rep(1000)) end

--# case: print in pcall
while true do pcall(print, ('x'):rep(100000)) end

--# case: print in a task
async.all({ function() while true do print(('x'):rep(1000)) end end, function() sleep(1000) end })
