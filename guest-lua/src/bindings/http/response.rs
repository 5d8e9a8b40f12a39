//! Responses: their table, and bodies that are read as they arrive.

use super::events::{Event, Parser};
use crate::call::{Call, Error, Returned};
use crate::host::http::{Body, Header, Response, Streamed, Want};
use crate::host::types;
use crate::host::types::ErrorCode;
use crate::lua::Lua;
use crate::task::{Pending, wait};
use crate::userdata::{self, Userdata};
use crate::value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use wit_bindgen::{FutureReader, StreamReader, StreamResult};

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;
/// Bytes of a body that was to be a stream of events and is something else.
const MAX_OTHER: usize = 64 << 20;

/// A body as it arrives, and what was read of it.
struct Stream {
    data: StreamReader<u8>,
    end: FutureReader<Result<(), types::Error>>,
    events: Parser,
}

impl Stream {
    fn new(streamed: Streamed) -> Stream {
        Stream { data: streamed.data, end: streamed.end, events: Parser::default() }
    }
}

/// The handle of a streamed body; none when it has ended or was closed.
type Slot = Rc<RefCell<Option<Stream>>>;

/// A streamed body in Lua.
#[derive(Clone)]
pub struct Reader {
    slot: Slot,
    last: Rc<RefCell<Last>>,
}

/// What a stream of events said last, for connecting again.
#[derive(Default)]
struct Last {
    id: Vec<u8>,
    retry: Option<i64>,
}

impl Userdata for Reader {
    crate::named!(c"http.body");
}

/// Adds bytes from the stream to `into`, or ends it. False at the end.
///
/// A wait that is given up leaves the stream usable, but bytes that were on their way may be lost.
#[allow(
    clippy::await_holding_refcell_ref,
    reason = "a second reader meanwhile gets an error, which is meant"
)]
async fn pull(slot: &Slot, into: &mut Vec<u8>) -> Result<bool, Error> {
    let Ok(mut guard) = slot.try_borrow_mut() else {
        return Err(Error::failed(ErrorCode::InvalidArgument, "another task is reading this body"));
    };
    let Some(stream) = guard.as_mut() else { return Ok(false) };
    let before = into.len();
    loop {
        if into.try_reserve(PIECE).is_err() {
            return Err(Error::failed(
                ErrorCode::Limit,
                "not enough memory for the body; read it with stream = true",
            ));
        }
        let (status, bytes) = stream.data.read(std::mem::take(into)).await;
        *into = bytes;
        if into.len() > before {
            return Ok(true);
        }
        if !matches!(status, StreamResult::Complete(_)) {
            break;
        }
    }
    match guard.take() {
        Some(stream) => stream.end.await.map(|()| false).map_err(Error::from),
        None => Ok(false),
    }
}

/// A response as it is pushed.
pub struct Received {
    response: Response,
    body: Content,
}

enum Content {
    Whole(Vec<u8>),
    Arriving(Reader),
}

/// Reads the body as it is wanted.
///
/// # Errors
/// Those of the body.
pub async fn receive(mut response: Response, want: Want) -> Result<Received, Error> {
    let events = want == Want::Events && is_event_stream(&response.headers);
    let body = match std::mem::replace(&mut response.body, Body::Inline(Vec::new())) {
        Body::Inline(bytes) => Content::Whole(bytes),
        Body::Streamed(streamed) if want == Want::Stream || events => Content::Arriving(Reader {
            slot: Rc::new(RefCell::new(Some(Stream::new(streamed)))),
            last: Rc::default(),
        }),
        Body::Streamed(streamed) => {
            let most = if want == Want::Events { MAX_OTHER } else { usize::MAX };
            Content::Whole(collect(streamed, most).await?)
        }
    };
    Ok(Received { response, body })
}

async fn collect(streamed: Streamed, most: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    if let Some(length) = streamed.length.and_then(|length| usize::try_from(length).ok()) {
        // One byte more than comes, so that the end is read without growing. Where there is no memory for
        // all of it, the reads say so.
        let _ = bytes.try_reserve_exact(length.min(most).saturating_add(PIECE));
    }
    let slot = Rc::new(RefCell::new(Some(Stream::new(streamed))));
    while pull(&slot, &mut bytes).await? {
        if bytes.len() > most {
            return Err(Error::failed(ErrorCode::Limit, format!("the body has more than {most} bytes")));
        }
    }
    Ok(bytes)
}

