//! `fs`: files and directories.

pub mod buffer;

use crate::call::{Call, Error, Returned, piece, prelude, push_library, set_library};
use crate::ffi::*;
use crate::host::fs::{self, Entry, File, Kind, OpenFlags};
use crate::host::types::{self, ErrorCode};
use crate::lua::{Lua, Ref, Type};
use crate::task::{self, Pending, wait};
use crate::userdata::{Closable, Userdata};
use crate::value::{self, Pin};
use crate::{function, waiting};
use buffer::Buffer;

/// The first read of a whole file: most files are smaller.
const FIRST: u32 = 64 * 1024;
/// Later pieces, in both directions.
pub const PIECE: usize = 1 << 20;
/// `ENOTDIR`: something on the way is a file, so what is asked for is not there.
const NOT_A_DIRECTORY: i32 = 20;

/// The host's side of `fs.readdir` and its relatives.
struct Listing(Closable<fs::Listing>);

impl Userdata for Listing {
    crate::named!(c"fs.listing");
    const METAMETHODS: &'static [(&'static str, lua_CFunction)] = &[("__close", function!(close_listing))];
}

pub fn register(lua: Lua) {
    push_library(
        lua,
        &[
            ("read", waiting!(read, 1)),
            ("read_bytes", waiting!(read_bytes, 1)),
            ("write", waiting!(write, 2)),
            ("write_bytes", waiting!(write, 2)),
            ("append", waiting!(append, 2)),
            ("remove", waiting!(remove, 2)),
            ("copy", waiting!(copy, 2)),
            ("rename", waiting!(rename, 2)),
            ("chmod", waiting!(chmod, 2)),
            ("mkdir", waiting!(mkdir, 1)),
            ("tempdir", waiting!(tempdir, 0)),
            ("temp_dir", waiting!(tempdir, 0)),
            ("stat", waiting!(stat, 2)),
            ("metadata", waiting!(stat, 2)),
            ("exists", waiting!(exists, 1)),
            ("is_dir", waiting!(is_dir, 1)),
            ("is_file", waiting!(is_file, 1)),
            ("symlink", waiting!(symlink, 2)),
            ("readlink", waiting!(readlink, 1)),
            ("canonicalize", waiting!(canonicalize, 1)),
            ("lines", waiting!(super::io::fs_lines, 1)),
        ],
    );
    lua.push_copy(-1);
    set_library(lua, "fs");
    push_library(
        lua,
        &[
            ("replace", waiting!(replace)),
            ("walk", waiting!(walk)),
            ("glob", waiting!(glob)),
            ("more", waiting!(more)),
        ],
    );
    lua.insert(-2);
    lua.raw_set(-2, "fs");
    prelude(lua, "fs", include_str!("fs.lua"));
}

/// Says what was tried, before the path and the reason. A denial says it already.
pub fn doing(what: &'static str) -> impl Fn(types::Error) -> Error {
    move |mut error| {
        if error.errno != 0 {
            error.message = format!("cannot {what} {}", error.message);
        }
        Error::Failed(error)
    }
}

fn path(call: Call, index: i32) -> Result<String, Error> {
    call.string(index)
}

/// Reads an open file to its end.
///
/// # Errors
/// The host's, or `limit` where it does not fit into the script's memory.
pub async fn read_to_end(file: &File) -> Result<Buffer, Error> {
    let mut buffer = Buffer::new();
    let first = file.read(FIRST).await?;
    let full = first.len() == FIRST as usize;
    buffer.extend(&first)?;
    if first.is_empty() {
        return Ok(buffer);
    }
    drop(first);
    if full {
        // A file that cannot fit fails now and not after most of it was read.
        let size = file.size().await?;
        buffer.reserve(usize::try_from(size.saturating_sub(FIRST.into())).unwrap_or(usize::MAX))?;
    }
    loop {
        let piece = file.read(PIECE as u32).await?;
        if piece.is_empty() {
            return Ok(buffer);
        }
        buffer.extend(&piece)?;
    }
}

async fn read_path(path: String) -> Result<Buffer, Error> {
    let file = fs::open(path, OpenFlags::READ).await.map_err(doing("read"))?;
    read_to_end(&file).await
}

