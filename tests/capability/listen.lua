--- # listen
--- HTTP server: `http.serve` and `http.files`. Versions 1.1 and 2, TLS, unix sockets, bodies in pieces both ways,
--- server-sent events, WebSockets, files.
---
--- Scopes: `listen` is any port of this machine's loopback, `listen=PORT` one of them; other addresses are named,
--- `listen=0.0.0.0:8080`, `listen=[::]:8080`, `listen=10.0.0.5:*` (any port), and `0.0.0.0` and `[::]` include every address
--- of their kind. `listen=unix:/run/app.sock` makes a unix socket at that path and removes it at the end; it needs no grant of
--- `fs`. Port 0 is any free port, and needs `listen` or `listen=0`.
---
--- ## http.serve(where, routes, options?)
--- Listens and answers requests until the server is stopped. `where` is a port (on 127.0.0.1), `"ADDRESS:PORT"`, `"unix:PATH"`,
--- or a table `{addr =, port =}` that may have options too. The port is in the global `_SERVER_PORT`.
---
--- `routes` is `{METHOD = {["/path"] = handler}}`; the method `ANY` is every method without a handler of its own. In a path
--- `{name}` or `:name` stands for one segment and a final `*` for all that follows. The most specific route wins: at each
--- segment a literal goes before a name, and that before `*`. Segments are compared decoded. What no route covers is 404, a
--- known path with another method 405 with `Allow`. `HEAD` goes to the handler of `GET`.
---
--- Handlers run concurrently: one that waits (`http.get`, `sleep`, a database) lets others run. An error in one is status 500 and
--- a log line with the same number; the client learns nothing else.
---
--- Options, with what they are by default. Seconds and bytes; 0 is no bound for `max_body` and the times.
---
--- | option | default | |
--- |---|---|---|
--- | `max_body` | 16 MiB | a larger request body is 413 |
--- | `max_header` | 32 KiB | larger header fields, or more than 100, are 431 |
--- | `max_connections` | 3/4 of `--max-handles` | more wait to be accepted; the rest of the handles stays with the script |
--- | `max_requests` | 1024 | that wait or are answered at a time; more are 503 |
--- | `header_timeout` | 30 | for the header fields, from the end of the request before: also how long a connection may be idle |
--- | `body_timeout` | 30 | for each piece of a request body (408), and for the client to take a piece of the response |
--- | `timeout` | 60 | for a handler to begin its response; then the client gets 503 and the handler is cancelled |
--- | `shutdown_timeout` | 10 | for what is under way when the server stops |
--- | `instances` | 1 | how many instances of the script answer |
--- | `access_log` | false | a log line for each response |
--- | `tls` | | `{cert =, key =}` as PEM text, or `cert_file` and `key_file` (need `fs=read:`); `client_ca` or `client_ca_file`: clients must show a certificate of these authorities |
--- | `on_listen` | | called as a task when the server listens, with `{addr, port, url, stop}`; `server:stop(seconds?)` stops it. Its error stops the server and is raised by `http.serve` |
---
--- On SIGTERM or Ctrl-C the server stops to accept, finishes what is under way, closes WebSockets with 1001, and returns; the script
--- goes on after it. A second signal ends the process.
---
--- With `instances = N` the script runs N times from the top, each on a thread of its own with a memory of its own (`--memory`
--- is for each); they share the grants and all other limits: time, CPU, handles, bytes, log. Variables are not shared. An instance
--- that fails is started again. What the script does before and after `http.serve` it does N times.
---
--- ### Requests
---
--- | field | |
--- |---|---|
--- | `method`, `path`, `query` | as they came; the query without `?`, `""` where there is none |
--- | `params` | the query's names and values, decoded, and over them those of the path; the last of several counts |
--- | `path_params` | those of the path alone; `["*"]` is what a final `*` stands for |
--- | `headers` | names in lower case, found in any case; several of a name joined with commas |
--- | `cookies` | by name |
--- | `body` | the body as a string, read when it is first asked for |
--- | `version`, `scheme`, `peer_addr` | `HTTP/1.1`, `HTTP/2`; `http`, `https`; `ADDRESS:PORT` or `unix` |
---
--- `req:json()` is the body as JSON. `req:form(multiple?)` gives the fields of a form, URL-encoded or multipart, with `multiple` as lists.
--- `req:multipart()` gives all parts in their order: `{name, filename, content_type, headers, value}`. `req:query_values(name)`
--- is every value of a name in the query.
--- A large body need not be in memory: `req:read(n?)` gives the next bytes and nil at the end, with `"a"` all of the rest;
--- `req:chunks()` and `req:lines()` iterate.
---
--- ### Responses
---
--- A handler returns a table, or a string as the body. Fields: `status` (200), `headers` (a value that is a list becomes several
--- fields), and one of
---
--- | field | |
--- |---|---|
--- | `body` | a string, sent as `text/plain` unless the headers say otherwise; or a function, see below |
--- | `json` | a value, sent as `application/json` |
--- | `sse` | `function(send)`: server-sent events |
--- | `ws` | `function(conn)`: a WebSocket |
--- | `file` | the path of a file, as `http.files` sends it; needs `fs=read:` |
---
--- A function as `body` gets `write(data)`, which waits while the client is slower; or it returns one piece after the other and nil
--- at the end. A value with `chunks()`, such as a streamed body of the http client, is sent piece by piece.
--- When it fails the client sees that the body broke off. When the client goes away, `write` and `send` raise `unavailable` and
--- a handler that waits elsewhere is cancelled (its `<close>` variables are closed).
---
--- `send{event =, data =, id =, retry =}` sends an event; `data` may have several lines, or be a table, sent as JSON. A line break in
--- `event` or `id` is an error. A comment every 15 seconds keeps the connection alive. The stream ends when the function returns.
---
--- A WebSocket has `conn:read()`, a message and `"text"` or `"binary"`, or nil when it is closed, after which `conn.close_code` and
--- `conn.close_reason` say why; `conn:messages()`, the same as an iterator; `conn:write(data, {binary = true}?)`;
--- `conn:close(code?, reason?)`; `conn:is_closed()`; `conn.peer_addr`; `conn.protocol`. It is closed when the function returns. Beside
--- `ws` the response may have `protocols` (a list), `max_message` (1 MiB), `ping_interval` (30 seconds; a client that does not
--- answer is dropped), and `origins`: browsers may connect from pages of the server's own origin, others must be listed, or `{"*"}`.
---
--- ## http.files(folder, options?) -> handler
--- Serves the files below a folder: on a route that ends in `*` what that stands for, else the whole path. With types by
--- extension, `ETag`, `Last-Modified`, conditions (304, 412), ranges (206, 416) and `HEAD`; streamed without passing through the script.
--- Options: `index` ("index.html"; false for none), `dotfiles` (false), `cache_control`. Every file needs `fs=read:`; `..`, encoded
--- slashes, names with a dot in front and links that lead out of the grant are not found or denied (403).

