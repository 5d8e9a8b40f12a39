--# case: what an image is told to be
--# needs: registry
--# allow: oci=pull+push:${REGISTRY}
local before = oci.config("${REGISTRY}/acme/app:1", { platform = "linux/amd64" })
local function mutate(opts, files)
  opts.platform = "linux/amd64"
  return oci.mutate("${REGISTRY}/acme/app:1", "${REGISTRY}/set/app:1", files, opts)
end
local image = mutate({
  labels = { ["org.opencontainers.image.source"] = "https://example.com", team = "a" },
  annotations = { ["org.opencontainers.image.revision"] = "abc" },
  env = { PATH = "/opt/bin:/bin", MODE = "a=b" },
  entrypoint = { "/opt/bin/start" },
  cmd = { "--port", "80" },
  user = "65532:65532",
  workdir = "/srv",
  exposed_ports = { "8080", "53/udp" },
  set_platform = "linux/arm/v7",
}, { ["opt/bin/start"] = { content = "#!/bin/sh\n", mode = "755" } })
local config, manifest = oci.config("${REGISTRY}/set/app:1"), oci.manifest("${REGISTRY}/set/app:1")
assert.eq(config.config.Labels.team, "a")
assert.eq(config.config.Labels["org.opencontainers.image.source"], "https://example.com")
assert.eq(table.concat(config.config.Env, " "), "PATH=/opt/bin:/bin MODE=a=b")
assert.eq(table.concat(config.config.Entrypoint, " "), "/opt/bin/start")
assert.eq(table.concat(config.config.Cmd, " "), "--port 80")
assert.eq(config.config.User, "65532:65532")
assert.eq(config.config.WorkingDir, "/srv")
assert.ne(config.config.ExposedPorts["8080/tcp"], nil)
assert.ne(config.config.ExposedPorts["53/udp"], nil)
assert.eq(config.os .. "/" .. config.architecture .. "/" .. config.variant, "linux/arm/v7")
assert.eq(manifest.annotations["org.opencontainers.image.revision"], "abc")
assert.eq(#config.rootfs.diff_ids, #before.rootfs.diff_ids + 1)
assert.eq(manifest.layers[#manifest.layers].digest, image.layer)
assert.eq(image.digest, oci.digest("${REGISTRY}/set/app:1"))

--# case: without files no layer is made
--# needs: registry
--# allow: oci=pull+push:${REGISTRY}
for _, files in ipairs({ {}, false }) do
  local image = oci.mutate("${REGISTRY}/acme/docker:1", "${REGISTRY}/set/docker:1", files or nil, { labels = { a = "1" } })
  assert.eq(image.layer, nil)
  local before, after = oci.manifest("${REGISTRY}/acme/docker:1"), oci.manifest("${REGISTRY}/set/docker:1")
  assert.eq(#after.layers, #before.layers)
  assert.eq(after.mediaType, before.mediaType)
  assert.ne(after.config.digest, before.config.digest)
end
-- What was set before is kept, and what has the same name is replaced.
oci.mutate("${REGISTRY}/set/docker:1", "${REGISTRY}/set/docker:2", nil, {
  labels = { b = "2" }, env = { A = "1", PATH = "/x" }, annotations = { x = "1" },
})
oci.mutate("${REGISTRY}/set/docker:2", "${REGISTRY}/set/docker:3", nil, {
  labels = { a = "3" }, env = { A = "2" }, annotations = { x = "2", y = "3" },
})
local config, manifest = oci.config("${REGISTRY}/set/docker:3"), oci.manifest("${REGISTRY}/set/docker:3")
assert.eq(config.config.Labels.a .. config.config.Labels.b, "32")
assert.eq(table.concat(config.config.Env, " "), "PATH=/x A=2")
assert.eq(manifest.annotations.x .. manifest.annotations.y, "23")
-- The same changes give the same image.
assert.eq(oci.mutate("${REGISTRY}/set/docker:2", "${REGISTRY}/set/docker:4", nil, {
  annotations = { y = "3", x = "2" }, env = { A = "2" }, labels = { a = "3" },
}).digest, oci.digest("${REGISTRY}/set/docker:3"))

--# case: an entrypoint takes the arguments of the old one away
--# needs: registry
--# allow: oci=pull+push:${REGISTRY}
oci.mutate("${REGISTRY}/acme/docker:1", "${REGISTRY}/set/entry:1", nil, { entrypoint = "/tool" })
local config = oci.config("${REGISTRY}/set/entry:1").config
assert.eq(config.Entrypoint[1], "/tool")
assert.eq(config.Cmd, nil)
oci.mutate("${REGISTRY}/acme/docker:1", "${REGISTRY}/set/entry:2", nil, { cmd = {} })
assert.eq(#oci.config("${REGISTRY}/set/entry:2").config.Cmd, 0)

--# case: changes that cannot be made
--# needs: registry
--# allow: oci=pull+push:${REGISTRY}
local function refused(opts, text)
  local ok, err = pcall(oci.mutate, "${REGISTRY}/acme/docker:1", "${REGISTRY}/set/no:1", nil, opts)
  assert.eq(ok, false, text)
  assert.eq(err.code, "invalid_argument", text)
  assert.contains(err.message, text)
end
refused({}, "nothing to change")
refused({ labels = "x" }, "a table from names to strings")
refused({ labels = { 1 } }, "names and values must be strings")
refused({ labels = { a = 1 } }, "names and values must be strings")
refused({ labels = { [""] = "x" } }, "a name is empty")
refused({ env = { ["A=B"] = "x" } }, "has a '='")
refused({ env = { A = "\0" } }, "NUL")
refused({ cmd = { 1, {} } }, "list of strings")
refused({ user = 1 }, "string expected")
refused({ set_platform = "linux" }, "is not a platform")
refused({ exposed_ports = { "http" } }, "is not a port")
refused({ label = { a = "b" } }, "unknown option 'label'")
local ok, err = pcall(oci.copy, "${REGISTRY}/acme/docker:1", "${REGISTRY}/set/no:1", { labels = {} })
assert.contains(err.message, "unknown option 'labels'")
