--- # modules: escapes
--- What require reads lies in the module directories, and what package.path reaches is granted.

--# case: links lead nowhere else
--# file: secret.lua=return 'secret'
--# file: modules/real.lua=return 'real'
--# link: modules/out.lua=../secret.lua
--# link: modules/absolute.lua=/etc/hostname
--# link: modules/up=..
--# link: modules/inner.lua=real.lua
for _, name in ipairs({ "out", "absolute", "up.secret", "up" }) do
  local ok, err = pcall(require, name)
  assert.eq(ok, false, name)
  assert.contains(err, "modules/")
  assert.eq(err:find("secret.lua", 1, true) ~= nil and name == "out", false, err)
  assert.eq(err:find("hostname", 1, true), nil, err)
end
assert.eq(require("inner"), "real")

--# case: a module directory that becomes a link
--# allow: fs=rw:${TMP}
--# file: modules/a.lua=return 'a'
--# file: other/b.lua=return 'b'
assert.eq(require("a"), "a")
fs.rename("modules", "old")
fs.symlink("other", "modules")
assert.eq(pcall(require, "b"), false)
package.loaded.a = nil
assert.eq(pcall(require, "a"), false)
fs.remove("modules")
fs.mkdir("modules")
fs.write("modules/b.lua", "return 'new'")
assert.eq(require("b"), "new")

--# case: pipes and directories are no modules
--# file: modules/directory.lua/x=1
local ok, err = pcall(require, "directory")
assert.eq(ok, false)
assert.contains(err, "not a file")

--# case: searchpath tells nothing about what is not granted
--# allow: fs=read:${TMP}
--# link: hidden=/etc
--# file: x.lua=return 1
local function said(name, path)
  local found, message = package.searchpath(name, path)
  assert.eq(found, nil)
  return (message:gsub(name, "NAME", 1))
end
for _, names in ipairs({
  { "passwd", "nothing_there", "/etc/?" },
  { "ssl", "nothing_there", "/etc/?" },
  { "passwd", "nothing_there", "hidden/?" },
  { "hostname", "nothing_there", "${TMP}/../../etc/?" },
  { "hostname", "nothing_there", "hidden/../etc/?" },
}) do
  assert.eq(said(names[1], names[3]), said(names[2], names[3]))
end
assert.eq(package.searchpath("x", "?.lua"), "x.lua")

--# case: what is denied to fs is no module
--# allow: fs=read:${TMP}
--# deny: fs=read:./modules/secret,fs=./modules/one.lua
--# file: modules/secret/key.lua=return 'key'
--# file: modules/secret/init.lua=return 'init'
--# file: modules/one.lua=return 'one'
--# file: modules/open.lua=return 'open'
--# link: modules/link.lua=secret/key.lua
--# link: modules/directory=secret
for _, name in ipairs({ "secret.key", "secret", "one", "link", "directory.key", "secret.nothing" }) do
  local ok, err = pcall(require, name)
  assert.eq(ok, false, name)
  assert.contains(err, "denied by --deny fs=", name)
end
assert.eq(require("open"), "open")
package.path = "modules/?.lua;modules/?/init.lua;./modules/../modules/?.lua"
for _, name in ipairs({ "secret.key", "secret", "one", "link", "directory.key" }) do
  assert.eq(package.searchpath(name, package.path), nil, name)
  assert.eq(pcall(require, name), false, name)
  assert.eq(pcall(loadfile, "modules/" .. name:gsub("%.", "/") .. ".lua") and name ~= "secret", false, name)
end
assert.eq(package.searchpath("open", package.path), "modules/open.lua")

--# case: all of fs is denied to require too
--# deny: fs
--# file: modules/x.lua=return 'x'
local ok, err = pcall(require, "x")
assert.eq(ok, false)
assert.contains(err, "denied by --deny fs")
