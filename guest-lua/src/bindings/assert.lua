-- The part of `assert` that calls a function of the script, which may wait.
local natives, shared = ...
local no_more <const> = shared.no_more
local assert, held, search = natives.assert, natives.held, natives.search
local error, getmetatable, pcall, tostring, type = error, getmetatable, pcall, tostring, type

local function callable(value)
  if type(value) == "function" then
    return true
  end
  local meta = getmetatable(value)
  return type(meta) == "table" and meta.__call ~= nil
end

-- The error that fn raises; its text must match the pattern, if one is given.
function assert.raises(fn, pattern, ...)
  no_more(2, "raises", ...)
  if not callable(fn) then
    error("bad argument #1 to 'raises' (function expected, got " .. type(fn) .. ")", 2)
  elseif pattern ~= nil and type(pattern) ~= "string" then
    error("bad argument #2 to 'raises' (pattern expected, got " .. type(pattern) .. ")", 2)
  end
  local ok, err = pcall(fn)
  if ok then
    error("assertion failed: no error was raised", 2)
  end
  if pattern ~= nil and not search(tostring(err), pattern) then
    error("assertion failed: the error \"" .. tostring(err) .. "\" does not match \"" .. pattern .. "\"", 2)
  end
  held()
  return err
end

assert.error = assert.raises
