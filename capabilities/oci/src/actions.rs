//! What a call does, from its arguments to its result as JSON.

use crate::bindings::assay::host::oci::{Action, Content, Login, Request};
use crate::credentials::{self, Credentials};
use crate::digest::Digest;
use crate::failure::{invalid, invalid_data};
use crate::feed::FileFeed;
use crate::files;
use crate::layer::{self, Layer};
use crate::layout::Layout;
use crate::manifest::{DOCKER_LAYER, Descriptor, Kind, Manifest, OCI_LAYER, Platform, platforms};
use crate::mutate::Changes;
use crate::reference::{Reference, is_tag};
use crate::registry::{Repository, Use};
use crate::scope::{PULL, PUSH};
use crate::session::{Plain, Progress, Session};
use crate::transfer::{Source, Target, Transfer, send_blob, small_blob};
use assay_capability_api::secrets::hide_url;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error, off_thread};
use assay_capability_http::client::{Client, Payload};
use assay_capability_net::{Pem, Trust};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes of a PEM text; the bundle of a distribution has about 250 KiB.
/// Bytes of docker's configuration.
const MAX_CONFIG: u64 = 1 << 20;
const MAX_RETRIES: u32 = 20;

/// Does what was asked for, within its time.
///
/// # Errors
/// Those of the action; `timeout`.
pub async fn perform(
    run: Arc<Run>,
    client: Client,
    progress: Arc<Progress>,
    action: Action,
    request: Request,
) -> Result<String, Error> {
    let bound = Duration::from_nanos(request.timeout);
    let work = Work::new(run, client, progress, request);
    let done = async move { work.await?.act(action).await };
    if bound.is_zero() {
        return done.await;
    }
    match tokio::time::timeout(bound, done).await {
        Ok(result) => result,
        Err(_) => Err(error(
            ErrorCode::Timeout,
            format!("oci.{}: not done after {} seconds", name(action), bound.as_secs_f64()),
        )),
    }
}

/// The name of the Lua function.
pub fn name(action: Action) -> &'static str {
    match action {
        Action::Copy => "copy",
        Action::Tag => "tag",
        Action::Mutate => "mutate",
        Action::Manifest => "manifest",
        Action::Config => "config",
        Action::Tags => "tags",
        Action::Digest => "digest",
        Action::Pull => "pull",
        Action::Push => "push",
    }
}

/// The pieces of an action.
struct Work {
    session: Arc<Session>,
    request: Request,
    platform: Option<Platform>,
    docker: Option<(Vec<u8>, String)>,
}

impl Work {
    async fn new(
        run: Arc<Run>,
        client: Client,
        progress: Arc<Progress>,
        mut request: Request,
    ) -> Result<Work, Error> {
        let authorities = request.authorities.take().map(pem);
        let key = request.key.take().map(pem);
        let identity = request.certificate.take().map(|certificate| (pem(certificate), key));
        let docker = match request.docker_config.take() {
            Some(path) => Some((files::read(&run, &path, MAX_CONFIG).await?, path)),
            None => None,
        };
        let platform = request.platform.as_deref().map(Platform::parse).transpose()?;
        let plain = match &request.plain_http {
            None if authorities.is_none() && request.fingerprints.is_empty() => Plain::Local,
            // Who names certificates wants TLS.
            None => Plain::Named(Vec::new()),
            Some(names) if names.iter().any(|name| name == "*") => Plain::All,
            Some(names) => Plain::Named(
                names
                    .iter()
                    .map(|name| {
                        crate::reference::registry(name).map_err(|why| {
                            invalid(format!("oci: field 'plain_http': '{}': {why}", hide_url(name)))
                        })
                    })
                    .collect::<Result<_, _>>()?,
            ),
        };
        let trust = Trust::load(&run, authorities, identity, &request.fingerprints).await?;
        let session = Session {
            run,
            client,
            trust,
            plain,
            retries: request.retries.min(MAX_RETRIES),
            max_blob: request.max_blob,
            progress,
        };
        Ok(Work { session: Arc::new(session), request, platform, docker })
    }

