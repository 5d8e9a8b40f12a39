//! The heads of requests and the header fields of responses.

use crate::call::{Call, Error, Returned, carry};
use crate::ffi::lua_next;
use crate::host::types::ErrorCode;
use crate::lua::{Lua, Type};
use assay_wire::Bad;
use assay_wire::fields::{self as wire, Head, NAMES};
use std::ffi::c_int;

fn broken(bad: Bad) -> Error {
    Error::failed(ErrorCode::InvalidData, format!("the head of a request cannot be read: {bad}"))
}

/// `head(request, head)` sets the fields of a request: method, path, query, version, peer_addr, scheme and path_params.
pub fn head(call: Call) -> Returned {
    call.table(1)?;
    let head = Head::read(call.bytes(2)?).map_err(broken)?;
    let lua = call.lua();
    for (name, value) in NAMES.into_iter().zip(head.start) {
        lua.push_bytes(value);
        lua.raw_set(1, name);
    }
    lua.new_table(0, 2);
    for parameter in head.parameters {
        let (name, value) = parameter.map_err(broken)?;
        if name == b"*" {
            // For `http.files`, which must not decode it twice.
            lua.push_bytes(value);
            lua.raw_set(1, "_rest");
        }
        push_decoded(lua, value, false);
        // A name comes from a route, which is text.
        lua.raw_set(-2, std::str::from_utf8(name).unwrap_or_default());
    }
    lua.raw_set(1, "path_params");
    Ok(0)
}

/// `headers(head)` gives a table of the header fields; those that came several times are joined (RFC 9110 5.3, for
/// cookies RFC 9113 8.2.3).
pub fn headers(call: Call) -> Returned {
    let head = Head::read(call.bytes(1)?).map_err(broken)?;
    let lua = call.lua();
    lua.new_table(0, 8);
    for field in head.headers {
        let (name, value) = field.map_err(broken)?;
        let name = std::str::from_utf8(name).unwrap_or_default();
        if lua.raw_get(-1, name) == Type::String {
            let mut joined = lua.bytes(-1).unwrap_or_default().to_vec();
            joined.extend_from_slice(if name == "cookie" { b"; " } else { b", " });
            joined.extend_from_slice(value);
            lua.pop(1);
            lua.push_bytes(&joined);
        } else {
            lua.pop(1);
            lua.push_bytes(value);
        }
        lua.raw_set(-2, name);
    }
    Ok(1)
}

/// Pushes text without its percent-encoding; `form` is whether a plus is a blank.
fn push_decoded(lua: Lua, text: &[u8], form: bool) {
    let plain = |byte: &u8| *byte != b'%' && !(form && *byte == b'+');
    if text.iter().all(plain) {
        return lua.push_bytes(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let digit = |n: usize| text.get(at + n).and_then(|byte| char::from(*byte).to_digit(16));
        match (text[at], digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (b'+', _, _) if form => {
                out.push(b' ');
                at += 1;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    lua.push_bytes(&out);
}

/// `decode(text, form)`.
pub fn decode(call: Call) -> Returned {
    push_decoded(call.lua(), call.bytes(1)?, call.lua().boolean(2));
    Ok(1)
}

fn invalid(message: String) -> Error {
    Error::failed(ErrorCode::InvalidArgument, message)
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), Error> {
    wire::field(out, name, value).map_err(|_| {
        let name = String::from_utf8_lossy(name).into_owned();
        invalid(format!("the header field '{}' has a zero byte", name.escape_debug()))
    })
}

/// The bytes of a value that can stand in a header field.
fn push_value(lua: Lua, out: &mut Vec<u8>, name: &[u8]) -> Result<(), Error> {
    match lua.type_of(-1) {
        Type::String => field(out, name, lua.bytes(-1).unwrap_or_default()),
        Type::Integer | Type::Float => field(out, name, lua.display(-1)?.as_bytes()),
        _ => {
            let name = String::from_utf8_lossy(name).into_owned();
            Err(invalid(format!("the header field '{name}': a string or a list of strings expected")))
        }
    }
}

/// The header fields in the table at `index` as the host takes them, with a content type where they have none.
pub fn fields(call: Call, index: c_int, content_type: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    let lua = call.lua();
    let mut out = Vec::new();
    let mut typed = content_type.is_none();
    if !call.is_nil(index) {
        if lua.type_of(index) != Type::Table {
            return Err(invalid("the field 'headers' of a response must be a table".into()));
        }
        lua.push_nil();
        while unsafe { lua_next(lua.0, index) } != 0 {
            // A key that is a number must not become text: it would confuse `lua_next`.
            let Some(name) = lua.bytes(-2) else {
                return Err(invalid("the names in 'headers' of a response must be strings".into()));
            };
            typed |= name.eq_ignore_ascii_case(b"content-type");
            if lua.type_of(-1) == Type::Table {
                let Some(length) = lua.list_len(-1) else {
                    return Err(invalid(
                        "a value in 'headers' of a response is a text or a list of texts".into(),
                    ));
                };
                for n in 1..=length {
                    lua.raw_get_index(-1, n);
                    push_value(lua, &mut out, name)?;
                    lua.pop(1);
                }
            } else {
                push_value(lua, &mut out, name)?;
            }
            lua.pop(1);
        }
    }
    if let (false, Some(content_type)) = (typed, content_type) {
        field(&mut out, b"content-type", content_type)?;
    }
    carry(out.len())?;
    Ok(out)
}
