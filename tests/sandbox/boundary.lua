--# case: parameters of a database come back as they went
--# allow: db=sqlite::memory:
-- The same values in every run: xorshift.
local state = 0x9e3779b97f4a7c15
local function random(n)
  state = state ~ (state << 13)
  state = state ~ (state >> 7)
  state = state ~ (state << 17)
  return (state >> 1) % n
end
local function bytes(most)
  local out = {}
  for n = 1, random(most + 1) do out[n] = string.char(random(256)) end
  return table.concat(out)
end
local special = { 0, -1, 1, math.maxinteger, math.mininteger, 2^53, -2^53 - 2, 0.1, -0.0, 1e308, 5e-324, 1e-7, 2.0^63 }
local function value()
  local kind = random(6)
  if kind == 0 then return special[random(#special) + 1] end
  if kind == 1 then return state >> random(64) end
  if kind == 2 then return string.unpack("d", string.pack("I4I4", random(1 << 32), random(0x7fe00000))) end
  if kind == 3 then return db.null end
  if kind == 4 then return bytes(40) end
  return ("é\0€𝄞 '\"\\%;--"):sub(1, random(24))
end
local conn = db.connect("sqlite::memory:")
for _ = 1, 150 do
  local given, marks = { n = 20 }, {}
  for n = 1, 20 do
    given[n], marks[n] = value(), ("? AS c%d"):format(n)
  end
  local row = conn:query("SELECT " .. table.concat(marks, ", "), given)[1]
  for n = 1, 20 do
    local want, got = given[n], row["c" .. n]
    if want == db.null then
      assert(got == nil or got == db.null, "NULL became " .. tostring(got))
    else
      assert.eq(math.type(got) or type(got), math.type(want) or type(want))
      assert(got == want, string.format("%q became %q", want, got))
    end
  end
end

--# case: bytes are the same in files, digests and archives
local directory = fs.tempdir()
local state = 88172645463325252
local function bytes(most)
  local out = {}
  for n = 1, most do
    state = state ~ (state << 13)
    state = state ~ (state >> 7)
    state = state ~ (state << 17)
    out[n] = string.char((state >> 20) & 255)
  end
  return table.concat(out)
end
for size = 0, 60 do
  local data = bytes(size * size)
  local path = ("%s/é %d\n"):format(directory, size)
  fs.write(path, data)
  assert(fs.read_bytes(path) == data, "a file of " .. #data)
  assert.eq(fs.stat(path).size, #data)
  assert.eq(base64.decode(base64.encode(data)), data)
  assert.eq(compress.gunzip(compress.gzip(data)), data)
end
assert.eq(#fs.list(directory), 61)

--# case: variables of the run hold any text
for _, text in ipairs({ "", " ", "=", "a=b", "é€𝄞", "line\nline", ("x"):rep(10000), "%2C,%25" }) do
  env.set("BOUNDARY", text)
  assert.eq(env.get("BOUNDARY"), text)
end
for _, name in ipairs({ "", "=", "A=B", "A\0B" }) do
  local ok, err = pcall(env.set, name, "x")
  assert.eq(ok, false, name)
  assert.eq(err.code, "invalid_argument", name)
end

--# case: data formats give back what they took
local state = 2463534242
local function random(n)
  state = state ~ (state << 13)
  state = state ~ (state >> 7)
  state = state ~ (state << 17)
  return (state >> 1) % n
end
local texts = { "", "a", "é\u{1F600}", "null", "true", "1", "1e3", "- x", "a: b", "#", "'\"\\", " x ", "\t", "x\ny\n", "~", "{}", "[]", "2024-01-01", "\u{2028}" }
local numbers = { 0, 1, -1, 255, math.maxinteger, math.mininteger, 0.5, 1.0, -1e300, 5e-324, 1e15, 123456789.125 }
local function value(depth)
  local kind = random(depth > 3 and 3 or 5)
  if kind == 0 then return texts[random(#texts) + 1] end
  if kind == 1 then return numbers[random(#numbers) + 1] end
  if kind == 2 then return random(2) == 0 end
  local out = {}
  for n = 1, random(4) + 1 do
    out[kind == 3 and n or ("k" .. random(5) .. texts[random(#texts) + 1])] = value(depth + 1)
  end
  return out
end
local function same(a, b, path)
  assert.eq(math.type(a) or type(a), math.type(b) or type(b), path)
  if type(a) ~= "table" then return assert(a == b, path) end
  for key, inner in pairs(a) do same(inner, b[key], path .. "." .. tostring(key)) end
  for key in pairs(b) do assert(a[key] ~= nil, path .. "." .. tostring(key) .. " is new") end
end
for n = 1, 400 do
  local given = { v = value(0) }
  same(given, json.parse(json.encode(given)), "json " .. n)
  same(given, yaml.parse(yaml.encode(given)), "yaml " .. n)
  same(given, toml.parse(toml.encode(given)), "toml " .. n)
end

--# case: no argument is too odd
-- Every function of every library, with what it was not made for: an error that can be caught, or a result. Without grants
-- nothing outside of the run is reached.
local loop = {}
loop.loop, loop[1] = loop, loop
local odd = {
  true, 0, -1, 1, 3, 255, 256, 65536, 2^31, 2^32, 2^53, 2^64, math.mininteger, 1.5, -0.0, 0 / 0, -1 / 0, 5e-324, 1e308,
  "", "\0", "\xff\xfe", "é", "a", "-1", "nan", "%s%n", "../../x", "http://[::1", "(", "[z-a]", ("{a}"):rep(3000), ("("):rep(3000),
  ("x"):rep(70000), {}, { 1, 2 }, { a = 1 }, { timeout = -1 }, { timeout = 0 / 0 }, { [1.5] = "x" }, loop, function() end, json.null,
}
-- What waits, ends or replaces the run, or is as long as its argument says by definition.
local out = {
  ["os.exit"] = true, ["table.move"] = true, ["table.concat"] = true, ["table.unpack"] = true, ["string.rep"] = true,
  ["collectgarbage"] = true, ["dofile"] = true, ["print"] = true, ["warn"] = true, ["require"] = true, ["sleep"] = true, ["process.sleep"] = true, ["time.sleep"] = true,
}
local libraries = { _G = _G }
for name, library in pairs(_G) do
  if type(library) == "table" and name ~= "_G" and name ~= "package" and name ~= "async" and name ~= "debug" and name ~= "io" and name ~= "log"
    and name ~= "coroutine" and name ~= "assert" then
    libraries[name] = library
  end
end
local calls, failures = 0, 0
local state = 362436069
local function random(n)
  state = state ~ (state << 13)
  state = state ~ (state >> 7)
  state = state ~ (state << 17)
  return (state >> 1) % n
end
-- A copy first: a call may change what is gone through.
local functions = {}
for name, library in pairs(libraries) do
  for key, f in pairs(library) do
    local full = name == "_G" and tostring(key) or name .. "." .. tostring(key)
    if type(f) == "function" and not out[full] then functions[#functions + 1] = { full, f } end
  end
end
table.sort(functions, function(a, b) return a[1] < b[1] end)
local real = { pcall = pcall, type = type, tostring = tostring, error = error, select = select }
for _, entry in ipairs(functions) do
  for n = 1, #odd + 60 do
    local ok, err
    if n <= #odd then
      ok, err = real.pcall(entry[2], odd[n])
    else
      ok, err = real.pcall(entry[2], odd[random(#odd) + 1], odd[random(#odd) + 1], odd[random(#odd) + 1])
    end
    calls = calls + 1
    if not ok then
      failures = failures + 1
      if real.type(err) == "table" and err.message ~= nil then
        if real.type(err.code) ~= "string" then real.error(entry[1] .. " failed without a code") end
      end
    end
  end
end
if calls < 10000 or failures < calls // 10 then real.error(("%d calls, %d failures"):format(calls, failures)) end
