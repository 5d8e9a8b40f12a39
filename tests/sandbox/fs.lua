--- # fs: escapes
--- Ways out of a granted folder that must not lead anywhere.

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

--# case: a link out of the folder cannot be made
--# allow: fs=rw:${TMP}
fs.mkdir("d")
for _, target in ipairs({ "/etc/passwd", "/", "..", "../x", "/proc/self/root", "d/../..", "/etc/../etc" }) do
  local ok, err = pcall(fs.symlink, target, "link")
  assert.eq(ok, false, target)
  assert.eq(err.code, "denied", target)
end
-- Seen from the link's folder, not from the working folder.
assert.eq(select(2, pcall(fs.symlink, "../..", "d/link")).code, "denied")
fs.symlink("../d", "d/link")
assert.eq(#fs.list("d/link/link/link"), 1)

--# case: a link made harmless and then moved is checked when it is used
--# allow: fs=rw:${TMP}
fs.mkdir("a/b")
fs.mkdir("x")
fs.symlink("../x", "a/link")
fs.rename("a/link", "link")
local ok, err = pcall(fs.list, "link")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.eq(select(2, pcall(fs.write, "link/file", "x")).code, "denied")
assert.eq(select(2, pcall(fs.read, "link/../b")).code, "denied")
fs.remove("link")
assert.eq(fs.is_dir("x"), true)

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
-- Moving it away from its rule, itself or with its folder.
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

--# case: nothing tells whether something ungranted exists
--# allow: fs=rw:${TMP}
local _, there = pcall(fs.exists, "/etc/passwd")
local _, missing = pcall(fs.exists, "/etc/there-is-no-such-file")
assert.eq(there.code, "denied")
assert.eq(missing.code, "denied")
assert.eq(select(2, pcall(fs.symlink, "/etc/there-is-no-such-file", "l")).code, "denied")

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
fs.mkdir("folder")
fs.symlink("folder", "link")
assert.eq(pcall(fs.read, "file/"), false)
assert.eq(pcall(fs.write, "new/", "x"), false)
assert.eq(fs.exists("new"), false)
assert.eq(pcall(fs.write, "file/", "y"), false)
assert.eq(fs.read("file"), "x")
fs.rename("link/", "moved/")
assert.eq(fs.readlink("moved"), "folder")
assert.eq(fs.is_dir("folder"), true)
fs.remove("moved///")
assert.eq(fs.is_dir("folder"), true)

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

--# case: folders in folders without end
--# allow: fs=rw:${TMP}
local path = "d"
for _ = 1, 300 do path = path .. "/d" end
fs.mkdir(path)
local ok, err = pcall(fs.readdir, "d")
assert.eq(err.code, "limit")
assert.eq(select(2, pcall(fs.glob, "d/**/x")).code, "limit")
assert.eq(select(2, pcall(fs.remove, "d")).code, "limit")

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
