--- # Programs: escapes
--- Ways to run, reach or leave behind what was not granted.

--# case: a program in the working directory is not the granted one
--# allow: process=sort,fs=rw:${TMP}
for _, path in ipairs{"sort", "bin/sort"} do
  fs.write(path, "#!/bin/sh\necho hijacked\n")
  fs.chmod(path, "755")
end
assert.eq(process.run{cmd = "sort", cwd = "bin"}.stdout, "")
for _, path in ipairs{fs.canonicalize("bin") .. ":.", ".", "", "bin"} do
  local ok, err = pcall(process.run, {cmd = "sort", cwd = ".", env = {PATH = path}})
  assert.eq(ok, false)
  assert.contains(err.message, "--allow process=env:PATH")
end
env.set("PATH", fs.canonicalize("bin") .. ":.")
local ok, err = pcall(process.run, {"sort"})
assert.eq(ok, false)
assert.eq(err.code, "denied")
env.unset("PATH")
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

--# case: a script sets the variables that are granted
--# allow: process=env,process=env:MYAPP_*,process=env:EDITOR,pty=env
local refused = {
  "BASH_ENV", "ENV", "PATH", "IFS", "PS1", "PS4", "PROMPT_COMMAND", "SHELLOPTS", "BASH_FUNC_ls%%", "CDPATH", "SHELL", "PAGER", "LESSOPEN", "MANPAGER",
  "OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES", "SSL_CERT_FILE", "SSLKEYLOGFILE", "CURL_HOME", "http_proxy", "HTTPS_PROXY", "ALL_PROXY",
  "GIT_SSH_COMMAND", "GIT_EXTERNAL_DIFF", "GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_CONFIG_GLOBAL", "GIT_EXEC_PATH", "GIT_DIR", "GIT_ASKPASS",
  "NODE_OPTIONS", "NODE_PATH", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PYTHONINSPECT", "PERL5LIB", "PERL5OPT", "PERL5DB", "RUBYOPT", "RUBYLIB",
  "LUA_INIT", "LUA_PATH", "PHPRC", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH", "MAVEN_OPTS", "GOFLAGS", "RUSTC_WRAPPER",
  "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "LD_", "DYLD_INSERT_LIBRARIES", "GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "NLSPATH", "MALLOC_PERTURB_",
  "TERMINFO", "TERMINFO_DIRS", "TERMCAP", "TZDIR", "LANGUAGE", "LC_X", "HOSTALIASES", "RES_OPTIONS", "LOCALDOMAIN", "TMPDIR", "XDG_CONFIG_HOME", "VIMINIT",
  "EDITORS", "EDITO", "editor", "XMYAPP_A", "myapp_a", "MYAPP", "TAR_OPTIONS", "MAKEFLAGS", "RIPGREP_CONFIG_PATH", "SSH_ASKPASS", "DISPLAY", "_", "A B",
}
for _, name in ipairs(refused) do
  for _, start in ipairs{process.run, process.spawn, process.exec, process.spawn_pty} do
    for _, clear in ipairs{true, false} do
      local ok, err = pcall(start, {cmd = "env", env = {[name] = "/tmp/x"}, clear_env = clear})
      assert.eq(ok, false, name)
      assert.eq(err.code, "denied", name)
      assert.contains(err.message, (start == process.spawn_pty and "pty=env:" or "process=env:") .. name:gsub("%%", "%%25"))
    end
    env.set(name, "/tmp/x")
    local ok, err = pcall(start, {cmd = "env"})
    assert.eq(ok, false, name)
    assert.eq(err.code, "denied", name)
    env.unset(name)
  end
end
env.set("PATH", "/tmp/x")
-- What it has set is not there where it starts from nothing.
local path = process.run{"env", clear_env = true}.stdout
assert.matches(path, "^PATH=[^\n]+\n$")
assert.eq(path:find("/tmp/x", 1, true), nil)
env.unset("PATH")
assert.eq(process.run{cmd = "env", env = {MYAPP_A = "1", EDITOR = "x"}}.stdout, "EDITOR=x\nMYAPP_A=1\n" .. path)
env.set("MYAPP_A", "2")
assert.eq(process.run{cmd = "env"}.stdout, "MYAPP_A=2\n" .. path)

