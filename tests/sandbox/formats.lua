--# case: templates are not too deep
local chains = {
  "1" .. ("+1"):rep(1001), "a" .. (".b"):rep(5000), "a" .. ("|e"):rep(50000), ("-"):rep(100000) .. "1", "a" .. ("()"):rep(4000),
  ("not "):rep(10000) .. "1", "1" .. (" and 1"):rep(10000), "1" .. (" if 1 else 1"):rep(10000), "a" .. ("[1]"):rep(10000),
  "2" .. ("**2"):rep(10000), "2" .. (" is odd"):rep(10000), "a" .. ("~a"):rep(10000), "f(1,2)" .. ("(1,2)"):rep(10000),
  "a" .. ("|default(1,2)"):rep(10000),
}
for _, chain in ipairs(chains) do
  for _, tag in ipairs({ "{{ " .. chain .. " }}", "{% if " .. chain .. " %}{% endif %}", "{% set x = " .. chain .. " %}" }) do
    local ok, err = pcall(template.render_string, tag, { a = 1 })
    assert.eq(ok, false)
    assert.eq(err.code, "limit", tag:sub(1, 30))
    assert.contains(err.message, "line 1")
  end
end
local elifs = "{% if 0 %}" .. ("{% elif 0 %}"):rep(20000) .. "{% endif %}"
local ok, err = pcall(template.render_string, elifs)
assert.eq(err.code, "limit")
for _, open in ipairs({ "(", "[", "{1:", "a(", "a[" }) do
  local close = ({ ["("] = ")", ["["] = "]", [":"] = "}" })[open:sub(-1)]
  assert.eq(pcall(template.render_string, "{{ " .. open:rep(3000) .. "1" .. close:rep(3000) .. " }}"), false)
end
for _, block in ipairs({ "if 1", "for x in y", "with", "filter upper" }) do
  local last = block:match("%a+")
  local source = ("{% " .. block .. " %}"):rep(3000) .. ("{% end" .. last .. " %}"):rep(3000)
  assert.eq(pcall(template.render_string, source), false)
