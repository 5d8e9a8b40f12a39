--- # disk
--- Space on file systems, mounts, sizes of directories and sweeping them. All of it needs the grant `disk`, and each path
--- that of `fs` too: reading for `usage` and `dir_size`, writing for `sweep`. Mount points themselves, which
--- `disk.mounts` lists, need only `disk`.
---
--- ## disk.usage(path) -> {total, free, available, used, percent}
--- Bytes of the file system that the path is on. `available` is what users other than root can still use, `percent` the
--- used share of what they can use at all, as in `df`.
---
--- ## disk.mounts() -> {{device, mount, type, options}, ...}
--- What is mounted. `options` is a list.
---
--- ## disk.sweep(directory, age) -> integer
--- Removes the regular files in a directory and all below it that were last changed more than `age` seconds ago, and gives
--- their number. Directories stay, links are neither followed nor removed, and files that a deny rule covers are left out.
---
--- ## disk.dir_size(path) -> integer
--- Bytes of the regular files in a directory and all below it. A file with several names counts once, links are not followed.

--# example: how full is the disk?
--# allow: disk
local root = disk.usage("/")
assert.gt(root.total, 0)
assert.eq(root.used, root.total - root.free)

--# example: clearing a cache
--# allow: disk,fs=rw:${TMP}
fs.write("cache/a", "x")
assert.eq(disk.sweep("cache", 3600), 0)
sleep(0.01)
assert.eq(disk.sweep("cache", 0), 1)
assert.eq(fs.exists("cache/a"), false)
assert.eq(fs.exists("cache"), true)

--# case: mounts
--# allow: disk
local found
for _, mount in ipairs(disk.mounts()) do
  assert.eq(type(mount.device), "string")
  assert.eq(type(mount.type), "string")
  assert.gt(#mount.options, 0)
  found = found or mount.mount == "/"
end
assert.eq(found, true)

--# case: usage of a path
--# allow: disk,fs=read:${TMP}
local space = disk.usage(".")
for _, name in ipairs({ "total", "free", "available", "used" }) do
  assert.eq(math.type(space[name]), "integer", name)
end
assert.eq(space.percent >= 0 and space.percent <= 100, true)
assert.eq(select(2, pcall(disk.usage, "missing")).code, "not_found")
assert.eq(select(2, pcall(disk.usage, "/etc")).code, "denied")

--# case: sizes
--# allow: disk,fs=rw:${TMP}
--# deny: fs=read:${TMP}/d/secret
fs.write("d/a", ("x"):rep(1000))
fs.write("d/e/b", "123")
fs.write("d/secret/c", ("x"):rep(500))
fs.symlink("a", "d/link")
assert.eq(disk.dir_size("d"), 1003)
assert.eq(disk.dir_size("d/a"), 1000)
fs.mkdir("empty")
assert.eq(disk.dir_size("empty"), 0)
assert.eq(select(2, pcall(disk.dir_size, "missing")).code, "not_found")
-- They wait, so several run at once and from any function.
local sizes = async.all({ function() return disk.dir_size("d") end, function() return disk.dir_size("empty") end })
assert.eq(sizes[1], 1003)
assert.eq(coroutine.wrap(disk.dir_size)("d"), 1003)
local list = { "d", "empty" }
table.sort(list, function(a, b) return disk.dir_size(a) < disk.dir_size(b) end)
assert.eq(list[1], "empty")

--# case: sweeping stays inside
--# allow: disk,fs=rw:${TMP}
--# deny: fs=write:${TMP}/in/keep
--# file: in/keep/old=x
fs.write("out/file", "x")
fs.write("in/old", "x")
fs.write("in/deep/old", "x")
fs.symlink("../out", "in/link")
sleep(0.01)
assert.eq(disk.sweep("in", 0), 2)
assert.eq(fs.exists("out/file"), true)
assert.eq(fs.exists("in/keep/old"), true)
assert.eq(fs.exists("in/deep"), true)
assert.eq(disk.sweep("in", 1e9), 0)
assert.eq(pcall(disk.sweep, "in", 1e300), false)

--# case: wrong arguments
--# allow: disk,fs=rw:${TMP}
fs.write("a", "x")
for _, age in ipairs({ -1, 0 / 0, -1 / 0 }) do
  local ok, err = pcall(disk.sweep, ".", age)
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument")
end
assert.contains(select(2, pcall(disk.sweep, ".")), "bad argument #2")
assert.contains(select(2, pcall(disk.usage)), "bad argument #1")
assert.eq(fs.exists("a"), true)

--# case: the grant of fs alone is not enough
--# allow: fs=rw:${TMP}
for _, call in ipairs({ { disk.usage, "." }, { disk.mounts }, { disk.sweep, ".", 0 }, { disk.dir_size, "." } }) do
  local ok, err = pcall(table.unpack(call))
  assert.eq(ok, false)
  assert.eq(err.code, "denied")
  assert.contains(err.message, "--allow disk")
end

--# case: sweeping needs more than reading
--# allow: disk,fs=read:${TMP}
local ok, err = pcall(disk.sweep, ".", 0)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=write:")

--# case: the limit on bytes
--# allow: disk
--# flags: --max-host-bytes 1
local ok, err = pcall(disk.mounts)
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "--max-host-bytes")