--# case: a pattern does not grant what loads code
--# allow: process=env,process=env:*,process=env:LD_BIND_NOW
for _, name in ipairs{"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "LD_BIND_NO", "LD_BIND_NOW2", "DYLD_LIBRARY_PATH", "GCONV_PATH", "GLIBC_TUNABLES",
  "LOCPATH", "NLSPATH", "PATH", "BASH_ENV", "ENV", "BASH_FUNC_x%%", "SHELLOPTS"} do
  local ok, err = pcall(process.run, {cmd = "env", env = {[name] = "/tmp/x.so"}})
  assert.eq(ok, false, name)
  assert.eq(err.code, "denied")
  assert.contains(err.message, "process=env:" .. name:gsub("%%", "%%25"))
end
assert.contains(process.run{cmd = "env", env = {LDFLAGS = "1", LD_BIND_NOW = "1", PYTHONPATH = "x"}}.stdout, "LDFLAGS=1\nLD_BIND_NOW=1\nPATH=")

--# case: the whole capability grants every variable
--# allow: process
assert.contains(process.run{cmd = "env", env = {LD_BIND_NOW = "1"}}.stdout, "LD_BIND_NOW=1\n")
assert.eq(process.run{cmd = "/usr/bin/env", env = {PATH = "/x"}}.stdout, "PATH=/x\n")

--# case: so does everything, except what is denied
--# flags: -A --deny process=env:LD_*,process=env:LANG,process=env:HOME
for _, name in ipairs{"LD_PRELOAD", "LD_BIND_NOW", "LANG", "HOME"} do
  local ok, err = pcall(process.run, {cmd = "env", env = {[name] = name == "HOME" and fs.tempdir() or "C"}})
  assert.eq(ok, false, name)
  assert.eq(err.code, "denied", name)
  assert.contains(err.message, "denied by --deny ")
end
assert.contains(process.run{cmd = "env", env = {GIT_DIR = "x"}}.stdout, "GIT_DIR=x\n")

--# case: the home of a program is empty and stays so
--# allow: process=env,process=sh
local function home(path)
  return pcall(process.run, {cmd = "sh", args = {"-c", "echo $HOME; ls -A $HOME"}, env = {HOME = path}})
end
-- What the script wrote there would be configuration: a command for git, psql, npm.
local filled = fs.tempdir()
fs.write(filled .. "/.gitconfig", "[core]\n\tfsmonitor = id\n")
local ok, err = home(filled)
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "it is not empty")
assert.eq(fs.read(filled .. "/.gitconfig"), "[core]\n\tfsmonitor = id\n")
-- What was refused is not taken away.
fs.write(filled .. "/more", "x")
local parent = fs.tempdir()
fs.mkdir(parent .. "/home")
local open = io.open(parent .. "/other", "w")
assert.eq(home(parent .. "/home"), true)
for name, attack in pairs{
  write = function() fs.write(parent .. "/home/.gitconfig", "x") end,
  mkdir = function() fs.mkdir(parent .. "/home/.config") end,
  link = function() fs.symlink(parent, parent .. "/home/.config") end,
  rename = function() fs.rename(parent .. "/other", parent .. "/home/.psqlrc") end,
  replace = function() fs.rename(filled, parent .. "/home") end,
  parent = function() fs.rename(parent, filled .. "/moved") end,
  remove = function() fs.remove(parent, {recursive = true}) end,
  copy = function() fs.copy(parent .. "/other", parent .. "/home/.npmrc") end,
  through = function() fs.symlink("home", parent .. "/way") fs.write(parent .. "/way/.gitconfig", "x") end,
} do
  local ok, err = pcall(attack)
  assert.eq(ok, false, name)
  assert.eq(err.code, "denied", name .. ": " .. tostring(err))
end
local _, done = home(parent .. "/home")
assert.eq(done.stdout, parent .. "/home\n.cache\n")

--# case: granting a program that the script may write gives a warning
--# file: tool.sh=x
--# allow: process=./tool.sh,fs=rw:.
--# stderr: process=./tool.sh grants a program that the script may write

