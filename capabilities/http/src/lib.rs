//! HTTP client, versions 1.1 and 2.
//!
//! A call becomes a [`request::Head`]; [`exchange`] sends it over a connection of the run's [`pool`],
//! follows redirects, and gives a [`body::Body`] that the guest pulls. Each hop, each address and each
//! connection that is used again is checked for the request at hand.

mod body;
mod caller;
pub mod client;
mod connect;
pub mod dial;
mod download;
mod errors;
mod exchange;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod members;
mod pool;
mod record;
mod request;
mod scope;
#[cfg(test)]
mod tests;
mod trust;
mod upload;

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{
    Capability, Ctx, GrantError, HostResult, Linker, Literal, Need, Run, Scope, ScopeForm, Target, error,
};
use assay_capability_fs::needs;
use bindings::assay::host::http::{
    self as wit, FileOptions, Header, Request, Response, Step, Streamed, Want,
};
use body::Body;
use bytes::Bytes;
use download::{Download, Started};
use exchange::{Answer, perform};
use pool::Pool;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use wasmtime::component::{
    Accessor, Destination, FutureReader, HasSelf, Resource, StreamProducer, StreamReader, StreamResult, Val,
};
use wasmtime::{Result, StoreContextMut};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/http@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        with: {
            "assay:host/types@0.1.0": assay_capability_api::types,
            "assay:host/http@0.1.0.transfer": crate::Transfer,
        },
        require_store_data_send: true,
    });
}

/// The WIT types of requests, for capabilities that use them too.
pub use bindings::assay::host::http as types;

/// Bodies up to this many bytes come inline: one crossing instead of three.
const INLINE: usize = 64 << 10;

/// The schemes of what it goes to.
const SCHEMES: [&str; 2] = ["http", "https"];

/// The capability `http`.
pub struct Http;

impl Capability for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn summary(&self) -> &'static str {
        "HTTP requests and downloads"
    }

    fn scopes(&self) -> &'static [ScopeForm] {
        const FORMS: &[ScopeForm] = &[
            ScopeForm {
                form: "HOST[:PORT]",
                grants: "one host, on ports 80 and 443 or the one named; `:*` is any",
                example: "http=api.example.com",
            },
            ScopeForm {
                form: "*.DOMAIN[:PORT]",
                grants: "every host below a domain",
                example: "http=*.example.com",
            },
            ScopeForm {
                form: "SCHEME://HOST[:PORT][/PATH*]",
                grants: "one scheme, and paths that start so; without a star one path",
                example: "http=https://api.example.com/v1/*",
            },
            ScopeForm {
                form: "METHOD[+METHOD]:...",
                grants: "only these methods",
                example: "http=GET+HEAD:api.example.com",
            },
            ScopeForm {
                form: "CIDR",
                grants: "whatever resolves into a range of addresses",
                example: "http=10.0.0.0/8",
            },
            ScopeForm {
                form: "loopback",
                grants: "whatever resolves to a loopback address",
                example: "http=loopback",
            },
            ScopeForm {
                form: "private",
                grants: "whatever resolves to a private address",
                example: "http=private",
            },
            ScopeForm {
                form: "proxy:HOST:PORT",
                grants: "going through this proxy",
                example: "http=proxy:proxy.example.com:3128",
            },
        ];
        FORMS
    }

    fn scope(&self, text: &str, _: &Path) -> std::result::Result<Box<dyn Scope>, GrantError> {
        scope::parse(text)
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[
            Need::new("http.client", Literal::Nothing),
            Need::new("http.request", Literal::Url(&SCHEMES)).at(1),
            Need::new("http.*", Literal::Url(&SCHEMES)),
            needs::read_option("http.*", "body_file"),
            needs::read_option("http.*", "ca_cert_file"),
            needs::read_option("http.*", "client_cert_file"),
            needs::read_option("http.*", "client_key_file"),
            needs::write("http.download").at(1),
            saving("if_changed", |path| Some(format!("rw:{path}"))),
            saving("if_changed", |path| Some(format!("rw:{}", record::beside(path)))),
            saving("resume", |path| Some(format!("stat:{path}"))),
            saving("resume", |path| Some(format!("rw:{}", download::part(path)))),
            saving("resume", |path| Some(format!("rw:{}", record::beside(&download::part(path))))),
        ];
        NEEDS
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> Result<()> {
        wit::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }

    fn target(&self, function: &str, args: &[Val]) -> Target {
        Target::of_url(self.name(), function, args, &SCHEMES)
    }
}

/// What an option of `http.download` needs of the file that it saves.
const fn saving(option: &'static str, scope: fn(&str) -> Option<String>) -> Need {
    needs::by("http.download", Literal::With(option, scope)).at(1)
}

/// A download that a script holds; none while a call works on it and when it is over.
pub struct Transfer(Option<Started>);

type Host = HasSelf<Ctx>;

impl wit::Host for Ctx {}

fn parts(accessor: &Accessor<Ctx, Host>) -> (Arc<Run>, Pool) {
    accessor.with(|mut access| {
        let ctx = access.get();
        (ctx.run.clone(), ctx.state::<Pool>().clone())
    })
}

