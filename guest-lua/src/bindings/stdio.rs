//! `print`, `warn` and the standard streams.

use crate::call::{Call, Error, Returned, piece};
use crate::ffi::*;
use crate::function;
use crate::host::stdio::{self, Target};
use crate::lua::Lua;
use std::ffi::{CStr, c_char, c_int, c_void};

pub fn register(lua: Lua) {
    lua.push_globals();
    lua.push_function(function!(print));
    lua.raw_set(-2, "print");
    lua.pop(1);
    unsafe { lua_setwarnf(lua.0, Some(warn), std::ptr::null_mut()) };
}

/// Writes out what `print` and `io.write` gathered in the host, before the next line is asked for. At the end of a run
/// the host does it, and tells what could not be written.
pub fn flush() {
    // There is nobody to tell; the host reports a broken pipe itself.
    let _ = stdio::flush(Target::Stdout);
    let _ = stdio::flush(Target::Stderr);
}

/// Texts up to here are put together into one write.
const SHORT: usize = 32 << 10;

fn write(bytes: &[u8]) -> Result<(), Error> {
    bytes.chunks(piece()).try_for_each(|piece| stdio::write(Target::Stdout, piece)).map_err(Error::from)
}

fn print(call: Call) -> Returned {
    let lua = call.lua();
    let mut line = Vec::new();
    for index in 1..=lua.top() {
        if index > 1 {
            line.push(b'\t');
        }
        let text = lua.push_text(index)?;
        if text.len() > SHORT {
            write(&line)?;
            line.clear();
            write(text)?;
        } else {
            line.extend_from_slice(text);
        }
        lua.pop(1);
        if line.len() > SHORT {
            write(&line)?;
            line.clear();
        }
    }
    line.push(b'\n');
    write(&line)?;
    Ok(0)
}

/// `lua_WarnFunction`: "@on" and "@off" switch it, as in Lua's own interpreter.
unsafe extern "C" fn warn(_: *mut c_void, message: *const c_char, to_be_continued: c_int) {
    static mut ON: bool = false;
    static mut CONTINUES: bool = false;
    let text = unsafe { CStr::from_ptr(message) }.to_bytes();
    unsafe {
        if !CONTINUES && to_be_continued == 0 && text.first() == Some(&b'@') {
            match text {
                b"@on" => ON = true,
                b"@off" => ON = false,
                _ => {}
            }
            return;
        }
        if ON {
            let mut line = Vec::new();
            if !CONTINUES {
                line.extend_from_slice(b"Lua warning: ");
            }
            line.extend_from_slice(text);
            if to_be_continued == 0 {
                line.push(b'\n');
            }
            // A warning that cannot be written has no other way out.
            let _ = stdio::write(Target::Stderr, &line);
        }
        CONTINUES = to_be_continued != 0;
    }
}
