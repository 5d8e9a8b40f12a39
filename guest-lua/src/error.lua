-- The metatable of the errors that builtins raise: tables with `code` and `message` that scripts
-- may treat as their message. Methods of strings work on them (`err:match("...")`).
local string, tostring, type, rawget = string, tostring, type, rawget

local function text(value)
  return type(value) == "table" and rawget(value, "message") or tostring(value)
end

return {
  __name = "error",
  __tostring = function(err)
    return rawget(err, "message")
  end,
  __concat = function(a, b)
    return text(a) .. text(b)
  end,
  __len = function(err)
    return #rawget(err, "message")
  end,
  __index = function(_, key)
    local method = string[key]
    return method and function(self, ...)
      return method(text(self), ...)
    end
  end,
}
