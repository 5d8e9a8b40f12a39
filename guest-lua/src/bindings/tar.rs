//! `tar`: archives. What goes over tables is in `tar.lua`.

use super::compress::{as_failure, bound, level, ratio, tagged};
use crate::call::{Call, Error, Fields, failure, prelude, push_library, set_library};
use crate::host::tar::{self, Bounds, Content, Kind, Selection};
use crate::host::types::ErrorCode;
use crate::lua::Lua;
use crate::task::{self, Pending, wait};
use crate::userdata::{Closable, Userdata};
use crate::value;
use crate::{function, waiting};
use std::rc::Rc;

const MAX_ENTRIES: u64 = 100_000;
const MAX_SIZE: u64 = 1 << 30;

pub fn register(lua: Lua) {
    lua.new_table(0, 4);
    lua.push_copy(-1);
    set_library(lua, "tar");
    push_library(
        lua,
        &[
            ("entries", waiting!(entries)),
            ("extract", waiting!(extract)),
            ("create", waiting!(create)),
            ("add", waiting!(add)),
            ("finish", waiting!(finish)),
            ("abandon", function!(abandon)),
            ("failure", function!(failure)),
        ],
    );
    lua.insert(-2);
    lua.raw_set(-2, "tar");
    prelude(lua, "tar", include_str!("tar.lua"));
}

fn compression(options: Option<Fields>) -> Result<Option<String>, Error> {
    let name = options.map(|options| options.string("compression")).transpose()?.flatten();
    Ok(name.filter(|name| name != "auto"))
}

fn bounds(options: Option<Fields>) -> Result<Bounds, Error> {
    Ok(Bounds {
        entries: bound(options, "max_entries", MAX_ENTRIES)?,
        max_size: bound(options, "max_size", MAX_SIZE)?,
        max_ratio: ratio(options)?,
    })
}

fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// `entries(name, archive, options, full)` gives a list of names, or of tables.
fn entries(call: Call) -> Result<Pending, Error> {
    let tag = tagged(call.str(1)?);
    let path = call.string(2)?;
    let options = call.opt_table(3)?;
    let read = || Ok((compression(options)?, bounds(options)?));
    let (compression, bounds) = read().map_err(as_failure(call.str(1)?))?;
    let full = call.lua().boolean(4);
    wait(async move {
        let entries = tar::entries(path, compression, bounds).await.map_err(tag)?;
        Ok(move |call: Call| {
            let lua = call.lua();
            value::push_list(lua, entries.iter(), |entry| {
                if full {
                    push_entry(lua, entry);
                } else {
                    lua.push_bytes(&entry.name);
                }
            });
            Ok(1)
        })
    })
}

fn push_entry(lua: Lua, entry: &tar::Entry) {
    lua.new_table(0, 6);
    lua.push_bytes(&entry.name);
    lua.raw_set(-2, "name");
    lua.push_str(match entry.kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Hardlink => "hardlink",
        Kind::Other => "other",
    });
    lua.raw_set(-2, "type");
    lua.push_integer(integer(entry.size));
    lua.raw_set(-2, "size");
    lua.push_str(&format!("{:03o}", entry.mode));
    lua.raw_set(-2, "permissions");
    lua.push_integer(entry.modified);
    lua.raw_set(-2, "modified");
    if matches!(entry.kind, Kind::Symlink | Kind::Hardlink) {
        lua.push_bytes(&entry.target);
        lua.raw_set(-2, "target");
    }
}

fn selection(options: Option<Fields>) -> Result<Selection, Error> {
    let mut selection = Selection {
        compression: compression(options)?,
        bounds: bounds(options)?,
        members: Vec::new(),
        strip: 0,
        skip_unsafe: false,
    };
    let Some(options) = options else { return Ok(selection) };
    if let Some(members) = options.strings("members")? {
        selection.members = members.into_iter().map(String::into_bytes).collect();
        if selection.members.is_empty() {
            return Err(options.invalid("members", "the list is empty"));
        }
    }
    if let Some(strip) = options.integer("strip")? {
        selection.strip =
            u32::try_from(strip).map_err(|_| options.invalid("strip", "a number from 0 expected"))?;
    }
    selection.skip_unsafe = match options.string("unsafe")?.as_deref() {
        None | Some("error") => false,
        Some("skip") => true,
        Some(_) => return Err(options.invalid("unsafe", "\"error\" or \"skip\" expected")),
    };
    Ok(selection)
}

