-- Building strings: concatenation, format, rep, table.concat.
return function()
  local parts = {}
  for i = 1, 30000 do
    parts[#parts + 1] = string.format("%5d %s %g %x", i, "abc", i / 7, i) .. "|" .. i
  end
  local text = table.concat(parts, "\n")
  local length = 0
  for i = 1, 100000 do
    local key = "k" .. (i % 1000) .. "/" .. i
    length = length + #key
  end
  return #text + length + #text:rep(10, ","):upper()
end
