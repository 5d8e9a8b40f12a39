//! Connections as hyper sees them: plain or TLS, over TCP or a unix socket, and not held up for ever by a
//! client that does not read.

use crate::frames::{Frames, Progress};
use crate::framing::Framing;
use bytes::{Buf, Bytes};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

/// A connection before TLS.
pub enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection.
pub enum Stream {
    Plain(Plain),
    Tls(Box<TlsStream<Plain>>),
}

/// Calls a method of whichever stream it is.
macro_rules! either {
    ($kind:ident, $self:expr, $first:ident, $second:ident, $method:ident, $arguments:tt) => {
        match $self.get_mut() {
            $kind::$first(stream) => either!(@call stream, $method, $arguments),
            $kind::$second(stream) => either!(@call stream, $method, $arguments),
        }
    };
    (@call $stream:ident, $method:ident, ($($argument:expr),*)) => {
        Pin::new($stream).$method($($argument),*)
    };
}

macro_rules! delegate {
    ($kind:ident, $first:ident | $second:ident) => {
        impl AsyncRead for $kind {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                either!($kind, self, $first, $second, poll_read, (context, buffer))
            }
        }

        impl AsyncWrite for $kind {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                data: &[u8],
            ) -> Poll<io::Result<usize>> {
                either!($kind, self, $first, $second, poll_write, (context, data))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                pieces: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                either!($kind, self, $first, $second, poll_write_vectored, (context, pieces))
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    $kind::$first(stream) => stream.is_write_vectored(),
                    $kind::$second(stream) => stream.is_write_vectored(),
                }
            }

            fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                either!($kind, self, $first, $second, poll_flush, (context))
            }

            fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                either!($kind, self, $first, $second, poll_shutdown, (context))
            }
        }
    };
}

delegate!(Plain, Tcp | Unix);
delegate!(Stream, Plain | Tls);

/// The first bytes of HTTP/2 (RFC 9113 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection with what was read of it before hyper, and a clock that runs while the client does not take
/// what is written.
pub struct Guarded {
    stream: Stream,
    prefix: Bytes,
    stall: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    stalled: bool,
    framing: Option<Framing>,
    frames: Option<Box<Frames>>,
    /// What came was no request; nothing more is read.
    refused: bool,
    upgraded: Arc<AtomicBool>,
}

impl Guarded {
    pub fn new(stream: Stream, stall: Option<Duration>) -> Guarded {
        Guarded {
            stream,
            prefix: Bytes::new(),
            stall,
            timer: None,
            stalled: false,
            framing: None,
            frames: None,
            refused: false,
            upgraded: Arc::default(),
        }
    }

    /// Lets only requests of HTTP/1 pass that have one reading. Gives what is set when the connection becomes
    /// something else than HTTP.
    pub fn check_framing(&mut self) -> Arc<AtomicBool> {
        self.framing = Some(Framing::new());
        self.upgraded.clone()
    }

    /// Counts the frames of HTTP/2, and ends the connection of a client that only makes work.
    pub fn check_frames(&mut self) -> Arc<Progress> {
        let frames = Frames::new();
        let progress = frames.progress();
        self.frames = Some(Box::new(frames));
        progress
    }

    /// Whether the client speaks HTTP/2 without having said so before: the preface is no request of
    /// HTTP/1.
    ///
    /// # Errors
    /// The connection's.
    pub async fn has_preface(&mut self) -> io::Result<bool> {
        let mut first = Vec::with_capacity(PREFACE.len());
        while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
            let missing = PREFACE.len() - first.len();
            let mut limited = (&mut self.stream).take(missing as u64);
            if limited.read_buf(&mut first).await? == 0 {
                break;
            }
        }
        let preface = first == PREFACE;
        self.prefix = first.into();
        Ok(preface)
    }

    /// Makes what was read unreadable from where it is no request any more.
    fn check(&mut self, buffer: &mut ReadBuf<'_>, from: usize) -> io::Result<()> {
        if let Some(frames) = &mut self.frames
            && !frames.received(&buffer.filled()[from..])
        {
            return Err(io::Error::other("the client sends frames that ask for nothing"));
        }
        let Some(framing) = &mut self.framing else { return Ok(()) };
        if self.upgraded.load(Ordering::Relaxed) {
            self.framing = None;
        } else if let Some(at) = framing.check(&buffer.filled()[from..]) {
            // A zero byte is allowed in no part of a head (RFC 9110 5.5). The parser looks for it when the head ends;
            // a body ends before its time.
            buffer.filled_mut()[from + at] = 0;
            buffer.set_filled(from + at + 1);
            self.prefix = Bytes::from_static(b"\r\n\r\n");
            (self.framing, self.refused) = (None, true);
        }
        Ok(())
    }

    /// Counts what the stream has taken of `pieces`.
    fn count<'a>(&mut self, polled: &Poll<io::Result<usize>>, pieces: impl IntoIterator<Item = &'a [u8]>) {
        let (Some(frames), Poll::Ready(Ok(written))) = (&mut self.frames, polled) else { return };
        let mut left = *written;
        for piece in pieces {
            let taken = left.min(piece.len());
            frames.sent(&piece[..taken]);
            left -= taken;
        }
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Some(stall) = self.stall else { return polled };
        if polled.is_ready() {
            self.stalled = false;
            return polled;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        if !std::mem::replace(&mut self.stalled, true) {
            timer.as_mut().reset(Instant::now() + stall);
        }
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let from = buffer.filled().len();
        if self.prefix.is_empty() {
            if self.refused {
                return Poll::Ready(Ok(()));
            }
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        } else {
            let fits = self.prefix.len().min(buffer.remaining());
            buffer.put_slice(&self.prefix[..fits]);
            self.prefix.advance(fits);
        }
        Poll::Ready(self.check(buffer, from))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, data);
        self.count(&polled, [data]);
        self.watch(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.count(&polled, pieces.iter().map(|piece| &**piece));
        self.watch(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, polled)
    }
}
