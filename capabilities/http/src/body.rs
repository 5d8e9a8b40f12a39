//! Response bodies: decoded, bounded, and pulled piece by piece in constant memory.

use crate::errors::{timeout, transport};
use crate::members::{Kind, Members};
use crate::pool::Lease;
use assay_capability_api::carry;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Budget, Held, Run, error, lock};
use async_compression::tokio::bufread::{BrotliDecoder, DeflateDecoder, ZlibDecoder};
use bytes::{Buf, Bytes};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body::Body as _;
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, BufReader, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes that a decoder gives at a time.
const PIECE: usize = 32 << 10;
/// Bytes that a body gives at a time.
const MOST: usize = 64 << 10;
/// What a decoder takes beside its window: buffers and tables.
const DECODER: usize = 96 << 10;
/// Codings on top of each other; nobody needs more, and each costs memory.
const MAX_CODINGS: usize = 4;
/// The largest window of a zstd body, as its power of two (RFC 9659).
const ZSTD_WINDOW: u32 = 23;

/// A content coding (RFC 9110 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// The codings of a body in the order in which they are to be undone; none where one is not known.
fn codings(headers: &HeaderMap) -> Option<Vec<Coding>> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in value.to_str().ok()?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            codings.push(match name.to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                "br" => Coding::Brotli,
                "zstd" => Coding::Zstd,
                "identity" => continue,
                _ => return None,
            });
        }
    }
    codings.reverse();
    (codings.len() <= MAX_CODINGS).then_some(codings)
}

/// The body as it comes from the connection.
struct Wire {
    incoming: Incoming,
    /// What has come and was not taken. It holds what it takes of the run's budget.
    data: Bytes,
    lease: Option<Lease>,
    budget: Arc<Budget>,
    ended: bool,
}

impl Wire {
    /// Ready when there is data; false at the end, when the connection is free again.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.data.is_empty() && !self.ended {
            let polled = Pin::new(&mut self.incoming).poll_frame(context);
            if let Some(lease) = &self.lease {
                lease.connection.ask(polled.is_pending());
            }
            match ready!(polled) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => {
                        let meter = self.lease.as_ref().and_then(|lease| lease.connection.meter.as_ref());
                        let held = match meter {
                            Some(meter) => meter.pass(data.len()),
                            None => self.budget.take(data.len()).map_err(carry)?,
                        };
                        self.data = held.with(data);
                        if self.incoming.is_end_stream() {
                            self.end();
                        }
                    }
                    // Empty, or trailers.
                    _ => {}
                },
                Some(Err(failure)) => {
                    self.lease = None;
                    self.ended = true;
                    return Poll::Ready(Err(io::Error::other(failure)));
                }
                None => self.end(),
            }
        }
        Poll::Ready(Ok(!self.data.is_empty()))
    }

    /// The next bytes, never none; `None` at the end.
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let is_there = ready!(self.poll_fill(context))?;
        let most = self.data.len().min(MOST);
        Poll::Ready(Ok(is_there.then(|| self.data.split_to(most))))
    }

    fn end(&mut self) {
        self.ended = true;
        if let Some(lease) = self.lease.take() {
            lease.release();
        }
    }
}

/// The wire as a decoder reads it; the body itself keeps another hold on it.
#[derive(Clone)]
struct SharedWire(Arc<Mutex<Wire>>);

impl SharedWire {
    fn lock(&self) -> MutexGuard<'_, Wire> {
        lock(&self.0)
    }
}

impl AsyncRead for SharedWire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.lock();
        if ready!(wire.poll_fill(context))? {
            let fits = wire.data.len().min(buffer.remaining());
            buffer.put_slice(&wire.data[..fits]);
            wire.data.advance(fits);
        }
        Poll::Ready(Ok(()))
    }
}

