--- # apt
--- Packages of Debian and its descendants: what is installed, what could be upgraded, adding repositories, installing and
--- removing. It runs `apt-get`, `apt` and `dpkg-query`; where they do not exist, every function raises `unsupported`.
---
--- | grant | what it covers |
--- |---|---|
--- | `apt` | all of it |
--- | `apt=read` | `query`, `list_installed`, `list_upgradable` |
--- | `apt=update` | `update` |
--- | `apt=install`, `apt=install:NAME` | installing and upgrading packages, and what they depend on |
--- | `apt=remove`, `apt=remove:NAME` | removing packages |
--- | `apt=source`, `apt=source:ID` | `add_source` |
--- | `apt=root:PATH` | the option `root` with this directory or one below it, which `fs=rw:PATH` must grant too |
---
--- A star in a name stands for any characters. What an installation or a removal would do is looked up before it is done: a
--- package that would have to go along must be granted for removal itself, or the whole call is denied and nothing happens.
--- Installing runs the scripts of the packages as the user of Assay, who must be root: a grant to install trusts the
--- repositories, and one to add a source trusts the script.
---
--- Names are `NAME` or `NAME:ARCHITECTURE`, to install also `NAME=VERSION`; patterns, paths and options are refused with
--- `invalid_argument`. The programs get an environment of their own, nothing of the script's or the caller's: no proxy but
--- that of apt's configuration, no questions, messages in English. Configuration files that were changed by hand stay.
---
--- `update`, `install` and `remove` give `{status, stdout, stderr, timed_out}` as `shell.exec` does. A failure of apt-get is not
--- raised: its status is then 100 and `stderr` says why. They take the options `timeout`, seconds for each program they run
--- (1800 unless it says otherwise), and `lock_timeout`, seconds to wait until another package manager is done (60); 0 is no bound. At
--- the timeout, or when the run ends, the programs are killed; `dpkg --configure -a` completes what that
--- left unfinished.
---
--- Every function takes `root` among its options, for the directory of another system such as an image that is being built.
--- Neither this machine's apt configuration nor that system's own is used then, only its sources, preferences and keys in
--- `trusted.gpg.d`; a source that names a key by its path, as `add_source` makes it, is for use within that system. Scripts
--- of its packages run in it (chroot). One who can write to the directory decides what these programs do, so it needs both
--- grants.
---
--- ## apt.query(name, options?) -> {installed, version, architecture}
--- Whether a package is installed, and which version. Of several architectures it tells of the machine's own.
---
--- ## apt.list_installed(options?) -> {{name, version, architecture}, ...}
--- Everything that is installed, sorted by name.
---
--- ## apt.list_upgradable(options?) -> {{name, current, candidate, suite, architecture}, ...}
--- Packages of which the lists have a newer version, as of the last update. `suite` is nil where the repository names none.
---
--- ## apt.add_source(options) -> {changed, list_path, key_path}
--- Adds a repository, or replaces the one of the same `id` (letters, digits, `_`, `-`, `.`). `source_list` is its description,
--- in the one-line format or in deb822 (sources.list(5)), and becomes `/etc/apt/sources.list.d/ID.list` or `ID.sources`.
--- `key_path` is the file of its OpenPGP key, binary or in ASCII armour, which `fs` must grant for reading; it becomes
--- `/etc/apt/keyrings/ID.gpg` or `ID.asc`, and a repository that names no key is bound to it (`signed-by`). `changed` is
--- false if everything was there already. Files are replaced as a whole.
---
--- ## apt.update(options?) -> {status, stdout, stderr, timed_out}
--- Fetches the lists of packages.
---
--- ## apt.install(options) -> {status, stdout, stderr, timed_out}
--- Installs the packages in the list `names`, or upgrades them. `only_upgrade = true` leaves out what is not installed,
--- `recommends = false` leaves out recommended packages, `allow_downgrades = true` accepts an older version.
---
--- ## apt.remove(options) -> {status, stdout, stderr, timed_out}
--- Removes the packages in the list `names`. `purge = true` removes their configuration files too, `autoremove = true` also
--- what was only installed because of them.

