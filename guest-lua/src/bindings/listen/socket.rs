//! WebSockets of a server.

use super::{id, request};
use crate::call::{Call, Error, Returned};
use crate::host::listen::{self, CloseReason, Message, Received, WebsocketOptions};
use crate::payload;
use crate::task::{Pending, wait};

/// `upgrade(id, headers, options)` gives the subprotocol or "", and nil where the request did not ask for a
/// WebSocket, which is answered.
pub fn upgrade(call: Call) -> Result<Pending, Error> {
    let id = id(call)?;
    let fields = request::fields(call, 2, None)?;
    let table = call.table(3)?;
    let options = WebsocketOptions {
        protocols: table.strings("protocols")?.unwrap_or_default(),
        origins: table.strings("origins")?.unwrap_or_default(),
        max_message: table.whole("max_message", 0..=i64::MAX)?.unwrap_or(0).unsigned_abs(),
        ping_interval: table.seconds("ping_interval")?.unwrap_or(0),
    };
    wait(async move {
        let protocol = listen::upgrade(id, fields, options).await?;
        Ok(move |call: Call| {
            match &protocol {
                Some(protocol) => call.lua().push_str(protocol),
                None => call.lua().push_nil(),
            }
            Ok(1)
        })
    })
}

/// `receive(id)` gives a message and whether it is binary, or nil, the close code and its reason.
pub fn receive(call: Call) -> Result<Pending, Error> {
    let id = id(call)?;
    wait(async move {
        let mut received = listen::receive(id).await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            match &mut received {
                Received::Message(message) => {
                    payload::push(lua, &mut message.data)?;
                    lua.push_bool(message.binary);
                    Ok(2)
                }
                Received::Closed(CloseReason { code, reason }) => {
                    lua.push_nil();
                    lua.push_integer((*code).into());
                    lua.push_str(reason);
                    Ok(3)
                }
            }
        })
    })
}

/// `send(id, data, binary)`.
pub fn send(call: Call) -> Result<Pending, Error> {
    let (id, data, binary) = (id(call)?, call.owned(2)?, call.lua().boolean(3));
    wait(async move {
        listen::send(id, Message { data, binary }).await?;
        Ok(|_: Call| Ok(0))
    })
}

/// `close_socket(id, code, reason)`.
pub fn close(call: Call) -> Result<Pending, Error> {
    let id = id(call)?;
    let code = u16::try_from(call.integer(2)?).unwrap_or(0);
    let reason = call.string(3)?;
    wait(async move {
        listen::close(id, CloseReason { code, reason }).await?;
        Ok(|_: Call| Ok(0))
    })
}

/// `is_closed(id)`.
pub fn is_closed(call: Call) -> Returned {
    call.lua().push_bool(listen::is_closed(id(call)?)?);
    Ok(1)
}
