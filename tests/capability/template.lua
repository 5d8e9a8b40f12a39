--- # template
--- Jinja2 templates: `{{ value }}`, `{% for %}`, `{% if %}`, `{% set %}`, `{% macro %}`,
--- `{% include %}`, `{% extends %}`, `{% import %}`, `{% break %}`, filters and tests.
---
--- Strings are always available; template files are read with the grant `fs=read:PATH`. Names in
--- `include`, `extends` and `import` are paths within the template's directory; `..` and absolute names are
--- refused. `vars` is a table of values that `json.encode` could write: a table with the keys 1 to n is a
--- list, any other a map. Values in templates whose name ends in `.html`, `.htm`, `.xhtml`, `.xml` or `.svg` are escaped
--- for HTML, those in `.json`, `.json5` and `.js` are written as JSON; `.j2`, `.jinja` and `.jinja2` behind that do not count, nor does
--- the case. Other templates and strings are not escaped: in YAML use `{{ value|tojson }}`, or
--- `{% autoescape 'json' %}`.
---
--- A missing variable is empty, and one of its attributes an error; `{strict = true}` makes every use
--- of a missing variable an error. One rendering may take 2,000,000 steps (an instruction is one step,
--- and so are 64 bytes of text or data that it makes), then it raises `limit`. One filter or method takes a text of 2 MiB,
--- 4 MiB of data where it writes or converts them (32 MiB where it compares), and 300,000 steps (600,000 for those that sort or write data). Errors name
--- the template and the line.
---
--- Filters, with the arguments that Jinja2 gives them:
---
--- {names guest-lua/src/bindings/template/names.rs FILTERS}
---
--- Tests:
---
--- {names guest-lua/src/bindings/template/names.rs TESTS}
---
--- Functions:
---
--- {names guest-lua/src/bindings/template/names.rs FUNCTIONS}
---
--- Methods of texts, maps and lists, as in Python:
---
--- {names guest-lua/src/bindings/template/names.rs METHODS}
---
--- ## template.render(path, vars?, options?) -> string
--- Renders the file `path`; its includes are looked for in its directory.
---
--- ## template.render_string(source, vars?, options?) -> string
--- Renders `source`; its includes are looked for in `./templates`.
---
--- ## template.render_with_loader(directory, name, vars?, options?) -> string
--- Renders the file `name` in `directory`, where its includes are looked for too.

--# example: a string
local out = template.render_string("Hello {{ name|upper }}!{% for n in list %} {{ n }}{% endfor %}", { name = "you", list = { 1, 2 } })
assert.eq(out, "Hello YOU! 1 2")

--# example: files
--# allow: fs=rw:${TMP}
fs.write("base.html", "<h1>{% block title %}{% endblock %}</h1>{% include 'part.html' %}")
fs.write("part.html", "<p>{{ text }}</p>")
fs.write("page.html", "{% extends 'base.html' %}{% block title %}{{ title }}{% endblock %}")
local out = template.render_with_loader(".", "page.html", { title = "T & Co", text = "<b>" })
assert.eq(out, "<h1>T &amp; Co</h1><p>&lt;b&gt;</p>")
assert.eq(template.render("page.html", { title = "x", text = "y" }), "<h1>x</h1><p>y</p>")

--# case: values
local function r(source, vars, options) return template.render_string(source, vars, options) end
assert.eq(r(""), "")
assert.eq(r("{{ 1 + 2 }}"), "3")
assert.eq(r("{{ a.b.c }}", { a = { b = { c = "x" } } }), "x")
assert.eq(r("{{ list[1] }} {{ list|length }}", { list = { "a", "b" } }), "b 2")
assert.eq(r("{{ list|join(',') }}", { list = { 1, 2.5, "c" } }), "1,2.5,c")
assert.eq(r("{% if on %}y{% else %}n{% endif %}", { on = false }), "n")
assert.eq(r("{{ v|tojson }}", { v = { 1, "a" } }), '[1, "a"]')
assert.eq(r("{{ 'a b'|urlencode }}"), "a%20b")
assert.eq(r("{% for k, v in m|items %}{{ k }}={{ v }};{% endfor %}", { m = { b = 2, a = 1 } }), "a=1;b=2;")
assert.eq(r("{{ v is none }}", { v = json.null }), "true")
assert.eq(r("{{ big }}", { big = json.number("18446744073709551616") }), "18446744073709551616")
assert.eq(r("{{ html }}", { html = "<b>" }), "<b>")
assert.eq(r("{{ html|e }}", { html = "<b>" }), "&lt;b&gt;")
assert.eq(r("{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(1) }}{{ m(2) }}"), "[1][2]")
assert.eq(r("{{ text }}", { text = "日本 \0" }), "日本 \0")
assert.eq(r("{% for i in range(5) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}"), "012")

