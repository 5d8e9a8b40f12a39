//! Container images in registries (OCI distribution and image specifications, and docker's).
//!
//! A call becomes a [`Job`]: a future that is polled while the script waits for it, and dropped with it.
//! What is done to a repository is decided by its name, before anything is sent; every other host that a
//! registry redirects to is decided too, and gets no credentials.

mod actions;
mod archive;
mod auth;
mod challenge;
mod credentials;
mod digest;
mod failure;
mod feed;
mod files;
mod layer;
mod layout;
mod link;
mod manifest;
mod mutate;
mod reference;
mod registry;
mod scope;
mod session;
mod transfer;

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{
    Capability, Ctx, GrantError, HandleGuard, Held, HostResult, Linker, Literal, Need, Scope, ScopeForm,
    Target, error, text_field,
};
use assay_capability_fs::needs;
use assay_capability_http::client::Client;
use bindings::assay::host::oci::{self, Action, Content, Request, Step};
use reference::Reference;
use session::Progress;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf, Resource, Val};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/oci@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        with: {
            "assay:host/types@0.1.0": assay_capability_api::types,
            "assay:host/oci@0.1.0.job": crate::Job,
        },
        require_store_data_send: true,
    });
}

type Outcome<T> = std::result::Result<T, Error>;

/// What is being done; none while a call waits for it and when it is over.
pub struct Job {
    work: Option<Pin<Box<dyn Future<Output = Outcome<String>> + Send>>>,
    progress: Arc<Progress>,
    _handle: HandleGuard,
    /// What the request takes of the run's budget, and what the work on it does beside answers and blobs.
    _held: Held,
}

/// What a job takes beside its request: buffers of the layer or of the files that it writes.
const JOB: usize = 1 << 20;
/// What a file of a request takes beside its content.
const FILE: usize = 128;

/// Bytes of the texts of a request, which are copied on the way, and of its files.
fn size(request: &Request) -> usize {
    let content = |content: &Content| match content {
        Content::Data(data) => data.len(),
        Content::File(path) => 4 * path.len(),
    };
    let login = |login: &oci::Login| {
        [&login.username, &login.password, &login.token].into_iter().flatten().map(String::len).sum::<usize>()
    };
    let optional = [&request.docker_config, &request.platform, &request.name];
    let texts = [request.source.len(), request.destination.len()]
        .into_iter()
        .chain(optional.into_iter().flatten().map(String::len))
        .chain(request.plain_http.iter().flatten().map(|name| FILE + name.len()))
        .chain([login(&request.source_login), login(&request.destination_login)])
        .sum::<usize>();
    let pem = [&request.authorities, &request.certificate, &request.key];
    let pem = pem.into_iter().flatten().map(content).sum::<usize>();
    let changes = &request.changes;
    let pairs = [&changes.labels, &changes.annotations, &changes.env];
    let pairs =
        pairs.into_iter().flatten().map(|(name, value)| FILE + name.len() + value.len()).sum::<usize>();
    let lists = [&changes.cmd, &changes.entrypoint, &changes.exposed_ports];
    let lists = lists.into_iter().flatten().flatten().map(|text| FILE + text.len()).sum::<usize>();
    let alone = [&changes.user, &changes.workdir, &changes.platform];
    let alone = alone.into_iter().flatten().map(String::len).sum::<usize>();
    // The layer is planned with a copy of them.
    let files = request.files.iter().map(|file| 2 * (FILE + file.path.len() + content(&file.content)));
    4 * (texts + pairs + lists + alone) + pem + files.sum::<usize>()
}

/// The capability `oci`.
pub struct Oci;

/// `VERB:registry/repository` of an image's name.
fn grant(verb: &str, image: &str) -> Option<String> {
    Some(format!("{verb}:{}", Reference::parse(image).ok()?.name()))
}

