-- `require` in Lua, so that a module's chunk may wait like any other code (reference manual, 6.3).
local natives = ...
local load_module, loaded = natives.load_module, natives.loaded
local current_task = natives.current_task
local new_latch, open_latch, wait_latch = natives.new_latch, natives.open_latch, natives.wait_latch
local type, error, pcall, setmetatable, concat = type, error, pcall, setmetatable, table.concat
local open, loadfile = io.open, loadfile

package = {
  loaded = loaded,
  preload = {},
  -- Set for each run. Modules are found beside the script without it; its templates are read through the
  -- grants of fs.
  path = "",
  cpath = "",
  config = "/\n;\n?\n!\n-\n",
}
loaded.package = package
local package = package

local function readable(name)
  local ok, file = pcall(open, name, "r")
  if not (ok and file) then
    return false
  end
  file:close()
  return true
end

function package.searchpath(name, path, sep, rep)
  if type(name) ~= "string" then
    error("bad argument #1 to 'searchpath' (string expected, got " .. type(name) .. ")", 2)
  elseif type(path) ~= "string" then
    error("bad argument #2 to 'searchpath' (string expected, got " .. type(path) .. ")", 2)
  end
  sep, rep = sep or ".", rep or "/"
  if sep ~= "" then
    local plain = sep:gsub("%p", "%%%0")
    local with = rep:gsub("%%", "%%%%")
    name = name:gsub(plain, with)
  end
  local substitute = name:gsub("%%", "%%%%")
  local tried = {}
  -- An empty template is one too, but no file.
  for template in (path .. ";"):gmatch("([^;]*);") do
    local file = template:gsub("%?", substitute)
    if file ~= "" and readable(file) then
      return file
    end
    tried[#tried + 1] = "no file '" .. file .. "'"
  end
  return nil, table.concat(tried, "\n\t")
end

local function cannot_load(name, from, why)
  error("error loading module '" .. name .. "' from file '" .. from .. "':\n\t" .. tostring(why), 0)
end

package.searchers = {
  function(name)
    local loader = package.preload[name]
    if loader == nil then
      return "no field package.preload['" .. name .. "']"
    end
    return loader, ":preload:"
  end,
  function(name)
    local chunk, from = load_module(name)
    if chunk == nil then
      return from
    elseif not chunk then
      cannot_load(name, name, from)
    end
    return chunk, from
  end,
  function(name)
    local path = package.path
    if type(path) ~= "string" then
      error("'package.path' must be a string", 0)
    elseif path == "" then
      return nil
    end
    local file, tried = package.searchpath(name, path)
    if not file then
      return tried
    end
    local chunk, why = loadfile(file)
    if not chunk then
      cannot_load(name, file, why)
    end
    return chunk, file
  end,
}

-- The modules that are being loaded, by name, and the lists of their names by task, in the order in which they were
-- required. `wants` has the module that a task waits for.
local loading, stacks, wants = {}, {}, {}

-- What a load leaves when it ends, by an error or a cancelled task too.
local Load = {
  __name = "module",
  __close = function(load)
    local stack = stacks[load.task]
    for i = #stack, load.place, -1 do
      stack[i] = nil
    end
    if load.place == 1 then
      stacks[load.task] = nil
    end
    loading[load.name] = nil
    open_latch(load.latch)
  end,
}

-- The modules from the one that `task` wants back to itself, where waiting for it would never end.
local function circle(task, name)
  local names, want = {}, name
  repeat
    local load = loading[want]
    if load == nil then
      return nil
    end
    local stack = stacks[load.task]
    for i = load.place, #stack do
      names[#names + 1] = stack[i]
    end
    if load.task == task then
      names[#names + 1] = name
      return concat(names, " -> ")
    end
    want = wants[load.task]
  until want == nil
  return nil
end

-- Waits while another task loads the module.
local function wait_for(name)
  local task = current_task()
  local names = circle(task, name)
  if names then
    error("circular require: " .. names .. " (each waits for the next to be loaded; move what they share to a module "
      .. "of its own, or require one of them within the function that uses it)", 3)
  end
  wants[task] = name
  local guard <close> = setmetatable({}, { __close = function() wants[task] = nil end })
  wait_latch(loading[name].latch)
end

function require(name)
  if type(name) == "number" then
    name = tostring(name)
  elseif type(name) ~= "string" then
    error("bad argument #1 to 'require' (string expected, got " .. type(name) .. ")", 2)
  end
  local module = loaded[name]
  while not module and loading[name] do
    wait_for(name)
    module = loaded[name]
  end
  if module then
    return module
  end
  local task = current_task()
  local stack = stacks[task] or {}
  stacks[task] = stack
  local place = #stack + 1
  stack[place] = name
  local load <close> = setmetatable({ name = name, task = task, place = place, latch = new_latch() }, Load)
  loading[name] = load
  local searchers = package.searchers
  if type(searchers) ~= "table" then
    error("'package.searchers' must be a table", 2)
  end
  local tried = ""
  local i = 1
  while true do
    local searcher = searchers[i]
    if searcher == nil then
      error("module '" .. name .. "' not found:" .. tried, 2)
    end
    local loader, extra = searcher(name)
    if type(loader) == "function" then
      local result = loader(name, extra)
      if result ~= nil then
        loaded[name] = result
      elseif loaded[name] == nil then
        loaded[name] = true
      end
      return loaded[name], extra
    elseif type(loader) == "string" and loader ~= "" then
      tried = tried .. "\n\t" .. loader
    end
    i = i + 1
  end
end
