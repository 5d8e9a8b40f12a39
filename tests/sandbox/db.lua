--- # Attacks on databases
--- Each must end in a denial or an error, whatever the database would do by itself.

--# case: SQLite reaches one database
--# allow: db=sqlite:${TMP}/in,fs=read:${TMP}
--# file: in/x=
--# file: out/secret.txt=secret
local conn = db.connect("sqlite:in/a.db")
conn:execute("CREATE TABLE t (v)")
for _, sql in ipairs({
  "ATTACH '${TMP}/out/b.db' AS b",
  "ATTACH '${TMP}/in/b.db' AS b",
  "ATTACH 'file:${TMP}/out/b.db?mode=rwc' AS b",
  "ATTACH 'file::memory:?cache=shared' AS b",
  "ATTACH lower('${TMP}/OUT/B.DB') AS b",
  "VACUUM INTO '${TMP}/out/copy.db'",
  "VACUUM INTO '${TMP}/in/copy.db'",
  "SELECT load_extension('${TMP}/out/evil.so')",
  "SELECT fts3_tokenizer('simple', x'0000000000000000')",
  "PRAGMA writable_schema = ON",
  "PRAGMA temp_store_directory = '${TMP}/out'",
  "PRAGMA data_store_directory = '${TMP}/out'",
  "PRAGMA mmap_size = 1000000000",
  "PRAGMA cache_size = -100000000",
  "PRAGMA trusted_schema = ON",
  "PRAGMA hard_heap_limit = 1",
  "PRAGMA busy_timeout = 100000000",
}) do
  local ok, err = pcall(conn.execute, conn, sql)
  assert.eq(ok, false, sql)
  assert.eq(err.code == "denied" or err.code == "not_found" or err.code == "invalid_argument", true, sql .. ": " .. err.code)
end
for _, sql in ipairs({ "SELECT readfile('${TMP}/out/secret.txt')", "SELECT writefile('${TMP}/out/x', 'y')" }) do
  assert.eq(pcall(conn.query, conn, sql), false)
