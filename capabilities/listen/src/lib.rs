//! HTTP server, versions 1.1 and 2, with WebSockets and files.
//!
//! [`server`] has the listening threads, on which [`connection`] reads requests, finds their route and
//! bounds them. They wait in the server's queue until an instance pulls them; from then on they are an
//! [`exchange`] that the guest answers by its number.

mod bind;
mod body;
mod connection;
mod exchange;
mod files;
mod frames;
mod framing;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod headers;
mod instance;
mod io;
mod log;
mod mime;
mod router;
mod scope;
mod server;
mod settings;
mod target;
mod tls;
mod websocket;

use assay_capability_api::{
    Capability, Ctx, Denied, Determinism, GrantError, Linker, Literal, Need, Scope, ScopeForm, Target,
};
use assay_capability_fs::needs;
use bind::LISTEN;
use scope::{Address, ListenScope};
use std::path::Path;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Val};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/listen@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        with: {
            "assay:host/types@0.1.0": assay_capability_api::types,
            "assay:host/listen@0.1.0.server": crate::instance::Instance,
        },
        require_store_data_send: true,
    });
}

/// The capability `listen`.
pub struct Listen;

impl Capability for Listen {
    fn name(&self) -> &'static str {
        LISTEN
    }

    fn summary(&self) -> &'static str {
        "accepting connections: http.serve"
    }

    fn scopes(&self) -> &'static [ScopeForm] {
        &[
            ScopeForm {
                form: "PORT",
                grants: "one port on this machine's loopback; without a scope, any port of it",
                example: "listen=8080",
            },
            ScopeForm {
                form: "ADDRESS:PORT",
                grants: "one port of an address; 0.0.0.0 and [::] are all addresses, * is any port",
                example: "listen=0.0.0.0:8080",
            },
            ScopeForm {
                form: "unix:PATH",
                grants: "a unix socket at a path, which is made and removed",
                example: "listen=unix:/run/app.sock",
            },
        ]
    }

    fn scope(&self, text: &str, base: &Path) -> std::result::Result<Box<dyn Scope>, GrantError> {
        Ok(Box::new(ListenScope::parse(text, base)?))
    }

    /// A socket is a file too.
    fn denied_with(&self, other: &str, scope: Option<&str>, base: &Path) -> Denied {
        match other {
            "fs" => ListenScope::of_files(scope.unwrap_or("rw:/"), base)
                .map_or(Denied::Whole, |scope| Denied::Part(Box::new(scope))),
            _ => Denied::Nothing,
        }
    }

    fn bare(&self) -> Option<Box<dyn Scope>> {
        Some(Box::new(ListenScope::whole()))
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[
            Need::new("http.serve", Literal::Scope(scope::of_text)),
            needs::read_option("http.serve", "cert_file"),
            needs::read_option("http.serve", "key_file"),
            needs::read_option("http.serve", "client_ca_file"),
            needs::read("http.files"),
            // They are in the library of the client, whose grant they do not need.
            Need::new("http.serve", Literal::Free).of("http"),
            Need::new("http.files", Literal::Free).of("http"),
        ];
        NEEDS
    }

    /// What is about a handle that the run has, or lets go of it.
    fn determinism(&self, function: &str) -> Determinism {
        match function {
            "[method]server.address"
            | "[method]server.port"
            | "[method]server.stop"
            | "finish"
            | "release" => Determinism::Pure,
            _ => Determinism::Outside,
        }
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> Result<()> {
        bindings::assay::host::listen::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }

    fn target(&self, function: &str, args: &[Val]) -> Target {
        let Some(Val::Record(fields)) = args.first() else {
            return Target { what: format!("{LISTEN}.{function}"), scope: None };
        };
        let field = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        let address = match (field("address"), field("port")) {
            // As it is written: a flag is read from the same directory as the script's paths.
            (Some(Val::String(path)), _) if path.starts_with("unix:") => {
                return Target {
                    what: format!("{LISTEN}: {} {path}", scope::BIND),
                    scope: Some(path.clone()),
                };
            }
            (Some(Val::String(address)), Some(Val::U16(port))) => {
                Address::parse(address, *port, Path::new("/"))
            }
            _ => None,
        };
        match address {
            Some(address) => {
                Target { what: format!("{LISTEN}: {} {address}", scope::BIND), scope: Some(address.scope()) }
            }
            None => Target { what: format!("{LISTEN}.{function}"), scope: None },
        }
    }
}
