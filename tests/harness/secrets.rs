//! No password of a URL reaches a stream, a file of the operator, or another message, however the URL is written.

use assay_tests::executable::{Directory, assay};

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("no_message_has_a_password", no_message_has_a_password),
    ("no_message_of_the_command_line_has_a_password", no_message_of_the_command_line_has_a_password),
    ("the_environment_s_proxies_stay_secret", the_environment_s_proxies_stay_secret),
    ("messages_still_say_where", messages_still_say_where),
];

/// What is searched for: also within "%68unter2".
const SECRET: &str = "unter2";

/// Every spelling, also of what is no URL. All lead to this machine, where nothing listens, or nowhere.
const URLS: &[&str] = &[
    "http://u:hunter2@127.0.0.1:1/x",
    "HTTPS://u:hunter2@127.0.0.1:1/x",
    "http://u:hunter2@[::1]:1/x?a=b#c",
    "http://hunter2@127.0.0.1:1/",
    "http://u:a@hunter2@127.0.0.1:1/",
    "http://u:%68unter2@127.0.0.1:1/",
    "http://u%3Ahunter2@127.0.0.1:1/",
    "http://u:pa hunter2@127.0.0.1:1/",
    "http://u:hunter2 x@127.0.0.1:1/",
    "http://u:hunter2@127.0.0.1:notaport/",
    "http://u:hunter2@127.0.0.1:99999/",
    "http://u:hunter2@[::1:1/",
    "http://u:hunter2/x@127.0.0.1:1/",
    "http://u:hunter2?x@127.0.0.1:1/",
    "http://u:hunter2#x@127.0.0.1:1/",
    "http://u:hunter2%40127.0.0.1:1/",
    "http://u:hunter2@",
    "http:u:hunter2@127.0.0.1:1/",
    "http:/u:hunter2@127.0.0.1:1/",
    r"http:\\u:hunter2@127.0.0.1:1/",
    "\nhttp://u:hunter2@127.0.0.1:x/",
    "http://u:hun\tter2@127.0.0.1:x/",
    "http://127.0.0.1:1/?token=hunter2",
    "http://127.0.0.1:x/?token=hunter2",
    "http://127.0.0.1:1/#access_token=hunter2",
    "ws://u:hunter2@127.0.0.1:1/x",
    "WSS://u:hunter2@127.0.0.1:x/",
    "ws://127.0.0.1:1/?access_token=hunter2",
    "ftp://u:hunter2@127.0.0.1:1/",
    "//u:hunter2@127.0.0.1:1/x",
    "u:hunter2@127.0.0.1:1/x",
    "docker://u:hunter2@127.0.0.1:1/x:tag",
    "postgres://u:hunter2@127.0.0.1:1/d",
    "POSTGRES://u:hunter2@127.0.0.1:1/d",
    "postgresql://u:hunter2@127.0.0.1:notaport/d",
    "postgres://u:hunter2@[::1]:1/d?sslmode=disable",
    "postgres://u:p@hunter2@127.0.0.1:x/d",
    "postgres://u:1/hunter2@127.0.0.1/d",
    "postgres://u:1?hunter2@127.0.0.1/d",
    "postgres://u:p@127.0.0.1:1/d?password=hunter2",
    "postgres:///d?host=/tmp&password=hunter2",
    "mysql://u:hunter2@127.0.0.1:1/d",
    "mysql://u:hunter2@127.0.0.1:x/d",
    "mariadb://u:%68unter2@127.0.0.1:1/d",
    "sqlite:d.db?password=hunter2",
    "sqlite:///d.db?key=hunter2",
    "sqlite://u:hunter2@127.0.0.1/d.db",
    "file:d.db?key=hunter2",
    "host=127.0.0.1 port=1 user=u password=hunter2 dbname=d",
    "host=127.0.0.1 password='a: hunter2'",
    "Server=127.0.0.1;Pwd=hunter2;Option=a:b",
];

