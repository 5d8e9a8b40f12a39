-- The part of `fs` that is easier said in Lua.
local natives, shared = ...
local no_more <const> = shared.no_more
local fs, expected = natives.fs, shared.expected
local walk, glob, more, replace = natives.walk, natives.glob, natives.more, natives.replace
local read_bytes = fs.read_bytes
local gsub, type, error, integer = string.gsub, type, error, math.tointeger

-- Pulls a listing to its end.
local function all(listing, form)
  local listing <close> = listing
  local list = {}
  repeat
    local added = more(listing, list, form)
  until added == 0
  return list
end

local one_level <const> = { depth = 1 }
local readdir_options <const> = shared.names("depth")
local glob_options <const> = shared.names("hidden")

-- Errors name the function that the script called, not the native below it.
local function check(name, path)
  if type(path) ~= "string" then
    expected(1, name, "string", path, 3)
  end
end

function fs.list(path, ...)
  no_more(1, "list", ...)
  check("fs.list", path)
  return all(walk(path, one_level), "entry")
end

function fs.readdir(path, options, ...)
  no_more(2, "readdir", ...)
  check("fs.readdir", path)
  options = shared.options(2, "fs.readdir", options, readdir_options)
  if options then
    local depth = options.depth
    if depth ~= nil and (integer(depth) or 0) < 1 then
      error("bad argument #2 to 'fs.readdir' (field 'depth': a whole number from 1 on expected)", 2)
    end
  end
  return all(walk(path, options), "full")
end

function fs.glob(pattern, options, ...)
  no_more(2, "glob", ...)
  check("fs.glob", pattern)
  return all(glob(pattern, shared.options(2, "fs.glob", options, glob_options)), "path")
end

-- Writes only if something matched, and then the whole file at once.
function fs.sub_in_file(path, pattern, repl, ...)
  no_more(3, "sub_in_file", ...)
  if type(pattern) ~= "string" then
    error("bad argument #2 to 'fs.sub_in_file' (string expected, got " .. type(pattern) .. ")", 2)
  end
  local kind = type(repl)
  if kind ~= "string" and kind ~= "function" and kind ~= "table" and kind ~= "number" then
    error("bad argument #3 to 'fs.sub_in_file' (string or function expected, got " .. kind .. ")", 2)
  end
  local text, count = gsub(read_bytes(path), pattern, repl)
  if count > 0 then
    replace(path, text)
  end
  return count
end
