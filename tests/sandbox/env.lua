--# case: the host's environment does not leak
--# env: ASSAY_TEST_TOKEN=hunter2
--# allow: env=ASSAY_TEST_TOKE
--# allow: env=ASSAY_TEST_TOKEN2
for _, name in ipairs({ "ASSAY_TEST_TOKEN", "ASSAY_TEST_TOKEN\0", "assay_test_token", " ASSAY_TEST_TOKEN", "ASSAY_TEST_*", "*" }) do
  assert.eq(env.get(name), nil, name)
  assert.eq(os.getenv(name), nil, name)
end
for _, variable in ipairs(env.list()) do
  assert.ne(variable.value, "hunter2")
end

--# case: what a script sets grants nothing
--# env: ASSAY_TEST_TOKEN=hunter2
env.set("ASSAY_ALLOW", "env")
env.set("ASSAY_TEST_TOKEN", "mine")
env.unset("ASSAY_TEST_TOKEN")
assert.eq(env.get("ASSAY_TEST_TOKEN"), nil)
assert.eq(env.get("PATH"), nil)

--# case: a deny rule wins over everything
--# flags: -A
--# deny: env=ASSAY_TEST_TOKEN
--# env: ASSAY_TEST_TOKEN=hunter2
--# env: ASSAY_TEST_OPEN=x
assert.eq(env.get("ASSAY_TEST_TOKEN"), nil)
assert.eq(env.get("ASSAY_TEST_OPEN"), "x")
for _, variable in ipairs(env.list()) do
  assert.ne(variable.key, "ASSAY_TEST_TOKEN")
end

--# case: the memory of the host is not for filling
env.set("A", ("x"):rep((1 << 20) - 1))
local ok, err = pcall(env.set, "B", "")
assert.eq(ok, false)
assert.eq(err.code, "limit")
local ok, err
for i = 1, 1000000 do
  ok, err = pcall(env.set, "NAME" .. i, "")
  if not ok then break end
end
assert.eq(ok, false)
assert.eq(err.code, "limit")
env.set("A", "")
env.set("B", "fits again")

--# case: a denied variable by the files of /proc
--# flags: -A
--# deny: env=ASSAY_TEST_TOKEN
--# env: ASSAY_TEST_TOKEN=hunter2
--# link: way=/proc/self/environ
--# link: directory=/proc/self
local pid = fs.readlink("/proc/self")
for _, path in ipairs({
  "/proc/self/environ", "/proc/thread-self/environ", "/proc/" .. pid .. "/environ", "/proc/self/task/" .. pid .. "/environ",
  "/proc/self/root/proc/self/environ", "/proc/self/cwd/../../../../../../proc/self/environ", "/proc/1/environ", "way", "directory/environ",
  "/proc/./self//environ", "/proc/self/mem", "/proc/self/task/" .. pid .. "/mem",
}) do
  local ok, err = pcall(fs.read_bytes, path)
  assert.eq(ok, false, path)
  assert(err.code == "denied" or path:find("cwd", 1, true) and err.code == "not_found", path .. ": " .. err.message)
  -- Where a link leads is not told.
  if path:find("^/proc/[^/]+/environ$") then
    assert.contains(err.message, "is denied by --deny env=ASSAY_TEST_TOKEN")
  end
  assert.eq(err.message:find("--allow", 1, true), nil)
end
assert.eq(pcall(io.open, "/proc/self/environ"), false)
assert.contains(fs.read("/proc/self/status"), "Name:")

--# case: a denied variable by programs
--# flags: -A
--# deny: env=ASSAY_TEST_TOKEN
--# env: ASSAY_TEST_TOKEN=hunter2
--# env: ASSAY_TEST_OPEN=x
local text = process.run{ "sh", "-c", "env; cat /proc/self/environ /proc/$PPID/environ; cat /proc/[0-9]*/environ 2>/dev/null" }.stdout
assert.contains(text, "ASSAY_TEST_OPEN=x")
assert.eq(text:find("hunter2", 1, true), nil)

--# case: the machine's name by every way
--# flags: -A
--# deny: os=hostname
--# env: HOSTNAME=told
--# env: HOST=told
--# env: ASSAY_TEST_OPEN=x
assert.eq(env.get("HOSTNAME"), nil)
assert.eq(os.getenv("HOST"), nil)
assert.eq(env.get("ASSAY_TEST_OPEN"), "x")
assert.eq(linux.kernel().hostname, nil)
assert.gt(#linux.kernel().os_release, 0)
for _, call in ipairs({
  os.hostname, os.info, function() return fs.read("/etc/hostname") end, function() return fs.read("/proc/sys/kernel/hostname") end,
}) do
  local ok, err = pcall(call)
  assert.eq(ok, false)
  assert.eq(err.code, "denied", err.message)
  assert.contains(err.message, "is denied by --deny os=hostname")
end

--# case: the system and its uptime by every way
--# flags: -A
--# deny: os=info
for _, call in ipairs({
  os.info, linux.kernel, linux.uptime, function() return fs.read("/proc/uptime") end, function() return fs.read("/etc/os-release") end,
}) do
  local ok, err = pcall(call)
  assert.eq(ok, false)
  assert.eq(err.code, "denied", err.message)
  assert.contains(err.message, "is denied by --deny os=info")
end
assert.gt(linux.meminfo().mem_total, 0)
assert.gt(#os.hostname(), 0)

--# case: other processes by both ways
--# flags: -A
--# deny: linux=proc
for _, call in ipairs({ process.list, function() return linux.proc_stat(1) end }) do
  local ok, err = pcall(call)
  assert.eq(ok, false)
  assert.contains(err.message, "is denied by --deny linux=proc")
end

--# case: what is not denied is told
--# flags: -A
--# deny: os=info
assert.eq(linux.kernel ~= nil and pcall(linux.loadavg), true)
