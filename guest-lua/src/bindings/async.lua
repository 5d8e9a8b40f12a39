-- The part of `async` that is easier said in Lua.
local natives, shared = ...
local no_more <const> = shared.no_more
local async = natives.async
local wait_any, wait_all, is_task = natives.wait_any, natives.wait_all, natives.is_task
local spawn, sleep = async.spawn, natives.sleep
local interval_options <const> = shared.names("seconds")
local type, error, next, rawget, pcall, setmetatable, tostring, math_type =
  type, error, next, rawget, pcall, setmetatable, tostring, math.type

-- Tasks of a list of functions and tasks.
local function tasks(list, name)
  if type(list) ~= "table" then
    error("bad argument #1 to '" .. name .. "' (table of functions or tasks expected, got " .. type(list) .. ")", 3)
  end
  for i = 1, #list do
    local kind = type(list[i])
    if kind ~= "function" and not is_task(list[i]) then
      error("bad argument #1 to '" .. name .. "' (item " .. i .. ": function or task expected, got " .. kind .. ")", 3)
    end
  end
  for key in next, list do
    if math_type(key) ~= "integer" or key < 1 or key > #list then
      error("bad argument #1 to '" .. name .. "' (a list expected, but there is something at the key "
        .. tostring(key) .. ")", 3)
    end
  end
  local started = {}
  for i = 1, #list do
    local item = list[i]
    started[i] = type(item) == "function" and spawn(item) or item
  end
  return started
end

local function cancel(list)
  for i = 1, #list do
    list[i]:cancel()
  end
end

-- Milliseconds as a number, as the specification has it, or a table that says the unit.
function async.spawn_interval(a, b, ...)
  no_more(2, "spawn_interval", ...)
  local fn, every = a, b
  if type(a) ~= "function" then
    fn, every = b, a
  end
  if type(fn) ~= "function" then
    error("bad argument to 'spawn_interval' (function expected, got " .. type(fn) .. ")", 2)
  end
  local seconds
  if type(every) == "table" then
    local why = shared.unknown(every, interval_options)
    if why then
      error("bad argument to 'spawn_interval' (" .. why .. ")", 2)
    end
    seconds = rawget(every, "seconds")
  elseif type(every) == "number" then
    seconds = every / 1000
  end
  if type(seconds) ~= "number" or not (seconds > 0) then
    error("bad argument to 'spawn_interval' (a number of milliseconds above 0 expected, or {seconds = n})", 2)
  end
  return spawn(function()
    while true do
      sleep(seconds)
      fn()
    end
  end)
end

-- Results in the order of the list; the first failure cancels the others and is raised.
function async.all(list, ...)
  no_more(1, "all", ...)
  local started <const> = tasks(list, "all")
  local guard <close> = setmetatable({}, { __close = function() cancel(started) end })
  local failed = wait_all(started)
  if failed then
    return started[failed]:await()
  end
  local results = {}
  for i = 1, #started do
    results[i] = started[i]:await()
  end
  return shared.listed(results, #started)
end

-- The results of the task that ends first; the others are cancelled.
function async.race(list, ...)
  no_more(1, "race", ...)
  local started <const> = tasks(list, "race")
  if #started == 0 then
    error("bad argument #1 to 'race' (at least one function or task expected)", 2)
  end
  local guard <close> = setmetatable({}, { __close = function() cancel(started) end })
  return started[wait_any(started)]:await()
end

-- The results of fn, or an error with code "timeout" after so many seconds.
function async.timeout(seconds, fn, ...)
  no_more(2, "timeout", ...)
  if type(seconds) ~= "number" or not (seconds >= 0) then
    error("bad argument #1 to 'timeout' (a number of seconds from 0 on expected)", 2)
  elseif type(fn) ~= "function" and not is_task(fn) then
    error("bad argument #2 to 'timeout' (function or task expected, got " .. type(fn) .. ")", 2)
  end
  local started <const> = tasks({ fn, function() sleep(seconds) end }, "timeout")
  local guard <close> = setmetatable({}, { __close = function() cancel(started) end })
  if wait_any(started) == 1 then
    return started[1]:await()
  end
  error(natives.failure("timeout", "timed out after " .. seconds .. " seconds"), 2)
end
