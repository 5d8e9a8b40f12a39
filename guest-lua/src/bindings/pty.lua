-- `process.spawn_pty` and the methods of its handle.
local natives, common = ...
local no_more <const> = common.no_more
local shared = natives.process
local process, request, invalid = shared.process, shared.request, shared.invalid
local spawn, write, read, resize = natives.spawn, natives.write, natives.read, natives.resize
local close, wait, kill, is_alive = natives.close, natives.wait, natives.kill, natives.is_alive
local type, setmetatable, tostring, mathtype = type, setmetatable, tostring, math.type

local spawn_options <const> = common.names(shared.program_options, "cols", "rows")
local read_options <const> = common.names("timeout_ms")

-- The terminals of handles, which changing their fields cannot reach.
local terminals <const> = setmetatable({}, { __mode = "k" })

local function terminal(handle, what)
  return terminals[handle] or invalid("%s: the result of process.spawn_pty is needed, got %s", what, type(handle))
end

local function cells(number, name, what)
  if number ~= nil and (mathtype(number) ~= "integer" or number < 1 or number > 65535) then
    invalid("%s: %s is a number from 1 to 65535, got %s", what, name, tostring(number))
  end
  return number
end

local Terminal <const> = { __name = "terminal" }
Terminal.__index = Terminal

function Terminal:__tostring()
  return "terminal (" .. tostring(self.pid) .. ")"
end

function Terminal:write(data, ...)
  no_more(1, "write", ...)
  local kind = type(data)
  if kind ~= "string" and kind ~= "number" then
    invalid("write: a string is needed, got %s", kind)
  end
  write(terminal(self, "write"), data)
  return self
end

function Terminal:read(options, ...)
  no_more(1, "read", ...)
  local time = options
  if type(options) == "table" then
    time = shared.checked(options, read_options, "read").timeout_ms
  end
  if time ~= nil and (type(time) ~= "number" or not (time >= 0)) then
    invalid("read: timeout_ms is a number of milliseconds from 0 on, got %s", tostring(time))
  end
  return read(terminal(self, "read"), time and time / 1000)
end

function Terminal:resize(cols, rows, ...)
  no_more(2, "resize", ...)
  resize(
    terminal(self, "resize"),
    cells(cols, "cols", "resize") or invalid("resize: cols is missing"),
    cells(rows, "rows", "resize") or invalid("resize: rows is missing")
  )
end

function Terminal:close(...)
  no_more(0, "close", ...)
  close(terminal(self, "close"))
end

function Terminal:__close()
  close(terminal(self, "close"))
end

function Terminal:wait(options, ...)
  no_more(1, "wait", ...)
  return wait(terminal(self, "wait"), shared.timeout_of(options, "wait"))
end

function Terminal:kill(signal, ...)
  no_more(1, "kill", ...)
  return kill(terminal(self, "kill"), shared.signal_number(signal, "kill"))
end

function Terminal:is_alive(...)
  no_more(0, "is_alive", ...)
  return is_alive(terminal(self, "is_alive"))
end

function process.spawn_pty(first, second, ...)
  no_more(2, "spawn_pty", ...)
  local wanted, options = request("process.spawn_pty", spawn_options, first, second)
  wanted.cols = cells(options.cols, "cols", "process.spawn_pty")
  wanted.rows = cells(options.rows, "rows", "process.spawn_pty")
  local pid, handle = spawn(wanted)
  local made = setmetatable({ pid = pid }, Terminal)
  terminals[made] = handle
  return made
end
