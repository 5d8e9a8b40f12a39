--- # Escapes by oci
--- What a registry may try with its clients, and what a script may try with images and layouts.

--# case: what is not what its digest says
--# needs: registry_fake
--# allow: oci=pull+push:${FAKE}
--# allow: fs=rw:${TMP}
local function refused(f, ...)
  local ok, err = pcall(f, ...)
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_data", err.message)
  assert.contains(err.message, "digest")
end
refused(oci.manifest, "${FAKE}/wrong-manifest@${FAKE_DIGEST}")
refused(oci.pull, "${FAKE}/wrong-blob:1", "out")
refused(oci.copy, "${FAKE}/wrong-blob:1", "${FAKE}/target:1")
refused(oci.mutate, "${FAKE}/wrong-blob:1", "${FAKE}/target:1", { a = "b" })
-- Nothing of it stays, not even under another name.
assert.eq(fs.exists("out/index.json"), false)
for _, path in ipairs(fs.glob("out/blobs/*/*")) do
  assert.eq("sha256:" .. crypto.hash_file(path, "sha256"), "sha256:" .. path:match("[^/]+$"))
end

--# case: manifests that are not as they should be
--# needs: registry_fake
--# allow: oci=pull+push:${FAKE}
--# allow: fs=rw:${TMP}
for repository, code in pairs({
  foreign = "unsupported",
  schema1 = "unsupported",
  ambiguous = "invalid_data",
  confused = "invalid_data",
  ["not-json"] = "invalid_data",
  ["huge-layer"] = "limit",
  ["short-layer"] = "invalid_data",
  negative = "invalid_data",
  escape = "invalid_data",
  circle = "not_found",
}) do
  local ok, err = pcall(oci.pull, "${FAKE}/" .. repository .. ":1", "out/" .. repository)
  assert.eq(ok, false, repository)
  assert.eq(err.code, code, repository .. ": " .. err.message)
  assert.eq(fs.exists("out/" .. repository .. "/index.json"), false)
end

--# case: an answer without end is cut off
--# needs: registry_fake
--# allow: oci=pull:${FAKE}
for _, repository in ipairs({ "endless", "announced", "realm-endless" }) do
  local ok, err = pcall(oci.manifest, "${FAKE}/" .. repository .. ":1")
  assert.eq(ok, false, repository)
  assert.eq(err.code, "limit", err.message)
end

--# case: what may pass is tried again
--# needs: registry_fake
--# allow: oci=pull+push:${FAKE}
--# allow: fs=rw:${TMP}
assert.eq(oci.digest("${FAKE}/busy:1"), "${FAKE_DIGEST}")
assert.eq(oci.pull("${FAKE}/busy:1", "busy").digest, "${FAKE_DIGEST}")
assert.eq(oci.pull("${FAKE}/broken:1", "broken").digest, "${FAKE_DIGEST}")
assert.eq(oci.pull("${FAKE}/cut:1", "cut").blobs.copied, 2)
assert.eq(oci.copy("${FAKE}/good:1", "${FAKE}/upload-busy:1").blobs.copied, 2)
local ok, err = pcall(oci.digest, "${FAKE}/always-busy:1", { retries = 2 })
assert.eq(err.code, "unavailable")
assert.contains(err.message, "503 Service Unavailable (after 3 attempts)")
-- A wait of a day is not waited for.
local before = time()
local ok, err = pcall(oci.digest, "${FAKE}/patient:1")
assert.eq(err.code, "unavailable")
assert.contains(err.message, "86400 seconds")
assert.lt(time() - before, 3600)

--# case: the call's own time
--# needs: registry_fake
--# allow: oci=pull:${FAKE}
local ok, err = pcall(oci.digest, "${FAKE}/slow:1", { timeout = 0.2 })
assert.eq(ok, false)
assert.eq(err.code, "timeout")
assert.contains(err.message, "oci.digest")

--# case: a cancelled pull leaves nothing behind
--# needs: registry_fake
--# allow: oci=pull:${FAKE}
--# allow: fs=rw:${TMP}
local function files()
  return fs.is_dir("out") and #fs.glob("out/blobs/sha256/.assay-*") or 0
end
local task = async.spawn(function() oci.pull("${FAKE}/stuck:1", "out") end)
while files() == 0 do
  sleep(0.01)
end
task:cancel()
assert.eq(pcall(task.await, task), false)
while files() > 0 do
  sleep(0.01)
