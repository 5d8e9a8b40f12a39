//! Hides passwords and tokens of URLs and connection strings in everything that is shown: errors, denials, questions, the
//! audit, messages of the command line.

use std::borrow::Cow;

/// What stands for what is hidden.
const HIDDEN: &str = "...";
/// How far a user name and password may reach, bytes: what is behind that is looked at for itself.
const USER_MAX: usize = 1024;
/// The longest of the names below, bytes.
const NAME_MAX: usize = 24;

/// Schemes of which the host may be followed by an `@` in the path.
const WEB: &[&str] = &["http", "https", "ws", "wss"];
/// Schemes that are told from other words where there is but one slash, as in a path.
const OTHERS: &[&str] = &[
    "amqp",
    "amqps",
    "ftp",
    "ftps",
    "ldap",
    "ldaps",
    "mariadb",
    "mongodb",
    "mysql",
    "postgres",
    "postgresql",
    "redis",
    "rediss",
    "smb",
    "ssh",
];

/// Words of connection strings (libpq, ODBC), of which the value is a secret wherever they stand.
const WORDS: &[&str] = &["password", "passwd", "pwd", "sslpassword", "passphrase"];

/// Parameters of URLs of which the value is a secret: what signs requests at the clouds, and the usual names of tokens.
const PARAMETERS: &[&str] = &[
    "access_key",
    "access_token",
    "api_key",
    "apikey",
    "auth",
    "auth_token",
    "awsaccesskeyid",
    "client_secret",
    "code",
    "id_token",
    "job_token",
    "key",
    "pass",
    "private_token",
    "refresh_token",
    "secret",
    "sig",
    "signature",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-goog-credential",
    "x-goog-signature",
];

/// A text that URLs and connection strings may be part of, without their user names, passwords and tokens.
pub fn hide(text: &str) -> Cow<'_, str> {
    let users = replace(text, next_user);
    match replace(&users, next_value) {
        Cow::Borrowed(_) => users,
        Cow::Owned(hidden) => Cow::Owned(hidden),
    }
}

/// A text that should be a URL, a host or the like, and may not be one: without what may be a user name and
/// password in it, and without a query. In one line.
pub fn hide_url(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + "://".len());
    let (hidden, from) = match last_at(&text[start..]) {
        Some((_, end)) => ("...@", start + end),
        None => ("", start),
    };
    let end = text[from..].find(['?', '#']).map_or(text.len(), |at| from + at);
    hide(&format!("{}{hidden}{}", text[..start].escape_debug(), text[from..end].escape_debug())).into_owned()
}

