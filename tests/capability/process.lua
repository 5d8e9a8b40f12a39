--- # process
---
--- Programs: started, fed, read, waited for, ended.
---
--- A grant names programs: `--allow process=git`, `--allow process=/usr/bin/git,process=./build.sh`, or `--allow
--- process` for all. **A granted program is trusted**: a script that may run `git` can do whatever
--- arguments make `git` do, and that includes running other programs. Grant `sh`, `python3` or `env` only to
--- scripts that may do anything that you may do. Many other programs run what an argument says, or what a file says
--- that an argument or the working directory leads to:
---
--- - `git -c core.pager=CMD`, `git -c alias.x='!CMD'`, `git clone --upload-pack=CMD`, hooks and `.git/config` in `cwd`
--- - `tar --to-command=CMD`, `tar --checkpoint-action=exec=CMD`, `tar -I CMD`, `rsync -e CMD`, `ssh -o ProxyCommand=CMD`
--- - `find -exec CMD`, `xargs CMD`, `env CMD`, `nice CMD`, `timeout 1 CMD`, `sort --compress-program=CMD`
--- - `awk 'BEGIN { system("CMD") }'`, `sed '1e CMD'`, `vim -c '!CMD'`, `less` and `man` by what is typed
--- - `make -f FILE`, `npm run`, `pip install`, `curl -o FILE` and `-K FILE`, `zip -TT CMD`, `openssl -engine FILE`
---
--- Put `--` before a value that comes from outside, so that it cannot be an option. For a program that should do one
--- thing only, grant a small program of your own (`process=./backup.sh`) which takes no more than it needs.
---
--- A bare name is looked up on the `PATH` that Assay was started with, when the run starts; the script's own variables,
--- working directory and files change nothing about it. What is compared is where a program was found *and* the file that
--- this leads to, so neither a link to another program nor another name of the same file (`pkill` for `pgrep`) is
--- covered. A program that is installed during the run is granted by its path. There is no shell in between: arguments
--- reach the program as they are.
---
--- A program gets the environment that the script itself sees: nothing, unless variables were granted with `env=` or
--- given with `--env`, and the `PATH` that Assay was started with. **A script sets variables that are granted only**, in
--- `env` or with `env.set`: many make a program run something else (`BASH_ENV`, `GIT_SSH_COMMAND`, `NODE_OPTIONS`,
--- `PYTHONPATH`, `LD_PRELOAD`). `process=env:NAME` grants one, `process=env:MYAPP_*` all that fit; but what takes code into
--- any program (`LD_*`, `DYLD_*`, `GCONV_PATH`, `GLIBC_TUNABLES`, `LOCPATH`, `NLSPATH`, `PATH`, `BASH_ENV`, `ENV`,
--- `SHELLOPTS`, `BASHOPTS`, `PS4`, `BASH_FUNC_*`) is granted by its exact name only. `process` as a whole and `-A` grant
--- every variable, as `env` could set it. No grant is needed for `LANG` and `LC_*` with the name of a locale, `TZ` with a
--- time zone, `TERM` with the name of a terminal, `HOME` with an empty directory of `fs.tempdir()`, and for a variable that
--- keeps the value that it has for the script. Removing a variable needs none either. Such a home is written by programs
--- only from then on: what a script puts there is configuration that programs run (`.gitconfig`, `.psqlrc`).
---
--- A `cwd` needs `fs=read:` of the directory, files for the streams need `fs`
--- grants as if the script opened them itself.
---
--- Nothing outlives the script. Every program has a session and process group of its own, without a terminal, and
--- its parent is a small supervisor that adopts whatever it leaves behind; when the script ends, is stopped by a limit
--- or a signal, or when Assay itself is killed, all of it is killed, daemons included. Out of reach are only programs
--- that become another user (`sudo`) and what other services are asked to start (`systemd-run`, `at`); and a program
--- that kills the supervisor can leave daemons behind.
---
--- At most `--max-children` programs run at a time (64 unless raised), each pipe that the script
--- holds is a handle, and what goes through counts as host bytes. Works on Linux.
---
--- ## process.spawn(options) -> process
--- Starts a program and goes on. `options.cmd` is a name or path, `args` a list. Also `process.spawn(cmd, options)`
--- and `process.spawn{"git", "status"}`.
---
--- - `cwd`: its working directory. A relative `cmd` is still relative to the script's own.
--- - `env`: variables to add, which are granted with `process=env:NAME`; `clear_env = true` starts from nothing but
---   `PATH`.
--- - `stdin`: `"null"` (the default: the end at once), `"pipe"`, or `{file = path}`.
--- - `stdout`, `stderr`: `"inherit"` (the default: where the script's own goes, under its limit), `"null"`, `"pipe"`, a
---   path, or `{file = path, append = true}`; for stderr also `"stdout"`: where the output goes. A file is made with the
---   directories that lead to it.
---
--- The result has the field `pid` and the methods below. Raises `denied`, `not_found`, `permission`, `limit`.
---
--- ## process:write(data) -> process
--- Writes to its input, and waits while the pipe is full. Raises `unavailable` where it reads no more.
---
--- ## process:close_stdin()
--- Closes its input, which it sees as the end.
---
--- ## process:read(n?) -> string or nil
--- What it has written next, at most `n` bytes; all of it with `"a"`; nil at the end.
---
--- ## process:read_stderr(n?) -> string or nil
--- The same of its errors.
---
--- ## process:lines() -> iterator
--- The lines of its output, without their ends.
---
--- ## process:wait(options?) -> table
--- As `process.wait`.
---
--- ## process:kill(signal?, options?) -> boolean
--- As `process.kill`.
---
--- ## process:is_alive() -> boolean
---
--- ## process.run(options) -> table
--- Runs a program to its end and captures what it writes. Takes `cmd`, `args`, `cwd`, `env`, `clear_env`, and
---
--- - `stdin`: a string that it reads.
--- - `timeout`: seconds, 0 for no bound. Then it is killed, with all that it has started.
--- - `max_output`: bytes of its output and of its errors, each; 16 MiB unless said. A program that writes more is
---   killed, and `limit` raised.
---
--- Gives `{status, stdout, stderr, timed_out, exited, signaled, signal}`: `status` is its code, or 128 and the number of
--- the signal that ended it. A status other than 0 is no error. What it has left running in the background is not
--- waited for.
---
--- ## process.exec(options) -> table
--- Another name of `process.run`.
---
--- ## process.wait(pid, options?) -> table
--- Waits for the end of a program that this script has started: `{status, exited, signaled, timed_out}`, and `signal`
--- where one has ended it. With `{timeout = seconds}` it may return before the end: then `timed_out` is true, and the
--- program goes on; 0 is no bound. May be asked again. A program that writes to a pipe ends only when the pipe is read.
---
--- ## process.kill(pid, signal?, options?) -> boolean
--- Sends a signal, 15 (TERM) unless said: a number, or a name like `"HUP"`. With `{group = true}` to its whole process
--- group. False where the program is over; its number is never mistaken for another's. Processes that the script has
--- not started need `process` as a whole.
---
--- ## process.list() -> table
--- Every process of the machine: `{pid, name, cmdline}`. Needs `process` as a whole.
---
--- ## process.is_running(name) -> boolean
--- Whether a process has this name. Needs a grant of that program.
---
--- ## process.wait_idle(names, timeout?, interval?) -> boolean
--- Waits until no process has one of these names; false where `timeout` seconds (60, 0 for no bound) pass before. Looks
--- every `interval` seconds (0.5).
---
--- ## process.pid() -> integer
--- The number of the process that runs the script.
---
--- ## process.sleep(seconds)
--- As `sleep`. Needs no grant.

--# example: run a program
--# allow: process=sort
local result = process.run{cmd = "sort", args = {"-n"}, stdin = "10\n9\n"}
assert.eq(result.status, 0)
assert.eq(result.stdout, "9\n10\n")

--# example: talk to a program
--# allow: process=cat
local cat = process.spawn{cmd = "cat", stdin = "pipe", stdout = "pipe"}
cat:write("one\ntwo\n")
cat:close_stdin()
local lines = {}
for line in cat:lines() do
  lines[#lines + 1] = line
end
assert.eq(table.concat(lines, ","), "one,two")
assert.eq(cat:wait().status, 0)

--# example: wait with a timeout
--# allow: process=sleep
local sleeper = process.spawn{cmd = "sleep", args = {"1000"}}
assert.eq(process.wait(sleeper.pid, {timeout = 0.05}).timed_out, true)
process.kill(sleeper.pid)
local ended = process.wait(sleeper.pid)
assert.eq(ended.status, 128 + 15)
assert.eq(ended.signaled, true)

--# example: many at a time
--# allow: process=sh
local tasks = {}
for i = 1, 3 do
  tasks[i] = function()
    return process.run{"sh", "-c", 'exit "$1"', "sh", i}.status
  end
end
local results = async.all(tasks)
assert.eq(#results, 3)

--# case: denied without a grant
local ok, err = pcall(process.spawn, {cmd = "git"})
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow process=git")
for _, f in ipairs{process.list, process.pid, function() process.kill(1) end, function() process.run{"ls"} end,
  function() process.is_running("sh") end, function() process.wait(1) end, function() process.wait_idle("sh") end} do
  local ok, err = pcall(f)
  assert.eq(ok, false)
  assert.eq(err.code, "denied")
end
-- What is named in the denial is what the script called, and the least that it takes.
local ok, err = pcall(process.is_running, "sshd")
assert.matches(err.message, "^process sshd is not granted.*--allow process=sshd$")
local ok, err = pcall(process.wait_idle, {"apt-get", "dpkg"})
assert.matches(err.message, "--allow process=apt-get$")
local ok, err = pcall(process.list)
assert.matches(err.message, "^process.list is not granted")
process.sleep(0)

--# case: every form of the call
--# allow: process=printf
local function out(...)
  return process.run(...).stdout
end
assert.eq(out{cmd = "printf", args = {"%s-", "a", 2}}, "a-2-")
assert.eq(out{"printf", "%s-", "a", 2}, "a-2-")
assert.eq(out("printf", {args = {"x"}}), "x")
assert.eq(out("printf", {"%s", "y"}), "y")
assert.eq(process.exec, process.run)

--# case: arguments reach the program as they are
--# allow: process=printf
local words = {"", " ", "a b", "$HOME", "`id`", "$(id)", "; id", "| id", "&& id", "'", '"', "\\", "*", "?", "~", "\n",
  "-n", "--help", "\255\254", "ünï", "a=b", "%s", "\27[31m", "\1"}
local args = {"[%s]"}
local expected = {}
for _, word in ipairs(words) do
  args[#args + 1] = word
  expected[#expected + 1] = "[" .. word .. "]"
end
assert.eq(process.run{cmd = "printf", args = args}.stdout, table.concat(expected))

--# case: wrong arguments
--# allow: process
local function fails(sub, f, ...)
  local ok, err = pcall(f, ...)
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument", tostring(err))
  assert.contains(err.message, sub)
end
fails("cmd is the name", process.spawn, {})
fails("cmd is the name", process.run, {cmd = ""})
fails("cmd is the name", process.run, {cmd = 3})
fails("a table with cmd", process.run)
fails("args is a list", process.run, {cmd = "true", args = "x"})
fails("args[2] is a string", process.run, {cmd = "true", args = {"x", {}}})
fails("NUL", process.run, {cmd = "true", args = {"a\0b"}})
fails("env is a table", process.run, {cmd = "true", env = 3})
fails("env has the names", process.run, {cmd = "true", env = {"x"}})
fails("env.A is a string", process.run, {cmd = "true", env = {A = true}})
fails("neither '='", process.run, {cmd = "true", env = {["A=B"] = "x"}})
fails("neither '='", process.run, {cmd = "true", env = {[""] = "x"}})
fails("NUL", process.run, {cmd = "true", env = {A = "x\0y"}})
fails("cwd is a string", process.run, {cmd = "true", cwd = 1})
fails("stdin is a string", process.run, {cmd = "true", stdin = 1})
fails("timeout is a number", process.run, {cmd = "true", timeout = -1})
fails("timeout is a number", process.run, {cmd = "true", timeout = 0/0})
fails("max_output", process.run, {cmd = "true", max_output = "1"})
fails("stdin is \"null\"", process.spawn, {cmd = "true", stdin = "text"})
fails("stdout is", process.spawn, {cmd = "true", stdout = 1})
fails("number of a process", process.wait, "1")
fails("greater than 0", process.kill, 0)
fails("greater than 0", process.kill, -1)
fails("is not a signal", process.kill, 1, "NOPE")
fails("is not a signal", process.kill, 1, 65)
fails("no names", process.wait_idle, {})
local child = process.spawn{cmd = "true"}
fails("not a pipe", child.read, child)
fails("not a pipe", child.write, child, "x")
fails("process.spawn is needed", child.read, {pid = child.pid})

--# case: what is not there is not found
--# allow: process
local ok, err = pcall(process.run, {cmd = "no-such-program-anywhere"})
assert.eq(err.code, "not_found")
assert.contains(err.message, "PATH")
local ok, err = pcall(process.run, {cmd = "./none"})
assert.eq(err.code, "not_found")
local ok, err = pcall(process.run, {cmd = "/etc/passwd"})
assert.eq(err.code, "permission")
local ok, err = pcall(process.run, {cmd = "/usr"})
assert.eq(ok, false)

--# case: granted and not installed
--# allow: process=no-such-program-anywhere
local ok, err = pcall(process.run, {cmd = "no-such-program-anywhere"})
assert.eq(err.code, "not_found")
-- Whether something else exists is not told.
for _, cmd in ipairs{"also-not-there", "/etc/passwd", "/none/none"} do
  local ok, err = pcall(process.run, {cmd = cmd})
  assert.eq(err.code, "denied", cmd)
end

--# case: the environment is empty
--# allow: process=env,process=env:A,process=env:N
--# env: SECRET=1
--# env: PATH=/usr/bin:bin:.:/bin
--# flags: --env GIVEN=1
-- Entries that depend on the working directory are left out.
local path = "PATH=/usr/bin:/bin\n"
assert.eq(process.run{"env"}.stdout, "GIVEN=1\n" .. path)
assert.eq(process.run{cmd = "env", clear_env = true}.stdout, path)
assert.eq(process.run{cmd = "env", clear_env = true, env = {A = "b c", N = 1}}.stdout, "A=b c\nN=1\n" .. path)

--# case: only granted variables reach a program
--# allow: process=env,env=PATH,process=env:MINE
local out = process.run{"env"}.stdout
assert.matches(out, "^PATH=[^\n]*\n$")
env.set("MINE", "x")
assert.contains(process.run{"env"}.stdout, "MINE=x\n")
env.set("MINE", nil)
assert.eq(process.run{"env"}.stdout, out)
assert.eq(process.run{cmd = "env", env = {PATH = env.get("PATH")}}.stdout, out)

--# case: streams
--# allow: process=sh,fs=rw:${TMP}
local line = "cat; echo out; echo err >&2"
local child = process.spawn{cmd = "sh", args = {"-c", line}, stdin = "pipe", stdout = "pipe", stderr = "pipe"}
child:write("in\n"):write(5)
child:close_stdin()
assert.eq(child:read("a"), "in\n5out\n")
assert.eq(child:read(), nil)
assert.eq(child:read_stderr("a"), "err\n")
assert.eq(child:wait().exited, true)
local child = process.spawn{cmd = "sh", args = {"-c", line}, stdout = "pipe", stderr = "stdout"}
assert.eq(child:read("a"), "out\nerr\n")
fs.write("in", "from a file\n")
local child = process.spawn{cmd = "sh", args = {"-c", line}, stdin = {file = "in"}, stdout = "logs/out", stderr = {file = "logs/err"}}
assert.eq(child:wait().status, 0)
assert.eq(fs.read("logs/out"), "from a file\nout\n")
assert.eq(fs.read("logs/err"), "err\n")
local child = process.spawn{cmd = "sh", args = {"-c", "echo more"}, stdout = {file = "logs/out", append = true}, stderr = "null"}
child:wait()
assert.eq(fs.read("logs/out"), "from a file\nout\nmore\n")
local child = process.spawn{cmd = "sh", args = {"-c", "echo less"}, stdout = {file = "logs/out"}}
child:wait()
assert.eq(fs.read("logs/out"), "less\n")

--# case: inherited output
--# allow: process=sh
--# stdout: one two three
--# stderr: wrong
io.write("one ")
process.spawn{"sh", "-c", "printf 'two '; echo wrong >&2"}:wait()
io.write("three")

--# case: the output limit holds for inherited output
--# allow: process=sh
--# flags: --max-output 1000
local child = process.spawn{"sh", "-c", "while :; do echo 0123456789; done"}
assert.eq(child:wait().status, 137)

--# case: reading in pieces
--# allow: process=printf
local child = process.spawn{cmd = "printf", args = {"12345\n678\n9"}, stdout = "pipe"}
assert.eq(child:read(3), "123")
local lines = child:lines()
assert.eq(lines(), "45")
assert.eq(child:read(2), "67")
assert.eq(lines(), "8")
assert.eq(lines(), "9")
assert.eq(lines(), nil)
local child = process.spawn{cmd = "printf", args = {"\n\na"}, stdout = "pipe"}
local all = {}
for line in child:lines() do
  all[#all + 1] = line
end
assert.eq(table.concat(all, ","), ",,a")

--# case: binary and large
--# allow: process=cat
local parts = {}
for i = 0, 255 do
  parts[i + 1] = string.char(i)
end
local bytes = table.concat(parts):rep(16 * 1024)
assert.eq(#bytes, 4 << 20)
local result = process.run{cmd = "cat", stdin = bytes}
assert.eq(result.stdout == bytes, true)
local child = process.spawn{cmd = "cat", stdin = "pipe", stdout = "pipe"}
local writer = async.spawn(function()
  child:write(bytes)
  child:close_stdin()
end)
assert.eq(child:read("a") == bytes, true)
writer:await()

--# case: a program that does not read its input
--# allow: process=true
assert.eq(process.run{cmd = "true", stdin = ("x"):rep(1 << 20)}.status, 0)
local child = process.spawn{cmd = "true", stdin = "pipe"}
child:wait()
local ok, err = pcall(child.write, child, "x")
assert.eq(err.code, "unavailable")

--# case: the output cap, both sides
--# allow: process=head
local function zeros(n)
  return process.run{cmd = "head", args = {"-c", n, "/dev/zero"}, max_output = 100000}
end
assert.eq(#zeros(100000).stdout, 100000)
local ok, err = pcall(zeros, 100001)
assert.eq(err.code, "limit")
assert.contains(err.message, "max_output")
local ok, err = pcall(process.run, {cmd = "head", args = {"-c", (16 << 20) + 1, "/dev/zero"}})
assert.eq(err.code, "limit")

--# case: host bytes count
--# allow: process=head
--# flags: --max-host-bytes 100000
assert.eq(#process.run{"head", "-c", 50000, "/dev/zero"}.stdout, 50000)
local ok, err = pcall(process.run, {"head", "-c", 100000, "/dev/zero"})
assert.eq(err.code, "limit")
assert.contains(err.message, "--max-host-bytes")

--# case: statuses
--# allow: process=sh
local function ends(line)
  local result = process.run{"sh", "-c", line}
  return result.status, result.exited, result.signaled, result.signal
end
local function same(line, ...)
  local got, want = table.pack(ends(line)), table.pack(...)
  for i = 1, 4 do
    assert.eq(got[i], want[i], line)
  end
end
same("exit 0", 0, true, false, nil)
same("exit 255", 255, true, false, nil)
same("kill -TERM $$", 143, false, true, 15)
same("kill -KILL $$", 137, false, true, 9)
local child = process.spawn{"sh", "-c", "exit 7"}
for _ = 1, 3 do
  local ended = process.wait(child.pid)
  assert.eq(ended.status, 7)
  assert.eq(ended.timed_out, false)
end
assert.eq(child:is_alive(), false)
assert.eq(child:kill(), false)
assert.eq(process.kill(child.pid, "KILL"), false)

--# case: a timeout ends what was started below
--# allow: process=sh
local result
-- A busy machine may take longer to start both.
for _, seconds in ipairs{0.5, 5, 60} do
  result = process.run{
    cmd = "sh",
    args = {"-c", "sh -c 'echo inner; exec sleep 1000' & echo outer >&2; wait"},
    timeout = seconds,
  }
  if result.stdout ~= "" and result.stderr ~= "" then
    break
  end
end
assert.eq(result.timed_out, true)
assert.eq(result.status, 137)
assert.eq(result.stdout, "inner\n")
assert.eq(result.stderr, "outer\n")

--# case: what is left in the background is not waited for
--# allow: process=sh
local started = time()
assert.eq(process.run{"sh", "-c", "sleep 1000 & echo done"}.stdout, "done\n")
assert.lt(time() - started, 100)

--# case: signals
--# allow: process=sh
local child = process.spawn{
  cmd = "sh",
  args = {"-c", "trap 'echo hup' HUP; trap 'echo usr1' USR1; echo ready; while :; do read line; [ \"$line\" = q ] && exit 5; done"},
  stdin = "pipe", stdout = "pipe",
}
local lines = child:lines()
assert.eq(lines(), "ready")
assert.eq(child:is_alive(), true)
assert.eq(child:kill(0), true)
assert.eq(child:kill("SIGHUP"), true)
child:write("\n")
assert.eq(lines(), "hup")
assert.eq(process.kill(child.pid, "usr1"), true)
child:write("\n")
assert.eq(lines(), "usr1")
child:write("q\n")
assert.eq(child:wait().status, 5)
local child = process.spawn{cmd = "sh", args = {"-c", "sleep 1000 & echo ready; wait"}, stdout = "pipe"}
assert.eq(child:read(), "ready\n")
assert.eq(child:kill("TERM", {group = true}), true)
assert.eq(child:read(), nil)
assert.eq(tostring(child), "process (" .. child.pid .. ")")

--# case: other processes need the whole capability
--# allow: process=sh
local parent = tonumber((process.run{"sh", "-c", "echo $PPID"}.stdout:match("%d+")))
for _, f in ipairs{
  function() process.kill(parent, 0) end,
  function() process.kill(process.pid(), 0) end,
  process.list,
} do
  local ok, err = pcall(f)
  assert.eq(ok, false)
  assert.eq(err.code, "denied")
  assert.matches(err.message, "--allow process$")
end
local ok, err = pcall(process.wait, parent)
assert.eq(err.code, "not_found")

--# case: the processes of the machine
--# allow: process
assert.eq(process.kill(process.pid(), 0), true)
local own
for _, info in ipairs(process.list()) do
  if info.pid == process.pid() then
    own = info
  end
end
assert.eq(own.name, "assay")
assert.contains(own.cmdline, "assay")
assert.eq(process.is_running("assay"), true)
assert.eq(process.is_running("no-such-program-anywhere"), false)

--# case: waiting until a name is gone
--# allow: process=sh,fs=rw:${TMP},process=${TMP}/a-name-of-its-own,process=a-name-of-its-own
fs.write("a-name-of-its-own", "#!/bin/sh\nread line\n")
fs.chmod("a-name-of-its-own", "755")
local child = process.spawn{cmd = "./a-name-of-its-own", stdin = "pipe"}
assert.eq(process.is_running("a-name-of-its-own"), true)
assert.eq(process.wait_idle("a-name-of-its-own", 0.05, 0.01), false)
async.spawn(function()
  child:close_stdin()
end)
assert.eq(process.wait_idle({"a-name-of-its-own"}, 30, 0.01), true)
local ok, err = pcall(process.is_running, "bash")
assert.eq(err.code, "denied")

--# case: the working directory
--# allow: process=pwd,process=ln,fs=read:${TMP},fs=write:${TMP}
fs.mkdir("sub")
assert.eq(process.run{"pwd"}.stdout, fs.canonicalize(".") .. "\n")
assert.eq(process.run{cmd = "pwd", cwd = "sub"}.stdout, fs.canonicalize("sub") .. "\n")
fs.symlink("sub", "link")
assert.eq(process.run{cmd = "pwd", cwd = "link"}.stdout, fs.canonicalize("sub") .. "\n")
process.run{"ln", "-s", "/", "out"}
for _, path in ipairs{"/", "..", "out", "/etc", "sub/../.."} do
  local ok, err = pcall(process.run, {cmd = "pwd", cwd = path})
  assert.eq(ok, false, path)
  assert.eq(err.code, "denied", path)
  -- A way that leads out by a link has no flag: it must not tell where it leads.
  assert.contains(err.message, path == "out" and "is refused" or "--allow fs=stat:")
end
local ok, err = pcall(process.run, {cmd = "pwd", cwd = "none"})
assert.eq(err.code, "not_found")
assert.contains(err.message, "the working directory")

--# case: files for streams need grants
--# allow: process=true,fs=read:${TMP}
for _, options in ipairs{{stdout = "x"}, {stderr = {file = "x", append = true}}, {stdin = {file = "/etc/passwd"}}} do
  options.cmd = "true"
  local ok, err = pcall(process.spawn, options)
  assert.eq(ok, false)
  assert.eq(err.code, "denied")
end

--# case: the limit on programs, both sides
--# allow: process=cat
--# flags: --max-children 4
local children = {}
for i = 1, 4 do
  children[i] = process.spawn{cmd = "cat", stdin = "pipe"}
end
local ok, err = pcall(process.spawn, {cmd = "cat"})
assert.eq(err.code, "limit")
assert.contains(err.message, "--max-children")
children[1]:close_stdin()
children[1]:wait()
assert.eq(process.run{"cat"}.status, 0)

--# case: pipes are handles
--# allow: process=cat
--# flags: --max-handles 4
local one = process.spawn{cmd = "cat", stdin = "pipe", stdout = "pipe", stderr = "pipe"}
local ok, err = pcall(process.spawn, {cmd = "cat", stdin = "pipe", stdout = "pipe"})
assert.eq(err.code, "limit")
one:close_stdin()
local two = process.spawn{cmd = "cat", stdin = "pipe", stdout = "pipe"}
assert.not_nil(two.pid)

--# case: a hundred at once
--# allow: process=sh
--# flags: --max-children 100
local tasks = {}
for i = 1, 100 do
  tasks[i] = function()
    return process.run{cmd = "sh", args = {"-c", "read x; echo $x"}, stdin = i .. "\n"}.stdout
  end
end
local results = async.all(tasks)
for i = 1, 100 do
  assert.eq(results[i], i .. "\n")
end

--# case: waiting works anywhere
--# allow: process=true
local co = coroutine.wrap(function()
  local first = process.run{"true"}.status
  coroutine.yield(first)
  return process.spawn{"true"}:wait().status
end)
assert.eq(co(), 0)
assert.eq(co(), 0)
local ok, status = pcall(function() return process.run{"true"}.status end)
assert.eq(status, 0)
local list = {3, 1, 2}
table.sort(list, function(a, b) return process.run{"true"}.status == 0 and a < b end)
assert.eq(table.concat(list), "123")

--# case: a thousand, one after the other
--# allow: process=true
for _ = 1, 1000 do
  assert.eq(process.run{"true"}.status, 0)
end

--# case: no zombies
--# allow: process
for _ = 1, 20 do
  process.spawn{"true"}:wait()
end
process.run{"sh", "-c", "for i in 1 2 3 4 5; do setsid true & done"}
local text = process.run{"sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null; echo $PPID"}.stdout
local supervisor = text:match("(%d+)\n$")
local zombies = 0
for line in text:gmatch("[^\n]+") do
  local state, parent = line:match("%) (%a) (%d+) ")
  if state == "Z" and parent == supervisor then
    zombies = zombies + 1
  end
end
-- What a program has left behind is reaped as it ends, so one may just be ending.
assert.lt(zombies, 6)
assert.eq(process.run{"true"}.status, 0)
