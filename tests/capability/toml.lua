--- # toml
--- TOML 1.1 from and to Lua tables. Always available.
---
--- Integers have 64 bits, floats may be `inf` and `nan`; one as large as `1e400` becomes a `json.number`. Dates and times are read as strings
--- (`"1979-05-27T07:32:00Z"`), and are strings when written again. Nesting is limited to 80 levels of
--- values or of dotted names in the text, and to 128 tables in all. A text may have 512 KiB; a larger one is an error
--- with the code `limit`.
---
--- Errors have `code` `invalid_data` and name line and column, or `invalid_argument` and name the path
--- of the value that cannot be encoded.
---
--- ## toml.parse(text) -> table
--- The document as a table.
---
--- ## toml.encode(t) -> string
--- The table `t` as a document, keys sorted by their bytes: plain values first, then tables under
--- `[headers]` and lists of tables under `[[headers]]`. The shape of a table is found as by
--- `json.encode`. `json.null`, an array as the document, and integers of more than 64 bits raise.

--# example: read
local doc = toml.parse([==[
title = "demo"
[server]
port = 8080
hosts = ["a", "b"]
[[task]]
name = "one"
[[task]]
name = "two"
]==])
assert.eq(doc.server.port, 8080)
assert.eq(doc.server.hosts, { "a", "b" })
assert.eq(doc.task[2].name, "two")

--# example: write
assert.eq(toml.encode({ title = "demo", server = { port = 8080 }, task = { { name = "one" }, { name = "two" } } }), [=[
title = "demo"

[server]
port = 8080

[[task]]
name = "one"

[[task]]
name = "two"
]=])

--# case: values
local doc = toml.parse([==[
int = 42
neg = -17
hex = 0xDEADBEEF
oct = 0o755
bin = 0b1010
big = 9_223_372_036_854_775_807
min = -9223372036854775808
float = 1.0
exp = 5e+22
inf = inf
ninf = -inf
yes = true
date = 1979-05-27
stamp = 1979-05-27T07:32:00Z
time = 07:32:00
literal = 'C:\x'
escaped = "tab\tA\u00E9"
multi = """
a
b"""
empty = []
mixed = [1, "a", [2]]
inline = { a = 1, b.c = 2 }
"quoted key" = 1
dotted.key = 2
]==])
assert.eq(doc.int, 42)
assert.eq(doc.neg, -17)
assert.eq(doc.hex, 0xDEADBEEF)
assert.eq(doc.oct, 493)
assert.eq(doc.bin, 10)
assert.eq(doc.big, math.maxinteger)
assert.eq(doc.min, math.mininteger)
assert.eq(math.type(doc.float), "float")
assert.eq(doc.exp, 5e22)
assert.eq(doc.inf, math.huge)
assert.eq(doc.ninf, -math.huge)
assert.eq(doc.yes, true)
assert.eq(doc.date, "1979-05-27")
assert.eq(doc.stamp, "1979-05-27T07:32:00Z")
assert.eq(doc.time, "07:32:00")
assert.eq(doc.literal, "C:\\x")
assert.eq(doc.escaped, "tab\tAé")
assert.eq(doc.multi, "a\nb")
assert.eq(json.encode(doc.empty), "[]")
assert.eq(doc.mixed, { 1, "a", { 2 } })
assert.eq(doc.inline, { a = 1, b = { c = 2 } })
assert.eq(doc["quoted key"], 1)
assert.eq(doc.dotted.key, 2)
assert.eq(toml.parse(""), {})

--# case: values read back as the same values
local value = { s = "quote \" back \\ newline \n tab \t nul \0 del \x7f é 😀", i = math.mininteger, f = 0.1, whole = 1.0, small = 1e-300, big = 1e300,
  t = true, list = { 1, 2, { 3, { 4 } } }, tables = { { a = 1 }, { b = { c = { { d = 1 } } } } }, nested = { deep = { deeper = { x = 1 } } },
  ["key with space"] = { ["a.b"] = 1, [""] = 2 }, mixed = { 1, { a = 1, b = { 2 } } }, empty = {}, none = json.array(), huge = math.huge }
local again = toml.parse(toml.encode(value))
assert.eq(again, value)
assert.eq(math.type(again.whole), "float")
assert.eq(toml.encode(again), toml.encode(value))
assert.eq(toml.encode({}), "")
assert.eq(toml.encode({ n = 0 / 0 }), "n = nan\n")
assert.eq(toml.encode({ a = { b = { c = 1 } } }), "[a]\n\n[a.b]\nc = 1\n")
assert.eq(toml.encode({ a = { 1, { b = 1 } } }), "a = [1, { b = 1 }]\n")
assert.eq(toml.encode({ d = json.number("1.10") }), "d = 1.10\n")

--# case: what has no form
assert.raises(function() toml.encode({ 1, 2 }) end, "an array, but a TOML document is a table")
assert.raises(function() toml.encode({ a = { b = json.null } }) end, "null.*\\$\\.a\\.b")
assert.raises(function() toml.encode({ a = json.number("9223372036854775808") }) end, "64 bits.*\\$\\.a")
assert.raises(function() toml.encode({ f = print }) end, "function.*\\$\\.f")
assert.raises(function() toml.encode({ s = "\xff" }) end, "UTF-8.*\\$\\.s")
assert.raises(function() toml.encode("x") end, "table expected")
local t = {}
t.t = t
assert.raises(function() toml.encode(t) end, "contains itself")

--# case: errors have line and column
for text, where in pairs({ ["a = 1\nb = "] = "line 2", ["a = 1\na = 2"] = "line 2 column 1", ["[a\n"] = "line 1", ["a = 9223372036854775808"] = "line 1 column 5",
  ["a = \"x"] = "line 1", ["= 1"] = "line 1 column 1", ["a = 1 b = 2"] = "line 1", ["a = \xff"] = "line 1 column 5" }) do
  local ok, err = pcall(toml.parse, text)
  assert.eq(ok, false, text)
  assert.eq(err.code, "invalid_data")
  assert.contains(err.message, where)
end
assert.raises(function() toml.parse() end, "string expected")

--# case: depth
assert.not_nil(toml.parse("a = " .. ("["):rep(70) .. ("]"):rep(70)))
assert.raises(function() toml.parse("a = " .. ("["):rep(1000) .. ("]"):rep(1000)) end)
assert.not_nil(toml.parse(("a."):rep(70) .. "b = 1"))
assert.raises(function() toml.parse(("a."):rep(1000) .. "b = 1") end)

--# case: numbers that no float holds
for text, digits in pairs({ ["1e400"] = "1e400", ["-1e400"] = "-1e400", ["+1.5e400"] = "1.5e400", ["1_0.0e4_00"] = "10.0e400" }) do
  local value = toml.parse("a = " .. text).a
  assert.eq(tostring(value), digits)
  assert.eq(tostring(toml.parse(toml.encode({ a = value })).a), digits)
end
assert.eq(toml.parse("a = inf").a, math.huge)
assert.eq(toml.parse(toml.encode({ a = -math.huge })).a, -math.huge)
-- An integer has 64 bits in TOML; none is written that could not be read.
assert.raises(function() toml.parse("a = 18446744073709551616") end, "does not fit 64 bits")
assert.raises(function() toml.encode({ a = json.number("18446744073709551616") }) end, "more than 64 bits")
assert.raises(function() toml.parse([[a = "\ud800"]]) end, "line 1")
assert.raises(function() toml.encode({ a = "\xed\xa0\x80" }) end, "not valid UTF-8")
