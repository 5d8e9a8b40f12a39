-- Handlers that succeed, fail, take too long, and stream without end.
local piece = string.rep("x", 4096)

http.serve(0, {
  GET = {
    ["/ok"] = function(req)
      return { body = "fine", headers = { ["X-Client"] = req.headers["user-agent"] or "none" } }
    end,
    ["/fail"] = function()
      error("as it should")
    end,
    ["/slow"] = function()
      sleep(60)
      return "never sent"
    end,
    ["/stream"] = function()
      return {
        body = function(write)
          for _ = 1, 16 do
            write(piece)
          end
        end,
      }
    end,
    ["/broken"] = function()
      return {
        body = function(write)
          write(piece)
          error("in the middle")
        end,
      }
    end,
    ["/endless"] = function()
      return {
        body = function(write)
          while true do
            write(piece)
          end
        end,
      }
    end,
    ["/events"] = function()
      return {
        sse = function(send)
          while true do
            send({ event = "tick", data = { now = time() } })
            sleep(0.01)
          end
        end,
      }
    end,
  },
  POST = {
    ["/echo"] = function(req)
      return { json = req:json() }
    end,
  },
}, {
  timeout = 1,
  on_listen = function(server)
    print("READY " .. server.port)
  end,
})
