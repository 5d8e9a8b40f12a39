-- What the Lua parts of several bindings use: each gets this table after its natives.
local type, error, rawget, lower = type, error, rawget, string.lower
local shared = {}

-- Raises the error of a wrong argument, as functions in C do. `level` is how far above the script's call is, as for
-- `error`.
function shared.expected(position, name, what, value, level)
  error("bad argument #" .. position .. " to '" .. name .. "' (" .. what .. " expected, got "
    .. (value == nil and "no value" or type(value)) .. ")", (level or 2) + 1)
end

-- Names of header fields have no case; `headers["Content-Type"]` finds "content-type".
shared.headers_meta = {
  __index = function(headers, name)
    if type(name) == "string" then
      return rawget(headers, lower(name))
    end
  end,
}

return shared
