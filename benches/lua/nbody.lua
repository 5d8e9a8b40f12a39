-- Planets pull each other: fields of tables, float arithmetic, square roots.
local sqrt = math.sqrt
local day = 365.24
local solar_mass = 4 * math.pi * math.pi

local function bodies()
  return {
    { x = 0, y = 0, z = 0, vx = 0, vy = 0, vz = 0, mass = solar_mass },
    {
      x = 4.84143144246472090, y = -1.16032004402742839, z = -0.103622044471123109,
      vx = 0.00166007664274403694 * day, vy = 0.00769901118419740425 * day, vz = -0.0000690460016972063023 * day,
      mass = 0.000954791938424326609 * solar_mass,
    },
    {
      x = 8.34336671824457987, y = 4.12479856412430479, z = -0.403523417114321381,
      vx = -0.00276742510726411 * day, vy = 0.00499852801234917 * day, vz = 0.0000230417297573763929 * day,
      mass = 0.000285885980666130812 * solar_mass,
    },
    {
      x = 12.8943695621391310, y = -15.1111514016986312, z = -0.223307578892655734,
      vx = 0.00296460137564761618 * day, vy = 0.00237847173959480950 * day, vz = -0.0000296589568540237556 * day,
      mass = 0.0000436624404335156298 * solar_mass,
    },
    {
      x = 15.3796971148509165, y = -25.9193146099879641, z = 0.179258772950371181,
      vx = 0.00268067772490389322 * day, vy = 0.00162824170038242295 * day, vz = -0.0000951592254519715870 * day,
      mass = 0.0000515138902046611451 * solar_mass,
    },
  }
end

local function advance(list, dt)
  local n = #list
  for i = 1, n do
    local a = list[i]
    local ax, ay, az, mass = a.x, a.y, a.z, a.mass
    local vx, vy, vz = a.vx, a.vy, a.vz
    for j = i + 1, n do
      local b = list[j]
      local dx, dy, dz = ax - b.x, ay - b.y, az - b.z
      local squared = dx * dx + dy * dy + dz * dz
      local pull = dt / (squared * sqrt(squared))
      local by = b.mass * pull
      vx, vy, vz = vx - dx * by, vy - dy * by, vz - dz * by
      by = mass * pull
      b.vx, b.vy, b.vz = b.vx + dx * by, b.vy + dy * by, b.vz + dz * by
    end
    a.vx, a.vy, a.vz = vx, vy, vz
    a.x, a.y, a.z = ax + dt * vx, ay + dt * vy, az + dt * vz
  end
end

return function()
  local list = bodies()
  for _ = 1, 40000 do advance(list, 0.01) end
  return string.format("%.9f", list[1].x)
end