/// Reads a whole file without giving way to other tasks, for builtins that cannot wait.
///
/// # Errors
/// The host's: `denied`, `not-found`...
pub fn read_blocking(path: &str) -> Result<Vec<u8>, types::Error> {
    match wit_bindgen::block_on(read_path(path.to_owned())) {
        Ok(buffer) => {
            let mut bytes = Vec::new();
            if bytes.try_reserve_exact(buffer.as_slice().len()).is_err() {
                let message = format!("cannot read {path}: not enough memory");
                return Err(types::Error { code: ErrorCode::Limit, message, errno: 0 });
            }
            bytes.extend_from_slice(buffer.as_slice());
            Ok(bytes)
        }
        Err(Error::Failed(error)) => Err(error),
        Err(_) => {
            Err(types::Error { code: ErrorCode::Other, message: format!("cannot read {path}"), errno: 0 })
        }
    }
}

fn read(call: Call) -> Result<Pending, Error> {
    let path = path(call, 1)?;
    wait(async move {
        let mut text = read_path(path.clone()).await?;
        if let Err(wrong) = std::str::from_utf8(text.as_slice()) {
            return Err(Error::failed(
                ErrorCode::InvalidData,
                format!(
                    "cannot read {path} as text: not UTF-8 at byte {}; use fs.read_bytes",
                    wrong.valid_up_to() + 1
                ),
            ));
        }
        Ok(move |call: Call| {
            text.push(call.lua());
            Ok(1)
        })
    })
}

fn read_bytes(call: Call) -> Result<Pending, Error> {
    let path = path(call, 1)?;
    wait(async move {
        let mut bytes = read_path(path).await?;
        Ok(move |call: Call| {
            bytes.push(call.lua());
            Ok(1)
        })
    })
}

/// A Lua string that is used while its call waits. The reference keeps it alive where it is: Lua never
/// moves a string.
pub struct Text {
    _alive: Ref,
    bytes: &'static [u8],
}

impl Text {
    /// The string, or number as text, at `index`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn take(call: Call, index: i32) -> Result<Text, Error> {
        let bytes: &[u8] = call.text(index)?;
        let bytes = unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) };
        call.lua().push_copy(index);
        Ok(Text { _alive: Ref::pop(call.lua()), bytes })
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }
}

/// Writes all of `bytes`, in pieces that one call may carry.
///
/// # Errors
/// The host's.
pub async fn write_all(file: &File, bytes: &[u8]) -> Result<(), types::Error> {
    for piece in bytes.chunks(piece()) {
        file.write(piece.to_vec()).await?;
    }
    Ok(())
}

fn put(call: Call, how: OpenFlags, what: &'static str) -> Result<Pending, Error> {
    let path = path(call, 1)?;
    let text = Text::take(call, 2)?;
    wait(async move {
        let file = fs::open(path, how).await.map_err(doing(what))?;
        write_all(&file, text.bytes()).await.map_err(doing(what))?;
        Ok(|_: Call| Ok(0))
    })
}

fn write(call: Call) -> Result<Pending, Error> {
    put(call, OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::PARENTS, "write")
}

fn append(call: Call) -> Result<Pending, Error> {
    put(call, OpenFlags::APPEND | OpenFlags::CREATE | OpenFlags::PARENTS, "append to")
}

/// Puts new content in the place of a file's, at once.
fn replace(call: Call) -> Result<Pending, Error> {
    let path = path(call, 1)?;
    let text = Text::take(call, 2)?;
    wait(async move {
        let file = fs::replace(path).await.map_err(doing("write"))?;
        write_all(&file, text.bytes()).await.map_err(doing("write"))?;
        file.commit().await.map_err(doing("write"))?;
        Ok(|_: Call| Ok(0))
    })
}

fn nothing(_: Call) -> Returned {
    Ok(0)
}

fn remove(call: Call) -> Result<Pending, Error> {
    let path = path(call, 1)?;
    let recursive = match call.opt_options(2, &["recursive"])? {
        Some(options) => options.boolean("recursive")?.unwrap_or(false),
        None => false,
    };
    wait(async move {
        fs::remove(path, recursive).await.map_err(doing("remove"))?;
        Ok(nothing)
    })
}

fn copy(call: Call) -> Result<Pending, Error> {
    let (source, destination) = (path(call, 1)?, path(call, 2)?);
    wait(async move {
        let copied = fs::copy(source, destination).await.map_err(doing("copy"))?;
        Ok(move |call: Call| {
            call.lua().push_integer(copied as i64);
            Ok(1)
        })
    })
}

