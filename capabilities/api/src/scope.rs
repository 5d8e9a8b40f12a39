//! Scopes: the part of a grant after the `=`, and the requests that are matched against them.

mod name;
mod network;
mod path;

pub use name::NameScope;
pub use network::{NetworkScope, host_and_port};
pub use path::{PathScope, normalize};

use std::fmt::Debug;
use std::net::IpAddr;
use std::path::Path;

/// What a file operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
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
    /// A program to start: as the script names it, where it was found (the links of its folder resolved, its own
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
            Request::Network { host, port, .. } => Some(host_and_port(host, *port)),
            Request::File { access: Access::Read, path } => Some(format!("read:{}", path.display())),
            Request::File { access: Access::Write, path } => Some(format!("write:{}", path.display())),
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
                network::names_itself(host) && *port != 0 && database
            }
            Request::Name(name) => !name.contains('*'),
            // `?ro` is the mark of a scope for reading.
            Request::Action { name, .. } => !name.contains(['*', '?']),
            Request::File { path, .. } | Request::Program { path, .. } => path.to_str().is_some(),
            Request::Whole => true,
        };
        // White space at the end of a rule does not count: it would be about another file.
        own && self.scope().is_none_or(|scope| scope.trim_end() == scope)
    }

    /// What is asked for, as the start of a sentence: "http to api.example.com:443".
    pub fn describe(&self, capability: &str) -> String {
        match self {
            Request::Network { scheme: "proxy", host, port, .. } => {
                format!("{capability} through the proxy {}", host_and_port(host, *port))
            }
            Request::Network { scheme, host, port, path, .. } if is_database(scheme) => {
                let place = host_and_port(host, *port);
                format!("{capability} to {scheme}://{place}{}", path.unwrap_or_default())
            }
            Request::Network { host, port, .. } => {
                format!("{capability} to {}", host_and_port(host, *port))
            }
            Request::File { access: Access::Read, path } => format!("reading {}", path.display()),
            Request::File { access: Access::Write, path } => format!("writing {}", path.display()),
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
    let place = scope.rsplit_once("://").map_or(scope, |(_, place)| place);
    let host = place.split('/').next().and_then(|place| place.rsplit_once(':')).map(|(host, _)| host);
    !scope.contains('*') && host.is_none_or(network::names_itself)
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