fn is_event_stream(headers: &[Header]) -> bool {
    let Some(header) = headers.iter().find(|header| header.name == "content-type") else { return false };
    let value = header.value.split(|byte| *byte == b';').next().unwrap_or_default();
    value.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

impl Received {
    /// Pushes `{status, body, headers, headers_list, url, version, elapsed, redirects}`.
    pub fn push(&mut self, lua: Lua) -> Returned {
        let Received { response, body } = self;
        lua.new_table(0, 8);
        lua.push_integer(response.status.into());
        lua.raw_set(-2, "status");
        match body {
            Content::Whole(bytes) => lua.push_bytes(bytes),
            Content::Arriving(reader) => userdata::push(lua, reader.clone())?,
        }
        lua.raw_set(-2, "body");
        push_headers(lua, &response.headers);
        lua.push_str(&response.url);
        lua.raw_set(-2, "url");
        lua.push_str(&response.version);
        lua.raw_set(-2, "version");
        lua.push_number(response.elapsed as f64 / 1e9);
        lua.raw_set(-2, "elapsed");
        lua.push_integer(response.redirects.into());
        lua.raw_set(-2, "redirects");
        Ok(1)
    }
}

/// Sets `headers`, by name with repeated fields joined, and `headers_list`, every field in its order.
fn push_headers(lua: Lua, headers: &[Header]) {
    let mut joined: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    value::push_list(lua, headers.iter(), |header| {
        lua.new_table(0, 2);
        lua.push_str(&header.name);
        lua.raw_set(-2, "name");
        lua.push_bytes(&header.value);
        lua.raw_set(-2, "value");
        match joined.get_mut(header.name.as_str()) {
            Some(value) => {
                value.extend_from_slice(b", ");
                value.extend_from_slice(&header.value);
            }
            None => {
                joined.insert(&header.name, header.value.clone());
            }
        }
    });
    lua.raw_set(-2, "headers_list");
    lua.new_table(0, joined.len());
    for (name, value) in &joined {
        lua.push_bytes(value);
        lua.raw_set(-2, name);
    }
    lua.raw_set(-2, "headers");
}

/// `read(handle)` gives the next bytes, or nil at the end.
pub fn read(call: Call) -> Result<Pending, Error> {
    let slot = call.userdata::<Reader>(1)?.slot.clone();
    wait(async move {
        let mut bytes = Vec::new();
        let more = pull(&slot, &mut bytes).await?;
        Ok(move |call: Call| {
            if more {
                call.lua().push_bytes(&bytes);
            } else {
                call.lua().push_nil();
            }
            Ok(1)
        })
    })
}

/// `event(handle)` gives the next event as a table, or nil at the end.
pub fn event(call: Call) -> Result<Pending, Error> {
    let reader = call.userdata::<Reader>(1)?;
    let (slot, last) = (reader.slot.clone(), reader.last.clone());
    wait(async move {
        let event = next_event(&slot, &last).await?;
        Ok(move |call: Call| {
            push_event(call.lua(), event.as_ref());
            Ok(1)
        })
    })
}

async fn next_event(slot: &Slot, last: &RefCell<Last>) -> Result<Option<Event>, Error> {
    let mut piece = Vec::new();
    loop {
        if let Ok(mut slot) = slot.try_borrow_mut()
            && let Some(stream) = slot.as_mut()
        {
            if !piece.is_empty() && !stream.events.feed(&piece) {
                *slot = None;
                return Err(Error::failed(ErrorCode::Limit, "an event of the stream is larger than 8 MiB"));
            }
            let mut last = last.borrow_mut();
            last.retry = stream.events.retry();
            if let Some(event) = stream.events.take() {
                last.id.clone_from(&event.id);
                return Ok(Some(event));
            }
            last.id = stream.events.last_id().to_vec();
        }
        piece.clear();
        if !pull(slot, &mut piece).await? {
            return Ok(None);
        }
    }
}

fn push_event(lua: Lua, event: Option<&Event>) {
    let Some(event) = event else { return lua.push_nil() };
    lua.new_table(0, 4);
    if event.event.is_empty() {
        lua.push_str("message");
    } else {
        lua.push_bytes(&event.event);
    }
    lua.raw_set(-2, "event");
    lua.push_bytes(&event.data);
    lua.raw_set(-2, "data");
    if !event.id.is_empty() {
        lua.push_bytes(&event.id);
        lua.raw_set(-2, "id");
    }
    if let Some(retry) = event.retry {
        lua.push_integer(retry);
        lua.raw_set(-2, "retry");
    }
}

/// Closes a streamed body and its connection. A body that another task is reading is closed when it is
/// collected.
pub fn close(call: Call) -> Returned {
    if let Ok(mut slot) = call.userdata::<Reader>(1)?.slot.try_borrow_mut() {
        *slot = None;
    }
    Ok(0)
}

/// `last(handle)` gives the identifier of the last event, for going on with the header `last-event-id`, and the
/// milliseconds to wait before that; nil for what the stream did not say.
pub fn last(call: Call) -> Returned {
    let reader = call.userdata::<Reader>(1)?.last.clone();
    let last = reader.borrow();
    let lua = call.lua();
    if last.id.is_empty() {
        lua.push_nil();
    } else {
        lua.push_bytes(&last.id);
    }
    match last.retry {
        Some(retry) => lua.push_integer(retry),
        None => lua.push_nil(),
    }
    Ok(2)
}
