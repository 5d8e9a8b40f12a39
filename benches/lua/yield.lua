-- 100,000 switches into a coroutine and back.
return function()
  local step = coroutine.wrap(function()
    while true do
      for i = 1, 1000 do coroutine.yield(i) end
    end
  end)
  local count = 0
  for _ = 1, 100000 do count = count + step() end
  return count
end
