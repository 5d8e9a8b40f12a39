--- # Escapes by listen
--- What a script may try with `http.serve` to listen where it was not granted, what a request may try to get at files and other
--- responses. What no client sends is in `tests/harness/serve.rs`.

--# case: nothing is bound without a grant
for _, where in ipairs({
  0, 80, 8080, "127.0.0.1:0", "localhost:0", "[::1]:0", "0.0.0.0:0", "[::]:0", "*:0", "[::ffff:127.0.0.1]:0",
  "unix:${TMP}/a.sock", "unix:a.sock", { port = 0 }, { addr = "::", port = 0 }, { addr = "unix:a.sock" },
}) do
  local ok, err = pcall(http.serve, where, { GET = {} })
  assert.eq(ok, false)
  assert.eq(err.code, "denied", err.message)
  assert.matches(err.message, "--allow '?listen=")
end

--# case: one port is one port of loopback
--# allow: listen=18080
for _, where in ipairs({
  0, 80, 443, 1, 18081, 1808, "127.0.0.1:18081", "0.0.0.0:18080", "*:18080", "[::]:18080", "[::ffff:0.0.0.0]:18080",
  "10.0.0.1:18080", "169.254.0.1:18080", "[fe80::1]:18080", "224.0.0.1:18080", "255.255.255.255:18080",
  { addr = "0.0.0.0", port = 18080 }, "unix:18080", "unix:/18080",
}) do
  local ok, err = pcall(http.serve, where, { GET = {} })
  assert.eq(ok, false)
  assert.eq(err.code, "denied", err.message)
end

--# case: privileged ports and all addresses are named for themselves
--# allow: listen=0,listen=127.0.0.1:*
for where, flag in pairs({
  ["0.0.0.0:80"] = "listen=0.0.0.0:80", ["[::]:443"] = "'listen=[::]:443'", ["*:22"] = "listen=0.0.0.0:22",
  ["[::]:0"] = "'listen=[::]:0'", ["0.0.0.0:0"] = "listen=0.0.0.0:0", ["[::1]:443"] = "listen=443",
}) do
  local ok, err = pcall(http.serve, where, { GET = {} })
  assert.eq(ok, false, where)
  assert.eq(err.code, "denied", err.message)
  assert.contains(err.message, "--allow " .. flag)
end

--# case: an address has one spelling, and no name is one
--# allow: listen,listen=0.0.0.0:*,listen=[::]:*
for _, addr in ipairs({
  "0x7f.1", "127.1", "2130706433", "017700000001", "0", "0.0", "127.0.0.1.", " 127.0.0.1", "127.0.0.1 ", "127.0.0.1\0",
  "127.0.0.1\n", "::1%lo", "[::1]%lo", "example.com", "localhost.", "LOCALHOST", "", ":", "127.0.0.1:80", "user@127.0.0.1",
}) do
  local ok, err = pcall(http.serve, { addr = addr, port = 0 }, { GET = {} })
  assert.eq(ok, false, addr)
  assert.eq(err.code, "invalid_argument", err.message)
end

--# case: a denied port is denied under every name of this machine
--# allow: listen,listen=0.0.0.0:*,listen=[::]:*
--# deny: listen=18080
for _, addr in ipairs({ "127.0.0.1", "127.0.0.2", "localhost", "::1", "[::1]", "::ffff:127.0.0.1" }) do
  local ok, err = pcall(http.serve, { addr = addr, port = 18080 }, { GET = {} })
  assert.eq(ok, false, addr)
  assert.eq(err.code, "denied", err.message)
  assert.contains(err.message, "--deny listen=18080")
end

--# case: a denied place stays denied where all are granted
--# flags: -A
--# deny: listen=0.0.0.0:*,listen=unix:${TMP}/a.sock
for _, where in ipairs({ "0.0.0.0:0", "127.0.0.1:0", "unix:a.sock", "unix:./x/../a.sock", "unix:${TMP}//a.sock" }) do
  local ok, err = pcall(http.serve, where, { GET = {} })
  assert.eq(ok, false, where)
  assert.eq(err.code, "denied", err.message)
end

