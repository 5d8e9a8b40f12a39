//! Keys of tokens: secrets, PEM (RFC 7468), JSON Web Keys (RFC 7517).

use crate::algorithm::{Algorithm, Family};
use crate::object::Object;
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, EllipticCurveKeyParameters, Jwk, KeyOperations,
    OctetKeyPairParameters, OctetKeyParameters, PublicKeyUse, RSAKeyParameters,
};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use std::ops::RangeInclusive;

/// Bytes of the modulus of an RSA key that verifies.
const RSA_BYTES: RangeInclusive<usize> = 256..=1024;
/// What says which key an entry is, and what for. Whatever else stands there is nobody's business (RFC 7517, section 4).
const MEMBERS: [&str; 11] = ["kty", "use", "key_ops", "alg", "kid", "crv", "x", "y", "n", "e", "k"];
/// Entries of a key set of which is said why they cannot be used.
const REASONS_MAX: usize = 8;

/// What verifies one family of algorithms.
#[derive(PartialEq, Eq, Debug)]
pub enum VerifyKey {
    Secret(Vec<u8>),
    /// Modulus and exponent, big-endian without leading zeros.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Uncompressed points.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key with what its set says about its use.
#[derive(Debug)]
pub struct Candidate {
    pub key: VerifyKey,
    pub kid: Option<String>,
    pub algorithm: Option<Algorithm>,
}

fn bad(message: impl Into<String>) -> Error {
    error(ErrorCode::InvalidArgument, message)
}

impl VerifyKey {
    pub fn family(&self) -> Family {
        match self {
            VerifyKey::Secret(_) => Family::Secret,
            VerifyKey::Rsa { .. } => Family::Rsa,
            VerifyKey::P256(_) => Family::P256,
            VerifyKey::P384(_) => Family::P384,
            VerifyKey::Ed25519(_) => Family::Ed25519,
        }
    }
}

/// Reads the values of a DER structure (X.690) one after the other.
struct Der<'a>(&'a [u8]);

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OID: u8 = 0x06;

impl<'a> Der<'a> {
    fn value(&mut self) -> Option<(u8, &'a [u8])> {
        let [tag, first, rest @ ..] = self.0 else { return None };
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x83 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, value))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.value().filter(|(own, _)| *own == tag).map(|(_, value)| value)
    }
}

/// The one sequence that `der` is.
fn sequence(der: &[u8]) -> Option<Der<'_>> {
    let mut outer = Der(der);
    let inner = outer.expect(SEQUENCE)?;
    outer.0.is_empty().then_some(Der(inner))
}

fn without_zeros(number: &[u8]) -> Vec<u8> {
    number.iter().copied().skip_while(|byte| *byte == 0).collect()
}

/// `RSAPublicKey` (RFC 8017 A.1.1).
fn rsa_public(der: &[u8]) -> Option<VerifyKey> {
    let mut fields = sequence(der)?;
    let (n, e) = (fields.expect(INTEGER)?, fields.expect(INTEGER)?);
    fields.0.is_empty().then(|| VerifyKey::Rsa { n: without_zeros(n), e: without_zeros(e) })
}

/// `SubjectPublicKeyInfo` (RFC 5280 section 4.1).
fn public_info(der: &[u8]) -> Option<VerifyKey> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    let mut info = sequence(der)?;
    let mut algorithm = Der(info.expect(SEQUENCE)?);
    let kind = algorithm.expect(OID)?;
    let (0, bits) = info.expect(BIT_STRING)?.split_first()? else { return None };
    match kind {
        RSA => rsa_public(bits),
        EC => match algorithm.expect(OID)? {
            P256 => Some(VerifyKey::P256(bits.to_vec())),
            P384 => Some(VerifyKey::P384(bits.to_vec())),
            _ => None,
        },
        ED25519 => Some(VerifyKey::Ed25519(bits.to_vec())),
        _ => None,
    }
}

