-- 3,000 renderings of a small template.
return function()
  local length = 0
  for i = 1, 3000 do
    length = length + #template.render_string("Hello {{ name | upper }}, you are number {{ n }}.", { name = "Ada", n = i })
  end
  return length
end