--# case: names of locales, zones and an empty home need no grant
--# allow: process=env
local temp = fs.tempdir()
local free = {LANG = "de_DE.UTF-8", LC_ALL = "C.UTF-8", TZ = "America/Argentina/La_Rioja", TERM = "dumb", HOME = temp}
local out = process.run{cmd = "env", env = free}.stdout
for name, value in pairs(free) do
  assert.contains(out, name .. "=" .. value .. "\n")
end
assert.contains(process.run{cmd = "env", env = {HOME = temp .. "/sub"}}.stdout, "HOME=" .. temp .. "/sub\n")
for _, case in ipairs{
  {"LANG", "/tmp/locale"}, {"LANG", "../../tmp/x"}, {"LC_ALL", "a/b"}, {"LC_ALL", ("a"):rep(129)}, {"TZ", ":/etc/shadow"}, {"TZ", "/etc/shadow"},
  {"TZ", "../../../etc/shadow"}, {"TZ", "Europe/../../x"}, {"TERM", "../x"}, {"TERM", "a/b"}, {"HOME", "/"}, {"HOME", "/root"}, {"HOME", ""}, {"HOME", "."},
  {"HOME", "${TMP}"}, {"HOME", temp .. "/../.."}, {"HOME", temp .. "/../../etc"}, {"HOME", temp .. "x/../../../.."}, {"HOME", "/tmp"}, {"LANG", "C\n"},
} do
  local ok, err = pcall(process.run, {cmd = "env", env = {[case[1]] = case[2]}})
  assert.eq(ok, false, case[1] .. "=" .. case[2])
  assert.eq(err.code, "denied", case[1] .. "=" .. case[2])
  assert.contains(err.message, "--allow process=env:" .. case[1])
end

--# case: what the operator gives goes through, and stays what it is
--# allow: process=env,env=LD_LIBRARY_PATH
--# env: LD_LIBRARY_PATH=/nowhere
--# env: PATH=/usr/bin:/bin
--# flags: --env LD_BIND_NOW=1
local given = "LD_BIND_NOW=1\nLD_LIBRARY_PATH=/nowhere\nPATH=/usr/bin:/bin\n"
assert.eq(process.run{"env"}.stdout, given)
env.set("LD_LIBRARY_PATH", "/nowhere")
assert.eq(process.run{cmd = "env", env = {LD_BIND_NOW = "1"}}.stdout, given)
env.set("LD_LIBRARY_PATH", "/nowhere/else")
local ok, err = pcall(process.run, {"env"})
assert.eq(err.code, "denied")
env.set("LD_LIBRARY_PATH", "/nowhere")
local ok, err = pcall(process.run, {cmd = "env", env = {LD_BIND_NOW = ""}})
assert.eq(err.code, "denied")

--# case: a variable of the host that is not granted cannot be set back
--# allow: process=env
--# env: LD_LIBRARY_PATH=/nowhere
local ok, err = pcall(process.run, {cmd = "env", env = {LD_LIBRARY_PATH = "/nowhere"}})
assert.eq(err.code, "denied")

--# case: granted variables grant no program
--# allow: process=env:*,process=env:PATH,pty=env:*
for _, start in ipairs{process.run, process.spawn, process.spawn_pty} do
  for _, cmd in ipairs{"env", "/usr/bin/env", "env:*", "./env:PATH", "PATH"} do
    local ok, err = pcall(start, {cmd = cmd, env = {PATH = "/usr/bin", A = "1"}})
    assert.eq(ok, false, cmd)
    assert.eq(err.code, "denied", cmd)
  end
end

--# case: a working directory is read
--# allow: process=pwd,fs=read:${TMP}/in
--# file: in/a=
--# file: out/a=
--# link: in/link=../out
assert.eq(process.run{cmd = "pwd", cwd = "in"}.stdout, "${TMP}/in\n")
for _, path in ipairs{"out", "in/link", "in/..", "/", "in/../out", "/proc/self/cwd"} do
  for _, start in ipairs{process.run, process.spawn} do
    local ok, err = pcall(start, {cmd = "pwd", cwd = path})
    assert.eq(ok, false, path)
    assert.eq(err.code, "denied", path)
  end
