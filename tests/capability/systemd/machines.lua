--# case: machines
--# needs: machine
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read
local machines = systemd.list_machines()
assert.eq(#machines, 1)
assert.eq(machines[1].name, "web")
assert.eq(machines[1].class, "container")
assert.eq(machines[1].service, "systemd-nspawn")
local status = systemd.machine_status("web")
assert.eq(status.name, "web")
assert.eq(status.state, "running")
assert.eq(status.unit, "systemd-nspawn@web.service")
assert.eq(status.root_directory, "/var/lib/machines/web")
assert.eq(status.id, ("1"):rep(32))
assert.gt(status.leader, 1)
assert.lt(math.abs(status.timestamp_realtime / 1e6 - time()), 60)
assert.eq(status.os_release.ID, "assay-test")
local ok, err = pcall(systemd.machine_status, "nothing")
assert.eq(err.code, "not_found")

--# case: a machine's life
--# needs: machine
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read,systemd=machine:web:start+poweroff+reboot+terminate
local function wait_for(condition)
  for _ = 1, 5000 do
    if condition() then
      return
    end
    sleep(0.02)
  end
  error("it does not come about", 2)
end
local function leader()
  local ok, status = pcall(systemd.machine_status, "web")
  return ok and status.leader or nil
end
local first = leader()
systemd.machine_reboot("web")
wait_for(function()
  local now = leader()
  return now and now ~= first
end)
-- Its first process listens to signals when it is up.
wait_for(function()
  -- It may be gone meanwhile.
  local ok, err = pcall(systemd.machine_poweroff, "web")
  assert(ok or err.code == "not_found", tostring(err))
  sleep(0.2)
  return leader() == nil
end)
assert.eq(#systemd.list_machines(), 0)
assert.matches(systemd.machine_start("web", { wait = true }), "/job/")
assert.not_nil(leader())
systemd.machine_terminate("web")
wait_for(function()
  return leader() == nil
end)
for _, verb in ipairs({ "poweroff", "reboot", "terminate" }) do
  assert.eq(select(2, pcall(systemd["machine_" .. verb], "web")).code, "not_found")
end

--# case: a command in a machine
--# needs: machine
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# env: PATH=${SYSTEMD_BIN}:/usr/bin:/bin
--# allow: systemd=machine:web:exec
local exec = systemd.machine_exec
local result = exec("web", "cat /etc/machine-id; echo oops >&2; exit 7")
assert.eq(result.status, 7)
assert.eq(result.stdout, ("1"):rep(32) .. "\n")
assert.eq(result.stderr, "oops\n")
assert.eq(result.timed_out, false)
assert.eq(exec("web", { "/bin/echo", "a  b", "$HOME", "${X}", "$$", "%n", "--help" }).stdout, "a  b $HOME ${X} $$ %n --help\n")
assert.eq(exec("web", 'X=1; echo "${X}" $X $(echo 2)').stdout, "1 1 2\n")
assert.eq(exec("web", "echo \"$A|$B\"", { env = { A = "x y $Z", B = 5 } }).stdout, "x y $Z|5\n")
assert.eq(exec("web", "cat", { stdin = "a\0b\255" }).stdout, "a\0b\255")
assert.eq(exec("web", "cat").stdout, "")
assert.eq(exec("web", "head -c 100000 /dev/zero").stdout, ("\0"):rep(100000))
assert.eq(exec("web", { "/bin/nothing" }).status, 203)
assert.eq(exec("web", "kill -9 $$").status, 255)

--# case: a command in a machine takes too long
--# needs: machine
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# env: PATH=${SYSTEMD_BIN}:/usr/bin:/bin
--# allow: systemd=machine:web:exec
local result
-- A busy machine may take longer to start it.
for _, seconds in ipairs({ 1, 10, 60 }) do
  result = systemd.machine_exec("web", "echo begun; exec sleep 4321", { timeout = seconds })
  if result.stdout ~= "" then
    break
  end
end
assert.eq(result.timed_out, true)
assert.eq(result.stdout, "begun\n")
-- It is ended in the machine too.
local left
for _ = 1, 2000 do
  left = systemd.machine_exec("web", "grep -lz '^4321' /proc/[0-9]*/cmdline").stdout
  if left == "" then
    break
  end
  sleep(0.02)
end
assert.eq(left, "")

--# case: a command in a machine that is given up
--# needs: machine
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# env: PATH=${SYSTEMD_BIN}:/usr/bin:/bin
--# allow: systemd=machine:web:exec
local function running()
  return systemd.machine_exec("web", "grep -lz '^4322' /proc/[0-9]*/cmdline").stdout ~= ""
end
local task = async.spawn(systemd.machine_exec, "web", "exec sleep 4322")
while not running() do
  sleep(0.02)
end
task:cancel()
for _ = 1, 2000 do
  if not running() then
    break
  end
  sleep(0.02)
end
assert.eq(running(), false)

--# case: machines that are not there, and names of no machine
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd
local ok, err = pcall(systemd.machine_exec, "nothing", "true")
assert.eq(err.code, "not_found")
assert.eq(select(2, pcall(systemd.machine_exec, "web", {})).code, "invalid_argument")
assert.eq(select(2, pcall(systemd.machine_exec, "web", "x", { env = { ["A=B"] = "" } })).code, "invalid_argument")
assert.eq(select(2, pcall(systemd.machine_start, "nothing", { wait = true })).code, "other")
assert.eq(#systemd.list_machines(), 0)

--# case: the journal of a machine
--# needs: machine
--# env: PATH=${SYSTEMD_BIN}:/usr/bin:/bin
--# allow: systemd=machine:web:journal
local entries = systemd.journal({ machine = "web", unit = "dbus" })
assert.gt(#entries, 0)
for _, entry in ipairs(entries) do
  assert.eq(entry._MACHINE_ID, ("1"):rep(32))
end
local ok, err = pcall(systemd.journal, { unit = "dbus" })
assert.eq(err.code, "denied")
