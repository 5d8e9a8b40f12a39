-- What the program around the script adds: calls of the script's functions, and functions for the script.
local natives = ...
local parse, encode, array = json.parse, json.encode, json.array
local call, has_loaded, randomseed = natives.call, natives.loaded, math.randomseed
local null, type, error, ipairs, pack = json.null, type, error, ipairs, table.pack
local globals, loaded = _G, package.loaded

-- Calls a function of the module that a script's chunk returns; `name` is empty where it returns the function itself.
-- Gives the JSON of what that returns.
function natives.handle(chunk, name, input)
  local handler = chunk()
  local first, second = has_loaded()
  if first then
    randomseed(first, second)
  end
  if name ~= "" then
    if type(handler) ~= "table" then
      error("the script has no function '" .. name .. "': it returns no table but " .. type(handler), 0)
    end
    handler = handler[name]
  end
  if handler == nil then
    error(name == "" and "the script returns no function" or "the script has no function '" .. name .. "'", 0)
  end
  return encode((handler(parse(input))))
end

-- Makes the functions of an extension a global table, known to require too.
function natives.install(extension, ...)
  local library = {}
  for _, name in ipairs({ ... }) do
    library[name] = function(...)
      local arguments = pack(...)
      for i = 1, arguments.n do
        if arguments[i] == nil then
          arguments[i] = null
        end
      end
      arguments.n = nil
      return parse(call(extension, name, encode(array(arguments))))
    end
  end
  globals[extension], loaded[extension] = library, library
end
