-- The part of `linux` that is easier said in Lua.
local natives, shared = ...
local no_more <const> = shared.no_more
local type, error, ipairs = type, error, ipairs

local fields <const> = { "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal" }

-- Shares of the time between two rows of cpu_stat. `guest` and `guest_nice` are part of `user` and `nice`.
function natives.linux.cpu_percent(prev, curr, ...)
  no_more(2, "cpu_percent", ...)
  if type(prev) ~= "table" or type(curr) ~= "table" then
    local n = type(prev) == "table" and 2 or 1
    error("bad argument #" .. n .. " to 'cpu_percent' (a table of linux.cpu_stat expected)", 2)
  end
  local spent, all = {}, 0
  for _, name in ipairs(fields) do
    -- iowait may go back a little.
    local delta = (curr[name] or 0) - (prev[name] or 0)
    spent[name] = delta > 0 and delta or 0
    all = all + spent[name]
  end
  local function percent(ticks)
    return all > 0 and 100.0 * ticks / all or 0.0
  end
  local idle = spent.idle + spent.iowait
  return {
    total_pct = percent(all - idle),
    user_pct = percent(spent.user + spent.nice),
    system_pct = percent(spent.system + spent.irq + spent.softirq),
    iowait_pct = percent(spent.iowait),
    steal_pct = percent(spent.steal),
    idle_pct = percent(idle),
  }
end
