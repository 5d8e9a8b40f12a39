--- # PostgreSQL
--- What `db` does with a real server; its page is that of `db`.

--# case: values both ways
--# needs: postgres
--# allow: db=postgres://127.0.0.1:${PG_PORT}/${PG_DB}
local conn = db.connect("${PG_URL}")
conn:script([[
  CREATE TYPE mood AS ENUM ('sad', 'happy');
  CREATE DOMAIN positive AS int CHECK (value > 0);
]])
local number = 0
local function back(type, value)
  number = number + 1
  local name = "t" .. number
  conn:execute("CREATE TABLE " .. name .. " (v " .. type .. ")")
  conn:execute("INSERT INTO " .. name .. " VALUES ($1)", { value })
  return conn:query("SELECT v FROM " .. name)[1].v
end
for _, case in ipairs({
  { "bool", true }, { "bool", false }, { "int2", -32768 }, { "int4", 2147483647 }, { "int8", math.mininteger },
  { "oid", 4294967295 }, { "float4", 1.1 }, { "float8", 1e300 }, { "float8", -math.huge }, { "text", "ünï ☃" },
  { "varchar(9)", "x" }, { "char(3)", "x  " }, { "name", "n" }, { "bytea", "\0\xff\xfe" }, { "bytea", "" }, { "mood", "happy" },
  { "positive", 7 }, { "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" }, { "numeric", "12345678901234567890.12345678901234567890" },
  { "numeric", "-0.0001" }, { "numeric(10,2)", "19.90" }, { "numeric", "NaN" }, { "date", "2024-02-29" }, { "date", "infinity" },
  { "time", "23:59:59.123456" }, { "timetz", "01:02:03+02:00" }, { "timestamp", "2024-01-31T03:04:05.5" },
  { "timestamptz", "2024-01-31T03:04:05Z" }, { "timestamptz", "-0043-03-15T00:00:00Z" }, { "interval", "P1Y2M3DT4H5M6.5S" },
  { "inet", "10.0.0.1" }, { "inet", "fd00::1/64" }, { "cidr", "10.0.0.0/8" }, { "macaddr", "08:00:2b:01:02:03" },
  { "bit(5)", "10110" }, { "xml", "<a/>" },
}) do
  assert.eq(back(case[1], case[2]), case[2], case[1])
end
assert.eq(math.type(back("int8", 5)), "integer")
assert.eq(back("numeric", 1.5), "1.5")
assert.eq(back("int4", "42"), 42)
assert.eq(back("text", 42), "42")
assert.eq(back("bool", "t"), true)
assert.eq(back("float8", "2.5"), 2.5)
assert.eq(back("timestamptz", 1706670245), "2024-01-31T03:04:05Z")
assert.eq(back("timestamptz", "2024-01-31 03:04:05+01"), "2024-01-31T02:04:05Z")
assert.eq(back("interval", 90), "PT1M30S")
assert.eq(back("bytea", db.blob("\0x")), "\0x")
for _, type in ipairs({ "int4", "text", "jsonb", "int4[]", "timestamptz", "numeric", "bytea" }) do
  assert.eq(back(type, nil), nil)
  assert.eq(back(type, db.null), nil)
end
-- JSON and arrays.
local value = back("jsonb", { list = { 1, 2.5, "x", db.null }, empty = json.array(), yes = true, big = math.maxinteger })
assert.eq(value.list[3], "x")
assert.eq(value.big, math.maxinteger)
assert.eq(json.encode(value.empty), "[]")
assert.eq(back("json", '{"a" : 1}').a, 1)
assert.eq(back("jsonb", "[1]")[1], 1)
assert.eq(back("jsonb", 5), 5)
for type, list in pairs({
  ["int4[]"] = { 1, 2, 3 }, ["text[]"] = { "a", "", "ü,\"{}" }, ["bool[]"] = { true, false },
  ["float8[]"] = { 1.5, 2.0 }, ["numeric[]"] = { "1.10" }, ["timestamptz[]"] = { "2024-01-31T03:04:05Z" },
  ["uuid[]"] = { "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" }, ["mood[]"] = { "sad", "happy" }, ["int4[][]"] = { { 1, 2 }, { 3, 4 } },
}) do
  assert.eq(json.encode(back(type, list)), json.encode(list), type)
