//! Tokens in the compact form of RFC 7515.

use crate::algorithm::{Algorithm, Family};
use crate::claims::{self, Rules};
use crate::key::{self, Candidate};
use crate::object::Object;
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The longest token that is looked at, bytes.
pub const TOKEN_MAX: usize = 1 << 20;
/// How many keys of a set are tried for one token.
const TRIES_MAX: usize = 16;

/// A token taken apart. Nothing of it is verified.
#[derive(Debug)]
pub struct Parts<'a> {
    signed: &'a str,
    /// Still in its encoding.
    signature: &'a str,
    header: Object,
    claims: Object,
    pub header_json: Vec<u8>,
    pub claims_json: Vec<u8>,
}

fn refuse(message: impl Into<String>) -> Error {
    error(ErrorCode::InvalidData, message)
}

fn decode(part: &str, what: &str) -> Result<Vec<u8>, Error> {
    URL_SAFE_NO_PAD.decode(part).map_err(|why| refuse(format!("the token's {what} is not base64url: {why}")))
}

fn object(json: &[u8], what: &str) -> Result<Object, Error> {
    Object::parse(json).map_err(|why| match why.classify() {
        serde_json::error::Category::Data => refuse(format!("the token's {what} is not a JSON object")),
        _ => refuse(format!("the token's {what} is not JSON: {why}")),
    })
}

/// Checks that `json` is an object, without building it in memory.
fn check_object(json: &[u8], what: &str) -> Result<(), Error> {
    #[derive(serde::Deserialize)]
    struct Anything {}
    if json.trim_ascii_start().first() != Some(&b'{') {
        return object(json, what).map(drop);
    }
    let checked = serde_json::from_slice::<Anything>(json);
    checked.map(drop).map_err(|why| refuse(format!("the token's {what} is not JSON: {why}")))
}

/// Takes a token apart. What its signature is written in is not looked at.
///
/// # Errors
/// `invalid-data` when it is not a token.
pub fn split(token: &str) -> Result<Parts<'_>, Error> {
    if token.len() > TOKEN_MAX {
        return Err(refuse(format!("{} bytes are too many for a token; at most {TOKEN_MAX}", token.len())));
    }
    let count = token.split('.').count();
    let (Some((signed, signature)), 3) = (token.rsplit_once('.'), count) else {
        let hint = if count == 5 { "; five parts are an encrypted token (JWE)" } else { "" };
        return Err(refuse(format!(
            "a token has three parts with dots between, this text has {count}{hint}"
        )));
    };
    let (header, claims) = signed.split_once('.').unwrap_or_default();
    let (header_json, claims_json) = (decode(header, "header")?, decode(claims, "claims")?);
    Ok(Parts {
        signed,
        signature,
        header: object(&header_json, "header")?,
        claims: object(&claims_json, "claims")?,
        header_json,
        claims_json,
    })
}

/// Signs `claims`, a JSON object, with further header fields.
///
/// # Errors
/// `invalid-argument` when the algorithm is unknown, the key does not fit it, or `claims` or `header` is
/// not a JSON object.
pub fn sign(claims: Vec<u8>, key: &[u8], algorithm: &str, header: &[u8]) -> Result<String, Error> {
    let algorithm = Algorithm::parse(algorithm, ErrorCode::InvalidArgument)?;
    let argument = |mut failed: Error| {
        failed.code = ErrorCode::InvalidArgument;
        failed
    };
    check_object(&claims, "claims").map_err(argument)?;
    let mut fields = object(header, "header").map_err(argument)?;
    if fields.raw("alg").is_some() || fields.raw("crit").is_some() {
        let message =
            "the header fields 'alg' and 'crit' cannot be set; the algorithm is an argument of its own";
        return Err(error(ErrorCode::InvalidArgument, message));
    }
    let unwritten = |why: serde_json::Error| refuse(format!("the header cannot be written: {why}"));
    fields.set("alg", algorithm.name()).map_err(unwritten)?;
    if fields.raw("typ").is_none() {
        fields.set("typ", "JWT").map_err(unwritten)?;
    }
    let header = fields.to_json().map_err(unwritten)?;
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = key::sign(algorithm, key, signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Verifies the signature with `keys`, then the claims at the time `now`. With `algorithms` empty each key
/// decides by its kind; the token's own `alg` only ever chooses among what the key allows.
///
/// # Errors
/// `invalid-data` when the token is refused, naming why; `invalid-argument` when `algorithms` names one that
/// is unknown or that no key fits.
pub fn verify<'a>(
    token: &'a str,
    keys: &[Candidate],
    algorithms: &[String],
    rules: &Rules,
    now: f64,
) -> Result<Parts<'a>, Error> {
    let accepted = algorithms
        .iter()
        .map(|name| Algorithm::parse(name, ErrorCode::InvalidArgument))
        .collect::<Result<Vec<_>, _>>()?;
    let is_accepted = |algorithm: Algorithm| accepted.is_empty() || accepted.contains(&algorithm);
    if !accepted.is_empty()
        && !keys.iter().any(|key| accepted.iter().any(|own| own.family() == key.key.family()))
    {
        let message =
            format!("none of the accepted algorithms ({}) goes with the key given", algorithms.join(", "));
        return Err(error(ErrorCode::InvalidArgument, message));
    }
    let parts = split(token)?;
    let signature = decode(parts.signature, "signature")?;
    let name = parts.header.text("alg").unwrap_or_default();
    let algorithm = Algorithm::parse(&name, ErrorCode::InvalidData)?;
    if parts.header.raw("crit").is_some() {
        return Err(refuse(
            "the token's header has critical extensions ('crit'), and none is understood here",
        ));
    }
    if !is_accepted(algorithm) {
        return Err(refuse(format!(
            "the token is signed with {name}; accepted is {}",
            algorithms.join(", ")
        )));
    }
    let fits = |key: &&Candidate| {
        key.key.family() == algorithm.family() && key.algorithm.is_none_or(|own| own == algorithm)
    };
    let kid = parts.header.text("kid");
    let named = keys.iter().any(|key| key.kid.is_some());
    let candidates: Vec<&Candidate> = match &kid {
        Some(_) if named => keys.iter().filter(|key| key.kid == kid).filter(fits).collect(),
        _ => keys.iter().filter(fits).collect(),
    };
    if candidates.is_empty() {
        let kid = kid.map(|kid| format!(" and the kid '{kid}'")).unwrap_or_default();
        let kind = if algorithm.family() == Family::Secret { "secret" } else { "key" };
        return Err(refuse(format!("the token is signed with {name}{kid}, for which no {kind} was given")));
    }
    if candidates.len() > TRIES_MAX {
        let count = candidates.len();
        return Err(refuse(format!(
            "{count} keys of the set could be the token's; at most {TRIES_MAX} are tried"
        )));
    }
    if !candidates.iter().any(|key| algorithm.verify(&key.key, parts.signed.as_bytes(), &signature)) {
        return Err(refuse(format!("the token's signature ({name}) does not match the key")));
    }
    claims::check(&parts.claims, rules, now)?;
    Ok(parts)
}

#[cfg(test)]
mod tests;
