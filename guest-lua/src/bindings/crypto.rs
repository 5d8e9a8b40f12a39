//! `crypto`: hashes, message authentication, randomness, tokens and encryption.

use super::json;
use crate::call::{Call, Error, Returned, give, library};
use crate::ffi::*;
use crate::host::crypto::{self, Token, Verification, VerificationKey};
use crate::lua::{Lua, Type, protected};
use crate::region;
use crate::task::{Pending, wait};
use crate::{function, waiting};
use std::hint::black_box;

pub fn register(lua: Lua) {
    library(
        lua,
        "crypto",
        &[
            ("hash", function!(hash, 2)),
            ("hash_file", waiting!(hash_file, 2)),
            ("hmac", function!(hmac, 4)),
            ("hkdf", function!(hkdf, 3)),
            ("random", function!(random, 1)),
            ("random_bytes", function!(random_bytes, 1)),
            ("uuid", function!(uuid, 0)),
            ("uuid_v7", function!(uuid_v7, 0)),
            ("equal", function!(equal, 2)),
            ("encrypt", waiting!(encrypt, 3)),
            ("decrypt", waiting!(decrypt, 3)),
            ("jwt_sign", waiting!(jwt_sign, 4)),
            ("jwt_decode", function!(jwt_decode, 1)),
            ("jwt_verify", function!(jwt_verify, 3)),
        ],
    );
}

const DEFAULT_HASH: &str = "sha256";
/// What the host gives at a time; it refuses more.
const MOST_RANDOM: u32 = 16 << 20;
/// What encryption adds to a text, at most.
const SEAL: usize = 64;
const DEFAULT_CIPHER: &str = "aes-256-gcm";

/// The options of `jwt_verify`.
const VERIFY_OPTIONS: [&str; 8] = [
    "algorithms",
    "algorithm",
    "audience",
    "issuer",
    "leeway",
    "validate_exp",
    "validate_nbf",
    "required_claims",
];

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

fn hash(call: Call) -> Returned {
    let (data, algorithm) = (call.bytes(1)?, call.opt_str(2)?.unwrap_or(DEFAULT_HASH));
    let digest = crypto::hash(algorithm, data)?;
    call.lua().push_str(&hex(&digest));
    Ok(1)
}

fn hash_file(call: Call) -> Result<Pending, Error> {
    let path = call.string(1)?;
    let algorithm = call.opt_str(2)?.unwrap_or(DEFAULT_HASH).to_string();
    wait(async move {
        let digest = hex(&crypto::hash_file(path, algorithm).await?);
        Ok(move |call: Call| {
            call.lua().push_str(&digest);
            Ok(1)
        })
    })
}

fn hmac(call: Call) -> Returned {
    let (key, data) = (call.bytes(1)?, call.bytes(2)?);
    let algorithm = call.opt_str(3)?.unwrap_or(DEFAULT_HASH);
    let code = crypto::hmac(algorithm, key, data)?;
    if call.opt_boolean(4)?.unwrap_or(false) {
        call.lua().push_bytes(&code);
    } else {
        call.lua().push_str(&hex(&code));
    }
    Ok(1)
}

/// A count of bytes; the host has the last word on what is too much.
fn count(call: Call, index: i32) -> Result<u32, Error> {
    let n = call.integer(index)?;
    u32::try_from(n).map_err(|_| Error::Argument(index, format!("{n} is not a number of bytes")))
}

fn hkdf(call: Call) -> Returned {
    let (secret, length) = (call.bytes(1)?, count(call, 2)?);
    let (mut salt, mut info, mut algorithm) = (Vec::new(), Vec::new(), None);
    if let Some(options) = call.opt_options(3, &["salt", "info", "algorithm"])? {
        salt = options.bytes("salt")?.unwrap_or_default();
        info = options.bytes("info")?.unwrap_or_default();
        algorithm = options.string("algorithm")?;
    }
    let key = crypto::hkdf(algorithm.as_deref().unwrap_or(DEFAULT_HASH), secret, &salt, &info, length)?;
    call.lua().push_bytes(&key);
    Ok(1)
}

/// As many random bytes as the first argument says.
fn some(call: Call) -> Result<Vec<u8>, Error> {
    let count = count(call, 1)?;
    region::make_room(call.lua(), count.min(MOST_RANDOM) as usize)?;
    Ok(crypto::random(count)?)
}

fn random(call: Call) -> Returned {
    let bytes = some(call)?;
    let digits = region::region(call.lua(), || hex(&bytes))?;
    give(call, digits.as_bytes())
}

fn random_bytes(call: Call) -> Returned {
    give(call, &some(call)?)
}

/// The text of a UUID (RFC 9562 section 4) of this version; the variant bits are set here.
fn push_uuid(call: Call, mut bytes: [u8; 16], version: u8) -> Returned {
    bytes[6] = bytes[6] & 0x0f | version << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes);
    let text = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-");
    call.lua().push_str(&text);
    Ok(1)
}

fn sixteen() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(crypto::random(16)?) {
        *to = from;
    }
    Ok(bytes)
}

fn uuid(call: Call) -> Returned {
    push_uuid(call, sixteen()?, 4)
}

/// Milliseconds in the first 48 bits, and the fraction of a millisecond in the next 12 (method 3 of
/// section 6.2), so that the ids of one process sort by time.
fn uuid_v7(call: Call) -> Returned {
    let mut bytes = sixteen()?;
    let now = crate::host::time::now();
    let (milliseconds, rest) = (now / 1_000_000, now % 1_000_000);
    let fraction = (rest * 4096 / 1_000_000) as u16;
    bytes[..6].copy_from_slice(&milliseconds.to_be_bytes()[2..]);
    bytes[6..8].copy_from_slice(&fraction.to_be_bytes());
    push_uuid(call, bytes, 7)
}

