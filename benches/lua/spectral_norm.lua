-- The spectral norm of an infinite matrix: calls, integer and float arithmetic, arrays.
local function element(i, j)
  local sum = i + j - 1
  return 1.0 / (sum * (sum - 1) * 0.5 + i)
end

local function times(x, y, n)
  for i = 1, n do
    local sum = 0.0
    for j = 1, n do sum = sum + x[j] * element(i, j) end
    y[i] = sum
  end
end

local function times_transposed(x, y, n)
  for i = 1, n do
    local sum = 0.0
    for j = 1, n do sum = sum + x[j] * element(j, i) end
    y[i] = sum
  end
end

return function()
  local n = 160
  local u, v, w = {}, {}, {}
  for i = 1, n do u[i] = 1 end
  for _ = 1, 10 do
    times(u, w, n)
    times_transposed(w, v, n)
    times(v, w, n)
    times_transposed(w, u, n)
  end
  local uv, vv = 0.0, 0.0
  for i = 1, n do
    uv, vv = uv + u[i] * v[i], vv + v[i] * v[i]
  end
  return string.format("%.9f", math.sqrt(uv / vv))
end
