-- A function of several names is always told by the same: the shortest, of those the first in order.
local function told()
  return select(2, pcall(string.rep)):match("to '(.-)'")
end
assert(told() == "string.rep", told())
for _, name in ipairs({ "qc", "qa", "qb", "qqq", "qd" }) do _G[name] = string.rep end
assert(told() == "qa", told())
qa = nil
assert(told() == "qb", told())
for i = 1, 200 do _G["longer" .. i] = string.rep end
assert(told() == "qb", told())
