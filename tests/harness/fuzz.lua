-- Calls every builtin with values that no script should give it, as the seed in `arg[1]` says. Whatever they raise
-- is right; the run must go on, or end at a limit.
local state = tonumber(arg[1]) * 0x9e3779b97f4a7c15 + 1
local function random(n)
  state = state ~ (state << 13)
  state = state ~ (state >> 7)
  state = state ~ (state << 17)
  return (state >> 1) % n + 1
end
local function pick(list) return list[random(#list)] end

local pieces = {
  "(", ")", "[", "]", "{", "}", "<", ">", "- ", "* ", "> ", "# ", "a: ", "? ", "&a ", "*a ", "!a ", "|\n", "a=", "[a]\n", "[[a]]\n", "a.",
  "{{", "}}", "{% if a %}", "{% endif %}", "{% for a in b %}", "{% elif a %}", "{% include 'x' %}", "{{ a|e }}", "|e", "+1", ".b", "not ",
  "-", "**2", "(?:", "(?i)", "a?", "a*", "a{9}", "\\w", "[^", "\\p{L}", "|", "^", "$", "\\b", ".*", "`", "![", "](", "<!--", "&#0;", "~~",
  "_", "\\", "\\u0041", '"', "'", ",", ":", "1", "1e9", "0x", ".5", "null", "true", "\n", "  ", "\t", "\0", "\xff", "é", "%s", "%d", "%", "%b()",
  "{% set n.a = [n.a] %}", "{% macro a(b) %}", "{% endmacro %}", "{% raw %}", "{#", "((", "a(", "[[", "!!binary ", "- - ", "=[", "={",
  "i8", "z", "s4", "../", "/", "http://a", "sqlite::memory:", "AAAA", "=", "H4sI",
}
local sizes = { 0, 1, 2, 7, 64, 100, 128, 500, 1000, 5000, 20000, 100000, 1000000 }
local function text()
  local kind = random(8)
  if kind == 1 then return "" end
  if kind == 2 then return pick(pieces) end
  local piece = pick(pieces)
  if kind >= 6 then piece = piece .. pick(pieces) end
  local n = math.min(pick(sizes), 2000000 // #piece)
  local s = piece:rep(n)
  if kind == 3 then s = "{{ a" .. s .. " }}" end
  if kind == 4 then s = s .. "a" .. pick(pieces):rep(math.min(n, 100000)) end
  if kind == 5 then s = pick(pieces) .. s end
  return s
end
local value
local function table_of(depth)
  local t, kind = {}, random(6)
  if kind == 1 then
    for i = 1, pick({ 10, 1000, 100000 }) do t[i] = i end
  elseif kind == 2 then
    for i = 1, pick({ 10, 1000, 20000 }) do t["k" .. i] = "x" end
  elseif kind == 3 then
    for _ = 1, pick({ 10, 100, 127, 128, 129, 1000, 100000 }) do t = { t } end
  elseif kind == 4 then
    t.self = t
  elseif kind == 5 then
    for i = 1, random(20) do t[i] = value(depth + 1) end
  else
    for _ = 1, random(8) do t[pick({ "a", "b", "url", "method", "body", "limit", "timeout", "indent", "cmd", "args" })] = value(depth + 1) end
  end
  return t
end
function value(depth)
  local kind = random(depth > 2 and 6 or 9)
  if kind <= 4 then return text() end
  if kind == 5 then return pick({ 0, 1, -1, 2, 16, 100, 1 << 20, 1 << 31, 1 << 40, math.maxinteger, math.mininteger }) end
  if kind == 6 then return pick({ 0.5, -0.0, 1e9, 1e308, math.huge, -math.huge, 0 / 0, true, false }) end
  if kind == 7 then return function(...) return ... end end
  return table_of(depth)
end

-- What ends the run, or waits for what never comes.
local left_out = {
  ["os.exit"] = true, ["io.read"] = true, ["io.lines"] = true, ["sleep"] = true, ["http.serve"] = true, ["stdio.read"] = true,
  ["debug.debug"] = true, ["coroutine.yield"] = true, ["collectgarbage"] = true, ["warn"] = true,
  ["debug.setmetatable"] = true, ["debug.sethook"] = true, ["debug.upvaluejoin"] = true, ["debug.setupvalue"] = true,
  ["debug.setlocal"] = true, ["debug.setuservalue"] = true, ["rawset"] = true, ["setmetatable"] = true, ["debug.getregistry"] = true,
  ["table.insert"] = true, ["table.remove"] = true, ["table.move"] = true, ["table.sort"] = true,
}
local functions = {}
for name, library in pairs(_G) do
  if type(library) == "function" then
    functions[#functions + 1] = { name, library }
  elseif type(library) == "table" and library ~= _G and name ~= "package" and name ~= "arg" then
    for key, f in pairs(library) do
      if type(f) == "function" then functions[#functions + 1] = { name .. "." .. tostring(key), f } end
    end
  end
end
table.sort(functions, function(a, b) return a[1] < b[1] end)
-- Those that compute in the guest come more often.
local own = {}
for _, f in ipairs(functions) do
  local library = f[1]:match("^(%w+)%.")
  if library and ("regex json yaml toml markdown template base64 string utf8 async"):find(library, 1, true) then own[#own + 1] = f end
end

-- What asks for more than there is. Each is an error that the script can catch.
local greedy = {
  function() for _ = 1, 100000 do async.spawn(function() sleep(1000) end) end end,
  function() return template.render_string("{{ 1" .. ("+1"):rep(pick({ 999, 1000, 1001, 50000 })) .. " }}") end,
  function()
    return template.render_string("{% set n = namespace(a=1) %}{% for i in range(90000) %}{% set n.a = [n.a] %}{% endfor %}{{ n.a }}")
  end,
  function() return crypto.hash(("x"):rep(pick({ 9, 50, 130, 200 }) << 20), "sha512") end,
  function() return crypto.random_bytes(16 << 20) end,
  function() return fs.write(fs.tempdir() .. "/x", ("x"):rep(pick({ 9, 50 }) << 20)) end,
  function() return process.run({ cmd = "/usr/bin/head", args = { "-c", "200000000", "/dev/zero" }, max_output = 1 << 40 }) end,
  function() return process.run({ cmd = "/usr/bin/true", stdin = ("x"):rep(pick({ 9, 50 }) << 20) }) end,
  function() return json.parse("[" .. ("[],"):rep(1 << pick({ 18, 20, 22 })) .. "1]") end,
  function() return yaml.parse(("- [a, {b: c}]\n"):rep(1 << pick({ 15, 17, 18 }))) end,
  function() return toml.parse("a=[" .. ("[],"):rep(170000) .. "]") end,
  function() return markdown.to_html(("*a_ [b](c)\n\n"):rep(43000)) end,
  function() return regex.replace("a", ("a"):rep(1000000), ("b"):rep(100)) end,
  function() return json.encode(("\1"):rep(1 << pick({ 20, 22, 24 }))) end,
  function()
    local c <close> = db.connect("sqlite::memory:")
    return db.query(c, "select ?", { ("x"):rep(pick({ 9, 50 }) << 20) })
  end,
}

local pcall, next, unpack, spawn, timeout, write = pcall, next, table.unpack, async.spawn, async.timeout, io.stderr.write
local stderr = io.stderr
for n = 1, tonumber(arg[2]) do
  if n % 25 == 0 then
    local case = pick(greedy)
    write(stderr, "greedy ", debug.getinfo(case, "S").linedefined, "\n")
    pcall(timeout, 10, case)
    collectgarbage()
  end
  local name, f = unpack(pick(random(3) == 1 and functions or own))
  if not left_out[name] then
    local given = {}
    for i = 1, random(4) do given[i] = value(0) end
    write(stderr, name, "\n")
    pcall(timeout, 1, function() return pcall(f, unpack(given)) end)
  end
end
write(stderr, "done\n")
