//! `http`: requests, streamed bodies, server-sent events, downloads. Verbs, clients and everything that
//! calls back into Lua is in `http.lua`, over the natives of this file.

mod events;
pub mod options;
mod response;

use crate::call::{Call, Error, Returned, failure, gather, prelude, push_library, set_library};
use crate::host::http::{self, Step, Transfer};
use crate::host::types::ErrorCode;
use crate::lua::Lua;
use crate::task::{self, Pending, wait};
use crate::userdata::{Closable, Userdata};
use crate::{function, waiting};

pub fn register(lua: Lua) {
    lua.new_table(0, 12);
    lua.push_copy(-1);
    set_library(lua, "http");
    push_library(
        lua,
        &[
            ("perform", waiting!(perform)),
            ("read", waiting!(response::read)),
            ("event", waiting!(response::event)),
            ("close", function!(response::close)),
            ("last", function!(response::last)),
            ("download", waiting!(download)),
            ("advance", waiting!(advance)),
            ("abandon", function!(abandon)),
            ("failure", function!(failure)),
        ],
    );
    lua.insert(-2);
    lua.raw_set(-2, "http");
    prelude(lua, "http", include_str!("http.lua"));
}

/// `perform(method, url, body, options, want)` gives the response table. `want` is "whole", "stream" or
/// "events"; a body that was wanted as it arrives, and arrives so, is a handle in the field `body`.
fn perform(call: Call) -> Result<Pending, Error> {
    let options = gather(call.lua(), || options::read(call))?;
    wait(async move {
        let want = options.want;
        let response = http::send(options.request).await?;
        let mut response = response::receive(response, want).await?;
        Ok(move |call: Call| response.push(call.lua()))
    })
}

/// A download on its way; none once it is over or given up.
struct Saving(Closable<Transfer>);

impl Userdata for Saving {
    crate::named!(c"http.download");
}

/// `download(url, path, options)` gives a handle for `advance`.
fn download(call: Call) -> Result<Pending, Error> {
    let (request, path, options) = gather(call.lua(), || options::read_download(call))?;
    wait(async move {
        let transfer = http::download(request, path, options).await?;
        Ok(task::handle(Saving(Closable::new(transfer))))
    })
}

/// `advance(handle, seconds)` gives `false, done, total` for a report, and `true, bytes, changed` at the end.
fn advance(call: Call) -> Result<Pending, Error> {
    let seconds = call.number(2)?;
    let every = crate::value::nanoseconds(seconds)
        .ok_or_else(|| Error::Argument(2, format!("{seconds} is not a number of seconds")))?;
    let Some(transfer) = call.userdata::<Saving>(1)?.0.get() else {
        return Err(Error::failed(ErrorCode::InvalidArgument, "the download is over"));
    };
    wait(async move {
        let step = transfer.next(every).await?;
        Ok(move |call: Call| push_step(call, &step))
    })
}

fn push_step(call: Call, step: &Step) -> Returned {
    let lua = call.lua();
    match *step {
        Step::Progress((done, total)) => {
            lua.push_bool(false);
            lua.push_integer(i64::try_from(done).unwrap_or(i64::MAX));
            match total {
                Some(total) => lua.push_integer(i64::try_from(total).unwrap_or(i64::MAX)),
                None => lua.push_nil(),
            }
            Ok(3)
        }
        Step::Done(bytes) | Step::Kept(bytes) => {
            lua.push_bool(true);
            lua.push_integer(i64::try_from(bytes).unwrap_or(i64::MAX));
            lua.push_bool(matches!(step, Step::Done(_)));
            Ok(3)
        }
    }
}

/// Ends a download now, not when the handle is collected: no partial file stays.
fn abandon(call: Call) -> Returned {
    drop(call.userdata::<Saving>(1)?.0.take());
    Ok(0)
}
