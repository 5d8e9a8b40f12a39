--- # Escapes by http
--- What a script may try with `http` to reach what it was not granted, to pass limits, or to smuggle
--- something into a message.

--# case: a redirect to another port, name or spelling is a request of its own
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local function redirected(target, opts)
  return pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/redirect-to?url=" .. target, opts)
end
for target, place in pairs({
  ["http://127.0.0.1:${PROXY_PORT}/"] = "http://127.0.0.1:${PROXY_PORT}/",
  ["http://localhost:${HTTP_PORT}/hello"] = "http://localhost:${HTTP_PORT}/hello",
  ["//localhost:${HTTP_PORT}/hello"] = "http://localhost:${HTTP_PORT}/hello",
  ["http://[::1]:${HTTP_PORT}/"] = "http://[::1]:${HTTP_PORT}/",
  ["http://169.254.169.254/latest/meta-data/"] = "http://169.254.169.254/latest/meta-data/",
  ["http://127.0.0.1:${HTTP_PORT}@evil.example/"] = "http://evil.example/",
  ["https://127.0.0.1/"] = "https://127.0.0.1/",
}) do
  local ok, err = redirected(target)
  assert.eq(ok, false, target)
  assert.eq(err.code, "denied", target)
  assert.contains(err.message, "--allow 'http=GET:" .. place .. "'")
end
for _, target in ipairs({ "/hello", "http://0x7f.1:${HTTP_PORT}/hello", "//2130706433:${HTTP_PORT}/hello" }) do
  local ok, response = redirected(target)
  assert.eq(ok, true, target)
  assert.eq(response.body, "hello")
end

--# case: a redirect out of HTTP
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
for _, target in ipairs({ "file:///etc/passwd", "ftp://127.0.0.1/", "javascript:1", "http://" }) do
  local ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/redirect-to?url=" .. target)
  assert.eq(ok, false, target)
  assert(err.code == "invalid_argument" or err.code == "invalid_data", target .. ": " .. err.code)
end

--# case: metadata and link-local addresses, whatever was granted
--# needs: http
--# flags: -A
local function refused(url, opts)
  local ok, err = pcall(http.get, url, opts or { timeout = 5 })
  assert.eq(ok, false, url)
  assert.eq(err.code, "denied", url .. ": " .. err.message)
  assert.contains(err.message, "metadata")
end
refused("http://169.254.169.254/latest/meta-data/")
refused("http://169.254.169.254:8080/")
refused("http://0xa9fea9fe/")
refused("http://2852039166/")
refused("http://0251.0376.0251.0376/")
refused("http://169.254.43518/")
refused("http://[::ffff:169.254.169.254]/")
refused("http://[::ffff:a9fe:a9fe]/")
refused("http://[64:ff9b::a9fe:a9fe]/")
refused("http://[2002:a9fe:a9fe::1]/")
refused("http://[fe80::1]/")
refused("http://[fd00:ec2::254]/")
refused("http://[fd00:ec2::23]/v1/credentials")
refused("http://[fd20:ce::254]/computeMetadata/v1/")
refused("http://[fd00:c1::a9fe:a9fe]/opc/v2/")
refused("http://[fd00:42::42]/conf")
refused("http://[fd00:a9fe:a9fe::1]/v1/token")
refused("http://[fe80::a9fe:a9fe]/")
refused("http://169.254.170.2/v2/credentials")
refused("http://169.254.170.23/v1/credentials")
refused("http://169.254.0.23/")
refused("http://169.254.42.42/conf")
refused("http://192.0.0.192/")
refused("http://168.63.129.16/machine")
-- In every form that leads from IPv6 to IPv4.
refused("http://[::169.254.169.254]/")
refused("http://[::ffff:0:169.254.169.254]/")
refused("http://[64:ff9b::168.63.129.16]/")
refused("http://[64:ff9b:1::169.254.169.254]/")
refused("http://[64:ff9b:1:a9fe:a9:fe00::]/")
refused("http://[2001:0:808:808:0:0:5601:5601]/")
refused("http://[2001:db8::5efe:169.254.169.254]/")
refused("http://[2001:db8:64::169.254.169.254]/")
-- By a name, before it is looked up.
refused("http://metadata.google.internal/computeMetadata/v1/")
refused("http://METADATA.google.internal./")
refused("http://100.100.100.200/")
refused("http://224.0.0.1/")
refused("http://255.255.255.255/")
refused("http://user:pass@169.254.169.254/")
refused("http://127.0.0.1:${HTTP_PORT}/redirect-to?url=http://169.254.169.254/")

