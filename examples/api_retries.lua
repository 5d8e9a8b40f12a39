-- Calls a JSON API for many items at once, a few at a time, and tries again where that can help.
--
-- Prints one line of JSON for each item, in order. The exit code is 1 if an item could not be had.
--
--   assay run --allow http=GET:api.github.com examples/api_retries.lua -- \
--     'https://api.github.com/repos/lua/lua/commits?per_page=1&page={id}' 1 20
--
-- Arguments: the URL, in which {id} stands for the item's number; the first and the last number; how
-- many calls may be under way at a time (default: 4); how often an item is tried (default: 5).

local url, first, last, width, attempts = ...
first, last = math.tointeger(tonumber(first)), math.tointeger(tonumber(last))
width, attempts = math.tointeger(tonumber(width or 4)), math.tointeger(tonumber(attempts or 5))
if not (url and first and last and width and attempts) then
  io.stderr:write("usage: api_retries.lua URL FIRST LAST [AT_A_TIME] [ATTEMPTS]\n")
  os.exit(64)
end

local FIRST_DELAY <const>, LONGEST_DELAY <const> = 0.1, 30
-- Answers that say "later", and errors that may be gone by then. Everything else is final.
local LATER <const> = { [408] = true, [425] = true, [429] = true, [500] = true, [502] = true, [503] = true, [504] = true }
local PASSING <const> = { unavailable = true, timeout = true }

-- One client for all calls, so that they share connections.
local client = http.client({ timeout = 10, headers = { Accept = "application/json" } })

-- One attempt: the value; or nil, why not, whether to try again, and when the server says to.
local function attempt(address)
  local ok, response = pcall(client.get, client, address)
  if not ok then
    local passing = type(response) == "table" and PASSING[response.code]
    return nil, tostring(response), passing
  elseif response.status // 100 ~= 2 then
    return nil, "status " .. response.status, LATER[response.status], tonumber(response.headers["retry-after"])
  end
  local parsed, value = pcall(json.parse, response.body)
  if not parsed then
    return nil, tostring(value), false
  end
  return { value = value }
end

-- Seconds before the next attempt: what the server says, else twice as long each time, and somewhere in the
-- upper half of that, so that clients that failed together do not come back together.
local function delay(n, told)
  if told then
    return math.min(told, LONGEST_DELAY)
  end
  local longest = math.min(FIRST_DELAY * 2 ^ (n - 1), LONGEST_DELAY)
  return longest * (0.5 + math.random() / 2)
end

-- The outcome of an item: a table with `value` or with `error`.
local function fetch(id)
  local address = url:gsub("{id}", tostring(id))
  for n = 1, attempts do
    local got, why, again, told = attempt(address)
    if got then
      return { id = id, attempts = n, value = got.value }
    elseif not again or n == attempts then
      return { id = id, attempts = n, error = why }
    end
    local seconds = delay(n, told)
    log.info("trying again", { id = id, attempt = n, seconds = seconds, why = why })
    sleep(seconds)
  end
end

-- As many workers as calls may be under way; each takes the next item until there are no more. Only one
-- of them runs at a time, between its waits, so the counter needs no lock.
local outcomes, next_id = {}, first
local function worker()
  while next_id <= last do
    local id = next_id
    next_id = id + 1
    outcomes[id] = fetch(id)
  end
end

local workers = {}
for i = 1, math.max(width, 1) do
  workers[i] = worker
end
async.all(workers)

local failed = 0
for id = first, last do
  local outcome = outcomes[id]
  failed = failed + (outcome.error and 1 or 0)
  print(json.encode(outcome))
end
io.stderr:write(("%d of %d items fetched\n"):format(last - first + 1 - failed, last - first + 1))
os.exit(failed == 0)
