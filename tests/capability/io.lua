--- # io
--- The `io` library of standard Lua 5.5 (reference manual, section 6.8), with `dofile` and `loadfile`.
---
--- Files go through the grants of `fs`. Where standard Lua returns nil, a message and a number, so does
--- this; a denial (`denied`) and a limit (`limit`) are raised. A file that is left open is written out
--- when it is collected and at the end of the run. A file is used by one task at a time: a second one
--- that would have to wait for it gets an error.
---
--- ## io.open(path, mode?) -> file
--- Modes `r`, `w`, `a`, each with `+`, each with `b`.
---
--- ## io.close(file?) -> true
--- Closes a file, or the default output.
---
--- ## io.input(file?) -> file
--- The default input; sets it to a file or to the file of that name.
---
--- ## io.output(file?) -> file
--- The default output; sets it to a file or to the file of that name.
---
--- ## io.read(...) -> ...
--- Reads from the default input. Formats: "n" a number, "l" a line, "L" a line with its end, "a" the
--- rest, a number of bytes.
---
--- ## io.write(...) -> file
--- Writes strings and numbers to the default output.
---
--- ## io.flush() -> true
--- Writes out the default output.
---
--- ## io.lines(path?, ...) -> iterator
--- Reads by the formats until the end, and closes the file then or when the loop is left.
---
--- ## io.tmpfile() -> file
--- A new file without a name, for reading and writing.
---
--- ## io.type(value) -> "file", "closed file" or nil
--- What a value is.
---
--- ## io.popen(command, mode?) -> file
--- Runs a command line and gives a file: its output with the mode "r", its input with "w". Needs `shell`. What is not
--- piped goes to the script's own output; the command's own input is empty. `file:close()` waits for its end and gives
--- what `os.execute` gives.
---
--- ## file:read(...) -> ...
--- ## file:write(...) -> file
--- ## file:lines(...) -> iterator
--- As for the default files.
---
--- ## file:seek(whence?, offset?) -> position
--- `whence` is "set", "cur" or "end".
---
--- ## file:setvbuf(mode, size?) -> true
--- When writes go out: "no" at once, "line" at the end of a line, "full" when a buffer is full.
---
--- ## file:flush() -> true
--- ## file:close() -> true
---
--- ## loadfile(path?, mode?, env?) -> function
--- Compiles a file, text only, without its first line if that starts with `#`; nil and a message where
--- that fails.
---
--- ## dofile(path?) -> ...
--- Runs a file.

--# example: write and read a file
--# allow: fs=rw:${TMP}
do
  local f <close> = assert(io.open("data.txt", "w"))
  f:write("answer ", 42, "\n"):write("half ", 0.5, "\n")
end
for word, line in io.lines("data.txt", 6, "L") do
  print(word, line)
end
local f <close> = assert(io.open("data.txt"))
assert.eq(f:read("l"), "answer 42")
assert.eq(f:seek("set", 7), 7)
assert.eq(f:read("n"), 42)

--# example: standard input
--# stdin: 10 0x1F rest
--# stdin: last
assert.eq(io.read("n"), 10)
assert.eq(io.read("n", 1), 31)
assert.contains(io.read("a"), "rest")
assert.eq(io.read("l"), nil)
assert.eq(io.read("a"), "")

--# case: standard output
--# stdout: one 2 3.5
assert.eq(io.write("one ", 2, " ", 3.5, "\n"), io.stdout)
assert.eq(io.output(), io.stdout)
assert.eq(io.stdout:setvbuf("no"), true)
assert.eq(io.stdout:write(""), io.stdout)
assert.eq(io.flush(), true)

--# case: standard error
--# stderr: to stderr
io.stderr:write("to stderr\n")

--# case: failures
--# allow: fs=rw:${TMP}
local f, message, number = io.open("none")
assert.eq(f, nil)
assert.eq(message, "none: No such file or directory")
assert.eq(number, 2)
local ok, err = pcall(io.lines, "none")
assert.eq(ok, false)
assert.contains(err, "cannot open file 'none' (No such file or directory)")
assert.contains(select(2, pcall(io.input, "none")), "cannot open file 'none' (No such file or directory)")
assert.eq(select(3, io.open("none/x", "w")), 2)
assert.eq(io.open("."), nil)

--# case: denials are raised
local ok, err = pcall(io.open, "x")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=read:")
assert.contains(select(2, pcall(io.open, "x", "a")).message, "--allow fs=write:")

--# case: modes
--# allow: fs=rw:${TMP}
for _, mode in ipairs({ "rw", "rb+", "r+bk", "", "+", "b", "x", "r+\0" }) do
  assert.contains(select(2, pcall(io.open, "f", mode)), "invalid mode")
