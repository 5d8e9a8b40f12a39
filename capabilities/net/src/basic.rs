//! User names and passwords of URLs, as header fields have them.

use crate::invalid;
use assay_capability_api::types::Error;
use base64::Engine;
use http::HeaderValue;

/// `%41` as `A`, lossily as UTF-8.
pub fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The value of `Authorization` or `Proxy-Authorization` (RFC 7617).
pub fn basic_auth(user: &str, password: &str) -> Result<HeaderValue, Error> {
    if user.contains(':') {
        return Err(invalid("a user name of basic authentication has no colon"));
    }
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let mut value =
        HeaderValue::try_from(format!("Basic {encoded}")).map_err(|_| invalid("not a user name"))?;
    value.set_sensitive(true);
    Ok(value)
}
