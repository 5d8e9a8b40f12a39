//! What no client sends: requests that two servers would part in two ways, paths that lead out of a folder, text that
//! would become a header.

use super::{curl, serve, serve_in};
use assay_tests::executable::Folder;
use std::io::{Read, Write};

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("a_request_cannot_hide_in_another", a_request_cannot_hide_in_another),
    ("an_attack_ends_its_connection_only", an_attack_ends_its_connection_only),
    ("files_are_found_by_one_name", files_are_found_by_one_name),
    ("a_response_is_one_response", a_response_is_one_response),
];

fn a_request_cannot_hide_in_another() {
    let server = serve(
        &[],
        "serve({ ANY = { ['/*'] = function(req) local body = req.body print(req.path) return body end } })",
    );
    let hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
    let refused = |request: String| {
        let answer = server.raw(request.as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.matches("HTTP/1.1 ").count() == 1,
            "{request:?}: {answer}"
        );
        assert!(answer.to_lowercase().contains("connection: close\r\n"), "{request:?}: {answer}");
    };
    // Whoever reads the lengths in another way than the next sees the hidden request as one, or as part of a body.
    for fields in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "transfer-encoding: Chunked\r\nCONTENT-LENGTH: 45",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nX: y\r\ncontent-length: 5",
        "Content-Length: 5, 5",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5.0",
        "Content-Length: 5e0",
        "Content-Length: 5 5",
        "Content-Length: \"5\"",
        "Content-Length:",
        "Content-Length: 18446744073709551621",
        "Content-Length : 5",
        "Content-Length\t: 5",
        " Content-Length: 5",
        "Content-Length\x0b: 5",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: chunked;q=0",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding: \x0cchunked",
        "Transfer-Encoding: chunked\x01",
        "Transfer-Encoding: chu\u{212a}ed",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t:chunked",
        " Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        // Folded lines.
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: chunked\r\n , identity",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\r\n\tContent-Length: 5",
        "Content-Length: 5\r\n 0",
        // Line ends that only some take for one.
        "X: y\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\nX: y",
        "Content-Length: 5\nX: y",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\rContent-Length: 5",
        "X: y\x00Content-Length: 5",
        "X\r\nContent-Length: 5",
        "X: y\n\nGET /hidden HTTP/1.1\r\nX: y",
        "X: y\r\n\nGET /hidden HTTP/1.1\r\nX: y",
        "X: y\n\r\nGET /hidden HTTP/1.1\r\nX: y",
    ] {
        refused(format!("POST /first HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n0\r\n\r\n{hidden}"));
    }
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-1\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";x\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5;x\ny\r\nhello\r\n0\r\n\r\n",
        "5;x\nhello\r\n0\r\n\r\n",
        "0\r\nX: y\nContent-Length: 5\r\n\r\n",
        "0\r\nX: y\n\r\n",
    ] {
        refused(format!(
            "POST /first HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}{hidden}"
        ));
    }
    for request in [
        "GET /first HTTP/1.1\nHost: x\n\n",
        "GET /first HTTP/1.1\nHost: x\r\n\r\n",
        "\nGET /first HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /first HTTP/1.1\rHost: x\r\n\r\n",
        "GET /first\x0bHTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /first\tHTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /first HTTP/1.1 \r\nHost: x\r\n\r\n",
        "GET /first HTTP/1.2\r\nHost: x\r\n\r\n",
        "GET /first\r\nHost: x\r\n\r\n",
        "GET /first /second HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET  HTTP/1.1\r\nHost: x\r\n\r\n",
        "G\x00T /first HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /first HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "POST /first HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        refused(format!("{request}{hidden}"));
    }
    let rest = b"POST /last HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nG\nT /\r\n0\r\nX: y\r\n\r\n\
        POST /end HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\n\n\n\n\n\n";
    assert_eq!(server.raw(rest).matches("HTTP/1.1 200 OK").count(), 2);
    // No handler saw anything else.
    server.wait_for("/last");
    server.wait_for("/end");
}

