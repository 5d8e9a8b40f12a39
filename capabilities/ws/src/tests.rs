//! What scripts see is tested through the executable, against a server of another library, in
//! `tests/capability/ws.lua` and `tests/sandbox/ws.lua`.

use super::*;

#[test]
fn a_denial_names_the_place() {
    let target = |url: &str| [Val::Record(vec![("url".into(), Val::String(url.into()))])];
    for (url, scope) in [
        ("wss://stream.example.com/x", Some("wss://stream.example.com/x")),
        ("ws://user@stream.example.com/x", Some("ws://stream.example.com/x")),
        ("ws://0x7f.1:81/", Some("ws://127.0.0.1:81/")),
        ("wss://[::1]/", Some("wss://[::1]/")),
        ("https://stream.example.com/", None),
        ("nonsense", None),
    ] {
        assert_eq!(Ws.target("connect", &target(url)).scope.as_deref(), scope, "{url}");
    }
    assert_eq!(Ws.target("connect", &target("ws://a.example/")).what, "ws to ws://a.example/");
}
