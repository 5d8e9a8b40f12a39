//! `compress`: gzip, xz, zstd and bzip2. What calls back into Lua is in `compress.lua`.

use super::fs::buffer::Buffer;
use super::fs::{PIECE, Text};
use crate::call::{Call, Error, Fields, Returned, prelude, push_library, set_library};
use crate::ffi::*;
use crate::host::compress::{self, Bounds};
use crate::host::types::{self, ErrorCode};
use crate::lua::Lua;
use crate::task::{self, Pending, wait};
use crate::userdata::{Closable, Userdata};
use crate::{function, waiting};

/// What may come out of a string, and of a file or a stream.
const MAX_STRING: u64 = 64 << 20;
const MAX_FILE: u64 = 1 << 30;
const MAX_RATIO: u32 = 1000;

pub fn register(lua: Lua) {
    lua.new_table(0, 16);
    lua.push_copy(-1);
    set_library(lua, "compress");
    // It has been a module of the standard library, and is required as one.
    lua.raw_get(LUA_REGISTRYINDEX, "_LOADED");
    lua.push_copy(-2);
    lua.raw_set(-2, "assay.compress");
    lua.pop(1);
    push_library(
        lua,
        &[
            ("whole", waiting!(whole)),
            ("start", waiting!(start)),
            ("step", waiting!(step)),
            ("close", function!(close)),
            ("file", waiting!(file)),
            ("member", waiting!(super::tar::member)),
        ],
    );
    lua.insert(-2);
    lua.raw_set(-2, "compress");
    prelude(lua, "compress", include_str!("compress.lua"));
}

/// Puts the name of the function before what failed.
pub fn tagged(name: &str) -> impl Fn(types::Error) -> Error + use<> {
    let name = name.to_string();
    move |mut error| {
        error.message = format!("{name}: {}", error.message);
        Error::Failed(error)
    }
}

/// An option that is wrong is told by its name: the positions are those of the natives.
pub fn as_failure(name: &str) -> impl Fn(Error) -> Error + use<> {
    let tag = tagged(name);
    move |error| match error {
        Error::Argument(_, message) => {
            tag(types::Error { code: ErrorCode::InvalidArgument, message, errno: 0 })
        }
        other => other,
    }
}

/// A number of something from 0 on, 0 for no bound.
pub fn bound(options: Option<Fields>, name: &str, usual: u64) -> Result<u64, Error> {
    let Some(options) = options else { return Ok(usual) };
    match options.integer(name)? {
        None => Ok(usual),
        Some(value) => u64::try_from(value)
            .map_err(|_| options.invalid(name, "a number from 0 expected, 0 for no bound")),
    }
}

/// The ratio option.
pub fn ratio(options: Option<Fields>) -> Result<u32, Error> {
    let Some(options) = options else { return Ok(MAX_RATIO) };
    let ratio = options.whole("max_ratio", 0..=u32::MAX.into())?;
    Ok(ratio.and_then(|ratio| u32::try_from(ratio).ok()).unwrap_or(MAX_RATIO))
}

pub fn level(options: Option<Fields>) -> Result<Option<i32>, Error> {
    let level = options.map(|options| options.whole("level", 0..=i32::MAX.into())).transpose()?.flatten();
    Ok(level.and_then(|level| i32::try_from(level).ok()))
}

fn bounds(options: Option<Fields>, usual: u64) -> Result<Bounds, Error> {
    Ok(Bounds { max_size: bound(options, "max_size", usual)?, max_ratio: ratio(options)? })
}

/// How a coder is started: `format, packing, options`, from the argument `first` on.
struct Setup {
    format: String,
    packing: bool,
    level: Option<i32>,
    bounds: Bounds,
}

impl Setup {
    fn read(call: Call, first: i32, usual: u64) -> Result<Setup, Error> {
        let options = call.opt_table(first + 2)?;
        Ok(Setup {
            format: call.string(first)?,
            packing: call.lua().boolean(first + 1),
            level: level(options)?,
            bounds: bounds(options, usual)?,
        })
    }

