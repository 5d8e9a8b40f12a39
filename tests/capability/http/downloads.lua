--# case: only a file that was sent takes the place of the old one
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT},fs=rw:${TMP}
--# file: out=old
local url = "http://127.0.0.1:${HTTP_PORT}"
local before = #fs.list(".")
for _, path in ipairs({ "/bare/204", "/bare/300", "/bare/304", "/bare/202", "/bare/205", "/redirect-nowhere", "/status/404" }) do
  local ok, err = pcall(http.download, url .. path, "out")
  assert.eq(ok, false, path)
  assert.contains(err.message, path:match("%d+") or "302")
  assert.contains(err.message, "out was not written")
  assert.eq(fs.read_bytes("out"), "old", path)
end
-- A redirect that is not followed is not saved either.
assert.eq(pcall(http.download, url .. "/redirect/1", "out", { follow_redirects = false }), false)
-- HEAD has no file.
local ok, err = pcall(http.download, url .. "/hello", "out", { method = "HEAD" })
assert.eq(err.code, "invalid_argument")
assert.eq(fs.read_bytes("out"), "old")
assert.eq(http.download(url .. "/hello", "out"), 5)
assert.eq(fs.read_bytes("out"), "hello")
assert.eq(#fs.list("."), before)

--# case: a condition of one's own keeps the file and says so
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT},fs=rw:${TMP}
--# file: out=old
local url = "http://127.0.0.1:${HTTP_PORT}/versioned/own?dated"
for name, value in pairs({ ["If-None-Match"] = '"1"', ["If-Modified-Since"] = "Sun, 06 Nov 1994 08:49:37 GMT" }) do
  for _, if_changed in ipairs({ false, true }) do
    local ok, err = pcall(http.download, url, "out", { headers = { [name] = value }, if_changed = if_changed })
    assert.eq(ok, false)
    assert.contains(err.message, "304 Not Modified")
    assert.eq(fs.read_bytes("out"), "old")
  end
end
assert.eq(http.download(url, "out", { headers = { ["If-None-Match"] = '"other"' } }), 1000)
assert.eq(#fs.read_bytes("out"), 1000)

--# case: a range of one's own is saved
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT},fs=rw:${TMP}
local url = "http://127.0.0.1:${HTTP_PORT}/versioned/range"
assert.eq(http.download(url, "part", { headers = { Range = "bytes=990-" } }), 10)
assert.eq(#fs.read_bytes("part"), 10)
local ok, err = pcall(http.download, url, "part", { headers = { Range = "bytes=2000-" } })
assert.contains(err.message, "416")
assert.eq(#fs.read_bytes("part"), 10)
local ok, err = pcall(http.download, url, "part", { headers = { range = "bytes=1-" }, resume = true })
assert.eq(err.code, "invalid_argument")

--# case: a file that is fetched again only when it has changed
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT},fs=rw:${TMP}
local url = "http://127.0.0.1:${HTTP_PORT}/versioned/example"
local bytes, changed = http.download(url, "data.bin", { if_changed = true })
assert.eq({ bytes, changed }, { 1000, true })
local bytes, changed = http.download(url, "data.bin", { if_changed = true })
assert.eq({ bytes, changed }, { 1000, false })

--# case: if_changed asks by what was kept
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT},fs=rw:${TMP}
local base = "http://127.0.0.1:${HTTP_PORT}"
local function get(query)
  local bytes, changed = http.download(base .. "/versioned/x?" .. query, "out", { if_changed = true })
  local asked = json.parse(http.get(base .. "/asked/x").body)
  return changed, asked[#asked]
end
local changed, asked = get("v=1")
assert.eq(changed, true)
assert.eq(asked["if-none-match"], nil)
local changed, asked = get("v=1")
assert.eq(changed, false)
assert.eq(asked["if-none-match"], '"1"')
-- Another URL, a file that somebody has changed, or none: nothing is asked by what is not there.
local changed, asked = get("v=1&size=999")
assert.eq({ changed, asked["if-none-match"] }, { true, nil })
fs.append("out", "x")
local changed, asked = get("v=1&size=999")
assert.eq({ changed, asked["if-none-match"] }, { true, nil })
assert.eq(#fs.read_bytes("out"), 999)
fs.remove("out")
assert.eq(get("v=1&size=999"), true)
assert.eq(get("v=1&size=999"), false)
-- By the date alone, and by a weak validator.
get("etag=none&dated")
local changed, asked = get("etag=none&dated")
assert.eq({ changed, asked["if-none-match"] }, { false, nil })
assert.eq(asked["if-modified-since"], "Sun, 06 Nov 1994 08:49:37 GMT")
get('etag=W/"1"')
assert.eq(get('etag=W/"1"'), false)
-- Without a validator it comes each time.
get("etag=none")
assert.eq(get("etag=none"), true)

--# case: a version that has changed replaces the file
--# allow: http=loopback,listen=127.0.0.1:*,fs=rw:${TMP}
local version = "1"
http.serve("127.0.0.1:0", { GET = { ["/"] = function(req)
  if req.headers["if-none-match"] == '"' .. version .. '"' then
    return { status = 304 }
  end
  return { headers = { etag = '"' .. version .. '"' }, body = "version " .. version }
end } }, { on_listen = function(server)
  local ok, err = pcall(function()
    for _, expected in ipairs({ true, false, false }) do
      local _, changed = http.download(server.url, "out", { if_changed = true })
      assert.eq(changed, expected)
    end
    version = "2"
    assert.eq({ http.download(server.url, "out", { if_changed = true }) }, { 9, true })
    assert.eq(fs.read_bytes("out"), "version 2")
    assert.eq({ http.download(server.url, "out", { if_changed = true }) }, { 9, false })
  end)
  server:stop()
  if not ok then error(err, 0) end
end })

--# case: a download that goes on where it broke off
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT},fs=rw:${TMP}
local url = "http://127.0.0.1:${HTTP_PORT}/versioned/broken?size=100000&cuts=1&cut=70000"
local ok, err = pcall(http.download, url, "big.bin", { resume = true })
assert.eq(err.code, "unavailable")
assert.eq(http.download(url, "big.bin", { resume = true }), 100000)

--# case: resume goes on with the same version only
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT},fs=rw:${TMP}
local base = "http://127.0.0.1:${HTTP_PORT}"
local whole = http.get(base .. "/bytes/100000").body
local sha256 = crypto.hash(whole, "sha256")
local function get(name, query, opts)
  local url = base .. "/versioned/" .. name .. "?size=100000&" .. query
  local merged = { resume = true, sha256 = sha256 }
  for key, value in pairs(opts or {}) do
    merged[key] = value
  end
  local ok, bytes = pcall(http.download, url, name, merged)
  local asked = json.parse(http.get(base .. "/asked/" .. name).body)
  return ok, bytes, asked
