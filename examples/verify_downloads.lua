-- Fetches the files that a TOML document lists and keeps only those whose SHA-256 is the one it says.
--
-- A file that is there already with the right digest is not fetched again. A download is tried three times
-- where trying again can help; one with another digest never gets its name, and is not tried again. The
-- exit code is 1 if a file is missing in the end.
--
--   assay run --allow fs=read:examples,fs=rw:downloads,http=GET:www.lua.org \
--     examples/verify_downloads.lua -- downloads
--
-- Arguments: the directory for the files, and the document (default: data/downloads.toml beside this
-- script), which has for each file
--
--   [[file]]
--   name = "lua-5.4.7.tar.gz"       # below the directory
--   url = "https://www.lua.org/ftp/lua-5.4.7.tar.gz"
--   sha256 = "9fbf..."

local here = arg[0]:match("^(.*)/[^/]*$") or "."
local directory, source = arg[1], arg[2] or here .. "/data/downloads.toml"
if not directory then
  io.stderr:write("usage: verify_downloads.lua DIRECTORY [DOCUMENT]\n")
  os.exit(64)
end

local ATTEMPTS <const> = 3
-- Codes of errors that may be gone the next time. `invalid_data` (the digest), `not_found` and `denied`
-- stay what they are.
local PASSING <const> = { unavailable = true, timeout = true, io = true }

-- Whether the file is there with this digest.
local function is_good(path, sha256)
  local ok, found = pcall(crypto.hash_file, path, "sha256")
  return ok and found == sha256:lower()
end

-- Fetches a file; gives the number of bytes.
local function fetch(file, path)
  for attempt = 1, ATTEMPTS do
    local ok, result = pcall(http.download, file.url, path, { sha256 = file.sha256, timeout = 300 })
    if ok then
      return result
    elseif attempt == ATTEMPTS or type(result) ~= "table" or not PASSING[result.code] then
      error(result, 0)
    end
    local delay = 0.2 * 2 ^ (attempt - 1)
    log.warn("trying again", { file = file.name, attempt = attempt, seconds = delay, why = result.message })
    sleep(delay)
  end
end

local files = toml.parse(fs.read(source)).file
if type(files) ~= "table" or #files == 0 then
  error(source .. " lists no [[file]]", 0)
end

-- One task a file; they wait for the network together.
local tasks = {}
for i, file in ipairs(files) do
  if not (file.name and file.url and file.sha256) then
    error(("%s: file %d needs name, url and sha256"):format(source, i), 0)
  end
  local path = directory .. "/" .. file.name
  tasks[i] = async.spawn(function()
    if is_good(path, file.sha256) then
      return "ok", "already there"
    end
    local ok, result = pcall(fetch, file, path)
    if not ok then
      return "FAILED", tostring(result)
    elseif not is_good(path, file.sha256) then -- what is on the disk is what counts
      return "FAILED", path .. " is not what was downloaded"
    end
    return "ok", ("%d bytes fetched"):format(result)
  end)
end

local failed = 0
for i, task in ipairs(tasks) do
  local verdict, why = task:await()
  print(("%-6s  %s: %s"):format(verdict, files[i].name, why))
  failed = failed + (verdict == "ok" and 0 or 1)
end
os.exit(failed == 0)
