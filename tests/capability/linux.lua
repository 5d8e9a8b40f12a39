--- # linux
--- What the Linux kernel tells about the machine and its processes, read from `/proc`. It needs the grant `linux`, or one of
--- its scopes:
---
--- | grant | what it covers |
--- |---|---|
--- | `linux=system` | the machine as a whole, and the process that runs the script |
--- | `linux=proc` | `proc_stat` and `proc_status` of any process |
---
--- Names and units are those of proc(5) unless it says otherwise here. What the running kernel does not have is nil. A number
--- that does not fit a signed integer is the largest one. On other systems every function raises `unsupported`.
---
--- ## linux.kernel() -> {version, os_release, hostname, build, btime, ticks_per_sec, page_size}
--- `version` is the number at the start of the release `os_release`, `build` the kernel's own version line, `btime` the start
--- of the machine in seconds since 1970. Times of processes and cores are counted in ticks, of which `ticks_per_sec` are a
--- second; `page_size` is in bytes. What is denied to `os` is denied here too: with `--deny os=hostname` there is no
--- `hostname`, with `--deny os=info` this function and `linux.uptime` raise `denied`.
---
--- ## linux.uptime() -> {uptime_secs, idle_secs}
--- Seconds since the start, and seconds that cores were idle, all cores added up.
---
--- ## linux.loadavg() -> {one, five, fifteen, running, total, last_pid}
--- The load of the last one, five and fifteen minutes, threads that can run and threads in all, and the newest process id.
---
--- ## linux.cpu_stat() -> {user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice}
--- Ticks that all cores together spent since the start.
---
--- ## linux.cpu_stat_per_core() -> {{cpu, user, ...}, ...}
--- The same for each core that is switched on; `cpu` is its number.
---
--- ## linux.cpu_percent(prev, curr) -> {total_pct, user_pct, system_pct, iowait_pct, steal_pct, idle_pct}
--- How busy the cores were between two results of `linux.cpu_stat`, or two rows of one core. `total_pct` is all but `idle` and
--- `iowait`; all are 0 where no time passed. It needs no grant.
---
--- ## linux.meminfo() -> {mem_total, mem_free, mem_available, buffers, cached, swap_total, ...}
--- All of `/proc/meminfo`, in bytes; numbers of huge pages are counts. Names are the kernel's in lower case with underscores:
--- `Active(anon)` is `active_anon`.
---
--- ## linux.netdev() -> {{name, rx_bytes, tx_bytes, ...}, ...}
--- A row for each network interface: `name`, and with `rx_` and `tx_` before them `bytes`, `packets`, `errors`, `dropped`, `fifo`,
--- `compressed`; `rx_frame`, `rx_multicast`, `tx_collisions`, `tx_carrier`.
---
--- ## linux.diskstats() -> {{name, major, minor, reads, writes, bytes_read, bytes_written, ...}, ...}
--- A row for each block device and partition: `reads`, `reads_merged`, `sectors_read`, `time_reading`, the same for writes,
--- `in_progress`, `time_in_progress`, `weighted_time_in_progress`, and on newer kernels `discards`, `discards_merged`,
--- `sectors_discarded`, `time_discarding`, `flushes`, `time_flushing`. Sectors have 512 bytes, times are milliseconds.
---
--- ## linux.proc_stat(pid?) -> {pid, comm, state, ppid, utime, stime, num_threads, starttime, vsize, rss, rss_bytes, ...}
--- `/proc/PID/stat`; without a pid that of the process that runs the script. `state` is one letter, `rss` is in pages, `rsslim`
--- nil where there is no limit. Addresses of the process's memory are left out. Raises `not_found` where there is no such
--- process.
---
--- ## linux.proc_status(pid?) -> {name, state, state_text, pid, ppid, uid, gid, groups, threads, vm_rss, ...}
--- `/proc/PID/status`. Names are the kernel's in lower case with underscores. Sizes are in bytes, masks are texts. `uid` and
--- `gid` are lists: real, effective, saved, file system; `groups` and what begins with `ns_` are lists too.

