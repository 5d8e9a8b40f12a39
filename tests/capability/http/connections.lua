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
-- A POST is not sent twice, so it must not go out where the server has closed the connection.
local other = http.client()
for n = 1, 10 do
  local vanished = json.parse(http.get("http://127.0.0.1:${HTTP_PORT}/vanish").body).connection
  other:get("http://127.0.0.1:${HTTP_PORT}/vanished?connection=" .. vanished)
  assert.eq(http.post("http://127.0.0.1:${HTTP_PORT}/echo", "x").status, 200)
end

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
