-- Both generations of names over one native.
local natives, shared = ...
local no_more <const> = shared.no_more
local shell, run = natives.shell, natives.run
local common, capture, words, invalid = natives.process.common, natives.process.capture, natives.process.words, natives.process.invalid
local type, concat = type, table.concat

local function execute(line, options, what)
  if type(line) ~= "string" then
    invalid("%s: a command line is a string, got %s", what, type(line))
  elseif options ~= nil and type(options) ~= "table" then
    invalid("%s: the options are a table, got %s", what, type(options))
  end
  options = natives.process.checked(options or {}, natives.process.capture_options, what)
  local wanted = capture(common(options, what), options, what)
  wanted.line = line
  return run(wanted)
end

function shell.exec(line, options, ...)
  no_more(2, "exec", ...)
  return execute(line, options, "shell.exec")
end

function shell.run(line, options, ...)
  no_more(2, "run", ...)
  return execute(line, options, "shell.run")
end

function shell.output(line, options, ...)
  no_more(2, "output", ...)
  local result = execute(line, options, "shell.output")
  return result.stdout, result.status
end

-- Each command is a group of its own, whatever it holds; the line break ends a comment.
function shell.pipe(commands, options, ...)
  no_more(2, "pipe", ...)
  commands = words(commands, "shell.pipe", "commands")
  if #commands == 0 then
    invalid("shell.pipe: there are no commands")
  end
  return execute("{ " .. concat(commands, "\n} | { ") .. "\n}", options, "shell.pipe")
end
