-- For wrk: requests of every kind that ends soon.
local body = '{"id":42,"tags":["a","b"]}'
local json = { ["Content-Type"] = "application/json" }
local requests = {}

-- wrk calls it when it knows the headers that every request has.
function init()
  for _ = 1, 6 do
    requests[#requests + 1] = wrk.format("GET", "/ok")
    requests[#requests + 1] = wrk.format("GET", "/stream")
    requests[#requests + 1] = wrk.format("POST", "/echo", json, body)
  end
  requests[#requests + 1] = wrk.format("GET", "/fail")
  requests[#requests + 1] = wrk.format("GET", "/broken")
  requests[#requests + 1] = wrk.format("POST", "/echo", json, "no JSON")
  requests[#requests + 1] = wrk.format("GET", "/nothing/here")
end

local at = 0
function request()
  at = at % #requests + 1
  return requests[at]
end
