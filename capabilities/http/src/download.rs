//! Saving a response to a file.

use crate::bindings::assay::host::http::{FileOptions, Header, Request, Step};
use crate::body::Body;
use crate::errors::invalid;
use crate::exchange::{Answer, perform};
use crate::files;
use crate::pool::Pool;
use crate::record::{self, Record, content_range};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error, io_error, off_thread};
use assay_capability_fs::{AtomicFile, How, Temp};
use bytes::Bytes;
use http::StatusCode;
use sha2::{Digest, Sha256};
use std::fs::{File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::Duration;

/// Bytes that are gathered before they are written.
const BLOCK: usize = 256 << 10;

/// A download on its way. Dropping it removes the temporary file; a part that is gone on with later stays.
pub struct Download {
    answer: Saved,
    run: Arc<Run>,
    file: Target,
    /// Read, but not written yet.
    pending: Vec<Bytes>,
    pending_size: usize,
    /// Bytes of the file so far.
    done: u64,
    expected: Option<[u8; 32]>,
    path: String,
}

/// What is left of the response.
struct Saved {
    body: Body,
    /// Bytes of the file that were there before.
    before: u64,
    subject: String,
    /// The version of the file, where that is to be kept.
    record: Option<Record>,
}

/// A download, or the size of the file that is there and stays.
pub enum Started {
    Download(Box<Download>),
    Kept(u64),
}

/// Where the bytes go until the file is complete.
enum Destination {
    Temporary(Box<AtomicFile>),
    /// What stays for the next call where this one does not come to its end.
    Part {
        file: File,
        path: String,
        room: Option<Arc<Temp>>,
    },
}

/// What goes to the thread that writes, and comes back.
struct Target {
    place: Destination,
    hash: Option<Sha256>,
    run: Arc<Run>,
}

/// The file that holds what has come so far.
pub fn part(path: &str) -> String {
    format!("{path}.part")
}

/// What a download asks for.
struct Asked {
    run: Arc<Run>,
    pool: Pool,
    request: Request,
    path: String,
    options: FileOptions,
    expected: Option<[u8; 32]>,
}

impl Download {
    /// Sends the request and starts the file.
    ///
    /// # Errors
    /// Those of a request and of a file; for a status that has no file `not_found`, `permission`, `unavailable`
    /// or `other`.
    pub async fn start(
        run: Arc<Run>,
        pool: Pool,
        mut request: Request,
        path: String,
        options: FileOptions,
    ) -> Result<Started, Error> {
        let expected = options.sha256.as_deref().map(digest).transpose()?;
        files::check_write(&run, &path)?;
        if request.method.eq_ignore_ascii_case("HEAD") {
            return Err(invalid("http.download: HEAD gets no file"));
        } else if options.resume && has_field(&request, "range") {
            return Err(invalid("http.download: resume sets the header range itself"));
        }
        request.max_body = options.max_size;
        Asked { run, pool, request, path, options, expected }.start(true).await
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
                    let length = self.answer.body.length().map(|length| self.answer.before + length);
                    return Ok((Step::Progress((self.done, length)), Some(self)));
                }
                piece = self.answer.body.next() => match piece {
                    Ok(Some(piece)) => {
                        self.done += piece.len() as u64;
                        self.pending_size += piece.len();
                        self.pending.push(piece);
                    }
                    Ok(None) => {
                        let done = self.done;
                        self.finish().await?;
                        return Ok((Step::Done(done), None));
                    }
                    Err(failure) => {
                        // What has come is worth keeping, where it is kept.
                        if matches!(self.file.place, Destination::Part { .. }) {
                            self.write().await?;
                        }
                        return Err(failure);
                    }
                },
            }
            if self.pending_size >= BLOCK {
                self = self.write().await?;
            }
        }
    }

    async fn write(mut self: Box<Self>) -> Result<Box<Self>, Error> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_size = 0;
        off_thread(move || {
            self.file.append(&pending)?;
            Ok(self)
        })
        .await
    }

    async fn finish(self: Box<Self>) -> Result<(), Error> {
        let Download { answer, run, mut file, pending, expected, path, .. } = *self;
        off_thread(move || {
            file.append(&pending)?;
            if let (Some(hash), Some(expected)) = (file.hash.take(), expected) {
                let found = hash.finalize();
                if found[..] != expected[..] {
                    file.give_up();
                    return Err(error(
                        ErrorCode::InvalidData,
                        format!(
                            "{}: the SHA-256 of what came is {}, not {}; {path} was not written",
                            answer.subject,
                            hex::encode(found),
                            hex::encode(expected)
                        ),
                    ));
                }
            }
            file.commit(&path)?;
            match answer.record {
                Some(record) => record.store_whole(&run, &path),
                None => Ok(()),
            }
        })
        .await
    }
}