    async fn act(&self, action: Action) -> Result<String, Error> {
        let result = match action {
            Action::Copy => self.copy().await,
            Action::Tag => self.tag().await,
            Action::Mutate => self.mutate().await,
            Action::Manifest => self.manifest().await,
            Action::Config => self.config().await,
            Action::Tags => self.tags().await,
            Action::Digest => self.digest().await,
            Action::Pull => self.pull().await,
            Action::Push => self.push().await,
        };
        result.map(|value| value.to_string())
    }

    fn check(&self, reference: &Reference, verb: &str) -> Result<(), Error> {
        let name = reference.name();
        self.session.check(verb, &name, &format!("{verb}:{name}"))
    }

    fn repository(&self, reference: &Reference, usage: Use, login: &Login) -> Result<Repository, Error> {
        let given = Credentials::given(login.username.clone(), login.password.clone(), login.token.clone())?;
        let credentials = match (given, &self.docker) {
            (Credentials::Anonymous, Some((config, path))) => {
                credentials::from_docker(config, path, &reference.registry)?
            }
            (given, _) => given,
        };
        Repository::new(self.session.clone(), reference.clone(), usage, credentials)
    }

    /// The repository of the source, where it is read.
    fn source(&self) -> Result<Repository, Error> {
        let reference = Reference::parse(&self.request.source)?;
        self.check(&reference, PULL)?;
        self.repository(&reference, Use::Pull, &self.request.source_login)
    }

    /// The repository of the destination, where it is written.
    fn destination(&self) -> Result<Repository, Error> {
        let reference = Reference::parse(&self.request.destination)?;
        self.check(&reference, PUSH)?;
        self.repository(&reference, Use::Push, &self.request.destination_login)
    }

    /// The image of a reference; that of the platform where one was asked for.
    async fn resolve(&self, repository: &Repository) -> Result<Manifest, Error> {
        let manifest = repository.manifest(&repository.reference.selector()).await?;
        let Some(platform) = &self.platform else { return Ok(manifest) };
        let what = repository.reference.to_string();
        if manifest.kind == Kind::Index {
            let child = manifest.choose(platform, &what)?;
            return repository.manifest(&child.digest.to_string()).await;
        }
        let config = json(&small_blob(repository, &manifest.config(&what)?).await?, &what)?;
        match Platform::of(&config) {
            Some(own) if !platform.accepts(&own) => Err(error(
                ErrorCode::NotFound,
                format!("{what}: the image is for {}, not for {platform}", own.to_string().escape_debug()),
            )),
            _ => Ok(manifest),
        }
    }

    async fn copy(&self) -> Result<Value, Error> {
        let (source, mut destination) = (self.source()?, self.destination()?);
        let root = self.resolve(&source).await?;
        agree(&destination.reference, &root)?;
        take_over(&source, &mut destination);
        let reference = destination.reference.clone();
        let (source, target) = (Source::Registry(Arc::new(source)), Target::Registry(Arc::new(destination)));
        let transfer = Transfer::new(self.session.clone(), source, target);
        transfer.image(&root, &reference).await?;
        Ok(with_counts(root.about(), &transfer))
    }

    async fn tag(&self) -> Result<Value, Error> {
        let tag = &self.request.destination;
        if !is_tag(tag) {
            return Err(invalid(format!(
                "oci.tag: '{}' is not a tag; name the new tag only, without the repository",
                tag.escape_debug()
            )));
        }
        let source = self.source()?;
        let reference = Reference { tag: Some(tag.clone()), digest: None, ..source.reference.clone() };
        self.check(&reference, PUSH)?;
        let target = self.repository(&reference, Use::Push, &self.request.source_login)?;
        let manifest = source.manifest(&source.reference.selector()).await?;
        target.put_manifest(&manifest, tag).await?;
        Ok(manifest.about())
    }