    async fn start(self) -> Result<compress::Coder, types::Error> {
        match self.packing {
            true => compress::packer(self.format, self.level).await,
            false => compress::unpacker(self.format, self.bounds).await,
        }
    }
}

async fn all(setup: Setup, text: &Text, tag: impl Fn(types::Error) -> Error) -> Result<Buffer, Error> {
    let coder = setup.start().await.map_err(&tag)?;
    let mut out = Buffer::new();
    let mut rest = text.bytes();
    loop {
        let (piece, after) = rest.split_at(rest.len().min(PIECE));
        rest = after;
        let mut given = coder.step(piece.to_vec(), rest.is_empty()).await.map_err(&tag)?;
        out.extend(&given.data)?;
        while given.more {
            given = coder.step(Vec::new(), false).await.map_err(&tag)?;
            out.extend(&given.data)?;
        }
        if rest.is_empty() {
            return Ok(out);
        }
    }
}

/// `whole(name, bytes, format, packing, options)` packs or unpacks a string.
fn whole(call: Call) -> Result<Pending, Error> {
    let tag = tagged(call.str(1)?);
    let setup = Setup::read(call, 3, MAX_STRING).map_err(as_failure(call.str(1)?))?;
    let text = Text::take(call, 2)?;
    wait(async move {
        let mut out = all(setup, &text, tag).await?;
        Ok(move |call: Call| {
            out.push(call.lua());
            Ok(1)
        })
    })
}

/// A stream on its way; none once it is closed.
struct Coder(Closable<compress::Coder>);

impl Userdata for Coder {
    crate::named!(c"compress.stream");
}

/// `start(name, format, packing, options)` gives a handle for `step`.
fn start(call: Call) -> Result<Pending, Error> {
    let tag = tagged(call.str(1)?);
    let setup = Setup::read(call, 2, MAX_FILE).map_err(as_failure(call.str(1)?))?;
    wait(async move {
        let coder = setup.start().await.map_err(tag)?;
        Ok(task::handle(Coder(Closable::new(coder))))
    })
}

/// `step(name, handle, bytes, last)` gives what has come out, and whether there is more. A string of more
/// than 1 MiB is divided by the Lua side.
fn step(call: Call) -> Result<Pending, Error> {
    let tag = tagged(call.str(1)?);
    let Some(coder) = call.userdata::<Coder>(2)?.0.get() else {
        let closed = types::Error {
            code: ErrorCode::InvalidArgument,
            message: "the stream is finished or closed; start another one".into(),
            errno: 0,
        };
        return Err(tag(closed));
    };
    let (input, last) = (call.owned(3)?, call.lua().boolean(4));
    wait(async move {
        let piece = coder.step(input, last).await.map_err(tag)?;
        Ok(move |call: Call| {
            call.lua().push_bytes(&piece.data);
            call.lua().push_bool(piece.more);
            Ok(2)
        })
    })
}

fn close(call: Call) -> Returned {
    drop(call.userdata::<Coder>(1)?.0.take());
    Ok(0)
}

/// `file(name, source, destination, packing, options)` gives the size of the result.
fn file(call: Call) -> Result<Pending, Error> {
    let tag = tagged(call.str(1)?);
    let (source, destination) = (call.string(2)?, call.string(3)?);
    let packing = call.lua().boolean(4);
    let options = call.opt_table(5)?;
    let read = || {
        let format = options.map(|options| options.string("format")).transpose()?.flatten();
        Ok((format, level(options)?, bounds(options, MAX_FILE)?))
    };
    let (format, level, bounds) = read().map_err(as_failure(call.str(1)?))?;
    wait(async move {
        let size = match packing {
            true => compress::pack_file(source, destination, format, level).await,
            false => compress::unpack_file(source, destination, format, bounds).await,
        };
        let size = size.map_err(tag)?;
        Ok(move |call: Call| {
            call.lua().push_integer(i64::try_from(size).unwrap_or(i64::MAX));
            Ok(1)
        })
    })
}
