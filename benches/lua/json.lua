-- A round trip of 1 MB of JSON: records with strings, integers, floats, booleans and nested arrays.
local records = {}
for i = 1, 6000 do
  records[i] = {
    id = i, name = "user " .. i, email = "user" .. i .. "@example.com", active = i % 3 == 0,
    score = i / 7, tags = { "alpha", "beta", "gamma " .. i % 10 }, address = { street = "Main St " .. i, zip = 10000 + i },
    note = "line one\nline \"two\" with \\ and é",
  }
end
local text = json.encode(records)
assert(#text > 1000000, #text)

return function()
  local again = json.encode(json.parse(text))
  assert(#again == #text)
  return #again
end
