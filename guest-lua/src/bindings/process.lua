-- Options, handles, and what is built from the natives.
local natives, shared = ...
local no_more <const> = shared.no_more
local process = natives.process
local spawn, run, wait, kill, running = natives.spawn, natives.run, natives.wait, natives.kill, natives.running
local write, close_stdin, read, failure = natives.write, natives.close_stdin, natives.read, natives.failure
local sleep, clock = process.sleep, natives.monotonic
local type, error, pairs, next, setmetatable, tostring = type, error, pairs, next, setmetatable, tostring
local find, sub, upper, gsub, format = string.find, string.sub, string.upper, string.gsub, string.format
local concat, unpack, mathtype, huge = table.concat, table.unpack, math.type, math.huge

local MAX_OUTPUT <const> = 16 << 20

-- The options of every way to start a program, and of each.
local common_options <const> = shared.names("env", "clear_env", "cwd")
local capture_options <const> = shared.names(common_options, "stdin", "timeout", "max_output")
local program_options <const> = shared.names(common_options, "cmd", "args")
local spawn_options <const> = shared.names(program_options, "stdin", "stdout", "stderr")
local run_options <const> = shared.names(program_options, capture_options)
local stream_options <const> = shared.names("file", "append")
local wait_options <const> = shared.names("timeout")
local kill_options <const> = shared.names("group")

local function invalid(message, ...)
  error(failure("invalid_argument", format(message, ...)), 0)
end

-- A list of strings and numbers, as strings.
local function words(list, what, name)
  if type(list) ~= "table" then
    invalid("%s: %s is a list of strings, got %s", what, name, type(list))
  end
  local out = {}
  for n = 1, #list do
    local word = list[n]
    if type(word) ~= "string" and type(word) ~= "number" then
      invalid("%s: %s[%d] is a string, got %s", what, name, n, type(word))
    end
    out[n] = tostring(word)
  end
  for key in next, list do
    if mathtype(key) ~= "integer" or key < 1 or key > #list then
      invalid("%s: %s is a list, but there is something at the key %s", what, name, tostring(key))
    end
  end
  return out
end

-- A table without keys that mean nothing.
local function checked(options, names, what, positions)
  local why = shared.unknown(options, names, positions)
  if why then
    invalid("%s: %s", what, why)
  end
  return shared.raw(options)
end