end
assert(io.open("f", "w")):write("abc"):close()
for _, mode in ipairs({ "r", "rb", "r+", "r+b", "a", "ab", "a+", "a+b" }) do
  assert(io.open("f", mode)):close()
  assert.eq(fs.read("f"), "abc")
end
local f = assert(io.open("f", "a+"))
f:seek("set", 0)
f:write("def")
f:seek("set", 0)
assert.eq(f:read("a"), "abcdef")
f:close()
f = assert(io.open("f", "w+"))
assert.eq(f:read("a"), "")
f:write("xyz")
f:seek("set")
assert.eq(f:read(2), "xy")
f:write("!")
f:seek("set")
assert.eq(f:read("a"), "xy!")
f:close()
f = assert(io.open("f", "r"))
local r, message, number = f:write("x")
assert.eq(r, nil)
assert.eq(number, 9)
f:close()
f = assert(io.open("f", "w"))
assert.eq(select(3, f:read()), 9)
f:close()

--# case: closed files
--# allow: fs=rw:${TMP}
local f = assert(io.open("f", "w"))
assert.matches(tostring(f), "^file \\(0x[0-9a-f]+\\)$")
assert.eq(io.type(f), "file")
assert.eq(f:close(), true)
assert.eq(tostring(f), "file (closed)")
assert.eq(io.type(f), "closed file")
assert.eq(io.type(8), nil)
assert.contains(select(2, pcall(io.type)), "value expected")
for _, name in ipairs({ "close", "flush", "lines", "read", "seek", "write" }) do
  assert.contains(select(2, pcall(f[name], f)), "attempt to use a closed file")
end
assert.contains(select(2, pcall(io.stdin.close)), "got no value")
assert.contains(select(2, pcall(io.stdin.close, {})), "FILE* expected, got table")
assert.eq(getmetatable(io.stdin).__name, "FILE*")
local r, message = io.stdout:close()
assert.eq(r, nil)
assert.eq(message, "cannot close standard file")
assert.eq(pcall(getmetatable(io.stdin).__gc, {}), false)

--# case: default files
--# allow: fs=rw:${TMP}
assert.eq(io.input(), io.stdin)
io.output("out")
assert.ne(io.output(), io.stdout)
io.write("line 1\n", "line 2\n")
io.close()
assert.contains(select(2, pcall(io.write, "x")), "standard output file is closed")
io.output(io.stdout)
io.input("out")
assert.eq(io.read(), "line 1")
assert.eq(io.read("L"), "line 2\n")
assert.eq(io.read(), nil)
io.input():close()
assert.contains(select(2, pcall(io.read)), "standard input file is closed")
assert.contains(select(2, pcall(io.lines)), "standard input file is closed")

--# case: read formats
--# allow: fs=rw:${TMP}
fs.write_bytes("f", "a line\nanother line\n1234\n3.45\none\n\ntwo\r\nthree\0x\nend")
local f = assert(io.open("f"))
local l1, l2, n1, n2, none = f:read("l", "L", "n", "n")
assert.eq(l1, "a line")
assert.eq(l2, "another line\n")
assert.eq(math.type(n1), "integer")
assert.eq(n1, 1234)
assert.eq(n2, 3.45)
assert.eq(none, nil)
assert.eq(f:read("*l"), "")
assert.eq(f:read("l", "l"), "one")
assert.eq(f:read(0), "")
assert.eq(f:read(3, 2), "two")
assert.eq(f:read("l"), "three\0x")
assert.eq(f:read("n"), nil)
assert.eq(f:read("a"), "end")
assert.eq(f:read("a"), "")
assert.eq(f:read("l"), nil)
assert.eq(f:read(0), nil)
assert.eq(f:read(1), nil)
assert.eq(f:read("n"), nil)
assert.contains(select(2, pcall(f.read, f, "x")), "invalid format")
assert.contains(select(2, pcall(f.read, f, {})), "string expected")
f:close()

