--- # Escapes by ws
--- What a script may try with `ws` to reach what it was not granted.

--# case: metadata and link-local addresses, whatever was granted
--# flags: -A
for _, url in ipairs({
  "ws://169.254.169.254/latest/meta-data/", "ws://169.254.169.254:8080/", "ws://0xa9fea9fe/", "ws://2852039166/",
  "ws://0251.0376.0251.0376/", "ws://[::ffff:169.254.169.254]/", "ws://[64:ff9b::a9fe:a9fe]/", "wss://[fe80::1]/",
  "wss://[fd00:ec2::254]/", "ws://100.100.100.200/", "ws://224.0.0.1/", "ws://255.255.255.255/",
  "ws://user:pass@169.254.169.254/",
}) do
  local ok, err = pcall(ws.connect, url, { timeout = 5 })
  assert.eq(ok, false, url)
  assert.eq(err.code, "denied", url .. ": " .. err.message)
  assert.contains(err.message, "metadata")
end

--# case: every spelling of an address is the address
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
for _, host in ipairs({
  "127.0.0.1", "127.1", "0x7f.1", "017700000001", "2130706433", "127.0.0.1.", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
}) do
  local conn <close> = ws.connect("ws://" .. host .. ":${WS_PORT}/echo")
  conn:send(host)
  assert.eq(conn:recv({ timeout = 10 }), host)
end

--# case: a denied address in every spelling
--# needs: ws
--# flags: -A
--# deny: ws=127.0.0.1:${WS_PORT}
for _, host in ipairs({
  "127.0.0.1", "127.1", "0x7f.1", "017700000001", "2130706433", "127.0.0.1.", "[::ffff:127.0.0.1]",
  "other.example@127.0.0.1",
}) do
  local ok, err = pcall(ws.connect, "ws://" .. host .. ":${WS_PORT}/echo")
  assert.eq(ok, false, host)
  assert.eq(err.code, "denied", host .. ": " .. err.message)
end