    async fn manifest(&self) -> Result<Value, Error> {
        let manifest = self.resolve(&self.source()?).await?;
        let mut about = manifest.about();
        about["raw"] = String::from_utf8_lossy(&manifest.raw).into();
        Ok(json!({ "manifest": manifest.json, "about": about }))
    }

    async fn config(&self) -> Result<Value, Error> {
        let source = self.source()?;
        let manifest = self.resolve(&source).await?;
        let config = one_image(&manifest, &source.reference)?;
        json(&small_blob(&source, &config).await?, &source.reference.to_string())
    }

    async fn tags(&self) -> Result<Value, Error> {
        Ok(json!(self.source()?.tags().await?))
    }

    async fn digest(&self) -> Result<Value, Error> {
        let source = self.source()?;
        if self.platform.is_none()
            && let Some(told) = source.digest(&source.reference.selector()).await?
        {
            if let Some(asked) = &source.reference.digest
                && *asked != told
            {
                let reference = &source.reference;
                return Err(invalid_data(format!(
                    "{reference}: the registry says that its digest is {told}"
                )));
            }
            return Ok(json!(told.to_string()));
        }
        Ok(json!(self.resolve(&source).await?.digest.to_string()))
    }

    async fn pull(&self) -> Result<Value, Error> {
        let source = self.source()?;
        let layout = Layout::create(self.session.run.clone(), &self.request.destination)?;
        let root = self.resolve(&source).await?;
        let mut reference = source.reference.clone();
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some(reference.selector());
        }
        let source = Source::Registry(Arc::new(source));
        let transfer = Transfer::new(self.session.clone(), source, Target::Layout(layout));
        transfer.image(&root, &reference).await?;
        Ok(with_counts(root.about(), &transfer))
    }

    async fn push(&self) -> Result<Value, Error> {
        let destination = self.destination()?;
        let layout = Layout::open(self.session.run.clone(), &self.request.source).await?;
        let mut root = layout.root(self.request.name.as_deref()).await?;
        if let Some(platform) = &self.platform
            && root.kind == Kind::Index
        {
            let child = root.choose(platform, &self.request.source)?;
            let media_type = Some(child.media_type.as_str()).filter(|text| !text.is_empty());
            root = layout.manifest(&child.digest, media_type).await?;
        }
        agree(&destination.reference, &root)?;
        let reference = destination.reference.clone();
        let target = Target::Registry(Arc::new(destination));
        let transfer = Transfer::new(self.session.clone(), Source::Layout(layout), target);
        transfer.image(&root, &reference).await?;
        Ok(with_counts(root.about(), &transfer))
    }

    async fn mutate(&self) -> Result<Value, Error> {
        let (source, mut destination) = (self.source()?, self.destination()?);
        if destination.reference.digest.is_some() {
            return Err(invalid("oci.mutate: the digest of the new image is not known yet; name a tag"));
        }
        let changes = Changes::parse(&self.request.changes)?;
        let files = layer::plan(self.request.files.clone())?;
        if files.is_empty() && changes.is_empty() {
            return Err(invalid("oci.mutate: there are no files to add and nothing to change"));
        }
        let image = self.resolve(&source).await?;
        let what = source.reference.to_string();
        let config_blob = one_image(&image, &source.reference)?;
        let config = json(&small_blob(&source, &config_blob).await?, &what)?;
        let layer = if files.is_empty() { None } else { Some(self.build(files).await?) };
        let layer_blob = layer.as_ref().map(|layer| Descriptor {
            media_type: if image.is_docker() { DOCKER_LAYER } else { OCI_LAYER }.into(),
            digest: layer.digest.clone(),
            size: layer.size,
            platform: None,
        });
        if let Some(blob) = &layer_blob {
            self.session.check_size(blob.size, "the new layer")?;
        }
        let diff_id = layer.as_ref().map(|layer| &layer.diff_id);
        let config = Bytes::from(changes.config(config, diff_id, &what)?.to_string());
        let new_config = Descriptor { digest: Digest::of(&config), size: config.len() as u64, ..config_blob };
        let manifest = changes.manifest(&image, &new_config, layer_blob.as_ref(), &what)?;

        take_over(&source, &mut destination);
        let reference = destination.reference.clone();
        let destination = Arc::new(destination);
        let target = Target::Registry(destination.clone());
        let transfer = Transfer::new(self.session.clone(), Source::Registry(Arc::new(source)), target);
        let mut layers = image.blobs(&what)?;
        // The old configuration is not part of the new image.
        layers.remove(0);
        layers.sort_by(|a, b| a.digest.cmp(&b.digest));
        layers.dedup_by(|a, b| a.digest == b.digest);
        transfer.blobs(layers).await?;
        // What is new can be taken over from nowhere.
        let target = self.repository(&reference, Use::Push, &self.request.destination_login)?;
        send_blob(&target, &new_config, || Ok(Payload::Data(config.clone()))).await?;
        if let (Some(layer), Some(blob)) = (&layer, &layer_blob) {
            send_blob(&target, blob, || {
                let handle = self.session.client.handle(&self.session.run)?;
                let feed = FileFeed::new(layer.file.clone(), 0, layer.size, "the new layer".into(), handle);
                Ok(Payload::Feed(Box::new(feed), layer.size))
            })
            .await?;
        }
        target.put_manifest(&manifest, &reference.label()).await?;
        let mut about = with_counts(manifest.about(), &transfer);
        if let Some(layer) = &layer {
            about["layer"] = layer.digest.to_string().into();
        }
        Ok(about)
    }

    async fn build(&self, files: layer::Files) -> Result<Layer, Error> {
        /// Ends the work where nobody waits for it any more.
        struct Cancel(Arc<AtomicBool>);
        impl Drop for Cancel {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let guard = Cancel(Arc::default());
        let (run, cancelled) = (self.session.run.clone(), guard.0.clone());
        off_thread(move || layer::build(&run, &files, &|| cancelled.load(Ordering::Relaxed))).await
    }
}