impl Capability for Oci {
    fn name(&self) -> &'static str {
        "oci"
    }

    fn summary(&self) -> &'static str {
        "container images in registries"
    }

    fn scopes(&self) -> &'static [ScopeForm] {
        const FORMS: &[ScopeForm] = &[
            ScopeForm {
                form: "pull:REGISTRY/REPOSITORY[*]",
                grants: "reading a repository, or with a star all that begin so",
                example: "oci=pull:ghcr.io/acme/*",
            },
            ScopeForm {
                form: "push:REGISTRY/REPOSITORY[*]",
                grants: "writing, and asking whether a blob is there; not reading",
                example: "oci=push:registry.example.com:5000/team/*",
            },
            ScopeForm {
                form: "pull+push:REGISTRY/REPOSITORY[*]",
                grants: "both",
                example: "oci=pull+push:ghcr.io/acme/app",
            },
            ScopeForm { form: "REGISTRY[/REPOSITORY[*]]", grants: "reading", example: "oci=ghcr.io" },
            ScopeForm {
                form: "redirect:HOST[:PORT]",
                grants: "following a registry's redirects to another host",
                example: "oci=redirect:*.cdn.example.com",
            },
            ScopeForm {
                form: "token:HOST[:PORT]",
                grants: "authenticating at a token server on another host than the registry",
                example: "oci=token:auth.example.com",
            },
            ScopeForm {
                form: "CIDR, loopback, private",
                grants: "such addresses for what is granted otherwise, where only public ones are reached",
                example: "oci=10.0.0.0/8",
            },
        ];
        FORMS
    }

    fn scope(&self, text: &str, _: &Path) -> std::result::Result<Box<dyn Scope>, GrantError> {
        scope::parse(text)
    }

    fn needs(&self) -> &'static [Need] {
        const PULL: Literal = Literal::Scope(|image| grant("pull", image));
        const PUSH: Literal = Literal::Scope(|image| grant("push", image));
        const NEEDS: &[Need] = &[
            Need::new("oci.tag", Literal::Scope(|image| grant("pull+push", image))),
            Need::new("oci.push", PUSH).at(1),
            Need::new("oci.copy", PULL),
            Need::new("oci.copy", PUSH).at(1),
            Need::new("oci.mutate", PULL),
            Need::new("oci.mutate", PUSH).at(1),
            Need::new("oci.*", PULL),
            needs::read_option("oci.mutate", "file"),
            needs::write("oci.pull").at(1),
            needs::read("oci.push"),
        ];
        NEEDS
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> Result<()> {
        oci::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }

    fn target(&self, function: &str, args: &[Val]) -> Target {
        let action = args.iter().find_map(|arg| match arg {
            Val::Enum(action) => Some(action.as_str()),
            _ => None,
        });
        let action = action.unwrap_or(function);
        let (verb, field) = match action {
            "push" => ("push", "destination"),
            "tag" => ("pull+push", "source"),
            _ => ("pull", "source"),
        };
        let image = text_field(args, field).and_then(|image| Reference::parse(image).ok());
        match image {
            Some(image) => Target {
                what: format!("oci: {verb} {}", image.name()),
                scope: Some(format!("{verb}:{}", image.name())),
            },
            None => Target { what: format!("oci.{action}"), scope: None },
        }
    }
}

type Host = HasSelf<Ctx>;

impl oci::Host for Ctx {
    fn start(&mut self, action: Action, request: Request) -> HostResult<Resource<Job>> {
        let client = self.state_or(|| Client::new("oci")).clone();
        let handle = client.handle(&self.run)?;
        let held = self.run.budget.take(JOB + size(&request))?;
        let progress = Arc::new(Progress::default());
        let work = actions::perform(self.run.clone(), client, progress.clone(), action, request);
        let job = Job { work: Some(Box::pin(work)), progress, _handle: handle, _held: held };
        Ok(self.table.push(job)?)
    }
}

impl oci::HostJob for Ctx {
    fn drop(&mut self, this: Resource<Job>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl oci::HostJobWithStore<Ctx> for Host {
    async fn next(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<Job>,
        report_every: u64,
    ) -> HostResult<Step> {
        let taken = accessor.with(|mut access| {
            let job = access.get().table.get_mut(&this)?;
            Ok::<_, wasmtime::Error>((job.work.take(), job.progress.clone()))
        })?;
        let (Some(mut work), progress) = taken else {
            return Err(error(ErrorCode::InvalidArgument, "it is over, or another task waits for it").into());
        };
        let report = tokio::time::sleep(Duration::from_nanos(report_every));
        tokio::select! {
            biased;
            result = &mut work => Ok(Step::Done(result?)),
            () = report, if report_every > 0 => {
                accessor.with(|mut access| {
                    access.get().table.get_mut(&this)?.work = Some(work);
                    Ok::<_, wasmtime::Error>(())
                })?;
                Ok(Step::Progress(progress.now()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_the_repository() {
        let request = |action: &str, source: &str, destination: &str| {
            [
                Val::Enum(action.into()),
                Val::Record(vec![
                    ("source".into(), Val::String(source.into())),
                    ("destination".into(), Val::String(destination.into())),
                ]),
            ]
        };
        for (action, source, destination, scope) in [
            ("copy", "alpine:3", "ghcr.io/a/b", Some("pull:docker.io/library/alpine")),
            ("tag", "ghcr.io/a/b:1", "2", Some("pull+push:ghcr.io/a/b")),
            ("push", "./layout", "ghcr.io/a/b", Some("push:ghcr.io/a/b")),
            ("pull", "NO", "x", None),
        ] {
            let target = Oci.target("start", &request(action, source, destination));
            assert_eq!(target.scope.as_deref(), scope, "{action}");
        }
    }
}
