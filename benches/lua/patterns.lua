-- Lua patterns: gmatch, gsub, find, match.
return function()
  local text = ("the quick brown fox jumps over the lazy dog 12345 key=value; "):rep(500)
  local count = 0
  for _ = 1, 5 do
    for key in text:gmatch("(%w+)=(%w+)") do count = count + #key end
    count = count + select(2, text:gsub("%a+", string.upper))
    count = count + select(2, text:gsub("(%d+)", "<%1>"))
    local from = 1
    while true do
      local first, last = text:find("l%a-y%s", from)
      if not first then break end
      count, from = count + 1, last + 1
    end
  end
  for i = 1, 20000 do
    count = count + #(i .. ":xyz"):match("^%d+:(%a*)$")
  end
  return count
end
