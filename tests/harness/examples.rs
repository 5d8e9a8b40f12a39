//! The examples, as their headers say to run them: against servers on loopback, on success and on failure.

use assay_tests::executable::{Directory, Finished, assay, root, run};
use assay_tests::servers::{self, Server};
use serde_json::Value;

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("log_summary_counts_the_log", log_summary_counts_the_log),
    ("log_summary_fails_without_a_grant_or_a_log", log_summary_fails_without_a_grant_or_a_log),
    ("check_endpoints_passes", check_endpoints_passes),
    ("check_endpoints_fails_for_each_reason", check_endpoints_fails_for_each_reason),
    ("sync_config_writes_what_differs", sync_config_writes_what_differs),
    ("sync_config_stays_in_its_directory", sync_config_stays_in_its_directory),
    ("verify_downloads_fetches_once", verify_downloads_fetches_once),
    ("verify_downloads_refuses_other_content", verify_downloads_refuses_other_content),
    ("api_retries_gets_every_item", api_retries_gets_every_item),
    ("api_retries_gives_up", api_retries_gives_up),
];

/// Runs an example from the root of the project, where its commands are written for.
fn example(name: &str, grants: &str, args: &[&str]) -> Finished {
    let script = format!("examples/{name}.lua");
    let mut words = vec!["run", "--allow", grants, &script, "--"];
    words.extend(args);
    assay(&root(), &words).output().expect("the executable can be started").into()
}

fn contains(done: &Finished, code: i32, parts: &[&str]) {
    assert_eq!(done.code, Some(code), "{}{}", done.stdout, done.stderr);
    for part in parts {
        assert!(done.stdout.contains(part), "'{part}' is not in\n{}{}", done.stdout, done.stderr);
    }
}

/// The server of `tests/servers/http_server.py`; files of its own are in a directory of the test's.
fn server(directory: &Directory) -> (Server, String) {
    let server = servers::start("http", directory.path()).expect("the server starts");
    let place = format!("127.0.0.1:{}", server.values["HTTP_PORT"]);
    (server, place)
}

fn log_summary_counts_the_log() {
    let done = example("log_summary", "fs=read:examples", &[]);
    contains(
        &done,
        0,
        &[
            "examples/data/access.log: 300 requests, 4918.9 kB sent, 2 lines skipped",
            "  503            7   2.3 %\n",
            "  /reports/monthly    6.357\n",
            "  09:06         28       9  32.1 %\n",
        ],
    );
    let done = example("log_summary", "fs=read:examples", &["examples/data/access.log", "1"]);
    contains(&done, 0, &["  /                    51\n\n"]);
}

