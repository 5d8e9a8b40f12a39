--- # PgBouncer
--- What `db` does behind a pooler that gives each transaction another connection to the server; its page is that of `db`.

--# case: a pooler in transaction mode
--# needs: pgbouncer
--# allow: db=postgres://127.0.0.1:${POOLER_PORT}/${POOLER_DB}
for _, conn in ipairs({ db.connect("${POOLER_URL}", { prepare = false }), db.connect("${POOLER_URL}?prepare=false") }) do
  conn:script([[
    DROP TABLE IF EXISTS t, m;
    DROP TYPE IF EXISTS mood;
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE TABLE t (v int, at timestamptz DEFAULT now());
    CREATE TABLE m (v mood, list mood[]);
  ]])
  for n = 1, 10 do
    assert.eq(conn:execute("INSERT INTO t (v) VALUES ($1)", { n }), 1)
    assert.eq(conn:query("SELECT v FROM t WHERE v = $1", { n })[1].v, n)
    -- Types that must be asked for, in both directions.
    assert.eq(conn:execute("INSERT INTO m VALUES ($1, $2)", { "happy", { "sad", "happy" } }), 1)
    local row = conn:query("SELECT * FROM m LIMIT 1")[1]
    assert.eq(row.v .. #row.list .. row.list[2], "happy2happy")
    assert.eq(conn:query("SELECT count(*)::int AS n FROM pg_prepared_statements")[1].n, 0)
    -- What was set for one is not met by others.
    assert.eq(conn:query("SHOW client_min_messages")[1].client_min_messages, "notice")
  end
  -- The pooler makes further connections where several are wanted at a time, and gives them in turn.
  local tasks = {}
  for n = 1, 3 do
    tasks[n] = function() conn:query("SELECT pg_sleep(0.5)") end
  end
  async.all(tasks)
  local pids = {}
  for _ = 1, 6 do
    pids[conn:query("SELECT pg_backend_pid() AS pid")[1].pid] = true
  end
  assert.eq(next(pids, next(pids)) ~= nil, true, "each transaction has the next connection")
  -- What cannot run in a transaction does not need one.
  conn:execute("VACUUM t")
  assert.eq(conn:batch("INSERT INTO t (v) VALUES ($1)", { { 100 }, { 101 } }), 2)
  conn:transaction(function(tx)
    tx:execute("INSERT INTO t (v) VALUES ($1)", { 102 })
    pcall(db.transaction, tx, function(inner)
      inner:execute("INSERT INTO t (v) VALUES ($1)", { 103 })
      error("no")
    end)
  end)
  assert.eq(#conn:query("SELECT v FROM t WHERE v >= 100"), 3)
  -- Errors leave nothing open.
  for _ = 1, 5 do
    assert.eq(select(2, pcall(conn.query, conn, "SELECT $1::int", { "x" })).code, "invalid_argument")
    assert.eq(select(2, pcall(conn.query, conn, "SELECT * FROM nowhere")).code, "not_found")
    assert.eq(select(2, pcall(conn.query, conn, "SELECT 1 / $1::int", { 0 })).code, "invalid_data")
    assert.eq(conn:query("SELECT $1::int AS v", { 5 })[1].v, 5)
  end
  local n = 0
  for row in conn:rows("SELECT g FROM generate_series(1, 50000) g WHERE g > $1", { 0 }) do
    n = n + 1
    if n == 1000 then break end
  end
  assert.eq(#conn:query("SELECT v FROM t WHERE v < $1", { 100 }), 10)
  -- A table that another changes.
  conn:query("SELECT * FROM t")
  conn:execute("ALTER TABLE t ADD COLUMN more int DEFAULT 7")
  assert.eq(conn:query("SELECT * FROM t LIMIT 1")[1].more, 7)
end

--# case: a statement behind a pooler is ended on the server
--# needs: pgbouncer
--# allow: db=postgres://127.0.0.1:${POOLER_PORT}/${POOLER_DB}
local conn = db.connect("${POOLER_URL}", { prepare = false, statement_timeout = 0.3 })
assert.eq(select(2, pcall(conn.query, conn, "SELECT pg_sleep(60)")).code, "timeout")
local watch = db.connect("${POOLER_URL}?prepare=false")
local function busy()
  return watch:query([[SELECT count(*)::int AS n FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(60)%'
    AND pid <> pg_backend_pid() AND datname = current_database()]])[1].n
end
for _ = 1, 500 do
  if busy() == 0 then break end
  sleep(0.02)
end
assert.eq(busy(), 0)
