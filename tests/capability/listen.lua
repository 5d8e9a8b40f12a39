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
--- a log line with the same number; the client learns nothing else. Where it ran out of memory, or failed at another limit of
--- the run (an error `limit`), it is 503. A malformed request is the client's fault: where `req:json()`, `req:form()`,
--- `req:multipart()` or `json.parse(req.body)` raise and the handler does not catch it, the status is 400 with the reason (413 for
--- more than 1000 parts or 10000 fields), and nothing is logged.
---
--- Options, with what they are by default. Seconds and bytes; 0 is no bound for `max_body` and the other times.
---
--- | option | default | |
--- |---|---|---|
--- | `max_body` | 16 MiB | a larger request body is 413 |
--- | `max_header` | 32 KiB | larger header fields, or more than 100, are 431 |
--- | `max_connections` | 3/4 of `--max-handles` | more wait to be accepted; the rest of the handles stays with the script |
--- | `max_requests` | 1024 | that wait or are answered at a time; more are 503 |
--- | `header_timeout` | 30 | for the header fields, from the end of the request before: also how long a connection may be idle, in version 2 whatever else the client answers |
--- | `body_timeout` | 30 | for each piece of a request body (408), and for the client to take a piece of the response; in version 2 a connection with open streams on which less than a kilobyte gets on in this time, while no handler works, is closed |
--- | `timeout` | 60 | for a handler to begin its response; then the client gets 503 and the handler is cancelled |
--- | `shutdown_timeout` | 10 | for requests under way when the server stops; at most 300, also with 0 |
--- | `instances` | 1 | how many instances of the script answer |
--- | `access_log` | false | a log line for each response |
--- | `tls` | | `{cert =, key =}` as PEM text, or `cert_file` and `key_file` (need `fs=read:`); `client_ca` or `client_ca_file`: clients must show a certificate of these authorities |
--- | `on_listen` | | called as a task when the server listens, with `{addr, port, url, stop}`; `server:stop(seconds?)` stops it, within 300 seconds at most. Its error stops the server and is raised by `http.serve` |
---
--- On SIGTERM or Ctrl-C the server stops accepting, finishes the requests under way, ends event streams, closes WebSockets with 1001,
--- and returns; the script goes on after it. A second signal ends the process. `req:closing()` is true once the server stops or
--- the client is gone: a handler that runs for long should check it.
---
--- With `instances = N` the script runs N times from the top, each on a thread of its own with a memory of its own (`--memory`
--- is for each); they share the grants and all other limits: time, CPU, handles, bytes, log. Variables are not shared. An instance
--- that fails is started again. What the script does before and after `http.serve` it does N times.
---
--- ### Requests
---
--- | field | |
--- |---|---|
--- | `method`, `path`, `query` | as they came; the query without `?`, `""` if the request has no query |
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
--- A request of HTTP/1 that two servers could read in two ways (a length beside a transfer coding, a length said twice, lines that end
--- without CR) is 400, and its connection is closed. So is one, of either version, that names no host or two: several `Host`
--- fields, a target (`GET http://a/`, `:authority`) with another host than `Host`, or something that is not a host. So is one whose body breaks off, unless the handler catches that.
--- A large body need not be in memory: `req:read(n?)` gives the next bytes and nil at the end, with `"a"` all of the rest;
--- `req:chunks()` and `req:lines()` iterate. A client that waits to be asked for the body (`Expect: 100-continue`) is asked when
--- the handler first reads it; one whose handler refuses without reading never sends it.
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
--- `event` or `id` is an error. An event with a name and no data has empty data, so that clients see it. A comment every 15 seconds keeps the connection alive. The stream ends when the function returns.
---
--- A WebSocket has `conn:read()`, a message and `"text"` or `"binary"`, or nil when it is closed, after which `conn.close_code` and
--- `conn.close_reason` say why; `conn:messages()`, the same as an iterator; `conn:write(data, {binary = true}?)`;
--- `conn:close(code?, reason?)`; `conn:is_closed()`; `conn.peer_addr`; `conn.protocol`. It is closed when the function returns. Beside
--- `ws` the response may have `protocols` (a list), `max_message` (1 MiB), `ping_interval` (30 seconds; a client that does not
--- answer is dropped), and `origins`: browsers may connect from pages of the server's own origin, others must be listed, or `{"*"}`.
--- A connection is read when the script asks for a message, and 64 KiB ahead; `write` waits when as much waits for the client. What
--- is read, and bodies that wait for their clients, count against `--host-memory`. When that is used up, a client is closed with 1013,
--- a request gets 503, and `write` raises `limit`; its last quarter is kept for small messages. No `max_message` is larger than that. An
--- open WebSocket takes 64 KiB of it, and a message that comes in twice its size until it is whole. Messages above 16 KiB are sent in
--- fragments. A client that sends more than 2000 pings, empty messages or empty fragments (and 200 more each second), answers to the
--- server's own pings aside, is closed with 1008.
---
--- A client of version 2 has at most 128 streams at a time, and is cut off when it sends more than 2000 frames (and 200 more each
--- second) that ask for nothing: pings, settings, resets, empty pieces, windows without a response that uses them.
---
--- ## http.files(directory, options?) -> handler
--- Serves the files below a directory: on a route that ends in `*` what that stands for, else the whole path. With types by
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

