//! What a program finds out about a script that failed.

use assay_capability_api::{Policy, Run};
use assay_runner::{Ended, Failure, Frame, Input, RunSpec, Script};
use serde_json::{Value, json};

async fn failed(source: &str) -> Failure {
    let script = Script::new("x.lua", source.as_bytes());
    let spec = RunSpec::new(Run::new(Policy::default(), "/".into()));
    match crate::runner().run(&script, Input::default(), spec).await.ended {
        Ended::Failed(failure) => failure,
        ended => panic!("{source}: {ended:?}"),
    }
}

fn call(line: Option<u32>, function: &str) -> Frame {
    let source = if line.is_some() { "x.lua" } else { "[C]" };
    Frame::Call { source: source.into(), line, function: function.into() }
}

#[tokio::test]
async fn tracebacks_have_frames() {
    let failure =
        failed("local function f()\n  fs.read('/x')\nend\nlocal function g()\n  return f()\nend\ng()").await;
    let frames = [
        call(None, "field 'read'"),
        call(Some(2), "function <x.lua:1>"),
        Frame::TailCalls,
        call(Some(7), "main chunk"),
        call(None, "?"),
    ];
    assert_eq!(failure.traceback, frames[..failure.traceback.len()], "{failure:?}");
    assert!(failure.traceback.len() >= 4, "{failure:?}");
    assert_eq!(failure.code.as_deref(), Some("denied"));
    let text = failure.traced();
    assert!(
        text.starts_with("code: denied\nstack traceback:\n\t[C]: in field 'read'\n\tx.lua:2: in function"),
        "{text}"
    );
    assert!(text.contains("\n\t(...tail calls...)\n\tx.lua:7: in main chunk"), "{text}");
}

#[tokio::test]
async fn tracebacks_tell_where_tasks_were_started() {
    let failure = failed("local t = async.spawn(function()\n  error('no')\nend)\n\nt:await()").await;
    let task = Frame::Task { source: "x.lua".into(), line: 1 };
    let at =
        failure.traceback.iter().position(|frame| *frame == task).unwrap_or_else(|| panic!("{failure:?}"));
    assert!(failure.traceback[..at].contains(&call(Some(2), "function <x.lua:1>")), "{failure:?}");
    assert!(failure.traceback[at..].contains(&call(Some(5), "main chunk")), "{failure:?}");

    let deep =
        failed("local function f(n)\n if n == 0 then error('deep') end\n f(n - 1)\n return n\nend\nf(5000)")
            .await;
    assert!(deep.traceback.contains(&Frame::Skipped(4982)), "{deep:?}");
    assert_eq!(deep.traceback.len(), 22);

    let syntax = failed("x =").await;
    assert!(syntax.traceback.is_empty() && syntax.traced().is_empty() && syntax.message.contains("x.lua:1:"));
}

#[tokio::test]
async fn fields_of_error_tables_are_json() {
    for (source, expected) in [
        (
            "error({ message = 'm', code = 'c', a = 1, list = { 1, 2 }, deep = { x = { y = 'z' } } })",
            json!({ "a": 1, "list": [1, 2], "deep": { "x": { "y": "z" } } }),
        ),
        // What JSON does not have is left out, and the others stay.
        (
            "local t = { f = print, ok = true, bytes = '\\xff', nan = 0 / 0, [1] = 'x' } t.t = t error(t)",
            json!({ "ok": true }),
        ),
        ("fs.read('/x')", json!({})),
        (
            "error(setmetatable({ a = 'b' }, { __tostring = function() return 'text' end }))",
            json!({ "a": "b" }),
        ),
        ("error({})", json!({})),
    ] {
        let failure = failed(source).await;
        let fields: Value = serde_json::from_str(failure.fields.as_deref().unwrap()).unwrap();
        assert_eq!(fields, expected, "{source}: {failure:?}");
    }
    for source in ["error('text')", "error(nil)", "x ="] {
        assert_eq!(failed(source).await.fields, None, "{source}");
    }
    let told = failed("error({ message = 'm', code = 'c' })").await;
    assert_eq!(
        (told.message.as_str(), told.code.as_deref(), told.tells_code),
        ("m (code = \"c\")", Some("c"), true)
    );
    assert!(!told.traced().contains("code: c"), "{told:?}");
}

/// A script cannot make the host hold more than it may, nor run on, by the fields of its error.
#[tokio::test]
async fn fields_are_bounded() {
    let huge = failed("error({ message = 'm', big = ('x'):rep(100 << 20) })").await;
    assert!(huge.fields.is_none_or(|fields| fields.len() < 100 << 20), "too much was told");
    let hostile = "error(setmetatable({ a = setmetatable({}, { __pairs = error, __index = error }) }, \
        { __pairs = function() while true do end end, __index = error }))";
    assert!(failed(hostile).await.fields.is_some());
}
