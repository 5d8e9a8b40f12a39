--# case: what Jinja2 makes of it
-- The texts are those of Jinja2 3.1.6.
local fox = "The quick brown fox jumps over the lazy dog"
for _, case in ipairs({
  { "{{ s|truncate(20) }}", "The quick brown...", { s = fox } },
  { "{{ s|truncate(20, true) }}", "The quick brown f...", { s = fox } },
  { "{{ s|truncate(length=20, end='…') }}", "The quick brown…", { s = fox } },
  { "{{ s|truncate(40, leeway=0) }}", "The quick brown fox jumps over the...", { s = fox } },
  { "{{ s|truncate(40) }}", "The quick brown fox jumps over the lazy dog", { s = fox } },
  { "{{ s|truncate(9, killwords=True, end='', leeway=0) }}", "foobar ba", { s = "foobar baz bar" } },
  { "{{ '日本語日本語日本語日本語'|truncate(5, true) }}", "日本..." },
  { "{{ 'short'|truncate }}", "short" },
  { "{{ 'aaaaaaaaaaaaaaaaaaaa'|truncate(10) }}", "aaaaaaa..." },
  { "{{ s|wordwrap(20) }}", "The quick brown fox\njumps over the lazy\ndog", { s = fox } },
  { "{{ s|wordwrap(10) }}", "The quick\nbrown fox\njumps over\nthe lazy\ndog", { s = fox } },
  { "{{ s|wordwrap(width=15, wrapstring='|') }}", "The quick brown|fox jumps over|the lazy dog", { s = fox } },
  { "{{ 'abcdefghijklmnopqrstuvwxyz'|wordwrap(10) }}", "abcdefghij\nklmnopqrst\nuvwxyz" },
  { "{{ 'abcdefghijklmnopqrstuvwxyz'|wordwrap(10, false) }}", "abcdefghijklmnopqrstuvwxyz" },
  { "{{ 'one abcdefghijklmnop two'|wordwrap(6) }}", "one ab\ncdefgh\nijklmn\nop two" },
  { "{{ 'one  two   three'|wordwrap(8) }}", "one  two\nthree" },
  { "{{ '  lead in here'|wordwrap(8) }}", "  lead\nin here" },
  { "{{ 'a\nb b b b\n\nc'|wordwrap(4) }}", "a\nb b\nb b\n\nc" },
  { "{{ 'well-known state-of-the-art'|wordwrap(12) }}", "well-known\nstate-of-\nthe-art" },
  { "{{ 'well-known state-of-the-art'|wordwrap(12, break_on_hyphens=false) }}", "well-known s\ntate-of-the-\nart" },
  { "{{ 'ééé日日日 ééé'|wordwrap(4) }}", "ééé日\n日日\nééé" },
  { "[{{ 'x'|center(5) }}]", "[  x  ]" },
  { "[{{ 'ab'|center(5) }}]", "[  ab ]" },
  { "[{{ 'abc'|center(6) }}]", "[ abc  ]" },
  { "[{{ 'abc'|center(2) }}]", "[abc]" },
  { "[{{ 'é'|center(3) }}]", "[ é ]" },
  { "{{ 1|filesizeformat }}", "1 Byte" },
  { "{{ 0|filesizeformat }}", "0 Bytes" },
  { "{{ 999|filesizeformat }}", "999 Bytes" },
  { "{{ 1000|filesizeformat }}", "1.0 kB" },
  { "{{ 1500|filesizeformat }}", "1.5 kB" },
  { "{{ 13000|filesizeformat }}", "13.0 kB" },
  { "{{ 1048576|filesizeformat(true) }}", "1.0 MiB" },
  { "{{ 1300000|filesizeformat(binary=True) }}", "1.2 MiB" },
  { "{{ 1e30|filesizeformat }}", "1000000.0 YB" },
  { "{{ '1234567'|filesizeformat }}", "1.2 MB" },
  { "{{ 1023|filesizeformat(true) }}", "1023 Bytes" },
  { "{{ 1e12|filesizeformat }}", "1.0 TB" },
  { "{{ '<b>a &amp; b</b> <!-- c --> d'|striptags }}", "a & b d" },
  { "{{ '<p>x\n  y</p>'|striptags }}", "x y" },
  { "{{ 'a &copy; &#65; &lt;'|striptags }}", "a © A <" },
  { "{{ 'one two, three_4 !'|wordcount }}", "3" },
  { "{{ ''|wordcount }}", "0" },
  { "{{ '<a>'|forceescape }}", "&lt;a&gt;" },
  { "{{ '<a>'|e|forceescape }}", "&amp;lt;a&amp;gt;" },
  { "{{ {'class':'a b','id':'x<y','n':none,'k':5}|xmlattr }}", " class=\"a b\" id=\"x&lt;y\" k=\"5\"" },
  { "{{ {'a':'1'}|xmlattr(false) }}", "a=\"1\"" },
  { "[{{ {}|xmlattr }}]", "[]" },
  { "{{ 'see http://example.com/a?b=c&d, or www.example.org.'|urlize }}", "see <a href=\"http://example.com/a?b=c&amp;d\" rel=\"noopener\">http://example.com/a?b=c&amp;d</a>, or <a href=\"https://www.example.org\" rel=\"noopener\">www.example.org</a>." },
  { "{{ 'mail me@example.com now'|urlize }}", "mail <a href=\"mailto:me@example.com\">me@example.com</a> now" },
  { "{{ '(https://example.com/x_(y))'|urlize }}", "(<a href=\"https://example.com/x_(y)\" rel=\"noopener\">https://example.com/x_(y)</a>)" },
  { "{{ 'http://example.com/a/long/path'|urlize(15) }}", "<a href=\"http://example.com/a/long/path\" rel=\"noopener\">http://example....</a>" },
  { "{{ 'http://example.com'|urlize(nofollow=true, target='_blank') }}", "<a href=\"http://example.com\" rel=\"nofollow noopener\" target=\"_blank\">http://example.com</a>" },
  { "{{ '<script> example.com x.example.net'|urlize }}", "&lt;script&gt; <a href=\"https://example.com\" rel=\"noopener\">example.com</a> x.example.net" },
  { "{{ 'mailto:me@example.com'|urlize }}", "<a href=\"mailto:me@example.com\">me@example.com</a>" },
  { "{{ 'nothing here. e.g. this'|urlize }}", "nothing here. e.g. this" },
  { "{{ 'http://localhost:8080/x http://127.0.0.1/'|urlize }}", "<a href=\"http://localhost:8080/x\" rel=\"noopener\">http://localhost:8080/x</a> <a href=\"http://127.0.0.1/\" rel=\"noopener\">http://127.0.0.1/</a>" },
  { "{{ ''|int }}", "0" },
  { "{{ 'x'|int }}", "0" },
  { "{{ ' 42 '|int }}", "42" },
  { "{{ '42.9'|int }}", "42" },
  { "{{ 'x'|int(7) }}", "7" },
  { "{{ 'x'|int(default=8) }}", "8" },
  { "{{ '0x1f'|int(base=16) }}", "31" },
  { "{{ 'ff'|int(0, 16) }}", "255" },
  { "{{ none|int }}", "0" },
  { "{{ []|int }}", "0" },
  { "{{ true|int }}", "1" },
  { "{{ ''|float }}", "0.0" },
  { "{{ 'x'|float(1.5) }}", "1.5" },
  { "{{ '2.50'|float }}", "2.5" },
  { "{{ none|float }}", "0.0" },
  { "{% for k, v in m.items() %}{{ k }}={{ v }};{% endfor %}", "a=1;b=2;", { m = { a = 1, b = 2 } } },
  { "{{ m.keys()|join(',') }}", "a,b", { m = { a = 1, b = 2 } } },
  { "{{ m.values()|list }}", "[1, 2]", { m = { a = 1, b = 2 } } },
  { "{{ m.get('a') }} {{ m.get('x', 'd') }} {{ 'y' if m.get('x') is none }}", "1 d y", { m = { a = 1 } } },
  { "{{ 'a,b,c'.split(',')|join('-') }}", "a-b-c" },
  { "{{ 'a b  c'.split()|length }}", "3" },
  { "{{ 'a,b,c'.split(',', 1)|last }}", "b,c" },
  { "{{ 'y' if 'abc'.startswith('ab') }}{{ 'y' if 'abc'.endswith('bc') }}", "yy" },
  { "{{ 'Abc'.upper() }}{{ 'Abc'.lower() }}{{ 'abc def'.title() }}{{ 'abc'.capitalize() }}", "ABCabcAbc DefAbc" },
  { "[{{ ' x '.strip() }}{{ 'xxaxx'.strip('x') }}{{ ' x'.lstrip() }}{{ 'x '.rstrip() }}]", "[xaxx]" },
  { "{{ 'aXbX'.replace('X', '-') }}{{ 'aXbX'.replace('X', '-', 1) }}", "a-b-a-bX" },
  { "{{ 'hello'.find('l') }}{{ 'hello'.rfind('l') }}{{ 'hello'.find('z') }}{{ 'hello'.count('l') }}", "23-12" },
  { "{{ ', '.join(['a', 'b', 'c']) }}", "a, b, c" },
  { "{{ '{} and {b}'.format(1, b=2) }}", "1 and 2" },
  { "{{ '{0:>5}|{0:<5}|{1:.2f}'.format('x', 3.14159) }}", "    x|x    |3.14" },
  { "{{ 'y' if '12'.isdigit() and 'ab'.isalpha() and 'a1'.isalnum() and not 'A'.islower() }}", "y" },
  { "{{ 'a\nb\n'.splitlines()|length }}", "2" },
  { "{{ [1,2,1].count(1) }}", "2" },
  { "{% set c = cycler('a','b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}", "aba" },
  { "{% set j = joiner('|') %}{% for i in [1,2,3] %}{{ j() }}{{ i }}{% endfor %}", "1|2|3" },
  { "{% set j = joiner() %}{{ j() }}a{{ j() }}b", "a, b" },
  { "{{ dict(a=1, b=2)|length }}", "2" },
  { "{{ range(3)|list }}", "[0, 1, 2]" },
  { "{{ 'y' if 5 is callable else 'n' }}{{ 'y' if range is callable else 'n' }}", "ny" },
  { "{{ [3,1,2]|sort|join }}{{ ['b','A']|sort|join }}{{ [1,2,3]|sum }}{{ [1,2]|first }}{{ [1,2]|last }}{{ [1,3,2]|max }}{{ [1,3,2]|min }}", "123Ab61231" },
  { "{{ l|map(attribute='n')|join(',') }} {{ l|selectattr('n','gt',1)|map(attribute='n')|list }} {{ l|rejectattr('n','odd')|list|length }}", "1,2,3 [2, 3] 1", { l = { { n = 1 }, { n = 2 }, { n = 3 } } } },
  { "{% for g in l|groupby('k') %}{{ g.grouper }}:{{ g.list|length }};{% endfor %}", "a:2;b:1;", { l = { { k = "a" }, { k = "b" }, { k = "a" } } } },
  { "{{ [1,2,3,4,5]|batch(2, 0)|list }}", "[[1, 2], [3, 4], [5, 0]]" },
  { "{{ [1,2,3,4,5]|slice(2)|list }}", "[[1, 2, 3], [4, 5]]" },
  { "{{ [1,1,2]|unique|list }}{{ 'abc'|reverse }}{{ [1,2]|reverse|list }}", "[1, 2]cba[2, 1]" },
  { "{{ 'a b'|title }}{{ 'AB'|lower }}{{ ' x '|trim }}{{ 'x'|upper }}{{ 'aa'|replace('a','b') }}{{ 'ab'|list|join('-') }}", "A BabxXbba-b" },
  { "{{ 'x\ny'|indent }}|{{ 'x\ny'|indent(2, true) }}|{{ 'x\n\ny'|indent(width=1, blank=true) }}", "x\n    y|  x\n  y|x\n \n y" },
  { "{{ 42.55|round(1) }} {{ 42.55|round(1,'floor') }} {{ 42.1|round(method='ceil')|int }} {{ -3|abs }}", "42.5 42.5 43 3" },
  { "{{ '%s-%02d'|format('a', 5) }}", "a-05" },
  { "{{ ''|default('d') }}|{{ ''|default('d', true) }}|{{ nothing|d('x') }}", "|d|x" },
  { "{{ 'a b&c'|urlencode }} {{ {'a':'1 2'}|urlencode }}", "a%20b%26c a=1+2" },
  { "{% for k,v in {'b':1,'a':2}|dictsort %}{{ k }}{{ v }}{% endfor %}", "a2b1" },
  { "{{ '<b>'|safe }}{{ 'x'|string }}{{ [1]|length }}", "<b>x1" },
  { "{{ 'a' ~ 1 ~ none }}", "a1None" },
}) do
  local ok, text = pcall(template.render_string, case[1], case[3] or {})
  assert.eq(ok and text or tostring(text), case[2], case[1])