fn has_field(request: &Request, name: &str) -> bool {
    request.headers.iter().any(|field| field.name.eq_ignore_ascii_case(name))
}

impl Asked {
    /// Sends the request; `again` where it may be sent once more, for the whole in place of the rest.
    async fn start(self, again: bool) -> Result<Started, Error> {
        let Asked { run, path, options, .. } = &self;
        let own = ["if-none-match", "if-modified-since"].iter().any(|name| has_field(&self.request, name));
        let unchanged = match options.if_changed && !own {
            true => record::if_changed(run, path, &self.request.url).await?,
            false => None,
        };
        let rest = match options.resume && again {
            true => record::rest(run, &part(path), &self.request.url).await?,
            false => None,
        };
        let mut request = self.request.clone();
        for (name, value) in unchanged.iter().chain(&rest).flat_map(|(fields, _)| fields) {
            request.headers.push(Header { name: name.to_string(), value: value.as_bytes().to_vec() });
        }
        let before = rest.as_ref().map_or(0, |(_, size)| *size);
        if before > 0 && options.max_size > 0 {
            // A part that has as much already gets an answer that is too long.
            request.max_body = options.max_size.saturating_sub(before).max(1);
        }
        let answer = perform(run.clone(), self.pool.clone(), request).await?;
        let range = content_range(&answer.headers);
        match answer.status {
            200 => self.save(answer, 0).await,
            206 if range.is_some_and(|(start, _)| start == Some(before))
                && rest.as_ref().is_some_and(|rest| record::goes_on(rest, &answer.headers)) =>
            {
                self.save(answer, before).await
            }
            206 if rest.is_none() && has_field(&self.request, "range") => self.save(answer, 0).await,
            // All of it has come before, but the end was not seen.
            416 if rest.is_some() && range == Some((None, Some(before))) => self.save(answer, before).await,
            206 | 416 if rest.is_some() => Box::pin(self.start(false)).await,
            304 if unchanged.is_some() => Ok(Started::Kept(unchanged.map_or(0, |(_, size)| size))),
            status => Err(refused(status, &answer.subject, path)),
        }
    }

    /// Starts to save a response, behind the bytes that are there `before`.
    async fn save(self, mut answer: Answer, before: u64) -> Result<Started, Error> {
        let Asked { run, path, options, expected, request, .. } = self;
        answer.body.keep(false).await?;
        let record = Record::new(&request.url, &answer.headers);
        let hash = expected.is_some().then(Sha256::new);
        let file = match options.resume {
            false => {
                let place = Destination::Temporary(Box::new(files::create(&run, path.clone()).await?));
                Target { place, hash, run: run.clone() }
            }
            true => {
                let (run, path, record) = (run.clone(), part(&path), record.clone());
                off_thread(move || Target::part(run, path, before, hash, &record)).await?
            }
        };
        // What refuses the range says so in its body.
        let body = if answer.status == 416 { answer.body.nothing() } else { answer.body };
        Ok(Started::Download(Box::new(Download {
            answer: Saved {
                body,
                before,
                subject: answer.subject,
                record: options.if_changed.then_some(record),
            },
            run,
            file,
            pending: Vec::new(),
            pending_size: 0,
            done: before,
            expected,
            path,
        })))
    }
}