end
-- What people write is not refused: long lists, many expressions, some operators.
assert.eq(template.render_string("{{ 1" .. ("+1"):rep(500) .. " }}"), "501")
assert.eq(template.render_string("{{ [" .. ("1+1, "):rep(5000) .. "1]|length }}"), "5001")
assert.eq(#template.render_string(("{{ a.b }}"):rep(5000), { a = { b = "x" } }), 5000)
assert.eq(template.render_string("{% if 0 %}" .. ("{% elif 0 %}"):rep(500) .. "{% else %}x{% endif %}"), "x")
assert.eq(template.render_string("{% raw %}{{ a" .. (".b"):rep(100) .. "{% endraw %}"):sub(1, 6), "{{ a.b")

--# case: an included template is not too deep either
--# allow: fs=rw:${TMP}
fs.write("templates/deep.txt", "{{ 1" .. ("+1"):rep(20000) .. " }}")
local ok, err = pcall(template.render_string, "{% include 'deep.txt' %}")
assert.eq(ok, false)
assert.eq(err.code, "limit")

--# case: values of a template are not too deep
-- The attack: a loop that puts a list into another one, until walking through them takes more stack than there is.
local head, tail = "{% set ns = namespace(x=[]) %}{% for i in range(N) %}", "{% endfor %}{{ ns.x|string|length }}"
for _, step in ipairs({
  "{% set ns.x = [ns.x] %}", "{%- set ns.x = [ns.x] -%}", "{% set ns.x={'a': ns.x} %}", "{%set ns . x = (ns.x, 1) if 1 else 2%}",
  "{% set ns.x = [ns.x]|list %}", "{% set y = [ns.x] %}{% set ns.x = y %}", "{% set ns.x = [[[[[[[[[[ns.x]]]]]]]]]] %}",
  "{# {{ #}{% set ns.x = [ns.x] %}", "{% raw %}{{{% endraw %}{% set ns.x = ['%}', ns.x] %}", "{% set a, ns.x = 1, [ns.x] %}",
}) do
  for _, n in ipairs({ 300, 50000 }) do
    local ok, err = pcall(template.render_string, (head:gsub("N", n)) .. step .. tail)
    assert.eq(ok, false, step)
    assert.eq(err.code, "limit", step .. ": " .. err.message)
    assert.contains(err.message, "nested")
  end
  local few = template.render_string((head:gsub("N", "15")) .. step .. tail)
  assert(tonumber(few:match("%d+$")) > 10, step)
end
-- What people write is as it was.
assert.eq(template.render_string("{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i -%} {% endfor %}{{ ns.n }}"), "3")
assert.eq(template.render_string("{% set ns = namespace() %}{% set ns.a = 1 if 0 else 'x%}y' | upper %}{{ ns.a }}"), "X%}Y")
assert.eq(template.render_string("{% set ns = namespace() %}{% set ns.a %}b{% endset %}{{ ns.a }}"), "b")
assert.eq(template.render_string("{% raw %}{% set ns.a = 1 %}{% endraw %}{# {% set a.b = 1 #}!"), "{% set ns.a = 1 %}!")
assert.eq(template.render_string("{% set x = {'a.b': 1} %}{{ x['a.b'] }}"), "1")
-- Macros that call each other with deeper and deeper values.
pcall(template.render_string, "{% macro f(x, n) %}{% if n %}{{ f(" .. ("["):rep(140) .. "x" .. ("]"):rep(140) .. ", n - 1) }}{% else %}{{ x }}{% endif %}{% endmacro %}{{ f(1, 70) }}")

--# case: a filter or method of a template is bounded
local long = ("x,"):rep(500000)
-- The attacks: little data that stands for much, and filters that make much of little.
local nested = "{% set a = [0]*1000 %}{% set b = [a]*1000 %}{% set c = [b]*1000 %}"
local many = {}
for i = 1, 700000 do many[i] = i end
for _, source in ipairs({
  "{{ c|tojson }}", "{{ c|string }}", "{{ c|pprint }}", "{{ c|upper }}", "{{ c|e }}", "{{ c|join }}", "{{ c|urlencode }}", "{{ c|wordcount }}",
  "{{ {'a': c}|xmlattr }}", "{{ '%s'|format(c) }}", "{{ '{}'.format(c) }}", "{{ ''.join(c) }}", "{{ [c, c]|sort|length }}",
  "{{ [c, [b]*1000]|unique|list|length }}", "{{ [c].count([b]*1000) }}", "{{ c|center(5) }}", "{{ c|truncate(5) }}", "{{ [c]|map('string')|list }}",
  "{{ 'x'|center(999999999) }}", "{{ 'x'|indent(999999999, true) }}", "{{ '%999999999d'|format(1) }}", "{{ '{:999999999}'.format(1) }}",
  "{{ '{0:9999999}{0:9999999}'.format(1) }}", "{{ ([long]*1000)|join }}", "{{ ''.join([long]*1000) }}", "{{ long.replace('', long) }}",
  "{{ long|replace('', long) }}", "{{ long.split(',')|length }}", "{{ long|split(',')|length }}", "{{ long|wordwrap(1, wrapstring=long) }}",
  "{{ ('a@b.cc '*100000)|urlize(target=long) }}", "{{ [1,2]|batch(999999999, 0)|list }}", "{{ [1]|slice(999999999)|list }}", "{{ [1]|tojson(indent=999999999) }}",
  "{{ ('{0}'*100000).format(long) }}", "{{ (long*5)|upper|length }}", "{{ (long*9).upper()|length }}", "{{ many|sum }}", "{{ many|sort|length }}", "{{ many|map('string')|list|length }}",
}) do
  local ok, err = pcall(template.render_string, nested .. source, { long = long .. long, many = source:find("many") and many })
  assert.eq(ok, false, source)
  assert.eq(err.code, "limit", source .. ": " .. tostring(err))
end
-- Both sides of the bounds.
local text = ("x"):rep(2 << 20)
assert.eq(template.render_string("{{ s|upper|length }} {{ s.upper()|length }}", { s = text }), "2097152 2097152")
assert.eq(select(2, pcall(template.render_string, "{{ s|upper|length }}", { s = text .. "x" })).code, "limit")
assert.eq(template.render_string("{{ s|length }}", { s = text .. "x" }), "2097153")
many = {}
for i = 1, 30000 do many[i] = 30000 - i end
assert.eq(template.render_string("{{ m|sort|first }} {{ m|sum }} {{ m|select('odd')|list|length }} {{ m|tojson|length }}", { m = many }), "0 449985000 15000 198890")

--# case: texts have a size where a parser takes them whole
for _, case in ipairs({
  { markdown.to_html, "a\n", 512 << 10 }, { toml.parse, "#\n", 512 << 10 }, { template.render_string, "a\n", 4 << 20 },
}) do
  local f, line, most = case[1], case[2], case[3]
  assert(pcall(f, line:rep(most // #line)))
  local ok, err = pcall(f, line:rep(most // #line + 1))
  assert.eq(ok, false)
  assert.eq(err.code, "limit")
  assert.contains(err.message, tostring(most))
end

--# case: a number of JSON has a length
local ok, err = pcall(json.parse, ("1"):rep(70000))
assert.eq(ok, false)
assert.eq(err.code, "invalid_data")
assert.eq(pcall(json.number, ("1"):rep(70000)), false)
assert.eq(#tostring(json.parse(("1"):rep(60000))), 60000)

--# case: split through pieces
local text = ("x"):rep((1 << 18) - 2) .. "--" .. ("y"):rep(1 << 18) .. "---z"
assert.eq(#text:split("--"), 3)
assert.eq(text:split("--")[2], ("y"):rep(1 << 18))
assert.eq(text:split("--")[3], "-z")
for at = (1 << 18) - 4, (1 << 18) + 2 do
  local text = ("x"):rep(at) .. ",,," .. ("x"):rep(10)
  assert.eq(text:split(",,,"), { ("x"):rep(at), ("x"):rep(10) })
  assert.eq((("x"):rep(at) .. "  y "):split(), { ("x"):rep(at), "y" })
  assert.eq(("x"):rep(at):split("ab"), { ("x"):rep(at) })
end
assert.eq(("aaaa"):split("aa"), { "", "", "" })
assert.eq((""):split(","), { "" })

--# case: characters that a piece cuts are characters
for at = (1 << 18) - 5, (1 << 18) + 1 do
  local text = ("x"):rep(at) .. "€é𝄞" .. ("x"):rep(10)
  assert.eq(json.parse(json.encode(text)), text)
  assert.eq(yaml.parse(yaml.encode(text)), text)
  assert.eq(toml.parse(toml.encode({ a = text })).a, text)
  assert.eq(pcall(json.parse, '"' .. ("x"):rep(at) .. "\xe2\x82" .. '"'), false)
  assert.eq(pcall(json.encode, ("x"):rep(at) .. "\xe2\x82"), false)
  assert.eq(json.parse('"' .. ("x"):rep(at) .. [[\n]] .. '"'), ("x"):rep(at) .. "\n")
end
local ok, err = pcall(json.parse, ("\n"):rep(600000) .. "é x")
assert.contains(err.message, "line 600001 column 1")