/// The public key in a certificate (RFC 5280 section 4.1). Nothing else of it is looked at.
fn certificate(der: &[u8]) -> Option<VerifyKey> {
    const VERSION: u8 = 0xa0;
    let mut fields = Der(sequence(der)?.expect(SEQUENCE)?);
    if fields.0.first() == Some(&VERSION) {
        fields.value()?;
    }
    // Serial number, signature, issuer, validity, subject.
    fields.expect(INTEGER)?;
    for _ in 0..4 {
        fields.expect(SEQUENCE)?;
    }
    let before = fields.0;
    fields.expect(SEQUENCE)?;
    public_info(&before[..before.len() - fields.0.len()])
}

/// The blocks of a PEM text: labels and contents.
fn pem_blocks(text: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let (label, after) =
            after.split_once("-----").ok_or_else(|| bad("the PEM text has a broken first line"))?;
        let (body, after) = after
            .split_once(&format!("-----END {label}-----"))
            .ok_or_else(|| bad(format!("the PEM text has no line '-----END {label}-----'")))?;
        rest = after;
        if body.contains("ENCRYPTED") {
            return Err(bad(format!("the {label} is encrypted; decrypt it first, as with openssl pkey")));
        }
        let body: String = body.split_ascii_whitespace().collect();
        let der = STANDARD
            .decode(body)
            .map_err(|why| bad(format!("the {label} in the PEM text is not base64: {why}")))?;
        blocks.push((label.to_string(), der));
    }
    Ok(blocks)
}

fn looks_like_pem(text: &[u8]) -> bool {
    text.windows(11).any(|window| window == b"-----BEGIN ")
}

/// Whether a text is the JSON of keys, whole or broken.
fn looks_like_jwk(text: &[u8]) -> bool {
    text.windows(5).any(|window| window == b"\"kty\"")
}

/// A secret of HS algorithms. What is a public key is refused: a token signed with HS and somebody's
/// public key as the secret would otherwise pass.
fn secret(bytes: &[u8]) -> Result<VerifyKey, Error> {
    if bytes.is_empty() {
        return Err(bad("the secret is empty"));
    }
    if looks_like_pem(bytes) {
        return Err(bad(
            "a key in PEM is not a secret for HS algorithms; use one of RS, PS, ES or EdDSA with it",
        ));
    }
    if looks_like_jwk(bytes) {
        return Err(bad(
            "the JSON of a key is not a secret, and this one cannot be read as a key or key set",
        ));
    }
    if public_info(bytes).or_else(|| rsa_public(bytes)).or_else(|| certificate(bytes)).is_some() {
        return Err(bad("this is a public key in DER, which is not a secret; give it in PEM"));
    }
    Ok(VerifyKey::Secret(bytes.to_vec()))
}

/// The keys of a text: PEM, the JSON of a key or key set, or a secret.
///
/// # Errors
/// `invalid-argument` when the text is no key in any of these forms.
pub fn from_text(text: &[u8]) -> Result<Vec<Candidate>, Error> {
    if looks_like_pem(text) {
        return from_pem(text);
    }
    match Object::parse(text) {
        Ok(object) if object.raw("keys").is_some() || object.raw("kty").is_some() => from_object(&object),
        _ => Ok(vec![Candidate { key: secret(text)?, kid: None, algorithm: None }]),
    }
}

fn from_pem(text: &[u8]) -> Result<Vec<Candidate>, Error> {
    let text = std::str::from_utf8(text).map_err(|_| bad("the PEM text is not valid UTF-8"))?;
    let mut labels = Vec::new();
    for (label, der) in pem_blocks(text)? {
        let key = match label.as_str() {
            "PUBLIC KEY" => public_info(&der),
            "RSA PUBLIC KEY" => rsa_public(&der),
            "CERTIFICATE" => certificate(&der),
            _ => {
                labels.push(label);
                continue;
            }
        };
        let key =
            key.ok_or_else(|| bad(format!("the {label} is not one of RSA, P-256, P-384 or Ed25519")))?;
        return Ok(vec![Candidate { key, kid: None, algorithm: None }]);
    }
    Err(bad(format!(
        "verifying needs a PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE in PEM; this text has {}",
        if labels.is_empty() { "no complete block".into() } else { labels.join(", ") }
    )))
}