--# case: a socket is made at the granted path only
--# allow: listen=unix:${TMP}/run/app.sock
--# allow: fs=read:${TMP}
--# file: run/keep=
--# file: other/keep=
--# link: run/out=../other
for _, path in ipairs({
  "run/other.sock", "app.sock", "other/app.sock", "run/app.sock2", "run/app.sock/x", "run/../app.sock", "run/app.sock/..",
  "run/out/app.sock", "run/out/../app.sock2", "run", "/tmp/app.sock", "@app.sock", "run/App.sock", "run/app.sock ",
}) do
  local ok, err = pcall(http.serve, "unix:" .. path, { GET = {} })
  assert.eq(ok, false, path)
  assert.eq(err.code, "denied", err.message)
end
for _, path in ipairs({ "", "\0app.sock", "run/app.sock\0", "run/app.sock\0/x" }) do
  local ok, err = pcall(http.serve, { addr = "unix:" .. path }, { GET = {} })
  assert.eq(ok, false, path)
  assert.ne(err.code, "limit")
end
assert.eq(table.concat(fs.glob("**/*.sock*"), " "), "")
-- Another way to write the granted path is no other path.
http.serve("unix:run/./x/../app.sock", { GET = {} }, { on_listen = function(server) server:stop() end })

--# case: a directory that becomes a link is another place
--# allow: listen=unix:${TMP}/run/app.sock
--# allow: fs=rw:${TMP}
--# file: run/keep=
--# file: other/keep=
fs.rename("run", "was")
fs.symlink("other", "run")
local ok, err = pcall(http.serve, "unix:run/app.sock", { GET = {} })
assert.eq(ok, false)
assert.eq(err.code, "denied", err.message)
assert.contains(err.message, "other/app.sock")
assert.eq(fs.exists("other/app.sock"), false)

--# case: a link in the place of a socket is not followed
--# allow: listen=unix:${TMP}/app.sock
--# allow: fs=read:${TMP}
--# link: app.sock=elsewhere.sock
local ok, err = pcall(http.serve, "unix:app.sock", { GET = {} })
assert.eq(ok, false)
assert.eq(err.code, "exists", err.message)
assert.eq(fs.exists("elsewhere.sock"), false)
assert.eq(fs.readlink("app.sock"), "elsewhere.sock")

--# case: nothing but what is below the directory is served
--# allow: listen
--# allow: http=127.0.0.1:*
--# allow: fs=read:${TMP}/public
--# file: secret.txt=secret
--# file: public/a.txt=a
--# file: public/sub/b.txt=b
--# file: public/.hidden/c.txt=hidden
--# file: public2/d.txt=secret
--# link: public/file=../secret.txt
--# link: public/directory=..
--# link: public/root=/
--# link: public/again=sub/b.txt
--# link: public/loop=loop
--# link: public/index.html=../secret.txt
http.serve(0, { GET = { ["/f/*"] = http.files("public"), ["/up/*"] = http.files("public/sub/.."), ["/all/*"] = http.files("${TMP}") } }, {
  on_listen = function(server)
    local function get(path)
      return http.get(server.url .. path, { follow_redirects = false })
    end
    assert.eq(get("/f/a.txt").body, "a")
    assert.eq(get("/f/again").body, "b")
    assert.eq(get("/up/a.txt").body, "a")
    for _, path in ipairs({
      "%2e%2e/secret.txt", "..%2fsecret.txt", "..%2Fsecret.txt", "%2e%2e%2fsecret.txt", "%2e.%2fsecret.txt", "sub/..%2f..%2fsecret.txt",
      "..%5csecret.txt", "%2e%2e%5csecret.txt", "sub%5c..%5c..%5csecret.txt", "%252e%252e/secret.txt", "..%252fsecret.txt",
      "%c0%ae%c0%ae/secret.txt", "..%c0%afsecret.txt", "%uff0e%uff0e/secret.txt", "%e2%80%a5/secret.txt",
      "%2fetc/passwd", "%2f%2fetc%2fpasswd", "%00", "a.txt%00", "a.txt%00.html", "%00/../secret.txt", "a.txt%2f", "a.txt%2f..", "%20", "...",
      "....%2f%2fsecret.txt", "%2e%2e%3bsecret.txt", "..;/secret.txt", ".hidden/c.txt", "%2ehidden/c.txt", "sub/%2e", "a.txt%0a", "a.txt%0d%0a",
      "public2/d.txt", "2/d.txt", "%ff%fe", ("a/"):rep(2000), ("a"):rep(5000), "loop", "a.txt/b", "%", "%2", "%zz",
    }) do
      local response = get("/f/" .. path)
      assert.eq(response.status == 404 or response.status == 403, true, path .. ": " .. response.status)
      assert.eq(response.body:find("secret", 1, true), nil, path)
    end
    for _, path in ipairs({ "/f/file", "/f/directory/secret.txt", "/f/root/etc/passwd", "/f/", "/all/secret.txt", "/all/public2/d.txt" }) do
      assert.eq(get(path).status, 403, path)
      assert.contains(get(path).body, "forbidden")
    end
    assert.eq(get("/all/public/a.txt").body, "a")
    server:stop()
  end,
})