--# case: numbers
--# allow: fs=rw:${TMP}
local f = assert(io.open("n", "w"))
f:write("-12.3-\t-0xffff+  .3|5.E-3X  +234e+13E 0xDEADBEEFDEADBEEFx\n0x1.13Ap+3e\n")
f:write("1234", string.rep("0", 1000), "\n", ".e+\t0.e;\t--;  0xX;\n")
f:close()
f = assert(io.open("n"))
assert.eq(f:read("n"), -12.3)
assert.eq(f:read(1), "-")
assert.eq(f:read("n"), -0xffff)
assert.eq(f:read(2), "+ ")
assert.eq(f:read("n"), 0.3)
assert.eq(f:read(1), "|")
assert.eq(f:read("n"), 5e-3)
assert.eq(f:read(1), "X")
assert.eq(f:read("n"), 234e13)
assert.eq(f:read(1), "E")
assert.eq(f:read("n"), 0xdeadbeefdeadbeef)
assert.eq(f:read(2), "x\n")
assert.eq(f:read("n"), 0x1.13aP3)
assert.eq(f:read(1), "e")
assert.eq(f:read("n"), nil)
assert(f:read("L"):find("^00*\n$"))
assert.eq(f:read("n"), nil)
assert.eq(f:read(2), "e+")
assert.eq(f:read("n"), nil)
assert.eq(f:read(1), ";")
assert.eq(f:read("n"), nil)
assert.eq(f:read(2), "-;")
assert.eq(f:read("n"), nil)
assert.eq(f:read(1), "X")
assert.eq(f:read("n"), nil)
assert.eq(f:read(1), ";")
assert.eq(f:read("n"), nil)
assert.eq(f:read(0), nil)
f:close()

--# case: written numbers come back
--# allow: fs=rw:${TMP}
local f = assert(io.open("n", "w"))
local numbers = { math.maxinteger, math.mininteger, 0, 1e100, 0.1, -2.5, 3.0 }
for _, n in ipairs(numbers) do f:write(n, "\n") end
f:close()
f = assert(io.open("n"))
for _, n in ipairs(numbers) do
  local back = f:read("n")
  assert.eq(back, n)
  assert.eq(math.type(back), math.type(n))
end
f:close()

--# case: lines
--# allow: fs=rw:${TMP}
local rows = {}
for i = 1, 5000 do rows[i] = ("row %d "):format(i) .. ("x"):rep(i % 50) end
fs.write("f", table.concat(rows, "\n"))
local n = 0
for line in io.lines("f") do
  n = n + 1
  assert(line == rows[n])