/// The keys of a key set (RFC 7517 section 5), or one key. Entries of a set that cannot be used are passed over: one bad
/// entry locks nobody out.
///
/// # Errors
/// `invalid-argument` when it is not a key set, or no key in it can be used.
pub fn from_jwks(json: &[u8]) -> Result<Vec<Candidate>, Error> {
    let object = Object::parse(json).map_err(|why| match why.classify() {
        serde_json::error::Category::Data => bad("a key set is an object with the list 'keys'"),
        _ => bad(format!("the key set is not JSON: {why}")),
    })?;
    from_object(&object)
}

fn from_object(object: &Object) -> Result<Vec<Candidate>, Error> {
    if object.raw("keys").is_none() {
        return match candidate(object) {
            Ok(candidate) => Ok(vec![candidate]),
            Err(why) => Err(bad(format!("the key cannot be used: {why}"))),
        };
    }
    let entries = object.list("keys").ok_or_else(|| bad("a key set is an object with the list 'keys'"))?;
    let (mut candidates, mut unusable) = (Vec::new(), Vec::new());
    for (n, entry) in entries.iter().enumerate() {
        let entry = Object::parse(entry.get().as_bytes()).map_err(|why| format!("it is not a key: {why}"));
        match entry.and_then(|entry| candidate(&entry)) {
            Ok(candidate) => candidates.push(candidate),
            Err(why) if unusable.len() < REASONS_MAX => unusable.push(format!("entry {}: {why}", n + 1)),
            Err(_) => {}
        }
    }
    if candidates.is_empty() {
        let why = if unusable.is_empty() { "it is empty".into() } else { unusable.join("; ") };
        return Err(bad(format!(
            "the key set has no key that verifies signatures (kty RSA, EC, OKP or oct): {why}"
        )));
    }
    Ok(candidates)
}

/// The key of an entry, or why it cannot be used.
fn candidate(entry: &Object) -> Result<Candidate, String> {
    let Jwk { common, algorithm } =
        serde_json::from_str(&entry.only(&MEMBERS)).map_err(|why| format!("it is not a key: {why}"))?;
    if common.public_key_use.is_some_and(|usage| usage != PublicKeyUse::Signature) {
        return Err("it is for another use than signatures".into());
    }
    let signs = |operation: &KeyOperations| matches!(operation, KeyOperations::Verify | KeyOperations::Sign);
    if common.key_operations.is_some_and(|operations| !operations.iter().any(signs)) {
        return Err("it is for other operations than signatures".into());
    }
    let key = match algorithm {
        AlgorithmParameters::RSA(RSAKeyParameters { n, e, .. }) => {
            let (n, e) = (without_zeros(&part("n", &n)?), without_zeros(&part("e", &e)?));
            if !RSA_BYTES.contains(&n.len()) || e.is_empty() {
                return Err(format!("an RSA key has 2048 to 8192 bits, this one {}", 8 * n.len()));
            }
            VerifyKey::Rsa { n, e }
        }
        AlgorithmParameters::EllipticCurve(EllipticCurveKeyParameters { curve, x, y, .. }) => {
            let point = |length| {
                Ok::<_, String>([&[4][..], &sized("x", &x, length)?, &sized("y", &y, length)?].concat())
            };
            match curve {
                EllipticCurve::P256 => VerifyKey::P256(point(32)?),
                EllipticCurve::P384 => VerifyKey::P384(point(48)?),
                _ => return Err("its curve is neither P-256 nor P-384".into()),
            }
        }
        AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters {
            curve: EllipticCurve::Ed25519,
            x,
            ..
        }) => VerifyKey::Ed25519(sized("x", &x, 32)?),
        AlgorithmParameters::OctetKey(OctetKeyParameters { value, .. }) => {
            secret(&part("k", &value)?).map_err(|failure| failure.message)?
        }
        _ => return Err("its kind or curve is not known here, or lacks a member".into()),
    };
    let algorithm = match common.key_algorithm {
        None => None,
        Some(name) => match Algorithm::parse(&name.to_string(), ErrorCode::InvalidArgument) {
            Ok(algorithm) if algorithm.family() == key.family() => Some(algorithm),
            // It verifies nothing here.
            _ => return Err("its 'alg' is not known here, or not one of its kind".into()),
        },
    };
    Ok(Candidate { key, kid: common.key_id, algorithm })
}

