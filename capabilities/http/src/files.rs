//! The files of requests and downloads: every one goes through the check of `fs`.

use assay_capability_api::types::Error;
use assay_capability_api::{Access, Run, io_error, off_thread};
use assay_capability_fs::{AtomicFile, How};
use std::fs::File;
use std::sync::Arc;

/// Opens a file to send it; gives its length too.
///
/// # Errors
/// `denied`, or the operating system's.
pub async fn open(run: &Arc<Run>, path: String) -> Result<(File, u64), Error> {
    let (run, held) = (run.clone(), run.budget.take(4 * path.len())?);
    off_thread(move || {
        let _held = held;
        let file = assay_capability_fs::open(&run, &path, How { read: true, ..How::default() })?;
        let length = file.metadata().map_err(|failure| io_error(&path, &failure))?.len();
        Ok((file, length))
    })
    .await
}

/// Checks early whether a file may be written, before anything is fetched for it.
///
/// # Errors
/// `denied`.
pub fn check_write(run: &Run, path: &str) -> Result<(), Error> {
    assay_capability_fs::check_written(run, Access::Write, path)
}

/// Starts a file that replaces the one at `path` when it is complete.
///
/// # Errors
/// `denied`, or the operating system's.
pub async fn create(run: &Arc<Run>, path: String) -> Result<AtomicFile, Error> {
    let (run, held) = (run.clone(), run.budget.take(4 * path.len())?);
    off_thread(move || {
        let _held = held;
        AtomicFile::create(&run, &path)
    })
    .await
}
