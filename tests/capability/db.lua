--- # db
--- SQL databases: PostgreSQL, MySQL and MariaDB, SQLite.
---
--- Grants: `--allow db=sqlite:PATH` covers a file, or all files in a directory, with the journals beside them;
--- `db=sqlite::memory:` databases in memory; `db=postgres://HOST[:PORT]/DATABASE` and `db=mysql://...` a database on a
--- server, where `*` stands for any characters and no database for all. With `?ro` at its end a grant is for reading
--- only, and so are the connections made under it. On a server the user's own rights decide what else can be done
--- there: other databases of MySQL, files and programs of the server (`COPY ... TO PROGRAM`, `LOAD DATA INFILE`).
--- Every address that a name leads to is checked, and the connection goes to the one that was checked. Sockets of the
--- file system, `~/.pgpass` and variables such as `PGPASSWORD` are not used.
---
--- Connections to a server are shared by all statements. What changes a session (`SET`, `USE`, `LOCK TABLES`, `LISTEN`,
--- `PREPARE`, temporary tables, `GET_LOCK()`, `pg_advisory_lock()`...) is refused outside of `db.session` and
--- transactions, as is `BEGIN`. A connection on which such a thing was done, or may have been (`CALL`, `DO`, `@variables` of
--- MySQL), is closed after it.
---
--- Every function is a method of a connection too: `conn:query(...)`.
---
--- Rows are tables by column name; of two columns with one name the last counts. Those of a procedure of MySQL that gives several
--- results come one after the other, each with the columns of its own result. Values:
---
--- | database | Lua |
--- |---|---|
--- | integers, unsigned ones, `BIT` of MySQL | integer; a string of digits beyond 2^63 |
--- | floats | number |
--- | `NUMERIC`, `DECIMAL` | string with its exact digits, or number with the option `numeric` |
--- | booleans; `TINYINT(1)` of MySQL that is not unsigned, and columns declared `BOOLEAN` in SQLite, that hold 0 or 1 | boolean |
--- | text, enums, blobs | string of bytes |
--- | `json`, `jsonb`, columns declared `JSON` in SQLite | tables and values as `json.parse` gives them |
--- | `timestamptz`, `TIMESTAMP` of MySQL | RFC 3339 in UTC: "2024-01-31T03:04:05.5Z" |
--- | timestamps without zone, dates, times | "2024-01-31T03:04:05", "2024-01-31", "03:04:05" |
--- | intervals, ranges, UUIDs, addresses, bits of PostgreSQL | string (intervals as ISO 8601, "P1DT2H") |
--- | arrays of PostgreSQL | list, NULL in it as `db.null` |
--- | NULL | nil |
---
--- Other types of PostgreSQL (multiranges, geometry, composite types...) are an error that says to select them with `::text`.
---
--- Parameters are written `$1`, `$2` for PostgreSQL and `?` for MySQL and SQLite (where `$1` goes too), and given as a list. nil in it is NULL.
--- Lua does not see a nil at the end of a list, so a list that is too short is filled up with NULL. PostgreSQL says which type each
--- must have; strings, numbers and booleans are converted to it, tables become JSON or arrays, and seconds since 1970 a
--- `timestamptz`. Elsewhere strings go as text, or as bytes where they are not UTF-8, and tables as JSON.
---
--- Errors are tables with `code` and `message`; the message has the database's own words, with SQLSTATE, and the line
--- and column of what it does not understand. `exists`: a unique constraint, or something that is there already.
--- `invalid_data`: another constraint, or a value that does not fit. `not_found`: no such table, column, database or
--- file. `invalid_argument`: a syntax error or a wrong parameter. `permission`: the user may not, or the connection is for
--- reading only. `timeout`: `statement_timeout`, `connect_timeout`, or a lock. `limit`: too many rows or bytes.
--- `unavailable`: the server does not answer or broke off, or in a transaction of PostgreSQL what a statement names was changed by
--- others since it was prepared; try again. `denied`: not granted, or never allowed in SQLite
--- (`ATTACH`, `VACUUM INTO`, extensions, pragmas that reach beyond the database).
---
--- ## db.connect(url, opts?) -> connection
--- Connects, to `sqlite:PATH` (made where it is missing; with `?mode=ro` or `rw` not), `sqlite::memory:`,
--- `postgres://user:password@host:port/database` or `mysql://...`. A connection is a pool of connections to the server, which are made as they
--- are needed; statements that run one after the other use the same one. Two calls with the same URL and options
--- share the pool; for SQLite it has one connection. Each connection counts against `--max-handles`. URLs take `sslmode`, `sslrootcert`, `sslcert`, `sslkey`,
--- `application_name`, `prepare`, `connect_timeout` and `ro`. Options:
---
--- - `max_connections`: default 4
--- - `connect_timeout`: seconds for connecting, and for waiting until a connection is free, default 10, 0 for no bound
--- - `statement_timeout`: seconds for a statement, or for the next rows of `db.rows`, default 30, 0 for no bound. The
---   statement is ended on the server too; in a transaction that is rolled back with it
--- - `max_rows`: rows of one result, default 1,000,000; `max_bytes`: bytes of one result and of one row, default 64 MiB
--- - `numeric`: "string" (default) or "number"
--- - `read_only`: true where the connection is only to read
--- - `tls`: "disable", "prefer" (default), "require", "verify-ca", "verify-full"
--- - `ca_cert`, `ca_cert_file`: PEM of an authority to trust besides the system's; it makes `tls` "verify-full" by default.
---   For PostgreSQL it may be the server's own certificate, where that is self-signed
--- - `client_cert`, `client_key`, `client_cert_file`, `client_key_file`: PEM; files need `fs=read:`
--- - `application_name`: how PostgreSQL shows the connection
--- - `prepare`: false where PostgreSQL is behind a pooler that gives each transaction another connection (PgBouncer with
---   `pool_mode = transaction`): statements are not prepared by name, and nothing is set that would last. Default true
---
--- ## db.query(conn, sql, params?, opts?) -> {row, ...}, {name, ...}?
--- Runs a statement and gives its rows. With `{columns = true}` the names of the columns in their order come after them, also
--- where there are no rows; of several results those of the first.
---
--- ## db.execute(conn, sql, params?) -> integer, integer?
--- Runs a statement and gives how many rows it changed (in MySQL: matched), and in MySQL and SQLite the number of the last
--- new row.
---
--- ## db.rows(conn, sql, params?, opts?) -> iterator
--- Runs a statement and gives its rows one by one, in constant memory. With `{columns = true}` each comes with the names of the
--- columns in their order (`for row, columns in ...`); they are the fifth value of the call itself too, for results without rows. Leaving the loop ends the statement. On a server
--- its connection is in use until then, so that within a transaction nothing else can run in the loop.
---
--- ## db.transaction(conn, fn) -> ...
--- Calls `fn(tx)` in a transaction, commits, and gives what it returned. An error rolls back and is raised again. It is also
--- rolled back if the task or the script is ended. Statements on `tx`, and on `conn` from the same coroutine, are part of it.
--- A transaction in a transaction is a savepoint, and can be rolled back by itself. Elsewhere `BEGIN`, `COMMIT` and the like are refused.
---
--- ## db.session(conn, fn) -> ...
--- Calls `fn(session)` with a connection that nobody else uses, and closes it after that, however `fn` ends. What was set, locked
--- or made for the session lasts until then; `BEGIN` and `COMMIT` are the caller's own there, and `db.transaction` works too.
--- Statements on `conn` from the same coroutine are part of it. Not in a transaction or a session. SQLite has one
--- connection for all, which is not closed.
---
--- ## db.batch(conn, sql, {params, ...}) -> integer
--- Runs a statement once for each list of parameters, in one transaction, and gives how many rows were changed in all.
---
--- ## db.script(conn, sql)
--- Runs several statements, separated by semicolons, without parameters and results. What they begin and do not commit is
--- rolled back, and what they set does not last, except in a session; on PostgreSQL they are one transaction where they begin none. Not where a connection is for reading only,
--- nor in a transaction on a server.
---
--- ## db.blob(bytes) -> blob
--- A parameter that is bytes, where the database would take a string for text.
---
--- ## db.null
--- NULL in a list of parameters, or in an array; the same as `json.null`.
---
--- ## db.close(conn)
--- Closes the connections. `local conn <close> = db.connect(...)` does so at the end of the block.

