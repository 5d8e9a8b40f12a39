--# case: responses of every kind
--# allow: listen
--# allow: http=127.0.0.1:*
local binary = string.char(0, 255, 13, 10) .. ("x"):rep(100000)
http.serve(0, {
  GET = {
    ["/string"] = function() return "plain" end,
    ["/binary"] = function() return { body = binary, headers = { ["content-type"] = "image/png" } } end,
    ["/json"] = function() return { status = 201, json = { 1, 2 }, headers = { ["Content-Type"] = "application/problem+json" } } end,
    ["/false"] = function() return { json = false } end,
    ["/empty"] = function() return { status = 204 } end,
    ["/number"] = function() return { body = 42 } end,
    ["/cookies"] = function() return { headers = { ["Set-Cookie"] = { "a=1", "b=2" }, ["X-N"] = 5 } } end,
    ["/length"] = function() return { body = "abc", headers = { ["Content-Length"] = "1", ["Transfer-Encoding"] = "chunked" } } end,
  },
}, {
  on_listen = function(server)
    local function get(path)
      return http.get(server.url .. path)
    end
    assert.eq(get("/string").body, "plain")
    assert.eq(get("/string").headers["content-type"], "text/plain")
    assert.eq(get("/binary").body, binary)
    assert.eq(get("/binary").headers["content-type"], "image/png")
    local created = get("/json")
    assert.eq(created.status, 201)
    assert.eq(created.body, "[1,2]")
    assert.eq(created.headers["content-type"], "application/problem+json")
    assert.eq(get("/false").body, "false")
    assert.eq(get("/empty").status, 204)
    assert.eq(get("/number").body, "42")
    local cookies = get("/cookies").headers["set-cookie"]
    assert.contains(type(cookies) == "table" and table.concat(cookies, ",") or cookies, "b=2")
    assert.eq(get("/length").body, "abc")
    assert.eq(get("/length").headers["content-length"], "3")
    server:stop()
  end,
})