/// What a decoder reads from.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// How the bytes of the wire become the bytes of the body.
enum Decoding {
    /// As they are.
    Plain,
    /// Once the first bytes have come: a body may be empty whatever its header says.
    Waiting(Vec<Coding>),
    Reading {
        reader: Reader,
        /// What the decoders take of the run's budget.
        _held: Held,
    },
}

/// A response body.
pub struct Body {
    wire: SharedWire,
    decoding: Decoding,
    /// Pieces that were read already.
    ready: VecDeque<Bytes>,
    run: Arc<Run>,
    subject: String,
    /// Bytes that have come, and how many may; 0 is no bound.
    done: u64,
    most: u64,
    timer: Option<(Pin<Box<Sleep>>, Duration)>,
    /// Bytes in all, where the response says so.
    length: Option<u64>,
    ended: bool,
}

/// What bounds a body.
pub struct Bounds {
    /// Bytes, 0 is no bound.
    pub most: u64,
    /// When it must have ended, and after how long that is.
    pub deadline: Option<(Instant, Duration)>,
    pub decode: bool,
}

impl Body {
    /// Takes the body of a response. Where it is decoded, the header fields that were about its encoded
    /// form are removed.
    ///
    /// # Errors
    /// `limit` where its length is announced and too much.
    pub fn new(
        run: &Arc<Run>,
        subject: String,
        incoming: Incoming,
        headers: &mut HeaderMap,
        lease: Lease,
        bounds: &Bounds,
    ) -> Result<Body, Error> {
        let mut wire = Wire {
            incoming,
            data: Bytes::new(),
            lease: Some(lease),
            budget: run.budget.clone(),
            ended: false,
        };
        if wire.incoming.is_end_stream() {
            wire.end();
        }
        let codings = if bounds.decode && !wire.ended { codings(headers) } else { None }.unwrap_or_default();
        let mut length = wire.incoming.size_hint().exact();
        let decoding = if codings.is_empty() {
            Decoding::Plain
        } else {
            headers.remove(CONTENT_ENCODING);
            headers.remove(http::header::CONTENT_LENGTH);
            length = None;
            Decoding::Waiting(codings)
        };
        let body = Body {
            wire: SharedWire(Arc::new(Mutex::new(wire))),
            decoding,
            ready: VecDeque::new(),
            run: run.clone(),
            subject,
            done: 0,
            most: bounds.most,
            timer: bounds.deadline.map(|(at, after)| (Box::pin(tokio::time::sleep_until(at)), after)),
            length,
            ended: false,
        };
        match length {
            Some(length) if body.most > 0 && length > body.most => Err(body.too_large()),
            _ => Ok(body),
        }
    }

    /// Makes sure that it has a handle of the run on its way to the guest; see [`Lease::keep`].
    ///
    /// # Errors
    /// `limit`.
    pub async fn keep(&mut self, lasting: bool) -> Result<(), Error> {
        let lease = self.wire.lock().lease.take();
        let Some(mut lease) = lease else { return Ok(()) };
        lease.keep(&self.run, lasting).await?;
        self.wire.lock().lease = Some(lease);
        Ok(())
    }

    /// The same without what is in it.
    pub fn nothing(mut self) -> Body {
        self.ended = true;
        self.wire.lock().lease = None;
        self.length = Some(0);
        self
    }

