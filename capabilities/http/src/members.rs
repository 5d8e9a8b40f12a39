//! gzip and zstd bodies: members in a row are one body (RFC 1952 2.2, RFC 8878 3), and zeros behind them are padding.

use crate::body::Reader;
use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncBufRead, AsyncRead, BufReader, ReadBuf};

/// Members without content, or pieces of padding, that are passed over before others get a turn.
const TURN: usize = 64;

type Input = BufReader<Reader>;

/// What a member is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Gzip,
    /// With the largest window that is accepted, as its power of two. A frame that is skipped is a member without content.
    Zstd(u32),
}

enum Member {
    Gzip(GzipDecoder<Input>),
    Zstd(ZstdDecoder<Input>),
}

impl Member {
    fn new(kind: Kind, input: Input) -> Member {
        match kind {
            Kind::Gzip => Member::Gzip(GzipDecoder::new(input)),
            Kind::Zstd(window) => {
                Member::Zstd(ZstdDecoder::with_params(input, &[DParameter::window_log_max(window)]))
            }
        }
    }

    fn input(&mut self) -> &mut Input {
        match self {
            Member::Gzip(decoder) => decoder.get_mut(),
            Member::Zstd(decoder) => decoder.get_mut(),
        }
    }

    fn into_input(self) -> Input {
        match self {
            Member::Gzip(decoder) => decoder.into_inner(),
            Member::Zstd(decoder) => decoder.into_inner(),
        }
    }
}

/// Decodes every member of what it reads.
pub struct Members {
    kind: Kind,
    /// None only while one member gives way to the next.
    member: Option<Member>,
    /// The member has ended.
    between: bool,
}

impl Members {
    pub fn new(kind: Kind, input: Reader) -> Members {
        let member = Some(Member::new(kind, BufReader::new(input)));
        Members { kind, member, between: false }
    }

    /// Passes over padding. True where another member begins.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Some(member) = &mut self.member else { return Poll::Ready(Ok(false)) };
        for _ in 0..TURN {
            let mut input = Pin::new(member.input());
            let data = ready!(input.as_mut().poll_fill_buf(context))?;
            let (zeros, all) = (data.iter().take_while(|byte| **byte == 0).count(), data.len());
            input.consume(zeros);
            if zeros < all || all == 0 {
                return Poll::Ready(Ok(all > 0));
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncRead for Members {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        for _ in 0..TURN {
            if this.between {
                if !ready!(this.poll_more(context))? {
                    return Poll::Ready(Ok(()));
                }
                let kind = this.kind;
                this.member = this.member.take().map(|member| Member::new(kind, member.into_input()));
                this.between = false;
            }
            let before = buffer.filled().len();
            match &mut this.member {
                Some(Member::Gzip(decoder)) => ready!(Pin::new(decoder).poll_read(context, buffer))?,
                Some(Member::Zstd(decoder)) => ready!(Pin::new(decoder).poll_read(context, buffer))?,
                None => return Poll::Ready(Ok(())),
            }
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            this.between = true;
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_compression::tokio::bufread::{GzipEncoder, ZstdEncoder};
    use tokio::io::AsyncReadExt;

    async fn pack(kind: Kind, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match kind {
            Kind::Gzip => GzipEncoder::new(data).read_to_end(&mut out).await,
            Kind::Zstd(_) => ZstdEncoder::new(data).read_to_end(&mut out).await,
        }
        .unwrap();
        out
    }

    async fn unpack(kind: Kind, data: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Members::new(kind, Box::new(io::Cursor::new(data))).read_to_end(&mut out).await.map(|_| out)
    }

    #[tokio::test]
    async fn members_in_a_row_are_one_body() {
        let text = b"some text, and more of it ".repeat(5000);
        for kind in [Kind::Gzip, Kind::Zstd(23)] {
            let (one, empty) = (pack(kind, &text).await, pack(kind, b"").await);
            let many = empty.repeat(1000);
            let (padding, long) = (vec![0; 500], vec![0; 2 << 20]);
            let twice = text.repeat(2);
            for (parts, expected) in [
                (&[&one[..]][..], &text),
                (&[&one, &one], &twice),
                (&[&one, &padding], &text),
                (&[&one, &long], &text),
                (&[&one, &padding, &one, &[0]], &twice),
                (&[&many, &one, &many], &text),
            ] {
                assert!(unpack(kind, parts.concat()).await.unwrap() == *expected, "{kind:?}");
            }
            for broken in [&[&one[..], b"x"][..], &[&one, &[0], b"x"], &[&[0], &one], &[&one, &one[..20]]] {
                assert!(unpack(kind, broken.concat()).await.is_err(), "{kind:?}");
            }
        }
    }

    #[tokio::test]
    async fn frames_that_zstd_skips_have_no_content() {
        let text = b"text".repeat(5000);
        let one = pack(Kind::Zstd(23), &text).await;
        let note = [&0x184d_2a5f_u32.to_le_bytes()[..], &5_u32.to_le_bytes(), b"notes"].concat();
        for parts in [[&note[..], &one, &note], [&one, &note, b""], [&note, &note, &one]] {
            assert!(unpack(Kind::Zstd(23), parts.concat()).await.unwrap() == text);
        }
    }
}
