--- # http
--- HTTP client, versions 1.1 and 2 (chosen with the server over TLS). Connections are kept and shared
--- by all calls of a run.
---
--- Grants: `--allow http=HOST` covers ports 80 and 443, `http=HOST:PORT` one port, `http=*.DOMAIN` names
--- below a domain, `http=https://HOST/v1/*` a scheme and paths, `http=GET+HEAD:HOST` methods,
--- `http=10.0.0.0/8` whatever resolves into a range, `http=proxy:HOST:PORT` going through a proxy. Every
--- redirect, every address that a name leads to and every use of a kept connection is checked again.
--- Link-local and metadata addresses are refused unless the grant names the address itself. Files that
--- options name go through the grants of `fs`.
---
--- Any status is a response, not an error. Errors are tables with `code` and `message`: `denied`,
--- `invalid_argument` (a URL, header or option that cannot be sent), `timeout`, `unavailable` (no such
--- name, no connection, or it broke off), `invalid_data` (a certificate that is not valid, an answer that
--- is not HTTP, a body that cannot be decoded), `limit` (`max_body`, redirects, header fields, handles).
---
--- ## http.get(url, opts?) -> response
--- A GET request. A response is a table:
---
--- - `status`: 200
--- - `body`: a string of bytes as they came, decoded from gzip, deflate, br and zstd
--- - `headers`: by name in lower case (any case finds them); repeated fields joined with ", "
--- - `headers_list`: every field in its order, `{name, value}`
--- - `url`: where it came from, after redirects
--- - `version`: "HTTP/1.1", "HTTP/2"
--- - `elapsed`: seconds until the header fields had come
--- - `redirects`: how many were followed
---
--- Options:
---
--- - `headers`: names and values; a list of values repeats the field. Fields that frame the message
---   (`content-length`, `connection`...) are refused, and `host` may only repeat the URL's.
--- - `query`: names and values (or lists of them) to add to the URL
--- - `timeout`: seconds for the whole call, default 30, 0 for no bound; `connect_timeout`: default 10
--- - `body`: a string, or a table to send as JSON; `json`: a table; `form`: names and values as
---   `application/x-www-form-urlencoded`; `body_file`: a path, read as it is sent
--- - `multipart`: names and values, or a list of `{name, value}` and `{name, path, filename?,
---   content_type?}`
--- - `follow_redirects`: default true; `max_redirects`: default 10. Credentials (`authorization`,
---   `cookie`, `x-api-key` and their like, client certificates) do not go to another origin. From https
---   to http only where a grant says `http://...`.
--- - `basic_auth`: `{user = ..., pass = ...}`; `bearer`: a token
--- - `ca_cert`, `ca_cert_file`: PEM of the authorities to trust in place of the system's (which
---   `SSL_CERT_FILE` and `SSL_CERT_DIR` can replace)
--- - `client_cert`, `client_key`, `client_cert_file`, `client_key_file`: PEM; one file may have both
--- - `max_body`: bytes of the decoded body, default 64 MiB, 0 for no bound
--- - `decompress`: false for the body as it was sent
--- - `on_event`: a function for server-sent events, called with `{event, data, id, retry}` where the
---   response is `text/event-stream`; it ends the stream by returning "close". The response comes after
---   the stream and has `last_event_id`. There is no reconnection.
--- - `stream`: true for a `body` that is read as it arrives: `body:read(n?)`, `body:read("a")`,
---   `body:chunks()`, `body:lines()`, `body:close()`. Nil is the end.
--- - `proxy`: `http://[user:password@]host:port`, or false. `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and
---   `NO_PROXY` count only where the proxy is granted.
---
--- With `stream` and `on_event` the default `timeout` bounds only the time to the header fields; one that
--- is given bounds the whole call. `max_body` is then without bound unless given.
---
--- ## http.post(url, body?, opts?) -> response
--- A POST request. A table is sent as JSON, with its content type.
---
--- ## http.put(url, body?, opts?) -> response
--- A PUT request.
---
--- ## http.patch(url, body?, opts?) -> response
--- A PATCH request.
---
--- ## http.delete(url, opts?) -> response
--- A DELETE request; a body goes into `opts`.
---
--- ## http.head(url, opts?) -> response
--- A HEAD request.
---
--- ## http.options(url, opts?) -> response
--- An OPTIONS request.
---
--- ## http.request(method, url, opts?) -> response
--- A request with any method but CONNECT and TRACE.
---
--- ## http.client(opts?) -> client
--- An object with all the functions above as methods, and options for all of its calls, which options of
--- a call replace (header by header). `base_url` is put before URLs that have no scheme.
---
--- ## http.download(url, path, opts?) -> bytes
--- Saves a response as a file and gives its size. It is written beside `path` and takes its place when it
--- is complete; missing folders are made; after an error, or when its task is cancelled, nothing is left.
--- A status from 400 on is an error (`not_found`, `permission`, `unavailable` or `other`). The file has the
--- bytes that the server sends, not decoded. Needs `fs=write:` of the path. Options besides those of
--- `http.get`: `max_size` (default 1 GiB, 0 for no bound), `sha256` (the digest to expect, hexadecimal),
--- `progress` (a function of the bytes so far and, where they are known, in all).

--# example: a request and its response
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local response = http.get("http://127.0.0.1:${HTTP_PORT}/echo?x=1", {
  headers = { Accept = "application/json" },
  query = { name = "Ada Lovelace" },
})
assert.eq(response.status, 200)
assert.eq(response.headers["content-type"], "application/json")
local echo = json.parse(response.body)
assert.eq(echo.method, "GET")
assert.eq(echo.query, "x=1&name=Ada%20Lovelace")
assert.eq(echo.headers.accept, "application/json")

--# example: a table as JSON
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local response = http.post("http://127.0.0.1:${HTTP_PORT}/echo", { name = "demo", tags = { "a", "b" } })
local echo = json.parse(response.body)
assert.eq(echo.headers["content-type"], "application/json")
assert.eq(json.parse(echo.body).tags[2], "b")

--# example: a client for one API
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local api = http.client({
  base_url = "http://127.0.0.1:${HTTP_PORT}/",
  bearer = "token",
  headers = { ["X-Team"] = "platform" },
})
local echo = json.parse(api:put("/echo", "data", { headers = { ["x-team"] = "web" } }).body)
assert.eq(echo.headers.authorization, "Bearer token")
assert.eq(echo.headers["x-team"], "web")
assert.eq(echo.body, "data")

--# example: many requests at once
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local tasks = {}
for n = 1, 20 do
  tasks[n] = function()
    return http.get("http://127.0.0.1:${HTTP_PORT}/echo?n=" .. n).body
  end
end
local bodies = async.all(tasks)
assert.eq(json.parse(bodies[20]).query, "n=20")

--# example: server-sent events
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local got = {}
local response = http.get("http://127.0.0.1:${HTTP_PORT}/sse-endless", {
  on_event = function(event)
    got[#got + 1] = event.data
    if event.id == "3" then
      return "close"
    end
  end,
})
assert.eq(table.concat(got, " "), "1 2 3")
assert.eq(response.status, 200)
assert.eq(response.last_event_id, "3")

--# example: a large body in constant memory
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local response = http.get("http://127.0.0.1:${HTTP_PORT}/lines/1000", { stream = true })
local count = 0
for line in response.body:lines() do
  count = count + 1
  assert.eq(line, "line " .. count)
end
assert.eq(count, 1000)

--# example: download a file
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
--# allow: fs=rw:${TMP}
local bytes = http.download("http://127.0.0.1:${HTTP_PORT}/hello", "new/folder/hello.txt", {
  sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
})
assert.eq(bytes, 5)
assert.eq(fs.read("new/folder/hello.txt"), "hello")

--# example: try again
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local response
for attempt = 1, 5 do
  response = http.get("http://127.0.0.1:${HTTP_PORT}/flaky?key=example&fail=2")
  if response.status < 500 then
    break
  end
  sleep(0.01 * 2 ^ attempt)
end
assert.eq(json.parse(response.body).count, 3)

--# case: every verb
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local url = "http://127.0.0.1:${HTTP_PORT}/method"
for _, name in ipairs({ "get", "post", "put", "patch", "delete", "options" }) do
  assert.eq(http[name](url).body, name:upper())
end
local head = http.head(url)
assert.eq(head.body, "")
assert.eq(head.headers["x-method"], "HEAD")
assert.eq(head.headers["content-length"], "4")
assert.eq(http.request("PROPFIND", url).body, "PROPFIND")
assert.eq(http.request("delete", url).body, "DELETE")

--# case: methods that are not offered
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
for _, method in ipairs({ "CONNECT", "trace", "", "GET /x HTTP/1.1\r\nX: y", "a b" }) do
  local ok, err = pcall(http.request, method, "http://127.0.0.1:${HTTP_PORT}/method")
  assert.eq(ok, false, method)
  assert.eq(err.code, "invalid_argument", method)
end

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

--# case: header fields of a request
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local echo = json.parse(http.get("http://127.0.0.1:${HTTP_PORT}/echo", {
  headers = { ["X-List"] = { "a", "b" }, ["x-number"] = 5, ["X-Empty"] = "", ["User-Agent"] = "mine" },
}).body)
local lists = 0
for _, field in ipairs(echo.fields) do
  if field == "x-list: a" or field == "x-list: b" then
    lists = lists + 1
  end
end
assert.eq(lists, 2)
assert.eq(echo.headers["x-number"], "5")
assert.eq(echo.headers["x-empty"], "")
assert.eq(echo.headers["user-agent"], "mine")
assert.eq(echo.headers.accept, "*/*")
assert.eq(echo.headers["accept-encoding"], "gzip, deflate, br, zstd")
assert.eq(echo.headers.host, "127.0.0.1:${HTTP_PORT}")
echo = json.parse(http.get("http://127.0.0.1:${HTTP_PORT}/echo").body)
assert.contains(echo.headers["user-agent"], "assay/")

--# case: header fields of a response
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local response = http.get("http://127.0.0.1:${HTTP_PORT}/repeated")
assert.eq(response.headers["x-many"], "one, two")
assert.eq(response.headers["X-Many"], "one, two")
assert.eq(response.headers["set-cookie"], "a=1; Path=/, b=2; Path=/")
assert.eq(response.headers["x-latin"], "caf\xe9")
assert.eq(response.headers["absent"], nil)
assert.eq(rawget(response.headers, "X-Many"), nil)
local cookies = {}
for _, field in ipairs(response.headers_list) do
  if field.name == "set-cookie" then
    cookies[#cookies + 1] = field.value
  end
end
assert.eq(table.concat(cookies, " | "), "a=1; Path=/ | b=2; Path=/")

--# case: the rest of a response
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local response = http.get("http://u:p@127.0.0.1:${HTTP_PORT}/redirect/2#part")
assert.eq(response.url, "http://127.0.0.1:${HTTP_PORT}/echo")
assert.eq(response.redirects, 2)
assert.eq(response.version, "HTTP/1.1")
assert(response.elapsed > 0 and response.elapsed < 30)
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/status/404").status, 404)
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/status/599").status, 599)
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/until-close").body, "until the end")
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/chunked").body, "one two three")

--# case: codings
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local text = "the quick brown fox jumps over the lazy dog"
for _, coding in ipairs({ "gzip", "gzip-members", "deflate", "deflate-bare", "br", "zstd", "twice" }) do
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
for _, coding in ipairs({ "gzip-broken", "gzip-garbage" }) do
  local ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/encoded/" .. coding)
  assert.eq(ok, false, coding)
  assert.eq(err.code, "invalid_data", coding)
end

--# case: redirects and methods
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local base = "http://127.0.0.1:${HTTP_PORT}/redirect-to?url=/echo&status="
for _, case in ipairs({
  { 301, "POST", "GET", "" },
  { 302, "POST", "GET", "" },
  { 303, "POST", "GET", "" },
  { 307, "POST", "POST", "data" },
  { 308, "POST", "POST", "data" },
  { 301, "PUT", "PUT", "data" },
  { 303, "PUT", "GET", "" },
  { 302, "DELETE", "DELETE", "data" },
}) do
  local echo = json.parse(http.request(case[2], base .. case[1], { body = "data" }).body)
  assert.eq(echo.method, case[3], case[1] .. " " .. case[2])
  assert.eq(echo.body, case[4], case[1] .. " " .. case[2])
end
assert.eq(http.head(base .. 303).headers["content-type"], "application/json")
assert.eq(http.get(base .. 300).status, 300)
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/redirect-nowhere").status, 302)

--# case: redirects can be left alone
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local url = "http://127.0.0.1:${HTTP_PORT}/redirect/2"
local response = http.get(url, { follow_redirects = false })
assert.eq(response.status, 302)
assert.eq(response.headers.location, "/redirect/1?status=302")
assert.eq(response.redirects, 0)
assert.eq(http.client({ follow_redirects = false }):get(url).status, 302)
assert.eq(http.client({ follow_redirects = false }):get(url, { follow_redirects = true }).status, 200)
assert.eq(http.get(url, { max_redirects = 2 }).status, 200)
local ok, err = pcall(http.get, url, { max_redirects = 1 })
assert.eq(err.code, "limit")
assert.contains(err.message, "more than 1 redirects")

--# case: authentication
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local url = "http://127.0.0.1:${HTTP_PORT}/basic-auth/ada/pass%20word"
assert.eq(http.get(url).status, 401)
assert.eq(http.get(url, { basic_auth = { user = "ada", pass = "pass word" } }).status, 200)
assert.eq(http.get(url, { basic_auth = { "ada", "pass word" } }).status, 200)
assert.eq(http.get(url, { basic_auth = { username = "ada", password = "no" } }).status, 401)
assert.eq(http.get("http://ada:pass%20word@127.0.0.1:${HTTP_PORT}/basic-auth/ada/pass%20word").status, 200)
local function authorization(opts)
  return json.parse(http.get("http://127.0.0.1:${HTTP_PORT}/echo", opts).body).headers.authorization
end
assert.eq(authorization({ bearer = "abc" }), "Bearer abc")
assert.eq(authorization({ headers = { Authorization = "Custom x" } }), "Custom x")
local client = http.client({ bearer = "abc", base_url = "http://127.0.0.1:${HTTP_PORT}" })
local echo = json.parse(client:get("/echo", { basic_auth = { user = "a", pass = "b" } }).body)
assert.eq(echo.headers.authorization, "Basic YTpi")

--# case: timeouts
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local start = time()
local ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/slow?ms=5000", { timeout = 0.2 })
assert.eq(ok, false)
assert.eq(err.code, "timeout")
assert.contains(err.message, "0.2 seconds")
ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/drip?n=100&ms=50", { timeout = 0.2 })
assert.eq(err.code, "timeout")
ok, err = pcall(http.client({ timeout = 0.2 }).get, http.client({ timeout = 0.2 }), "http://127.0.0.1:${HTTP_PORT}/slow?ms=5000")
assert.eq(err.code, "timeout")
assert.lt(time() - start, 4)
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/slow?ms=50", { timeout = 5 }).body, "slow")
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/slow?ms=50", { timeout = 0 }).body, "slow")
ok, err = pcall(async.timeout, 0.1, function()
  return http.get("http://127.0.0.1:${HTTP_PORT}/slow?ms=5000")
end)
assert.eq(err.code, "timeout")

--# case: what goes wrong is told apart
--# needs: http
--# allow: http=127.0.0.1:*
--# allow: http=no-such-name.invalid
local function fails(url, code, part)
  local ok, err = pcall(http.get, url, { timeout = 20 })
  assert.eq(ok, false, url)
  assert.eq(err.code, code, url .. ": " .. err.message)
  assert.contains(err.message, part)
end
local base = "http://127.0.0.1:${HTTP_PORT}"
fails("http://127.0.0.1:${CLOSED_PORT}/", "unavailable", "cannot connect to 127.0.0.1:${CLOSED_PORT}")
fails("http://no-such-name.invalid/", "unavailable", "does not resolve")
fails(base .. "/truncated", "unavailable", "before the response was complete")
fails(base .. "/truncated-chunks", "unavailable", "before the response was complete")
fails(base .. "/nothing", "unavailable", "before the response was complete")
fails(base .. "/garbage", "invalid_data", "not HTTP")
fails(base .. "/headers/2000", "limit", "header fields")
assert.eq(http.get(base .. "/headers/300").status, 200)

--# case: URLs that are none
--# allow: http
for _, url in ipairs({
  "", "x", "/x", "example.com", "file:///etc/passwd", "ftp://a/", "unix:/var/run/docker.sock", "http://", "http://[::1",
  "http://a:99999/", "http://a b/", "javascript:1",
}) do
  local ok, err = pcall(http.get, url)
  assert.eq(ok, false, url)
  assert.eq(err.code, "invalid_argument", url)
end
local ok, err = pcall(http.get, "http://a/" .. ("x"):rep(70000))
assert.eq(err.code, "invalid_argument")
assert.contains(err.message, "longer than")

--# case: arguments of the wrong type
--# allow: http
for _, case in ipairs({
  { "bad argument #1 to 'get' (string expected, got no value)", http.get },
  { "bad argument #2 to 'get' (table expected, got number)", http.get, "http://a/", 5 },
  { "bad argument #3 to 'post' (table expected, got string)", http.post, "http://a/", "b", "c" },
  { "bad argument #1 to 'request' (string expected, got no value)", http.request },
  { "bad argument #2 to 'request' (string expected, got no value)", http.request, "GET" },
  { "bad argument #2 to 'download' (string expected, got no value)", http.download, "http://a/" },
  { "bad argument #1 to 'client' (table expected, got number)", http.client, 5 },
}) do
  local ok, err = pcall(table.unpack(case, 2))
  assert.eq(ok, false)
  assert.contains(tostring(err), case[1])
end
assert.contains(tostring(select(2, pcall(http.client().get, "http://a/"))), "colon")

--# case: options of the wrong type
--# allow: http
for name, value in pairs({
  headers = "x", query = 5, timeout = "soon", connect_timeout = -1, max_redirects = -1, max_body = -1, basic_auth = "x",
  follow_redirects = "yes", on_event = 5, multipart = "x", form = 5, ca_cert_file = {}, client_key = "x", bearer = 5,
}) do
  local ok, err = pcall(http.get, "http://a/", { [name] = value })
  assert.eq(ok, false, name)
  assert.eq(err.code, "invalid_argument", name)
  assert.contains(err.message, "'" .. name)
end
local ok, err = pcall(http.get, "https://a/", { insecure = true })
assert.eq(err.code, "unsupported")
assert.contains(err.message, "ca_cert")

--# case: TLS with an authority of one's own
--# needs: http
--# allow: http=localhost:*,http=127.0.0.1:*
--# allow: fs=read:${CA},fs=read:${OTHER_CA}
for _, host in ipairs({ "localhost", "127.0.0.1" }) do
  assert.eq(http.get("https://" .. host .. ":${HTTPS_PORT}/hello", { ca_cert_file = "${CA}" }).body, "hello")
end
assert.eq(http.get("https://localhost:${HTTPS_PORT}/hello", { ca_cert = fs.read("${CA}") }).body, "hello")
local client = http.client({ ca_cert_file = "${CA}", base_url = "https://localhost:${HTTPS_PORT}" })
local first = json.parse(client:get("/connection").body)
local second = json.parse(client:get("/connection").body)
assert.eq(second.connection, first.connection)
assert.eq(second.request, first.request + 1)
local function fails(url, opts, part)
  local ok, err = pcall(http.get, url, opts)
  assert.eq(ok, false, url)
  assert.eq(err.code, "invalid_data", err.message)
  assert.contains(err.message, part)
end
fails("https://localhost:${HTTPS_PORT}/hello", { ca_cert_file = "${OTHER_CA}" }, "not trusted")
fails("https://localhost:${EXPIRED_PORT}/hello", { ca_cert_file = "${CA}" }, "expired")
fails("https://localhost:${WRONG_NAME_PORT}/hello", { ca_cert_file = "${CA}" }, "another name")
local ok, err = pcall(http.get, "https://localhost:${HTTP_PORT}/hello", { ca_cert_file = "${CA}" })
assert.eq(ok, false)
for _, pem in ipairs({ "", "not PEM" }) do
  ok, err = pcall(http.get, "https://localhost:${HTTPS_PORT}/hello", { ca_cert = pem })
  assert.eq(err.code, "invalid_argument")
end

--# case: the system's authorities
--# needs: http
--# allow: http=localhost:*
--# env: SSL_CERT_FILE=${CA}
assert.eq(http.get("https://localhost:${HTTPS_PORT}/hello").body, "hello")

--# case: other authorities than the system's
--# needs: http
--# allow: http=localhost:*
--# env: SSL_CERT_FILE=${OTHER_CA}
local ok, err = pcall(http.get, "https://localhost:${HTTPS_PORT}/hello")
assert.eq(ok, false)
assert.eq(err.code, "invalid_data")
assert.contains(err.message, "ca_cert_file")

--# case: client certificates
--# needs: http
--# allow: http=localhost:${MTLS_PORT}
--# allow: fs=read:${TMP}
local url = "https://localhost:${MTLS_PORT}/hello"
local ok, err = pcall(http.get, url, { ca_cert_file = "${CA}" })
assert.eq(ok, false)
assert.contains(err.message, "client_cert")
assert.eq(http.get(url, {
  ca_cert_file = "${CA}", client_cert_file = "${CLIENT_CERT}", client_key_file = "${CLIENT_KEY}",
}).body, "hello")
assert.eq(http.get(url, { ca_cert_file = "${CA}", client_cert_file = "${CLIENT_PEM}" }).body, "hello")
assert.eq(http.get(url, {
  ca_cert_file = "${CA}", client_cert = fs.read("${CLIENT_CERT}"), client_key = fs.read("${CLIENT_KEY}"),
}).body, "hello")
ok, err = pcall(http.get, url, { ca_cert_file = "${CA}" })
assert.eq(ok, false, "the connection of a client with a certificate is not for one without")
ok, err = pcall(http.get, url, { ca_cert_file = "${CA}", client_cert_file = "${CLIENT_CERT}", client_key = "x" })
assert.eq(err.code, "invalid_argument")

--# case: HTTP/2
--# needs: nginx
--# allow: http=localhost:*
--# allow: fs=rw:${TMP}
local client = http.client({ base_url = "https://localhost:${NGINX_HTTPS_PORT}", ca_cert_file = "${NGINX_CA}" })
local response = client:get("/info")
assert.eq(response.version, "HTTP/2")
assert.matches(response.body, "^HTTP/2.0 \\d+ 1 localhost$")
local tasks = {}
for n = 1, 100 do
  tasks[n] = function()
    return client:get("/info").body
  end
end
local connection = response.body:match("^%S+ (%d+)")
for _, body in ipairs(async.all(tasks)) do
  assert.eq(body:match("^%S+ (%d+)"), connection)
end
assert.eq(client:get("/moved").redirects, 1)
assert.eq(client:get("/teapot").status, 418)
assert.eq(#client:get("/files/big.bin").body, 5000000)
assert.eq(client:put("/files/new.bin", ("x"):rep(300000)).status, 201)
assert.eq(client:get("/files/new.bin").body, ("x"):rep(300000))
assert.eq(client:head("/files/new.bin", { decompress = false }).headers["content-length"], "300000")
assert.eq(client:download("/files/big.bin", "big.bin"), 5000000)
assert.eq(http.get("http://localhost:${NGINX_HTTP_PORT}/info").version, "HTTP/1.1")

--# case: connections are kept
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local function connection()
  return json.parse(http.get("http://127.0.0.1:${HTTP_PORT}/connection").body)
end
local first = connection()
for n = 1, 50 do
  assert.eq(connection().connection, first.connection)
end
http.get("http://127.0.0.1:${HTTP_PORT}/encoded/br")
http.get("http://127.0.0.1:${HTTP_PORT}/bytes/100000?chunked")
assert.eq(connection().connection, first.connection)
for n = 1, 10 do
  assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/vanish").status, 200)
end
assert.eq(http.post("http://127.0.0.1:${HTTP_PORT}/echo", "x").status, 200)

--# case: a client's URLs and options
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local client = http.client({ base_url = "http://127.0.0.1:${HTTP_PORT}/echo/", query = { a = 1 }, timeout = 5 })
local function target(url, opts)
  return json.parse(client:get(url, opts).body).target
end
assert.eq(target("x"), "/echo/x?a=1")
assert.eq(target("/x"), "/echo/x?a=1")
assert.eq(target(""), "/echo?a=1")
assert.eq(target("?b=2"), "/echo?b=2&a=1")
assert.eq(target("x", { query = { c = 3 } }), "/echo/x?a=1&c=3")
assert.eq(target("http://127.0.0.1:${HTTP_PORT}/echo/abs"), "/echo/abs?a=1")
for _, name in ipairs({ "post", "put", "patch" }) do
  assert.eq(json.parse(client[name](client, "x", { 1 }).body).body, "[1]")
end
assert.eq(json.parse(client:delete("x").body).method, "DELETE")
assert.eq(json.parse(client:options("x").body).method, "OPTIONS")
assert.eq(client:head("x").status, 200)
assert.eq(json.parse(client:request("PROPFIND", "x").body).method, "PROPFIND")
assert.eq(json.parse(http.client():get("http://127.0.0.1:${HTTP_PORT}/echo").body).method, "GET")

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

--# case: waiting in every kind of place
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local url = "http://127.0.0.1:${HTTP_PORT}/hello"
local ok, response = pcall(http.get, url)
assert.eq(response.body, "hello")
local step = coroutine.wrap(function()
  coroutine.yield(http.get(url).body)
  return http.post(url, "x").status
end)
assert.eq(step(), "hello")
assert.eq(step(), 200)
local list = { 3, 1, 2 }
table.sort(list, function(a, b)
  return http.get(url).status == 200 and a < b
end)
assert.eq(table.concat(list, " "), "1 2 3")
local object = setmetatable({}, { __index = function() return http.get(url).body end })
assert.eq(object.anything, "hello")
for piece in http.get("http://127.0.0.1:${HTTP_PORT}/lines/2", { stream = true }).body:lines() do
  assert.eq(http.get(url).body, "hello")
end

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
sleep(0.05)
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
local reports = {}
local size = http.download("http://127.0.0.1:${HTTP_PORT}/drip?n=30&ms=20", "slow.bin", {
  progress = function(done, total)
    reports[#reports + 1] = { done, total }
  end,
})
assert.eq(size, 30)
assert.gt(#reports, 2)
local before = 0
for _, report in ipairs(reports) do
  assert(report[1] >= before)
  assert.eq(report[2], 30)
  before = report[1]
end
assert.eq(before, 30)

--# case: through a proxy
--# needs: http
--# allow: http=proxy:127.0.0.1:${PROXY_PORT},http=upstream.test:*
--# allow: fs=read:${CA}
local proxy = "http://127.0.0.1:${PROXY_PORT}"
local echo = json.parse(http.get("http://upstream.test:${HTTP_PORT}/echo?x=1", { proxy = proxy }).body)
assert.eq(echo.headers.via, "1.1 test")
assert.eq(echo.target, "/echo?x=1")
assert.eq(echo.headers.host, "upstream.test:${HTTP_PORT}")
assert.eq(http.get("https://upstream.test:${HTTPS_PORT}/hello", { proxy = proxy, ca_cert_file = "${CA}" }).body, "hello")
local refused = "http://nobody:wrong@127.0.0.1:${PROXY_PORT}"
assert.eq(http.get("http://upstream.test:${HTTP_PORT}/echo", { proxy = refused }).status, 407)
local ok, err = pcall(http.get, "https://upstream.test:${HTTPS_PORT}/hello", { proxy = refused, ca_cert_file = "${CA}" })
assert.eq(err.code, "unavailable")
assert.contains(err.message, "407")
ok, err = pcall(http.get, "http://upstream.test:${HTTP_PORT}/", { proxy = "socks5://127.0.0.1:1" })
assert.eq(err.code, "unsupported")
ok, err = pcall(http.get, "http://other.test/", { proxy = proxy })
assert.eq(err.code, "denied")

--# case: a proxy of the environment that is granted
--# needs: http
--# allow: http=proxy:127.0.0.1:${PROXY_PORT},http=upstream.test:*
--# env: http_proxy=http://127.0.0.1:${PROXY_PORT}
assert.eq(json.parse(http.get("http://upstream.test:${HTTP_PORT}/echo").body).headers.via, "1.1 test")
local ok, err = pcall(http.get, "http://upstream.test:${HTTP_PORT}/echo", { proxy = false })
assert.eq(err.code, "unavailable", "without the proxy nobody knows the name")

--# case: denied without a grant
local ok, err = pcall(http.get, "https://api.example.com/v1?token=secret")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.eq(err.message, "http to api.example.com:443 is not granted; run again with --allow http=api.example.com:443")
ok, err = pcall(http.download, "http://api.example.com/x", "x")
assert.eq(err.message, "http to api.example.com:80 is not granted; run again with --allow http=api.example.com:80")

--# case: denied with a grant for another place
--# allow: http=api.example.com
local ok, err = pcall(http.get, "http://api.example.com:8080/")
assert.eq(err.code, "denied")
assert.eq(err.message, "http to api.example.com:8080 is not granted; run again with --allow http=api.example.com:8080")

--# case: a denial that nobody catches
--# exit: 1
--# stderr: run again with --allow http=api.example.com:443
http.get("https://api.example.com/")
