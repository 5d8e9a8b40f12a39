-- Verbs, clients, and everything of `http` that calls back into Lua.
local natives, shared = ...
local no_more <const> = shared.no_more
local expected, headers_meta = shared.expected, shared.headers_meta
local options, whole = shared.options, shared.whole
local http = natives.http
local perform, read, next_event, close = natives.perform, natives.read, natives.event, natives.close
local start_download, advance, abandon = natives.download, natives.advance, natives.abandon
local failure, last = natives.failure, natives.last
local type, error, next, pairs, setmetatable, tostring = type, error, next, pairs, setmetatable, tostring
local lower, find, sub, upper = string.lower, string.find, string.sub, string.upper
local concat = table.concat

-- The options of a request, of a download and of a client, which has them for all its calls.
local common_options <const> = shared.names(shared.connection, "query", "body", "json", "form", "multipart", "body_file",
  "follow_redirects", "max_redirects", "max_body", "decompress")
local request_options <const> = shared.names(common_options, "on_event", "stream")
local download_options <const> = shared.names(common_options, "method", "max_size", "sha256", "progress",
  "resume", "if_changed")
local client_options <const> = shared.names(request_options, download_options, "base_url")

-- A body that is read as it arrives. `piece` is what a line or a read left over, from `from` on.
local Body = {}
Body.__index = Body
Body.__name = "http.body"

-- What is left of the last piece, or the next one; nil at the end.
local function take(body)
  local piece = body.piece
  if piece then
    body.piece = nil
    return sub(piece, body.from)
  end
  return read(body.handle)
end

