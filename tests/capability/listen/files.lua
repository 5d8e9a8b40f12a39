--# case: files and what is not served
--# allow: listen
--# allow: http=127.0.0.1:*
--# allow: fs=read:${TMP}/public
--# file: secret.txt=secret
--# file: public/a b.txt=blank
--# file: public/.env=hidden
--# file: public/sub/index.html=sub
--# file: public/plain/x.css=css
--# link: public/out=../secret.txt
http.serve(0, {
  GET = {
    ["/f/*"] = http.files("public"),
    ["/dots/*"] = http.files("public", { dotfiles = true, index = false, cache_control = "max-age=60" }),
    ["/one"] = function() return { file = "public/plain/x.css", headers = { ["X-Own"] = "1" } } end,
    ["/error"] = function() return { status = 404, file = "public/a b.txt" } end,
  },
  POST = { ["/f/*"] = http.files("public") },
}, {
  on_listen = function(server)
    local function get(path, headers)
      return http.get(server.url .. path, { headers = headers, follow_redirects = false })
    end
    assert.eq(get("/f/a%20b.txt").body, "blank")
    assert.eq(get("/f/a%20b.txt").headers["x-content-type-options"], "nosniff")
    assert.eq(get("/f/missing").status, 404)
    assert.eq(get("/f/.env").status, 404)
    assert.eq(get("/f/%2eenv").status, 404)
    assert.eq(get("/f/").status, 404)
    assert.eq(get("/f/sub/").body, "sub")
    local moved = get("/f/sub?x=1")
    assert.eq(moved.status, 308)
    assert.eq(moved.headers.location, "/f/sub/?x=1")
    assert.eq(get("/f/plain/x.css").headers["content-type"], "text/css; charset=utf-8")
    for _, path in ipairs({ "%2e%2e/secret.txt", "..%2fsecret.txt", "sub/%2e%2e/%2e%2e/secret.txt", "%2fetc/passwd", "a%00b", "..%5csecret.txt" }) do
      assert.eq(get("/f/" .. path).status, 404, path)
    end
    assert.eq(get("/f/out").status, 403)
    assert.eq(get("/dots/.env").body, "hidden")
    assert.eq(get("/dots/.env").headers["cache-control"], "max-age=60")
    assert.eq(get("/dots/sub/").status, 404)
    assert.eq(get("/dots/%2e%2e/secret.txt").status, 404)
    assert.eq(get("/one").headers["content-type"], "text/css; charset=utf-8")
    assert.eq(get("/one").headers["x-own"], "1")
    assert.eq(get("/error").status, 404)
    assert.eq(get("/error", { Range = "bytes=0-1" }).body, "blank")
    assert.eq(get("/f/a%20b.txt", { Range = "bytes=9-" }).status, 416)
    assert.eq(get("/f/a%20b.txt", { Range = "bytes=9-" }).headers["content-range"], "bytes */5")
    assert.eq(http.post(server.url .. "/f/a%20b.txt", "").status, 405)
    assert.eq(http.head(server.url .. "/f/a%20b.txt").headers["content-length"], "5")
    server:stop()
  end,
})

--# case: files are denied without a grant
--# allow: listen
--# allow: http=127.0.0.1:*
--# stderr: reading /etc/passwd is not granted
http.serve(0, { GET = { ["/*"] = http.files("/etc") } }, {
  on_listen = function(server)
    assert.eq(http.get(server.url .. "/passwd").status, 403)
    server:stop()
  end,
})
