--# case: a public key is no secret
-- The attack: everybody has the public key, so a token signed by HS256 with its text must not pass.
local public = [[
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAt33ObUkb5Yik87VIbz+8
og1QCALr5n+K5Rgt7FVS2u0mjI8BCeBOq8zjna1OrwnI18Rh2rLYrPdWHohMkgCF
r0GF9K1/HCHlnW6YJ+Gnh5mFB7FBPoTLw3J+phF1LuAxHEtFDxL6uFueOMvmz9wC
lLtKgwg6wjIXkBDbppyDGbeAwX4IuUaqMvX1vI0C7UsjltQWrrIbCWna0gxs0brp
hNiTPdJkCy+hE2UgB91lI04iwIKbbg0EozUxMVeUGFJYi6sklSpgI1ijlb9z6OJ9
Q4YeVgtUaapQKwNiuwOYoBEdsuN8M3nCp3JSUsbUaCCc6Ob0ltD6yUlPZdfc13nM
MQIDAQAB
-----END PUBLIC KEY-----
]]
local function b64url(s) return (base64.encode(s):gsub("+", "-"):gsub("/", "_"):gsub("=", "")) end
local function forge(secret)
  local signed = b64url('{"alg":"HS256","typ":"JWT"}') .. "." .. b64url(json.encode({ sub = "root", exp = os.time() + 60 }))
  return signed .. "." .. b64url(crypto.hmac(secret, signed, "sha256", true))
end
for _, secret in ipairs({ public, public:gsub("%s+$", ""), (public:gsub("\n", "\r\n")) }) do
  for _, options in ipairs({ {}, { algorithms = { "RS256", "HS256" } } }) do
    local ok, err = pcall(crypto.jwt_verify, forge(secret), secret, options)
    assert.eq(ok, false)
    assert.eq(err.code, "invalid_data")
  end
  local ok, err = pcall(crypto.jwt_verify, forge(secret), secret, { algorithm = "HS256" })
  assert.eq(err.code, "invalid_argument")
end
-- In DER, and a key set's text.
local der = base64.decode((public:gsub("%-%-%-%-%-.-%-%-%-%-%-", ""):gsub("%s", "")))
assert.eq(pcall(crypto.jwt_verify, forge(der), der), false)
local set = json.encode({ keys = { { kty = "OKP", crv = "Ed25519", x = "CVdBy9zDvAVWwbVJXN4ps3E8EfgTPnxDtKyVsPHOtnY" } } })
assert.eq(pcall(crypto.jwt_verify, forge(set), set), false)
-- Its JSON is never a secret, whether whole or broken.
for _, text in ipairs({ set:gsub("}$", ""), "\u{feff}" .. set, (set:gsub("OKP", "\\ud800")), (set:gsub('"OKP"', "1e400")) }) do
  assert.eq(pcall(crypto.jwt_verify, forge(text), text), false)
  assert.eq(pcall(crypto.jwt_verify, forge(text), text, { algorithm = "HS256" }), false)
end
-- A good secret still works.
assert.eq(crypto.jwt_verify(forge("secret"), "secret").claims.sub, "root")

--# case: tokens without a signature are refused
local function b64url(s) return (base64.encode(s):gsub("+", "-"):gsub("/", "_"):gsub("=", "")) end
local claims = b64url(json.encode({ sub = "root", exp = os.time() + 60 }))
for _, header in ipairs({ '{"alg":"none"}', '{"alg":"NONE"}', '{"alg":"nOnE"}', '{"alg":""}', "{}", '{"alg":null}',
    '{"alg":["HS256"]}', '{"alg":"HS256","crit":["x"],"x":1}' }) do
  for _, signature in ipairs({ "", "AA" }) do
    for _, key in ipairs({ "secret", { kty = "oct", k = "c2VjcmV0" } }) do
      local ok, err = pcall(crypto.jwt_verify, b64url(header) .. "." .. claims .. "." .. signature, key)
      assert.eq(ok, false, header)
      assert.eq(err.code, "invalid_data", header)
    end
  end
end

--# case: hash_file does not leave its grant
--# allow: fs=rw:${TMP}
--# link: link=/etc/passwd
for _, path in ipairs({ "link", "/etc/passwd", "../../../../etc/passwd", "./../../etc/passwd", "/proc/self/environ",
    "/proc/self/root/etc/passwd" }) do
  local ok, err = pcall(crypto.hash_file, path)
  assert.eq(ok, false, path)
  assert.eq(err.code, "denied", path)
end

--# case: floods are bounded
local deep = ("["):rep(200000)
local function b64url(s) return (base64.encode(s):gsub("+", "-"):gsub("/", "_"):gsub("=", "")) end
for _, token in ipairs({ ("x"):rep(4 << 20), b64url(deep) .. "." .. b64url(deep) .. ".AA", ("."):rep(1000000) }) do
  local ok, err = pcall(crypto.jwt_decode, token)
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_data")
end
assert.eq(pcall(crypto.random_bytes, 1 << 40), false)
-- Many keys that fit one token cost a bounded number of tries.
local keys = {}
for i = 1, 1000 do keys[i] = { kty = "oct", k = "eA" } end
local ok, err = pcall(crypto.jwt_verify, crypto.jwt_sign({ exp = os.time() + 60 }, "s"), { keys = keys })
assert.eq(err.code, "invalid_data")
