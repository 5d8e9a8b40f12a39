-- table.sort: numbers, strings, and tables with a comparator.
return function()
  local x, numbers, strings, records = 12345, {}, {}, {}
  for i = 1, 40000 do
    x = (x * 1103515245 + 12345) & 0x7fffffff
    numbers[i] = x
  end
  for i = 1, 20000 do
    strings[i] = tostring(numbers[i])
    records[i] = { key = numbers[(i * 7919) % 40000 + 1] }
  end
  table.sort(numbers)
  table.sort(strings)
  table.sort(records, function(a, b) return a.key < b.key end)
  return numbers[1] + records[1].key + #strings[1]
end