--# example: is it installed?
--# allow: apt=read
local ok, dpkg = pcall(apt.query, "dpkg")
if ok then
  assert.eq(dpkg.installed, true)
  assert.matches(dpkg.version, "^[0-9]")
else
  assert.eq(dpkg.code, "unsupported")
end

--# example: a repository, a package, an upgrade
--# needs: apt
--# allow: apt,fs=rw:${APT_ROOT},fs=rw:${APT_REPOSITORY}
local root = "${APT_ROOT}"
local source = { id = "demo", source_list = "deb [trusted=yes] file:${APT_REPOSITORY} ./", root = root }
assert.eq(apt.add_source(source).changed, true)
assert.eq(apt.add_source(source).changed, false)
local function done(result)
  assert.eq(result.status, 0, result.stdout .. result.stderr)
  return result
end
done(apt.update({ root = root }))
assert.eq(apt.query("assay-demo", { root = root }).installed, false)
done(apt.install({ names = { "assay-demo" }, root = root }))
assert.eq(apt.query("assay-demo", { root = root }).version, "1.0")

-- Later the vendor publishes another version.
fs.copy("${APT_REPOSITORY}/Packages.later", "${APT_REPOSITORY}/Packages")
done(apt.update({ root = root }))
for _, package in ipairs(apt.list_upgradable({ root = root })) do
  log.info(package.name .. ": " .. package.current .. " -> " .. package.candidate)
end
done(apt.install({ names = { "assay-demo" }, only_upgrade = true, root = root }))
assert.eq(apt.query("assay-demo", { root = root }).version, "2.0")
done(apt.remove({ names = { "assay-demo" }, root = root }))
assert.eq(apt.query("assay-demo", { root = root }).installed, false)

--# case: this machine's packages
--# allow: apt=read
local packages = apt.list_installed()
local seen = {}
for n, package in ipairs(packages) do
  seen[package.name] = package
  assert.eq(n == 1 or packages[n - 1].name <= package.name, true, package.name)
