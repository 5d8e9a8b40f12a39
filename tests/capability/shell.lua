--- # shell
---
--- Command lines, run by `/bin/sh -c`.
---
--- The grant has no scopes: `--allow shell` lets a script do whatever its user can do. It includes `process` and `pty`,
--- and `io.popen` and `os.execute` need it. A script that runs certain programs only is better off with `process`.
---
--- A command line gets the environment that the script itself sees, which is nothing unless variables were granted or
--- given, and the `PATH` that Assay was started with. `env` and `env.set` set any variable of it, since a command line could
--- as well: `shell` grants what `process=env:NAME` does. It gets no terminal. What it starts ends with the
--- script, background jobs and daemons included. The limits are those of `process`.
---
--- The options of all functions: `cwd` (needs `fs=read:` of the directory), `env` (variables to add), `clear_env` (start
--- from nothing), `stdin` (a string), `timeout` (seconds; then it is killed with all that it has started), and `max_output`
--- (bytes of the output and of the errors, each; 16 MiB unless said).
---
--- ## shell.exec(command, options?) -> table
--- Runs a command line to its end: `{status, stdout, stderr, timed_out}`, and `exited`, `signaled` and `signal` as
--- `process.run` gives them. A status other than 0 is no error.
---
--- ## shell.run(command, options?) -> table
--- The same.
---
--- ## shell.output(command, options?) -> string, integer
--- Its output, and its status.
---
--- ## shell.pipe(commands, options?) -> table
--- Runs a list of command lines, each reading what the one before it writes. The result is that of the last one, with
--- the errors of all.
---
--- ## shell.which(name) -> string or nil
--- Where a program is on the `PATH` that Assay was started with.

--# example: a command line
--# allow: shell
local result = shell.exec("printf 'b\\na\\n' | sort")
assert.eq(result.status, 0)
assert.eq(result.stdout, "a\nb\n")

--# example: input, variables and a timeout
--# allow: shell
local result = shell.exec('read line; echo "$GREETING, $line"', {
  stdin = "world\n",
  env = {GREETING = "hello"},
  timeout = 30,
})
assert.eq(result.stdout, "hello, world\n")

--# case: denied without a grant
for _, f in ipairs{shell.exec, shell.run, shell.output, shell.which} do
  local ok, err = pcall(f, "ls")
  assert.eq(ok, false)
  assert.eq(err.code, "denied")
  assert.matches(err.message, "--allow shell$")
end
local ok, err = pcall(shell.pipe, {"ls"})
assert.eq(err.code, "denied")

--# case: process is not enough
--# allow: process
local ok, err = pcall(shell.exec, "ls")
assert.eq(err.code, "denied")
local ok, err = pcall(io.popen, "ls")
assert.eq(err.code, "denied")

--# case: shell includes process and pty
--# allow: shell
assert.eq(process.run{"sh", "-c", "exit 3"}.status, 3)
assert.not_nil(process.list()[1])
local term = process.spawn_pty{cmd = "true"}
assert.eq(term:wait().status, 0)

--# case: a denied program is denied to command lines, which could start it
--# allow: shell
--# flags: --deny process=cat
local ok, err = pcall(shell.exec, "true")
assert.eq(err.code, "denied")
assert.contains(err.message, "--deny process=cat")
assert.eq(process.run{"true"}.status, 0)
local ok, err = pcall(process.run, {"cat"})
assert.eq(err.code, "denied")

--# case: a denied shell leaves process
--# allow: process=true,shell
--# flags: --deny shell
local ok, err = pcall(shell.exec, "true")
assert.eq(err.code, "denied")
assert.eq(process.run{"true"}.status, 0)

--# case: statuses
--# allow: shell
for line, status in pairs{["true"] = 0, ["false"] = 1, ["exit 42"] = 42, ["kill -9 $$"] = 137, ["no-such-program-anywhere"] = 127} do
  local result = shell.exec(line)
  assert.eq(result.status, status, line)
  assert.eq(result.timed_out, false)
  assert.eq(result.signaled, status == 137)
end
local result = shell.run("echo out; echo err >&2; exit 2")
assert.eq(result.stdout, "out\n")
assert.eq(result.stderr, "err\n")

--# case: output
--# allow: shell
local out, status = shell.output("echo text; exit 4")
assert.eq(out, "text\n")
assert.eq(status, 4)
assert.eq(shell.output(""), "")