end
assert.eq(pcall(conn.script, conn, "ATTACH '${TMP}/out/b.db' AS b"), false)
assert.eq(pcall(conn.execute, conn, "ATTACH ? AS b", { "${TMP}/out/b.db" }), false)
assert.eq(#fs.list("out"), 1)
-- The schema cannot be written past its rules, even with a journal mode that allows it.
assert.eq(pcall(conn.execute, conn, "UPDATE sqlite_schema SET sql = 'x'"), false)
pcall(conn.query, conn, "PRAGMA journal_mode = OFF")
assert.eq(conn:query("PRAGMA journal_mode")[1].journal_mode, "delete")
-- VACUUM itself works.
conn:execute("VACUUM")

--# case: links out of the directory
--# allow: db=sqlite:${TMP}/in
--# file: in/x=
--# file: out/b.db=
--# link: in/link.db=../out/b.db
--# link: in/dangling.db=../out/new.db
--# link: in/directory=../out
for _, path in ipairs({ "in/link.db", "in/dangling.db", "in/directory/b.db", "in/../out/b.db", "out/b.db", "in/directory/../b.db" }) do
  local ok, err = pcall(db.connect, "sqlite:" .. path)
  assert.eq(ok, false, path)
  assert.eq(err.code, "denied", path)
end
for _, path in ipairs({ "/proc/self/environ", "/proc/self/fd/0", "in/%2e%2e/out/b.db" }) do
  assert.eq(select(2, pcall(db.connect, "sqlite:" .. path)).code, "denied", path)
end

--# case: a journal that names another file
--# allow: db=sqlite:${TMP}/in,fs=rw:${TMP}/in,fs=read:${TMP}/out
--# file: in/x=
--# file: out/victim=precious
--# link: in/a.db-journal=../out/victim
-- SQLite deletes the journal of a database, and what it says is the journal of several.
pcall(function()
  local conn <close> = db.connect("sqlite:in/a.db")
  conn:execute("CREATE TABLE t (v)")
end)
local conn = db.connect("sqlite:in/b.db")
conn:execute("CREATE TABLE t (v)")
conn:close()
local name = "${TMP}/out/victim"
local sum = 0
for n = 1, #name do
  sum = sum + name:byte(n)
end
-- A hot journal: its header, no pages, and the name of a super-journal (file format 3.1 and pager.c's layout).
local header = "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" .. string.pack(">I4I4I4I4I4", 0, 1, 2, 512, 4096)
header = header .. ("\0"):rep(512 - #header)
local tail = string.pack(">I4", 0x40000000 // 4096 + 1) .. name .. string.pack(">I4I4", #name, sum) .. "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
fs.write_bytes("in/b.db-journal", header .. tail)
pcall(function()
  local conn <close> = db.connect("sqlite:in/b.db")
  conn:query("SELECT * FROM t")
end)
assert.eq(fs.read("out/victim"), "precious")

--# case: a grant for reading only
--# allow: db=sqlite:${TMP}/in?ro,fs=rw:${TMP}
--# deny: db=sqlite:${TMP}/in/secret
--# file: in/empty.db=
-- An empty file is an empty database.
local conn = db.connect("sqlite:in/empty.db")
assert.eq(#conn:query("SELECT * FROM sqlite_schema"), 0)
for _, sql in ipairs({ "CREATE TABLE t (v)", "PRAGMA user_version = 5", "VACUUM", "PRAGMA query_only = OFF", "PRAGMA journal_mode = wal" }) do
  pcall(conn.execute, conn, sql)
end
local ok, err = pcall(conn.execute, conn, "CREATE TABLE t (v)")
assert.eq(err.code, "permission")
assert.contains(err.message, "reading only")
assert.eq(pcall(conn.transaction, conn, function(tx) tx:execute("CREATE TABLE t (v)") end), false)
assert.eq(pcall(conn.script, conn, "BEGIN; CREATE TABLE t (v); COMMIT"), false)
conn:close()
assert.eq(fs.stat("in/empty.db").size, 0)
-- It makes no file either.
assert.eq(pcall(db.connect, "sqlite:in/new.db"), false)
assert.eq(fs.exists("in/new.db"), false)

--# case: what one connection has prepared is nothing to another
--# allow: db=sqlite:${TMP}/app.db
local conn = db.connect("sqlite:app.db")
conn:execute("CREATE TABLE t (v)")
local reader = db.connect("sqlite:app.db", { read_only = true })
local insert <const> = "INSERT INTO t VALUES (?)"
for n = 1, 3 do
  assert.eq(conn:execute(insert, { n }), 1)
  assert.eq(select(2, pcall(reader.execute, reader, insert, { n })).code, "permission")
  assert.eq(#reader:query("SELECT * FROM t"), n)
end
-- Nor does what a script may do make it a statement that may.
conn:script("BEGIN; COMMIT")
for _, sql in ipairs({ "BEGIN", "COMMIT", "BEGIN IMMEDIATE", "SAVEPOINT assay_2" }) do
  conn:transaction(function() conn:transaction(function() end) end)
  assert.eq(select(2, pcall(conn.execute, conn, sql)).code, "denied")
end

--# case: what is denied wins over what is granted
--# allow: db
--# deny: db=sqlite:${TMP}/secret.db,db=postgres://127.0.0.1:1/app?ro,db=sqlite::memory:
assert.eq(select(2, pcall(db.connect, "sqlite:secret.db")).code, "denied")
assert.eq(select(2, pcall(db.connect, "sqlite:secret.db?mode=ro")).code, "denied")
assert.eq(select(2, pcall(db.connect, "sqlite::memory:")).code, "denied")
assert.eq(select(2, pcall(db.connect, "postgres://127.0.0.1:1/app")).code, "denied")
assert.eq(select(2, pcall(db.connect, "postgres://127.0.0.1:1/app?ro")).code, "denied")
assert.eq(select(2, pcall(db.connect, "postgres://127.0.0.1:1/other")).code, "unavailable")

--# case: metadata addresses and spellings
--# allow: db
for _, url in ipairs({ "postgres://169.254.169.254/x", "mysql://[fe80::1]/x", "postgres://100.100.100.200/x", "mysql://[::ffff:169.254.169.254]/x" }) do
  local ok, err = pcall(db.connect, url, { connect_timeout = 1 })
  assert.eq(err.code, "denied", url)
end

--# case: sockets of the file system and the environment
--# allow: db
--# env: PGHOST=/var/run/postgresql
--# env: PGPASSWORD=fromtheenvironment
for _, url in ipairs({
  "postgres:///app", "postgres://%2Fvar%2Frun%2Fpostgresql/app", "postgres://h/app?host=/var/run/postgresql",
  "mysql://h/app?socket=/run/mysqld/mysqld.sock", "mysql:///app", "postgres://h/app?options=-c%20x=y", "postgres://h/app?passfile=/etc/passwd",
}) do
  local ok, err = pcall(db.connect, url)
  assert.eq(ok, false, url)
  assert.eq(err.code == "unsupported" or err.code == "invalid_argument", true, url .. ": " .. err.code)
end

--# case: variables of PostgreSQL do not leak in
--# needs: postgres
--# allow: db=postgres://127.0.0.1:${PG_PORT}/${PG_DB}
--# env: PGPASSWORD=${PG_PASSWORD}
--# env: PGUSER=admin
--# env: PGSSLMODE=disable
--# env: PGSSLROOTCERT=/etc/passwd
--# env: PGAPPNAME=leak
--# env: PGOPTIONS=-c search_path=evil
--# env: PGSSLCERT=/etc/passwd
--# env: PGSSLKEY=/etc/passwd
--# env: PGHOST=evil.example
local without = ("${PG_URL}"):gsub(":${PG_PASSWORD}@", "@")
assert.eq(select(2, pcall(db.connect, without)).code, "permission")
local row = db.connect("${PG_URL}"):query("SELECT current_user::text AS name, current_setting('application_name') AS app")[1]
assert.eq(row.name, "tester")
assert.eq(row.app, "assay")
assert.contains(db.connect("${PG_URL}"):query("SHOW search_path")[1].search_path, "public")

--# case: reading only on PostgreSQL
--# needs: postgres
--# allow: db=postgres://127.0.0.1:${PG_PORT}/${PG_DB}?ro
local conn = db.connect("${PG_URL}")
assert.eq(conn:query("SELECT $1::int AS x", { 1 })[1].x, 1)
assert.eq(conn:query("SHOW transaction_read_only")[1].transaction_read_only, "on")
local function refused(run, ...)
  local ok, err = pcall(...)
  assert.eq(ok, false, run)
  assert.eq(err.code == "permission" or err.code == "invalid_argument" or err.code == "other" or err.code == "invalid_data", true, run .. ": " .. err.code)
end
local attacks = {
  "CREATE TABLE t (v int)", "SET transaction_read_only = off", "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
  "SET default_transaction_read_only = off", "BEGIN READ WRITE", "COMMIT", "COMMIT AND CHAIN", "ROLLBACK", "START TRANSACTION READ WRITE",
  "DO $$ BEGIN COMMIT; CREATE TABLE t (v int); END $$", "/* x */ COMMIT", "-- x\nCOMMIT", ";COMMIT", "SELECT 1; COMMIT",
  "SELECT 1 INTO t", "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", "SELECT nextval('s')",
  "SELECT set_config('transaction_read_only', 'off', false)", "SELECT set_config('transaction_read_only', 'off', true)",
  "PREPARE p AS SELECT 1", "DISCARD ALL", "CALL x()", "SET TRANSACTION READ WRITE", "",
}
for _, sql in ipairs(attacks) do
  local ok, err = pcall(conn.execute, conn, sql)
  assert.eq(ok, false, sql)
end
-- PostgreSQL lets this pass; it goes with the transaction.
local sly = "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1"
pcall(conn.query, conn, sly)
pcall(conn.transaction, conn, function(tx) tx:query(sly) end)
pcall(conn.query, conn, "SELECT set_config('default_transaction_read_only', 'off', false)")
refused("table", conn.query, conn, "SELECT * INTO t FROM (SELECT 1 AS x) y")
refused("script", conn.script, conn, "COMMIT; BEGIN READ WRITE; CREATE TABLE t (v int); COMMIT")
for _, sql in ipairs(attacks) do
  local ok = pcall(conn.transaction, conn, function(tx)
    tx:execute(sql)
  end)
  assert.eq(ok, false, sql)
end
conn:transaction(function(tx)
  assert.eq(tx:query("SHOW transaction_read_only")[1].transaction_read_only, "on")
  pcall(db.transaction, tx, function(inner) inner:query("SELECT set_config('transaction_read_only', 'off', false)") end)
  assert.eq(tx:query("SHOW transaction_read_only")[1].transaction_read_only, "on")
end)
assert.eq(conn:query("SELECT count(*)::int AS n FROM pg_tables WHERE schemaname = 'public'")[1].n, 0)

--# case: reading only on MariaDB
--# needs: mariadb
--# allow: db=mysql://127.0.0.1:${MY_PORT}/${MY_DB}?ro
local conn = db.connect("${MY_URL}")
assert.eq(conn:query("SELECT ? AS x", { 1 })[1].x, 1)
local attacks = {
  "CREATE TABLE t (v INT)", "SET SESSION TRANSACTION READ WRITE", "START TRANSACTION READ WRITE", "COMMIT", "SET autocommit = 1",
  "BEGIN NOT ATOMIC COMMIT; CREATE TABLE t (v INT); END", "/*! CREATE TABLE t (v INT) */", "/*M! CREATE TABLE t (v INT) */",
  "EXECUTE IMMEDIATE 'CREATE TABLE t (v INT)'", "LOCK TABLES t WRITE", "CALL p()", "# x\nCOMMIT", "SELECT 1; COMMIT",
  "(SELECT 1); CREATE TABLE t (v INT)", "/* /*! */ CREATE TABLE t (v INT) */", "ANALYZE TABLE t", "FLUSH TABLES",
}
for _, sql in ipairs(attacks) do
  assert.eq(pcall(conn.execute, conn, sql), false, sql)
  assert.eq(pcall(conn.transaction, conn, function(tx) tx:execute(sql) end), false, sql)
end
assert.eq(select(2, pcall(conn.script, conn, "CREATE TABLE t (v INT)")).code, "permission")
assert.eq(#conn:query("SHOW TABLES"), 0)

--# case: reading only where it was asked for
--# needs: mariadb
--# allow: db=mysql://127.0.0.1:${MY_PORT}/${MY_DB}
local conn = db.connect("${MY_URL}")
conn:execute("CREATE TABLE t (v INT)")
conn:execute("INSERT INTO t VALUES (1)")
local reader = db.connect("${MY_URL}", { read_only = true })
assert.eq(reader:query("SELECT v FROM t")[1].v, 1)
for _, sql in ipairs({ "DELETE FROM t", "WITH x AS (SELECT 1) DELETE FROM t", "EXPLAIN DELETE FROM t" }) do
  pcall(reader.execute, reader, sql)
end
pcall(reader.query, reader, "SELECT v FROM t FOR UPDATE")
assert.eq(conn:query("SELECT v FROM t")[1].v, 1)
-- Nothing is locked after it.
conn:execute("UPDATE t SET v = 2")

--# case: MySQL sends no file of this machine
--# needs: mariadb
--# allow: db=mysql://127.0.0.1:${MY_PORT}/${MY_DB}
--# file: secret.txt=secret
local conn = db.connect("${MY_URL}")
conn:execute("CREATE TABLE t (v TEXT)")
for _, path in ipairs({ "${TMP}/secret.txt", "/etc/hostname", "secret.txt" }) do
  local sql = "LOAD DATA LOCAL INFILE '" .. path .. "' INTO TABLE t"
  assert.eq(pcall(conn.execute, conn, sql), false)
  assert.eq(pcall(conn.script, conn, sql), false)
end
assert.eq(#conn:query("SELECT * FROM t"), 0)

--# case: parameters are no SQL
--# allow: db=sqlite::memory:
local conn = db.connect("sqlite::memory:")
conn:execute("CREATE TABLE t (v)")
for _, text in ipairs({ "'; DROP TABLE t; --", "\\'", "\"", "?", "$1", "x' OR '1'='1" }) do
  conn:execute("INSERT INTO t VALUES (?)", { text })
  assert.eq(conn:query("SELECT count(*) AS n FROM t WHERE v = ?", { text })[1].n, 1)
end

--# case: a denied server by its other names
--# flags: -A
--# deny: db=postgres://127.0.0.1:1,db=mysql://localhost
for _, host in ipairs({ "127.0.0.1", "localhost", "LOCALHOST.", "0.0.0.0", "127.1", "0x7f.1", "127.9.9.9", "[::1]", "[::]", "[64:ff9b::127.0.0.1]" }) do
  for _, url in ipairs({ "postgres://" .. host .. ":1/app", "mysql://" .. host .. ":1/app", "mariadb://" .. host .. "/" }) do
    local ok, err = pcall(function() db.connect(url):query("SELECT 1") end)
    assert.eq(ok, false, url)
    assert.eq(err.code, "denied", url .. ": " .. err.message)
    assert.contains(err.message, "is denied by --deny 'db=")
  end
end
-- Another port is another server.
assert.eq(select(2, pcall(function() db.connect("postgres://127.0.0.1:2/app"):query("SELECT 1") end)).code, "unavailable")

--# case: a denied database by the ways to it
--# flags: -A
--# deny: db=postgres://127.0.0.1/secret,db=mysql://127.0.0.1/secret
for _, url in ipairs({
  "postgres://127.0.0.1:1/secret", "postgres://127.0.0.1:1/SECRET", "postgres://secret@127.0.0.1:1/", "postgres://127.0.0.1:1/%73ecret",
  "mysql://127.0.0.1:1/secret", "mysql://127.0.0.1:1/other", "mysql://127.0.0.1:1/",
}) do
  local ok, err = pcall(function() db.connect(url):query("SELECT 1") end)
  assert.eq(ok, false, url)
  assert.eq(err.code, "denied", url .. ": " .. err.message)
end
assert.eq(select(2, pcall(function() db.connect("postgres://127.0.0.1:1/other"):query("SELECT 1") end)).code, "unavailable")

--# case: a file that is denied is no database either
--# flags: -A
--# deny: fs=${TMP}/secret,db=sqlite:${TMP}/read.db?ro
--# file: secret/keep=
--# link: way=secret
for _, url in ipairs({ "sqlite:secret/a.db", "sqlite:way/a.db", "sqlite:x/../secret/a.db", "sqlite:read.db" }) do
  local ok, err = pcall(db.connect, url)
  assert.eq(ok, false, url)
  assert.eq(err.code, "denied", err.message)
  -- Where a link leads is not told.
  assert.contains(err.message, url:find("way", 1, true) and "is refused: its way leads" or "is denied by --deny ")
end
assert.eq(#db.connect("sqlite:open.db"):query("SELECT 1 AS x"), 1)

--# case: databases in the temporary directory take its room
--# allow: db
--# flags: --temp-bytes 1MiB
local dir = fs.tempdir()
local function full(call, ...)
  local ok, err = pcall(call, ...)
  assert.eq(ok, false)
  assert.eq(err.code, "limit", err.message)
  assert.contains(err.message, "--temp-bytes")
end
local conn <close> = db.connect("sqlite:" .. dir .. "/a.db")
conn:execute("CREATE TABLE t (v)")
for _, mode in ipairs({ "delete", "truncate", "persist" }) do
  assert.eq(conn:query("PRAGMA journal_mode = " .. mode)[1].journal_mode, mode)
  full(conn.execute, conn, "INSERT INTO t VALUES (zeroblob(2000000))")
  -- What fits goes on, and room comes back.
  for _ = 1, 20 do
    conn:execute("INSERT INTO t VALUES (zeroblob(100000))")
    conn:execute("DELETE FROM t")
  end
end
-- Files and databases have one room.
conn:execute("INSERT INTO t VALUES (zeroblob(100000))")
full(fs.write, dir .. "/b", ("x"):rep(1000000))
fs.write(dir .. "/b", ("x"):rep(100000))
full(conn.execute, conn, "INSERT INTO t VALUES (zeroblob(900000))")
assert.eq(#conn:query("SELECT * FROM t"), 1)

--# case: the log of a database takes room of the temporary directory
--# allow: db
--# flags: --temp-bytes 1MiB
local dir = fs.tempdir()
local conn <close> = db.connect("sqlite:" .. dir .. "/a.db")
assert.eq(conn:query("PRAGMA journal_mode = wal")[1].journal_mode, "wal")
conn:execute("CREATE TABLE t (v)")
local count, message = 0, nil
repeat
  local ok, err = pcall(conn.execute, conn, "INSERT INTO t VALUES (zeroblob(100000))")
  count, message = count + 1, not ok and err.message
until message or count == 100
assert.contains(message, "--temp-bytes")
assert.eq(#conn:query("SELECT * FROM t"), count - 1)
local sum = 0
for _, name in ipairs({ "a.db", "a.db-wal", "a.db-shm" }) do
  sum = sum + fs.stat(dir .. "/" .. name).size
end
assert.lt(sum, (1 << 20) + 1)
assert.gt(sum, 900000)

--# case: databases elsewhere take no room of the temporary directory
--# allow: db=sqlite:${TMP}
--# flags: --temp-bytes 1KiB
-- Nor does what SQLite keeps of a statement or sorts: that is in memory.
local conn <close> = db.connect("sqlite:a.db")
conn:execute("CREATE TABLE t (u UNIQUE, v)")
conn:execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) "
  .. "INSERT INTO t SELECT i, zeroblob(1000) FROM n")
db.transaction(conn, function(tx)
  tx:execute("UPDATE t SET v = zeroblob(999)")
end)
assert.eq(conn:query("SELECT v, u FROM t ORDER BY v, -u LIMIT 1")[1].u, 2000)
conn:execute("VACUUM")

--# case: files of databases are entries of the temporary directory
--# allow: db
--# flags: --temp-entries 3
local dir = fs.tempdir()
local conn <close> = db.connect("sqlite:" .. dir .. "/a.db")
fs.write(dir .. "/b", "")
local ok, err = pcall(conn.execute, conn, "CREATE TABLE t (v)")
assert.eq(ok, false)
assert.eq(err.code, "limit", err.message)
assert.contains(err.message, "--temp-entries")
ok, err = pcall(db.connect, "sqlite:" .. dir .. "/c.db")
assert.eq(ok, false)
assert.eq(err.code, "limit", err.message)
fs.remove(dir .. "/b")
conn:execute("CREATE TABLE t (v)")
conn:execute("INSERT INTO t VALUES (1)")