end

--# case: what is undefined is nothing to a filter
for source, text in pairs({ ["{{ nothing|int }}"] = "0", ["{{ nothing|float }}"] = "0.0", ["{{ nothing|truncate(5) }}"] = "",
  ["[{{ nothing|center(3) }}]"] = "[   ]", ["{{ nothing|wordcount }}"] = "0", ["{{ nothing|urlize }}"] = "" }) do
  assert.eq(template.render_string(source), text, source)
end
assert.raises(function() template.render_string("{{ nothing|upper }}", {}, { strict = true }) end, "undefined")

--# case: random choices
local seen = {}
for _ = 1, 200 do seen[template.render_string("{{ [1, 2, 3]|random }}{{ 'ab'|random }}")] = true end
local count = 0
for text in pairs(seen) do
  assert.matches(text, "^[123][ab]$")
  count = count + 1
end
assert.gt(count, 1)
assert.eq(template.render_string("{{ []|random }}"), "")
local text = template.render_string("{{ lipsum(n=2, html=false, min=3, max=5) }}")
assert.matches(text, "^[A-Z][a-z .]+\\n\\n[A-Z][a-z .]+")
assert.contains(template.render_string("{{ lipsum(1) }}"), "<p>")
assert.raises(function() template.render_string("{{ lipsum(min=5, max=5) }}") end, "lipsum")