--# example: files of a directory
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

--# case: a denial takes back all of it
--# allow: listen=0.0.0.0:*
--# deny: listen
local ok, err = pcall(http.serve, "0.0.0.0:0", { GET = {} })
assert.eq(err.code, "denied")
assert.contains(err.message, "--deny listen")

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
refused("is not an address to listen on", "example.com:80", {})
refused("is not an address to listen on", "0x7f.1:80", {})
refused("table of routes expected", 0)
refused("routes are {METHOD", 0, { GET = "x" })
refused("must be a function, got a string", 0, { GET = { ["/"] = "x" } })
refused("does not begin with /", 0, { GET = { x = print } })
refused("not a whole segment", 0, { GET = { ["/x*"] = print } })
refused("two routes", 0, { GET = { ["/"] = print }, get = { ["/"] = print } })
refused("is not a method", 0, { ["A B"] = { ["/"] = print } })
refused("unknown option 'nonsense'; the options are access_log, ", 0, {}, { nonsense = 1 })
refused("unknown option 'time_out'; did you mean 'timeout'?", 0, {}, { time_out = 1 })
refused("unknown option 'port'", 0, {}, { port = 1 })
refused("unknown method 'GTE' in the routes; did you mean 'GET'?", 0, { GTE = {} })
refused("field 'timeout': number expected", 0, {}, { timeout = "1" })
refused("a number of seconds from 0", 0, {}, { timeout = -1 })
refused("max_header must be between", 0, {}, { max_header = 1 })
refused("max_requests must be at least 1", 0, {}, { max_requests = 0 })
refused("three quarters of the run's handles", 0, {}, { max_connections = 100000 })
refused("instances must be between", 0, {}, { instances = 1000 })
refused("tls needs one of cert and cert_file", 0, {}, { tls = { key = "x" } })
refused("field 'tls': unknown option 'pem'", 0, {}, { tls = { pem = "x" } })
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

--# case: a handler that fails tells the client nothing
--# allow: listen
--# allow: http=127.0.0.1:*
--# stderr: secret detail
--# stderr: GET /text failed
--# stderr: the handler returned nothing
--# stderr: return a table such as
--# stderr: must be a string or a function, not a table
--# stderr: line break or control character
--# stderr: 99 is not the status
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

