--- # require
--- Modules. A name is looked up in `modules/` beside the script (in the working directory for `assay exec` and
--- `assay repl`), then in `$ASSAY_MODULES_PATH` or `~/.assay/modules`, then in the standard library that is
--- built in. Dots part directories, and a directory's module is its `init.lua`: `require("a.b")` finds `a/b.lua` or
--- `a/b/init.lua`.
---
--- Reading modules needs no grant, but reaches only those directories; links that lead out of them are not
--- followed. `assay modules` shows which source wins, `--no-local-modules` leaves only the standard library.
---
--- The rest is standard Lua: `package.loaded`, `package.preload`, `package.searchers`,
--- `package.searchpath`. Templates in `package.path` come last and are read through the grants of `fs`. It is
--- `./?.lua;./?/init.lua` at the start, and empty with `--no-local-modules`. There are no C modules: `package.loadlib` does not exist.
---
--- ## require(name) -> value, where
--- Loads a module once and gives what it returned. The second value, on the first call, says where it was
--- found. Its top-level code may wait like any other; other tasks that require the module meanwhile wait for it.
--- Modules that require each other in a circle are an error that names the circle, unless one has set its value in
--- `package.loaded` before.

--# example: a module that is there already
package.preload.answers = function(name)
  return { answer = 42, name = name }
end
local answers = require("answers")
assert.eq(answers.answer, 42)
assert.eq(answers.name, "answers")
assert.eq(require("answers"), answers)

--# case: a missing module names the places
local ok, err = pcall(require, "no.such")
assert.eq(ok, false)
assert.contains(err, "module 'no.such' not found:")
assert.contains(err, "modules/no/such.lua'")
assert.contains(err, "modules/no/such/init.lua'")
assert.contains(err, "package.preload['no.such']")

--# case: names do not leave the directories
for _, name in ipairs({ "../case", "/etc/passwd", "a/../../case", "", "x y", "a..b" }) do
  assert.eq(pcall(require, name), false)
end

--# case: there are no C modules
assert.eq(package.loadlib, nil)
assert.eq(package.cpath, "")

--# case: package.path goes through the grants
--# allow: fs=rw:${TMP}
fs.write("lib/found.lua", "return { name = ..., from = select(2, ...) }")
package.path = "lib/?.lua"
local found, from = require("found")
assert.eq(found.name, "found")
assert.eq(found.from, "lib/found.lua")
assert.eq(from, "lib/found.lua")
assert.eq(package.searchpath("found", "x/?.lua;lib/?.lua"), "lib/found.lua")

--# case: package.path reaches nothing without a grant
package.path = "/etc/?"
local ok, err = pcall(require, "hostname")
assert.eq(ok, false)
assert.contains(err, "no file '/etc/hostname'")

--# case: top-level code of a module may wait
--# allow: fs=rw:${TMP}
fs.write("modules/slow.lua", "sleep(0.01) local w = coroutine.wrap(function() sleep(0.01) coroutine.yield('done') end) return w()")
assert.eq(require("slow"), "done")

--# case: an error in a module
--# allow: fs=rw:${TMP}
fs.write("modules/broken.lua", "local x = = 1")
fs.write("modules/raises.lua", "error({ code = 'mine' })")
local ok, err = pcall(require, "broken")
assert.contains(err, "error loading module 'broken'")
assert.contains(err, "broken.lua:1:")
local ok, err = pcall(require, "raises")
assert.eq(err.code, "mine")
assert.eq(package.loaded.raises, nil)

--# case: searchpath says all that it tried
local found, message = package.searchpath("a", "?;;x/?.lua")
assert.eq(found, nil)
assert.eq(message, "no file 'a'\n\tno file ''\n\tno file 'x/a.lua'")
assert.eq(select(2, package.searchpath("a", "")), "no file ''")
assert.ne(select(2, pcall(require, "nothing")):find("not found:", 1, true), nil)
assert.eq(select(2, pcall(require, "nothing")):find("no file ''", 1, true), nil)
