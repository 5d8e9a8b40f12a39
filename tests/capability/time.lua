--- # time
--- The clock and waiting. Always granted. Dates are in `os.date` and `os.time`.
---
--- ## time() -> number
--- Seconds since 1970, with a fraction.
---
--- ## sleep(seconds)
--- Waits; other tasks of the run go on meanwhile. From 0 seconds on, fractions allowed; what no clock reaches waits for ever.

--# example: waiting
local before = time()
sleep(0.05)
assert.gt(time() - before, 0.049)

--# case: the clock
assert.eq(math.type(time()), "float")
assert.lt(math.abs(time() - os.time()), 2)

--# case: what cannot be waited for
for _, seconds in ipairs({ -1, 0 / 0, -1 / 0 }) do
  local ok, err = pcall(sleep, seconds)
  assert.eq(ok, false)
  assert.contains(err, "bad argument #1 to 'sleep'")
end
assert.contains(select(2, pcall(sleep)), "number expected")
assert.contains(select(2, pcall(sleep, {})), "number expected")

--# case: waits beyond any clock wait
for _, seconds in ipairs({ math.huge, 1e10, 1e300, 2 ^ 63 }) do
  local ok, err = pcall(async.timeout, 0.02, function() sleep(seconds) end)
  assert.eq(ok, false)
  assert.eq(err.code, "timeout")
  -- What takes less time than that is done.
  assert.eq(async.timeout(seconds, function() sleep(0.01) return "done" end), "done")
  local fired = false
  local handle = async.spawn_interval(function() fired = true end, seconds)
  sleep(0.02)
  handle:cancel()
  assert.eq(fired, false)
end
assert.raises(function() async.timeout(0 / 0, print) end, "number of seconds")
assert.raises(function() async.timeout(-1 / 0, print) end, "number of seconds")

--# case: waiting works in any function
sleep(0)
assert.eq(pcall(sleep, 0.001), true)
assert.eq(coroutine.wrap(function() sleep(0.001) return "done" end)(), "done")
local object = setmetatable({}, {
  __index = function(_, key) sleep(0.001) return key end,
  __add = function() sleep(0.001) return "sum" end,
  __call = function() sleep(0.001) return "called" end,
})
assert.eq(object.field, "field")
assert.eq(object + 1, "sum")
assert.eq(object(), "called")
local list = { 3, 1, 2 }
table.sort(list, function(a, b) sleep(0.001) return a < b end)
assert.eq(table.concat(list), "123")
assert.eq((("abc"):gsub(".", function(c) sleep(0.001) return c:upper() end)), "ABC")
for value in coroutine.wrap(function() for i = 1, 3 do sleep(0.001) coroutine.yield(i) end end) do
  assert.eq(math.type(value), "integer")
end
do
  local guard <close> = setmetatable({}, { __close = function() sleep(0.001) end })
end
