-- What only the patched Lua can do (in stock Lua, 'sleep' returns at once):
-- status of suspended coroutines, several tasks, blocking.
local _, _, patched = stats()

-- several tasks take turns, also from inside other coroutines
do
  local log = {}
  local function worker(name)
    return function()
      local gen = coroutine.wrap(function()
        for i = 1, 3 do sleep() coroutine.yield(i) end
      end)
      for i in gen do log[#log + 1] = name .. i end
      log[#log + 1] = name .. '.'
    end
  end
  spawn(worker 'a') spawn(worker 'b')
  while #log < 8 do sleep() if not patched then break end end
  if patched then
    local s = table.concat(log, ' ')
    assert(#log == 8 and s:find('a1.*b3') and s:find('b1.*a3'), s)
  end
end

-- a coroutine suspended for the host is "normal" for everybody else
do
  local co, w, outer
  local go = false
  co = coroutine.create(function() while not go do sleep() if not patched then break end end return 'done' end)
  outer = coroutine.create(function() return coroutine.resume(co) end)
  local res
  spawn(function() res = table.pack(coroutine.resume(outer)) end)
  if patched then
    while coroutine.status(outer) == 'suspended' or coroutine.status(co) == 'suspended' do sleep() end
    for _, c in ipairs{co, outer} do
      assert(coroutine.status(c) == 'normal')
      local ok, msg = coroutine.resume(c)
      assert(not ok and msg == 'cannot resume non-suspended coroutine')
      ok, msg = pcall(coroutine.close, c)
      assert(not ok and msg:find('cannot close a normal coroutine'))
      assert(coroutine.isyieldable(c))
      assert(debug.traceback(c):find('stack traceback'))
    end
    go = true
    while not res do sleep() end
    assert(res[1] and res[2] and res[3] == 'done')
    assert(coroutine.status(co) == 'dead' and coroutine.close(co))
  end
  local started
  local w = coroutine.wrap(function() started = true while patched and go do sleep() end end)
  local busy = true
  spawn(function() w() busy = false end)
  if patched then
    while not started do sleep() end
    local ok, msg = pcall(w)
    assert(not ok and msg:find('cannot resume non-suspended coroutine', 1, true), msg)
    go = false
    while busy do sleep() end
  end
end

-- where a suspension cannot go outward, it blocks
do
  local before = stats()
  local function s(v) return coroutine.wrap(function() sleep() return v end)() end
  local t = {3, 1, 2}
  table.sort(t, function(a, b) return s(a) < s(b) end)
  assert(table.concat(t) == '123')
  assert(('abc'):gsub('.', function(c) return s(c .. '-') end) == 'a-b-c-')
  local closed
  local co = coroutine.create(function()
    local x <close> = setmetatable({}, {__close = function() closed = s(1) end})
    coroutine.yield()
  end)
  coroutine.resume(co)
  assert(coroutine.close(co) and closed == 1)
  local collected
  setmetatable({}, {__gc = function() collected = s(2) end})
  collectgarbage()
  assert(collected == 2)
  assert(tostring(setmetatable({}, {__tostring = function() return s('x') end})) == 'x')
  assert((stats() > before) == patched)
end

-- errors and varargs through suspended coroutines
do
  local function pass(...) sleep() return ... end
  local co = coroutine.create(function(...)
    local r = table.pack(pass(coroutine.yield(pass(...))))
    error(r, 0)
  end)
  local a, b, c, d = coroutine.resume(co, 1, nil, 3)
  assert(a and b == 1 and c == nil and d == 3)
  local ok, e = coroutine.resume(co, nil, 2, nil)
  assert(not ok and e.n == 3 and e[2] == 2 and coroutine.status(co) == 'dead')
  local w = coroutine.wrap(function() sleep() local x = nil; return x.y end)
  ok, e = pcall(w)
  assert(not ok and e:find('attempt to index a nil value'))
  ok, e = pcall(w)
  assert(not ok and e:find('cannot resume dead coroutine'))
end

-- the count hook sees every instruction once
do
  local n = 0
  local function f() local s = 0 for i = 1, 100 do s = s + i end while s > 0 do s = s - 50 end return s end
  local co = coroutine.create(function()
    debug.sethook(function() n = n + 1 end, '', 1)
    f() f()
    debug.sethook()
  end)
  assert(coroutine.resume(co))
  print('count', n)
end

-- chunks
if patched then
  assert(select(2, load('\27Lua')):find('binary chunk'))
  assert(select(2, load('\27Lua', 'x', 'b')):find('binary chunk'))
end
assert(not load('return 1', 'x', 'b') and load('return 1')() == 1)

-- deep recursion, stack overflow and errors in error handlers
do
  local function f(n) if n == 0 then return 0 end return 1 + f(n - 1) end
  assert(f(10000) == 10000)
  local function g() return 1 + g() end
  local ok, e = pcall(g)
  assert(not ok and e:find('stack overflow'))
  ok, e = coroutine.resume(coroutine.create(g))
  assert(not ok and e:find('stack overflow'))
  ok, e = xpcall(error, function(m) error(m) end, 'x')
  assert(not ok)
  local n = 0
  for i = 1, 100 do
    if not pcall(error) then n = n + 1 end
    if not pcall(pcall) then n = n + 1 end
  end
  assert(n == 200)
end
print 'ok'
