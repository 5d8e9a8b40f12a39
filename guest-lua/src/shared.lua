-- What the Lua parts of several bindings use: each gets this table after its natives.
local describe, meant, listed, one_too_many = ...
local type, error, rawget, next, select, lower = type, error, rawget, next, select, string.lower
local getmetatable, mathtype, floor = getmetatable, math.type, math.tointeger
local shared = { meant = meant, listed = listed }

-- Raises the error of a wrong argument, as functions in C do. `level` is how far above the script's call is, as for
-- `error`.
function shared.expected(position, name, what, value, level)
  error("bad argument #" .. position .. " to '" .. name .. "' (" .. what .. " expected, got "
    .. (value == nil and "no value" or type(value)) .. ")", (level or 2) + 1)
end

-- What a function of `most` arguments has behind them, which options.rs tells about: functions in C do the same.
function shared.no_more(most, name, ...)
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    local kind = type(value)
    if kind == "table" or kind == "function" then
      error("bad argument #" .. most + i .. " to '" .. name .. "' (" .. one_too_many(value, most) .. ")", 3)
    end
  end
end

-- A set of names of options, from names and other such sets. Each function that takes options has one.
function shared.names(...)
  local set = {}
  for i = 1, select("#", ...) do
    local item = select(i, ...)
    if type(item) == "table" then
      for name in next, item do
        set[name] = true
      end
    else
      set[item] = true
    end
  end
  return set
end

-- What is wrong with the keys of a table, if something is: options.rs says what. `positions` is how many values of a
-- list may be in it too.
function shared.unknown(options, names, positions)
  for key in next, options do
    if not names[key] and not (positions and mathtype(key) == "integer" and key >= 1 and key <= positions) then
      return describe(key, names)
    end
  end
  return nil
end

local unknown <const>, expected <const> = shared.unknown, shared.expected

-- The options of whatever begins as a request of HTTP.
shared.connection = shared.names("headers", "timeout", "connect_timeout", "basic_auth", "bearer", "ca_cert",
  "ca_cert_file", "client_cert", "client_cert_file", "client_key", "client_key_file", "tls", "proxy",
  "insecure")

-- A table without its metatable: options are read raw.
function shared.raw(options)
  if getmetatable(options) == nil then
    return options
  end
  local plain = {}
  for key, value in next, options do
    plain[key] = value
  end
  return plain
end

local raw <const> = shared.raw

-- The options of a call, or nil where it has none; raises the error of a wrong argument.
function shared.options(position, name, options, names, level)
  if options == nil then
    return nil
  end
  level = (level or 2) + 1
  if type(options) ~= "table" then
    expected(position, name, "table", options, level)
  end
  local why = unknown(options, names)
  if why then
    error("bad argument #" .. position .. " to '" .. name .. "' (" .. why .. ")", level)
  end
  return raw(options)
end

-- The whole number that a value is, if it is one from `least` to `most`.
function shared.whole(value, least, most)
  local number = mathtype(value) and floor(value)
  return number and number >= least and (not most or number <= most) and number or nil
end

-- Names of header fields have no case; `headers["Content-Type"]` finds "content-type".
shared.headers_meta = {
  __index = function(headers, name)
    if type(name) == "string" then
      return rawget(headers, lower(name))
    end
  end,
}

return shared
