//! Saving a response to a file.

use crate::bindings::assay::host::http::{FileOptions, Request, Step};
use crate::body::Body;
use crate::errors::invalid;
use crate::exchange::perform;
use crate::files;
use crate::pool::Pool;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error, off_thread};
use assay_capability_fs::AtomicFile;
use bytes::Bytes;
use http::StatusCode;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// Bytes that are gathered before they are written.
const BLOCK: usize = 256 << 10;

/// A download on its way. Dropping it removes the temporary file.
pub struct Download {
    body: Body,
    file: Target,
    /// Read, but not written yet.
    pending: Vec<Bytes>,
    pending_size: usize,
    done: u64,
    expected: Option<[u8; 32]>,
    subject: String,
    path: String,
}

/// What goes to the thread that writes, and comes back.
struct Target {
    file: AtomicFile,
    hash: Option<Sha256>,
}

impl Download {
    /// Sends the request and starts the file.
    ///
    /// # Errors
    /// Those of a request and of a file; for a status from 400 on `not_found`, `permission`, `unavailable`
    /// or `other`.
    pub async fn start(
        run: Arc<Run>,
        pool: Pool,
        mut request: Request,
        path: String,
        options: FileOptions,
    ) -> Result<Download, Error> {
        let expected = options.sha256.as_deref().map(digest).transpose()?;
        files::check_write(&run, &path)?;
        request.max_body = options.max_size;
        let answer = perform(run.clone(), pool, request).await?;
        if answer.status >= 400 {
            return Err(refused(answer.status, &answer.subject));
        }
        let file = files::create(&run, path.clone()).await?;
        let hash = expected.is_some().then(Sha256::new);
        Ok(Download {
            body: answer.body,
            file: Target { file, hash },
            pending: Vec::new(),
            pending_size: 0,
            done: 0,
            expected,
            subject: answer.subject,
            path,
        })
    }

    /// Goes on until the next report is due or the file is complete. Gives the download back while there
    /// is more to come.
    ///
    /// # Errors
    /// Those of a body and of a file; `invalid_data` where the digest is another than expected.
    pub async fn go_on(
        mut self: Box<Self>,
        report_every: Duration,
    ) -> Result<(Step, Option<Box<Self>>), Error> {
        let report = tokio::time::sleep(report_every);
        tokio::pin!(report);
        loop {
            tokio::select! {
                biased;
                () = &mut report, if !report_every.is_zero() => {
                    let progress = Step::Progress((self.done, self.body.length()));
                    return Ok((progress, Some(self)));
                }
                piece = self.body.next() => match piece? {
                    Some(piece) => {
                        self.done += piece.len() as u64;
                        self.pending_size += piece.len();
                        self.pending.push(piece);
                    }
                    None => {
                        let done = self.done;
                        self.finish().await?;
                        return Ok((Step::Done(done), None));
                    }
                },
            }
            if self.pending_size >= BLOCK {
                self = self.write().await?;
            }
        }
    }

    async fn write(self: Box<Self>) -> Result<Box<Self>, Error> {
        let Download { body, file, pending, done, expected, subject, path, .. } = *self;
        let file = off_thread(move || file.append(&pending)).await?;
        Ok(Box::new(Download {
            body,
            file,
            pending: Vec::new(),
            pending_size: 0,
            done,
            expected,
            subject,
            path,
        }))
    }

    async fn finish(self: Box<Self>) -> Result<(), Error> {
        let Download { file, pending, expected, subject, path, .. } = *self;
        off_thread(move || {
            let mut target = file.append(&pending)?;
            if let (Some(hash), Some(expected)) = (target.hash.take(), expected) {
                let found = hash.finalize();
                if found[..] != expected[..] {
                    return Err(error(
                        ErrorCode::InvalidData,
                        format!(
                            "{subject}: the SHA-256 of what came is {}, not {}; {path} was not written",
                            hexadecimal(&found),
                            hexadecimal(&expected)
                        ),
                    ));
                }
            }
            target.file.commit()
        })
        .await
    }
}

impl Target {
    fn append(mut self, pieces: &[Bytes]) -> Result<Target, Error> {
        for piece in pieces {
            self.file.write_all(piece).map_err(about)?;
            if let Some(hash) = &mut self.hash {
                hash.update(piece);
            }
        }
        Ok(self)
    }
}

/// What was done to the file, before why it failed. A limit says it already.
fn about(mut failure: Error) -> Error {
    if failure.code != ErrorCode::Limit {
        failure.message = format!("writing {}", failure.message);
    }
    failure
}

fn refused(status: u16, subject: &str) -> Error {
    let code = match status {
        401 | 403 | 407 => ErrorCode::Permission,
        404 | 410 => ErrorCode::NotFound,
        408 | 429 | 500.. => ErrorCode::Unavailable,
        _ => ErrorCode::Other,
    };
    let reason =
        StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let answer = format!("{status} {reason}");
    error(code, format!("{subject}: the server answered {}", answer.trim_end()))
}

/// Reads 64 hexadecimal digits.
fn digest(text: &str) -> Result<[u8; 32], Error> {
    let wrong = || invalid("sha256 must be 64 hexadecimal digits");
    if text.len() != 64 || !text.is_ascii() {
        return Err(wrong());
    }
    let mut digest = [0; 32];
    for (n, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[n * 2..n * 2 + 2], 16).map_err(|_| wrong())?;
    }
    Ok(digest)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_hexadecimal() {
        let text = "00ff".repeat(16);
        assert_eq!(hexadecimal(&digest(&text).unwrap()), text);
        assert_eq!(digest(&text.to_uppercase()).unwrap(), digest(&text).unwrap());
        for text in ["", "0", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert!(digest(text).is_err(), "{text}");
        }
    }

    #[test]
    fn statuses_have_codes() {
        assert_eq!(refused(404, "GET x").code, ErrorCode::NotFound);
        assert_eq!(refused(503, "GET x").message, "GET x: the server answered 503 Service Unavailable");
        assert_eq!(refused(599, "GET x").message, "GET x: the server answered 599");
    }
}
