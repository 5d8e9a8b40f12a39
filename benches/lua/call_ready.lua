-- 20,000 calls of a builtin that may wait and need not.
return function()
  local get, refused = http.get, 0
  for _ = 1, 20000 do
    if not pcall(get, "x:") then refused = refused + 1 end
  end
  return refused
end