fn rename(call: Call) -> Result<Pending, Error> {
    let (source, destination) = (path(call, 1)?, path(call, 2)?);
    wait(async move {
        fs::rename(source, destination).await.map_err(doing("rename"))?;
        Ok(nothing)
    })
}

/// Decimal numbers that stand for modes of their own, but are more likely octal digits without their quotes.
const LIKELY_OCTAL: [i64; 4] = [400, 440, 444, 500];

/// "755" in octal, as the command takes it, or the bits as a number. Lua has no octal numbers: 755 is decimal, and as bits
/// something else than it looks like. So a number is at most 0o777; the three bits above are given in octal.
///
/// # Errors
/// When it is neither.
pub fn mode(call: Call, index: i32) -> Result<u32, Error> {
    let wrong =
        || Error::Argument(index, "not a mode: octal digits up to \"7777\", or up to 511 as a number".into());
    let mode = match call.lua().type_of(index) {
        Type::String => {
            let text = call.str(index)?;
            let digits = text.strip_prefix("0o").unwrap_or(text);
            if digits.is_empty() || !digits.bytes().all(|digit| matches!(digit, b'0'..=b'7')) {
                return Err(wrong());
            }
            i64::from_str_radix(digits, 8).map_err(|_| wrong())?
        }
        _ => match call.integer(index)? {
            number @ 512..=7777 => return Err(Error::Argument(index, decimal_mode(number))),
            number if LIKELY_OCTAL.contains(&number) => {
                return Err(Error::Argument(index, decimal_mode(number)));
            }
            number @ 0..=0o777 => number,
            _ => return Err(wrong()),
        },
    };
    u32::try_from(mode).ok().filter(|mode| *mode <= 0o7777).ok_or_else(wrong)
}

fn decimal_mode(number: i64) -> String {
    format!(
        "the number {number} is decimal, the mode {number:o} in octal; write \"{number}\" or tonumber(\"{number}\", 8) if \
         octal is meant, else \"{number:o}\""
    )
}

fn chmod(call: Call) -> Result<Pending, Error> {
    let path = path(call, 1)?;
    let mode = mode(call, 2)?;
    wait(async move {
        fs::chmod(path, mode).await.map_err(doing("change the mode of"))?;
        Ok(nothing)
    })
}

fn mkdir(call: Call) -> Result<Pending, Error> {
    let path = path(call, 1)?;
    wait(async move {
        fs::mkdir(path).await.map_err(doing("make the directory"))?;
        Ok(nothing)
    })
}

fn tempdir(_: Call) -> Result<Pending, Error> {
    wait(async move {
        let path = fs::temp_directory().await.map_err(doing("make the temporary directory"))?;
        Ok(move |call: Call| {
            call.lua().push_str(&path);
            Ok(1)
        })
    })
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Other => "other",
    }
}

fn push_metadata(lua: Lua, about: &fs::Metadata) {
    lua.new_table(0, 8);
    lua.push_integer(about.size as i64);
    lua.raw_set(-2, "size");
    lua.push_str(kind_name(about.kind));
    lua.raw_set(-2, "type");
    lua.push_bool(about.kind == Kind::File);
    lua.raw_set(-2, "is_file");
    lua.push_bool(about.kind == Kind::Directory);
    lua.raw_set(-2, "is_dir");
    lua.push_bool(about.is_symlink);
    lua.raw_set(-2, "is_symlink");
    for (name, time) in [("modified", about.modified), ("created", about.created)] {
        if let Some(time) = time {
            lua.push_number(time);
            lua.raw_set(-2, name);
        }
    }
    lua.push_str(&format!("{:03o}", about.permissions));
    lua.raw_set(-2, "permissions");
}

fn stat(call: Call) -> Result<Pending, Error> {
    let path = path(call, 1)?;
    let follow = match call.opt_options(2, &["follow"])? {
        Some(options) => options.boolean("follow")?.unwrap_or(true),
        None => true,
    };
    wait(async move {
        let about = fs::stat(path, follow).await.map_err(doing("look at"))?;
        Ok(move |call: Call| {
            push_metadata(call.lua(), &about);
            Ok(1)
        })
    })
}

