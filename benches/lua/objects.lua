-- Objects with metatables, closures, and the garbage that they leave.
local Point = {}
Point.__index = Point

function Point.new(x, y) return setmetatable({ x = x, y = y }, Point) end
function Point:add(other) return Point.new(self.x + other.x, self.y + other.y) end

return function()
  local sum, step = Point.new(0, 0), Point.new(1, 2)
  for _ = 1, 300000 do sum = sum:add(step) end
  local kept = {}
  for i = 1, 100000 do
    local value = i
    kept[i % 5000 + 1] = function() return value, { sum, i } end
  end
  return sum.x + sum.y + kept[1]()
end
