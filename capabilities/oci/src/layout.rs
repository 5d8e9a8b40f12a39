//! Images on disk: the OCI image layout, as a directory or as an uncompressed tar archive of one.

use crate::archive::{self, Entries};
use crate::digest::Digest;
use crate::failure::{invalid, invalid_data, unsupported};
use crate::feed::FileFeed;
use crate::files;
use crate::manifest::{Descriptor, MAX_MANIFEST, Manifest};
use crate::reference::Reference;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{HandleGuard, Run, off_thread};
use bytes::Bytes;
use serde_json::{Value, json};
use std::fs::File;
use std::sync::Arc;

const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole name, where tools of containerd and docker put it.
const IMAGE_NAME: &str = "io.containerd.image.name";
const VERSION: &str = "1.0.0";
/// Entries that an index of a layout may have.
const MAX_ENTRIES: usize = 1000;

/// Where a layout is read from or written to.
pub struct Layout {
    run: Arc<Run>,
    path: String,
    /// The archive, where it is one, and its entries.
    archive: Option<(Arc<File>, Entries)>,
}

/// The path of a blob in a layout. A digest has no characters that mean anything in a path.
fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm.name(), digest.hex)
}

impl Layout {
    /// A layout that is written, in a directory that may not be there yet.
    ///
    /// # Errors
    /// `denied`, `invalid_argument`.
    pub fn create(run: Arc<Run>, path: &str) -> Result<Layout, Error> {
        if path.is_empty() {
            return Err(invalid("oci: the directory's path is empty"));
        }
        files::check_write(&run, path)?;
        Ok(Layout { run, path: path.trim_end_matches('/').to_string(), archive: None })
    }

    /// A layout that is read: a directory, or an archive.
    ///
    /// # Errors
    /// `denied`, the operating system's, `invalid_data` where it is no layout, `unsupported` for archives that
    /// are compressed or have docker's older form.
    pub async fn open(run: Arc<Run>, path: &str) -> Result<Layout, Error> {
        let (owner, shown) = (run.clone(), path.to_string());
        let is_directory = off_thread(move || {
            let place = assay_capability_fs::open_path(&owner, assay_capability_api::Access::Read, &shown)?;
            let about = File::from(place).metadata();
            Ok(about.map_err(|failure| assay_capability_api::io_error(&shown, &failure))?.is_dir())
        })
        .await?;
        let archive = match is_directory {
            true => None,
            false => {
                let (file, length) = files::open(&run, path).await?;
                let (handle, shown) = (file.clone(), path.to_string());
                let entries = off_thread(move || archive::entries(&handle, length, &shown)).await?;
                Some((file, entries))
            }
        };
        let layout = Layout { run, path: path.trim_end_matches('/').to_string(), archive };
        layout.check().await?;
        Ok(layout)
    }

    async fn check(&self) -> Result<(), Error> {
        let text = match self.read("oci-layout", MAX_MANIFEST).await {
            Ok(text) => text,
            Err(failure) if failure.code == ErrorCode::NotFound => {
                let older =
                    matches!(&self.archive, Some((_, entries)) if entries.contains_key("manifest.json"));
                return Err(match older {
                    true => unsupported(format!(
                        "{}: it is an archive of docker's older form; save it again with a docker from 25 on, \
                         which writes an OCI image layout",
                        self.path
                    )),
                    false => {
                        invalid_data(format!("{}: it is no OCI image layout (no file oci-layout)", self.path))
                    }
                });
            }
            Err(failure) => return Err(failure),
        };
        let version = serde_json::from_slice::<Value>(&text).ok();
        let version = version.as_ref().and_then(|json| json.get("imageLayoutVersion")?.as_str());
        match version {
            Some(VERSION) => Ok(()),
            other => Err(unsupported(format!(
                "{}: the layout has version {}, not {VERSION}",
                self.path,
                other.unwrap_or("none").escape_debug()
            ))),
        }
    }

    fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    async fn read(&self, name: &str, most: u64) -> Result<Vec<u8>, Error> {
        let Some((file, entries)) = &self.archive else {
            return files::read(&self.run, &self.place(name), most).await;
        };
        let shown = format!("{} in {}", name, self.path);
        let (at, length) = entries.get(name).copied().ok_or_else(|| missing(&shown))?;
        if length > most {
            return Err(assay_capability_api::error(
                ErrorCode::Limit,
                format!("{shown}: it has more than {most} bytes"),
            ));
        }
        let (file, run) = (file.clone(), self.run.clone());
        off_thread(move || {
            use std::os::unix::fs::FileExt;
            let mut data = vec![0; usize::try_from(length).unwrap_or_default()];
            file.read_exact_at(&mut data, at)
                .map_err(|failure| assay_capability_api::io_error(&shown, &failure))?;
            run.count_bytes(data.len())?;
            Ok(data)
        })
        .await
    }

    /// A manifest of the layout, verified.
    ///
    /// # Errors
    /// `not_found`, `invalid_data`, and those of files.
    pub async fn manifest(&self, digest: &Digest, media_type: Option<&str>) -> Result<Manifest, Error> {
        let raw = self.read(&blob_path(digest), MAX_MANIFEST).await?;
        Manifest::parse(raw.into(), media_type, Some(digest), &format!("{} in {}", digest, self.path))
    }