-- An environment, as a list of names and values in turn.
local function variables(env, what)
  if type(env) ~= "table" then
    invalid("%s: env is a table of names and values, got %s", what, type(env))
  end
  local out = {}
  for name, value in next, env do
    if type(name) ~= "string" then
      invalid("%s: env has the names of variables as keys, got %s", what, type(name))
    elseif type(value) ~= "string" and type(value) ~= "number" then
      invalid("%s: the value of env.%s is a string, got %s", what, name, type(value))
    end
    out[#out + 1] = name
    out[#out + 1] = tostring(value)
  end
  return out
end

local function optional(options, name, kind, what)
  local value = options[name]
  if value ~= nil and type(value) ~= kind then
    invalid("%s: %s is a %s, got %s", what, name, kind, type(value))
  end
  return value
end

local function seconds(value, name, what)
  if value == nil then
    return nil
  elseif type(value) ~= "number" or not (value >= 0) then
    invalid("%s: %s is a number of seconds from 0 on, got %s", what, name, tostring(value))
  end
  return value
end

-- The options that every way to start a program has in common.
local function common(options, what)
  return {
    env = options.env ~= nil and variables(options.env, what) or nil,
    clear_env = optional(options, "clear_env", "boolean", what),
    cwd = optional(options, "cwd", "string", what),
  }
end

-- Reads `what{cmd =, args =, ...}`, `what{"cmd", "arg", ...}`, `what("cmd", {"arg", ...})` or `what("cmd", options)`.
local function request(what, names, first, second)
  local options, cmd, args
  if type(first) == "string" then
    if second ~= nil and type(second) ~= "table" then
      invalid("%s: the second argument is a table of options, got %s", what, type(second))
    end
    options, cmd = shared.raw(second or {}), first
    args = options.args
    local positions = args == nil and #options or 0
    if positions > 0 then
      args = { unpack(options) }
    end
    if options.cmd ~= nil then
      invalid("%s: the program is the first argument; give no cmd beside it", what)
    end
    checked(options, names, what, positions)
  elseif type(first) == "table" then
    options = shared.raw(first)
    cmd, args = options.cmd, options.args
    local positions = 0
    if cmd == nil and options[1] ~= nil then
      positions = args == nil and #options or 1
      cmd = options[1]
      args = args or { unpack(options, 2) }
    end
    checked(options, names, what, positions)
    if second ~= nil then
      invalid("%s: all options go into the table; there is a second argument, a %s", what, type(second))
    end
  else
    invalid("%s: a table with cmd, or the name of a program, is needed; got %s", what, type(first))
  end
  if type(cmd) ~= "string" or cmd == "" then
    invalid("%s: cmd is the name or path of a program, got %s", what, cmd == "" and "an empty string" or type(cmd))
  end
  local wanted = common(options, what)
  wanted.cmd = cmd
  wanted.args = args ~= nil and words(args, what, "args") or nil
  return wanted, options
end

-- What `run` and the functions of `shell` take besides.
local function capture(wanted, options, what)
  wanted.stdin = optional(options, "stdin", "string", what)
  wanted.timeout = seconds(options.timeout, "timeout", what)
  local max = options.max_output
  if max ~= nil and (mathtype(max) ~= "integer" or max < 0) then
    invalid("%s: max_output is a number of bytes, got %s", what, tostring(max))
  end
  wanted.max_output = max or MAX_OUTPUT
  return wanted
end

local streams <const> = { null = true, inherit = true, pipe = true }

-- Sets `wanted[name]` from a word, a path, or `{file = path, append = true}`.
local function stream(wanted, options, name, what)
  local value = options[name]
  if value == nil then
    return
  elseif streams[value] or value == "stdout" and name == "stderr" then
    wanted[name] = value == "stdout" and "merge" or value
  elseif type(value) == "string" and name ~= "stdin" then
    wanted[name], wanted[name .. "_path"] = "file", value
  elseif type(value) == "table" and type(value.file) == "string" then
    value = checked(value, stream_options, what .. ": " .. name)
    wanted[name] = optional(value, "append", "boolean", what .. ": " .. name) and "append" or "file"
    wanted[name .. "_path"] = value.file
  elseif name == "stdin" then
    invalid('%s: stdin is "null", "pipe" or {file = path}; to give it a string, use process.run or write to the pipe', what)
  else
    invalid('%s: %s is "inherit", "null", "pipe", a path or {file = path, append = true}', what, name)
  end
end

local numbers <const> = {
  HUP = 1, INT = 2, QUIT = 3, ABRT = 6, KILL = 9, USR1 = 10, SEGV = 11, USR2 = 12, PIPE = 13, ALRM = 14, TERM = 15,
  CHLD = 17, CONT = 18, STOP = 19, TSTP = 20, TTIN = 21, TTOU = 22, WINCH = 28,
}

-- A signal's number from its number or name, with or without SIG.
local function signal_number(signal, what)
  if signal == nil then
    return numbers.TERM
  elseif mathtype(signal) == "integer" and signal >= 0 and signal <= 64 then
    return signal
  end
  local number = type(signal) == "string" and numbers[gsub(upper(signal), "^SIG", "")]
  return number or invalid("%s: %s is not a signal; use a number from 0 to 64 or a name like TERM", what, tostring(signal))
end

-- A number of seconds, or options with `timeout`. Nil is no bound, and so is 0.
local function timeout_of(options, what)
  if type(options) == "table" then
    options = checked(options, wait_options, what).timeout
  end
  local time = seconds(options, "timeout", what)
  return time ~= 0 and time or nil
end

-- Whether a signal is for the whole group.
local function group_of(options, what)
  if options == nil then
    return nil
  elseif type(options) ~= "table" then
    invalid("%s: the options are a table, got %s", what, type(options))
  end
  return optional(checked(options, kill_options, what), "group", "boolean", what)
end

local function number_of(pid, what)
  if type(pid) == "table" then
    pid = pid.pid
  end
  if mathtype(pid) ~= "integer" then
    invalid("%s: the number of a process is needed, got %s", what, type(pid))
  elseif pid <= 0 then
    invalid("%s: the number of a process is greater than 0, got %d", what, pid)
  end
  return pid
end

-- The pipes of a handle, which changing its fields cannot reach.
local pipes <const> = setmetatable({}, { __mode = "k" })
local rests <const> = setmetatable({}, { __mode = "k" })

local function pipe(child, what)
  return pipes[child] or invalid("%s: the result of process.spawn is needed, got %s", what, type(child))
end

local Child <const> = { __name = "process" }
Child.__index = Child

function Child:__tostring()
  return "process (" .. tostring(self.pid) .. ")"
end

function Child:write(data, ...)
  no_more(1, "write", ...)
  local kind = type(data)
  if kind ~= "string" and kind ~= "number" then
    invalid("write: a string is needed, got %s", kind)
  end
  write(pipe(self, "write"), data)
  return self
end

function Child:close_stdin(...)
  no_more(0, "close_stdin", ...)
  close_stdin(pipe(self, "close_stdin"))
end

-- The next bytes of a stream, all of them with "a"; nil at the end.
local function read_stream(child, stderr, n, what)
  local handle = pipe(child, what)
  local rest = not stderr and rests[child] or nil
  if n == "a" then
    local pieces = { rest }
    rests[child] = nil
    repeat
      local piece = read(handle, stderr)
      pieces[#pieces + 1] = piece
    until not piece
    return concat(pieces)
  elseif n ~= nil and (mathtype(n) ~= "integer" or n < 1) then
    invalid('%s: a number of bytes or "a" is needed, got %s', what, tostring(n))
  elseif rest then
    rests[child] = n and n < #rest and sub(rest, n + 1) or nil
    return n and sub(rest, 1, n) or rest
  end
  return read(handle, stderr, n)
end

function Child:read(n, ...)
  no_more(1, "read", ...)
  return read_stream(self, false, n, "read")
end

function Child:read_stderr(n, ...)
  no_more(1, "read_stderr", ...)
  return read_stream(self, true, n, "read_stderr")
end

function Child:lines(...)
  no_more(0, "lines", ...)
  local handle = pipe(self, "lines")
  return function()
    local pieces, from = {}, 1
    local text = rests[self]
    rests[self] = nil
    while true do
      local at = text and find(text, "\n", from, true)
      if at then
        if at < #text then
          rests[self] = sub(text, at + 1)
        end
        pieces[#pieces + 1] = sub(text, 1, at - 1)
        return concat(pieces)
      end
      pieces[#pieces + 1] = text
      text = read(handle, false)
      if not text then
        return #pieces > 0 and concat(pieces) or nil
      end
    end
  end
end

function Child:wait(options, ...)
  no_more(1, "wait", ...)
  return wait(number_of(self, "wait"), timeout_of(options, "wait"))
end

function Child:kill(signal, options, ...)
  no_more(2, "kill", ...)
  return kill(number_of(self, "kill"), signal_number(signal, "kill"), group_of(options, "kill"))
end

function Child:is_alive(...)
  no_more(0, "is_alive", ...)
  return wait(number_of(self, "is_alive"), 0).timed_out
end

function process.spawn(first, second, ...)
  no_more(2, "spawn", ...)
  local wanted, options = request("process.spawn", spawn_options, first, second)
  stream(wanted, options, "stdin", "process.spawn")
  stream(wanted, options, "stdout", "process.spawn")
  stream(wanted, options, "stderr", "process.spawn")
  local pid, handle = spawn(wanted)
  local child = setmetatable({ pid = pid }, Child)
  pipes[child] = handle
  return child
end

function process.run(first, second, ...)
  no_more(2, "run", ...)
  local wanted, options = request("process.run", run_options, first, second)
  return run(capture(wanted, options, "process.run"))
end

process.exec = process.run

function process.wait(pid, options, ...)
  no_more(2, "wait", ...)
  return wait(number_of(pid, "process.wait"), timeout_of(options, "process.wait"))
end

function process.kill(pid, signal, options, ...)
  no_more(3, "kill", ...)
  pid = number_of(pid, "process.kill")
  return kill(pid, signal_number(signal, "process.kill"), group_of(options, "process.kill"))
end

local function names_of(names, what)
  if type(names) == "string" then
    names = { names }
  end
  names = words(names, what, "names")
  if #names == 0 then
    invalid("%s: there are no names", what)
  end
  return { names = names }
end

function process.is_running(name, ...)
  no_more(1, "is_running", ...)
  return running(names_of(name, "process.is_running")) > 0
end

function process.wait_idle(names, timeout, interval, ...)
  no_more(3, "wait_idle", ...)
  local wanted = names_of(names, "process.wait_idle")
  timeout = seconds(timeout, "timeout", "process.wait_idle") or 60
  interval = seconds(interval, "interval", "process.wait_idle") or 0.5
  if interval == 0 then
    invalid("process.wait_idle: interval is a number of seconds above 0")
  end
  local until_time = timeout == 0 and huge or clock() + timeout
  while running(wanted) > 0 do
    local left = until_time - clock()
    if left <= 0 then
      return false
    end
    sleep(interval < left and interval or left)
  end
  return true
end

-- For `shell` and `pty`.
natives.request, natives.common, natives.capture, natives.words = request, common, capture, words
natives.checked, natives.program_options, natives.capture_options = checked, program_options, capture_options
natives.invalid, natives.timeout_of, natives.signal_number = invalid, timeout_of, signal_number
