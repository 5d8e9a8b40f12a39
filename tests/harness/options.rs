//! Unknown options: every function that takes a table of options refuses them and says which it has.

use assay_tests::cases;
use assay_tests::executable::{Directory, root, run_in};
use std::collections::BTreeSet;

pub const TESTS: &[(&str, fn())] = &[
    ("every_function_with_options_is_here", every_function_with_options_is_here),
    ("unknown_ones_are_errors", unknown_ones_are_errors),
    ("unknown_ones_in_tables_within_are_errors", unknown_ones_in_tables_within_are_errors),
    ("a_metatable_adds_none", a_metatable_adds_none),
    ("a_table_behind_the_arguments_is_an_error", a_table_behind_the_arguments_is_an_error),
    ("every_function_counts_its_arguments", every_function_counts_its_arguments),
];

/// Functions as the headings of the reference name them, and a call with the options `o`. What comes before the options
/// is checked first, so it is right; what the call would do is not granted, and must not be asked for.
const CALLS: &[(&str, &str)] = &[
    ("apt.query", "apt.query('x', o)"),
    ("apt.list_installed", "apt.list_installed(o)"),
    ("apt.list_upgradable", "apt.list_upgradable(o)"),
    ("apt.add_source", "apt.add_source(o{id = 'x', source_list = 'x'})"),
    ("apt.update", "apt.update(o)"),
    ("apt.install", "apt.install(o{names = 'x'})"),
    ("apt.remove", "apt.remove(o{names = 'x'})"),
    ("base64.encode", "base64.encode('x', o)"),
    ("compress.gunzip", "compress.gunzip('x', o)"),
    ("compress.unxz", "compress.unxz('x', o)"),
    ("compress.unzstd", "compress.unzstd('x', o)"),
    ("compress.bunzip2", "compress.bunzip2('x', o)"),
    ("compress.gzip", "compress.gzip('x', o)"),
    ("compress.xz", "compress.xz('x', o)"),
    ("compress.zstd", "compress.zstd('x', o)"),
    ("compress.bzip2", "compress.bzip2('x', o)"),
    ("compress.pack_file", "compress.pack_file('x', 'x.gz', o)"),
    ("compress.unpack_file", "compress.unpack_file('x.gz', 'x', o)"),
    ("compress.packer", "compress.packer('gz', o)"),
    ("compress.unpacker", "compress.unpacker('gz', o)"),
    ("compress.untar", "compress.untar('x.tar', 'x', o{member = 'x'})"),
    ("crypto.hkdf", "crypto.hkdf('x', 16, o)"),
    ("crypto.encrypt", "crypto.encrypt(('k'):rep(32), 'x', o)"),
    ("crypto.decrypt", "crypto.decrypt(('k'):rep(32), 'x', o)"),
    ("crypto.jwt_sign", "crypto.jwt_sign({}, 'key', 'HS256', o)"),
    ("crypto.jwt_verify", "crypto.jwt_verify(TOKEN, 'key', o)"),
    ("db.connect", "db.connect('sqlite::memory:', o)"),
    ("db.query", "db.query(nil, 'x', nil, o)"),
    ("db.rows", "db.rows(nil, 'x', nil, o)"),
    ("fs.glob", "fs.glob('*', o)"),
    ("fs.readdir", "fs.readdir('.', o)"),
    ("fs.remove", "fs.remove('x', o)"),
    ("fs.stat", "fs.stat('.', o)"),
    ("fs.metadata", "fs.metadata('.', o)"),
    ("http.get", "http.get('http://localhost/', o)"),
    ("http.post", "http.post('http://localhost/', 'x', o)"),
    ("http.put", "http.put('http://localhost/', 'x', o)"),
    ("http.patch", "http.patch('http://localhost/', 'x', o)"),
    ("http.delete", "http.delete('http://localhost/', o)"),
    ("http.head", "http.head('http://localhost/', o)"),
    ("http.options", "http.options('http://localhost/', o)"),
    ("http.request", "http.request('GET', 'http://localhost/', o)"),
    ("http.client", "http.client(o)"),
    ("http.download", "http.download('http://localhost/', 'x', o)"),
    ("http.serve", "http.serve(0, {}, o)"),
    ("http.files", "http.files('.', o)"),
    ("json.parse", "json.parse('{}', o)"),
    ("json.encode", "json.encode({}, o)"),
    ("markdown.to_html", "markdown.to_html('x', o)"),
    ("oci.copy", "oci.copy('a', 'b', o)"),
    ("oci.tag", "oci.tag('a', 'b', o)"),
    ("oci.mutate", "oci.mutate('a', 'b', {}, o)"),
    ("oci.manifest", "oci.manifest('a', o)"),
    ("oci.config", "oci.config('a', o)"),
    ("oci.digest", "oci.digest('a', o)"),
    ("oci.tags", "oci.tags('a', o)"),
    ("oci.pull", "oci.pull('a', 'b', o)"),
    ("oci.push", "oci.push('a', 'b', o)"),
    ("process.spawn", "process.spawn(o{cmd = 'true'})"),
    ("process:wait", "CHILD:wait(o)"),
    ("process:kill", "CHILD:kill('TERM', o)"),
    ("process.run", "process.run(o{cmd = 'true'})"),
    ("process.exec", "process.exec(o{cmd = 'true'})"),
    ("process.wait", "process.wait(CHILD.pid, o)"),
    ("process.kill", "process.kill(CHILD.pid, 'TERM', o)"),
    ("process.spawn_pty", "process.spawn_pty(o{cmd = 'true'})"),
    ("terminal:read", "TERMINAL:read(o)"),
    ("terminal:wait", "TERMINAL:wait(o)"),
    ("shell.exec", "shell.exec('true', o)"),
    ("shell.run", "shell.run('true', o)"),
    ("shell.output", "shell.output('true', o)"),
    ("shell.pipe", "shell.pipe({'true'}, o)"),
    ("systemd.list_units", "systemd.list_units(o)"),
    ("systemd.start", "systemd.start('x', o)"),
    ("systemd.stop", "systemd.stop('x', o)"),
    ("systemd.restart", "systemd.restart('x', o)"),
    ("systemd.reload", "systemd.reload('x', o)"),
    ("systemd.enable", "systemd.enable('x', o)"),
    ("systemd.disable", "systemd.disable('x', o)"),
    ("systemd.reset_failed", "systemd.reset_failed('x', o)"),
    ("systemd.machine_start", "systemd.machine_start('x', o)"),
    ("systemd.machine_poweroff", "systemd.machine_poweroff('x', o)"),
    ("systemd.machine_reboot", "systemd.machine_reboot('x', o)"),
    ("systemd.machine_terminate", "systemd.machine_terminate('x', o)"),
    ("systemd.machine_exec", "systemd.machine_exec('x', 'true', o)"),
    ("systemd.journal", "systemd.journal(o)"),
    ("systemd.journal_follow", "systemd.journal_follow(o, print)"),
    ("tar.create", "tar.create('x.tar', {}, o)"),
    ("tar.extract", "tar.extract('x.tar', 'x', o)"),
    ("tar.list", "tar.list('x.tar', o)"),
    ("tar.entries", "tar.entries('x.tar', o)"),
    ("template.render", "template.render('x', {}, o)"),
    ("template.render_string", "template.render_string('x', {}, o)"),
    ("template.render_with_loader", "template.render_with_loader('x', 'y', {}, o)"),
    ("ws.connect", "ws.connect('ws://localhost/', o)"),
    // No function of `ws` looks at its connection before its options.
    ("ws.send", "ws.send({handle = 1}, 'x', o)"),
    ("ws.recv", "ws.recv({handle = 1}, o)"),
    ("ws.messages", "ws.messages({handle = 1}, o)"),
    ("ws.ping", "ws.ping({handle = 1}, o)"),
    ("ws.close", "ws.close({handle = 1}, 1000, '', o)"),
    ("yaml.parse", "yaml.parse('', o)"),
    ("yaml.parse_all", "yaml.parse_all('', o)"),
];

