//! Files of the host, each through the check of `fs` and on threads that may block.

use crate::digest::{Digest, Hasher};
use crate::failure::Trouble;
use crate::feed::Verified;
use assay_capability_api::types::Error;
use assay_capability_api::{Access, Request, Run, io_error, off_thread};
use assay_capability_fs::AtomicFile;
use assay_capability_net::file;
use bytes::Bytes;
use std::fs::File;
use std::sync::Arc;

/// Bytes that are gathered before they are written.
const BLOCK: usize = 256 << 10;

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// `denied`, the operating system's, `limit` where it is larger.
pub async fn read(run: &Arc<Run>, path: &str, most: u64) -> Result<Vec<u8>, Error> {
    let (data, _held) = file::read(run, path.to_string(), most).await?;
    run.count_bytes(data.len())?;
    Ok(data)
}

/// Opens a file; gives its length too.
///
/// # Errors
/// `denied`, or the operating system's.
pub async fn open(run: &Arc<Run>, path: &str) -> Result<(Arc<File>, u64), Error> {
    let (run, path) = (run.clone(), path.to_string());
    off_thread(move || {
        let file = assay_capability_fs::open_read(&run, &path)?;
        let length = file.metadata().map_err(|failure| io_error(&path, &failure))?.len();
        Ok((Arc::new(file), length))
    })
    .await
}

/// Whether the script may read a path at all, without asking for it.
pub fn may_read(run: &Run, path: &str) -> bool {
    run.would_allow("fs", &Request::File { access: Access::Read, path: &run.path(path) })
}

/// Checks early whether a path may be written, before anything is fetched for it.
///
/// # Errors
/// `denied`.
pub fn check_write(run: &Run, path: &str) -> Result<(), Error> {
    assay_capability_fs::check_written(run, Access::Write, path)
}

/// Writes a small file as a whole; missing directories are made.
///
/// # Errors
/// `denied`, or the operating system's.
pub async fn write(run: &Arc<Run>, path: String, data: Bytes) -> Result<(), Error> {
    let run = run.clone();
    off_thread(move || {
        run.count_bytes(data.len())?;
        let mut file = AtomicFile::create(&run, &path)?;
        file.write_all(&data)?;
        file.commit()
    })
    .await
}

/// Writes a blob, which is in its place once it is verified.
pub async fn write_blob(run: &Arc<Run>, path: String, mut blob: Verified) -> Result<(), Trouble> {
    let (owner, place) = (run.clone(), path.clone());
    let mut file = off_thread(move || AtomicFile::create(&owner, &place)).await?;
    let mut pending: Vec<Bytes> = Vec::new();
    let mut size = 0;
    loop {
        let piece = blob.next().await?;
        let end = piece.is_none();
        if let Some(piece) = piece {
            size += piece.len();
            pending.push(piece);
        }
        if end || size >= BLOCK {
            let pieces = std::mem::take(&mut pending);
            size = 0;
            file = off_thread(move || {
                for piece in &pieces {
                    file.write_all(piece)?;
                }
                if end {
                    file.commit()?;
                }
                Ok(file)
            })
            .await?;
        }
        if end {
            return Ok(());
        }
    }
}

/// Whether a file is there and has this content. What is not readable is not there.
pub async fn is_blob(run: &Arc<Run>, path: &str, digest: &Digest, size: u64) -> bool {
    if !may_read(run, path) {
        return false;
    }
    let Ok((file, length)) = open(run, path).await else { return false };
    if length != size {
        return false;
    }
    let mut hasher = Hasher::new(digest.algorithm);
    let mut at = 0;
    // In steps, so that it ends when nobody waits any more.
    while at < size {
        let (file, mut own) = (file.clone(), hasher);
        let step = off_thread(move || {
            use std::os::unix::fs::FileExt;
            let mut buffer = vec![0; 1 << 20];
            let read = file.read_at(&mut buffer, at).map_err(|failure| io_error("reading", &failure))?;
            own.update(&buffer[..read]);
            Ok((own, read as u64))
        });
        match step.await {
            Ok((own, read)) if read > 0 => {
                hasher = own;
                at += read;
            }
            _ => return false,
        }
    }
    hasher.finish() == *digest
}