--# example: a table
--# allow: db=sqlite:${TMP}/app.db
local conn = db.connect("sqlite:app.db")
db.execute(conn, "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE)")
local added, id = db.execute(conn, "INSERT INTO users (name, email) VALUES (?, ?)", { "Ada", "ada@example.com" })
assert.eq(added, 1)
assert.eq(id, 1)
local rows = db.query(conn, "SELECT * FROM users WHERE name = ?", { "Ada" })
assert.eq(rows[1].email, "ada@example.com")
local ok, err = pcall(db.execute, conn, "INSERT INTO users (name, email) VALUES ('Eve', 'ada@example.com')")
assert.eq(err.code, "exists")
db.close(conn)

--# example: a transaction
--# allow: db=sqlite::memory:
local conn = db.connect("sqlite::memory:")
conn:script([[
  CREATE TABLE accounts (name TEXT PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0));
  INSERT INTO accounts VALUES ('a', 100), ('b', 0);
]])
local function move(from, to, amount)
  db.transaction(conn, function(tx)
    tx:execute("UPDATE accounts SET balance = balance + ? WHERE name = ?", { amount, to })
    tx:execute("UPDATE accounts SET balance = balance - ? WHERE name = ?", { amount, from })
  end)
end
move("a", "b", 60)
assert.eq(pcall(move, "a", "b", 60), false)
assert.eq(conn:query("SELECT balance FROM accounts WHERE name = 'b'")[1].balance, 60)

--# example: PostgreSQL: JSON, arrays, exact numbers
--# needs: postgres
--# allow: db=postgres://127.0.0.1:${PG_PORT}/${PG_DB}
local conn <close> = db.connect("${PG_URL}")
conn:execute("CREATE TABLE orders (id bigserial PRIMARY KEY, items jsonb, tags text[], total numeric(10,2), at timestamptz)")
conn:execute("INSERT INTO orders (items, tags, total, at) VALUES ($1, $2, $3, $4)", {
  { { sku = "a", count = 2 } },
  { "new", "paid" },
  "19.90",
  "2024-01-31T03:04:05+01:00",
})
local order = conn:query("SELECT * FROM orders")[1]
assert.eq(order.items[1].count, 2)
assert.eq(order.tags[2], "paid")
assert.eq(order.total, "19.90")
assert.eq(order.at, "2024-01-31T02:04:05Z")

