-- `dofile` and `loadfile`, in Lua so that the chunk they run may yield.
local natives = ...
local source = natives.source
local load, error, select, type = load, error, select, type

function loadfile(filename, mode, ...)
  local name = filename and "@" .. filename or "=stdin"
  local text, message = source(filename)
  if not text then
    return nil, message
  elseif mode ~= nil and type(mode) ~= "string" then
    error("bad argument #2 to 'loadfile' (string expected, got " .. type(mode) .. ")", 2)
  elseif select("#", ...) > 0 then
    return load(text, name, mode, (...))
  end
  return load(text, name, mode)
end

local loadfile <const> = loadfile

function dofile(filename)
  local chunk, message = loadfile(filename)
  if not chunk then
    error(message, 0)
  end
  return chunk()
end

-- Reads lines and runs them, until "cont" or the end of the input (reference manual, 6.10).
function debug.debug()
  while true do
    io.stderr:write("lua_debug> ")
    local line = io.read()
    if line == nil or line == "cont" then
      return
    end
    local chunk, message = load(line, "=(debug command)")
    local ok = chunk
    if chunk then
      ok, message = pcall(chunk)
    end
    if not ok then
      io.stderr:write(tostring(message), "\n")
    end
  end
end
