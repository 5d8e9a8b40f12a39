use super::*;
use std::os::unix::ffi::OsStrExt;

fn check(scope: &str, method: &str, url: &str, address: Option<&str>) -> bool {
    let url = url::Url::parse(url).unwrap();
    NetworkScope::parse(scope).unwrap().matches(&Request::Network {
        scheme: url.scheme(),
        method: Some(method),
        host: url.host_str().unwrap(),
        port: url.port_or_known_default().unwrap(),
        path: Some(url.path()),
        address: address.map(|address| address.parse().unwrap()),
    })
}

#[test]
fn hosts_ports_methods_and_paths() {
    for (scope, method, url, matches) in [
        ("a.example", "GET", "https://a.example/x", true),
        ("a.example", "GET", "http://a.example/x", true),
        ("a.example", "GET", "http://A.EXAMPLE./x", true),
        ("a.example", "GET", "http://a.example:8080/x", false),
        ("a.example", "GET", "http://b.a.example/", false),
        ("a.example:8080", "GET", "http://a.example:8080/x", true),
        ("a.example:8080", "GET", "http://a.example/x", false),
        ("a.example:*", "GET", "http://a.example:9/x", true),
        ("*.a.example", "GET", "http://b.a.example/", true),
        ("*.a.example", "GET", "http://c.b.a.example/", true),
        ("*.a.example", "GET", "http://a.example/", false),
        ("*.a.example", "GET", "http://evila.example/", false),
        ("https://a.example", "GET", "http://a.example/", false),
        ("https://a.example", "GET", "https://a.example/", true),
        ("https://a.example/v1/*", "GET", "https://a.example/v1/x", true),
        ("https://a.example/v1/*", "GET", "https://a.example/v2/x", false),
        ("https://a.example/v1/*", "GET", "https://a.example/v1/%2e%2e/v2", false),
        ("https://a.example/v1/*", "GET", "https://a.example/v1/..%2fv2", false),
        ("https://a.example/v1/*", "GET", "https://a.example/v1//x", false),
        ("https://a.example/v1/*", "GET", "https://a.example/v1/..;/admin", false),
        ("https://a.example/", "GET", "https://a.example/", true),
        ("https://a.example/", "GET", "https://a.example/x", false),
        ("https://a.example/a b*", "GET", "https://a.example/a b/c", true),
        ("bücher.example", "GET", "https://b%C3%BCcher.example/", true),
        ("XN--BCHER-KVA.example", "GET", "https://bücher.example/", true),
        ("*.bücher.example", "GET", "https://a.BÜCHER.example/", true),
        ("127.1:80", "GET", "http://127.0.0.1/", true),
        ("0x7f.1:80", "GET", "http://127.0.0.1/", true),
        ("127.0.0.1:80", "GET", "http://localhost/", false),
        ("get:8080", "GET", "http://get:8080/", true),
        ("http://[::1]", "GET", "http://[::1]/", true),
        ("[::1]", "GET", "https://[::1]/", true),
        ("GET+HEAD:a.example", "HEAD", "https://a.example/", true),
        ("GET+HEAD:a.example", "POST", "https://a.example/", false),
        ("127.0.0.1:80", "GET", "http://127.1/", true),
        ("127.0.0.1:80", "GET", "http://[::ffff:127.0.0.1]/", true),
        ("[::1]:80", "GET", "http://[::1]/", true),
    ] {
        assert_eq!(check(scope, method, url, None), matches, "{scope} on {method} {url}");
    }
}

#[test]
fn some_hosts_would_stand_for_more_in_a_scope() {
    let own = |host| {
        let (method, path, address) = (None, None, None);
        Request::Network { scheme: "http", method, host, port: 80, path, address }.has_own_scope()
    };
    for (host, stands_for_itself) in [
        ("a.example", true),
        ("[::1]", true),
        ("private.example", true),
        ("*.com", false),
        ("*", false),
        ("private", false),
        ("LOOPBACK.", false),
        (".", false),
    ] {
        assert_eq!(own(host), stands_for_itself, "{host}");
    }
    let database = |path| {
        let (method, path, address) = (None, Some(path), None);
        let (scheme, host) = ("postgres", "a.example");
        Request::Network { scheme, method, host, port: 1, path, address }.has_own_scope()
    };
    assert!(database("/app") && database("/") && !database("/app*"));
    for path in ["/app?ro", "/a/b", "/app ", "/ app", "/a%20b", ""] {
        assert!(!database(path), "{path:?}");
    }
    let (method, path, address) = (None, None, None);
    let nowhere = Request::Network { scheme: "http", method, host: "a.example", port: 0, path, address };
    assert!(!nowhere.has_own_scope());
    assert!(!Request::Name("AWS_*").has_own_scope());
    let path = std::path::Path::new("/a");
    let file = |path| Request::File { access: super::super::Access::Read, path }.has_own_scope();
    assert!(
        file(path)
            && !file(std::path::Path::new("/a*"))
            && !file(std::path::Path::new("/a "))
            && !file(std::path::Path::new("/a\n"))
    );
    let latin1 = std::ffi::OsStr::from_bytes(b"/\xe9");
    assert!(!file(std::path::Path::new(latin1)));
    let action = |name| Request::Action { verb: "read", name, scope: "" }.has_own_scope();
    assert!(action("/a.db") && !action("/a.db?ro"));
}