/// What is done with each of them. The last error is not caught.
const SCRIPT: &str = r#"
local function each(url)
  return {
    function() return http.get(url) end,
    function() return http.post(url, "x") end,
    function() return http.request("PUT", url, { body = "x" }) end,
    function() return http.client({ base_url = url }):get("/x") end,
    function() return http.download(url, "file") end,
    function() return http.get("http://127.0.0.1:1/", { proxy = url }) end,
    function() return http.stream("GET", url) end,
    function() return ws.connect(url) end,
    function() return ws.connect("ws://127.0.0.1:1/", { proxy = url }) end,
    function() return db.connect(url) end,
    function() return db.connect(url, { read_only = true, ca_cert_file = url }) end,
    function() return oci.manifest(url) end,
    function() return oci.manifest("127.0.0.1:1/x", { plain_http = { url } }) end,
    function() return oci.pull(url, "out") end,
    function() return oci.copy(url, url) end,
    function() return process.run({ cmd = url }) end,
    function() return process.run({ cmd = "true", args = { url } }) end,
    function() return process.run({ cmd = "true", cwd = url }) end,
    function() return process.spawn_pty({ cmd = url }) end,
    function() return fs.read(url) end,
    function() return io.open(url):read() end,
    function() return template.render(url, {}) end,
    function() return require(url) end,
  }
end
local last
for _, url in ipairs(urls) do
  for _, call in ipairs(each(url)) do
    local ok, err = pcall(call)
    if not ok then
      -- Of a module that is not found Lua says the name that the script gave it.
      if type(err) == "table" or not tostring(err):find("^module") then print(err) end
      last = err
    end
  end
end
error(last)
"#;

fn script() -> String {
    let urls: Vec<_> = URLS.iter().map(|url| format!("[==[\n{url}]==]")).collect();
    format!("local urls = {{{}}}\n{SCRIPT}", urls.join(", "))
}

/// Nothing of it says the password; gives what is on the streams.
fn check(directory: &Directory, what: &str, command: &mut std::process::Command) -> (String, Option<i32>) {
    let output = command.output().expect("the executable can be started");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let mut places = vec![("the output".to_string(), text.clone())];
    for name in ["audit.jsonl", "learned.toml", "report.json"] {
        let file = std::fs::read(directory.path().join(name)).unwrap_or_default();
        places.push((name.into(), String::from_utf8_lossy(&file).into_owned()));
    }
    for (place, text) in places {
        let leak = text.lines().find(|line| line.contains(SECRET));
        assert!(leak.is_none(), "{what}: {place} has the password: {leak:?}");
    }
    (text, output.status.code())
}

fn no_message_has_a_password() {
    let directory = Directory::new();
    directory.write("a.lua", &script());
    let files = ["--audit", "audit.jsonl", "--report", "json", "--report-file", "report.json"];
    for flags in [
        &[][..],
        &["-A"],
        &["-A", "--learn", "learned.toml"],
        &["-A", "--deny", "http,ws,db,oci,process,pty,fs"],
        &["-A", "--deny", "http=127.0.0.1,ws=127.0.0.1,db=postgres://127.0.0.1,oci=127.0.0.1"],
        &["--allow", "http=http://127.0.0.1:1/y,db=postgres://127.0.0.1:2,process=true,fs=rw:."],
        &["-A", "-vv", "--log-format", "json"],
    ] {
        let mut args = vec!["run"];
        args.extend(flags.iter().chain(&files).copied());
        args.push("a.lua");
        let (text, code) =
            check(&directory, &format!("{flags:?}"), assay(directory.path(), &args).env("RUST_LOG", "trace"));
        assert_eq!(code, Some(1), "{flags:?}: {text}");
        // The test sees what it is about.
        let audit = std::fs::read_to_string(directory.path().join("audit.jsonl")).expect("an audit file");
        assert!(text.contains("127.0.0.1:1") && audit.contains("127.0.0.1:1"), "{flags:?}: {text}");
        std::fs::remove_file(directory.path().join("audit.jsonl")).expect("the directory is writable");
    }
}

