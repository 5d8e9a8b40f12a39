-- 20,000 errors of the interpreter itself: nil is indexed.
return function()
  local count, nothing = 0, nil
  local function index() return nothing.field end
  for _ = 1, 20000 do
    if not pcall(index) then count = count + 1 end
  end
  return count
end