/// Compares in a time that depends on the lengths only.
fn equal(call: Call) -> Returned {
    let (a, b) = (call.text(1)?, call.text(2)?);
    let mut difference = a.len() ^ b.len();
    for (a, b) in a.iter().zip(b) {
        // Without the black box the compiler may leave the loop at the first difference.
        difference = black_box(difference | usize::from(a ^ b));
    }
    call.lua().push_bool(difference == 0);
    Ok(1)
}

fn cipher_options(call: Call) -> Result<(String, Vec<u8>), Error> {
    let (mut algorithm, mut aad) = (None, None);
    if let Some(options) = call.opt_options(3, &["algorithm", "aad"])? {
        algorithm = options.string("algorithm")?;
        aad = options.bytes("aad")?;
    }
    Ok((algorithm.unwrap_or_else(|| DEFAULT_CIPHER.into()), aad.unwrap_or_default()))
}

fn encrypt(call: Call) -> Result<Pending, Error> {
    let (key, plaintext) = (call.owned(1)?, call.owned(2)?);
    let (algorithm, aad) = cipher_options(call)?;
    region::make_room(call.lua(), plaintext.len() + SEAL)?;
    wait(async move {
        let sealed = crypto::encrypt(algorithm, key, plaintext, aad).await?;
        Ok(move |call: Call| {
            call.lua().push_bytes(&sealed);
            Ok(1)
        })
    })
}

fn decrypt(call: Call) -> Result<Pending, Error> {
    let (key, sealed) = (call.owned(1)?, call.owned(2)?);
    let (algorithm, aad) = cipher_options(call)?;
    region::make_room(call.lua(), sealed.len())?;
    wait(async move {
        let plaintext = crypto::decrypt(algorithm, key, sealed, aad).await?;
        Ok(move |call: Call| {
            call.lua().push_bytes(&plaintext);
            Ok(1)
        })
    })
}

/// The options `kid` and `header` as one JSON object.
fn header_json(call: Call, index: i32) -> Result<String, Error> {
    let lua = call.lua();
    let Some(options) = call.opt_options(index, &["kid", "header"])? else { return Ok("{}".into()) };
    let kid = options.string("kid")?;
    let source = match options.push("header") {
        Type::Table => lua.top(),
        Type::Nil => 0,
        _ => {
            lua.pop(1);
            return Err(options.invalid("header", "table expected"));
        }
    };
    lua.new_table(0, 4);
    let fields = lua.top();
    if source != 0 {
        lua.push_nil();
        while unsafe { lua_next(lua.0, source) } != 0 {
            lua.push_copy(-2);
            lua.insert(-2);
            unsafe { lua_rawset(lua.0, fields) };
        }
    }
    if let Some(kid) = kid {
        lua.push_str(&kid);
        lua.raw_set(fields, "kid");
    }
    json::encode_with(lua, fields, 0, "crypto.jwt_sign")
}

fn jwt_sign(call: Call) -> Result<Pending, Error> {
    call.table(1)?;
    let key = call.owned(2)?;
    let algorithm = call.opt_str(3)?.unwrap_or("HS256").to_string();
    let header = header_json(call, 4)?.into_bytes();
    let claims = json::encode_with(call.lua(), 1, 0, "crypto.jwt_sign")?.into_bytes();
    wait(async move {
        let token = crypto::jwt_sign(claims, key, algorithm, header).await?;
        Ok(move |call: Call| {
            call.lua().push_str(&token);
            Ok(1)
        })
    })
}

fn push_token(call: Call, token: &Token) -> Returned {
    let lua = call.lua();
    protected(lua, || {
        lua.new_table(0, 2);
        json::push(lua, &token.header)?;
        lua.raw_set(-2, "header");
        json::push(lua, &token.claims)?;
        lua.raw_set(-2, "claims");
        Ok(1)
    })?
}

fn jwt_decode(call: Call) -> Returned {
    let token = crypto::jwt_decode(call.str(1)?)?;
    push_token(call, &token)
}

fn jwt_verify(call: Call) -> Returned {
    let token = call.str(1)?;
    let key = match call.lua().type_of(2) {
        Type::Table => {
            VerificationKey::Jwks(json::encode_with(call.lua(), 2, 0, "crypto.jwt_verify")?.into_bytes())
        }
        Type::String => VerificationKey::Text(call.owned(2)?),
        _ => return Err(Error::Type(2, c"string or table")),
    };
    let mut verification = Verification {
        algorithms: Vec::new(),
        audience: Vec::new(),
        issuer: Vec::new(),
        leeway: 0.0,
        validate_exp: true,
        validate_nbf: false,
        required_claims: None,
    };
    if let Some(options) = call.opt_options(3, &VERIFY_OPTIONS)? {
        // An empty list would read as "no check".
        let list = |name: &str| match options.strings(name)? {
            Some(list) if list.is_empty() => Err(options.invalid(name, "the list is empty")),
            list => Ok(list),
        };
        verification.algorithms = match (list("algorithms")?, list("algorithm")?) {
            (Some(_), Some(_)) => {
                return Err(options.invalid("algorithm", "give only one of algorithm and algorithms"));
            }
            (several, one) => several.or(one).unwrap_or_default(),
        };
        verification.audience = list("audience")?.unwrap_or_default();
        verification.issuer = list("issuer")?.unwrap_or_default();
        verification.leeway = options.number("leeway")?.unwrap_or(0.0);
        verification.validate_exp = options.boolean("validate_exp")?.unwrap_or(true);
        verification.validate_nbf = options.boolean("validate_nbf")?.unwrap_or(false);
        verification.required_claims = options.strings("required_claims")?;
    }
    let token = crypto::jwt_verify(token, &key, &verification)?;
    push_token(call, &token)
}
