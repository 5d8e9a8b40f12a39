--- # systemd
--- Units, machines and the journal of a Linux system that systemd runs.
---
--- Units and machines are reached over the system's D-Bus, by the user that runs Assay: what is granted to a script is
--- never more than that user may. The bus is at the standard address, or where `DBUS_SYSTEM_BUS_ADDRESS` in Assay's own
--- environment says (`unix:` addresses only; a script cannot set it). The journal is read by `journalctl`, and programs
--- in machines are started by `systemd-run`, both from the `PATH` of Assay's environment. Other systems than Linux have
--- none of this: every function raises `unsupported` there.
---
--- | grant | what it allows |
--- |---|---|
--- | `systemd=read` | lists and states of units, timers and machines |
--- | `systemd=UNIT:VERB+VERB` | `status`, `start`, `stop`, `restart`, `reload`, `enable`, `disable`, `reset-failed`; `*` for all |
--- | `systemd=journal`, `systemd=journal:UNIT` | the whole journal, the entries of a unit |
--- | `systemd=machine:NAME:VERB+VERB` | `status`, `start`, `poweroff`, `reboot`, `terminate`, `journal`, `exec`; `*` for all |
--- | `systemd=daemon-reload` | making systemd read its unit files again |
---
--- `UNIT` and `NAME` can have `*` in them: `systemd=web-*:restart` is every kind of unit whose name begins so.
--- A name without a kind is a service: `nginx` is `nginx.service`, in grants too. An alias is followed, and both names
--- must be granted. A script that may start units of any name may shut the system down (`poweroff.target`), and `enable` makes what
--- the unit's file asks for, other units by `Also=` among it. `machine:NAME:exec` is everything in that machine.
---
--- Actions take `{wait = true}`: they return when the job has ended, and raise where it failed. `{timeout = SECONDS}` is
--- for the whole call; without one it is 30 s, and 180 s with `wait`; 0 is no bound.
---
--- Fields have the names of systemd's properties in lower case with underscores. Those that end in `_realtime` are integer
--- microseconds since 1970, those in `_monotonic` since the start of the system. What has no value is left out.
---
--- Errors: `not_found` for a unit or machine that is not there, `permission` where the user may not, `unavailable` where
--- there is no bus, `timeout`, `unsupported` for what a unit cannot do, `invalid_argument` for a name that is not valid.
---
--- ## systemd.list_units(filter?) -> table
--- The units that systemd has in memory, by name: `{name, description, load_state, active_state, sub_state, path}`, and
--- where there is one `following` and `job = {id, type, path}`. `filter` is a name or pattern (`"ssh*"`), or a table:
--- `name` (one or a list), `state` (one or a list of load, active or sub states: `"failed"`, `"running"`), `type` (one or a
--- list: `"service"`, `"timer"`).
---
--- ## systemd.unit_status(name) -> table
--- What systemd tells of a unit. Every unit has `name`, `names`, `description`, `load_state`, `active_state`, `sub_state`;
--- further, where they have a value, `unit_file_state`, `fragment_path`, `drop_in_paths`, `need_daemon_reload`,
--- `invocation_id`, `requires`, `wants`, `required_by`, `wanted_by`, `triggers`, `triggered_by`, `documentation`,
--- `can_start`, `can_stop`, `can_reload`, `load_error`, `state_change_realtime`, `active_enter_realtime`,
--- `active_exit_realtime`, `inactive_enter_realtime`, `inactive_exit_realtime`. Services have `type`, `result`, `restart`,
--- `n_restarts`, `main_pid`, `exec_start` and `exec_reload` (lists of argument lists), `exec_main_code`,
--- `exec_main_status`, `exec_main_start_realtime`, `exec_main_exit_realtime`, `status_text`, `user`, `group`,
--- `working_directory`, and the accounting `memory_current`, `memory_peak`, `memory_max`, `cpu_usage_nsec`,
--- `tasks_current`, `tasks_max`, `io_read_bytes`, `io_write_bytes`, `ip_ingress_bytes`, `ip_egress_bytes`; timers what
--- `list_timers` has. The environment of a service is not told: it often holds passwords.
---
--- ## systemd.is_active(name) -> boolean
--- Whether a unit is active or reloading; false for one that does not exist.
---
--- ## systemd.list_timers() -> table
--- The timers, the next one first: `{name, unit, description, active_state, sub_state, next_realtime,
--- next_elapse_realtime, next_elapse_monotonic, last_trigger_realtime, calendar, persistent, accuracy_usec}`. `unit` is what the
--- timer starts; `next_realtime` is the sooner of its two clocks.
---
--- ## systemd.start(name, opts?) -> string
--- Starts a unit, and gives the path of the job. Starting a unit that is active does nothing.
---
--- ## systemd.stop(name, opts?) -> string
--- Stops a unit, and gives the path of the job.
---
--- ## systemd.restart(name, opts?) -> string
--- Restarts a unit, or starts it, and gives the path of the job.
---
--- ## systemd.reload(name, opts?) -> string
--- Makes a unit read its configuration again, and gives the path of the job. `unsupported` where it cannot.
---
--- ## systemd.enable(name, opts?) -> table
--- Makes the links that start a unit with the system, and makes systemd read them: a list of the changes,
--- `{type, file, target}`, empty where all was there. It does not start the unit.
---
--- ## systemd.disable(name, opts?) -> table
--- Removes the links of `enable`; a list of the changes.
---
--- ## systemd.reset_failed(name, opts?)
--- Resets the failed state of a unit.
---
--- ## systemd.daemon_reload()
--- Makes systemd read its unit files again, as after one was written.
---
--- ## systemd.list_machines() -> table
--- The running containers and virtual machines that systemd-machined knows, by name: `{name, class, service, path}`.
---
--- ## systemd.machine_status(name) -> table
--- `{name, id, class, service, unit, leader, root_directory, state, timestamp_realtime, network_interfaces, addresses,
--- os_release}` of a running machine. `leader` is the host's number of its first process.
---
--- ## systemd.machine_start(name, opts?) -> string
--- Starts the container of that name in `/var/lib/machines`, by `systemd-nspawn@NAME.service`; gives the path of the job.
---
--- ## systemd.machine_poweroff(name, opts?)
--- Asks the system in a machine to shut down.
---
--- ## systemd.machine_reboot(name, opts?)
--- Asks the system in a machine to restart.
---
--- ## systemd.machine_terminate(name, opts?)
--- Ends a machine by stopping its unit, without waiting for its own shutdown.
---
--- ## systemd.machine_exec(name, cmd, opts?) -> {status, stdout, stderr, timed_out}
--- Runs a command in a machine as its root, by `systemd-run --machine`, and waits for its end. `cmd` is a command line for
--- `/bin/sh`, or a list of a program and its arguments. Options: `timeout` in seconds, after which the command is ended
--- in the machine too; `env`, a table of variables (they are arguments of `systemd-run`, which other users of the host can
--- see while it runs: pass secrets by `stdin`); `stdin`, bytes. `status` is 255 where a signal ended the command. Each of the
--- two streams is kept up to 16 MiB; `limit` above that.
---
--- ## systemd.journal(opts?) -> table
--- Entries of the journal, oldest first. Options:
---
--- | option | |
--- |---|---|
--- | `unit` | entries of, and of systemd about, this unit |
--- | `machine` | the journal of a machine |
--- | `since`, `until` | seconds since 1970, RFC 3339, or what journalctl takes: `"2026-01-31 12:00:00"`, `"today"`, `"-1h"` |
--- | `lines` | the newest so many of what matches: 1000 without this, 100,000 at most |
--- | `priority` | this urgent or more, `"err"` or 3, or a range: `"err..warning"` |
--- | `identifier` | the `SYSLOG_IDENTIFIER` |
--- | `boot` | `true`: only since the system was started |
--- | `after` | entries after this cursor: the `__CURSOR` of the last entry that was read |
--- | `directory` | the journal in this directory; needs `systemd=journal` and `fs=read:DIRECTORY` |
---
--- An entry is a table with the fields of the journal under their own names (`MESSAGE`, `_SYSTEMD_UNIT`, `_PID`, `__CURSOR`
--- and so on) as strings, bytes that are no text included; a field that an entry has several times is a list. The
--- numbers in it are there as numbers too: `realtime` and `monotonic` in microseconds, and `priority`. An entry of more than 1 MiB is
--- left out: in its place is one with the field `OMITTED_BYTES` alone.
---
--- ## systemd.journal_follow(opts, fn) -> handle
--- Calls `fn` with each entry as it is written, in a task of its own, until `fn` returns `"close"`. Options as for
--- `systemd.journal`, without `until`; entries that are there already come first where `lines`, `since` or `after` ask for them.
--- `handle:close()` ends it at once; `handle:wait()` waits for its end, and raises what `fn` raised. It is also closed as a
--- `<close>` variable, and with the script.