--# example: serve, and ask yourself
--# allow: listen
--# allow: http=127.0.0.1:*
http.serve(0, {
  GET = {
    ["/hello/{name}"] = function(req)
      return { json = { hello = req.params.name, loud = req.params.loud } }
    end,
  },
}, {
  on_listen = function(server)
    local response = http.get(server.url .. "/hello/a%20b?loud=yes+!")
    assert.eq(response.status, 200)
    assert.eq(response.headers["content-type"], "application/json")
    assert.eq(json.parse(response.body).hello, "a b")
    assert.eq(json.parse(response.body).loud, "yes !")
    server:stop()
  end,
})

--# example: events and pieces
--# allow: listen
--# allow: http=127.0.0.1:*
http.serve(0, {
  GET = {
    ["/events"] = function()
      return {
        sse = function(send)
          for n = 1, 3 do
            send({ event = "tick", data = { n = n }, id = n })
          end
        end,
      }
    end,
    ["/pieces"] = function()
      return {
        headers = { ["Content-Type"] = "text/csv" },
        body = function(write)
          for n = 1, 3 do
            write(n .. ",\n")
          end
        end,
      }
    end,
  },
}, {
  on_listen = function(server)
    local seen = {}
    http.get(server.url .. "/events", { on_event = function(event) seen[#seen + 1] = event.event .. event.id .. event.data end })
    assert.eq(table.concat(seen, " "), 'tick1{"n":1} tick2{"n":2} tick3{"n":3}')
    assert.eq(http.get(server.url .. "/pieces").body, "1,\n2,\n3,\n")
    server:stop()
  end,
})

--# example: files of a folder
--# allow: listen
--# allow: http=127.0.0.1:*
--# allow: fs=read:${TMP}
--# file: public/index.html=<h1>hello</h1>
--# file: public/a.txt=0123456789
http.serve(0, { GET = { ["/static/*"] = http.files("public") } }, {
  on_listen = function(server)
    local page = http.get(server.url .. "/static/")
    assert.eq(page.body, "<h1>hello</h1>")
    assert.eq(page.headers["content-type"], "text/html; charset=utf-8")
    local part = http.get(server.url .. "/static/a.txt", { headers = { Range = "bytes=2-4" } })
    assert.eq(part.status, 206)
    assert.eq(part.body, "234")
    assert.eq(part.headers["content-range"], "bytes 2-4/10")
    local again = http.get(server.url .. "/static/a.txt", { headers = { ["If-None-Match"] = part.headers.etag } })
    assert.eq(again.status, 304)
    assert.eq(again.body, "")
    server:stop()
  end,
})

--# case: denied without a grant
local ok, err = pcall(http.serve, 8080, { GET = {} })
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "127.0.0.1:8080")
assert.contains(err.message, "--allow listen=8080")
ok, err = pcall(http.serve, { addr = "0.0.0.0", port = 8080 }, { GET = {} })
assert.contains(err.message, "--allow listen=0.0.0.0:8080")

--# case: a grant of loopback is for loopback only
--# allow: listen
for _, where in ipairs({ "0.0.0.0:0", "[::]:0", "unix:" .. "${TMP}/a.sock", "192.0.2.1:8080" }) do
  local ok, err = pcall(http.serve, where, { GET = {} })
  assert.eq(ok, false)
  assert.eq(err.code, "denied", where)
end

--# case: a grant of one port is for that port only
--# allow: listen=1
local ok, err = pcall(http.serve, 0, { GET = {} })
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow listen=0")

--# case: a denial takes back all of it
--# allow: listen=0.0.0.0:*
--# deny: listen
local ok, err = pcall(http.serve, "0.0.0.0:0", { GET = {} })
assert.eq(err.code, "denied")
assert.contains(err.message, "--deny listen")

--# case: all addresses where that is granted
--# allow: listen=0.0.0.0:*
--# allow: http=127.0.0.1:*
http.serve("0.0.0.0:0", { GET = { ["/"] = function() return "x" end } }, {
  on_listen = function(server)
    assert.matches(server.addr, "^0\\.0\\.0\\.0:[0-9]+$")
    assert.eq(http.get("http://127.0.0.1:" .. _SERVER_PORT).body, "x")
    server:stop()
  end,
})

--# case: the port is a global
--# allow: listen
local task = async.spawn(function()
  http.serve(0, { GET = { ["/"] = function() return "x" end } })
end)
while not _SERVER_PORT do
  sleep(0)
end
assert.gt(_SERVER_PORT, 0)
task:cancel()

--# case: an error of on_listen ends the server
--# allow: listen
local ok, err = pcall(http.serve, 0, { GET = {} }, { on_listen = function() error("not like this", 0) end })
assert.eq(ok, false)
assert.eq(err, "not like this")

--# case: a port that is taken
--# allow: listen
http.serve(0, { GET = {} }, {
  on_listen = function(server)
    local ok, err = pcall(http.serve, server.port, { GET = {} })
    assert.eq(err.code, "exists")
    assert.contains(err.message, "somebody else listens there already")
    server:stop()
  end,
})

--# case: a cancelled server lets its port go
--# allow: listen
local port
local task = async.spawn(http.serve, 0, { GET = {} }, { on_listen = function(server) port = server.port end })
while not port do
  sleep(0)
end
task:cancel()
local again
for _ = 1, 500 do
  again = pcall(http.serve, port, { GET = {} }, { on_listen = function(server) server:stop(0) end })
  if again then
    break
  end
  sleep(0.01)
end
assert.eq(again, true)

--# case: wrong arguments
--# allow: listen
local function refused(text, ...)
  local ok, err = pcall(http.serve, ...)
  assert.eq(ok, false)
  assert.contains(type(err) == "table" and err.message or err, text)
end
refused("a port between 0 and 65535", "x", {})
refused("a port between 0 and 65535", -1, {})
refused("a port between 0 and 65535", 65536, {})
refused("a port between 0 and 65535", 1.5, {})
refused("a port between 0 and 65535", nil, {})
refused("a port between 0 and 65535", { addr = "127.0.0.1" }, {})
refused("is no address to listen on", "example.com:80", {})
refused("is no address to listen on", "0x7f.1:80", {})
refused("table of routes expected", 0)
refused("routes are {METHOD", 0, { GET = "x" })
refused("must be a function, got a string", 0, { GET = { ["/"] = "x" } })
refused("does not begin with /", 0, { GET = { x = print } })
refused("not a whole segment", 0, { GET = { ["/x*"] = print } })
refused("two routes", 0, { GET = { ["/"] = print }, get = { ["/"] = print } })
refused("is no method", 0, { ["A B"] = { ["/"] = print } })
refused("there is no option nonsense", 0, {}, { nonsense = 1 })
refused("field 'timeout': number expected", 0, {}, { timeout = "1" })
refused("must not be negative", 0, {}, { timeout = -1 })
refused("max_header must be between", 0, {}, { max_header = 1 })
refused("max_requests must be at least 1", 0, {}, { max_requests = 0 })
refused("three quarters of the run's handles", 0, {}, { max_connections = 100000 })
refused("instances must be between", 0, {}, { instances = 1000 })
refused("tls needs one of cert and cert_file", 0, {}, { tls = { key = "x" } })
refused("there is no option tls.pem", 0, {}, { tls = { pem = "x" } })
refused("no certificate", 0, {}, { tls = { cert = "x", key = "y" } })
refused("table expected", 0, {}, 5)

--# case: files of tls go through fs
--# allow: listen
local ok, err = pcall(http.serve, 0, {}, { tls = { cert_file = "/etc/passwd", key_file = "/etc/passwd" } })
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=read:/etc/passwd")

--# case: routes, the most specific first
--# allow: listen
--# allow: http=127.0.0.1:*
local function says(text)
  return function(req)
    return text .. " " .. json.encode(req.path_params)
  end
end
http.serve(0, {
  GET = {
    ["/"] = says("root"),
    ["/*"] = says("any"),
    ["/api/*"] = says("api"),
    ["/api/users"] = says("users"),
    ["/api/{kind}"] = says("kind"),
    ["/api/:kind/:id"] = says("id"),
  },
  DELETE = { ["/api/users"] = says("deleted") },
  ANY = { ["/whatever"] = function(req) return req.method end },
}, {
  on_listen = function(server)
    local function get(path)
      return http.get(server.url .. path).body
    end
    assert.eq(get("/"), "root {}")
    assert.eq(get("/x/y"), 'any {"*":"x/y"}')
    assert.eq(get("/api/users"), "users {}")
    assert.eq(get("/api/pods"), 'kind {"kind":"pods"}')
    assert.contains(get("/api/pods/a%2Fb"), '"id":"a/b"')
    assert.eq(get("/api/pods/7/x"), 'api {"*":"pods/7/x"}')
    assert.eq(get("/api/%75sers"), "users {}")
    assert.eq(http.delete(server.url .. "/api/users").body, "deleted {}")
    assert.eq(http.request("BREW", server.url .. "/whatever").body, "BREW")
    local other = http.put(server.url .. "/api/users", "")
    assert.eq(other.status, 405)
    assert.eq(other.headers.allow, "DELETE, GET, HEAD")
    local head = http.head(server.url .. "/api/users")
    assert.eq(head.status, 200)
    assert.eq(head.headers["content-length"], "8")
    server:stop()
  end,
})

--# case: what no route covers is not found
--# allow: listen
--# allow: http=127.0.0.1:*
http.serve(0, { GET = { ["/a"] = print } }, {
  on_listen = function(server)
    local response = http.get(server.url .. "/b")
    assert.eq(response.status, 404)
    assert.eq(response.body, "not found")
    server:stop()
  end,
})

--# case: all of a request
--# allow: listen
--# allow: http=127.0.0.1:*
local seen
http.serve(0, { POST = { ["/p/{id}"] = function(req) seen = req return "" end } }, {
  on_listen = function(server)
    local body = "\0\255 binary \r\n"
    http.post(server.url .. "/p/1?a=1&a=2&b=x%20y+z&id=query&empty", body, {
      headers = { ["X-Thing"] = "v", Cookie = 'a=1; b="two"; c=x=y' },
    })
    assert.eq(seen.method, "POST")
    assert.eq(seen.path, "/p/1")
    assert.eq(seen.query, "a=1&a=2&b=x%20y+z&id=query&empty")
    assert.eq(seen.params.a, "2")
    assert.eq(seen.params.b, "x y z")
    assert.eq(seen.params.empty, "")
    assert.eq(seen.params.id, "1", "the path goes before the query")
    assert.eq(seen.path_params.id, "1")
    assert.eq(#seen:query_values("a"), 2)
    assert.eq(seen.headers["x-thing"], "v")
    assert.eq(seen.headers["X-THING"], "v")
    assert.eq(seen.cookies.a, "1")
    assert.eq(seen.cookies.b, "two")
    assert.eq(seen.cookies.c, "x=y")
    assert.eq(seen.body, body)
    assert.eq(seen.version, "HTTP/1.1")
    assert.eq(seen.scheme, "http")
    assert.matches(seen.peer_addr, "^127\\.0\\.0\\.1:[0-9]+$")
    local names = {}
    for name in pairs(seen) do
      names[name] = true
    end
    assert.eq(names.body and names.method and names.headers, true)
    assert.eq(names._head, nil)
    server:stop()
  end,
})

--# case: responses of every kind
--# allow: listen
--# allow: http=127.0.0.1:*
local binary = string.char(0, 255, 13, 10) .. ("x"):rep(100000)
http.serve(0, {
  GET = {
    ["/string"] = function() return "plain" end,
    ["/binary"] = function() return { body = binary, headers = { ["content-type"] = "image/png" } } end,
    ["/json"] = function() return { status = 201, json = { 1, 2 }, headers = { ["Content-Type"] = "application/problem+json" } } end,
    ["/false"] = function() return { json = false } end,
    ["/empty"] = function() return { status = 204 } end,
    ["/number"] = function() return { body = 42 } end,
    ["/cookies"] = function() return { headers = { ["Set-Cookie"] = { "a=1", "b=2" }, ["X-N"] = 5 } } end,
    ["/length"] = function() return { body = "abc", headers = { ["Content-Length"] = "1", ["Transfer-Encoding"] = "chunked" } } end,
  },
}, {
  on_listen = function(server)
    local function get(path)
      return http.get(server.url .. path)
    end
    assert.eq(get("/string").body, "plain")
    assert.eq(get("/string").headers["content-type"], "text/plain")
    assert.eq(get("/binary").body, binary)
    assert.eq(get("/binary").headers["content-type"], "image/png")
    local created = get("/json")
    assert.eq(created.status, 201)
    assert.eq(created.body, "[1,2]")
    assert.eq(created.headers["content-type"], "application/problem+json")
    assert.eq(get("/false").body, "false")
    assert.eq(get("/empty").status, 204)
    assert.eq(get("/number").body, "42")
    local cookies = get("/cookies").headers["set-cookie"]
    assert.contains(type(cookies) == "table" and table.concat(cookies, ",") or cookies, "b=2")
    assert.eq(get("/length").body, "abc")
    assert.eq(get("/length").headers["content-length"], "3")
    server:stop()
  end,
})

--# case: a handler that fails tells the client nothing
--# allow: listen
--# allow: http=127.0.0.1:*
--# stderr: secret detail
--# stderr: GET /text failed
--# stderr: the handler returned nothing
--# stderr: return a table such as
--# stderr: must be a string or a function, not a table
--# stderr: line break or control character
--# stderr: 99 is no status
http.serve(0, {
  GET = {
    ["/text"] = function() error("secret detail") end,
    ["/table"] = function() error({ code = "x", message = "secret detail" }) end,
    ["/nil"] = function() end,
    ["/number"] = function() return 5 end,
    ["/body"] = function() return { body = {} } end,
    ["/header"] = function() return { headers = { a = "b\r\nc: d" }, body = "" } end,
    ["/name"] = function() return { headers = { ["a b"] = "c" }, body = "" } end,
    ["/zero"] = function() return { headers = { a = "\0" }, body = "" } end,
    ["/status"] = function() return { status = 99, body = "" } end,
    ["/kind"] = function() return { status = "200", body = "" } end,
    ["/after"] = function() return "still here" end,
  },
}, {
  on_listen = function(server)
    for _, path in ipairs({ "/text", "/table", "/nil", "/number", "/body", "/header", "/name", "/zero", "/status", "/kind" }) do
      local response = http.get(server.url .. path)
      assert.eq(response.status, 500, path)
      assert.matches(response.body, "^internal server error \\([0-9a-f]{16}\\)$", path)
    end
    assert.eq(http.get(server.url .. "/after").body, "still here")
    server:stop()
  end,
})

--# case: handlers run concurrently
--# allow: listen
--# allow: http=127.0.0.1:*
local waiting, most = 0, 0
http.serve(0, {
  GET = {
    ["/wait"] = function()
      waiting = waiting + 1
      most = math.max(most, waiting)
      while most < 20 do
        sleep(0.001)
      end
      waiting = waiting - 1
      return "x"
    end,
  },
}, {
  on_listen = function(server)
    local tasks = {}
    for n = 1, 20 do
      tasks[n] = function() return http.get(server.url .. "/wait").status end
    end
    for _, status in ipairs(async.all(tasks)) do
      assert.eq(status, 200)
    end
    assert.eq(most, 20)
    server:stop()
  end,
})

--# case: waiting in pcall, coroutines and a comparator
--# allow: listen
--# allow: http=127.0.0.1:*
http.serve(0, {
  GET = {
    ["/pcall"] = function()
      local ok, err = pcall(function() sleep(0.001) error("inside", 0) end)
      return err
    end,
    ["/coroutine"] = function()
      local parts = {}
      for part in coroutine.wrap(function() for n = 1, 3 do sleep(0.001) coroutine.yield(n) end end) do
        parts[#parts + 1] = part
      end
      return table.concat(parts, ",")
    end,
    ["/sort"] = function()
      local list = { 3, 1, 2 }
      table.sort(list, function(a, b) sleep(0) return a < b end)
      return table.concat(list, ",")
    end,
  },
}, {
  on_listen = function(server)
    assert.eq(http.get(server.url .. "/pcall").body, "inside")
    assert.eq(http.get(server.url .. "/coroutine").body, "1,2,3")
    assert.eq(http.get(server.url .. "/sort").body, "1,2,3")
    server:stop()
  end,
})

--# case: a handler that takes too long is cancelled
--# allow: listen
--# allow: http=127.0.0.1:*
local closed
http.serve(0, {
  GET = {
    ["/"] = function()
      local guard <close> = setmetatable({}, { __close = function() closed = true end })
      sleep(60)
    end,
  },
}, {
  timeout = 0.05,
  on_listen = function(server)
    assert.eq(http.get(server.url .. "/").status, 503)
    while not closed do
      sleep(0.001)
    end
    server:stop()
  end,
})

--# case: no timeout before its time
--# allow: listen
--# allow: http=127.0.0.1:*
http.serve(0, { GET = { ["/"] = function() sleep(0.05) return "x" end } }, {
  timeout = 20,
  on_listen = function(server)
    assert.eq(http.get(server.url .. "/").status, 200)
    server:stop()
  end,
})

--# case: a body of the largest size and one byte more
--# allow: listen
--# allow: http=127.0.0.1:*
http.serve(0, { POST = { ["/"] = function(req) return tostring(#req.body) end } }, {
  max_body = 200000,
  on_listen = function(server)
    assert.eq(http.post(server.url, ("x"):rep(200000)).body, "200000")
    assert.eq(http.post(server.url, ("x"):rep(200001)).status, 413)
    assert.eq(http.post(server.url, "").body, "0")
    server:stop()
  end,
})

--# case: a large body in pieces
--# allow: listen
--# allow: http=127.0.0.1:*
local text = {}
for n = 1, 50000 do
  text[n] = "line " .. n
end
text = table.concat(text, "\r\n")
http.serve(0, {
  POST = {
    ["/body"] = function(req) return tostring(req.body == text) end,
    ["/chunks"] = function(req)
      local parts, count = {}, 0
      for piece in req:chunks() do
        count = count + 1
        parts[count] = piece
      end
      return tostring(count > 1 and table.concat(parts) == text)
    end,
    ["/lines"] = function(req)
      local n = 0
      for line in req:lines() do
        n = n + 1
        assert.eq(line, "line " .. n)
      end
      return tostring(n)
    end,
    ["/read"] = function(req)
      local first, second = req:read(4), req:read(3)
      local rest = req:read("a")
      return tostring(first .. second .. rest == text and req:read() == nil and req:read("a") == "")
    end,
    ["/unread"] = function() return "never read" end,
    ["/some"] = function(req) return req:read(5) end,
  },
}, {
  on_listen = function(server)
    assert.eq(http.post(server.url .. "/body", text).body, "true")
    assert.eq(http.post(server.url .. "/chunks", text).body, "true")
    assert.eq(http.post(server.url .. "/lines", text).body, "50000")
    assert.eq(http.post(server.url .. "/lines", "line 1\nline 2\n").body, "2")
    assert.eq(http.post(server.url .. "/read", text).body, "true")
    assert.eq(http.post(server.url .. "/unread", "short").body, "never read")
    assert.eq(http.post(server.url .. "/some", "short one").body, "short")
    server:stop()
  end,
})

--# case: forms
--# allow: listen
--# allow: http=127.0.0.1:*
local form, parts, failed
http.serve(0, {
  POST = {
    ["/form"] = function(req)
      local multiple = req.params.multiple ~= nil
      failed, form = pcall(req.form, req, multiple)
      return ""
    end,
    ["/parts"] = function(req)
      failed, parts = pcall(req.multipart, req)
      return ""
    end,
  },
}, {
  on_listen = function(server)
    local typed = { headers = { ["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8" } }
    http.post(server.url .. "/form", "a=1&a=2&b=%26+x&c", typed)
    assert.eq(form.a, "2")
    assert.eq(form.b, "& x")
    assert.eq(form.c, "")
    http.post(server.url .. "/form?multiple", "a=1&a=2", typed)
    assert.eq(table.concat(form.a, ","), "1,2")
    http.request("POST", server.url .. "/form", { multipart = { { name = "x", value = "1" }, { name = "f", filename = "f.bin", value = "zz" } } })
    assert.eq(form.x, "1")
    assert.eq(form.f, nil)
    http.request("POST", server.url .. "/parts", {
      multipart = {
        { name = "a", value = "" },
        { name = "b", filename = "x y.bin", content_type = "image/png", value = "\0\r\n--not\255" },
      },
    })
    assert.eq(#parts, 2)
    assert.eq(parts[1].name, "a")
    assert.eq(parts[1].value, "")
    assert.eq(parts[1].filename, nil)
    assert.eq(parts[2].filename, "x y.bin")
    assert.eq(parts[2].content_type, "image/png")
    assert.eq(parts[2].value, "\0\r\n--not\255")
    http.post(server.url .. "/form", "{}", { headers = { ["Content-Type"] = "application/json" } })
    assert.eq(failed, false)
    assert.eq(form.code, "invalid_data")
    for _, body in ipairs({ "", "--b", "--b\r\n", "--b\r\nx\r\n\r\n--b--", "--b\r\nA: b\r\n\r\nvalue", "x\r\n--bx\r\n" }) do
      http.post(server.url .. "/parts", body, { headers = { ["Content-Type"] = "multipart/form-data; boundary=b" } })
      assert.eq(failed, false, body)
      assert.eq(parts.code, "invalid_data", body)
    end
    server:stop()
  end,
})

--# case: events are written as the standard says
--# allow: listen
--# allow: http=127.0.0.1:*
local errors = {}
http.serve(0, {
  GET = {
    ["/"] = function()
      return {
        headers = { ["Cache-Control"] = "no-store", ["X-Own"] = "1" },
        sse = function(send)
          send({ event = "e", id = 7, retry = 1500, data = "a\r\nb\rc\n" })
          send({ data = "" })
          send("plain")
          for _, bad in ipairs({ { event = "a\nb" }, { id = "a\rb" }, { id = "\0" }, { retry = "x" }, { retry = -1 } }) do
            local ok, err = pcall(send, bad)
            errors[#errors + 1] = not ok and err.code
          end
        end,
      }
    end,
  },
}, {
  on_listen = function(server)
    local response = http.get(server.url)
    assert.eq(response.headers["content-type"], "text/event-stream")
    assert.eq(response.headers["cache-control"], "no-store")
    assert.eq(response.headers["x-own"], "1")
    assert.eq(response.body, "event: e\nid: 7\nretry: 1500\ndata: a\ndata: b\ndata: c\ndata: \n\ndata: \n\ndata: plain\n\n")
    assert.eq(table.concat(errors, " "), ("invalid_argument "):rep(5):sub(1, -2))
    server:stop()
  end,
})

--# case: a body in pieces, in every way
--# allow: listen
--# allow: http=127.0.0.1:*
--# stderr: broke in the middle
local heads = 0
http.serve(0, {
  GET = {
    ["/write"] = function()
      return { body = function(write) heads = heads + 1 for n = 1, 100 do write(("x"):rep(10000)) end end }
    end,
    ["/iterator"] = function()
      local n = 0
      return { body = function() n = n + 1 return n <= 3 and "p" .. n or nil end }
    end,
    ["/proxy"] = function(req)
      local upstream = http.get("http://127.0.0.1:" .. _SERVER_PORT .. "/write", { stream = true })
      return { status = 203, body = upstream.body }
    end,
    ["/large"] = function() return { body = function(write) write(("y"):rep(3000000)) end } end,
    ["/nothing"] = function() return { body = function() end } end,
    ["/fails"] = function() return { body = function(write) write("start") error("broke in the middle") end } end,
  },
}, {
  on_listen = function(server)
    assert.eq(#http.get(server.url .. "/write").body, 1000000)
    assert.eq(http.get(server.url .. "/iterator").body, "p1p2p3")
    local proxied = http.get(server.url .. "/proxy")
    assert.eq(proxied.status, 203)
    assert.eq(#proxied.body, 1000000)
    assert.eq(http.get(server.url .. "/large").body, ("y"):rep(3000000))
    assert.eq(http.get(server.url .. "/nothing").body, "")
    local ok, err = pcall(http.get, server.url .. "/fails")
    assert.eq(ok, false)
    assert.eq(err.code, "unavailable")
    heads = 0
    assert.eq(http.head(server.url .. "/write").status, 200)
    assert.eq(heads, 0, "HEAD makes no body")
    server:stop()
  end,
})

--# case: a client that goes away ends the stream
--# allow: listen
--# allow: http=127.0.0.1:*
local ended, waited = nil, false
http.serve(0, {
  GET = {
    ["/"] = function()
      return { body = function(write)
        local ok, err
        repeat
          ok, err = pcall(write, ("x"):rep(100000))
        until not ok
        ended = err.code
        error(err)
      end }
    end,
    ["/waits"] = function()
      return { sse = function(send)
        local guard <close> = setmetatable({}, { __close = function() waited = true end })
        send({ data = "one" })
        sleep(60)
      end }
    end,
  },
}, {
  on_listen = function(server)
    local response = http.get(server.url, { stream = true })
    response.body:read()
    response.body:close()
    while not ended do
      sleep(0.001)
    end
    assert.eq(ended, "unavailable")
    http.get(server.url .. "/waits", { on_event = function() return "close" end })
    while not waited do
      sleep(0.001)
    end
    server:stop()
  end,
})

--# case: stopping waits for what is under way, and not for ever
--# allow: listen
--# allow: http=127.0.0.1:*
local function serve(within)
  local status
  http.serve(0, { GET = { ["/"] = function() sleep(0.2) return "late" end } }, {
    on_listen = function(server)
      local task = async.spawn(function()
        local ok, response = pcall(http.get, server.url)
        status = ok and response.status or response.code
      end)
      sleep(0.05)
      server:stop(within)
      task:await()
    end,
  })
  while not status do
    sleep(0.001)
  end
  return status
end
assert.eq(serve(10), 200)
assert.eq(serve(0), "unavailable")

--# case: two servers in one script
--# allow: listen
--# allow: http=127.0.0.1:*
local urls = {}
local function start(name)
  return async.spawn(http.serve, 0, { GET = { ["/"] = function() return name end } }, {
    on_listen = function(server) urls[name] = server end,
  })
end
local a, b = start("a"), start("b")
while not (urls.a and urls.b) do
  sleep(0)
end
assert.eq(http.get(urls.a.url).body, "a")
assert.eq(http.get(urls.b.url).body, "b")
urls.a:stop()
a:await()
assert.eq(http.get(urls.b.url).body, "b")
urls.b:stop()
b:await()

--# case: files and what is not served
--# allow: listen
--# allow: http=127.0.0.1:*
--# allow: fs=read:${TMP}/public
--# file: secret.txt=secret
--# file: public/a b.txt=blank
--# file: public/.env=hidden
--# file: public/sub/index.html=sub
--# file: public/plain/x.css=css
--# link: public/out=../secret.txt
http.serve(0, {
  GET = {
    ["/f/*"] = http.files("public"),
    ["/dots/*"] = http.files("public", { dotfiles = true, index = false, cache_control = "max-age=60" }),
    ["/one"] = function() return { file = "public/plain/x.css", headers = { ["X-Own"] = "1" } } end,
    ["/error"] = function() return { status = 404, file = "public/a b.txt" } end,
  },
  POST = { ["/f/*"] = http.files("public") },
}, {
  on_listen = function(server)
    local function get(path, headers)
      return http.get(server.url .. path, { headers = headers, follow_redirects = false })
    end
    assert.eq(get("/f/a%20b.txt").body, "blank")
    assert.eq(get("/f/a%20b.txt").headers["x-content-type-options"], "nosniff")
    assert.eq(get("/f/missing").status, 404)
    assert.eq(get("/f/.env").status, 404)
    assert.eq(get("/f/%2eenv").status, 404)
    assert.eq(get("/f/").status, 404)
    assert.eq(get("/f/sub/").body, "sub")
    local moved = get("/f/sub?x=1")
    assert.eq(moved.status, 308)
    assert.eq(moved.headers.location, "/f/sub/?x=1")
    assert.eq(get("/f/plain/x.css").headers["content-type"], "text/css; charset=utf-8")
    for _, path in ipairs({ "%2e%2e/secret.txt", "..%2fsecret.txt", "sub/%2e%2e/%2e%2e/secret.txt", "%2fetc/passwd", "a%00b", "..%5csecret.txt" }) do
      assert.eq(get("/f/" .. path).status, 404, path)
    end
    assert.eq(get("/f/out").status, 403)
    assert.eq(get("/dots/.env").body, "hidden")
    assert.eq(get("/dots/.env").headers["cache-control"], "max-age=60")
    assert.eq(get("/dots/sub/").status, 404)
    assert.eq(get("/dots/%2e%2e/secret.txt").status, 404)
    assert.eq(get("/one").headers["content-type"], "text/css; charset=utf-8")
    assert.eq(get("/one").headers["x-own"], "1")
    assert.eq(get("/error").status, 404)
    assert.eq(get("/error", { Range = "bytes=0-1" }).body, "blank")
    assert.eq(get("/f/a%20b.txt", { Range = "bytes=9-" }).status, 416)
    assert.eq(get("/f/a%20b.txt", { Range = "bytes=9-" }).headers["content-range"], "bytes */5")
    assert.eq(http.post(server.url .. "/f/a%20b.txt", "").status, 405)
    assert.eq(http.head(server.url .. "/f/a%20b.txt").headers["content-length"], "5")
    server:stop()
  end,
})

--# case: files are denied without a grant
--# allow: listen
--# allow: http=127.0.0.1:*
--# stderr: reading /etc/passwd is not granted
http.serve(0, { GET = { ["/*"] = http.files("/etc") } }, {
  on_listen = function(server)
    assert.eq(http.get(server.url .. "/passwd").status, 403)
    server:stop()
  end,
})

--# case: a unix socket
--# allow: listen=unix:${TMP}/app.sock
--# allow: fs=read:${TMP}
local path = "${TMP}/app.sock"
http.serve("unix:" .. path, { GET = { ["/"] = print } }, {
  on_listen = function(server)
    assert.eq(server.addr, "unix:" .. path)
    assert.eq(server.port, 0)
    assert.eq(server.url, nil)
    assert.eq(fs.exists(path), true)
    server:stop()
  end,
})
assert.eq(fs.exists(path), false)
local ok, err = pcall(http.serve, "unix:${TMP}/other.sock", { GET = {} })
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow listen=unix:${TMP}/other.sock")

--# case: a unix socket takes no file away
--# allow: listen=unix:${TMP}/file
--# allow: fs=read:${TMP}
--# file: file=kept
local ok, err = pcall(http.serve, { addr = "unix:file" }, { GET = {} })
assert.eq(err.code, "exists")
assert.eq(fs.read("file"), "kept")

--# case: bytes of responses count
--# allow: listen
--# allow: http=127.0.0.1:*
--# flags: --max-host-bytes 100000
http.serve(0, { GET = { ["/"] = function() return ("x"):rep(60000) end, ["/small"] = function() return "x" end } }, {
  on_listen = function(server)
    local ok, err = pcall(http.get, server.url)
    assert.eq(ok, false)
    assert.eq(err.code, "limit")
    assert.contains(err.message, "max-host-bytes")
    ok, err = pcall(http.get, server.url)
    assert.eq(ok and err.status or err.code, ok and 500 or "limit")
    server:stop()
  end,
})

--# case: more requests at a time than there may be
--# allow: listen
--# allow: http=127.0.0.1:*
local release
http.serve(0, { GET = { ["/"] = function() while not release do sleep(0.001) end return "x" end } }, {
  max_requests = 2,
  on_listen = function(server)
    local function get() return http.get(server.url).status end
    local a, b = async.spawn(get), async.spawn(get)
    sleep(0.1)
    local refused = http.get(server.url)
    assert.eq(refused.status, 503)
    assert.eq(refused.headers["retry-after"], "1")
    release = true
    assert.eq(a:await(), 200)
    assert.eq(b:await(), 200)
    assert.eq(get(), 200)
    server:stop()
  end,
})

--# case: an access log
--# allow: listen
--# allow: http=127.0.0.1:*
--# stderr: GET /a 200 1 B
--# stderr: GET /missing 404
http.serve(0, { GET = { ["/a"] = function() return "x" end } }, {
  access_log = true,
  on_listen = function(server)
    http.get(server.url .. "/a?secret=1")
    http.get(server.url .. "/missing")
    server:stop()
  end,
})