fn pem(content: Content) -> Pem {
    match content {
        Content::Data(text) => Pem::Text(text),
        Content::File(path) => Pem::File(path),
    }
}

fn json(data: &[u8], what: &str) -> Result<Value, Error> {
    serde_json::from_slice(data)
        .map_err(|why| invalid_data(format!("{what}: the configuration is not JSON: {why}")))
}

/// Blobs are taken over where both repositories are in one registry, whatever way leads there.
fn take_over(source: &Repository, destination: &mut Repository) {
    if source.root == destination.root && source.reference.repository != destination.reference.repository {
        destination.from = Some(source.reference.repository.clone());
    }
}

/// A digest in the name of the destination must be that of the image.
fn agree(reference: &Reference, manifest: &Manifest) -> Result<(), Error> {
    match &reference.digest {
        Some(digest) if *digest != manifest.digest => Err(invalid(format!(
            "{reference}: the image has another digest, {}; name a tag",
            manifest.digest
        ))),
        _ => Ok(()),
    }
}

fn with_counts(mut about: Value, transfer: &Transfer) -> Value {
    about["blobs"] = transfer.counts.json();
    about
}

/// The configuration of what must be one image.
fn one_image(manifest: &Manifest, reference: &Reference) -> Result<Descriptor, Error> {
    let what = reference.to_string();
    match manifest.kind {
        Kind::Image => manifest.config(&what),
        Kind::Index => Err(invalid(format!(
            "{what}: it is an index of several images; choose one with the option platform ({})",
            platforms(&manifest.children(&what)?)
        ))),
    }
}
