-- 20,000 errors raised and caught.
return function()
  local count = 0
  for i = 1, 20000 do
    local ok, value = pcall(error, i)
    if not ok then count = count + value end
  end
  return count
end
