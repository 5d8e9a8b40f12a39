--- # json
--- JSON (RFC 8259) from and to Lua values. Always available; nothing is granted for it.
---
--- JSON objects are tables with string keys, arrays are tables with the keys 1 to n. Tables are read
--- raw, without metamethods. Nesting is limited to 128 levels both ways.
---
--- Errors are tables with `code` and `message`: `invalid_data` when a text is not JSON (with line and
--- column), `invalid_argument` when a value has no form in JSON (with its path, such as `$.items[3]`).
---
--- ## json.parse(text, options?) -> value
--- The value that `text` says. Integers become Lua integers, other numbers floats; a number that
--- neither holds (`18446744073709551616`, `1e999`) becomes a `json.number`, which keeps its digits.
--- Half of a surrogate pair (`\ud800`) is an error, as it is in TOML and in the claims of tokens, since no UTF-8 stands for it.
--- null becomes nil, so an object does not have the key; `{null = json.null}` keeps nulls. The last of
--- equal keys wins. An empty array, or one with nulls, is pinned with `json.array`, so that it is
--- encoded as an array again.
---
--- ## json.encode(value, options?) -> string
--- `value` as JSON. A table with the keys 1 to n is an array, any other table, the empty one too, is
--- an object; `json.array` and `json.object` pin the shape. Keys are sorted by their bytes, so the
--- same value gives the same text; number keys become strings. Integers stay integers, floats have the
--- shortest text that reads back as the same float (`1.0`, `0.1`, `1e+300`). NaN, infinities, strings
--- that are not UTF-8, functions and tables that contain themselves raise. `{indent = 2}` writes one
--- element a line, with 0 to 16 spaces a level.
---
--- ## json.array(t?) -> table
--- Pins `t`, or a new table, as an array: its metatable gets `__jsontype = "array"`. Missing elements
--- are null. Raises if `t` has a metatable of its own; set `__jsontype` in that one. Empty lists that builtins return are pinned so.
---
--- ## json.object(t?) -> table
--- Pins `t`, or a new table, as an object.
---
--- ## json.number(digits) -> json.number
--- A number with exactly these digits, for what Lua's numbers do not hold. `tostring(n)` gives the
--- digits, `n:tonumber()` the nearest float; it calculates and compares as that float, and two of them
--- are equal when their digits are.
---
--- ## json.null -> userdata
--- A null that a table can hold. It is true in a condition, as every value but nil and false.

--# example: read and write
local doc = json.parse('{"name": "disk", "sizes": [1, 2.5], "ok": true}')
assert.eq(doc.name, "disk")
assert.eq(doc.sizes, { 1, 2.5 })
assert.eq(json.encode({ b = 1, a = { true, "x" } }), '{"a":[true,"x"],"b":1}')

--# example: empty arrays
assert.eq(json.encode({}), "{}")
assert.eq(json.encode(json.array()), "[]")
assert.eq(json.encode({ tags = json.array({}) }), '{"tags":[]}')
assert.eq(json.encode(json.object({ "a", "b" })), '{"1":"a","2":"b"}')
assert.eq(json.encode(json.parse('{"list": [], "map": {}}')), '{"list":[],"map":{}}')

--# example: null
assert.eq(json.parse('{"a": null}').a, nil)
local kept = json.parse('{"a": null, "b": [null]}', { null = json.null })
assert(kept.a == json.null)
assert.eq(tostring(kept.a), "null")
assert.eq(json.encode(kept), '{"a":null,"b":[null]}')

--# example: pretty
assert.eq(json.encode({ a = { 1, 2 }, b = {} }, { indent = 2 }), [[
{
  "a": [
    1,
    2
  ],
  "b": {}
}]])

--# case: scalars
assert.eq(json.parse("1"), 1)
assert.eq(json.parse(' "x" '), "x")
assert.eq(json.parse("true"), true)
assert.eq(json.parse("false"), false)
assert.eq(json.parse("null"), nil)
assert.eq(json.encode(nil), "null")
assert.eq(json.encode("x"), '"x"')
assert.eq(json.encode(false), "false")
assert.eq(json.parse("\xEF\xBB\xBF[1]"), { 1 })

--# case: numbers
assert.eq(math.type(json.parse("10")), "integer")
assert.eq(math.type(json.parse("10.0")), "float")
assert.eq(math.type(json.parse("1e2")), "float")
assert.eq(json.parse("9223372036854775807"), math.maxinteger)
assert.eq(json.parse("-9223372036854775808"), math.mininteger)
for _, text in ipairs({ "0", "-1", "9223372036854775807", "-9223372036854775808", "0.1", "1.0", "-0.0", "1e-7", "1.7976931348623157e+308",
  "5e-324", "123456789.125", "9223372036854775808", "-9223372036854775809", "123456789012345678901234567890", "1e999" }) do
  local again = json.encode(json.parse(text))
  assert.eq(json.encode(json.parse(again)), again)
  assert.eq(tonumber(again), tonumber(text))
