--# case: a rendering has nothing of those before it
--# allow: fs=rw:${TMP}
for _, directory in ipairs({ "a", "b" }) do
  fs.mkdir(directory)
  fs.write(directory .. "/page.txt", "{% include 'part.txt' %}")
end
for round = 1, 3 do
  for _, directory in ipairs({ "a", "b" }) do
    fs.write(directory .. "/part.txt", directory .. round)
    assert.eq(template.render(directory .. "/page.txt"), directory .. round)
  end
  -- What is set in one template is not known in the next, nor is a macro.
  assert.eq(template.render_string("{% set x = 1 %}{% macro m() %}m{% endmacro %}{{ x }}{{ m() }}"), "1m")
  assert.eq(template.render_string("{{ x }}{{ m is defined }}"), "false")
  -- Each has all its steps.
  assert.eq(#template.render_string("{% for a in range(300) %}{% for b in range(1000) %}x{% endfor %}{% endfor %}"), 300000)
end

--# case: strict and other templates in turns
for _ = 1, 3 do
  assert.eq(template.render_string("<{{ x }}>"), "<>")
  assert.eq(template.render_string("{{ [x]|join }}"), "")
  assert.raises(function() template.render_string("<{{ x }}>", {}, { strict = true }) end, "undefined")
  assert.raises(function() template.render_string("{{ x|sort }}", {}, { strict = true }) end, "undefined")
  assert.eq(template.render_string("{{ x|sort|length }}"), "0")
end

--# case: an error says what its own template asked for
for _ = 1, 3 do
  local ok, err = pcall(template.render_string, "{{ {}|tojson(indent=65) }}")
  assert.eq(err.code, "limit")
  ok, err = pcall(template.render_string, "{{ 1|nofilter }}")
  assert.eq(err.code, "invalid_data")
  ok, err = pcall(template.render_string, "{{ x }}", {}, { strict = true })
  assert.eq(err.code, "invalid_data")
end
