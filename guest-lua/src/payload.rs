//! Large results, which the host keeps until there is room for them.

use crate::call::Error;
use crate::host::types::{ErrorCode, Payload};
use crate::lua::Lua;
use crate::region;

/// The bytes of a result, once there is room for them twice: here, and in what is made of them. They stay in `payload`, so that
/// they are dropped with it.
///
/// # Errors
/// `limit`.
pub fn bytes(lua: Lua, payload: &mut Payload) -> Result<&[u8], Error> {
    if let Payload::Large(stored) = payload {
        let size = usize::try_from(stored.size()).unwrap_or(usize::MAX);
        if !region::has_room(lua, size.saturating_mul(2)) {
            let message = format!(
                "not enough memory for the {size} bytes that the call gives; take them in parts, or raise the limit with \
                 --memory"
            );
            return Err(Error::failed(ErrorCode::Limit, message));
        }
        *payload = Payload::Small(stored.take());
    }
    match payload {
        Payload::Small(bytes) => Ok(bytes),
        Payload::Large(_) => Ok(&[]),
    }
}

/// Pushes the bytes of a result, of which nothing is left then.
///
/// # Errors
/// The same, and "not enough memory".
pub fn push(lua: Lua, payload: &mut Payload) -> Result<(), Error> {
    let bytes = bytes(lua, payload)?;
    region::region(lua, || lua.push_bytes(bytes))?;
    *payload = Payload::Small(Vec::new());
    Ok(())
}
