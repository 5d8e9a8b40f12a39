--- # env
--- The environment variables of the run. Reading one of the host needs `env=NAME`; `env=AWS_*` grants all that fit,
--- `env` every one. A name that is not granted reads as nil, as if it were not set, and the refusal is in the
--- audit: so `env.get("X") or default` works in every sandbox.
---
--- Variables that were given to the run (`--env NAME=VALUE`) need no grant. What a script sets is seen by itself and by
--- the programs that it starts, never by the host or other runs.
---
--- ## env.get(name) -> string or nil
--- The value of a variable.
---
--- ## env.set(name, value)
--- Sets a variable for this run; nil removes it. Raises `invalid_argument` for a name that is empty or has `=` or NUL, and
--- `limit` above one megabyte of names and values.
---
--- ## env.unset(name)
--- Removes a variable for this run.
---
--- ## env.list() -> {{key, value}, ...}
--- Every variable that `env.get` gives, sorted by name.
---
--- ## env.home() -> string or nil
--- The user's directory: the variable `HOME`, under its grant.
---
--- ## env.cwd() -> string
--- The directory that relative paths start from. Always granted.

--# example: reading with a default
--# allow: env=ASSAY_TEST_REGION
--# env: ASSAY_TEST_REGION=eu-west-1
assert.eq(env.get("ASSAY_TEST_REGION"), "eu-west-1")
assert.eq(env.get("ASSAY_TEST_COLOR") or "blue", "blue")

--# example: variables of the run
env.set("GREETING", "hello")
assert.eq(env.get("GREETING"), "hello")
env.unset("GREETING")
assert.eq(env.get("GREETING"), nil)

--# case: patterns grant what fits
--# allow: env=ASSAY_TEST_*
--# deny: env=*_SECRET
--# env: ASSAY_TEST_A=1
--# env: ASSAY_TEST_B=with = and spaces
--# env: ASSAY_TEST_SECRET=s
--# env: ASSAY_OTHER=x
assert.eq(env.get("ASSAY_TEST_A"), "1")
assert.eq(env.get("ASSAY_TEST_B"), "with = and spaces")
assert.eq(env.get("ASSAY_TEST_SECRET"), nil)
assert.eq(env.get("ASSAY_OTHER"), nil)
assert.eq(os.getenv("ASSAY_TEST_A"), "1")
assert.eq(os.getenv("ASSAY_OTHER"), nil)
local names = {}
for _, variable in ipairs(env.list()) do
  names[#names + 1] = variable.key .. "=" .. variable.value
end
assert.eq(table.concat(names, ";"), "ASSAY_TEST_A=1;ASSAY_TEST_B=with = and spaces")

--# case: without a grant nothing is seen
assert.eq(json.encode(env.list()), "[]")
--# env: ASSAY_TEST_A=1
assert.eq(env.get("ASSAY_TEST_A"), nil)
assert.eq(env.get("PATH"), nil)
assert.eq(env.home(), nil)
assert.eq(#env.list(), 0)
assert.gt(#env.cwd(), 0)

--# case: given variables need no grant
--# flags: --env ASSAY_TEST_GIVEN=g
assert.eq(env.get("ASSAY_TEST_GIVEN"), "g")
assert.eq(#env.list(), 1)

--# case: home and the working directory
--# allow: env=HOME
--# env: HOME=/home/somebody
assert.eq(env.home(), "/home/somebody")
assert.eq(env.cwd(), "${TMP}")

--# case: what a script sets covers the host's
--# allow: env=ASSAY_TEST_A
--# env: ASSAY_TEST_A=host
env.set("ASSAY_TEST_A", "mine")
assert.eq(env.get("ASSAY_TEST_A"), "mine")
env.set("ASSAY_TEST_A", nil)
assert.eq(env.get("ASSAY_TEST_A"), nil)
assert.eq(#env.list(), 0)
env.set("EMPTY", "")
assert.eq(env.get("EMPTY"), "")
env.set("BYTES", "\255\254")
assert.eq(env.get("BYTES"), "\255\254")
env.set("N", 42)
assert.eq(env.get("N"), "42")

--# case: wrong arguments
for _, case in ipairs({ { "", "x" }, { "A=B", "x" }, { "A\0B", "x" }, { "A", "x\0y" } }) do
  local ok, err = pcall(env.set, case[1], case[2])
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument")
end
assert.contains(select(2, pcall(env.get)), "bad argument #1 to '")
assert.contains(select(2, pcall(env.set, "A", {})), "bad argument #2 to 'env.set'")
assert.eq(env.get("\255"), nil)
assert.eq(env.get(""), nil)