-- The next bytes, at most n of them; all of the rest with "a"; nil at the end.
function Body:read(n, ...)
  no_more(1, "read", ...)
  if n == "a" or n == "*a" then
    local pieces = {}
    for piece in take, self do
      pieces[#pieces + 1] = piece
    end
    return concat(pieces)
  elseif n == nil then
    return take(self)
  elseif not whole(n, 1) then
    error("bad argument #1 to 'read' (a positive number of bytes or \"a\" expected)", 2)
  end
  local piece, from = self.piece, self.from
  if not piece then
    piece, from = read(self.handle), 1
    if not piece then
      return nil
    end
  end
  local last = from + n - 1
  if last >= #piece then
    self.piece = nil
    return from == 1 and piece or sub(piece, from)
  end
  self.piece, self.from = piece, last + 1
  return sub(piece, from, last)
end

-- An iterator over pieces as they arrive.
function Body:chunks(...)
  no_more(0, "chunks", ...)
  return take, self
end

-- An iterator over lines without their end, LF or CRLF.
function Body:lines(...)
  no_more(0, "lines", ...)
  return function()
    local pieces, count = {}, 0
    while true do
      local piece, from = self.piece, self.from
      if not piece then
        piece, from = read(self.handle), 1
        if not piece then
          return count > 0 and concat(pieces) or nil
        end
      end
      local at = find(piece, "\n", from, true)
      count = count + 1
      if at then
        pieces[count] = sub(piece, from, at - 1)
        if at == #piece then
          self.piece = nil
        else
          self.piece, self.from = piece, at + 1
        end
        local line = count == 1 and pieces[1] or concat(pieces)
        return sub(line, -1) == "\r" and sub(line, 1, -2) or line
      end
      pieces[count] = sub(piece, from)
      self.piece = nil
    end
  end
end

function Body:close()
  self.piece = nil
  close(self.handle)
end

Body.__close = Body.close

-- Calls fn with each event until the stream ends or fn returns "close".
local function pump(response, fn)
  local handle <const> = response.body
  local guard <close> = setmetatable({}, { __close = function() close(handle) end })
  response.body = ""
  for event in next_event, handle do
    if fn(event) == "close" then
      break
    end
  end
  response.last_event_id, response.retry = last(handle)
  return response
end

local function send(method, url, body, opts)
  local stream <const> = opts and opts.stream
  if stream ~= nil and type(stream) ~= "boolean" then
    error(failure("invalid_argument", "http: field 'stream': boolean expected, got " .. type(stream)))
  end
  if not opts or (opts.on_event == nil and not stream) then
    local response = perform(method, url, body, opts)
    setmetatable(response.headers, headers_meta)
    return response
  end
  local fn <const> = opts.on_event
  if fn ~= nil and type(fn) ~= "function" then
    error(failure("invalid_argument", "http: field 'on_event': function expected, got " .. type(fn)))
  end
  local response = perform(method, url, body, opts, fn and "events" or "stream")
  setmetatable(response.headers, headers_meta)
  if type(response.body) ~= "userdata" then
    return response
  elseif fn then
    return pump(response, fn)
  end
  response.body = setmetatable({ handle = response.body }, Body)
  return response
end

-- The options of a call to a verb.
local function check(name, url, opts, position)
  if type(url) ~= "string" then
    expected(1, name, "string", url, 3)
  end
  return (options(position, name, opts, request_options, 3))
end

for _, name in pairs({ "get", "head", "options", "delete" }) do
  local method <const> = upper(name)
  http[name] = function(url, opts, ...)
    no_more(2, name, ...)
    return send(method, url, nil, check(name, url, opts, 2))
  end
end

for _, name in pairs({ "post", "put", "patch" }) do
  local method <const> = upper(name)
  http[name] = function(url, body, opts, ...)
    no_more(3, name, ...)
    return send(method, url, body, check(name, url, opts, 3))
  end
end

function http.request(method, url, opts, ...)
  no_more(3, "request", ...)
  if type(method) ~= "string" then
    expected(1, "request", "string", method)
  elseif type(url) ~= "string" then
    expected(2, "request", "string", url)
  end
  return send(method, url, nil, options(3, "request", opts, request_options))
end

local function download(url, path, opts)
  local progress <const> = opts and opts.progress
  if progress ~= nil and type(progress) ~= "function" then
    error(failure("invalid_argument", "http: field 'progress': function expected, got " .. type(progress)))
  end
  local handle <const> = start_download(url, path, opts)
  local guard <close> = setmetatable({}, { __close = function() abandon(handle) end })
  local every <const> = progress and 0.1 or 0
  local known
  while true do
    local finished, done, total = advance(handle, every)
    if finished then
      if progress then
        progress(done, known or done)
      end
      return done, total
    end
    known = total
    progress(done, total)
  end
end

function http.download(url, path, opts, ...)
  no_more(3, "download", ...)
  if type(url) ~= "string" then
    expected(1, "download", "string", url)
  elseif type(path) ~= "string" then
    expected(2, "download", "string", path)
  end
  return download(url, path, options(3, "download", opts, download_options))
end

-- Options of a call over those of its client. Header names are the same in any case.
local function merge(base, opts)
  if opts == nil then
    return base
  end
  local merged = {}
  for name, value in next, base do
    merged[name] = value
  end
  -- Credentials of a call replace those of the client, of whatever kind.
  if opts.bearer or opts.basic_auth then
    merged.bearer, merged.basic_auth = nil, nil
  end
  for _, name in next, { "ca_cert", "client_cert", "client_key" } do
    if opts[name] or opts[name .. "_file"] then
      merged[name], merged[name .. "_file"] = nil, nil
    end
  end
  for name, value in next, opts do
    merged[name] = value
  end
  if type(base.headers) == "table" and type(opts.headers) == "table" then
    local headers, own = {}, {}
    for name, value in next, opts.headers do
      headers[name] = value
      own[lower(tostring(name))] = true
    end
    for name, value in next, base.headers do
      if not own[lower(tostring(name))] then
        headers[name] = value
      end
    end
    merged.headers = headers
  end
  if type(base.query) == "table" and type(opts.query) == "table" then
    local query = {}
    for name, value in next, base.query do
      query[name] = value
    end
    for name, value in next, opts.query do
      query[name] = value
    end
    merged.query = query
  end
  return merged
end

local Client = {}
Client.__index = Client
Client.__name = "http.client"

local function address(client, url)
  local base = client.base_url
  if not base or find(url, "^%a[%w+.-]*://") then
    return url
  elseif url == "" then
    return base
  end
  local first = sub(url, 1, 1)
  if first == "/" or first == "?" or first == "#" then
    return base .. url
  end
  return base .. "/" .. url
end

local function method_of(client, name)
  if type(client) ~= "table" or not client.opts then
    error("call it with a colon: client:" .. name .. "(...)", 3)
  end
end

for _, name in pairs({ "get", "head", "options", "delete" }) do
  local method <const> = upper(name)
  Client[name] = function(client, url, opts, ...)
    no_more(2, name, ...)
    method_of(client, name)
    opts = check(name, url, opts, 2)
    return send(method, address(client, url), nil, merge(client.opts, opts))
  end
end

for _, name in pairs({ "post", "put", "patch" }) do
  local method <const> = upper(name)
  Client[name] = function(client, url, body, opts, ...)
    no_more(3, name, ...)
    method_of(client, name)
    opts = check(name, url, opts, 3)
    return send(method, address(client, url), body, merge(client.opts, opts))
  end
end

function Client.request(client, method, url, opts, ...)
  no_more(3, "request", ...)
  method_of(client, "request")
  if type(method) ~= "string" then
    expected(1, "request", "string", method)
  elseif type(url) ~= "string" then
    expected(2, "request", "string", url)
  end
  opts = options(3, "request", opts, request_options)
  return send(method, address(client, url), nil, merge(client.opts, opts))
end

function Client.download(client, url, path, opts, ...)
  no_more(3, "download", ...)
  method_of(client, "download")
  if type(url) ~= "string" then
    expected(1, "download", "string", url)
  elseif type(path) ~= "string" then
    expected(2, "download", "string", path)
  end
  opts = options(3, "download", opts, download_options)
  return download(address(client, url), path, merge(client.opts, opts))
end

function http.client(opts, ...)
  no_more(1, "client", ...)
  opts = options(1, "client", opts, client_options)
  local own, base_url = {}, nil
  for name, value in next, opts or own do
    own[name] = value
  end
  if own.base_url ~= nil then
    if type(own.base_url) ~= "string" then
      error("bad argument #1 to 'client' (field 'base_url': string expected, got " .. type(own.base_url) .. ")", 2)
    end
    base_url = own.base_url:gsub("/+$", "")
    own.base_url = nil
  end
  return setmetatable({ opts = own, base_url = base_url }, Client)
end