--# case: every spelling of an address is the address
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
for _, host in ipairs({
  "127.0.0.1", "127.1", "127.0.1", "0x7f.1", "0x7f000001", "017700000001", "2130706433", "0177.0.0.1", "127.0.0.1.",
  "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]",
}) do
  local ok, response = pcall(http.get, "http://" .. host .. ":${HTTP_PORT}/hello")
  assert.eq(ok, true, host .. ": " .. tostring(response))
  assert.eq(response.body, "hello", host)
end

--# case: a denied address in every spelling
--# needs: http
--# flags: -A
--# deny: http=127.0.0.1:${HTTP_PORT}
for _, host in ipairs({
  "127.0.0.1", "127.1", "0x7f.1", "017700000001", "2130706433", "127.0.0.1.", "[::ffff:127.0.0.1]",
  "other.example@127.0.0.1", "127.0.0.1:${HTTP_PORT}@127.0.0.1",
}) do
  local ok, err = pcall(http.get, "http://" .. host .. ":${HTTP_PORT}/hello")
  assert.eq(ok, false, host)
  assert.eq(err.code, "denied", host .. ": " .. err.message)
end

--# case: names and the unspecified address by where they lead
--# needs: http
--# flags: -A
--# deny: http=loopback
for _, host in ipairs({ "localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "0.0.0.0", "0", "[::]", "[::1]", "[::ffff:0.0.0.0]" }) do
  local ok, err = pcall(http.get, "http://" .. host .. ":${HTTP_PORT}/hello")
  assert.eq(ok, false, host)
  assert.eq(err.code, "denied", host .. ": " .. err.message)
end

--# case: a range is matched after the name is resolved
--# needs: http
--# allow: http=127.0.0.0/8
assert.eq(http.get("http://localhost:${HTTP_PORT}/hello").body, "hello")
local ok, err = pcall(http.get, "http://10.0.0.1/", { timeout = 1 })
assert.eq(err.code, "denied")

--# case: a user name is not a host
--# needs: http
--# allow: http=granted.example
for _, url in ipairs({
  "http://granted.example@127.0.0.1:${HTTP_PORT}/hello",
  "http://granted.example:80@127.0.0.1:${HTTP_PORT}/hello",
  "http://granted.example%00@127.0.0.1:${HTTP_PORT}/hello",
  "http://127.0.0.1:${HTTP_PORT}\\@granted.example/hello",
  "http://127.0.0.1:${HTTP_PORT}#@granted.example/",
  "http://127.0.0.1:${HTTP_PORT}?@granted.example/",
}) do
  local ok, err = pcall(http.get, url)
  assert.eq(ok, false, url)
  assert.eq(err.code, "denied", url)
  assert.contains(err.message, "127.0.0.1:${HTTP_PORT}")
end

--# case: names that only look like a granted one
--# allow: http=granted.example,http=*.below.example
for _, host in ipairs({
  "xgranted.example", "granted.example.evil.example", "granted-example", "below.example", "xbelow.example",
  "a.below.example.evil.example", "granted.example%2eevil.example",
}) do
  local ok, err = pcall(http.get, "http://" .. host .. "/")
  assert.eq(ok, false, host)
  assert(err.code == "denied" or err.code == "invalid_argument", host .. ": " .. err.code)
end

--# case: methods and paths
--# needs: http
--# allow: http=GET+HEAD:http://127.0.0.1:${HTTP_PORT}/echo*
local base = "http://127.0.0.1:${HTTP_PORT}"
assert.eq(http.get(base .. "/echo/x?y=../..").status, 200)
assert.eq(http.head(base .. "/echo").status, 200)
local function denied(method, path)
  local ok, err = pcall(http.request, method, base .. path)
  assert.eq(ok, false, method .. " " .. path)
  assert.eq(err.code, "denied", method .. " " .. path)
end
denied("POST", "/echo")
denied("DELETE", "/echo")
denied("GET", "/hello")
denied("GET", "/")
denied("GET", "/echo/../hello")
denied("GET", "/echo/%2e%2e/hello")
denied("GET", "/echo/..%2fhello")
denied("GET", "/echo/..%5chello")
denied("GET", "/echo//hello")
denied("GET", "/Echo")

--# case: a redirect is matched with its own method and path
--# needs: http
--# allow: http=POST:127.0.0.1:${HTTP_PORT},http=http://127.0.0.1:${HTTP_PORT}/redirect*
local base = "http://127.0.0.1:${HTTP_PORT}"
local ok, err = pcall(http.get, base .. "/redirect-to?url=/hello")
assert.eq(err.code, "denied")
ok, err = pcall(http.post, base .. "/redirect-to?url=/hello&status=303", "x")
assert.eq(err.code, "denied", "303 makes it a GET")
assert.eq(http.post(base .. "/redirect-to?url=/hello&status=307", "x").status, 200)

--# case: from https to http only where http is granted by name
--# needs: http
--# allow: http=127.0.0.1:*
--# allow: fs=read:${CA}
local ok, err = pcall(http.get, "https://127.0.0.1:${HTTPS_PORT}/redirect-to?url=http://127.0.0.1:${HTTP_PORT}/hello", {
  ca_cert_file = "${CA}",
})
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow 'http=GET:http://127.0.0.1:${HTTP_PORT}/hello'")

--# case: from https to http with the grant for it
--# needs: http
--# allow: http=127.0.0.1:*,http=http://127.0.0.1:${HTTP_PORT}
--# allow: fs=read:${CA}
local response = http.get("https://127.0.0.1:${HTTPS_PORT}/redirect-to?url=http://127.0.0.1:${HTTP_PORT}/hello", {
  ca_cert_file = "${CA}",
})
assert.eq(response.body, "hello")

--# case: credentials do not follow a redirect to another origin
--# needs: http
--# allow: http=127.0.0.1:*,http=localhost:*
local opts = {
  headers = { Authorization = "secret", Cookie = "secret", ["X-Api-Key"] = "secret", ["X-Vault-Token"] = "secret", ["X-Other"] = "kept" },
}
local elsewhere = "http://localhost:${HTTP_PORT}/echo"
local echo = http.get("http://127.0.0.1:${HTTP_PORT}/redirect-to?url=" .. elsewhere, opts).body
assert.eq(echo:find("secret", 1, true), nil)
assert.eq(json.parse(echo).headers["x-other"], "kept")
echo = http.get("http://127.0.0.1:${HTTP_PORT}/redirect-to?url=" .. elsewhere, { basic_auth = { user = "a", pass = "b" } }).body
assert.eq(json.parse(echo).headers.authorization, nil)
echo = http.get("http://a:b@127.0.0.1:${HTTP_PORT}/redirect-to?url=" .. elsewhere).body
assert.eq(json.parse(echo).headers.authorization, nil)
echo = http.get("http://127.0.0.1:${HTTP_PORT}/redirect-to?url=http://x:y@localhost:${HTTP_PORT}/echo").body
assert.eq(json.parse(echo).headers.authorization, nil)
echo = http.get("http://127.0.0.1:${HTTP_PORT}/redirect-to?url=/echo", opts).body
assert.eq(json.parse(echo).headers.authorization, "secret")

--# case: the client certificate does not follow either
--# needs: http
--# allow: http=localhost:*,http=127.0.0.1:*
--# allow: fs=read:${TMP}
local ok, err = pcall(http.get, "https://localhost:${HTTPS_PORT}/redirect-to?url=https://localhost:${MTLS_PORT}/hello", {
  ca_cert_file = "${CA}", client_cert_file = "${CLIENT_PEM}",
})
assert.eq(ok, false)
assert.contains(err.message, "client certificate")

--# case: the Host field cannot name another site
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local url = "http://127.0.0.1:${HTTP_PORT}/echo"
for _, host in ipairs({ "evil.example", "127.0.0.1", "127.0.0.1:80", "localhost:${HTTP_PORT}", "" }) do
  local ok, err = pcall(http.get, url, { headers = { Host = host } })
  if host == "127.0.0.1" then
    assert.eq(ok, true, "the URL's own host is no other site")
  else
    assert.eq(ok, false, host)
    assert.eq(err.code, "invalid_argument", host)
  end
end
local echo = json.parse(http.get(url, { headers = { host = "127.0.0.1:${HTTP_PORT}" } }).body)
assert.eq(echo.headers.host, "127.0.0.1:${HTTP_PORT}")
local ok, err = pcall(http.get, url, { headers = { Host = { "127.0.0.1:${HTTP_PORT}", "evil.example" } } })
assert.eq(ok, false)

--# case: fields that frame the message
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
for _, name in ipairs({
  "Content-Length", "content-length", "Transfer-Encoding", "Connection", "Keep-Alive", "Proxy-Authorization",
  "Proxy-Connection", "TE", "Trailer", "Upgrade", "HTTP2-Settings",
}) do
  local ok, err = pcall(http.post, "http://127.0.0.1:${HTTP_PORT}/echo", "x", { headers = { [name] = "5" } })
  assert.eq(ok, false, name)
  assert.eq(err.code, "invalid_argument", name)
  assert.contains(err.message, name:lower())
end

--# case: line breaks in names and values
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local url = "http://127.0.0.1:${HTTP_PORT}/echo"
local function fails(opts)
  local ok, err = pcall(http.get, url, opts)
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument")
end
fails({ headers = { ["X-A"] = "a\r\nX-B: b" } })
fails({ headers = { ["X-A"] = "a\nX-B: b" } })
fails({ headers = { ["X-A"] = "a\0b" } })
fails({ headers = { ["X-A\r\nX-B"] = "b" } })
fails({ headers = { ["X A"] = "b" } })
fails({ headers = { ["X:A"] = "b" } })
fails({ headers = { [""] = "b" } })
fails({ bearer = "a\r\nX-B: b" })
fails({ multipart = { { name = "a", value = "b", content_type = "x\r\nX-B: b" } } })
local echo = json.parse(http.get(url .. "?a=b%0d%0aX-B:%20c").body)
assert.eq(echo.headers["x-b"], nil)
echo = json.parse(http.get(url .. "?a=b\r\nX-B: c").body)
assert.eq(echo.headers["x-b"], nil)
echo = json.parse(http.post(url, nil, { multipart = { { name = 'a"\r\nX-B: c', value = "d", filename = '"\r\ne' } } }).body)
assert.contains(echo.body, 'name="a%22%0D%0AX-B: c"; filename="%22%0D%0Ae"')

--# case: proxies of the environment do not count without a grant
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT},http=upstream.test:*
--# env: http_proxy=http://127.0.0.1:${PROXY_PORT}
--# env: HTTP_PROXY=http://127.0.0.1:${PROXY_PORT}
--# env: ALL_PROXY=http://127.0.0.1:${PROXY_PORT}
local ok, err = pcall(http.get, "http://upstream.test:${HTTP_PORT}/echo")
assert.eq(ok, false, "only the proxy knows this name")
assert.eq(err.code, "unavailable")
assert.eq(json.parse(http.get("http://127.0.0.1:${HTTP_PORT}/echo").body).headers.via, nil)

--# case: a proxy is not granted by granting everything
--# needs: http
--# flags: -A
--# env: http_proxy=http://127.0.0.1:${PROXY_PORT}
local ok, err = pcall(http.get, "http://upstream.test:${HTTP_PORT}/echo")
assert.eq(ok, false)
ok, err = pcall(http.get, "http://upstream.test:${HTTP_PORT}/echo", { proxy = "http://127.0.0.1:${PROXY_PORT}" })
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow http=proxy:127.0.0.1:${PROXY_PORT}")

--# case: a grant of a proxy is not a grant of the place
--# needs: http
--# allow: http=proxy:127.0.0.1:${PROXY_PORT}
local ok, err = pcall(http.get, "http://127.0.0.1:${PROXY_PORT}/")
assert.eq(err.code, "denied")
ok, err = pcall(http.get, "http://upstream.test:${HTTP_PORT}/hello", { proxy = "http://127.0.0.1:${PROXY_PORT}" })
assert.eq(err.code, "denied")

--# case: metadata through a proxy
--# needs: http
--# allow: http,http=proxy:127.0.0.1:${PROXY_PORT}
local ok, err = pcall(http.get, "http://169.254.169.254/", { proxy = "http://127.0.0.1:${PROXY_PORT}" })
assert.eq(err.code, "denied")

--# case: a kept connection belongs to its name
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT},http=localhost:${HTTP_PORT}
local function connection(host)
  return json.parse(http.get("http://" .. host .. ":${HTTP_PORT}/connection").body).connection