--# case: pipe
--# allow: shell
local result = shell.pipe{"printf '3\\n1\\n2\\n'", "sort", "head -n 2"}
assert.eq(result.stdout, "1\n2\n")
assert.eq(shell.pipe({"cat", "tr a-z A-Z"}, {stdin = "text"}).stdout, "TEXT")
assert.eq(shell.pipe{"true", "exit 7"}.status, 7)
assert.eq(shell.pipe{"exit 7", "true"}.status, 0)
-- Each is a command of its own, whatever it holds.
assert.eq(shell.pipe{"echo a # comment", "cat; echo b"}.stdout, "a\nb\n")
assert.eq(shell.pipe{"echo a >&2; echo b", "cat >&2"}.stderr:len(), 4)
local ok, err = pcall(shell.pipe, {})
assert.eq(err.code, "invalid_argument")
local ok, err = pcall(shell.pipe, "ls")
assert.eq(err.code, "invalid_argument")

--# case: which
--# allow: shell
assert.matches(shell.which("sh"), "/sh$")
assert.eq(shell.which("no-such-program-anywhere"), nil)
assert.eq(shell.which(""), nil)
assert.matches(shell.which("/bin/sh"), "/bin/sh$")
-- Where the script sets its own PATH changes nothing.
env.set("PATH", "/nowhere")
assert.matches(shell.which("sh"), "/sh$")

--# case: wrong arguments
--# allow: shell
local function fails(sub, f, ...)
  local ok, err = pcall(f, ...)
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument", tostring(err))
  assert.contains(err.message, sub)
end
fails("a command line is a string", shell.exec)
fails("a command line is a string", shell.exec, {"ls"})
fails("options are a table", shell.exec, "ls", 3)
fails("timeout is a number", shell.exec, "ls", {timeout = "3"})
fails("NUL", shell.exec, "echo a\0b")

--# case: bytes
--# allow: shell
assert.eq(shell.exec("printf '\255\254'").stdout, "\255\254")
local bytes = ("\0\1\2\255"):rep(1 << 18)
assert.eq(shell.exec("cat", {stdin = bytes}).stdout == bytes, true)

--# case: the environment is empty
--# allow: shell
-- The shell sets PWD for itself.
assert.matches((shell.output("env"):gsub("PWD=[^\n]*\n", "")), "^PATH=[^\n]*\n$")
assert.contains(shell.output("env", {env = {A = "1"}}), "A=1\n")
assert.eq(shell.output('echo "$A"', {env = {A = "$(id)"}}), "$(id)\n")

--# case: the working directory
--# allow: shell,fs=rw:${TMP}
fs.mkdir("sub")
assert.eq(shell.output("pwd", {cwd = "sub"}), fs.canonicalize("sub") .. "\n")
local ok, err = pcall(shell.exec, "pwd", {cwd = "/"})
assert.eq(err.code, "denied")

--# case: a timeout ends what was started
--# allow: shell
local result
-- A busy machine may take longer to start it.
for _, seconds in ipairs{0.3, 5, 60} do
  result = shell.exec("echo before; setsid sleep 1000 & sleep 1000", {timeout = seconds})
  if result.stdout ~= "" then
    break
  end
end
assert.eq(result.timed_out, true)
assert.eq(result.status, 137)
assert.eq(result.stdout, "before\n")

--# case: the output cap
--# allow: shell
assert.eq(#shell.output("head -c 1000 /dev/zero", {max_output = 1000}), 1000)
local ok, err = pcall(shell.output, "yes", {max_output = 1000})
assert.eq(err.code, "limit")

--# case: waiting works anywhere
--# allow: shell
local co = coroutine.wrap(function()
  coroutine.yield(shell.output("echo 1"))
  return shell.output("echo 2")
end)
assert.eq(co(), "1\n")
assert.eq(co(), "2\n")
assert.eq((string.gsub("x", "x", function() return (shell.output("printf y")) end)), "y")
local results = async.all{
  function() return (shell.output("printf a")) end,
  function() return (shell.output("printf b")) end,
}
assert.eq(results[1] .. results[2], "ab")

--# case: host bytes count
--# allow: shell
--# flags: --max-host-bytes 1000
assert.eq(#shell.output("head -c 900 /dev/zero"), 900)
local ok, err = pcall(shell.exec, "head -c 200 /dev/zero")
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "--max-host-bytes")