end
assert.eq(n, 5000)
n = 0
for line in io.lines("f", "L") do n = n + #line end
assert.eq(n, fs.stat("f").size)
n = 0
for a, b in io.lines("f", 1, 0) do n = n + 1 end
assert.eq(n, fs.stat("f").size)
local f = assert(io.open("f"))
local all = {}
for line in f:lines() do all[#all + 1] = line end
assert.eq(#all, 5000)
assert.eq(io.type(f), "file")
f:close()
local next_line, a, b, file = io.lines("f")
assert.eq(io.type(file), "file")
while next_line() do end
assert.eq(io.type(file), "closed file")
assert.contains(select(2, pcall(next_line)), "file is already closed")
assert.contains(select(2, pcall(io.lines, "f", table.unpack({}, 1, 251))), "too many arguments")
assert.contains(select(2, pcall(io.lines("f", "x"))), "invalid format")

--# case: the finalizer of files checks what it gets
assert.contains(select(2, pcall(getmetatable(io.stdin).__gc)), "no value")
assert.contains(select(2, pcall(getmetatable(io.stdin).__gc, {})), "FILE* expected")

--# case: loadfile with a mode
--# allow: fs=rw:${TMP}
io.open("f", "w"):write("return 10"):close()
assert.eq(loadfile("f", "t")(), 10)
assert.eq(loadfile("f", "bt")(), 10)
assert.contains(select(2, loadfile("f", "b")), "attempt to load a text chunk (mode is 'b')")
io.open("f", "w"):write("\27Lua"):close()
for _, mode in ipairs({ "t", "b", "bt" }) do
  local chunk, message = loadfile("f", mode)
  assert.eq(chunk, nil)
  assert.contains(message, "attempt to load a binary chunk")
end

--# case: long lines and large reads
--# allow: fs=rw:${TMP}
local long = ("0123456789"):rep(50000)
fs.write("f", long .. "\nshort\n" .. long)
local f = assert(io.open("f"))
assert(f:read("l") == long)
assert.eq(f:read("l"), "short")
assert(f:read("l") == long)
f:seek("set", 3)
assert(f:read(#long - 3) == long:sub(4))
f:seek("set")
assert.eq(#f:read("a"), 2 * #long + 7)
f:close()
f = assert(io.open("f", "w"))
f:write("a", long, "b", 1, long)
f:close()
assert(fs.read("f") == "a" .. long .. "b1" .. long)

--# case: seek
--# allow: fs=rw:${TMP}
local f = assert(io.open("f", "w+"))
assert.eq(f:seek(), 0)
assert.eq(f:write("alo"):seek(), 3)
assert.eq(f:seek("cur", -3), 0)
f:write("maria")
assert.eq(f:seek("cur", 0), 5)
assert.eq(f:seek("end"), 5)
assert.eq(f:seek("set", 1), 1)
assert.eq(f:read(1), "a")
assert.eq(f:seek(), 2)
assert.eq(f:read(1), "r")
f:write("X")
f:seek("set")
assert.eq(f:read("a"), "marXa")
local r, message, number = f:seek("set", -1)
assert.eq(r, nil)
assert.eq(number, 22)
assert.contains(select(2, pcall(f.seek, f, "x")), "invalid option 'x'")
f:close()
local r, message, number = io.stdin:seek("set", 1000)
assert.eq(r, nil)
assert.eq(type(number), "number")

--# case: buffering
--# allow: fs=rw:${TMP}
local f = assert(io.open("f", "w"))
f:write("a\n")
assert.eq(fs.read("f"), "")
f:flush()
assert.eq(fs.read("f"), "a\n")
assert.eq(f:setvbuf("line"), true)
f:write("b")
assert.eq(fs.read("f"), "a\n")
f:write("\n")
assert.eq(fs.read("f"), "a\nb\n")
assert.eq(f:setvbuf("no"), true)
f:write("c")
assert.eq(fs.read("f"), "a\nb\nc")
assert.eq(f:setvbuf("full", 4), true)
f:write("123")
assert.eq(fs.read("f"), "a\nb\nc")
f:write("45")
assert.eq(fs.read("f"), "a\nb\nc12345")
assert.contains(select(2, pcall(f.setvbuf, f, "x")), "invalid option")

--# case: a collected file is written
--# allow: fs=rw:${TMP}
do
  local f = assert(io.open("f", "w"))
  f:write("kept")
end
collectgarbage()
collectgarbage()
assert.eq(fs.read("f"), "kept")

--# case: a file left by its block is closed
--# allow: fs=rw:${TMP}
local outside
do
  local f <close> = assert(io.open("f", "w"))
  f:write("x")
  outside = f
end
assert.eq(tostring(outside), "file (closed)")
assert.eq(fs.read("f"), "x")

--# case: tmpfile and tmpname
local f = assert(io.tmpfile())
f:write("alo")
f:seek("set")
assert.eq(f:read("a"), "alo")
f:close()
local name = os.tmpname()
assert(io.open(name, "w")):write("x"):close()
assert.eq(fs.read(name), "x")
assert.eq(os.rename(name, name .. "2"), true)
assert.eq(select(3, os.rename(name, name .. "2")), 2)
assert.eq(os.remove(name .. "2"), true)
local r, message, number = os.remove(name .. "2")
assert.eq(r, nil)
assert.contains(message, "No such file or directory")
assert.eq(number, 2)

--# case: popen is denied without a grant
local ok, err = pcall(io.popen, "ls")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow shell")

--# case: popen reads
--# allow: shell
local f = assert(io.popen("echo one; echo 2 3; printf rest"))
assert.eq(io.type(f), "file")
assert.matches(tostring(f), "^file \\(")
assert.eq(f:read(), "one")
assert.eq(f:read("n", "n"), 2)
assert.eq(f:read("L"), "\n")
assert.eq(f:read("a"), "rest")
assert.eq(f:read("a"), "")
assert.eq(f:read(), nil)
assert.eq(table.concat({tostring(select(1, f:close())), "exit", 0}, " "), "true exit 0")
assert.eq(io.type(f), "closed file")
assert.contains(select(2, pcall(f.read, f)), "closed file")
assert.contains(select(2, pcall(f.close, f)), "closed file")
local lines = {}
local f <close> = io.popen("printf 'a\\nb\\n'", "r")
for line in f:lines() do lines[#lines + 1] = line end
assert.eq(table.concat(lines, ","), "a,b")
assert.eq(#io.popen("head -c 1000000 /dev/zero"):read("a"), 1000000)
assert.eq(select("#", io.popen("true"):seek()), 3)
local result, message, errno = io.popen("true"):write("x")
assert.eq(result, nil)
assert.eq(errno, 9)

--# case: popen closes as the manual says
--# allow: shell
local function closes(command)
  local result, how, code = io.popen(command):close()
  return tostring(result) .. " " .. how .. " " .. code
end
assert.eq(closes("true"), "true exit 0")
assert.eq(closes("exit 3"), "nil exit 3")
assert.eq(closes("kill -9 $$"), "nil signal 9")
assert.eq(closes("no-such-program-anywhere 2>/dev/null"), "nil exit 127")
local f = io.popen("exit 4")
local result, how, code = io.close(f)
assert.eq(how .. code, "exit4")

--# case: popen writes
--# allow: shell,fs=rw:${TMP}
local f = assert(io.popen("cat > out; exit 5", "w"))
assert.eq(f:write("a", 1, "\n") == f, true)
assert.eq(f:write(("x"):rep(100000)) == f, true)
f:setvbuf("no")
f:write("end")
local result, how, code = f:close()
assert.eq(code, 5)
assert.eq(#fs.read("out"), 3 + 100000 + 3)
assert.eq(select(3, io.popen("cat", "w"):read("a")), 9)
do
  local f <close> = io.popen("cat > closed", "w")
  f:write("waited for")
end
assert.eq(fs.read("closed"), "waited for")

--# case: a pipe that was left open is written and waited for
--# allow: shell
--# stdout: left open
local f = io.popen("cat", "w")
f:write("left open")

--# case: what popen does not pipe is the script's
--# allow: shell
--# stdout: 1 2 3
--# stderr: wrong
io.write("1 ")
local f = io.popen("printf '%s ' \"$(cat)\"; echo wrong >&2", "w")
f:write("2")
f:close()
io.write("3")

--# case: what popen starts is limited
--# allow: shell
--# flags: --max-children 2
local one, two = io.popen("cat", "w"), io.popen("cat", "w")
local ok, err = pcall(io.popen, "true")
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "--max-children")
two:close()
assert.eq(io.popen("echo again"):read(), "again")

--# case: pipes of popen are handles
--# allow: shell
--# flags: --max-handles 2
local one, two = io.popen("cat", "w"), io.popen("cat", "w")
local ok, err = pcall(io.popen, "true")
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "--max-handles")
two:close()
assert.eq(io.popen("echo again"):read(), "again")

--# case: what goes through a pipe of popen counts
--# allow: shell
--# flags: --max-host-bytes 1000
assert.eq(#io.popen("head -c 900 /dev/zero"):read("a"), 900)
local file = io.popen("head -c 200 /dev/zero")
local ok, result, message = pcall(file.read, file, "a")
assert.contains(tostring(ok and message or result), "--max-host-bytes")

--# case: popen with wrong arguments
--# allow: shell
assert.contains(select(2, pcall(io.popen, "true", "rw")), "bad argument #2 to 'io.popen' (invalid mode)")
assert.contains(select(2, pcall(io.popen)), "string expected")
local result, message = io.popen("a\0b")
assert.eq(result, nil)
assert.contains(message, "NUL")

--# case: dofile and loadfile
--# allow: fs=rw:${TMP}
fs.write("c.lua", "#!/usr/bin/assay\nlocal a, b = ... ; return x, a, b")
x = 1
assert.eq(select("#", dofile("c.lua")), 3)
assert.eq(dofile("c.lua"), 1)
local chunk = assert(loadfile("c.lua", "t", { x = 7 }))
local r, a, b = chunk(2, 3)
assert.eq(r + a + b, 12)
fs.write("bad.lua", "\n\nlocal = 1")
local r, message = loadfile("bad.lua")
assert.eq(r, nil)
assert.contains(message, "bad.lua:3:")
assert.eq(pcall(dofile, "bad.lua"), false)
local r, message = loadfile("none.lua")
assert.eq(r, nil)
assert.contains(message, "cannot open none.lua")
assert.contains(tostring(select(2, pcall(dofile, "none.lua"))), "cannot open none.lua")
fs.write_bytes("binary", "\27Lua")
assert.eq(loadfile("binary"), nil)
assert.eq(loadfile("c.lua", "b"), nil)

--# case: dofile yields
--# allow: fs=rw:${TMP}
fs.write("y.lua", "local x, z = coroutine.yield(10)\nlocal y = coroutine.yield(20)\nreturn x + y * z\n")
local f = coroutine.wrap(dofile)
assert.eq(f("y.lua"), 10)
assert.eq(f(100, 101), 20)
assert.eq(f(200), 100 + 200 * 101)

--# case: waiting works everywhere
--# allow: fs=rw:${TMP}
fs.write("f", "3\n1\n2\n")
local co = coroutine.wrap(function()
  for line in io.lines("f") do coroutine.yield(line) end
end)
assert.eq(co() .. co() .. co(), "312")
local f = assert(io.open("f"))
local list = { 3, 1, 2 }
table.sort(list, function(a, b)
  f:seek("set")
  f:read("n")
  return a < b
end)
assert.eq(table.concat(list), "123")
f:close()
local results = async.all({
  function() return assert(io.open("f")):read("a") end,
  function() return assert(io.open("f")):read("n") end,
})
assert.eq(results[1], "3\n1\n2\n")
assert.eq(results[2], 3)