/// Puts [`HIDDEN`] in the place of the ranges that `next` finds, each behind the one before.
fn replace(text: &str, next: impl Fn(&str, usize) -> Option<(usize, usize)>) -> Cow<'_, str> {
    let mut out = String::new();
    let mut done = 0;
    while let Some((start, end)) = next(text, done) {
        out.push_str(&text[done..start]);
        out.push_str(HIDDEN);
        done = end;
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// Where the last `@` is, and where it ends: it may be written `%40`, and that escaped again as in a scope (`%2540`).
fn last_at(text: &str) -> Option<(usize, usize)> {
    let plain = text.rfind('@').map(|at| (at, at + 1));
    let encoded = text.rmatch_indices("40").find_map(|(at, digits)| {
        let head = text[..at].trim_end_matches("25");
        head.ends_with('%').then(|| (head.len() - 1, at + digits.len()))
    });
    plain.max(encoded)
}

/// The user name and password of the next URL from `from` on that has some, without the `@`.
fn next_user(text: &str, mut from: usize) -> Option<(usize, usize)> {
    while let Some(colon) = text[from..].find(':').map(|at| from + at) {
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
        let head = &text[from..colon];
        let scheme = &head[head.trim_end_matches(is_scheme).len()..];
        // Browsers, and so everything that reads URLs as they do, take any number of slashes for two.
        let is_one_of = |list: &[&str]| list.iter().any(|one| one.eq_ignore_ascii_case(scheme));
        let is_web = is_one_of(WEB);
        let tail = &text[colon + 1..];
        let slashes = match tail.len() - tail.trim_start_matches(['/', '\\']).len() {
            all if is_web || tail.starts_with(r"\/\/") => all,
            all => all.min(2),
        };
        let start = colon + 1 + slashes;
        // Most texts end here; and what is far from any `@` need not be looked at.
        let at = text[start..].find(['@', '%'])?;
        if at > USER_MAX {
            from = text.floor_char_boundary(start + at - USER_MAX);
            continue;
        }
        let near = &text[start..text.floor_char_boundary(start + USER_MAX)];
        let is_url = is_web || slashes >= 2 || (slashes == 1 && is_one_of(OTHERS));
        let end = is_url.then(|| user(near, is_web)).flatten();
        let is_bare = slashes == 0 && !scheme.is_empty();
        if let Some(end) = end.or_else(|| is_bare.then(|| bare_password(near)).flatten()) {
            return Some((start, start + end));
        }
        from = start;
    }
    None
}

/// Where a password at the start of `text` ends that has but a user name before it: `user:password@host`.
fn bare_password(text: &str) -> Option<usize> {
    let ends = |c: char| c.is_whitespace() || c.is_control() || "/\\'\"(),".contains(c);
    let token = &text[..text.find(ends).unwrap_or(text.len())];
    let at = token.rfind('@').filter(|at| *at > 0)?;
    // The name of an image may have a digest behind its tag.
    (!token[at..].starts_with("@sha")).then_some(at)
}

/// Where a user name and password at the start of `text` end, before the `@`.
fn user(text: &str, is_web: bool) -> Option<usize> {
    let text = &text[..text.find("://").unwrap_or(text.len())];
    let token = &text[..text.find(|c: char| c.is_whitespace() || c.is_control()).unwrap_or(text.len())];
    let authority = &token[..token.find(['/', '\\', '?', '#']).unwrap_or(token.len())];
    let before_at = |part: &str| last_at(part).map(|(at, _)| at);
    if authority.is_empty() {
        return None;
    }
    if let Some(end) = before_at(authority) {
        return Some(end);
    }
    // "user:pa/ss@host" and "user:pa ss@host": what looks like a port is not one.
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    let is_port = port.ends_with(']') || port.bytes().all(|byte| byte.is_ascii_digit());
    match (is_port, authority.len() == text.len(), authority.len() == token.len()) {
        (true, ..) if is_web => None,
        (true, ..) => before_at(token),
        (false, false, true) => before_at(&text[..text.find('\n').unwrap_or(text.len())]),
        (false, ..) => before_at(token),
    }
}

/// The value of the next parameter from `from` on that is a secret.
fn next_value(text: &str, mut from: usize) -> Option<(usize, usize)> {
    while let Some(equals) = text[from..].find('=').map(|at| from + at) {
        let start = equals + 1;
        let head = &text[text.floor_char_boundary(equals.saturating_sub(NAME_MAX)).max(from)..equals];
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        let before = head.trim_end_matches(is_name);
        let name = head[before.len()..].to_ascii_lowercase();
        let in_query = before.ends_with(['?', '&', ';', '#']);
        let in_words = head.len() == name.len() || !before.ends_with(['/', '.', '%', '$', ':']);
        let is_secret = (in_words && WORDS.contains(&name.as_str()))
            || (in_query && (WORDS.contains(&name.as_str()) || PARAMETERS.contains(&name.as_str())));
        match if is_secret { value(&text[start..]) } else { 0 } {
            0 => from = start,
            length => return Some((start, start + length)),
        }
    }
    None
}

/// How long the value at the start of `text` is: libpq has it in quotes where it has blanks. A program that
/// shows the text may have escaped the quotes.
fn value(text: &str) -> usize {
    let rest = text.trim_start_matches(['\'', '\\']);
    let quote = &text[..text.len() - rest.len()];
    if quote.contains('\'') {
        let is_end = |at: usize| !rest[..at].ends_with('\\');
        let end = rest.match_indices(quote).map(|(at, _)| at).find(|at| is_end(*at));
        return quote.len() + end.map_or(rest.len(), |at| at + quote.len());
    }
    text.find(|c: char| c.is_whitespace() || "&;#'\"".contains(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_are_hidden() {
        for (text, shown) in [
            ("GET http://u:p@h/x failed", "GET http://...@h/x failed"),
            ("HTTPS://token@h", "HTTPS://...@h"),
            ("http:u:p@h", "http:...@h"),
            ("reading /a/mysql:/u:p@h", "reading /a/mysql:/...@h"),
            (r"http:\\u:p@h", r"http:\\...@h"),
            (r"http:\/\/u:p@h\/x", r"http:\/\/...@h\/x"),
            ("'http://u:p@[::1]:80/'", "'http://...@[::1]:80/'"),
            ("postgres://u:p@ss@h:notaport/d", "postgres://...@h:notaport/d"),
            ("http://u:pa ss@h: no", "http://...@h: no"),
            ("http://u:pa/ss@h/x", "http://...@h/x"),
            ("postgres://u:12/ss@h/x", "postgres://...@h/x"),
            ("http=u:p@h:80, oci=u:p@h/x", "http=u:...@h:80, oci=u:...@h/x"),
            ("http://u:p%40h/", "http://...%40h/"),
            ("http://u:p%2540h/", "http://...%2540h/"),
            ("a http://u:p@h and mysql://v:q@i/d", "a http://...@h and mysql://...@i/d"),
            ("é http://ü:ß@ö/", "é http://...@ö/"),
        ] {
            assert_eq!(hide(text), shown);
        }
    }

    #[test]
    fn secrets_of_parameters_are_hidden() {
        for (text, shown) in [
            ("http://h/?token=abc&x=1", "http://h/?token=...&x=1"),
            ("http://h/?x=1&X-Amz-Signature=abc#y", "http://h/?x=1&X-Amz-Signature=...#y"),
            ("http://h/#access_token=abc", "http://h/#access_token=..."),
            ("host=h password=abc user=u", "host=h password=... user=u"),
            (r"host=h password='a \'b c' user=u", "host=h password=... user=u"),
            (r"host=h password=\'a b\' user=u", "host=h password=... user=u"),
            (r"'host=h password='\''a b'\'' user=u'", "'host=h password=... user=u'"),
            ("PWD=abc;x", "PWD=...;x"),
            ("password=abc", "password=..."),
        ] {
            assert_eq!(hide(text), shown);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "http://h/@scope/x",
            "http://h:80/a@b and c@d",
            "run again with --allow 'http=GET:http://h:80/x'",
            "write http://HOST:PORT",
            "postgres://HOST[:PORT][/DATABASE] or me@h",
            "sqlite:///tmp/a@b.db",
            "{username = ..., password = ...}",
            "the token=x of env=KEY",
            "mail me@h: it is http: or ws:",
            "fs=read:/a/password=b",
            "fs=read:/a/@b",
            "reg:5000/app:v1@sha256:abc",
            "app:v1@sha256:abc",
            "x.lua:3: a@b",
            "systemd=getty@tty1.service:start",
        ] {
            assert_eq!(hide(text), text);
        }
    }

    #[test]
    fn what_is_no_url_is_hidden_as_a_whole() {
        for (text, shown) in [
            ("http://u:p://q@h/x?y", "http://...@h/x"),
            ("u:p@h/x", "...@h/x"),
            ("http://exa mple/\n", r"http://exa mple/\n"),
            ("http://h:x/?token=y", "http://h:x/"),
        ] {
            assert_eq!(hide_url(text), shown);
        }
    }

    #[test]
    fn long_texts_take_time_in_proportion() {
        // A search that is quadratic in the text would take minutes.
        for piece in ["http:", "http:%", "a://", "a:@ ", "password=", ":", "=", "http://x:y ", "http://2540"]
        {
            let _ = hide(&piece.repeat(1 << 14));
        }
    }
}