    /// Bytes in all, where that is known.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// What it may hold.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.run.budget
    }

    fn too_large(&self) -> Error {
        error(
            ErrorCode::Limit,
            format!(
                "{}: the body has more than {} bytes; raise max_body (or max_size of a download)",
                self.subject, self.most
            ),
        )
    }

    fn failed(&self, failure: &(dyn std::error::Error + 'static)) -> Error {
        transport(&self.subject, failure)
    }

    /// The next bytes, never none; `None` at the end.
    ///
    /// # Errors
    /// `unavailable` where it breaks off, `timeout`, `limit`, `invalid_data` where it cannot be decoded.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        if let Some(piece) = self.ready.pop_front() {
            return Poll::Ready(Ok(Some(piece)));
        }
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        if let Some((timer, after)) = &mut self.timer
            && timer.as_mut().poll(context).is_ready()
        {
            let failure = timeout(&self.subject, "the body was not complete", *after);
            self.ended = true;
            return Poll::Ready(Err(failure));
        }
        let result = match ready!(self.poll_decoded(context)) {
            Ok(Some(data)) => self.count(&data).map(|()| Some(data)),
            other => other,
        };
        if !matches!(result, Ok(Some(_))) {
            self.ended = true;
            self.timer = None;
        }
        Poll::Ready(result)
    }

    fn count(&mut self, data: &Bytes) -> Result<(), Error> {
        self.done += data.len() as u64;
        if self.most > 0 && self.done > self.most {
            return Err(self.too_large());
        }
        self.run.count_bytes(data.len())
    }

    fn poll_decoded(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        loop {
            match &mut self.decoding {
                Decoding::Plain => {
                    let data = ready!(self.wire.lock().poll_data(context));
                    return Poll::Ready(data.map_err(|failure| self.failed(&failure)));
                }
                Decoding::Waiting(codings) => {
                    let codings = std::mem::take(codings);
                    let filled = self.wire.lock().poll_fill(context);
                    match filled {
                        Poll::Pending => {
                            self.decoding = Decoding::Waiting(codings);
                            return Poll::Pending;
                        }
                        Poll::Ready(Ok(true)) => {
                            let first = self.wire.lock().data.clone();
                            let held = self.run.budget.take(memory(&codings, &first))?;
                            let reader = decoder(self.wire.clone(), &codings, &first);
                            self.decoding = Decoding::Reading { reader, _held: held };
                        }
                        Poll::Ready(Ok(false)) => return Poll::Ready(Ok(None)),
                        Poll::Ready(Err(failure)) => return Poll::Ready(Err(self.failed(&failure))),
                    }
                }
                Decoding::Reading { reader, .. } => {
                    let mut piece = vec![0; PIECE];
                    let mut buffer = ReadBuf::new(&mut piece);
                    if let Err(failure) = ready!(Pin::new(reader).poll_read(context, &mut buffer)) {
                        return Poll::Ready(Err(self.undecodable(&failure)));
                    }
                    let filled = buffer.filled().len();
                    if filled == 0 {
                        // The codings have their own end; the connection is free only after the wire's.
                        let _ = self.wire.lock().poll_fill(context);
                        self.decoding = Decoding::Plain;
                        return Poll::Ready(Ok(None));
                    }
                    piece.truncate(filled);
                    return Poll::Ready(self.run.budget.take(filled).map(|held| Some(held.with(piece))));
                }
            }
        }
    }

    fn undecodable(&self, failure: &io::Error) -> Error {
        let from_wire = failure.get_ref().is_some_and(|inner| inner.is::<hyper::Error>());
        if from_wire {
            return self.failed(failure);
        }
        error(ErrorCode::InvalidData, format!("{}: the body cannot be decoded: {failure}", self.subject))
    }

    /// [`Body::poll`] as a future.
    ///
    /// # Errors
    /// As for `poll`.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        poll_fn(|context| self.poll(context)).await
    }

    /// Reads up to about `most` bytes. Gives all of them where the body has ended by then; otherwise they
    /// stay in front of the rest.
    ///
    /// # Errors
    /// As for `poll`.
    pub async fn small(&mut self, most: usize) -> Result<Option<Vec<u8>>, Error> {
        let mut pieces = VecDeque::new();
        let mut size = 0;
        while size <= most {
            match self.next().await? {
                Some(piece) => {
                    size += piece.len();
                    pieces.push_back(piece);
                }
                None => {
                    let mut whole = Vec::with_capacity(size);
                    pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
                    return Ok(Some(whole));
                }
            }
        }
        self.ready = pieces;
        Ok(None)
    }

    /// Reads and throws away a body that nobody wants, if it is small, so that its connection can be used
    /// again.
    pub async fn drain(mut self) {
        const WORTH: u64 = 16 << 10;
        if self.length.is_none_or(|length| length > WORTH) {
            return;
        }
        while matches!(self.next().await, Ok(Some(_))) {}
    }
}

