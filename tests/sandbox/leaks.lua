--# case: an error of the script in a builtin loses nothing
--# flags: --memory 16MiB
-- The attack: a builtin holds memory while code of the script runs in it, which raises. That is done often enough for
-- every lost byte to count: what is left must still be enough for a builtin that needs much.
local long = ("x"):rep(30000)
local stop = function() error("stop") end
local raising = setmetatable({}, { __tostring = stop, __eq = stop, __lt = stop, __le = stop, __concat = stop, __index = stop, __newindex = stop })
local other = setmetatable({}, getmetatable(raising))
local number = json.parse("123456789012345678901234567890")
local nested = { long, long, { raising } }
local calls = {
  print = function() print(long, raising) end,
  concatenate = function() return number .. raising end,
  concatenate_left = function() return raising .. number end,
  equal = function() assert.eq({ long, raising }, { long, other }) end,
  unequal = function() assert.ne({ long, raising }, { long, other }) end,
  greater = function() assert.gt(raising, other) end,
  less = function() assert.lt(raising, other) end,
  shown = function() assert.eq(nested, { long, long, { 1 } }) end,
  contains = function() assert.contains(nested, raising) end,
  contains_text = function() assert.contains(long, "y", raising) end,
  message = function() assert.not_nil(nil, raising) end,
  matches = function() assert.matches(long, ("y"):rep(1000), raising) end,
  date = function() return os.time(raising) end,
  date_set = function()
    return os.time(setmetatable({ year = 2000, month = 1, day = 1 }, { __newindex = stop }))
  end,
  log = function() log.error(raising) end,
  log_field = function() log.error(long, { a = stop }) end,
  encode = function() return json.encode({ long, a = stop }) end,
  parameters = function() return db.connect("sqlite::memory:", { [raising] = long }) end,
  sort = function() table.sort({ raising, other, raising, other }) end,
  replace = function() return regex.replace("x", long, raising) end,
  template = function() return template.render_string("{{ a }}", { long, a = stop }) end,
  spawn = function() return async.spawn(stop, long, long):await() end,
}
for name, call in pairs(calls) do
  for _ = 1, 1000 do
    assert(not pcall(call), name)
  end
  collectgarbage()
  assert.eq(#json.encode(("\1"):rep(600000)), 3600002, name)
end

--# case: want of memory in a builtin that waits loses nothing
--# flags: --memory 16MiB
-- The attack: where Lua has no memory left, what a wait gives cannot be pushed. What it holds must be dropped.
local key, text = ("k"):rep(32), ("t"):rep(30000)
local sealed = crypto.encrypt(key, text)
-- Takes the memory of Lua, to the last small block.
local function fill()
  local kept, n = table.create(200000), 0
  for _, size in ipairs({ 300000, 20000, 1000, 100, 20 }) do
    pcall(function()
      while n < 200000 do
        kept[n + 1] = ("x"):rep(size) .. n
        n = n + 1
      end
    end)
  end
  return kept
end
local failed = 0
for _ = 1, 5 do
  local kept = fill()
  for _ = 1, 400 do
    if not pcall(crypto.encrypt, key, text) then failed = failed + 1 end
  end
  kept = nil
  collectgarbage()
  assert.eq(crypto.decrypt(key, sealed), text)
end
assert(failed > 500, "the memory was not used up: " .. failed)
