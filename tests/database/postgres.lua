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
