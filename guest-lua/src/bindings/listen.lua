-- `http.serve` and `http.files`: what a request and a response look like to a script.
local natives, shared = ...
local headers_meta = shared.headers_meta
local http = natives.http
local bind, address, stop, close, supervise = natives.bind, natives.address, natives.stop, natives.close, natives.supervise
local wait, take, settle = natives.wait, natives.take, natives.settle
local respond, begin, write, finish, fail, release = natives.respond, natives.begin, natives.write, natives.finish, natives.fail, natives.release
local send_file, read_body, parse_head, parse_headers, decode = natives.send_file, natives.read, natives.head, natives.headers, natives.decode
local upgrade, receive, send, close_socket, is_closed = natives.upgrade, natives.receive, natives.send, natives.close_socket, natives.is_closed
local failure, log_error = natives.failure, natives.error
local async, encode, parse_json, traceback = async, json.encode, json.parse, debug.traceback
local type, error, next, pairs, rawget, rawset, setmetatable, tostring, tonumber, pcall, xpcall =
  type, error, next, pairs, rawget, rawset, setmetatable, tostring, tonumber, pcall, xpcall
local lower, upper, find, sub, gsub, gmatch, match, format = string.lower, string.upper, string.find, string.sub, string.gsub, string.gmatch, string.match, string.format
local concat, sort, ipairs, collectgarbage, globals = table.concat, table.sort, ipairs, collectgarbage, _G

local function invalid(message, level)
  error(failure("invalid_argument", "http.serve: " .. message), (level or 1) + 1)
end

-- Requests -------------------------------------------------------------------------------------------------------

local Request = {}

-- Each name and value of a form or query, in their order.
local function each_pair(text, fn)
  for pair in gmatch(text, "[^&]+") do
    local name, value = match(pair, "^([^=]*)=?(.*)$")
    fn(decode(name, true), decode(value, true))
  end
end

local function read_all(req)
  local pieces, count = {}, 0
  for piece in read_body, req._id do
    count = count + 1
    pieces[count] = piece
  end
  req._more = nil
  return concat(pieces)
end

-- What is worked out when it is first asked for.
local lazy = {
  headers = function(req)
    return setmetatable(parse_headers(req._head), headers_meta)
  end,
  params = function(req)
    local params = {}
    each_pair(req.query, function(name, value)
      params[name] = value
    end)
    -- What the route says goes before what the query says: a handler that was written for one must not get the other.
    for name, value in next, req.path_params do
      if name ~= "*" then
        params[name] = value
      end
    end
    return params
  end,
  cookies = function(req)
    local cookies = {}
    for pair in gmatch(req.headers.cookie or "", "[^;]+") do
      local name, value = match(pair, "^%s*([^=%s]+)%s*=%s*(.-)%s*$")
      if name and cookies[name] == nil then
        cookies[name] = match(value, '^"(.*)"$') or value
      end
    end
    return cookies
  end,
  body = function(req)
    return req._more and read_all(req) or ""
  end,
}

local plain <const> = { method = true, path = true, query = true, version = true, peer_addr = true, scheme = true, path_params = true }
local shown <const> = { "method", "path", "query", "version", "peer_addr", "scheme", "path_params", "params", "headers", "cookies", "body" }

local request_meta <const> = {
  __name = "http.request",
  __index = function(req, name)
    if plain[name] then
      parse_head(req, req._head)
      return rawget(req, name)
    end
    local make = lazy[name]
    if make then
      local value = make(req)
      rawset(req, name, value)
      return value
    end
    return Request[name]
  end,
  __pairs = function(req)
    local at = 0
    return function()
      at = at + 1
      local name = shown[at]
      if name then
        return name, req[name]
      end
    end
  end,
}