/// The power of two of the window that a brotli stream has, by its first bits (RFC 7932 9.1).
fn brotli_window(first: u8) -> u32 {
    match (first & 1, first >> 1 & 7, first >> 4 & 7) {
        (0, ..) => 16,
        (_, 0, 0) => 17,
        (_, 0, more) => 8 + u32::from(more),
        (_, more, _) => 17 + u32::from(more),
    }
}

/// What decoders of these codings take, of a body that begins so.
fn memory(codings: &[Coding], first: &[u8]) -> usize {
    let window = |(n, coding): (usize, &Coding)| match coding {
        Coding::Gzip | Coding::Deflate => 15,
        // What is inside of another coding is not seen yet.
        Coding::Brotli if n > 0 => 24,
        Coding::Brotli => first.first().map_or(24, |first| brotli_window(*first)),
        Coding::Zstd => ZSTD_WINDOW,
    };
    codings.iter().enumerate().map(window).map(|window| (1_usize << window) + DECODER).sum()
}

fn decoder(wire: SharedWire, codings: &[Coding], first: &[u8]) -> Reader {
    let mut reader: Reader = Box::new(wire);
    for (n, coding) in codings.iter().enumerate() {
        reader = match coding {
            Coding::Gzip => Box::new(Members::new(Kind::Gzip, reader)),
            Coding::Zstd => Box::new(Members::new(Kind::Zstd(ZSTD_WINDOW), reader)),
            // "deflate" means zlib (RFC 9110 8.4.1.2), but some servers send it bare.
            Coding::Deflate if n == 0 && !is_zlib(first) => {
                Box::new(DeflateDecoder::new(BufReader::new(reader)))
            }
            Coding::Deflate => Box::new(ZlibDecoder::new(BufReader::new(reader))),
            Coding::Brotli => Box::new(BrotliDecoder::new(BufReader::new(reader))),
        };
    }
    reader
}

/// Whether data starts as zlib does (RFC 1950 2.2).
fn is_zlib(first: &[u8]) -> bool {
    match first {
        [method, flags, ..] => method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0,
        [method] => method & 0x0f == 8,
        [] => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn codings_are_undone_from_the_last() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            codings(&headers)
        };
        assert_eq!(read(&["gzip, br"]), Some(vec![Coding::Brotli, Coding::Gzip]));
        assert_eq!(read(&["X-GZIP", "identity", "zstd"]), Some(vec![Coding::Zstd, Coding::Gzip]));
        assert_eq!(read(&[]), Some(vec![]));
        assert_eq!(read(&["compress"]), None);
        assert_eq!(read(&["gzip,gzip,gzip,gzip,gzip"]), None);
    }

    #[test]
    fn decoders_take_what_their_windows_need() {
        for (first, window) in [(0x00, 16), (0x01, 17), (0x0b, 22), (0x0f, 24), (0x21, 10), (0x71, 15)] {
            assert_eq!(brotli_window(first), window, "{first:#x}");
            assert_eq!(memory(&[Coding::Brotli], &[first]), (1 << window) + DECODER);
        }
        assert_eq!(memory(&[Coding::Gzip, Coding::Brotli], &[0]), (1 << 15) + (1 << 24) + 2 * DECODER);
        assert_eq!(memory(&[], &[0]), 0);
    }

    #[test]
    fn zlib_is_told_from_bare_deflate() {
        assert!(is_zlib(&[0x78, 0x9c]) && is_zlib(&[0x78, 0x01]) && is_zlib(&[0x78, 0xda]));
        assert!(!is_zlib(&[0x4b, 0x4c]) && !is_zlib(&[0x78, 0x00]));
    }
}