--# case: a denied file stays denied behind a link and an encoding
--# allow: listen
--# allow: http=127.0.0.1:*
--# allow: fs=read:${TMP}
--# deny: fs=${TMP}/public/secret
--# file: public/secret/key=secret
--# link: public/link=secret
--# link: public/key=secret/key
http.serve(0, { GET = { ["/*"] = http.files("public") } }, {
  on_listen = function(server)
    for _, path in ipairs({ "secret/key", "%73ecret/key", "secret/%6bey", "link/key", "key", "//secret//key" }) do
      assert.eq(http.get(server.url .. "/" .. path).status, 403, path)
    end
    server:stop()
  end,
})

--# case: the name of a file in a response is checked like any other
--# allow: listen
--# allow: http=127.0.0.1:*
--# allow: fs=read:${TMP}/public
--# file: public/a.txt=a
--# file: secret.txt=secret
http.serve(0, {
  GET = {
    ["/"] = function(req) return { file = req.params.name } end,
    ["/below"] = function(req) return { file = "public", below = req.params.name } end,
  },
}, {
  on_listen = function(server)
    local function get(path, name)
      return http.get(server.url .. path .. "?name=" .. name:gsub("%W", function(c) return ("%%%02x"):format(c:byte()) end))
    end
    assert.eq(get("/", "public/a.txt").body, "a")
    assert.eq(get("/", "public/../public/a.txt").body, "a")
    for _, name in ipairs({ "secret.txt", "public/../secret.txt", "/etc/passwd", "/proc/self/environ", "public/a.txt\0", "", "public" }) do
      local response = get("/", name)
      assert.eq(response.status >= 400, true, name)
      assert.eq(response.body:find("secret", 1, true), nil, name)
    end
    for _, name in ipairs({ "../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt", "/../secret.txt", "a.txt\0" }) do
      assert.eq(get("/below", name).status, 404, name)
    end
    server:stop()
  end,
})

--# case: a header field is one field
--# allow: listen
--# allow: http=127.0.0.1:*
--# allow: fs=read:${TMP}
--# file: a.txt=a
--# stderr: line break or control character
local bad = {
  { ["X-A"] = "a\r\nX-Injected: 1" }, { ["X-A"] = "a\nX-Injected: 1" }, { ["X-A"] = "a\rX-Injected: 1" },
  { ["X-A"] = "a\r\n\r\n<html>X-Injected" }, { ["X-A"] = "a\r\n X-Injected: 1" }, { ["X-A"] = "a\0X-Injected\0" .. "1" },
  { ["X-A"] = { "a", "b\r\nX-Injected: 1" } }, { ["X-A\r\nX-Injected"] = "1" }, { ["X-A: 1\r\nX-Injected"] = "1" }, { ["X-A\0X-Injected"] = "1" },
  { ["X-A "] = "1" }, { [" X-A"] = "1" }, { ["X-A:"] = "1" }, { [""] = "1" }, { ["X\1"] = "1" }, { ["X-A"] = "\127" },
  { Location = "/\r\nX-Injected: 1" }, { Location = "https://a.example/\r\n\r\nHTTP/1.1 200 OK\r\n\r\n" },
  { ["Set-Cookie"] = "a=b\r\nX-Injected: 1" }, { ["Content-Type"] = "text/html\r\nX-Injected: 1" },
}
local shapes = {
  text = function(headers) return { status = 302, headers = headers, body = "x" } end,
  json = function(headers) return { headers = headers, json = {} } end,
  body = function(headers) return { headers = headers, body = function(write) write("x") end } end,
  sse = function(headers) return { headers = headers, sse = function(send) send("x") end } end,
  file = function(headers) return { headers = headers, file = "a.txt" } end,
}
local routes, count = {}, 0
for shape, make in pairs(shapes) do
  for n, headers in ipairs(bad) do
    routes["/" .. shape .. "/" .. n] = function() return make(headers) end
  end
