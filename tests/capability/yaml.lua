--- # yaml
--- YAML 1.2 from and to Lua values. Always available.
---
--- Scalars follow the core schema: `true` and `false` are booleans, `yes`, `no`, `on` and `off` are
--- strings; `0o14` is octal and `012` is twelve; dates and times are strings. Integers of more than 64
--- bits, and floats as large as `1e400`, become a `json.number`. null becomes nil; `{null = json.null}` keeps it. Keys may be of any
--- type but null. An alias gives a copy of its anchor's value; all aliases of a text together stand for
--- at most 100,000 values. `<<` merges mappings, and keys of the mapping itself win, also
--- with null. A mapping with numbers as keys is pinned with `json.object`, so that it stays a mapping. `!!str`, `!!int`,
--- `!!float`, `!!bool`, `!!null` and `!!binary` are honoured, other tags are passed over. Nesting is
--- limited to 128 levels. The last of equal keys wins.
---
--- Errors have `code` `invalid_data` and name line and column, or `invalid_argument` and name the path
--- of the value that cannot be encoded.
---
--- ## yaml.parse(text, options?) -> value
--- The first document; nil if the text has no document. What follows it must be another document, or nothing.
---
--- ## yaml.parse_all(text, options?) -> {value}
--- All documents. Empty ones are left out; with `{null = json.null}` each is `json.null`.
---
--- ## yaml.encode(value) -> string
--- `value` in block style, keys sorted by their bytes. Arrays and objects are distinguished as by
--- `json.encode`, and `json.array` and `json.object` pin them. Strings that a reader of YAML 1.2 or 1.1
--- might take for another type (`"yes"`, `"1.0"`, `"2024-01-01"`) are quoted; texts of several lines
--- become literal blocks.
---
--- ## yaml.encode_all(list) -> string
--- Each value of the list as a document of its own, after `---`.

--# example: read
local doc = yaml.parse([[
apiVersion: v1
kind: Service
spec:
  ports:
    - name: http
      port: 80
  enabled: true
]])
assert.eq(doc.kind, "Service")
assert.eq(doc.spec.ports[1].port, 80)
assert.eq(doc.spec.enabled, true)

--# example: write
assert.eq(yaml.encode({ name = "web", ports = { 80, 443 }, labels = {}, on = "yes" }), [[
labels: {}
name: web
"on": "yes"
ports:
  - 80
  - 443
]])

--# example: several documents
local docs = yaml.parse_all("a: 1\n---\nb: 2\n---\n")
assert.eq(docs, { { a = 1 }, { b = 2 } })
assert.eq(yaml.parse("a: 1\n---\nb: 2\n"), { a = 1 })
assert.eq(yaml.encode_all({ { a = 1 }, "x" }), "---\na: 1\n---\nx\n")

--# example: anchors and merge keys
local doc = yaml.parse([[
base: &base {image: app, replicas: 1}
web:
  <<: *base
  replicas: 3
]])
assert.eq(doc.web, { image = "app", replicas = 3 })
doc.web.image = "other"
assert.eq(doc.base.image, "app")

--# case: core schema
local values = { ["null"] = nil, ["~"] = nil, ["true"] = true, ["False"] = false, yes = "yes", No = "No", on = "on", OFF = "OFF", y = "y",
  ["12"] = 12, ["+12"] = 12, ["-7"] = -7, ["012"] = 12, ["0o14"] = 12, ["0xC"] = 12, ["1_000"] = "1_000", ["0b1"] = "0b1",
  ["1.5"] = 1.5, [".5"] = 0.5, ["5."] = 5.0, ["1e3"] = 1000.0, ["-.inf"] = -math.huge, [".inf"] = math.huge,
  ["2024-01-01"] = "2024-01-01", ["12:30:45"] = "12:30:45", ["1.2.3"] = "1.2.3", ["e5"] = "e5", ["."] = ".",
  ["1e"] = "1e", ["0x"] = "0x", ["-0x1"] = "-0x1", inf = "inf", nan = "nan", ["-2E+05"] = -200000.0 }
for text, value in pairs(values) do
  assert.eq(yaml.parse(text), value, text)
  assert.eq(math.type(yaml.parse(text)), math.type(value), text)
end
assert.eq(yaml.parse("~"), nil)
local nan = yaml.parse(".nan")
assert(nan ~= nan)
assert.eq(tostring(yaml.parse("18446744073709551616")), "18446744073709551616")
assert.eq(tostring(yaml.parse("0xFFFFFFFFFFFFFFFF")), "18446744073709551615")
assert.eq(yaml.parse("'12'"), "12")
assert.eq(yaml.parse('"true"'), "true")
assert.eq(yaml.parse("|\n  12\n"), "12\n")