end
assert.gt(#packages, 20)
local dpkg = apt.query("dpkg")
assert.eq(dpkg.installed, true)
assert.eq(seen.dpkg.version, dpkg.version)
assert.eq(seen.dpkg.architecture, dpkg.architecture)
assert.eq(apt.query("dpkg:" .. dpkg.architecture).version, dpkg.version)
local none = apt.query("no-such-package-anywhere")
assert.eq(none.installed, false)
assert.eq(none.version, nil)
for _, package in ipairs(apt.list_upgradable()) do
  assert.eq(seen[package.name].name, package.name)
  assert.ne(package.current, package.candidate, package.name)
end

--# case: versions, upgrades and downgrades
--# needs: apt
--# allow: apt,fs=rw:${APT_ROOT},fs=rw:${APT_REPOSITORY}
local root = "${APT_ROOT}"
local function done(result)
  assert.eq(result.status, 0, result.stdout .. result.stderr)
  assert.eq(result.timed_out, false)
  return result
end
local function version(name) return apt.query(name, { root = root }).version end
assert.eq(#apt.list_installed({ root = root }), 0)
assert.eq(#apt.list_upgradable({ root = root }), 0)
apt.add_source({ id = "demo", source_list = "Types: deb\nURIs: copy:${APT_REPOSITORY}\nSuites: ./\nTrusted: yes", root = root })
done(apt.update({ root = root }))

-- Only what is there is upgraded.
done(apt.install({ names = { "assay-demo" }, only_upgrade = true, root = root }))
assert.eq(version("assay-demo"), nil)
done(apt.install({ names = { "assay-demo" }, recommends = false, root = root }))
assert.eq(version("assay-demo"), "1.0")
assert.eq(version("assay-dep"), "1:1.0-1")
assert.eq(version("assay-extra"), nil)
assert.eq(fs.read(root .. "/usr/share/assay-demo/version"), "1.0\n")
assert.eq(#apt.list_upgradable({ root = root }), 0)

fs.copy("${APT_REPOSITORY}/Packages.later", "${APT_REPOSITORY}/Packages")
assert.eq(#apt.list_upgradable({ root = root }), 0, "before the update")
done(apt.update({ root = root }))
local upgrades = apt.list_upgradable({ root = root })
assert.eq(#upgrades, 2)
assert.eq(upgrades[1].name, "assay-demo")
assert.eq(upgrades[1].current, "1.0")
assert.eq(upgrades[1].candidate, "2.0")
assert.eq(upgrades[1].suite, nil)
assert.eq(upgrades[1].architecture, "all")
assert.eq(upgrades[2].candidate, "1:1.0-1.1")

-- One version by its name; the tilde is before the end.
done(apt.install({ names = { "assay-demo=2.0~rc1" }, root = root }))
assert.eq(version("assay-demo"), "2.0~rc1")
assert.eq(version("assay-dep"), "1:1.0-1")
done(apt.install({ names = { "assay-demo" }, only_upgrade = true, root = root }))
assert.eq(version("assay-demo"), "2.0")
local left = apt.list_upgradable({ root = root })
assert.eq(#left, 1)
assert.eq(left[1].name, "assay-dep")

-- An older one only where that is said.
local refused = apt.install({ names = { "assay-demo=1.0" }, root = root })
assert.eq(refused.status, 100)
assert.contains(refused.stderr, "downgrade")
assert.eq(version("assay-demo"), "2.0")
done(apt.install({ names = { "assay-demo=1.0" }, allow_downgrades = true, root = root }))
assert.eq(version("assay-demo"), "1.0")

done(apt.remove({ names = { "assay-demo" }, autoremove = true, purge = true, root = root }))
assert.eq(version("assay-demo"), nil)
assert.eq(version("assay-dep"), nil)
assert.eq(fs.exists(root .. "/usr/share/assay-demo/version"), false)
-- What is not installed can be removed, and several names are one call.
done(apt.remove({ names = { "assay-demo" }, root = root }))
done(apt.install({ names = { "assay-dep", "assay-extra" }, root = root }))
assert.eq(version("assay-dep"), "1:1.0-1.1")
assert.eq(#apt.list_installed({ root = root }), 2)
assert.eq(#apt.list_upgradable({ root = root }), 0)

--# case: what does not exist
--# needs: apt
--# allow: apt,fs=rw:${APT_ROOT}
local root = "${APT_ROOT}"
apt.add_source({ id = "demo", source_list = "deb [trusted=yes] file:${APT_REPOSITORY} ./", root = root })
-- 0 is no bound.
assert.eq(apt.update({ root = root, timeout = 0, lock_timeout = 0 }).status, 0)
for _, name in ipairs({ "assay-none", "assay-demo=9.9", "assay-demo:nosuch" }) do
  local result = apt.install({ names = { name }, root = root })
  assert.eq(result.status, 100, name)
  assert.gt(#result.stderr, 0, name)
end
apt.add_source({ id = "gone", source_list = "deb [trusted=yes] file:${APT_REPOSITORY}/none ./", root = root })
assert.ne(apt.update({ root = root }).status, 0)
assert.eq(select(2, pcall(apt.update, { root = root .. "/missing" })).code, "not_found")

--# case: an argument is a name and nothing else
--# needs: apt
--# allow: apt,fs=rw:${APT_ROOT}
local root = "${APT_ROOT}"
apt.add_source({ id = "demo", source_list = "deb [trusted=yes] file:${APT_REPOSITORY} ./", root = root })
assert.eq(apt.update({ root = root }).status, 0)
assert.eq(apt.install({ names = "assay-demo", root = root }).status, 0)
for _, name in ipairs({
  "", "-y", "--help", "-oDPkg::Pre-Invoke::=touch ${TMP}/pwned", "assay-demo-", "assay-*", "assay-d?mo", "./assay.deb",
  "${APT_REPOSITORY}/assay-rival_1.0_all.deb", "assay-demo/stable", "task^", "~nassay", "?installed", "assay demo", "ASSAY",
  "assay-demo\n", "assay-demo\0", "assay-demo=", "assay-demo=$(id)", "assay-demo:", "^assay", "assay$",
}) do
  for _, call in ipairs({ apt.install, apt.remove }) do
    local ok, err = pcall(call, { names = { name }, root = root })
    assert.eq(ok, false, name)
    assert.eq(err.code, "invalid_argument", name)
  end
  local ok, err = pcall(apt.query, name)
  assert.eq(ok, false, name)
  assert.eq(err.code, "invalid_argument", name)
end
-- A name with a dot is no regular expression, which it is to apt-get on a command line.
for _, call in ipairs({ apt.install, apt.remove }) do
  local result = call({ names = { "assay.d" }, root = root })
  assert.eq(result.status, 100, result.stdout)
  assert.contains(result.stderr, "Unable to locate package")
end
assert.eq(apt.query("assay-demo", { root = root }).installed, true)
assert.eq(apt.query("assay-rival", { root = root }).installed, false)
for _, options in ipairs({
  { names = {} }, { names = { "assay-demo=1.0" } },
}) do
  assert.eq(select(2, pcall(apt.remove, options)).code, "invalid_argument")
end
for _, seconds in ipairs({ -1, 0 / 0, 1 / 0 }) do
  assert.eq(select(2, pcall(apt.update, { timeout = seconds })).code, "invalid_argument")
  assert.eq(select(2, pcall(apt.update, { lock_timeout = seconds })).code, "invalid_argument")
end

--# case: wrong types
--# allow: apt
for _, call in ipairs({
  { apt.query }, { apt.query, {} }, { apt.query, "bash", "x" }, { apt.list_installed, 1 }, { apt.install }, { apt.install, "bash" },
  { apt.install, {} }, { apt.install, { names = 1 } }, { apt.install, { names = { 1, {} } } },
  { apt.install, { names = "bash", only_upgrade = 1 } }, { apt.remove, { names = "bash", timeout = "x" } },
  { apt.update, { root = 1 } }, { apt.add_source }, { apt.add_source, { id = "x" } },
  { apt.add_source, { source_list = "deb a:b c d" } }, { apt.add_source, { id = 1, source_list = {} } },
}) do
  local ok, err = pcall(table.unpack(call))
  assert.eq(ok, false)
  assert.contains(tostring(err), "bad argument #")
end

--# case: a package is granted with what it depends on
--# needs: apt
--# allow: apt=update,apt=source:demo,apt=install:assay-demo,apt=read,apt=root:${APT_ROOT},fs=rw:${APT_ROOT}
local root = "${APT_ROOT}"
apt.add_source({ id = "demo", source_list = "deb [trusted=yes] file:${APT_REPOSITORY} ./", root = root })
assert.eq(apt.update({ root = root }).status, 0)
assert.eq(apt.install({ names = { "assay-demo" }, root = root }).status, 0)
assert.eq(apt.query("assay-dep", { root = root }).installed, true)
for name, call in pairs({
  ["install:assay-rival"] = function() apt.install({ names = { "assay-rival" }, root = root }) end,
  ["install:assay-dep"] = function() apt.install({ names = { "assay-demo", "assay-dep" }, root = root }) end,
  ["remove:assay-demo"] = function() apt.remove({ names = { "assay-demo" }, root = root }) end,
  ["source:other"] = function() apt.add_source({ id = "other", source_list = "deb a:b c d", root = root }) end,
}) do
  local ok, err = pcall(call)
  assert.eq(ok, false, name)
  assert.eq(err.code, "denied", name)
  assert.contains(err.message, "--allow apt=" .. name)
end
assert.eq(apt.query("assay-demo", { root = root }).installed, true)

--# case: what would go along must be granted
--# needs: apt
--# allow: apt=update,apt=source,apt=install,apt=remove:assay-dep,apt=read,apt=root:${APT_ROOT},fs=rw:${APT_ROOT}
local root = "${APT_ROOT}"
apt.add_source({ id = "demo", source_list = "deb [trusted=yes] file:${APT_REPOSITORY} ./", root = root })
assert.eq(apt.update({ root = root }).status, 0)
assert.eq(apt.install({ names = { "assay-demo" }, root = root }).status, 0)
-- assay-demo depends on it.
local ok, err = pcall(apt.remove, { names = { "assay-dep" }, root = root })
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow apt=remove:assay-demo")
-- It conflicts with assay-demo.
local ok, err = pcall(apt.install, { names = { "assay-rival" }, root = root })
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow apt=remove:assay-demo")
assert.eq(apt.query("assay-demo", { root = root }).installed, true)
assert.eq(apt.query("assay-dep", { root = root }).installed, true)

--# case: a plus sign does not turn a removal into an installation
--# needs: apt
--# allow: apt=update,apt=source,apt=remove,apt=read,apt=root:${APT_ROOT},fs=rw:${APT_ROOT}
local root = "${APT_ROOT}"
apt.add_source({ id = "demo", source_list = "deb [trusted=yes] file:${APT_REPOSITORY} ./", root = root })
assert.eq(apt.update({ root = root }).status, 0)
local ok, err = pcall(apt.remove, { names = { "assay-demo+" }, root = root })
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow apt=install:")
assert.eq(apt.query("assay-demo", { root = root }).installed, false)

--# case: another root directory needs both grants
--# needs: apt
--# allow: apt=read,apt=update,apt=root:${APT_ROOT},fs=rw:${TMP}/other
fs.mkdir("other")
local calls = {
  function(root) apt.query("x1", { root = root }) end,
  function(root) apt.list_installed({ root = root }) end,
  function(root) apt.list_upgradable({ root = root }) end,
  function(root) apt.update({ root = root }) end,
}
for n, call in ipairs(calls) do
  local ok, err = pcall(call, "${APT_ROOT}")
  assert.eq(ok, false, n)
  assert.contains(err.message, "--allow fs=read:${APT_ROOT}")
  local ok, err = pcall(call, "${TMP}/other")
  assert.eq(ok, false, n)
  assert.contains(err.message, "--allow apt=root:${TMP}/other")
end

--# case: a root directory's own configuration runs nothing
--# needs: apt
--# allow: apt,fs=rw:${APT_ROOT}
local root = "${APT_ROOT}"
apt.add_source({ id = "demo", source_list = "deb [trusted=yes] file:${APT_REPOSITORY} ./", root = root })
local hook = [[APT::Update::Pre-Invoke { "touch ${APT_ROOT}/pwned"; }; DPkg::Pre-Invoke { "touch ${APT_ROOT}/pwned"; };]]
fs.write(root .. "/etc/apt/apt.conf", hook)
fs.write(root .. "/etc/apt/apt.conf.d/00hook", hook)
assert.eq(apt.update({ root = root }).status, 0)
assert.eq(apt.install({ names = { "assay-demo" }, root = root }).status, 0)
assert.eq(fs.exists(root .. "/pwned"), false)
-- Nor does a path that would be configuration.
local path = root .. '/x"; DPkg::Pre-Invoke "touch x'
fs.mkdir(path)
assert.eq(select(2, pcall(apt.update, { root = path })).code, "invalid_argument")

--# case: the files of a repository
--# needs: apt
--# allow: apt,fs=rw:${TMP}
--# file: key.asc=-----BEGIN PGP PUBLIC KEY BLOCK-----
--# file: page.html=<html></html>
--# link: link.asc=/etc/passwd
local root = "${APT_ROOT}"
local line = "deb https://packages.example.com stable main"
local added = apt.add_source({ id = "vendor", source_list = line, key_path = "key.asc", root = root })
assert.eq(added.changed, true)
assert.eq(added.list_path, root .. "/etc/apt/sources.list.d/vendor.list")
assert.eq(added.key_path, root .. "/etc/apt/keyrings/vendor.asc")
assert.eq(fs.read(added.list_path),
  "deb [signed-by=/etc/apt/keyrings/vendor.asc] https://packages.example.com stable main\n")
assert.eq(fs.read(added.key_path), fs.read("key.asc"))
assert.eq(apt.add_source({ id = "vendor", source_list = line .. "\n", key_path = "key.asc", root = root }).changed, false)
local added = apt.add_source({ id = "vendor", root = root, key_path = "key.asc", source_list = [[
Types: deb
URIs: https://packages.example.com
Suites: stable
Components: main
]] })
assert.eq(added.changed, true)
assert.eq(added.list_path, root .. "/etc/apt/sources.list.d/vendor.sources")
assert.contains(fs.read(added.list_path), "\nSigned-By: /etc/apt/keyrings/vendor.asc\n")
assert.eq(fs.exists(root .. "/etc/apt/sources.list.d/vendor.list"), false)
for _, wrong in ipairs({
  { id = "../../cron.d/x", source_list = line }, { id = "", source_list = line }, { id = ".x", source_list = line },
  { id = "a/b", source_list = line }, { id = "x\n", source_list = line }, { id = ("x"):rep(65), source_list = line },
  { id = "x", source_list = "" }, { id = "x", source_list = "* * * * * root id" }, { id = "x", source_list = line .. "\nid" },
  { id = "x", source_list = line .. "\0" },
}) do
  wrong.root = root
  assert.eq(select(2, pcall(apt.add_source, wrong)).code, "invalid_argument", wrong.id)
end
for key, code in pairs({ ["page.html"] = "invalid_data", ["none.asc"] = "not_found", ["link.asc"] = "denied" }) do
  local ok, err = pcall(apt.add_source, { id = "x", source_list = line, key_path = key, root = root })
  assert.eq(ok, false, key)
  assert.eq(err.code, code, key)
end
assert.eq(fs.exists(root .. "/etc/apt/sources.list.d/x.list"), false)

--# case: timeouts and another package manager
--# needs: apt
--# allow: apt,fs=rw:${APT_ROOT}
local root = "${APT_ROOT}"
apt.add_source({ id = "demo", source_list = "deb [trusted=yes] file:${APT_REPOSITORY} ./", root = root })
assert.eq(apt.update({ root = root, timeout = 1e-6 }).timed_out, true)
local result = apt.install({ names = { "assay-demo" }, root = root, timeout = 1e-6 })
assert.eq(result.timed_out, true)
assert.eq(result.status, 137)
assert.eq(apt.query("assay-demo", { root = root }).installed, false)
assert.eq(apt.update({ root = root }).status, 0)
-- Two at once: one waits for the other.
local results = async.all({
  function() return apt.install({ names = { "assay-demo" }, root = root, recommends = false }) end,
  function() return apt.install({ names = { "assay-extra" }, root = root }) end,
})
assert.eq(results[1].status, 0, results[1].stderr)
assert.eq(results[2].status, 0, results[2].stderr)
assert.eq(#apt.list_installed({ root = root }), 3)

--# case: they wait, so from any function
--# allow: apt=read
assert.eq(coroutine.wrap(apt.query)("dpkg").installed, true)
local list = { "dpkg", "no-such-package-anywhere" }
table.sort(list, function(a, b) return #(apt.query(a).version or "") < #(apt.query(b).version or "") end)
assert.eq(list[2], "dpkg")

--# case: limits on programs and bytes
--# allow: apt=read
--# flags: --max-children 0
local ok, err = pcall(apt.query, "dpkg")
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "max-children")

--# case: the limit on bytes
--# allow: apt=read
--# flags: --max-host-bytes 200
assert.eq(apt.query("dpkg").installed, true)
local ok, err = pcall(apt.list_installed)
assert.eq(ok, false)
assert.eq(err.code, "limit")

--# case: denied without a grant
for scope, call in pairs({
  ["read"] = function() apt.query("dpkg") end,
  ["update"] = function() apt.update() end,
  ["install:nginx"] = function() apt.install({ names = { "nginx=1.0" } }) end,
  ["remove:nginx"] = function() apt.remove({ names = { "nginx" } }) end,
  ["source:demo"] = function() apt.add_source({ id = "demo", source_list = "deb a:b c d" }) end,
}) do
  local ok, err = pcall(call)
  assert.eq(ok, false, scope)
  assert.eq(err.code, "denied", scope)
  assert.contains(err.message, "--allow apt=" .. scope)
end
assert.contains(select(2, pcall(apt.list_installed)).message, "--allow apt=read")
assert.contains(select(2, pcall(apt.list_upgradable)).message, "--allow apt=read")