#[test]
fn a_written_scope_that_stands_for_more_is_known() {
    for (scope, own) in [
        ("a.example:80", true),
        ("[::1]:80", true),
        ("postgres://a.example:5432/app?ro", true),
        ("sqlite::memory:", true),
        ("8080", true),
        ("unix:/run/app.sock", true),
        ("nginx.service:restart", true),
        ("*:80", false),
        ("*.com:80", false),
        ("private:80", false),
        ("Loopback:443", false),
        ("postgres://private:5432/app", false),
        ("GET:https://a.example/x", true),
        ("https://[::1]/x", true),
        ("GET:https://private/x", false),
        ("postgres://a.example:5432/*", false),
        ("*.service:start", false),
    ] {
        assert_eq!(crate::scope::is_own(scope), own, "{scope}");
    }
}

#[test]
fn ranges_match_resolved_addresses_only() {
    assert!(check("10.0.0.0/8", "GET", "http://a.example:1/", Some("10.1.2.3")));
    assert!(!check("10.0.0.0/8", "GET", "http://a.example:1/", Some("11.1.2.3")));
    assert!(!check("10.0.0.0/8", "GET", "http://10.1.2.3/", None));
    assert!(check("10.0.0.0/8", "GET", "http://a.example/", Some("::ffff:10.0.0.1")));
}

#[test]
fn what_is_not_a_scope_is_refused() {
    for text in [
        "",
        "*",
        "a*.example",
        "a.example:0",
        "a.example:x",
        "a.example:+80",
        "*.0.0.1",
        "*.a.0x7f",
        "user@a.example",
        "http://",
        "[::1",
        "::1]",
        "[a.example]",
        "GET",
        "GET+HEAD",
        "GET:",
        "GET:80",
        "GET:*",
        "get:a.example",
        "Get+head:a.example:80",
        "get:a.example/x",
        "GTE:a.example",
        "GET+:a.example",
        "CONNECT:a.example",
        "TRACE:a.example",
        "ftp://a.example",
        "http:a.example",
        "http://a.example/x?y",
        "http://a.example/x#y",
        "http://a.example/../x",
        "http://a.example//x",
        "10.0.0.0/33",
        "::1/129",
        "8080",
        "256.1.1.1",
        "a b.example",
        "a.example,b.example",
        "fe80::1%eth0",
    ] {
        assert!(NetworkScope::parse(text).is_err(), "{text}");
    }
}

fn denied(scope: &str, url: &str, address: Option<&str>) -> bool {
    let url = url::Url::parse(url).unwrap();
    let mut scope = NetworkScope::parse(scope).unwrap();
    scope.widen_for_denial();
    scope.matches(&Request::Network {
        scheme: url.scheme(),
        method: Some("GET"),
        host: url.host_str().unwrap(),
        port: url.port_or_known_default().unwrap(),
        path: Some(url.path()),
        address: address.map(|address| address.parse().unwrap()),
    })
}