    /// The content of a blob, not verified yet.
    ///
    /// # Errors
    /// `not_found`, `invalid_data` where it has another size, and those of files.
    pub async fn blob(&self, blob: &Descriptor, handle: HandleGuard) -> Result<FileFeed, Error> {
        let name = blob_path(&blob.digest);
        let shown = format!("{name} in {}", self.path);
        let (file, at, length) = match &self.archive {
            Some((file, entries)) => {
                let (at, length) = entries.get(&name).copied().ok_or_else(|| missing(&shown))?;
                (file.clone(), at, length)
            }
            None => {
                let (file, length) = files::open(&self.run, &self.place(&name)).await?;
                (file, 0, length)
            }
        };
        if length != blob.size {
            return Err(invalid_data(format!("{shown}: the blob has {length} bytes, not {}", blob.size)));
        }
        Ok(FileFeed::new(file, at, length, shown.into(), handle))
    }

    /// The image of the layout: the one there is, or the one called `name`.
    ///
    /// # Errors
    /// `invalid_data` where the index cannot be understood, `not_found` with the names that there are,
    /// `invalid_argument` where a name is needed.
    pub async fn root(&self, name: Option<&str>) -> Result<Manifest, Error> {
        let what = format!("index.json in {}", self.path);
        let index: Value = serde_json::from_slice(&self.read("index.json", MAX_MANIFEST).await?)
            .map_err(|why| invalid_data(format!("{what}: it is not JSON: {why}")))?;
        let entries = index.get("manifests").and_then(Value::as_array);
        let entries = entries.filter(|entries| entries.len() <= MAX_ENTRIES).ok_or_else(|| {
            invalid_data(format!("{what}: it has no list of at most {MAX_ENTRIES} manifests"))
        })?;
        let names = || {
            let names: Vec<&str> = entries.iter().flat_map(names_of).take(20).collect();
            if names.is_empty() {
                "none with a name".into()
            } else {
                names.join(", ").escape_debug().to_string()
            }
        };
        let entry = match (name, entries.as_slice()) {
            (None, [one]) => one,
            (None, []) => return Err(invalid_data(format!("{what}: it lists no image"))),
            (None, _) => {
                return Err(invalid(format!(
                    "{what}: it lists {} images; choose one with the option name ({})",
                    entries.len(),
                    names()
                )));
            }
            (Some(name), _) => {
                entries.iter().find(|entry| names_of(entry).any(|own| own == name)).ok_or_else(|| {
                    assay_capability_api::error(
                        ErrorCode::NotFound,
                        format!("{what}: there is no image '{}', but {}", name.escape_debug(), names()),
                    )
                })?
            }
        };
        let entry = Descriptor::parse(entry, &what)?;
        let media_type = Some(entry.media_type.as_str()).filter(|text| !text.is_empty());
        self.manifest(&entry.digest, media_type).await
    }

    /// Whether a blob is in the directory already.
    pub async fn has_blob(&self, blob: &Descriptor) -> bool {
        files::is_blob(&self.run, &self.place(&blob_path(&blob.digest)), &blob.digest, blob.size).await
    }

    pub fn blob_place(&self, digest: &Digest) -> String {
        self.place(&blob_path(digest))
    }

    /// # Errors
    /// Those of files.
    pub async fn put_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        files::write(&self.run, self.blob_place(&manifest.digest), manifest.raw.clone()).await
    }

    /// Lists an image in the layout's index, in place of the one that had its name.
    ///
    /// # Errors
    /// Those of files; `invalid_data` where there is an index that cannot be understood.
    pub async fn list(&self, manifest: &Manifest, reference: &Reference) -> Result<(), Error> {
        let mut annotations = serde_json::Map::new();
        if let Some(tag) = &reference.tag {
            annotations.insert(REF_NAME.into(), tag.clone().into());
            annotations.insert(IMAGE_NAME.into(), format!("{}:{tag}", reference.name()).into());
        }
        let mut entry = manifest.descriptor().json();
        if !annotations.is_empty() {
            entry["annotations"] = Value::Object(annotations);
        }
        let mut entries = self.listed().await?;
        let name = |entry: &Value| entry.pointer(&format!("/annotations/{IMAGE_NAME}")).cloned();
        entries.retain(|other| match name(&entry) {
            Some(own) => name(other) != Some(own),
            None => other.get("digest") != entry.get("digest") || name(other).is_some(),
        });
        entries.push(entry);
        let index = json!({
            "schemaVersion": 2,
            "mediaType": crate::manifest::OCI_INDEX,
            "manifests": entries,
        });
        let layout = json!({ "imageLayoutVersion": VERSION });
        self.write("oci-layout", &layout).await?;
        self.write("index.json", &index).await
    }

    async fn listed(&self) -> Result<Vec<Value>, Error> {
        let path = self.place("index.json");
        if !files::may_read(&self.run, &path) {
            return Ok(Vec::new());
        }
        let text = match files::read(&self.run, &path, MAX_MANIFEST).await {
            Ok(text) => text,
            Err(failure) if failure.code == ErrorCode::NotFound => return Ok(Vec::new()),
            Err(failure) => return Err(failure),
        };
        let index: Value = serde_json::from_slice(&text).unwrap_or_default();
        match index.get("manifests") {
            Some(Value::Array(entries)) if entries.len() < MAX_ENTRIES => Ok(entries.clone()),
            _ => Err(invalid_data(format!(
                "{path}: it is not the index of a layout, or lists {MAX_ENTRIES} images; choose another directory"
            ))),
        }
    }

    async fn write(&self, name: &str, json: &Value) -> Result<(), Error> {
        files::write(&self.run, self.place(name), Bytes::from(json.to_string())).await
    }
}

fn missing(shown: &str) -> Error {
    assay_capability_api::error(ErrorCode::NotFound, format!("{shown}: there is no such entry"))
}

/// The names that an entry of an index has.
fn names_of(entry: &Value) -> impl Iterator<Item = &str> {
    let annotations = entry.get("annotations");
    [IMAGE_NAME, REF_NAME]
        .into_iter()
        .filter_map(move |name| annotations.and_then(|annotations| annotations.get(name)?.as_str()))
}
