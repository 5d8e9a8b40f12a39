-- Connections, transactions, and loops over rows.
local natives, shared = ...
local no_more <const> = shared.no_more
local expected, options = shared.expected, shared.options
local db = natives.db
local connect, run, fetch, run_batch, run_script = natives.connect, natives.run, natives.fetch, natives.batch, natives.script
local begin, open_session = natives.begin, natives.session
local finish, close, abandon, failure = natives.finish, natives.close, natives.abandon, natives.failure
local type, error, pcall, getmetatable, setmetatable = type, error, pcall, getmetatable, setmetatable
local running = coroutine.running

-- `handle` is the host's side. `inside` has, by coroutine, the transactions that are open in it, so that statements on
-- the connection itself are part of them.
local Connection = {}
Connection.__index = Connection
Connection.__name = "db.connection"
Connection.__metatable = false

local weak <const> = { __mode = "k" }
-- What a script puts into a table of its own must not pass for a connection.
local known <const> = setmetatable({}, weak)

local function wrap(handle, is_transaction)
  local connection = setmetatable({}, Connection)
  known[connection] = { handle = handle, is_transaction = is_transaction, inside = setmetatable({}, weak) }
  return connection
end

-- The connection that a call is about; `level` is how far above the script's call is, as for `error`.
local function state_of(connection, name, level)
  local state = known[connection]
  if not state then
    local kind = connection == nil and "no value" or type(connection)
    error("bad argument #1 to '" .. name .. "' (db.connection expected, got " .. kind .. ")", (level or 2) + 1)
  end
  return state
end

local function handle_of(connection, name)
  local state, thread = state_of(connection, name, 3), running()
  local inner = state.inside[thread]
  while inner do
    state, inner = inner, inner.inside[thread]
  end
  return state.handle
end

local function check_sql(sql, name)
  if type(sql) ~= "string" then
    error("bad argument #2 to '" .. name .. "' (string expected, got " .. (sql == nil and "no value" or type(sql)) .. ")", 3)
  end
end

local connect_options <const> = shared.names("max_connections", "connect_timeout", "statement_timeout", "max_rows",
  "max_bytes", "numeric", "read_only", "tls", "ca_cert", "ca_cert_file", "client_cert", "client_cert_file", "client_key",
  "client_key_file", "application_name", "prepare")
local query_options <const> = shared.names("columns")

function db.connect(url, opts, ...)
  no_more(2, "connect", ...)
  if type(url) ~= "string" then
    expected(1, "connect", "string", url)
  end
  return wrap(connect(url, options(2, "connect", opts, connect_options)), false)
end

-- Whether the names of the columns are wanted too.
local function is_named(opts, name)
  local named <const> = opts ~= nil and options(4, name, opts, query_options, 3).columns
  if named ~= nil and type(named) ~= "boolean" then
    error("bad argument #4 to '" .. name .. "' (field 'columns': boolean expected, got " .. type(named) .. ")", 3)
  end
  return named
end

function Connection.query(connection, sql, params, opts, ...)
  no_more(4, "query", ...)
  local named <const> = is_named(opts, "query")
  local handle <const> = handle_of(connection, "query")
  check_sql(sql, "query")
  local list, count, rows, _, _, names = run(handle, sql, params, "all", named)
  if rows then
    local guard <close> = setmetatable({}, { __close = function() abandon(rows) end })
    local before
    repeat
      before = count
      count = fetch(rows, list, count)
    until count == before
  end
  if names then
    return shared.listed(list), shared.listed(names)
  end
  return shared.listed(list)
end

function Connection.execute(connection, sql, params, ...)
  no_more(3, "execute", ...)
  local handle <const> = handle_of(connection, "execute")
  check_sql(sql, "execute")
  local _, _, _, affected, id = run(handle, sql, params, "none")
  return affected, id
end

function Connection.rows(connection, sql, params, opts, ...)
  no_more(4, "rows", ...)
  local named <const> = is_named(opts, "rows")
  local handle <const> = handle_of(connection, "rows")
  check_sql(sql, "rows")
  local list, count, rows, _, _, names = run(handle, sql, params, "stream", named)
  local first_names <const> = names
  local at = 0
  local function step()
    if at == count then
      if not rows then
        return nil
      end
      list, at = {}, 0
      count, names = fetch(rows, list, 0, named)
      if count == 0 then
        abandon(rows)
        rows = nil
        return nil
      end
    end
    at = at + 1
    local row = list[at]
    list[at] = nil
    return row, names
  end
  local guard = setmetatable({}, {
    __close = function()
      list, at, count = {}, 0, 0
      if rows then
        abandon(rows)
        rows = nil
      end
    end,
  })
  return step, nil, nil, guard, first_names
end

function Connection.script(connection, sql, ...)
  no_more(2, "script", ...)
  local handle <const> = handle_of(connection, "script")
  check_sql(sql, "script")
  run_script(handle, sql)
end

-- Commits or rolls back once `fn` has ended, and gives on what it gave.
local function settle(handle, fine, ...)
  if fine then
    finish(handle, true)
    return ...
  end
  -- What went wrong first is what counts.
  pcall(finish, handle, false)
  error((...), 0)
end

-- Calls `fn` with what `open` makes of the connection: a transaction, or a session.
local function within(open, connection, name, fn, ...)
  local outer = state_of(connection, name, 3)
  local thread <const> = running()
  while outer.inside[thread] do
    outer = outer.inside[thread]
  end
  local handle <const> = open(outer.handle)
  local inner <const> = wrap(handle, true)
  -- Whatever ends this coroutine ends the transaction.
  local guard <close> = setmetatable({}, {
    __close = function()
      outer.inside[thread] = nil
      abandon(handle)
    end,
  })
  outer.inside[thread] = known[inner]
  return settle(handle, pcall(fn, inner, ...))
end

function Connection.transaction(connection, fn, ...)
  no_more(2, "transaction", ...)
  if type(fn) ~= "function" then
    error("bad argument #2 to 'transaction' (function expected, got " .. (fn == nil and "no value" or type(fn)) .. ")", 2)
  end
  return within(begin, connection, "transaction", fn)
end

function Connection.session(connection, fn, ...)
  no_more(2, "session", ...)
  if type(fn) ~= "function" then
    error("bad argument #2 to 'session' (function expected, got " .. (fn == nil and "no value" or type(fn)) .. ")", 2)
  end
  return within(open_session, connection, "session", fn)
end

local function all_sets(inner, sql, sets)
  local handle <const> = known[inner].handle
  local changed, from = 0, 1
  while from do
    local more
    more, from = run_batch(handle, sql, sets, from)
    changed = changed + more
  end
  return changed
end

function Connection.batch(connection, sql, sets, ...)
  no_more(3, "batch", ...)
  check_sql(sql, "batch")
  if type(sets) ~= "table" then
    error("bad argument #3 to 'batch' (list of lists expected, got " .. (sets == nil and "no value" or type(sets)) .. ")", 2)
  end
  return within(begin, connection, "batch", all_sets, sql, sets)
end

function Connection.close(connection, ...)
  no_more(1, "close", ...)
  local state <const> = state_of(connection, "close")
  if state.is_transaction then
    error(failure("invalid_argument", "db.close: a transaction or a session ends where its function does"))
  end
  close(state.handle)
end

-- At the end of a block nothing can wait.
function Connection.__close(connection)
  abandon(known[connection].handle)
end

for _, name in next, { "query", "execute", "rows", "script", "transaction", "session", "batch", "close" } do
  db[name] = Connection[name]
end
