--- # Escapes by archives
--- What an archive may try when it is unpacked with `tar` or `compress.untar`, or is made.

--# case: every way out of the directory
--# needs: tar
--# allow: fs=read:${TAR}
--# allow: fs=rw:${TMP}
fs.write("canary", "untouched")
for _, name in ipairs({
  "upwards", "upwards-deep", "absolute", "link-upwards", "link-absolute", "link-chain", "write-through",
  "write-through-inside", "hard-upwards", "hard-absolute", "hard-then-write", "device", "block-device", "pipe",
}) do
  local archive = "${TAR}/" .. name .. ".tar"
  local ok, err = pcall(tar.extract, archive, "out")
  assert.eq(ok, false, name)
  assert.eq(err.code, "invalid_data", name .. ": " .. err.message)
  assert.contains(err.message, "unsafe = \"skip\"")
  fs.remove("out", { recursive = true })
  local result = tar.extract(archive, "out", { unsafe = "skip" })
  assert.gt(#result.skipped, 0, name)
  assert.not_nil(result.skipped[1].reason)
  for _, entry in ipairs(fs.readdir("out")) do
    assert(entry.type ~= "other", name)
    if entry.type == "symlink" and fs.exists(entry.path) then
      assert(fs.canonicalize(entry.path):find("/out", 1, true), name)
    end
  end
  fs.remove("out", { recursive = true })
  assert.eq(fs.read("canary"), "untouched", name)
  assert.eq(fs.exists("evil"), false, name)
end
assert.eq(#fs.list("."), 3)

--# case: nothing gets power by its permission bits
--# needs: tar
--# allow: fs=read:${TAR}
--# allow: fs=rw:${TMP}
tar.extract("${TAR}/setuid.tar", "out")
assert.eq(#fs.stat("out/tool").permissions, 3)
assert.eq(fs.stat("out/tool").permissions, "755")
assert.eq(#fs.stat("out/d").permissions, 3)
compress.untar("${TAR}/setuid.tar", "tool", { member = "tool" })
assert.eq(fs.stat("tool").permissions, "644")

--# case: links that wait in the directory
--# allow: fs=rw:${TMP}
fs.write("canary", "untouched")
fs.mkdir("out")
fs.symlink("..", "out/up")
fs.symlink("../canary", "out/file")
for _, files in ipairs({ { ["up/canary"] = "x" }, { ["up/new"] = "x" }, { ["up/out/x"] = "x" }, { ["up/"] = { mode = "777" } } }) do
  tar.create("a.tar", files)
  local ok, err = pcall(tar.extract, "a.tar", "out")
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_data")
end
tar.create("a.tar", { file = "new" })
tar.extract("a.tar", "out")
assert.eq(fs.read("canary"), "untouched")
assert.eq(fs.read("out/file"), "new")
assert.eq(fs.exists("new"), false)

--# case: a link as the destination is checked by where it leads
--# allow: fs=rw:${TMP}/mine
--# link: mine=.
--# link: out=/tmp
local ok, err = pcall(tar.create, "out/a.tar", { a = "x" })
assert.eq(err.code, "denied")
local ok, err = pcall(tar.extract, "mine/case.lua", "out")
assert.eq(err.code, "denied")

--# case: a deny rule holds within what is unpacked
--# allow: fs=rw:${TMP}
--# deny: fs=write:${TMP}/out/locked
--# deny: fs=read:${TMP}/out/secret
fs.write("out/secret", "s")
for _, files in ipairs({ { locked = "x" }, { ["locked/deep/x"] = "x" }, { ["./locked//x"] = "x" } }) do
  tar.create("a.tar", files)
  for _, unsafe in ipairs({ "error", "skip" }) do
    local ok, err = pcall(tar.extract, "a.tar", "out", { unsafe = unsafe })
    assert.eq(ok, false)
    assert.eq(err.code, "denied")
  end
end
assert.eq(fs.exists("out/locked"), false)
tar.create("b.tar", { ["locked/x"] = "x" })
assert.eq(select(2, pcall(compress.untar, "b.tar", "out/locked", { member = "locked/x" })).code, "denied")
-- Reading by way of an archive.
assert.eq(select(2, pcall(tar.create, "a.tar", { s = { file = "out/secret" } })).code, "denied")
assert.eq(select(2, pcall(compress.pack_file, "out/secret", "s.gz")).code, "denied")

--# case: the paths of archives are paths like others
--# allow: fs=rw:${TMP}/mine
for _, path in ipairs({ "../x", "/etc/passwd", "mine/../../x", "/proc/self/environ", "mine/../x" }) do
  for _, call in ipairs({
    function() tar.list(path) end, function() tar.extract(path, "mine/out") end, function() tar.create(path, { a = "x" }) end,
    function() compress.untar(path, "mine/x", { member = "x" }) end, function() compress.pack_file(path, "mine/x.gz") end,
    function() tar.create("mine/a.tar", { a = { file = path } }) end,
  }) do
    local ok, err = pcall(call)
    assert.eq(ok, false, path)
    assert.eq(err.code, "denied", path)
  end
end

--# case: pipes and devices are not waited for
--# needs: tar
--# allow: fs=rw:/dev
for _, path in ipairs({ "/dev/zero", "/dev/stdin" }) do
  assert.eq(pcall(tar.list, path), false)
  assert.eq(pcall(compress.unpack_file, path, "/dev/null"), false)
end
