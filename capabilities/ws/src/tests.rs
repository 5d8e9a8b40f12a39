//! What scripts see is tested through the executable, against a server that is not ours, in
//! `tests/capability/ws.lua` and `tests/sandbox/ws.lua`.

use super::*;

#[test]
fn a_denial_names_the_place() {
    let target = |url: &str| [Val::Record(vec![("url".into(), Val::String(url.into()))])];
    for (url, scope) in [
        ("wss://stream.example.com/x", Some("stream.example.com:443")),
        ("ws://user@stream.example.com/x", Some("stream.example.com:80")),
        ("ws://0x7f.1:81/", Some("127.0.0.1:81")),
        ("wss://[::1]/", Some("[::1]:443")),
        ("https://stream.example.com/", None),
        ("nonsense", None),
    ] {
        assert_eq!(Ws.target("connect", &target(url)).scope.as_deref(), scope, "{url}");
    }
    assert_eq!(Ws.target("connect", &target("ws://a.example/")).what, "ws to a.example:80");
}
