--- # ws
--- WebSocket client (RFC 6455): messages both ways over a connection that stays open.
---
--- A connection needs the grant `ws` of its place, on the command line as
--- `--allow ws=stream.example.com` or `--allow ws=wss://stream.example.com:8443/v1/*`; see
--- [grants](../grants.md). The address that was checked is the one that is connected to. Link-local and
--- metadata addresses are refused whatever the name, unless the address itself is granted. `http` grants
--- no WebSocket, and `ws` no request.
---
--- Pings of the server are answered while the script does something else, and messages that arrive wait for
--- it: 1 MiB of them, then the server has to wait. Tasks may send and receive on one connection at the same
--- time; each message is sent and received whole.
---
--- Everything that a function of `ws` takes is a method of the connection too: `conn:send(message)`.
--- Dropped connections close; one that is declared `local conn <close>` closes in good order at the end of
--- its block.
---
--- | code | when |
--- |---|---|
--- | `denied` | the place or its address is not granted |
--- | `invalid_argument` | a URL, option, close code or text that cannot be used |
--- | `unavailable` | no connection, refused by the server, broken off, or closed already |
--- | `timeout` | no answer, no message, no sign of life in time |
--- | `limit` | a message is too large, or the run has no handle left |
--- | `invalid_data` | TLS failed, or the server breaks the protocol |
---
--- ## ws.connect(url, opts?) -> connection
--- Opens a connection to `ws://host[:port]/path` or `wss://...`. A user name and password in the URL become
--- basic authentication. Redirects are not followed.
---
--- | option | default | |
--- |---|---|---|
--- | `headers` | | table of header fields for the handshake |
--- | `protocols` | | list of subprotocols, the preferred one first; the server must choose one |
--- | `connect_timeout` | 10 | seconds for name, TCP and TLS; 0 is no bound, here and below |
--- | `timeout` | 30 | seconds until the server has answered the handshake |
--- | `max_message` | 16 MiB | bytes of a message, in either direction; 0 and what is more than `--host-memory` are as much as that |
--- | `max_frame` | `max_message` | bytes of one frame of a message that comes in |
--- | `keepalive` | 0 | seconds of silence after which the server is pinged; silent for as long again, it counts as gone |
--- | `bearer`, `basic_auth` | | credentials, as for [http](http.md) |
--- | `ca_cert`, `ca_cert_file` | the system's | certificate authorities, PEM |
--- | `client_cert`, `client_key`, `..._file` | | the client's certificate and its key, PEM |
--- | `tls` | | `{fingerprint = "sha256:..."}`, as for [http](http.md) |
--- | `proxy` | | `http://HOST:PORT`; needs the grant `http=proxy:HOST:PORT`. `HTTPS_PROXY` and the like are used where they are granted, `false` uses none |
---
--- Messages above 16 KiB are sent in fragments. An open connection takes 64 KiB of `--host-memory`, and a message that comes in twice
--- its size until it is whole. A server that sends more than 2000 pings, empty messages or empty fragments (and 200 more each
--- second), answers to the script's own pings aside, is given up with the error `limit`.
---
--- The connection has the fields `url`, `protocol` (the subprotocol that the server chose, or nil),
--- `headers` (of the server's answer, names in lower case), and once it is closed `close_code` and
--- `close_reason`.
---
--- ## ws.send(connection, message, opts?)
--- Sends a text message, which must be UTF-8; any bytes with `{ binary = true }`. Waits until the system has
--- taken it, at most `timeout` (30) seconds; a message that timed out may still arrive.
---
--- ## ws.recv(connection, opts?) -> message, kind
--- The next message, and `"text"` or `"binary"`. Waits for it, with `{ timeout = SECONDS }` not longer; after
--- a `timeout` the connection can still be used. When the server has closed the connection it gives
--- `nil, code, reason`, code 1005 where the server gave none. A connection that breaks off without being closed is the
--- error `unavailable`.
---
--- ## ws.messages(connection, opts?) -> iterator
--- For `for message, kind in conn:messages() do`, until the connection is closed. Options as for `ws.recv`, for
--- each message.
---
--- ## ws.ping(connection, opts?) -> seconds
--- Pings the server and gives the time until its answer. Options: `payload` (at most 125 bytes) and `timeout`
--- (10 seconds).
---
--- ## ws.close(connection, code?, reason?, opts?)
--- Closes the connection with a code, 1000 or another that a client may send (1001, 1002, 1003, 1007 to 1011, 3000
--- to 4999), and a reason of at most 123 bytes. Waits for the server to agree, at most `timeout` (5) seconds;
--- messages that come before are dropped. On a connection that is closed already it does nothing.

--# example: ask and be answered
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn = ws.connect("ws://127.0.0.1:${WS_PORT}/echo")
conn:send("hello")
local message, kind = conn:recv({ timeout = 10 })
assert.eq(message, "hello")
assert.eq(kind, "text")
conn:close()

--# example: every message until the server closes
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/count?n=5")
local got = {}
for message in conn:messages({ timeout = 10 }) do
  got[#got + 1] = message
end
assert.eq(table.concat(got, " "), "0 1 2 3 4")
assert.eq(conn.close_code, 1000)

--# example: send in one task, receive in another
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/echo")
local sender = async.spawn(function()
  for n = 1, 100 do
    conn:send("message " .. n)
  end
end)
for n = 1, 100 do
  assert.eq(conn:recv({ timeout = 10 }), "message " .. n)
end
sender:await()

--# case: the older names
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn = ws.connect("ws://127.0.0.1:${WS_PORT}/echo")
assert.eq(ws.send(conn, "x"), nil)
assert.eq(ws.recv(conn), "x")
assert.eq(ws.close(conn), nil)
assert.eq(require("ws"), ws)

--# case: text and binary
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/echo")
for _, message in ipairs({ "", "ünïcode 😀", "a\0b", ("x"):rep(100000) }) do
  conn:send(message)
  local got, kind = conn:recv({ timeout = 10 })
  assert.eq(got, message)
  assert.eq(kind, "text")
end
local all = {}
for n = 0, 255 do all[n + 1] = string.char(n) end
for _, message in ipairs({ "", table.concat(all), ("\xff\0"):rep(200000) }) do
  conn:send(message, { binary = true })
  local got, kind = conn:recv({ timeout = 10 })
  assert(got == message)
  assert.eq(kind, "binary")
end
local ok, err = pcall(conn.send, conn, "abc\xff")
assert.eq(ok, false)
assert.eq(err.code, "invalid_argument")
assert.contains(err.message, "byte 4")
assert.contains(err.message, "binary = true")
-- Nothing of it was sent.
conn:send("after")
assert.eq(conn:recv({ timeout = 10 }), "after")

--# case: the handshake
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn <close> = ws.connect("ws://al:p%40ss@127.0.0.1:${WS_PORT}/about?a=1&b=%20#part", {
  headers = { ["X-One"] = "1", ["x-list"] = { "a", "b" }, Origin = "http://a.example" },
  protocols = { "unknown", "chat" },
})
assert.eq(conn.protocol, "chat")
assert.eq(conn.headers.upgrade, "websocket")
assert.not_nil(conn.headers["sec-websocket-accept"])
local told = conn:recv({ timeout = 10 })
for _, line in ipairs({
  "/about?a=1&b=%20\n", "x-one: 1\n", "x-list: a\nx-list: b\n", "origin: http://a.example\n",
  "authorization: Basic YWw6cEBzcw==", "host: 127.0.0.1:${WS_PORT}\n", "sec-websocket-version: 13",
  "sec-websocket-protocol: unknown, chat", "user-agent: assay/",
}) do
  assert.contains(told .. "\n", line)
end
assert(not told:find("part", 1, true))

--# case: credentials
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local url = "ws://127.0.0.1:${WS_PORT}/private"
local ok, err = pcall(ws.connect, url)
assert.eq(ok, false)
assert.eq(err.code, "unavailable")
assert.contains(err.message, "401")
local conn <close> = ws.connect(url, { basic_auth = { user = "al", pass = "p@ss" } })
conn:send("in")
assert.eq(conn:recv({ timeout = 10 }), "in")
local other <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/about", { bearer = "token" })
assert.contains(other:recv({ timeout = 10 }), "authorization: Bearer token")

--# case: subprotocols
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local url = "ws://127.0.0.1:${WS_PORT}/echo"
local conn <close> = ws.connect(url)
assert.eq(conn.protocol, nil)
assert.eq(ws.connect(url, { protocols = { "chat", "chat.v2" } }).protocol, "chat")
assert.eq(ws.connect(url, { protocols = "chat.v2" }).protocol, "chat.v2")
local ok, err = pcall(ws.connect, url, { protocols = { "nobody", "knows" } })
assert.eq(err.code, "invalid_data")
assert.contains(err.message, "protocol")
for _, bad in ipairs({ { "a b" }, { "" }, { "a", "a" }, { "x\r\ny: z" } }) do
  local ok, err = pcall(ws.connect, url, { protocols = bad })
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument")
end

--# case: the server closes, with its code and reason
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
for _, case in ipairs({ { 1000, "" }, { 1001, "going" }, { 3000, "own" }, { 4999, "zü" } }) do
  local code, reason = case[1], case[2]
  local conn = ws.connect("ws://127.0.0.1:${WS_PORT}/close?code=" .. code .. "&reason=" .. reason)
  for _ = 1, 2 do
    local message, got, why = conn:recv({ timeout = 10 })
    assert.eq(message, nil)
    assert.eq(got, code)
    assert.eq(why, reason)
  end
  assert.eq(conn.close_code, code)
  assert.eq(conn.close_reason, reason)
  local ok, err = pcall(conn.send, conn, "late")
  assert.eq(ok, false)
  assert.eq(err.code, "unavailable")
  assert.contains(err.message, tostring(code))
  conn:close()
end

--# case: we close, with a code and reason
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn = ws.connect("ws://127.0.0.1:${WS_PORT}/said")
conn:close(4001, "enough")
assert.eq(conn.close_code, 4001)
local last <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/last")
assert.eq(last:recv({ timeout = 10 }), "4001 enough")
-- Once is enough.
conn:close()
assert.eq(conn.close_code, 4001)
local message, code = conn:recv()
assert.eq(message, nil)
assert.eq(code, 4001)
local ok, err = pcall(conn.send, conn, "x")
assert.eq(err.code, "unavailable")

--# case: codes and reasons that cannot be sent
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn = ws.connect("ws://127.0.0.1:${WS_PORT}/echo")
for _, code in ipairs({ 0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65536, -1 }) do
  local ok, err = pcall(conn.close, conn, code)
  assert.eq(ok, false, code)
  assert.eq(err.code, "invalid_argument", code)
end
local ok, err = pcall(conn.close, conn, 1000, ("x"):rep(124))
assert.eq(err.code, "invalid_argument")
conn:send("still open")
assert.eq(conn:recv({ timeout = 10 }), "still open")
conn:close(1000, ("x"):rep(123))
assert.eq(conn.close_reason, ("x"):rep(123))

--# case: the end of a block closes in good order
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
do
  local conn <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/said")
end
local last <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/last")
assert.eq(last:recv({ timeout = 10 }), "1000 ")

--# case: pings both ways
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/echo")
local seconds = conn:ping()
assert(seconds > 0 and seconds < 10)
assert(ws.ping(conn, { payload = "" }) > 0)
assert(conn:ping({ payload = ("x"):rep(125), timeout = 10 }) > 0)
local ok, err = pcall(conn.ping, conn, { payload = ("x"):rep(126) })
assert.eq(err.code, "invalid_argument")
-- Many at a time, among messages.
local tasks = {}
for n = 1, 20 do
  tasks[n] = function() return conn:ping() end
end
conn:send("between")
async.all(tasks)
assert.eq(conn:recv({ timeout = 10 }), "between")
-- The server's are answered while the script waits for something else.
local pinged <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/pinged")
assert.eq(pinged:recv({ timeout = 20 }), "answered")

--# case: fragments become one message
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/fragments?n=50")
local message, kind = conn:recv({ timeout = 10 })
assert.eq(kind, "text")
assert(message:find("^ä0;ä1;ä2;") and message:find("ä49;$"))

--# case: large messages, up to the limit and beyond
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local base = "ws://127.0.0.1:${WS_PORT}"
local size = 16 * 1024 * 1024
local conn <close> = ws.connect(base .. "/large?size=" .. size)
assert.eq(#conn:recv({ timeout = 30 }), size)
local over = ws.connect(base .. "/large?size=" .. size + 1)
local ok, err = pcall(over.recv, over, { timeout = 30 })
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "max_message")
-- It stays failed.
assert.eq(select(2, pcall(over.recv, over)).code, "limit")
-- Limits of one's own.
local small <close> = ws.connect(base .. "/echo", { max_message = 1000 })
small:send(("x"):rep(1000))
assert.eq(#small:recv({ timeout = 10 }), 1000)
local ok, err = pcall(small.send, small, ("x"):rep(1001))
assert.eq(err.code, "limit")
assert.contains(err.message, "max_message")
local exact <close> = ws.connect(base .. "/large?size=1000", { max_message = 1000 })
assert.eq(#exact:recv({ timeout = 10 }), 1000)
local fragmented = ws.connect(base .. "/fragments?n=500", { max_message = 1000, max_frame = 100 })
assert.eq(select(2, pcall(fragmented.recv, fragmented, { timeout = 10 })).code, "limit")
local frame = ws.connect(base .. "/large?size=200", { max_frame = 199 })
assert.eq(select(2, pcall(frame.recv, frame, { timeout = 10 })).code, "limit")
local more <close> = ws.connect(base .. "/large?size=" .. size + 1, { max_message = 0 })
assert.eq(#more:recv({ timeout = 30 }), size + 1)

--# case: a message that is too large is told to the server
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local base = "ws://127.0.0.1:${WS_PORT}"
local conn = ws.connect(base .. "/large?size=2000", { max_message = 1000 })
assert.eq(select(2, pcall(conn.recv, conn, { timeout = 10 })).code, "limit")
conn:close()

--# case: a large message is sent while one is received
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/echo")
local message = ("0123456789abcdef"):rep(512 * 1024)
local sender = async.spawn(function()
  for _ = 1, 3 do conn:send(message, { binary = true }) end
end)
for _ = 1, 3 do
  assert(conn:recv({ timeout = 60 }) == message)
end
sender:await()

--# case: timeouts leave the connection usable
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/echo")
local ok, err = pcall(conn.recv, conn, { timeout = 0.05 })
assert.eq(ok, false)
assert.eq(err.code, "timeout")
assert.contains(err.message, "0.05 seconds")
conn:send("after")
assert.eq(conn:recv({ timeout = 10 }), "after")
-- A task that is cancelled loses no message.
local waiting = async.spawn(function() return conn:recv() end)
sleep(0)
waiting:cancel()
conn:send("kept")
assert.eq(conn:recv({ timeout = 10 }), "kept")

--# case: a server that never answers
--# needs: ws
--# allow: ws=127.0.0.1:${WS_SILENT_PORT}
--# allow: ws=127.0.0.1:${WS_RAW_PORT}
local ok, err = pcall(ws.connect, "ws://127.0.0.1:${WS_SILENT_PORT}/", { timeout = 0.2 })
assert.eq(ok, false)
assert.eq(err.code, "timeout")
assert.contains(err.message, "127.0.0.1:${WS_SILENT_PORT}")
local ok, err = pcall(ws.connect, "wss://127.0.0.1:${WS_SILENT_PORT}/", { connect_timeout = 0.2 })
assert.eq(err.code, "timeout")
-- One that falls silent.
local conn = ws.connect("ws://127.0.0.1:${WS_RAW_PORT}/mute")
assert.eq(conn:recv({ timeout = 10 }), "hello")
local ok, err = pcall(conn.ping, conn, { timeout = 0.2 })
assert.eq(err.code, "timeout")
local ok, err = pcall(conn.close, conn, 1000, "", { timeout = 0.2 })
assert.eq(ok, false)
assert.eq(err.code, "timeout")
-- It is over all the same.
assert.eq(select(2, pcall(conn.send, conn, "x")).code, "timeout")

--# case: keepalive notices a server that is gone
--# needs: ws
--# allow: ws=127.0.0.1:${WS_RAW_PORT}
--# allow: ws=127.0.0.1:${WS_PORT}
local conn = ws.connect("ws://127.0.0.1:${WS_RAW_PORT}/mute", { keepalive = 0.1 })
assert.eq(conn:recv({ timeout = 10 }), "hello")
local ok, err = pcall(conn.recv, conn, { timeout = 20 })
assert.eq(ok, false)
assert.eq(err.code, "timeout")
assert.contains(err.message, "sign of life")
-- One that answers stays.
local alive <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/echo", { keepalive = 0.5 })
sleep(1.5)
alive:send("here")
assert.eq(alive:recv({ timeout = 10 }), "here")

--# case: a server that is not there, or refuses
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
--# allow: ws=127.0.0.1:${WS_CLOSED_PORT}
local ok, err = pcall(ws.connect, "ws://127.0.0.1:${WS_CLOSED_PORT}/secret?token=hidden")
assert.eq(ok, false)
assert.eq(err.code, "unavailable")
assert.contains(err.message, "ws://127.0.0.1:${WS_CLOSED_PORT}/secret")
assert(not err.message:find("hidden", 1, true))
for _, status in ipairs({ 200, 403, 404, 500 }) do
  local ok, err = pcall(ws.connect, "ws://127.0.0.1:${WS_PORT}/status/" .. status)
  assert.eq(ok, false)
  assert.eq(err.code, "unavailable")
  assert.contains(err.message, tostring(status))
end

--# case: a server that breaks the protocol
--# needs: ws
--# allow: ws=127.0.0.1:${WS_RAW_PORT}
local base = "ws://127.0.0.1:${WS_RAW_PORT}"
for _, path in ipairs({ "/reserved", "/opcode", "/masked", "/not-utf8", "/long-ping", "/continued" }) do
  local conn = ws.connect(base .. path)
  local ok, err = pcall(conn.recv, conn, { timeout = 10 })
  assert.eq(ok, false, path)
  assert.eq(err.code, "invalid_data", path .. ": " .. err.message)
end
for _, path in ipairs({ "/half", "/cut" }) do
  local conn = ws.connect(base .. path)
  local ok, err = pcall(conn.recv, conn, { timeout = 10 })
  assert.eq(ok, false, path)
  assert.eq(err.code, "unavailable", path .. ": " .. err.message)
  conn:close()
end
local conn = ws.connect(base .. "/huge")
assert.eq(select(2, pcall(conn.recv, conn, { timeout = 10 })).code, "limit")
for path, code in pairs({
  ["/bad-accept"] = "invalid_data", ["/unasked-protocol"] = "invalid_data", ["/not-http"] = "invalid_data",
  ["/many-headers"] = "limit", ["/not-upgraded"] = "invalid_data", ["/extended"] = "invalid_data",
}) do
  local ok, err = pcall(ws.connect, base .. path, { timeout = 10 })
  assert.eq(ok, false, path)
  assert.eq(err.code, code, path .. ": " .. err.message)
end

--# case: answers come after others, and their fields as lists
--# needs: ws
--# allow: ws=127.0.0.1:${WS_RAW_PORT}
for _, path in ipairs({ "/interim", "/lists", "/lines", "/folded" }) do
  local conn = ws.connect("ws://127.0.0.1:${WS_RAW_PORT}" .. path, { timeout = 10 })
  assert.eq(conn:recv({ timeout = 10 }), "hello", path)
end

--# case: the server learns why it was given up
--# needs: ws
--# allow: ws=127.0.0.1:${WS_RAW_PORT}
--# allow: ws=127.0.0.1:${WS_PORT}
local conn = ws.connect("ws://127.0.0.1:${WS_RAW_PORT}/not-utf8")
assert.eq(select(2, pcall(conn.recv, conn, { timeout = 10 })).code, "invalid_data")
local last <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/last")
assert.eq(last:recv({ timeout = 10 }), "1007 ")

--# case: TLS
--# needs: ws
--# allow: ws=127.0.0.1:${WSS_PORT}
--# allow: fs=read:${WS_CA}
--# allow: fs=read:${WS_OTHER_CA}
local url = "wss://127.0.0.1:${WSS_PORT}/echo"
local conn <close> = ws.connect(url, { ca_cert_file = "${WS_CA}" })
conn:send("secret")
assert.eq(conn:recv({ timeout = 10 }), "secret")
local inline <close> = ws.connect(url, { ca_cert = fs.read("${WS_CA}") })
inline:send(("x"):rep(1000000))
assert.eq(#inline:recv({ timeout = 30 }), 1000000)
local ok, err = pcall(ws.connect, url, { ca_cert_file = "${WS_OTHER_CA}" })
assert.eq(err.code, "invalid_data")
assert.contains(err.message, "ca_cert")
assert.contains(err.message, "wss://127.0.0.1:${WSS_PORT}/echo")
local ok, err = pcall(ws.connect, url, { ca_cert = "nonsense" })
assert.eq(err.code, "invalid_argument")
local ok, err = pcall(ws.connect, url, { insecure = true })
assert.eq(err.code, "unsupported")
-- TLS to a server without, and the other way round.
local ok, err = pcall(ws.connect, "ws://127.0.0.1:${WSS_PORT}/echo", { timeout = 10 })
assert.eq(ok, false)

--# case: a certificate of our own
--# needs: ws
--# allow: ws=127.0.0.1:${WSS_MTLS_PORT}
--# allow: fs=read:${TMP}
local url = "wss://127.0.0.1:${WSS_MTLS_PORT}/echo"
local conn <close> = ws.connect(url, {
  ca_cert_file = "${WS_CA}", client_cert_file = "${WS_CLIENT_CERT}", client_key_file = "${WS_CLIENT_KEY}",
})
conn:send("me")
assert.eq(conn:recv({ timeout = 10 }), "me")
local ok, err = pcall(function()
  local conn = ws.connect(url, { ca_cert_file = "${WS_CA}" })
  conn:recv({ timeout = 10 })
end)
assert.eq(ok, false)
-- The server's reason may be lost when it hangs up on what was sent already.
assert(err.code == "invalid_data" or err.code == "unavailable", err.code)

--# case: a certificate file needs its grant
--# needs: ws
--# allow: ws=127.0.0.1:${WSS_PORT}
local ok, err = pcall(ws.connect, "wss://127.0.0.1:${WSS_PORT}/echo", { ca_cert_file = "${WS_CA}" })
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=read:${WS_CA}")

--# case: through a proxy
--# needs: ws
--# allow: http=proxy:127.0.0.1:${WS_PROXY_PORT}
--# allow: ws=upstream.test:*
--# allow: fs=read:${WS_CA}
local proxy = "http://127.0.0.1:${WS_PROXY_PORT}"
local conn <close> = ws.connect("ws://upstream.test:${WS_PORT}/echo", { proxy = proxy })
conn:send("through")
assert.eq(conn:recv({ timeout = 10 }), "through")
local secure <close> = ws.connect("wss://upstream.test:${WSS_PORT}/echo", { proxy = proxy, ca_cert_file = "${WS_CA}" })
secure:send("through")
assert.eq(secure:recv({ timeout = 10 }), "through")
local ok, err = pcall(ws.connect, "ws://other.test/", { proxy = proxy })
assert.eq(err.code, "denied")

--# case: a proxy needs its grant
--# needs: ws
--# allow: ws
local ok, err = pcall(ws.connect, "ws://upstream.test:${WS_PORT}/echo", { proxy = "http://127.0.0.1:${WS_PROXY_PORT}" })
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow http=proxy:127.0.0.1:${WS_PROXY_PORT}")

--# case: wrong arguments
--# allow: ws
for _, url in ipairs({ "", "a.example", "http://127.0.0.1/", "ws://", "file:///etc/passwd" }) do
  local ok, err = pcall(ws.connect, url)
  assert.eq(ok, false, url)
  assert.eq(err.code, "invalid_argument", url)
end
for _, options in ipairs({
  { headers = { ["Sec-WebSocket-Key"] = "x" } }, { headers = { ["sec-websocket-extensions"] = "permessage-deflate" } },
  { headers = { Connection = "close" } }, { headers = { Upgrade = "h2c" } }, { headers = { Host = "other.example" } },
  { headers = { x = "a\r\nb: c" } }, { headers = 1 }, { protocols = 1 }, { max_message = -1 }, { max_message = "x" },
  { timeout = -1 }, { keepalive = "x" }, { client_key = "x" },
}) do
  local ok, err = pcall(ws.connect, "ws://127.0.0.1:1/", options)
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument", json.encode(options) .. ": " .. tostring(err))
end
assert.contains(select(2, pcall(ws.connect)), "bad argument #1 to 'connect' (string expected, got no value)")
assert.contains(select(2, pcall(ws.connect, "ws://a", 1)), "bad argument #2 to 'connect' (table expected")
assert.contains(select(2, pcall(ws.send, {}, "x")), "bad argument #1 to 'send' (connection expected")
assert.contains(select(2, pcall(ws.recv)), "bad argument #1 to 'recv' (connection expected, got no value)")

--# case: wrong arguments on a connection
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/echo")
assert.contains(select(2, pcall(conn.send, conn)), "bad argument #2 to 'send' (string expected, got no value)")
assert.contains(select(2, pcall(conn.send, conn, {})), "string expected, got table")
assert.contains(select(2, pcall(conn.send, conn, "x", true)), "bad argument #3 to 'send' (table expected")
assert.eq(select(2, pcall(conn.send, conn, "x", { binary = 1 })).code, "invalid_argument")
assert.eq(select(2, pcall(conn.recv, conn, { timeout = "1" })).code, "invalid_argument")
assert.eq(select(2, pcall(conn.recv, conn, { timeout = -1 })).code, "invalid_argument")
assert.contains(select(2, pcall(conn.close, conn, "1000")), "bad argument #2 to 'close' (number expected")

--# case: denied without a grant
local ok, err = pcall(ws.connect, "wss://stream.example.com/v1")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.eq(err.message, "ws to wss://stream.example.com/v1 is not granted; run again with --allow 'ws=wss://stream.example.com/v1'")

--# case: denied beside what is granted
--# allow: ws=wss://a.example/v1/*
--# allow: http
for url, place in pairs({
  ["ws://a.example/v1/x"] = "ws://a.example/v1/x",
  ["wss://a.example/v2"] = "wss://a.example/v2",
  ["wss://a.example:444/v1/x"] = "wss://a.example:444/v1/x",
  ["wss://a.example/v1/../v2"] = "wss://a.example/v2",
  ["wss://b.example/v1/x"] = "wss://b.example/v1/x",
}) do
  local ok, err = pcall(ws.connect, url)
  assert.eq(ok, false, url)
  assert.eq(err.code, "denied", url)
  assert.contains(err.message, "--allow 'ws=" .. place .. "'")
end

--# case: what ws grants is no request
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local ok, err = pcall(http.get, "http://127.0.0.1:${WS_PORT}/status/200")
assert.eq(err.code, "denied")

--# case: the server's certificate by its fingerprint
--# needs: ws
--# allow: ws=loopback
local url = "wss://127.0.0.1:${WSS_PORT}/echo"
local conn <close> = ws.connect(url, { tls = { fingerprint = "sha256:${WS_SERVER_SHA256}" } })
conn:send("hello")
assert.eq(conn:recv({ timeout = 10 }), "hello")
local ok, err = pcall(ws.connect, url, { tls = { fingerprint = "sha256:" .. ("0"):rep(64) } })
assert.eq({ ok, err.code }, { false, "invalid_data" })
assert.contains(err.message, "sha256:${WS_SERVER_SHA256}")
local ok, err = pcall(ws.connect, url, { tls = { fingerprint = "x" } })
assert.eq(err.code, "invalid_argument")

--# case: handles are limited
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
--# flags: --max-handles 3
local url = "ws://127.0.0.1:${WS_PORT}/echo"
local open = {}
for n = 1, 3 do open[n] = ws.connect(url) end
local ok, err = pcall(ws.connect, url)
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "max-handles")
do local closed <close> = open[3] end
open[3] = ws.connect(url)

--# case: bytes are counted
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
--# flags: --max-host-bytes 100000
local conn = ws.connect("ws://127.0.0.1:${WS_PORT}/echo")
conn:send(("x"):rep(40000))
assert.eq(#conn:recv({ timeout = 10 }), 40000)
local ok, err = pcall(conn.send, conn, ("x"):rep(40000))
assert.eq(ok, false)
assert.eq(err.code, "limit")

--# case: a server that floods has to wait
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn = ws.connect("ws://127.0.0.1:${WS_PORT}/flood")
local told <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/flooded")
-- 64 KiB each: 1 MiB of Assay's, and the buffers of two sockets and of the server.
local sent = tonumber((told:recv({ timeout = 60 })))
assert(sent < 512, "the server sent " .. sent)
-- Nothing was lost.
for _ = 1, sent do
  assert.eq(#conn:recv({ timeout = 10 }), 65536)
end
conn:close()

--# case: waiting inside pcall, coroutines and comparators
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/echo")
local function echo(message)
  conn:send(message)
  return (conn:recv({ timeout = 10 }))
end
assert.eq(select(2, pcall(echo, "a")), "a")
local wrapped = coroutine.wrap(function()
  coroutine.yield(echo("b"))
  return echo("c")
end)
assert.eq(wrapped(), "b")
assert.eq(wrapped(), "c")
local list = { "3", "1", "2" }
table.sort(list, function(a, b) return echo(a) < echo(b) end)
assert.eq(table.concat(list), "123")
local shown = setmetatable({}, { __tostring = function() return echo("meta") end })
assert.eq(tostring(shown), "meta")

--# case: two receivers share the messages
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
local conn <close> = ws.connect("ws://127.0.0.1:${WS_PORT}/count?n=100")
local seen, count = {}, 0
local function take()
  for message in conn:messages({ timeout = 10 }) do
    assert.eq(seen[message], nil)
    seen[message] = true
    count = count + 1
  end
end
async.all({ take, take })
assert.eq(count, 100)

--# case: connections that are still open end with the run
--# needs: ws
--# allow: ws=127.0.0.1:${WS_PORT}
--# stdout: done
for _ = 1, 10 do
  local conn = ws.connect("ws://127.0.0.1:${WS_PORT}/echo")
  async.spawn(function() conn:recv() end)
end
print("done")
os.exit(0)