end
assert.eq(json.encode(back("int4[]", {})), "[]")
assert.eq(back("int4[]", { 1, db.null, 3 })[2], db.null)
assert.eq(back("jsonb[]", { { a = 1 }, { 2 } })[2][1], 2)
local row = conn:query([[SELECT int4range(1, 10) AS r, numrange(NULL, 1.5, '[]') AS n, 'empty'::int4range AS e, NULL::int AS nothing,
  '{}'::text[] AS none, pg_sleep(0) AS void, 'x'::"char" AS c]])[1]
assert.eq(row.r .. row.n .. row.e .. row.c, "[1,10)(,1.5]emptyx")
assert.eq(#row.none, 0)
assert.eq(row.nothing, nil)
assert.eq(conn:query("SELECT ARRAY(SELECT generate_series(1, 3)) AS v WHERE 2 = ANY($1)", { { 1, 2 } })[1].v[3], 3)
-- The number of a decimal, where that is wanted.
local numbers = db.connect("${PG_URL}", { numeric = "number" })
assert.eq(numbers:query("SELECT 1.25::numeric AS v")[1].v, 1.25)
assert.eq(numbers:query("SELECT ARRAY[1.5]::numeric[] AS v")[1].v[1], 1.5)
-- What does not fit, or has no conversion.
local function fails(pattern, code, ...)
  local ok, err = pcall(...)
  assert.eq(ok, false)
  assert.contains(err.message, pattern)
  assert.eq(err.code, code)
end
fails("parameter 1 does not fit the type int4: 99999999999 is out of range", "invalid_argument", back, "int4", 99999999999)
fails("an integer is expected", "invalid_argument", back, "int4", "x")
fails("not UTF-8", "invalid_argument", back, "text", "\xff")
fails("NUL byte", "invalid_argument", back, "text", "a\0b")
fails("$1::text::point", "invalid_argument", back, "point", "(1,2)")
fails("select it with ::text", "unsupported", conn.query, conn, "SELECT '(1,2)'::point AS p")
assert.eq(conn:query("SELECT ($1::text::point)::text AS p", { "(1,2)" })[1].p, "(1,2)")

--# case: statements
--# needs: postgres
--# allow: db=postgres://127.0.0.1:${PG_PORT}/${PG_DB}
local conn = db.connect("${PG_URL}")
assert.eq(conn:execute("CREATE TABLE t (id serial PRIMARY KEY, a int NOT NULL, b text UNIQUE, CONSTRAINT low CHECK (a < 100))"), 0)
assert.eq(conn:execute("INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y')"), 2)
assert.eq(conn:execute("UPDATE t SET a = a + 1 WHERE a = $1", { 2 }), 1)
assert.eq(conn:query("INSERT INTO t (a) VALUES ($1) RETURNING id", { 5 })[1].id, 3)
assert.eq(#conn:query("SELECT * FROM t WHERE a > $1", { 1000 }), 0)
local function fails(code, pattern, ...)
  local ok, err = pcall(...)
  assert.eq(ok, false)
  assert.eq(err.code, code)
  assert.contains(err.message, pattern)
end
fails("exists", "(constraint t_b_key) [SQLSTATE 23505]", conn.execute, conn, "INSERT INTO t (a, b) VALUES (1, 'x')")
fails("invalid_data", "constraint low", conn.execute, conn, "INSERT INTO t (a) VALUES (100)")
fails("invalid_data", "SQLSTATE 23502", conn.execute, conn, "INSERT INTO t (b) VALUES ('z')")
fails("not_found", "SQLSTATE 42P01", conn.query, conn, "SELECT * FROM nowhere")
fails("not_found", "SQLSTATE 42703", conn.query, conn, "SELECT nothing FROM t")
fails("exists", "already exists", conn.execute, conn, "CREATE TABLE t (a int)")
fails("invalid_argument", "at line 2 column 8", conn.query, conn, "SELECT 1\n  FROM , t")
fails("invalid_argument", "are written $1, $2", conn.query, conn, "SELECT * FROM t WHERE a = ?", { 1 })
fails("invalid_argument", "1 parameters, and 0 were given", conn.query, conn, "SELECT $1::int")
fails("invalid_argument", "1 parameters, and 2 were given", conn.query, conn, "SELECT $1::int", { 1, 2 })
fails("invalid_argument", "multiple commands", conn.query, conn, "SELECT 1; SELECT 2")
fails("invalid_data", "division by zero", conn.query, conn, "SELECT 1 / $1::int", { 0 })
fails("unsupported", "COPY", conn.execute, conn, "COPY t FROM STDIN")
fails("unsupported", "COPY", conn.execute, conn, "COPY t TO STDOUT")
fails("permission", "superuser", conn.execute, conn, "COPY t FROM PROGRAM 'id'")
fails("unsupported", "db.transaction", conn.execute, conn, "BEGIN")
assert.eq(conn:query("SELECT $1::int IS NULL AS a, $2::int AS b", { nil, 2 })[1].a, true)
-- A table that changes under a statement that is kept.
conn:execute("CREATE TABLE c (a int)")
conn:execute("INSERT INTO c VALUES (1)")
assert.eq(conn:query("SELECT * FROM c")[1].a, 1)
conn:execute("ALTER TABLE c ADD COLUMN b int DEFAULT 2")
assert.eq(conn:query("SELECT * FROM c")[1].b, 2)
conn:execute("UPDATE c SET b = $1", { 3 })
conn:execute("ALTER TABLE c ALTER COLUMN b TYPE text")
conn:execute("UPDATE c SET b = $1", { "x" })
assert.eq(conn:query("SELECT * FROM c")[1].b, "x")
-- The session is UTC, and named.
assert.eq(conn:query("SHOW TimeZone")[1].TimeZone, "UTC")
assert.eq(db.connect("${PG_URL}?application_name=nightly"):query("SHOW application_name")[1].application_name, "nightly")
local wrong = ("${PG_URL}"):gsub("${PG_PASSWORD}", "wrongpw")
local ok, err = pcall(db.connect, wrong)
assert.eq(err.code, "permission")
assert.eq(err.message:find("wrongpw"), nil)
assert.eq(select(2, pcall(db.connect, (("${PG_URL}"):gsub("${PG_DB}$", "${PG_DB}x")))).code, "denied")

--# case: transactions, batches, rows
--# needs: postgres
--# allow: db=postgres://127.0.0.1:${PG_PORT}/${PG_DB}
local conn = db.connect("${PG_URL}")
conn:execute("CREATE TABLE t (v int)")
local function all()
  local out = {}
  for row in conn:rows("SELECT v FROM t ORDER BY v") do
    out[#out + 1] = row.v
  end
  return table.concat(out, " ")
end
conn:transaction(function(tx)
  tx:execute("INSERT INTO t VALUES (1)")
  conn:execute("INSERT INTO t VALUES (2)")
  -- Other connections do not see it.
  local elsewhere = async.spawn(function() return conn:query("SELECT count(*) AS n FROM t")[1].n end)
  assert.eq(elsewhere:await(), 0)
  pcall(db.transaction, tx, function(inner)
    inner:execute("INSERT INTO t VALUES (3)")
    inner:query("SELECT nonsense")
  end)
  tx:execute("INSERT INTO t VALUES (4)")
end)
assert.eq(all(), "1 2 4")
pcall(conn.transaction, conn, function(tx)
  tx:execute("INSERT INTO t VALUES (5)")
  error("no")
end)
local task = async.spawn(function()
  conn:transaction(function(tx)
    tx:execute("INSERT INTO t VALUES (6)")
    tx:query("SELECT pg_sleep(60)")
  end)
end)
local running = [[SELECT count(*)::int AS n FROM pg_stat_activity
  WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(60)%' AND datname = current_database()]]
repeat until conn:query(running)[1].n == 1
task:cancel()
assert.eq(all(), "1 2 4")
assert.eq(conn:batch("INSERT INTO t VALUES ($1)", { { 7 }, { 8 }, { 9 } }), 3)
assert.eq(pcall(conn.batch, conn, "INSERT INTO t VALUES ($1)", { { 10 }, { "x" } }), false)
assert.eq(all(), "1 2 4 7 8 9")
conn:script("DELETE FROM t; INSERT INTO t VALUES (1)")
conn:script("BEGIN; INSERT INTO t VALUES (2)")
-- Without BEGIN it is one transaction.
assert.eq(pcall(conn.script, conn, "INSERT INTO t VALUES (3); SELECT nonsense"), false)
assert.eq(all(), "1")
-- Many rows, left early; the connection is used again or another is made.
local n = 0
for row in conn:rows("SELECT g, repeat('x', 1000) AS x FROM generate_series(1, 100000) g") do
  n = n + 1
  if n == 50000 then break end
end
assert.eq(all(), "1")
assert.eq(#conn:query("SELECT g FROM generate_series(1, 100000) g"), 100000)
conn:transaction(function(tx)
  for row in tx:rows("SELECT g FROM generate_series(1, 100000) g") do
    local ok, err = pcall(tx.query, tx, "SELECT 1")
    assert.eq(err.code, "unsupported")
    assert.contains(err.message, "leave the loop")
    break
  end
  -- The transaction goes on after the loop.
  tx:execute("INSERT INTO t VALUES (2)")
end)
assert.eq(all(), "1 2")

--# case: a killed script leaves nothing behind
--# needs: postgres
--# allow: db=postgres://127.0.0.1:${PG_PORT}/${PG_DB}
local conn = db.connect("${PG_URL}")
conn:execute("CREATE TABLE t (v int)")
conn:execute("INSERT INTO t VALUES (1)")
-- Two connections of one script stand for two scripts: the first holds a lock in a transaction and is given up.
local other = db.connect("${PG_URL}", { max_connections = 1 })
local locked = async.spawn(sleep, 60)
local task = async.spawn(function()
  other:transaction(function(tx)
    tx:execute("UPDATE t SET v = 2")
    locked:cancel()
    sleep(60)
  end)
end)
assert.eq(pcall(locked.await, locked), false)
task:cancel()
conn:execute("UPDATE t SET v = v + 10")
assert.eq(conn:query("SELECT v FROM t")[1].v, 11)

--# case: limits and timeouts
--# needs: postgres
--# allow: db=postgres://127.0.0.1:${PG_PORT}/${PG_DB}
local conn = db.connect("${PG_URL}", { statement_timeout = 0.3, max_rows = 10, max_bytes = 100000, max_connections = 2, connect_timeout = 1 })
local started = time()
local ok, err = pcall(conn.query, conn, "SELECT pg_sleep(60)")
assert.eq(err.code, "timeout")
assert.lt(time() - started, 10)
-- It was ended on the server too.
local function busy()
  return conn:query("SELECT count(*)::int AS n FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid() AND datname = current_database()")[1].n
end
for _ = 1, 200 do
  if busy() == 0 then break end
  sleep(0.02)
end
assert.eq(busy(), 0)
assert.eq(#conn:query("SELECT generate_series(1, 10)"), 10)
assert.eq(select(2, pcall(conn.query, conn, "SELECT generate_series(1, 11)")).code, "limit")
assert.eq(#conn:query("SELECT repeat('x', 90000) AS x")[1].x, 90000)
assert.eq(select(2, pcall(conn.query, conn, "SELECT repeat('x', 110000) AS x")).code, "limit")
-- In a transaction a timeout ends it.
local ok, err = pcall(conn.transaction, conn, function(tx)
  pcall(tx.query, tx, "SELECT pg_sleep(60)")
  tx:query("SELECT 1")
end)
assert.contains(err.message, "rolled back")
-- No more connections than allowed.
local ok, err = pcall(function()
  conn:transaction(function()
    local taken = async.spawn(sleep, 60)
    local both = async.spawn(function()
      conn:transaction(function()
        taken:cancel()
        sleep(60)
      end)
    end)
    assert.eq(pcall(taken.await, taken), false)
    local third = async.spawn(function() return pcall(conn.query, conn, "SELECT 1") end)
    local fine, failure = third:await()
    both:cancel()
    assert.eq(fine, false)
    assert.eq(failure.code, "timeout")
    assert.contains(failure.message, "max_connections")
  end)
end)
assert.eq(ok, true, tostring(err))

--# case: TLS
--# needs: postgres
--# allow: db=postgres://localhost:${PG_PORT}/${PG_DB},db=postgres://127.0.0.1:${PG_PORT}/${PG_DB},fs=read:${PG_CA},fs=read:${PG_OTHER_CA}
local by_name = ("${PG_URL}"):gsub("127.0.0.1", "localhost")
local function tls(url, options)
  return db.connect(url, options):query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")[1].ssl
end
for _, url in ipairs({ "${PG_URL}", by_name }) do
  assert.eq(tls(url), true)
  assert.eq(tls(url, { tls = "require" }), true)
  assert.eq(tls(url, { tls = "disable" }), false)
  assert.eq(tls(url .. "?sslmode=disable"), false)
  assert.eq(tls(url, { ca_cert_file = "${PG_CA}" }), true)
  assert.eq(tls(url, { ca_cert_file = "${PG_CA}", tls = "verify-ca" }), true)
  assert.eq(tls(url .. "?sslmode=verify-full&sslrootcert=${PG_CA}"), true)
  assert.eq(tls(url, { ca_cert = fs.read("${PG_CA}"), tls = "verify-full" }), true)
  for _, options in ipairs({ { tls = "verify-full" }, { ca_cert_file = "${PG_OTHER_CA}" }, { tls = "verify-ca" } }) do
    local ok, err = pcall(tls, url, options)
    assert.eq(ok, false)
    assert.eq(err.code, "invalid_data")
    assert.contains(err.message, "certificate")
  end
end
assert.eq(select(2, pcall(tls, by_name, { ca_cert_file = "/etc/hostname" })).code, "denied")
assert.eq(select(2, pcall(tls, by_name, { ca_cert = "no PEM" })).code, "invalid_argument")
assert.eq(select(2, pcall(tls, by_name, { client_cert = "x" })).code, "invalid_argument")

--# case: statements that grow old
--# needs: postgres
--# allow: db=postgres://127.0.0.1:${PG_PORT}/${PG_DB}
local one = { max_connections = 1 }
local conn, other = db.connect("${PG_URL}", one), db.connect("${PG_URL}?application_name=other", one)
local function fails(code, pattern, ...)
  local ok, err = pcall(...)
  assert.eq(ok, false)
  assert.eq(err.code, code, err.message)
  assert.contains(err.message, pattern)
end
conn:script("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
-- Another client's change, outside of a transaction.
for _, change in ipairs({ "ADD COLUMN b int DEFAULT 2", "DROP COLUMN b", "ADD COLUMN c text DEFAULT 'c'", "ALTER COLUMN a TYPE text" }) do
  assert.eq(#conn:query("SELECT * FROM t"), 1)
  other:execute("ALTER TABLE t " .. change)
  assert.eq(#conn:query("SELECT * FROM t"), 1, change)
end
assert.eq(conn:query("SELECT * FROM t")[1].a, "1")
local reader = db.connect("${PG_URL}", { read_only = true, max_connections = 1 })
assert.eq(reader:query("SELECT * FROM t")[1].x, nil)
other:execute("ALTER TABLE t ADD COLUMN x int DEFAULT 9")
assert.eq(reader:query("SELECT * FROM t")[1].x, 9)
-- A message in another language says the same.
conn:execute("UPDATE t SET a = $1", { "x" })
other:execute("ALTER TABLE t ALTER COLUMN a TYPE int USING 1")
assert.eq(conn:execute("UPDATE t SET a = $1", { 5 }), 1)
-- Types that are dropped and created again.
conn:script("CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE m (v mood); INSERT INTO m VALUES ('sad')")
assert.eq(conn:query("SELECT * FROM m")[1].v, "sad")
assert.eq(conn:query("SELECT v FROM m WHERE v = $1", { "sad" })[1].v, "sad")
other:script("DROP TABLE m; DROP TYPE mood; CREATE TYPE mood AS ENUM ('glad'); CREATE TABLE m (v mood); INSERT INTO m VALUES ('glad')")
assert.eq(conn:query("SELECT * FROM m")[1].v, "glad")
assert.eq(conn:query("SELECT v FROM m WHERE v = $1", { "glad" })[1].v, "glad")
-- In a transaction, one's own changes are met at once.
conn:query("SELECT * FROM t")
conn:transaction(function(tx)
  tx:query("SELECT * FROM t")
  tx:execute("ALTER TABLE t ADD COLUMN d int DEFAULT 4")
  assert.eq(tx:query("SELECT * FROM t")[1].d, 4)
  pcall(db.transaction, tx, function(inner)
    inner:execute("ALTER TABLE t ADD COLUMN e int DEFAULT 5")
    assert.eq(inner:query("SELECT * FROM t")[1].e, 5)
    error("no")
  end)
  assert.eq(tx:query("SELECT * FROM t")[1].e, nil)
end)
pcall(conn.transaction, conn, function(tx)
  tx:execute("ALTER TABLE t ADD COLUMN f int DEFAULT 6")
  assert.eq(tx:query("SELECT * FROM t")[1].f, 6)
  error("no")
end)
assert.eq(conn:query("SELECT * FROM t")[1].f, nil)
-- Those of another end it once, and say so.
conn:query("SELECT * FROM t")
other:execute("ALTER TABLE t ADD COLUMN g int DEFAULT 7")
local function read(tx)
  return tx:query("SELECT * FROM t")[1].g
end
fails("unavailable", "run the transaction again", conn.transaction, conn, read)
assert.eq(conn:transaction(read), 7)
-- What a session throws away.
db.session(conn, function(session)
  for _, sql in ipairs({ "DISCARD ALL", "DEALLOCATE ALL", "DISCARD PLANS", "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$" }) do
    session:query("SELECT * FROM t")
    session:execute(sql)
    assert.eq(session:query("SELECT * FROM t")[1].g, 7, sql)
  end
end)

--# case: types without a conversion
--# needs: postgres
--# allow: db=postgres://127.0.0.1:${PG_PORT}/${PG_DB}
local conn = db.connect("${PG_URL}", { max_connections = 1 })
conn:script("CREATE TYPE pair AS (a int, b text); CREATE DOMAIN names AS text[]; CREATE DOMAIN more AS names")
local function fails(...)
  local ok, err = pcall(...)
  assert.eq(ok, false)
  assert.eq(err.code, "unsupported", err.message)
  assert.contains(err.message, "has no conversion; select it with ::text")
end
for _, value in ipairs({
  "'{[1,3),[5,7)}'::int4multirange", "'(1,2)'::point", "'a b'::tsvector", "ROW(1, 'x')::pair", "'1.00'::money",
  "ARRAY['(1,2)'::point]", "'{[1,3)}'::nummultirange", "'12/3'::pg_lsn",
}) do
  fails(conn.query, conn, "SELECT " .. value .. " AS v")
  -- The transaction goes on after it, because the answer was read to its end.
  conn:transaction(function(tx)
    fails(tx.query, tx, "SELECT " .. value .. " AS v FROM generate_series(1, 1000)")
    assert.eq(tx:query("SELECT 1 AS v")[1].v, 1)
  end)
end
assert.eq(conn:query("SELECT ('{[1,3),[5,7)}'::int4multirange)::text AS v")[1].v, "{[1,3),[5,7)}")
assert.eq(conn:query("SELECT NULL::point AS v, 1 AS w")[1].w, 1)
assert.eq(conn:execute("SELECT '(1,2)'::point"), 1)
local row = conn:query("SELECT '{a,b}'::names AS n, '{c}'::more AS m, ARRAY['[1,2)'::int4range] AS r, '1'::int2vector AS i")[1]
assert.eq(row.n[2] .. row.m[1] .. row.r[1] .. row.i[1], "bc[1,2)1")
assert.eq(conn:query("SELECT $1::names AS v", { { "x" } })[1].v[1], "x")

--# case: what changes a session has one of its own
--# needs: postgres
--# allow: db=postgres://127.0.0.1:${PG_PORT}/${PG_DB}
local conn = db.connect("${PG_URL}", { max_connections = 2 })
conn:execute("CREATE TABLE t (v int)")
local function setting(c)
  return c:query("SHOW statement_timeout")[1].statement_timeout
end
for _, sql in ipairs({
  "SET statement_timeout = 7000", "set session statement_timeout = 7000", "RESET ALL", "DISCARD ALL", "LISTEN x", "UNLISTEN *",
  "PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE ALL", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "LOAD 'x'",
  "CREATE TEMP TABLE x (v int)", "CREATE TEMPORARY VIEW x AS SELECT 1", "SELECT 1 AS v INTO TEMP x", "SELECT pg_advisory_lock(1)",
  "SELECT pg_try_advisory_lock(1)", "SELECT set_config('statement_timeout', '7000', false)", "/* x */ SET ROLE NONE",
  ";BEGIN", "; SET statement_timeout = 7000", "/* /* */ */ BEGIN", "BEGIN", "COMMIT", "SAVEPOINT x", "PREPARE TRANSACTION 'x'",
}) do
  local ok, err = pcall(conn.execute, conn, sql)
  assert.eq(ok, false, sql)
  assert.eq(err.code, "unsupported", sql .. ": " .. err.message)
end
assert.eq(setting(conn), "0")
-- In a session it lasts, and goes with it.
local pid = db.session(conn, function(session)
  session:execute("SET statement_timeout = 7000")
  session:execute("CREATE TEMP TABLE mine (v int)")
  assert.eq(session:query("SELECT pg_try_advisory_lock(1) AS got")[1].got, true)
  assert.eq(setting(conn), "7s", "statements of the same coroutine are the session's")
  session:transaction(function(tx)
    tx:execute("INSERT INTO mine VALUES (1)")
    assert.eq(select(2, pcall(tx.execute, tx, "COMMIT")).code, "unsupported")
    pcall(db.transaction, tx, function(inner)
      inner:execute("INSERT INTO mine VALUES (2)")
      error("no")
    end)
  end)
  pcall(session.transaction, session, function(tx)
    tx:execute("INSERT INTO mine VALUES (3)")
    error("no")
  end)
  assert.eq(#session:query("SELECT v FROM mine"), 1)
  assert.eq(setting(session), "7s")
  -- Transactions by hand are the session's own.
  session:execute("BEGIN")
  session:execute("INSERT INTO mine VALUES (4)")
  session:execute("ROLLBACK")
  session:script("SET application_name = 'x'; INSERT INTO mine VALUES (5)")
  assert.eq(#session:query("SELECT v FROM mine"), 2)
  assert.eq(select(2, pcall(db.session, session, print)).code, "unsupported")
  assert.eq(select(2, pcall(session.close, session)).code, "invalid_argument")
  return session:query("SELECT pg_backend_pid() AS pid")[1].pid
end)
assert.eq(setting(conn), "0")
assert.eq(conn:query("SELECT pg_backend_pid() <> $1 AS other", { pid })[1].other, true)
assert.eq(pcall(conn.query, conn, "SELECT * FROM mine"), false)
-- A transaction takes it too, and its connection goes.
local pid = conn:transaction(function(tx)
  tx:execute("SET statement_timeout = 7000")
  assert.eq(select(2, pcall(db.session, tx, print)).code, "unsupported")
  return tx:query("SELECT pg_backend_pid() AS pid")[1].pid
end)
assert.eq(setting(conn), "0")
assert.eq(#conn:query("SELECT 1 WHERE pg_backend_pid() = $1", { pid }), 0)
conn:transaction(function(tx)
  tx:execute("SET LOCAL statement_timeout = 7000")
  assert.eq(setting(tx), "7s")
end)
-- Scripts and blocks leave nothing behind either.
conn:script("SET statement_timeout = 7000; CREATE TEMP TABLE left_over (v int)")
assert.eq(setting(conn), "0")
conn:execute("DO $$ BEGIN SET statement_timeout = 7000; END $$")
assert.eq(setting(conn), "0")
-- What fails in a session is raised, and what is left open in it is over.
local ok, err = pcall(db.session, conn, function(session)
  session:execute("SET statement_timeout = 7000")
  session:execute("BEGIN")
  session:execute("INSERT INTO t VALUES (1)")
  error("broke off")
end)
assert.contains(tostring(err), "broke off")
assert.eq(#conn:query("SELECT * FROM t"), 0)
assert.eq(setting(conn), "0")
-- A task that is cancelled takes its session with it.
local inside = async.spawn(sleep, 60)
local task = async.spawn(function()
  db.session(conn, function(session)
    session:execute("SET statement_timeout = 7000")
    session:query("SELECT pg_advisory_lock(9)")
    inside:cancel()
    sleep(60)
  end)
end)
pcall(inside.await, inside)
task:cancel()
db.session(conn, function(session)
  session:query("SELECT pg_advisory_lock(9)")
  assert.eq(setting(session), "0")
end)

--# case: connections that the server has closed leave the pool
--# needs: postgres
--# allow: db=postgres://127.0.0.1:${PG_PORT}/${PG_DB}
local conn = db.connect("${PG_URL}", { max_connections = 6 })
local watch = db.connect("${PG_URL}?application_name=watch", { max_connections = 1 })
local function fill()
  local tasks = {}
  for n = 1, 6 do
    tasks[n] = function() return conn:query("SELECT pg_sleep(0.2)") end
  end
  async.all(tasks)
end
local others = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'assay'"
local function kill()
  watch:query("SELECT pg_terminate_backend(pid, 5000) " .. others)
  assert.eq(watch:query("SELECT count(*)::int AS n " .. others)[1].n, 0)
end
for _ = 1, 3 do
  fill()
  kill()
  -- One retry at most, though six connections are dead.
  if not pcall(conn.query, conn, "SELECT 1") then
    conn:query("SELECT 1")
  end
end
-- A connection that dies under a statement.
local ok, err = pcall(conn.query, conn, "SELECT pg_terminate_backend(pg_backend_pid())")
assert.eq(ok, false)
assert.eq(err.code, "unavailable", err.message)
assert.contains(err.message, "57P01")
assert.eq(conn:query("SELECT 1 AS v")[1].v, 1)
-- And in a transaction, which is over then.
local ok, err = pcall(conn.transaction, conn, function(tx)
  pcall(tx.query, tx, "SELECT pg_terminate_backend(pg_backend_pid())")
  tx:query("SELECT 1")
end)
assert.eq(ok, false)
assert.eq(conn:query("SELECT 1 AS v")[1].v, 1)

--# case: the order of columns
--# needs: postgres
--# allow: db=postgres://127.0.0.1:${PG_PORT}/${PG_DB}
local conn = db.connect("${PG_URL}")
local rows, columns = conn:query("SELECT g AS z, 'x' AS a, NULL::int AS m, g AS \"ü\", 1 AS a FROM generate_series(1, 2) g", nil, { columns = true })
assert.eq(table.concat(columns, ","), "z,a,m,ü,a")
assert.eq(#rows, 2)
assert.eq(table.concat(select(2, conn:query("SELECT 1 AS b, 2 AS a WHERE false", {}, { columns = true })), ","), "b,a")
assert.eq(select("#", conn:query("SELECT 1")), 1)
local seen = 0
for row, names in conn:rows("SELECT g AS z, repeat('x', 1000) AS a FROM generate_series(1, 5000) g", nil, { columns = true }) do
  seen = seen + 1
  assert.eq(table.concat(names, ","), "z,a")
end
assert.eq(seen, 5000)
local step, _, _, guard, names = conn:rows("SELECT 1 AS b, 2 AS a WHERE false", nil, { columns = true })
assert.eq(table.concat(names, ","), "b,a")
assert.eq(step(), nil)
local ok, err = pcall(conn.query, conn, "SELECT 1", nil, { column = true })
assert.contains(tostring(err), "columns")
assert.eq(pcall(conn.query, conn, "SELECT 1", nil, { columns = 1 }), false)
