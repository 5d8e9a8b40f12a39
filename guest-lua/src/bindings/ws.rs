//! `ws`: WebSocket client. Methods and iterators are in `ws.lua`.

use super::compress::{as_failure, bound};
use super::http::options::read_connection;
use crate::call::{Call, Error, Fields, Returned, failure, gather, prelude, push_library, set_library};
use crate::host::types::ErrorCode;
use crate::host::ws::{self, Kind, Received, Target};
use crate::lua::Lua;
use crate::payload;
use crate::task::{self, Pending, wait};
use crate::userdata::{Closable, Userdata};
use crate::{function, waiting};
use std::rc::Rc;

const MAX_MESSAGE: u64 = 16 << 20;

pub fn register(lua: Lua) {
    lua.new_table(0, 6);
    lua.push_copy(-1);
    set_library(lua, "ws");
    push_library(
        lua,
        &[
            ("connect", waiting!(connect)),
            ("send", waiting!(send)),
            ("receive", waiting!(receive)),
            ("ping", waiting!(ping)),
            ("close", waiting!(close)),
            ("drop", function!(forget)),
            ("failure", function!(failure)),
        ],
    );
    lua.insert(-2);
    lua.raw_set(-2, "ws");
    prelude(lua, "ws", include_str!("ws.lua"));
}

/// An open connection; none once it is closed.
struct Connection(Closable<ws::Connection>);

impl Userdata for Connection {
    crate::named!(c"ws.handle");
}

fn duration(options: Option<Fields>, name: &str, usual: u64) -> Result<u64, Error> {
    let Some(options) = options else { return Ok(usual) };
    match options.number(name)? {
        None => Ok(usual),
        Some(seconds) => crate::value::nanoseconds(seconds)
            .ok_or_else(|| options.invalid(name, "a number of seconds expected, 0 for no bound")),
    }
}

fn target(call: Call) -> Result<Target, Error> {
    let options = call.opt_table(2)?;
    let request = read_connection(call)?;
    let max_message = bound(options, "max_message", MAX_MESSAGE)?;
    Ok(Target {
        url: request.url,
        headers: request.headers,
        protocols: options
            .map(|options| options.strings("protocols"))
            .transpose()?
            .flatten()
            .unwrap_or_default(),
        basic_auth: request.basic_auth,
        connect_timeout: request.connect_timeout,
        timeout: request.timeout,
        authorities: request.authorities,
        identity: request.identity,
        fingerprints: request.fingerprints,
        proxy: request.proxy,
        max_message,
        max_frame: bound(options, "max_frame", max_message)?,
        keepalive: duration(options, "keepalive", 0)?,
    })
}

/// `connect(url, options)` gives a handle, the subprotocol, and the header fields of the answer.
fn connect(call: Call) -> Result<Pending, Error> {
    let target = gather(call.lua(), || target(call)).map_err(as_failure("ws.connect"))?;
    wait(async move {
        let opened = ws::connect(target).await?;
        let mut push_handle = task::handle(Connection(Closable::new(opened.connection)));
        Ok(move |call: Call| {
            let lua = call.lua();
            push_handle(call)?;
            match &opened.protocol {
                Some(protocol) => lua.push_str(protocol),
                None => lua.push_nil(),
            }
            lua.new_table(0, opened.headers.len());
            for header in &opened.headers {
                lua.push_bytes(&header.value);
                lua.raw_set(-2, &header.name);
            }
            Ok(3)
        })
    })
}

fn connection(call: Call) -> Result<Rc<ws::Connection>, Error> {
    let connection = call.userdata::<Connection>(1)?.0.get();
    connection
        .ok_or_else(|| Error::failed(ErrorCode::Unavailable, "the connection is closed; open another one"))
}

/// A timeout in seconds, 0 for none.
fn timeout(call: Call, index: i32) -> Result<u64, Error> {
    let seconds = call.number(index)?;
    crate::value::nanoseconds(seconds).ok_or_else(|| {
        Error::failed(ErrorCode::InvalidArgument, format!("the timeout {seconds} is not a number of seconds"))
    })
}

/// `send(handle, message, binary, timeout)`.
fn send(call: Call) -> Result<Pending, Error> {
    let connection = connection(call)?;
    let (data, binary) = (call.owned(2)?, call.lua().boolean(3));
    let timeout = timeout(call, 4)?;
    wait(async move {
        connection.send(data, binary, timeout).await?;
        Ok(|_: Call| Ok(0))
    })
}

/// Pushes a message and its kind; or nil, code and reason.
fn push(call: Call, received: &mut Received) -> Returned {
    let lua = call.lua();
    match received.kind {
        Kind::Closed => {
            lua.push_nil();
            lua.push_integer(received.code.into());
            payload::push(lua, &mut received.data)?;
            Ok(3)
        }
        kind => {
            payload::push(lua, &mut received.data)?;
            lua.push_str(if kind == Kind::Text { "text" } else { "binary" });
            Ok(2)
        }
    }
}

/// `receive(handle, timeout)`.
fn receive(call: Call) -> Result<Pending, Error> {
    let connection = connection(call)?;
    let timeout = timeout(call, 2)?;
    wait(async move {
        let mut received = connection.receive(timeout).await?;
        Ok(move |call: Call| push(call, &mut received))
    })
}

/// `ping(handle, payload, timeout)` gives seconds.
fn ping(call: Call) -> Result<Pending, Error> {
    let connection = connection(call)?;
    let payload = call.owned(2)?;
    let timeout = timeout(call, 3)?;
    wait(async move {
        let elapsed = connection.ping(payload, timeout).await?;
        Ok(move |call: Call| {
            call.lua().push_number(elapsed as f64 / 1e9);
            Ok(1)
        })
    })
}

/// `close(handle, code, reason, timeout)` gives nil, and what the server said: code and reason.
fn close(call: Call) -> Result<Pending, Error> {
    let connection = connection(call)?;
    let code = u16::try_from(call.integer(2)?).unwrap_or(0);
    let (reason, timeout) = (call.string(3)?, timeout(call, 4)?);
    wait(async move {
        let mut received = connection.close(code, reason, timeout).await?;
        Ok(move |call: Call| push(call, &mut received))
    })
}

/// Ends the connection now, not when the handle is collected.
fn forget(call: Call) -> Returned {
    drop(call.userdata::<Connection>(1)?.0.take());
    Ok(0)
}
