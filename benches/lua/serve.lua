http.serve(0, {
  GET = {
    ["/"] = function()
      return { body = "Hello, world!" }
    end,
  },
  POST = {
    ["/echo"] = function(req)
      return { json = req:json() }
    end,
  },
}, {
  on_listen = function(server)
    print("READY " .. server.port)
  end,
})
