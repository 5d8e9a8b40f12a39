--- # crypto
--- Hashes, message authentication, randomness, tokens and encryption. Always granted; only the file of
--- `crypto.hash_file` goes through the grants of `fs`. All strings are bytes.
---
--- Hash algorithms: `md5` (hashes only), `sha1`, `sha224`, `sha256`, `sha384`, `sha512`, `sha3-224`, `sha3-256`,
--- `sha3-384`, `sha3-512`; case does not count, and `SHA-256` is `sha256`. Use `md5` and `sha1` only where
--- somebody else's format asks for them.
---
--- Signature algorithms of tokens: `HS256/384/512` (a shared secret), `RS256/384/512` and `PS256/384/512` (RSA of 2048
--- bits and more), `ES256`, `ES384`, `EdDSA`. `none` is always refused.
---
--- Errors: `invalid_argument` for an unknown algorithm or a key that does not fit it, `invalid_data` for a token
--- that is refused or a ciphertext that was changed.
---
--- ## crypto.hash(data, algorithm?) -> string
--- The digest in hexadecimal; `sha256` where no algorithm is named.
---
--- ## crypto.hash_file(path, algorithm?) -> string
--- The same of a file's content, which is read in pieces. Needs `fs=read:PATH`.
---
--- ## crypto.hmac(key, data, algorithm?, raw?) -> string
--- The message authentication code (HMAC) in hexadecimal, or as bytes if `raw` is true.
---
--- ## crypto.hkdf(secret, length, {salt, info, algorithm}?) -> string
--- So many bytes of key material from a secret (RFC 5869). For keys, not for passwords.
---
--- ## crypto.random(n) -> string
--- `n` random bytes in hexadecimal: `2n` characters. At most 16 MiB.
---
--- ## crypto.random_bytes(n) -> string
--- `n` random bytes as they are.
---
--- ## crypto.uuid() -> string
--- A random UUID (version 4).
---
--- ## crypto.uuid_v7() -> string
--- A UUID that begins with the time, so that later ones sort after earlier ones.
---
--- ## crypto.equal(a, b) -> boolean
--- Compares two strings in a time that does not tell where they differ. For tokens and signatures.
---
--- ## crypto.encrypt(key, plaintext, {aad, algorithm}?) -> string
--- Encrypts with a key of 32 bytes and gives nonce, ciphertext and tag in one string. `aad` is authenticated
--- too, but not part of the result. Algorithms: `aes-256-gcm` (the default), `xchacha20-poly1305`.
---
--- ## crypto.decrypt(key, sealed, {aad, algorithm}?) -> string
--- The reverse. Raises `invalid_data` if key, text or `aad` is another.
---
--- ## crypto.jwt_sign(claims, key, algorithm?, {kid, header}?) -> string
--- Signs a token (JWT). `key` is the secret for HS algorithms, else a private key in PEM. `header` is a table of
--- further header fields. `HS256` where no algorithm is named.
---
--- ## crypto.jwt_decode(token) -> {header, claims}
--- Takes a token apart WITHOUT verifying it: its signature is not looked at, nor what it is written in. For tokens of which you
--- know otherwise that they are good.
---
--- ## crypto.jwt_verify(token, key, options?) -> {header, claims}
--- Verifies signature and claims. `key` is a public key or certificate in PEM, a table (a key set or one key of it, as
--- servers publish it; the token's `kid` chooses, and entries that cannot be used are passed over), or the secret of HS algorithms. A key verifies the algorithms
--- of its own kind only, whatever the token says: a public key is never taken as a secret. Options:
---
--- - `algorithm` or `algorithms`: the ones that are accepted; else those that fit the key
--- - `audience`, `issuer`: a string or a list; one of them must match
--- - `leeway`: seconds by which clocks may differ, 0 by default
--- - `validate_exp` (true), `validate_nbf` (false)
--- - `required_claims`: names that must be there; by default `exp`, unless `validate_exp` is false

--# example: hashes
assert.eq(crypto.hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
assert.eq(crypto.hash("abc", "md5"), "900150983cd24fb0d6963f7d28e17f72")
assert.eq(crypto.hmac("Jefe", "what do ya want for nothing?"),
  "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")

--# example: a token
local token = crypto.jwt_sign({ sub = "ada", exp = os.time() + 60 }, "secret", "HS256", { kid = "k1" })
local good = crypto.jwt_verify(token, "secret", { algorithm = "HS256" })
assert.eq(good.claims.sub, "ada")
assert.eq(good.header.kid, "k1")

--# example: encryption
local key = crypto.random_bytes(32)
local sealed = crypto.encrypt(key, "attack at dawn", { aad = "order 1" })
assert.eq(crypto.decrypt(key, sealed, { aad = "order 1" }), "attack at dawn")

--# case: every hash algorithm has its length
for name, length in pairs({ md5 = 32, sha1 = 40, sha224 = 56, sha256 = 64, sha384 = 96, sha512 = 128,
    ["sha3-224"] = 56, ["sha3-256"] = 64, ["sha3-384"] = 96, ["sha3-512"] = 128 }) do
  assert.eq(#crypto.hash("x", name), length, name)
  assert.eq(crypto.hash("x", name:upper()), crypto.hash("x", name))
  if name ~= "md5" then
    assert.eq(#crypto.hmac("k", "x", name), length, name)
    assert.eq(#crypto.hmac("k", "x", name, true), length // 2, name)
  end
end
assert.eq(crypto.hash("x", "SHA-256"), crypto.hash("x"))

--# case: bytes are bytes
assert.eq(crypto.hash(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
assert.eq(crypto.hash("\0\255\0"):len(), 64)
assert.ne(crypto.hash("\0"), crypto.hash("\0\0"))
assert.eq(crypto.hmac("\0\255", "\255\0", "sha1"), crypto.hmac("\0\255", "\255\0", "sha1"))
assert.eq(crypto.hash(("a"):rep(1000000), "sha1"), "34aa973cd4c4daa4f61eeb2bdbad27316534016f")

--# case: wrong arguments
for _, case in ipairs({
  { crypto.hash, "x", "crc32" }, { crypto.hash, "x", "" }, { crypto.hmac, "k", "x", "md5" },
  { crypto.encrypt, "short", "x" }, { crypto.encrypt, ("k"):rep(32), "x", { algorithm = "rot13" } },
  { crypto.jwt_sign, {}, "secret", "none" }, { crypto.jwt_sign, {}, "secret", "HS1" },
  { crypto.jwt_sign, {}, "secret", "RS256" }, { crypto.jwt_sign, {}, "", "HS256" },
  { crypto.jwt_sign, {}, "s", "HS256", { header = { alg = "none" } } },
  { crypto.random, 1 << 30 }, { crypto.hkdf, "s", 255 * 32 + 1 },
}) do
  local ok, err = pcall(table.unpack(case))
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument", err.message)
end
for _, case in ipairs({ { crypto.hash }, { crypto.hash, {} }, { crypto.random }, { crypto.random, -1 },
    { crypto.random, 1.5 }, { crypto.random, "x" }, { crypto.equal, "a" }, { crypto.jwt_sign, "x", "k" },
    { crypto.jwt_verify, "x" }, { crypto.jwt_verify, "x", 1 }, { crypto.jwt_verify, "x", "k", { audience = {} } },
    { crypto.jwt_sign, {}, "k", "HS256", { header = 1 } } }) do
  local ok, err = pcall(table.unpack(case))
  assert.eq(ok, false)
  assert.contains(err, "bad argument")
end

--# case: hash_file reads through the grants of fs
--# allow: fs=rw:${TMP}
fs.write("a.bin", ("0123456789"):rep(300000))
assert.eq(crypto.hash_file("a.bin"), crypto.hash(("0123456789"):rep(300000)))
assert.eq(crypto.hash_file("a.bin", "md5"), crypto.hash(("0123456789"):rep(300000), "md5"))
fs.write("empty", "")
assert.eq(crypto.hash_file("empty", "sha512"), crypto.hash("", "sha512"))
local ok, err = pcall(crypto.hash_file, "missing")
assert.eq(err.code, "not_found")
ok, err = pcall(crypto.hash_file, "a.bin", "crc")
assert.eq(err.code, "invalid_argument")
-- It waits: from a wrapped coroutine and several at once.
assert.eq(coroutine.wrap(function() return crypto.hash_file("empty") end)(), crypto.hash(""))
local all = async.all({ function() return crypto.hash_file("a.bin") end, function() return crypto.hash_file("empty") end })
assert.eq(all[2], crypto.hash(""))

--# case: hash_file is denied without a grant
local ok, err = pcall(crypto.hash_file, "/etc/passwd")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=read:/etc/passwd")

--# case: randomness
assert.matches(crypto.random(16), "^[0-9a-f]{32}$")
assert.eq(crypto.random(0), "")
assert.eq(#crypto.random_bytes(1000), 1000)
local seen = {}
for _ = 1, 1000 do
  for _, make in ipairs({ crypto.uuid, crypto.uuid_v7 }) do
    local id = make()
    assert.eq(seen[id], nil)
    seen[id] = true
  end
end
assert.matches(crypto.uuid(), "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
assert.matches(crypto.uuid_v7(), "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
local stamp = tonumber(crypto.uuid_v7():sub(1, 13):gsub("-", ""), 16)
assert.lt(math.abs(stamp / 1000 - time()), 60)
local first = crypto.uuid_v7()
sleep(0.002)
assert.lt(first, crypto.uuid_v7())

--# case: comparing
assert.eq(crypto.equal("", ""), true)
assert.eq(crypto.equal("abc\0", "abc\0"), true)
for _, pair in ipairs({ { "a", "b" }, { "a", "aa" }, { "", "a" }, { "abc\0", "abc\1" } }) do
  assert.eq(crypto.equal(pair[1], pair[2]), false)
end

--# case: encryption finds every change
local key = crypto.random_bytes(32)
for _, algorithm in ipairs({ "aes-256-gcm", "xchacha20-poly1305" }) do
  local o = { algorithm = algorithm }
  for _, text in ipairs({ "", "\0\255", ("x"):rep(100000) }) do
    local sealed = crypto.encrypt(key, text, o)
    assert.eq(crypto.decrypt(key, sealed, o), text)
    assert.ne(sealed, crypto.encrypt(key, text, o))
    local last = sealed:byte(-1)
    for _, bad in ipairs({ sealed:sub(1, -2), sealed .. "x", "", sealed:sub(1, -2) .. string.char(last ~ 1) }) do
      local ok, err = pcall(crypto.decrypt, key, bad, o)
      assert.eq(ok, false)
      assert.eq(err.code, "invalid_data")
    end
    local ok, err = pcall(crypto.decrypt, key, sealed, { algorithm = algorithm, aad = "x" })
    assert.eq(err.code, "invalid_data")
  end
end

--# case: key derivation
local secret, salt = ("\x0b"):rep(22), "\0\1\2\3\4\5\6\7\8\9\10\11\12"
local out = crypto.hkdf(secret, 4, { salt = salt, info = "\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9" })
assert.eq(out, "\x3c\xb2\x5f\x25") -- RFC 5869, test case 1
assert.eq(#crypto.hkdf("s", 100, { algorithm = "sha512" }), 100)

--# case: claims of a token
local function sign(claims) return crypto.jwt_sign(claims, "s", "HS256") end
local now = os.time()
local function refused(what, claims, options)
  local ok, err = pcall(crypto.jwt_verify, sign(claims), "s", options)
  assert.eq(ok, false, what)
  assert.eq(err.code, "invalid_data", what)
  assert.contains(err.message, what)
end
refused("'exp'", { exp = now - 1 })
refused("'exp'", {})
refused("'exp'", { exp = "tomorrow" })
refused("'nbf'", { exp = now + 60, nbf = now + 30 }, { validate_nbf = true })
refused("'aud'", { exp = now + 60 }, { audience = "a" })
refused("'aud'", { exp = now + 60, aud = { "b", "c" } }, { audience = "a" })
refused("'iss'", { exp = now + 60, iss = "x" }, { issuer = { "a", "b" } })
refused("'sub'", { exp = now + 60 }, { required_claims = { "exp", "sub" } })
for _, case in ipairs({
  { { exp = now + 60 } },
  { { exp = now - 5 }, { leeway = 60 } },
  { { exp = now - 86000 }, { leeway = 86400 } },
  { { exp = now - 5 }, { validate_exp = false } },
  { {}, { validate_exp = false } },
  { {}, { required_claims = {} } },
  { { exp = now + 60, nbf = now + 30 } },
  { { exp = now + 60, nbf = now + 30 }, { validate_nbf = true, leeway = 60 } },
  { { exp = now + 60, aud = { "b", "a" } }, { audience = "a" } },
  { { exp = now + 60, aud = "b" }, { audience = { "a", "b" } } },
  { { exp = now + 60, iss = "b" }, { issuer = { "a", "b" } } },
}) do
  crypto.jwt_verify(sign(case[1]), "s", case[2])
end
for _, leeway in ipairs({ -1, 86400.5 }) do
  local ok, err = pcall(crypto.jwt_verify, sign({ exp = now + 60 }), "s", { leeway = leeway })
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument")
end

--# case: decoding does not verify
local token = crypto.jwt_sign({ sub = "ünï", n = 1.5, list = { 1, 2 } }, "s", "HS512", { header = { typ = "at+jwt", x = true } })
local parts = crypto.jwt_decode(token:gsub("[^.]*$", "AAAA"))
for _, signature in ipairs({ "", "!", "AA==", "a+/b", "\u{e9}" }) do
  assert.eq(crypto.jwt_decode((token:gsub("[^.]*$", signature))).claims.sub, "ünï", signature)
  assert.eq(select(2, pcall(crypto.jwt_verify, (token:gsub("[^.]*$", signature)), "s")).code, "invalid_data", signature)
end
assert.eq(parts.claims.sub, "ünï")
assert.eq(parts.claims.list[2], 2)
assert.eq(parts.header.alg, "HS512")
assert.eq(parts.header.typ, "at+jwt")
assert.eq(parts.header.x, true)
for _, bad in ipairs({ "", "x", "a.b", "a.b.c", "..", "!.!.!", "W10.W10.", token .. ".x" }) do
  local ok, err = pcall(crypto.jwt_decode, bad)
  assert.eq(ok, false, bad)
  assert.eq(err.code, "invalid_data", bad)
end

--# case: decoding does not look at the signature
local token = crypto.jwt_sign({ sub = "x" }, "s")
for _, signature in ipairs({ "", "!", "A", "AAA=", "not base64url" }) do
  local broken = token:gsub("[^.]*$", signature)
  assert.eq(crypto.jwt_decode(broken).claims.sub, "x", signature)
  assert.eq(select(2, pcall(crypto.jwt_verify, broken, "s", { validate_exp = false })).code, "invalid_data")
end

--# case: claims with numbers that no float holds
local big = json.number("1e400")
local token = crypto.jwt_sign({ big = big, list = { big } }, "s", "HS256", { header = { big = big } })
assert.eq(tostring(crypto.jwt_decode(token).claims.big), "1e400")
local good = crypto.jwt_verify(token, "s", { validate_exp = false })
assert.eq(tostring(good.claims.list[1]), "1e400")
assert.eq(tostring(good.header.big), "1e400")
-- Half of a surrogate pair is refused, as by json.parse.
local function b64url(s) return (base64.encode(s):gsub("+", "-"):gsub("/", "_"):gsub("=", "")) end
local signed = b64url('{"alg":"HS256"}') .. "." .. b64url([[{"a":"\ud800"}]])
local token = signed .. "." .. b64url(crypto.hmac("s", signed, "sha256", true))
for _, read in ipairs({ crypto.jwt_decode, function(token) return crypto.jwt_verify(token, "s", { validate_exp = false }) end }) do
  local ok, err = pcall(read, token)
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_data")
  assert.contains(err.message, "surrogate")
end

--# case: signatures of every kind
local keys = {
  rsa = [[
-----BEGIN PRIVATE KEY-----
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQC3fc5tSRvliKTz
tUhvP7yiDVAIAuvmf4rlGC3sVVLa7SaMjwEJ4E6rzOOdrU6vCcjXxGHastis91Ye
iEySAIWvQYX0rX8cIeWdbpgn4aeHmYUHsUE+hMvDcn6mEXUu4DEcS0UPEvq4W544
y+bP3AKUu0qDCDrCMheQENumnIMZt4DBfgi5Rqoy9fW8jQLtSyOW1BaushsJadrS
DGzRuumE2JM90mQLL6ETZSAH3WUjTiLAgptuDQSjNTExV5QYUliLqySVKmAjWKOV
v3Po4n1Dhh5WC1RpqlArA2K7A5igER2y43wzecKnclJSxtRoIJzo5vSW0PrJSU9l
19zXecwxAgMBAAECggEABlpPtE7srVS+yUVEfb2KLV4ioDRhsHhH+ciNhnopxTSi
ugkVcx8V+jK8yq++YqcHEhlVffnlMI/bpnD3nbJw7nFpTuBW30V5Kqsyj2brovE4
vtxvMtfsKhcjtWIzWW0fpigg+vWgQpPBdZvxoM6wNDAL01+MkT6kvDMpN6qBi3lU
7WZ8N8xZxfrbwKmoHisyCxzNMBbXl7i1LYDO+k9049sQFXQF/rslL/UbU7PTwyOu
SFv/vBLyZg+zc6PdH+CiDOYu2ZbD2SZaMjRslXGgCrYCsV1l4/JNuirNAbpWV2dh
e7XjvJIPT1f8OR9bcQ7hAvxlKcnUBJBi65K+A2WFJQKBgQDmt4/31XhyKIcfhP0+
svztzaKR7JtEDGNI6NfuIXpMt4wE2VtkO2FmvBRg+bUjicbfu1QaJnymDYn1sewu
KMJpDJkxGSESY0Zj8Aynn7jkJ47Es/IHi1iHOi0jzIG7eE+wxXNrRLTdzhpAcu8s
jEqsXj53WHwEw1QO9Fh2jox/AwKBgQDLmWWXO4TuVCY1KCvUCv8Yh4v4aoiac1hh
JZFoj7WzyHPwYRFn+hlg6mf0yBNUyKOlZi3uJcCa8fLRhDxDjahQWmAqy2VR0lOJ
CJN03H0Ip8AiFLgEK5Uto/GHpOgTVyxleIJLGTbcV3L4luRXXhzJLlJGKgY7JAlk
jUprHuVXuwKBgQCv5pe/DmQMNVX/8/bYTMKF09f0hX5DPWac+dlXVvLVdsMsF0OU
galbGF45KWivNaYIgdw3K8yxFXVvez1kW/MNAGvzgQMz77iFDUm4qw/d80LoOYF3
uwe94d70gkEO20V2srOyvuleinp9VKOBRVzRWfEqMK4tO3blB+pCSaBYXQKBgEXm
+9dJqyE8qQWVLj8WK3FbkHYQ9ae5tH1eLadtt9/rEctVOGmvl6kLsfd7/g8c9/qg
s2JReeh463p94Ub8Su6TqPLodHf8M4wX8rCrxw4CslfBL1DXOde6swF0X+3L/0Uz
c+Ce3pQWPjYVcH6CpHV6PusyIIOLouHwFL3klK9jAoGBAIDK741yecYMxk9o1Zc/
T8gRjvhIB1wDRG3mjNWQzthXhDpmO1XU0FytsgOGtIXfeFNRL59gStcVDI8wWHGv
mfPtvr1UymsgJ3NkCP2lWgCYqv4p12xZYwVyLi2pK8MiEgQYumJq26/xae+nzKab
0xypWCYI197Qtm2orn0aWSXe
-----END PRIVATE KEY-----
]],
  ec = [[
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgxxz/0URk0rYV4U/C
gnkyqH77FMy4mPrYI5vLhF5T0hOhRANCAAT93VE4TbJTIvjAWBx8oZGSabB1xJLN
iMyzQVCX7wTOYJui4XGKA4a/jAOk2tsSUiu3YApPmT4Pc62+kf0QXe++
-----END PRIVATE KEY-----
]],
  ed = [[
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEILuU7DmdAUx3xw660F4bqMQiwrbhpg9nBrXv+tV/8QGS
-----END PRIVATE KEY-----
]],
}
local public = {
  rsa = [[
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAt33ObUkb5Yik87VIbz+8
og1QCALr5n+K5Rgt7FVS2u0mjI8BCeBOq8zjna1OrwnI18Rh2rLYrPdWHohMkgCF
r0GF9K1/HCHlnW6YJ+Gnh5mFB7FBPoTLw3J+phF1LuAxHEtFDxL6uFueOMvmz9wC
lLtKgwg6wjIXkBDbppyDGbeAwX4IuUaqMvX1vI0C7UsjltQWrrIbCWna0gxs0brp
hNiTPdJkCy+hE2UgB91lI04iwIKbbg0EozUxMVeUGFJYi6sklSpgI1ijlb9z6OJ9
Q4YeVgtUaapQKwNiuwOYoBEdsuN8M3nCp3JSUsbUaCCc6Ob0ltD6yUlPZdfc13nM
MQIDAQAB
-----END PUBLIC KEY-----
]],
  ec = [[
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/d1ROE2yUyL4wFgcfKGRkmmwdcSS
zYjMs0FQl+8EzmCbouFxigOGv4wDpNrbElIrt2AKT5k+D3OtvpH9EF3vvg==
-----END PUBLIC KEY-----
]],
  ed = [[
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEACVdBy9zDvAVWwbVJXN4ps3E8EfgTPnxDtKyVsPHOtnY=
-----END PUBLIC KEY-----
]],
}
local set = { keys = {
  { kid = "ed", kty = "OKP", crv = "Ed25519", x = "CVdBy9zDvAVWwbVJXN4ps3E8EfgTPnxDtKyVsPHOtnY" },
  { kid = "ec", kty = "EC", crv = "P-256", alg = "ES256", use = "sig", x = "_d1ROE2yUyL4wFgcfKGRkmmwdcSSzYjMs0FQl-8EzmA", y = "m6LhcYoDhr-MA6Ta2xJSK7dgCk-ZPg9zrb6R_RBd774" },
  { kid = "rsa", kty = "RSA", e = "AQAB", n = "t33ObUkb5Yik87VIbz-8og1QCALr5n-K5Rgt7FVS2u0mjI8BCeBOq8zjna1OrwnI18Rh2rLYrPdWHohMkgCFr0GF9K1_HCHlnW6YJ-Gnh5mFB7FBPoTLw3J-phF1LuAxHEtFDxL6uFueOMvmz9wClLtKgwg6wjIXkBDbppyDGbeAwX4IuUaqMvX1vI0C7UsjltQWrrIbCWna0gxs0brphNiTPdJkCy-hE2UgB91lI04iwIKbbg0EozUxMVeUGFJYi6sklSpgI1ijlb9z6OJ9Q4YeVgtUaapQKwNiuwOYoBEdsuN8M3nCp3JSUsbUaCCc6Ob0ltD6yUlPZdfc13nMMQ" },
} }
local own = set.keys[1]
-- What is no key, lacks a member, or is for something else, beside the good ones.
for _, bad in ipairs({
  1, "x", {}, { kid = "rsa" }, { kty = "RSA", kid = "rsa" }, { kty = "RSA", kid = "rsa", n = "!", e = "AQAB" },
  { kty = "EC", kid = "ec", crv = "P-521", x = "AA", y = "AA" }, { kty = "EC", kid = "ec", crv = "P-256", x = "AA", y = "AA" },
  { kty = "OKP", kid = "ed", crv = "Ed25519", x = "AAAA" }, { kty = "OKP", kid = "ed", crv = "Ed25519" }, { kty = 7 },
  { kty = "oct", k = "" }, { kty = "XYZ", kid = "ed" }, { kid = "ed", kty = "OKP", crv = "Ed25519", use = "enc", x = set.keys[1].x },
}) do
  table.insert(set.keys, 1, bad)
end
local claims = { sub = "me", exp = os.time() + 60 }
for algorithm, kind in pairs({ RS256 = "rsa", RS384 = "rsa", RS512 = "rsa", PS256 = "rsa", PS384 = "rsa", PS512 = "rsa",
    ES256 = "ec", EdDSA = "ed" }) do
  local token = crypto.jwt_sign(claims, keys[kind], algorithm, { kid = kind })
  assert.eq(crypto.jwt_verify(token, public[kind]).claims.sub, "me", algorithm)
  assert.eq(crypto.jwt_verify(token, public[kind], { algorithms = { "HS256", algorithm } }).header.alg, algorithm)
  assert.eq(crypto.jwt_verify(token, set, { algorithm = algorithm }).header.kid, kind)
  assert.eq(crypto.jwt_verify(token, json.encode(set)).header.kid, kind)
  for other, key in pairs(public) do
    if other ~= kind then
      local ok, err = pcall(crypto.jwt_verify, token, key)
      assert.eq(err.code, "invalid_data", algorithm .. " with " .. other)
    end
  end
  -- Another key of the set, and none of it.
  for _, kid in ipairs({ kind == "ec" and "ed" or "ec", "unknown" }) do
    local token = crypto.jwt_sign(claims, keys[kind], algorithm, { kid = kid })
    assert.eq(select(2, pcall(crypto.jwt_verify, token, set)).code, "invalid_data")
  end
  -- One that was changed.
  local head, body, signature = token:match("^(.*)%.(.*)%.(.*)$")
  local forged = head .. "." .. crypto.jwt_sign({ sub = "root", exp = claims.exp }, "x"):match("%.(.*)%.") .. "." .. signature
  local ok, err = pcall(crypto.jwt_verify, forged, public[kind])
  assert.eq(err.code, "invalid_data")
  assert.contains(err.message, "signature")
end
-- One bad entry of a set locks nobody out.
local token = crypto.jwt_sign(claims, keys.ed, "EdDSA", { kid = "ed" })
for _, entry in ipairs({ {}, 1, "x", { kty = "RSA" }, { kid = "ed", kty = "OKP", crv = "Ed25519", x = "AA" }, { kid = "ed", kty = "EC", crv = "P-521" },
    { kid = "ed", kty = "EC", crv = "P-256", x = "!", y = "!" }, { kid = "ed", kty = "RSA", n = json.number("1e400"), e = "AQAB", use = "enc" } }) do
  for _, place in ipairs({ 1, 2 }) do
    local mixed = { keys = { own } }
    table.insert(mixed.keys, place, entry)
    assert.eq(crypto.jwt_verify(token, mixed).claims.sub, "me")
    assert.eq(crypto.jwt_verify(token, json.encode(mixed)).claims.sub, "me")
  end
  local ok, err = pcall(crypto.jwt_verify, token, { keys = { entry } })
  assert.eq(err.code, "invalid_argument")
  assert.contains(err.message, "entry 1")
end
-- A private key does not verify, a public one does not sign.
assert.eq(select(2, pcall(crypto.jwt_verify, crypto.jwt_sign(claims, keys.ed, "EdDSA"), keys.ed)).code, "invalid_argument")
assert.eq(select(2, pcall(crypto.jwt_sign, claims, public.rsa, "RS256")).code, "invalid_argument")
-- Signing waits.
local signed = async.all({ function() return crypto.jwt_sign(claims, keys.rsa, "RS256") end,
  function() return crypto.jwt_sign(claims, keys.ec, "ES256") end })
assert.eq(#signed, 2)

--# case: bytes that go through are counted
--# flags: --max-host-bytes 1MiB
assert.eq(#crypto.hash(("x"):rep(1000000)), 64)
local ok, err = pcall(crypto.hash, ("x"):rep(1000000))
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "--max-host-bytes")
