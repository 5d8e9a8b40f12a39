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