/// Tables within options and arguments.
const WITHIN: &[&str] = &[
    "http.get('http://localhost/', {basic_auth = o{user = 'x'}})",
    "http.post('http://localhost/', nil, {multipart = {o{name = 'x', value = 'y'}}})",
    "http.client{base_url = 'http://localhost'}:get('/', o)",
    "http.client():post('http://localhost', 'x', o)",
    "http.client():request('GET', 'http://localhost', o)",
    "http.client():download('http://localhost', 'x', o)",
    "http.serve(o{port = 0}, {})",
    "http.serve(0, {}, {tls = o{cert = 'x', key = 'y'}})",
    "oci.config('a', {auth = o{token = 'x'}})",
    "oci.copy('a', 'b', {src_auth = o{token = 'x'}})",
    "oci.mutate('a', 'b', {x = o{content = 'x'}})",
    "process.spawn('true', o)",
    "process.spawn{cmd = 'true', stdout = o{file = 'x'}}",
    "process.spawn{cmd = 'true', stdin = o{file = 'x'}}",
    "process.run{'true', zzz_unknown = 1}",
    "process.run('true', {'x', zzz_unknown = 1})",
    "tar.create('x.tar', {x = o{content = 'x'}})",
    "ws.connect('ws://localhost/', {basic_auth = o{user = 'x'}})",
];

