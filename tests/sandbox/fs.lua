--- # fs: escapes
--- Ways out of a granted directory that must not lead anywhere.

--# case: dots
--# allow: fs=rw:${TMP}
for _, path in ipairs({
  "../x", "a/../../x", "./../x", "${TMP}/../x", "/etc/passwd", "//etc/passwd", "${TMP}/./../../etc/passwd",
  "${TMP}x", "../", "..", "/", "a/../../../../../../../../etc/passwd",
}) do
  for _, call in ipairs({ fs.read, fs.list, fs.stat, fs.exists, fs.remove, fs.mkdir, fs.canonicalize }) do
    local ok, err = pcall(call, path)
    assert.eq(ok, false, path)
    assert.eq(err.code, "denied", path)
  end
  assert.eq(select(2, pcall(fs.write, path, "x")).code, "denied", path)
end

--# case: a link out of the directory cannot be made
--# allow: fs=rw:${TMP}
fs.mkdir("d")
for _, target in ipairs({ "/etc/passwd", "/", "..", "../x", "/proc/self/root", "d/../..", "/etc/../etc" }) do
  local ok, err = pcall(fs.symlink, target, "link")
  assert.eq(ok, false, target)
  assert.eq(err.code, "denied", target)
end
-- Seen from the link's directory, not from the working directory.
assert.eq(select(2, pcall(fs.symlink, "../..", "d/link")).code, "denied")
fs.symlink("../d", "d/link")
assert.eq(#fs.list("d/link/link/link"), 1)

--# case: a link made harmless cannot be moved to where it leads out
--# allow: fs=rw:${TMP}
fs.mkdir("a/b")
fs.mkdir("x")
fs.symlink("../x", "a/link")
assert.eq(select(2, pcall(fs.rename, "a/link", "link")).code, "denied")
assert.eq(select(2, pcall(os.rename, "a/link", "link")).code, "denied")
-- Nor with its directory, however deep it lies in it.
fs.mkdir("a/d/e")
fs.symlink("../../../x", "a/d/e/link")
assert.eq(select(2, pcall(fs.rename, "a/d", "d")).code, "denied")
fs.rename("a/d", "a/f")
assert.eq(fs.readlink("a/f/e/link"), "../../../x")
-- Where it leads to granted places it may go.
fs.rename("a/link", "a/b/moved")
fs.mkdir("a/x")
assert.eq(fs.is_dir("a/b/moved"), true)
fs.remove("a/b/moved")
assert.eq(fs.is_dir("x"), true)

--# case: a link that was there and leads out is not moved, and is checked when it is used
--# allow: fs=rw:${TMP}
--# file: d/file=1
--# link: d/link=/etc
--# link: up=..
local ok, err = pcall(fs.list, "d/link")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.eq(select(2, pcall(fs.write, "d/link/file", "x")).code, "denied")
assert.eq(select(2, pcall(fs.read, "d/link/../hostname")).code, "denied")
assert.eq(select(2, pcall(fs.rename, "d/link", "link")).code, "denied")
assert.eq(select(2, pcall(fs.rename, "d", "e")).code, "denied")
assert.eq(select(2, pcall(fs.rename, "up", "high")).code, "denied")
fs.rename("up", "d/up")
fs.remove("d/link")
fs.rename("d", "e")

--# case: a link leads to what may be written, not only read
--# allow: fs=rw:${TMP}/mine
--# allow: fs=read:${TMP}/lib
--# allow: fs=write:${TMP}/drop
--# file: lib/x=1
--# file: drop/x=1
fs.mkdir("mine")
for _, target in ipairs({ "../lib", "../lib/x", "../lib/new", "${TMP}/lib/x", "../drop/x", "../drop", "/dev/null" }) do
  assert.eq(select(2, pcall(fs.symlink, target, "mine/link")).code, "denied", target)
end
fs.symlink("../mine/y", "drop/link")
fs.symlink("x", "drop/own")

--# case: links that lead down and up again
--# allow: fs=rw:${TMP}
fs.mkdir("a/b/c")
for _, target in ipairs({ "b/..", "a/../b", "m/../../x", "./b/../b", "${TMP}/a/../a", "../a/b/../b" }) do
  assert.eq(select(2, pcall(fs.symlink, target, "a/link")).code, "invalid_argument", target)
end
fs.symlink("../a/./b//c/", "a/link")
-- However the way is changed later, it leads to granted places.
fs.symlink("b/c", "a/deep")
fs.rename("a/b", "a/old")
fs.symlink("../a", "a/b")
assert.eq(fs.exists("a/deep"), false)
assert.eq(select(2, pcall(fs.symlink, "", "l")).code, "invalid_argument")
assert.eq(select(2, pcall(fs.symlink, "a\0b", "l")).code, "invalid_argument")

--# case: a link is no other name for what a deny rule covers
--# allow: fs=rw:${TMP}
--# deny: fs=write:${TMP}/r/lib
fs.mkdir("other")
assert.eq(select(2, pcall(fs.symlink, "other", "r")).code, "denied")
fs.symlink("x", "elsewhere")
assert.eq(select(2, pcall(fs.rename, "elsewhere", "r")).code, "denied")
fs.mkdir("r")
assert.eq(select(2, pcall(fs.symlink, "r", "alias")).code, "denied")
assert.eq(select(2, pcall(fs.symlink, "r/lib", "alias")).code, "denied")
fs.symlink("r/file", "alias")

--# case: a link to another granted place works
--# allow: fs=rw:${TMP}/a
--# allow: fs=rw:${TMP}/b
fs.write("b/file", "there")
fs.mkdir("a")
fs.symlink("../b", "a/link")
assert.eq(fs.read("a/link/file"), "there")
fs.write("a/link/new", "x")
assert.eq(fs.read("b/new"), "x")
assert.eq(select(2, pcall(fs.symlink, "../c", "a/out")).code, "denied")

--# case: a deny rule holds behind a link
--# allow: fs=rw:${TMP}
--# deny: fs=read:${TMP}/secret
fs.write("secret/key", "k")
fs.mkdir("d")
assert.eq(select(2, pcall(fs.read, "secret/key")).code, "denied")
assert.eq(select(2, pcall(fs.read, "d/../secret/key")).code, "denied")
assert.eq(select(2, pcall(fs.symlink, "secret", "link")).code, "denied")
assert.eq(select(2, pcall(fs.copy, "secret/key", "k")).code, "denied")
-- Moving it away from its rule, itself or with its directory.
assert.eq(select(2, pcall(fs.rename, "secret/key", "key")).code, "denied")
assert.eq(select(2, pcall(fs.rename, "secret", "open")).code, "denied")
assert.eq(select(2, pcall(os.rename, "secret", "open")).code, "denied")
assert.eq(select(2, pcall(fs.remove, ".")).code, "denied")
-- It is listed, but not entered.
local seen = {}
for _, entry in ipairs(fs.readdir(".")) do seen[entry.path] = true end
assert.eq(seen["./secret"], true)
assert.eq(seen["./secret/key"], nil)
assert.eq(#fs.glob("**/key"), 0)

--# case: what may only be written does not become readable by being moved
--# allow: fs=write:${TMP}/drop
--# allow: fs=rw:${TMP}/mine
fs.write("drop/x", "secret")
fs.mkdir("mine")
assert.eq(select(2, pcall(fs.rename, "drop/x", "mine/x")).code, "denied")
fs.rename("drop/x", "drop/y")
fs.write("mine/z", "z")
fs.rename("mine/z", "drop/z")
-- Nor a directory, nor the directory that was granted.
fs.write("drop/sub/x", "secret")
assert.eq(select(2, pcall(fs.rename, "drop/sub", "mine/sub")).code, "denied")
assert.eq(select(2, pcall(fs.rename, "drop", "mine/drop")).code, "denied")
assert.eq(select(2, pcall(os.rename, "drop/sub", "mine/sub")).code, "denied")
assert.eq(select(2, pcall(fs.copy, "drop/sub/x", "mine/x")).code, "denied")
assert.eq(select(2, pcall(fs.symlink, "../drop/sub", "mine/sub")).code, "denied")

--# case: a part of what is moved does not get rights either
--# allow: fs=write:${TMP}
--# allow: fs=read:${TMP}/m/x/y
--# allow: fs=read:${TMP}/r
--# file: a/y/secret=1
--# file: r/f=1
fs.mkdir("m")
assert.eq(select(2, pcall(fs.rename, "a", "m/x")).code, "denied")
fs.mkdir("m/x")
assert.eq(select(2, pcall(fs.rename, "a/y", "m/x/y")).code, "denied")
assert.eq(select(2, pcall(fs.rename, "a/y/secret", "m/x/y")).code, "denied")
assert.eq(select(2, pcall(fs.rename, "a", "r/a")).code, "denied")
fs.rename("r/f", "m/x/y")
assert.eq(fs.read("m/x/y"), "1")
fs.rename("a", "b")

--# case: a rename does not move a directory from under its rule
--# allow: fs=rw:${TMP}
--# deny: fs=write:${TMP}/r/lib
--# file: r/lib/x=1
--# file: s/lib/x=2
for _, rename in ipairs({ fs.rename, os.rename }) do
  assert.eq(select(2, pcall(rename, "r", "t")).code, "denied")
  assert.eq(select(2, pcall(rename, "r/lib", "lib")).code, "denied")
  assert.eq(select(2, pcall(rename, "r/lib/x", "x")).code, "denied")
  assert.eq(select(2, pcall(rename, "s", "r")).code, "denied")
  assert.eq(select(2, pcall(rename, "s/lib", "r/lib")).code, "denied")
end
assert.eq(select(2, pcall(fs.remove, "r", { recursive = true })).code, "denied")
assert.eq(select(2, pcall(fs.write, "r/lib/x", "3")).code, "denied")
assert.eq(select(2, pcall(fs.copy, "s/lib/x", "r/lib/x")).code, "denied")
assert.eq(fs.read("r/lib/x"), "1")

--# case: a rule for a link is one for the link too
--# allow: fs=rw:${TMP}
--# deny: fs=write:${TMP}/link
--# link: link=real
--# file: real/x=1
for _, path in ipairs({ "link", "link/x", "real", "real/x" }) do
  assert.eq(select(2, pcall(fs.rename, path, "moved")).code, "denied", path)
  assert.eq(select(2, pcall(fs.remove, path)).code, "denied", path)
end
assert.eq(select(2, pcall(fs.write, "real/x", "2")).code, "denied")

--# case: the run's temporary directory stays where it is
--# allow: fs=rw:/
local dir = fs.tempdir()
local own = dir:match("^(.*)/")
assert.eq(select(2, pcall(fs.rename, own, own .. "-moved")).code, "denied")
assert.eq(select(2, pcall(fs.remove, own, { recursive = true })).code, "denied")
fs.rename(dir, own .. "/renamed")

--# case: nothing tells whether something ungranted exists
--# allow: fs=rw:${TMP}
local _, there = pcall(fs.exists, "/etc/passwd")
local _, missing = pcall(fs.exists, "/etc/there-is-no-such-file")
assert.eq(there.code, "denied")
assert.eq(missing.code, "denied")
assert.eq(select(2, pcall(fs.symlink, "/etc/there-is-no-such-file", "l")).code, "denied")

--# case: looking and listing grant nothing more
--# allow: fs=stat:${TMP}/secret,fs=list:${TMP}/directory,fs=stat:${TMP}/directory/..
--# file: secret=text
--# file: directory/inner=text
--# file: directory/deep/x=text
--# link: link=secret
assert.eq(fs.exists("secret"), true)
assert.eq(fs.stat("secret").size, 4)
assert.eq(fs.exists("directory"), true)
assert.eq(#fs.list("directory"), 2)
assert.eq(fs.is_dir("."), true)
for _, call in ipairs({
  function() fs.read("secret") end,
  function() fs.write("secret", "") end,
  function() assert(io.open("secret")) end,
  function() assert(io.open("secret", "w")) end,
  function() fs.list(".") end,
  function() fs.readdir("directory") end,
  function() fs.readdir("directory", { depth = 2 }) end,
  function() fs.list("directory/deep") end,
  function() fs.glob("directory/*") end,
  function() fs.exists("directory/inner") end,
  function() fs.read("directory/inner") end,
  function() fs.exists("secret/x") end,
  function() fs.exists("link") end,
  function() fs.copy("secret", fs.tempdir() .. "/copy") end,
  function() crypto.hash_file("secret", "sha256") end,
  function() tar.create(fs.tempdir() .. "/a.tar", "directory") end,
}) do
  local ok, err = pcall(call)
  assert.eq(ok, false)
  assert.contains(tostring(err), "granted")
end

--# case: what may not be looked at may not be read
--# allow: fs=rw:${TMP}
--# deny: fs=stat:${TMP}/secret,fs=list:${TMP}/directory
--# file: secret=text
--# file: directory/inner=text
for _, call in ipairs({
  function() fs.exists("secret") end,
  function() fs.read("secret") end,
  function() fs.list("directory") end,
  function() fs.exists("directory") end,
  function() fs.read("directory/inner") end,
  function() fs.glob("directory/*") end,
}) do
  assert.eq(select(2, pcall(call)).code, "denied")
end

--# case: what may only be written is not looked at by being moved
--# allow: fs=write:${TMP},fs=stat:${TMP}/seen,fs=list:${TMP}/listed
--# file: secret=text
--# file: directory/inner=text
assert.eq(select(2, pcall(fs.rename, "secret", "seen")).code, "denied")
assert.eq(select(2, pcall(fs.rename, "directory", "listed")).code, "denied")
assert.eq(select(2, pcall(os.rename, "secret", "seen")) ~= true, true)
assert.eq(fs.exists("seen"), false)
fs.rename("secret", "other")

--# case: ways up and down again tell nothing about what is on them
--# allow: fs=rw:${TMP}
--# link: out=/etc
--# link: gone=/there-is-no-such-directory
fs.write("f", "x")
local up = ("../"):rep(20)
local said
for _, way in ipairs({ "etc", "etc/ssl", "there-is-no-such-directory", "etc/hostname", "etc/no/such", "proc/self/root/etc" }) do
  local path = up .. way .. "/" .. up .. "${TMP}/f"
  local ok, err = pcall(fs.exists, path)
  assert.eq(ok, false, path)
  assert.eq(err.code, "denied", path)
  -- Where the file is asked for by what is written, all messages are the same.
  local text = err.message:gsub(path, "PATH", 1, true)
  text = err.message:sub(1, 8) .. err.message:match(" is refused: .*")
  said = said or text
  assert.eq(text, said, path)
end
for _, way in ipairs({ "out/../tmp", "gone/../tmp", "out/x", "gone/x", "out/hostname" }) do
  local ok, err = pcall(fs.exists, way)
  assert.eq(ok, false, way)
  assert.eq(err.code, "denied", way)
  assert.eq(err.message:find("/etc", 1, true), nil)
  assert.eq(err.message:find("no-such", 1, true), nil)
end
-- The way that the script itself runs on is known.
local directory = ("${TMP}"):match("([^/]*)$")
assert.eq(fs.read("../" .. directory .. "/f"), "x")

--# case: denials and errors do not tell the working directory
--# allow: fs=write:drop
--# deny: fs=drop/no
local directory = ("${TMP}"):match("([^/]*)$")
local function says(text, call, ...)
  local ok, err = pcall(call, ...)
  assert.eq(ok, false)
  assert.eq(err.message:find(directory, 1, true), nil, err.message)
  assert.contains(err.message, text)
end
says("reading x is not granted; run again with --allow fs=read:x", fs.read, "x")
says("--allow fs=read:../x", fs.read, "../x")
says("--allow fs=write:x", fs.write, "x", "")
says("--allow 'fs=read:a b'", fs.read, "a b")
says("--allow fs=read:a%2Cb", fs.read, "a,b")
says("--allow 'fs=read:./~/x'", fs.read, "~/x")
says("writing drop/no/x is denied by --deny fs=drop/no", fs.write, "drop/no/x", "")
says("cannot remove drop/none", fs.remove, "drop/none")
says("cannot rename drop/none", fs.rename, "drop/none", "drop/x")
for _, call in ipairs({ fs.list, fs.stat, fs.readdir, fs.chmod, fs.mkdir, fs.readlink, fs.canonicalize, fs.glob, crypto.hash_file,
  tar.list, io.lines, loadfile }) do
  says("x", call, "x", call == fs.chmod and "755" or nil)
end

--# case: the special bits need a grant of their own
--# allow: fs=rw:${TMP}
--# file: f=1
for _, mode in ipairs({ "4755", "2755", "1777", "7777", "4000" }) do
  local ok, err = pcall(fs.chmod, "f", mode)
  assert.eq(ok, false)
  assert.eq(err.code, "denied", mode)
  assert.contains(err.message, "--allow fs=setid:f")
  fs.mkdir("d")
  assert.eq(select(2, pcall(fs.chmod, "d", mode)).code, "denied", mode)
end
fs.chmod("f", "0777")
assert.eq(fs.stat("f").permissions, "777")

--# case: nothing wide includes the special bits
--# flags: --allow-all
fs.write("f", "1")
assert.eq(select(2, pcall(fs.chmod, "f", "4755")).code, "denied")

--# case: the grant of special bits
--# allow: fs=rw:${TMP}
--# allow: fs=setid:${TMP}/image
--# file: image/f=1
fs.chmod("image/f", "4755")
assert.eq(fs.stat("image/f").permissions, "4755")
-- A copy has them where it may, and else has not.
fs.copy("image/f", "image/g")
fs.copy("image/f", "h")
assert.eq(fs.stat("image/g").permissions, "4755")
assert.eq(fs.stat("h").permissions, "755")
assert.eq(select(2, pcall(fs.chmod, "h", "4755")).code, "denied")
-- A move does not make them, but what has them is not written to elsewhere.
fs.rename("image/g", "g")
assert.eq(select(2, pcall(fs.write, "g", "evil")).code, "denied")
assert.eq(select(2, pcall(fs.append, "g", "evil")).code, "denied")
assert.eq(fs.sub_in_file("g", "1", "2"), 1)
assert.eq(fs.stat("g").permissions, "755")

--# case: what is removed
--# allow: fs=rw:${TMP}
--# file: d/x=1
--# file: e/y/z=1
local function refused(path, code, text, options)
  local ok, err = pcall(fs.remove, path, options)
  assert.eq(ok, false, path)
  assert.eq(err.code, code, path)
  assert.contains(err.message, text)
end
refused("d", "io", "{recursive = true} removes it with all that is in it")
assert.eq(fs.exists("d/x"), true)
fs.remove("d", { recursive = true })
assert.eq(fs.exists("d"), false)
fs.mkdir("empty")
fs.remove("empty")
for _, options in ipairs({ {}, { recursive = true } }) do
  for _, path in ipairs({ ".", "./", "..", "e/..", "e/.", "./.", "${TMP}", "${TMP}/", "../" .. ("${TMP}"):match("([^/]*)$") }) do
    local ok, err = pcall(fs.remove, path, options)
    assert.eq(ok, false, path)
    assert.eq(err.code, "denied", path)
  end
  refused("", "not_found", "the path is empty", options)
end
assert.eq(fs.exists("e/y/z"), true)
assert.eq(pcall(os.remove, "${TMP}"), false)
local ok, err = pcall(fs.remove, "e", { recursve = true })
assert.eq(ok, false)
-- In the run's temporary directory as ever.
local dir = fs.tempdir()
fs.write(dir .. "/a/b", "x")
fs.remove(dir)
assert.eq(fs.exists(dir), false)

--# case: what is removed where the specification is asked for
--# allow: fs=rw:${TMP}
--# env: ASSAY_COMPAT=1
--# file: d/x=1
fs.remove("d")
assert.eq(fs.exists("d"), false)
assert.eq(pcall(fs.remove, "."), false)

--# case: the temporary directory has so many bytes
--# flags: --temp-bytes 1MiB
local dir = fs.tempdir()
local function full(call, ...)
  local ok, err = pcall(call, ...)
  assert.eq(ok, false)
  assert.eq(err.code, "limit")
  assert.contains(err.message, "--temp-bytes")
end
fs.write(dir .. "/a", ("x"):rep(1 << 20))
full(fs.append, dir .. "/a", "x")
full(fs.write, dir .. "/b", "x")
full(fs.copy, dir .. "/a", dir .. "/c")
assert.eq(fs.exists(dir .. "/c"), false)
-- In its place it does not grow.
local f <close> = assert(io.open(dir .. "/a", "r+"))
f:write("y")
assert.eq(f:seek("end"), 1 << 20)
full(function() f:write("z") assert(f:flush()) end)
-- What is removed gives room again; what is removed and still open does not.
fs.remove(dir .. "/b")
local held = assert(io.open(dir .. "/held", "w"))
fs.remove(dir .. "/a")
f:close()
held:write(("x"):rep(1 << 20))
held:flush()
fs.remove(dir .. "/held")
full(fs.write, dir .. "/d", "x")
held:close()
fs.write(dir .. "/d", ("x"):rep(1 << 20))
-- A hole is as large as it looks.
fs.write(dir .. "/d", "")
local sparse <close> = assert(io.open(dir .. "/sparse", "w"))
sparse:seek("set", 1 << 40)
full(function() sparse:write("x") assert(sparse:flush()) end)

--# case: all that writes to the temporary directory counts
--# allow: fs=rw:${TMP}
--# flags: --temp-bytes 100KiB
fs.write("big", ("x"):rep(200 << 10))
compress.pack_file("big", "big.gz")
tar.create("big.tar", { big = { file = "big" } })
local dir = fs.tempdir()
for name, call in pairs({
  copy = function() fs.copy("big", dir .. "/a") end,
  rename = function() fs.rename("big", dir .. "/a") end,
  unpack = function() compress.unpack_file("big.gz", dir .. "/a") end,
  extract = function() tar.extract("big.tar", dir .. "/t") end,
  create = function() tar.create(dir .. "/a", { big = { file = "big" } }) end,
  io = function() local f <close> = assert(io.open(dir .. "/a", "w")) assert(f:write(("x"):rep(200 << 10))) assert(f:flush()) end,
}) do
  local ok, err = pcall(call)
  assert.eq(ok, false, name)
  assert.contains(type(err) == "table" and err.message or err, "--temp-bytes", name)
  if fs.exists(dir .. "/a") then fs.remove(dir .. "/a") end
end
-- A move within it takes nothing, one out of it gives room.
fs.write(dir .. "/b", ("x"):rep(100 << 10))
fs.rename(dir .. "/b", dir .. "/c")
fs.rename(dir .. "/c", "c")
fs.write(dir .. "/b", ("x"):rep(100 << 10))

--# case: the temporary directory has so many entries
--# flags: --temp-entries 10
local dir = fs.tempdir()
local function full(call, ...)
  local ok, err = pcall(call, ...)
  assert.eq(ok, false)
  assert.eq(err.code, "limit")
  assert.contains(err.message, "--temp-entries")
end
for i = 1, 7 do fs.write(dir .. "/" .. i, "") end
fs.mkdir(dir .. "/d")
fs.symlink("1", dir .. "/link")
full(fs.write, dir .. "/x", "")
full(fs.mkdir, dir .. "/x")
full(fs.symlink, "1", dir .. "/x")
full(fs.tempdir)
full(fs.copy, dir .. "/1", dir .. "/x")
fs.write(dir .. "/1", "again")
fs.remove(dir .. "/1")
fs.write(dir .. "/x", "")
full(fs.mkdir, dir .. "/a/b/c")

--# case: what hides in the temporary directory counts as it did
--# flags: --temp-bytes 64KiB
local dir = fs.tempdir()
fs.write(dir .. "/d/x", ("x"):rep(64 << 10))
fs.chmod(dir .. "/d", "000")
assert.eq(select(2, pcall(fs.write, dir .. "/y", "y")).code, "limit")

--# case: /proc needs its own grant
--# allow: fs=rw:/
assert.eq(fs.is_dir("/etc"), true)
for _, path in ipairs({
  "/proc/self/environ", "/proc/self/mem", "/proc/self/root/etc/hostname", "/proc/self/fd/0", "/proc/self/cwd/x",
  "/proc/thread-self/environ", "/dev/fd/0", "/dev/stdin", "/proc/../proc/self/environ",
}) do
  local ok, err = pcall(fs.read_bytes, path)
  assert.eq(ok, false, path)
end
local ok, err = pcall(fs.read_bytes, "/proc/self/environ")
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=read:/proc")

--# case: links of /proc are only their text
--# allow: fs=read:/proc
--# allow: fs=rw:${TMP}
local ok, err = pcall(fs.read, "/proc/self/root/etc/passwd")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.gt(#fs.read_bytes("/proc/self/status"), 0)

--# case: devices need their own grant
--# allow: fs=rw:/
for _, path in ipairs({ "/dev/zero", "/dev/null", "/dev/tty" }) do
  assert.eq(pcall(fs.read_bytes, path), false, path)
  assert.eq(pcall(fs.write, path, "x"), false, path)
end

--# case: a device that is granted
--# allow: fs=rw:/dev/null
--# allow: fs=read:/dev/zero
fs.write("/dev/null", "x")
assert.eq(fs.read("/dev/null"), "")
local f <close> = assert(io.open("/dev/zero", "rb"))
assert.eq(f:read(3), "\0\0\0")

--# case: trailing slashes
--# allow: fs=rw:${TMP}
fs.write("file", "x")
fs.mkdir("directory")
fs.symlink("directory", "link")
assert.eq(pcall(fs.read, "file/"), false)
assert.eq(pcall(fs.write, "new/", "x"), false)
assert.eq(fs.exists("new"), false)
assert.eq(pcall(fs.write, "file/", "y"), false)
assert.eq(fs.read("file"), "x")
fs.rename("link/", "moved/")
assert.eq(fs.readlink("moved"), "directory")
assert.eq(fs.is_dir("directory"), true)
fs.remove("moved///")
assert.eq(fs.is_dir("directory"), true)

--# case: loops of links end
--# allow: fs=rw:${TMP}
fs.symlink("b", "a")
fs.symlink("a", "b")
local ok, err = pcall(fs.read, "a")
assert.eq(ok, false)
assert.eq(err.errno, 40)
fs.symlink(".", "self")
fs.write("f", "x")
assert.eq(fs.read("self/self/self/f"), "x")
assert.eq(pcall(fs.read, string.rep("self/", 200) .. "f"), false)
assert.gt(#fs.readdir("."), 0)

--# case: directories in directories without end
--# allow: fs=rw:${TMP}
local path = "d"
for _ = 1, 300 do path = path .. "/d" end
fs.mkdir(path)
local ok, err = pcall(fs.readdir, "d")
assert.eq(err.code, "limit")
assert.eq(select(2, pcall(fs.glob, "d/**/x")).code, "limit")
assert.eq(select(2, pcall(fs.remove, "d", { recursive = true })).code, "limit")
assert.eq(select(2, pcall(fs.rename, "d", "e")).code, "limit")

--# case: the other ways to name a file
--# allow: fs=read:${TMP}
for _, call in ipairs({
  function() return io.open("/etc/passwd") end,
  function() return io.open("x", "w") end,
  function() return io.lines("/etc/passwd") end,
  function() return io.input("/etc/passwd") end,
  function() return io.output("x") end,
  function() return loadfile("/etc/passwd") end,
  function() return dofile("/etc/passwd") end,
  function() return fs.sub_in_file("/etc/passwd", "a", "b") end,
  function() return fs.lines("/etc/passwd") end,
  function() return fs.copy("/etc/passwd", "x") end,
}) do
  local ok, err = pcall(call)
  assert.eq(ok, false)
  assert.eq(err.code, "denied")
end

--# case: the directory that was granted is not moved away
--# allow: fs=rw:a,fs=rw:b
fs.mkdir("a")
fs.mkdir("b")
fs.write("a/x", "x")
for _, attempt in ipairs{
  function() fs.rename("a", "b/a") end,
  function() os.rename("a", "b/a") end,
} do
  local ok, err = pcall(function() assert(attempt()) end)
  assert.eq(ok, false)
end
assert.eq(fs.read("a/x"), "x")
fs.mkdir("a/sub")
fs.rename("a/sub", "b/sub")
assert.eq(fs.exists("b/sub"), true)

--# case: files that are read and removed keep their room
--# flags: --temp-bytes 1MiB
local d = fs.tempdir()
local open = {}
local ok, err = pcall(function()
  for i = 1, 10 do
    fs.write(d .. "/big", ("x"):rep(400000))
    open[i] = assert(io.open(d .. "/big"))
    fs.remove(d .. "/big")
  end
end)
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "--temp-bytes")
for _, file in ipairs(open) do
  file:close()
end
fs.write(d .. "/big", ("x"):rep(400000))

--# case: a walk from the root leaves out the processes
--# allow: fs=read:/
for _, entry in ipairs(fs.readdir("/", {depth = 2})) do
  assert(not entry.path:find("^/+proc/"), entry.path)
end