end
for name, query in pairs({
  etag = "cuts=2&cut=30000",
  dated = "cuts=2&cut=30000&etag=none&dated",
}) do
  assert.eq(get(name, query), false)
  assert.eq(fs.exists(name), false)
  assert.eq(#fs.read_bytes(name .. ".part"), 30000)
  assert.eq(get(name, query), false)
  assert.eq(#fs.read_bytes(name .. ".part"), 60000)
  local steps = {}
  local ok, bytes, asked = get(name, query, { progress = function(done, all) steps[#steps + 1] = { done, all } end })
  assert.eq({ ok, bytes }, { true, 100000 })
  assert.eq(steps[#steps], { 100000, 100000 })
  assert.eq(asked[3].range, "bytes=60000-")
  assert(fs.read_bytes(name) == whole)
  assert.eq(fs.exists(name .. ".part"), false)
  assert.eq(fs.exists(name .. ".part.http"), false)
end
-- A server that knows no ranges, one that passes over the condition, a weak validator and none: from the start.
for name, queries in pairs({
  whole = { "cuts=1&cut=30000&whole", "cuts=1&cut=30000&whole" },
  weak = { 'cuts=1&cut=30000&etag=W/"1"', 'cuts=1&cut=30000&etag=W/"1"' },
  none = { "cuts=1&cut=30000&etag=none", "cuts=1&cut=30000&etag=none" },
}) do
  assert.eq(get(name, queries[1]), false)
  local ok, bytes = get(name, queries[2])
  assert.eq({ ok, bytes }, { true, 100000 }, name)
  assert(fs.read_bytes(name) == whole)
end
-- What has come is all there is, but the end was not seen.
assert.eq(get("all", "cuts=1&cut=50000"), false)
fs.append("all.part", whole:sub(50001))
local ok, bytes, asked = get("all", "cuts=1&cut=50000")
assert.eq({ ok, bytes, asked[2].range }, { true, 100000, "bytes=100000-" })
assert(fs.read_bytes("all") == whole)
-- The wrong digest throws the part away, so that the next call does not get it again.
assert.eq(get("wrong", "cuts=1&cut=30000"), false)
local ok, err = get("wrong", "cuts=1&cut=30000", { sha256 = ("0"):rep(64) })
assert.eq({ ok, err.code }, { false, "invalid_data" })
assert.eq(fs.exists("wrong.part"), false)
-- The bound is that of the file.
assert.eq(get("bound", "cuts=1&cut=30000"), false)
local ok, err = get("bound", "cuts=1&cut=30000", { max_size = 99999 })
assert.eq({ ok, err.code }, { false, "limit" })
assert.eq(get("bound", "cuts=1&cut=30000", { max_size = 100000 }), true)

--# case: resume keeps what leads to the file, and its mode
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT},fs=rw:${TMP}
fs.mkdir("real")
fs.write("real/file", "old")
fs.chmod("real/file", 0x180)
fs.symlink("real/file", "link")
assert.eq(http.download("http://127.0.0.1:${HTTP_PORT}/hello", "link", { resume = true }), 5)
assert.eq(fs.read_bytes("real/file"), "hello")
assert.eq(fs.stat("real/file").permissions, "600")

--# case: what is kept beside the file needs its grant
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT},fs=write:${TMP}/out
for _, opts in ipairs({ { resume = true }, { if_changed = true } }) do
  local ok, err = pcall(http.download, "http://127.0.0.1:${HTTP_PORT}/hello", "out", opts)
  assert.eq({ ok, err.code }, { false, "denied" })
end
assert.eq(http.download("http://127.0.0.1:${HTTP_PORT}/hello", "out"), 5)

--# case: what assay explain says of resume is enough
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT},fs=write:${TMP}/a,fs=stat:${TMP}/a,fs=rw:${TMP}/a.part,fs=rw:${TMP}/a.part.http
local url = "http://127.0.0.1:${HTTP_PORT}/versioned/explained?size=100000&cuts=1&cut=70000"
local ok, err = pcall(http.download, url, "a", { resume = true })
assert.eq({ ok, err.code }, { false, "unavailable" })
assert.eq(http.download(url, "a", { resume = true }), 100000)

--# case: what assay explain says of if_changed is enough
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT},fs=write:${TMP}/b,fs=rw:${TMP}/b,fs=rw:${TMP}/b.http
local url = "http://127.0.0.1:${HTTP_PORT}/versioned/kept?size=1000"
for _, expected in ipairs({ true, false }) do
  local _, changed = http.download(url, "b", { if_changed = true })
  assert.eq(changed, expected)
end