impl wit::HostWithStore<Ctx> for Host {
    async fn send(accessor: &Accessor<Ctx, Self>, request: Request) -> HostResult<Response> {
        let (run, pool) = parts(accessor);
        let want = request.want;
        let answer = perform(run, pool, request).await?;
        let whole = match want {
            Want::Whole => true,
            Want::Events => !answer.events,
            Want::Stream => false,
        };
        let (mut response, mut body) = split(answer);
        if whole && let Some(data) = body.small(INLINE).await? {
            response.body = wit::Body::Inline(data);
            return Ok(response);
        }
        body.keep(!whole).await?;
        let length = body.length();
        let (end, ended) = oneshot::channel();
        let ended = async move { Ok::<_, wasmtime::Error>(ended.await.unwrap_or_else(|_| Err(unread()))) };
        response.body = accessor.with(|mut access| {
            let data = StreamReader::new(&mut access, Producer { body, end: Some(end) })?;
            let end = FutureReader::new(&mut access, Box::pin(ended))?;
            Ok::<_, wasmtime::Error>(wit::Body::Streamed(Streamed { data, end, length }))
        })?;
        Ok(response)
    }

    async fn download(
        accessor: &Accessor<Ctx, Self>,
        request: Request,
        path: String,
        options: FileOptions,
    ) -> HostResult<Resource<Transfer>> {
        let (run, pool) = parts(accessor);
        let started = Download::start(run, pool, request, path, options).await?;
        Ok(accessor.with(|mut access| access.get().table.push(Transfer(Some(started))))?)
    }
}

fn unread() -> Error {
    error(ErrorCode::Other, "the body was closed before its end")
}

/// The response as the guest gets it, its body still empty, and the body.
fn split(answer: Answer) -> (Response, Body) {
    let headers = answer
        .headers
        .iter()
        .map(|(name, value)| Header { name: name.as_str().to_string(), value: value.as_bytes().to_vec() })
        .collect();
    let response = Response {
        status: answer.status,
        url: answer.url,
        version: answer.version.to_string(),
        headers,
        body: wit::Body::Inline(Vec::new()),
        elapsed: u64::try_from(answer.elapsed.as_nanos()).unwrap_or(u64::MAX),
        redirects: answer.redirects,
    };
    (response, answer.body)
}

/// A body on its way to the guest.
struct Producer {
    body: Body,
    end: Option<oneshot::Sender<std::result::Result<(), Error>>>,
}

impl StreamProducer<Ctx> for Producer {
    type Item = u8;
    type Buffer = Bytes;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'a, Ctx>,
        mut destination: Destination<'a, u8, Bytes>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        // It may have been opened before the run was replayed.
        let refused = store.data().refused("http.read");
        let end = match refused.map_or_else(|| self.body.poll(context), |refused| Poll::Ready(Err(refused))) {
            Poll::Ready(Ok(Some(data))) => {
                // What it takes of the budget goes with it.
                destination.set_buffer(data);
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(None)) => Ok(()),
            Poll::Ready(Err(failure)) => Err(failure),
        };
        if let Some(sender) = self.end.take() {
            // The guest may have closed the body meanwhile.
            let _ = sender.send(end);
        }
        Poll::Ready(Ok(StreamResult::Dropped))
    }
}

impl wit::HostTransfer for Ctx {
    fn drop(&mut self, this: Resource<Transfer>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl wit::HostTransferWithStore<Ctx> for Host {
    async fn next(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<Transfer>,
        report_every: u64,
    ) -> HostResult<Step> {
        let taken = accessor.with(|mut access| {
            let transfer = access.get().table.get_mut(&this)?;
            Ok::<_, wasmtime::Error>(transfer.0.take())
        })?;
        let download = match taken {
            Some(Started::Download(download)) => download,
            Some(Started::Kept(size)) => return Ok(Step::Kept(size)),
            None => {
                return Err(error(
                    ErrorCode::InvalidArgument,
                    "the download is over, or another task waits for it",
                )
                .into());
            }
        };
        let (step, download) = download.go_on(Duration::from_nanos(report_every)).await?;
        if download.is_some() {
            accessor.with(|mut access| {
                access.get().table.get_mut(&this)?.0 = download.map(Started::Download);
                Ok::<_, wasmtime::Error>(())
            })?;
        }
        Ok(step)
    }
}

#[cfg(test)]
mod denials {
    use super::*;

    #[test]
    fn a_denial_names_the_place() {
        let request = |url: &str| {
            [Val::Record(vec![
                ("method".into(), Val::String("GET".into())),
                ("url".into(), Val::String(url.into())),
            ])]
        };
        for (url, scope) in [
            ("https://api.example.com/x", Some("GET:https://api.example.com/x")),
            ("http://user@api.example.com/x", Some("GET:http://api.example.com/x")),
            ("http://0x7f.1:81/", Some("GET:http://127.0.0.1:81/")),
            ("http://[::1]/", Some("GET:http://[::1]/")),
            ("file:///x", None),
            ("nonsense", None),
        ] {
            assert_eq!(Http.target("send", &request(url)).scope.as_deref(), scope, "{url}");
        }
        assert_eq!(Http.target("send", &request("http://a.example/")).what, "GET http://a.example/");
    }
}
