--- # os
--- The standard library `os` of Lua, and facts about the machine. `arch`, `platform`, `clock`, `date`,
--- `difftime`, `time`, `setlocale`, `on_signal` and `exit` are always granted. `hostname` and `info` need `os=hostname` and `os=info`, or
--- `os` for both; `getenv` is `env.get`; `remove`, `rename` go through the grants of `fs`.
---
--- ## os.info() -> {name, version, kernel, arch, hostname, uptime}
--- System and version (of the distribution where it says them, else of the kernel), the machine's name, and the seconds
--- since it started.
---
--- ## os.hostname() -> string
--- The machine's name.
---
--- ## os.arch() -> string
--- `x86_64`, `aarch64`, ...
---
--- ## os.platform() -> string
--- `linux`, `macos`, ...
---
--- ## os.time(date?) -> integer
--- Seconds since 1970. With a table, the moment of that local date; its fields may be out of range and are
--- set to what they come to.
---
--- ## os.date(format?, time?) -> string or table
--- A moment as text (`strftime` of C99), or with `*t` as a table; in UTC if the format begins with `!`.
---
--- ## os.difftime(later, earlier) -> number
--- Seconds between two moments.
---
--- ## os.clock() -> number
--- CPU seconds that the run has used.
---
--- ## os.getenv(name) -> string or nil
--- As `env.get`.
---
--- ## os.exit(code?, close?)
--- Ends the run with a code (`true` is 0, `false` 1, 0 by default). Open files are written out; if `close` is true,
--- pending `<close>` variables and finalizers run first.
---
--- ## os.on_signal(name, fn)
--- Calls `fn(name)` in a task of its own whenever the run gets this signal: `TERM`, `INT`, `HUP`, `USR1` or `USR2`, with or
--- without `SIG`. The script goes on; the handler may end it by `os.exit`. With nil in place of the function the signal has its
--- usual effect again. A handler does not keep the run alive, but one that has begun is waited for at the end. A signal that comes again while
--- its handler runs is handled after it; one that comes a second later or more ends the process. `http.serve` stops at TERM and INT anyway. Where
--- a script has several instances, one of them gets the signal. Always granted: a run can also be ended by SIGKILL.
---
--- Without a handler TERM and INT end the run: all tasks end where they are, `<close>` variables are closed, finalizers run, for 1 s at
--- most. The exit code is then 128 and the number of the signal.
---
--- ## os.remove(path) -> true, or nil, message, errno
--- Removes a file or an empty directory. Needs `fs=write:PATH`.
---
--- ## os.rename(from, to) -> true, or nil, message, errno
--- Renames a file or directory. Needs the grant of both places.
---
--- ## os.tmpname() -> string
--- The name of a new empty file in the run's own temporary directory.
---
--- ## os.setlocale(locale?, category?) -> string or nil
--- There is one locale, `C`; others give nil.
---
--- ## os.execute(command?) -> true or nil, "exit" or "signal", integer
--- Runs a command line and waits for its end. What it writes goes to the script's own output; its input is empty.
--- Gives true where it ended with 0, how it ended, and its code or the signal. Needs `shell`. Without a command:
--- whether it could run one.

--# example: dates
assert.eq(os.date("!%Y-%m-%dT%H:%M:%SZ", 0), "1970-01-01T00:00:00Z")
assert.eq(os.date("!*t", 86400).day, 2)
assert.lt(os.time() - os.time(os.date("*t")), 2)

--# example: what this runs on
assert.matches(os.platform(), "^(linux|macos)$")
assert.matches(os.arch(), "^[a-z0-9_]+$")

--# case: host and system under their grants
--# allow: os
local info = os.info()
for _, name in ipairs({ "name", "version", "kernel", "arch", "hostname" }) do
  assert.eq(type(info[name]), "string", name)
end
assert.gt(info.uptime, 0)
assert.eq(info.hostname, os.hostname())
assert.eq(info.arch, os.arch())

