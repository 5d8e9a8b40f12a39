--- # pty
---
--- Programs in a terminal of their own, for what behaves differently without one: prompts, editors, shells.
---
--- Grants name programs as those of `process` do: `--allow pty=psql`, `--allow pty=/usr/bin/psql`, or `--allow pty` for
--- all; what is said there of trust, names, environment (`pty=env:NAME`) and limits holds here. `shell` includes it, `process` does
--- not. The terminal is new; the one that Assay itself runs in is out of reach. Works on Linux.
---
--- ## process.spawn_pty(options) -> terminal
--- Starts a program in a new terminal: `cmd`, `args`, `cwd`, `env`, `clear_env` as for `process.spawn`, `cols` (80) and
--- `rows` (24). Without a `TERM` in its environment it gets `xterm-256color`. The result has the field `pid` and the
--- methods below. Raises `denied`, `not_found`, `limit`.
---
--- ## terminal:write(data) -> terminal
--- Types. What is typed is shown again unless the program turns that off; `"\3"` is Ctrl-C, `"\4"` the end of the input.
---
--- ## terminal:read(options?) -> string or nil
--- What the terminal shows next; lines end in `\r\n`. With `{timeout_ms = n}` an empty string where nothing comes in
--- that time; 0 asks what is there. Nil when nothing will come any more.
---
--- ## terminal:resize(cols, rows)
--- Gives the terminal another size, of which the program is told (SIGWINCH).
---
--- ## terminal:close()
--- Hangs up: the program gets SIGHUP. A variable `<close>` does the same.
---
--- ## terminal:wait(options?) -> table
--- Waits for the end of the program, as `process.wait` does, also with `{timeout = seconds}`.
---
--- ## terminal:kill(signal?) -> boolean
--- Sends a signal, TERM unless said, to the program's process group; false where it is over.
---
--- ## terminal:is_alive() -> boolean

--# example: answer a prompt
--# allow: pty=sh
local term = process.spawn_pty{cmd = "sh", args = {"-c", "printf 'Name? '; read name; echo \"Hello, $name.\""}}
local seen = ""
while not seen:find("Name?", 1, true) do
  seen = seen .. term:read()
end
term:write("Ada\n")
for text in function() return term:read() end do
  seen = seen .. text
end
assert.contains(seen, "Hello, Ada.\r\n")
assert.eq(term:wait().status, 0)

--# case: denied without a grant
local ok, err = pcall(process.spawn_pty, {cmd = "bash"})
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow pty=bash")

--# case: process is not enough
--# allow: process
local ok, err = pcall(process.spawn_pty, {cmd = "bash"})
assert.eq(err.code, "denied")

--# case: only the granted program
--# allow: pty=sh
local ok, err = pcall(process.spawn_pty, {cmd = "cat"})
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow pty=cat")
local ok, err = pcall(process.run, {"sh"})
assert.eq(err.code, "denied")

