//! Request bodies, which can be sent again after a redirect or a lost connection.

use crate::bindings::assay::host::http::{Content, Part, RequestBody};
use crate::errors::invalid;
use crate::files;
use assay_capability_api::carry;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Held, Run, error, io_error, lock, random};
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::fmt::Write;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

const CHUNK: usize = 64 << 10;
/// What a part takes beside its texts, bytes.
const PART: usize = 512;

/// A body that is made while it is sent.
pub trait Feed: Send {
    /// The next bytes, never none; `None` at the end.
    ///
    /// # Errors
    /// Whatever ends the request; its caller gets this error.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>>;
}

/// A feed and how many bytes it gives. It can be taken once.
pub type Once = Arc<Mutex<Option<(Box<dyn Feed>, u64)>>>;

/// What a body is made from.
#[derive(Clone)]
pub enum Source {
    Empty,
    Data(Bytes),
    File(String),
    Parts { boundary: String, parts: Arc<[Piece]>, _held: Arc<Held> },
    Feed(Once),
}

/// One stretch of a multipart body.
#[derive(Clone)]
pub enum Piece {
    Data(Bytes),
    File(String),
}

impl Source {
    /// # Errors
    /// `limit` where the run's budget does not hold it; `invalid_argument` where a part's name, file name or content
    /// type cannot be written in a header.
    pub fn new(run: &Run, body: RequestBody) -> Result<Source, Error> {
        Ok(match body {
            RequestBody::None => Source::Empty,
            RequestBody::Data(data) => Source::Data(run.budget.take(data.len())?.with(data)),
            RequestBody::File(path) => Source::File(path),
            RequestBody::Multipart(parts) => {
                let held = run.budget.take(parts.iter().map(size).sum())?;
                let boundary = boundary(&parts);
                let parts = multipart(&boundary, parts)?;
                Source::Parts { boundary, parts: parts.into(), _held: Arc::new(held) }
            }
        })
    }

    /// Whether it can be opened more than once.
    pub fn repeats(&self) -> bool {
        !matches!(self, Source::Feed(_))
    }

    /// The content type that the body itself decides.
    pub fn content_type(&self) -> Option<HeaderValue> {
        match self {
            Source::Parts { boundary, .. } => {
                HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}")).ok()
            }
            _ => None,
        }
    }

    /// Opens the files of the body and counts its bytes.
    ///
    /// # Errors
    /// Those of opening the files; `limit` where the run may not send as much.
    pub async fn open(&self, run: &Arc<Run>) -> Result<Upload, Error> {
        let pieces = match self {
            Source::Empty => vec![],
            Source::Data(data) => vec![Open::Data(data.clone())],
            Source::File(path) => vec![open_file(run, path).await?],
            Source::Feed(once) => {
                let taken = lock(once).take();
                let Some((feed, left)) = taken else {
                    return Err(error(
                        ErrorCode::Unavailable,
                        "the connection broke off, and what was sent cannot be made again",
                    ));
                };
                vec![Open::Feed { feed, left }]
            }
            Source::Parts { parts, .. } => {
                let mut pieces = Vec::with_capacity(parts.len());
                for part in parts.iter() {
                    pieces.push(match part {
                        Piece::Data(data) => Open::Data(data.clone()),
                        Piece::File(path) => open_file(run, path).await?,
                    });
                }
                pieces
            }
        };
        let left = pieces.iter().map(Open::len).sum();
        run.count_bytes(usize::try_from(left).unwrap_or(usize::MAX))?;
        Ok(Upload { pieces: pieces.into(), left })
    }
}

async fn open_file(run: &Arc<Run>, path: &str) -> Result<Open, Error> {
    let (file, left) = files::open(run, path.to_string()).await?;
    let mut held = run.budget.take(path.len())?;
    // What is read of it, and what the file itself keeps of that.
    held.grow(2 * CHUNK)?;
    Ok(Open::File {
        file: tokio::fs::File::from_std(file),
        left,
        path: path.to_string(),
        run: run.clone(),
        _held: held,
    })
}

/// What a part takes: as it came, and as it is written.
fn size(part: &Part) -> usize {
    let texts = [Some(&part.name), part.filename.as_ref(), part.content_type.as_ref()];
    let head: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
    let content = match &part.content {
        Content::Data(data) => data.len(),
        Content::File(path) => 2 * path.len(),
    };
    PART + 4 * head + content
}

/// A boundary that nobody can put into a file beforehand, and that occurs in no part that is in memory.
fn boundary(parts: &[Part]) -> String {
    loop {
        let boundary = format!("assay-{}{}", random::name(), random::name());
        let occurs = |data: &[u8]| data.windows(boundary.len()).any(|window| window == boundary.as_bytes());
        if !parts.iter().any(|part| matches!(&part.content, Content::Data(data) if occurs(data))) {
            return boundary;
        }
    }
}

