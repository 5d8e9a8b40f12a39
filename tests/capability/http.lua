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
---   `cookie`, whatever has `key`, `token`, `secret`, `auth` or the like as a word of its name, such as `x-api-key`;
---   client certificates) do not go to another origin. From https to http only where a grant says `http://...`.
--- - `basic_auth`: `{user = ..., pass = ...}`; `bearer`: a token
--- - `ca_cert`, `ca_cert_file`: PEM of the authorities to trust in place of the system's (which
---   `SSL_CERT_FILE` and `SSL_CERT_DIR` can replace). In a pod of Kubernetes the API of its cluster, and nothing
---   else, is trusted by the cluster's own authority too. A certificate that is named itself is trusted for its own
---   server, also where it signs itself.
--- - `tls`: `{fingerprint = "sha256:..."}`: the server must have the certificate with this SHA-256, as `openssl x509
---   -fingerprint -sha256` shows it, which is then trusted for any issuer, name and time; a list where it
---   may be one of several. On a redirect to another host the usual authorities count.
--- - `client_cert`, `client_key`, `client_cert_file`, `client_key_file`: PEM; one file may have both
--- - `max_body`: bytes of the decoded body, default 64 MiB, 0 for no bound
--- - `decompress`: false for the body as it was sent
--- - `on_event`: a function for server-sent events, called with `{event, data, id, retry}` where the
---   response is `text/event-stream`; it ends the stream by returning "close". The response comes after
---   the stream and has `last_event_id`, and `retry` where the stream said how many milliseconds to wait before
---   connecting again. There is no reconnection.
--- - `stream`: true for a `body` that is read as it arrives: `body:read(n?)`, `body:read("a")`,
---   `body:chunks()`, `body:lines()`, `body:close()`. Nil is the end.
--- - `proxy`: `http://[user:password@]host:port`, or false. `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and
---   `NO_PROXY` (names, addresses, ranges, each with a port or for all) count only where the proxy is granted.
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
--- ## http.download(url, path, opts?) -> bytes, changed
--- Saves a response as a file and gives its size. It is written beside `path` and takes its place when it
--- is complete; missing directories are made; after an error, or when its task is cancelled, nothing is left.
--- Any status but 200, and 206 where the request has a header `range`, is an error (`not_found`, `permission`,
--- `unavailable` or `other`), and the file that is there stays. The file has the
--- bytes that the server sends, not decoded. Needs `fs=write:` of the path. Options besides those of `http.get`:
---
--- - `max_size`: default 1 GiB, 0 for no bound
--- - `sha256`: the digest to expect, hexadecimal
--- - `progress`: a function of the bytes so far and, where they are known, in all
--- - `if_changed`: true to get the file only where it is another version than the one at `path`. Else the size of that
---   one and `changed`, false, are the results. `ETag` and `Last-Modified` are kept in `PATH.http`; where they are
---   missing, or the file was changed since, it is fetched.
--- - `resume`: true to keep what has come when a download breaks off, in `PATH.part`, and to go on with it in the next
---   call, where the server still has the same version. The digest and the bound are those of the whole file.
---
--- Both options need `fs=rw:` of the path and of these names beside it.
---
--- Requests wait while all handles of the run are with other requests; `timeout` counts.

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
local bytes = http.download("http://127.0.0.1:${HTTP_PORT}/hello", "new/directory/hello.txt", {
  sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
})
assert.eq(bytes, 5)
assert.eq(fs.read("new/directory/hello.txt"), "hello")

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
local ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/slow?ms=5000", { timeout = 0.2 })
assert.eq(ok, false)
assert.eq(err.code, "timeout")
assert.contains(err.message, "0.2 seconds")
ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/drip?n=100&ms=50", { timeout = 0.2 })
assert.eq(err.code, "timeout")
ok, err = pcall(http.client({ timeout = 0.2 }).get, http.client({ timeout = 0.2 }), "http://127.0.0.1:${HTTP_PORT}/slow?ms=5000")
assert.eq(err.code, "timeout")
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/slow?ms=50", { timeout = 5 }).body, "slow")
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/slow?ms=50", { timeout = 0 }).body, "slow")
ok, err = pcall(async.timeout, 0.1, function()
  return http.get("http://127.0.0.1:${HTTP_PORT}/slow?ms=5000")
end)
assert.eq(err.code, "timeout")

--# case: each failure has its code
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

--# case: denied without a grant
local ok, err = pcall(http.get, "https://api.example.com/v1?token=secret")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.eq(err.message, "GET https://api.example.com/v1 is not granted; run again with --allow 'http=GET:https://api.example.com/v1'")
ok, err = pcall(http.download, "http://api.example.com/x", "x")
assert.eq(err.message, "GET http://api.example.com/x is not granted; run again with --allow 'http=GET:http://api.example.com/x'")

--# case: denied with a grant for another place
--# allow: http=api.example.com
local ok, err = pcall(http.get, "http://api.example.com:8080/")
assert.eq(err.code, "denied")
assert.eq(err.message, "GET http://api.example.com:8080/ is not granted; run again with --allow 'http=GET:http://api.example.com:8080/'")

--# case: a denial that nobody catches
--# exit: 1
--# stderr: run again with --allow 'http=GET:https://api.example.com/'
http.get("https://api.example.com/")