--# case: escaping goes by the last extension
--# allow: fs=rw:${TMP}
for name, text in pairs({
  ["a.html"] = "&lt;b&gt;", ["a.HTML"] = "&lt;b&gt;", ["a.Htm"] = "&lt;b&gt;", ["a.XML"] = "&lt;b&gt;", ["a.html.j2"] = "&lt;b&gt;",
  ["a.HTML.J2"] = "&lt;b&gt;", ["a.html.jinja"] = "&lt;b&gt;", ["a.html.jinja2"] = "&lt;b&gt;", ["a.xhtml"] = "&lt;b&gt;", ["a.svg"] = "&lt;b&gt;",
  ["a.html.txt"] = "<b>", ["a.txt"] = "<b>", ["a.txt.j2"] = "<b>", ["html"] = "&lt;b&gt;", ["a.yaml"] = "<b>", ["a.yml.j2"] = "<b>", ["a.YAML"] = "<b>",
  ["a.json"] = '"<b>"', ["a.JSON.j2"] = '"<b>"', ["a.md"] = "<b>",
}) do
  fs.write(name, "{{ v }}")
  assert.eq(template.render(name, { v = "<b>" }), text, name)
end
-- Each template by its own name, whichever template asks for it.
fs.write("page.txt", "{{ v }} {% include 'a.html' %} {{ v }}")
assert.eq(template.render("page.txt", { v = "<b>" }), "<b> &lt;b&gt; <b>")
assert.eq(template.render_string("{% autoescape true %}{{ v }}{% endautoescape %}{{ v }}", { v = "<b>" }), "&lt;b&gt;<b>")
assert.eq(template.render_string("{% autoescape 'json' %}{{ v }}{% endautoescape %}", { v = 'a"b' }), '"a\\"b"')
assert.eq(template.render_string("{{ v|tojson }}", { v = 'a"b' }), '"a\\"b"')

