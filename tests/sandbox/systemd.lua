--- # systemd: attacks
--- Names and values that try to be something else: options of the programs that are run, other units, the host itself.

--# case: a name is never an option of journalctl
--# needs: systemd
--# env: PATH=${SYSTEMD_BIN}:/usr/bin:/bin
--# allow: systemd=journal
for _, opts in ipairs({
  { unit = "--version" }, { unit = "--help" }, { unit = "-b" }, { unit = "--rotate" }, { identifier = "--version" },
  { identifier = "-D/" },
}) do
  assert.eq(#systemd.journal(opts), 0, json.encode(opts))
end
for _, opts in ipairs({
  { since = "--version" }, { after = "--version" }, { priority = "--version" }, { since = "now --vacuum-size=1" },
  { since = "now\0--vacuum-size=1" }, { unit = "x --vacuum-size=1" }, { unit = "x\n--vacuum-size=1" },
  { identifier = "--file=/etc/passwd" }, { machine = "--root=/" }, { machine = "/" }, { machine = "../.." },
}) do
  local ok, err = pcall(systemd.journal, opts)
  assert.eq(ok, false, json.encode(opts))
  assert.matches(err.code, "^(invalid_argument|denied)$", json.encode(opts) .. tostring(err))
end

--# case: wildcards are no names
--# allow: systemd=web.service:stop+status,systemd=journal:web.service
for _, name in ipairs({ "*", "web*", "we?", "[a-z]*", "*.service", "web.service *", "web.service,ssh.service", "web.service\0ssh" }) do
  for _, call in ipairs({
    function() systemd.stop(name) end,
    function() systemd.unit_status(name) end,
    function() systemd.journal({ unit = name }) end,
    function() systemd.journal_follow({ unit = name }, print) end,
  }) do
    local ok, err = pcall(call)
    assert.eq(ok, false, name)
    assert.eq(err.code, "invalid_argument", name .. ": " .. tostring(err))
  end
end

--# case: what looks like the granted unit is not it
--# allow: systemd=web.service:*
for _, name in ipairs({
  "web.socket", "web.target", "web@.service", "web@x.service", "Web.service", "web.service.service", "xweb.service",
  "web.service@x", "web\\x2dx", "-web", "web.d", "machine:web", "poweroff.target", "-.mount",
}) do
  local ok, err = pcall(systemd.stop, name)
  assert.eq(ok, false, name)
  assert.eq(err.code, "denied", name .. ": " .. tostring(err))
end
for _, name in ipairs({ "/etc/systemd/system/web.service", "../web.service", "./web.service", "wéb", "machine web", "" }) do
  for _, verb in ipairs({ "start", "enable", "disable" }) do
    assert.eq(select(2, pcall(systemd[verb], name)).code, "invalid_argument", name)
  end
end

--# case: the host is no machine
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# env: PATH=${SYSTEMD_BIN}:/usr/bin:/bin
--# allow: systemd
for _, name in ipairs({ ".host", "root@.host", "@.host", "web@", "a/../.host", "--user", "-M.host", ".host\0", "", "." }) do
  for _, call in ipairs({
    function() systemd.machine_exec(name, "true") end,
    function() systemd.machine_status(name) end,
    function() systemd.machine_start(name) end,
    function() systemd.machine_terminate(name) end,
    function() systemd.journal({ machine = name }) end,
  }) do
    local ok, err = pcall(call)
    assert.eq(ok, false, name)
    assert.eq(err.code, "invalid_argument", name .. ": " .. tostring(err))
  end
end
for _, machine in ipairs(systemd.list_machines()) do
  assert.ne(machine.name, ".host")
end

--# case: a command's words are never options of systemd-run, and its variables stay in the machine
--# needs: machine
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# env: PATH=${SYSTEMD_BIN}:/usr/bin:/bin
--# allow: systemd=machine:web:exec
local exec = systemd.machine_exec
for _, word in ipairs({ "--machine=.host", "--user", "--help", "--version", "-M.host", "--" }) do
  local result = exec("web", { word, "/bin/true" })
  assert.ne(result.status, 0, word)
  assert.eq(result.stdout, "", word)
end
assert.eq(exec("web", { "/bin/cat", "/etc/machine-id" }).stdout, ("1"):rep(32) .. "\n")
local env = { LD_PRELOAD = "/none.so", SYSTEMD_LOG_LEVEL = "debug", PATH = "/none", X = "--machine=.host" }
local result = exec("web", { "/bin/sh", "-c", "echo $LD_PRELOAD $X" }, { env = env })
assert.eq(result.stdout, "/none.so --machine=.host\n")
assert.eq(result.stderr:find("systemd%-run"), nil)
for _, name in ipairs({ "A=B", "", "A B", "A\n", "-p", "1A" }) do
  local ok, err = pcall(exec, "web", "true", { env = { [name] = "x" } })
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument", name)
end
assert.eq(select(2, pcall(exec, "web", { "/bin/echo", "a\0b" })).code, "invalid_argument")

--# case: a script sets neither the bus nor the programs
--# env: DBUS_SYSTEM_BUS_ADDRESS=unix:path=${TMP}/none
--# env: PATH=${TMP}/nowhere
--# allow: systemd,env,fs=rw:${TMP}
--# file: journalctl=#!/bin/sh
env.set("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/dbus/system_bus_socket")
env.set("PATH", "${TMP}:/usr/bin")
fs.chmod("${TMP}/journalctl", 493)
local ok, err = pcall(systemd.list_units)
assert.contains(err.message, "${TMP}/none")
assert.eq(select(2, pcall(systemd.journal)).code, "not_found")

--# case: a directory with links to other journals is not a way around the grant of one unit
--# allow: systemd=journal:web.service,fs=rw:${TMP}
--# link: system.journal=/var/log/journal
local ok, err = pcall(systemd.journal, { unit = "web", directory = "${TMP}" })
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow systemd=journal")

--# case: a link to a directory outside of the grant
--# allow: systemd=journal,fs=read:${TMP}
--# link: out=/var/log
local ok, err = pcall(systemd.journal, { directory = "${TMP}/out" })
assert.eq(err.code, "denied")
