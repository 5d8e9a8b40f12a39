--- # lua
--- The language itself: Lua 5.5, as its [reference manual](https://www.lua.org/manual/5.5/) says.
--- What differs is in [Lua](../lua.md).

--# example: what is new in Lua 5.5
local function count(...args) -- the arguments as a table
  return args.n
end
assert.eq(count(1, nil, 3), 3)

do
  global<const> assert, load -- from here on, globals are declared
  global greeting = "hello"
  local chunk, message = load("global x; y = 1")
  assert.eq(chunk, nil)
  assert.contains(message, "variable 'y' not declared")
  assert.eq(greeting, "hello")
end
assert.eq(#table.create(10), 0)

--# case: the length of a table that is made to look huge
local t = {}
for i = 61, 0, -1 do t[2 ^ i] = true end
-- The border that is found depends on chance; it must never depend on the table alone.
assert.lt(#t, 1 << 40)

--# case: errors name the variable
for source, message in pairs({
  ["local x; x.y = 1"] = "attempt to index a nil value (local 'x')",
  ["nothing.y = 1"] = "attempt to index a nil value (global 'nothing')",
  ["local t = {}; t.a.b = 1"] = "attempt to index a nil value (field 'a')",
  ["local t = {}; t:run()"] = "attempt to call a nil value (method 'run')",
  ["local u; return (function() return u.x end)()"] = "attempt to index a nil value (upvalue 'u')",
  ["return 1 + {}"] = "attempt to perform arithmetic on a table value",
  ["return 2 ^ 0.5 | 1"] = "number has no integer representation",
  ["return 1 < 'x'"] = "attempt to compare number with string",
  ["print.x = 1"] = "attempt to index a function value (global 'print')",
  ["return assert.nothing.x"] = "attempt to index a nil value (field 'nothing')",
}) do
  local ok, err = pcall(load(source, "=chunk"))
  assert.eq(ok, false)
  assert.eq(err, "chunk:1: " .. message)
end

--# case: only assert has fields
assert.eq(pcall(function() return print.eq end), false)
assert.eq(pcall(function() print.eq = 1 end), false)
assert.mine = function() return "mine" end
assert.eq(assert.mine(), "mine")
assert.eq(debug.getmetatable(assert), nil)
-- A broken upvalue is an error, not more.
debug.setupvalue(assert, 1, 42)
local ok, err = pcall(function() return assert.eq end)
if ok or not err:find("attempt to index a function value", 1, true) then error(tostring(err), 0) end

--# case: hooks
local lines = {}
debug.sethook(function(_, line) lines[#lines + 1] = line end, "l")
local x = 1
x = x + 1
debug.sethook()
assert.eq(#lines, 3)
local calls = 0
debug.sethook(function() calls = calls + 1 end, "", 100)
for _ = 1, 10000 do end
debug.sethook()
assert.gt(calls, 50)
local called = {}
debug.sethook(function() called[debug.getinfo(2, "f").func] = true end, "c")
assert(true)
debug.sethook()
assert.eq(called[assert], true)

--# case: warnings
--# stderr: Lua warning: one two
warn("@on")
warn("one", " two")

--# case: a function with several names has the same one in every message
-- The shortest, then the first in order of bytes; which one a walk through the tables meets first depends on a seed.
local names = {
  ["sleep"] = process.sleep,
  ["env.get"] = os.getenv,
  ["fs.stat"] = fs.metadata,
  ["fs.write"] = fs.write_bytes,
  ["twin.a"] = math.floor,
  ["up.x"] = string.upper,
  ["os.x"] = string.rep,
}
package.loaded.twin, package.loaded.longer = { b = math.floor, a = math.floor }, { a = math.floor }
package.loaded.up = { x = string.upper }
os.x = string.rep
for name, fn in pairs(names) do
  assert.contains(select(2, pcall(fn, {})), "to '" .. name .. "'")
end

--# case: strings are the same wherever they come from
-- Those of the builtins are in the snapshot, with hashes of another seed than those that a script makes.
for name, fn in pairs(string) do
  assert.eq(string[table.concat({ name:sub(1, 2), name:sub(3) })], fn)
end
local made = {}
for i = 1, 2000 do made["key " .. i] = i end
made["for" .. "mat"], made[("long "):rep(20)] = "format", "long"
collectgarbage()
for i = 1, 2000 do assert.eq(made["key " .. i], i) end
assert.eq(made.format, "format")
assert.eq(made[("long long "):rep(10)], "long")
