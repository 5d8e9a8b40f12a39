--- # Programs: escapes
--- Ways to run, reach or leave behind what was not granted.

--# case: a program in the working folder is not the granted one
--# allow: process=sort,fs=rw:${TMP}
for _, path in ipairs{"sort", "bin/sort"} do
  fs.write(path, "#!/bin/sh\necho hijacked\n")
  fs.chmod(path, "755")
end
env.set("PATH", fs.canonicalize("bin") .. ":.")
assert.eq(process.run{"sort"}.stdout, "")
assert.eq(process.run{cmd = "sort", cwd = ".", env = {PATH = "."}}.stdout, "")
for _, cmd in ipairs{"./sort", "bin/sort", fs.canonicalize("bin/sort")} do
  local ok, err = pcall(process.run, {cmd})
  assert.eq(ok, false)
  assert.eq(err.code, "denied", cmd)
end

--# case: a link with the granted name is not the granted program
--# allow: process=sort,process=ln,fs=rw:${TMP}
process.run{"ln", "-s", "/bin/sh", "sort"}
local ok, err = pcall(process.run, {"./sort", "-c", "echo out"})
assert.eq(err.code, "denied")

--# case: a granted link that is turned leads nowhere
--# allow: process=${TMP}/tool,process=ln,fs=rw:${TMP}
fs.write("tool", "#!/bin/sh\necho own\n")
fs.chmod("tool", "755")
assert.eq(process.run{"./tool"}.stdout, "own\n")
process.run{"ln", "-sf", "/bin/sh", "tool"}
local ok, err = pcall(process.run, {"./tool", "-c", "echo out"})
assert.eq(ok, false)
assert.eq(err.code, "denied")

--# case: the other ways to a program that is not granted
--# allow: process=true
for _, cmd in ipairs{"/bin/sh", "/usr/bin/../bin/sh", "//bin/sh", "/proc/self/root/bin/sh", "/proc/self/exe",
  "../../../../../../../../bin/sh", "true/../sh", "sh ", " sh", "sh\n", "true;sh"} do
  local ok, err = pcall(process.run, {cmd, "-c", "true"})
  assert.eq(ok, false, cmd)
  assert.eq(err.code, "denied", cmd)
  local ok, err = pcall(process.spawn_pty, {cmd, "-c", "true"})
  assert.eq(err.code, "denied", cmd)
end

--# case: the granted program under its other paths
--# allow: process=/bin/true
for _, cmd in ipairs{"true", "/bin/true", "/usr/bin/true", "/bin/../bin/true", "//bin/true"} do
  assert.eq(process.run{cmd}.status, 0, cmd)
end

--# case: variables that load code need the whole capability
--# allow: process=true,process=env
for _, name in ipairs{"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GCONV_PATH", "GLIBC_TUNABLES"} do
  local ok, err = pcall(process.run, {cmd = "true", env = {[name] = "/tmp/x.so"}})
  assert.eq(ok, false)
  assert.eq(err.code, "denied")
  assert.contains(err.message, name)
  env.set(name, "/tmp/x.so")
  local ok, err = pcall(process.spawn, {cmd = "true"})
  assert.eq(ok, false)
  assert.eq(err.code, "denied")
  env.set(name, nil)
end
assert.eq(process.run{cmd = "env", env = {LDFLAGS = "1"}}.stdout, "LDFLAGS=1\n")

--# case: what the operator gives may load code
--# allow: process=env,env=LD_LIBRARY_PATH
--# env: LD_LIBRARY_PATH=/nowhere
--# flags: --env LD_BIND_NOW=1
assert.eq(process.run{"env"}.stdout, "LD_BIND_NOW=1\nLD_LIBRARY_PATH=/nowhere\n")

--# case: the environment of Assay is out of reach
--# allow: process=sh,process=cat
--# env: SECRET=do-not-tell
assert.eq(process.run{"sh", "-c", "echo $SECRET"}.stdout, "\n")
-- The supervisor holds nothing either.
local text = process.run{"sh", "-c", "tr '\\0' '\\n' < /proc/$PPID/environ; ls -l /proc/$PPID/fd /proc/$PPID/cwd"}.stdout
assert.eq(text:find("do-not-tell", 1, true), nil)
assert.eq(text:find("${TMP}", 1, true), nil)

--# case: a program cannot reach the terminal
--# allow: process=sh
assert.eq(process.run{"sh", "-c", "exec 2>/dev/null; echo x >/dev/tty"}.status ~= 0, true)

--# case: a denied program stays denied
--# allow: process
--# flags: --deny process=sh,process=/usr/bin/env
for _, cmd in ipairs{"sh", "/bin/sh", "/usr/bin/sh", "env", "/bin/env"} do
  local ok, err = pcall(process.run, {cmd})
  assert.eq(ok, false, cmd)
  assert.eq(err.code, "denied", cmd)
  assert.contains(err.message, "--deny")
end

--# case: handles do not reach other programs
--# allow: process=cat
local one = process.spawn{cmd = "cat", stdin = "pipe", stdout = "pipe"}
one.pid = 1
local ok, err = pcall(one.kill, one)
assert.eq(err.code, "denied")
local ok, err = pcall(one.read, setmetatable({}, getmetatable(one)))
assert.eq(err.code, "invalid_argument")

--# case: floods of programs end at the limit
--# allow: process=sleep
--# flags: --max-children 8
local started = 0
while true do
  local ok, err = pcall(process.spawn, {cmd = "sleep", args = {"1000"}, stdout = "null", stderr = "null"})
  if not ok then
    assert.eq(err.code, "limit")
    break
  end
  started = started + 1
end
assert.eq(started, 8)

--# case: a script that is not trusted starts nothing
for _, f in ipairs{
  function() return process.run{"true"} end,
  function() return process.spawn_pty{cmd = "true"} end,
  function() return shell.exec("true") end,
  function() return io.popen("true") end,
  function() return os.execute("true") end,
} do
  local ok, err = pcall(f)
  assert.eq(ok, false)
  assert.eq(err.code, "denied")
end