impl Target {
    /// The part at `path`, of which so many bytes are there `before`.
    fn part(
        run: Arc<Run>,
        path: String,
        before: u64,
        mut hash: Option<Sha256>,
        record: &Record,
    ) -> Result<Target, Error> {
        let how = How { read: true, write: true, create: true, parents: true, ..How::default() };
        let mut file = assay_capability_fs::open(&run, &path, how)?;
        let failed = |failure: io::Error| io_error(&path, &failure);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = format!("{path}: another download of this file is under way; wait for it");
                return Err(error(ErrorCode::Exists, why));
            }
            Err(TryLockError::Error(failure)) => return Err(failed(failure)),
        }
        if file.metadata().map_err(failed)?.len() < before {
            return Err(error(ErrorCode::Other, format!("{path}: the file became shorter; try again")));
        }
        file.set_len(before).map_err(failed)?;
        match &mut hash {
            Some(hash) => io::copy(&mut file, &mut Hashing(hash)),
            None => file.seek(SeekFrom::End(0)),
        }
        .map_err(failed)?;
        if before == 0 {
            record.store(&run, &path)?;
        }
        let room = assay_capability_fs::room(&run, &run.path(&path));
        Ok(Target { place: Destination::Part { file, path, room }, hash, run })
    }

    fn append(&mut self, pieces: &[Bytes]) -> Result<(), Error> {
        for piece in pieces {
            match &mut self.place {
                Destination::Temporary(file) => file.write_all(piece),
                Destination::Part { file, path, room } => {
                    if let Some(room) = room {
                        room.take(&self.run, piece.len() as u64, 0)?;
                    }
                    file.write_all(piece).map_err(|failure| io_error(path, &failure))
                }
            }
            .map_err(about)?;
            if let Some(hash) = &mut self.hash {
                hash.update(piece);
            }
        }
        Ok(())
    }

    /// Takes the place of the file at `path`.
    fn commit(self, path: &str) -> Result<(), Error> {
        match self.place {
            Destination::Temporary(mut file) => file.commit(),
            Destination::Part { file, path: part, .. } => {
                file.sync_all().map_err(|failure| io_error(&part, &failure))?;
                assay_capability_fs::replace(&self.run, &part, path)?;
                Record::remove(&self.run, &part)
            }
        }
    }

    /// Throws away a part that is not what it should be: nobody can go on with it.
    fn give_up(&self) {
        if let Destination::Part { path, .. } = &self.place {
            // Where it stays, the next call gets the same error.
            let _ = assay_capability_fs::remove_file(&self.run, path);
            let _ = Record::remove(&self.run, path);
        }
    }
}

/// A hash to write to.
struct Hashing<'a>(&'a mut Sha256);

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was done to the file, before why it failed. A limit says it already.
fn about(mut failure: Error) -> Error {
    if failure.code != ErrorCode::Limit {
        failure.message = format!("writing {}", failure.message);
    }
    failure
}

/// The error of an answer that has no file.
fn refused(status: u16, subject: &str, path: &str) -> Error {
    let code = match status {
        401 | 403 | 407 => ErrorCode::Permission,
        404 | 410 => ErrorCode::NotFound,
        408 | 429 | 500.. => ErrorCode::Unavailable,
        _ => ErrorCode::Other,
    };
    let reason =
        StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let answer = format!("{status} {reason}");
    let answer = answer.trim_end();
    let why = match status {
        304 => ", as the headers of the request ask for (see if_changed)",
        206 => ", a part that was not asked for",
        300..400 => ", which leads nowhere",
        200..300 => ", which has no file",
        _ => "",
    };
    error(code, format!("{subject}: the server answered {answer}{why}; {path} was not written"))
}

/// Reads 64 hexadecimal digits.
fn digest(text: &str) -> Result<[u8; 32], Error> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).map_err(|_| invalid("sha256 must be 64 hexadecimal digits"))?;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_hexadecimal() {
        let text = "00ff".repeat(16);
        assert_eq!(hex::encode(digest(&text).unwrap()), text);
        assert_eq!(digest(&text.to_uppercase()).unwrap(), digest(&text).unwrap());
        for text in ["", "0", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert!(digest(text).is_err(), "{text}");
        }
    }

    #[test]
    fn statuses_have_codes() {
        assert_eq!(refused(404, "GET x", "f").code, ErrorCode::NotFound);
        for (status, message) in [
            (503, "GET x: the server answered 503 Service Unavailable; f was not written"),
            (599, "GET x: the server answered 599; f was not written"),
            (204, "GET x: the server answered 204 No Content, which has no file; f was not written"),
        ] {
            assert_eq!(refused(status, "GET x", "f").message, message);
        }
    }
}
