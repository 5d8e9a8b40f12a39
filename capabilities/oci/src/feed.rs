//! Blobs on their way: read piece by piece, and verified before their last piece is handed on.

use crate::digest::{Digest, Hasher};
use crate::failure::invalid_data;
use crate::manifest::Descriptor;
use crate::registry::{STALL, stalled};
use crate::session::Progress;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{HandleGuard, OffThread, error, io_error, off_thread};
use assay_capability_http::client::Feed;
use bytes::Bytes;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep};

/// Bytes of a file that are read at a time.
const PIECE: usize = 256 << 10;

/// Part of a file. Reading happens on threads that may block, a piece at a time.
pub struct FileFeed {
    file: Arc<File>,
    at: u64,
    left: u64,
    shown: Arc<str>,
    reading: Option<OffThread<Bytes>>,
    handle: HandleGuard,
}

impl FileFeed {
    pub fn new(file: Arc<File>, at: u64, length: u64, shown: Arc<str>, handle: HandleGuard) -> FileFeed {
        FileFeed { file, at, left: length, shown, reading: None, handle }
    }
}

impl Feed for FileFeed {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        if self.left == 0 {
            return Poll::Ready(Ok(None));
        }
        let reading = self.reading.get_or_insert_with(|| {
            let (file, at, budget) = (self.file.clone(), self.at, self.handle.run().budget.clone());
            let most = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
            let shown = self.shown.clone();
            off_thread(move || {
                let held = budget.take(most)?;
                let mut piece = vec![0; most];
                let length = file.read_at(&mut piece, at).map_err(|failure| io_error(&shown, &failure))?;
                piece.truncate(length);
                Ok(held.with(piece))
            })
        });
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        let piece = read?;
        if piece.is_empty() {
            return Poll::Ready(Err(invalid_data(format!("{}: the file ends too early", self.shown))));
        }
        self.at += piece.len() as u64;
        self.left -= piece.len() as u64;
        Poll::Ready(Ok(Some(piece)))
    }
}

/// A blob that must be what its descriptor says.
pub struct Verified {
    inner: Box<dyn Feed>,
    hasher: Option<Hasher>,
    digest: Digest,
    size: u64,
    left: u64,
    progress: Arc<Progress>,
    /// Kept in the progress: the attempt succeeded.
    kept: bool,
    stall: Pin<Box<Sleep>>,
    what: String,
}

impl Verified {
    pub fn new(inner: Box<dyn Feed>, blob: &Descriptor, progress: Arc<Progress>, what: String) -> Verified {
        Verified {
            inner,
            hasher: Some(Hasher::new(blob.digest.algorithm)),
            digest: blob.digest.clone(),
            size: blob.size,
            left: blob.size,
            progress,
            kept: false,
            stall: Box::pin(tokio::time::sleep(STALL)),
            what,
        }
    }

    /// The next piece; none at the end, which is as the descriptor says.
    ///
    /// # Errors
    /// Those of the source; `invalid_data` where it is another blob.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        poll_fn(|context| self.poll(context)).await
    }

    fn finish(&mut self) -> Result<(), Error> {
        match self.hasher.take() {
            Some(hasher) => {
                self.digest.compare(&hasher.finish(), &self.what)?;
                self.kept = true;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Feed for Verified {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        let piece = match self.inner.poll(context) {
            Poll::Ready(piece) => piece?,
            Poll::Pending => {
                ready!(self.stall.as_mut().poll(context));
                return Poll::Ready(Err(stalled(&self.what)));
            }
        };
        let Some(piece) = piece else {
            if self.left > 0 {
                return Poll::Ready(Err(error(
                    ErrorCode::Unavailable,
                    format!("{}: the blob ended {} bytes too early", self.what, self.left),
                )));
            }
            self.finish()?;
            return Poll::Ready(Ok(None));
        };
        let length = piece.len() as u64;
        if length > self.left {
            return Poll::Ready(Err(invalid_data(format!(
                "{}: the blob has more than the {} bytes that the manifest says",
                self.what, self.size
            ))));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        self.left -= length;
        self.progress.add(length);
        self.stall.as_mut().reset(Instant::now() + STALL);
        if self.left == 0 {
            self.finish()?;
        }
        Poll::Ready(Ok(Some(piece)))
    }
}

impl Drop for Verified {
    fn drop(&mut self) {
        if !self.kept {
            self.progress.take_back(self.size - self.left);
        }
    }
}
