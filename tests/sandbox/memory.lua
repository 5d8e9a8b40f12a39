--# case: running out of memory in every builtin that computes is an error
--# flags: --memory 16MiB
-- The attack: what is parsed, encoded, searched or rendered takes more memory than there is. Each is tried with the
-- memory empty, full of other values, and many times over: nothing may be lost by an error.
local cases = {
  json_lists = function() return json.parse("[" .. ("[],"):rep(2000000) .. "1]") end,
  json_escapes = function() return json.parse('"' .. ("\\n"):rep(4000000) .. '"') end,
  json_encode = function() return json.encode(("\1"):rep(3000000)) end,
  yaml_lists = function() return yaml.parse(("- [a, b]\n"):rep(300000)) end,
  yaml_escapes = function() return yaml.parse('"' .. ("\\n"):rep(4000000) .. '"') end,
  yaml_encode = function() return yaml.encode(("\1"):rep(3000000)) end,
  toml_lists = function() return toml.parse("a=[" .. ("[],"):rep(170000) .. "]") end,
  toml_encode = function() return toml.encode({ a = ("\1"):rep(3000000) }) end,
  markdown_emphasis = function() return markdown.to_html(("*_"):rep(260000)) end,
  markdown_brackets = function() return markdown.to_html(("["):rep(520000)) end,
  base64_encode = function() return base64.encode(("x"):rep(5000000)) end,
  base64_decode = function() return base64.decode(("aaaa"):rep(2300000)) end,
  split = function() return (("a "):rep(3000000)):split() end,
  find_all = function() return regex.find_all("a", ("a"):rep(3000000)) end,
  replace = function() return regex.replace("a", ("a"):rep(1000000), ("b"):rep(100)) end,
  regex_split = function() return regex.split(",", (","):rep(3000000)) end,
  escape = function() return regex.escape(("."):rep(5000000)) end,
  template_text = function() return template.render_string("{% for i in range(100000) %}" .. ("x"):rep(1000) .. "{% endfor %}") end,
  template_source = function() return template.render_string(("{{ a }}"):rep(400000), { a = 1 }) end,
  template_values = function()
    local t = {}
    for i = 1, 400000 do t[i] = i end
    return template.render_string("x", { t = t })
  end,
  template_sorted = function() return template.render_string("{{ ('x' * 810000)|list|sort|length }}") end,
  template_split = function() return template.render_string("{{ ('x,' * 800000)|split(',')|list|length }}") end,
  template_lines = function() return template.render_string("{{ ('x\n' * 800000)|lines|length }}") end,
  template_batches = function() return template.render_string("{{ range(100000)|batch(1)|list * 9 }}") end,
  template_escaped = function() return template.render_string("{{ ('<' * 2500000)|escape|length }}") end,
  template_json = function() return template.render_string("{{ ('\"' * 4000000)|tojson|length }}") end,
  template_set = function() return template.render_string("{% set a %}{{ 'x' * 6000000 }}{% endset %}{{ a ~ a }}") end,
  template_macro = function()
    return template.render_string("{% macro m(n) %}{{ 'x' * n }}{% endmacro %}{% set a = m(5000000) %}{{ a ~ a }}")
  end,
  template_strings = function() return template.render_string("{{ ('x' * 30000000)|length }}") end,
}
local function hoard()
  local t = {}
  pcall(function()
    while true do t[#t + 1] = ("x"):rep(50000) .. #t end
  end)
  for _ = 1, 10 do t[#t] = nil end
  return t
end
for round = 1, 4 do
  for name, case in pairs(cases) do
    local kept = round == 2 and hoard()
    local ok, err = pcall(case)
    assert.eq(ok, false, name)
    assert(type(err) == "table" and err.code == "limit" or err == "not enough memory", name .. ": " .. tostring(err))
    kept = nil
    collectgarbage()
    -- The script goes on, and every builtin with it.
    assert.eq(json.parse(json.encode({ 1, 2 })), { 1, 2 })
    assert.eq(yaml.parse(yaml.encode({ a = "b" })), { a = "b" })
    assert.eq(toml.parse(toml.encode({ a = { 1 } })), { a = { 1 } })
    assert.eq(template.render_string("{% for a in b %}{{ a }}{% endfor %}", { b = { 1, 2 } }), "12")
    assert.eq(markdown.to_html("*a*"), "<p><em>a</em></p>\n")
    assert.eq(regex.replace("a(b)", "ab", "$1"), "b")
  end
end

--# case: what fits is worked on
--# flags: --memory 16MiB
assert.eq(#json.parse("[" .. ("1,"):rep(100000) .. "1]"), 100001)
assert.eq(#json.encode(("\1"):rep(300000)), 1800002)
assert.eq(#yaml.parse(("- a\n"):rep(50000)), 50000)
assert.eq(#toml.parse("a=[" .. ("1,"):rep(20000) .. "1]").a, 20001)
assert.eq(#base64.decode(base64.encode(("x"):rep(1500000))), 1500000)
assert.eq(#(("a "):rep(100000)):split(), 100000)
assert.eq(#regex.find_all("a", ("a"):rep(100000)), 100000)
assert.eq(#template.render_string("{% for i in range(1000) %}{{ a }}{% endfor %}", { a = ("x"):rep(1000) }), 1000000)

--# case: an error is the same as of Lua's own allocations
--# flags: --memory 16MiB
--# exit: 137
--# stderr: not enough memory
json.parse("[" .. ("[],"):rep(2000000) .. "1]")

--# case: finalizers run while values are encoded
--# flags: --memory 48MiB
-- The attack: a collection that an encoder sets off runs code of the script, which calls builtins that keep what they
-- allocate; then the encoder is ended because memory is short.
local kept, runs = {}, 0
local function finalize()
  runs = runs + 1
  kept[runs % 50] = regex.find_all("a" .. runs % 100, "xa1" .. runs)
  kept[-(runs % 50)] = async.spawn(function() return runs end)
  pcall(json.encode, { runs })
  pcall(template.render_string, "{{ a }}", { a = runs })
end
for round = 1, 30 do
  for _ = 1, 200 do setmetatable({}, { __gc = finalize }) end
  local t = {}
  for i = 1, 20000 do t[i] = { i, tostring(i) } end
  pcall(function() return json.encode({ t, t, t, t, t, t, ("\1"):rep(round % 2 == 0 and 4000000 or 10) }) end)
  pcall(function() return json.parse('["' .. ("\\n"):rep(round % 3 == 0 and 5000000 or 1000) .. '", []]') end)
end
assert(runs > 0)
for i = 0, 49 do
  if kept[-i] then assert(kept[-i]:await() > 0) end
end
assert.eq(json.parse("[1]"), { 1 })

--# case: a template is rendered in a finalizer that another one sets off
--# flags: --memory 24MiB
--# allow: fs=rw:${TMP}
-- The attack: one engine renders all templates. The inner rendering has another directory, other bounds and an error of its
-- own, and the outer one must go on with its own, and end with none of them.
for _, directory in ipairs({ "outer", "inner" }) do
  fs.mkdir(directory)
  fs.write(directory .. "/name.txt", directory)
end
fs.write("outer/page.txt", "{% for i in range(12) %}{{ ('x' * 3000000)|length }} {% endfor %}{% include 'name.txt' %}")
fs.write("outer/wrong.txt", "{% for i in range(12) %}{{ ('x' * 3000000)|length }} {% endfor %}{{ 1|nofilter }}")
fs.write("inner/page.txt", "{% include 'name.txt' %}")
local runs, inner = 0, {}
local function finalize()
  runs = runs + 1
  inner.text = template.render("inner/page.txt")
  inner.refused = select(2, pcall(template.render_string, "{{ {}|tojson(indent=65) }}"))
  inner.unknown = select(2, pcall(template.render_string, "{{ nothing }}", {}, { strict = true }))
end
-- Garbage that is more than what is left, so that the rendering has it collected.
local function litter()
  collectgarbage()
  collectgarbage("stop")
  local kept = {}
  for i = 1, 10 do
    setmetatable({}, { __gc = finalize })
    kept[i] = ("x"):rep(1000000) .. i
  end
end
for _ = 1, 5 do
  local before = runs
  litter()
  assert.eq(template.render("outer/page.txt"), ("3000000 "):rep(12) .. "outer")
  assert(runs > before)
  assert.eq(inner.text, "inner")
  assert.contains(inner.refused.message, "indent of at most 64")
  assert.eq(inner.unknown.code, "invalid_data")
  litter()
  local ok, err = pcall(template.render, "outer/wrong.txt")
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_data")
  assert.contains(err.message, "nofilter")
end

--# case: the arguments of one call have a limit
--# flags: --host-memory 8MiB
--# allow: db=sqlite::memory:
--# allow: process
--# allow: http=127.0.0.1
-- The attack: more in one call than the host may hold for the run, which used to end it.
local function attempts(n)
  local s = ("x"):rep(n)
  local many = {}
  for i = 1, n // 64 do many[i] = "" end
  return {
    hash = function() return crypto.hash(s) end,
    hmac = function() return crypto.hmac("k", s) end,
    encrypt = function() return crypto.encrypt(("k"):rep(32), s) end,
    jwt = function() return crypto.jwt_sign({ a = s }, ("k"):rep(32)) end,
    http_body = function() return http.post("http://127.0.0.1:1/", s) end,
    http_json = function() return http.post("http://127.0.0.1:1/", { a = s }) end,
    http_form = function() return http.post("http://127.0.0.1:1/", nil, { form = { a = s } }) end,
    http_field = function() return http.get("http://127.0.0.1:1/", { headers = { a = s } }) end,
    http_fields = function() return http.get("http://127.0.0.1:1/", { headers = { a = many } }) end,
    http_url = function() return http.get("http://127.0.0.1:1/" .. s) end,
    db_parameter = function()
      local c <close> = db.connect("sqlite::memory:")
      return db.query(c, "select length(?) as n", { s })
    end,
    db_statement = function()
      local c <close> = db.connect("sqlite::memory:")
      return db.query(c, "select '" .. s .. "'")
    end,
    process_input = function() return process.run({ cmd = "/usr/bin/true", stdin = s }) end,
    process_argument = function() return process.run({ cmd = "/usr/bin/true", args = { s } }) end,
    process_arguments = function() return process.run({ cmd = "/usr/bin/true", args = many }) end,
    log_message = function() return log.trace(s) or log.info(s) end,
    log_fields = function() return log.info("x", { a = s }) end,
    file_name = function() return fs.exists(s) end,
    module = function() return require(s) end,
  }
end
for name, attempt in pairs(attempts(9 << 20)) do
  local ok, err = pcall(attempt)
  assert.eq(ok, false, name)
  assert.eq(type(err) == "table" and err.code, "limit", name .. ": " .. tostring(err):sub(1, 200))
  assert.contains(err.message, "--host-memory", name)
end
-- A little less goes to the host, which may say no for other reasons.
for name, attempt in pairs(attempts(1 << 20)) do
  local ok, err = pcall(attempt)
  assert(ok or not tostring(err):find("the arguments of the call", 1, true), name)
end
assert.eq(#crypto.hash(("x"):rep(8 << 20 - 100)), 64)

--# case: what may go in parts has no such limit
--# flags: --host-memory 2MiB
--# allow: process
--# stdout: done
local s = ("x"):rep(9 << 20)
local path = fs.tempdir() .. "/x"
fs.write(path, s)
assert.eq(#fs.read(path), #s)
fs.append(path, s)
assert.eq(fs.stat(path).size, 2 * #s)
local f <close> = io.open(path, "w")
f:write(s)
f:flush()
assert.eq(fs.stat(path).size, #s)
-- What computes does not ask the host.
assert.eq(regex.match("y", s), false)
assert.eq(#base64.encode(s), 4 * #s // 3)
assert.eq(#json.encode(s), #s + 2)
print(s)
print("done")

--# case: output of a program that does not fit is an error
--# flags: --memory 16MiB
--# allow: process
local ok, err = pcall(process.run, { cmd = "/usr/bin/head", args = { "-c", "14000000", "/dev/zero" } })
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.eq(#process.run({ cmd = "/usr/bin/head", args = { "-c", "1000000", "/dev/zero" } }).stdout, 1000000)

--# case: results of the host that do not fit are errors
--# flags: --memory 16MiB
for _ = 1, 3 do
  local ok, err = pcall(crypto.random_bytes, 15000000)
  assert.eq(ok, false)
  local s = ("x"):rep(5000000)
  local ok, err = pcall(crypto.encrypt, ("k"):rep(32), s)
  assert(ok or err == "not enough memory" or err.code == "limit", tostring(err))
end
assert.eq(#crypto.random_bytes(1000000), 1000000)

--# case: a call of more than is left is an error
--# flags: --host-memory 24MiB
--# allow: db=sqlite::memory:
-- The attack: while the host holds much for others, a call carries more than it may still hold. It used to end the run.
local c = db.connect("sqlite::memory:")
db.execute(c, "create table t(x)")
for _ = 1, 20 do
  db.execute(c, "insert into t values (zeroblob(1000000))")
end
local s = ("x"):rep(18 << 20)
local calls = {
  hash = function() return crypto.hash(s) end,
  encrypt = function() return crypto.encrypt(("k"):rep(32), s) end,
  jwt = function() return crypto.jwt_sign({ a = s }, ("k"):rep(32)) end,
  db = function() return db.query(c, "select length(?)", { s }) end,
  name = function() return fs.exists(s) end,
}
for name, call in pairs(calls) do
  local ok, err = pcall(call)
  assert.eq(ok, false, name)
  assert.eq(type(err) == "table" and err.code, "limit", name .. ": " .. tostring(err):sub(1, 200))
  assert.contains(err.message, "--host-memory", name)
end
-- What fits goes on, and all of it once the others have given theirs back.
assert.eq(#crypto.hash(("x"):rep(1 << 20)), 64)
db.close(c)
assert.eq(#crypto.hash(s), 64)

--# case: a large call of what is not granted is denied
--# flags: --host-memory 32MiB
-- The attack: arguments so large that the stub of the capability could not be called with them, which ended the run.
local function calls(s)
  local many = {}
  for i = 1, #s // 64 do many[i] = "x" end
  return {
    http_body = function() http.post("http://127.0.0.1:1/", s) end,
    http_url = function() http.get("http://127.0.0.1:1/" .. s) end,
    http_fields = function() http.get("http://127.0.0.1:1/", { headers = { a = many } }) end,
    http_form = function() http.post("http://127.0.0.1:1/", nil, { form = { a = s } }) end,
    http_parts = function() http.post("http://127.0.0.1:1/", nil, { multipart = { a = many } }) end,
    http_certificate = function() http.get("https://127.0.0.1:1/", { ca_cert = s }) end,
    download = function() http.download("http://127.0.0.1:1/" .. s, "x") end,
    ws = function() ws.connect("ws://127.0.0.1:1/" .. s) end,
    ws_protocols = function() ws.connect("ws://127.0.0.1:1/", { protocols = many }) end,
    db = function() db.connect("sqlite:" .. s) end,
    process_input = function() process.run({ cmd = "true", stdin = s }) end,
    process_arguments = function() process.run({ cmd = "true", args = many }) end,
    process_name = function() process.spawn(s) end,
    process_running = function() process.is_running(s) end,
    terminal = function() process.spawn_pty({ cmd = "true", args = { s } }) end,
    shell = function() shell.exec(s) end,
    shell_input = function() shell.exec("true", { stdin = s }) end,
    popen = function() assert(io.popen(s)) end,
    execute = function() os.execute(s) end,
    systemd = function() systemd.machine_exec("x", { "true" }, { stdin = s }) end,
    unit = function() systemd.unit_status(s) end,
    units = function() systemd.list_units({ name = many }) end,
    journal = function() systemd.journal({ unit = s }) end,
    apt = function() apt.query(s) end,
    apt_install = function() apt.install({ names = many }) end,
    oci = function() oci.manifest("127.0.0.1:1/" .. s .. ":1") end,
    oci_files = function() oci.mutate("127.0.0.1:1/x:1", "127.0.0.1:1/y:1", { a = s }) end,
    disk = function() disk.usage(s) end,
    cgroup = function() cgroup.memory(s) end,
    serve = function() http.serve(0, { GET = { ["/" .. s] = function() end } }) end,
    serve_tls = function() http.serve(0, {}, { tls = { cert = s, key = s } }) end,
  }
end
for _, size in ipairs({ 1, 100, 100000, 1 << 20, 6 << 20 }) do
  local s = ("x"):rep(size)
  for name, call in pairs(calls(s)) do
    local ok, err = pcall(call)
    assert.eq(ok, false, name)
    assert.eq(type(err) == "table" and err.code, "denied", name .. " of " .. size .. ": " .. tostring(err):sub(1, 300))
  end
end

--# case: a denial of a large call names what grants it
--# stdout: a call of http with that much in its arguments is not granted; run again with --allow http
local _, err = pcall(http.post, "http://127.0.0.1:1/", ("x"):rep(20 << 20))
print(err.message)

--# case: a deny rule denies a large call
--# allow: http
--# deny: http
local ok, err = pcall(http.post, "http://127.0.0.1:1/", ("x"):rep(20 << 20))
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--deny http")

--# case: many names of header fields
--# flags: --memory 64MiB
--# allow: http=127.0.0.1
-- The attack: a long name goes to the host with each of its values.
local values = {}
for i = 1, 100000 do values[i] = "x" end
local name = ("n"):rep(1 << 20)
for _, options in ipairs({ { headers = { [name] = values } }, { multipart = { [name] = values } } }) do
  local ok, err = pcall(http.post, "http://127.0.0.1:1/", nil, options)
  assert.eq(ok, false)
  assert(err == "not enough memory" or err.code == "limit", tostring(err):sub(1, 200))
end
local ok, err = pcall(http.get, "http://127.0.0.1:1/", { query = { a = ("\n"):rep(20 << 20) } })
assert.eq(ok, false)
assert(err == "not enough memory" or err.code == "limit", tostring(err):sub(1, 200))

--# case: templates go on after running out of memory
--# flags: --memory 16MiB
--# allow: fs=rw:${TMP}
-- The engine keeps buffers from one template to the next: what fails in one must not spoil another.
local function nested(levels, inner)
  local text = inner
  for n = 1, levels do
    text = "{% block b" .. n .. " %}" .. text .. "{% endblock %}"
  end
  for n = 1, 30 do
    text = "{% if true %}" .. text .. "{% endif %}"
  end
  return text
end
fs.mkdir("templates")
fs.write("templates/deep", nested(20, "{{ ((((((((((1)))))))))) }}"))
fs.write("templates/large", nested(10, "{{ ('x' * 810000)|list|sort|length }}"))
for round = 1, 30 do
  assert.eq(pcall(template.render_string, "{{ ('x' * 810000)|list|sort|length }}"), false)
  assert.eq(template.render_string("{% for i in l %}{{ i }}{% if i > 1 %}{% include 'deep' %}{% endif %}{% endfor %}", { l = { 1, 2, 3 } }), "12131")
  assert.eq(pcall(template.render_string, "{% include 'deep' %}{% include 'large' %}"), false)
  assert.eq(template.render_string(nested(20, "{{ a|tojson }}"), { a = { round } }), "[" .. round .. "]")
  assert.eq(pcall(template.render_string, nested(20, "{{ ('x,' * 800000)|split(',')|list|length }}")), false)
end

--# case: arguments of very many parts where memory is short
--# flags: --memory 16MiB
--# allow: http=127.0.0.1
--# allow: process
-- The attack: each part is small, and all are made again for the host: that ended the run.
local named, list = {}, {}
for i = 1, 100000 do
  named["k" .. i], list[i] = "v", "v"
end
local cases = {
  headers = function() http.get("http://127.0.0.1:1/", { headers = named }) end,
  header = function() http.get("http://127.0.0.1:1/", { headers = { a = list } }) end,
  query = function() http.get("http://127.0.0.1:1/", { query = named }) end,
  form = function() http.post("http://127.0.0.1:1/", nil, { form = named }) end,
  multipart = function() http.post("http://127.0.0.1:1/", nil, { multipart = named }) end,
  arguments = function() process.run({ cmd = "/usr/bin/true", args = list }) end,
  variables = function() process.run({ cmd = "/usr/bin/true", env = named }) end,
  audience = function() crypto.jwt_verify("a.b.c", "k", { audience = list }) end,
}
for round = 1, 5 do
  for name, case in pairs(cases) do
    local ok, err = pcall(case)
    assert.eq(ok, false, name)
    assert(type(err) == "table" or err == "not enough memory", name .. ": " .. tostring(err))
  end
end
assert.eq(process.run({ cmd = "/usr/bin/true", args = { "x" } }).status, 0)

--# case: a large result without room for it is an error
--# flags: --memory 16MiB
--# allow: process=head,shell,db=sqlite::memory:
-- The attack: what comes back from the host has no room. It used to end the run.
local function output(bytes)
  return #process.run{cmd = "head", args = {"-c", bytes, "/dev/zero"}}.stdout
end
local db_connection = db.connect("sqlite::memory:", {max_bytes = 1 << 30})
local calls = {
  process = output,
  shell = function(bytes) return #shell.exec("head -c " .. bytes .. " /dev/zero").stdout end,
  db = function(bytes) return #db.query(db_connection, "select zeroblob(" .. bytes .. ") as x")[1].x end,
  stream = function(bytes)
    for row in db.rows(db_connection, "select zeroblob(" .. bytes .. ") as x") do return #row.x end
  end,
}
local full = ("x"):rep(8 << 20)
for name, call in pairs(calls) do
  for _ = 1, 3 do
    local ok, err = pcall(call, 4000000)
    assert.eq(ok, false, name)
    assert.eq(err.code, "limit", name)
    assert.contains(err.message, "not enough memory", name)
    assert.eq(call(1000000), 1000000, name)
  end
end
-- Many at a time: each alone has room.
full = nil
local tasks, fitted = {}, 0
for i = 1, 20 do
  tasks[i] = function()
    local ok, bytes = pcall(output, 3000000)
    if ok then
      assert.eq(bytes, 3000000)
      fitted = fitted + 1
    else
      assert.eq(bytes.code, "limit")
    end
  end
end
async.all(tasks)
assert.eq(fitted > 0, true)