--# case: names by where they lead
--# needs: ws
--# flags: -A
--# deny: ws=loopback
for _, host in ipairs({ "localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "0.0.0.0", "0", "[::]", "[::1]" }) do
  local ok, err = pcall(ws.connect, "ws://" .. host .. ":${WS_PORT}/echo")
  assert.eq(ok, false, host)
  assert.eq(err.code, "denied", host .. ": " .. err.message)
end

--# case: a range is matched after the name is resolved
--# needs: ws
--# allow: ws=127.0.0.0/8
local conn <close> = ws.connect("ws://localhost:${WS_PORT}/echo")
conn:send("x")
assert.eq(conn:recv({ timeout = 10 }), "x")
local ok, err = pcall(ws.connect, "ws://10.0.0.1/", { timeout = 1 })
assert.eq(err.code, "denied")

--# case: a user name is not a host
--# needs: ws
--# allow: ws=granted.example
for _, url in ipairs({
  "ws://granted.example@127.0.0.1:${WS_PORT}/echo", "ws://granted.example:80@127.0.0.1:${WS_PORT}/echo",
  "ws://127.0.0.1:${WS_PORT}\\@granted.example/echo", "ws://127.0.0.1:${WS_PORT}#@granted.example/",
  "ws://127.0.0.1:${WS_PORT}?@granted.example/",
}) do
  local ok, err = pcall(ws.connect, url)
  assert.eq(ok, false, url)
  assert.eq(err.code, "denied", url .. ": " .. err.message)
end

--# case: another site behind the same address
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
for _, host in ipairs({ "other.example", "127.0.0.1:1", "127.0.0.1:${WS_PORT}, other.example" }) do
  local ok, err = pcall(ws.connect, "ws://127.0.0.1:${WS_PORT}/about", { headers = { Host = host } })
  assert.eq(ok, false, host)
  assert.eq(err.code, "invalid_argument")
end

--# case: a redirect leads nowhere
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local ok, err = pcall(ws.connect, "ws://127.0.0.1:${WS_PORT}/moved")
assert.eq(ok, false)
assert.eq(err.code, "unavailable")
assert.contains(err.message, "302")

--# case: nothing is smuggled into the handshake
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local url = "ws://127.0.0.1:${WS_PORT}/about"
for _, options in ipairs({
  { headers = { ["x\r\nAuthorization"] = "stolen" } }, { headers = { x = "1\r\n\r\nGET / HTTP/1.1" } },
  { headers = { x = "1\ny: 2" } }, { protocols = { "chat\r\nx: y" } }, { bearer = "a\r\nx: y" },
}) do
  local ok, err = pcall(ws.connect, url, options)
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument")
end
local conn <close> = ws.connect(url .. "?%0d%0ax:y")
assert(not conn:recv({ timeout = 10 }):find("\nx:", 1, true))

--# case: a deny rule for http leaves ws alone, and the other way round
--# needs: ws
--# flags: -A
--# deny: ws
local ok, err = pcall(ws.connect, "ws://127.0.0.1:${WS_PORT}/echo")
assert.eq(err.code, "denied")
assert.eq(http.get("http://127.0.0.1:${WS_PORT}/status/200").status, 200)

--# case: a denied machine by its other names
--# needs: ws
--# flags: -A
--# deny: ws=127.0.0.1:${WS_PORT}
for _, host in ipairs({ "localhost", "0.0.0.0", "127.9.9.9", "[::1]", "[::]", "[64:ff9b::127.0.0.1]" }) do
  local ok, err = pcall(ws.connect, "ws://" .. host .. ":${WS_PORT}/echo")
  assert.eq(ok, false, host)
  assert.eq(err.code, "denied", host .. ": " .. err.message)
  assert.contains(err.message, "--deny ws=127.0.0.1:${WS_PORT}")
end

--# case: a denied path in every spelling
--# needs: ws
--# flags: -A
--# deny: ws=ws://127.0.0.1/echo*
for _, path in ipairs({ "/echo", "//echo", "/%65cho", "/x/..%2fecho", "/..;/echo", "/ECHO" }) do
  local ok, err = pcall(ws.connect, "ws://localhost:${WS_PORT}" .. path)
  assert.eq(ok, false, path)
  assert.eq(err.code, "denied", path)
end

--# case: no option lifts the bound on a message over the budget
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
--# flags: --host-memory 4MiB
local base = "ws://127.0.0.1:${WS_PORT}"
for _, options in ipairs({ { max_message = 0 }, { max_message = 1 << 40 }, { max_message = math.maxinteger }, { max_message = 1 << 30, max_frame = 0 } }) do
  for _, path in ipairs({ "/large?size=67108864", "/large?size=" .. (4 << 20) + 1 }) do
    local conn <close> = ws.connect(base .. path, options)
    local ok, err = pcall(conn.recv, conn, { timeout = 30 })
    assert.eq(ok, false, path)
    assert.eq(err.code, "limit", err.message)
  end
  local conn <close> = ws.connect(base .. "/large?size=1900000", options)
  assert.eq(#conn:recv({ timeout = 30 }), 1900000)
  local ok, err = pcall(conn.send, conn, ("x"):rep(5 << 20))
  assert.eq(ok, false)
  assert.eq(err.code, "limit", err.message)
end

--# case: many connections share one budget
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
--# flags: --host-memory 4MiB
local base = "ws://127.0.0.1:${WS_PORT}"
local conns, failed = {}, 0
for n = 1, 8 do
  conns[n] = ws.connect(base .. "/large?size=1000000")
end
for n = 1, 8 do
  local ok, err = pcall(conns[n].recv, conns[n], { timeout = 30 })
  assert.eq(ok or err.code, ok or "limit")
  failed = failed + (ok and 0 or 1)
end
assert.eq(failed < 8, true)

--# case: frames that carry nothing are bounded
--# needs: ws
--# allow: ws=127.0.0.1:${WS_RAW_PORT}
local base = "ws://127.0.0.1:${WS_RAW_PORT}"
-- One of them neither reads what it is answered.
for _, path in ipairs({ "/pings", "/pongs", "/empty-fragments", "/empty" }) do
  local conn = ws.connect(base .. path)
  local ok, err
  repeat
    ok, err = pcall(conn.recv, conn, { timeout = 30 })
  until not ok
  assert.eq(err.code, "limit", path .. ": " .. err.message)
  assert.contains(err.message, "without end")
end
local some <close> = ws.connect(base .. "/some-pings")
assert.eq(some:recv({ timeout = 30 }), "hello")
-- Messages make up for as many.
local among <close> = ws.connect(base .. "/pings-among")
for _ = 1, 5000 do
  assert.eq(among:recv({ timeout = 30 }), "hello")
end

--# case: answers to the script's own pings are no flood
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/echo")
for _ = 1, 3000 do
  conn:ping()
end
conn:send("x")
assert.eq(conn:recv({ timeout = 10 }), "x")

--# case: a message that timed out ends before the next one
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/echo")
local big = ("0123456789abcdef"):rep(256 * 1024)
local count = 0
for _ = 1, 20 do
  local ok, err = pcall(conn.send, conn, big, { timeout = 0.001 })
  if ok then
    count = count + 1
  else
    assert.eq(err.code, "timeout", err.message)
    break
  end
end
-- The last one may have got half of its way, or none.
async.spawn(function() conn:send("end", { timeout = 30 }) end)
local message
repeat
  message = conn:recv({ timeout = 30 })
  assert(message == big or message == "end")
until message == "end"