fn log_summary_fails_without_a_grant_or_a_log() {
    let done = example("log_summary", "fs=read:docs", &[]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("--allow fs=read:"), "{}", done.stderr);
    let done = example("log_summary", "fs=read:examples", &["examples/data/config.json"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("no line in the combined log format"), "{}", done.stderr);
}

fn check_endpoints_passes() {
    let directory = Directory::new();
    let (_server, place) = server(&directory);
    let list = format!(
        "timeout: 10
endpoints:
  - {{ name: hello, url: 'http://{place}/hello', contains: hello }}
  - {{ name: head, url: 'http://{place}/empty', method: HEAD }}
  - {{ name: not found is right, url: 'http://{place}/status/404', status: 404 }}
"
    );
    let list = directory.write("endpoints.yaml", &list).display().to_string();
    let grants = format!("fs=read:examples,fs=read:{list},http=GET+HEAD:{place}");
    let done = example("check_endpoints", &grants, &[&list]);
    contains(&done, 0, &["all 3 are well.", "| [hello](http://", "| ok |"]);
}

fn check_endpoints_fails_for_each_reason() {
    let directory = Directory::new();
    let (server, place) = server(&directory);
    let closed = &server.values["CLOSED_PORT"];
    let list = format!(
        "endpoints:
  - {{ name: well, url: 'http://{place}/hello' }}
  - {{ name: status, url: 'http://{place}/status/503' }}
  - {{ name: text, url: 'http://{place}/hello', contains: bye }}
  - {{ name: slow, url: 'http://{place}/slow?ms=10000', timeout: 0.2 }}
  - {{ name: method, url: 'http://{place}/hello', method: POST }}
  - {{ name: closed, url: 'http://127.0.0.1:{closed}/' }}
"
    );
    let list = directory.write("endpoints.yaml", &list).display().to_string();
    let grants = format!("fs=read:examples,fs=read:{list},http=GET:{place},http=127.0.0.1:{closed}");
    let done = example("check_endpoints", &grants, &[&list]);
    contains(
        &done,
        1,
        &[
            "5 of 6 failed.",
            "**FAILED** status 503, expected 2xx",
            "**FAILED** the body lacks \"bye\"",
            "**FAILED** timeout: ",
            "**FAILED** denied: ",
            "**FAILED** unavailable: ",
        ],
    );
}

fn sync_config_writes_what_differs() {
    let directory = Directory::new();
    let out = directory.path().join("out").display().to_string();
    let read_only = format!("fs=read:examples,fs=read:{out}");
    let grants = format!("fs=read:examples,fs=rw:{out}");

    let done = example("sync_config", &read_only, &[&out, "--dry-run"]);
    contains(&done, 0, &["created    app.env", "5 of 5 files would change"]);
    assert!(!directory.path().join("out").exists());

    let done = example("sync_config", &grants, &[&out]);
    contains(&done, 0, &["created    app/limits.toml", "5 of 5 files changed"]);
    let read = |name: &str| {
        std::fs::read_to_string(directory.path().join("out").join(name)).expect("it was written")
    };
    assert_eq!(read("app.env"), "APP_GREETING='it'\\''s up'\nAPP_LOG='info'\nAPP_PORT='8080'\n");
    assert!(read("app/limits.toml").contains("[requests]"), "{}", read("app/limits.toml"));
    let json: Value = serde_json::from_str(&read("features.json")).expect("JSON");
    assert_eq!(json["beta"][1], "export");

    contains(&example("sync_config", &grants, &[&out]), 0, &["unchanged  motd", "0 of 5 files changed"]);

    directory.write("out/motd", "changed by hand");
    let done = example("sync_config", &grants, &[&out]);
    contains(&done, 0, &["changed    motd", "unchanged  app.env", "1 of 5 files changed"]);
    assert!(read("motd").starts_with("Managed by"));
    assert!(!directory.path().join("out/motd.new").exists());
}

fn sync_config_stays_in_its_directory() {
    let directory = Directory::new();
    let out = directory.path().join("out").display().to_string();
    let hostile = r#"{"files": {"../escaped": {"format": "text", "content": "x"}}}"#;
    let document = directory.write("hostile.json", hostile).display().to_string();
    let grants = format!("fs=read:{document},fs=rw:{out}");
    let done = example("sync_config", &grants, &[&out, &document]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("is not granted"), "{}", done.stderr);
    assert!(!directory.path().join("escaped").exists());
    assert_eq!(example("sync_config", &grants, &[]).code, Some(64));
}

/// The SHA-256 of what a Lua expression gives.
fn sha256(expression: &str) -> String {
    let done = run(&["exec", "-e", &format!("io.write(crypto.hash({expression}))")]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout
}

fn verify_downloads_fetches_once() {
    let directory = Directory::new();
    let (_server, place) = server(&directory);
    // Bytes 0 to 255 over and over, as the server makes them.
    let bytes = sha256(
        "(function() local t = {} for i = 0, 99999 do t[i + 1] = string.char(i % 256) end return table.concat(t) end)()",
    );
    // Two refusals, then the answer.
    let late = sha256("'{\"ok\": true, \"count\": 3}'");
    let list = format!(
        "[[file]]
name = \"bytes.bin\"
url = \"http://{place}/bytes/100000\"
sha256 = \"{bytes}\"
[[file]]
name = \"late/answer.json\"
url = \"http://{place}/flaky?key=download&fail=2\"
sha256 = \"{late}\"
"
    );
    let list = directory.write("downloads.toml", &list).display().to_string();
    let out = directory.path().join("out").display().to_string();
    let grants = format!("fs=read:{list},fs=rw:{out},http=GET:{place}");
    let done = example("verify_downloads", &grants, &[&out, &list]);
    contains(
        &done,
        0,
        &["ok      bytes.bin: 100000 bytes fetched", "ok      late/answer.json: 24 bytes fetched"],
    );
    assert!(done.stderr.contains("trying again"), "{}", done.stderr);
    let done = example("verify_downloads", &grants, &[&out, &list]);
    contains(&done, 0, &["ok      bytes.bin: already there", "ok      late/answer.json: already there"]);
}

fn verify_downloads_refuses_other_content() {
    let directory = Directory::new();
    let (_server, place) = server(&directory);
    let digest = sha256("'something else'");
    let list = format!(
        "[[file]]
name = \"wrong.bin\"
url = \"http://{place}/bytes/1000\"
sha256 = \"{digest}\"
[[file]]
name = \"missing.bin\"
url = \"http://{place}/status/404\"
sha256 = \"{digest}\"
"
    );
    let list = directory.write("downloads.toml", &list).display().to_string();
    let out = directory.path().join("out");
    let grants = format!("fs=read:{list},fs=rw:{},http=GET:{place}", out.display());
    let done = example("verify_downloads", &grants, &[&out.display().to_string(), &list]);
    contains(&done, 1, &["FAILED  wrong.bin: ", "FAILED  missing.bin: "]);
    let left = std::fs::read_dir(&out).map(|entries| entries.count()).unwrap_or(0);
    assert_eq!(left, 0, "nothing stays of downloads that failed");
}

/// The lines of JSON that an example printed.
fn outcomes(done: &Finished) -> Vec<Value> {
    done.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn api_retries_gets_every_item() {
    let directory = Directory::new();
    let (_server, place) = server(&directory);
    let url = format!("http://{place}/flaky?key=item-{{id}}&fail=2");
    let done = example("api_retries", &format!("http=GET:{place}"), &[&url, "3", "10"]);
    contains(&done, 0, &[]);
    let outcomes = outcomes(&done);
    assert_eq!(outcomes.len(), 8, "{}", done.stdout);
    for (outcome, id) in outcomes.iter().zip(3..) {
        assert_eq!(outcome["id"], id);
        assert_eq!(outcome["attempts"], 3);
        assert_eq!(outcome["value"]["ok"], true);
    }
    assert!(done.stderr.contains("8 of 8 items fetched"), "{}", done.stderr);
}

fn api_retries_gives_up() {
    let directory = Directory::new();
    let (_server, place) = server(&directory);
    let grants = format!("http=GET:{place}");
    // What is final is asked for once, what may pass as often as was said.
    for (path, tried, why) in [("status/404", 1, "status 404"), ("flaky?key=never&fail=99", 2, "status 503")]
    {
        let done = example("api_retries", &grants, &[&format!("http://{place}/{path}"), "1", "1", "1", "2"]);
        contains(&done, 1, &[]);
        let outcomes = outcomes(&done);
        assert_eq!(
            (&outcomes[0]["attempts"], &outcomes[0]["error"]),
            (&Value::from(tried), &Value::from(why))
        );
    }
    let done = example("api_retries", "fs=read:examples", &[&format!("http://{place}/hello"), "1", "1"]);
    contains(&done, 1, &["is not granted"]);
    assert_eq!(example("api_retries", &grants, &["x"]).code, Some(64));
}
