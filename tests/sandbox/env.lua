--# case: the host's environment does not leak
--# env: ASSAY_TEST_TOKEN=hunter2
--# allow: env=ASSAY_TEST_TOKE
--# allow: env=ASSAY_TEST_TOKEN2
for _, name in ipairs({ "ASSAY_TEST_TOKEN", "ASSAY_TEST_TOKEN\0", "assay_test_token", " ASSAY_TEST_TOKEN", "ASSAY_TEST_*", "*" }) do
  assert.eq(env.get(name), nil, name)
  assert.eq(os.getenv(name), nil, name)
end
for _, variable in ipairs(env.list()) do
  assert.ne(variable.value, "hunter2")
end

--# case: what a script sets grants nothing
--# env: ASSAY_TEST_TOKEN=hunter2
env.set("ASSAY_ALLOW", "env")
env.set("ASSAY_TEST_TOKEN", "mine")
env.unset("ASSAY_TEST_TOKEN")
assert.eq(env.get("ASSAY_TEST_TOKEN"), nil)
assert.eq(env.get("PATH"), nil)

--# case: a deny rule wins over everything
--# flags: -A
--# deny: env=ASSAY_TEST_TOKEN
--# env: ASSAY_TEST_TOKEN=hunter2
--# env: ASSAY_TEST_OPEN=x
assert.eq(env.get("ASSAY_TEST_TOKEN"), nil)
assert.eq(env.get("ASSAY_TEST_OPEN"), "x")
for _, variable in ipairs(env.list()) do
  assert.ne(variable.key, "ASSAY_TEST_TOKEN")
end

--# case: the memory of the host is not for filling
env.set("A", ("x"):rep((1 << 20) - 1))
local ok, err = pcall(env.set, "B", "")
assert.eq(ok, false)
assert.eq(err.code, "limit")
local ok, err
for i = 1, 1000000 do
  ok, err = pcall(env.set, "NAME" .. i, "")
  if not ok then break end
end
assert.eq(ok, false)
assert.eq(err.code, "limit")
env.set("A", "")
env.set("B", "fits again")
