--- # Values that mean nothing
--- Numbers out of range, modes that are no modes, empty names and stray keys are errors of the call, not other values.

--# case: a mode is not a decimal number
--# allow: fs=rw:${TMP}
fs.write("a", "x")
for _, mode in ipairs({ 755, 644, 600, 777, 750, 1777, 4755, 444, 400, 440, 500, 512, 0xFFF, 7777 }) do
  local ok, err = pcall(fs.chmod, "a", mode)
  assert.eq(ok, false, mode)
  assert.contains(err, "the number " .. mode .. " is decimal, the mode " .. ("%o"):format(mode) .. " in octal")
end
for _, mode in ipairs({ -1, 1.5, 0 / 0, 1 / 0, 7778, 1 << 32, 1 << 40, "", "8", "75x", "0x1ed", "17777", "-1", " 755" }) do
  assert.eq(pcall(fs.chmod, "a", mode), false, tostring(mode))
end
local before = fs.stat("a").permissions
for _, mode in ipairs({ 0x1a4, tonumber("755", 8), 511, "600", "0644", "0o755" }) do
  fs.chmod("a", mode)
end
assert.eq(fs.stat("a").permissions, "755")

--# case: numbers out of range
--# allow: process=true,db=sqlite::memory:,disk
local nan, inf, big = 0 / 0, 1 / 0, 1 << 40
local wrong = {}
local function refused(what, fn, values)
  for _, value in ipairs(values) do
    local ok, err = pcall(fn, value)
    local fine = not ok and (type(err) == "table" and err.code == "invalid_argument"
      or type(err) == "string" and err:find("bad argument", 1, true) ~= nil)
    if not fine then
      wrong[#wrong + 1] = what .. " " .. tostring(value) .. ": " .. (ok and "no error" or tostring(err))
    end
  end
end
local seconds, sizes = { -1, nan, -inf }, { -1, nan, inf, 1.5, -big }

refused("sleep", sleep, seconds)
refused("process.sleep", process.sleep, seconds)
refused("async.timeout", function(n) async.timeout(n, print) end, seconds)
refused("async.spawn_interval", function(n) async.spawn_interval(print, n) end, { 0, -1, nan, -inf })
refused("crypto.random", crypto.random, { -1, nan, inf, 1.5, 1 << 32, big, "x" })
refused("crypto.random_bytes", crypto.random_bytes, { -1, nan, 1.5, 1 << 32, big })
refused("crypto.hkdf", function(n) crypto.hkdf("x", n) end, { -1, nan, 1.5, 1 << 32, 1 << 20 })
refused("json indent", function(n) json.encode({}, { indent = n }) end, { -1, 17, 1.5, nan, inf, big })
refused("regex limit", function(n) regex.replace("a", "a", "b", n) end, { 0, -1, 1.5, nan, inf })
refused("regex.split", function(n) regex.split("a", "a", n) end, { 0, -1, 1.5, nan })
refused("gzip level", function(n) compress.gzip("", { level = n }) end, { -1, 10, 1.5, nan, inf, big, 1 << 32 })
refused("zstd level", function(n) compress.zstd("", { level = n }) end, { -1, 0, 20, 1.5, 1 << 32 })
refused("max_size", function(n) compress.gunzip("", { max_size = n }) end, sizes)
refused("max_ratio", function(n) compress.gunzip("", { max_ratio = n }) end, { -1, nan, 1.5, 1 << 32, big })
local url = "http://localhost/"
for _, name in ipairs({ "timeout", "connect_timeout" }) do
  refused("http " .. name, function(n) http.get(url, { [name] = n }) end, seconds)
  refused("ws " .. name, function(n) ws.connect("ws://localhost/", { [name] = n }) end, seconds)
end
refused("http max_body", function(n) http.get(url, { max_body = n }) end, sizes)
refused("http max_redirects", function(n) http.get(url, { max_redirects = n }) end, { -1, 1.5, nan, 1 << 32, big })
refused("http max_size", function(n) http.download(url, "x", { max_size = n }) end, sizes)
refused("ws max_message", function(n) ws.connect("ws://localhost/", { max_message = n }) end, sizes)
refused("ws max_frame", function(n) ws.connect("ws://localhost/", { max_frame = n }) end, sizes)
refused("ws keepalive", function(n) ws.connect("ws://localhost/", { keepalive = n }) end, seconds)
refused("ws.close", function(n) ws.close({ handle = 1 }, n) end, { -1, 65536, big, 1.5, nan, inf, "x" })
for _, name in ipairs({ "header_timeout", "body_timeout", "timeout", "shutdown_timeout" }) do
  refused("http.serve " .. name, function(n) http.serve(0, {}, { [name] = n }) end, seconds)
end
for _, name in ipairs({ "max_body", "max_header", "max_connections", "max_requests", "instances" }) do
  refused("http.serve " .. name, function(n) http.serve(0, {}, { [name] = n }) end, sizes)
end
for _, name in ipairs({ "max_header", "max_connections", "max_requests", "instances" }) do
  refused("http.serve " .. name, function(n) http.serve(0, {}, { [name] = n }) end, { 1 << 32, big })
end
refused("port", function(n) http.serve(n, {}) end, { -1, 65536, 1.5, nan, inf, big, "", "x", " 80", "0x50", "8e3", "-1" })
refused("{port}", function(n) http.serve({ port = n }, {}) end, { -1, 65536, 1.5, nan, inf, big })
refused("process timeout", function(n) process.run({ cmd = "true", timeout = n }) end, seconds)
refused("process max_output", function(n) process.run({ cmd = "true", max_output = n }) end, sizes)
refused("process.wait", function(n) process.wait(1, { timeout = n }) end, seconds)
refused("process.wait pid", process.wait, { 0, -1, 1.5, nan, "x" })
refused("process.kill pid", process.kill, { 0, -1, 1.5, nan, big, "x" })
refused("signal", function(n) process.kill(1, n) end, { -1, 65, 1.5, nan, big, "NONSENSE", "" })
refused("wait_idle", function(n) process.wait_idle("true", n) end, seconds)
refused("wait_idle interval", function(n) process.wait_idle("true", 1, n) end, { 0, -1, nan })
for _, name in ipairs({ "cols", "rows" }) do
  refused(name, function(n) process.spawn_pty({ cmd = "true", [name] = n }) end, { 0, -1, 65536, 1.5, nan, big })
end
refused("depth", function(n) fs.readdir(".", { depth = n }) end, { 0, -1, 1.5, nan, inf, 1 << 32, big })
refused("max_connections", function(n) db.connect("sqlite::memory:", { max_connections = n }) end, { 0, -1, 1001, 1.5, nan, big })
refused("max_rows", function(n) db.connect("sqlite::memory:", { max_rows = n }) end, { 0, -1, 1.5, nan, inf })
refused("statement_timeout", function(n) db.connect("sqlite::memory:", { statement_timeout = n }) end, { -1, nan, inf })
refused("connect_timeout", function(n) db.connect("sqlite::memory:", { connect_timeout = n }) end, { -1, nan, inf })
refused("oci timeout", function(n) oci.tags("localhost/a", { timeout = n }) end, seconds)
refused("oci retries", function(n) oci.tags("localhost/a", { retries = n }) end, { -1, 1.5, nan, 1 << 32 })
refused("oci max_blob", function(n) oci.tags("localhost/a", { max_blob = n }) end, sizes)
refused("tar strip", function(n) tar.extract("x", "y", { strip = n }) end, { -1, 1.5, nan, 1 << 32, big })
refused("tar max_entries", function(n) tar.extract("x", "y", { max_entries = n }) end, sizes)
refused("tar max_size", function(n) tar.extract("x", "y", { max_size = n }) end, sizes)
refused("systemd lines", function(n) systemd.journal({ lines = n }) end, { -1, 1.5, nan, 1 << 32, big })
refused("systemd priority", function(n) systemd.journal({ priority = n }) end, { -1, 8, 1.5, nan, inf })
refused("systemd timeout", function(n) systemd.start("x", { timeout = n }) end, { -1, nan })
refused("machine_exec timeout", function(n) systemd.machine_exec("x", "true", { timeout = n }) end, { -1, nan })
refused("apt timeout", function(n) apt.update({ timeout = n }) end, { -1, nan })
refused("linux pid", linux.proc_stat, { 0, -1, 1.5, nan, 1 << 31, big })
refused("disk.sweep", function(n) disk.sweep("x", n) end, { -1, nan, inf })
refused("leeway", function(n) crypto.jwt_verify(crypto.jwt_sign({}, "k"), "k", { leeway = n }) end, { -1, nan, inf })
assert(#wrong == 0, "\n" .. table.concat(wrong, "\n"))

--# case: empty names
--# allow: process=true,shell,http=localhost,ws=localhost,oci=localhost,db=sqlite::memory:,systemd
local function refused(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.eq(ok, false, tostring((...)))
  assert.ne(type(err) == "table" and err.code or "", "denied", tostring(err))
end
refused(http.get, "")
refused(ws.connect, "")
refused(db.connect, "")
refused(process.run, "")
refused(process.spawn, { cmd = "" })
refused(process.is_running, {})
refused(shell.pipe, {})
refused(crypto.hash, "x", "")
refused(compress.packer, "")
refused(oci.tags, "")
refused(systemd.start, "")
refused(env.set, "", "x")
refused(string.split, "x", "")
refused(require, "")

--# case: keys that mean nothing beside a list
local function refused(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.eq(ok, false)
  assert.ne(type(err) == "table" and err.code or "", "denied", tostring(err))
end
refused(process.run, { cmd = "true", "x" })
refused(process.run, { "true", "x", args = { "y" } })
refused(process.run, "true", { "x", args = { "y" } })
refused(process.run, "true", { cmd = "false" })
refused(process.run, { cmd = "true" }, { timeout = 1 })
refused(process.run, { cmd = "true", args = { "a", b = "c" } })
refused(async.all, { print, named = print })
refused(async.race, { print, [3] = print })
refused(json.encode, {}, { 2 })
refused(crypto.jwt_sign, {}, "key", "HS256", { [true] = 1 })
refused(http.get, "http://localhost/", { [1.5] = "x" })
refused(http.post, "http://localhost/", nil, { multipart = { { name = "a", value = "b" }, c = "d" } })
refused(http.get, "http://localhost/", { headers = { Accept = "a", accept = "b" } })
refused(http.get, "http://localhost/", { basic_auth = { user = "x", pass = {} } })
refused(crypto.jwt_verify, crypto.jwt_sign({}, "k"), "k", { algorithm = "HS256", algorithms = { "HS256" } })
refused(crypto.hmac, "k", "x", "sha256", { raw = true })

--# case: what was meant
local function says(text, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.eq(ok, false)
  assert.contains(tostring(err), text)
end
says("bad argument #3 to 'jwt_verify' (unknown option 'audiance'; did you mean 'audience'?)", function()
  crypto.jwt_verify("t", "k", { audiance = "x" })
end)
says("process.run: unknown option 'timout'; did you mean 'timeout'?", process.run, { cmd = "x", timout = 1 })
says("unknown option 'Timeout'; did you mean 'timeout'?", http.get, "http://localhost/", { Timeout = 1 })
says("unknown option 'maxBody'; did you mean 'max_body'?", http.get, "http://localhost/", { maxBody = 1 })
says("unknown option 'header'; did you mean 'headers'?", http.get, "http://localhost/", { header = {} })
says("bad argument #2 to 'base64.encode' (unknown option 'x'; the options are url, pad)", base64.encode, "", { x = 1 })
says("options have names, but there is one at position 1; the options are null", json.parse, "{}", { json.null })
says("options have names, but a key is not a string", json.parse, "{}", { [json.null] = 1 })
-- A name is shown, not obeyed, and not whole.
says("unknown option '\\u{1b}[31m\\n'; the", json.parse, "{}", { ["\27[31m\n"] = 1 })
local ok, err = pcall(json.parse, "{}", { [("x"):rep(1 << 20)] = 1 })
assert.lt(#err, 300)

--# case: values that would be left out without a word
--# allow: http,listen
local k = ("k"):rep(32)
local t = crypto.jwt_sign({a = 1}, k, "HS256")
for name, attempt in pairs{
  claims_map = function() crypto.jwt_verify(t, k, {required_claims = {sub = true}}) end,
  claims_gap = function() crypto.jwt_verify(t, k, {required_claims = {[2] = "sub"}}) end,
  leeway = function() crypto.jwt_verify(t, k, {leeway = 1e300}) end,
  header_map = function() http.get("http://127.0.0.1:1/", {headers = {A = {b = "c"}}}) end,
  query_map = function() http.get("http://127.0.0.1:1/", {query = {a = {b = 1}}}) end,
  stream = function() http.get("http://127.0.0.1:1/", {stream = "false"}) end,
  download = function() http.download("http://127.0.0.1:1/", "x", {stream = true}) end,
  port = function() http.serve({addr = "unix:x", port = 1}, {}) end,
} do
  local ok, err = pcall(attempt)
  assert.eq(ok, false, name)
  local code = type(err) == "table" and err.code or "argument"
  assert(code ~= "unavailable" and code ~= "denied", name .. ": " .. tostring(err))
end

--# case: options of functions that take none
--# allow: fs=rw:${TMP}
-- The attack on oneself: what looks like an option is silently none, and the file is emptied. tests/harness/options.rs
-- walks all functions.
fs.write("a", "x")
local ok, err = pcall(fs.write, "a", "y", { append = true })
assert.eq(ok, false)
assert.contains(err, "unexpected table: the function takes 2 arguments, and no options behind them")
assert.eq(fs.read("a"), "x")
for _, call in ipairs({
  function() fs.read("a", { binary = true }) end,
  function() crypto.hash("a", "sha256", { raw = true }) end,
  function() fs.list(".", { depth = 2 }) end,
  function() os.execute("true", { env = {} }) end,
  function() http.get("http://localhost/", {}, { timeout = 1 }) end,
  function() time({}) end,
  function() io.open("a", "r", print) end,
  function() io.tmpfile():seek("set", 0, {}) end,
  function() async.spawn(print):await({ timeout = 1 }) end,
  function() ("a b"):split(" ", { limit = 1 }) end,
}) do
  local ok, err = pcall(call)
  assert.eq(ok, false)
  assert.matches(tostring(err), "unexpected [a-z]+: the function takes")
end
-- As for every error of an argument, the line is the script's, and the object of a method does not count.
local _, err = pcall(function() fs.list(".", {}) end)
assert.matches(err, "^case.lua:[0-9]+: bad argument #2 to 'list' [(]unexpected table: the function takes 1 argument, and no")
local _, err = pcall(function() io.tmpfile():seek("set", 0, {}) end)
assert.matches(err, "^case.lua:[0-9]+: bad argument #3 to 'seek' [(]unexpected table: the function takes 2 arguments, and no")

--# case: what callers of functions pass besides is left out
--# allow: fs=rw:${TMP}
fs.write("a", "x", nil, nil)
fs.write("a", "x", 1, "y", true)
assert.eq((("a=b"):gsub("(%w)=(%w)", env.get)), "a=b")
assert.eq((("cd"):gsub("(c)(d)", fs.exists)), "cd")
local function map(list, fn)
  local out = {}
  for i, value in ipairs(list) do out[i] = fn(value, i) end
  return out
end
assert.eq(map({ "a", "b" }, fs.exists), { true, false })
assert.eq(map({ "e30=", "e30=" }, base64.decode), { "{}", "{}" })
assert.eq(select("#", pcall(fs.read, "a", nil)), 2)
local files = {}
for line in fs.lines("a") do files[#files + 1] = line end
assert.eq(files, { "x" })
