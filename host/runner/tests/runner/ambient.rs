//! Nothing is ambient: a run sees of its process what it is given.

use assay_capability_api::{Ambient, Policy, Run, RunState, policy};
use assay_capability_stdio::Input as Stdin;
use assay_runner::{Input, RunSpec, Runner, Script};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

const SCRIPT: &str = r#"
local function code(f, ...)
  local ok, error = pcall(f, ...)
  return ok and "ok" or error.code
end
return function()
  local variables = {}
  for name in pairs(env.list()) do
    variables[#variables + 1] = name
  end
  return {
    variables = #variables,
    home = env.get("HOME") or json.null,
    input = io.read("a"),
    program = shell.which("true") ~= nil,
    temporary = code(fs.tempdir),
    bus = code(systemd.list_units),
    proxy = code(http.get, "http://192.0.2.1/", { timeout = 1 }),
    directory = fs.stat(".").ino,
  }
end
"#;

/// What a script with every grant, also for the proxy, finds.
fn found(inherit: bool, proxy: &str) -> Value {
    let mut granted = Policy::default();
    granted.allow_all();
    let rules = policy::parse(&format!("http=proxy:{proxy}"), Path::new("/"), Runner::capabilities());
    granted.allow(rules.unwrap());
    let spec = match inherit {
        false => RunSpec::new(Run::new(granted, "/".into())),
        true => {
            let ambient = Ambient::inherited().into();
            let here = std::env::current_dir().unwrap();
            let spec = RunSpec::new(RunState { ambient, ..RunState::new(granted, here) }.into());
            RunSpec { stdin: Stdin::process(), ..spec }
        }
    };
    let runner = crate::runner();
    let script = Script::new("look.lua", SCRIPT.as_bytes());
    let reactor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = reactor.block_on(runner.run(&script, Input::call("", &()).unwrap(), spec));
    outcome.result().unwrap().unwrap_or_else(|| panic!("{outcome:?}"))
}

/// What [`found`] says in a process of its own, with input and a proxy; and whether the proxy was called.
fn in_a_process(inherit: bool) -> (Value, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap().to_string();
    let other = listener.try_clone().unwrap();
    let called = std::thread::spawn(move || other.accept().unwrap().1);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ambient::in_this_process", "--ignored", "--nocapture"])
        .env("ASSAY_TEST_INHERIT", if inherit { "1" } else { "0" })
        .env("HTTP_PROXY", format!("http://{proxy}"))
        .env("HOME", "/home/of/the/host")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"secret").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.split_once("FOUND ")).unwrap_or_else(|| panic!("{text}")).1;
    // Nobody else connects, so this is the first connection where the script made none.
    let own = std::net::TcpStream::connect(&proxy).unwrap().local_addr().unwrap();
    (serde_json::from_str(line).unwrap(), called.join().unwrap() != own)
}

#[test]
#[ignore = "a part of the test below"]
fn in_this_process() {
    let inherit = std::env::var("ASSAY_TEST_INHERIT").unwrap() == "1";
    let proxy = std::env::var("HTTP_PROXY").unwrap();
    println!("FOUND {}", found(inherit, proxy.trim_start_matches("http://")));
}

#[test]
fn a_run_finds_nothing_of_its_process_that_it_is_not_given() {
    let (mut empty, called) = in_a_process(false);
    assert!(!called, "a proxy of the process was used");
    empty["directory"].take();
    let nothing = json!({
        "variables": 0, "home": null, "input": "", "program": false, "temporary": "unsupported",
        "bus": "unsupported", "proxy": null, "directory": null,
    });
    empty["proxy"].take();
    assert_eq!(empty, nothing);

    let (given, called) = in_a_process(true);
    assert!(called, "the proxy was not used");
    assert_eq!((&given["home"], &given["input"]), (&json!("/home/of/the/host"), &json!("secret")), "{given}");
    assert_eq!((&given["program"], &given["temporary"]), (&json!(true), &json!("ok")), "{given}");
    assert!(given["variables"].as_u64().unwrap() > 2, "{given}");
}
