//! Scopes: the part of a grant after the `=`, and the requests that are matched against them.

mod name;
mod network;
mod path;
mod url_path;

pub use name::NameScope;
pub use network::{NetworkScope, host_and_port};
pub use path::{PathScope, normalize, read_path};

use std::fmt::Debug;
use std::net::IpAddr;
use std::path::Path;

/// What a file operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Whether something is there, what is known about it (type, size, times), and where a link leads; part of listing.
    Stat,
    /// The names in a directory; part of reading.
    List,
    Read,
    Write,
    /// Setting the bits setuid, setgid and sticky, which reading and writing do not include.
    SetId,
}

impl Access {
    /// As it stands before the path of a scope.
    pub fn word(self) -> &'static str {
        match self {
            Access::Stat => "stat",
            Access::List => "list",
            Access::Read => "read",
            Access::Write => "write",
            Access::SetId => "setid",
        }
    }
}

/// One thing that a script asks for. It is matched again whenever it changes on the way: each
/// redirect, each resolved address, each symbolic link.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// A connection to `host:port`, or through it where `scheme` is `proxy`; `method` and `path` where the protocol has them, `address` once
    /// the name is resolved.
    Network {
        scheme: &'a str,
        method: Option<&'a str>,
        host: &'a str,
        port: u16,
        path: Option<&'a str>,
        address: Option<IpAddr>,
    },
    /// A file, by an absolute path without `.` and `..`.
    File { access: Access, path: &'a Path },
    /// Something with a name: an environment variable.
    Name(&'a str),
    /// A program to start: as the script names it, where it was found (the links of its directory resolved, its own
    /// name kept, because programs behave by the name they are called by), and the file that this leads to.
    Program { name: &'a str, path: &'a Path, real: &'a Path },
    /// Something done to something that has a name: `restart` of `nginx.service`, `push` of
    /// `registry.example.com/app`. `scope` is the narrowest scope that covers it, as the capability writes it.
    Action { verb: &'a str, name: &'a str, scope: &'a str },
    /// The capability as such.
    Whole,
}

/// The method of a connection to a database that only reads.
pub const READ: &str = "READ";

/// Whether a scope of this scheme says which database, not only where.
fn is_database(scheme: &str) -> bool {
    matches!(scheme, "postgres" | "mysql")
}

impl Request<'_> {
    /// The narrowest scope that grants this request, as it is written after `CAP=`, not escaped.
    pub fn scope(&self) -> Option<String> {
        match self {
            Request::Network { scheme: "proxy", host, port, .. } => {
                Some(format!("proxy:{}", host_and_port(host, *port)))
            }
            Request::Network { scheme, method, host, port, path, .. } if is_database(scheme) => {
                let path = path.unwrap_or_default();
                let only_read = if *method == Some(READ) { "?ro" } else { "" };
                Some(format!("{scheme}://{}{path}{only_read}", host_and_port(host, *port)))
            }
            Request::Network { scheme, method, host, port, path, .. } => {
                let method = method.filter(|method| network::is_method(method));
                let method = method.map(|method| format!("{method}:")).unwrap_or_default();
                // A path with a star would be a pattern, and one that a server may read in two ways matches none.
                let path = path.filter(|path| network::is_own_path(path)).unwrap_or_default();
                Some(format!("{method}{scheme}://{}{path}", network::authority(scheme, host, *port)))
            }
            Request::File { access, path } => Some(format!("{}:{}", access.word(), path.display())),
            Request::Name(name) => Some((*name).to_string()),
            Request::Program { name, path, .. } => Some(match name.contains('/') {
                true => path.display().to_string(),
                false => (*name).to_string(),
            }),
            Request::Action { scope, .. } => Some((*scope).to_string()),
            Request::Whole => None,
        }
    }

    /// Whether [`Request::scope`] grants this request and no other. A star in a name would be a pattern there, and
    /// some names stand for more than a host: what a script calls `http://*.com/` or `http://private/` must not become
    /// a grant of all that.
    pub fn has_own_scope(&self) -> bool {
        let own = match self {
            Request::Network { scheme, host, port, path, .. } => {
                let database = !is_database(scheme) || path.is_none_or(network::names_one_database);
                network::names_itself(host) && network::is_readable(host) && *port != 0 && database
            }
            Request::Name(name) => !name.contains('*'),
            // `?ro` is the mark of a scope for reading.
            Request::Action { name, .. } => !name.contains(['*', '?']),
            Request::File { path, .. } => path.to_str().is_some_and(|path| path::read_path(path).is_ok()),
            Request::Program { path, .. } => path.to_str().is_some(),
            Request::Whole => true,
        };
        // White space at the end of a rule does not count: it would be about another file.
        own && self.scope().is_none_or(|scope| scope.trim_end() == scope)
    }

    /// What is asked for, as the start of a sentence: "GET https://api.example.com/v1".
    pub fn describe(&self, capability: &str) -> String {
        match self {
            Request::Network { scheme: "proxy", host, port, .. } => {
                format!("{capability} through the proxy {}", host_and_port(host, *port))
            }
            Request::Network { scheme, host, port, path, .. } if is_database(scheme) => {
                let place = host_and_port(host, *port);
                format!("{capability} to {scheme}://{place}{}", path.unwrap_or_default().escape_debug())
            }
            Request::Network { scheme, method, host, port, path, .. } => {
                let what = method.map_or(format!("{capability} to"), str::to_string);
                let place = network::authority(scheme, host, *port);
                format!("{what} {scheme}://{place}{}", path.unwrap_or_default())
            }
            Request::File { access: Access::Stat, path } => format!("looking at {}", path.display()),
            Request::File { access: Access::List, path } => format!("listing {}", path.display()),
            Request::File { access: Access::Read, path } => format!("reading {}", path.display()),
            Request::File { access: Access::Write, path } => format!("writing {}", path.display()),
            Request::File { access: Access::SetId, path } => {
                format!("a setuid, setgid or sticky bit on {}", path.display())
            }
            Request::Name(name) => format!("{capability} {name}"),
            Request::Program { path, .. } => format!("{capability} {}", path.display()),
            Request::Action { verb, name, .. } => format!("{capability}: {verb} {name}"),
            Request::Whole => capability.to_string(),
        }
    }
}

/// Whether a scope that was written for one request stands for that request alone: [`Request::has_own_scope`] where
/// only the text is left.
pub fn is_own(scope: &str) -> bool {
    let (has_scheme, place) = scope.rsplit_once("://").map_or((false, scope), |(_, place)| (true, place));
    let authority = place.split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, _)) if !authority.ends_with(']') => Some(host),
        _ => has_scheme.then_some(authority),
    };
    !scope.contains('*') && host.is_none_or(network::names_itself)
}

