--- # string
--- One function more in Lua's own `string` library. Always available.
---
--- ## string.split(s, sep?) -> {string}
--- The parts of `s`. Without `sep`, the words between runs of white space (space, tab, newline,
--- carriage return, vertical tab, form feed), as awk splits. With `sep`, the parts between its
--- occurrences, taken literally, empty parts included. An empty `sep` raises. Also as a method:
--- `("a,b"):split(",")`.

--# example: split
assert.eq(string.split("  one two\n three "), { "one", "two", "three" })
assert.eq(("a,b,,c"):split(","), { "a", "b", "", "c" })

--# case: edges
assert.eq((""):split(), {})
assert.eq((" \t\n "):split(), {})
assert.eq((""):split(","), { "" })
assert.eq((","):split(","), { "", "" })
assert.eq(("a"):split(","), { "a" })
assert.eq(("a--b-c--"):split("--"), { "a", "b-c", "" })
assert.eq(("a.b%c"):split("."), { "a", "b%c" })
assert.eq(("aaaa"):split("aa"), { "", "", "" })
assert.eq(("a\v\f\rb"):split(), { "a", "b" })

--# case: nothing is an empty list
assert.eq(json.encode((""):split()), "[]")
assert.eq(json.encode(("  "):split()), "[]")
assert.eq(json.encode((""):split(",")), '[""]')

--# case: any bytes
assert.eq(("a\0b\0\xff"):split("\0"), { "a", "b", "\xff" })
assert.eq(("é,ü"):split(","), { "é", "ü" })
assert.eq(#("x,"):rep(100000):split(","), 100001)

--# case: errors
assert.raises(function() ("a"):split("") end, "separator is empty")
assert.raises(function() string.split() end, "string expected")
assert.raises(function() string.split("a", {}) end, "string expected")