--# case: a handler that runs out of memory or stack
--# allow: listen
--# allow: http=127.0.0.1:*
--# flags: --memory 96MiB
--# stderr: GET /memory failed
--# stderr: not enough memory
--# stderr: GET /pieces failed
--# stderr: GET /stack failed
--# stderr: stack overflow
local function fill()
  local kept = {}
  while true do
    kept[#kept + 1] = ("x"):rep(1 << 20, #kept)
  end
end
local function deep()
  return 1 + deep()
end
http.serve(0, {
  GET = {
    ["/memory"] = fill,
    ["/stack"] = deep,
    ["/pieces"] = function()
      return { body = function(write)
        write("begun")
        fill()
      end }
    end,
    ["/after"] = function() return "still here" end,
  },
}, {
  on_listen = function(server)
    assert.eq(http.get(server.url .. "/memory").status, 503)
    assert.eq(http.get(server.url .. "/stack").status, 500)
    assert.eq((pcall(http.get, server.url .. "/pieces")), false)
    assert.eq(http.get(server.url .. "/after").body, "still here")
    server:stop()
  end,
})

--# case: handlers run concurrently
--# allow: listen
--# allow: http=127.0.0.1:*
local gates = {}
http.serve(0, {
  GET = {
    ["/wait"] = function()
      -- Each waits until the twentieth opens all gates.
      local gate = async.spawn(sleep, 60)
      gates[#gates + 1] = gate
      if #gates == 20 then
        for _, each in ipairs(gates) do
          each:cancel()
        end
      end
      assert.eq(pcall(gate.await, gate), false)
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
    assert.eq(#gates, 20)
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
local closed = async.spawn(sleep, 60)
http.serve(0, {
  GET = {
    ["/"] = function()
      local guard <close> = setmetatable({}, { __close = function() closed:cancel() end })
      sleep(60)
    end,
  },
}, {
  timeout = 0.5,
  on_listen = function(server)
    assert.eq(http.get(server.url .. "/").status, 503)
    assert.eq(pcall(closed.await, closed), false)
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

--# case: stopping waits for what is under way, and not for ever
--# allow: listen
--# allow: http=127.0.0.1:*
local function serve(within)
  local begun, stopping = async.spawn(sleep, 60), async.spawn(sleep, 60)
  local function handler()
    begun:cancel()
    pcall(stopping.await, stopping)
    return "late"
  end
  local asking
  http.serve(0, { GET = { ["/"] = handler } }, {
    on_listen = function(server)
      asking = async.spawn(function()
        local ok, response = pcall(http.get, server.url)
        return ok and response.status or response.code
      end)
      assert.eq(pcall(begun.await, begun), false)
      server:stop(within)
      if within > 0 then
        stopping:cancel()
      end
    end,
  })
  return asking:await()
end
assert.eq(serve(10), 200)
assert.eq(serve(0), "unavailable")

--# case: two servers in one script
--# allow: listen
--# allow: http=127.0.0.1:*
local urls = {}
local function start(name)
  local listening = async.spawn(sleep, 60)
  local task = async.spawn(http.serve, 0, { GET = { ["/"] = function() return name end } }, {
    on_listen = function(server)
      urls[name] = server
      listening:cancel()
    end,
  })
  assert.eq(pcall(listening.await, listening), false)
  return task
end
local a, b = start("a"), start("b")
assert.eq(http.get(urls.a.url).body, "a")
assert.eq(http.get(urls.b.url).body, "b")
urls.a:stop()
a:await()
assert.eq(http.get(urls.b.url).body, "b")
urls.b:stop()
b:await()

--# case: more requests at a time than there may be
--# allow: listen
--# allow: http=127.0.0.1:*
local full, gates = async.spawn(sleep, 60), {}
local function handler()
  if #gates < 2 then
    local gate = async.spawn(sleep, 60)
    gates[#gates + 1] = gate
    if #gates == 2 then
      full:cancel()
    end
    assert.eq(pcall(gate.await, gate), false)
  end
  return "x"
end
http.serve(0, { GET = { ["/"] = handler } }, {
  max_requests = 2,
  on_listen = function(server)
    local function get() return http.get(server.url).status end
    local a, b = async.spawn(get), async.spawn(get)
    assert.eq(pcall(full.await, full), false)
    local refused = http.get(server.url)
    assert.eq(refused.status, 503)
    assert.eq(refused.headers["retry-after"], "1")
    gates[1]:cancel()
    gates[2]:cancel()
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
