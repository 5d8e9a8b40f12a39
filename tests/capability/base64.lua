--- # base64
--- Base64 (RFC 4648) of strings with any bytes. Always available.
---
--- ## base64.encode(bytes, options?) -> string
--- The text of `bytes` in the standard alphabet, padded. `{url = true}` takes the alphabet with `-` and
--- `_`; `{pad = false}` leaves out the `=` at the end.
---
--- ## base64.decode(text) -> string
--- The bytes of `text`, in either alphabet, padded or not; white space is passed over. Raises
--- `invalid_data` and says where, for any other character, a wrong padding, a text that is cut off,
--- or a last character with bits that belong to no byte.

--# example: encode and decode
assert.eq(base64.encode("hello"), "aGVsbG8=")
assert.eq(base64.decode("aGVsbG8="), "hello")
assert.eq(base64.encode("\xfb\xff", { url = true, pad = false }), "-_8")

--# case: RFC 4648 vectors
local vectors = { [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", fooba = "Zm9vYmE=", foobar = "Zm9vYmFy" }
for plain, encoded in pairs(vectors) do
  assert.eq(base64.encode(plain), encoded)
  assert.eq(base64.decode(encoded), plain)
  assert.eq(base64.decode((encoded:gsub("=", ""))), plain)
  assert.eq(base64.encode(plain, { pad = false }), (encoded:gsub("=", "")))
end

--# case: any bytes
local all = {}
for i = 0, 255 do all[#all + 1] = string.char(i) end
local bytes = table.concat(all)
for cut = 0, 3 do
  local part = bytes:sub(1, 256 - cut)
  assert.eq(base64.decode(base64.encode(part)), part)
  assert.eq(base64.decode(base64.encode(part, { url = true, pad = false })), part)
end
local large = ("\0\xff\x80"):rep(700000)
assert(base64.decode(base64.encode(large)) == large)

--# case: both alphabets and white space
assert.eq(base64.decode("-_8="), "\xfb\xff")
assert.eq(base64.decode("+/8"), "\xfb\xff")
assert.eq(base64.decode(" aGVs\r\n\tbG8=\n"), "hello")

--# case: errors
for text, why in pairs({ ["aGVs!"] = "'!' at position 5", ["a"] = "cut off", ["aGVsb"] = "cut off", ["Zg="] = "padding",
  ["Zg==="] = "padding", ["Zg==Zg=="] = "after the padding", ["Zh=="] = "bits that belong to no byte", ["="] = "padding",
  ["Zm9v="] = "padding", ["\xff"] = "position 1" }) do
  local ok, err = pcall(base64.decode, text)
  assert.eq(ok, false, text)
  assert.eq(err.code, "invalid_data")
  assert.contains(err.message, why)
end
assert.raises(function() base64.encode() end, "string expected")
assert.raises(function() base64.encode("x", { url = 1 }) end, "boolean expected")