--# case: missing variables
assert.eq(template.render_string("[{{ nothing }}]"), "[]")
assert.eq(template.render_string("{{ nothing|default('d') }}", {}, { strict = true }), "d")
assert.raises(function() template.render_string("{{ a.b }}") end, "line 1")
local ok, err = pcall(template.render_string, "a\n{{ nothing }}", {}, { strict = true })
assert.eq(ok, false)
assert.eq(err.code, "invalid_data")
assert.contains(err.message, "<string> line 2")

--# case: errors
local ok, err = pcall(template.render_string, "ok\n{% if %}")
assert.eq(ok, false)
assert.eq(err.code, "invalid_data")
assert.contains(err.message, "line 2")
assert.raises(function() template.render_string("{{ x|nofilter }}", { x = 1 }) end, "nofilter")
assert.raises(function() template.render_string("{{ f }}", { f = print }) end, "function.*\\$\\.f")
assert.raises(function() template.render_string("{{ s }}", { s = "\xff" }) end, "UTF-8")
assert.raises(function() template.render_string() end, "string expected")
assert.raises(function() template.render_string("", 5) end, "table expected")
assert.raises(function() template.render_string("", {}, { strict = 1 }) end, "boolean expected")

--# case: limits
local ok, err = pcall(template.render_string, "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}")
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "2000000 steps")
assert.eq(#template.render_string("{% for a in range(100) %}{% for b in range(1000) %}x{% endfor %}{% endfor %}"), 100000)
assert.raises(function() template.render_string("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}") end)

--# case: files and their errors
--# allow: fs=rw:${TMP}
fs.mkdir("templates")
fs.write("templates/inc.txt", "inc {{ x }}")
assert.eq(template.render_string("<{% include 'inc.txt' %}>", { x = 1 }), "<inc 1>")
local ok, err = pcall(template.render, "missing.txt")
assert.eq(ok, false)
assert.eq(err.code, "not_found")
fs.write("a.txt", "line\n{% include 'missing.txt' %}")
local ok, err = pcall(template.render, "a.txt")
assert.eq(ok, false)
assert.eq(err.code, "not_found")
assert.contains(err.message, "a.txt line 2")
assert.contains(err.message, "missing.txt")
assert.eq(template.render_string("{% include 'missing.txt' ignore missing %}x"), "x")
fs.write("bad.txt", "\xff")
assert.raises(function() template.render("bad.txt") end, "not valid UTF-8")
fs.write("self.txt", "{% include 'self.txt' %}")
assert.raises(function() template.render("self.txt") end)

--# case: names stay in their directory
--# allow: fs=rw:${TMP}
fs.mkdir("in")
fs.write("secret.txt", "secret")
fs.write("in/page.txt", "{% include '../secret.txt' %}")
fs.write("in/sub.txt", "{% include 'deep/x.txt' %}")
fs.mkdir("in/deep")
fs.write("in/deep/x.txt", "deep")
assert.eq(template.render("in/sub.txt"), "deep")
for _, name in ipairs({ "../secret.txt", "/etc/passwd", "deep/../../secret.txt", "..", "", "a\0b", "..\\secret.txt" }) do
  assert.raises(function() template.render_with_loader("in", name) end, "not a path within its directory")
end
assert.raises(function() template.render("in/page.txt") end, "not a path within its directory")

--# case: denied without a grant
local ok, err = pcall(template.render, "page.html")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=read:")
local ok, err = pcall(template.render_string, "{% include 'x.txt' %}")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=read:")
