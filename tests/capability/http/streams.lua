--# case: every form of server-sent event
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local got = {}
local response = http.get("http://127.0.0.1:${HTTP_PORT}/sse", {
  on_event = function(event)
    got[#got + 1] = table.concat({ event.event, event.data, event.id or "-", event.retry or "-" }, "|")
  end,
})
assert.eq(
  table.concat(got, "\n"),
  table.concat({
    "message|first|-|-",
    "named|two\nlines|7|-",
    "message|no space|7|1500",
    "message|split|7|-",
    "message||7|-",
    "message|last|9|-",
  }, "\n")
)
assert.eq(response.last_event_id, "9")
assert.eq(response.headers["content-type"], "text/event-stream; charset=utf-8")
local first
http.get("http://127.0.0.1:${HTTP_PORT}/sse", {
  headers = { ["Last-Event-ID"] = "9" },
  on_event = function(event)
    first = event
    return "close"
  end,
})
assert.eq(first.event, "resumed")
assert.eq(first.data, "9")

--# case: on_event and a response that is no stream
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local called = false
local response = http.get("http://127.0.0.1:${HTTP_PORT}/bytes/100000", { on_event = function() called = true end })
assert.eq(called, false)
assert.eq(#response.body, 100000)
response = http.get("http://127.0.0.1:${HTTP_PORT}/status/404", { on_event = function() called = true end })
assert.eq(response.body, "status 404")

--# case: errors and waits inside on_event
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local url = "http://127.0.0.1:${HTTP_PORT}/sse-endless"
local ok, err = pcall(http.get, url, { on_event = function() error({ mine = true }) end })
assert.eq(ok, false)
assert.eq(err.mine, true)
local count = 0
http.get(url, {
  on_event = function()
    count = count + 1
    assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/hello").body, "hello")
    return count == 3 and "close"
  end,
})
assert.eq(count, 3)
ok, err = pcall(http.get, url, { timeout = 0.2, on_event = function() end })
assert.eq(err.code, "timeout")
ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/sse-broken", { on_event = function() end })
assert.eq(err.code, "unavailable")

--# case: streamed bodies
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local url = "http://127.0.0.1:${HTTP_PORT}/bytes/1000000"
local body = http.get(url, { stream = true }).body
local hash = {}
for chunk in body:chunks() do
  assert.gt(#chunk, 0)
  hash[#hash + 1] = chunk
end
assert.eq(#table.concat(hash), 1000000)
assert.eq(body:read(), nil)
body = http.get(url, { stream = true }).body
assert.eq(body:read(3), "\0\1\2")
assert.eq(body:read(1), "\3")
assert.eq(#body:read("a"), 999996)
assert.eq(body:read("a"), "")
body = http.get(url, { stream = true }).body
body:close()
assert.eq(body:read(), nil)
do
  local body <close> = http.get("http://127.0.0.1:${HTTP_PORT}/endless", { stream = true }).body
  assert.gt(#body:read(), 0)
end
local lines = {}
for line in http.get("http://127.0.0.1:${HTTP_PORT}/lines/3?end=%0D%0A", { stream = true }).body:lines() do
  lines[#lines + 1] = line
end
assert.eq(table.concat(lines, "|"), "line 1|line 2|line 3")
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/encoded/gzip", { stream = true }).body:read("a"):sub(1, 9), "the quick")
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/empty", { stream = true }).body:read(), nil)
local ok, err = pcall(function()
  return http.get("http://127.0.0.1:${HTTP_PORT}/truncated", { stream = true }).body:read("a")
end)
assert.eq(err.code, "unavailable")
ok, err = pcall(body.read, body, 0)
assert.eq(ok, false)

--# case: an endless body in little memory
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
--# flags: --memory 32MiB
local size = 0
for chunk in http.get("http://127.0.0.1:${HTTP_PORT}/endless", { stream = true }).body:chunks() do
  size = size + #chunk
  if size > 100 << 20 then
    break
  end
end
assert.gt(size, 100 << 20)

--# case: downloads
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
--# allow: fs=rw:${TMP}/out
local base = "http://127.0.0.1:${HTTP_PORT}"
assert.eq(http.download(base .. "/bytes/3000000?chunked", "out/a/b/c.bin"), 3000000)
assert.eq(fs.stat("out/a/b/c.bin").size, 3000000)
assert.eq(http.download(base .. "/empty", "out/empty"), 0)
assert.eq(http.download(base .. "/hello", "out/empty"), 5)
assert.eq(fs.read("out/empty"), "hello")
assert.eq(http.download(base .. "/redirect-to?url=/hello", "out/redirected"), 5)
http.download(base .. "/encoded/gzip", "out/archive.gz")
assert.eq(fs.read_bytes("out/archive.gz"):sub(1, 2), "\x1f\x8b")
http.download(base .. "/echo", "out/echo", { headers = { ["X-A"] = "1" } })
assert.eq(json.parse(fs.read("out/echo")).headers["x-a"], "1")
assert.eq(http.client({ base_url = base }):download("/hello", "out/client"), 5)

--# case: downloads that fail leave nothing
--# needs: http
--# allow: http=127.0.0.1:*
--# allow: fs=rw:${TMP}/out
fs.mkdir("out")
fs.write("out/old", "old")
local base = "http://127.0.0.1:${HTTP_PORT}"
local function fails(code, url, opts)
  local ok, err = pcall(http.download, url, "out/old", opts)
  assert.eq(ok, false, url)
  assert.eq(err.code, code, url .. ": " .. tostring(err))
  return err.message
end
assert.contains(fails("not_found", base .. "/status/404"), "404 Not Found")
fails("permission", base .. "/status/403")
fails("unavailable", base .. "/status/503")
fails("other", base .. "/status/418")
fails("unavailable", base .. "/truncated")
fails("unavailable", "http://127.0.0.1:${CLOSED_PORT}/")
fails("limit", base .. "/hello", { max_size = 4 })
fails("limit", base .. "/bytes/100000?chunked", { max_size = 99999 })
fails("timeout", base .. "/drip?n=100&ms=50", { timeout = 0.2 })
fails("invalid_data", base .. "/hello", { sha256 = ("0"):rep(64) })
fails("invalid_argument", base .. "/hello", { sha256 = "abc" })
fails("invalid_argument", base .. "/hello", { progress = 5 })
pcall(async.timeout, 0.2, function()
  http.download(base .. "/endless", "out/old")
end)
local ok, err = pcall(http.download, base .. "/drip?n=100&ms=20", "out/old", { progress = function() error("stop", 0) end })
assert.eq(err, "stop")
local left = fs.list("out")
assert.eq(#left, 1)
assert.eq(left[1].name, "old")
assert.eq(fs.read("out/old"), "old")
assert.eq(http.download(base .. "/hello", "out/old", { max_size = 5 }), 5)
assert.eq(http.download(base .. "/bytes/2000000", "out/old", { max_size = 0 }), 2000000)

--# case: the progress of a download
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
--# allow: fs=rw:${TMP}
local reports
-- Where the machine is busy all of it may be there at once.
for _, ms in ipairs({ 20, 200 }) do
  reports = {}
  local size = http.download("http://127.0.0.1:${HTTP_PORT}/drip?n=30&ms=" .. ms, "slow.bin", {
    progress = function(done, total)
      reports[#reports + 1] = { done, total }
    end,
  })
  assert.eq(size, 30)
  if #reports > 2 then
    break
  end
end
assert.gt(#reports, 2)
local before = 0
for _, report in ipairs(reports) do
  assert(report[1] >= before)
  assert.eq(report[2], 30)
  before = report[1]
end
assert.eq(before, 30)

--# case: how long to wait is seen without an event
--# allow: http=loopback,listen=127.0.0.1:*
local streams <const> = {
  ["/before"] = "retry: 5000\n\ndata: a\n\ndata: b\n\n",
  ["/after"] = "data: a\n\nretry: 7\n\n",
  ["/alone"] = "retry: 1\n\nretry: 2\n",
  ["/with"] = "retry: 10\ndata: a\n\nretry: x\n\nretry:\n\n",
  ["/long"] = "retry: 99999999999999999999\n\n",
  ["/none"] = "data: a\n\n",
}
http.serve("127.0.0.1:0", { GET = { ["/*"] = function(req)
  return { headers = { ["content-type"] = "text/event-stream" }, body = streams[req.path] }
end } }, { on_listen = function(server)
  local ok, err = pcall(function()
    for path, expected in pairs({
      ["/before"] = { 5000, "a:5000 b:nil" }, ["/after"] = { 7, "a:nil" }, ["/alone"] = { 2, "" },
      ["/with"] = { 10, "a:10" }, ["/long"] = { math.maxinteger, "" }, ["/none"] = { nil, "a:nil" },
    }) do
      local got = {}
      local response = http.get(server.url .. path, { on_event = function(event)
        got[#got + 1] = event.data .. ":" .. tostring(event.retry)
      end })
      assert.eq(response.retry, expected[1], path)
      assert.eq(table.concat(got, " "), expected[2], path)
    end
  end)
  server:stop(0)
  if not ok then error(err, 0) end
end })

--# case: an event that has only a name is seen
--# allow: http=loopback,listen=127.0.0.1:*
http.serve("127.0.0.1:0", { GET = { ["/"] = function()
  return { sse = function(send)
    send({ event = "ping" })
    send({ event = "named", id = "5" })
    send({ id = "6" })
    send({ retry = 9 })
    send({ data = "" })
  end }
end } }, { on_listen = function(server)
  local ok, err = pcall(function()
    local got = {}
    local response = http.get(server.url, { on_event = function(event)
      got[#got + 1] = { event.event, event.data, event.id or "-", event.retry or 0 }
    end })
    assert.eq(got, { { "ping", "", "-", 0 }, { "named", "", "5", 0 }, { "message", "", "6", 9 } })
    assert.eq({ response.last_event_id, response.retry }, { "6", 9 })
  end)
  server:stop(0)
  if not ok then error(err, 0) end
end })