end
local first = connection("127.0.0.1")
assert.ne(connection("localhost"), first)
assert.eq(connection("127.0.0.1"), first)

--# case: a kept connection is checked again for each request
--# needs: http
--# allow: http=http://127.0.0.1:${HTTP_PORT}/hello
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/hello").body, "hello")
local ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/echo")
assert.eq(err.code, "denied")
ok, err = pcall(http.post, "http://127.0.0.1:${HTTP_PORT}/hello", "x")
assert.eq(ok, true)

--# case: files of options need fs
--# needs: http
--# allow: http=127.0.0.1:*
local url = "https://127.0.0.1:${HTTPS_PORT}/echo"
local function denied(scope, opts, path)
  local ok, err
  if path then
    ok, err = pcall(http.download, "http://127.0.0.1:${HTTP_PORT}/hello", path)
  else
    ok, err = pcall(http.post, url, nil, opts)
  end
  assert.eq(ok, false)
  assert.eq(err.code, "denied", err.message)
  assert.contains(err.message, "--allow fs=" .. scope)
end
denied("read:/etc/passwd", { ca_cert_file = "/etc/passwd" })
denied("read:/etc/passwd", { client_cert_file = "/etc/passwd" })
local plain = "http://127.0.0.1:${HTTP_PORT}/echo"
for _, opts in ipairs({ { body_file = "/etc/passwd" }, { multipart = { { name = "a", path = "/etc/../etc/passwd" } } } }) do
  local ok, err = pcall(http.post, plain, nil, opts)
  assert.eq(ok, false)
  assert.eq(err.code, "denied", err.message)
  assert.contains(err.message, "--allow fs=read:/etc/passwd")
