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

--# case: a certificate that signs itself is trusted for its own server
--# needs: http
--# allow: http=loopback,fs=read:${CA},fs=read:${SELF_SIGNED}
local url = "https://localhost:${SELF_SIGNED_PORT}/hello"
assert.eq(http.get(url, { ca_cert_file = "${SELF_SIGNED}" }).body, "hello")
assert.eq(http.get(url, { ca_cert = fs.read("${SELF_SIGNED}") }).body, "hello")
assert.eq(http.get(url, { ca_cert = fs.read("${CA}") .. fs.read("${SELF_SIGNED}") }).body, "hello")
local function fails(url, opts, why)
  local ok, err = pcall(http.get, url, opts)
  assert.eq({ ok, err.code }, { false, "invalid_data" })
  assert.contains(err.message, why)
end
fails(url, { ca_cert_file = "${CA}" }, "ca_cert_file")
-- It is trusted for its names, and vouches for no other server.
fails("https://127.0.0.1:${SELF_SIGNED_PORT}/hello", { ca_cert_file = "${SELF_SIGNED}" }, "another name")
fails("https://localhost:${HTTPS_PORT}/hello", { ca_cert_file = "${SELF_SIGNED}" }, "not trusted")

--# case: the system's certificates are trusted for their own servers too
--# needs: http
--# allow: http=loopback
--# env: SSL_CERT_FILE=${SELF_SIGNED}
assert.eq(http.get("https://localhost:${SELF_SIGNED_PORT}/hello").body, "hello")

--# case: the server's certificate by its fingerprint
--# needs: http
--# allow: http=localhost:${SELF_SIGNED_PORT}
local client = http.client({
  base_url = "https://localhost:${SELF_SIGNED_PORT}",
  tls = { fingerprint = "sha256:${SELF_SIGNED_SHA256}" },
})
assert.eq(client:get("/hello").body, "hello")

--# case: fingerprints of certificates
--# needs: http
--# allow: http=loopback
local own <const>, other <const> = "${SELF_SIGNED_SHA256}", "${SERVER_SHA256}"
local function get(port, fingerprint)
  return http.get("https://localhost:" .. port .. "/hello", { tls = { fingerprint = fingerprint } }).body
end
local colons = own:upper():gsub("%x%x", "%0:"):sub(1, -2)
for _, text in ipairs({ "sha256:" .. own, "SHA256:" .. own:upper(), "sha256:" .. colons }) do
  assert.eq(get("${SELF_SIGNED_PORT}", text), "hello")
end
-- One of several: while the certificate is changed.
assert.eq(get("${HTTPS_PORT}", { "sha256:" .. own, "sha256:" .. other }), "hello")
local ok, err = pcall(get, "${HTTPS_PORT}", "sha256:" .. own)
assert.eq({ ok, err.code }, { false, "invalid_data" })
assert.contains(err.message, "sha256:" .. other)
-- A name and a time do not matter to one who knows the certificate.
assert.eq(http.get("https://127.0.0.1:${SELF_SIGNED_PORT}/hello", { tls = { fingerprint = "sha256:" .. own } }).body, "hello")
-- A connection that was made without the fingerprint is not used for one with it, nor the other way round.
local url = "https://localhost:${SELF_SIGNED_PORT}/hello"
assert.eq(get("${SELF_SIGNED_PORT}", "sha256:" .. own), "hello")
assert.eq(pcall(http.get, url), false)
assert.eq(pcall(get, "${SELF_SIGNED_PORT}", "sha256:" .. other), false)
for _, tls in ipairs({
  {}, { fingerprint = {} }, { fingerprint = "" }, { fingerprint = own }, { fingerprint = "sha1:" .. own }, { fingerprint = "sha256:" .. own .. "0" },
  { fingerprint = 5 }, { fingerprints = "sha256:" .. own }, "sha256:" .. own, true,
}) do
  local ok, err = pcall(http.get, url, { tls = tls })
  assert.eq({ ok, err.code }, { false, "invalid_argument" })
end

--# case: requests that the server has not begun with are sent again
--# needs: http
--# allow: http=loopback,fs=read:${CA}
local function send(method, port, body)
  return http.request(method, "https://localhost:" .. port .. "/", { body = body, ca_cert_file = "${CA}", timeout = 20 })
end
-- REFUSED_STREAM twice, then an answer; GOAWAY before the request was seen.
local response = send("POST", "${REFUSED_PORT}", "data")
assert.eq({ response.status, response.body, response.version }, { 200, "3", "HTTP/2" })
assert.eq(send("POST", "${GONE_PORT}", ("x"):rep(1000)).body, "2")
-- Not for ever.
local ok, err = pcall(send, "POST", "${REFUSED_ALWAYS_PORT}", "data")
assert.eq({ ok, err.code }, { false, "unavailable" })
-- One that it has begun with may have done something.
local ok, err = pcall(send, "POST", "${BEGUN_PORT}", "data")
assert.eq({ ok, err.code }, { false, "unavailable" })
assert.eq(send("POST", "${BEGUN_PORT}", "data").body, "2")

--# case: requests for which there is no handle wait for one
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
--# flags: --max-handles 16
for _, size in ipairs({ 100, 200000 }) do
  local tasks = {}
  for n = 1, 200 do
    tasks[n] = function() return #http.get("http://127.0.0.1:${HTTP_PORT}/bytes/" .. size).body end
  end
  for _, got in ipairs(async.all(tasks)) do
    assert.eq(got, size)
  end
end

--# case: requests do not wait for what the script holds
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT}
--# flags: --max-handles 8
local url = "http://127.0.0.1:${HTTP_PORT}"
local open = {}
for n = 1, 8 do
  open[n] = http.get(url .. "/endless", { stream = true }).body
end
local ok, err = pcall(http.get, url .. "/hello", { timeout = 0 })
assert.eq({ ok, err.code }, { false, "limit" })
open[8]:close()
assert.eq(http.get(url .. "/hello").body, "hello")

--# case: downloads wait for handles as well
--# needs: http
--# allow: http=127.0.0.1:${HTTP_PORT},fs=rw:${TMP}
--# flags: --max-handles 8
local tasks = {}
for n = 1, 60 do
  tasks[n] = function() return http.download("http://127.0.0.1:${HTTP_PORT}/bytes/200000", "file" .. n) end
end
for _, bytes in ipairs(async.all(tasks)) do
  assert.eq(bytes, 200000)
end