--# example: many rows in little memory
--# allow: db=sqlite::memory:
local conn = db.connect("sqlite::memory:")
conn:execute("CREATE TABLE numbers (n INTEGER)")
local sets = {}
for n = 1, 5000 do
  sets[n] = { n }
end
assert.eq(db.batch(conn, "INSERT INTO numbers VALUES (?)", sets), 5000)
local sum = 0
for row in db.rows(conn, "SELECT n FROM numbers") do
  sum = sum + row.n
end
assert.eq(sum, 12502500)

--# case: sqlite: values both ways
--# allow: db=sqlite::memory:
local conn = db.connect("sqlite::memory:")
local function back(value, declared)
  conn:execute("DROP TABLE IF EXISTS t")
  conn:execute("CREATE TABLE t (v " .. (declared or "") .. ")")
  conn:execute("INSERT INTO t VALUES (?)", { value })
  return conn:query("SELECT v, typeof(v) AS kind FROM t")[1]
end
for _, value in ipairs({ 0, -1, math.maxinteger, math.mininteger, 0.5, -1e300, "", "text", "nul\0inside", "ünï ☃ 𝄞" }) do
  assert.eq(back(value).v, value)
end
assert.eq(math.type(back(7).v), "integer")
assert.eq(math.type(back(7.5).v), "float")
assert.eq(back("x").kind, "text")
assert.eq(back("\xff\xfe\0").v, "\xff\xfe\0")
assert.eq(back("\xff").kind, "blob")
assert.eq(back(db.blob("text")).kind, "blob")
assert.eq(back(db.blob("text")).v, "text")
assert.eq(back(db.blob("")).v, "")
assert.eq(back(true).v, 1)
assert.eq(back(true, "BOOLEAN").v, true)
assert.eq(back(false, "boolean").v, false)
assert.eq(back(7, "BOOLEAN").v, 7)
assert.eq(back(nil).v, nil)
assert.eq(back(db.null).kind, "null")
assert.eq(db.null, json.null)
assert.eq(back({ a = { 1, 2 } }).v, '{"a":[1,2]}')
assert.eq(back({ a = { 1, 2 } }, "JSON").v.a[2], 2)
assert.eq(back("no JSON", "JSON").v, "no JSON")
assert.eq(back(json.number("123456789012345678901234567890")).v, "123456789012345678901234567890")
local big = ("x"):rep(1000000)
assert.eq(back(big).v == big, true)
assert.eq(conn:query("SELECT 9e999 AS inf")[1].inf, math.huge)