end
assert.eq(json.encode(1.0), "1.0")
assert.eq(json.encode(0.1), "0.1")
assert.eq(json.encode(2 ^ 53), "9007199254740992.0")
assert.eq(json.encode(math.mininteger), "-9223372036854775808")
assert.eq(json.encode(json.parse("[18446744073709551616]")), "[18446744073709551616]")

--# case: json.number
local n = json.parse("18446744073709551616")
assert.eq(tostring(n), "18446744073709551616")
assert.eq(n:tonumber(), 2.0 ^ 64)
assert.eq(n + 0, 2.0 ^ 64)
assert(n > 5 and 5 < n and n >= n)
assert(n == json.number("18446744073709551616"))
assert.eq("n=" .. n, "n=18446744073709551616")
assert.eq(json.encode({ json.number("1.10") }), "[1.10]")
for _, bad in ipairs({ "", "x", "01", "1.", ".5", "+1", "0x10", "1 ", "NaN", "-" }) do
  assert.raises(function() json.number(bad) end, "JSON's grammar")
end

--# case: NaN and infinity name their path
local ok, err = pcall(json.encode, { a = { 1, 2, 0 / 0 } })
assert.eq(ok, false)
assert.eq(err.code, "invalid_argument")
assert.contains(err.message, "$.a[3]")
assert.contains(err.message, "NaN")
assert.raises(function() json.encode(math.huge) end, "infinite.*\\$")
assert.raises(function() json.encode({ ["a b"] = -math.huge }) end, '\\$\\["a b"\\]')

--# case: what has no form
assert.raises(function() json.encode({ f = print }) end, "function.*\\$\\.f")
assert.raises(function() json.encode(coroutine.create(print)) end, "coroutine")
assert.raises(function() json.encode({ [true] = 1 }) end, "boolean as key")
assert.raises(function() json.encode({ [1] = "a", ["1"] = "b", x = 0 }) end, "both as a number and as a string")
assert.raises(function() json.encode() end, "value expected")

--# case: shapes
assert.eq(json.encode({ 1, 2, 3 }), "[1,2,3]")
assert.eq(json.encode({ [2] = "b", [1] = "a" }), '["a","b"]')
assert.eq(json.encode({ [1] = "a", [3] = "c" }), '{"1":"a","3":"c"}')
assert.eq(json.encode({ 1, x = 2 }), '{"1":1,"x":2}')
assert.eq(json.encode({ [0] = "z" }), '{"0":"z"}')
assert.eq(json.encode({ [1.5] = "f" }), '{"1.5":"f"}')
assert.eq(json.encode(json.array({ 1, nil, 3 })), "[1,null,3]")
assert.eq(json.encode(json.parse("[1,null,3]")), "[1,null,3]")
assert.eq(json.encode(json.object(json.array())), "{}")
assert.eq(json.encode(setmetatable({}, { __jsontype = "array" })), "[]")
assert.eq(getmetatable(json.array()).__jsontype, "array")
assert.eq(getmetatable(json.object()).__jsontype, "object")
local t = { 1 }
assert(json.array(t) == t)
assert.raises(function() json.encode(json.array({ x = 1 })) end, "pinned as an array has other keys")
assert.raises(function() json.encode(json.array({ [1000000] = 1 })) end, "mostly nil")
assert.raises(function() json.array(setmetatable({}, {})) end, "metatable of its own")
assert.raises(function() json.array(5) end, "table expected")

