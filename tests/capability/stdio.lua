--- # stdio
--- Standard input and output: `print`, and `io.read`, `io.write`, `io.lines`, `io.stdin`, `io.stdout`, `io.stderr` as in
--- standard Lua. Always granted. Output is gathered and written when the run waits or ends; it counts against
--- `--max-output`, and `limit` is raised above it. When the reader of the output is gone the run ends quietly, like other programs.
---
--- ## print(...)
--- Writes its arguments as `tostring` shows them, with tabs between and a newline after.

--# example: printing
--# stdout: a\t1\tnil\ttrue
print("a", 1, nil, true)

--# case: bytes go through as they are
--# stdout: x\n
io.write("x", "\n")
print(("y"):rep(200000):len())

--# case: stderr is another stream
--# stderr: to the other
io.stderr:write("to the other\n")

--# case: input line by line
--# stdin: first
--# stdin: second
--# stdin: 42
assert.eq(io.read(), "first")
assert.eq(io.read("L"), "second\n")
assert.eq(io.read("n"), 42)
io.read("l")
assert.eq(io.read(), nil)
assert.eq(io.read("a"), "")

--# case: input at once
--# stdin: one
--# stdin: two
assert.eq(io.read("a"), "one\ntwo\n")
assert.eq(io.read("a"), "")
assert.eq(io.read("l"), nil)

--# case: input in a wrapped coroutine, beside another task
--# stdin: line
local order = {}
local task = async.spawn(function() sleep(0.001) order[#order + 1] = "task" end)
assert.eq(coroutine.wrap(function() return io.read() end)(), "line")
task:await()
assert.eq(order[1], "task")

--# case: a wait for input that is given up loses nothing
--# stdin: kept
local reader = async.spawn(function() return io.read("l") end)
sleep(0.01)
local line = reader:await()
assert.eq(line, "kept")

--# case: no input
assert.eq(io.read(), nil)

--# case: the limit on output
--# flags: --max-output 1KiB
--# stdout: small
print("small")
local ok, err = pcall(print, ("x"):rep(2000))
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "--max-output")

--# case: output within the limit
--# flags: --max-output 1KiB
--# stdout: xxxx
io.write(("x"):rep(1024))
