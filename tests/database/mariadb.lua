--- # MariaDB
--- What `db` does with a real server; its page is that of `db`.

--# case: values both ways
--# needs: mariadb
--# allow: db=mysql://127.0.0.1:${MY_PORT}/${MY_DB}
local conn = db.connect("${MY_URL}")
local function back(type, value)
  conn:execute("DROP TABLE IF EXISTS t")
  conn:execute("CREATE TABLE t (v " .. type .. " NULL)")
  conn:execute("INSERT INTO t VALUES (?)", { value })
  return conn:query("SELECT v FROM t")[1].v
end
for _, case in ipairs({
  { "BOOLEAN", true }, { "BOOLEAN", false }, { "TINYINT", -128 }, { "SMALLINT UNSIGNED", 65535 }, { "MEDIUMINT", -8388608 },
  { "INT", -2147483648 }, { "INT UNSIGNED", 4294967295 }, { "BIGINT", math.mininteger }, { "BIGINT UNSIGNED", math.maxinteger },
  { "BIGINT UNSIGNED", "18446744073709551615" }, { "FLOAT", 1.1 }, { "DOUBLE", -1e300 }, { "DECIMAL(40,20)", "12345678901234567890.12345678901234567890" },
  { "VARCHAR(20)", "ünï ☃ 𝄞" }, { "TEXT", "" }, { "CHAR(3)", "x" }, { "BLOB", "\0\xff\xfe" }, { "VARBINARY(9)", "\xff" }, { "ENUM('a','b')", "b" },
  { "SET('a','b')", "a,b" }, { "DATE", "2024-02-29" }, { "TIME(3)", "-26:03:04.5" }, { "DATETIME(6)", "2024-01-31T03:04:05.123456" },
  { "DATETIME", "2024-01-31T00:00:00" }, { "YEAR", 2024 }, { "UUID", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" },
}) do
  assert.eq(back(case[1], case[2]), case[2], case[1])
end
assert.eq(back("TIMESTAMP", "2024-01-31 03:04:05"), "2024-01-31T03:04:05Z")
assert.eq(back("BIT(12)", 2748), 2748)
assert.eq(back("TEXT", { a = 1 }), '{"a":1}')
assert.eq(back("BLOB", db.blob("text")), "text")
assert.eq(back("INT", nil), nil)
assert.eq(back("INT", db.null), nil)
assert.eq(db.connect("${MY_URL}", { numeric = "number" }):query("SELECT 1.25 AS v")[1].v, 1.25)

--# case: statements
--# needs: mariadb
--# allow: db=mysql://127.0.0.1:${MY_PORT}/${MY_DB}
local conn = db.connect("${MY_URL}")
conn:script([[
  CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a INT NOT NULL, b VARCHAR(9) UNIQUE, CONSTRAINT low CHECK (a < 100));
  CREATE TABLE u (v INT);
]])
local n, id = conn:execute("INSERT INTO t (a, b) VALUES (?, ?), (?, ?)", { 1, "x", 2, "y" })
assert.eq(n, 2)
assert.eq(id, 1)
assert.eq(conn:execute("UPDATE t SET a = 1 WHERE a = 1"), 1)
assert.eq(#conn:query("SELECT * FROM t WHERE a > ?", { 1000 }), 0)
assert.eq(conn:query("SELECT a FROM t WHERE b = ?", { "y" })[1].a, 2)
local function fails(code, pattern, ...)
  local ok, err = pcall(...)
  assert.eq(ok, false)
  assert.eq(err.code, code)
  assert.contains(err.message, pattern)
end
fails("exists", "error 1062", conn.execute, conn, "INSERT INTO t (a, b) VALUES (1, 'x')")
fails("invalid_data", "low", conn.execute, conn, "INSERT INTO t (a) VALUES (100)")
fails("invalid_data", "null", conn.execute, conn, "INSERT INTO t (a) VALUES (NULL)")
fails("not_found", "error 1146", conn.query, conn, "SELECT * FROM nowhere")
fails("not_found", "error 1054", conn.query, conn, "SELECT nothing FROM t")
fails("invalid_argument", "near ' t'", conn.query, conn, "SELECT 1 FROM , t")
fails("not_found", "are written ?", conn.query, conn, "SELECT * FROM t WHERE a = $1", { 1 })
fails("invalid_argument", "1 parameters, and 0 were given", conn.query, conn, "SELECT ?")
fails("invalid_argument", "error 1064", conn.query, conn, "SELECT 1; SELECT 2")
fails("unsupported", "db.transaction", conn.execute, conn, "START TRANSACTION")
-- Transactions.
conn:transaction(function(tx)
  tx:execute("INSERT INTO u VALUES (1)")
  pcall(db.transaction, tx, function(inner)
    conn:execute("INSERT INTO u VALUES (2)")
    error("no")
  end)
end)
pcall(conn.transaction, conn, function(tx)
  tx:execute("INSERT INTO u VALUES (3)")
  error("no")
end)
assert.eq(conn:query("SELECT COUNT(*) AS n FROM u")[1].n, 1)
assert.eq(conn:batch("INSERT INTO u VALUES (?)", { { 4 }, { 5 } }), 2)
conn:transaction(function(tx)
  for row in tx:rows("SELECT seq FROM seq_1_to_50000") do
    break
  end
  tx:execute("INSERT INTO u VALUES (6)")
end)
assert.eq(#conn:query("SELECT v FROM u WHERE v = 6"), 1)
-- Rows, left early.
local seen = 0
for row in conn:rows("SELECT seq, REPEAT('x', 1000) AS x FROM seq_1_to_100000") do
  seen = seen + 1
  if seen == 1000 then break end
end
assert.eq(#conn:query("SELECT seq FROM seq_1_to_50000"), 50000)
local wrong = ("${MY_URL}"):gsub("${MY_PASSWORD}", "wrongpw")
local ok, err = pcall(db.connect, wrong)
assert.eq(err.code, "permission")
assert.eq(err.message:find("wrongpw"), nil)

--# case: limits, timeouts, TLS
--# needs: mariadb
--# allow: db=mysql://127.0.0.1:${MY_PORT}/${MY_DB},db=mysql://localhost:${MY_PORT}/${MY_DB},fs=read:${MY_CA}
local conn = db.connect("${MY_URL}", { statement_timeout = 0.3, max_rows = 10, max_bytes = 100000 })
assert.eq(select(2, pcall(conn.query, conn, "SELECT SLEEP(60)")).code, "timeout")
local function busy()
  return conn:query("SELECT COUNT(*) AS n FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(60)%' AND db = DATABASE()")[1].n
end
for _ = 1, 200 do
  if busy() == 0 then break end
  sleep(0.02)
end
assert.eq(busy(), 0)
assert.eq(#conn:query("SELECT seq FROM seq_1_to_10"), 10)
assert.eq(select(2, pcall(conn.query, conn, "SELECT seq FROM seq_1_to_11")).code, "limit")
assert.eq(select(2, pcall(conn.query, conn, "SELECT REPEAT('x', 110000)")).code, "limit")
local by_name = ("${MY_URL}"):gsub("127.0.0.1", "localhost")
local function tls(url, options)
  return db.connect(url, options):query("SHOW STATUS LIKE 'Ssl_cipher'")[1].Value ~= ""
end
for _, url in ipairs({ "${MY_URL}", by_name }) do
  assert.eq(tls(url), true)
  assert.eq(tls(url, { tls = "disable" }), false)
  assert.eq(tls(url, { ca_cert_file = "${MY_CA}" }), true)
  assert.eq(tls(url, { ca_cert_file = "${MY_CA}", tls = "verify-ca" }), true)
  local ok, err = pcall(tls, url, { tls = "verify-full" })
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_data")
end

--# case: results of procedures
--# needs: mariadb
--# allow: db=mysql://127.0.0.1:${MY_PORT}/${MY_DB}
local conn = db.connect("${MY_URL}")
conn:execute([[CREATE PROCEDURE p(n INT) BEGIN
  SELECT 1 AS a, 2 AS b;
  SELECT 'text' AS c, 1.5 AS d, DATE '2024-01-31' AS e;
  SELECT seq AS f, REPEAT('x', 1000) AS g FROM seq_1_to_2000 WHERE seq <= n;
  SELECT 'end' AS a;
END]])
for _, n in ipairs({ 0, 3, 2000 }) do
  local rows, columns = conn:query("CALL p(?)", { n }, { columns = true })
  assert.eq(#rows, n + 3)
  assert.eq(table.concat(columns, ","), "a,b")
  assert.eq(rows[1].a, 1)
  assert.eq(rows[1].b, 2)
  assert.eq(rows[2].c .. rows[2].d .. rows[2].e, "text1.52024-01-31")
  assert.eq(rows[2].a, nil)
  for i = 1, n do
    assert.eq(rows[2 + i].f, i)
    assert.eq(#rows[2 + i].g, 1000)
  end
  assert.eq(rows[n + 3].a, "end")
end
local names = {}
for row, columns in conn:rows("CALL p(1)", nil, { columns = true }) do
  names[#names + 1] = table.concat(columns, "")
end
assert.eq(table.concat(names, " "), "ab cde fg a")
-- The same in a transaction and in a session, and of a procedure that gives nothing.
conn:execute("CREATE PROCEDURE nothing() BEGIN END")
assert.eq(#conn:query("CALL nothing()"), 0)
conn:transaction(function(tx) assert.eq(tx:query("CALL p(1)")[2].c, "text") end)
db.session(conn, function(s) assert.eq(s:query("CALL p(1)")[4].a, "end") end)
-- What a procedure begins or sets is not met by others.
conn:execute("CREATE TABLE t (v INT)")
conn:execute("CREATE PROCEDURE q() BEGIN SET autocommit = 0; SET @left = 1; SET SESSION sql_mode = 'ANSI'; INSERT INTO t VALUES (1); END")
conn:execute("CALL q()")
assert.eq(conn:query("SELECT @@autocommit AS a")[1].a, 1)
assert.eq(#conn:query("SELECT v FROM t"), 0)

--# case: unsigned and one-digit numbers
--# needs: mariadb
--# allow: db=mysql://127.0.0.1:${MY_PORT}/${MY_DB}
local conn = db.connect("${MY_URL}")
conn:execute([[CREATE TABLE t (a TINYINT(1) UNSIGNED, b TINYINT(1), c TINYINT UNSIGNED, d TINYINT(1) UNSIGNED ZEROFILL, e TINYINT(3),
  f SMALLINT(1) UNSIGNED, g BOOLEAN, h BIT(1), i BIGINT(1) UNSIGNED, j INT(1), k YEAR)]])
conn:execute("INSERT INTO t VALUES (255, -128, 255, 200, 1, 65535, 2, 1, 18446744073709551615, -1, 2024), (1, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1901), (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2155)")
local rows = conn:query("SELECT * FROM t ORDER BY c DESC")
local function line(row)
  local out = {}
  for c in ("abcdefghijk"):gmatch(".") do out[#out + 1] = tostring(row[c]) end
  return table.concat(out, " ")
end
assert.eq(line(rows[1]), "255 -128 255 200 1 65535 2 1 18446744073709551615 -1 2024")
assert.eq(line(rows[2]), "1 true 1 1 0 1 true 0 1 1 1901")
assert.eq(line(rows[3]), "0 false 0 0 0 0 false 0 0 0 2155")

--# case: what changes a session has one of its own
--# needs: mariadb
--# allow: db=mysql://127.0.0.1:${MY_PORT}/${MY_DB}
local conn = db.connect("${MY_URL}", { max_connections = 2 })
conn:execute("CREATE TABLE t (v INT)")
local function state(c)
  local row = c:query("SELECT @@autocommit AS a, DATABASE() AS d, @@sql_mode LIKE '%ANSI_QUOTES%' AS m, @@character_set_client AS c")[1]
  return row.a .. row.d .. row.m .. row.c
end
local clean = state(conn)
for _, sql in ipairs({
  "SET autocommit = 0", "set @@autocommit = 0", "SET SESSION sql_mode = 'ANSI'", "SET NAMES latin1", "SET CHARACTER SET latin1", "SET @x = 1",
  "SET ROLE NONE", "SET TRANSACTION READ ONLY", "SET GLOBAL max_connections = 151, sql_mode = 'ANSI'", "USE mysql", "use `mysql`",
  "LOCK TABLES t WRITE", "UNLOCK TABLES", "LOCK TABLE t READ", "FLUSH TABLES WITH READ LOCK", "FLUSH TABLES t FOR EXPORT",
  "PREPARE s FROM 'SELECT 1'", "EXECUTE IMMEDIATE 'SET autocommit = 0'", "DEALLOCATE PREPARE s", "HANDLER t OPEN",
  "CREATE TEMPORARY TABLE x (v INT)", "CREATE OR REPLACE TEMPORARY TABLE x (v INT)", "SELECT GET_LOCK('x', 0)", "/* x */ SET autocommit = 0",
  "/*!40101 SET NAMES latin1 */", "/*M! SET autocommit = 0 */", "# x\nSET autocommit = 0", "START TRANSACTION", "BEGIN", "XA START 'x'",
}) do
  local ok, err = pcall(conn.execute, conn, sql)
  assert.eq(ok, false, sql)
  assert.eq(err.code, "unsupported", sql .. ": " .. err.message)
  assert.eq(state(conn), clean, sql)
end
-- A statement that still leaves something leaves it on no connection of the pool.
assert.eq(conn:query("SELECT @n := 5 AS v")[1].v, 5)
assert.eq(conn:query("SELECT @n IS NULL AS v")[1].v, 1)
conn:query("SELECT 7 INTO @n")
assert.eq(conn:query("SELECT @n IS NULL AS v")[1].v, 1)
conn:script("SET autocommit = 0; SET NAMES latin1; USE mysql; SET @n = 3; LOCK TABLES db READ")
assert.eq(state(conn), clean)
-- In a session it lasts, and goes with it.
db.session(conn, function(session)
  session:execute("SET autocommit = 0")
  session:execute("INSERT INTO t VALUES (1)")
  session:execute("ROLLBACK")
  session:execute("INSERT INTO t VALUES (2)")
  session:execute("COMMIT")
  session:execute("SET SESSION sql_mode = 'ANSI', @x = 4")
  session:execute("CREATE TEMPORARY TABLE mine (v INT)")
  session:execute("INSERT INTO mine VALUES (@x)")
  assert.eq(session:query([[SELECT "v" FROM mine]])[1].v, 4)
  session:execute("LOCK TABLES t WRITE")
  session:execute("UNLOCK TABLES")
  session:transaction(function(tx)
    tx:execute("INSERT INTO t VALUES (3)")
    for _, sql in ipairs({ "LOCK TABLES t WRITE", "SET autocommit = 1", "COMMIT", "UNLOCK TABLES" }) do
      assert.eq(select(2, pcall(tx.execute, tx, sql)).code, "unsupported", sql)
    end
  end)
  pcall(session.transaction, session, function(tx)
    tx:execute("INSERT INTO t VALUES (4)")
    error("no")
  end)
  session:execute("USE mysql")
end)
assert.eq(state(conn), clean)
assert.eq(#conn:query("SELECT v FROM t"), 2)
assert.eq(pcall(conn.query, conn, "SELECT * FROM mine"), false)

--# case: connections that the server has closed leave the pool
--# needs: mariadb
--# allow: db=mysql://127.0.0.1:${MY_PORT}/${MY_DB}
local conn = db.connect("${MY_URL}", { max_connections = 6 })
local watch = db.connect("${MY_URL}", { max_connections = 1, connect_timeout = 9 })
local others = "FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
local function retried()
  local ok, err = pcall(conn.query, conn, "SELECT 1")
  if not ok then
    assert.eq(err.code, "unavailable", err.message)
    conn:query("SELECT 1")
  end
end
for _ = 1, 3 do
  local tasks = {}
  for n = 1, 6 do
    tasks[n] = function() return conn:query("SELECT SLEEP(0.2)") end
  end
  async.all(tasks)
  for _, row in ipairs(watch:query("SELECT id " .. others)) do
    pcall(watch.execute, watch, "KILL CONNECTION " .. row.id)
  end
  while watch:query("SELECT COUNT(*) AS n " .. others)[1].n > 0 do
    sleep(0.01)
  end
  -- One retry at most, though six connections are dead.
  retried()
end
-- A connection that is killed under a statement.
local id
local task = async.spawn(function()
  return conn:transaction(function(tx)
    id = tx:query("SELECT CONNECTION_ID() AS id")[1].id
    return tx:query("SELECT SLEEP(60)")
  end)
end)
while not id or #watch:query("SELECT 1 FROM information_schema.processlist WHERE id = ? AND info LIKE 'SELECT SLEEP%'", { id }) == 0 do
  sleep(0.01)
end
watch:execute("KILL CONNECTION " .. id)
local ok, err = pcall(task.await, task)
assert.eq(ok, false)
assert.eq(err.code, "unavailable", err.message)
conn:query("SELECT 1")

--# case: a packet that is too large
--# needs: mariadb
--# allow: db=mysql://127.0.0.1:${MY_PORT}/${MY_DB}
--# flags: --memory 512MiB
-- The server hangs up, and the connection leaves the pool at once.
local conn = db.connect("${MY_URL}", { max_connections = 1 })
local ok, err = pcall(conn.query, conn, "SELECT LENGTH(?) AS n", { ("x"):rep(17 << 20) })
assert.eq(ok, false)
assert.eq(err.code == "limit" or err.code == "unavailable", true, err.message)
assert.eq(err.message:find("host memory"), nil)
assert.eq(conn:query("SELECT 1 AS v")[1].v, 1)
assert.eq(conn:query("SELECT LENGTH(?) AS n", { ("x"):rep(1 << 20) })[1].n, 1 << 20)

--# case: the order of columns
--# needs: mariadb
--# allow: db=mysql://127.0.0.1:${MY_PORT}/${MY_DB}
local conn = db.connect("${MY_URL}")
local rows, columns = conn:query("SELECT seq AS z, 'x' AS a, NULL AS m FROM seq_1_to_2", nil, { columns = true })
assert.eq(table.concat(columns, ","), "z,a,m")
assert.eq(table.concat(select(2, conn:query("SELECT 1 AS b, 2 AS a FROM seq_1_to_2 WHERE seq > ?", { 9 }, { columns = true })), ","), "b,a")
for row, names in conn:rows("SELECT 1 AS z, 2 AS a", nil, { columns = true }) do
  assert.eq(table.concat(names, ","), "z,a")
end