end
local ok, err = pcall(oci.pull, "${FAKE}/stuck:1", "out", { timeout = 0.2 })
assert.eq(err.code, "timeout")
while files() > 0 do
  sleep(0.01)
end
assert.eq(#fs.glob("out/blobs/sha256/*"), 0)
assert.eq(fs.exists("out/index.json"), false)

--# case: redirects to another host
--# needs: registry_fake
--# allow: oci=pull:${FAKE}
--# allow: fs=rw:${TMP}
local ok, err = pcall(oci.pull, "${FAKE}/redirected:1", "out")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow oci=redirect:${FAKE_OTHER}")

--# case: redirects that are granted carry no credentials
--# needs: registry_fake
--# allow: oci=pull:${FAKE},oci=redirect:${FAKE_OTHER},http=${FAKE_OTHER},http=${FAKE}
--# allow: fs=rw:${TMP}
oci.pull("${FAKE}/redirected:1", "out", { auth = { token = "secret" } })
oci.pull("${FAKE}/password:1", "out2", { auth = { username = "user", password = "pass" } })
local log = json.parse(http.get("http://${FAKE_OTHER}/log").body)
assert.eq(#log, 4)
for _, request in ipairs(log) do
  assert.eq(request.authorization, "")
end
local sent = 0
for _, request in ipairs(json.parse(http.get("http://${FAKE}/log").body)) do
  if request.authorization ~= "" then
    sent = sent + 1
  end
end
assert.gt(sent, 0)

--# case: redirects to metadata, files and in circles
--# needs: registry_fake
--# flags: -A
local ok, err = pcall(oci.pull, "${FAKE}/redirect-metadata:1", "out")
assert.eq(err.code, "denied")
assert.contains(err.message, "metadata")
local ok, err = pcall(oci.pull, "${FAKE}/redirect-file:1", "out")
assert.eq(err.code, "invalid_data")
local ok, err = pcall(oci.digest, "${FAKE}/redirect-loop:1")
assert.eq(err.code, "invalid_data")
assert.contains(err.message, "redirects")

--# case: metadata addresses as registries
--# flags: -A
for _, registry in ipairs({ "169.254.169.254", "169.254.169.254:80", "0xa9fea9fe:80", "[::ffff:169.254.169.254]:80", "[fd00:ec2::254]:80" }) do
  local ok, err = pcall(oci.digest, registry .. "/x:1", { plain_http = true, retries = 0 })
  assert.eq(ok, false, registry)
  assert.eq(err.code, "denied", registry .. ": " .. err.message)
  assert.contains(err.message, "metadata")
end

--# case: a hostile realm gets nothing
--# needs: registry_fake
--# allow: oci=pull:${FAKE},http=${FAKE_OTHER}
local auth = { auth = { username = "user", password = "pass" } }
local ok, err = pcall(oci.digest, "${FAKE}/realm-other:1", auth)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow oci=token:${FAKE_OTHER}")
local ok, err = pcall(oci.digest, "${FAKE}/realm-metadata:1", auth)
assert.eq(err.code, "denied")
local ok, err = pcall(oci.digest, "${FAKE}/realm-file:1", auth)
assert.eq(err.code, "invalid_data")
assert.eq(#json.parse(http.get("http://${FAKE_OTHER}/log").body), 0)
-- The registry's own token server needs no grant of its own.
assert.eq(oci.digest("${FAKE}/realm-own:1", auth), "${FAKE_DIGEST}")

--# case: metadata addresses as realms
--# needs: registry_fake
--# flags: -A
local ok, err = pcall(oci.digest, "${FAKE}/realm-metadata:1", { auth = { username = "user", password = "pass" } })
assert.eq(err.code, "denied")
assert.contains(err.message, "metadata")

--# case: a challenge cannot ask for more than the call needs
--# needs: registry_fake
--# allow: oci=pull:${FAKE},oci=token:${FAKE_OTHER},http=${FAKE_OTHER}
local ok, err = pcall(oci.digest, "${FAKE}/realm-other:1")
assert.eq(ok, false)
local log = json.parse(http.get("http://${FAKE_OTHER}/log").body)
assert.gt(#log, 0)
for _, request in ipairs(log) do
  assert.contains(request.path, "scope=repository%3Arealm-other%3Apull")
  assert(not request.path:find("secret", 1, true))
end

--# case: lists of tags
--# needs: registry_fake
--# allow: oci=pull:${FAKE}
assert.eq(table.concat(oci.tags("${FAKE}/pages"), " "), "t1 t2 t3 t4 t5 t6")
assert.eq(#oci.tags("${FAKE}/none"), 0)
for repository, code in pairs({
  ["page-circle"] = "invalid_data",
  ["page-endless"] = "limit",
  ["page-other"] = "invalid_data",
  ["page-nonsense"] = "invalid_data",
}) do
  local ok, err = pcall(oci.tags, "${FAKE}/" .. repository)
  assert.eq(ok, false, repository)
  assert.eq(err.code, code, repository .. ": " .. err.message)
end

--# case: an upload is not sent elsewhere
--# needs: registry_fake
--# allow: oci=pull+push:${FAKE},http=${FAKE_OTHER}
local ok, err = pcall(oci.copy, "${FAKE}/good:1", "${FAKE}/upload-other:1")
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow oci=redirect:${FAKE_OTHER}")
assert.eq(#json.parse(http.get("http://${FAKE_OTHER}/log").body), 0)

--# case: an upload elsewhere that is granted carries no credentials
--# needs: registry_fake
--# allow: oci=pull+push:${FAKE},oci=redirect:${FAKE_OTHER},http=${FAKE_OTHER}
oci.copy("${FAKE}/good:1", "${FAKE}/upload-other:1", { dst_auth = { token = "secret" } })
local log = json.parse(http.get("http://${FAKE_OTHER}/log").body)
assert.eq(#log, 2)
assert.eq(log[1].method .. log[1].authorization, "PUT")

--# case: names in layers that lead out of an image
--# needs: registry
--# allow: oci=pull+push:${REGISTRY}
for _, path in ipairs({ "../x", "a/../../x", "/..", "a/..", "./a", "a//b", "", "/", "a/", "a\0b", ".wh.a", "a/.wh..wh..opq" }) do
  local ok, err = pcall(oci.mutate, "${REGISTRY}/acme/docker:1", "${REGISTRY}/x:1", { [path] = "x" })
  assert.eq(ok, false, path)
  assert.eq(err.code, "invalid_argument", path)
end

--# case: links in a layout lead nowhere else
--# needs: registry
--# allow: oci=pull+push:${REGISTRY}
--# allow: fs=rw:${TMP}/in
--# file: in/oci-layout={"imageLayoutVersion":"1.0.0"}
--# link: in/index.json=/etc/hostname
--# link: in/blobs=${TMP}/outside
local ok, err = pcall(oci.push, "in", "${REGISTRY}/x:1")
assert.eq(ok, false)
assert.eq(err.code, "denied")
-- Nor does a directory that is a link, when it is written.
local ok, err = pcall(oci.pull, "${REGISTRY}/acme/docker:1", "in")
assert.eq(ok, false)
assert.eq(err.code, "denied")

--# case: a limit on blobs, on both sides
--# needs: registry
--# allow: oci=pull+push:${REGISTRY}
--# allow: fs=rw:${TMP}
local manifest = oci.manifest("${REGISTRY}/acme/docker:1")
local largest = math.max(manifest.config.size, manifest.layers[1].size)
assert.not_nil(oci.pull("${REGISTRY}/acme/docker:1", "a", { max_blob = largest }))
for _, call in ipairs({
  function(opts) oci.pull("${REGISTRY}/acme/docker:1", "b", opts) end,
  function(opts) oci.copy("${REGISTRY}/acme/docker:1", "${REGISTRY}/x:1", opts) end,
  function(opts) oci.push("a", "${REGISTRY}/y:1", opts) end,
}) do
  local ok, err = pcall(call, { max_blob = largest - 1 })
  assert.eq(ok, false)
  assert.eq(err.code, "limit")
  assert.contains(err.message, "max_blob")
end

--# case: bytes through the host are counted
--# needs: registry
--# allow: oci=pull:${REGISTRY}
--# flags: --max-host-bytes 2KiB
assert.not_nil(oci.digest("${REGISTRY}/acme/app:1"))
local ok, err = pcall(function()
  for _ = 1, 20 do
    oci.manifest("${REGISTRY}/acme/app:1")
  end
end)
assert.eq(ok, false)
assert.eq(err.code, "limit")

--# case: handles are counted
--# needs: registry
--# allow: oci=pull:${REGISTRY}
--# flags: --max-handles 8
local function one() return oci.digest("${REGISTRY}/acme/app:1") end
for _ = 1, 30 do
  one()
end
local tasks = {}
for n = 1, 30 do
  tasks[n] = one
end
local ok, err = pcall(async.all, tasks)
assert.eq(ok, false)
assert.eq(err.code, "limit")
-- The others are cancelled, and end when they have their turn.
sleep(0)
assert.not_nil(one())

--# case: a denied registry by its other names
--# flags: -A
--# deny: oci=127.0.0.1:1,oci=10.0.0.0/8
for _, image in ipairs({ "127.0.0.1:1/x", "localhost:1/x", "0.0.0.0:1/x", "127.1:1/x", "[::1]:1/x", "10.1.2.3:5000/x", "10.1.2.3/x" }) do
  local ok, err = pcall(oci.digest, image .. ":1")
  assert.eq(ok, false, image)
  assert.eq(err.code, "denied", image .. ": " .. err.message)
  assert.contains(err.message, "is denied by --deny oci=")
end

--# case: a denied place to be sent on to
--# needs: registry_fake
--# flags: -A
--# deny: oci=redirect:${FAKE_OTHER}
local ok, err = pcall(oci.pull, "${FAKE}/redirected:1", "out")
assert.eq(ok, false)
assert.eq(err.code, "denied", err.message)
assert.contains(err.message, "is denied by --deny oci=redirect:${FAKE_OTHER}")

--# case: a denied token server
--# needs: registry_auth
--# flags: -A
--# deny: oci=token:localhost:${TOKEN_PORT}
local ok, err = pcall(oci.digest, "${REGISTRY_TOKEN}/public/a:1", { auth = { username = "alice", password = "wonderland" } })
assert.eq(ok, false)
assert.eq(err.code, "denied", err.message)
assert.contains(err.message, "is denied by --deny oci=token:localhost:${TOKEN_PORT}")

--# case: a denied token server by its address
--# needs: registry_auth
--# flags: -A
--# deny: oci=token:127.0.0.1:${TOKEN_PORT}
local ok, err = pcall(oci.digest, "${REGISTRY_TOKEN}/public/a:1", { auth = { username = "alice", password = "wonderland" } })
assert.eq(ok, false)
assert.eq(err.code, "denied", err.message)
assert.contains(err.message, "is denied by --deny oci=token:127.0.0.1:${TOKEN_PORT}")

--# case: a denied place to be sent on to by another name of its address
--# needs: registry_fake
--# flags: -A
--# deny: oci=redirect:localhost:${FAKE_OTHER_PORT}
local ok, err = pcall(oci.pull, "${FAKE}/redirected:1", "out")
assert.eq(ok, false)
assert.eq(err.code, "denied", err.message)
assert.contains(err.message, "is denied by --deny oci=redirect:localhost:${FAKE_OTHER_PORT}")

--# case: a denied proxy is not used for registries, by any name of it
--# needs: registry_fake
--# needs: http
--# env: HTTP_PROXY=http://localhost:${PROXY_PORT}
--# allow: env=HTTP_PROXY,oci=pull:upstream.test:${FAKE_PORT},http=proxy:localhost:${PROXY_PORT}
--# deny: http=proxy:127.0.0.1:${PROXY_PORT}
local ok, err = pcall(oci.digest, "upstream.test:${FAKE_PORT}/good:1", { plain_http = { "upstream.test:${FAKE_PORT}" } })
assert.eq(ok, false)
-- It is gone to directly, where there is no such name.
assert.eq(err.code, "unavailable", err.message)

--# case: what is pulled into the temporary directory takes its room
--# needs: registry_fake
--# allow: oci=pull:${FAKE}
--# flags: --temp-bytes 100KiB --temp-entries 12
local dir = fs.tempdir()
assert.eq(oci.pull("${FAKE}/good:1", dir .. "/a").digest, "${FAKE_DIGEST}")
local used = 0
for _, path in ipairs(fs.glob(dir .. "/a/**/*")) do
  used = used + (fs.is_file(path) and fs.stat(path).size or 0)
end
assert.gt(used, 0)
-- Bytes.
local rest = (100 << 10) - used
fs.write(dir .. "/fill", ("x"):rep(rest))
local ok, err = pcall(oci.pull, "${FAKE}/good:1", dir .. "/b")
assert.eq(ok, false)
assert.eq(err.code, "limit", err.message)
assert.contains(err.message, "--temp-")
fs.remove(dir .. "/fill")
-- Entries: each pull has more than half of them.
if fs.exists(dir .. "/b") then fs.remove(dir .. "/b") end
ok, err = pcall(oci.pull, "${FAKE}/good:1", dir .. "/c")
assert.eq(ok, false)
assert.contains(err.message, "--temp-entries")
