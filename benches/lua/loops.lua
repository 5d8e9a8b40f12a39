-- Numeric loops: a sieve, and float sums.
return function()
  local composite, count = {}, 0
  for i = 2, 200000 do
    if not composite[i] then
      count = count + 1
      for j = i * i, 200000, i do composite[j] = true end
    end
  end
  local sum = 0.0
  for i = 1, 3000000 do sum = sum + i * 0.5 end
  return count + sum
end
