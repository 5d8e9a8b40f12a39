--- # tar
--- Archives: made, listed and unpacked.
---
--- No grant of its own; every file goes through `fs`. Archives are POSIX (ustar, pax) and GNU ones, with long names, links
--- and files with holes, plain or compressed with gzip, xz, zstd or bzip2, which is told from their first bytes. They are read
--- and written in constant memory, whatever their size.
---
--- ## What is not unpacked
--- Nothing is written outside of the directory that an archive is unpacked to. Refused are names that are absolute or
--- contain `..`, anything that would be written through a link, symbolic links that are absolute, that lead outside, or that go up
--- again after they went down, hard links to anything but a regular file inside, devices, pipes, and types that are not
--- known. The first such entry is the error `invalid_data`; with `unsafe = "skip"` they are left out and told.
---
--- Permission bits are kept as far as the umask lets them, setuid, setgid and sticky never. Owners are not kept. Times are,
--- those of directories too.
---
--- ## Bounds
---
--- | option | default | |
--- |---|---|---|
--- | `max_entries` | 100000 | entries |
--- | `max_size` | 1 GiB | bytes of all files together |
--- | `max_ratio` | 1000 | bytes of the archive for each byte of its compressed form; looked at from 32 MiB on |
---
--- 0 is no bound. More is the error `limit`, raised before the entry that is too much is written. Other codes: `invalid_data` for an
--- archive that is damaged or cut off, `exists` where a directory is in the way of a file, `invalid_argument`, and those of
--- [fs](fs.md). Messages begin with the name of the function.
---
--- ## tar.create(output, files, opts?) -> size
--- Writes an archive, which appears when it is complete, in the place of an older one; gives its size. `files` is a table from
--- names in the archive to content: a string, or a table with
---
--- | field | |
--- |---|---|
--- | `content` | a string |
--- | `file` | the path of a file to read |
--- | `link` | where a symbolic link leads |
--- | `mode` | permission bits as for [fs.chmod](fs.md), `"755"` or `0x1ed`; default: the file's own, else 644 |
--- | `mtime` | seconds since 1970; default: the file's own, else now |
---
--- A name that ends in a slash with none of the first three is a directory. `files` may also be the path of a directory: all that is in
--- it, links as links, with the modes and times that they have. Entries are sorted by name, so that the same files give the same archive.
---
--- | option | |
--- |---|---|
--- | `gzip` | true compresses with gzip; false does not, whatever the extension says |
--- | `compression` | `"gz"`, `"xz"`, `"zst"`, `"bz2"` or `"none"`; without it the extension of `output` decides (`.tar.gz`, `.tgz`...) |
--- | `level` | as for [compress](compress.md) |
--- | `mtime` | of every entry that has none of its own, for archives that are the same each time |
---
--- ## tar.extract(archive, destination, opts?) -> result
--- Unpacks below the directory `destination`, which is made. A file or link that is there already is replaced, never written into. The
--- result has the fields `entries`, `bytes`, and `skipped`: a list of `{name, reason}`, the first 1000.
---
--- | option | |
--- |---|---|
--- | `members` | list of names; only these, and what is below them |
--- | `strip` | number of components that are taken off the front of each name |
--- | `unsafe` | `"error"` (default) or `"skip"` |
--- | `compression` | as for `create`; without it the first bytes decide |
---
--- and the bounds. Where it fails, what was unpacked before stays.
---
--- ## tar.list(archive, opts?) -> names
--- The names of all entries, in their order and as they stand there. Options: the bounds and `compression`. The names
--- may have 16 MiB together.
---
--- ## tar.entries(archive, opts?) -> entries
--- The same as tables: `name`, `type` (`file`, `directory`, `symlink`, `hardlink` or `other`), `size`, `permissions` (`"644"`), `modified`
--- (seconds since 1970), and `target` for links.

--# example: make, list and unpack
--# allow: fs=rw:${TMP}
tar.create("site.tar.gz", {
  ["index.html"] = "<h1>hello</h1>",
  ["bin/start"] = { content = "#!/bin/sh\n", mode = "755" },
})
assert.eq(table.concat(tar.list("site.tar.gz"), " "), "bin/start index.html")
local result = tar.extract("site.tar.gz", "site")
assert.eq(result.entries, 2)
assert.eq(fs.read("site/index.html"), "<h1>hello</h1>")
assert.eq(fs.stat("site/bin/start").permissions, "755")

