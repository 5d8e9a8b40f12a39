--- # fs
--- Files and directories.
---
--- Grants: `--allow fs=PATH` and `fs=read:PATH` grant reading, `fs=write:PATH` writing, `fs=rw:PATH`
--- both; a directory covers what is under it, a file only itself. `fs=stat:PATH` grants what `fs.exists`, `fs.is_dir`,
--- `fs.is_file`, `fs.stat`, `fs.readlink` and `fs.canonicalize` ask of this one path, `fs=list:PATH` the names in a directory
--- too. Setting the bits setuid, setgid and sticky takes
--- `fs=setid:PATH` too, which nothing wider includes. A path is matched as it is written and
--- again with its symbolic links resolved. The run's own temporary directory (`fs.tempdir`) needs no
--- grant. `/proc`, devices and pipes need a grant of their own. Relative paths start in the directory
--- that Assay was started in.
---
--- Paths are UTF-8. A name in a directory that is not UTF-8 is listed with U+FFFD in place of the bad
--- bytes and cannot be opened.
---
--- Errors are tables with `code` and `message`: `denied`, `not_found`, `exists`, `permission`,
--- `invalid_argument`, `invalid_data`, `limit`, `io`; `errno` has the operating system's number. Every
--- function waits without holding up other tasks.
---
--- ## fs.read(path) -> string
--- The content of a file, which must be UTF-8 (else `invalid_data`). A file that does not fit into the
--- script's memory is a `limit` error.
---
--- ## fs.read_bytes(path) -> string
--- The content of a file, whatever it is.
---
--- ## fs.write(path, text)
--- Writes a file, in place of what was in it. Missing parent directories are made. The file is written as
--- it is, not swapped in at once; `fs.sub_in_file` does that.
---
--- ## fs.write_bytes(path, data)
--- The same, for bytes of any kind.
---
--- ## fs.append(path, text)
--- Writes at the end of a file, which is made if it is not there.
---
--- ## fs.remove(path, options?)
--- Removes a file, a link (not what it leads to), or an empty directory; with `recursive = true`, and in the run's own
--- temporary directory, a directory with all that is in it. Refused for the directory that was granted, for the one that the
--- script runs in, for paths that end in `.` or `..`, and for a directory in which a deny rule covers something.
---
--- ## fs.copy(source, destination) -> bytes
--- Copies a file and its permission bits, without setuid, setgid and sticky; gives its size. The copy is written beside the
--- destination and takes its place when it is complete: until then nobody can read it who may not read the source, and if the
--- disk is full the old file stays. A destination that has other names (hard links), is mounted, or lies in a
--- directory that may not be written is overwritten in place.
---
--- ## fs.rename(source, destination)
--- Renames or moves within a file system. Needs write on both sides, and read on the source where the
--- destination is readable. Refused where a part of what is moved would get rights that it did not have, and where
--- a link in it would lead to what may not be written.
---
--- ## fs.chmod(path, mode)
--- Sets permission bits: `"755"` in octal, or the bits as a number (`0x1ed`, `tonumber("755", 8)`). Lua has no octal
--- numbers: 755 is decimal and other bits, so numbers above 511 (`"777"`), and 400, 440, 444 and 500, are refused.
---
--- ## fs.mkdir(path)
--- Makes a directory and its missing parents. A directory that is there is no error.
---
--- ## fs.list(path) -> {{name, type}, ...}
--- The entries of a directory, sorted. `type` is "file", "directory", "symlink" or "other".
---
--- ## fs.readdir(path, options?) -> {{name, path, type}, ...}
--- The entries of a directory and of the directories in it; `options.depth` ends it after so many levels.
--- Links to directories are not entered; directories that a deny rule covers are listed and not entered. At
--- most 1,000,000 entries and 256 levels (`limit`).
---
--- ## fs.glob(pattern, options?) -> {path, ...}
--- The paths that match, sorted, as bash finds them with `globstar`: `*` and `?` within a name, `**` for any number of directories,
--- sets (`[a-z]`, `[!a-z]`, `[[:digit:]]`), `{a,b}`, `{1..9}`, `\` before a character that is meant itself. A name that starts with a dot
--- matches only where the pattern has that dot, or with `hidden = true`. `**` does not go down into links; a pattern that ends in a slash
--- finds directories, with the slash. In a set every other character means itself, braces and commas too; so does a bracket or brace that
--- is not closed. The directory up to the first wildcard must be granted; others are passed over if they are not.
---
--- ## fs.tempdir() -> path
--- Makes a new directory in the run's own temporary directory, which is removed when the run ends. That one holds
--- 256 MiB and 10,000 entries, unless `--temp-bytes` and `--temp-entries` say otherwise; more is a `limit` error.
--- What programs write there is not counted until a builtin writes there again.
---
--- ## fs.temp_dir() -> path
--- The same.
---
--- ## fs.stat(path, options?) -> table
--- `size`, `type`, `is_file`, `is_dir`, `is_symlink`, `modified` and `created` (seconds since 1970;
--- nil where the file system does not know), `permissions` ("644"). Links are followed, unless
--- `options.follow` is false; `is_symlink` is about the path itself either way.
---
--- ## fs.metadata(path, options?) -> table
--- The same.
---
--- ## fs.exists(path) -> boolean
--- Whether there is something. A link that leads nowhere does not exist.
---
--- ## fs.is_dir(path) -> boolean
--- Whether there is a directory.
---
--- ## fs.is_file(path) -> boolean
--- Whether there is a regular file.
---
--- ## fs.symlink(target, link)
--- Makes a symbolic link. A relative `target` is seen from the link's directory. What it leads to must be granted for
--- writing, because other programs follow it, and for reading where the link itself may be read. A target may go upwards
--- (`..`) only at its beginning.
---
--- ## fs.readlink(path) -> string
--- Where a link leads, as it was written.
---
--- ## fs.canonicalize(path) -> string
--- The absolute path without links. The file must be there.
---
--- ## fs.lines(path) -> iterator
--- The lines of a file without `\n` or `\r\n`, in constant memory. The file is closed at its end and
--- when the loop is left.
---
--- ## fs.sub_in_file(path, pattern, replacement) -> count
--- `string.gsub` on a file: Lua patterns, a string (`%0` to `%9`), function or table as replacement. Writes
--- only if something matched, and then the whole file at once. As with everything that replaces a file as a whole
--- (`http.download`, `tar.create`, `compress.pack_file`...), it keeps its mode, and its owner where Assay runs as root. Other names of
--- the file (hard links) keep the old content. A log line says so, and also if the owner could not be kept.

--# example: read and write
--# allow: fs=rw:${TMP}
fs.write("notes/today.txt", "first\nsecond\n")
fs.append("notes/today.txt", "third\n")
assert.eq(fs.read("notes/today.txt"), "first\nsecond\nthird\n")
for line in fs.lines("notes/today.txt") do
  print(line)
end
assert.eq(fs.sub_in_file("notes/today.txt", "second", "2nd"), 1)
fs.remove("notes", { recursive = true })
assert.eq(fs.exists("notes"), false)

--# example: a temporary directory needs no grant
local directory = fs.tempdir()
fs.write(directory .. "/x/data.bin", "\0\255")
assert.eq(fs.read_bytes(directory .. "/x/data.bin"), "\0\255")
assert.ne(fs.temp_dir(), directory)

--# case: denied without a grant
local ok, err = pcall(fs.read, "a.txt")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=read:")
for _, call in ipairs({
  function() fs.write("a.txt", "x") end,
  function() fs.exists("a.txt") end,
  function() fs.stat(".") end,
  function() fs.list(".") end,
  function() fs.readdir(".") end,
  function() fs.glob("*") end,
  function() fs.glob("/etc/passwd") end,
  function() fs.lines("a.txt") end,
  function() fs.remove("a.txt") end,
  function() fs.mkdir("a") end,
  function() fs.canonicalize(".") end,
  function() fs.readlink("a") end,
}) do
  local ok, err = pcall(call)
  assert.eq(ok, false)
  assert.eq(err.code, "denied")
end

--# case: reading only
--# allow: fs=read:${TMP}
local ok, err = pcall(fs.write, "a.txt", "x")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=write:")
assert.eq(fs.exists("a.txt"), false)

--# case: writing only
--# allow: fs=write:${TMP}
fs.write("a.txt", "x")
local ok, err = pcall(fs.read, "a.txt")
assert.eq(err.code, "denied")
assert.eq(select(2, pcall(fs.stat, "a.txt")).code, "denied")

--# case: a granted file is only itself
--# allow: fs=rw:${TMP}/one.txt
fs.write("one.txt", "1")
assert.eq(fs.read("one.txt"), "1")
assert.eq(select(2, pcall(fs.write, "two.txt", "2")).code, "denied")
assert.eq(select(2, pcall(fs.write, "one.txt2", "2")).code, "denied")

--# case: a deny rule wins
--# allow: fs=rw:${TMP}
--# deny: fs=rw:${TMP}/secret
fs.write("open/a", "x")
local ok, err = pcall(fs.write, "secret/a", "x")
assert.eq(err.code, "denied")
assert.contains(err.message, "--deny")

--# case: text must be UTF-8
--# allow: fs=rw:${TMP}
fs.write_bytes("b", "ab\xff\0c")
local ok, err = pcall(fs.read, "b")
assert.eq(ok, false)
assert.eq(err.code, "invalid_data")
assert.contains(err.message, "byte 3")
assert.eq(fs.read_bytes("b"), "ab\xff\0c")
fs.write("u", "grüße ∀")
assert.eq(fs.read("u"), "grüße ∀")

--# case: empty and large files
--# allow: fs=rw:${TMP}
fs.write("empty", "")
assert.eq(fs.read("empty"), "")
assert.eq(#fs.read_bytes("empty"), 0)
for _, size in ipairs({ 1, 65535, 65536, 65537, 3 * 1048576 + 1 }) do
  local data = string.rep("x", size - 1) .. "y"
  fs.write("large", data)
  assert.eq(fs.stat("large").size, size)
  assert(fs.read("large") == data, "read " .. size)
end

--# case: a file larger than the memory is an error
--# allow: fs=rw:${TMP}
--# flags: --memory 32MiB
local piece = string.rep("x", 1048576)
for _ = 1, 64 do fs.append("huge", piece) end
piece = nil
local ok, err = pcall(fs.read_bytes, "huge")
assert.eq(ok, false)
assert.contains(tostring(err), "memory")
assert.eq(err.code, "limit")
-- Reading it in pieces is no problem.
local f <close> = assert(io.open("huge", "rb"))
local size = 0
for piece in function() return f:read(65536) end do size = size + #piece end
assert.eq(size, 64 * 1048576)

--# case: what is not there
--# allow: fs=rw:${TMP}
local ok, err = pcall(fs.read, "none")
assert.eq(err.code, "not_found")
assert.eq(err.errno, 2)
assert.contains(err.message, "none: No such file or directory")
assert.eq(fs.exists("none"), false)
assert.eq(fs.is_dir("none"), false)
assert.eq(fs.is_file("none"), false)
fs.write("f", "")
assert.eq(fs.exists("f/x"), false)
assert.eq(select(2, pcall(fs.remove, "none")).code, "not_found")
assert.eq(select(2, pcall(fs.list, "none")).code, "not_found")
assert.eq(select(2, pcall(fs.rename, "none", "x")).code, "not_found")
assert.eq(select(2, pcall(fs.copy, "none", "x")).code, "not_found")

--# case: wrong arguments
--# allow: fs=rw:${TMP}
assert.contains(tostring(select(2, pcall(fs.read))), "bad argument #1")
assert.contains(tostring(select(2, pcall(fs.read, {}))), "string expected")
assert.contains(tostring(select(2, pcall(fs.read, "\xff"))), "UTF-8")
assert.eq(select(2, pcall(fs.read, "a\0b")).code, "invalid_argument")
assert.eq(select(2, pcall(fs.read, "")).code, "not_found")
assert.contains(tostring(select(2, pcall(fs.write, "x"))), "bad argument #2")
for depth, form in pairs({ [0] = "whole number", [1.5] = "whole number", x = "whole number" }) do
  local message = select(2, pcall(fs.readdir, ".", { depth = depth }))
  assert.contains(message, "bad argument #2 to 'fs.readdir' (field 'depth'")
  assert.contains(message, form)
end
for _, name in ipairs({ "list", "readdir", "glob" }) do
  assert.eq(select(2, pcall(fs[name])), "bad argument #1 to 'fs." .. name .. "' (string expected, got no value)")
end
assert.contains(select(2, pcall(fs.readdir, ".", 1)), "bad argument #2 to 'fs.readdir' (table expected, got number)")
assert.contains(tostring(select(2, pcall(fs.chmod, ".", "9"))), "mode")
assert.contains(tostring(select(2, pcall(fs.chmod, ".", "77777"))), "mode")
assert.contains(tostring(select(2, pcall(fs.chmod, ".", -1))), "mode")
assert.eq(pcall(fs.read, string.rep("x", 5000)), false)
assert.eq(pcall(fs.read, string.rep("x", 300)), false)
assert.eq(pcall(fs.glob, "a\\"), false)
assert.eq(pcall(fs.glob, "{1..2000}"), false)
assert.eq(pcall(fs.glob, ""), false)

--# case: nothing is an empty list
--# allow: fs=rw:${TMP}
fs.mkdir("empty")
for _, list in ipairs({ fs.list("empty"), fs.readdir("empty"), fs.glob("empty/*") }) do
  assert.eq(json.encode(list), "[]")
end

--# case: directories
--# allow: fs=rw:${TMP}
fs.mkdir("a/b/c")
fs.mkdir("a/b/c")
fs.write("a/x.txt", "x")
fs.write("a/b/y.txt", "y")
fs.symlink("b", "a/link")
local names = {}
for _, entry in ipairs(fs.list("a")) do names[#names + 1] = entry.name .. ":" .. entry.type end
assert.eq(table.concat(names, " "), "b:directory link:symlink x.txt:file")
local paths = {}
for _, entry in ipairs(fs.readdir("a")) do
  paths[#paths + 1] = entry.path
  assert.not_nil(entry.name)
  assert.not_nil(entry.type)
end
assert.eq(table.concat(paths, " "), "a/b a/b/c a/b/y.txt a/link a/x.txt")
assert.eq(#fs.readdir("a", { depth = 1 }), 3)
assert.eq(#fs.readdir("a", { depth = 2 }), 5)
assert.eq(select(2, pcall(fs.mkdir, "a/x.txt")).code, "exists")
assert.eq(pcall(fs.list, "a/x.txt"), false)
assert.eq(#fs.list("a/b/c"), 0)
fs.remove("a", { recursive = true })
assert.eq(fs.exists("a"), false)

--# case: removing does not follow links
--# allow: fs=rw:${TMP}
fs.write("keep/file", "x")
fs.mkdir("tree")
fs.symlink("../keep", "tree/link")
fs.symlink("keep", "direct")
fs.remove("tree", { recursive = true })
assert.eq(fs.read("keep/file"), "x")
fs.remove("direct/")
assert.eq(fs.read("keep/file"), "x")
assert.eq(fs.exists("direct"), false)

--# case: copy, rename, modes
--# allow: fs=rw:${TMP}
fs.write("a", "content")
fs.chmod("a", "750")
assert.eq(fs.stat("a").permissions, "750")
assert.eq(fs.copy("a", "b"), 7)
assert.eq(fs.stat("b").permissions, "750")
fs.chmod("b", tonumber("600", 8))
assert.eq(fs.stat("b").permissions, "600")
fs.write("c", "longer than the other")
fs.copy("a", "c")
assert.eq(fs.read("c"), "content")
assert.eq(select(2, pcall(fs.copy, "a", "a")).code, "invalid_argument")
assert.eq(fs.read("a"), "content")
fs.rename("a", "d")
assert.eq(fs.exists("a"), false)
assert.eq(fs.read("d"), "content")
assert.eq(pcall(fs.copy, ".", "x"), false)

--# case: stat
--# allow: fs=rw:${TMP}
fs.write("f", "12345")
fs.symlink("f", "l")
fs.symlink("nowhere", "dangling")
local s = fs.stat("f")
assert.eq(s.size, 5)
assert.eq(s.type, "file")
assert.eq(s.is_file, true)
assert.eq(s.is_dir, false)
assert.eq(s.is_symlink, false)
assert.gt(s.modified, 1e9)
assert.lt(math.abs(s.modified - time()), 60)
assert.eq(fs.metadata(".").type, "directory")
assert.eq(fs.stat("l").type, "file")
assert.eq(fs.stat("l").is_symlink, true)
assert.eq(fs.stat("l", { follow = false }).type, "symlink")
assert.eq(fs.readlink("l"), "f")
assert.eq(fs.exists("dangling"), false)
assert.eq(fs.stat("dangling", { follow = false }).is_symlink, true)
assert.eq(select(2, pcall(fs.stat, "dangling")).code, "not_found")
assert.eq(select(2, pcall(fs.readlink, "f")).code, "invalid_argument")
assert.eq(fs.canonicalize("l"), fs.canonicalize("f"))
assert.eq(pcall(fs.stat, "f/"), false)
assert.eq(fs.is_dir("./"), true)

--# case: glob
--# allow: fs=rw:${TMP}
for _, path in ipairs({ "a.lua", "b.lua", "b.txt", "d/c.lua", "d/e/f.lua", ".hidden", "x[1]" }) do
  fs.write(path, "")
end
local function glob(pattern) return table.concat(fs.glob(pattern), " ") end
-- The case itself is in its directory too.
assert.eq(glob("*.lua"), "a.lua b.lua case.lua")
assert.eq(glob("**/*.lua"), "a.lua b.lua case.lua d/c.lua d/e/f.lua")
assert.eq(glob("?.{lua,txt}"), "a.lua b.lua b.txt")
assert.eq(glob("[ab].lua"), "a.lua b.lua")
assert.eq(glob("[!a].lua"), "b.lua")
assert.eq(glob("d/*/f.lua"), "d/e/f.lua")
assert.eq(glob("d/**"), "d/ d/c.lua d/e d/e/f.lua")
assert.eq(glob("*/"), "d/")
assert.eq(glob("*hidden"), "")
assert.eq(table.concat(fs.glob("*hidden", { hidden = true })), ".hidden")
assert.contains(select(2, pcall(fs.glob, "*", { hiden = true })), "unknown option 'hiden'")
assert.contains(select(2, pcall(fs.glob, "*", { hidden = 1 })), "hidden")
assert.eq(glob("x\\[1\\]"), "x[1]")
assert.eq(glob("nothing*"), "")
assert.eq(glob("none/*"), "")
assert.eq(glob("a.lua"), "a.lua")
assert.eq(#fs.glob("${TMP}/*.lua"), 3)
assert.contains(glob(".*"), ".hidden")

--# case: lines
--# allow: fs=rw:${TMP}
fs.write("t", "one\r\ntwo\n\nthree")
local lines = {}
for line in fs.lines("t") do lines[#lines + 1] = line end
assert.eq(table.concat(lines, "|"), "one|two||three")
fs.write("e", "")
for line in fs.lines("e") do error("a line") end
local rows = {}
for i = 1, 20000 do rows[i] = "line " .. i end
fs.write("many", table.concat(rows, "\n") .. "\n")
local n = 0
for line in fs.lines("many") do
  n = n + 1
  assert(line == rows[n])
end
assert.eq(n, 20000)
assert.eq(select(2, pcall(fs.lines, "none")).code, "not_found")

--# case: leaving a loop closes the file
--# allow: fs=rw:${TMP}
--# flags: --max-handles 4
fs.write("t", "one\ntwo\n")
for _ = 1, 100 do
  for line in fs.lines("t") do break end
end

--# case: the limit on open files
--# allow: fs=rw:${TMP}
--# flags: --max-handles 4
fs.write("t", "x")
local held = {}
for i = 1, 4 do held[i] = assert(io.open("t")) end
local ok, err = pcall(io.open, "t")
assert.eq(ok, false)
assert.eq(err.code, "limit")
held[1]:close()
held[5] = assert(io.open("t"))

--# case: the limit on bytes
--# allow: fs=rw:${TMP}
--# flags: --max-host-bytes 1000000
fs.write("t", string.rep("x", 400000))
assert.eq(#fs.read("t"), 400000)
local ok, err = pcall(fs.read, "t")
assert.eq(ok, false)
assert.eq(err.code, "limit")

--# case: sub_in_file
--# allow: fs=rw:${TMP}
fs.write("conf", "port = 80\nhost = a\n")
fs.chmod("conf", "640")
assert.eq(fs.sub_in_file("conf", "port = (%d+)", "port = %18"), 1)
assert.eq(fs.read("conf"), "port = 808\nhost = a\n")
assert.eq(fs.stat("conf").permissions, "640")
assert.eq(fs.sub_in_file("conf", "%a+ =", function(s) return s:upper() end), 2)
assert.eq(fs.read("conf"), "PORT = 808\nHOST = a\n")
fs.chmod("conf", "440")
assert.eq(fs.sub_in_file("conf", "nothing", "x"), 0)
assert.eq(fs.sub_in_file("conf", "%w+", { PORT = "P" }), 4)
assert.eq(#fs.list("."), 2)
assert.eq(pcall(fs.sub_in_file, "conf", "%", "x"), false)
assert.eq(pcall(fs.sub_in_file, "conf"), false)
fs.symlink("conf", "link")
assert.eq(fs.sub_in_file("link", "P", "Q"), 1)
assert.eq(fs.readlink("link"), "conf")

--# case: waiting works everywhere
--# allow: fs=rw:${TMP}
fs.write("n", "2")
local co = coroutine.wrap(function()
  coroutine.yield(fs.read("n"))
  return fs.exists("n")
end)
assert.eq(co(), "2")
assert.eq(co(), true)
local list = { 3, 1, 2 }
table.sort(list, function(a, b) return fs.exists("n") and a < b end)
assert.eq(table.concat(list), "123")
assert.eq(("x"):gsub("x", function() return fs.read("n") end), "2")
local all = async.all({ function() return fs.read("n") end, function() return fs.read("n") end })
assert.eq(all[1] .. all[2], "22")

--# case: temporary directories are private
local a, b = fs.tempdir(), fs.tempdir()
assert.ne(a, b)
assert.eq(fs.stat(a).permissions, "700")
fs.write(a .. "/f", "x")
fs.rename(a .. "/f", b .. "/f")
assert.eq(fs.read(b .. "/f"), "x")
assert.eq(select(2, pcall(fs.list, a .. "/../..")).code, "denied")