/// A member in base64url.
fn part(name: &str, value: &str) -> Result<Vec<u8>, String> {
    let decoded = URL_SAFE_NO_PAD.decode(value.trim_end_matches('='));
    decoded.map_err(|why| format!("its '{name}' is not base64url: {why}"))
}

/// The same, of a length that its kind has.
fn sized(name: &str, value: &str, length: usize) -> Result<Vec<u8>, String> {
    let bytes = part(name, value)?;
    match bytes.len() == length {
        true => Ok(bytes),
        false => Err(format!("its '{name}' has {} bytes, not {length}", bytes.len())),
    }
}

/// A private key in PKCS#8 (RFC 5958), from one in the form of RFC 5915.
fn ec_to_pkcs8(sec1: &[u8], curve: &[u8]) -> Vec<u8> {
    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let mut out = vec![tag];
        match u8::try_from(length) {
            Ok(short) if short < 0x80 => out.push(short),
            Ok(byte) => out.extend([0x81, byte]),
            Err(_) => out.extend([0x82, (length >> 8) as u8, length as u8]),
        }
        out.extend_from_slice(content);
        out
    }
    const EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let algorithm = tagged(SEQUENCE, &[EC, curve].concat());
    tagged(SEQUENCE, &[&[INTEGER, 1, 0][..], &algorithm, &tagged(0x04, sec1)].concat())
}

/// Signs `message` with a secret, or with a private key in PEM.
///
/// # Errors
/// `invalid-argument` when the key is not one of `algorithm`.
pub fn sign(algorithm: Algorithm, key: &[u8], message: &[u8]) -> Result<Vec<u8>, Error> {
    if let Some(hash) = algorithm.hmac() {
        let VerifyKey::Secret(secret) = secret(key)? else { return Err(bad("the secret is not one")) };
        return Ok(ring::hmac::sign(&ring::hmac::Key::new(hash, &secret), message).as_ref().to_vec());
    }
    let name = algorithm.name();
    let text =
        std::str::from_utf8(key).map_err(|_| bad(format!("{name} signs with a private key in PEM")))?;
    let blocks = pem_blocks(text)?;
    let (label, der) = blocks.iter().find(|(label, _)| label.ends_with("PRIVATE KEY")).ok_or_else(|| {
        bad(format!("{name} signs with a private key in PEM, and the key given has no private key"))
    })?;
    let refused = |why: &dyn std::fmt::Display| bad(format!("the {label} is not a key for {name}: {why}"));
    let random = SystemRandom::new();
    let failed = |_| error(ErrorCode::Other, format!("signing with {name} failed"));
    match algorithm.family() {
        Family::Rsa => {
            let pair = match label.as_str() {
                "RSA PRIVATE KEY" => RsaKeyPair::from_der(der),
                _ => RsaKeyPair::from_pkcs8(der),
            };
            let pair = pair.map_err(|why| refused(&why))?;
            let (encoding, _) = algorithm.rsa().ok_or_else(|| refused(&"not an RSA algorithm"))?;
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(encoding, &random, message, &mut signature).map_err(failed)?;
            Ok(signature)
        }
        family @ (Family::P256 | Family::P384) => {
            let (how, curve): (_, &[u8]) = if family == Family::P256 {
                (
                    &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
                    &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
                )
            } else {
                (&signature::ECDSA_P384_SHA384_FIXED_SIGNING, &[0x06, 5, 0x2b, 0x81, 0x04, 0x00, 0x22])
            };
            let pair = match label.as_str() {
                "EC PRIVATE KEY" => EcdsaKeyPair::from_pkcs8(how, &ec_to_pkcs8(der, curve), &random),
                _ => EcdsaKeyPair::from_pkcs8(how, der, &random),
            };
            let pair = pair.map_err(|why| refused(&why))?;
            Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec())
        }
        Family::Ed25519 => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|why| refused(&why))?;
            Ok(pair.sign(message).as_ref().to_vec())
        }
        Family::Secret => Err(refused(&"it signs with a secret")),
    }
}