--# case: deterministic
local t = {}
for i = 1, 100 do t["k" .. i] = i end
local keys = {}
for k in json.encode(t):gmatch('"(k%d+)"') do keys[#keys + 1] = k end
local sorted = { table.unpack(keys) }
table.sort(sorted)
assert.eq(keys, sorted)
assert.eq(#keys, 100)

--# case: strings
assert.eq(json.parse([["\u0041\n\t\"\\\/\b\f\r"]]), "A\n\t\"\\/\b\f\r")
assert.eq(json.parse([["\ud83d\ude00é"]]), "😀é")
assert.eq(json.encode("\"\\\n\r\t\b\f\0\x1f\x7f😀"), '"\\"\\\\\\n\\r\\t\\b\\f\\u0000\\u001f\x7f😀"')
assert.eq(json.parse(json.encode("a\0b")), "a\0b")
assert.raises(function() json.encode({ s = "\xff" }) end, "not valid UTF-8.*\\$\\.s")
assert.raises(function() json.encode({ ["\xff"] = 1 }) end, "not valid UTF-8")
for _, bad in ipairs({ [["\ud800"]], [["\udc00"]], [["\ud800\u0041"]], [["\u00g0"]], [["\x"]], '"\n"', '"', '"\\', '"\\u12' }) do
  assert.raises(function() json.parse(bad) end, "json.parse: .* at line 1 column")
end

--# case: errors have line and column
local ok, err = pcall(json.parse, '{\n  "é": tru\n}')
assert.eq(ok, false)
assert.eq(err.code, "invalid_data")
assert.contains(err.message, "line 2 column 8")
for _, bad in ipairs({ "", " ", "{", "[", "[1", "[1,", "[1,]", "{,}", '{"a"}', '{"a":}', '{"a":1,}', "{a:1}", "01", "-", "1.", "1e", "+1", "nul",
  "nulll", "[1] 2", "'x'", "NaN", "// c\n1", "[1 2]", "\xff" }) do
  local ok, err = pcall(json.parse, bad)
  assert.eq(ok, false, bad)
  assert.eq(err.code, "invalid_data", bad)
end
assert.raises(function() json.parse() end, "string expected")

--# case: duplicate keys
assert.eq(json.parse('{"a":1,"a":2}').a, 2)
assert.eq(json.parse('{"a":1,"a":null}').a, nil)

--# case: depth
local function nested(n) return ("["):rep(n) .. ("]"):rep(n) end
local deep = json.parse(nested(128))
assert.eq(json.encode(deep), nested(128))
assert.raises(function() json.parse(nested(129)) end, "128 nested")
assert.raises(function() json.parse(("["):rep(1000000)) end, "128 nested")
assert.raises(function() json.encode({ deep }) end, "128 nested")

--# case: cycles
local t = { a = {} }
t.a.b = t
assert.raises(function() json.encode(t) end, "contains itself at \\$\\.a\\.b")
local shared = { 1 }
assert.eq(json.encode({ shared, shared }), "[[1],[1]]")

--# case: large
local list = {}
for i = 1, 50000 do list[i] = { id = i, name = "item " .. i, on = i % 2 == 0, ratio = i / 7 } end
local text = json.encode(list)
local again = json.parse(text)
assert.eq(#again, 50000)
assert.eq(again[49999], list[49999])
assert.eq(json.encode(again), text)
local wide = {}
for i = 1, 100000 do wide["key" .. i] = i end
assert.eq(json.parse(json.encode(wide)), wide)

--# case: options
assert.raises(function() json.encode({}, { indent = 17 }) end, "0 to 16")
assert.raises(function() json.encode({}, { indent = "x" }) end, "integer expected")
assert.eq(json.encode({ 1 }, { indent = 0 }), "[1]")
assert.eq(json.parse("[null]", { null = false }), { false })

--# case: half of a surrogate pair is refused, and numbers that no float holds are kept
for _, bad in ipairs({ [["\ud800"]], [["\udc00"]], [["\ud800\ud800"]], [["\ud800x"]], [["\udc00\ud800"]], [[{"\ud800": 1}]] }) do
  local ok, err = pcall(json.parse, bad)
  assert.eq(ok, false, bad)
  assert.eq(err.code, "invalid_data")
  assert.contains(err.message, "half of a surrogate pair")
end
assert.eq(json.parse([["\ud83d\ude00"]]), "😀")
-- The three bytes that would stand for one are no UTF-8.
assert.raises(function() json.parse('"\xed\xa0\x80"') end, "not valid UTF-8")
assert.raises(function() json.encode("\xed\xa0\x80") end, "not valid UTF-8")
for _, digits in ipairs({ "1e400", "-1e400", "1E+400", "123456789012345678901234567890" }) do
  local value = json.parse(digits)
  assert.eq(tostring(value), digits)
  assert.eq(json.encode(value), digits)
  assert.eq(tostring(json.parse(json.encode({ value }))[1]), digits)
end
assert.raises(function() json.encode(math.huge) end, "infinite")

--# case: lists that builtins return are lists, empty or not
--# allow: fs=rw:${TMP},db=sqlite::memory:,process,disk
local function lists(...)
  for n, list in ipairs({ ... }) do assert.eq(json.encode(list), "[]", "list " .. n) end
end
fs.mkdir("empty")
fs.write("a.txt", "x")
tar.create("a.tar", { ["b.txt"] = "y" })
tar.create("none.tar", {})
local conn = db.connect("sqlite::memory:")
db.execute(conn, "create table t (a)")
lists(async.all({}), db.query(conn, "select a from t"), conn:query("select a from t"), tar.extract("a.tar", "out").skipped, tar.list("none.tar"),
  tar.entries("none.tar"), fs.list("empty"), fs.readdir("empty"), fs.glob("*.none"), regex.find_all("x", "y"), json.parse("[]"), yaml.parse("[]"),
  yaml.parse_all(""), toml.parse("a = []").a, (""):split())
assert.eq(json.encode(db.query(conn, "select 1 as a")), '[{"a":1}]')
assert.eq(json.encode(async.all({ function() return 1 end })), "[1]")
-- A function that returns nothing has its place.
assert.eq(json.encode(async.all({ function() end })), "[]")
assert.eq(json.encode(async.all({ function() end, function() return 2 end })), "[null,2]")
assert.eq(json.encode(async.all({ function() return 1 end, function() return 2 end })), "[1,2]")
assert.eq(getmetatable(async.all({ function() return 1 end })), nil)
-- What a script makes of such a list is its own.
local list = db.query(conn, "select a from t")
list[1] = "x"
assert.eq(json.encode(list), '["x"]')