--# case: it is a terminal
--# allow: pty=sh
local function all(term)
  local seen = {}
  for text in function() return term:read() end do
    seen[#seen + 1] = text
  end
  return table.concat(seen)
end
local term = process.spawn_pty{cmd = "sh", args = {"-c", "tty; test -t 0 && test -t 1 && test -t 2 && echo yes; stty size; echo $TERM; echo >/dev/tty own"}}
assert.matches(all(term), "^/dev/pts/[0-9]+\r\nyes\r\n24 80\r\nxterm-256color\r\nown\r\n$")
assert.eq(term:wait().status, 0)
local term = process.spawn_pty{cmd = "sh", args = {"-c", "stty size; echo $TERM"}, cols = 132, rows = 43, env = {TERM = "vt100"}}
assert.eq(all(term), "43 132\r\nvt100\r\n")
assert.eq(tostring(term), "terminal (" .. term.pid .. ")")

--# case: resize
--# allow: pty=/usr/bin/python3
-- The signal is blocked and waited for, so that none is lost between two waits.
local term = process.spawn_pty{cmd = "/usr/bin/python3", args = {"-c", [[
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
print("ready", flush=True)
while True:
    signal.sigwait([signal.SIGWINCH])
    size = os.get_terminal_size()
    print(size.lines, size.columns, flush=True)
]]}}
local seen = ""
local function expect(text)
  while not seen:find(text, 1, true) do
    seen = seen .. assert(term:read(), "the end came before: " .. text)
  end
end
expect("ready")
term:resize(100, 50)
expect("50 100")
term:resize(1, 1)
expect("1 1")
term:kill("KILL")
assert.eq(term:wait().signal, 9)

--# case: keys
--# allow: pty=bash,pty=env:PS1
local term = process.spawn_pty{cmd = "bash", args = {"--norc", "-i"}, env = {PS1 = "> "}}
local seen = ""
local function expect(text)
  while not seen:find(text, 1, true) do
    seen = seen .. assert(term:read(), "the end came before: " .. text)
  end
  seen = ""
end
expect("> ")
-- What is typed while the shell still reads lines is the shell's.
term:write("echo g''o; cat\n")
expect("go\r\n")
term:write("echo$((1+1))\n")
expect("echo$((1+1))\r\necho$((1+1))\r\n")
-- Ctrl-C ends cat and not the shell, which has jobs under control in a terminal of its own.
term:write("\3")
expect("> ")
term:write("echo still $((1+1))\n")
expect("still 2")
assert.eq(term:is_alive(), true)
term:write("exit 6\n")
assert.eq(term:wait().status, 6)
assert.eq(term:is_alive(), false)

--# case: reading with a timeout
--# allow: pty=cat
local term = process.spawn_pty{cmd = "cat"}
assert.eq(term:read{timeout_ms = 10}, "")
assert.eq(term:read{timeout_ms = 0}, "")
term:write("x\n")
local seen = ""
while #seen < #"x\r\nx\r\n" do
  seen = seen .. term:read{timeout_ms = 30000}
end
assert.eq(seen, "x\r\nx\r\n")
assert.eq(term:wait{timeout = 0.01}.timed_out, true)
term:write("\4")
assert.eq(term:wait().status, 0)
assert.eq(term:read{timeout_ms = 30000}, nil)
assert.eq(term:read(), nil)

--# case: closing hangs up
--# allow: pty=sh
local term = process.spawn_pty{cmd = "sh", args = {"-c", "sleep 1000"}}
term:close()
assert.eq(term:wait().signal, 1)
local ok, err = pcall(term.read, term)
assert.eq(err.code, "invalid_argument")
local ok, err = pcall(term.write, term, "x")
assert.eq(err.code, "invalid_argument")
local ok, err = pcall(term.resize, term, 1, 1)
assert.eq(err.code, "invalid_argument")
term:close()
local closed
do
  local other <close> = process.spawn_pty{cmd = "sh", args = {"-c", "sleep 1000"}}
  closed = other
end
assert.eq(closed:wait().signal, 1)

--# case: wrong arguments
--# allow: pty=sh
local function fails(sub, f, ...)
  local ok, err = pcall(f, ...)
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument", tostring(err))
  assert.contains(err.message, sub)
end
fails("cmd", process.spawn_pty, {})
fails("cols is a number", process.spawn_pty, {cmd = "sh", cols = 0})
fails("rows is a number", process.spawn_pty, {cmd = "sh", rows = 65536})
local term = process.spawn_pty{cmd = "sh"}
fails("rows is missing", term.resize, term, 80)
fails("timeout_ms", term.read, term, {timeout_ms = -1})
fails("spawn_pty is needed", term.write, {}, "x")

--# case: limits
--# allow: pty=sh
--# flags: --max-children 1 --max-handles 1
local term = process.spawn_pty{cmd = "sh"}
local ok, err = pcall(process.spawn_pty, {cmd = "sh"})
assert.eq(err.code, "limit")
term:close()
term:wait()
assert.eq(process.spawn_pty{cmd = "sh"}:is_alive(), true)

--# case: waiting in two tasks
--# allow: pty=sh
local term = process.spawn_pty{cmd = "sh", args = {"-c", "stty -echo; echo go; read x; echo got $x"}}
local seen = ""
local reader = async.spawn(function()
  for text in function() return term:read() end do
    seen = seen .. text
    if text:find("go\r\n", 1, true) then
      term:write("it\n")
    end
  end
end)
assert.eq(term:wait().status, 0)
reader:await()
assert.eq(seen, "go\r\ngot it\r\n")
