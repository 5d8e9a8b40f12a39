--- # async
--- Tasks: functions that run side by side in one run. Always granted. While one waits (for time, a server, a file),
--- the others go on. Tasks switch at waits only, so between two waits a task has all variables to itself. Every builtin that
--- waits does so from any Lua function: coroutines, metamethods, `pcall`, iterators. When the main script ends,
--- tasks that still run are cancelled.
---
--- An error in a task is raised where it is awaited, with all its fields, and the traceback has the task's own stack and
--- where it was started. If it is not awaited, it is written to stderr at the latest when the main script ends, and the run's exit
--- code is 1. `all`, `race` and `timeout` await all their tasks.
---
--- When a task is cancelled, its `<close>` variables are closed; if closing one waits, all other tasks stand still meanwhile.
---
--- ## async.spawn(fn, ...) -> handle
--- Starts a task that calls `fn(...)`. It first runs when the one that runs now waits. There may be 50,000 tasks at a
--- time; one more is an error with the code `limit`.
---
--- ## async.spawn_interval(fn, ms or {seconds = n}) -> handle
--- Starts a task that calls `fn` every so many milliseconds, until it is cancelled or fails: a number is milliseconds here
--- and seconds everywhere else, `{seconds = 0.5}` says which. The arguments may stand in either order.
---
--- ## handle:await() -> results...
--- Waits until the task has ended and gives what it returned. A second await raises an error. `handle.await()` is the
--- same, so that the function can be passed on.
---
--- ## handle:cancel()
--- Ends the task where it waits, and what it waits for with it. Awaiting it then raises an error. A task that has ended stays
--- as it is.
---
--- ## handle:done() -> boolean
--- Whether it has ended.
---
--- ## async.all(list) -> results
--- Waits for all tasks (functions are started), and gives the first result of each. If one fails, the others are cancelled
--- and its error is raised.
---
--- ## async.race(list) -> results...
--- Waits for the first task that ends, cancels the others, and gives its results or its error.
---
--- ## async.timeout(seconds, fn) -> results...
--- Calls `fn`; after so many seconds it is cancelled and an error with the code `timeout` raised.

--# example: two things at once
local function slow(value)
  sleep(0.01)
  return value
end
local one, two = async.spawn(slow, 1), async.spawn(slow, 2)
assert.eq(one:await() + two:await(), 3)

--# example: all, the fastest, or not too late
local both = async.all({ function() sleep(0.01) return "a" end, function() return "b" end })
assert.eq(both[1] .. both[2], "ab")
assert.eq(async.race({ function() sleep(10) return "slow" end, function() return "fast" end }), "fast")
local ok, err = pcall(async.timeout, 0.01, function() sleep(10) end)
assert.eq(err.code, "timeout")

--# case: results
local function results(...) return select("#", ...), ... end
assert.eq(table.concat({ results(async.spawn(function(...) return ... end, 1, 2, 3):await()) }, " "), "3 1 2 3")
assert.eq(results(async.spawn(function() end):await()), 0)
assert.eq(results(async.spawn(function() return nil, nil end):await()), 2)
local many = table.pack(async.spawn(function() return table.unpack({}, 1, 500) end):await())
assert.eq(many.n, 500)

--# case: await as a bound function
local task = async.spawn(function() sleep(0.001) return "x" end)
local await = task.await
assert.eq(await(), "x")

--# case: a second await is an error
local task = async.spawn(function() return 1 end)
assert.eq(task:done(), false)
assert.eq(task:await(), 1)
assert.eq(task:done(), true)
local ok, err = pcall(task.await, task)
assert.eq(ok, false)
assert.contains(err, "awaited before")

--# case: errors arrive as they were raised
local raised = { code = "mine", detail = { 1 } }
local task = async.spawn(function() sleep(0.001) error(raised) end)
local ok, err = pcall(task.await, task)
assert.eq(ok, false)
assert.eq(err, raised)
ok, err = pcall(async.spawn(function() error("text", 0) end).await)
assert.eq(err, "text")
ok, err = pcall(async.spawn(function() error(nil) end).await)
assert.eq(ok, false)
ok, err = pcall(async.spawn(function() local x = nil; return x.y end).await)
assert.contains(err, "attempt to index a nil value")

--# case: an error that nobody awaits is logged
--# exit: 1
--# stderr: ERROR a task failed and nobody awaited it: nobody saw this
--# stderr: assay: a task failed and nobody awaited it; the log has its error
async.spawn(function() error("nobody saw this", 0) end)
sleep(0.01)
collectgarbage()
collectgarbage()

--# case: it is told at the end where a handle is left
--# exit: 1
--# stderr: assay: a task failed and nobody awaited it: nobody saw this either\nstack traceback:
local task = async.spawn(function() error("nobody saw this either", 0) end)
sleep(0.01)

