--- # compress
--- gzip, xz, zstd and bzip2, of strings, streams and files.
---
--- Data need no grant; files go through `fs`: reading the source, writing the destination. Also known to `require` as
--- `assay.compress`.
---
--- | format | functions | levels | |
--- |---|---|---|---|
--- | `gz` | `gzip`, `gunzip` | 0 to 9, 6 | RFC 1952 |
--- | `xz` | `xz`, `unxz` | 0 to 9, 6 | levels 7 to 9 use the dictionary of level 6, 8 MiB |
--- | `zst` | `zstd`, `unzstd` | 1 to 19, 3 | RFC 8878, with a checksum |
--- | `bz2` | `bzip2`, `bunzip2` | 1 to 9, 9 | |
---
--- `gzip`, `zstd` and `bzip2` are other names of these formats. Several streams in a row are one, as their programs have it, and zeros behind them are padding;
--- anything else behind the end is an error. Checksums are checked.
---
--- ## Bounds
--- A few bytes can become very many. Unpacking stops with the error `limit` when more comes out than
---
--- | option | default | |
--- |---|---|---|
--- | `max_size` | 64 MiB for strings, 1 GiB for files and streams | bytes |
--- | `max_ratio` | 1000 | bytes of output for each byte of input; checked once there are 32 MiB of output |
---
--- 0 is no bound. Data that ask for more memory than `xz -9` or `zstd --ultra -22` made them for are refused with `limit`.
--- Packers and unpackers take their memory from `--host-memory`: an unpacker what its data need (xz 9 to 66 MiB, zstd 8 to 128,
--- others little), a packer up to 96 MiB for xz, which makes do with a smaller dictionary where half of `--host-memory` is less,
--- and up to 100 MiB for zstd from level 19 on. A call waits up to 30 seconds for memory that other calls release.
---
--- Errors begin with the name of the function. Their codes: `invalid_data` for what is damaged, cut off or something else,
--- `limit`, `invalid_argument`, and those of [fs](fs.md).
---
--- ## compress.gunzip(bytes, opts?) -> string
--- The data that were compressed with gzip. Options: the bounds.
---
--- ## compress.unxz(bytes, opts?) -> string
--- The same for xz.
---
--- ## compress.unzstd(bytes, opts?) -> string
--- The same for zstd.
---
--- ## compress.bunzip2(bytes, opts?) -> string
--- The same for bzip2.
---
--- ## compress.gzip(bytes, opts?) -> string
--- Compresses with gzip. Option: `level`. The same bytes and level give the same result.
---
--- ## compress.xz(bytes, opts?) -> string
--- The same for xz.
---
--- ## compress.zstd(bytes, opts?) -> string
--- The same for zstd.
---
--- ## compress.bzip2(bytes, opts?) -> string
--- The same for bzip2.
---
--- ## compress.detect(bytes) -> format?
--- The format of data by their first bytes: `"gz"`, `"xz"`, `"zst"`, `"bz2"`, or nil.
---
--- ## compress.pack_file(source, destination, opts?) -> size
--- Compresses a file into another one, which appears when it is complete, in the place of an older one; the source stays.
--- Gives the size of the result. Options: `format`, without which the destination's extension decides, and `level`.
---
--- ## compress.unpack_file(source, destination, opts?) -> size
--- The reverse. Options: `format`, without which the first bytes decide, and the bounds.
---
--- ## compress.packer(format, opts?) -> stream
--- Compresses piece by piece, in constant memory. Option: `level`.
---
--- ## compress.unpacker(format, opts?) -> stream
--- Decompresses piece by piece. Options: the bounds. A stream has the methods
---
--- | method | |
--- |---|---|
--- | `stream:write(bytes) -> string` | takes a piece and gives what has come out, which may be nothing yet |
--- | `stream:finish() -> string` | ends the stream and gives the rest; for an unpacker an error where something is missing |
--- | `stream:each(iterator...) -> iterator` | for the pieces that another iterator gives: what comes out of them, 1 MiB at most at a time, to the end |
--- | `stream:close()` | gives up |
---
--- ## compress.untar(archive, destination, opts) -> size
--- Unpacks one regular file of a tar archive, `opts.member`, to the path `destination`, where it appears when it is complete and
--- the rest of the archive was found whole. Gives its size. A hard link is followed within the archive. Where a name is there more than once the last one counts. Options:
--- `compression` (`"gz"`, `"xz"`, `"zst"`, `"bz2"`, `"none"`; without it the first bytes decide) and the bounds of
--- [tar](tar.md). Raises `not_found`, and `unsupported` for a member that is no regular file.