/// Whether there is something that `fits`; what is missing is false and no error.
fn test(call: Call, fits: fn(Kind) -> bool) -> Result<Pending, Error> {
    let path = path(call, 1)?;
    wait(async move {
        let is = match fs::stat(path, true).await {
            Ok(about) => fits(about.kind),
            Err(error) if error.code == ErrorCode::NotFound || error.errno == NOT_A_DIRECTORY => false,
            Err(error) => return Err(doing("look at")(error)),
        };
        Ok(move |call: Call| {
            call.lua().push_bool(is);
            Ok(1)
        })
    })
}

fn exists(call: Call) -> Result<Pending, Error> {
    test(call, |_| true)
}

fn is_dir(call: Call) -> Result<Pending, Error> {
    test(call, |kind| kind == Kind::Directory)
}

fn is_file(call: Call) -> Result<Pending, Error> {
    test(call, |kind| kind == Kind::File)
}

fn symlink(call: Call) -> Result<Pending, Error> {
    let (target, link) = (path(call, 1)?, path(call, 2)?);
    wait(async move {
        fs::symlink(target, link).await.map_err(doing("make the link"))?;
        Ok(nothing)
    })
}

fn text(
    result: Result<String, types::Error>,
    what: &'static str,
) -> Result<impl FnMut(Call) -> Returned + 'static, Error> {
    let text = result.map_err(doing(what))?;
    Ok(move |call: Call| {
        call.lua().push_str(&text);
        Ok(1)
    })
}

fn readlink(call: Call) -> Result<Pending, Error> {
    let path = path(call, 1)?;
    wait(async move { text(fs::readlink(path).await, "read the link") })
}

fn canonicalize(call: Call) -> Result<Pending, Error> {
    let path = path(call, 1)?;
    wait(async move { text(fs::canonicalize(path).await, "resolve") })
}

fn push_listing(listing: fs::Listing) -> impl FnMut(Call) -> Returned {
    task::handle(Listing(Closable::new(listing)))
}

/// `walk(path, options?)`: a listing of the directory, all the way down unless `options.depth` ends it.
fn walk(call: Call) -> Result<Pending, Error> {
    let path = path(call, 1)?;
    let depth = match call.opt_table(2)? {
        Some(options) => match options.integer("depth")? {
            Some(depth) => match u32::try_from(depth) {
                Ok(depth) if depth > 0 => Some(depth),
                _ => return Err(options.invalid("depth", "1 or more expected")),
            },
            None => None,
        },
        None => None,
    };
    wait(async move {
        let listing = fs::walk(path, depth).await.map_err(doing("list"))?;
        Ok(push_listing(listing))
    })
}

fn glob(call: Call) -> Result<Pending, Error> {
    let pattern = path(call, 1)?;
    let hidden = match call.opt_table(2)? {
        Some(options) => options.boolean("hidden")?.unwrap_or(false),
        None => false,
    };
    wait(async move {
        let listing = fs::glob(pattern, hidden).await.map_err(doing("list"))?;
        Ok(push_listing(listing))
    })
}

fn close_listing(call: Call) -> Returned {
    drop(call.userdata::<Listing>(1)?.0.take());
    Ok(0)
}

/// `more(listing, list, form)` appends the next entries to `list` and gives how many there were.
/// `form` is "path" for the bare path, "entry" for name and type, "full" for the path too.
fn more(call: Call) -> Result<Pending, Error> {
    let Some(listing) = call.userdata::<Listing>(1)?.0.get() else {
        return Err(Error::Plain("the listing is closed".into()));
    };
    call.table(2)?;
    let (bare, full) = (call.str(3)? == "path", call.str(3)? == "full");
    wait(async move {
        let batch = listing.next().await.map_err(doing("list"))?;
        Ok(move |call: Call| {
            let lua = call.lua();
            let have = lua.raw_len(2) as i64;
            for (n, entry) in batch.iter().enumerate() {
                if bare {
                    lua.push_str(&entry.path);
                } else {
                    push_entry(lua, entry, full);
                }
                lua.raw_set_index(2, have + n as i64 + 1);
            }
            if have == 0 && batch.is_empty() {
                value::pin(lua, 2, Pin::Array);
            }
            lua.push_integer(batch.len() as i64);
            Ok(1)
        })
    })
}

fn push_entry(lua: Lua, entry: &Entry, full: bool) {
    lua.new_table(0, 3);
    lua.push_str(&entry.name);
    lua.raw_set(-2, "name");
    lua.push_str(kind_name(entry.kind));
    lua.raw_set(-2, "type");
    if full {
        lua.push_str(&entry.path);
        lua.raw_set(-2, "path");
    }
}
