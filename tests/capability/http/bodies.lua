--# case: bodies are bytes both ways
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local all = {}
for n = 0, 255 do
  all[#all + 1] = string.char(n)
end
local data = table.concat(all)
local echo = json.parse(http.post("http://127.0.0.1:${HTTP_PORT}/echo", data).body)
assert.eq(echo.length, 256)
assert.eq(base64.decode(echo.base64), data)
assert.eq(echo.headers["content-type"], nil)
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/bytes/256").body, data)
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/bytes/0").body, "")
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/empty").body, "")
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/status/204").body, "")

--# case: bodies of every size
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
for _, size in ipairs({ 1, 65535, 65536, 65537, 1000000, 5000000 }) do
  for _, form in ipairs({ "", "?chunked" }) do
    local response = http.get("http://127.0.0.1:${HTTP_PORT}/bytes/" .. size .. form)
    assert.eq(#response.body, size)
    assert.eq(crypto.hash(response.body, "sha256"), response.headers["x-sha256"])
  end
end
local big = ("0123456789abcdef"):rep(250000)
local echo = json.parse(http.post("http://127.0.0.1:${HTTP_PORT}/echo", big).body)
assert.eq(echo.length, #big)
assert.eq(echo.sha256, crypto.hash(big, "sha256"))

--# case: an empty body is said to be empty
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local url = "http://127.0.0.1:${HTTP_PORT}/echo"
assert.eq(json.parse(http.post(url).body).headers["content-length"], "0")
assert.eq(json.parse(http.post(url, "").body).headers["content-length"], "0")
assert.eq(json.parse(http.get(url).body).headers["content-length"], nil)
assert.eq(json.parse(http.delete(url).body).headers["content-length"], nil)

--# case: tables as JSON
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local url = "http://127.0.0.1:${HTTP_PORT}/echo"
local echo = json.parse(http.post(url, {}).body)
assert.eq(echo.body, "{}")
echo = json.parse(http.post(url, { 1, 2 }, { headers = { ["Content-Type"] = "application/merge-patch+json" } }).body)
assert.eq(echo.body, "[1,2]")
assert.eq(echo.headers["content-type"], "application/merge-patch+json")
echo = json.parse(http.delete(url, { body = { a = 1 } }).body)
assert.eq(echo.body, '{"a":1}')
assert.eq(echo.method, "DELETE")
echo = json.parse(http.get(url, { json = { a = 1 } }).body)
assert.eq(echo.body, '{"a":1}')
assert.eq(echo.method, "GET")

--# case: UTF-8 in JSON bodies
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local echo = json.parse(http.put("http://127.0.0.1:${HTTP_PORT}/echo", { a = "é" }).body)
assert.eq(base64.decode(echo.base64), '{"a":"é"}')

--# case: what cannot be JSON is refused
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local ok, err = pcall(http.post, "http://127.0.0.1:${HTTP_PORT}/echo", { f = print })
assert.eq(ok, false)
assert.eq(err.code, "invalid_argument")

--# case: forms
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local echo = json.parse(http.post("http://127.0.0.1:${HTTP_PORT}/echo", nil, {
  form = { b = "x y&z=ü", a = { 1, 2 }, t = true },
}).body)
assert.eq(echo.body, "a=1&a=2&b=x+y%26z%3D%C3%BC&t=true")
assert.eq(echo.headers["content-type"], "application/x-www-form-urlencoded")

--# case: queries
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local function query(path, map)
  return json.parse(http.get("http://127.0.0.1:${HTTP_PORT}" .. path, { query = map }).body).query
end
assert.eq(query("/echo", { q = "a b+c/d" }), "q=a%20b%2Bc%2Fd")
assert.eq(query("/echo?", { q = 1 }), "q=1")
assert.eq(query("/echo?x=1", { y = { 1, 2 } }), "x=1&y=1&y=2")
assert.eq(query("/echo?x=1#part", { y = 1 }), "x=1&y=1")
assert.eq(query("/echo", {}), "")

--# case: multipart forms
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
--# allow: fs=rw:${TMP}
fs.write_bytes("up.bin", "file\0data")
local echo = json.parse(http.post("http://127.0.0.1:${HTTP_PORT}/echo", nil, {
  multipart = {
    { name = "title", value = "hello" },
    { name = "raw", value = "x", filename = "x.txt", content_type = "text/plain" },
    { name = "file", path = "up.bin" },
  },
}).body)
local boundary = echo.headers["content-type"]:match("^multipart/form%-data; boundary=(.+)$")
assert.not_nil(boundary)
local function field(head, value)
  return "--" .. boundary .. "\r\nContent-Disposition: form-data; " .. head .. "\r\n\r\n" .. value .. "\r\n"
end
assert.eq(
  base64.decode(echo.base64),
  field('name="title"', "hello")
    .. field('name="raw"; filename="x.txt"\r\nContent-Type: text/plain', "x")
    .. field('name="file"; filename="up.bin"\r\nContent-Type: application/octet-stream', "file\0data")
    .. "--" .. boundary .. "--\r\n"
)
assert.eq(echo.headers["content-length"], tostring(echo.length))
echo = json.parse(http.post("http://127.0.0.1:${HTTP_PORT}/echo", nil, { multipart = { a = "1" } }).body)
assert.contains(echo.body, 'name="a"\r\n\r\n1\r\n')

--# case: a file as the body
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
--# allow: fs=rw:${TMP}
local data = ("0123456789"):rep(100000)
fs.write("body.txt", data)
local echo = json.parse(http.put("http://127.0.0.1:${HTTP_PORT}/echo", nil, { body_file = "body.txt" }).body)
assert.eq(echo.length, 1000000)
assert.eq(echo.sha256, crypto.hash(data, "sha256"))
local ok, err = pcall(http.put, "http://127.0.0.1:${HTTP_PORT}/echo", nil, { body_file = "missing" })
assert.eq(err.code, "not_found")

--# case: only one body
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
for _, opts in ipairs({ { body = "a", json = {} }, { form = {}, multipart = {} } }) do
  local ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/echo", opts)
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument")
end
local ok, err = pcall(http.post, "http://127.0.0.1:${HTTP_PORT}/echo", "a", { json = {} })
assert.contains(err.message, "only one body")

--# case: codings
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local text = "the quick brown fox jumps over the lazy dog"
for _, coding in ipairs({
  "gzip", "gzip-members", "gzip-padded", "gzip-padded-between", "deflate", "deflate-bare", "br", "zstd", "zstd-frames",
  "zstd-skipped", "zstd-padded", "twice", "twice-members",
}) do
  local response = http.get("http://127.0.0.1:${HTTP_PORT}/encoded/" .. coding)
  assert.eq(response.body, text, coding)
  assert.eq(response.headers["content-encoding"], nil)
  assert.eq(response.headers["content-length"], nil)
end
local response = http.get("http://127.0.0.1:${HTTP_PORT}/encoded/unknown")
assert.eq(response.body, text)
assert.eq(response.headers["content-encoding"], "rot13")
response = http.get("http://127.0.0.1:${HTTP_PORT}/encoded/gzip", { decompress = false })
assert.eq(response.body:sub(1, 2), "\x1f\x8b")
assert.eq(response.headers["content-encoding"], "gzip")
assert.eq(response.headers["x-accepted"], "identity")
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/encoded-empty").body, "")
assert.eq(http.head("http://127.0.0.1:${HTTP_PORT}/encoded/gzip").headers["content-encoding"], "gzip")
for _, coding in ipairs({ "gzip-broken", "gzip-garbage", "gzip-trailed", "zstd-trailed", "zstd-half" }) do
  local ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/encoded/" .. coding)
  assert.eq(ok, false, coding)
  assert.eq(err.code, "invalid_data", coding)
end

--# case: a line that goes on in the next is one with a space
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local response = http.get("http://127.0.0.1:${HTTP_PORT}/folded")
assert.eq(response.body, "ok")
assert.eq(response.headers["x-folded"], "one two three")
assert.eq(response.headers["x-late"], "begun later")
assert.eq(response.headers["x-after"], "yes")

--# case: max_body on both sides
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
for _, form in ipairs({ "", "?chunked" }) do
  local url = "http://127.0.0.1:${HTTP_PORT}/bytes/100000" .. form
  assert.eq(#http.get(url, { max_body = 100000 }).body, 100000)
  local ok, err = pcall(http.get, url, { max_body = 99999 })
  assert.eq(ok, false)
  assert.eq(err.code, "limit")
  assert.contains(err.message, "max_body")
end
local ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/endless", { max_body = 1 << 20 })
assert.eq(err.code, "limit")
ok, err = pcall(function()
  return http.get("http://127.0.0.1:${HTTP_PORT}/endless", { stream = true, max_body = 1 << 20 }).body:read("a")
end)
assert.eq(err.code, "limit")
