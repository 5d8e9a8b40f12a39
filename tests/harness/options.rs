//! Options that there are not: every function that takes a table of options refuses them and says which it has.

use assay_tests::cases;
use assay_tests::executable::{Folder, root, run_in};
use std::collections::BTreeSet;

pub const TESTS: &[(&str, fn())] = &[
    ("every_function_with_options_is_here", every_function_with_options_is_here),
    ("unknown_ones_are_errors", unknown_ones_are_errors),
    ("unknown_ones_in_tables_within_are_errors", unknown_ones_in_tables_within_are_errors),
    ("a_metatable_adds_none", a_metatable_adds_none),
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
    let folder = Folder::new();
    folder.write("options.lua", &script);
    let finished = run_in(&folder, &["run", "--allow", "process=true,pty=true", "options.lua"]);
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

/// The name in a heading `## name(parameters)` if one of the parameters is a table of options.
fn with_options(heading: &str) -> Option<String> {
    let (name, rest) = heading.strip_prefix("--- ## ")?.split_once('(')?;
    let parameters = rest.split(") -> ").next()?.trim_end_matches(')');
    let table = parameters.contains("opt") || parameters.contains("}?") || parameters.contains("filter");
    table.then(|| name.to_string())
}

fn every_function_with_options_is_here() {
    let folder = root().join("tests/capability");
    let mut documented = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
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