--# case: sqlite: results
--# allow: db=sqlite::memory:
local conn = db.connect("sqlite::memory:")
conn:execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
assert.eq(#conn:query("SELECT * FROM t"), 0)
assert.eq(conn:execute("INSERT INTO t (v) VALUES (1), (2), (3)"), 3)
local n, id = conn:execute("UPDATE t SET v = v + 1 WHERE v > 1")
assert.eq(n, 2)
assert.eq(conn:execute("DELETE FROM t WHERE v > 100"), 0)
assert.eq(conn:execute("CREATE TABLE u (v)"), 0)
assert.eq(conn:execute("INSERT INTO t (v) VALUES (9) RETURNING id"), 1)
assert.eq(conn:query("INSERT INTO t (v) VALUES (10) RETURNING id, v")[1].v, 10)
assert.eq(conn:query("SELECT 1 AS a, 2 AS a")[1].a, 2)
assert.eq(conn:query("SELECT 1 AS \"ü ☃\"")[1]["ü ☃"], 1)
assert.eq(conn:query("  -- nothing\n ;")[1], nil)
assert.eq(conn:query("SELECT ? IS NULL AS v", { nil })[1].v, 1)
assert.eq(conn:query("SELECT ?2 AS a, ?1 AS b", { 1, 2 })[1].a, 2)
assert.eq(conn:query("SELECT ? IS NULL AS a, ? AS b", { nil, 5 })[1].b, 5)
assert.eq(conn:query("SELECT ? AS a, ? IS NULL AS b", { 5 })[1].b, 1)
assert.eq(conn:query("SELECT ? AS a, ? IS NULL AS b", table.pack(5, nil))[1].b, 1)

--# case: sqlite: wrong arguments
--# allow: db=sqlite::memory:
local conn = db.connect("sqlite::memory:")
local function fails(pattern, ...)
  local ok, err = pcall(...)
  assert.eq(ok, false)
  assert.contains(tostring(err), pattern)
  return err
end
fails("bad argument #1 to 'query'", db.query, nil, "SELECT 1")
fails("bad argument #1 to 'query'", db.query, {}, "SELECT 1")
fails("bad argument #2 to 'query'", db.query, conn)
fails("bad argument #2 to 'transaction'", db.transaction, conn)
fails("list of parameters", db.query, conn, "SELECT ?", 1)
fails("have no names", db.query, conn, "SELECT ?", { a = 1 })
fails("function, which no database can hold", db.query, conn, "SELECT ?", { print })
fails("1 parameters, and 0 were given", db.query, conn, "SELECT ?")
fails("0 parameters, and 1 were given", db.query, conn, "SELECT 1", { 1 })
fails("1 parameters, and 2 were given", db.query, conn, "SELECT ?", { 1, 2 })
assert.eq(db.query(conn, "SELECT $2 AS b, $1 AS a, $2 AS c", { 1, 2 })[1], { a = 1, b = 2, c = 2 })
fails("2 parameters, and 3 were given", db.query, conn, "SELECT $2", { 1, 2, 3 })
fails("are written ?", db.query, conn, "SELECT $0", { 1 })
fails("are written ?", db.query, conn, "SELECT $name", { 1 })
fails("are written ?", db.query, conn, "SELECT :name", { 1 })
fails("more than one statement", db.query, conn, "SELECT 1; SELECT 2")
fails("NUL byte", db.query, conn, "SELECT 1 -- \0")
assert.eq(conn:query("SELECT 1 AS x; -- end")[1].x, 1)
assert.eq(fails("no such table", db.query, conn, "SELECT * FROM nowhere").code, "not_found")
local err = fails("at line 2 column 8", db.query, conn, "SELECT 1\n  FROM , t")
assert.eq(err.code, "invalid_argument")
conn:script("CREATE TABLE t (a INTEGER NOT NULL, b UNIQUE, c CHECK (c > 0)); INSERT INTO t VALUES (1, 1, 1)")
assert.eq(fails("UNIQUE", db.execute, conn, "INSERT INTO t VALUES (1, 1, 1)").code, "exists")
assert.eq(fails("NOT NULL", db.execute, conn, "INSERT INTO t VALUES (NULL, 2, 1)").code, "invalid_data")
assert.eq(fails("CHECK", db.execute, conn, "INSERT INTO t VALUES (1, 2, 0)").code, "invalid_data")
assert.eq(fails("already exists", db.execute, conn, "CREATE TABLE t (a)").code, "exists")
fails("db.transaction", db.execute, conn, "BEGIN")
fails("db.transaction", db.execute, conn, "SAVEPOINT x")
fails("unknown option 'max_row'; did you mean 'max_rows'?", db.connect, "sqlite::memory:", { max_row = 1 })
fails("no option 'tls'", db.connect, "sqlite::memory:", { tls = "require" })
fails("positive integer", db.connect, "sqlite::memory:", { max_rows = 0 })
fails("number of seconds", db.connect, "sqlite::memory:", { statement_timeout = -1 })
fails("is not a value of an option", db.connect, "sqlite::memory:", { max_rows = {} })
fails("no database has the scheme", db.connect, "oracle://h/d")
fails("no scheme", db.connect, "app.db")
-- A wrong argument is told at the place of the call.
local function connect(...) local conn = db.connect(...) return conn end
assert.matches(fails("bad argument #1 to 'connect' (string expected, got no value)", connect), "^case.lua:\\d+: ")
assert.matches(fails("bad argument #2 to 'connect' (table expected, got string)", connect, "sqlite::memory:", "ro"), "^case.lua:\\d+: ")

--# case: sqlite: closing
--# allow: db=sqlite:${TMP}
local conn = db.connect("sqlite:a.db")
local other = db.connect("sqlite:a.db")
conn:execute("CREATE TABLE t (v)")
conn:close()
conn:close()
local ok, err = pcall(conn.query, conn, "SELECT 1")
assert.eq(err.code, "invalid_argument")
assert.contains(err.message, "closed")
-- The other goes on.
assert.eq(#other:query("SELECT * FROM t"), 0)
do
  local third <close> = db.connect("sqlite:b.db")
  third:execute("CREATE TABLE t (v)")
end
assert.eq(db.query(db.connect("sqlite:b.db?mode=ro"), "SELECT count(*) AS n FROM t")[1].n, 0)

--# case: sqlite: files and modes
--# allow: db=sqlite:${TMP},fs=rw:${TMP}
local ok, err = pcall(db.connect, "sqlite:new.db?mode=rw")
assert.eq(err.code, "not_found")
assert.eq(pcall(db.connect, "sqlite:new.db?mode=ro"), false)
assert.eq(fs.exists("new.db"), false)
local conn = db.connect("sqlite://" .. fs.canonicalize(".") .. "/new.db")
assert.eq(conn:query("PRAGMA journal_mode = wal")[1].journal_mode, "wal")
conn:execute("CREATE TABLE t (v)")
assert.eq(fs.exists("new.db-wal"), true)
conn:close()
assert.eq(fs.exists("new.db-wal"), false)
fs.write("text.db", ("this is no database "):rep(100))
local ok, err = pcall(db.connect, "sqlite:text.db")
assert.eq(err.code, "invalid_data")
assert.contains(err.message, "text.db")
fs.mkdir("directory")
assert.eq(pcall(db.connect, "sqlite:directory"), false)
assert.eq(select(2, pcall(db.connect, "sqlite:none/x.db")).code, "not_found")

--# case: sqlite: transactions
--# allow: db=sqlite:${TMP}/a.db
local conn = db.connect("sqlite:a.db")
conn:execute("CREATE TABLE t (v INTEGER)")
local function all()
  local out = {}
  for row in conn:rows("SELECT v FROM t ORDER BY v") do
    out[#out + 1] = row.v
  end
  return table.concat(out, " ")
end
local a, b, c = db.transaction(conn, function(tx)
  tx:execute("INSERT INTO t VALUES (1)")
  conn:execute("INSERT INTO t VALUES (2)")
  return "x", nil, "z"
end)
assert.eq(a .. tostring(b) .. c, "xnilz")
assert.eq(all(), "1 2")
-- An error rolls back, and comes through as it is.
local thrown = { "mine" }
local ok, err = pcall(db.transaction, conn, function(tx)
  tx:execute("INSERT INTO t VALUES (3)")
  error(thrown)
end)
assert.eq(err == thrown, true)
assert.eq(all(), "1 2")
-- A part of it, by itself.
db.transaction(conn, function(tx)
  tx:execute("INSERT INTO t VALUES (4)")
  pcall(db.transaction, tx, function(inner)
    inner:execute("INSERT INTO t VALUES (5)")
    assert.eq(tx:query("SELECT count(*) AS n FROM t")[1].n, 4)
    error("no")
  end)
  conn:transaction(function(inner)
    inner:execute("INSERT INTO t VALUES (6)")
    conn:transaction(function()
      conn:execute("INSERT INTO t VALUES (7)")
    end)
  end)
end)
assert.eq(all(), "1 2 4 6 7")
-- A task that is cancelled, a coroutine that is closed.
local inserted = async.spawn(sleep, 60)
local task = async.spawn(function()
  db.transaction(conn, function(tx)
    tx:execute("INSERT INTO t VALUES (8)")
    inserted:cancel()
    sleep(60)
  end)
end)
assert.eq(pcall(inserted.await, inserted), false)
task:cancel()
assert.eq(all(), "1 2 4 6 7")
local co = coroutine.create(function()
  db.transaction(conn, function(tx)
    tx:execute("INSERT INTO t VALUES (9)")
    coroutine.yield()
  end)
end)
coroutine.resume(co)
coroutine.close(co)
assert.eq(all(), "1 2 4 6 7")
-- It is over when it is over.
local kept
conn:transaction(function(tx) kept = tx end)
assert.eq(select(2, pcall(kept.query, kept, "SELECT 1")).code, "invalid_argument")
assert.eq(select(2, pcall(db.transaction, conn, function(tx) tx:close() end)).code, "invalid_argument")
-- Rows are read in one while others are changed.
conn:transaction(function(tx)
  for row in tx:rows("SELECT v FROM t") do
    tx:execute("UPDATE t SET v = v + 100 WHERE v = ?", { row.v })
  end
end)
assert.eq(all(), "101 102 104 106 107")

--# case: sqlite: a killed script leaves nothing behind
--# allow: db=sqlite:${TMP}/a.db
--# flags: --timeout 1s
--# exit: 124
local conn = db.connect("sqlite:a.db")
conn:execute("CREATE TABLE t (v)")
conn:transaction(function(tx)
  tx:execute("INSERT INTO t VALUES (1)")
  tx:query("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c")
end)

--# case: sqlite: rows one by one
--# allow: db=sqlite:${TMP}/a.db
local conn = db.connect("sqlite:a.db")
conn:execute("CREATE TABLE t (n INTEGER, text TEXT)")
conn:execute("INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 20000) SELECT x, printf('%0200d', x) FROM c")
local n = 0
for row in conn:rows("SELECT * FROM t ORDER BY n") do
  n = n + 1
  assert.eq(row.n, n)
  assert.eq(#row.text, 200)
end
assert.eq(n, 20000)
-- Leaving the loop ends the statement: the table can be dropped.
for row in conn:rows("SELECT * FROM t") do
  break
end
pcall(function()
  for row in conn:rows("SELECT * FROM t") do
    error("out")
  end
end)
-- Other statements run in the loop.
local count = 0
for row in conn:rows("SELECT n FROM t WHERE n <= 1000") do
  count = count + conn:query("SELECT count(*) AS c FROM t WHERE n = ?", { row.n })[1].c
end
assert.eq(count, 1000)
assert.eq(#conn:query("SELECT * FROM t"), 20000)
conn:execute("DROP TABLE t")
for row in conn:rows("SELECT 1 AS x WHERE 0") do
  error("there is no row")
end

--# case: sqlite: limits of a result
--# allow: db=sqlite::memory:
local conn = db.connect("sqlite::memory:", { max_rows = 10, max_bytes = 100000 })
local some = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < %d) SELECT x FROM c"
assert.eq(#conn:query(some:format(10)), 10)
local ok, err = pcall(conn.query, conn, some:format(11))
assert.eq(err.code, "limit")
assert.contains(err.message, "max_rows")
local n = 0
for row in conn:rows(some:format(11)) do
  n = n + 1
end
assert.eq(n, 11)
local wide = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < %d) SELECT zeroblob(30000) AS z FROM c"
assert.eq(#conn:query(wide:format(3)), 3)
local ok, err = pcall(conn.query, conn, wide:format(4))
assert.eq(err.code, "limit")
assert.contains(err.message, "max_bytes")
-- One row.
assert.eq(#conn:query("SELECT zeroblob(99000) AS z")[1].z, 99000)
assert.eq(select(2, pcall(conn.query, conn, "SELECT zeroblob(100001) AS z")).code, "limit")
assert.eq(select(2, pcall(function()
  for row in conn:rows("SELECT zeroblob(60000) AS a, zeroblob(60000) AS b") do
    error("too much")
  end
end)).code, "limit")
assert.eq(select(2, pcall(conn.execute, conn, "SELECT ?", { ("x"):rep(100001) })).code, "limit")
-- The connection goes on.
assert.eq(conn:query("SELECT 1 AS x")[1].x, 1)

--# case: sqlite: a statement that does not end
--# allow: db=sqlite::memory:
local conn = db.connect("sqlite::memory:", { statement_timeout = 0.2 })
conn:execute("CREATE TABLE t (v)")
local endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c"
local ok, err = pcall(conn.query, conn, endless)
assert.eq(err.code, "timeout")
assert.contains(err.message, "0.2 seconds")
-- The database in memory is still the same.
assert.eq(#conn:query("SELECT * FROM t"), 0)
local task = async.spawn(function() conn:query(endless) end)
task:cancel()
assert.eq(#conn:query("SELECT * FROM t"), 0)
assert.eq(select(2, pcall(conn.script, conn, endless)).code, "timeout")
assert.eq(#conn:query("SELECT * FROM t"), 0)

--# case: sqlite: memory of the host is bounded
--# allow: db=sqlite::memory:
--# flags: --memory 32MiB
local conn = db.connect("sqlite::memory:")
conn:execute("CREATE TABLE t (v)")
local ok, err = pcall(conn.execute, conn, "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 100) SELECT randomblob(1000000) FROM c")
assert.eq(err.code, "limit")
assert.eq(conn:execute("INSERT INTO t VALUES (1)"), 1)

--# case: sqlite: batches and scripts
--# allow: db=sqlite::memory:
local conn = db.connect("sqlite::memory:")
conn:execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
local sets = {}
for n = 1, 3000 do
  sets[n] = { n, n % 2 == 0 and ("x"):rep(1000) or nil }
end
assert.eq(conn:batch("INSERT INTO t VALUES (?, ?)", sets), 3000)
assert.eq(conn:query("SELECT count(b) AS n FROM t")[1].n, 1500)
-- All or nothing.
local ok, err = pcall(conn.batch, conn, "INSERT INTO t VALUES (?, ?)", { { 4000 }, { 1 } })
assert.eq(err.code, "exists")
assert.eq(#conn:query("SELECT * FROM t WHERE a = 4000"), 0)
assert.eq(conn:batch("INSERT INTO t VALUES (?, ?)", {}), 0)
assert.contains(select(2, pcall(conn.batch, conn, "INSERT INTO t VALUES (?, ?)", { 1 })), "element 1")
conn:script("BEGIN; DELETE FROM t; COMMIT; -- done")
assert.eq(#conn:query("SELECT * FROM t"), 0)
-- What is not committed is rolled back.
conn:script("BEGIN; INSERT INTO t VALUES (1, 1)")
assert.eq(#conn:query("SELECT * FROM t"), 0)
local ok, err = pcall(conn.script, conn, "INSERT INTO t VALUES (1, 1); NONSENSE; INSERT INTO t VALUES (2, 2)")
assert.eq(err.code, "invalid_argument")
assert.eq(#conn:query("SELECT * FROM t"), 1)
conn:transaction(function(tx)
  assert.eq(select(2, pcall(tx.script, tx, "COMMIT")).code, "denied")
  tx:script("INSERT INTO t VALUES (3, 3); INSERT INTO t VALUES (4, 4)")
end)
assert.eq(#conn:query("SELECT * FROM t"), 3)

--# case: sqlite: two scripts and a lock
--# allow: db=sqlite:${TMP}/a.db
local one = db.connect("sqlite:a.db", { max_rows = 1 })
local two = db.connect("sqlite:a.db", { max_rows = 2 })
one:execute("CREATE TABLE t (v)")
-- They are connections of their own, as two processes would have them; one waits for the other.
local results = async.all({
  function() one:transaction(function(tx) tx:execute("INSERT INTO t VALUES (1)") sleep(0.2) end) return "one" end,
  function() two:transaction(function(tx) tx:execute("INSERT INTO t VALUES (2)") sleep(0.2) end) return "two" end,
})
assert.eq(results[2], "two")
assert.eq(one:query("SELECT count(*) AS n FROM t")[1].n, 2)

--# case: sqlite: a statement that was run before
--# allow: db=sqlite::memory:
local conn = db.connect("sqlite::memory:")
conn:execute("CREATE TABLE t (a)")
conn:execute("INSERT INTO t VALUES (1)")
local function read() return conn:query("SELECT * FROM t") end
assert.eq(read()[1].a, 1)
-- The table may change in between, also in a transaction that is rolled back.
conn:execute("ALTER TABLE t ADD COLUMN b JSON DEFAULT '[2]'")
assert.eq(read()[1].b[1], 2)
assert.eq(pcall(conn.transaction, conn, function()
  conn:execute("ALTER TABLE t RENAME COLUMN a TO c")
  assert.eq(read()[1].c, 1)
  error("enough")
end), false)
assert.eq(read()[1].a, 1)
conn:execute("DROP TABLE t")
assert.eq(select(2, pcall(read)).code, "not_found")
conn:execute("CREATE TABLE t (d BOOLEAN)")
conn:execute("INSERT INTO t VALUES (1), (0)")
assert.eq(read()[1].d, true)
-- It may run within its own rows, and after it failed.
local pairs_of = 0
for _ in conn:rows("SELECT * FROM t") do
  for _ in conn:rows("SELECT * FROM t") do
    pairs_of = pairs_of + #read()
  end
end
assert.eq(pairs_of, 8)
conn:execute("CREATE UNIQUE INDEX once ON t (d)")
local add <const> = "INSERT INTO t VALUES (?)"
assert.eq(select(2, pcall(conn.execute, conn, add, { 1 })).code, "exists")
assert.eq(conn:execute(add, { 2 }), 1)
-- Nothing stays bound from the time before.
assert.eq(conn:query("SELECT ? AS x", { "kept" })[1].x, "kept")
assert.eq(conn:query("SELECT ? AS x", {})[1].x, nil)
-- As many others as may be do no harm.
for round = 1, 2 do
  for n = 1, 200 do
    assert.eq(conn:query("SELECT " .. n .. " AS n")[1].n, n)
  end
end
assert.eq(#read(), 3)

--# case: sqlite: short statements give way to timers and other tasks
--# allow: db=sqlite::memory:
local conn = db.connect("sqlite::memory:")
local slept, ran = false, false
async.spawn(function() sleep(0.001) slept = true end)
async.spawn(function() ran = true end)
-- It would never end if it kept the others out.
while not (slept and ran) do
  conn:query("SELECT 1")
end
conn:transaction(function(tx)
  slept = false
  async.spawn(function() sleep(0.001) slept = true end)
  while not slept do
    tx:query("SELECT 1")
  end
end)

--# case: sqlite: waiting from anywhere
--# allow: db=sqlite::memory:
local conn = db.connect("sqlite::memory:")
local function number(n) return conn:query("SELECT ? AS n", { n })[1].n end
assert.eq(coroutine.wrap(number)(1), 1)
assert.eq(select(2, pcall(number, 2)), 2)
local list = { 3, 1, 2 }
table.sort(list, function(a, b) return number(a) < number(b) end)
assert.eq(list[1], 1)
assert.eq(setmetatable({}, { __index = function(_, n) return number(n) end })[7], 7)
local tasks = {}
for n = 1, 50 do
  tasks[n] = function() return number(n) end
end
assert.eq(async.all(tasks)[50], 50)

--# case: sqlite: connections are handles
--# allow: db=sqlite::memory:
--# flags: --max-handles 4
local held = {}
local ok, err = pcall(function()
  for n = 1, 5 do
    held[n] = db.connect("sqlite::memory:")
  end
end)
assert.eq(err.code, "limit")
assert.eq(#held, 4)
held[1]:close()
db.connect("sqlite::memory:")

--# case: sqlite: bytes are counted
--# allow: db=sqlite::memory:
--# flags: --max-host-bytes 100KiB
local conn = db.connect("sqlite::memory:")
assert.eq(#conn:query("SELECT zeroblob(50000) AS z")[1].z, 50000)
assert.eq(select(2, pcall(conn.query, conn, "SELECT zeroblob(60000) AS z")).code, "limit")

--# case: denied without a grant
local ok, err = pcall(db.connect, "postgres://me:s3cret@db.example.com/app")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow 'db=postgres://db.example.com:5432/app'")
assert.eq(err.message:find("s3cret"), nil)
local ok, err = pcall(db.connect, "sqlite:app.db")
assert.contains(err.message, "--allow db=sqlite:app.db")
local ok, err = pcall(db.connect, "sqlite::memory:")
assert.contains(err.message, "--allow db=sqlite::memory:")

--# case: denied outside of the grant
--# allow: db=sqlite:${TMP}/in,db=postgres://127.0.0.1:1/app?ro
--# file: in/x=
local ok, err = pcall(db.connect, "sqlite:out.db")
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow db=sqlite:${TMP}/out.db")
local ok, err = pcall(db.connect, "sqlite:out.db?mode=ro")
assert.contains(err.message, "--allow 'db=sqlite:${TMP}/out.db?ro'")
assert.eq(select(2, pcall(db.connect, "sqlite::memory:")).code, "denied")
for _, url in ipairs({
  "postgres://127.0.0.1:2/app", "postgres://127.0.0.1:1/other", "mysql://127.0.0.1:1/app", "postgres://localhost:1/app",
}) do
  local ok, err = pcall(db.connect, url)
  assert.eq(err.code, "denied", url)
  assert.contains(err.message, "--allow 'db=" .. url .. "'")
end
-- The place is granted, and nothing listens there.
assert.eq(select(2, pcall(db.connect, "postgres://127.0.0.1:1/app")).code, "unavailable")

--# case: a server that does not answer
--# allow: db=postgres://127.0.0.1:${HTTP_PORT},db=mysql://127.0.0.1:${HTTP_PORT},db=postgres://127.0.0.1:${CLOSED_PORT}
--# needs: http
local ok, err = pcall(db.connect, "postgres://me:s3cret@127.0.0.1:${CLOSED_PORT}/x")
assert.eq(err.code, "unavailable")
assert.contains(err.message, "postgres://127.0.0.1:${CLOSED_PORT}/x")
assert.eq(err.message:find("s3cret"), nil)
local ok, err = pcall(db.connect, "mysql://me:s3cret@127.0.0.1:${HTTP_PORT}/x", { connect_timeout = 0.2 })
assert.eq(err.code, "timeout")
assert.eq(err.message:find("s3cret"), nil)
local ok, err = pcall(db.connect, "postgres://me:s3cret@127.0.0.1:${HTTP_PORT}/x", { connect_timeout = 1 })
assert.eq(ok, false)
assert.eq(err.message:find("s3cret"), nil)

--# example: a CSV file of a table
--# allow: db=sqlite::memory:
local conn = db.connect("sqlite::memory:")
conn:script("CREATE TABLE t (name TEXT, size INTEGER, at TEXT); INSERT INTO t VALUES ('a', 1, '2024'), ('b', NULL, '2025')")
local rows, columns = conn:query("SELECT * FROM t ORDER BY name", nil, { columns = true })
local lines = { table.concat(columns, ",") }
for _, row in ipairs(rows) do
  local line = {}
  for n, name in ipairs(columns) do
    line[n] = tostring(row[name] or "")
  end
  lines[#lines + 1] = table.concat(line, ",")
end
assert.eq(table.concat(lines, "\n"), "name,size,at\na,1,2024\nb,,2025")

--# example: what lasts as long as a session
--# needs: postgres
--# allow: db=postgres://127.0.0.1:${PG_PORT}/${PG_DB}
local conn <close> = db.connect("${PG_URL}")
local slow = db.session(conn, function(session)
  session:execute("SET statement_timeout = '5min'")
  session:execute("CREATE TEMP TABLE seen (id int)")
  session:batch("INSERT INTO seen VALUES ($1)", { { 1 }, { 2 } })
  return session:query("SELECT count(*)::int AS n FROM seen")[1].n
end)
assert.eq(slow, 2)

--# case: the order of columns in SQLite
--# allow: db=sqlite::memory:
local conn = db.connect("sqlite::memory:")
local function names(sql, params)
  return table.concat(select(2, conn:query(sql, params, { columns = true })), ",")
end
assert.eq(names("SELECT 1 AS z, 2 AS a, 3 AS a"), "z,a,a")
assert.eq(names("SELECT 1 AS z, 2 AS a WHERE 1 = ?", { 2 }), "z,a")
conn:execute("CREATE TABLE t (b, a)")
assert.eq(names("SELECT * FROM t"), "b,a")
conn:execute("ALTER TABLE t ADD COLUMN c")
assert.eq(names("SELECT * FROM t"), "b,a,c")
assert.eq(names("INSERT INTO t VALUES (1, 2, 3)"), "")
assert.eq(names("INSERT INTO t VALUES (4, 5, 6) RETURNING c, b"), "c,b")
local seen = {}
for row, columns in conn:rows("SELECT * FROM t ORDER BY b", nil, { columns = true }) do
  seen[#seen + 1] = row[columns[1]] .. table.concat(columns)
end
assert.eq(table.concat(seen, " "), "1bac 4bac")
local step, _, _, guard, columns = conn:rows("SELECT * FROM t WHERE b = 9", nil, { columns = true })
assert.eq(#columns, 3)
assert.eq(step(), nil)
assert.eq(conn:rows("SELECT 1 AS v")().v, 1)
local ok, err = pcall(conn.query, conn, "SELECT 1", nil, { colums = true })
assert.contains(tostring(err), "columns")
assert.contains(tostring(select(2, pcall(conn.rows, conn, "SELECT 1", nil, { columns = "yes" }))), "boolean expected")

--# case: a session of SQLite
--# allow: db=sqlite::memory:
local conn = db.connect("sqlite::memory:")
conn:execute("CREATE TABLE t (v)")
local out = db.session(conn, function(session)
  session:execute("CREATE TEMP TABLE mine (v)")
  session:execute("INSERT INTO t VALUES (1)")
  session:transaction(function(tx) tx:execute("INSERT INTO t VALUES (2)") end)
  pcall(session.transaction, session, function(tx)
    tx:execute("INSERT INTO t VALUES (3)")
    error("no")
  end)
  assert.eq(#conn:query("SELECT v FROM t"), 2)
  return "done"
end)
assert.eq(out, "done")
assert.eq(#conn:query("SELECT v FROM t"), 2)
assert.contains(tostring(select(2, pcall(db.session, conn))), "function expected")
assert.contains(tostring(select(2, pcall(db.session, conn, function() error("inner") end))), "inner")
assert.eq(#conn:query("SELECT v FROM t"), 2)
