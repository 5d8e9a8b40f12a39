-- The functions of `oci`: their arguments, and the loop that reports progress.
local natives, shared = ...
local no_more <const> = shared.no_more
local oci = natives.oci
local start, advance, abandon, failure = natives.start, natives.advance, natives.abandon, natives.failure
local parse, variable = json.parse, env.get
local type, error, next, rawget, setmetatable, tostring = type, error, next, rawget, setmetatable, tostring

-- What goes to the host as it is.
local plain <const> = shared.names("timeout", "retries", "max_blob", "ca_cert", "ca_cert_file", "client_cert",
  "client_cert_file", "client_key", "client_key_file", "tls", "platform", "name")
-- The options of every function, and of each.
local common_options <const> = shared.names("timeout", "retries", "max_blob", "ca_cert", "ca_cert_file", "client_cert",
  "client_cert_file", "client_key", "client_key_file", "tls", "docker_config", "plain_http")
local tags_options <const> = shared.names(common_options, "auth")
local look_options <const> = shared.names(tags_options, "platform")
local one_options <const> = {
  tag = shared.names(look_options, "progress"),
  pull = shared.names(look_options, "progress"),
  push = shared.names(look_options, "progress", "name"),
}
local two_options <const> = shared.names(common_options, "platform", "progress", "src_auth", "dst_auth")
-- What `mutate` changes: names with values, lists, and texts.
local pair_changes <const> = shared.names("labels", "annotations", "env")
local list_changes <const> = shared.names("cmd", "entrypoint", "exposed_ports")
local text_changes <const> = shared.names("user", "workdir", "set_platform")
local mutate_options <const> = shared.names(two_options, pair_changes, list_changes, text_changes)
-- The fields of a file, and of a login.
local file_fields <const> = shared.names("content", "file", "mode")
local login_fields <const> = shared.names("username", "password", "token")

local function invalid(message, ...)
  error(failure("invalid_argument", "oci: " .. message:format(...)), 0)
end

local function login(flat, side, name, auth)
  if type(auth) ~= "table" then
    invalid("field '%s': {username = ..., password = ...} or {token = ...} expected, got %s", name, type(auth))
  end
  local why = shared.unknown(auth, login_fields)
  if why then
    invalid("field '%s': %s", name, why)
  end
  for key, value in next, auth do
    if type(value) ~= "string" then
      invalid("field '%s.%s': string expected, got %s", name, key, type(value))
    end
    flat[side .. "_" .. key] = value
  end
end

local function docker_config(value)
  if value ~= true then
    return value or nil
  end
  local directory, home = variable("DOCKER_CONFIG"), variable("HOME")
  if directory then
    return directory .. "/config.json"
  elseif home then
    return home .. "/.docker/config.json"
  end
  invalid("docker_config = true needs the variable HOME or DOCKER_CONFIG, which is not set or not granted; name the file")
end

-- Names and values one after the other, as the host takes them.
local function pairs_of(option, value)
  if type(value) ~= "table" then
    invalid("field '%s': a table from names to strings expected, got %s", option, type(value))
  end
  local list = {}
  for name, text in next, value do
    if type(name) ~= "string" or type(text) ~= "string" then
      invalid("field '%s': names and values must be strings, got a %s for '%s'", option, type(text), tostring(name))
    end
    list[#list + 1] = name
    list[#list + 1] = text
  end
  return list
end

-- Options as the host takes them.
local function flatten(opts, names)
  local flat = {}
  local why = opts and shared.unknown(opts, names)
  if why then
    invalid("%s", why)
  end
  for name, value in next, opts or flat do
    if plain[name] or list_changes[name] or text_changes[name] then
      flat[name] = value
    elseif pair_changes[name] then
      flat[name] = pairs_of(name, value)
    elseif name == "auth" then
      login(flat, "src", name, value)
      login(flat, "dst", name, value)
    elseif name == "src_auth" or name == "dst_auth" then
      login(flat, name:sub(1, 3), name, value)
    elseif name == "docker_config" then
      flat.docker_config = docker_config(value)
    elseif name == "plain_http" then
      if type(value) == "boolean" then
        value = value and { "*" } or {}
      end
      flat.plain_http = value
    end
  end
  return flat
end

local function run(action, source, destination, flat, progress)
  if progress ~= nil and type(progress) ~= "function" then
    invalid("field 'progress': function expected, got %s", type(progress))
  end
  local job <const> = start(action, source, destination, flat)
  local guard <close> = setmetatable({}, { __close = function() abandon(job) end })
  local every <const> = progress and 0.1 or 0
  while true do
    local finished, done, total = advance(job, every)
    if finished then
      return parse(done)
    end
    progress(done, total)
  end
end

-- Called from the functions of scripts, whose position the message shows.
local function text(name, position, value)
  if type(value) ~= "string" then
    error("bad argument #" .. position .. " to '" .. name .. "' (string expected, got "
      .. (value == nil and "no value" or type(value)) .. ")", 3)
  end
end

local function options(name, position, value)
  if value ~= nil and type(value) ~= "table" then
    error("bad argument #" .. position .. " to '" .. name .. "' (table expected, got " .. type(value) .. ")", 3)
  end
end

for _, name in next, { "config", "tags", "digest" } do
  oci[name] = function(image, opts, ...)
    no_more(2, name, ...)
    text(name, 1, image)
    options(name, 2, opts)
    return run(name, image, "", flatten(opts, name == "tags" and tags_options or look_options), nil)
  end
end

function oci.manifest(image, opts, ...)
  no_more(2, "manifest", ...)
  text("manifest", 1, image)
  options("manifest", 2, opts)
  local result = run("manifest", image, "", flatten(opts, look_options), nil)
  return result.manifest, result.about
end

function oci.copy(source, destination, opts, ...)
  no_more(3, "copy", ...)
  text("copy", 1, source)
  text("copy", 2, destination)
  options("copy", 3, opts)
  return run("copy", source, destination, flatten(opts, two_options), opts and rawget(opts, "progress"))
end

for _, name in next, { "tag", "pull", "push" } do
  oci[name] = function(source, destination, opts, ...)
    no_more(3, name, ...)
    text(name, 1, source)
    text(name, 2, destination)
    options(name, 3, opts)
    return run(name, source, destination, flatten(opts, one_options[name]), opts and rawget(opts, "progress"))
  end
end

-- Files by their path in the image: the content, or {content = ..., mode = ...}, or {file = ..., mode = ...}.
local function listed(files)
  local list = {}
  for path, value in next, files do
    if type(path) ~= "string" then
      invalid("files: names must be paths, got a %s", type(path))
    end
    local entry = { path = path }
    if type(value) == "string" then
      entry.content = value
    elseif type(value) ~= "table" then
      invalid("files['%s']: string or table expected, got %s", path, type(value))
    elseif (value.content == nil) == (value.file == nil) then
      invalid("files['%s']: one of content and file expected", path)
    else
      local why = shared.unknown(value, file_fields)
      if why then
        invalid("files['%s']: %s", path, why)
      end
      entry.content, entry.file, entry.mode = value.content, value.file, value.mode
    end
    list[#list + 1] = entry
  end
  return list
end

function oci.mutate(source, destination, files, opts, ...)
  no_more(4, "mutate", ...)
  text("mutate", 1, source)
  text("mutate", 2, destination)
  -- Files may be left out where options say what to change.
  if files ~= nil or opts == nil then
    options("mutate", 3, files or false)
  end
  options("mutate", 4, opts)
  local flat = flatten(opts, mutate_options)
  flat.files = listed(files or {})
  return run("mutate", source, destination, flat, opts and rawget(opts, "progress"))
end