/// What comes before an attack on the same connection is answered, and nothing after it.
fn an_attack_ends_its_connection_only() {
    let server =
        serve(&[], "serve({ ANY = { ['/*'] = function(req) return req.path .. '=' .. #req.body end } })");
    let good = "POST /good HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    let attack = "POST /attack HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = server.raw(format!("{good}{good}{attack}{good}").as_bytes());
    assert_eq!(answer.matches("/good=5").count(), 2, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 400 Bad Request").count(), 1, "{answer}");
    assert!(!answer.contains("/attack"), "{answer}");
    // In pieces, each of which the server may see alone.
    let mut stream = server.connect();
    for byte in format!("{good}{attack}").as_bytes() {
        // It may end the connection before all is sent.
        let _ = stream.write_all(&[*byte]);
    }
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(
        answer.contains("/good=5") && answer.contains("HTTP/1.1 400 ") && !answer.contains("/attack"),
        "{answer}"
    );
    assert_eq!(curl(&[&server.url("/next")]), "/next=0");
}

/// Names of files that clients tidy up before they send them.
fn files_are_found_by_one_name() {
    let folder = Folder::new();
    folder.write("secret.txt", "secret");
    folder.write("public/a.txt", "public");
    let server = serve_in(
        folder,
        &["--allow", "fs=read:public"],
        "serve({ GET = { ['/f/*'] = http.files('public'), ['/*'] = http.files('public') } })",
    );
    let ask = |path: &str| {
        server.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
    };
    assert!(ask("/f/a.txt").ends_with("public") && ask("/a.txt").ends_with("public"));
    for path in [
        "/../secret.txt",
        "/f/../secret.txt",
        "/f/../../secret.txt",
        "/f/./../secret.txt",
        "/f/%2e%2e/secret.txt",
        "/f/%2E%2E/secret.txt",
        "/f/.%2e/secret.txt",
        "/f/..%2fsecret.txt",
        "/f/..\\secret.txt",
        "/f\\..\\secret.txt",
        "/f/..%5csecret.txt",
        "/f/%2e%2e%5csecret.txt",
        "/f/a.txt/../../secret.txt",
        "/f/a.txt%00",
        "/f/%00/../../secret.txt",
        "/%2e%2e/secret.txt",
        "//../secret.txt",
        "/f//../secret.txt",
        "http://x/f/../secret.txt",
        "http://x/../secret.txt",
        "/f/\u{ff0e}\u{ff0e}/secret.txt",
        "/f/%252e%252e/secret.txt",
        "/f/..;/secret.txt",
        "/f/...%2f/secret.txt",
    ] {
        let answer = ask(path);
        assert!(
            answer.starts_with("HTTP/1.1 404 ") || answer.starts_with("HTTP/1.1 400 "),
            "{path}: {answer}"
        );
        assert!(!answer.contains("secret"), "{path}: {answer}");
    }
}

/// A header that a script makes of what it got is one header.
fn a_response_is_one_response() {
    let server = serve(
        &[],
        "serve({ GET = { ['/{to}'] = function(req) return { status = 302, headers = { Location = req.params.to } } end,\n\
           ['/lies'] = function() return { headers = { ['Content-Length'] = '2', ['Transfer-Encoding'] = 'chunked' }, body = 'hello' } end,\n\
           ['/none'] = function() return { status = 204, headers = { ['Content-Length'] = '5' }, body = 'HTTP/1.1 200 OK' } end } })",
    );
    let ask = |path: &str| {
        server.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
    };
    assert!(ask("/there").contains("location: there\r\n"));
    for path in [
        "/a%0d%0aX-Injected:%20b",
        "/a%0aX-Injected:%20b",
        "/a%0dX-Injected:%20b",
        "/a%0d%0a%0d%0aHTTP%2f1.1%20200%20OK%0d%0aX-Injected:%20b",
        "/a%00X-Injected",
        "/x?to=%0d%0aX-Injected:%20b%0d%0a%0d%0a",
    ] {
        let answer = ask(path);
        let expected = if path.starts_with("/x?") { "HTTP/1.1 302 " } else { "HTTP/1.1 500 " };
        assert!(answer.starts_with(expected) && answer.matches("HTTP/1.1").count() == 1, "{path}: {answer}");
        assert!(!answer.contains("X-Injected") && !answer.contains("x-injected"), "{path}: {answer}");
    }
    let answer = ask("/lies");
    assert!(answer.contains("content-length: 5\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert!(!answer.to_lowercase().contains("transfer-encoding"), "{answer}");
    let answer = ask("/none");
    assert!(answer.ends_with("\r\n\r\n") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
}
