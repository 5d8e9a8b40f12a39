--- # log
--- Log lines, on stderr or where the operator sends them. Always granted. A message is one line: newlines and control
--- characters are written as escapes, so that no value can forge a line. Above the run's limit (`--max-log`) one line says so,
--- and the rest is left out.
---
--- The second argument of each is a table of fields. They follow the message as `name=value`, values written as JSON;
--- with `--log-format json`, where each line is an object, they are the object `fields` in it.
---
--- ## log.trace(message, fields?)
--- For following a program step by step.
---
--- ## log.debug(message, fields?)
--- For finding out what went wrong.
---
--- ## log.info(message, fields?)
--- What an operator wants to know.
---
--- ## log.warn(message, fields?)
--- What may need somebody's attention.
---
--- ## log.error(message, fields?)
--- What went wrong.

--# example: lines with fields
--# stderr: backup finished
log.info("backup finished", { files = 12, took = 1.5 })

--# case: fields are shown
--# stderr: 4711
log.warn("answer", { number = 4711, list = { 1, 2 }, text = "a\nb" })

--# case: fields are text with their names
--# stderr: WARN answer list=[1,2] number=4711 text="a\\nb" "two words"=true
log.warn("answer", { number = 4711, list = { 1, 2 }, text = "a\nb", ["two words"] = true })

--# case: fields are JSON in lines of JSON
--# flags: --log-format json
--# stderr: "level":"WARN","message":"answer \\"x\\"","fields":{"list":[1,2],"number":4711,"text":"a\\nb"},"run":"
log.warn('answer "x"', { number = 4711, list = { 1, 2 }, text = "a\nb" })

--# case: a line of JSON cannot be forged
--# flags: --log-format json
--# stderr: "message":"m","fields":{"a\\"b":"\\u202e","level":"ERROR"},"run":"
log.info("m", { level = "ERROR", ['a"b'] = "\u{202e}" })

--# case: levels
--# stderr: it broke
log.trace("t")
log.debug("d")
log.info("i")
log.warn("w")
log.error("it broke")

--# case: a line cannot be forged
--# stderr: first\\nERROR second
log.info("first\nERROR second\r\27[2J")

--# case: values of any type
log.info(42)
log.info(nil)
log.info(setmetatable({}, { __tostring = function() return "shown" end }))
log.info("\255 not UTF-8 \0")
log.info("")
assert.contains(select(2, pcall(log.info, "x", 1)), "bad argument #2 to 'log.info'")
assert.contains(select(2, pcall(log.info)), "bad argument #1 to 'log.info' (value expected)")
local ok, err = pcall(log.info, "x", { f = print })
assert.eq(ok, false)

--# case: the limit on log bytes
--# flags: --max-log 1KiB
--# stderr: --max-log
for i = 1, 1000 do
  log.info(("x"):rep(100))
end
