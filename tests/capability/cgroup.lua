--- # cgroup
--- What control groups use and may use, read from the files of cgroup version 2. It needs the grant `cgroup`, or that of a
--- group: `cgroup=system.slice` covers the group and all below it, `cgroup=system.slice/nginx*` is a pattern in which a star
--- stands for any characters.
---
--- A path is that of a group below `/sys/fs/cgroup`, absolute or relative to it: `system.slice/nginx.service`. The root is `/`. A
--- path that leads elsewhere is refused with `invalid_argument`, and links are not followed. Groups of version 1 are
--- `unsupported`; on a machine with both, those of version 2 are below `unified`. A group that does not exist, and a number
--- of a controller that is not enabled for the group, is `not_found`; the message lists what is enabled.
---
--- ## cgroup.version() -> string
--- `"v2"`, `"v1"`, or `"hybrid"` where version 2 is beside version 1. Raises `unsupported` where there are no cgroups. Any grant of
--- `cgroup` covers it.
---
--- ## cgroup.list(path) -> {string, ...}
--- The absolute paths of the groups directly below a group, sorted.
---
--- ## cgroup.cpu_stat(path) -> {usage_usec, user_usec, system_usec, ...}
--- The content of `cpu.stat`: microseconds, and with the cpu controller `nr_periods`, `nr_throttled`, `throttled_usec`.
---
--- ## cgroup.memory(path) -> {current, max, swap_current, swap_max, peak, low, high, oom, oom_kill}
--- Bytes, and how often the group ran out of memory (`oom`) and lost a process for it (`oom_kill`). A limit that is not set
--- is nil.
---
--- ## cgroup.io(path) -> {{device, rbytes, wbytes, rios, wios, dbytes, dios}, ...}
--- Bytes and operations (read, written, discarded) for each device, `MAJOR:MINOR`.
---
--- ## cgroup.pids(path) -> {current, max}
--- Processes and threads of the group and all below it; `max` is nil where there is no limit.
---
--- ## cgroup.procs(path) -> {integer, ...}
--- The ids of the group's processes, without those of the groups below it. 0 stands for one that is not visible here.

--# example: which version is there?
--# allow: cgroup
local ok, version = pcall(cgroup.version)
if ok then
  assert.matches(version, "^(v1|v2|hybrid)$")
else
  assert.eq(version.code, "unsupported")
end

--# example: the groups that use most memory
--# allow: cgroup=system.slice
local function by_memory(slice)
  local usage = {}
  for _, path in ipairs(cgroup.list(slice)) do
    usage[#usage + 1] = { path = path, bytes = cgroup.memory(path).current or 0 }
  end
  table.sort(usage, function(a, b) return a.bytes > b.bytes end)
  return usage
end
local ok, usage = pcall(by_memory, "system.slice")
if not ok then
  log.warn("no groups of services here: " .. usage.message)
end

--# case: paths outside are refused
--# allow: cgroup
for _, path in ipairs({
  "/etc", "..", "../../../etc", "/sys/fs/cgroup/../../../etc", "a/../../../..", "/sys/fs/cgroup2", "/proc/self/root", "", "a\0b",
  "/sys/fs/cgroup/..", "system.slice/../../cgroup.x", "*", "system.slice/*",
}) do
  for _, name in ipairs({ "list", "cpu_stat", "memory", "io", "pids", "procs" }) do
    local ok, err = pcall(cgroup[name], path)
    assert.eq(ok, false, path)
    assert.eq(err.code, "invalid_argument", path)
  end
end

--# case: there is no such group
--# allow: cgroup
local ok, err = pcall(cgroup.cpu_stat, "no.slice/such.service")
assert.eq(ok, false)
assert.eq(err.code, "not_found")
assert.contains(err.message, "/sys/fs/cgroup/no.slice/such.service")

--# case: wrong arguments
--# allow: cgroup
for _, name in ipairs({ "list", "cpu_stat", "memory", "io", "pids", "procs" }) do
  assert.contains(select(2, pcall(cgroup[name])), "bad argument #1")
  assert.contains(select(2, pcall(cgroup[name], {})), "bad argument #1")
  assert.contains(select(2, pcall(cgroup[name], "\xff")), "UTF-8")
end

--# case: scopes
--# allow: cgroup=machine.slice,cgroup=system.slice/nginx*
--# deny: cgroup=machine.slice/secret*
for path, granted in pairs({
  ["machine.slice"] = true,
  ["/sys/fs/cgroup/machine.slice/a/b"] = true,
  ["machine.slice/../machine.slice/x"] = true,
  ["machine.slice/secret.scope"] = false,
  ["machine.slice/secret.scope/x"] = false,
  ["machine.slice2"] = false,
  ["machine.slice/../system.slice"] = false,
  ["system.slice/nginx.service"] = true,
  ["system.slice/apache.service"] = false,
  ["/"] = false,
  ["/sys/fs/cgroup"] = false,
}) do
  local ok, err = pcall(cgroup.procs, path)
  assert.eq(ok == false and err.code == "denied", not granted, path)
end
local ok, err = pcall(cgroup.memory, "/sys/fs/cgroup/user.slice/")
assert.contains(err.message, "--allow cgroup=user.slice")

--# case: they wait, so from any function
--# allow: cgroup
local function code(path) return select(2, pcall(cgroup.pids, path)).code end
assert.eq(coroutine.wrap(code)("none.slice"), "not_found")
local list = { "none.slice", "nowhere.slice" }
table.sort(list, function(a, b) return code(a) < code(b) end)
local codes = async.all({ function() return code("none.slice") end, function() return code("/etc") end })
assert.eq(table.concat(codes, " "), "not_found invalid_argument")

--# case: denied without a grant
local ok, err = pcall(cgroup.memory, "/sys/fs/cgroup/system.slice/nginx.service")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow cgroup=system.slice/nginx.service")
local ok, err = pcall(cgroup.version)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow cgroup")

--# case: the limit on bytes
--# allow: cgroup
--# flags: --max-host-bytes 1
local version = cgroup.version()
local ok, err = pcall(cgroup.procs, version == "hybrid" and "unified" or "/")
assert.eq(ok, false)
assert.eq(err.code, version == "v1" and "unsupported" or "limit")
