--# case: the journal of a unit
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# env: PATH=${SYSTEMD_BIN}:/usr/bin:/bin
--# allow: systemd=journal:say@*,systemd=say@*:start
systemd.start("say@5", { wait = true })
local function lines(opts)
  opts.unit, opts.identifier = "say@5", "seq"
  local list = {}
  for i, entry in ipairs(systemd.journal(opts)) do
    list[i] = entry.MESSAGE
  end
  return table.concat(list, ",")
end
-- The lines may come after the end of the job.
systemd.journal_follow({ unit = "say@5", identifier = "seq", lines = 10 }, function(entry)
  return entry.MESSAGE == "line 5" and "close" or nil
end):wait()
assert.eq(lines({}), "line 1,line 2,line 3,line 4,line 5")
assert.eq(lines({ lines = 2 }), "line 4,line 5")
assert.eq(lines({ lines = 0 }), "")
assert.eq(lines({ since = time() + 1000 }), "")
assert.eq(lines({ since = "1970-01-02T00:00:00Z", boot = true }), "line 1,line 2,line 3,line 4,line 5")
assert.eq(lines({ ["until"] = 1 }), "")
assert.eq(lines({ ["until"] = 1.5 }), "")
assert.eq(lines({ since = "-1h", priority = "info" }), "line 1,line 2,line 3,line 4,line 5")
assert.eq(lines({ priority = 3 }), "")
assert.eq(lines({ priority = "emerg..debug", lines = 1 }), "line 5")
local entry = systemd.journal({ unit = "say@5", identifier = "seq", lines = 4 })[1]
assert.eq(entry._SYSTEMD_UNIT, "say@5.service")
assert.eq(entry.PRIORITY, "6")
assert.eq(entry.priority, 6)
assert.eq(math.type(entry.realtime), "integer")
assert.lt(math.abs(entry.realtime / 1e6 - time()), 60)
assert.eq(math.type(entry.monotonic), "integer")
assert.eq(lines({ after = entry.__CURSOR }), "line 3,line 4,line 5")

