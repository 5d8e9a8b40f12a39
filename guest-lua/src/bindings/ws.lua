-- Connections as objects, over natives that know handles.
local natives, shared = ...
local no_more <const> = shared.no_more
local expected, options = shared.expected, shared.options
local ws = natives.ws
local connect, send, receive, ping, close = natives.connect, natives.send, natives.receive, natives.ping, natives.close
local drop, failure = natives.drop, natives.failure
local type, error, pcall, setmetatable = type, error, pcall, setmetatable
local pack = string.pack

-- Seconds that each call takes at most, where the script does not say. Messages may be long in coming.
local SEND <const>, PING <const>, CLOSE <const> = 30, 10, 5

local Connection = {}
Connection.__index = Connection
Connection.__name = "ws.connection"

local function check(conn, name)
  if type(conn) ~= "table" or not conn.handle then
    error("bad argument #1 to '" .. name .. "' (connection expected, got "
      .. (conn == nil and "no value" or type(conn)) .. ")", 3)
  end
end

local connect_options <const> = shared.names(shared.connection, "protocols", "max_message", "max_frame", "keepalive")
local send_options <const> = shared.names("binary", "timeout")
local ping_options <const> = shared.names("payload", "timeout")
local wait_options <const> = shared.names("timeout")

-- An option of a call whose options were checked.
local function option(opts, name, field, usual)
  if opts == nil then
    return usual
  end
  local value = opts[field]
  if value == nil then
    return usual
  elseif type(value) ~= type(usual) then
    error(failure("invalid_argument", "ws." .. name .. ": field '" .. field .. "': " .. type(usual)
      .. " expected, got " .. type(value)))
  end
  return value
end

function ws.connect(url, opts, ...)
  no_more(2, "connect", ...)
  if type(url) ~= "string" then
    expected(1, "connect", "string", url)
  end
  opts = options(2, "connect", opts, connect_options)
  local handle, protocol, headers = connect(url, opts)
  return setmetatable({ handle = handle, url = url, protocol = protocol, headers = headers, pings = 0 }, Connection)
end

function ws.send(conn, message, opts, ...)
  no_more(3, "send", ...)
  check(conn, "send")
  if type(message) ~= "string" then
    expected(2, "send", "string", message)
  end
  opts = options(3, "send", opts, send_options)
  send(conn.handle, message, option(opts, "send", "binary", false), option(opts, "send", "timeout", SEND))
end

function ws.recv(conn, opts, ...)
  no_more(2, "recv", ...)
  check(conn, "recv")
  opts = options(2, "recv", opts, wait_options)
  local message, kind, reason = receive(conn.handle, option(opts, "recv", "timeout", 0))
  if message == nil then
    conn.close_code, conn.close_reason = kind, reason
    return nil, kind, reason
  end
  return message, kind
end

function ws.ping(conn, opts, ...)
  no_more(2, "ping", ...)
  check(conn, "ping")
  opts = options(2, "ping", opts, ping_options)
  local timeout <const> = option(opts, "ping", "timeout", PING)
  conn.pings = conn.pings + 1
  return ping(conn.handle, option(opts, "ping", "payload", pack(">I8", conn.pings)), timeout)
end

function ws.close(conn, code, reason, opts, ...)
  no_more(4, "close", ...)
  check(conn, "close")
  if code ~= nil and type(code) ~= "number" then
    expected(2, "close", "number", code)
  elseif code ~= nil and not shared.whole(code, 0, 65535) then
    error(failure("invalid_argument", "ws.close: " .. tostring(code) .. " is not a close code (RFC 6455, 7.4)"), 0)
  elseif reason ~= nil and type(reason) ~= "string" then
    expected(3, "close", "string", reason)
  end
  local timeout <const> = option(options(4, "close", opts, wait_options), "close", "timeout", CLOSE)
  local _, got, why = close(conn.handle, code or 1000, reason or "", timeout)
  if conn.close_code == nil then
    conn.close_code, conn.close_reason = got, why
  end
end

-- An iterator over messages and their kinds, until the connection is closed.
function ws.messages(conn, opts, ...)
  no_more(2, "messages", ...)
  check(conn, "messages")
  opts = options(2, "messages", opts, wait_options)
  option(opts, "messages", "timeout", 0)
  return function()
    return ws.recv(conn, opts)
  end
end

for _, name in next, { "send", "recv", "ping", "close", "messages" } do
  Connection[name] = ws[name]
end

-- At the end of its block a connection is closed in good order if that is quickly done.
function Connection:__close()
  if self.close_code == nil then
    pcall(close, self.handle, 1000, "", 1)
  end
  drop(self.handle)
end
