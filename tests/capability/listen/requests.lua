--# case: all of a request
--# allow: listen
--# allow: http=127.0.0.1:*
local seen
http.serve(0, { POST = { ["/p/{id}"] = function(req) seen = req return "" end } }, {
  on_listen = function(server)
    local body = "\0\255 binary \r\n"
    http.post(server.url .. "/p/1?a=1&a=2&b=x%20y+z&id=query&empty", body, {
      headers = { ["X-Thing"] = "v", Cookie = 'a=1; b="two"; c=x=y' },
    })
    assert.eq(seen.method, "POST")
    assert.eq(seen.path, "/p/1")
    assert.eq(seen.query, "a=1&a=2&b=x%20y+z&id=query&empty")
    assert.eq(seen.params.a, "2")
    assert.eq(seen.params.b, "x y z")
    assert.eq(seen.params.empty, "")
    assert.eq(seen.params.id, "1", "the path goes before the query")
    assert.eq(seen.path_params.id, "1")
    assert.eq(#seen:query_values("a"), 2)
    assert.eq(seen.headers["x-thing"], "v")
    assert.eq(seen.headers["X-THING"], "v")
    assert.eq(seen.cookies.a, "1")
    assert.eq(seen.cookies.b, "two")
    assert.eq(seen.cookies.c, "x=y")
    assert.eq(seen.body, body)
    assert.eq(seen.version, "HTTP/1.1")
    assert.eq(seen.scheme, "http")
    assert.matches(seen.peer_addr, "^127\\.0\\.0\\.1:[0-9]+$")
    local names = {}
    for name in pairs(seen) do
      names[name] = true
    end
    assert.eq(names.body and names.method and names.headers, true)
    assert.eq(names._head, nil)
    server:stop()
  end,
})

--# case: a body of the largest size and one byte more
--# allow: listen
--# allow: http=127.0.0.1:*
http.serve(0, { POST = { ["/"] = function(req) return tostring(#req.body) end } }, {
  max_body = 200000,
  on_listen = function(server)
    assert.eq(http.post(server.url, ("x"):rep(200000)).body, "200000")
    assert.eq(http.post(server.url, ("x"):rep(200001)).status, 413)
    assert.eq(http.post(server.url, "").body, "0")
    server:stop()
  end,
})

--# case: a large body in pieces
--# allow: listen
--# allow: http=127.0.0.1:*
local text = {}
for n = 1, 50000 do
  text[n] = "line " .. n
end
text = table.concat(text, "\r\n")
http.serve(0, {
  POST = {
    ["/body"] = function(req) return tostring(req.body == text) end,
    ["/chunks"] = function(req)
      local parts, count = {}, 0
      for piece in req:chunks() do
        count = count + 1
        parts[count] = piece
      end
      return tostring(count > 1 and table.concat(parts) == text)
    end,
    ["/lines"] = function(req)
      local n = 0
      for line in req:lines() do
        n = n + 1
        assert.eq(line, "line " .. n)
      end
      return tostring(n)
    end,
    ["/read"] = function(req)
      local first, second = req:read(4), req:read(3)
      local rest = req:read("a")
      return tostring(first .. second .. rest == text and req:read() == nil and req:read("a") == "")
    end,
    ["/unread"] = function() return "never read" end,
    ["/some"] = function(req) return req:read(5) end,
  },
}, {
  on_listen = function(server)
    assert.eq(http.post(server.url .. "/body", text).body, "true")
    assert.eq(http.post(server.url .. "/chunks", text).body, "true")
    assert.eq(http.post(server.url .. "/lines", text).body, "50000")
    assert.eq(http.post(server.url .. "/lines", "line 1\nline 2\n").body, "2")
    assert.eq(http.post(server.url .. "/read", text).body, "true")
    assert.eq(http.post(server.url .. "/unread", "short").body, "never read")
    assert.eq(http.post(server.url .. "/some", "short one").body, "short")
    server:stop()
  end,
})

--# case: forms
--# allow: listen
--# allow: http=127.0.0.1:*
local form, parts, failed
http.serve(0, {
  POST = {
    ["/form"] = function(req)
      local multiple = req.params.multiple ~= nil
      failed, form = pcall(req.form, req, multiple)
      return ""
    end,
    ["/parts"] = function(req)
      failed, parts = pcall(req.multipart, req)
      return ""
    end,
  },
}, {
  on_listen = function(server)
    local typed = { headers = { ["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8" } }
    http.post(server.url .. "/form", "a=1&a=2&b=%26+x&c", typed)
    assert.eq(form.a, "2")
    assert.eq(form.b, "& x")
    assert.eq(form.c, "")
    http.post(server.url .. "/form?multiple", "a=1&a=2", typed)
    assert.eq(table.concat(form.a, ","), "1,2")
    http.request("POST", server.url .. "/form", { multipart = { { name = "x", value = "1" }, { name = "f", filename = "f.bin", value = "zz" } } })
    assert.eq(form.x, "1")
    assert.eq(form.f, nil)
    http.request("POST", server.url .. "/parts", {
      multipart = {
        { name = "a", value = "" },
        { name = "b", filename = "x y.bin", content_type = "image/png", value = "\0\r\n--not\255" },
      },
    })
    assert.eq(#parts, 2)
    assert.eq(parts[1].name, "a")
    assert.eq(parts[1].value, "")
    assert.eq(parts[1].filename, nil)
    assert.eq(parts[2].filename, "x y.bin")
    assert.eq(parts[2].content_type, "image/png")
    assert.eq(parts[2].value, "\0\r\n--not\255")
    http.post(server.url .. "/form", "{}", { headers = { ["Content-Type"] = "application/json" } })
    assert.eq(failed, false)
    assert.eq(form.code, "invalid_data")
    for _, body in ipairs({ "", "--b", "--b\r\n", "--b\r\nx\r\n\r\n--b--", "--b\r\nA: b\r\n\r\nvalue", "x\r\n--bx\r\n" }) do
      http.post(server.url .. "/parts", body, { headers = { ["Content-Type"] = "multipart/form-data; boundary=b" } })
      assert.eq(failed, false, body)
      assert.eq(parts.code, "invalid_data", body)
    end
    server:stop()
  end,
})
