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
assert.eq(_SERVER_PORT, nil)
http.serve(0, { GET = { ["/"] = function() return "x" end } }, {
  on_listen = function(server)
    assert.eq(_SERVER_PORT, server.port)
    server:stop()
  end,
})
assert.gt(_SERVER_PORT, 0)

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
local listening = async.spawn(sleep, 60)
local task = async.spawn(http.serve, 0, { GET = {} }, {
  on_listen = function(server)
    port = server.port
    listening:cancel()
  end,
})
assert.eq(pcall(listening.await, listening), false)
task:cancel()
local again
for _ = 1, 6000 do
  again = pcall(http.serve, port, { GET = {} }, { on_listen = function(server) server:stop(0) end })
  if again then
    break
  end
  sleep(0.01)
end
assert.eq(again, true)

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
