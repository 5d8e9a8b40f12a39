--- # markdown
--- CommonMark to HTML. Always available. A text may have 512 KiB; a larger one is an error with the code `limit`.
---
--- ## markdown.to_html(source, options?) -> string
--- `source` as HTML: CommonMark with tables, `~~strikethrough~~`, task lists and footnotes. Raw HTML is
--- passed through, as CommonMark says. For text from people you do not trust, `{safe = true}` drops raw
--- HTML and empties the addresses of links and images whose scheme is not http, https, mailto, tel,
--- ftp, irc or xmpp (relative addresses stay).

--# example: headings and lists
assert.eq(markdown.to_html("# Hi\n\n- *a*\n- `b`\n"), "<h1>Hi</h1>\n<ul>\n<li><em>a</em></li>\n<li><code>b</code></li>\n</ul>\n")

--# case: extensions
local html = markdown.to_html("| a | b |\n|---|:-:|\n| 1 | 2 |\n")
assert.contains(html, "<table>")
assert.contains(html, "<td>1</td>")
assert.contains(html, "center")
assert.contains(markdown.to_html("~~no~~"), "<del>no</del>")
assert.contains(markdown.to_html("- [x] done\n- [ ] open\n"), 'checkbox')
assert.contains(markdown.to_html("a[^1]\n\n[^1]: note\n"), "note")

--# case: raw HTML
assert.contains(markdown.to_html("<b>x</b>"), "<b>x</b>")
local html = markdown.to_html('<script>alert(1)</script>\n\na <b onclick="x()">b</b>\n\n<!-- c -->\n', { safe = true })
for _, bad in ipairs({ "<script", "onclick", "<b", "<!--" }) do
  assert.eq(html:find(bad, 1, true), nil, bad)
end
assert.contains(html, "<p>a b</p>")

--# case: addresses
for _, bad in ipairs({ "javascript:alert(1)", "JavaScript:alert(1)", "vbscript:x", "data:text/html,x", "javascript&#58;alert(1)", "java&#10;script:x", "&#1;javascript:x" }) do
  for _, form in ipairs({ "[x](<%s>)", "![x](<%s>)", "[x][1]\n\n[1]: <%s>\n" }) do
    local html = markdown.to_html(form:format(bad), { safe = true })
    assert.eq(html:lower():find("script:", 1, true), nil, html)
    assert.eq(html:find("data:", 1, true), nil, html)
  end
end
assert.contains(markdown.to_html("[x](javascript:y)"), "javascript:y")
for _, good in ipairs({ "https://a.example/x?y=z:1", "/path:x", "a/b:c", "#frag:x", "mailto:a@b.example", "?q=a:b" }) do
  assert.contains(markdown.to_html("[x](" .. good .. ")", { safe = true }), 'href="' .. good .. '"')
end

--# case: edges
assert.eq(markdown.to_html(""), "")
assert.contains(markdown.to_html("é & <"), "é &amp; &lt;")
assert.contains(markdown.to_html("a\0b"), "a")
assert.raises(function() markdown.to_html("\xff") end, "UTF-8")
assert.raises(function() markdown.to_html() end, "string expected")
assert.raises(function() markdown.to_html("x", { safe = "yes" }) end, "boolean expected")

--# case: large and deep
assert.gt(#markdown.to_html(("word **bold** [l](u)\n\n"):rep(20000)), 100000)
assert.not_nil(markdown.to_html(("> "):rep(5000) .. "x"))
assert.not_nil(markdown.to_html(("["):rep(20000)))
assert.not_nil(markdown.to_html(("*a "):rep(20000)))
