//! Hashes and what is built from them.

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{HostResult, error};
use hmac::{KeyInit, Mac, SimpleHmac};
use md5::Md5;
use sha1::Sha1;
use sha2::digest::DynDigest;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};

const NAMES: &str = "sha1, sha224, sha256, sha384, sha512, sha3-224, sha3-256, sha3-384, sha3-512";

/// The name as it is matched: `SHA-256`, `sha_256` and `sha256` are the same.
fn canonical(name: &str) -> String {
    let name = name.to_ascii_lowercase().replace('_', "-");
    match name.strip_prefix("sha-") {
        Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => format!("sha{bits}"),
        _ => name,
    }
}

fn unknown(name: &str, names: &str) -> Error {
    error(ErrorCode::InvalidArgument, format!("there is no hash algorithm '{name}' here; there are {names}"))
}

/// A hasher that takes its data in pieces.
///
/// # Errors
/// `invalid-argument` when there is no such algorithm.
pub fn hasher(algorithm: &str) -> Result<Box<dyn DynDigest + Send>, Error> {
    Ok(match canonical(algorithm).as_str() {
        "md5" => Box::new(Md5::default()),
        "sha1" => Box::new(Sha1::default()),
        "sha224" => Box::new(Sha224::default()),
        "sha256" => Box::new(Sha256::default()),
        "sha384" => Box::new(Sha384::default()),
        "sha512" => Box::new(Sha512::default()),
        "sha3-224" => Box::new(Sha3_224::default()),
        "sha3-256" => Box::new(Sha3_256::default()),
        "sha3-384" => Box::new(Sha3_384::default()),
        "sha3-512" => Box::new(Sha3_512::default()),
        _ => return Err(unknown(algorithm, &format!("md5, {NAMES}"))),
    })
}

/// The digest of `data`.
///
/// # Errors
/// `invalid-argument` when there is no such algorithm.
#[cfg(test)]
pub fn digest(algorithm: &str, data: &[u8]) -> Result<Vec<u8>, Error> {
    let mut hasher = hasher(algorithm)?;
    hasher.update(data);
    Ok(hasher.finalize().into_vec())
}

/// Feeds a MAC with `pieces`, with a look at `goes_on` before each.
fn mac<'a, M: Mac + KeyInit>(
    key: &[u8],
    pieces: impl Iterator<Item = &'a [u8]>,
    goes_on: impl Fn() -> wasmtime::Result<()>,
) -> HostResult<Vec<u8>> {
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else {
        let message = "the key has a length that the algorithm cannot take";
        return Err(error(ErrorCode::InvalidArgument, message).into());
    };
    for piece in pieces {
        goes_on()?;
        Mac::update(&mut mac, piece);
    }
    Ok(mac.finalize().into_bytes().to_vec())
}

/// HMAC (RFC 2104) of data in pieces, with a look at `goes_on` before each.
///
/// # Errors
/// What `goes_on` says; `invalid-argument` when there is no such algorithm.
pub fn hmac<'a>(
    algorithm: &str,
    key: &[u8],
    pieces: impl Iterator<Item = &'a [u8]>,
    goes_on: impl Fn() -> wasmtime::Result<()>,
) -> HostResult<Vec<u8>> {
    match canonical(algorithm).as_str() {
        "sha1" => mac::<SimpleHmac<Sha1>>(key, pieces, goes_on),
        "sha224" => mac::<SimpleHmac<Sha224>>(key, pieces, goes_on),
        "sha256" => mac::<SimpleHmac<Sha256>>(key, pieces, goes_on),
        "sha384" => mac::<SimpleHmac<Sha384>>(key, pieces, goes_on),
        "sha512" => mac::<SimpleHmac<Sha512>>(key, pieces, goes_on),
        "sha3-224" => mac::<SimpleHmac<Sha3_224>>(key, pieces, goes_on),
        "sha3-256" => mac::<SimpleHmac<Sha3_256>>(key, pieces, goes_on),
        "sha3-384" => mac::<SimpleHmac<Sha3_384>>(key, pieces, goes_on),
        "sha3-512" => mac::<SimpleHmac<Sha3_512>>(key, pieces, goes_on),
        _ => Err(unknown(algorithm, NAMES).into()),
    }
}