--# case: one of them
--# allow: os=hostname
assert.gt(#os.hostname(), 0)
local ok, err = pcall(os.info)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow os=info")

--# case: denied without a grant
for _, name in ipairs({ "hostname", "info" }) do
  local ok, err = pcall(os[name])
  assert.eq(ok, false)
  assert.eq(err.code, "denied")
  assert.contains(err.message, "--allow os=" .. name)
end

--# case: every conversion
local t = 1709210096 -- Thursday, 29 February 2024, 12:34:56 UTC
for format, expected in pairs({
  a = "Thu", A = "Thursday", b = "Feb", B = "February", c = "Thu Feb 29 12:34:56 2024", C = "20", d = "29", D = "02/29/24",
  e = "29", F = "2024-02-29", g = "24", G = "2024", h = "Feb", H = "12", I = "12", j = "060", m = "02", M = "34", n = "\n",
  p = "PM", r = "12:34:56 PM", R = "12:34", S = "56", t = "\t", T = "12:34:56", u = "4", U = "08", V = "09", w = "4", W = "09",
  x = "02/29/24", X = "12:34:56", y = "24", Y = "2024", z = "+0000", Z = "GMT", ["%"] = "%", Ey = "24", Od = "29", EY = "2024",
}) do
  assert.eq(os.date("!%" .. format, t), expected, format)
end
assert.eq(os.date("!%G-W%V-%u", 1104537600), "2004-W53-6") -- 2005-01-01
assert.eq(os.date("!%G-W%V-%u", 1230768000 - 86400), "2009-W01-3") -- 2008-12-31
assert.eq(os.date("!%I %p", 0), "12 AM")
assert.eq(os.date("!%e", 0), " 1")
assert.eq(os.date("!%c"), os.date("!"  .. "%c"))

--# case: conversions that do not exist
for _, format in ipairs({ "%", "%9", "%E", "%O", "%Ea", "%Ez", "%+", "%s x" }) do
  local ok, err = pcall(os.date, format)
  assert.eq(ok, false, format)
  assert.contains(err, "invalid conversion specifier '" .. format .. "'")
end
assert.eq(os.date(""), "")
assert.eq(os.date("!"), "")
assert.eq(os.date("\0\0"), "\0\0")
assert.eq(os.date(("a"):rep(10000)), ("a"):rep(10000))
assert.eq(os.date(("%"):rep(200)), ("%"):rep(100))
assert.eq(os.date(("%d"):rep(1000), t), os.date("%d", t):rep(1000))

--# case: tables and moments
local t1 = { year = 2005, month = 1, day = 1, hour = 1, min = 0, sec = -3602 }
os.time(t1)
assert.eq(os.date("%Y-%m-%d %H:%M:%S", os.time(t1)), "2004-12-31 23:59:58")
assert.eq(t1.day, 31)
assert.eq(t1.month, 12)
assert.eq(t1.year, 2004)
assert.eq(t1.yday, 366)
assert.eq(t1.wday, 6)
local a = os.time({ year = 2000, month = 10, day = 1, hour = 23, min = 12 })
local b = os.time({ year = 2000, month = 10, day = 1, hour = 23, min = 10, sec = 19 })
assert.eq(os.difftime(a, b), 101.0)
assert.eq(os.time({ year = 2000, month = 1, day = 1 }), os.time({ year = 2000, month = 1, day = 1, hour = 12 }))
assert.eq(os.time({ year = "2000", month = "1", day = "1" }), os.time({ year = 2000, month = 1, day = 1 }))
for _, moment in ipairs({ 0, 951782400, 1711846800, 1729990800, 4102444800, -86400 * 365 * 100 }) do
  local d = os.date("*t", moment)
  assert.eq(os.time(d), moment)
  d.isdst = nil
  assert.lt(math.abs(os.time(d) - moment), 3601)
end
local top = os.time({ year = (1 << 31) + 1899, month = 12, day = 31, hour = 23, min = 59, sec = 59 })
assert.eq(math.type(top), "integer")

--# case: a zone with daylight saving time
--# env: TZ=Europe/Berlin
if os.date("%z", 1709210096) == "+0100" then -- where the zone is known
  assert.eq(os.time({ year = 2024, month = 7, day = 1, hour = 12 }), 1719828000)
  assert.eq(os.time({ year = 2024, month = 1, day = 1, hour = 12 }), 1704106800)
  assert.eq(os.date("%H:%M %z %Z", 1719828000), "12:00 +0200 CEST")
  assert.eq(os.date("*t", 1719828000).isdst, true)
  -- Summer time asked for in winter is an hour earlier.
  assert.eq(os.time({ year = 2024, month = 1, day = 1, hour = 12, isdst = true }), 1704103200)
  -- The hour that is there twice, and the one that is not.
  assert.eq(os.time({ year = 2024, month = 10, day = 27, hour = 2, min = 30, isdst = true }), 1729989000)
  assert.eq(os.time({ year = 2024, month = 10, day = 27, hour = 2, min = 30, isdst = false }), 1729992600)
  local gap = { year = 2024, month = 3, day = 31, hour = 2, min = 30 }
  assert.eq(os.time(gap), 1711848600)
  assert.eq(gap.hour, 3)
end

--# case: dates that are none
for message, date in pairs({
  ["field 'day' missing in date table"] = { year = 2000, month = 1 },
  ["field 'year' missing in date table"] = {},
  ["field 'hour' is not an integer"] = { year = 1000, month = 1, day = 1, hour = "x" },
  ["field 'min' is not an integer"] = { year = 1000, month = 1, day = 1, min = 1.5 },
  ["field 'month' is out-of-bound"] = { year = 0, month = (1 << 31) + 1, day = 1 },
  ["field 'year' is out-of-bound"] = { year = -(1 << 31) + 1899, month = 1, day = 1 },
  ["time result cannot be represented in this installation"] =
    { year = (1 << 31) + 1899, month = 12, day = 31, hour = 23, min = 59, sec = 60 },
}) do
  local ok, err = pcall(os.time, date)
  assert.eq(ok, false, message)
  assert.contains(err, message)
end
assert.contains(select(2, pcall(os.date, "%Y", 1 << 60)), "date result cannot be represented in this installation")
assert.contains(select(2, pcall(os.date, "%Y", "x")), "bad argument #2 to 'os.date'")
assert.contains(select(2, pcall(os.date, "%Y", 1.5)), "number has no integer representation")
assert.contains(select(2, pcall(os.time, 1)), "table expected")
assert.contains(select(2, pcall(os.difftime, 1)), "bad argument #2 to 'os.difftime'")

--# case: the clock runs
local before = os.clock()
local n = 0
for i = 1, 3000000 do n = n + i end
assert.gt(os.clock(), before)

--# case: locales and shells
for _, name in ipairs({ "", "C", "POSIX" }) do assert.eq(os.setlocale(name), "C") end
assert.eq(os.setlocale(), "C")
assert.eq(os.setlocale(nil, "numeric"), "C")
assert.eq(os.setlocale("de_DE.UTF-8"), nil)
assert.contains(select(2, pcall(os.setlocale, "C", "x")), "invalid option 'x'")
assert.eq(os.execute(), false)
local ok, err = pcall(os.execute, "true")
assert.eq(ok, false)
assert.contains(err.message, "--allow shell")

--# case: commands
--# allow: shell
--# stdout: one two three
--# stderr: wrong
assert.eq(os.execute(), true)
local function ends(command)
  local result, how, code = os.execute(command)
  return tostring(result) .. " " .. how .. " " .. code
end
io.write("one ")
assert.eq(ends("printf 'two '; echo wrong >&2"), "true exit 0")
io.write("three")
assert.eq(ends("exit 3"), "nil exit 3")
assert.eq(ends("kill -15 $$"), "nil signal 15")
assert.eq(ends("read x"), "nil exit 1")
assert.contains(select(2, pcall(os.execute, {})), "string expected")

--# case: files
--# allow: fs=rw:${TMP}
fs.write("a", "x")
assert.eq(os.rename("a", "b"), true)
assert.eq(os.remove("b"), true)
local result, message, errno = os.remove("b")
assert.eq(result, nil)
assert.eq(errno, 2)
assert.eq(type(message), "string")
local name = os.tmpname()
assert.eq(fs.read(name), "")
assert.ne(os.tmpname(), name)

--# case: files are denied without a grant
for _, call in ipairs({ { os.remove, "/etc/passwd" }, { os.rename, "/etc/passwd", "x" } }) do
  local ok, err = pcall(table.unpack(call))
  assert.eq(ok, false)
  assert.eq(err.code, "denied")
end

--# case: exit with a number
--# exit: 7
--# stdout: before
print("before")
pcall(os.exit, 7)
print("never")

--# case: exit with false
--# exit: 1
coroutine.wrap(function() os.exit(false) end)()

--# case: exit with true
os.exit(true)

--# case: exit writes out open files and closes variables
--# allow: fs=rw:${TMP}
--# exit: 3
--# stdout: closed\nfinalized
local file = io.open("out.txt", "w")
file:write("kept")
setmetatable({}, { __gc = function() print("finalized") end })
local guard <close> = setmetatable({}, { __close = function() print("closed") end })
os.exit(3, true)

--# case: a denied name does not come with the rest
--# allow: os
--# deny: os=hostname
local ok, err = pcall(os.info)
assert.eq(ok, false)
assert.contains(err.message, "denied by --deny os=hostname")
