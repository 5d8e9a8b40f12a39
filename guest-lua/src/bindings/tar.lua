-- The part of `tar` that goes over tables.
local natives, shared = ...
local no_more <const> = shared.no_more
local expected, options, unknown = shared.expected, shared.options, shared.unknown
local tar = natives.tar
local entries, extract = natives.entries, natives.extract
local create, add, finish, abandon = natives.create, natives.add, natives.finish, natives.abandon
local failure = natives.failure
local type, error, next, setmetatable = type, error, next, setmetatable
local sub, match, lower = string.sub, string.match, string.lower
local sort = table.sort
local readdir, stat, readlink = fs.readdir, fs.stat, fs.readlink
local floor = math.floor

local by_extension <const> = { gz = "gz", tgz = "gz", xz = "xz", txz = "xz", zst = "zst", tzst = "zst", bz2 = "bz2", tbz2 = "bz2" }

-- The options of reading, of unpacking and of making, and the fields of an item.
local read_options <const> = shared.names("compression", "max_entries", "max_size", "max_ratio")
local extract_options <const> = shared.names(read_options, "members", "strip", "unsafe")
local create_options <const> = shared.names("gzip", "compression", "level", "mtime")
local unfollowed <const> = { follow = false }
local item_fields <const> = shared.names("content", "file", "link", "mode", "mtime")

for name, iterates in next, { list = false, entries = true } do
  local tag <const> = "tar." .. name
  tar[name] = function(archive, opts, ...)
    no_more(2, name, ...)
    if type(archive) ~= "string" then
      expected(1, name, "string", archive)
    end
    return entries(tag, archive, options(2, name, opts, read_options), iterates)
  end
end

function tar.extract(archive, destination, opts, ...)
  no_more(3, "extract", ...)
  if type(archive) ~= "string" then
    expected(1, "extract", "string", archive)
  elseif type(destination) ~= "string" then
    expected(2, "extract", "string", destination)
  end
  return extract("tar.extract", archive, destination, options(3, "extract", opts, extract_options))
end

local function wrong(message)
  error(failure("invalid_argument", "tar.create: " .. message))
end

-- What is in a directory, as the table form of `files`. Directories and links have their own times where `modified` gives none.
local function of_directory(directory, output, modified)
  local files = {}
  local start = #directory + (sub(directory, -1) == "/" and 1 or 2)
  for _, entry in next, readdir(directory) do
    local path = entry.path
    local name = sub(path, start)
    if path == output or entry.type == "other" then
      -- Not the archive itself, nor sockets and the like.
      goto continue
    elseif entry.type == "directory" then
      local about = stat(path)
      files[name .. "/"] = { mode = about.permissions, mtime = modified or floor(about.modified or 0) }
    elseif entry.type == "symlink" then
      files[name] = { link = readlink(path), mtime = modified or floor(stat(path, unfollowed).modified or 0) }
    else
      files[name] = { file = path }
    end
    ::continue::
  end
  return files
end

-- Adds one item of the table form.
local function put(handle, name, item, modified)
  local tag <const> = "tar.create"
  if type(item) == "string" then
    return add(tag, handle, name, "data", item, nil, modified)
  elseif type(item) ~= "table" then
    wrong("'" .. name .. "': a string or a table expected, got " .. type(item))
  end
  item = shared.raw(item)
  local kind, value
  for field, of in next, { content = "data", file = "file", link = "link" } do
    if item[field] ~= nil then
      if kind then
        wrong("'" .. name .. "': give only one of content, file and link")
      elseif type(item[field]) ~= "string" then
        wrong("'" .. name .. "': field '" .. field .. "': string expected, got " .. type(item[field]))
      end
      kind, value = of, item[field]
    end
  end
  if not kind then
    if sub(name, -1) ~= "/" then
      wrong("'" .. name .. "': one of content, file and link expected; the name of a directory ends with a slash")
    end
    kind = "directory"
  end
  return add(tag, handle, name, kind, value, item.mode, item.mtime or modified)
end

function tar.create(output, files, opts, ...)
  no_more(3, "create", ...)
  if type(output) ~= "string" then
    expected(1, "create", "string", output)
  elseif type(files) ~= "table" and type(files) ~= "string" then
    expected(2, "create", "table or path of a directory", files)
  end
  opts = options(3, "create", opts, create_options) or {}
  local compression = opts.compression
  if opts.gzip ~= nil and type(opts.gzip) ~= "boolean" then
    wrong("field 'gzip': boolean expected, got " .. type(opts.gzip))
  end
  if opts.gzip then
    if compression ~= nil and compression ~= "gz" then
      wrong("give only one of gzip and compression")
    end
    compression = "gz"
  elseif compression == nil then
    compression = opts.gzip == nil and by_extension[match(lower(output), "%.(%w+)$")] or "none"
  end
  if type(files) == "string" then
    files = of_directory(files, output, opts.mtime)
  end
  -- Directories come before what is in them, and the same files give the same archive.
  local names = {}
  for name, item in next, files do
    if type(name) ~= "string" then
      wrong("the names of files must be strings, got " .. type(name))
    end
    local why = type(item) == "table" and unknown(item, item_fields)
    if why then
      wrong("'" .. name .. "': " .. why)
    end
    names[#names + 1] = name
  end
  sort(names)
  local handle <const> = create("tar.create", output, compression, opts)
  local guard <close> = setmetatable({}, { __close = function() abandon(handle) end })
  for i = 1, #names do
    put(handle, names[i], files[names[i]], opts.mtime)
  end
  return finish("tar.create", handle)
end
