//! Header fields of responses, as the guest writes them.

use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use assay_wire::fields::Fields;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Fields of one response.
const MAX_FIELDS: usize = 256;

fn invalid(message: String) -> Error {
    error(ErrorCode::InvalidArgument, message)
}

/// Reads the fields. Lengths and codings of the body are the
/// host's to say: one that is wrong would let a response be read as two.
///
/// # Errors
/// `invalid_argument` where a name or value cannot stand in a header.
pub fn parse(fields: &[u8]) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for field in Fields::new(fields) {
        let (name, value) =
            field.map_err(|bad| invalid(format!("the header fields cannot be read: {bad}")))?;
        let shown = || String::from_utf8_lossy(name).into_owned();
        let key = HeaderName::from_bytes(name).map_err(|_| {
            invalid(format!("'{}' is not the name of a header field", shown().escape_debug()))
        })?;
        if key == CONTENT_LENGTH || key == TRANSFER_ENCODING {
            continue;
        }
        let value = HeaderValue::from_bytes(value).map_err(|_| {
            invalid(format!(
                "the header field '{}' has a value with a line break or control character",
                shown()
            ))
        })?;
        if headers.len() >= MAX_FIELDS {
            return Err(invalid(format!("a response has more than {MAX_FIELDS} header fields")));
        }
        headers.append(key, value);
    }
    Ok(headers)
}

/// The status of a response.
///
/// # Errors
/// `invalid_argument` where the number is not the status of a response: below 200 it would be no response yet.
pub fn status(code: u16) -> Result<StatusCode, Error> {
    match StatusCode::from_u16(code) {
        Ok(status) if (200..=599).contains(&code) => Ok(status),
        _ => Err(invalid(format!("{code} is not the status of a response; it must be between 200 and 599"))),
    }
}

/// Whether a response of this status has a body (RFC 9110 6.4.1).
pub fn has_body(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_checked() {
        let headers = parse(b"Set-Cookie\0a=1\0set-cookie\0b=2\0content-length\x007\0X\0\0").unwrap();
        let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert_eq!((headers.len(), headers["x"].len()), (3, 0));
        assert!(parse(b"").unwrap().is_empty());
        for bad in [&b"x\0y"[..], b"x", b"a b\0x\0", b"a\0x\r\ny: z\0", b"\0x\0", b"a:\0x\0", b"a\n\0x\0"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse(b"x\0\xff\xfe\0").is_ok());
        assert!(
            parse(&b"a\0b\0".repeat(MAX_FIELDS)).is_ok() && parse(&b"a\0b\0".repeat(MAX_FIELDS + 1)).is_err()
        );
    }

    #[test]
    fn statuses() {
        assert!(status(200).is_ok() && status(599).is_ok());
        for code in [0, 99, 100, 101, 199, 600, 1000] {
            assert!(status(code).is_err(), "{code}");
        }
    }
}
