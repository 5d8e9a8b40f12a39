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
    /// Something with a name: an environment variable, a program.
    Name(&'a str),
    /// The capability as such.
    Whole,
}

impl Request<'_> {
    /// The narrowest scope that grants this request, as it is written after `CAP=`, not escaped.
    pub fn scope(&self) -> Option<String> {
        match self {
            Request::Network { scheme: "proxy", host, port, .. } => {
                Some(format!("proxy:{}", host_and_port(host, *port)))
            }
            Request::Network { host, port, .. } => Some(host_and_port(host, *port)),
            Request::File { access: Access::Read, path } => Some(format!("read:{}", path.display())),
            Request::File { access: Access::Write, path } => Some(format!("write:{}", path.display())),
            Request::Name(name) => Some((*name).to_string()),
            Request::Whole => None,
        }
    }

    /// What is asked for, as the start of a sentence: "http to api.example.com:443".
    pub fn describe(&self, capability: &str) -> String {
        match self {
            Request::Network { scheme: "proxy", host, port, .. } => {
                format!("{capability} through the proxy {}", host_and_port(host, *port))
            }
            Request::Network { host, port, .. } => {
                format!("{capability} to {}", host_and_port(host, *port))
            }
            Request::File { access: Access::Read, path } => format!("reading {}", path.display()),
            Request::File { access: Access::Write, path } => format!("writing {}", path.display()),
            Request::Name(name) => format!("{capability} {name}"),
            Request::Whole => capability.to_string(),
        }
    }
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
