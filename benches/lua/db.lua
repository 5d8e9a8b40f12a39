-- 10,000 inserts in a transaction and, where AUTOCOMMIT, each by itself; 100,000 rows read. URL, ID (the type of a
-- key) and VALUES (three parameters) say which database.
local conn = db.connect(URL)

local function begin(name)
  conn:execute("DROP TABLE IF EXISTS " .. name)
  conn:execute("CREATE TABLE " .. name .. " (id " .. ID .. " PRIMARY KEY, name TEXT NOT NULL, score DOUBLE PRECISION NOT NULL)")
  return "INSERT INTO " .. name .. " (id, name, score) VALUES (" .. VALUES .. ")"
end

local function measure(name, work)
  collectgarbage()
  local began = time()
  work()
  print(string.format("%s %.9f", name, time() - began))
end

if AUTOCOMMIT then
  conn:query("PRAGMA journal_mode = WAL")
  conn:execute("PRAGMA synchronous = NORMAL")
end

local insert = begin("inserted")
measure("transaction", function()
  db.transaction(conn, function(tx)
    for i = 1, 10000 do
      tx:execute(insert, { i, "name " .. i, i / 7 })
    end
  end)
end)

if AUTOCOMMIT then
  local insert = begin("committed")
  measure("autocommit", function()
    for i = 1, 10000 do
      conn:execute(insert, { i, "name " .. i, i / 7 })
    end
  end)
end

begin("filled")
conn:execute([[INSERT INTO filled WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
  SELECT i, 'name ' || i, i / 7.0 FROM n]])
local rows
measure("select", function()
  rows = conn:query("SELECT id, name, score FROM filled ORDER BY id")
end)
local sum = 0
for _, row in ipairs(rows) do
  sum = sum + row.id + #row.name
end
assert(rows[7].score == 1.0 and math.type(rows[7].id) == "integer")
print("result " .. #rows .. "/" .. sum)