end
denied("write:/etc/passwd", nil, "/etc/passwd")
denied("write:x", nil, "x")

--# case: a download does not follow a link out of its grant
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
--# allow: fs=rw:${TMP}/in,fs=rw:${TMP}/out
--# deny: fs=write:${TMP}/out
fs.mkdir("in")
local made = pcall(fs.symlink, "../out", "in/link")
local ok, err = pcall(http.download, "http://127.0.0.1:${HTTP_PORT}/hello", "in/../out/x")
assert.eq(ok, false)
assert.eq(err.code, "denied")
if made then
  ok, err = pcall(http.download, "http://127.0.0.1:${HTTP_PORT}/hello", "in/link/x")
  assert.eq(ok, false)
  assert.eq(err.code, "denied")
end

--# case: bombs
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/bomb/80")
assert.eq(ok, false)
assert.eq(err.code, "limit")
local size = 0
for chunk in http.get("http://127.0.0.1:${HTTP_PORT}/bomb/80", { stream = true }).body:chunks() do
  size = size + #chunk
end
assert.eq(size, 80 << 20)
ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/headers/100000")
assert.eq(ok, false)
ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/headers/1?size=500000")
assert.eq(ok, false)
local many = {}
for n = 1, 600 do
  many["X-" .. n] = "v"