--# case: an error that was awaited is not logged, nor is the script's own
--# exit: 1
--# stderr: assay: the only one\nstack traceback
local task = async.spawn(function() error("seen", 0) end)
assert.eq(select(2, pcall(task.await)), "seen")
error("the only one", 0)

--# case: many failures take no memory
--# exit: 1
--# stderr: assay: a task failed and nobody awaited it
--# flags: --memory 16MiB --quiet --max-log 1KiB
for _ = 1, 2000 do
  async.spawn(function() error({ text = ("x"):rep(10000) }) end)
  sleep(0)
end

--# case: cancelling ends the wait
local log = {}
local task = async.spawn(function()
  local guard <close> = setmetatable({}, { __close = function() log[#log + 1] = "closed" end })
  log[#log + 1] = "waits"
  sleep(10)
  log[#log + 1] = "never"
end)
sleep(0.001)
task:cancel()
local ok, err = pcall(task.await)
assert.eq(ok, false)
assert.contains(err.message, "cancelled")
assert.eq(table.concat(log, " "), "waits closed")

--# case: cancelling before the first step, after the end, and twice
local ran = false
local early = async.spawn(function() ran = true end)
early:cancel()
early:cancel()
assert.eq(pcall(early.await), false)
assert.eq(ran, false)
local late = async.spawn(function() return "kept" end)
sleep(0.001)
late:cancel()
assert.eq(late:await(), "kept")

--# case: intervals, in both orders of arguments
for _, order in ipairs({ "function first", "number first" }) do
  local ticks = 0
  local function tick() ticks = ticks + 1 end
  local task = order == "function first" and async.spawn_interval(tick, 1) or async.spawn_interval(1, tick)
  while ticks < 3 do sleep(0.001) end
  task:cancel()
  sleep(0.005)
  local stopped = ticks
  sleep(0.01)
  assert.eq(ticks, stopped)
end
for _, interval in ipairs({ { seconds = 0.001 }, { seconds = 1e-9 } }) do
  local count = 0
  local counting = async.spawn_interval(interval, function() count = count + 1 end)
  while count < 3 do sleep(0.001) end
  counting:cancel()
end
local long = async.spawn_interval(function() error("too early") end, { seconds = 100 })
sleep(0.12)
assert.eq(long:done(), false)
long:cancel()
local failing = async.spawn_interval(function() error("tick", 0) end, 1)
local ok, err = pcall(failing.await)
assert.eq(err, "tick")
for _, arguments in ipairs({ {}, { print }, { print, 0 }, { print, -1 }, { print, 0 / 0 }, { "x", 1 }, { print, {} },
  { print, { seconds = 0 } }, { print, { seconds = -1 } }, { print, { second = 1 } }, { print, { 1 } } }) do
  assert.contains(select(2, pcall(async.spawn_interval, arguments[1], arguments[2])), "spawn_interval")
end

--# case: all
assert.eq(#async.all({}), 0)
local started = async.spawn(function() sleep(0.002) return "task" end)
local got = async.all({ started, function() return "function" end })
assert.eq(got[1] .. got[2], "taskfunction")
local log = {}
local ok, err = pcall(async.all, {
  function() sleep(0.001) error({ code = "first" }) end,
  function() sleep(10) log[#log + 1] = "never" end,
})
assert.eq(ok, false)
assert.eq(err.code, "first")
assert.eq(#log, 0)
assert.contains(select(2, pcall(async.all, 1)), "'all'")
assert.eq(pcall(async.all, { 1 }), false)

--# case: race
--# flags: --timeout 50s
assert.eq(select("#", async.race({ function() return 1, 2 end, function() sleep(10) end })), 2)
local ok, err = pcall(async.race, { function() error({ code = "lost" }) end, function() sleep(10) end })
assert.eq(err.code, "lost")
assert.contains(select(2, pcall(async.race, {})), "'race'")
local finished, closed = false, false
async.race({
  function() sleep(0.001) end,
  function()
    local guard <close> = setmetatable({}, { __close = function() closed = true end })
    sleep(60)
    finished = true
  end,
})
-- The slower one is ended, and not by and by.
while not closed do sleep(0.001) end
assert.eq(finished, false)

--# case: timeouts
--# flags: --timeout 50s
assert.eq(async.timeout(10, function() return "in time" end), "in time")
assert.eq(select("#", async.timeout(10, function() return 1, nil end)), 2)
local ok, err = pcall(async.timeout, 10, function() error({ code = "own" }) end)
assert.eq(err.code, "own")
local ended, closed = false, false
ok, err = pcall(async.timeout, 0.001, function()
  local guard <close> = setmetatable({}, { __close = function() closed = true end })
  sleep(60)
  ended = true
end)
assert.eq(err.code, "timeout")
assert.contains(err.message, "0.001 seconds")
while not closed do sleep(0.001) end
assert.eq(ended, false)
assert.contains(select(2, pcall(async.timeout, -1, print)), "'timeout'")
-- One within another: the shorter one counts.
ok, err = pcall(async.timeout, 0.001, function() async.timeout(10, function() sleep(10) end) end)
assert.contains(err.message, "0.001")

--# case: awaiting from coroutines, iterators, metamethods and pcall
local function value(v) return async.spawn(function() sleep(0.001) return v end) end
assert.eq(coroutine.wrap(function() return value("wrapped"):await() end)(), "wrapped")
local got = {}
for v in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(value(i):await()) end end) do
  got[#got + 1] = v
end
assert.eq(table.concat(got), "123")
local co = coroutine.create(function(a)
  local b = coroutine.yield(value(a):await())
  return value(b):await()
end)
assert.eq(select(2, coroutine.resume(co, "a")), "a")
assert.eq(select(2, coroutine.resume(co, "b")), "b")
assert.eq(coroutine.status(co), "dead")
local lazy = setmetatable({}, { __index = function(_, key) return value(key):await() end,
  __lt = function() return value(true):await() end })
assert.eq(lazy.field, "field")
assert.eq(lazy < lazy, true)
assert.eq(select(2, pcall(function() return pcall(function() return value("deep"):await() end) end)), true)
local ok, message = xpcall(function() value(1):await() error("inner", 0) end, function(m) return m .. " handled" end)
assert.eq(message, "inner handled")
local function iterate() return function(_, n) if n < 3 then return value(n + 1):await() end end, nil, 0 end
local sum = 0
for n in iterate() do sum = sum + n end
assert.eq(sum, 6)

--# case: tasks cannot be awaited where Lua cannot yield
local task = async.spawn(function() sleep(0.001) end)
local ok, err = pcall(table.sort, { 2, 1 }, function() task:await() end)
assert.eq(ok, false)
assert.contains(err, "cannot wait for a task here")
-- A wait for the host works there.
local list = { 3, 1, 2 }
table.sort(list, function(a, b) sleep(0.001) return a < b end)
assert.eq(table.concat(list), "123")
task:await()

--# case: a deadlock is an error
local a, b
a = async.spawn(function() return b:await() end)
b = async.spawn(function() return a:await() end)
local ok, err = pcall(a.await)
assert.eq(ok, false)
assert.contains(err.message, "deadlock")

--# case: a thousand waits at once
--# flags: --timeout 60s
local started, ended, tasks = 0, 0, {}
for i = 1, 1000 do
  tasks[i] = async.spawn(function()
    started = started + 1
    -- It would never end if it kept the others out.
    repeat sleep(0.05) until started == 1000
    ended = ended + 1
  end)
end
for i = 1, 1000 do tasks[i]:await() end
assert.eq(ended, 1000)

--# case: shorter waits end first
local order = {}
local function after(seconds, name)
  return function()
    if seconds then sleep(seconds) end
    order[#order + 1] = name
  end
end
local long = async.spawn(after(60, "long"))
async.all({ after(0.03, "short"), after(nil, "none") })
long:cancel()
assert.eq(table.concat(order, " "), "none short")

--# case: a task that spins lets the others run
local done = false
async.spawn(function() sleep(0.001) done = true end)
local spinner = async.spawn(function() while not done do end return "seen" end)
assert.eq(spinner:await(), "seen")

--# case: the main script's end ends the tasks
async.spawn(function() sleep(3600) end)
async.spawn_interval(function() end, 1)

--# case: wrong arguments
assert.contains(select(2, pcall(async.spawn)), "function expected")
assert.contains(select(2, pcall(async.spawn, 1)), "function expected")
local task = async.spawn(function() end)
assert.eq(task.unknown, nil)
assert.contains(select(2, pcall(async.all, { 1 })), "item 1: function or task expected, got number")
assert.contains(select(2, pcall(async.race, { function() end, {} })), "item 2: function or task expected, got table")
assert.contains(select(2, pcall(async.timeout, 1, "x")), "bad argument #2 to 'timeout'")
assert.eq(async.timeout(10, async.spawn(function() return 5 end)), 5)

--# case: an error while a cancelled task is closed is told
--# stderr: closing its variables failed: in __close
local task = async.spawn(function()
  local x <close> = setmetatable({}, { __close = function() error("in __close", 0) end })
  sleep(10)
end)
sleep(0.001)
task:cancel()
sleep(0.001)