pub fn multipart(boundary: &str, parts: Vec<Part>) -> Result<Vec<Piece>, Error> {
    let mut pieces = Vec::with_capacity(parts.len() * 2 + 1);
    for (n, part) in parts.into_iter().enumerate() {
        let mut head = String::new();
        if n > 0 {
            head.push_str("\r\n");
        }
        let _ =
            write!(head, "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", quoted(&part.name));
        if let Some(name) = &part.filename {
            let _ = write!(head, "; filename=\"{}\"", quoted(name));
        }
        head.push_str("\r\n");
        let content_type = match (&part.content_type, &part.content, &part.filename) {
            (Some(given), _, _) => Some(given.as_str()),
            (None, Content::File(_), _) | (None, _, Some(_)) => Some("application/octet-stream"),
            (None, Content::Data(_), None) => None,
        };
        if let Some(content_type) = content_type {
            if HeaderValue::from_str(content_type).is_err() {
                return Err(invalid(format!("part '{}': the content type is not a header value", part.name)));
            }
            let _ = write!(head, "Content-Type: {content_type}\r\n");
        }
        head.push_str("\r\n");
        pieces.push(Piece::Data(head.into()));
        pieces.push(match part.content {
            Content::Data(data) => Piece::Data(data.into()),
            Content::File(path) => Piece::File(path),
        });
    }
    let start = if pieces.is_empty() { "" } else { "\r\n" };
    pieces.push(Piece::Data(format!("{start}--{boundary}--\r\n").into()));
    Ok(pieces)
}

/// A name inside quotes, as browsers write it (WHATWG HTML, multipart form data).
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

enum Open {
    Data(Bytes),
    File { file: tokio::fs::File, left: u64, path: String, run: Arc<Run>, _held: Held },
    Feed { feed: Box<dyn Feed>, left: u64 },
}

impl Open {
    fn len(&self) -> u64 {
        match self {
            Open::Data(data) => data.len() as u64,
            Open::File { left, .. } | Open::Feed { left, .. } => *left,
        }
    }
}

/// A body on its way. Its length is known before it starts.
pub struct Upload {
    pieces: VecDeque<Open>,
    left: u64,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        loop {
            let Some(piece) = this.pieces.front_mut() else { return Poll::Ready(None) };
            let data = match piece {
                Open::Data(data) => {
                    let data = std::mem::take(data);
                    this.pieces.pop_front();
                    data
                }
                Open::File { left: 0, .. } | Open::Feed { left: 0, .. } => {
                    this.pieces.pop_front();
                    continue;
                }
                Open::File { file, left, path, run, .. } => {
                    match ready!(read(file, *left, path, run, context)) {
                        Ok(data) => {
                            *left -= data.len() as u64;
                            data
                        }
                        Err(error) => return Poll::Ready(Some(Err(carry(error)))),
                    }
                }
                Open::Feed { feed, left } => match ready!(feed.poll(context)) {
                    Ok(Some(data)) if data.len() as u64 <= *left => {
                        *left -= data.len() as u64;
                        data
                    }
                    Ok(_) => {
                        let failure =
                            error(ErrorCode::Other, "the body has not as many bytes as were announced");
                        return Poll::Ready(Some(Err(carry(failure))));
                    }
                    Err(error) => return Poll::Ready(Some(Err(carry(error)))),
                },
            };
            if !data.is_empty() {
                this.left -= data.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The next bytes of a file, never more than were announced.
fn read(
    file: &mut tokio::fs::File,
    left: u64,
    path: &str,
    run: &Run,
    context: &mut Context<'_>,
) -> Poll<Result<Bytes, Error>> {
    let most = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
    let mut data = BytesMut::zeroed(most);
    let mut buffer = ReadBuf::new(&mut data);
    if let Err(failure) = ready!(Pin::new(file).poll_read(context, &mut buffer)) {
        return Poll::Ready(Err(io_error(&format!("reading {path}"), &failure)));
    }
    let filled = buffer.filled().len();
    if filled == 0 {
        return Poll::Ready(Err(error(
            ErrorCode::Io,
            format!("reading {path}: the file became shorter while it was sent"),
        )));
    }
    data.truncate(filled);
    // Until it is sent, which is up to the server.
    Poll::Ready(run.budget.take(filled).map(|held| held.with(data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pieces: &[Piece]) -> String {
        pieces
            .iter()
            .map(|piece| match piece {
                Piece::Data(data) => String::from_utf8_lossy(data).into_owned(),
                Piece::File(path) => format!("<{path}>"),
            })
            .collect()
    }

    #[test]
    fn parts_are_written_as_browsers_do() {
        let parts = vec![
            Part {
                name: "a\"\r\n".into(),
                filename: None,
                content_type: None,
                content: Content::Data(b"1".to_vec()),
            },
            Part {
                name: "f".into(),
                filename: Some("x.txt".into()),
                content_type: Some("text/plain".into()),
                content: Content::File("/x".into()),
            },
        ];
        assert_eq!(
            text(&multipart("B", parts).unwrap()),
            "--B\r\nContent-Disposition: form-data; name=\"a%22%0D%0A\"\r\n\r\n1\r\n\
             --B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.txt\"\r\nContent-Type: text/plain\r\n\r\n</x>\r\n--B--\r\n"
        );
        assert_eq!(text(&multipart("B", vec![]).unwrap()), "--B--\r\n");
    }

    #[test]
    fn a_content_type_cannot_add_fields() {
        let part = Part {
            name: "a".into(),
            filename: None,
            content_type: Some("text/plain\r\nX: y".into()),
            content: Content::Data(vec![]),
        };
        assert!(multipart("B", vec![part]).is_err());
    }
}
