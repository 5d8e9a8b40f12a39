-- 50,000 calls of a builtin that waits.
return function()
  local tasks = {}
  for i = 1, 10000 do
    tasks[i] = async.spawn(function()
      for _ = 1, 5 do sleep(0) end
    end)
  end
  for i = 1, #tasks do tasks[i]:await() end
end
