--- # Functions of the host
--- Each call longer than the VM runs between two.

--# case: crypto.hash
local s = ('x'):rep(48000000) while true do crypto.hash(s, 'sha512') end

--# case: crypto.hash 2
local s = ('x'):rep(48000000) while true do pcall(crypto.hash, s, 'sha3-512') end

--# case: crypto.hmac
local s = ('x'):rep(48000000) while true do crypto.hmac('key', s, 'sha512') end

--# case: crypto.encrypt
local s = ('x'):rep(48000000) while true do crypto.encrypt(('k'):rep(32), s) end

--# case: crypto.encrypt 2
local s = ('x'):rep(48000000) while true do
crypto.encrypt(('k'):rep(32), s, {algorithm = 'xchacha20-poly1305'}) end

--# case: crypto.decrypt
local s = ('x'):rep(48000000) while true do pcall(crypto.decrypt, ('k'):rep(32), s) end

--# case: crypto.jwt_verify
local s = ('x'):rep(48000000) while true do pcall(crypto.jwt_verify, s, s) end

--# case: crypto.jwt_sign
local s = ('x'):rep(48000000) while true do pcall(crypto.jwt_sign, {}, s, 'HS512') end

--# case: crypto.hkdf
local s = ('x'):rep(48000000) while true do pcall(crypto.hkdf, s, 32) end

--# case: crypto.hmac 2
local s = ('x'):rep(48000000) while true do pcall(crypto.hmac, s, 'x') end

--# case: env.set
local s = ('x'):rep(48000000) while true do pcall(env.set, 'A', s) pcall(env.get, s) end

--# case: require
local s = ('x'):rep(48000000) while true do pcall(require, s) end

--# case: log.info
local s = ('x'):rep(48000000) while true do log.info(s) end

--# case: crypto.random
while true do pcall(crypto.random, 1000000) end

--# case: crypto.uuid
while true do crypto.uuid() end

--# case: time
while true do time() end

--# case: fs.read
while true do pcall(fs.read, '/etc/hostname') end

--# case: env.get
while true do env.get('HOME') end

--# case: log.trace
while true do log.trace('x') end

--# case: crypto.hash in tasks
local t = {} for i = 1, 10000 do t[i] = function() while true do crypto.hash('x', 'sha256') end end end async.all(t)
