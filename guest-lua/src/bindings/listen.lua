-- `http.serve` and `http.files`: what a request and a response look like to a script.
local natives, shared = ...
local no_more <const> = shared.no_more
local headers_meta, names, unknown, raw, whole = shared.headers_meta, shared.names, shared.unknown, shared.raw, shared.whole
local http = natives.http
local bind, address, stop, close, supervise = natives.bind, natives.address, natives.stop, natives.close, natives.supervise
local wait, take, taken, shed, settle = natives.wait, natives.take, natives.taken, natives.shed, natives.settle
local respond, begin, write, finish, fail, release = natives.respond, natives.begin, natives.write, natives.finish, natives.fail, natives.release
local send_file, read_body, parse_head, parse_headers, decode = natives.send_file, natives.read, natives.head, natives.headers, natives.decode
local upgrade, receive, send, close_socket = natives.upgrade, natives.receive, natives.send, natives.close_socket
local is_closed, is_closing = natives.is_closed, natives.is_closing
local failure, log_error, describe = natives.failure, natives.error, natives.describe
local take_options, take_routes = natives.options, natives.routes
local async, encode, parse_json, traceback = async, json.encode, json.parse, natives.traceback
local type, error, next, rawget, rawset, setmetatable, tostring, tonumber, pcall, xpcall =
  type, error, next, rawget, rawset, setmetatable, tostring, tonumber, pcall, xpcall
local lower, find, sub, gsub, gmatch, match, format = string.lower, string.find, string.sub, string.gsub, string.gmatch, string.match, string.format
local concat, collectgarbage, globals = table.concat, collectgarbage, _G

-- Errors that are the client's fault, with the status that they are answered with where no handler catches them.
local blamed <const> = setmetatable({}, { __mode = "k" })

-- Raises what is wrong with a request.
local function blame(err, status)
  if type(err) == "table" then
    blamed[err] = status or 400
  end
  error(err, 0)
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
function Request:read(n, ...)
  no_more(1, "read", ...)
  if n ~= nil and n ~= "a" and n ~= "*a" and not whole(n, 1) then
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

-- Whether the server stops or the client is gone: what goes on for long should come to its end.
function Request:closing()
  return is_closing(self._id)
end

-- An iterator over pieces as they arrive.
function Request:chunks(...)
  no_more(0, "chunks", ...)
  return function()
    return self:read()
  end
end

-- An iterator over lines without their end, LF or CRLF.
function Request:lines(...)
  no_more(0, "lines", ...)
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
function Request:json(...)
  no_more(0, "json", ...)
  local body = self.body
  local ok, value = pcall(parse_json, body)
  if not ok then
    blame(value)
  end
  return value
end