end
http.serve(0, { GET = routes }, {
  on_listen = function(server)
    for path in pairs(routes) do
      local response = http.get(server.url .. path, { follow_redirects = false })
      assert.eq(response.status, 500, path)
      assert.matches(response.body, "^internal server error \\([0-9a-f]{16}\\)$")
      assert.eq(response.headers["x-injected"], nil)
      assert.eq(response.headers.location, nil)
      count = count + 1
    end
    server:stop()
  end,
})
assert.eq(count, 5 * #bad)

--# case: what a request says does not become a field of the response
--# allow: listen
--# allow: http=127.0.0.1:*
--# allow: fs=read:${TMP}
--# file: sub/index.html=x
http.serve(0, {
  GET = {
    ["/go/{where}"] = function(req) return { status = 302, headers = { Location = "/" .. req.path_params.where } } end,
    ["/query"] = function(req) return { status = 302, headers = { Location = req.params.to } } end,
    ["/f/*"] = http.files("."),
  },
}, {
  on_listen = function(server)
    local function get(path)
      return http.get(server.url .. path, { follow_redirects = false })
    end
    assert.eq(get("/go/there").headers.location, "/there")
    for _, path in ipairs({ "/go/a%0d%0aX-Injected:%201", "/go/a%0aX-Injected:%201", "/go/a%0d", "/go/a%00", "/query?to=/%0D%0AX-Injected:+1" }) do
      local response = get(path)
      assert.eq(response.status, 500, path)
      assert.eq(response.headers["x-injected"], nil, path)
      assert.eq(response.headers.location, nil, path)
    end
    -- The redirect to a directory keeps what came as it came, and never leads to another host.
    assert.eq(get("/f/sub?a=%0d%0aX-Injected:%201").headers.location, "/f/sub/?a=%0d%0aX-Injected:%201")
    assert.eq(get("//f//sub").status, 404)
    server:stop()
  end,
})

--# case: a directory's redirect stays on its host
--# allow: listen
--# allow: http=127.0.0.1:*
--# allow: fs=read:${TMP}
--# file: evil.example/index.html=x
http.serve(0, { GET = { ["/*"] = http.files(".") } }, {
  on_listen = function(server)
    for _, path in ipairs({ "//evil.example", "///evil.example", "/%2fevil.example", "/%5cevil.example" }) do
      local response = http.get(server.url .. path, { follow_redirects = false })
      local place = response.headers.location
      assert.eq(place == nil or place:find("^/[^/\\]") ~= nil, true, path .. ": " .. tostring(place))
    end
    server:stop()
  end,
})

--# case: lengths and codings are not the script's to say
--# allow: listen
--# allow: http=127.0.0.1:*
local lies = {
  { ["Content-Length"] = "1" }, { ["Content-Length"] = "1000" }, { ["content-length"] = { "1", "2" } }, { ["Transfer-Encoding"] = "chunked" },
  { ["Transfer-Encoding"] = "identity", ["Content-Length"] = "0" },
}
local routes = {}
for n, headers in ipairs(lies) do
  routes["/whole/" .. n] = function() return { headers = headers, body = "hello" } end
  routes["/pieces/" .. n] = function() return { headers = headers, body = function(write) write("hel") write("lo") end } end
  routes["/none/" .. n] = function() return { status = 204, headers = headers, body = "HTTP/1.1 200 OK\r\n\r\n" } end
  routes["/same/" .. n] = function() return { status = 304, headers = headers, body = function(write) write("hello") end } end
end
http.serve(0, { GET = routes }, {
  on_listen = function(server)
    local client = http.client()
    for path in pairs(routes) do
      local response = client:get(server.url .. path)
      local empty = path:find("^/none") or path:find("^/same")
      assert.eq(response.body, empty and "" or "hello", path)
      assert.eq(client:head(server.url .. path).body, "", path)
    end
    server:stop()
  end,
})

--# case: a status is one of a response
--# allow: listen
--# allow: http=127.0.0.1:*
local statuses = { 0, -1, 1, 99, 100, 101, 102, 103, 199, 600, 999, 1000, 65536 + 200, (1 << 32) + 200, math.maxinteger, math.mininteger, 1e300, -0.0,
  1 / 0, -1 / 0, 0 / 0, 200.5, "200", "200 OK\r\nX-Injected: 1", true, {} }
http.serve(0, { GET = {
  ["/{n}"] = function(req) return { status = statuses[tonumber(req.params.n)], body = "x" } end,
  ["/pieces/{n}"] = function(req) return { status = statuses[tonumber(req.params.n)], body = function(write) write("x") end } end,
} }, {
  on_listen = function(server)
    for n = 1, #statuses do
      for _, path in ipairs({ "/", "/pieces/" }) do
        local response = http.get(server.url .. path .. n)
        assert.eq(response.status, 500, path .. tostring(statuses[n]))
        assert.eq(response.headers["x-injected"], nil)
      end
    end
    server:stop()
  end,
})

--# case: options are values of a header field
--# allow: listen
--# allow: http=127.0.0.1:*
--# allow: fs=read:${TMP}
--# file: a.txt=a
http.serve(0, { GET = {
  ["/f/*"] = http.files(".", { cache_control = "no-store\r\nX-Injected: 1" }),
  ["/g/*"] = http.files(".", { index = "../../../../../../../../etc/passwd" }),
  ["/ws"] = function() return { ws = print, protocols = { "a\r\nX-Injected: 1" } } end,
} }, {
  on_listen = function(server)
    local response = http.get(server.url .. "/f/a.txt")
    assert.eq(response.status, 500)
    assert.eq(response.headers["x-injected"], nil)
    assert.eq(http.get(server.url .. "/g/").status, 403)
    local response = http.get(server.url .. "/ws", { headers = {
      ["Sec-WebSocket-Protocol"] = "a",
    } })
    assert.eq(response.headers["x-injected"], nil)
    server:stop()
  end,
})

--# case: a denied port is denied at every address
--# flags: -A
--# deny: listen=18081
for _, where in ipairs({
  "127.0.0.1:18081", "localhost:18081", "0.0.0.0:18081", "[::]:18081", "[::1]:18081", "[::ffff:0.0.0.0]:18081", "*:18081", "192.0.2.1:18081",
}) do
  local ok, err = pcall(http.serve, where, { GET = {} })
  assert.eq(ok, false, where)
  assert.eq(err.code, "denied", err.message)
  assert.contains(err.message, "is denied by --deny listen=18081")
end

--# case: a denied address is part of all addresses
--# flags: -A
--# deny: listen=127.0.0.1:18082
for _, where in ipairs({ "127.0.0.1:18082", "0.0.0.0:18082", "[::]:18082", "[::ffff:127.0.0.1]:18082" }) do
  local ok, err = pcall(http.serve, where, { GET = {} })
  assert.eq(ok, false, where)
  assert.eq(err.code, "denied", err.message)
end

--# case: a port that the system chooses is checked too
--# flags: -A
--# deny: listen=127.0.0.1:*
local ok, err = pcall(http.serve, "127.0.0.1:0", { GET = {} })
assert.eq(ok, false)
assert.eq(err.code, "denied", err.message)

--# case: a socket is a file that may be denied
--# flags: -A
--# deny: fs=write:${TMP}/closed
--# file: closed/keep=
for _, path in ipairs({ "closed/a.sock", "closed/../closed/a.sock", "${TMP}/closed/a.sock" }) do
  local ok, err = pcall(http.serve, "unix:" .. path, { GET = {} })
  assert.eq(ok, false, path)
  assert.eq(err.code, "denied", err.message)
  assert.contains(err.message, "is denied by --deny fs=write:${TMP}/closed")
end

--# case: a server that is told to stop has not for ever
--# allow: listen
for _, seconds in ipairs({ 300.001, 301, 1e9 }) do
  local ok, err = pcall(http.serve, 0, { GET = {} }, { shutdown_timeout = seconds })
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument")
  assert.contains(err.message, "shutdown_timeout must be at most 300 seconds")
end
for _, seconds in ipairs({ 0, 0.001, 300 }) do
  http.serve(0, { GET = {} }, { shutdown_timeout = seconds, on_listen = function(server) server:stop(1e9) end })
end
