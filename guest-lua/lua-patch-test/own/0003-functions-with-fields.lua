-- A function that the host has given fields is a function in all else.
assert(type(fields) == "function" and fields.missing == nil)
fields.one = 1
assert(fields.one == 1 and fields() == 1 and fields() == 2)
assert(not pcall(function() return print.one end))
assert(not pcall(function() print.one = 1 end))