--# case: events are written as the standard says
--# allow: listen
--# allow: http=127.0.0.1:*
local errors = {}
http.serve(0, {
  GET = {
    ["/"] = function()
      return {
        headers = { ["Cache-Control"] = "no-store", ["X-Own"] = "1" },
        sse = function(send)
          send({ event = "e", id = 7, retry = 1500, data = "a\r\nb\rc\n" })
          send({ data = "" })
          send("plain")
          for _, bad in ipairs({ { event = "a\nb" }, { id = "a\rb" }, { id = "\0" }, { retry = "x" }, { retry = -1 } }) do
            local ok, err = pcall(send, bad)
            errors[#errors + 1] = not ok and err.code
          end
        end,
      }
    end,
  },
}, {
  on_listen = function(server)
    local response = http.get(server.url)
    assert.eq(response.headers["content-type"], "text/event-stream")
    assert.eq(response.headers["cache-control"], "no-store")
    assert.eq(response.headers["x-own"], "1")
    assert.eq(response.body, "event: e\nid: 7\nretry: 1500\ndata: a\ndata: b\ndata: c\ndata: \n\ndata: \n\ndata: plain\n\n")
    assert.eq(table.concat(errors, " "), ("invalid_argument "):rep(5):sub(1, -2))
    server:stop()
  end,
})

--# case: a body in pieces, in every way
--# allow: listen
--# allow: http=127.0.0.1:*
--# stderr: broke in the middle
local heads = 0
http.serve(0, {
  GET = {
    ["/write"] = function()
      return { body = function(write) heads = heads + 1 for n = 1, 100 do write(("x"):rep(10000)) end end }
    end,
    ["/iterator"] = function()
      local n = 0
      return { body = function() n = n + 1 return n <= 3 and "p" .. n or nil end }
    end,
    ["/proxy"] = function(req)
      local upstream = http.get("http://127.0.0.1:" .. _SERVER_PORT .. "/write", { stream = true })
      return { status = 203, body = upstream.body }
    end,
    ["/large"] = function() return { body = function(write) write(("y"):rep(3000000)) end } end,
    ["/nothing"] = function() return { body = function() end } end,
    ["/fails"] = function() return { body = function(write) write("start") error("broke in the middle") end } end,
  },
}, {
  on_listen = function(server)
    assert.eq(#http.get(server.url .. "/write").body, 1000000)
    assert.eq(http.get(server.url .. "/iterator").body, "p1p2p3")
    local proxied = http.get(server.url .. "/proxy")
    assert.eq(proxied.status, 203)
    assert.eq(#proxied.body, 1000000)
    assert.eq(http.get(server.url .. "/large").body, ("y"):rep(3000000))
    assert.eq(http.get(server.url .. "/nothing").body, "")
    local ok, err = pcall(http.get, server.url .. "/fails")
    assert.eq(ok, false)
    assert.eq(err.code, "unavailable")
    heads = 0
    assert.eq(http.head(server.url .. "/write").status, 200)
    assert.eq(heads, 0, "HEAD makes no body")
    server:stop()
  end,
})

--# case: a client that goes away ends the stream
--# allow: listen
--# allow: http=127.0.0.1:*
local ended, waited, code = async.spawn(sleep, 60), async.spawn(sleep, 60), nil
http.serve(0, {
  GET = {
    ["/"] = function()
      return { body = function(write)
        local ok, err
        repeat
          ok, err = pcall(write, ("x"):rep(100000))
        until not ok
        code = err.code
        ended:cancel()
        error(err)
      end }
    end,
    ["/waits"] = function()
      return { sse = function(send)
        local guard <close> = setmetatable({}, { __close = function() waited:cancel() end })
        send({ data = "one" })
        sleep(60)
      end }
    end,
  },
}, {
  on_listen = function(server)
    local response = http.get(server.url, { stream = true })
    response.body:read()
    response.body:close()
    assert.eq(pcall(ended.await, ended), false)
    assert.eq(code, "unavailable")
    http.get(server.url .. "/waits", { on_event = function() return "close" end })
    assert.eq(pcall(waited.await, waited), false)
    server:stop()
  end,
})

--# case: bytes of responses count
--# allow: listen
--# allow: http=127.0.0.1:*
--# flags: --max-host-bytes 100000
http.serve(0, { GET = { ["/"] = function() return ("x"):rep(60000) end, ["/small"] = function() return "x" end } }, {
  on_listen = function(server)
    local ok, err = pcall(http.get, server.url)
    assert.eq(ok, false)
    assert.eq(err.code, "limit")
    assert.contains(err.message, "max-host-bytes")
    ok, err = pcall(http.get, server.url)
    assert.eq(ok and err.status or err.code, ok and 500 or "limit")
    server:stop()
  end,
})

--# case: misspelt fields of responses and events are errors
--# allow: listen
--# allow: http=127.0.0.1:*
local said = {}
local function answer(response)
  return function() return response end
end
http.serve(0, {
  GET = {
    ["/status"] = answer({ stauts = 404 }),
    ["/both"] = answer({ status = 404, bdoy = "x" }),
    ["/json"] = answer({ json = { 1 }, header = {} }),
    ["/file"] = answer({ file = "x", belw = "." }),
    ["/case"] = answer({ Status = 404 }),
    ["/other"] = answer({ sse = function() end, protocols = {} }),
    ["/right"] = answer({ status = 404 }),
    ["/events"] = answer({
      sse = function(send)
        for _, event in ipairs({ { dta = "x" }, { data = "x", Event = "e" }, { data = "x", ID = 1 }, { data = "x", rety = 1 } }) do
          local ok, err = pcall(send, event)
          said[#said + 1] = not ok and (type(err) == "table" and err.message or err)
        end
        send({ event = "e", data = "x" })
      end,
    }),
  },
}, {
  on_listen = function(server)
    for _, path in ipairs({ "/status", "/both", "/json", "/file", "/case", "/other" }) do
      assert.eq(http.get(server.url .. path).status, 500, path)
    end
    assert.eq(http.get(server.url .. "/right").status, 404)
    assert.eq(http.get(server.url .. "/events").body, "event: e\ndata: x\n\n")
    for i, name in ipairs({ "data", "event", "id", "retry" }) do
      assert.contains(said[i], "did you mean '" .. name .. "'?")
    end
    server:stop()
  end,
})
