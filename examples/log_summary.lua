-- Summarises an access log: requests by status, the busiest and the slowest paths, errors a minute.
--
-- The log has the combined format of Apache and nginx; a last field with the request's seconds (nginx:
-- $request_time) is used where it is there. It is read line by line, so its size does not matter.
--
--   assay run --allow fs=read:examples examples/log_summary.lua
--   assay run --allow fs=read:/var/log/nginx examples/log_summary.lua -- /var/log/nginx/access.log 10
--
-- Arguments: the log (default: data/access.log beside this script), and how many paths to list (5).

local here = arg[0]:match("^(.*)/[^/]*$") or "."
local path = arg[1] or here .. "/data/access.log"
local most = math.tointeger(tonumber(arg[2] or 5)) or error("how many paths? " .. arg[2] .. " is not an integer", 0)

-- address - user [time] "METHOD path protocol" status bytes "referrer" "agent" seconds
local LINE <const> = '^%S+ %S+ %S+ %[([^%]]+)%] "%u+ ([^%s"]+)[^"]*" (%d%d%d) (%S+) "[^"]*" "[^"]*" ?([%d.]*)$'

local function share(part, whole)
  return ("%.1f %%"):format(100 * part / whole)
end

local function counter()
  return setmetatable({}, { __index = function() return 0 end })
end

local total, skipped, bytes = 0, 0, 0
local by_status, by_path = counter(), counter()
local slowest = {} -- path -> seconds of its slowest request
local minutes, by_minute, failed = {}, counter(), counter() -- minutes in the order of the log

local function add(time, target, status, size, seconds)
  total = total + 1
  bytes = bytes + (math.tointeger(tonumber(size)) or 0) -- "-" where nothing was sent
  by_status[status] = by_status[status] + 1

  local page = target:match("^[^?]*")
  by_path[page] = by_path[page] + 1
  seconds = tonumber(seconds)
  if seconds and seconds > (slowest[page] or -1) then
    slowest[page] = seconds
  end

  local minute = time:match(":(%d%d:%d%d):") or time
  if by_minute[minute] == 0 then
    minutes[#minutes + 1] = minute
  end
  by_minute[minute] = by_minute[minute] + 1
  failed[minute] = failed[minute] + (status >= "500" and 1 or 0)
end

for line in fs.lines(path) do
  local time, target, status, size, seconds = line:match(LINE)
  if time then
    add(time, target, status, size, seconds)
  elseif line ~= "" then
    skipped = skipped + 1
  end
end

-- The pairs of a table as rows, the greatest value first, equal values by name; `count` of them.
local function ranked(values, count)
  local rows = {}
  for name, value in pairs(values) do
    rows[#rows + 1] = { name, value }
  end
  table.sort(rows, function(a, b)
    if a[2] ~= b[2] then
      return a[2] > b[2]
    end
    return a[1] < b[1]
  end)
  return table.move(rows, 1, math.min(count or #rows, #rows), 1, {})
end

-- Prints rows below their headings; the first column to the left, the others to the right.
local function show(headings, rows)
  local all, widths = { headings, table.unpack(rows) }, {}
  for _, row in ipairs(all) do
    for column, cell in ipairs(row) do
      widths[column] = math.max(widths[column] or 0, #tostring(cell))
    end
  end
  local function line(row)
    local cells = {}
    for column, cell in ipairs(row) do
      cells[column] = ("%" .. (column == 1 and "-" or "") .. widths[column] .. "s"):format(tostring(cell))
    end
    print("  " .. table.concat(cells, "  "))
  end
  for _, row in ipairs(all) do
    line(row)
  end
  print()
end

if total == 0 then
  error(path .. " has no line in the combined log format", 0)
end
print(("%s: %d requests, %.1f kB sent, %d lines skipped\n"):format(path, total, bytes / 1000, skipped))

local rows = {}
for _, row in ipairs(ranked(by_status)) do
  rows[#rows + 1] = { row[1], row[2], share(row[2], total) }
end
show({ "status", "requests", "share" }, rows)

show({ "busiest paths", "requests" }, ranked(by_path, most))

rows = {}
for _, row in ipairs(ranked(slowest, most)) do
  rows[#rows + 1] = { row[1], ("%.3f"):format(row[2]) }
end
show({ "slowest paths", "seconds" }, rows)

rows = {}
for _, minute in ipairs(minutes) do
  rows[#rows + 1] = { minute, by_minute[minute], failed[minute], share(failed[minute], by_minute[minute]) }
end
show({ "minute", "requests", "errors", "rate" }, rows)
