-- Bytecode is refused, whatever the mode says; text is not.
local code = string.dump(function() return 1 end)
for _, mode in ipairs({ "b", "bt", "t" }) do
  assert(not load(code, "code", mode))
end
assert(not load(code))
assert(load("return 1")() == 1)