/// `CAP=SCOPE` as it is written on a command line for a shell.
pub fn rule_text(capability: &str, scope: Option<&str>) -> String {
    match scope {
        Some(scope) => format!("{capability}={}", escape(scope)),
        None => capability.to_string(),
    }
}

/// The flag that grants it, to be pasted into a shell: `--allow 'http=GET:https://api.example.com/v1'`.
pub fn allow_flag(capability: &str, scope: Option<&str>) -> String {
    format!("--allow {}", shell_word(&rule_text(capability, scope)))
}

/// A word for a shell: as it is where that is safe, else in quotes. URLs are quoted, as people are used to.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:+@%,".contains(c);
    if text.chars().all(plain) && !text.is_empty() && !text.contains("://") {
        return text.to_string();
    }
    if !text.chars().any(|c| c.is_control() || is_invisible(c)) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    // What would not be seen, or would change the line that it stands in.
    let mut out = String::from("$'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => out.extend(['\\', c]),
            c if c.is_control() || is_invisible(c) => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    out.push_str(&format!("\\x{byte:02x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// Characters that turn the direction of a line around, or have no width.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}' | '\u{ad}')
}

/// A parsed scope.
pub trait Scope: Send + Sync + Debug {
    fn matches(&self, request: &Request<'_>) -> bool;

    /// Widens a scope that is taken back: what a grant leaves out for caution, a denial takes in.
    fn widen_for_denial(&mut self) {}

    /// An address of the range that the scope stands for; none where it goes by names.
    fn sample_address(&self) -> Option<IpAddr> {
        None
    }

    /// Whether the scope was written with a scheme, for what must be granted by scheme.
    fn names_scheme(&self) -> bool {
        false
    }

    /// Whether the scope names this address itself, which lifts the guard on special addresses.
    fn names_address(&self, address: IpAddr) -> bool {
        let _ = address;
        false
    }

    /// Whether the scope names this host itself, which lifts the guard on the names of metadata services.
    fn names_host(&self, host: &str) -> bool {
        let _ = host;
        false
    }

    /// The paths that it is about, where it is about paths: as it was written, and with links resolved.
    fn places(&self) -> Vec<&Path> {
        Vec::new()
    }

    /// The files that it lets be run, where it is about programs.
    fn programs(&self) -> Vec<&Path> {
        Vec::new()
    }

    /// Whether it is about paths, and its own path is `root` or lies under it.
    fn lies_in(&self, root: &Path) -> bool {
        let _ = root;
        false
    }
}

/// Commas separate scopes on the command line; `%2C` is a comma inside one, `%25` a percent sign.
pub fn escape(scope: &str) -> String {
    scope.replace('%', "%25").replace(',', "%2C")
}

/// The reverse of [`escape`].
pub fn unescape(scope: &str) -> String {
    scope.replace("%2C", ",").replace("%2c", ",").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell() {
        for (text, word) in [
            ("fs=read:/a/b.txt", "fs=read:/a/b.txt"),
            ("http=a.example:80", "http=a.example:80"),
            ("http=GET:https://a.example/x", "'http=GET:https://a.example/x'"),
            ("http=[::1]:80", "'http=[::1]:80'"),
            ("fs=read:/a b", "'fs=read:/a b'"),
            ("fs=read:/a'b", r"'fs=read:/a'\''b'"),
            ("fs=read:/$(x)`y`", "'fs=read:/$(x)`y`'"),
            ("fs=read:/a\nb'\\", r"$'fs=read:/a\x0ab\'\\'"),
            ("fs=read:/a\u{202e}b", r"$'fs=read:/a\xe2\x80\xaeb'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(text), word);
        }
        assert_eq!(allow_flag("fs", Some("read:/a,b")), "--allow fs=read:/a%2Cb");
        assert_eq!(allow_flag("shell", None), "--allow shell");
    }

    #[test]
    fn the_narrowest_scope_of_a_request() {
        let request = |scheme, method, host, port, path| Request::Network {
            scheme,
            method,
            host,
            port,
            path,
            address: None,
        };
        for (request, what, scope) in [
            (
                request("http", Some("GET"), "localhost", 9120, Some("/ok")),
                "GET http://localhost:9120/ok",
                "GET:http://localhost:9120/ok",
            ),
            (
                request("https", Some("PUT"), "[::1]", 443, Some("/")),
                "PUT https://[::1]/",
                "PUT:https://[::1]/",
            ),
            // What cannot be said: a method of its own, a star, a path of two readings.
            (request("http", Some("FOO"), "h", 80, Some("/x")), "FOO http://h/x", "http://h/x"),
            (request("http", Some("GET"), "h", 80, Some("/*")), "GET http://h/*", "GET:http://h"),
            (request("http", Some("GET"), "h", 80, Some("//x")), "GET http://h//x", "GET:http://h"),
            (request("wss", None, "h", 443, Some("/x")), "http to wss://h/x", "wss://h/x"),
            (request("proxy", None, "h", 3128, None), "http through the proxy h:3128", "proxy:h:3128"),
        ] {
            assert_eq!((request.describe("http").as_str(), request.scope().as_deref()), (what, Some(scope)));
            assert!(request.has_own_scope() && is_own(scope), "{scope}");
            let Some(text) = request.scope().filter(|scope| !scope.starts_with("proxy:")) else { continue };
            assert!(NetworkScope::parse(&text).is_ok_and(|own| own.matches(&request)), "{text}");
        }
    }
}