/// `o` is a table with an option that there is not, and `o(t)` adds it to `t`.
const HEAD: &str = "
local o = setmetatable({zzz_unknown = 1}, {__call = function(_, t) t.zzz_unknown = 1 return t end})
local TOKEN = crypto.jwt_sign({exp = 4102444800}, 'key')
local CHILD = process.spawn{cmd = 'true'}
local TERMINAL = process.spawn_pty{cmd = 'true'}
local wrong = {}
local function try(code, fn)
  local ok, err = pcall(fn)
  local text = tostring(err)
  if ok or not text:find('unknown option \\'zzz_unknown\\'; the options are ', 1, true) then
    wrong[#wrong + 1] = code .. ': ' .. (ok and 'no error' or text)
  elseif not ok and type(err) == 'table' and err.code ~= 'invalid_argument' then
    wrong[#wrong + 1] = code .. ': the code ' .. err.code
  end
end
";

fn run(head: &str, calls: impl Iterator<Item = &'static str>) {
    let mut script = head.to_string();
    for call in calls {
        script.push_str(&format!("try([[{call}]], function() return {call} end)\n"));
    }
    script.push_str("assert(#wrong == 0, '\\n' .. table.concat(wrong, '\\n'))\n");
    let directory = Directory::new();
    directory.write("options.lua", &script);
    let finished = run_in(&directory, &["run", "--allow", "process=true,pty=true", "options.lua"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

fn unknown_ones_are_errors() {
    run(HEAD, CALLS.iter().map(|(_, call)| *call));
}

fn unknown_ones_in_tables_within_are_errors() {
    run(HEAD, WITHIN.iter().copied());
}

/// Options are read raw: what a metatable would give is no option.
fn a_metatable_adds_none() {
    let head = HEAD
        .replace("setmetatable({zzz_unknown = 1}, {", "setmetatable({}, {__index = {zzz_unknown = 1}, ")
        .replace(
            "if ok or not text:find('unknown option \\'zzz_unknown\\'; the options are ', 1, true)",
            "if text:find('zzz_unknown', 1, true)",
        )
        // They may fail of themselves.
        .replace("elseif not ok and", "elseif false and");
    assert!(head.contains("__index") && head.contains("if text:find") && head.contains("elseif false"));
    // Those that need no grant and end without one.
    let calls = CALLS.iter().filter(|(name, _)| {
        ["json.", "yaml.", "base64.", "crypto.", "markdown."].iter().any(|start| name.starts_with(start))
    });
    run(&head, calls.map(|(_, call)| *call));
}

/// The name in a heading `## name(parameters)` of the reference, and its parameters.
fn heading(line: &str) -> Option<(&str, Vec<String>)> {
    let (name, rest) = line.strip_prefix("--- ## ")?.split_once('(')?;
    let list = rest.split(") -> ").next()?.trim_end_matches(')');
    let (mut parameters, mut depth) = (vec![String::new()], 0);
    for c in list.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match parameters.last_mut() {
            Some(last) if c != ',' || depth > 0 => last.push(c),
            _ => parameters.push(String::new()),
        }
    }
    parameters.iter_mut().for_each(|parameter| *parameter = parameter.trim().to_string());
    parameters.retain(|parameter| !parameter.is_empty());
    Some((name, parameters))
}

/// Every heading of the reference.
fn headings() -> Vec<String> {
    let directory = root().join("tests/capability");
    let texts = std::fs::read_dir(&directory)
        .expect("the directory is there")
        .map(|entry| entry.expect("an entry").path());
    let texts = texts.filter(|path| path.extension().is_some_and(|extension| extension == "lua"));
    let texts = texts.map(|path| std::fs::read_to_string(path).expect("a page"));
    texts
        .flat_map(|text| {
            text.lines().filter(|line| line.starts_with("--- ## ")).map(String::from).collect::<Vec<_>>()
        })
        .collect()
}

/// Functions of Lua's own that are written in Lua here, and take what they take.
const LUAS: &[&str] = &["dofile", "loadfile", "require"];

/// How many arguments a function takes where its heading shows only the usual ones.
const MORE: &[(&str, usize)] =
    &[("process.spawn", 2), ("process.run", 2), ("process.exec", 2), ("process.spawn_pty", 2)];

/// The objects that have the methods of the headings.
const OBJECTS: &str = "
local process_handle = process.spawn{cmd = 'true'}
local terminal = process.spawn_pty{cmd = 'true'}
local handle = async.spawn(function() end)
local file = io.tmpfile()
local objects = {process = process_handle, terminal = terminal, handle = handle, file = file}
local wrong = {}
local function said(fn, ...)
  local ok, err = pcall(fn, ...)
  return not ok and tostring(err):match('unexpected (%l+: the function takes %l*%d* ?argument)')
end
";

/// A table behind the arguments would be silently left out: `fs.write(path, text, {append = true})`.
fn a_table_behind_the_arguments_is_an_error() {
    let mut script = String::from(OBJECTS);
    let headings = headings();
    let functions: Vec<_> = headings.iter().filter_map(|line| heading(line)).collect();
    assert!(functions.len() > 230, "the headings were not found");
    for (name, parameters) in functions {
        if parameters.iter().any(|parameter| parameter == "...") || LUAS.contains(&name) {
            continue;
        }
        let count = MORE.iter().find(|(more, _)| *more == name).map_or(parameters.len(), |(_, count)| *count);
        let (function, object) = match name.split_once(':') {
            Some((object, method)) => (format!("objects.{object}.{method}"), format!(", objects.{object}")),
            None => (name.to_string(), String::new()),
        };
        let nils = |count: usize| ", nil".repeat(count);
        let before = match name {
            // It would end the run.
            "os.exit" => String::new(),
            _ if count == 0 => String::new(),
            _ => format!(
                "if said({function}{object}{}, {{}}) then wrong[#wrong + 1] = '{name} takes {count}' end\n",
                nils(count - 1)
            ),
        };
        script.push_str(&format!(
            "{before}if said({function}{object}{nils}, {{}}) == nil or said({function}{object}{nils}, print) == nil then \
             wrong[#wrong + 1] = '{name} has nothing behind {count}' end\n",
            nils = nils(count)
        ));
    }
    script.push_str("assert(#wrong == 0, '\\n' .. table.concat(wrong, '\\n'))\n");
    let directory = Directory::new();
    directory.write("surplus.lua", &script);
    let finished = run_in(&directory, &["run", "--allow", "process=true,pty=true", "surplus.lua"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

/// Those too that have no heading: every function of the libraries, and every method of the objects.
fn every_function_counts_its_arguments() {
    let rest = "
local stream = compress.packer('gz')
local connection = db.connect('sqlite::memory:')
local lists = {client = getmetatable(http.client()).__index, stream = getmetatable(stream).__index,
  connection = {query = connection.query, execute = connection.execute, rows = connection.rows,
    script = connection.script, transaction = connection.transaction, batch = connection.batch, close = connection.close},
  process_handle = getmetatable(process_handle).__index, terminal = getmetatable(terminal).__index,
  file = getmetatable(file).__index}
for _, name in ipairs{'apt', 'async', 'base64', 'cgroup', 'compress', 'crypto', 'db', 'disk', 'env', 'fs', 'http', 'io',
  'json', 'linux', 'log', 'markdown', 'oci', 'os', 'process', 'regex', 'shell', 'systemd', 'tar', 'template', 'toml', 'ws',
  'yaml'} do
  lists[name] = _G[name]
end
-- Those that take any number of arguments, and those that are called at the end of a block too, with its error.
local free = {['async.spawn'] = true, ['io.read'] = true, ['io.write'] = true, ['io.lines'] = true, ['file.read'] = true,
  ['file.write'] = true, ['file.lines'] = true, ['stream.each'] = true, ['stream.close'] = true}
local count = 0
for list, functions in pairs(lists) do
  for name, fn in pairs(functions) do
    local full = list .. '.' .. name
    if type(fn) == 'function' and name:sub(1, 2) ~= '__' and not free[full] then
      count = count + 1
      if not said(fn, nil, nil, nil, nil, nil, nil, nil, nil, {}) then wrong[#wrong + 1] = full end
    end
  end
end
assert(count > 240, count)
assert(#wrong == 0, '\\n' .. table.concat(wrong, '\\n'))
";
    let directory = Directory::new();
    directory.write("all.lua", &format!("{OBJECTS}{rest}"));
    let finished =
        run_in(&directory, &["run", "--allow", "process=true,pty=true,db=sqlite::memory:", "all.lua"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

/// The name in a heading `## name(parameters)` if one of the parameters is a table of options.
fn with_options(heading: &str) -> Option<String> {
    let (name, rest) = heading.strip_prefix("--- ## ")?.split_once('(')?;
    let parameters = rest.split(") -> ").next()?.trim_end_matches(')');
    let table = parameters.contains("opt") || parameters.contains("}?") || parameters.contains("filter");
    table.then(|| name.to_string())
}

fn every_function_with_options_is_here() {
    let directory = root().join("tests/capability");
    let mut documented = BTreeSet::new();
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "lua") {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(cases::parse(&text).is_ok(), "{}", path.display());
            documented.extend(text.lines().filter_map(with_options));
        }
    }
    let here: BTreeSet<String> = CALLS.iter().map(|(name, _)| (*name).to_string()).collect();
    assert!(documented.len() > 80, "the headings were not found: {documented:?}");
    let missing: Vec<_> = documented.difference(&here).collect();
    assert!(missing.is_empty(), "add a call of {missing:?} to CALLS in tests/harness/options.rs");
    let extra: Vec<_> = here.difference(&documented).collect();
    assert!(extra.is_empty(), "the reference has no heading with options of {extra:?}");
}
