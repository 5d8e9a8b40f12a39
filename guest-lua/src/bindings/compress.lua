-- The part of `compress` that is easier said in Lua.
local natives, shared = ...
local no_more <const> = shared.no_more
local expected, options = shared.expected, shared.options
local compress = natives.compress
local whole, start, step, close, file = natives.whole, natives.start, natives.step, natives.close, natives.file
local untar = natives.member
local type, error, setmetatable, sub = type, error, setmetatable, string.sub
local concat = table.concat

local STEP <const> = 1 << 20

-- The options of packing and of unpacking.
local pack_options <const> = shared.names("level")
local unpack_options <const> = shared.names("max_size", "max_ratio")

for format, names in next, { gz = { "gzip", "gunzip" }, xz = { "xz", "unxz" }, zst = { "zstd", "unzstd" },
  bz2 = { "bzip2", "bunzip2" } } do
  for i, name in next, names do
    local tag <const>, packing <const> = "compress." .. name, i == 1
    local names <const> = packing and pack_options or unpack_options
    compress[name] = function(bytes, opts, ...)
      no_more(2, name, ...)
      if type(bytes) ~= "string" then
        expected(1, name, "string", bytes)
      end
      return whole(tag, bytes, format, packing, options(2, name, opts, names))
    end
  end
end

-- The format of data by its first bytes.
function compress.detect(bytes, ...)
  no_more(1, "detect", ...)
  if type(bytes) ~= "string" then
    expected(1, "detect", "string", bytes)
  end
  if sub(bytes, 1, 3) == "\x1f\x8b\b" then
    return "gz"
  elseif sub(bytes, 1, 6) == "\xfd7zXZ\0" then
    return "xz"
  elseif sub(bytes, 1, 4) == "\x28\xb5\x2f\xfd" then
    return "zst"
  elseif bytes:find("^BZh[1-9]") then
    return "bz2"
  end
  return nil
end

for name, packing in next, { pack_file = true, unpack_file = false } do
  local names <const> = shared.names("format", packing and pack_options or unpack_options)
  compress[name] = function(source, destination, opts, ...)
    no_more(3, name, ...)
    if type(source) ~= "string" then
      expected(1, name, "string", source)
    elseif type(destination) ~= "string" then
      expected(2, name, "string", destination)
    end
    return file("compress." .. name, source, destination, packing, options(3, name, opts, names))
  end
end

-- A stream: what is written to it comes out packed or unpacked.
local Stream = {}
Stream.__index = Stream
Stream.__name = "compress.stream"

-- Appends what comes out of `bytes` to `out`.
local function put(stream, bytes, last, out)
  local tag <const>, handle <const> = stream.tag, stream.handle
  local from, size = 1, #bytes
  repeat
    local upto = from + STEP - 1
    local data, more = step(tag, handle, sub(bytes, from, upto), last and upto >= size)
    out[#out + 1] = data
    while more do
      data, more = step(tag, handle, "", false)
      out[#out + 1] = data
    end
    from = upto + 1
  until from > size
  return out
end

function Stream:write(bytes, ...)
  no_more(1, "write", ...)
  if type(bytes) ~= "string" then
    expected(1, "write", "string", bytes)
  end
  return concat(put(self, bytes, false, {}))
end

function Stream:finish(...)
  no_more(0, "finish", ...)
  local out = concat(put(self, "", true, {}))
  close(self.handle)
  return out
end

-- An iterator over what comes out of the pieces that another iterator gives, in constant memory.
function Stream:each(f, s, v)
  if type(f) == "string" then
    expected(1, "each", "iterator", f)
  end
  local tag <const>, handle <const> = self.tag, self.handle
  local input, from, last, more, over = "", 1, false, false, false
  return function()
    while not over do
      local data
      if more then
        data, more = step(tag, handle, "", false)
      else
        if from > #input and not last then
          v = f(s, v)
          input, from, last = v or "", 1, v == nil
          if type(input) ~= "string" then
            error(tag .. ": the pieces must be strings, got " .. type(input), 2)
          end
        end
        data, more = step(tag, handle, sub(input, from, from + STEP - 1), last)
        from = from + STEP
      end
      if last and not more then
        over = true
        close(handle)
      end
      if data ~= "" then
        return data
      end
    end
  end
end

function Stream:close()
  close(self.handle)
end

Stream.__close = Stream.close

for name, packing in next, { packer = true, unpacker = false } do
  local names <const> = packing and pack_options or unpack_options
  compress[name] = function(format, opts, ...)
    no_more(2, name, ...)
    if type(format) ~= "string" then
      expected(1, name, "string", format)
    end
    opts = options(2, name, opts, names)
    local tag <const> = "compress." .. name
    return setmetatable({ tag = tag, handle = start(tag, format, packing, opts) }, Stream)
  end
end

local untar_options <const> = shared.names("member", "compression", "max_entries", "max_size", "max_ratio")

function compress.untar(archive, destination, opts, ...)
  no_more(3, "untar", ...)
  if type(archive) ~= "string" then
    expected(1, "untar", "string", archive)
  elseif type(destination) ~= "string" then
    expected(2, "untar", "string", destination)
  elseif type(opts) ~= "table" then
    expected(3, "untar", "table with the field 'member'", opts)
  end
  return untar(archive, destination, options(3, "untar", opts, untar_options))
end
