-- COUNT times http.get of URL, by as many tasks as AT_ONCE.
return function()
  local function fetch(n)
    for _ = 1, n do
      local response = http.get(URL)
      assert(response.status == 200 and #response.body == 13, response.body)
    end
  end
  if AT_ONCE == 1 then
    fetch(COUNT)
    return COUNT
  end
  local tasks = {}
  for i = 1, AT_ONCE do
    tasks[i] = async.spawn(function() fetch(COUNT // AT_ONCE) end)
  end
  for i = 1, AT_ONCE do tasks[i]:await() end
  return COUNT
end
