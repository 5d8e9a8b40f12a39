--- # oci
--- Container images in registries: copied, tagged, changed, saved and sent, without docker or any other
--- program. Understands the OCI formats and docker's (schema 2), with indexes of several platforms.
---
--- Names are as for `docker pull`: `alpine` is `docker.io/library/alpine:latest`, others are
--- `ghcr.io/acme/app:1.2`, `localhost:5000/app@sha256:...`. Every manifest and every blob is verified against
--- its digest. Blobs go through in constant memory, four at a time.
---
--- Grants go by repository: `--allow oci=pull:ghcr.io/acme/app` for reading, `oci=push:...` for writing (which
--- includes asking whether a blob is there, but not reading), `oci=pull+push:...` for both; with a star at the
--- end all repositories whose names begin so. `oci=ghcr.io` is reading everything of one registry. A registry may
--- send its clients on: to a token server on another host only where `oci=token:HOST` is granted, by a redirect
--- to another host (for blobs, most often) only with `oci=redirect:HOST`. There the request is made without
--- credentials, and never over http where the registry is reached over https. For `docker.io` its own token
--- server and blob stores are included. Link-local and metadata addresses are refused unless the grant names
--- the address itself. Files and directories go through the grants of `fs`. Proxies of the environment are used where
--- `http=proxy:HOST:PORT` is granted.
---
--- Options of every function:
---
--- - `auth`: `{username = ..., password = ...}` or `{token = ...}`, a bearer token of the registry itself. The user
---   is asked for by the registry (basic authentication) or exchanged for a token that allows no more than the
---   call needs. `oci.copy` and `oci.mutate` have `src_auth` and `dst_auth`.
--- - `docker_config`: the path of docker's `config.json`, for registries without `auth`; true for the user's own,
---   where the variable `DOCKER_CONFIG` or `HOME` is granted. Passwords and identity tokens in the file are used.
---   Credential helpers are programs and are not run (`unsupported`).
--- - `plain_http`: true for plain HTTP in place of TLS, or a list of the registries that are reached so. Without the
---   option those at `localhost` and loopback addresses are, unless `ca_cert` or `tls` is given.
--- - `ca_cert`, `ca_cert_file`, `client_cert`, `client_cert_file`, `client_key`, `client_key_file`, `tls`: as for
---   `http.get`. Each registry of a call must have a certificate whose fingerprint is named; hosts that it redirects to need not.
--- - `timeout`: seconds for the whole call, default 3600, 0 for no bound. A connection may take 10 seconds, an answer
---   60 seconds to begin and 60 seconds without a byte.
--- - `retries`: how often a temporary failure is tried again, default 4: statuses 408, 429 and 5xx and connections that
---   broke off. `Retry-After` is respected up to 60 seconds.
--- - `max_blob`: bytes of one blob, default 16 GiB, 0 for no bound. A manifest or a configuration has at most 4 MiB.
---
--- Errors have the codes `denied`, `invalid_argument`, `not_found`, `permission` (401 and 403), `unavailable`,
--- `timeout`, `limit`, `invalid_data` (a digest, a manifest or an answer that is not as it should be) and
--- `unsupported` (docker's schema 1, layers that are kept outside of registries, unknown kinds).
---
--- ## oci.copy(source, destination, opts?) -> image
--- Copies an image, with all its platforms or, with `platform = "linux/arm64"`, one. Blobs that the destination
--- has are not sent; within one registry the others are taken over (mounted) by the registry itself, and sent where it refuses
--- that. Gives
--- `{digest, media_type, size, blobs = {copied, mounted, present, bytes}}`. The option `progress` is a function that
--- is called with the bytes so far and in all, ten times a second. Needs `pull` of the source and `push` of the
--- destination.
---
--- ## oci.tag(image, tag, opts?) -> image
--- Gives an image one more tag, in its own repository. Only the manifest is sent. Needs `pull+push`.
---
--- ## oci.mutate(source, destination, files, opts?) -> image
--- Adds files to an image as one more layer, sets what its configuration and its manifest say, and copies it. `files` has paths
--- in the image with a content, or with `{content = ..., mode = "755"}` or `{file = PATH, mode = ...}`; the mode is 644 if not
--- given, owner and group are root. It may be empty or nil where there is something to set:
---
--- | option | |
--- |---|---|
--- | `labels`, `annotations`, `env` | tables from names to strings, put to those that are there: labels and variables of the configuration, annotations of the manifest |
--- | `entrypoint`, `cmd` | lists of strings; an entrypoint takes the old `cmd` away |
--- | `user`, `workdir` | strings |
--- | `exposed_ports` | a list such as `{"8080", "53/udp"}`, put to those that are there |
--- | `set_platform` | what the image is for, `"linux/arm64"`; its files are not changed |
---
--- The same image, files and options give the same digest. Of an index one image is chosen with `platform`. The result has the
--- field `layer`, the digest of the new layer, too, where there are files. Needs `pull` of the source and `push` of the
--- destination.
---
--- ## oci.manifest(image, opts?) -> manifest, about
--- The manifest of an image as a table, and `{digest, media_type, size, raw}`. With `platform` that of one image
--- of an index.
---
--- ## oci.config(image, opts?) -> config
--- The configuration of an image as a table: `config.Env`, `config.Cmd`, `rootfs`, `history`... Of an index one image
--- is chosen with `platform`.
---
--- ## oci.digest(image, opts?) -> string
--- The digest of an image, as the registry tells it; with `platform` that of one image of an index.
---
--- ## oci.tags(repository, opts?) -> list
--- All tags of a repository, at most 100,000. If the link to the next page cannot be read, or leads to another place, that is the
--- error `invalid_data`: a list is never incomplete.
---
--- ## oci.pull(image, directory, opts?) -> image
--- Saves an image in a directory as an OCI image layout, which `oci.push`, skopeo, podman and containerd read. Manifests
--- are kept as they are, docker's too, so digests do not change. An image is added to a layout that is there, and
--- what it has already is not fetched, if the directory may be read. Options `platform` and `progress`; the result is
--- as for `oci.copy`. Needs `fs=write:` of the directory.
---
--- ## oci.push(layout, image, opts?) -> image
--- Sends an image of an OCI image layout: a directory, or a tar archive that is not compressed, such as `docker save`
--- writes since docker 25. Where the layout has several, `name` chooses one. Options `platform` and `progress`; the
--- result is as for `oci.copy`. Needs `fs=read:` of the layout.

--# example: copy an image to another repository
--# needs: registry
--# allow: oci=pull:${REGISTRY}/acme/app,oci=push:${REGISTRY}/mirror/*
local image = oci.copy("${REGISTRY}/acme/app:1", "${REGISTRY}/mirror/app:stable")
assert.eq(image.digest, "${APP_DIGEST}")
assert.eq(oci.digest("${REGISTRY}/acme/app:1"), image.digest)
-- Both repositories are in one registry, which took the blobs over itself.
assert.eq(image.blobs.copied, 0)
assert.eq(image.blobs.mounted, 5)

--# example: add a tag
--# needs: registry
--# allow: oci=pull+push:${REGISTRY}/acme/app
oci.tag("${REGISTRY}/acme/app:1", "stable")
assert.eq(table.concat(oci.tags("${REGISTRY}/acme/app"), " "), "1 stable")

--# example: add files as a layer
--# needs: registry
--# allow: oci=pull:${REGISTRY}/acme/*,oci=pull+push:${REGISTRY}/team/app
local image = oci.mutate("${REGISTRY}/acme/app:1", "${REGISTRY}/team/app:dev", {
  ["etc/app.conf"] = "debug = true\n",
  ["usr/bin/start"] = { content = "#!/bin/sh\nexec /hello\n", mode = "755" },
}, { platform = "linux/amd64" })
local manifest = oci.manifest("${REGISTRY}/team/app@" .. image.digest)
assert.eq(#manifest.layers, 3)
assert.eq(manifest.layers[3].digest, image.layer)

--# example: look at an image
--# needs: registry
--# allow: oci=pull:${REGISTRY}/acme/app
local index, about = oci.manifest("${REGISTRY}/acme/app:1")
assert.eq(about.media_type, "application/vnd.oci.image.index.v1+json")
for _, entry in ipairs(index.manifests) do
  print(entry.platform.os .. "/" .. entry.platform.architecture, entry.digest)
end
local config = oci.config("${REGISTRY}/acme/app:1", { platform = "linux/arm64" })
assert.eq(config.config.Cmd[1], "/hello")

--# example: save an image and send it to another registry
--# needs: registry
--# allow: oci=pull:${REGISTRY}/acme/app,oci=push:${REGISTRY}/restored/*
--# allow: fs=rw:${TMP}/backup
local saved = oci.pull("${REGISTRY}/acme/app:1", "backup", { platform = "linux/arm64" })
local sent = oci.push("backup", "${REGISTRY}/restored/app:1")
assert.eq(sent.digest, saved.digest)

--# case: names are digests, tags and latest
--# needs: registry
--# allow: oci=pull+push:${REGISTRY}/acme/app
local repository = "${REGISTRY}/acme/app"
assert.eq(oci.digest(repository .. "@${AMD64_DIGEST}"), "${AMD64_DIGEST}")
assert.eq(oci.digest(repository .. ":1", { platform = "linux/arm64" }), "${ARM64_DIGEST}")
assert.eq(oci.digest(repository .. ":1", { platform = "linux/arm64/v8" }), "${ARM64_DIGEST}")
local ok, err = pcall(oci.digest, repository)
assert.eq(err.code, "not_found")
oci.copy(repository .. "@${AMD64_DIGEST}", repository)
assert.eq(oci.digest(repository), "${AMD64_DIGEST}")
assert.eq(oci.digest(repository .. ":latest"), "${AMD64_DIGEST}")
oci.copy(repository .. ":1", repository .. "@${APP_DIGEST}")
oci.copy(repository .. ":1", repository .. ":both@${APP_DIGEST}")
assert.eq(oci.digest(repository .. ":both"), "${APP_DIGEST}")
local ok, err = pcall(oci.copy, repository .. ":1", repository .. "@${AMD64_DIGEST}")
assert.eq(err.code, "invalid_argument")
assert.contains(err.message, "another digest")

--# case: one platform of an index, and what is not there
--# needs: registry
--# allow: oci=pull:${REGISTRY}/acme/*,oci=pull+push:${REGISTRY}/one/*
local image = oci.copy("${REGISTRY}/acme/app:1", "${REGISTRY}/one/app:1", { platform = "linux/amd64" })
assert.eq(image.digest, "${AMD64_DIGEST}")
assert.eq(image.media_type, "application/vnd.oci.image.manifest.v1+json")
assert.eq(image.blobs.mounted, 3)
assert.eq(oci.manifest("${REGISTRY}/one/app:1").manifests, nil)
local ok, err = pcall(oci.copy, "${REGISTRY}/acme/app:1", "${REGISTRY}/one/app:2", { platform = "linux/s390x" })
assert.eq(err.code, "not_found")
assert.contains(err.message, "linux/amd64, linux/arm64/v8")
-- A single image that is for another platform.
local ok, err = pcall(oci.digest, "${REGISTRY}/acme/docker:1", { platform = "linux/arm64" })
assert.eq(err.code, "not_found")
assert.eq(oci.digest("${REGISTRY}/acme/docker:1", { platform = "linux/amd64" }), "${DOCKER_DIGEST}")
local ok, err = pcall(oci.config, "${REGISTRY}/acme/app:1")
assert.eq(err.code, "invalid_argument")
assert.contains(err.message, "platform")
local ok, err = pcall(oci.digest, "${REGISTRY}/acme/app:1", { platform = "linux" })
assert.eq(err.code, "invalid_argument")

--# case: blobs that are there are not sent again
--# needs: registry
--# allow: oci=pull:${REGISTRY}/acme/app,oci=push:${REGISTRY}/x/*
local first = oci.copy("${REGISTRY}/acme/app:1", "${REGISTRY}/x/app:1")
assert.eq(first.blobs.mounted, 5)
local second = oci.copy("${REGISTRY}/acme/app:1", "${REGISTRY}/x/app:2")
assert.eq(second.blobs.present, 5)
assert.eq(second.blobs.mounted, 0)
assert.eq(second.blobs.bytes, 0)

--# case: docker's format stays as it is
--# needs: registry
--# allow: oci=pull:${REGISTRY},oci=push:${REGISTRY}/x/*
--# allow: fs=rw:${TMP}/out
local image = oci.copy("${REGISTRY}/acme/docker:1", "${REGISTRY}/x/docker:1")
assert.eq(image.digest, "${DOCKER_DIGEST}")
assert.eq(image.media_type, "application/vnd.docker.distribution.manifest.v2+json")
oci.pull("${REGISTRY}/x/docker:1", "out")
assert.eq(oci.push("out", "${REGISTRY}/x/docker:2").digest, "${DOCKER_DIGEST}")
local mutated = oci.mutate("${REGISTRY}/x/docker:1", "${REGISTRY}/x/docker:3", { a = "b" })
local manifest = oci.manifest("${REGISTRY}/x/docker:3")
assert.eq(manifest.layers[2].mediaType, "application/vnd.docker.image.rootfs.diff.tar.gzip")
assert.eq(manifest.mediaType, "application/vnd.docker.distribution.manifest.v2+json")

--# case: a saved image is an OCI layout
--# needs: registry
--# allow: oci=pull:${REGISTRY}
--# allow: fs=rw:${TMP}/out
local image = oci.pull("${REGISTRY}/acme/app:1", "out/images/")
assert.eq(image.digest, "${APP_DIGEST}")
assert.eq(image.blobs.copied, 5)
assert.eq(json.parse(fs.read("out/images/oci-layout")).imageLayoutVersion, "1.0.0")
local index = json.parse(fs.read("out/images/index.json"))
assert.eq(#index.manifests, 1)
local entry = index.manifests[1]
assert.eq(entry.digest, "${APP_DIGEST}")
assert.eq(entry.annotations["org.opencontainers.image.ref.name"], "1")
assert.eq(entry.annotations["io.containerd.image.name"], "${REGISTRY}/acme/app:1")
for _, path in ipairs(fs.glob("out/images/blobs/sha256/*")) do
  assert.eq(crypto.hash_file(path, "sha256"), path:match("[^/]+$"))
end
assert.eq(#fs.glob("out/images/blobs/sha256/*"), 8)
-- The same image again: nothing is fetched, and the index does not grow.
assert.eq(oci.pull("${REGISTRY}/acme/app:1", "out/images").blobs.present, 5)
assert.eq(#json.parse(fs.read("out/images/index.json")).manifests, 1)
-- A blob that was damaged is fetched again.
local blob = fs.glob("out/images/blobs/sha256/*")
local config = json.parse(fs.read("out/images/blobs/sha256/" .. ("${AMD64_DIGEST}"):sub(8))).config.digest:sub(8)
local path = "out/images/blobs/sha256/" .. config
local text = fs.read(path)
fs.write(path, text:sub(1, -2) .. "X")
assert.eq(oci.pull("${REGISTRY}/acme/app:1", "out/images").blobs.copied, 1)
assert.eq(fs.read(path), text)
-- Another image beside it.
oci.pull("${REGISTRY}/acme/docker:1", "out/images")
assert.eq(#json.parse(fs.read("out/images/index.json")).manifests, 2)

--# case: pulling into a directory that may only be written
--# needs: registry
--# allow: oci=pull:${REGISTRY}
--# allow: fs=write:${TMP}/out
assert.eq(oci.pull("${REGISTRY}/acme/docker:1", "out").digest, "${DOCKER_DIGEST}")
assert.eq(oci.pull("${REGISTRY}/acme/docker:1", "out").blobs.copied, 2)

--# case: layouts of other tools
--# needs: registry
--# allow: oci=pull+push:${REGISTRY}
--# allow: fs=read:${TMP}
assert.eq(oci.push("${REGISTRY_LAYOUT}", "${REGISTRY}/y/app:1").digest, "${APP_DIGEST}")
local image = oci.push("${REGISTRY_ARCHIVE}", "${REGISTRY}/z/app:1")
assert.eq(image.digest, "${APP_DIGEST}")
assert.eq(image.blobs.copied, 5)
assert.eq(oci.push("${REGISTRY_ARCHIVE}", "${REGISTRY}/z/app:arm", { platform = "linux/arm64" }).digest, "${ARM64_DIGEST}")
local ok, err = pcall(oci.push, "${REGISTRY_DOCKER}", "${REGISTRY}/y/docker:1")
assert.eq(err.code, "invalid_argument")
assert.contains(err.message, "one, two")
assert.eq(oci.push("${REGISTRY_DOCKER}", "${REGISTRY}/y/docker:1", { name = "two" }).digest, "${DOCKER_DIGEST}")
local ok, err = pcall(oci.push, "${REGISTRY_DOCKER}", "${REGISTRY}/y/docker:1", { name = "three" })
assert.eq(err.code, "not_found")

--# case: what is no layout
--# needs: registry
--# allow: oci=push:${REGISTRY}
--# allow: fs=rw:${TMP}
local function refused(path, code, text)
  local ok, err = pcall(oci.push, path, "${REGISTRY}/y/app:1")
  assert.eq(ok, false)
  assert.eq(err.code, code, err.message)
  assert.contains(err.message, text)
end
fs.mkdir("empty")
refused("empty", "invalid_data", "oci-layout")
refused("missing", "not_found", "missing")
fs.write("text", ("x"):rep(600))
refused("text", "invalid_data", "not a tar archive")
fs.write_bytes("packed.tar.gz", "\x1f\x8b" .. ("x"):rep(600))
refused("packed.tar.gz", "unsupported", "gzip")
fs.write("old/oci-layout", '{"imageLayoutVersion":"2.0.0"}')
refused("old", "unsupported", "2.0.0")
fs.write("bad/oci-layout", '{"imageLayoutVersion":"1.0.0"}')
fs.write("bad/index.json", '{"manifests":[{"digest":"sha256:../../x","size":1}]}')
refused("bad", "invalid_data", "digest")
fs.write("bad/index.json", "[]")
refused("bad", "invalid_data", "manifests")

--# case: a layout whose content was changed is not sent
--# needs: registry
--# allow: oci=push:${REGISTRY}
--# allow: fs=rw:${TMP}
local layers = json.parse(fs.read("${REGISTRY_LAYOUT}/blobs/" .. ("${AMD64_DIGEST}"):gsub(":", "/"))).layers
local path = "${REGISTRY_LAYOUT}/blobs/" .. layers[1].digest:gsub(":", "/")
local data = fs.read_bytes(path)
fs.write_bytes(path, data:sub(1, -2) .. string.char(data:byte(-1) ~ 1))
local ok, err = pcall(oci.push, "${REGISTRY_LAYOUT}", "${REGISTRY}/y/app:1")
assert.eq(ok, false)
assert.eq(err.code, "invalid_data")
assert.contains(err.message, layers[1].digest)
fs.write_bytes(path, data .. "x")
local ok, err = pcall(oci.push, "${REGISTRY_LAYOUT}", "${REGISTRY}/y/app:1")
assert.eq(err.code, "invalid_data")

--# case: what mutate makes
--# needs: registry
--# allow: oci=pull+push:${REGISTRY}
--# allow: fs=rw:${TMP}
fs.write_bytes("tool", "\0binary\xff" .. ("x"):rep(100000))
local function mutate(tag)
  return oci.mutate("${REGISTRY}/acme/app:1", "${REGISTRY}/m/app:" .. tag, {
    ["/etc/app.conf"] = "a = 1\n",
    empty = "",
    ["usr/bin/" .. ("long"):rep(40)] = { file = "tool", mode = "755" },
  }, { platform = "linux/amd64" })
end
local image = mutate("1")
assert.eq(image.digest, mutate("2").digest)
local before = oci.config("${REGISTRY}/acme/app:1", { platform = "linux/amd64" })
local after = oci.config("${REGISTRY}/m/app:1")
assert.eq(#after.rootfs.diff_ids, 3)
assert.eq(after.rootfs.diff_ids[1], before.rootfs.diff_ids[1])
assert.eq(#after.history, 3)
assert.eq(after.config.Cmd[1], "/hello")
-- The layer itself, as gzip and tar see it.
oci.pull("${REGISTRY}/m/app:1", "out")
local layer = fs.read_bytes("out/blobs/" .. image.layer:gsub(":", "/"))
assert.eq("sha256:" .. crypto.hash(layer, "sha256"), image.layer)
local archive = compress.gunzip(layer)
assert.eq("sha256:" .. crypto.hash(archive, "sha256"), after.rootfs.diff_ids[3])
fs.write_bytes("layer.tar", archive)
tar.extract("layer.tar", "root")
assert.eq(fs.read("root/etc/app.conf"), "a = 1\n")
assert.eq(fs.read("root/empty"), "")
local long = "root/usr/bin/" .. ("long"):rep(40)
assert.eq(fs.read_bytes(long), fs.read_bytes("tool"))
assert.eq(fs.stat(long).permissions, "755")

--# case: what mutate cannot use
--# needs: registry
--# allow: oci=pull+push:${REGISTRY}
--# allow: fs=rw:${TMP}
local function refused(files, code, text)
  local ok, err = pcall(oci.mutate, "${REGISTRY}/acme/docker:1", "${REGISTRY}/m/app:1", files)
  assert.eq(ok, false)
  assert.eq(err.code, code, err.message)
  assert.contains(err.message, text)
end
refused({}, "invalid_argument", "no files")
refused({ "x" }, "invalid_argument", "paths")
refused({ a = 1 }, "invalid_argument", "string or table")
refused({ a = {} }, "invalid_argument", "one of content and file")
refused({ a = { content = "", file = "" } }, "invalid_argument", "one of content and file")
refused({ a = { content = "", mode = -1 } }, "invalid_argument", "mode")
refused({ a = { content = "", mode = "9" } }, "invalid_argument", "octal")
refused({ a = { content = "", mode = 755 } }, "invalid_argument", "decimal")
refused({ a = { content = "", mode = 1 << 13 } }, "invalid_argument", "not a mode")
refused({ a = "", ["/a"] = "" }, "invalid_argument", "twice")
refused({ a = "", ["a/b"] = "" }, "invalid_argument", "cannot hold")
refused({ a = { file = "missing" } }, "not_found", "missing")
refused({ a = { file = "." } }, "io", ".")
local ok, err = pcall(oci.mutate, "${REGISTRY}/acme/app:1", "${REGISTRY}/m/app:1", { a = "" })
assert.eq(err.code, "invalid_argument")
assert.contains(err.message, "linux/amd64")
local ok, err = pcall(oci.mutate, "${REGISTRY}/acme/docker:1", "${REGISTRY}/m/app@${APP_DIGEST}", { a = "" })
assert.eq(err.code, "invalid_argument")

--# case: progress is told and its errors are raised
--# needs: registry
--# allow: oci=pull+push:${REGISTRY}
--# allow: fs=rw:${TMP}
local block = {}
for n = 1, 4096 do
  block[n] = string.char(n % 251, n * 7 % 256, n % 256, n * 13 % 241)
end
fs.write_bytes("big", table.concat(block):rep(2000))
oci.mutate("${REGISTRY}/acme/docker:1", "${REGISTRY}/p/app:1", { big = { file = "big" } })
local calls, last, total = 0, 0, 0
oci.pull("${REGISTRY}/p/app:1", "out", {
  progress = function(done, all)
    assert(done >= last and done <= all)
    calls, last, total = calls + 1, done, all
  end,
})
local ok, err = pcall(oci.copy, "${REGISTRY}/p/app:1", "${REGISTRY}/p/b:1", { progress = "x" })
assert.eq(err.code, "invalid_argument")

--# case: a registry with TLS and a password
--# needs: registry_auth
--# allow: oci=pull+push:${REGISTRY_BASIC}
--# allow: fs=rw:${TMP}
local options = { auth = { username = "alice", password = "wonderland" }, ca_cert_file = "${REGISTRY_CA}" }
fs.write("in/oci-layout", '{"imageLayoutVersion":"1.0.0"}')
local function blob(data)
  local digest = crypto.hash(data, "sha256")
  fs.write_bytes("in/blobs/sha256/" .. digest, data)
  return '{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:' .. digest .. '","size":' .. #data .. "}"
end
local config, layer = blob("{}"), blob("content")
local manifest = '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":' .. config
  .. ',"layers":[' .. layer .. "]}"
local entry = blob(manifest):gsub("oci.empty.v1", "oci.image.manifest.v1")
fs.write("in/index.json", '{"schemaVersion":2,"manifests":[' .. entry .. "]}")
local image = oci.push("in", "${REGISTRY_BASIC}/a/b:1", options)
assert.eq(image.digest, "sha256:" .. crypto.hash(manifest, "sha256"))
assert.eq(oci.digest("${REGISTRY_BASIC}/a/b:1", options), image.digest)
options.ca_cert, options.ca_cert_file = fs.read("${REGISTRY_CA}"), nil
assert.eq(#oci.tags("${REGISTRY_BASIC}/a/b", options), 1)

local function refused(opts, code, text)
  local ok, err = pcall(oci.digest, "${REGISTRY_BASIC}/a/b:1", opts)
  assert.eq(ok, false)
  assert.eq(err.code, code, err.message)
  assert.contains(err.message, text)
end
local ca = options.ca_cert
refused({ ca_cert = ca }, "permission", "401")
refused({ ca_cert = ca, auth = { username = "alice", password = "wrong" } }, "permission", "401")
refused({ ca_cert = ca, auth = { token = "x" } }, "permission", "401")
refused({ plain_http = false, auth = options.auth }, "invalid_data", "not trusted")
-- Without TLS the registry is not understood.
refused({ auth = options.auth, retries = 0 }, "other", "400")

--# case: a registry by the fingerprint of its certificate
--# needs: registry_auth
--# allow: oci=pull:${REGISTRY_BASIC}/*
local function tags(fingerprint)
  return pcall(oci.tags, "${REGISTRY_BASIC}/x", {
    auth = { username = "alice", password = "wonderland" }, tls = { fingerprint = fingerprint }, retries = 0,
  })
end
local own, other = "sha256:${REGISTRY_SHA256}", "sha256:" .. ("0"):rep(64)
-- No authority is named; the registry has spoken, and has no such repository.
for _, named in ipairs({ own, own:upper(), { other, own } }) do
  local ok, err = tags(named)
  assert.eq(ok, false)
  assert.eq(err.code, "not_found", err.message)
end
local ok, err = tags(other)
assert.eq(ok, false)
assert.eq(err.code, "invalid_data", err.message)
-- What it has is told, to be compared.
assert.contains(err.message, own)
ok, err = tags("${REGISTRY_SHA256}")
assert.eq(ok, false)
assert.eq(err.code, "invalid_argument", err.message)

--# case: docker's configuration
--# needs: registry_auth
--# allow: oci=pull+push:${REGISTRY_BASIC},oci=pull:${REGISTRY_TOKEN}/private/*,oci=token:127.0.0.1:${TOKEN_PORT}
--# allow: fs=rw:${TMP},env=HOME
--# env: HOME=${TMP}
local function configuration(text)
  fs.write(".docker/config.json", text)
end
local ca = "${REGISTRY_CA}"
local function code(image, opts)
  local ok, err = pcall(oci.tags, image, opts)
  return ok and "ok" or err.code, ok and "" or err.message
end
configuration('{"auths":{"${REGISTRY_BASIC}":{"auth":"' .. base64.encode("alice:wonderland") .. '"}}}')
local opts = { docker_config = true, ca_cert_file = ca }
-- The repository is not there, which only who is let in is told.
assert.eq(code("${REGISTRY_BASIC}/none", opts), "not_found")
opts.docker_config = ".docker/config.json"
assert.eq(code("${REGISTRY_BASIC}/none", opts), "not_found")
configuration('{"auths":{"https://${REGISTRY_BASIC}/v1/":{"auth":"' .. base64.encode("alice:wrong") .. '"}}}')
assert.eq(code("${REGISTRY_BASIC}/none", opts), "permission")
-- What the script gives goes before the file.
opts.auth = { username = "alice", password = "wonderland" }
assert.eq(code("${REGISTRY_BASIC}/none", opts), "not_found")
opts.auth = nil
configuration('{"credHelpers":{"${REGISTRY_BASIC}":"pass"}}')
local found, message = code("${REGISTRY_BASIC}/none", opts)
assert.eq(found, "unsupported")
assert.contains(message, "docker-credential-pass")
configuration('{"auths":{"${REGISTRY_BASIC}":{}},"credsStore":"desktop"}')
assert.eq(code("${REGISTRY_BASIC}/none", opts), "unsupported")
configuration("{")
assert.eq(code("${REGISTRY_BASIC}/none", opts), "invalid_data")
-- A refresh token is exchanged for a token.
configuration('{"auths":{"${REGISTRY_TOKEN}":{"identitytoken":"refresh-alice"}}}')
assert.eq(code("${REGISTRY_TOKEN}/private/x", { docker_config = true }), "not_found")
configuration('{"auths":{"${REGISTRY_TOKEN}":{"identitytoken":"wrong"}}}')
assert.eq(code("${REGISTRY_TOKEN}/private/x", { docker_config = true }), "permission")

--# case: docker's configuration is read only where that is granted
--# needs: registry_auth
--# allow: oci=pull:${REGISTRY_BASIC}
--# env: HOME=${TMP}
local ok, err = pcall(oci.tags, "${REGISTRY_BASIC}/x", { docker_config = "${TMP}/.docker/config.json" })
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=read:${TMP}/.docker/config.json")
local ok, err = pcall(oci.tags, "${REGISTRY_BASIC}/x", { docker_config = true })
assert.eq(err.code, "invalid_argument")
assert.contains(err.message, "HOME")
local ok, err = pcall(oci.tags, "${REGISTRY_BASIC}/x", { ca_cert_file = "${REGISTRY_CA}" })
assert.eq(err.code, "denied")

--# case: tokens allow no more than the call needs
--# needs: registry_auth
--# allow: oci=pull+push:${REGISTRY_TOKEN},oci=token:127.0.0.1:${TOKEN_PORT},http=127.0.0.1:${TOKEN_PORT}
--# allow: fs=rw:${TMP}
local alice = { username = "alice", password = "wonderland" }
fs.write("in/oci-layout", '{"imageLayoutVersion":"1.0.0"}')
local function blob(data)
  local digest = crypto.hash(data, "sha256")
  fs.write_bytes("in/blobs/sha256/" .. digest, data)
  return '{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:' .. digest .. '","size":' .. #data .. "}"
end
local manifest = '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":' .. blob("{}")
  .. ',"layers":[' .. blob("content") .. "]}"
local entry = blob(manifest):gsub("oci.empty.v1", "oci.image.manifest.v1")
fs.write("in/index.json", '{"schemaVersion":2,"manifests":[' .. entry .. "]}")
local image = oci.push("in", "${REGISTRY_TOKEN}/public/a:1", { auth = alice })
local copied = oci.copy("${REGISTRY_TOKEN}/public/a:1", "${REGISTRY_TOKEN}/private/b:1", { src_auth = alice, dst_auth = alice })
assert.eq(copied.blobs.mounted, 2)
-- Everybody may read what is public, nobody else what is private.
assert.eq(oci.digest("${REGISTRY_TOKEN}/public/a:1"), image.digest)
local ok, err = pcall(oci.digest, "${REGISTRY_TOKEN}/private/b:1")
assert.eq(err.code, "permission")
local ok, err = pcall(oci.copy, "${REGISTRY_TOKEN}/public/a:1", "${REGISTRY_TOKEN}/public/c:1")
assert.eq(err.code, "permission")
local ok, err = pcall(oci.digest, "${REGISTRY_TOKEN}/public/a:1", { auth = { username = "alice", password = "no" } })
assert.eq(err.code, "permission")
local log = json.parse(http.get("http://127.0.0.1:${TOKEN_PORT}/log").body)
local function asked(n)
  return log[n].user .. " " .. table.concat(log[n].scopes, " ")
end
assert.eq(asked(1), "alice repository:public/a:pull,push")
assert.eq(asked(2), "alice repository:public/a:pull")
assert.eq(asked(3), "alice repository:private/b:pull,push repository:public/a:pull")
assert.eq(asked(4), " repository:public/a:pull")

--# case: a token server on another host must be granted
--# needs: registry_auth
--# allow: oci=pull:${REGISTRY_TOKEN}
local ok, err = pcall(oci.digest, "${REGISTRY_TOKEN}/public/a:1", { auth = { username = "alice", password = "x" } })
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow oci=token:127.0.0.1:${TOKEN_PORT}")

--# case: copying from one registry to another
--# needs: registry
--# needs: registry_auth
--# allow: oci=pull:${REGISTRY}/acme/*,oci=pull+push:${REGISTRY_BASIC}/mirror/*
--# allow: fs=read:${TMP}
local options = {
  dst_auth = { username = "alice", password = "wonderland" },
  ca_cert_file = "${REGISTRY_CA}",
  plain_http = { "${REGISTRY}" },
}
local image = oci.copy("${REGISTRY}/acme/app:1", "${REGISTRY_BASIC}/mirror/app:1", options)
assert.eq(image.digest, "${APP_DIGEST}")
assert.eq(image.blobs.copied, 5)
assert.eq(image.blobs.mounted, 0)
assert.gt(image.blobs.bytes, 0)
local image = oci.mutate("${REGISTRY}/acme/docker:1", "${REGISTRY_BASIC}/mirror/docker:1", { x = "y" }, options)
assert.eq(oci.digest("${REGISTRY_BASIC}/mirror/docker:1", { auth = options.dst_auth, ca_cert_file = "${REGISTRY_CA}" }), image.digest)

--# case: waiting inside pcall, coroutines and comparators, and many at once
--# needs: registry
--# allow: oci=pull:${REGISTRY}
local image = "${REGISTRY}/acme/app:1"
assert.eq(select(2, pcall(oci.digest, image)), "${APP_DIGEST}")
assert.eq(coroutine.wrap(function() return oci.digest(image) end)(), "${APP_DIGEST}")
local list = { 2, 1 }
table.sort(list, function(a, b) return oci.digest(image) ~= nil and a < b end)
assert.eq(list[1], 1)
local tasks = {}
for n = 1, 20 do
  tasks[n] = function() return oci.digest(image) end
end
for _, digest in ipairs(async.all(tasks)) do
  assert.eq(digest, "${APP_DIGEST}")
end

--# case: wrong arguments
--# allow: oci
local ok, err = pcall(oci.copy)
assert.contains(err, "bad argument #1 to 'copy' (string expected, got no value)")
local ok, err = pcall(oci.copy, "a", 1)
assert.contains(err, "bad argument #2 to 'copy' (string expected, got number)")
local ok, err = pcall(oci.tags, "a", "b")
assert.contains(err, "bad argument #2 to 'tags' (table expected, got string)")
local ok, err = pcall(oci.mutate, "a", "b")
assert.contains(err, "bad argument #3 to 'mutate'")
local function refused(opts, text)
  local ok, err = pcall(oci.tags, "localhost:1/x", opts)
  assert.eq(ok, false)
  assert.eq(err.code, "invalid_argument", tostring(err))
  assert.contains(err.message, text)
end
refused({ colour = "red" }, "unknown option 'colour'; the options are auth, ")
refused({ platfrom = "x" }, "unknown option 'platfrom'")
refused({ src_auth = {} }, "unknown option 'src_auth'; the options are auth, ")
refused({ auth = "x" }, "'auth'")
refused({ auth = { user = "x" } }, "'user'")
refused({ auth = { username = 1 } }, "auth.username")
refused({ auth = { username = "x" } }, "username = ..., password = ...")
refused({ auth = { username = "x", password = "y", token = "z" } }, "or {token")
refused({ auth = { token = "a\r\nb" } }, "header")
refused({ timeout = -1 }, "timeout")
refused({ retries = -1 }, "retries")
refused({ max_blob = -1 }, "max_blob")
refused({ max_blob = "x" }, "max_blob")
refused({ plain_http = 1 }, "plain_http")
refused({ plain_http = { "a/b" } }, "plain_http")
refused({ ca_cert = "x", ca_cert_file = "y" }, "ca_cert")
refused({ client_key = "x" }, "client_key")
refused({ platform = "x" }, "platform")
for _, name in ipairs({ "", "UPPER/x", "x:", "../x", "x y", "https://x/y", "x@sha256:1", "localhost:1/x\0" }) do
  local ok, err = pcall(oci.digest, name)
  assert.eq(ok, false, name)
  assert.eq(err.code, "invalid_argument", name)
end
local ok, err = pcall(oci.tag, "localhost:1/x", "not a tag")
assert.eq(err.code, "invalid_argument")

--# case: nobody answers
--# allow: oci=localhost:1
local ok, err = pcall(oci.digest, "localhost:1/x", { retries = 1 })
assert.eq(ok, false)
assert.eq(err.code, "unavailable")
assert.contains(err.message, "after 2 attempts")
local ok, err = pcall(oci.digest, "localhost:1/x", { retries = 0 })
assert.eq(err.code, "unavailable")

--# case: denied without a grant
local ok, err = pcall(oci.digest, "ghcr.io/acme/app:1")
assert.eq(ok, false)
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow oci=pull:ghcr.io/acme/app")
local ok, err = pcall(oci.push, "layout", "alpine")
assert.contains(err.message, "--allow oci=push:docker.io/library/alpine")

--# case: denied by a grant of something else
--# needs: registry
--# allow: oci=pull:${REGISTRY}/acme/app,oci=push:${REGISTRY}/acme/docker
--# allow: fs=rw:${TMP}
local function denied(flag, f, ...)
  local ok, err = pcall(f, ...)
  assert.eq(ok, false)
  assert.eq(err.code, "denied", err.message)
  assert.contains(err.message, "--allow oci=" .. flag)
end
denied("push:${REGISTRY}/acme/app", oci.copy, "${REGISTRY}/acme/app:1", "${REGISTRY}/acme/app:2")
denied("push:${REGISTRY}/acme/app", oci.tag, "${REGISTRY}/acme/app:1", "2")
denied("pull:${REGISTRY}/acme/docker", oci.digest, "${REGISTRY}/acme/docker:1")
denied("pull:${REGISTRY}/acme/docker", oci.tag, "${REGISTRY}/acme/docker:1", "2")
denied("pull:${REGISTRY}/acme/docker", oci.copy, "${REGISTRY}/acme/docker:1", "${REGISTRY}/acme/docker:2")
denied("pull:${REGISTRY}/acme/application", oci.tags, "${REGISTRY}/acme/application")
denied("pull:localhost", oci.digest, "localhost/acme/app:1")
oci.copy("${REGISTRY}/acme/app:1", "${REGISTRY}/acme/docker:2")

--# case: a denial wins, and takes both where it names no verb
--# needs: registry
--# allow: oci
--# deny: oci=${REGISTRY}/acme/*
local ok, err = pcall(oci.digest, "${REGISTRY}/acme/app:1")
assert.eq(err.code, "denied")
local ok, err = pcall(oci.push, "layout", "${REGISTRY}/acme/app:1")
assert.eq(err.code, "denied")

--# case: directories need their own grants
--# needs: registry
--# allow: oci=pull+push:${REGISTRY}
local ok, err = pcall(oci.pull, "${REGISTRY}/acme/app:1", "out")
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=write:out")
local ok, err = pcall(oci.push, "${REGISTRY_LAYOUT}", "${REGISTRY}/x:1")
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=read:${REGISTRY_LAYOUT}")
local ok, err = pcall(oci.mutate, "${REGISTRY}/acme/docker:1", "${REGISTRY}/x:1", { a = { file = "/etc/hostname" } })
assert.eq(err.code, "denied")
assert.contains(err.message, "--allow fs=read:/etc/hostname")