--# example: there and back
local text = ("the quick brown fox "):rep(1000)
for _, pair in ipairs({ { "gzip", "gunzip" }, { "xz", "unxz" }, { "zstd", "unzstd" }, { "bzip2", "bunzip2" } }) do
  local packed = compress[pair[1]](text)
  assert(#packed < 500)
  assert.eq(compress[pair[2]](packed), text)
end

--# example: a file, and a stream of it
--# allow: fs=rw:${TMP}
fs.write("log.txt", ("line\n"):rep(100000))
assert.lt(compress.pack_file("log.txt", "log.txt.gz", { level = 9 }), 2000)
local unpacker = compress.unpacker("gz")
local size = 0
for piece in unpacker:each(io.lines("log.txt.gz", 4096)) do
  size = size + #piece
end
assert.eq(size, 500000)
assert.eq(compress.unpack_file("log.txt.gz", "again.txt"), 500000)

--# case: what the real programs wrote
--# needs: tar
--# allow: fs=read:${TAR}
--# allow: fs=rw:${TMP}
local text = fs.read("${TAR}/data.txt")
for format, name in pairs({ gz = "gunzip", xz = "unxz", zst = "unzstd", bz2 = "bunzip2" }) do
  local path = "${TAR}/data.txt." .. format
  local packed = fs.read_bytes(path)
  assert.eq(compress.detect(packed), format)
  assert(compress[name](packed) == text)
  assert(compress[name](packed .. packed) == text .. text)
  assert.eq(compress.unpack_file(path, "out"), #text)
  assert(fs.read("out") == text)
  assert.eq(compress.unpack_file(path, "out", { format = format }), #text)
end

--# case: the same table by every name
assert.eq(require("compress"), compress)
assert.eq(require("assay.compress"), compress)

--# case: empty, binary and large data
local all = {}
for n = 0, 255 do all[n + 1] = string.char(n) end
local binary = table.concat(all):rep(20)
local large = crypto.random_bytes(1 << 20):rep(5)
for _, data in ipairs({ "", "\0", binary, large }) do
  for _, pair in ipairs({ { "gzip", "gunzip" }, { "xz", "unxz" }, { "zstd", "unzstd" }, { "bzip2", "bunzip2" } }) do
    local packed = compress[pair[1]](data, { level = 1 })
    assert(compress[pair[2]](packed) == data, pair[1])
  end
end
assert.eq(compress.detect(""), nil)
assert.eq(compress.detect("plain"), nil)

--# case: levels
local data = json.encode({ list = (("abcdefgh"):rep(500)) }) .. ("xyz"):rep(20000)
for name, levels in pairs({ gzip = { 0, 9 }, xz = { 0, 9 }, zstd = { 1, 19 }, bzip2 = { 1, 9 } }) do
  local un = ({ gzip = "gunzip", xz = "unxz", zstd = "unzstd", bzip2 = "bunzip2" })[name]
  for _, level in ipairs(levels) do
    assert(compress[un](compress[name](data, { level = level })) == data)
  end
  for _, level in ipairs({ levels[1] - 1, levels[2] + 1, -100, 1 << 40 }) do
    local ok, err = pcall(compress[name], data, { level = level })
    assert.eq(ok, false, name .. level)
    assert.eq(err.code, "invalid_argument")
    assert.contains(err.message, "compress." .. name .. ": ")
  end
end
assert.gt(#compress.gzip(data, { level = 0 }), #data)
assert.eq(compress.gzip(data), compress.gzip(data))

--# case: damaged data, with the name of the function
local text = ("some text "):rep(1000)
for name, un in pairs({ gzip = "gunzip", xz = "unxz", zstd = "unzstd", bzip2 = "bunzip2" }) do
  local packed = compress[name](text)
  local middle = #packed // 2
  local flipped = packed:sub(1, middle) .. string.char(packed:byte(middle + 1) ~ 16) .. packed:sub(middle + 2)
  for _, bad in ipairs({ "", "x", "not compressed at all", packed:sub(1, -2), packed:sub(1, 8), packed .. "tail", flipped }) do
    local ok, err = pcall(compress[un], bad)
    assert.eq(ok, false, un)
    assert.eq(err.code, "invalid_data", un .. ": " .. err.message)
    assert.contains(err.message, "compress." .. un .. ": ")
  end
end
assert.contains(select(2, pcall(compress.gunzip, compress.gzip("x"):sub(1, -2))).message, "end too early")
assert.contains(select(2, pcall(compress.unxz, compress.gzip("x"))).message, "not xz data")

--# case: a bomb ends at its limit
--# needs: tar
--# allow: fs=read:${TAR}
--# allow: fs=rw:${TMP}
local bomb = fs.read_bytes("${TAR}/zeros.gz")
local size = 64 << 20
-- The ratio is 1028.
local ok, err = pcall(compress.gunzip, bomb)
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "compress.gunzip: ")
assert.contains(err.message, "max_ratio")
assert.eq(#compress.gunzip(bomb, { max_ratio = 1100 }), size)
assert.eq(#compress.gunzip(bomb, { max_ratio = 0, max_size = size }), size)
local ok, err = pcall(compress.gunzip, bomb, { max_ratio = 0, max_size = size - 1 })
assert.eq(err.code, "limit")
assert.contains(err.message, "max_size")
-- The default for strings, and none.
local more = bomb .. compress.gzip("x")
assert.eq(select(2, pcall(compress.gunzip, more, { max_ratio = 0 })).code, "limit")
assert.eq(#compress.gunzip(more, { max_ratio = 0, max_size = 0 }), size + 1)
-- Files.
local ok, err = pcall(compress.unpack_file, "${TAR}/zeros.gz", "out")
assert.eq(err.code, "limit")
assert.eq(fs.exists("out"), false)
assert.eq(#fs.list("."), 2)
assert.eq(compress.unpack_file("${TAR}/zeros.gz", "out", { max_ratio = 2000 }), size)
assert.eq(select(2, pcall(compress.unpack_file, "${TAR}/zeros.gz", "out", { max_size = size - 1, max_ratio = 0 })).code, "limit")
-- Streams.
local stream = compress.unpacker("gz", { max_size = 1000 })
assert.eq(select(2, pcall(stream.write, stream, bomb)).code, "limit")
assert.eq(select(2, pcall(stream.finish, stream)).code, "invalid_argument")

--# case: what does not fit into the script's memory
--# needs: tar
--# allow: fs=read:${TAR}
--# flags: --memory 48MiB
local bomb = fs.read_bytes("${TAR}/zeros.gz")
local ok, err = pcall(compress.gunzip, bomb, { max_ratio = 0 })
assert.eq(ok, false)
assert.eq(err.code, "limit")
-- As a stream it does.
local size = 0
for piece in compress.unpacker("gz", { max_ratio = 0 }):each(function(_, last) return not last and bomb or nil end) do
  size = size + #piece
end
assert.eq(size, 64 << 20)

--# case: streams
local text = {}
for n = 1, 20000 do text[n] = "line " .. n .. "\n" end
local whole = table.concat(text)
for format, un in pairs({ gz = "gunzip", xz = "unxz", zst = "unzstd", bz2 = "bunzip2" }) do
  local packer = compress.packer(format, { level = 3 })
  local pieces = {}
  for _, line in ipairs({ whole:sub(1, 10), whole:sub(11, 100000), whole:sub(100001) }) do
    pieces[#pieces + 1] = packer:write(line)
  end
  pieces[#pieces + 1] = packer:finish()
  local packed = table.concat(pieces)
  assert(compress[un](packed) == whole, format)
  local unpacker = compress.unpacker(format)
  local out = {}
  for at = 1, #packed, 1000 do
    out[#out + 1] = unpacker:write(packed:sub(at, at + 999))
  end
  out[#out + 1] = unpacker:finish()
  assert(table.concat(out) == whole, format)
  -- It is over.
  for _, method in ipairs({ "write", "finish" }) do
    local ok, err = pcall(unpacker[method], unpacker, "x")
    assert.eq(ok, false)
    assert.eq(err.code, "invalid_argument")
  end
  -- Something missing shows at the end.
  local cut = compress.unpacker(format)
  cut:write(packed:sub(1, -5))
  local ok, err = pcall(cut.finish, cut)
  assert.eq(err.code, "invalid_data", format)
  assert.contains(err.message, "compress.unpacker: ")
end

--# case: an iterator over an iterator
local function thirds(text)
  local at = 1
  return function()
    local piece = text:sub(at, at + 2)
    at = at + 3
    return piece ~= "" and piece or nil
  end
end
local packed = {}
for piece in compress.packer("zst"):each(thirds("abcdefghij")) do packed[#packed + 1] = piece end
local back = {}
for piece in compress.unpacker("zst"):each(thirds(table.concat(packed))) do back[#back + 1] = piece end
assert.eq(table.concat(back), "abcdefghij")
-- Large output comes in pieces.
local zeros = compress.zstd(("\0"):rep(8 << 20))
local size, most = 0, 0
for piece in compress.unpacker("zst"):each(thirds(zeros)) do
  size, most = size + #piece, math.max(most, #piece)
end
assert.eq(size, 8 << 20)
assert(most <= 1 << 20)
-- An empty stream is one.
local none = {}
for piece in compress.packer("gz"):each(function() end) do none[#none + 1] = piece end
assert.eq(compress.gunzip(table.concat(none)), "")
local ok, err = pcall(function()
  for _ in compress.packer("gz"):each(function() return 1 end) do end
end)
assert.contains(err, "must be strings")

--# case: streams are limited in number by their memory and by handles
--# flags: --max-handles 4
local open = {}
for n = 1, 4 do open[n] = compress.packer("gz") end
local ok, err = pcall(compress.packer, "gz")
assert.eq(err.code, "limit")
assert.contains(err.message, "max-handles")
open[1]:close()
open[1] = compress.packer("gz")
open[2]:finish()
do local third <close> = open[3] end
compress.gunzip(compress.gzip("x"))

--# case: a large packer waits for others
local tasks = {}
for n = 1, 8 do
  tasks[n] = function() return compress.unzstd(compress.zstd("task " .. n, { level = 19 })) end
end
for n, text in ipairs(async.all(tasks)) do assert.eq(text, "task " .. n) end

--# case: files
--# allow: fs=rw:${TMP}
fs.write("in", ("data "):rep(100000))
for extension, un in pairs({ gz = "gunzip", tgz = "gunzip", xz = "unxz", zst = "unzstd", bz2 = "bunzip2" }) do
  local size = compress.pack_file("in", "deep/directory/out." .. extension)
  local packed = fs.read_bytes("deep/directory/out." .. extension)
  assert.eq(size, #packed)
  assert(compress[un](packed) == fs.read("in"))
end
assert.eq(compress.pack_file("in", "named", { format = "xz", level = 0 }), fs.stat("named").size)
assert.eq(compress.detect(fs.read_bytes("named")), "xz")
-- Into itself.
compress.pack_file("in", "in", { format = "gz" })
compress.unpack_file("in", "in")
assert.eq(fs.read("in"), ("data "):rep(100000))
local ok, err = pcall(compress.pack_file, "in", "out.txt")
assert.eq(err.code, "invalid_argument")
assert.contains(err.message, "compress.pack_file: ")
assert.contains(err.message, "give a format")
local ok, err = pcall(compress.pack_file, "none", "out.gz")
assert.eq(err.code, "not_found")
local ok, err = pcall(compress.unpack_file, "in", "out")
assert.eq(err.code, "invalid_data")
assert.contains(err.message, "in: ")
local ok, err = pcall(compress.unpack_file, "named", "out", { format = "gz" })
assert.eq(err.code, "invalid_data")
assert.eq(fs.exists("out"), false)
-- What was there stays when something fails.
fs.write("old", "old")
fs.write("broken.gz", compress.gzip("x"):sub(1, -3))
assert.eq(pcall(compress.unpack_file, "broken.gz", "old"), false)
assert.eq(fs.read("old"), "old")
for _, entry in ipairs(fs.list(".")) do
  assert(not entry.name:find("^%.assay"), entry.name)
end

--# case: one file of an archive
--# needs: tar
--# allow: fs=read:${TAR}
--# allow: fs=rw:${TMP}
local tool = fs.read_bytes("${TAR}/tree/bin/tool")
for _, archive in ipairs({ "gnu.tar", "oldgnu.tar", "posix.tar", "gnu.tar.gz", "gnu.tar.xz", "gnu.tar.zst", "gnu.tar.bz2" }) do
  local path = "${TAR}/" .. archive
  assert.eq(compress.untar(path, "out/tool", { member = "bin/tool" }), #tool)
  assert(fs.read_bytes("out/tool") == tool, archive)
  assert.eq(compress.untar(path, "long", { member = "./" .. ("l"):rep(120) .. "/" .. ("n"):rep(200) }), 4)
  -- One of these is a hard link to the other, whichever GNU tar met first.
  assert.eq(compress.untar(path, "same", { member = "same" }), #tool)
  assert.eq(compress.untar(path, "holes", { member = "holes" }), 2000000)
  assert(fs.read_bytes("holes") == fs.read_bytes("${TAR}/tree/holes"))
  local ok, err = pcall(compress.untar, path, "none", { member = "bin/none" })
  assert.eq(err.code, "not_found")
  assert.contains(err.message, "compress.untar: ")
  for _, member in ipairs({ "bin", "bin/link", "hollow" }) do
    assert.eq(select(2, pcall(compress.untar, path, "none", { member = member })).code, "unsupported", member)
  end
  assert.eq(fs.exists("none"), false)
end
assert.eq(compress.untar("${TAR}/gnu.tar.gz", "x", { member = "README", compression = "gz" }), 220000)
assert.eq(compress.untar("${TAR}/gnu.tar", "x", { member = "README", compression = "none" }), 220000)
assert.eq(select(2, pcall(compress.untar, "${TAR}/gnu.tar", "x", { member = "README", compression = "gz" })).code, "invalid_data")
assert.eq(compress.untar("${TAR}/twice.tar", "x", { member = "a" }), 6)
assert.eq(fs.read("x"), "second")
-- An archive that is cut off leaves what was there.
assert.eq(select(2, pcall(compress.untar, "${TAR}/cut.tar", "x", { member = "README" })).code, "invalid_data")
assert.eq(fs.read("x"), "second")
assert.eq(select(2, pcall(compress.untar, "${TAR}/bomb.tar.gz", "x", { member = "large", max_size = 1 << 20 })).code, "limit")
assert.eq(select(2, pcall(compress.untar, "${TAR}/bomb.tar.gz", "x", { member = "large" })).code, "limit")
assert.eq(compress.untar("${TAR}/bomb.tar.gz", "x", { member = "large", max_ratio = 2000 }), 64 << 20)

--# case: wrong arguments
for _, name in ipairs({ "gzip", "gunzip", "xz", "unxz", "zstd", "unzstd", "bzip2", "bunzip2", "detect" }) do
  assert.contains(select(2, pcall(compress[name])), "bad argument #1 to '" .. name .. "' (string expected, got no value)")
  assert.contains(select(2, pcall(compress[name], {})), "string expected, got table")
end
assert.contains(select(2, pcall(compress.gzip, "x", 9)), "bad argument #2 to 'gzip' (table expected, got number)")
for _, options in ipairs({ { max_size = -1 }, { max_size = "x" }, { max_ratio = 1.5 }, { max_ratio = -1 } }) do
  local ok, err = pcall(compress.gunzip, compress.gzip("x"), options)
  assert.eq(err.code, "invalid_argument")
  assert.contains(err.message, "compress.gunzip: ")
end
for _, format in ipairs({ "", "lz4", "GZ", "none" }) do
  local ok, err = pcall(compress.packer, format)
  assert.eq(err.code, "invalid_argument")
  assert.contains(err.message, "gz, xz, zst and bz2")
  assert.eq(select(2, pcall(compress.unpacker, format)).code, "invalid_argument")
end
assert.contains(select(2, pcall(compress.pack_file, "a")), "bad argument #2 to 'pack_file'")
assert.contains(select(2, pcall(compress.untar, "a", "b")), "bad argument #3 to 'untar'")
assert.eq(select(2, pcall(compress.untar, "a", "b", {})).code, "invalid_argument")
local stream = compress.packer("gz")
assert.contains(select(2, pcall(stream.write, stream)), "bad argument #1 to 'write'")
-- Other names of the formats.
for _, name in ipairs({ "gzip", "zstd", "bzip2" }) do compress.packer(name):close() end

--# case: files need their grants
--# allow: fs=rw:${TMP}/mine
fs.write("mine/in", "x")
for _, paths in ipairs({ { "/etc/hostname", "mine/out.gz" }, { "mine/in", "out.gz" }, { "mine/../in", "mine/out.gz" } }) do
  for _, name in ipairs({ "pack_file", "unpack_file" }) do
    local ok, err = pcall(compress[name], paths[1], paths[2], { format = "gz" })
    assert.eq(ok, false)
    -- What is read comes first; a source that is no gzip fails before anything is written.
    if name == "pack_file" or paths[1] ~= "mine/in" then
      assert.eq(err.code, "denied", name .. " " .. paths[1])
      assert.contains(err.message, "--allow fs=")
    end
  end
end
compress.pack_file("mine/in", "mine/in.gz")
assert.eq(select(2, pcall(compress.unpack_file, "mine/in.gz", "out")).code, "denied")
assert.eq(select(2, pcall(compress.untar, "/etc/hostname", "mine/x", { member = "x" })).code, "denied")

--# case: bytes are counted
--# flags: --max-host-bytes 1000000
local data = ("x"):rep(400000)
compress.gzip(data)
local ok, err = pcall(compress.gzip, ("x"):rep(700000))
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "max-host-bytes")

--# case: waiting inside pcall, coroutines and comparators
local function through(text)
  return compress.gunzip(compress.gzip(text))
end
assert.eq(select(2, pcall(through, "a")), "a")
assert.eq(coroutine.wrap(through)("b"), "b")
local list = { "3", "1", "2" }
table.sort(list, function(a, b) return through(a) < through(b) end)
assert.eq(table.concat(list), "123")
-- Other tasks go on meanwhile.
local ticks = 0
local ticker = async.spawn_interval(function() ticks = ticks + 1 end, 1)
compress.xz(crypto.random_bytes(1 << 20):rep(3), { level = 6 })
ticker:cancel()
assert.gt(ticks, 0)
-- A call that is given up ends.
local ok, err = pcall(async.timeout, 0.01, function() return compress.xz(crypto.random_bytes(1 << 20):rep(60), { level = 9 }) end)
assert.eq(ok, false)
assert.eq(err.code, "timeout")
