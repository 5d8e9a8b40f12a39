-- Brings configuration files in line with one JSON document: writes those that differ, leaves the rest
-- alone, and says what it did. Running it twice changes nothing the second time.
--
--   assay run --allow fs=read:examples,fs=rw:out examples/sync_config.lua -- out
--   assay run --allow fs=read:examples,fs=read:out examples/sync_config.lua -- out --dry-run
--
-- Arguments: the directory to write to, then --dry-run to only say what would change, and the document
-- (default: data/config.json beside this script). The grant is the wall: whatever the document
-- names, nothing outside the directory is written, and a dry run needs no right to write at all.

local here = arg[0]:match("^(.*)/[^/]*$") or "."
local directory, source, dry_run
for _, word in ipairs(arg) do
  if word == "--dry-run" then
    dry_run = true
  elseif not directory then
    directory = word
  else
    source = word
  end
end
if not directory then
  io.stderr:write("usage: sync_config.lua DIRECTORY [--dry-run] [DOCUMENT]\n")
  os.exit(64)
end
source = source or here .. "/data/config.json"

-- NAME=value lines, sorted, quoted for a POSIX shell.
local function env_lines(values)
  local lines = {}
  for name, value in pairs(values) do
    lines[#lines + 1] = ("%s='%s'\n"):format(name, (tostring(value):gsub("'", "'\\''")))
  end
  table.sort(lines)
  return table.concat(lines)
end

-- How each format makes a text of a file's content.
local formats = {
  env = env_lines,
  json = function(content)
    return json.encode(content, { indent = 2 }) .. "\n"
  end,
  text = function(content)
    return content
  end,
  toml = toml.encode,
  yaml = yaml.encode,
}

-- The bytes of a file; nil if it does not exist.
local function current(path)
  local ok, result = pcall(fs.read_bytes, path)
  if ok then
    return result
  elseif type(result) == "table" and result.code == "not_found" then
    return nil
  end
  error(result, 0) -- a denial or a failing disk is not "no file"
end

-- Readers see the old file or the new one, never half of it.
local function write(path, text)
  local temporary = path .. ".new"
  fs.write_bytes(temporary, text)
  fs.rename(temporary, path)
end

local names, files = {}, json.parse(fs.read(source)).files
for name in pairs(files or error(source .. " has no 'files'", 0)) do
  names[#names + 1] = name
end
table.sort(names)

local changed = 0
for _, name in ipairs(names) do
  local file = files[name]
  local format = formats[file.format] or error(("%s: %s has the unknown format %s"):format(source, name, file.format), 0)
  local path = directory .. "/" .. name
  local wanted, have = format(file.content), current(path)
  if wanted == have then
    print("unchanged  " .. name)
  else
    changed = changed + 1
    if not dry_run then
      write(path, wanted)
    end
    print(("%s  %s (%d bytes)"):format(have and "changed  " or "created  ", name, #wanted))
  end
end
print(("%d of %d files %s"):format(changed, #names, dry_run and "would change" or "changed"))
