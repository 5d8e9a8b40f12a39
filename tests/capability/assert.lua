--- # assert
--- Checks that raise. `assert` is a function that does exactly what Lua's own does, and it has fields, the
--- other checks. Every check that holds counts in the run's report.
---
--- The errors are strings with the position of the caller, as from `error(message, 2)`. They show both
--- values, and for tables the path of the first difference. `message`, where given, comes first.
---
--- ## assert(v, message?, ...) -> v, message, ...
--- Raises `message` (any value; `"assertion failed!"` without one) if `v` is false or nil, else gives
--- back all its arguments.
---
--- ## assert.eq(a, b, message?)
--- `a == b`, or both are tables with equal contents, at any depth. Metatables are not compared, but
--- `__eq` is honoured.
---
--- ## assert.ne(a, b, message?)
--- The opposite of `assert.eq`.
---
--- ## assert.gt(a, b, message?)
--- `a > b`.
---
--- ## assert.lt(a, b, message?)
--- `a < b`.
---
--- ## assert.contains(s, part, message?)
--- The string `s` contains the string `part`, or the list `s` has an element equal to `part`. An error
--- of a builtin counts as its message.
---
--- ## assert.not_nil(v, message?)
--- `v` is not nil.
---
--- ## assert.matches(s, pattern, message?)
--- The string `s` matches the pattern, in the language of `regex`, somewhere.
---
--- ## assert.raises(fn, pattern?) -> error
--- Calling `fn` raises, with an error whose text matches the pattern. Gives the error. `fn` may wait.
---
--- ## assert.error(fn, pattern?) -> error
--- The same as `assert.raises`.

--# example: checks
assert(1 + 1 == 2, "arithmetic works")
assert.eq({ a = { 1, 2 } }, { a = { 1, 2 } })
assert.gt(3, 2)
assert.contains("hello", "ell")
assert.contains({ "a", "b" }, "b")
assert.matches("v1.2.3", [[^v\d+\.\d+]])
local err = assert.raises(function() error({ code = "busy" }) end)
assert.eq(err.code, "busy")

--# case: callable as in standard Lua
assert.eq({ assert(1, 2, 3) }, { 1, 2, 3 })
assert.eq(select("#", assert(true, nil, nil)), 3)
local ok, err = pcall(assert, false)
assert.eq(ok, false)
assert.matches(err, "assertion failed!$")
local object = {}
assert(select(2, pcall(assert, false, object)) == object)
assert.matches(select(2, pcall(function() assert(false, "why") end)), "why$")
assert.eq(select(2, pcall(assert, false, 42)), 42)
assert.matches(select(2, pcall(function() assert() end)), "value expected")
assert.eq(type(assert), "function")
assert.eq(coroutine.wrap(assert)(7), 7)
assert.eq(getmetatable(assert), nil)

--# case: position of the caller
local ok, err = pcall(function()
  assert.eq(1, 2)
end)
assert.eq(ok, false)
assert.matches(err, [[:\d+: assertion failed: got 1, expected 2$]])
assert.matches(select(2, pcall(function() assert.raises(print) end)), [[:\d+: assertion failed: no error was raised$]])

--# case: eq and ne
assert.eq(1, 1.0)
assert.eq("a", "a")
assert.eq(nil, nil)
assert.ne(1, "1")
assert.ne({ 1 }, { 1, 2 })
assert.ne({ 1, 2 }, { 1 })
assert.ne({ a = 1 }, { a = 2 })
assert.ne(0 / 0, 0 / 0)
local a, b = { 1 }, { 1 }
a.self, b.self = a, b
assert.eq(a, b)
local mt = { __eq = function() return true end }
assert.eq(setmetatable({ 1 }, mt), setmetatable({ 2 }, mt))
assert.raises(function() assert.ne({ 1 }, { 1 }) end, "expected anything else")
assert.raises(function() assert.eq(1) end, "value expected")

--# case: messages
local function message(f, ...) return select(2, pcall(f, ...)) end
assert.contains(message(assert.eq, "a\n", 'b"'), [[got "a\n", expected "b\""]])
assert.contains(message(assert.eq, "\xff", ""), [[got "\xFF", expected ""]])
assert.contains(message(assert.eq, { 1, x = { y = "z" } }, { 1, x = { y = 2 } }),
  [[got {1, x = {y = "z"}}, expected {1, x = {y = 2}}; first difference at $.x.y: got "z", expected 2]])
assert.contains(message(assert.eq, { 1, 2 }, { 1, 2, 3 }), "first difference at $[3]: got nil, expected 3")
assert.contains(message(assert.eq, { ["a b"] = 1 }, {}), [=[$["a b"]: got 1, expected nil]=])
assert.contains(message(assert.eq, 1, 2, "sizes"), "sizes: got 1, expected 2")
assert.lt(#message(assert.eq, ("x"):rep(100000), 1), 1000)
assert.lt(#message(assert.eq, table.pack(("x"):rep(100000):byte(1, 5000)), 1), 1500)

--# case: gt and lt
assert.gt(2, 1.5)
assert.lt("a", "b")
assert.raises(function() assert.gt(1, 1) end, "greater than 1")
assert.raises(function() assert.lt(2, 1) end, "less than 1")
assert.raises(function() assert.gt(nil, 1) end, "got nil")
assert.raises(function() assert.gt("2", 1) end, "got \"2\"")
assert.raises(function() assert.gt({}, 1) end, "compare")

--# case: contains, not_nil, matches
assert.contains("a\0b", "\0")
assert.contains("abc", "")
assert.contains({ { 1 } }, { 1 })
assert.raises(function() assert.contains("abc", "x") end, [["abc" does not contain "x"]])
assert.raises(function() assert.contains({ 1 }, 2) end, "does not contain 2")
assert.raises(function() assert.contains(nil, "x") end, "string or list expected, got nil")
assert.not_nil(false)
assert.raises(function() assert.not_nil(nil, "id") end, "id: got nil")
assert.matches("abc", "B|c")
assert.raises(function() assert.matches("abc", "^b") end, [["abc" does not match "\^b"]])
assert.raises(function() assert.matches("abc", "(") end, "regex parse error")

--# case: errors of builtins count as their message
local err = assert.raises(function() json.parse("[") end)
assert.contains(err, "json.parse")
assert.matches(err, "line 1")

--# case: raises
assert.eq(assert.raises(function() error("x", 0) end, "^x$"), "x")
assert.raises(function() error() end)
assert.raises(function() assert.raises(function() error("x", 0) end, "y") end, "does not match")
assert.raises(function() assert.raises(5) end, "function expected")
assert.eq(assert.error(setmetatable({}, { __call = function() error("called", 0) end })), "called")
-- What is called may wait, also within a coroutine.
local f = coroutine.wrap(function()
  return assert.raises(function() sleep(0.001) error("late", 0) end)
end)
assert.eq(f(), "late")

--# case: a failed check fails the run
--# exit: 1
--# stderr: sizes: got 1, expected 2
assert.eq(1, 2, "sizes")
