-- Lists what a script finds when it begins, for `assay explain`.
local lines, seen = {}, {}

-- A table without names, such as `arg`, is no library.
local function is_library(value)
  if type(value) ~= "table" then return false end
  for name in pairs(value) do
    if type(name) == "string" then return true end
  end
  return false
end

local function list(path, value)
  local kind = is_library(value) and "library" or type(value)
  lines[#lines + 1] = path .. " " .. kind
  if kind ~= "library" or seen[value] then return end
  seen[value] = true
  for name, field in pairs(value) do
    if type(name) == "string" then list(path .. "." .. name, field) end
  end
end

-- They hold everything once more.
seen[_G], seen[package.loaded] = true, true
local globals = {}
for name, value in pairs(_G) do
  list(name, value)
  globals[value] = name
end
for name, value in pairs(package.loaded) do
  lines[#lines + 1] = "=" .. name .. " " .. (globals[value] or "")
end
return table.concat(lines, "\n")