-- All values of a name in the query.
function Request:query_values(name, ...)
  no_more(1, "query_values", ...)
  local values = {}
  each_pair(self.query, function(own, value)
    if own == name then
      values[#values + 1] = value
    end
  end)
  return shared.listed(values)
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

local MAX_FIELDS <const> = 10000

-- What a client sent, for a message: its first characters, with question marks for bytes that are not printable ASCII.
local function shown(text)
  return (gsub(sub(text, 1, 80), "[^ -~]", "?"))
end

-- The fields of a form. The last of several values counts; `multiple` gives lists.
function Request:form(multiple, ...)
  no_more(1, "form", ...)
  local kind = media_type(self)
  local form, count = {}, 0
  local function add(name, value)
    count = count + 1
    if count > MAX_FIELDS then
      blame(failure("invalid_data", "the form has more than " .. MAX_FIELDS .. " fields"), 413)
    end
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
    blame(failure("invalid_data", "the request is not a form: its content type is '" .. shown(kind) .. "'"))
  end
  return form
end

local MAX_PARTS <const> = 1000
local MAX_PART_HEADER <const> = 16384

-- The parts of a multipart body (RFC 7578): a list of {name, filename?, content_type?, headers, value}.
function Request:multipart(...)
  no_more(0, "multipart", ...)
  local kind, value = media_type(self)
  local boundary = sub(kind, 1, 10) == "multipart/" and parameter(value, "[bB][oO][uU][nN][dD][aA][rR][yY]")
  if not boundary or boundary == "" or #boundary > 70 then
    blame(failure("invalid_data", "the request has no multipart body: its content type is '" .. shown(kind) .. "'"))
  end
  local body <const> = "\r\n" .. self.body
  local delimiter <const> = "\r\n--" .. boundary
  local parts = {}
  local function broken(why, status)
    blame(failure("invalid_data", "the multipart body is broken: " .. why), status)
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
      broken("it has more than " .. MAX_PARTS .. " parts", 413)
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
          broken("a part has a line that is not a header field")
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
  return shared.listed(parts)
end

-- WebSockets -----------------------------------------------------------------------------------------------------

local Conn = {}
Conn.__index = Conn
Conn.__name = "http.websocket"

-- The next message and "text" or "binary"; nil when it is closed.
function Conn:read(...)
  no_more(0, "read", ...)
  local data, binary, reason = receive(self._id)
  if data then
    return data, binary and "binary" or "text"
  end
  self.close_code, self.close_reason = binary, reason
  return nil
end

function Conn:messages(...)
  no_more(0, "messages", ...)
  return self.read, self
end

local write_options <const> = names("binary")

function Conn:write(data, opts, ...)
  no_more(2, "write", ...)
  if type(data) ~= "string" then
    error("bad argument #1 to 'write' (string expected, got " .. type(data) .. ")", 2)
  end
  opts = shared.options(2, "write", opts, write_options)
  local binary = opts and opts.binary
  if binary ~= nil and type(binary) ~= "boolean" then
    error("bad argument #2 to 'write' (field 'binary': boolean expected, got " .. type(binary) .. ")", 2)
  end
  send(self._id, data, binary == true)
end

function Conn:close(code, reason, ...)
  no_more(2, "close", ...)
  if code ~= nil and not whole(code, 1000, 4999) then
    error("bad argument #1 to 'close' (a close code from 1000 to 4999 expected, got " .. tostring(code) .. ")", 2)
  end
  if not is_closed(self._id) then
    close_socket(self._id, code or 1000, reason or "")
  end
end

function Conn:is_closed(...)
  no_more(0, "is_closed", ...)
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
  return { err, traceback(2) }
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

-- Where there is no memory, a note about it may fail as well.
local function report(req, number, raised)
  local err, trace = parts(raised)
  if type(raised) ~= "table" then
    -- What filled the memory is garbage now, which a stack that grows does not collect: the next handler would fail.
    collectgarbage()
  end
  pcall(function()
    log_error(format("%s %s failed (%s): %s", req.method, req.path, number, describe(err)), number, trace)
  end)
end

local NO_MEMORY <const> = "not enough memory"

-- How an error that no handler caught is answered, and the reason where it is the client's fault.
local function verdict(req, raised)
  local err = parts(raised)
  if type(err) ~= "table" then
    return err == NO_MEMORY and 503 or 500
  end
  local code = rawget(err, "code")
  if blamed[err] then
    return blamed[err], error_text(err)
  elseif code == "limit" then
    return 503
  elseif code == "invalid_data" and type(rawget(req, "body")) == "string" then
    -- The handler has parsed the body itself.
    local ok, again = pcall(parse_json, req.body)
    if not ok and type(again) == "table" and again.message == err.message then
      return 400, error_text(err)
    end
  end
  return 500
end

-- Answers for a handler that failed.
local function failed(req, id, raised)
  local ok, status, reason = pcall(verdict, req, raised)
  local number = fail(id, ok and status or 503, reason)
  if number then
    report(req, number, raised)
  end
end

-- Runs what goes on after the head of a response is sent. A client that went away is no failure.
local function go_on(req, id, fn, ...)
  local ok, raised = xpcall(fn, caught, ...)
  finish(id, ok)
  if not ok and not is_gone(raised) then
    report(req, fail(id, 500), raised)
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

local event_fields <const> = names("event", "id", "retry", "data")

-- One event as the stream has it (HTML standard, 9.2.5).
local function event_text(event)
  if type(event) == "string" then
    event = { data = event }
  elseif type(event) ~= "table" then
    error("bad argument #1 to 'send' (table expected, got " .. type(event) .. ")", 3)
  end
  local why = unknown(event, event_fields)
  if why then
    error(failure("invalid_argument", "send: " .. why), 3)
  end
  event = raw(event)
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
    local retry = whole(tonumber(event.retry), 0)
    if not retry then
      error(failure("invalid_argument", "send: 'retry' must be a number of milliseconds"), 3)
    end
    line("retry", format("%d", retry))
  end
  local data = event.data
  if data == nil and event.event ~= nil then
    -- A client passes over an event without data; one that is named is meant to be seen.
    data = ""
  end
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
    report(req, fail(id, 500), raised)
  end
  release(id)
end

local TEXT <const>, JSON <const> = "text/plain", "application/json"

-- The fields of a response, by what it sends.
local body_fields <const> = names("status", "headers", "body")
local fields_with <const> = {
  json = names("status", "headers", "json"),
  ws = names("headers", "ws", "protocols", "origins", "max_message", "ping_interval"),
  sse = names("status", "headers", "sse"),
  file = names("status", "headers", "file", "below", "options"),
}
local all_fields <const> = names(body_fields, fields_with.json, fields_with.ws, fields_with.sse, fields_with.file)

-- Raises where a response has a field that means nothing in it.
local function check_fields(result)
  local why = unknown(result, all_fields)
  if why then
    error("the handler's response: " .. why, 0)
  end
  local kind = (result.json ~= nil and "json") or (result.ws ~= nil and "ws") or (result.sse ~= nil and "sse")
    or (result.file ~= nil and "file") or "body"
  local fields <const> = fields_with[kind] or body_fields
  for name in next, result do
    if not fields[name] then
      error("the handler's response: the field '" .. name .. "' means nothing beside '" .. kind .. "'", 0)
    end
  end
end

local function unusual(req, id, result)
  local kind = type(result)
  if kind == "string" then
    return respond(id, 200, nil, TEXT, result)
  elseif kind ~= "table" then
    error("the handler returned " .. (result == nil and "nothing" or "a " .. kind)
      .. "; return a table such as {status = 200, body = \"...\"}, or a string", 0)
  end
  check_fields(result)
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
  if type(result) == "table" then
    result = raw(result)
    local plain = type(result.body) == "string" and type(result.status or 200) == "number"
    for name in next, result do
      plain = plain and body_fields[name]
    end
    if plain then
      return respond(id, result.status or 200, result.headers, TEXT, result.body)
    end
  end
  return unusual(req, id, result)
end

-- Gives the function that workers run.
local function working(handlers)
  return function(server, slot)
    local req
    -- Handles one request; false where no request waits. Nothing of a request is allocated outside of it.
    local function one()
      req = nil
      local id, route, head, body, more = take(server, slot)
      if not id then
        return false
      end
      req = setmetatable({ _id = id, _head = head }, request_meta)
      if more then
        req._more = true
      else
        req.body = body
      end
      handle(handlers[route], req, id)
      return true
    end
    -- Answers for a request that failed; false where there was no memory to begin with it.
    local function answer(raised)
      local id = taken(server, slot)
      if req then
        failed(req, req._id, raised)
        return true
      end
      collectgarbage()
      if id then
        fail(id, 503)
      end
      shed(server)
      return false
    end
    repeat
      local ok, again
      repeat
        ok, again = xpcall(one, caught)
        if not ok then
          again = answer(again)
        end
      until not again
    until not wait(server, slot)
  end
end

-- Serving -----------------------------------------------------------------------------------------------------------

function http.serve(where, routes, opts, ...)
  no_more(3, "serve", ...)
  if opts ~= nil and type(opts) ~= "table" then
    error("bad argument #3 to 'serve' (table expected, got " .. type(opts) .. ")", 2)
  end
  local options = take_options(where, opts)
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
        if within ~= nil and not (type(within) == "number" and within >= 0) then
          error("bad argument #1 to 'stop' (a number of seconds from 0 on expected, got " .. tostring(within) .. ")", 2)
        end
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
  while true do
    local ok, more = pcall(supervise, server, worker)
    if not ok and more ~= NO_MEMORY then
      error(more, 0)
    elseif not ok then
      -- There was no memory for a worker.
      collectgarbage()
      shed(server)
    elseif not more then
      break
    end
  end
  -- Handlers of WebSockets and streams learn of the end by what they wait for; they may still tidy up.
  pcall(async.timeout, 2, function() settle(server) end)
  if failed then
    error(failed[1], 0)
  end
end

local file_options <const> = { index = "string", dotfiles = "boolean", cache_control = "string" }

-- A handler that serves the files below a directory.
function http.files(dir, opts, ...)
  no_more(2, "files", ...)
  if type(dir) ~= "string" then
    error("bad argument #1 to 'files' (string expected, got " .. (dir == nil and "no value" or type(dir)) .. ")", 2)
  elseif opts ~= nil and type(opts) ~= "table" then
    error("bad argument #2 to 'files' (table expected, got " .. type(opts) .. ")", 2)
  end
  local options <const> = { index = "index.html", dotfiles = false }
  local why = opts and unknown(opts, file_options)
  if why then
    error(failure("invalid_argument", "http.files: " .. why), 2)
  end
  for name, value in next, opts or {} do
    if value ~= false and type(value) ~= file_options[name] then
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
