--# case: handles of one type are no others
--# allow: fs=rw:${TMP}
-- The attack: what is written for one type of handle is given another.
local file = assert(io.open("a.txt", "w"))
local number = json.parse("123456789012345678901234567890")
local task = async.spawn(function() return 1 end)
local methods = debug.getmetatable(number)
assert.raises(function() file.read(number) end, "FILE\\*")
assert.raises(function() file.write(task, "x") end, "FILE\\*")
assert.raises(function() number.tonumber(file) end, "json.number")
assert.raises(function() return methods.__tostring(file) end, "json.number")
assert.raises(function() return debug.getmetatable(task).__index(file, "await") end, "async.handle")
assert.eq(io.type(number), nil)
assert.eq(io.type(file), "file")
assert.eq(json.encode({ number }), "[123456789012345678901234567890]")
assert.raises(function() json.encode({ task }) end)
-- A finalizer of one type does nothing to another.
methods.__gc(file)
methods.__gc(task)
file:write("written")
file:close()
assert.eq(fs.read("a.txt"), "written")
assert.eq(task:await(), 1)

--# case: a handle whose finalizer the script calls
--# allow: fs=rw:${TMP}
local number = json.parse("123456789012345678901234567890")
local methods = debug.getmetatable(number)
methods.__gc(number)
methods.__gc(number)
assert.raises(function() return tostring(number) end)
assert.raises(function() return number + 1 end)
assert.raises(function() json.encode({ number }) end)
local file = assert(io.open("a.txt", "w"))
file:write("kept")
debug.getmetatable(file).__gc(file)
assert.eq(io.type(file), "closed file")
assert.raises(function() file:write("x") end, "closed file")
assert.eq(fs.read("a.txt"), "kept")

--# case: numbers that are handles outlive a parser that ends without memory
--# flags: --memory 32MiB
-- The attack: the parser's memory goes at once when there is no more of it, the handles that it has made are collected later.
local digits = "12345678901234567890"
local text, lines = "[" .. (digits .. ","):rep(400000) .. "1]", ("- " .. digits .. "\n"):rep(100000)
for _ = 1, 10 do
  local ok, err = pcall(json.parse, text)
  assert.eq(ok, false)
  assert(type(err) == "table" and err.code == "limit" or err == "not enough memory", tostring(err))
  pcall(yaml.parse, lines)
  collectgarbage()
  local numbers = json.parse("[" .. (digits .. ","):rep(1000) .. "1]")
  for i = 1, 1000 do assert.eq(tostring(numbers[i]), digits) end
end
