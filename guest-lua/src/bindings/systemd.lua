-- The functions of `systemd`, over its natives.
local natives, shared = ...
local no_more <const> = shared.no_more
local systemd = natives.systemd
local query, unit, machine, exec = natives.query, natives.unit, natives.machine, natives.exec
local open, next_entries, close, failure = natives.open, natives.next, natives.close, natives.failure
local list_units = natives.units
local spawn = async.spawn
local type, error, next, pcall, setmetatable, tostring = type, error, next, pcall, setmetatable, tostring
local char, format, math_type = string.char, string.format, math.type

-- The options of each kind of function.
local filter_options <const> = shared.names("name", "state", "type")
local action_options <const> = shared.names("wait", "timeout")
local exec_options <const> = shared.names("env", "stdin", "timeout")
local follow_options <const> = shared.names("unit", "machine", "since", "lines", "priority", "identifier", "boot", "after",
  "directory")
local journal_options <const> = shared.names(follow_options, "until")

local function check(position, name, what, value)
  if type(value) ~= what then
    error("bad argument #" .. position .. " to '" .. name .. "' (" .. what .. " expected, got "
      .. (value == nil and "no value" or type(value)) .. ")", 3)
  end
end

local function wrong(name, field, expected, value)
  error(failure("invalid_argument", "systemd." .. name .. ": field '" .. field .. "': " .. expected
    .. " expected, got " .. type(value)))
end

function systemd.list_units(filter, ...)
  no_more(1, "list_units", ...)
  if type(filter) == "string" then
    filter = { patterns = filter }
  elseif filter == nil then
    filter = {}
  else
    filter = shared.options(1, "list_units", filter, filter_options)
    filter = { patterns = filter.name, states = filter.state, kinds = filter.type }
  end
  return list_units(filter)
end

function systemd.list_timers(...)
  no_more(0, "list_timers", ...)
  return query("timers")
end

function systemd.list_machines(...)
  no_more(0, "list_machines", ...)
  return query("machines")
end

function systemd.unit_status(name, ...)
  no_more(1, "unit_status", ...)
  check(1, "unit_status", "string", name)
  return query("unit", name)
end

function systemd.machine_status(name, ...)
  no_more(1, "machine_status", ...)
  check(1, "machine_status", "string", name)
  return query("machine", name)
end

systemd.is_active, systemd.daemon_reload = natives.is_active, natives.reload

for _, verb in next, { "start", "stop", "restart", "reload", "enable", "disable", "reset_failed" } do
  systemd[verb] = function(name, opts, ...)
    no_more(2, verb, ...)
    check(1, verb, "string", name)
    return unit(name, shared.options(2, verb, opts, action_options), verb)
  end
end

for _, verb in next, { "start", "poweroff", "reboot", "terminate" } do
  systemd["machine_" .. verb] = function(name, opts, ...)
    no_more(2, "machine_" .. verb, ...)
    check(1, "machine_" .. verb, "string", name)
    return machine(name, shared.options(2, "machine_" .. verb, opts, action_options), verb)
  end
end

function systemd.machine_exec(name, cmd, opts, ...)
  no_more(3, "machine_exec", ...)
  check(1, "machine_exec", "string", name)
  if type(cmd) == "string" then
    cmd = { "/bin/sh", "-c", cmd }
  else
    check(2, "machine_exec", "table", cmd)
  end
  opts = shared.options(3, "machine_exec", opts, exec_options) or {}
  local variables = {}
  local env <const> = opts.env
  if env ~= nil then
    if type(env) ~= "table" then
      wrong("machine_exec", "env", "table", env)
    end
    for key, value in next, env do
      if type(key) ~= "string" then
        wrong("machine_exec", "env", "table of names and values", key)
      elseif type(value) ~= "string" and type(value) ~= "number" then
        wrong("machine_exec", "env." .. key, "string", value)
      end
      variables[#variables + 1] = key
      variables[#variables + 1] = tostring(value)
    end
  end
  return exec(name, { arguments = cmd, variables = variables, stdin = opts.stdin, timeout = opts.timeout })
end

-- Options with moments as text: a number is seconds since 1970.
local function options(name, opts, names)
  opts = shared.options(1, name, opts, names, 3)
  if opts == nil then
    return {}
  end
  local copy = {}
  for key, value in next, opts do
    copy[key] = value
  end
  for _, field in next, { "since", "until" } do
    local value = copy[field]
    if math_type(value) == "integer" then
      copy[field] = format("@%d", value)
    elseif type(value) == "number" then
      copy[field] = format("@%.6f", value)
    elseif value ~= nil and type(value) ~= "string" then
      wrong(name, field, "string or number", value)
    end
  end
  if type(copy.priority) == "number" then
    if not shared.whole(copy.priority, 0, 7) then
      error(failure("invalid_argument", "systemd." .. name .. ": field 'priority': " .. copy.priority
        .. " is not a whole number from 0 to 7"))
    end
    copy.priority = format("%d", copy.priority)
  end
  return copy
end

-- journalctl writes bytes that are no text as a list of numbers, and a field that an entry has several times as a
-- list of its values.
local function text(value)
  if type(value) ~= "table" then
    return value
  elseif math_type(value[1]) ~= "integer" then
    for i = 1, #value do
      value[i] = text(value[i])
    end
    return value
  end
  local parts = {}
  for i = 1, #value do
    parts[i] = char(value[i])
  end
  return table.concat(parts)
end

-- What journalctl writes as text, as the numbers that they are.
local numbers <const> = {
  __REALTIME_TIMESTAMP = "realtime",
  __MONOTONIC_TIMESTAMP = "monotonic",
  PRIORITY = "priority",
}
local tointeger = math.tointeger

local function tidy(entry)
  for key, value in next, entry do
    if type(value) == "table" then
      entry[key] = text(value)
    end
  end
  for key, name in next, numbers do
    entry[name] = tointeger(entry[key])
  end
  return entry
end

function systemd.journal(opts, ...)
  no_more(1, "journal", ...)
  local handle <const> = open(options("journal", opts, journal_options), false)
  local guard <close> = setmetatable({}, { __close = function() close(handle) end })
  local entries, batch = {}, {}
  while true do
    local count <const> = next_entries(handle, batch)
    if count == 0 then
      return shared.listed(entries)
    end
    for i = 1, count do
      entries[#entries + 1] = tidy(batch[i])
    end
  end
end

local Follow = {}
Follow.__index = Follow
Follow.__name = "systemd.follow"

-- Stops reading. A second time does nothing.
function Follow:close()
  if not self.over then
    self.over = true
    close(self.handle)
    self.task:cancel()
  end
end

Follow.__close = Follow.close

-- Waits for the end: fn returned "close", or somebody closed it. Raises what fn raised.
function Follow:wait(...)
  no_more(0, "wait", ...)
  if self.over then
    return
  end
  local ok, err = pcall(self.task.await)
  local closed <const> = self.over
  self.over = true
  if not ok and not closed then
    error(err, 0)
  end
end

function systemd.journal_follow(opts, fn, ...)
  no_more(2, "journal_follow", ...)
  opts = options("journal_follow", opts, follow_options)
  check(2, "journal_follow", "function", fn)
  local handle <const> = open(opts, true)
  local task = spawn(function()
    local guard <close> = setmetatable({}, { __close = function() close(handle) end })
    local batch = {}
    while true do
      local count <const> = next_entries(handle, batch)
      if count == 0 then
        return
      end
      for i = 1, count do
        if fn(tidy(batch[i])) == "close" then
          return
        end
      end
    end
  end)
  return setmetatable({ handle = handle, task = task }, Follow)
end
