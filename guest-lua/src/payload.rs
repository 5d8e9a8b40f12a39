//! Large results, which the host keeps until there is room for them.

use crate::call::Error;
use crate::host::types::{ErrorCode, Payload};
use crate::lua::Lua;
use crate::region;

/// The bytes of a result, once there is room for them twice: here, and in what is made of them.
///
/// # Errors
/// `limit`; the bytes are gone then.
pub fn take(lua: Lua, payload: Payload) -> Result<Vec<u8>, Error> {
    match payload {
        Payload::Small(bytes) => Ok(bytes),
        Payload::Large(stored) => {
            let size = usize::try_from(stored.size()).unwrap_or(usize::MAX);
            if !region::has_room(lua, size.saturating_mul(2)) {
                let message = format!(
                    "not enough memory for the {size} bytes that the call gives; take them in parts, or raise the limit with \
                     --memory"
                );
                return Err(Error::failed(ErrorCode::Limit, message));
            }
            Ok(stored.take())
        }
    }
}

/// Pushes the bytes of a result.
///
/// # Errors
/// The same.
pub fn push(lua: Lua, payload: Payload) -> Result<(), Error> {
    let bytes = take(lua, payload)?;
    region::region(lua, || lua.push_bytes(&bytes))
}
