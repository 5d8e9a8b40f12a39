//! Files that are read as a whole, within a bound: each goes through the check of `fs`.

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Held, Run, error, io_error, off_thread};
use std::io::Read;
use std::sync::Arc;

/// Bytes that are read at a time beyond the length that a file says it has.
const PIECE: usize = 16 << 10;

/// Reads a small file; gives what it takes of the run's budget too.
///
/// # Errors
/// `denied`, the operating system's, or `limit` where it has more than `most` bytes.
pub async fn read(run: &Arc<Run>, path: String, most: u64) -> Result<(Vec<u8>, Held), Error> {
    let (run, held) = (run.clone(), run.budget.take(4 * path.len())?);
    off_thread(move || read_into(&run, &path, most, held)).await
}

/// The same on this thread, which it blocks.
///
/// # Errors
/// As for [`read`].
pub fn read_blocking(run: &Run, path: &str, most: u64) -> Result<(Vec<u8>, Held), Error> {
    read_into(run, path, most, run.budget.nothing())
}

fn read_into(run: &Run, path: &str, most: u64, mut held: Held) -> Result<(Vec<u8>, Held), Error> {
    let file = assay_capability_fs::open_read(run, path)?;
    let length = file.metadata().map_err(|failure| io_error(path, &failure))?.len();
    if length > most {
        return Err(too_long(path, most));
    }
    let mut data = Vec::new();
    // One more byte shows the end. It is not where it was said to be where the file grows, or belongs to the kernel.
    let mut piece = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(1);
    loop {
        held.grow(piece)?;
        data.reserve_exact(piece);
        let read = (&file).take(piece as u64).read_to_end(&mut data);
        let read = read.map_err(|failure| io_error(path, &failure))?;
        if data.len() as u64 > most {
            return Err(too_long(path, most));
        }
        if read < piece {
            held.shrink(piece - read);
            return Ok((data, held));
        }
        piece = PIECE;
    }
}

fn too_long(path: &str, most: u64) -> Error {
    error(ErrorCode::Limit, format!("{path}: the file has more than {most} bytes"))
}