-- The next bytes of the body, at most n; all of the rest with "a"; nil at the end. What was read so is not in
-- `req.body` any more.
function Request:read(n)
  if n ~= nil and n ~= "a" and n ~= "*a" and (type(n) ~= "number" or n < 1) then
    error("bad argument #1 to 'read' (a positive number of bytes or \"a\" expected)", 2)
  end
  local piece = self._piece or rawget(self, "body")
  self._piece, self.body = nil, nil
  if not piece or piece == "" then
    piece = self._more and read_body(self._id) or nil
  end
  if not piece then
    self._more = nil
    rawset(self, "body", "")
    return (n == "a" or n == "*a") and "" or nil
  elseif n == "a" or n == "*a" then
    local rest = self._more and read_all(self) or ""
    rawset(self, "body", "")
    return piece .. rest
  elseif n and #piece > n then
    self._piece = sub(piece, n + 1)
    piece = sub(piece, 1, n)
  end
  if not self._more and not self._piece then
    rawset(self, "body", "")
  end
  return piece
end

-- An iterator over pieces as they arrive.
function Request:chunks()
  return function()
    return self:read()
  end
end

-- An iterator over lines without their end, LF or CRLF.
function Request:lines()
  local rest, from = nil, 1
  return function()
    local pieces, count = {}, 0
    while true do
      if not rest then
        rest, from = self:read(), 1
        if not rest then
          return count > 0 and concat(pieces) or nil
        end
      end
      local at = find(rest, "\n", from, true)
      count = count + 1
      if at then
        pieces[count] = sub(rest, from, at - 1)
        from = at + 1
        if from > #rest then
          rest = nil
        end
        local line = count == 1 and pieces[1] or concat(pieces)
        return sub(line, -1) == "\r" and sub(line, 1, -2) or line
      end
      pieces[count] = sub(rest, from)
      rest = nil
    end
  end
end

-- The body as JSON.
function Request:json()
  return parse_json(self.body)
end