--# example: restart a service and see that it runs
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read,systemd=web:restart
systemd.restart("web", { wait = true })
local status = systemd.unit_status("web")
assert.eq(status.active_state, "active")
log.info(status.description, { pid = status.main_pid, since = status.active_enter_realtime })

--# example: what has failed
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read
for _, unit in ipairs(systemd.list_units({ state = "failed", type = "service" })) do
  print(unit.name, unit.sub_state)
end

--# example: the errors of a service in the last hour
--# needs: systemd
--# env: PATH=${SYSTEMD_BIN}:/usr/bin:/bin
--# allow: systemd=journal:web.service
for _, entry in ipairs(systemd.journal({ unit = "web", since = "-1h", priority = "err" })) do
  print(os.date("%F %T", entry.realtime // 1000000), entry.MESSAGE)
end

--# example: a command in a container
--# needs: machine
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# env: PATH=${SYSTEMD_BIN}:/usr/bin:/bin
--# allow: systemd=machine:web:exec
local result = systemd.machine_exec("web", "cat /etc/os-release", { timeout = 20 })
assert.eq(result.status, 0)
assert.contains(result.stdout, "ID=assay-test")

--# case: units are listed
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read
local units, last = {}, ""
for _, unit in ipairs(systemd.list_units()) do
  units[unit.name] = unit
  assert.lt(last, unit.name)
  last = unit.name
end
local bus = units["dbus.service"]
assert.eq(bus.description, "The bus of the tests")
assert.eq(bus.load_state, "loaded")
assert.eq(bus.active_state, "active")
assert.eq(bus.sub_state, "running")
assert.matches(bus.path, "^/org/freedesktop/systemd1/unit/")
assert.eq(bus.following, nil)
assert.not_nil(units["job.timer"])

--# case: filters of the list
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read
local function names(filter)
  local list = {}
  for i, unit in ipairs(systemd.list_units(filter)) do
    list[i] = unit.name
  end
  return table.concat(list, " ")
end
assert.eq(names("dbus"), "dbus.service")
assert.eq(names("dbus.*"), "dbus.service dbus.socket")
assert.eq(names({ name = "dbus*", type = "socket" }), "dbus.socket")
assert.eq(names({ type = { "timer" } }), "job.timer uptime.timer")
assert.eq(names({ name = { "job.timer", "dbus" }, state = { "active" } }), "dbus.service job.timer")
assert.eq(names({ state = "waiting" }), "job.timer uptime.timer")
assert.eq(names({ state = "failed" }), "")
assert.eq(names("nothing-*"), "")

--# case: filters that are none
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read
for _, filter in ipairs({ "a b", "../x", { state = "Active!" }, { type = "services" }, { name = "x\0" } }) do
  local ok, err = pcall(systemd.list_units, filter)
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument", tostring(err))
end
local many = {}
for i = 1, 65 do
  many[i] = "u" .. i
end
assert.eq(select(2, pcall(systemd.list_units, { name = many })).code, "invalid_argument")
many[65] = nil
assert.eq(#systemd.list_units({ name = many }), 0)
assert.contains(tostring(select(2, pcall(systemd.list_units, 5))), "table expected")

--# case: the status of a service
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read,systemd=web:start+stop
local before = systemd.unit_status("web.service")
assert.eq(before.name, "web.service")
assert.eq(before.active_state, "inactive")
assert.eq(before.main_pid, nil)
assert.eq(before.active_enter_realtime, nil)
local job = systemd.start("web", { wait = true })
assert.matches(job, "^/org/freedesktop/systemd1/job/\\d+$")
local status = systemd.unit_status("web")
assert.eq(status.active_state, "active")
assert.eq(status.sub_state, "running")
assert.eq(status.load_state, "loaded")
assert.eq(status.unit_file_state, "disabled")
assert.eq(status.fragment_path, "/units/web.service")
assert.eq(status.documentation[1], "https://example.com/web")
assert.eq(status.exec_start[1][1], "/bin/sh")
assert.eq(status.exec_start[1][3], "echo started; exec sleep infinity")
assert.eq(status.type, "simple")
assert.eq(status.restart, "no")
assert.eq(status.can_reload, true)
assert.gt(status.main_pid, 1)
assert.eq(math.type(status.active_enter_realtime), "integer")
assert.lt(math.abs(status.active_enter_realtime / 1e6 - time()), 60)
assert.eq(#status.invocation_id, 32)
-- What is unlimited has no value, and passwords are not told.
assert.eq(status.memory_max, nil)
assert.eq(json.encode(status):find("hunter2", 1, true), nil)
systemd.stop("web", { wait = true })
assert.eq(systemd.is_active("web"), false)

--# case: is_active
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read
assert.eq(systemd.is_active("dbus"), true)
assert.eq(systemd.is_active("dbus.socket"), true)
assert.eq(systemd.is_active("web"), false)
assert.eq(systemd.is_active("nothing"), false)

--# case: a unit that is not there
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd
for _, name in ipairs({ "unit_status", "start", "stop", "restart", "reload", "enable" }) do
  local ok, err = pcall(systemd[name], "nothing")
  assert.eq(ok, false, name)
  assert.eq(err.code, "not_found", name .. ": " .. tostring(err))
  assert.contains(err.message, "nothing.service")
end

--# case: timers
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read
local timers = systemd.list_timers()
assert.eq(#timers, 2)
local by_name = {}
for _, timer in ipairs(timers) do
  by_name[timer.name] = timer
end
local yearly, uptime = by_name["job.timer"], by_name["uptime.timer"]
assert.eq(yearly.unit, "job.service")
assert.eq(yearly.active_state, "active")
assert.eq(yearly.sub_state, "waiting")
assert.eq(yearly.calendar[1], "*-01-01 00:00:00")
assert.eq(math.type(yearly.next_elapse_realtime), "integer")
assert.eq(yearly.next_realtime, yearly.next_elapse_realtime)
assert.gt(yearly.next_realtime / 1e6, time())
assert.eq(yearly.next_elapse_monotonic, nil)
assert.eq(yearly.last_trigger_realtime, nil)
assert.eq(uptime.next_elapse_realtime, nil)
assert.lt(math.abs(uptime.next_realtime / 1e6 - time() - 10 * 86400), 600)
assert.lt(timers[1].next_realtime, timers[2].next_realtime + 1)
assert.eq(systemd.unit_status("job.timer").unit, "job.service")

--# case: start, restart, reload and stop, with and without waiting
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read,systemd=web:start+stop+restart+reload
assert.matches(systemd.start("web"), "^/org/freedesktop/systemd1/job/")
systemd.start("web", { wait = true })
local first = systemd.unit_status("web").main_pid
systemd.restart("web", { wait = true })
assert.ne(systemd.unit_status("web").main_pid, first)
local pid = systemd.unit_status("web").main_pid
systemd.reload("web", { wait = true, timeout = 30 })
assert.eq(systemd.unit_status("web").main_pid, pid)
systemd.stop("web", { wait = true })
assert.eq(systemd.unit_status("web").active_state, "inactive")
-- A unit that is stopped already: a job with nothing to do.
systemd.stop("web", { wait = true })

--# case: a job that fails
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read,systemd=broken:start+reset-failed
local ok, err = pcall(systemd.start, "broken", { wait = true })
assert.eq(ok, false)
assert.eq(err.code, "other")
assert.contains(err.message, "cannot start broken.service: it failed (exit-code, status 3)")
assert.contains(err.message, 'systemd.journal({unit = "broken.service"})')
assert.eq(systemd.unit_status("broken").active_state, "failed")
assert.eq(systemd.unit_status("broken").exec_main_status, 3)
assert.eq(systemd.list_units({ state = "failed" })[1].name, "broken.service")
systemd.reset_failed("broken")
assert.eq(systemd.unit_status("broken").active_state, "inactive")

--# case: waiting has a limit, and the connection goes on
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read,systemd=slow:start+stop
local ok, err = pcall(systemd.start, "slow", { wait = true, timeout = 0.3 })
assert.eq(ok, false)
assert.eq(err.code, "timeout")
assert.contains(err.message, "0.3 s")
assert.eq(systemd.unit_status("slow").active_state, "activating")
assert.eq(systemd.list_units("slow")[1].job.type, "start")
systemd.stop("slow", { wait = true })
assert.ne(systemd.unit_status("slow").active_state, "activating")

--# case: a job that gives way to another
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read,systemd=slow:start+stop
local task = async.spawn(function()
  return pcall(systemd.start, "slow", { wait = true })
end)
while systemd.unit_status("slow").active_state ~= "activating" do
  sleep(0.01)
end
systemd.stop("slow", { wait = true })
local ok, err = task:await()
assert.eq(ok, false)
assert.eq(err.code, "unavailable")
assert.contains(err.message, "another job took its place")

--# case: what a unit cannot do
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd
local function code(name, unit, opts)
  local ok, err = pcall(systemd[name], unit, opts)
  return ok or err.code, err
end
assert.eq(code("start", "manual"), "permission")
assert.eq(code("start", "masked"), "unavailable")
assert.eq(code("reload", "dbus.socket"), "unsupported")
assert.eq(code("enable", "tick"), "unsupported")

--# case: enable and disable
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read,systemd=web:enable+disable,systemd=say@*:enable+disable
local changes = systemd.enable("web")
assert.eq(#changes, 1)
assert.eq(changes[1].type, "symlink")
assert.eq(changes[1].file, "/etc/systemd/system/box.target.wants/web.service")
assert.eq(changes[1].target, "/units/web.service")
assert.eq(systemd.unit_status("web").unit_file_state, "enabled")
assert.eq(systemd.is_active("web"), false)
assert.eq(#systemd.enable("web"), 0)
local removed = systemd.disable("web")
assert.eq(removed[1].type, "unlink")
assert.eq(removed[1].target, nil)
assert.eq(systemd.unit_status("web").unit_file_state, "disabled")
assert.eq(#systemd.disable("web"), 0)
-- A template is enabled as its default instance.
assert.contains(systemd.enable("say@.service")[1].file, "say@3.service")
assert.eq(#systemd.disable("say@.service"), 1)

--# case: daemon_reload
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=daemon-reload,systemd=read
assert.eq(select("#", systemd.daemon_reload()), 0)
assert.eq(systemd.is_active("dbus"), true)

--# case: the bus goes away and comes back
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read,systemd=dbus.service:restart
assert.eq(systemd.is_active("dbus"), true)
systemd.restart("dbus.service")
local ok, err
for _ = 1, 5000 do
  ok, err = pcall(systemd.is_active, "dbus.socket")
  if ok then
    break
  end
  assert.contains("unavailable timeout", err.code, tostring(err))
  sleep(0.02)
end
assert.eq(ok, true, tostring(err))

--# case: an alias is the unit that it leads to, and both must be granted
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read,systemd=frontend:start,systemd=frontend:stop,systemd=web.service:stop
assert.eq(systemd.unit_status("frontend").name, "web.service")
local ok, err = pcall(systemd.start, "frontend")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow systemd=web.service:start")
assert.eq(systemd.is_active("web"), false)
systemd.stop("frontend", { wait = true })

--# case: a denial of a unit holds for its alias
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd
--# deny: systemd=web.service:start
local ok, err = pcall(systemd.start, "frontend")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.eq(systemd.is_active("web"), false)

--# case: waiting inside a coroutine, pcall and a comparator
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read
local inside = coroutine.wrap(function()
  coroutine.yield(systemd.is_active("dbus"))
  return select(2, pcall(systemd.is_active, "web"))
end)
assert.eq(inside(), true)
assert.eq(inside(), false)
local names = { "web", "dbus", "job.timer", "nothing" }
table.sort(names, function(a, b)
  local x, y = systemd.is_active(a), systemd.is_active(b)
  if x ~= y then
    return x
  end
  return a < b
end)
assert.eq(table.concat(names, " "), "dbus job.timer nothing web")

--# case: many calls at a time
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read
local calls = {}
for i = 1, 50 do
  calls[i] = function()
    return systemd.is_active(i % 2 == 0 and "dbus" or "web")
  end
end
for i, active in ipairs(async.all(calls)) do
  assert.eq(active, i % 2 == 0)
end

--# case: wrong arguments
--# allow: systemd
for _, name in ipairs({
  "unit_status", "start", "stop", "restart", "reload", "enable", "disable", "reset_failed", "machine_status",
  "machine_start", "machine_poweroff", "machine_reboot", "machine_terminate", "is_active",
}) do
  local ok, err = pcall(systemd[name])
  assert.eq(ok, false)
  assert.contains(tostring(err), "string expected", name)
end
assert.contains(tostring(select(2, pcall(systemd.start, "x", { wait = "yes" }))), "field 'wait': boolean expected")
assert.contains(tostring(select(2, pcall(systemd.start, "x", { timeout = -1 }))), "a number of seconds from 0")
assert.contains(tostring(select(2, pcall(systemd.journal, "web"))), "table expected")
assert.contains(tostring(select(2, pcall(systemd.journal, { lines = -1 }))), "field 'lines'")
assert.contains(tostring(select(2, pcall(systemd.journal, { since = {} }))), "string or number expected")
assert.contains(tostring(select(2, pcall(systemd.journal_follow, {}))), "function expected")
assert.contains(tostring(select(2, pcall(systemd.machine_exec, "web"))), "table expected")
assert.contains(tostring(select(2, pcall(systemd.machine_exec, "web", "x", { env = { A = {} } }))), "env.A")

--# case: no bus
--# env: DBUS_SYSTEM_BUS_ADDRESS=unix:path=${TMP}/none
--# allow: systemd
local ok, err = pcall(systemd.list_units)
assert.eq(ok, false)
assert.eq(err.code, "unavailable")
assert.contains(err.message, "cannot list units: no system bus at ${TMP}/none")
assert.contains(err.message, "DBUS_SYSTEM_BUS_ADDRESS")

--# case: only sockets of this machine are a bus
--# env: DBUS_SYSTEM_BUS_ADDRESS=tcp:host=127.0.0.1,port=1
--# allow: systemd
local ok, err = pcall(systemd.list_units)
assert.eq(err.code, "unsupported")
assert.contains(err.message, "unix:path=")

--# case: the bus takes one handle, however many calls
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read
--# flags: --max-handles 1
for _ = 1, 5 do
  assert.eq(systemd.is_active("dbus"), true)
end

--# case: no handle is left
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read,fs=rw:${TMP}
--# flags: --max-handles 1
local file <close> = io.open("x", "w")
local ok, err = pcall(systemd.is_active, "dbus")
assert.eq(err.code, "limit")

--# case: answers count as the host's bytes
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=read
--# flags: --max-host-bytes 40KiB
assert.gt(#systemd.list_units("dbus*"), 0)
local ok, err = pcall(function()
  for _ = 1, 100 do
    systemd.list_units()
  end
end)
assert.eq(ok, false)
assert.eq(err.code, "limit")

--# case: denied without a grant
local function denied(scope, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.eq(ok, false)
  assert.eq(err.code, "denied", tostring(err))
  assert.matches(err.message, "--allow systemd=" .. scope .. "$")
end
denied("read", systemd.list_units)
denied("read", systemd.list_timers)
denied("read", systemd.list_machines)
denied("read", systemd.unit_status, "web")
denied("read", systemd.is_active, "web")
denied("read", systemd.machine_status, "web")
denied("web.service:start", systemd.start, "web")
denied("web.service:reset-failed", systemd.reset_failed, "web")
denied("daemon-reload", systemd.daemon_reload)
denied("machine:web:reboot", systemd.machine_reboot, "web")
denied("machine:web:exec", systemd.machine_exec, "web", "true")
denied("journal", systemd.journal)
denied("journal:web.service", systemd.journal, { unit = "web" })
denied("machine:web:journal", systemd.journal_follow, { machine = "web" }, print)

--# case: denied outside of the grant
--# allow: systemd=web.service:restart,systemd=journal:web,systemd=machine:web:start
local function denied(scope, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.eq(ok, false)
  assert.eq(err.code, "denied", tostring(err))
  assert.matches(err.message, "--allow systemd=" .. scope .. "$")
end
denied("read", systemd.list_units)
denied("read", systemd.unit_status, "web")
denied("web.service:stop", systemd.stop, "web")
denied("web.socket:restart", systemd.restart, "web.socket")
denied("ssh.service:restart", systemd.restart, "ssh")
denied("daemon-reload", systemd.daemon_reload)
denied("machine:web:exec", systemd.machine_exec, "web", "true")
denied("machine:web2:start", systemd.machine_start, "web2")
denied("systemd-nspawn@web.service:start", systemd.start, "systemd-nspawn@web")
denied("journal", systemd.journal)
denied("journal:ssh.service", systemd.journal, { unit = "ssh" })
denied("machine:web:journal", systemd.journal, { machine = "web" })
denied("journal", systemd.journal, { unit = "web", directory = "/" })