--# case: tags
assert.eq(yaml.parse("!!str 12"), "12")
assert.eq(yaml.parse("! 12"), "12")
assert.eq(yaml.parse("!!int '12'"), 12)
assert.eq(math.type(yaml.parse("!!float 1")), "float")
assert.eq(yaml.parse("!!binary aGk="), "hi")
assert.eq(yaml.parse("!Ref 12"), 12)
assert.eq(yaml.parse("!custom {a: 1}"), { a = 1 })
assert.raises(function() yaml.parse("!!int x") end, "not a !!int at line 1")
assert.raises(function() yaml.parse("!!binary '*'") end, "!!binary")

--# case: null
assert.eq(yaml.parse("a: ~\nb: 1"), { b = 1 })
local kept = yaml.parse("a: ~\nb: [null]", { null = json.null })
assert(kept.a == json.null and kept.b[1] == json.null)
assert.eq(yaml.encode(kept), "a: null\nb:\n  - null\n")
assert.eq(yaml.encode(yaml.parse("[1, null, 3]")), "- 1\n- null\n- 3\n")
assert.eq(yaml.parse(""), nil)
assert.eq(yaml.parse("# only a comment"), nil)
assert.eq(yaml.parse_all(""), {})
assert.eq(#yaml.parse_all("---\n---\na\n"), 1)
assert.eq(#yaml.parse_all("---\n---\na\n", { null = json.null }), 2)
assert.eq(json.encode(yaml.parse_all("")), "[]")

--# case: keys
local doc = yaml.parse("1: a\ntrue: b\n1.5: c\n? [x, y]\n: d\n'2': e\n")
assert.eq(doc[1], "a")
assert.eq(doc[true], "b")
assert.eq(doc[1.5], "c")
assert.eq(doc["2"], "e")
local found = false
for k, v in pairs(doc) do
  if type(k) == "table" then found = k[1] == "x" and v == "d" end
end
assert(found)
assert.eq(yaml.parse("a: 1\na: 2").a, 2)
assert.eq(yaml.encode(yaml.parse("1: a\n2: b")), "1: a\n2: b\n")
assert.raises(function() yaml.parse("~: a") end, "null as key.*line 1")
assert.raises(function() yaml.parse(".nan: a") end, "as key")

--# case: merge keys
local doc = yaml.parse([[
a: &a {x: 1, y: 1}
b: &b {x: 2, z: 2}
both:
  <<: [*a, *b]
  w: 0
own:
  x: 9
  <<: *a
quoted: {"<<": 1}
]])
assert.eq(doc.both, { x = 1, y = 1, z = 2, w = 0 })
assert.eq(doc.own, { x = 9, y = 1 })
assert.eq(doc.quoted["<<"], 1)
assert.raises(function() yaml.parse("<<: 1") end, "merges a mapping")

--# case: aliases
local doc = yaml.parse("a: &x [1, {b: 2}]\nc: *x\nd: &s text\ne: *s\n")
assert.eq(doc.c, { 1, { b = 2 } })
doc.c[2].b = 3
assert.eq(doc.a[2].b, 2)
assert.eq(doc.e, "text")
assert.eq(json.encode(yaml.parse("a: &x []\nb: *x")), '{"a":[],"b":[]}')
assert.raises(function() yaml.parse("a: *nothing") end, "line 1 column 4")
assert.raises(function() yaml.parse("&a [*a]") end, "alias within the value")

--# case: billion laughs
local lines = { "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]" }
for i = 1, 9 do
  local refs = {}
  for j = 1, 10 do refs[j] = "*a" .. i - 1 end
  lines[#lines + 1] = ("a%d: &a%d [%s]"):format(i, i, table.concat(refs, ", "))
end
local ok, err = pcall(yaml.parse, table.concat(lines, "\n"))
assert.eq(ok, false)
assert.eq(err.code, "invalid_data")
assert.contains(err.message, "more than 100000 values")
-- Three levels are well within.
assert.eq(#yaml.parse(table.concat(lines, "\n", 1, 4)).a3, 10)

--# case: depth
local function nested(n) return ("["):rep(n) .. ("]"):rep(n) end
assert.not_nil(yaml.parse(nested(128)))
assert.raises(function() yaml.parse(nested(129)) end)
assert.raises(function() yaml.parse(("["):rep(100000)) end)
local block = {}
for i = 0, 200 do block[#block + 1] = (" "):rep(i) .. "a:" end
assert.raises(function() yaml.parse(table.concat(block, "\n")) end)
local t = {}
t.t = t
assert.raises(function() yaml.encode(t) end, "contains itself at \\$\\.t")

--# case: errors have line and column
for _, bad in ipairs({ "a: [1", "a: b: c", "a: \"\\q\"", "a: 'x", "{a: 1", "%YAML 3\n---\n&", "@x" }) do
  local ok, err = pcall(yaml.parse, bad)
  assert.eq(ok, false, bad)
  assert.eq(err.code, "invalid_data")
  assert.matches(err.message, [[^yaml.parse: .* at line \d+ column \d+$]])
end
assert.raises(function() yaml.parse("a: \xff") end, "not valid UTF-8 at line 1 column 4")
assert.raises(function() yaml.parse() end, "string expected")
assert.raises(function() yaml.encode() end, "value expected")
assert.raises(function() yaml.encode({ f = print }) end, "function.*\\$\\.f")

--# case: strings read back as the same strings
local strings = { "", " ", "x", "a b", " a", "a ", "yes", "No", "ON", "y", "true", "null", "~", "1", "1.5", "0x1", "0o7", "1e3", ".inf", ".nan",
  "012", "1_000", "12:30", "2024-01-01", "2024-01-01T00:00:00Z", "-", "--", "---", "--- x", "...", "-x", "- x", "--flag=1", "?", "? x", ":", ":x",
  "a:", "a: b", "a:b", "a #b", "a#b", "#a", "@a", "`a", "%a", "&a", "*a", "!a", "|", ">", "'a'", '"a"', "a'b", 'a"b', "[a]", "{a}", "a,b",
  "a\\b", "line\n", "two\nlines", "two\nlines\n", "two\nlines\n\n", "\nlead", " lead\nx", "tab\there", "\ttab\nx", "trail \nx", "a\n\n\nb", "\n", "\n\n", "a\n  \nb",
  "é", "日本", "😀", "\u{85}", "\u{2028}", "\u{feff}x", "\0", "\x7f", "\r", "a\r\nb", "=", "<<", "10.0.0.1", "1Gi", "nginx:1.25", "http://x/y?z#w",
  "[a\n]", "# a\nb", "- a\n- b", "k: v\nx: y\n", ("x"):rep(3000) }
for _, s in ipairs(strings) do
  assert.eq(yaml.parse(yaml.encode(s)), s)
  assert.eq(yaml.parse(yaml.encode({ key = s })).key, s)
  assert.eq(yaml.parse(yaml.encode({ s, { s, { s } } })), { s, { s, { s } } })
  assert.eq(yaml.parse(yaml.encode({ [s] = { [s] = s } })), { [s] = { [s] = s } })
end
assert.raises(function() yaml.encode({ a = "\xff" }) end, "not valid UTF-8.*\\$\\.a")

--# case: values read back as the same values
for _, v in ipairs({ 0, -1, math.maxinteger, math.mininteger, 0.1, 1.0, -0.0, 1e300, 1e-300, 5e-324, math.huge, -math.huge, true, false,
  { 1, 2, { 3, { 4 } } }, { { { 1 } } }, { a = { b = { c = { 1, { d = 2 } } } } }, { { a = 1, b = 2 }, { c = { 3 } } }, { [5] = "x", y = 1 } }) do
  local again = yaml.parse(yaml.encode(v))
  assert.eq(again, v)
  assert.eq(math.type(again), math.type(v))
end
assert.eq(yaml.encode(1e300), "1.0e+300\n")
assert.eq(yaml.encode(0 / 0), ".nan\n")
assert.eq(yaml.encode({}), "{}\n")
assert.eq(yaml.encode(json.array()), "[]\n")
assert.eq(yaml.encode({ { 1, 2 }, { a = 1 } }), "- - 1\n  - 2\n- a: 1\n")
assert.eq(yaml.encode({ text = "a\nb\n", list = { "x\ny" } }), "list:\n  - |-\n    x\n    y\ntext: |\n  a\n  b\n")

--# case: large
local list = {}
for i = 1, 5000 do list[i] = { id = i, name = "item " .. i, tags = { "a", "b" } } end
assert.eq(yaml.parse(yaml.encode(list)), list)

--# case: what follows the root is an error
for _, bad in ipairs({ '{"a":1}\n{"b":2}', "[1, 2] more", "a\nb: c", "a: 1\n]", "- a\nb", "a: b\n- c", '"a" b', "{a: 1} b", "[1]\n[2]", "|\n a\nb",
  "'x'\ny: 1", "--- [1] 2", "&x [1]\n*x", "!!str a\nb: c", "{a: 1}}", "[1]]" }) do
  local ok, err = pcall(yaml.parse, bad)
  assert.eq(ok, false, bad)
  assert.eq(err.code, "invalid_data")
  assert.matches(err.message, [[^yaml.parse: .* at line \d+ column \d+$]])
  assert.eq(pcall(yaml.parse_all, bad), false, bad)
end
assert.contains(select(2, pcall(yaml.parse, '{"a":1}\n{"b":2}')).message, "more text after the value")
-- What may follow it.
for _, good in ipairs({ "[1]\n", "[1] # comment\n# more", "[1]\n...\n", "[1]\n--- [2]", "[1]\n...\n---\n[2]", "--- [1]\n---\nx", "%YAML 1.2\n---\n[1]" }) do
  assert.eq(yaml.parse(good), { 1 }, good)
end
assert.eq(yaml.parse("a\nb"), "a b")

--# case: mappings with numbers as keys stay mappings
local doc = yaml.parse("m: &m {1: one, 2: two}\nown: {<<: *m}\nlist: {<<: [*m, {3: three}]}\nafter: {<<: {1: x}, 2: y}\n")
assert.eq(doc.own, { "one", "two" })
assert.eq(yaml.encode(doc.own), "1: one\n2: two\n")
assert.eq(yaml.encode(doc.list), "1: one\n2: two\n3: three\n")
assert.eq(json.encode(doc.after), '{"1":"x","2":"y"}')
assert.eq(yaml.encode(yaml.parse("1.0: a\n2.0: b")), "1: a\n2: b\n")
assert.eq(json.encode(yaml.parse("1.0: a\n2.0: b")), '{"1":"a","2":"b"}')
assert.eq(yaml.encode(yaml.parse("a: &a {1: x}\nb: *a")), "a:\n  1: x\nb:\n  1: x\n")
assert.eq(yaml.encode(yaml.parse("{.inf: a, -.inf: b, 1.5: c}")), "-.inf: b\n1.5: c\n.inf: a\n")
assert.eq(yaml.parse(yaml.encode({ [math.huge] = "x" }))[math.huge], "x")
-- A list is no mapping, a mapping no list.
for _, bad in ipairs({ "a: &a [1]\nb: {<<: *a}", "<<: [[{a: 1}]]", "<<: [1]", "<<: x", "a: &a [{x: 1}]\nb: {<<: [*a]}" }) do
  assert.raises(function() yaml.parse(bad) end, "merges a mapping")
end
assert.eq(yaml.parse("a: &a [{x: 1}, {y: 2}]\nb: {<<: *a}").b, { x = 1, y = 2 })
assert.eq(yaml.parse("<<: {}\na: 1"), { a = 1 })
assert.eq(yaml.parse("<<: []\na: 1"), { a = 1 })

--# case: a null of one's own wins over a merged value
local base = "m: &m {a: 1, b: 2}\n"
assert.eq(yaml.parse(base .. "own: {a: null, <<: *m}").own, { b = 2 })
assert.eq(yaml.parse(base .. "own: {<<: *m, a: null}").own, { b = 2 })
assert.eq(yaml.parse(base .. "own: {a: ~, <<: [*m, *m], c: 3}").own, { b = 2, c = 3 })
assert.eq(yaml.parse(base .. "n: &n {a: ~}\nown: {<<: [*n, *m]}").own, { b = 2 })
assert.eq(yaml.parse(base .. "n: &n {a: ~}\nown: {<<: [*m, *n]}").own, { a = 1, b = 2 })
assert.eq(yaml.parse(base .. "n: &n {a: ~, <<: *m}\nown: {<<: *n}\ntwice: {<<: [*n, *m]}").twice, { b = 2 })
assert.eq(yaml.parse(base .. "own:\n  a:\n  <<: *m\n  b: 3\n").own, { b = 3 })
local kept = yaml.parse(base .. "own: {a: null, <<: *m}", { null = json.null }).own
assert(kept.a == json.null and kept.b == 2)

--# case: numbers that no float holds
for text, digits in pairs({ ["1e400"] = "1e400", ["-1e400"] = "-1e400", ["+1.5e400"] = "1.5e400", [".5e400"] = "0.5e400", ["01.e+400"] = "1e+400" }) do
  local value = yaml.parse(text)
  assert.eq(tostring(value), digits)
  assert.eq(tostring(yaml.parse(yaml.encode(value))), digits)
end
assert.eq(yaml.parse("1e-400"), 0.0)
