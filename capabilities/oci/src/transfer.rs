//! Moving an image with all that belongs to it: from a registry or a layout, to a registry or a layout.

use crate::digest::Digest;
use crate::failure::{Trouble, invalid_data};
use crate::feed::Verified;
use crate::files;
use crate::layout::Layout;
use crate::manifest::{Descriptor, Kind, Manifest};
use crate::reference::Reference;
use crate::registry::Repository;
use crate::session::Session;
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_http::client::{Feed, Payload};
use bytes::Bytes;
use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

/// Blobs on their way at a time.
const PARALLEL: usize = 4;
/// Indexes in indexes.
const MAX_DEPTH: usize = 4;
/// Manifests of one image, and their bytes.
const MAX_MANIFESTS: usize = 1000;
const MAX_BYTES: usize = 64 << 20;

pub enum Source {
    Registry(Arc<Repository>),
    Layout(Layout),
}

pub enum Target {
    Registry(Arc<Repository>),
    Layout(Layout),
}

/// A blob on its way.
type Moving<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// What became of the blobs.
#[derive(Default)]
pub struct Counts {
    copied: AtomicU64,
    mounted: AtomicU64,
    present: AtomicU64,
    bytes: AtomicU64,
}

impl Counts {
    pub fn json(&self) -> serde_json::Value {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        serde_json::json!({
            "copied": get(&self.copied),
            "mounted": get(&self.mounted),
            "present": get(&self.present),
            "bytes": get(&self.bytes),
        })
    }
}

pub struct Transfer {
    pub session: Arc<Session>,
    pub source: Source,
    pub target: Target,
    pub counts: Counts,
}

impl Source {
    fn name(&self) -> String {
        match self {
            Source::Registry(repository) => repository.reference.name(),
            Source::Layout(_) => "the layout".into(),
        }
    }

    async fn manifest(&self, child: &Descriptor) -> Result<Manifest, Error> {
        match self {
            Source::Registry(repository) => repository.manifest(&child.digest.to_string()).await,
            Source::Layout(layout) => {
                let media_type = Some(child.media_type.as_str()).filter(|text| !text.is_empty());
                layout.manifest(&child.digest, media_type).await
            }
        }
    }

    async fn open(&self, session: &Session, blob: &Descriptor) -> Result<Box<dyn Feed>, Trouble> {
        Ok(match self {
            Source::Registry(repository) => Box::new(repository.open_blob(blob).await?),
            Source::Layout(layout) => {
                Box::new(layout.blob(blob, session.client.handle(&session.run)?).await?)
            }
        })
    }
}

impl Transfer {
    pub fn new(session: Arc<Session>, source: Source, target: Target) -> Transfer {
        Transfer { session, source, target, counts: Counts::default() }
    }

    /// Moves `root` and whatever it names, blobs first, and at last `root` itself under the reference.
    ///
    /// # Errors
    /// Those of the source and the target. What was moved before stays where it is, without a name.
    pub async fn image(&self, root: &Manifest, reference: &Reference) -> Result<(), Error> {
        let manifests = self.collect(root).await?;
        let mut blobs = Vec::new();
        let mut seen = HashSet::new();
        for manifest in std::iter::once(root).chain(&manifests) {
            if manifest.kind == Kind::Image {
                let what = format!("{} in {}", manifest.digest, self.source.name());
                blobs.extend(
                    manifest.blobs(&what)?.into_iter().filter(|blob| seen.insert(blob.digest.clone())),
                );
            }
        }
        self.blobs(blobs).await?;
        // What is named comes before what names it.
        for manifest in manifests.iter().rev() {
            self.put(manifest, &manifest.digest.to_string()).await?;
        }
        match &self.target {
            Target::Registry(_) => self.put(root, &reference.label()).await,
            Target::Layout(layout) => {
                layout.put_manifest(root).await?;
                layout.list(root, reference).await
            }
        }
    }

    async fn put(&self, manifest: &Manifest, selector: &str) -> Result<(), Error> {
        match &self.target {
            Target::Registry(repository) => repository.put_manifest(manifest, selector).await,
            Target::Layout(layout) => layout.put_manifest(manifest).await,
        }
    }

    /// The manifests below an index, each after the one that names it.
    async fn collect(&self, root: &Manifest) -> Result<Vec<Manifest>, Error> {
        let mut found: Vec<Manifest> = Vec::new();
        let mut seen: HashSet<Digest> = HashSet::from([root.digest.clone()]);
        let mut level = self.children(root)?;
        let mut bytes = root.raw.len();
        for _ in 0..MAX_DEPTH {
            let mut next = Vec::new();
            for child in level {
                if !seen.insert(child.digest.clone()) {
                    continue;
                }
                let manifest = self.manifest(&child).await?;
                bytes += manifest.raw.len();
                if found.len() >= MAX_MANIFESTS || bytes > MAX_BYTES {
                    return Err(error(
                        ErrorCode::Limit,
                        format!(
                            "{}: more than {MAX_MANIFESTS} manifests, or {MAX_BYTES} bytes of them",
                            self.source.name()
                        ),
                    ));
                }
                next.extend(self.children(&manifest)?);
                found.push(manifest);
            }
            if next.is_empty() {
                return Ok(found);
            }
            level = next;
        }
        Err(error(
            ErrorCode::Limit,
            format!("{}: indexes are nested deeper than {MAX_DEPTH}", self.source.name()),
        ))
    }

