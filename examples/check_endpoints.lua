-- Checks the endpoints that a YAML file lists, all at once, and prints a report in Markdown.
--
-- An endpoint is good when it answers in time with the status that is expected and, where the file says
-- so, with a text in its body. The exit code is 1 if one is not, so that the script can be a check in CI
-- or a Kubernetes CronJob.
--
--   assay run --allow fs=read:examples,http=GET+HEAD:example.com examples/check_endpoints.lua
--   assay run --allow fs=read:.,http=GET+HEAD:*.svc:8080 examples/check_endpoints.lua -- mine.yaml
--
-- Arguments: the file (default: data/endpoints.yaml beside this script). Its form:
--
--   timeout: 5                       # seconds for each endpoint, unless it has its own
--   endpoints:
--     - name: start page             # default: the URL
--       url: https://example.com/
--       method: GET                  # default
--       status: 200                  # default: any from 200 to 299
--       contains: Example Domain     # a text that the body must have
--       timeout: 2

local here = arg[0]:match("^(.*)/[^/]*$") or "."
local path = arg[1] or here .. "/data/endpoints.yaml"

local config = yaml.parse(fs.read(path))
if type(config) ~= "table" or type(config.endpoints) ~= "table" or #config.endpoints == 0 then
  error(path .. " lists no endpoints", 0)
end

-- Why a response is not what the endpoint promises; nil if it is.
local function fault(endpoint, response)
  local wanted = endpoint.status
  local good = wanted and response.status == wanted or not wanted and response.status // 100 == 2
  if not good then
    return ("status %d, expected %s"):format(response.status, wanted or "2xx")
  elseif endpoint.contains and not response.body:find(endpoint.contains, 1, true) then
    return ("the body lacks %q"):format(endpoint.contains)
  end
end

-- Checks one endpoint; never raises.
local function check(endpoint)
  local started = time()
  local ok, result = pcall(http.request, endpoint.method or "GET", endpoint.url, {
    timeout = endpoint.timeout or config.timeout or 5,
    follow_redirects = false, -- where it leads to is an endpoint of its own
  })
  -- An error of a builtin is a table that also says why: denied, timeout, unavailable...
  local why
  if ok then
    why = fault(endpoint, result)
  else
    why = type(result) == "table" and result.code .. ": " .. result.message or tostring(result)
  end
  return {
    name = endpoint.name or endpoint.url,
    url = endpoint.url,
    milliseconds = math.floor((time() - started) * 1000 + 0.5),
    ok = why == nil,
    why = why or "",
  }
end

local checks = {}
for i, endpoint in ipairs(config.endpoints) do
  if type(endpoint) ~= "table" or type(endpoint.url) ~= "string" then
    error(("%s: endpoint %d has no url"):format(path, i), 0)
  end
  checks[i] = function()
    return check(endpoint)
  end
end

-- All of them run at once; the results come in the order of the file.
local results = async.all(checks)

local failed = 0
for _, result in ipairs(results) do
  failed = failed + (result.ok and 0 or 1)
end

print(template.render(here .. "/data/report.md.j2", {
  source = path,
  when = os.date("!%Y-%m-%d %H:%M:%S UTC"),
  failed = failed,
  results = results,
}))
os.exit(failed == 0)
