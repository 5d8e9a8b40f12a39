--# case: tasks have a number
local ok, err = pcall(function()
  for _ = 1, 100000 do
    async.spawn(function() sleep(1000) end)
  end
end)
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "50000 tasks")

--# case: waiting for many tasks
local waits = {}
for i = 1, 30000 do
  waits[i] = function() sleep(0.001) return i end
end
local results = async.all(waits)
assert.eq(#results, 30000)
assert.eq(results[30000], 30000)
for i = 1, 100000 - 30000 do
  waits[30000 + i] = waits[i % 30000 + 1]
end
local ok, err = pcall(async.all, waits)
assert.eq(ok, false)
assert.eq(err.code, "limit")

--# case: many tasks wait for one
local gate = async.spawn(function() sleep(0.01) return "open" end)
local waits = {}
for i = 1, 20000 do
  waits[i] = function() return pcall(function() return gate:await() end) end
end
assert.eq(#async.all(waits), 20000)

--# case: the first of a race, and the first failure
local function after(seconds, value) return function() sleep(seconds) return value end end
assert.eq(async.race({ after(60, "late"), after(0.001, "soon") }), "soon")
local done = async.spawn(function() return "done" end)
sleep(0)
assert.eq(async.race({ after(60), done }), "done")
local ok, err = pcall(async.all, { after(60), function() error("now", 0) end, after(60) })
assert.eq(err, "now")
assert.eq(async.all({}), {})

--# case: modules that require each other in two tasks
--# allow: fs=rw:${TMP}
-- The attack: each task waits for the other's module for ever.
fs.write("modules/a.lua", "sleep(0.01) return { b = require('b') }")
fs.write("modules/b.lua", "sleep(0.01) return { a = require('a') }")
local tasks = {}
for i, name in ipairs({ "a", "b" }) do
  tasks[i] = async.spawn(function() return pcall(require, name) end)
end
local failed = {}
for i = 1, 2 do
  local ok, err = tasks[i]:await()
  if not ok then failed[#failed + 1] = tostring(err) end
end
assert(#failed >= 1)
for _, err in ipairs(failed) do
  assert.matches(err, "circular require: (a -> b -> a|b -> a -> b)")
end

--# case: a circle of three, and of one
--# allow: fs=rw:${TMP}
fs.write("modules/x.lua", "sleep(0.01) return require('y')")
fs.write("modules/y.lua", "sleep(0.01) return require('z')")
fs.write("modules/z.lua", "sleep(0.01) return require('x')")
fs.write("modules/me.lua", "return require('me')")
local ok, err = pcall(require, "x")
assert.eq(ok, false)
assert.contains(tostring(err), "circular require: x -> y -> z -> x")
local ok, err = pcall(require, "me")
assert.contains(tostring(err), "circular require: me -> me")
-- Nothing is left of it.
fs.write("modules/z.lua", "return 'z'")
assert.eq(require("x"), "z")
assert.eq(require("y"), "z")

--# case: a module that is there while it is loaded may be required in a circle
--# allow: fs=rw:${TMP}
fs.write("modules/first.lua", "local M = {} package.loaded.first = M M.second = require('second') return M")
fs.write("modules/second.lua", "return { first = require('first') }")
local first = require("first")
assert.eq(first.second.first, first)

--# case: a module is run once for all tasks
--# allow: fs=rw:${TMP}
fs.write("modules/slow.lua", "runs = (runs or 0) + 1 sleep(0.02) return { n = runs }")
local waits = {}
for i = 1, 50 do
  waits[i] = function() return require("slow") end
end
local results = async.all(waits)
assert.eq(runs, 1)
for i = 2, 50 do
  assert(results[i] == results[1])
end

--# case: a module that fails in one task is tried by the next
--# allow: fs=rw:${TMP}
fs.write("modules/flaky.lua", "tries = (tries or 0) + 1 sleep(0.01) if tries < 3 then error('not yet', 0) end return tries")
local waits = {}
for i = 1, 4 do
  waits[i] = function() return select(2, pcall(require, "flaky")) end
end
local results = async.all(waits)
table.sort(results, function(a, b) return tostring(a) < tostring(b) end)
assert.eq(results, { 3, 3, "not yet", "not yet" })

--# case: a task that is cancelled while it loads lets the others go on
--# allow: fs=rw:${TMP}
fs.write("modules/stuck.lua", "stuck = (stuck or 0) + 1 if stuck == 1 then sleep(1000) end return 'loaded'")
local first = async.spawn(function() return require("stuck") end)
sleep(0.01)
local second = async.spawn(function() return require("stuck") end)
sleep(0.01)
first:cancel()
assert.eq(second:await(), "loaded")