end

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

--# case: no option lifts the bound on output over the budget
--# allow: process=head,process=cat,shell
--# flags: --host-memory 8MiB
local function write(bytes, options)
  options.cmd, options.args = "head", {"-c", bytes, "/dev/zero"}
  return pcall(process.run, options)
end
for _, most in ipairs{1 << 40, math.maxinteger, 1 << 30, 9 << 20} do
  local ok, err = write(32 << 20, {max_output = most})
  assert.eq(ok, false)
  assert.eq(err.code, "limit")
  local ok, err = pcall(shell.exec, "head -c 33554432 /dev/zero", {max_output = most})
  assert.eq(ok, false)
  assert.eq(err.code, "limit")
  local ok, err = pcall(shell.exec, "head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2", {max_output = most})
  assert.eq(ok, false)
  assert.eq(err.code, "limit")
  local ok, result = write(6 << 20, {max_output = most})
  assert.eq(ok and #result.stdout, 6 << 20)
end
local ok, err = write(1001, {max_output = 1000})
assert.eq(err.code, "limit")
local ok, result = write(1000, {max_output = 1000})
assert.eq(#result.stdout, 1000)
-- What programs are given counts as well, and is given back.
local ok, err = pcall(process.run, {cmd = "cat", stdin = ("x"):rep(5 << 20)})
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.eq(#process.run{cmd = "cat", stdin = ("x"):rep(3 << 20)}.stdout, 3 << 20)
assert.eq(#process.run{cmd = "cat", stdin = ("x"):rep(3 << 20)}.stdout, 3 << 20)

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

--# case: a denial of programs is one of terminals and command lines
--# flags: -A
--# deny: process
for name, call in pairs({
  process = function() process.run{ "true" } end,
  pty = function() process.spawn_pty{ cmd = "true" } end,
  shell = function() shell.exec("true") end,
  popen = function() io.popen("true") end,
}) do
  local ok, err = pcall(call)
  assert.eq(ok, false, name)
  assert.contains(tostring(err), "is denied by --deny process")
end

--# case: a denied program is denied in a terminal and by a command line
--# flags: -A
--# deny: process=true
assert.eq(process.run{ "false" }.status, 1)
for name, call in pairs({
  process = function() process.run{ "true" } end,
  pty = function() process.spawn_pty{ cmd = "true" } end,
  shell = function() shell.exec("true") end,
}) do
  local ok, err = pcall(call)
  assert.eq(ok, false, name)
  assert.contains(tostring(err), "is denied by --deny process=true")
end

--# case: a denied program is denied in a terminal under its other names
--# flags: -A
--# deny: process=true
--# link: tool=/bin/true
--# link: bin=/bin
for _, cmd in ipairs({ "true", "/bin/true", "/usr/bin/true", "./tool", "bin/true", "/usr/../bin/true" }) do
  for name, call in pairs({ process = process.run, pty = process.spawn_pty }) do
    local ok, err = pcall(call, { cmd = cmd })
    assert.eq(ok, false, name .. " " .. cmd)
    assert.contains(tostring(err), "is denied by --deny process=true")
  end
end
process.spawn_pty({ cmd = "false" }):close()

--# case: a denial of command lines is one of shells
--# flags: -A
--# deny: shell
--# link: tool=/bin/sh
assert.eq(process.run{ "true" }.status, 0)
for name, call in pairs({
  shell = function() shell.exec("true") end,
  popen = function() io.popen("true") end,
  sh = function() process.run{ "sh", "-c", "true" } end,
  path = function() process.run{ "/bin/sh", "-c", "true" } end,
  bash = function() process.run{ "bash", "-c", "true" } end,
  link = function() process.run{ "./tool", "-c", "true" } end,
  pty = function() process.spawn_pty{ cmd = "sh" } end,
}) do
  local ok, err = pcall(call)
  assert.eq(ok, false, name)
  assert.contains(tostring(err), "is denied by --deny shell")
end