--# example: how busy is the machine?
--# allow: linux=system
local before = linux.cpu_stat()
sleep(0.05)
local cpu = linux.cpu_percent(before, linux.cpu_stat())
local mem = linux.meminfo()
log.info(("cpu %.0f %%, memory %.0f %% free, load %.2f"):format(
  cpu.total_pct, 100 * mem.mem_available / mem.mem_total, linux.loadavg().one))
assert.eq(cpu.total_pct >= 0 and cpu.total_pct <= 100, true)
assert.eq(mem.mem_available <= mem.mem_total, true)

--# example: how much memory does a process take?
--# allow: linux
local own = linux.proc_status()
assert.gt(own.vm_rss, 0)
assert.eq(linux.proc_status(own.pid).pid, own.pid)

--# case: the kernel
--# allow: linux=system
local kernel = linux.kernel()
assert.matches(kernel.version, [[^\d+\.\d+]])
assert.eq(kernel.os_release:sub(1, #kernel.version), kernel.version)
assert.eq(type(kernel.hostname), "string")
assert.gt(#kernel.build, 0)
assert.gt(kernel.ticks_per_sec, 0)
assert.gt(kernel.page_size, 0)
local uptime = linux.uptime()
assert.gt(uptime.uptime_secs, 0)
assert.eq(math.type(uptime.uptime_secs), "float")
-- btime moves with the clock; the two are within a minute of each other.
assert.eq(math.abs(kernel.btime + uptime.uptime_secs - time()) < 60, true)

--# case: load and cores
--# allow: linux=system
local load = linux.loadavg()
for _, name in ipairs({ "one", "five", "fifteen" }) do
  assert.eq(math.type(load[name]), "float", name)
end
for _, name in ipairs({ "running", "total", "last_pid" }) do
  assert.gt(load[name], 0, name)
end
local cores = linux.cpu_stat_per_core()
assert.gt(#cores, 0)
local all = linux.cpu_stat()
for n, core in ipairs(cores) do
  assert.eq(math.type(core.cpu), "integer", n)
  assert.eq(core.user <= all.user, true, n)
end

--# case: percentages
local function row(user, nice, system, idle, iowait, steal)
  return { user = user, nice = nice, system = system, idle = idle, iowait = iowait, irq = 0, softirq = 0, steal = steal }
end
local percent = linux.cpu_percent(row(10, 0, 10, 100, 10, 0), row(30, 10, 20, 140, 20, 10))
assert.eq(percent.total_pct, 50.0)
assert.eq(percent.user_pct, 30.0)
assert.eq(percent.system_pct, 10.0)
assert.eq(percent.iowait_pct, 10.0)
assert.eq(percent.steal_pct, 10.0)
assert.eq(percent.idle_pct, 50.0)
-- No time passed; iowait went back; rows of an old kernel.
assert.eq(linux.cpu_percent(row(1, 1, 1, 1, 1, 1), row(1, 1, 1, 1, 1, 1)).total_pct, 0.0)
assert.eq(linux.cpu_percent(row(1, 0, 0, 0, 9, 0), row(2, 0, 0, 0, 5, 0)).total_pct, 100.0)
assert.eq(linux.cpu_percent({ user = 0, idle = 0 }, { user = 1, idle = 3 }).total_pct, 25.0)
assert.eq(linux.cpu_percent({}, {}).idle_pct, 0.0)
for n, call in ipairs({ { 1, {} }, { {}, "x" } }) do
  local ok, err = pcall(linux.cpu_percent, table.unpack(call))
  assert.eq(ok, false)
  assert.contains(err, "bad argument #" .. n .. " to 'cpu_percent'")
end

--# case: memory, interfaces and disks
--# allow: linux=system
local mem = linux.meminfo()
for _, name in ipairs({ "mem_total", "mem_free", "mem_available", "buffers", "cached", "swap_total", "active_anon" }) do
  assert.eq(math.type(mem[name]), "integer", name)
end
assert.eq(mem.mem_total % 1024, 0)
local loopback
for _, interface in ipairs(linux.netdev()) do
  assert.eq(math.type(interface.rx_bytes), "integer", interface.name)
  assert.eq(math.type(interface.tx_compressed), "integer", interface.name)
  if interface.name == "lo" then
    loopback = interface
  end
end
assert.not_nil(loopback)
for _, disk in ipairs(linux.diskstats()) do
  assert.eq(type(disk.name), "string")
  assert.eq(disk.bytes_read, disk.sectors_read * 512, disk.name)
  assert.eq(math.type(disk.major), "integer", disk.name)
end

--# case: processes
--# allow: linux
local own = linux.proc_stat()
assert.eq(own.comm, "assay")
assert.contains("RSD", own.state)
assert.gt(own.ppid, 0)
assert.gt(own.num_threads, 0)
assert.gt(own.starttime, 0)
assert.eq(own.rss_bytes, own.rss * linux.kernel().page_size)
-- Addresses would help an attacker of the process.
for _, name in ipairs({ "startcode", "start_code", "startstack", "kstkesp", "kstkeip", "arg_start", "env_start" }) do
  assert.eq(own[name], nil, name)
end
assert.eq(linux.proc_stat(own.ppid).pid, own.ppid)
assert.eq(linux.proc_stat(1).pid, 1)
local status = linux.proc_status(own.pid)
assert.eq(status.name, "assay")
assert.eq(status.ppid, own.ppid)
assert.eq(#status.uid, 4)
assert.eq(#status.gid, 4)
assert.eq(type(status.groups), "table")
assert.eq(type(status.cap_eff), "string")
assert.eq(type(status.state_text), "string")
assert.eq(math.type(status.voluntary_ctxt_switches), "integer")

--# case: no such process
--# allow: linux
for _, call in ipairs({ linux.proc_stat, linux.proc_status }) do
  local ok, err = pcall(call, 2147483647)
  assert.eq(ok, false)
  assert.eq(err.code, "not_found")
  assert.contains(err.message, "process 2147483647")
  for _, pid in ipairs({ 0, -1, 2147483648, math.maxinteger, math.mininteger }) do
    assert.contains(select(2, pcall(call, pid)), "not a process id")
  end
  assert.contains(select(2, pcall(call, "self")), "number expected")
  assert.contains(select(2, pcall(call, 1.5)), "no integer representation")
end

--# case: they wait, so several run at once and from any function
--# allow: linux
local results = async.all({ linux.meminfo, linux.uptime, linux.netdev, linux.kernel })
assert.gt(results[1].mem_total, 0)
assert.gt(results[2].uptime_secs, 0)
assert.eq(coroutine.wrap(linux.proc_stat)().comm, "assay")
local pids = { linux.proc_stat().pid, 1 }
table.sort(pids, function(a, b) return linux.proc_stat(a).starttime < linux.proc_stat(b).starttime end)
assert.eq(pids[1], 1)

--# case: the machine does not include other processes
--# allow: linux=system
local own = linux.proc_stat()
assert.eq(linux.proc_status(own.pid).pid, own.pid)
local ok, err = pcall(linux.proc_status, own.ppid)
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow linux=proc")

--# case: processes do not include the machine
--# allow: linux=proc
assert.eq(linux.proc_stat(1).pid, 1)
assert.eq(linux.proc_stat().comm, "assay")
for _, name in ipairs({
  "kernel", "uptime", "loadavg", "cpu_stat", "cpu_stat_per_core", "meminfo", "netdev", "diskstats",
}) do
  local ok, err = pcall(linux[name])
  assert.eq(ok, false, name)
  assert.eq(err.code, "denied", name)
  assert.contains(err.message, "--allow linux=system")
end

--# case: a deny rule wins
--# allow: linux
--# deny: linux=proc
assert.gt(linux.meminfo().mem_total, 0)
assert.eq(select(2, pcall(linux.proc_stat, 1)).code, "denied")

--# case: denied without a grant
for name, scope in pairs({ meminfo = "system", proc_stat = "system" }) do
  local ok, err = pcall(linux[name])
  assert.eq(ok, false)
  assert.eq(err.code, "denied")
  assert.contains(err.message, "--allow linux=" .. scope)
end
assert.contains(select(2, pcall(linux.proc_stat, 1)).message, "--allow linux=proc")

--# case: the limit on bytes
--# allow: linux
--# flags: --max-host-bytes 100
assert.gt(linux.uptime().uptime_secs, 0)
local ok, err = pcall(linux.meminfo)
assert.eq(ok, false)
assert.eq(err.code, "limit")
