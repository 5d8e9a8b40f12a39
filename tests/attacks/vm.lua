--- # Loops without end
--- In the VM, in pcall, in coroutines, in C functions.

--# case: while
while true do end

--# case: pcall
while true do pcall(function() while true do end end) end

--# case: coroutine.wrap
while true do local f = coroutine.wrap(function() while true do coroutine.yield(1) end end) for i = 1, 100 do f() end end

--# case: recursion
local function f(n) if n > 0 then f(n - 1) f(n - 1) end end f(60)

--# case: string.find
local s = ('a'):rep(1000000) return (s:find(('a*'):rep(30) .. 'b'))

--# case: string.find of lazy repeats
local s = ('a'):rep(30000) return (s:find(('.-'):rep(8) .. 'b'))

--# case: string.find of plain text
local s = ('a'):rep(10000000) local p = ('a'):rep(100000) .. 'b' while true do s:find(p, 1, true) end

--# case: string.rep
while true do local s = ('abc'):rep(10000000) end

--# case: table.concat
local t = {} for i = 1, 100000 do t[i] = 'x' end while true do table.concat(t) end

--# case: table.sort
local t = {} for i = 1, 200000 do t[i] = (i * 7919) % 1000003 end while true do table.sort(t) end

--# case: string.gsub
local s = ('ab'):rep(1000000) while true do s:gsub('a', 'b') end

--# case: table.move
local t = {} for i = 1, 500000 do t[i] = i end while true do table.move(t, 1, 500000, 2) end

--# case: table.insert
local t = {} for i = 1, 500000 do t[i] = i end while true do table.insert(t, 1, 0) end

--# case: table.unpack
local t = {} for i = 1, 200000 do t[i] = i end while true do table.unpack(t) end

--# case: collectgarbage
local t = {} for i = 1, 300000 do t[i] = {} end while true do collectgarbage() end

--# case: comparing strings
local a, b = ('a'):rep(20000000) .. 'b', ('a'):rep(20000000) .. 'c' while true do if a < b then end end

--# case: equal strings
local a, b = ('a'):rep(20000000) .. 'b', ('a'):rep(20000000) .. 'b' while true do if a == b then end end

--# case: load
local s = 'return ' .. ('1+'):rep(100000) .. '1' while true do load(s) end

--# case: utf8.len
local s = ('a'):rep(20000000) while true do utf8.len(s) end

--# case: string.reverse
local s = ('a'):rep(20000000) while true do s:reverse() end

--# case: string.format
while true do string.format('%99.99f', 1e308) end

--# case: next
local t = {} for i = 1, 300000 do t[i] = i end for i = 1, 300000 do t[i] = nil end while true do next(t) end

--# case: tonumber
local s = ('1'):rep(20000000) while true do tonumber(s) end

--# case: __index
local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) pcall(function() return t[1] end) while true do end

--# case: coroutine.resume
local co = coroutine.create(function() while true do end end) coroutine.resume(co)

--# case: table.sort with a function
table.sort({ 3, 2, 1 }, function(a, b) while true do end end)

--# case: string.gsub with a function
('x'):gsub('x', function() while true do end end)

--# case: __gc
setmetatable({}, { __gc = function() while true do end end }) collectgarbage() while true do end

--# case: __close
local t <close> = setmetatable({}, { __close = function() while true do end end })

--# case: string.pack
while true do string.pack('z', ('a'):rep(1000000)) end

--# case: json.encode
json.encode((function() local t = {} for i = 1, 100000 do t[i] = i end while true do json.encode(t) end end)())