--# case: the whole journal, of a directory with journal files
--# needs: systemd
--# allow: systemd=journal,fs=read:${SYSTEMD_JOURNAL}
local entries = systemd.journal({ directory = "${SYSTEMD_JOURNAL}" })
assert.gt(#entries, 5)
for i = 2, #entries do
  assert.lt(entries[i - 1].realtime, entries[i].realtime + 1)
end

--# case: bytes that are no text, and fields that are too long
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# allow: systemd=journal,systemd=*:start,fs=read:${SYSTEMD_JOURNAL}
systemd.start("bytes", { wait = true })
systemd.start("long", { wait = true })
local found, entries = {}, nil
while not found.after do
  entries = systemd.journal({ directory = "${SYSTEMD_JOURNAL}" })
  for _, entry in ipairs(entries) do
    found.bytes = found.bytes or entry.MESSAGE == "a\1\255b"
    found.long = found.long or entry.OMITTED_BYTES
    found.after = found.after or entry.MESSAGE == "after"
  end
end
assert.eq(found.bytes, true)
assert.gt(found.long, 3000000)

--# case: a directory that has no journal
--# allow: systemd=journal,fs=read:${TMP}
local ok, entries = pcall(systemd.journal, { directory = "${TMP}" })
assert.eq(ok and #entries or entries.code, 0)
assert.eq(select(2, pcall(systemd.journal, { directory = "${TMP}/none" })).code, "not_found")

--# case: options of the journal are checked
--# allow: systemd
for _, opts in ipairs({
  { unit = "*" }, { unit = "a b" }, { machine = ".host" }, { since = "$(x)" }, { ["until"] = "a\nb" },
  { priority = "loud" }, { priority = 8 }, { lines = 100001 }, { after = "x y" }, { identifier = '"' },
  { machine = "web", directory = "/" },
}) do
  local ok, err = pcall(systemd.journal, opts)
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument", json.encode(opts) .. " " .. tostring(err))
end
assert.contains(select(2, pcall(systemd.journal_follow, { ["until"] = "now" }, print)), "unknown option 'until'")

--# case: what journalctl itself does not take
--# needs: systemd
--# env: PATH=${SYSTEMD_BIN}:/usr/bin:/bin
--# allow: systemd=journal
local ok, err = pcall(systemd.journal, { since = "the day after" })
assert.eq(ok, false)
assert.eq(err.code, "invalid_argument")
assert.contains(err.message, "Failed to parse timestamp")

--# case: no journalctl
--# env: PATH=${TMP}
--# allow: systemd=journal
local ok, err = pcall(systemd.journal)
assert.eq(err.code, "not_found")
assert.contains(err.message, "journalctl")

--# case: the journal is followed
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# env: PATH=${SYSTEMD_BIN}:/usr/bin:/bin
--# allow: systemd=journal:tick,systemd=tick:start
local seen = {}
local handle = systemd.journal_follow({ unit = "tick", identifier = "echo", lines = 100 }, function(entry)
  sleep(0.001)
  seen[#seen + 1] = entry.MESSAGE
  if #seen == 3 then
    return "close"
  end
end)
for _ = 1, 3 do
  systemd.start("tick", { wait = true })
end
handle:wait()
assert.eq(table.concat(seen, " "), "tick tick tick")
handle:wait()
handle:close()

--# case: close stops at once
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# env: PATH=${SYSTEMD_BIN}:/usr/bin:/bin
--# allow: systemd=journal,systemd=tick:start
local first, calls = async.spawn(sleep, 60), 0
local handle = systemd.journal_follow({ lines = 1 }, function()
  calls = calls + 1
  first:cancel()
end)
assert.eq(pcall(first.await, first), false)
local started = time()
handle:close()
handle:wait()
assert.lt(time() - started, 0.5)
-- What another one is told, it is not.
local before = calls
local other = systemd.journal_follow({ unit = "tick", identifier = "echo", lines = 1 }, function()
  return "close"
end)
systemd.start("tick", { wait = true })
other:wait()
assert.eq(calls, before)
handle:close()

--# case: a follow ends with its variable, and with the script
--# needs: systemd
--# env: PATH=${SYSTEMD_BIN}:/usr/bin:/bin
--# allow: systemd=journal
--# flags: --max-handles 1 --max-children 1
do
  local handle <close> = systemd.journal_follow({}, print)
  local ok, err = pcall(systemd.journal)
  assert.eq(err.code, "limit")
end
-- Its program is gone a moment later.
local ok, entries
for _ = 1, 6000 do
  ok, entries = pcall(systemd.journal, { lines = 1 })
  if ok then
    break
  end
  assert.eq(entries.code, "limit")
  sleep(0.01)
end
assert.eq(#entries, 1)
systemd.journal_follow({}, print)

--# case: an error of the function ends the follow
--# needs: systemd
--# env: PATH=${SYSTEMD_BIN}:/usr/bin:/bin
--# allow: systemd=journal
local handle = systemd.journal_follow({ lines = 1 }, function()
  error("enough", 0)
end)
local ok, err = pcall(handle.wait, handle)
assert.eq(ok, false)
assert.eq(err, "enough")

--# case: the journal is read in constant memory of the host, and bytes are counted
--# needs: systemd
--# env: DBUS_SYSTEM_BUS_ADDRESS=${SYSTEMD_BUS}
--# env: PATH=${SYSTEMD_BIN}:/usr/bin:/bin
--# allow: systemd=journal,systemd=say@*:start
--# flags: --max-host-bytes 1MiB
systemd.start("say@5000", { wait = true })
local handle = systemd.journal_follow({ unit = "say@5000", lines = 5000 }, function() end)
local ok, err = pcall(handle.wait, handle)
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "--max-host-bytes")

--# case: a denial of a unit's journal is one of the whole journal
--# allow: systemd
--# deny: systemd=journal:secret
local ok, err = pcall(systemd.journal)
assert.eq(err.code, "denied")
assert.contains(err.message, "--deny systemd=journal:secret")
assert.eq(select(2, pcall(systemd.journal, { unit = "secret" })).code, "denied")

--# case: a directory with journal files needs its own grant
--# allow: systemd=journal
local ok, err = pcall(systemd.journal, { directory = "/etc" })
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=read:/etc")
