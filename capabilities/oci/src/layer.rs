//! The layer that `mutate` adds: a tar archive of files, compressed with gzip. The same files give the
//! same bytes.

use crate::bindings::assay::host::oci::{Content, File as Entry};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::failure::invalid;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error, io_error};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::sync::Arc;

/// Files that one layer may be made of.
const MAX_FILES: usize = 10_000;
/// Bytes of a path in an image, as Linux allows.
const MAX_PATH: usize = 4096;

/// Files by their path in the image.
pub type Files = BTreeMap<String, Entry>;

/// A layer in a temporary file that has no name.
pub struct Layer {
    pub file: Arc<File>,
    pub digest: Digest,
    pub size: u64,
    /// The digest of the archive before it was compressed.
    pub diff_id: Digest,
}

/// The path of an entry in the image: relative, without anything that leads out of the root or means
/// something to those who unpack layers.
///
/// # Errors
/// `invalid_argument`, with what is wrong.
fn clean(path: &str) -> Result<String, Error> {
    let wrong = |why: &str| invalid(format!("oci.mutate: the path '{}' {why}", path.escape_debug()));
    if path.len() > MAX_PATH {
        return Err(wrong("is too long"));
    }
    if path.contains('\0') {
        return Err(wrong("has a NUL byte"));
    }
    if path.ends_with('/') {
        return Err(wrong("is a directory; name files"));
    }
    let relative = path.trim_start_matches('/');
    if relative.is_empty() {
        return Err(wrong("is empty"));
    }
    for part in relative.split('/') {
        match part {
            "" | "." | ".." => return Err(wrong("has a part that is empty, '.' or '..'")),
            part if part.starts_with(".wh.") => {
                return Err(wrong(
                    "has a part that begins with '.wh.', which would delete a file of the image",
                ));
            }
            part if part.len() > 255 => return Err(wrong("has a part of more than 255 bytes")),
            _ => {}
        }
    }
    Ok(relative.to_string())
}

/// Checks the files and puts them in order.
///
/// # Errors
/// `invalid_argument` for a path or mode that cannot be used, `limit` for too many files.
pub fn plan(files: Vec<Entry>) -> Result<Files, Error> {
    if files.len() > MAX_FILES {
        return Err(error(ErrorCode::Limit, format!("oci.mutate: more than {MAX_FILES} files")));
    }
    let mut planned = BTreeMap::new();
    for file in files {
        if file.mode > 0o7777 {
            return Err(invalid(format!("oci.mutate: the mode of '{}' is above 0o7777", file.path)));
        }
        let path = clean(&file.path)?;
        if planned.insert(path.clone(), file).is_some() {
            return Err(invalid(format!("oci.mutate: the path '{path}' is given twice")));
        }
    }
    for path in planned.keys() {
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        if let Some(above) = above.into_iter().find(|above| planned.contains_key(*above)) {
            return Err(invalid(format!("oci.mutate: '{above}' is a file and cannot hold '{path}'")));
        }
    }
    Ok(planned)
}

/// Counts and hashes what goes through.
struct Meter<W> {
    inner: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Meter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(data)?;
        self.hasher.update(&data[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Reads only as long as somebody waits for the layer.
struct Watched<'a, R> {
    inner: io::Take<R>,
    run: &'a Run,
    cancelled: &'a dyn Fn() -> bool,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.cancelled)() {
            return Err(io::Error::other("cancelled"));
        }
        let read = self.inner.read(buffer)?;
        self.run.count_bytes(read).map_err(|limit| io::Error::other(limit.message))?;
        Ok(read)
    }
}

fn meter<W: Write>(inner: W) -> Meter<W> {
    Meter { inner, hasher: Hasher::new(Algorithm::Sha256), size: 0 }
}

/// A failure of the archive or its file, which may be that the run's temporary directory is full.
fn unwritten(what: &str, failure: &io::Error) -> Error {
    match failure.kind() {
        io::ErrorKind::StorageFull if failure.raw_os_error().is_none() => {
            error(ErrorCode::Limit, format!("{what}: {failure}"))
        }
        _ => io_error(what, failure),
    }
}

/// Writes the layer. Blocks; ends early where `cancelled` says so.
///
/// # Errors
/// `denied` or the operating system's for files, `limit` where the run may not read as much.
pub fn build(run: &Arc<Run>, files: &Files, cancelled: &dyn Fn() -> bool) -> Result<Layer, Error> {
    let file = assay_capability_fs::temp_file(run)?;
    let gzip = GzEncoder::new(meter(BufWriter::new(file.clone())), Compression::default());
    let mut builder = tar::Builder::new(meter(gzip));
    for (path, entry) in files {
        let failed = |failure: io::Error| unwritten(&format!("oci.mutate: adding '{path}'"), &failure);
        let mut header = tar::Header::new_ustar();
        header.set_mode(entry.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        match &entry.content {
            Content::Data(data) => {
                header.set_size(data.len() as u64);
                builder.append_data(&mut header, path, data.as_slice()).map_err(failed)?;
            }
            Content::File(source) => {
                let source_file = assay_capability_fs::open_read(run, source)?;
                let about = source_file.metadata().map_err(|failure| io_error(source, &failure))?;
                if !about.is_file() {
                    return Err(invalid(format!("oci.mutate: {source} is not a regular file")));
                }
                header.set_size(about.len());
                let mut data = Watched { inner: source_file.take(about.len()), run, cancelled };
                builder.append_data(&mut header, path, &mut data).map_err(failed)?;
                if data.inner.limit() > 0 {
                    return Err(error(
                        ErrorCode::Io,
                        format!("oci.mutate: {source} became shorter while it was read"),
                    ));
                }
            }
        }
    }
    let failed = |failure: io::Error| unwritten("writing the layer", &failure);
    let tar = builder.into_inner().map_err(failed)?;
    let diff_id = tar.hasher.finish();
    let mut packed = tar.inner.finish().map_err(failed)?;
    packed.flush().map_err(failed)?;
    Ok(Layer { file: file.file().clone(), digest: packed.hasher.finish(), size: packed.size, diff_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Entry {
        Entry { path: path.into(), content: Content::Data(Vec::new()), mode: 0o644 }
    }

    #[test]
    fn paths_stay_in_the_image() {
        for (path, wanted) in [("a", "a"), ("/etc/app.conf", "etc/app.conf"), ("a..b/..c", "a..b/..c")] {
            assert_eq!(clean(path).unwrap(), wanted);
        }
        for path in
            ["", "/", "..", "../x", "a/../b", "a/..", "./a", "a//b", "a/", "a\0b", ".wh.a", "a/.wh..wh..opq"]
        {
            assert_eq!(clean(path).unwrap_err().code, ErrorCode::InvalidArgument, "{path}");
        }
        assert!(clean(&"a/".repeat(3000)).is_err());
        assert!(clean(&"a".repeat(256)).is_err());
    }

    #[test]
    fn files_do_not_clash() {
        assert_eq!(plan(vec![]).unwrap().len(), 0);
        assert!(plan(vec![entry("a"), entry("/a")]).is_err());
        assert!(plan(vec![entry("a/b"), entry("a")]).is_err());
        assert!(plan(vec![Entry { mode: 0o10000, ..entry("a") }]).is_err());
        assert_eq!(plan(vec![entry("b"), entry("/a/c"), entry("a/b")]).unwrap().len(), 3);
    }
}