fn no_message_of_the_command_line_has_a_password() {
    let directory = Directory::new();
    directory.write("ok.lua", "print('ran')");
    for url in URLS.iter().filter(|url| !url.contains('\n')) {
        directory
            .write("m.toml", &format!("allow = [{:?}]\n[limits]\nmemory = {url:?}", format!("http={url}")));
        directory.write("x.lua", &format!(
            "http.get([[{url}]])\nhttp.download([[{url}]], 'f')\nws.connect([[{url}]])\ndb.connect([[{url}]])\noci.pull([[{url}]], 'o')\nprocess.run{{cmd = [[{url}]]}}"
        ));
        let grants = ["http", "ws", "db", "oci", "process", "fs", "listen", "env", "systemd", "apt"]
            .map(|name| format!("{name}={url}"));
        let mut lines: Vec<Vec<&str>> = Vec::new();
        for grant in &grants {
            lines.push(vec!["run", "--allow", grant, "--report", "json", "ok.lua"]);
            lines.push(vec!["run", "--deny", grant, "ok.lua"]);
        }
        lines.extend([
            vec!["run", url],
            vec!["run", "--memory", url, "ok.lua"],
            vec!["run", "--timeout", url, "ok.lua"],
            vec!["run", "--manifest", url, "ok.lua"],
            vec!["run", "--manifest", "m.toml", "ok.lua"],
            vec!["run", "--audit", url, "--report-file", url, "/nonexistent"],
            vec!["run", "--mode", url, "ok.lua"],
            vec!["run", "ok.lua", "--allow", url],
            vec!["explain", "x.lua"],
            vec!["explain", "--json", "x.lua"],
            vec!["explain", url],
            vec!["test", url],
            vec![url],
        ]);
        for line in lines {
            let _ = check(&directory, &format!("{line:?}"), &mut assay(directory.path(), &line));
        }
    }
}

fn the_environment_s_proxies_stay_secret() {
    let directory = Directory::new();
    directory.write("a.lua", "for _ = 1, 2 do print(pcall(http.get, 'http://192.0.2.1/', {timeout = 1})) end http.get('http://192.0.2.1/', {timeout = 1})");
    for url in URLS.iter().filter(|url| !url.contains('\n')) {
        for allow in ["http", "http=proxy:127.0.0.1:1,http=192.0.2.1", "env"] {
            let args =
                ["run", "--allow", allow, "--deny", "http=192.0.2.0/24", "--audit", "audit.jsonl", "a.lua"];
            let mut command = assay(directory.path(), &args);
            for name in ["http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
                command.env(name, url);
            }
            let _ = check(&directory, url, &mut command);
        }
    }
}

/// What is hidden is the password, not the place.
fn messages_still_say_where() {
    let directory = Directory::new();
    for (call, shown) in [
        ("http.get('http://u:hunter2@127.0.0.1:1/x')", "GET http://127.0.0.1:1/x"),
        ("http.get('http://u:hunter2@127.0.0.1:x/y')", "http://...@127.0.0.1:x/y"),
        ("db.connect('postgres://u:hunter2@127.0.0.1:1/d')", "postgres://127.0.0.1:1/d"),
        ("ws.connect('ws://u:hunter2@127.0.0.1:x/y')", "ws://...@127.0.0.1:x/y"),
        ("oci.manifest('u:hunter2@127.0.0.1:1/x')", "...@127.0.0.1:1/x"),
    ] {
        directory.write("a.lua", call);
        let (text, _) = check(&directory, call, &mut assay(directory.path(), &["run", "-A", "a.lua"]));
        assert!(text.contains(shown), "{call}: {text}");
    }
}
