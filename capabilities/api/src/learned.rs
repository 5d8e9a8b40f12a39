//! What a run was allowed, for `--learn`.

use crate::secrets::hide;
use crate::{Access, Request, lock};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;

/// How many requests are kept, and how many bytes of them: a script may make up names without end.
const REQUESTS_MAX: usize = 20_000;
const BYTES_MAX: usize = 8 << 20;

/// One request that was allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// A file or directory.
    File { capability: String, access: Access, path: PathBuf },
    /// A URL: what is before its path (`https://api.example.com`), and the path where a scope can say it.
    Url { capability: String, method: Option<String>, place: String, path: Option<String> },
    /// Anything else, by its narrowest scope.
    Other { capability: String, scope: Option<String> },
}

/// The requests of a run that were allowed, each once.
#[derive(Debug, Default)]
pub struct Learned(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    uses: BTreeSet<Use>,
    bytes: usize,
    more: bool,
}

impl Learned {
    pub(crate) fn add(&self, capability: &str, request: &Request<'_>) {
        // In a manifest a pattern would grant more than was asked for.
        if !request.has_own_scope() {
            return;
        }
        let scope = request.scope();
        let one = match *request {
            Request::File { access, path } => {
                Use::File { capability: capability.into(), access, path: path.to_path_buf() }
            }
            Request::Network { scheme: "http" | "https" | "ws" | "wss", method, .. } => {
                let scope = scope.unwrap_or_default();
                // The scope is `METHOD:SCHEME://PLACE/PATH`, of which the method and path may be missing.
                let method = method.filter(|method| scope.starts_with(&format!("{method}:")));
                let url = &scope[method.map_or(0, |method| method.len() + 1)..];
                let authority = url.find("://").map_or(0, |at| at + "://".len());
                let end = url[authority..].find('/').map_or(url.len(), |at| authority + at);
                Use::Url {
                    capability: capability.into(),
                    method: method.map(String::from),
                    place: url[..end].to_string(),
                    path: (end < url.len()).then(|| url[end..].to_string()),
                }
            }
            _ => Use::Other { capability: capability.into(), scope },
        };
        let mut kept = lock(&self.0);
        if kept.uses.contains(&one) {
            return;
        }
        // The keys of a tree and the heads of its texts count, too.
        kept.bytes += 128 + request.scope().map_or(0, |scope| scope.len());
        // A rule with a password in it is no use without it, and none for a file.
        let has_secret = request.scope().is_some_and(|scope| hide(&scope) != scope);
        if has_secret || kept.uses.len() >= REQUESTS_MAX || kept.bytes > BYTES_MAX {
            kept.more = true;
            return;
        }
        kept.uses.insert(one);
    }

    /// All of them, and whether there were more: too many, or with passwords.
    pub fn uses(&self) -> (BTreeSet<Use>, bool) {
        let kept = lock(&self.0);
        (kept.uses.clone(), kept.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let of = |scheme, method, host, port, path| {
            let learned = Learned::default();
            learned.add("http", &Request::Network { scheme, method, host, port, path, address: None });
            learned.uses().0.into_iter().next()
        };
        let url = |method: Option<&str>, place: &str, path: Option<&str>| {
            let (method, path) = (method.map(String::from), path.map(String::from));
            Some(Use::Url { capability: "http".into(), method, place: place.into(), path })
        };
        for (given, wanted) in [
            (of("https", Some("GET"), "h", 443, Some("/a/b")), url(Some("GET"), "https://h", Some("/a/b"))),
            (of("http", Some("GET"), "h", 81, Some("/*")), url(Some("GET"), "http://h:81", None)),
            (of("wss", None, "[::1]", 443, Some("/x:y")), url(None, "wss://[::1]", Some("/x:y"))),
            (of("http", Some("ODD"), "h", 80, Some("/x")), url(None, "http://h", Some("/x"))),
        ] {
            assert_eq!(given, wanted);
        }
        assert_eq!(of("http", Some("GET"), "*", 80, Some("/")), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let learned = Learned::default();
        for number in 0..REQUESTS_MAX + 1 {
            learned.add("env", &Request::Name(&number.to_string()));
        }
        let (uses, more) = learned.uses();
        assert_eq!((uses.len(), more), (REQUESTS_MAX, true));
        let learned = Learned::default();
        learned.add("env", &Request::Name(&"x".repeat(BYTES_MAX)));
        assert_eq!(learned.uses(), (BTreeSet::new(), true));
    }
}