    fn children(&self, manifest: &Manifest) -> Result<Vec<Descriptor>, Error> {
        match manifest.kind {
            Kind::Image => Ok(Vec::new()),
            Kind::Index => manifest.children(&format!("{} in {}", manifest.digest, self.source.name())),
        }
    }

    async fn manifest(&self, child: &Descriptor) -> Result<Manifest, Error> {
        let manifest = self.source.manifest(child).await?;
        if manifest.raw.len() as u64 != child.size {
            return Err(invalid_data(format!(
                "{} in {}: the manifest has {} bytes, not {} as the index says",
                child.digest,
                self.source.name(),
                manifest.raw.len(),
                child.size
            )));
        }
        Ok(manifest)
    }

    /// Moves blobs, several at a time. The first failure ends all.
    ///
    /// # Errors
    /// That failure.
    pub async fn blobs(&self, blobs: Vec<Descriptor>) -> Result<(), Error> {
        for blob in &blobs {
            self.session.check_size(blob.size, &blob.digest.to_string())?;
            self.session.progress.expect(blob.size);
        }
        let mut waiting = blobs.iter();
        // Not tasks of their own: when this call is dropped they are dropped with it, at once.
        let mut running: Vec<Moving<'_>> = Vec::new();
        loop {
            while running.len() < PARALLEL
                && let Some(blob) = waiting.next()
            {
                running.push(Box::pin(self.blob(blob)));
            }
            if running.is_empty() {
                return Ok(());
            }
            let (at, result) = poll_fn(|context| {
                for (at, blob) in running.iter_mut().enumerate() {
                    if let Poll::Ready(result) = blob.as_mut().poll(context) {
                        return Poll::Ready((at, result));
                    }
                }
                Poll::Pending
            })
            .await;
            drop(running.swap_remove(at));
            result?;
        }
    }

    async fn blob(&self, blob: &Descriptor) -> Result<(), Error> {
        let what = format!("{} of {}", blob.digest, self.source.name());
        let session = &self.session;
        let there = match &self.target {
            Target::Registry(repository) => repository.has_blob(&blob.digest).await?,
            Target::Layout(layout) => layout.has_blob(blob).await,
        };
        if there {
            self.counts.present.fetch_add(1, Ordering::Relaxed);
            session.progress.add(blob.size);
            return Ok(());
        }
        let what = what.as_str();
        let moved = session
            .retry(|| async move {
                match &self.target {
                    Target::Registry(repository) => {
                        let Some(url) = repository.start_upload(&blob.digest).await? else {
                            return Ok(false);
                        };
                        if blob.size == 0 {
                            blob.digest.verify(b"", what)?;
                            repository.upload(&url, Payload::Empty).await?;
                            return Ok(true);
                        }
                        let feed = self.source.open(session, blob).await?;
                        let feed = Verified::new(feed, blob, session.progress.clone(), what.to_string());
                        repository.upload(&url, Payload::Feed(Box::new(feed), blob.size)).await?;
                    }
                    Target::Layout(layout) => {
                        let feed = self.source.open(session, blob).await?;
                        let feed = Verified::new(feed, blob, session.progress.clone(), what.to_string());
                        files::write_blob(&session.run, layout.blob_place(&blob.digest), feed).await?;
                    }
                }
                Ok(true)
            })
            .await?;
        if moved {
            self.counts.copied.fetch_add(1, Ordering::Relaxed);
            self.counts.bytes.fetch_add(blob.size, Ordering::Relaxed);
        } else {
            self.counts.mounted.fetch_add(1, Ordering::Relaxed);
            session.progress.add(blob.size);
        }
        Ok(())
    }
}

/// Reads a small blob of a registry as a whole: a configuration.
///
/// # Errors
/// Those of the registry; `limit` where it is larger than a configuration may be.
pub async fn small_blob(repository: &Repository, blob: &Descriptor) -> Result<Bytes, Error> {
    use crate::manifest::MAX_MANIFEST;
    let what = format!("{} of {}", blob.digest, repository.reference.name());
    if blob.size > MAX_MANIFEST {
        return Err(error(
            ErrorCode::Limit,
            format!("{what}: the configuration has {} bytes, more than {MAX_MANIFEST}", blob.size),
        ));
    }
    let what = what.as_str();
    repository
        .session
        .retry(|| async move {
            let body = repository.open_blob(blob).await?;
            let data = crate::registry::whole(body, blob.size, what).await?;
            blob.digest.verify(&data, what)?;
            Ok(data)
        })
        .await
}

/// Sends a blob that is in memory, or in a file, to a registry that may have it.
///
/// # Errors
/// Those of the registry.
pub async fn send_blob(
    repository: &Repository,
    blob: &Descriptor,
    open: impl Fn() -> Result<Payload, Error>,
) -> Result<(), Error> {
    if repository.has_blob(&blob.digest).await? {
        return Ok(());
    }
    let open = &open;
    repository
        .session
        .retry(|| async move {
            match repository.start_upload(&blob.digest).await? {
                Some(url) => repository.upload(&url, open()?).await,
                None => Ok(()),
            }
        })
        .await
}
