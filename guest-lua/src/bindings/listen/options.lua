-- The options and routes of `http.serve`, which `listen.lua` gets from here.
local natives, shared = ...
local names, unknown, raw, whole = shared.names, shared.unknown, shared.raw, shared.whole
local failure = natives.failure
local type, error, next, pairs, ipairs, tostring, tonumber = type, error, next, pairs, ipairs, tostring, tonumber
local upper, sub, match, sort, getmetatable = string.upper, string.sub, string.match, table.sort, debug.getmetatable

local function invalid(message)
  error(failure("invalid_argument", "http.serve: " .. message), 0)
end

local defaults <const> = {
  instances = 1,
  max_body = 16 << 20,
  max_header = 32 << 10,
  max_connections = 0,
  max_requests = 1024,
  header_timeout = 30,
  body_timeout = 30,
  timeout = 60,
  shutdown_timeout = 10,
  access_log = false,
}

local serve_options <const> = names("tls", "on_listen")
for name in next, defaults do
  serve_options[name] = true
end
local place_options <const> = names(serve_options, "addr", "port")
local time_options <const> = names("header_timeout", "body_timeout", "timeout", "shutdown_timeout")
local tls_options <const> = names("cert", "cert_file", "key", "key_file", "client_ca", "client_ca_file")
-- What the host takes as 32 bits.
local MOST <const> = { max_body = math.maxinteger }

local function take_tls(options, tls)
  if type(tls) ~= "table" then
    invalid("field 'tls': table expected, got " .. type(tls))
  end
  local why = unknown(tls, tls_options)
  if why then
    invalid("field 'tls': " .. why)
  end
  tls = raw(tls)
  for name, value in next, tls do
    if type(value) ~= "string" then
      invalid("field 'tls." .. name .. "': string expected, got " .. type(value))
    end
    options[name] = value
  end
  for _, name in next, { "cert", "key" } do
    if (tls[name] == nil) == (tls[name .. "_file"] == nil) then
      invalid("tls needs one of " .. name .. " and " .. name .. "_file")
    end
  end
end

-- Raises where the option cannot have this number.
local function check_number(name, value)
  if time_options[name] then
    if not (value >= 0) then
      invalid("field '" .. name .. "': a number of seconds from 0 on expected, got " .. tostring(value))
    end
  elseif not whole(value, 0, MOST[name] or 0xFFFFFFFF) then
    invalid("field '" .. name .. "': a whole number from 0 to " .. (MOST[name] or 0xFFFFFFFF) .. " expected, got "
      .. tostring(value))
  end
end

local function take_options(options, given, known)
  local why = unknown(given, known)
  if why then
    invalid(why)
  end
  for name, value in next, given do
    local default = defaults[name]
    if name == "tls" then
      take_tls(options, value)
    elseif name == "on_listen" then
      if type(value) ~= "function" then
        invalid("field 'on_listen': function expected, got " .. type(value))
      end
      options.on_listen = value
    elseif default ~= nil then
      if type(value) ~= type(default) then
        invalid("field '" .. name .. "': " .. type(default) .. " expected, got " .. type(value))
      elseif type(value) == "number" then
        check_number(name, value)
      end
      options[name] = value
    end
  end
end

-- Where to listen: a port, "ADDR:PORT", "unix:PATH", or {addr, port} with options.
local function take_place(options, where)
  local addr, port = "127.0.0.1", where
  if type(where) == "table" then
    where = raw(where)
    take_options(options, where, place_options)
    addr, port = where.addr or addr, where.port
    if port ~= nil and type(addr) == "string" and sub(addr, 1, 5) == "unix:" then
      invalid("field 'port': a unix socket has none")
    end
    if type(addr) ~= "string" then
      invalid("field 'addr': string expected, got " .. type(addr))
    end
  elseif type(where) == "string" then
    local host, number = match(where, "^(.*):(%d+)$")
    if sub(where, 1, 5) == "unix:" then
      addr, port = where, 0
    elseif host then
      addr, port = host, tonumber(number)
    else
      port = match(where, "^%d+$") and tonumber(where)
    end
  end
  if sub(addr, 1, 5) == "unix:" then
    port = 0
  end
  local number = type(port) == "number" and port == port // 1 and port >= 0 and port <= 65535
  if not number then
    invalid("a port between 0 and 65535, {addr, port} or \"unix:PATH\" expected, got "
      .. (type(port) == "number" and tostring(port) or type(where)))
  end
  options.addr, options.port = addr, port // 1 | 0
end

-- The methods that most servers know (RFC 9110, 5789). Others may be used, unless they look like one of these mistyped.
local methods <const> = names("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "ANY")

-- Handlers in a list, and their methods and paths in another. The host knows a route by its place in them, so they are
-- sorted: the order of `pairs` is another one in each instance.
local function take_routes(routes)
  if type(routes) ~= "table" then
    error("bad argument #2 to 'serve' (table of routes expected, got " .. type(routes) .. ")", 3)
  end
  local found = {}
  for key, paths in pairs(routes) do
    if type(key) ~= "string" or type(paths) ~= "table" then
      invalid("routes are {METHOD = {[\"/path\"] = handler}}; got " .. tostring(key) .. " = a " .. type(paths))
    end
    local method <const> = key:lower() == "any" and "*" or upper(key)
    local near <const> = method ~= "*" and not methods[method] and shared.meant(method, methods)
    if near then
      invalid("unknown method '" .. key .. "' in the routes; did you mean '" .. near .. "'?")
    end
    for path, handler in pairs(paths) do
      local meta = type(handler) == "table" and getmetatable(handler)
      if type(path) ~= "string" then
        invalid("the paths of " .. method .. " must be strings, got a " .. type(path))
      elseif type(handler) ~= "function" and not (type(meta) == "table" and meta.__call) then
        invalid("the handler of " .. method .. " " .. path .. " must be a function, got a " .. type(handler))
      end
      found[#found + 1] = { method = method, path = path, handler = handler }
    end
  end
  sort(found, function(a, b)
    return a.method < b.method or (a.method == b.method and a.path < b.path)
  end)
  local handlers, list = {}, {}
  for at, route in ipairs(found) do
    handlers[at], list[2 * at - 1], list[2 * at] = route.handler, route.method, route.path
  end
  return handlers, list
end

natives.options = function(where, opts)
  local options = {}
  for name, value in next, defaults do
    options[name] = value
  end
  take_place(options, where)
  take_options(options, raw(opts or {}), serve_options)
  return options
end
natives.routes = take_routes