struct Length(usize);

impl ring::hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF (RFC 5869), extract and expand.
///
/// # Errors
/// `invalid-argument` when there is no such algorithm, or `length` is above 255 digests.
pub fn hkdf(
    algorithm: &str,
    secret: &[u8],
    salt: &[u8],
    info: &[u8],
    length: usize,
) -> Result<Vec<u8>, Error> {
    let hash = match canonical(algorithm).as_str() {
        "sha256" => ring::hkdf::HKDF_SHA256,
        "sha384" => ring::hkdf::HKDF_SHA384,
        "sha512" => ring::hkdf::HKDF_SHA512,
        _ => return Err(unknown(algorithm, "sha256, sha384, sha512")),
    };
    let too_long =
        |_| error(ErrorCode::InvalidArgument, format!("{length} bytes are more than {algorithm} can derive"));
    let info = [info];
    let extracted = ring::hkdf::Salt::new(hash, salt).extract(secret);
    let expanded = extracted.expand(&info, Length(length)).map_err(too_long)?;
    let mut out = vec![0; length];
    expanded.fill(&mut out).map_err(too_long)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_capability_api::HostError;

    // RFC 1321 A.5, FIPS 180-4 and FIPS 202 examples for "abc".
    #[test]
    fn digests_of_abc() {
        for (algorithm, expected) in [
            ("md5", "900150983cd24fb0d6963f7d28e17f72"),
            ("sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("sha224", "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            ("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "sha384",
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            ),
            (
                "SHA-512",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
            ("sha3-256", "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"),
            ("SHA3_224", "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf"),
        ] {
            assert_eq!(hex::encode(digest(algorithm, b"abc").unwrap()), expected, "{algorithm}");
        }
        assert_eq!(hex::encode(digest("sha256", b"").unwrap())[..16], *"e3b0c44298fc1c14");
        assert_eq!(digest("sha3-384", b"").unwrap().len(), 48);
        assert_eq!(digest("sha3-512", b"").unwrap().len(), 64);
        for name in ["", "sha", "sha-3-256", "crc32"] {
            assert_eq!(digest(name, b"").unwrap_err().code, ErrorCode::InvalidArgument, "{name}");
        }
    }

    fn whole(algorithm: &str, key: &[u8], data: &[u8]) -> HostResult<Vec<u8>> {
        hmac(algorithm, key, data.chunks(7), || Ok(()))
    }

    // RFC 4231, test cases 2 and 6 (a key longer than a block).
    #[test]
    fn macs() {
        assert_eq!(
            hex::encode(whole("sha256", b"Jefe", b"what do ya want for nothing?").unwrap()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex::encode(
                whole("sha256", &[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First")
                    .unwrap()
            ),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        let Err(HostError::Script(failure)) = whole("md5", b"k", b"d") else {
            panic!("there is no such MAC")
        };
        assert_eq!(failure.code, ErrorCode::InvalidArgument);
        for (algorithm, length) in
            [("sha1", 20), ("sha224", 28), ("sha384", 48), ("sha512", 64), ("sha3-224", 28)]
        {
            assert_eq!(whole(algorithm, b"", b"").unwrap().len(), length, "{algorithm}");
        }
    }

    // RFC 5869, test case 1.
    #[test]
    fn key_derivation() {
        let out = hkdf(
            "sha256",
            &[0x0b; 22],
            &hex::decode("000102030405060708090a0b0c").unwrap(),
            &hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap(),
            42,
        );
        assert_eq!(
            hex::encode(out.unwrap()),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        );
        assert_eq!(
            hkdf("sha256", b"s", b"", b"", 255 * 32 + 1).unwrap_err().code,
            ErrorCode::InvalidArgument
        );
    }
}
