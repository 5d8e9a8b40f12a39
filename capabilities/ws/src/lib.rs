//! WebSocket client (RFC 6455).
//!
//! [`handshake`] connects as the HTTP client does, to an address that was checked, and [`connection`] is
//! what a script holds.

mod connection;
mod handshake;
mod scope;
#[cfg(test)]
mod tests;

use assay_capability_api::types::{ErrorCode, Payload};
use assay_capability_api::{
    Capability, Ctx, GrantError, HostResult, Linker, Literal, Need, Scope, ScopeForm, Target, error, network,
};
use assay_capability_fs::needs;
use assay_capability_http::dial;
use assay_capability_http::types::Header;
use bindings::assay::host::ws;
use connection::{Connection, Received, within};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf, Resource, Val};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/ws@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        require_store_data_send: true,
        with: {
            "assay:host/types@0.1.0": assay_capability_api::types,
            "assay:host/http@0.1.0": assay_capability_http::types,
            "assay:host/ws@0.1.0.connection": crate::Held,
        },
    });
}

/// The name of this capability.
pub const WS: &str = "ws";

/// Those of a WebSocket's URL.
const SCHEMES: [&str; 2] = ["ws", "wss"];

/// The capability `ws`.
pub struct Ws;

impl Capability for Ws {
    fn name(&self) -> &'static str {
        WS
    }

    fn summary(&self) -> &'static str {
        "WebSocket connections"
    }

    fn scopes(&self) -> &'static [ScopeForm] {
        const FORMS: &[ScopeForm] = &[
            ScopeForm {
                form: "HOST[:PORT]",
                grants: "one host, on ports 80 and 443 or the one named; `:*` is any",
                example: "ws=stream.example.com",
            },
            ScopeForm {
                form: "*.DOMAIN[:PORT]",
                grants: "every host below a domain",
                example: "ws=*.example.com",
            },
            ScopeForm {
                form: "ws[s]://HOST[:PORT][/PATH*]",
                grants: "one scheme, and paths that start so; without a star one path",
                example: "ws=wss://stream.example.com/v1/*",
            },
            ScopeForm {
                form: "CIDR",
                grants: "whatever resolves into a range of addresses",
                example: "ws=10.0.0.0/8",
            },
            ScopeForm {
                form: "loopback",
                grants: "whatever resolves to a loopback address",
                example: "ws=loopback",
            },
            ScopeForm {
                form: "private",
                grants: "whatever resolves to a private address",
                example: "ws=private",
            },
        ];
        FORMS
    }

    fn scope(&self, text: &str, _: &Path) -> std::result::Result<Box<dyn Scope>, GrantError> {
        scope::parse(text)
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[
            Need::new("ws.connect", Literal::Url(&SCHEMES)),
            needs::read_option("ws.connect", "ca_cert_file"),
            needs::read_option("ws.connect", "client_cert_file"),
            needs::read_option("ws.connect", "client_key_file"),
            Need::new("ws.*", Literal::Free),
        ];
        NEEDS
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> Result<()> {
        ws::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }

    fn target(&self, function: &str, args: &[Val]) -> Target {
        Target::of_url(WS, function, args, &SCHEMES)
    }
}

/// The resource `connection`.
pub struct Held(Arc<Connection>);

type Host = HasSelf<Ctx>;

fn held(accessor: &Accessor<Ctx, Host>, this: &Resource<Held>) -> Result<Arc<Connection>> {
    accessor.with(|mut access| Ok(access.get().table.get(this)?.0.clone()))
}

fn closed(code: u16, reason: String) -> ws::Received {
    ws::Received { kind: ws::Kind::Closed, data: Payload::Small(reason.into_bytes()), code }
}

impl ws::Host for Ctx {}

impl ws::HostWithStore<Ctx> for Host {
    async fn connect(accessor: &Accessor<Ctx, Self>, target: ws::Target) -> HostResult<ws::Connected> {
        let (run, settings) = accessor.with(|mut access| {
            let ctx = access.get();
            (ctx.run.clone(), dial::settings(ctx))
        });
        let (max_message, timeout) = (target.max_message, target.timeout);
        let keepalive = (target.keepalive > 0).then(|| Duration::from_nanos(target.keepalive));
        let place = network::place(&target.url, &SCHEMES).unwrap_or_default();
        let opening = async {
            let handle = run.take_handle()?;
            Ok((handshake::open(&run, &settings, target).await?, handle))
        };
        let late = |bound: Duration| {
            error(ErrorCode::Timeout, format!("ws to {place}: no answer in {} seconds", bound.as_secs_f64()))
        };
        let (opened, handle) = within(timeout, late, opening).await?;
        let headers = opened.headers.iter();
        let headers = headers
            .map(|(name, value)| Header { name: name.as_str().to_string(), value: value.as_bytes().to_vec() })
            .collect();
        let socket = (opened.socket, opened.meter, opened.kept, opened.subject);
        let connection = Connection::start(run.clone(), socket, max_message, keepalive, handle);
        let connection = accessor.with(|mut access| access.get().table.push(Held(Arc::new(connection))))?;
        Ok(ws::Connected { connection, protocol: opened.protocol, headers })
    }
}

impl ws::HostConnection for Ctx {
    fn drop(&mut self, this: Resource<Held>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl ws::HostConnectionWithStore<Ctx> for Host {
    async fn send(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<Held>,
        data: Vec<u8>,
        binary: bool,
        timeout: u64,
    ) -> HostResult<()> {
        let connection = held(accessor, &this)?;
        Ok(connection.send(data, binary, timeout).await?)
    }

    async fn receive(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<Held>,
        timeout: u64,
    ) -> HostResult<ws::Received> {
        let connection = held(accessor, &this)?;
        let (kind, data, held) = match connection.receive(timeout).await? {
            Received::Text(data, held) => (ws::Kind::Text, data, held),
            Received::Binary(data, held) => (ws::Kind::Binary, data, held),
            Received::Closed(code, reason) => return Ok(closed(code, reason)),
        };
        let data = accessor.with(|mut access| access.get().payload(data, Some(Arc::new(held))))?;
        Ok(ws::Received { kind, data, code: 0 })
    }

    async fn ping(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<Held>,
        payload: Vec<u8>,
        timeout: u64,
    ) -> HostResult<u64> {
        let connection = held(accessor, &this)?;
        let elapsed = connection.ping(payload, timeout).await?;
        Ok(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    async fn close(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<Held>,
        code: u16,
        reason: String,
        timeout: u64,
    ) -> HostResult<ws::Received> {
        let connection = held(accessor, &this)?;
        let (code, reason) = connection.close(code, reason, timeout).await?;
        Ok(closed(code, reason))
    }
}