/// `extract(name, archive, destination, options)` gives `{entries, bytes, skipped}`.
fn extract(call: Call) -> Result<Pending, Error> {
    let tag = tagged(call.str(1)?);
    let (path, destination) = (call.string(2)?, call.string(3)?);
    let selection = selection(call.opt_table(4)?).map_err(as_failure(call.str(1)?))?;
    wait(async move {
        let done = tar::extract(path, destination, selection).await.map_err(tag)?;
        Ok(move |call: Call| {
            let lua = call.lua();
            lua.new_table(0, 3);
            lua.push_integer(integer(done.entries));
            lua.raw_set(-2, "entries");
            lua.push_integer(integer(done.bytes));
            lua.raw_set(-2, "bytes");
            value::push_list(lua, done.skipped.iter(), |(name, reason)| {
                lua.new_table(0, 2);
                lua.push_bytes(name);
                lua.raw_set(-2, "name");
                lua.push_str(reason);
                lua.raw_set(-2, "reason");
            });
            lua.raw_set(-2, "skipped");
            Ok(1)
        })
    })
}

/// `member(archive, destination, options)`: `compress.untar`.
pub fn member(call: Call) -> Result<Pending, Error> {
    const NAME: &str = "compress.untar";
    let (path, destination) = (call.string(1)?, call.string(2)?);
    let read = || {
        let options = call.table(3)?;
        let member = options.bytes("member")?.ok_or_else(|| options.invalid("member", "it is missing"))?;
        Ok((member, compression(Some(options))?, bounds(Some(options))?))
    };
    let (member, compression, bounds) = read().map_err(as_failure(NAME))?;
    wait(async move {
        let size = tar::member(path, destination, member, compression, bounds).await.map_err(tagged(NAME))?;
        Ok(move |call: Call| {
            call.lua().push_integer(integer(size));
            Ok(1)
        })
    })
}

/// An archive that is being written; none once it is finished or given up.
struct Writer(Closable<tar::Writer>);

impl Userdata for Writer {
    crate::named!(c"tar.writer");
}

/// `create(name, output, compression, options)` gives a handle.
fn create(call: Call) -> Result<Pending, Error> {
    let tag = tagged(call.str(1)?);
    let (output, compression) = (call.string(2)?, call.string(3)?);
    let level = level(call.opt_table(4)?).map_err(as_failure(call.str(1)?))?;
    wait(async move {
        let writer = tar::create(output, compression, level).await.map_err(tag)?;
        Ok(task::handle(Writer(Closable::new(writer))))
    })
}

fn writer(call: Call) -> Result<Rc<tar::Writer>, Error> {
    let writer = call.userdata::<Writer>(2)?.0.get();
    writer.ok_or_else(|| Error::failed(ErrorCode::InvalidArgument, "the archive is finished"))
}

/// `add(name, handle, path, kind, value, mode, modified)`; the kind is "data", "file", "link" or "directory".
fn add(call: Call) -> Result<Pending, Error> {
    let tag = tagged(call.str(1)?);
    let writer = writer(call)?;
    let name = call.owned(3)?;
    let content = match call.str(4)? {
        "data" => Content::Data(call.owned(5)?),
        "file" => Content::File(call.string(5)?),
        "link" => Content::Symlink(call.owned(5)?),
        _ => Content::Directory,
    };
    let mode = match call.is_nil(6) {
        true => None,
        false => Some(super::fs::mode(call, 6).map_err(as_failure(call.str(1)?))?),
    };
    let modified = call.opt_integer(7)?;
    wait(async move {
        writer.add(name, content, mode, modified).await.map_err(tag)?;
        Ok(|_: Call| Ok(0))
    })
}

/// `finish(name, handle)` gives the size of the archive.
fn finish(call: Call) -> Result<Pending, Error> {
    let tag = tagged(call.str(1)?);
    let writer = writer(call)?;
    wait(async move {
        let size = writer.finish().await.map_err(tag)?;
        Ok(move |call: Call| {
            call.lua().push_integer(integer(size));
            Ok(1)
        })
    })
}

/// Ends the writing now, not when the handle is collected: no partial file stays.
fn abandon(call: Call) -> crate::call::Returned {
    drop(call.userdata::<Writer>(1)?.0.take());
    Ok(0)
}