--# case: what GNU tar wrote, in every form
--# needs: tar
--# allow: fs=read:${TAR}
--# allow: fs=rw:${TMP}
local function tree(root)
  local seen = {}
  for _, entry in ipairs(fs.readdir(root)) do
    local about = fs.stat(entry.path, { follow = false })
    local what = entry.type .. " " .. about.permissions
    if entry.type == "file" then
      what = what .. " " .. about.modified // 1 .. " " .. crypto.hash_file(entry.path)
    elseif entry.type == "symlink" then
      what = entry.type .. " " .. fs.readlink(entry.path)
    end
    seen[entry.path:sub(#root + 2)] = what
  end
  return seen
end
local wanted = tree("${TAR}/tree")
for n, archive in ipairs({ "gnu.tar", "oldgnu.tar", "posix.tar", "gnu.tar.gz", "gnu.tar.xz", "gnu.tar.zst", "gnu.tar.bz2" }) do
  local result = tar.extract("${TAR}/" .. archive, "out" .. n)
  assert.eq(#result.skipped, 0)
  local got = tree("out" .. n)
  for name, what in pairs(wanted) do assert.eq(got[name], what, archive .. ": " .. name) end
  for name in pairs(got) do assert.not_nil(wanted[name], archive .. ": " .. name) end
end
-- The hard link is one.
fs.append("out1/same", "more")
assert.eq(fs.stat("out1/bin/tool").size, fs.stat("out1/same").size)

--# case: entries in full
--# needs: tar
--# allow: fs=read:${TAR}
local by_name = {}
for _, entry in ipairs(tar.entries("${TAR}/posix.tar")) do by_name[entry.name] = entry end
local link = by_name["./bin/link"]
assert.eq(link.type, "symlink")
assert.eq(link.target, "../README")
assert.eq(by_name["./README"].size, 220000)
assert.eq(by_name["./README"].permissions, "644")
assert.eq(by_name["./holes"].size, 2000000)
assert.eq(by_name["./hollow/"].type, "directory")
local hard = by_name["./same"].type == "hardlink" and by_name["./same"] or by_name["./bin/tool"]
assert.eq(hard.type, "hardlink")
assert.gt(by_name["./empty"].modified, 1000000000)
assert.eq(tar.entries("${TAR}/pipe.tar")[1].type, "other")
assert.eq(#tar.list("${TAR}/posix.tar"), #tar.entries("${TAR}/posix.tar"))

--# case: create, in every form
--# allow: fs=rw:${TMP}
fs.write("local/tool", "#!/bin/sh\n")
fs.chmod("local/tool", "750")
local long = ("a"):rep(120) .. "/" .. ("b"):rep(120)
local files = {
  ["./plain"] = "text",
  empty = "",
  ["binary"] = "\0\xff\0",
  ["dir/"] = { mode = "700" },
  ["dir/tool"] = { file = "local/tool" },
  ["dir/other"] = { file = "local/tool", mode = 0x124, mtime = 5 },
  ["dir/link"] = { link = "../plain" },
  [long] = { content = ("x"):rep(100000), mtime = 1234567890 },
  ["ünïcode"] = "y",
}
for compression, format in pairs({ none = "nil", gz = "gz", xz = "xz", zst = "zst", bz2 = "bz2" }) do
  local size = tar.create("a.tar", files, { compression = compression, mtime = 1000000000 })
  local bytes = fs.read_bytes("a.tar")
  assert.eq(#bytes, size)
  assert.eq(tostring(compress.detect(bytes)), format)
  fs.mkdir("out")
  tar.extract("a.tar", "out")
  assert.eq(fs.read("out/plain"), "text")
  assert.eq(fs.read_bytes("out/binary"), "\0\xff\0")
  assert.eq(fs.stat("out/empty").size, 0)
  assert.eq(fs.stat("out/dir").permissions, "700")
  assert.eq(fs.stat("out/dir/tool").permissions, "750")
  assert.eq(fs.stat("out/dir/other").permissions, "444")
  assert.eq(fs.stat("out/dir/other").modified, 5)
  assert.eq(fs.read("out/dir/link"), "text")
  assert.eq(fs.stat("out/" .. long).modified, 1234567890)
  assert.eq(fs.stat("out/ünïcode").modified, 1000000000)
  fs.remove("out", { recursive = true })
  -- The same files, the same archive.
  tar.create("b.tar", files, { compression = compression, mtime = 1000000000 })
  assert(fs.read_bytes("b.tar") == bytes)
end
-- By option and extension.
for output, format in pairs({ ["x.tar"] = "nil", ["x.tar.gz"] = "gz", ["x.tgz"] = "gz", ["x.TAR.XZ"] = "xz", ["x.tar.zst"] = "zst", ["x.bak"] = "nil" }) do
  tar.create(output, { a = "b" })
  assert.eq(tostring(compress.detect(fs.read_bytes(output))), format, output)
end
tar.create("x.tar", { a = "b" }, { gzip = true })
assert.eq(compress.detect(fs.read_bytes("x.tar")), "gz")
assert.lt(tar.create("x.tar", { a = ("b"):rep(50000) }, { gzip = true, level = 9 }), 1000)
tar.create("x.tar.gz", { a = "b" }, { gzip = false })
assert.eq(compress.detect(fs.read_bytes("x.tar.gz")), nil)
-- Nothing at all is an archive too.
tar.create("none.tar", {})
assert.eq(#tar.list("none.tar"), 0)
assert.eq(tar.extract("none.tar", "none").entries, 0)

--# case: a directory
--# allow: fs=rw:${TMP}
fs.write("src/a/b.txt", "b")
fs.write("src/c.txt", "c")
fs.chmod("src/c.txt", "600")
fs.mkdir("src/hollow")
fs.symlink("c.txt", "src/link")
tar.create("src/out.tar", "src")
-- Again, with the archive in it.
tar.create("src/out.tar", "src/", { gzip = true })
assert.eq(table.concat(tar.list("src/out.tar"), " "), "a/ a/b.txt c.txt hollow/ link")
tar.extract("src/out.tar", "dst")
assert.eq(fs.read("dst/a/b.txt"), "b")
assert.eq(fs.stat("dst/c.txt").permissions, "600")
assert.eq(fs.readlink("dst/link"), "c.txt")
assert.eq(fs.is_dir("dst/hollow"), true)

--# case: directories and links keep their times
--# allow: fs=rw:${TMP}
local old <const> = 1000000000
tar.create("a.tar", {
  ["d/"] = { mode = "750" }, ["d/e/"] = { mode = "500" }, ["d/e/file"] = "x", ["d/file"] = "x", ["d/link"] = { link = "file" },
  ["made/by/file"] = "x",
}, { mtime = old })
local function times(directory)
  for _, name in ipairs({ "d", "d/e", "d/e/file", "d/file", "d/link" }) do
    assert.eq(fs.stat(directory .. "/" .. name, { follow = false }).modified, old, name)
  end
end
tar.extract("a.tar", "out")
times("out")
assert.eq(fs.stat("out/d/e").permissions, "500")
-- A directory that is not in the archive has the time when it was made.
assert.gt(fs.stat("out/made/by").modified, old)
-- What is there already gets them too: its content has just been replaced.
fs.chmod("out/d/e", "755")
tar.extract("a.tar", "out")
times("out")
assert.eq(fs.stat("out/d/e").permissions, "755")
-- The other way round.
tar.create("b.tar", "out")
for _, entry in ipairs(tar.entries("b.tar")) do
  if entry.name:find("^d") then
    assert.eq(entry.modified, old, entry.name)
  end
end
tar.create("c.tar", "out", { mtime = 5 })
for _, entry in ipairs(tar.entries("c.tar")) do
  assert.eq(entry.modified, 5, entry.name)
end

--# case: a part of an archive
--# needs: tar
--# allow: fs=read:${TAR}
--# allow: fs=rw:${TMP}
local archive = "${TAR}/gnu.tar.gz"
assert.eq(tar.extract(archive, "one", { members = { "README" } }).entries, 1)
assert.eq(#fs.list("one"), 1)
tar.extract(archive, "two", { members = { "./with blank/", "empty" } })
assert.eq(#fs.list("two"), 2)
assert.eq(fs.read("two/with blank/ünïcode"), "x")
tar.extract(archive, "three", { strip = 1, members = { "with blank" } })
assert.eq(fs.read("three/ünïcode"), "x")
assert.eq(tar.extract(archive, "four", { members = { "none" } }).entries, 0)
assert.eq(tar.extract(archive, "five", { strip = 100 }).entries, 0)
assert.eq(select(2, pcall(tar.extract, archive, "six", { members = {} })).code, "invalid_argument")

--# case: what is there is replaced, never written into
--# allow: fs=rw:${TMP}
tar.create("a.tar", { file = "new", ["d/x"] = "x" })
fs.write("out/file", "old")
fs.write("out/keep", "kept")
fs.write("target", "target")
fs.symlink("../target", "out/link")
tar.extract("a.tar", "out")
assert.eq(fs.read("out/file"), "new")
assert.eq(fs.read("out/keep"), "kept")
tar.create("b.tar", { link = "new" })
tar.extract("b.tar", "out")
assert.eq(fs.read("out/link"), "new")
assert.eq(fs.read("target"), "target")
-- A directory is not replaced by a file.
tar.create("c.tar", { d = "x" })
local ok, err = pcall(tar.extract, "c.tar", "out")
assert.eq(err.code, "exists")
assert.contains(err.message, "tar.extract: ")
assert.eq(fs.read("out/d/x"), "x")

--# case: entries of one name, the last one counts
--# needs: tar
--# allow: fs=read:${TAR}
--# allow: fs=rw:${TMP}
tar.extract("${TAR}/twice.tar", "out")
assert.eq(fs.read("out/a"), "second")
assert.eq(table.concat(tar.list("${TAR}/twice.tar"), " "), "a a")

--# case: limits on both sides
--# needs: tar
--# allow: fs=read:${TAR}
--# allow: fs=rw:${TMP}
local calls = {
  function(archive, opts) return tar.extract(archive, "out", opts) end,
  function(archive, opts) return tar.list(archive, opts) end,
  function(archive, opts) return tar.entries(archive, opts) end,
}
for n, call in ipairs(calls) do
  local function limited(archive, opts, option)
    local ok, err = pcall(call, "${TAR}/" .. archive, opts)
    assert.eq(ok, false, archive)
    assert.eq(err.code, "limit", archive .. ": " .. err.message)
    assert.contains(err.message, option)
  end
  call("${TAR}/many.tar", { max_entries = 1000 })
  limited("many.tar", { max_entries = 999 }, "max_entries")
  call("${TAR}/many.tar", { max_entries = 0 })
  call("${TAR}/sizes.tar", { max_size = 10000 })
  limited("sizes.tar", { max_size = 9999 }, "max_size")
  call("${TAR}/sizes.tar", { max_size = 0 })
  limited("bomb.tar.gz", nil, "max_ratio")
  call("${TAR}/bomb.tar.gz", { max_ratio = 2000 })
  call("${TAR}/bomb.tar.gz", { max_ratio = 0 })
  limited("bomb.tar.gz", { max_ratio = 0, max_size = 1 << 20 }, "max_size")
  limited("lie.tar", nil, "max_size")
  limited("long-name.tar", nil, "too many")
end
assert.eq(fs.exists("out/lie"), false)

--# case: archives that are none
--# needs: tar
--# allow: fs=read:${TAR}
--# allow: fs=rw:${TMP}
fs.write("text", ("no archive "):rep(100))
for _, path in ipairs({ "text", "${TAR}/nothing", "${TAR}/cut.tar", "${TAR}/data.txt.gz" }) do
  for _, call in ipairs({ tar.list, tar.entries, function(path) return tar.extract(path, "out") end }) do
    local ok, err = pcall(call, path)
    assert.eq(ok, false, path)
    assert.eq(err.code, "invalid_data", path .. ": " .. err.message)
    assert.contains(err.message, path)
  end
end
assert.eq(select(2, pcall(tar.list, "none.tar")).code, "not_found")
assert.eq(select(2, pcall(tar.list, "${TMP}")).errno, 21)
-- What was whole before the cut stays, the file that was cut does not.
for _, entry in ipairs(fs.readdir("out")) do
  if entry.type == "file" then
    assert.eq(crypto.hash_file(entry.path), crypto.hash_file("${TAR}/tree/" .. entry.path:sub(5)))
  end
end

--# case: names that are not UTF-8
--# needs: tar
--# allow: fs=read:${TAR}
--# allow: fs=rw:${TMP}
assert.eq(tar.list("${TAR}/bytes.tar")[1], "a\xffb")
tar.extract("${TAR}/bytes.tar", "out")
assert.eq(#fs.list("out"), 2)
assert.eq(compress.untar("${TAR}/bytes.tar", "x", { member = "a\xffb" }), 1)

--# case: wrong arguments
--# allow: fs=rw:${TMP}
assert.contains(select(2, pcall(tar.create)), "bad argument #1 to 'create' (string expected, got no value)")
assert.contains(select(2, pcall(tar.create, "a.tar")), "bad argument #2 to 'create' (table or path of a directory expected")
assert.contains(select(2, pcall(tar.create, "a.tar", {}, true)), "bad argument #3 to 'create' (table expected")
assert.contains(select(2, pcall(tar.extract, "a.tar")), "bad argument #2 to 'extract'")
assert.contains(select(2, pcall(tar.list, {})), "bad argument #1 to 'list'")
for name, item in pairs({
  ["../up"] = "x", ["/absolute"] = "x", [""] = "x", ["./"] = "x", ["a\0b"] = "x", a = 1, b = {}, c = { content = 1 },
  d = { content = "x", file = "y" }, e = { content = "x", mode = "999" }, f = { link = "" },
}) do
  local ok, err = pcall(tar.create, "a.tar", { [name] = item })
  assert.eq(ok, false, name)
  assert.eq(err.code, "invalid_argument", name .. ": " .. tostring(err))
  assert.contains(err.message, "tar.create: ")
end
for _, options in ipairs({ { compression = "lz4" }, { gzip = true, compression = "xz" }, { gzip = true, level = 99 } }) do
  assert.eq(select(2, pcall(tar.create, "a.tar", {}, options)).code, "invalid_argument")
end
assert.eq(select(2, pcall(tar.create, "a.tar", { "x" })).code, "invalid_argument")
assert.eq(select(2, pcall(tar.create, "a.tar", { x = { file = "none" } })).code, "not_found")
tar.create("b.tar", { x = "x" })
for _, options in ipairs({ { strip = -1 }, { unsafe = "yes" }, { members = 1 }, { max_entries = "x" }, { compression = "lz4" } }) do
  assert.eq(select(2, pcall(tar.extract, "b.tar", "out", options)).code, "invalid_argument")
end
-- Nothing was left of all that.
assert.eq(fs.exists("a.tar"), false)
for _, entry in ipairs(fs.list(".")) do
  assert(not entry.name:find("^%.assay"), entry.name)
end

--# case: denied without grants
--# allow: fs=read:${TMP}/in
--# file: in/a.tar=x
local ok, err = pcall(tar.list, "other.tar")
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=read:other.tar")
local ok, err = pcall(tar.create, "in/b.tar", { a = "x" })
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=write:in/b.tar")
local ok, err = pcall(tar.extract, "in/a.tar", "out")
assert.eq(err.code, "denied")

--# case: what goes into an archive needs its grant
--# allow: fs=write:${TMP}
local ok, err = pcall(tar.create, "a.tar", { passwd = { file = "/etc/passwd" } })
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=read:/etc/passwd")
assert.eq(select(2, pcall(tar.create, "a.tar", "/etc")).code, "denied")

--# case: bytes are counted
--# allow: fs=rw:${TMP}
--# flags: --max-host-bytes 200000
tar.create("a.tar", { a = ("x"):rep(50000) })
local ok, err = pcall(tar.create, "b.tar", { a = ("x"):rep(100000), b = ("x"):rep(100000) })
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "max-host-bytes")
assert.eq(fs.exists("b.tar"), false)

--# case: waiting inside pcall, coroutines and comparators
--# allow: fs=rw:${TMP}
local function through(text)
  tar.create("t.tar", { [text] = "" })
  return tar.list("t.tar")[1]
end
assert.eq(select(2, pcall(through, "a")), "a")
assert.eq(coroutine.wrap(through)("b"), "b")
local list = { "3", "1", "2" }
table.sort(list, function(a, b) return through(a) < through(b) end)
assert.eq(table.concat(list), "123")
