--# case: the next page of a list of tags, in every legal form
--# needs: registry_fake
--# allow: oci=pull:${FAKE}
for _, form in ipairs({
  "order", "token", "list", "lines", "words", "relative", "absolute", "proxy", "proxy-tls",
}) do
  assert.eq(table.concat(oci.tags("${FAKE}/link-" .. form), " "), "a b c", form)
end
assert.eq(table.concat(oci.tags("${FAKE}/link-none"), " "), "a b")

--# case: a list of tags is whole or an error
--# needs: registry_fake
--# allow: oci=pull:${FAKE}
for form, text in pairs({
  open = "a '<' is not closed",
  two = "two next pages",
  host = "another place",
  repository = "another place",
}) do
  local ok, err = pcall(oci.tags, "${FAKE}/link-" .. form)
  assert.eq(ok, false, form)
  assert.eq(err.code, "invalid_data", form)
  assert.contains(err.message, text)
end

--# case: a blob that is not taken over is sent
--# needs: registry_fake
--# allow: oci=pull+push:${FAKE},http=${FAKE}
local function posts(repository)
  local plain, mounts = 0, 0
  for _, entry in ipairs(json.parse(http.get("http://${FAKE}/log").body)) do
    if entry.method == "POST" and entry.path:find("/" .. repository .. "/", 1, true) then
      if entry.path:find("mount=", 1, true) then mounts = mounts + 1 else plain = plain + 1 end
    end
  end
  return plain, mounts
end
for _, status in ipairs({ 400, 401, 403, 404, 405 }) do
  local repository = "target-mount-" .. status
  local image = oci.copy("${FAKE}/good:1", "${FAKE}/" .. repository .. ":1")
  assert.eq(image.digest, "${FAKE_DIGEST}", status)
  assert.eq(image.blobs.mounted, 0)
  local plain, mounts = posts(repository)
  assert.eq(plain, image.blobs.copied)
  assert.gt(mounts, 0)
end

--# case: a server that gives no token for the source gives one for the destination
--# needs: registry_fake
--# allow: oci=pull+push:${FAKE}
local auth = { username = "user", password = "pass" }
local image = oci.copy("${FAKE}/good:1", "${FAKE}/target-strict:1", { dst_auth = auth })
assert.eq(image.digest, "${FAKE_DIGEST}")
assert.eq(image.blobs.mounted, 0)
assert.gt(image.blobs.copied, 0)