--# case: filters keep what is safe
--# allow: fs=rw:${TMP}
fs.write("a.html", "{{ v|upper }} {{ v|e }} {{ v|safe }} {{ (v|safe)|upper }} {{ [v, 'x']|join('<') }} {{ v|forceescape }} {{ v|truncate(4, true, '>', 0) }} "
  .. "{{ v.upper() }} {{ v|replace('b', '&') }} {{ v|urlize }} {{ v|center(5) }} {{ {'a': v}|xmlattr }}")
assert.eq(template.render("a.html", { v = "<bc>" }), "&lt;BC&gt; &lt;bc&gt; <bc> <BC> &lt;bc&gt;&lt;x &lt;bc&gt; &lt;bc&gt; &lt;BC&gt; &lt;&amp;c&gt; "
  .. '&lt;bc&gt;  &lt;bc&gt;  a="&lt;bc&gt;"')

--# case: a name that there is not
for source, words in pairs({ ["{{ x|uper }}"] = "did you mean upper", ["{{ x is evn }}"] = "did you mean even", ["{{ rnge(3) }}"] = "did you mean range",
  ["{{ x|zzzzzzzzz }}"] = "there are abs" }) do
  local ok, err = pcall(template.render_string, source, { x = 1 })
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_data")
  assert.contains(err.message, words)
end