#[test]
fn a_denial_takes_in_what_might_be_meant() {
    for (scope, url, address, matches) in [
        // A bare host is every port of it.
        ("a.example", "http://a.example:8080/", None, true),
        ("a.example", "http://b.example/", None, false),
        ("a.example:80", "http://a.example:81/", None, false),
        ("http://a.example", "http://a.example:8080/x", None, true),
        ("http://a.example", "https://a.example/x", None, false),
        ("http://a.example/", "http://a.example/x", None, true),
        ("bücher.example", "http://xn--bcher-kva.example:1/", None, true),
        ("GET:a.example", "http://a.example/", None, true),
        ("POST:a.example", "http://a.example/", None, false),
        // This machine has many names and addresses.
        ("127.0.0.1:81", "http://localhost:81/", None, true),
        ("127.0.0.1:81", "http://LOCALHOST.:81/", None, true),
        ("127.0.0.1:81", "http://a.localhost:81/", None, true),
        ("127.0.0.1:81", "http://0.0.0.0:81/", None, true),
        ("127.0.0.1:81", "http://127.9.9.9:81/", None, true),
        ("127.0.0.1:81", "http://[::1]:81/", None, true),
        ("127.0.0.1:81", "http://[::]:81/", None, true),
        ("127.0.0.1:81", "http://[64:ff9b::7f00:1]:81/", None, true),
        ("127.0.0.1:81", "http://any.example:81/", Some("127.0.0.1"), true),
        ("127.0.0.1:81", "http://any.example:81/", Some("::ffff:0:127.0.0.1"), true),
        ("127.0.0.1:81", "http://localhost:82/", None, false),
        ("127.0.0.1:81", "http://192.0.2.1:81/", None, false),
        ("127.1:81", "http://localhost:81/", None, true),
        ("localhost:81", "http://127.0.0.1:81/", None, true),
        ("localhost:81", "http://[::1]:81/", None, true),
        ("[::1]:81", "http://127.0.0.1:81/", None, true),
        ("0.0.0.0:81", "http://localhost:81/", None, true),
        ("loopback", "http://localhost:81/", None, true),
        ("127.0.0.0/8", "http://[::1]:81/", None, true),
        ("0.0.0.0/0", "http://[::1]:81/", None, true),
        // Addresses by where they lead.
        ("10.1.2.3", "http://any.example:9/", Some("10.1.2.3"), true),
        ("10.1.2.3", "http://any.example:9/", Some("64:ff9b::10.1.2.3"), true),
        ("10.1.2.3", "http://[2002:a01:203::]/", None, true),
        ("10.1.2.3", "http://10.1.2.4/", None, false),
        ("10.0.0.0/8", "http://10.1.2.3/", None, true),
        ("10.0.0.0/8", "http://[::10.1.2.3]/", None, true),
        ("10.0.0.0/8", "http://[2001:0:505:505:0:0:f5fe:fdfc]/", None, true),
        ("::ffff:10.0.0.0/104", "http://10.1.2.3/", None, true),
        ("private", "http://[64:ff9b::c0a8:1]/", None, true),
        ("private", "http://any.example/", Some("64:ff9b:1::10.0.0.1"), true),
        ("private", "http://any.example/", Some("192.0.2.1"), false),
        // Paths in every spelling.
        ("http://a.example/admin*", "http://a.example//admin/x", None, true),
        ("http://a.example/admin*", "http://a.example/%61dmin/x", None, true),
        ("http://a.example/admin*", "http://a.example/x/..%2fadmin/x", None, true),
        ("http://a.example/admin*", "http://a.example/public", None, false),
    ] {
        assert_eq!(denied(scope, url, address), matches, "{scope} on {url} at {address:?}");
    }
}

#[test]
fn a_grant_covers_what_it_surely_means() {
    for (scope, address) in [
        ("10.0.0.0/8", "64:ff9b::10.1.2.3"),
        ("private", "2002:a01:203::"),
        ("loopback", "64:ff9b::127.0.0.1"),
    ] {
        assert!(!check(scope, "GET", "http://a.example/", Some(address)), "{scope} on {address}");
    }
    let names = |scope: &str, address: &str| {
        NetworkScope::parse(scope).unwrap().names_address(address.parse().unwrap())
    };
    assert!(
        names("169.254.0.0/16", "169.254.169.254") && names("[64:ff9b::a9fe:a9fe]", "64:ff9b::a9fe:a9fe")
    );
    assert!(!names("64:ff9b::/96", "64:ff9b::a9fe:a9fe") && !names("169.254.0.0/16", "64:ff9b::a9fe:a9fe"));
    assert!(names("64:ff9b::/96", "64:ff9b::a00:1"));
}

#[test]
fn databases_are_no_paths() {
    let database = |deny: bool, own: &str, asked: &'static str, scheme: &'static str| {
        let mut scope = NetworkScope::of_database(scheme, "h", own).unwrap();
        if deny {
            scope.widen_for_denial();
        }
        let port = if deny {
            99
        } else {
            scope.scheme.as_deref().map_or(0, |it| if it == "mysql" { 3306 } else { 5432 })
        };
        scope.matches(&Request::Network {
            scheme,
            method: Some("WRITE"),
            host: "h",
            port,
            path: Some(asked),
            address: None,
        })
    };
    assert!(database(false, "app", "/app", "postgres") && !database(false, "app", "/", "postgres"));
    assert!(!database(false, "app", "/App", "mysql") && database(false, "a%b", "/a%b", "mysql"));
    assert!(database(true, "app", "/APP", "postgres") && database(true, "app", "/", "postgres"));
    assert!(!database(true, "app", "/other", "postgres"));
    assert!(database(true, "app", "/other", "mysql"), "USE and qualified names lead to every database");
}