end
ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/echo", { headers = many })
assert.eq(err.code, "limit")

--# case: an event without an end
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/sse-huge", { on_event = function() end })
assert.eq(ok, false)
assert.eq(err.code, "limit")

--# case: the limit on handles, and their return
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
--# flags: --max-handles 8
local url = "http://127.0.0.1:${HTTP_PORT}"
local open = {}
local ok, err
for n = 1, 20 do
  ok, err = pcall(http.get, url .. "/endless", { stream = true })
  if not ok then
    break
  end
  open[n] = err.body
end
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "--max-handles")
assert.gt(#open, 1)
for _, body in ipairs(open) do
  body:close()
end
for n = 1, 50 do
  assert.eq(http.get(url .. "/hello").body, "hello")
end

--# case: the limit on bytes
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
--# flags: --max-host-bytes 1MiB
assert.eq(#http.get("http://127.0.0.1:${HTTP_PORT}/bytes/500000").body, 500000)
local ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/endless", { max_body = 0 })
assert.eq(err.code, "limit")
assert.contains(err.message, "--max-host-bytes")

--# case: what is sent counts too
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
--# flags: --max-host-bytes 1MiB
local ok, err = pcall(http.post, "http://127.0.0.1:${HTTP_PORT}/hello", ("x"):rep(2 << 20))
assert.eq(err.code, "limit")

--# case: a body larger than the memory
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
--# flags: --memory 32MiB
local ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/bomb/60")
assert.eq(ok, false)
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/hello").body, "hello")

--# case: loops of redirects
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
local ok, err = pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/redirect/100000", { max_redirects = 1000000 })
assert.eq(ok, false)
assert.eq(err.code, "limit")

--# case: a denied path in every spelling
--# needs: http
--# flags: -A
--# deny: http=http://127.0.0.1:${HTTP_PORT}/echo*
local base = "http://127.0.0.1:${HTTP_PORT}"
assert.eq(http.get(base .. "/hello").body, "hello")
for _, path in ipairs({
  "/echo", "/echo/x", "//echo/x", "/%65cho/x", "/%2565cho", "/%252565cho", "/x/..%2fecho/x", "/x/..%252fecho", "/x/%2e%2e/echo",
  "/x/%2e%2e%2fecho", "/x/..;/echo", "/..;a=b/echo", "/x/..%3b/echo", "/;/echo", "/echo;x=1", "/x/..%5cecho", "/%5cecho", "/./echo",
  "/ECHO", "/%45cho", "/echo%00", "/%c0%afecho", "/x/%c0%ae%c0%ae/echo", "/%u0065cho", "/%ef%bd%85cho", "/x/%ef%bc%8e%ef%bc%8e/echo",
  "/x\\..\\echo", "/echo/", "/%2f%2fecho", "/x/.%00./echo",
}) do
  for _, host in ipairs({ "127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]" }) do
    local ok, err = pcall(http.get, "http://" .. host .. ":${HTTP_PORT}" .. path)
    assert.eq(ok, false, host .. path)
    assert.eq(err.code, "denied", host .. path)
    assert.contains(err.message, "is denied by --deny 'http=http://127.0.0.1:${HTTP_PORT}/echo*'")
    assert.eq(err.message:find("--allow", 1, true), nil, err.message)
  end
end

--# case: an allowed path that a server may read as another one
--# needs: http
--# allow: http=http://127.0.0.1:${HTTP_PORT}/echo/*
local base = "http://127.0.0.1:${HTTP_PORT}"
assert.eq(http.get(base .. "/echo/a%20b;v=1/c").status, 200)
for _, path in ipairs({
  "/echo/..;/hello", "/echo/..;a=b/hello", "/echo/..%3b/hello", "/echo/..%253b/hello", "/echo/%252e%252e/hello", "/echo/..%252fhello",
  "/echo/%c0%ae%c0%ae/hello", "/echo/%ef%bc%8e%ef%bc%8e/hello", "/echo/%u002e%u002e/hello", "/echo/x%00", "/echo/.;/x", "/echo/x//y",
}) do
  local ok, err = pcall(http.get, base .. path)
  assert.eq(ok, false, path)
  assert.eq(err.code, "denied", path)
end

--# case: a denied machine by its other names
--# needs: http
--# flags: -A
--# deny: http=127.0.0.1:${HTTP_PORT}
for _, host in ipairs({
  "localhost", "LOCALHOST.", "0.0.0.0", "0", "127.9.9.9", "127.0.0.2", "[::1]", "[::]", "[::ffff:0:127.0.0.1]", "[::127.0.0.1]",
  "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]",
}) do
  local ok, err = pcall(http.get, "http://" .. host .. ":${HTTP_PORT}/hello")
  assert.eq(ok, false, host)
  assert.eq(err.code, "denied", host .. ": " .. err.message)
  assert.contains(err.message, "--deny http=127.0.0.1:${HTTP_PORT}")
end

--# case: a denied name for this machine is a denied machine
--# needs: http
--# flags: -A
--# deny: http=localhost
for _, host in ipairs({ "localhost", "127.0.0.1", "127.1", "0.0.0.0", "[::1]" }) do
  local ok, err = pcall(http.get, "http://" .. host .. ":${HTTP_PORT}/hello")
  assert.eq(ok, false, host)
  assert.eq(err.code, "denied", host)
end

--# case: a spelling in a denial is no way round it
--# needs: http
--# flags: -A
--# deny: http=0x7f.1:${HTTP_PORT}
assert.eq(select(2, pcall(http.get, "http://127.0.0.1:${HTTP_PORT}/hello")).code, "denied")

--# case: denied names are compared in ASCII, on every port
--# flags: -A
--# deny: http=bücher.example,http=*.münchen.example
for _, url in ipairs({
  "http://bücher.example/", "http://BÜCHER.example:8080/", "https://xn--bcher-kva.example:444/", "http://b%C3%BCcher.example./",
  "http://a.münchen.example:9/", "http://a.b.xn--mnchen-3ya.example/",
}) do
  local ok, err = pcall(http.get, url)
  assert.eq(ok, false, url)
  assert.eq(err.code, "denied", url .. ": " .. err.message)
end

--# case: denied ranges see through what carries IPv4
--# flags: -A
--# deny: http=private
--# deny: http=192.0.2.0/24
for _, host in ipairs({
  "10.1.2.3", "[::ffff:10.1.2.3]", "[::10.1.2.3]", "[::ffff:0:10.1.2.3]", "[64:ff9b::10.1.2.3]", "[64:ff9b:1::10.1.2.3]", "[2002:a01:203::1]",
  "[2001:0:808:808:0:0:f5fe:fdfc]", "[2001:db8::5efe:10.1.2.3]", "100.64.0.1", "[fc00::1]", "[fec0::1]",
  "192.0.2.1", "[64:ff9b::192.0.2.1]", "[2002:c000:201::]", "[::192.0.2.1]",
}) do
  local ok, err = pcall(http.get, "http://" .. host .. "/", { timeout = 5 })
  assert.eq(ok, false, host)
  assert.eq(err.code, "denied", host .. ": " .. err.message)
  assert.contains(err.message, "is denied by --deny http=")
end

--# case: what is granted and denied says which rule denies
--# needs: http
--# allow: http=127.0.0.1:*
--# deny: http=POST:127.0.0.1
assert.eq(http.get("http://127.0.0.1:${HTTP_PORT}/hello").body, "hello")
local ok, err = pcall(http.post, "http://127.0.0.1:${HTTP_PORT}/echo", "x")
assert.eq(err.message, "POST http://127.0.0.1:${HTTP_PORT}/echo is denied by --deny http=POST:127.0.0.1")

--# case: a denial without any grant names no flag either
--# deny: http=127.0.0.1
--# deny: ws
local ok, err = pcall(http.get, "http://127.0.0.1:1/x")
assert.eq(err.message, "GET http://127.0.0.1:1/x is denied by --deny http=127.0.0.1")
ok, err = pcall(http.get, "http://192.0.2.1/x")
assert.contains(err.message, "--allow 'http=GET:http://192.0.2.1/x'")
ok, err = pcall(ws.connect, "ws://127.0.0.1:1/x")
assert.eq(err.message, "ws to ws://127.0.0.1:1/x is denied by --deny ws")

--# case: a denied place is no proxy
--# needs: http
--# allow: http=proxy:127.0.0.1:${PROXY_PORT},http=upstream.test:*
--# deny: http=localhost:${PROXY_PORT}
local ok, err = pcall(http.get, "http://upstream.test:${HTTP_PORT}/hello", { proxy = "http://127.0.0.1:${PROXY_PORT}" })
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--deny http=localhost:${PROXY_PORT}")

--# case: the name of a metadata service through a proxy
--# needs: http
--# allow: http,http=proxy:127.0.0.1:${PROXY_PORT}
local ok, err = pcall(http.get, "http://metadata.google.internal/", { proxy = "http://127.0.0.1:${PROXY_PORT}" })
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow 'http=GET:http://metadata.google.internal/'")

--# case: a redirect from https to http that is denied
--# needs: http
--# allow: http=127.0.0.1:*
--# allow: fs=read:${CA}
--# deny: http=http://127.0.0.1:${HTTP_PORT}
local ok, err = pcall(http.get, "https://127.0.0.1:${HTTPS_PORT}/redirect-to?url=http://127.0.0.1:${HTTP_PORT}/hello", {
  ca_cert_file = "${CA}",
})
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "is denied by --deny 'http=http://127.0.0.1:${HTTP_PORT}'")
assert.eq(err.message:find("--allow", 1, true), nil)

--# case: a flag that a denial names is one word for a shell
local ok, err = pcall(http.get, "http://[::1]:1/it's%20a$(x)?y=z")
assert.eq(err.message, "GET http://[::1]:1/it's%20a$(x) is not granted; run again with --allow 'http=GET:http://[::1]:1/it'\\''s%2520a$(x)'")
ok, err = pcall(fs.read, "/a b\nc;'d")
assert.contains(err.message, "--allow $'fs=read:/a b\\x0ac;\\'d'")

--# case: a redirect tells no password
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
for _, target in ipairs({
  "http://u:hunter2@127.0.0.1:1/",
  "http://u:hunter2@127.0.0.1:x/",
  "http://u:pa%2520hunter2@ho st/",
  "ftp://u:hunter2@127.0.0.1/",
  "//u:hunter2@127.0.0.1:1/",
}) do
  local url = "http://127.0.0.1:${HTTP_PORT}/redirect-to?url=" .. target:gsub("[ ?#&]", "%%20")
  for _, call in ipairs({ http.get, http.head, function(url) return http.download(url, fs.tempdir() .. "/x") end }) do
    local ok, err = pcall(call, url)
    assert.eq(ok, false, target)
    assert(not err.message:find("hunter2", 1, true), err.message)
  end
end

--# case: a download takes room of the temporary directory
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
--# flags: --temp-bytes 4KiB
local dir = fs.tempdir()
http.download("http://127.0.0.1:${HTTP_PORT}/hello", dir .. "/a")
fs.write(dir .. "/b", ("x"):rep(4000))
local ok, err = pcall(http.download, "http://127.0.0.1:${HTTP_PORT}/bytes/5000", dir .. "/c")
assert.eq(ok, false)
assert.eq(err.code, "limit", err.message)
assert.contains(err.message, "--temp-bytes")