-- All values of a name in the query.
function Request:query_values(name)
  local values = {}
  each_pair(self.query, function(own, value)
    if own == name then
      values[#values + 1] = value
    end
  end)
  return values
end

local function media_type(req)
  local value = req.headers["content-type"] or ""
  return lower(match(value, "^%s*([^;%s]*)")), value
end

-- A parameter of a header field, such as `boundary` or `filename`.
local function parameter(text, name)
  local quoted = match(text, "[;%s]" .. name .. '="(.-[^\\])"') or (find(text, "[;%s]" .. name .. '=""') and "")
  if quoted then
    return (gsub(quoted, '\\(["\\])', "%1"))
  end
  return match(text, "[;%s]" .. name .. '=([^;"%s]+)')
end

-- The fields of a form. The last of several values counts; `multiple` gives lists.
function Request:form(multiple)
  local kind = media_type(self)
  local form = {}
  local function add(name, value)
    if multiple then
      local list = form[name]
      if list then
        list[#list + 1] = value
      else
        form[name] = { value }
      end
    else
      form[name] = value
    end
  end
  if kind == "multipart/form-data" then
    for _, part in next, self:multipart() do
      if not part.filename then
        add(part.name, part.value)
      end
    end
  elseif kind == "application/x-www-form-urlencoded" then
    each_pair(self.body, add)
  else
    error(failure("invalid_data", "the request is no form: its content type is '" .. kind .. "'"), 2)
  end
  return form
end

local MAX_PARTS <const> = 1000
local MAX_PART_HEADER <const> = 16384

-- The parts of a multipart body (RFC 7578): a list of {name, filename?, content_type?, headers, value}.
function Request:multipart()
  local kind, value = media_type(self)
  local boundary = sub(kind, 1, 10) == "multipart/" and parameter(value, "[bB][oO][uU][nN][dD][aA][rR][yY]")
  if not boundary or boundary == "" or #boundary > 70 then
    error(failure("invalid_data", "the request has no multipart body: its content type is '" .. kind .. "'"), 2)
  end
  local body <const> = "\r\n" .. self.body
  local delimiter <const> = "\r\n--" .. boundary
  local parts = {}
  local function broken(why)
    error(failure("invalid_data", "the multipart body is broken: " .. why), 3)
  end
  local _, at = find(body, delimiter, 1, true)
  if not at then
    broken("its boundary does not occur")
  end
  while sub(body, at + 1, at + 2) ~= "--" do
    local _, start = find(body, "^[ \t]*\r\n", at + 1)
    if not start then
      broken("a boundary does not end its line")
    elseif #parts >= MAX_PARTS then
      broken("it has more than " .. MAX_PARTS .. " parts")
    end
    local headers, first = setmetatable({}, headers_meta), start + 1
    if sub(body, first, first + 1) == "\r\n" then
      first = first + 2
    else
      local head_end, last = find(body, "\r\n\r\n", first, true)
      if not head_end or head_end - first > MAX_PART_HEADER then
        broken("the header fields of a part do not end")
      end
      for line in gmatch(sub(body, first, head_end + 1), "(.-)\r\n") do
        local name, text = match(line, "^([^:%s]+):%s*(.-)%s*$")
        if not name then
          broken("a part has a line that is no header field")
        end
        headers[lower(name)] = text
      end
      first = last + 1
    end
    -- The empty part: its line break is that of the next boundary.
    local stop_at, last = find(body, delimiter, first - 2, true)
    if not stop_at then
      broken("it ends without its boundary")
    end
    local disposition = headers["content-disposition"] or ""
    local filename = parameter(disposition, "filename")
    local extended = match(disposition, "[;%s]filename%*=[uU][tT][fF]%-8''([^;%s]+)")
    parts[#parts + 1] = {
      name = parameter(disposition, "name") or "",
      filename = extended and decode(extended) or filename,
      content_type = headers["content-type"],
      headers = headers,
      value = sub(body, first, stop_at - 1),
    }
    at = last
  end
  return parts
end

-- WebSockets -----------------------------------------------------------------------------------------------------

local Conn = {}
Conn.__index = Conn
Conn.__name = "http.websocket"

-- The next message and "text" or "binary"; nil when it is closed.
function Conn:read()
  local data, binary, reason = receive(self._id)
  if data then
    return data, binary and "binary" or "text"
  end
  self.close_code, self.close_reason = binary, reason
  return nil
end

function Conn:messages()
  return self.read, self
end

function Conn:write(data, opts)
  if type(data) ~= "string" then
    error("bad argument #1 to 'write' (string expected, got " .. type(data) .. ")", 2)
  end
  send(self._id, data, opts ~= nil and opts.binary == true)
end

function Conn:close(code, reason)
  if not is_closed(self._id) then
    close_socket(self._id, code or 1000, reason or "")
  end
end

function Conn:is_closed()
  return is_closed(self._id)
end

Conn.__close = function(conn)
  conn:close()
end

-- Responses ------------------------------------------------------------------------------------------------------

local function error_text(err)
  if type(err) == "table" and rawget(err, "message") ~= nil then
    return tostring(err.message)
  end
  return tostring(err)
end

-- What xpcall keeps of an error: the value and where it was raised. Where memory or the stack has run out Lua does
-- without it, and there is only the value.
local function caught(err)
  return { err, traceback(nil, 2) }
end

local function parts(raised)
  if type(raised) == "table" then
    return raised[1], raised[2]
  end
  return raised, ""
end

-- Whether the error says that the client went away.
local function is_gone(raised)
  local err = parts(raised)
  return type(err) == "table" and err.code == "unavailable"
end

local function report(req, number, raised)
  local err, trace = parts(raised)
  if type(raised) ~= "table" then
    -- What filled the memory is garbage now, which a stack that grows does not collect: the next handler would fail.
    collectgarbage()
  end
  log_error(format("%s %s failed (%s): %s", req.method, req.path, number, error_text(err)), number, trace)
end

-- Runs what goes on after the head of a response is sent. A client that went away is no failure.
local function go_on(req, id, fn, ...)
  local ok, raised = xpcall(fn, caught, ...)
  finish(id, ok)
  if not ok and not is_gone(raised) then
    report(req, fail(id), raised)
  end
end

-- A body is a function that gets `write`, or gives one piece at a time until it gives nil, or something with chunks().
local function stream(id, body)
  local function push(data)
    if type(data) ~= "string" then
      error("bad argument #1 to 'write' (string expected, got " .. type(data) .. ")", 2)
    end
    write(id, data)
  end
  if type(body) ~= "function" then
    for piece in body:chunks() do
      push(piece)
    end
    return
  end
  local piece = body(push)
  while piece do
    push(piece)
    piece = body(push)
  end
end

-- One event as the stream has it (HTML standard, 9.2.5).
local function event_text(event)
  if type(event) == "string" then
    event = { data = event }
  elseif type(event) ~= "table" then
    error("bad argument #1 to 'send' (table expected, got " .. type(event) .. ")", 3)
  end
  local lines, count = {}, 0
  local function line(name, value)
    count = count + 1
    lines[count] = name .. ": " .. value
  end
  for _, name in next, { "event", "id" } do
    local value = event[name]
    if value ~= nil then
      value = tostring(value)
      if find(value, "[\r\n]") or find(value, "\0", 1, true) then
        error(failure("invalid_argument", "send: '" .. name .. "' must not have line breaks"), 3)
      end
      line(name, value)
    end
  end
  if event.retry ~= nil then
    local retry = tonumber(event.retry)
    if not retry or retry < 0 or retry ~= retry // 1 then
      error(failure("invalid_argument", "send: 'retry' must be a number of milliseconds"), 3)
    end
    line("retry", format("%d", retry))
  end
  local data = event.data
  if data ~= nil then
    if type(data) == "table" then
      data = encode(data)
    end
    data = gsub(gsub(tostring(data), "\r\n", "\n"), "\r", "\n")
    for text in gmatch(data .. "\n", "(.-)\n") do
      line("data", text)
    end
  end
  count = count + 1
  lines[count] = "\n"
  return concat(lines, "\n")
end

local function events(id, fn)
  fn(function(event)
    write(id, event_text(event))
  end)
end

local function websocket(req, id, result)
  local protocols = result.protocols
  local protocol = upgrade(id, result.headers, {
    protocols = protocols,
    origins = result.origins,
    max_message = result.max_message or 1 << 20,
    ping_interval = result.ping_interval or 30,
  })
  if not protocol then
    return release(id)
  end
  local conn = setmetatable({ _id = id, peer_addr = req.peer_addr, protocol = protocol ~= "" and protocol or nil }, Conn)
  local ok, raised = xpcall(result.ws, caught, conn)
  if not ok and is_closed(id) and is_gone(raised) then
    ok = true
  end
  if not is_closed(id) then
    pcall(close_socket, id, ok and 1000 or 1011, "")
  end
  if not ok then
    report(req, fail(id), raised)
  end
  release(id)
end

local TEXT <const>, JSON <const> = "text/plain", "application/json"

local function unusual(req, id, result)
  local kind = type(result)
  if kind == "string" then
    return respond(id, 200, nil, TEXT, result)
  elseif kind ~= "table" then
    error("the handler returned " .. (result == nil and "nothing" or "a " .. kind)
      .. "; return a table such as {status = 200, body = \"...\"}, or a string", 0)
  end
  local status, headers, body = result.status or 200, result.headers, result.body
  if type(status) ~= "number" then
    error("the field 'status' of a response must be a number, not a " .. type(status), 0)
  elseif result.json ~= nil then
    return respond(id, status, headers, JSON, encode(result.json))
  elseif result.ws ~= nil then
    return websocket(req, id, result)
  elseif result.sse ~= nil then
    if begin(id, status, headers, nil, true) then
      go_on(req, id, events, id, result.sse)
    end
    return
  elseif result.file ~= nil then
    return send_file(id, status, headers, result.file, result.below or "", result.options)
  end
  kind = type(body)
  if kind == "nil" then
    return respond(id, status, headers, nil, "")
  elseif kind == "string" or kind == "number" then
    return respond(id, status, headers, TEXT, body)
  elseif kind == "function" or (kind == "table" and type(body.chunks) == "function") then
    if begin(id, status, headers, "application/octet-stream", false) then
      go_on(req, id, stream, id, body)
    end
    return
  end
  error("the field 'body' of a response must be a string or a function, not a " .. kind .. "; a table goes into 'json'", 0)
end

local function handle(handler, req, id)
  local result = handler(req)
  if type(result) == "table" and result.json == nil and type(result.body) == "string" and result.ws == nil
    and result.sse == nil and result.file == nil and type(result.status or 200) == "number" then
    return respond(id, result.status or 200, result.headers, TEXT, result.body)
  end
  return unusual(req, id, result)
end

-- Gives the function that workers run.
local function working(handlers)
  return function(server, slot)
    repeat
      local id, route, head, body, more = take(server, slot)
      while id do
        local req = setmetatable({ _id = id, _head = head }, request_meta)
        if more then
          req._more = true
        else
          req.body = body
        end
        local ok, raised = xpcall(handle, caught, handlers[route], req, id)
        if not ok then
          local number = fail(id)
          if number then
            report(req, number, raised)
          end
        end
        id, route, head, body, more = take(server, slot)
      end
    until not wait(server, slot)
  end
end

-- Options --------------------------------------------------------------------------------------------------------

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

local tls_fields <const> = { cert = true, cert_file = true, key = true, key_file = true, client_ca = true, client_ca_file = true }

local function take_tls(options, tls)
  if type(tls) ~= "table" then
    invalid("field 'tls': table expected, got " .. type(tls), 4)
  end
  for name, value in next, tls do
    if not tls_fields[name] then
      invalid("there is no option tls." .. tostring(name), 4)
    elseif type(value) ~= "string" then
      invalid("field 'tls." .. name .. "': string expected, got " .. type(value), 4)
    end
    options[name] = value
  end
  for _, name in next, { "cert", "key" } do
    if (tls[name] == nil) == (tls[name .. "_file"] == nil) then
      invalid("tls needs one of " .. name .. " and " .. name .. "_file", 4)
    end
  end
end

local function take_options(options, given)
  for name, value in next, given do
    local default = defaults[name]
    if name == "tls" then
      take_tls(options, value)
    elseif name == "on_listen" then
      if type(value) ~= "function" then
        invalid("field 'on_listen': function expected, got " .. type(value), 3)
      end
      options.on_listen = value
    elseif default ~= nil then
      if type(value) ~= type(default) then
        invalid("field '" .. name .. "': " .. type(default) .. " expected, got " .. type(value), 3)
      elseif type(value) == "number" and (value < 0 or value ~= value) then
        invalid("field '" .. name .. "' must not be negative", 3)
      end
      options[name] = value
    elseif name ~= "addr" and name ~= "port" then
      invalid("there is no option " .. tostring(name), 3)
    end
  end
end

-- Where to listen: a port, "ADDR:PORT", "unix:PATH", or {addr, port} with options.
local function take_place(options, where)
  local addr, port = "127.0.0.1", where
  if type(where) == "table" then
    take_options(options, where)
    addr, port = where.addr or addr, where.port
    if type(addr) ~= "string" then
      invalid("field 'addr': string expected, got " .. type(addr), 3)
    end
  elseif type(where) == "string" then
    local host, number = match(where, "^(.*):(%d+)$")
    if sub(where, 1, 5) == "unix:" then
      addr, port = where, 0
    elseif host then
      addr, port = host, tonumber(number)
    else
      port = tonumber(where)
    end
  end
  if sub(addr, 1, 5) == "unix:" then
    port = 0
  end
  local number = type(port) == "number" and port == port // 1 and port >= 0 and port <= 65535
  if not number then
    invalid("a port between 0 and 65535, {addr, port} or \"unix:PATH\" expected, got "
      .. (type(port) == "number" and tostring(port) or type(where)), 3)
  end
  options.addr, options.port = addr, port // 1 | 0
end

-- Handlers in a list, and their methods and paths in another. The host knows a route by its place in them, so they are
-- sorted: the order of `pairs` is another one in each instance.
local function take_routes(routes)
  if type(routes) ~= "table" then
    error("bad argument #2 to 'serve' (table of routes expected, got " .. type(routes) .. ")", 3)
  end
  local found = {}
  for key, paths in pairs(routes) do
    if type(key) ~= "string" or type(paths) ~= "table" then
      invalid("routes are {METHOD = {[\"/path\"] = handler}}; got " .. tostring(key) .. " = a " .. type(paths), 3)
    end
    local method <const> = key:lower() == "any" and "*" or upper(key)
    for path, handler in pairs(paths) do
      local meta = type(handler) == "table" and debug.getmetatable(handler)
      if type(path) ~= "string" then
        invalid("the paths of " .. method .. " must be strings, got a " .. type(path), 3)
      elseif type(handler) ~= "function" and not (type(meta) == "table" and meta.__call) then
        invalid("the handler of " .. method .. " " .. path .. " must be a function, got a " .. type(handler), 3)
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

function http.serve(where, routes, opts)
  local options = {}
  for name, value in next, defaults do
    options[name] = value
  end
  if opts ~= nil and type(opts) ~= "table" then
    error("bad argument #3 to 'serve' (table expected, got " .. type(opts) .. ")", 2)
  end
  take_place(options, where)
  take_options(options, opts or {})
  local handlers, list = take_routes(routes)
  local server <const> = bind(options, list)
  local guard <close> = setmetatable({}, { __close = function() close(server) end })
  local at, port = address(server)
  if port > 0 then
    rawset(globals, "_SERVER_PORT", port)
  end
  local failed
  if options.on_listen then
    local unix = sub(at, 1, 5) == "unix:"
    local scheme = (options.cert or options.cert_file) and "https://" or "http://"
    local handle <const> = {
      addr = at,
      port = port,
      url = not unix and scheme .. gsub(gsub(at, "^0%.0%.0%.0:", "127.0.0.1:"), "^%[::%]:", "[::1]:") or nil,
      stop = function(_, within)
        stop(server, within)
      end,
    }
    async.spawn(function()
      local ok, err = pcall(options.on_listen, handle)
      if not ok then
        failed = { err }
        stop(server, 0)
      end
    end)
  end
  local worker <const> = working(handlers)
  while supervise(server, worker) do
  end
  -- Handlers of WebSockets and streams learn of the end by what they wait for; they may still tidy up.
  pcall(async.timeout, 2, function() settle(server) end)
  if failed then
    error(failed[1], 0)
  end
end

local file_options <const> = { index = "string", dotfiles = "boolean", cache_control = "string" }

-- A handler that serves the files below a folder.
function http.files(dir, opts)
  if type(dir) ~= "string" then
    error("bad argument #1 to 'files' (string expected, got " .. (dir == nil and "no value" or type(dir)) .. ")", 2)
  elseif opts ~= nil and type(opts) ~= "table" then
    error("bad argument #2 to 'files' (table expected, got " .. type(opts) .. ")", 2)
  end
  local options <const> = { index = "index.html", dotfiles = false }
  for name, value in next, opts or {} do
    if not file_options[name] then
      error(failure("invalid_argument", "http.files: there is no option " .. tostring(name)), 2)
    elseif value ~= false and type(value) ~= file_options[name] then
      error(failure("invalid_argument", "http.files: field '" .. name .. "': " .. file_options[name] .. " expected, got "
        .. type(value)), 2)
    end
    options[name] = value or nil
  end
  return function(req)
    -- As it came: the host decodes it once, and refuses what leads elsewhere.
    local below = sub(req.path, 2)
    local rest = req._rest
    return { file = dir, below = rest or below, options = options }
  end
end
