//! The signature algorithms of tokens (RFC 7518 section 3, RFC 8037) and the keys that each takes.

use crate::key::VerifyKey;
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use ring::hmac;
use ring::signature::{
    self, RsaEncoding, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

/// An algorithm that signs or verifies tokens. `none` is not among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// The kinds of keys. A key of one kind never verifies an algorithm of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    Secret,
    Rsa,
    P256,
    P384,
    Ed25519,
}

const NAMES: [(Algorithm, &str); 12] = [
    (Algorithm::Hs256, "HS256"),
    (Algorithm::Hs384, "HS384"),
    (Algorithm::Hs512, "HS512"),
    (Algorithm::Rs256, "RS256"),
    (Algorithm::Rs384, "RS384"),
    (Algorithm::Rs512, "RS512"),
    (Algorithm::Ps256, "PS256"),
    (Algorithm::Ps384, "PS384"),
    (Algorithm::Ps512, "PS512"),
    (Algorithm::Es256, "ES256"),
    (Algorithm::Es384, "ES384"),
    (Algorithm::EdDsa, "EdDSA"),
];

impl Algorithm {
    /// Reads a name as it is written in `alg`; case counts.
    ///
    /// # Errors
    /// `code` when there is no such algorithm, `none` among them.
    pub fn parse(name: &str, code: ErrorCode) -> Result<Algorithm, Error> {
        match NAMES.iter().find(|(_, own)| *own == name) {
            Some((algorithm, _)) => Ok(*algorithm),
            None if name.eq_ignore_ascii_case("none") => {
                Err(error(code, "the algorithm 'none' signs nothing and is always refused"))
            }
            None => {
                let names: Vec<_> = NAMES.iter().map(|(_, name)| *name).collect();
                Err(error(
                    code,
                    format!("there is no signature algorithm '{name}' here; there are {}", names.join(", ")),
                ))
            }
        }
    }

    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(own, _)| *own == self).map_or("?", |(_, name)| name)
    }

    pub fn family(self) -> Family {
        use Algorithm::*;
        match self {
            Hs256 | Hs384 | Hs512 => Family::Secret,
            Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => Family::Rsa,
            Es256 => Family::P256,
            Es384 => Family::P384,
            EdDsa => Family::Ed25519,
        }
    }

    /// The hash of an HS algorithm.
    pub fn hmac(self) -> Option<hmac::Algorithm> {
        match self {
            Algorithm::Hs256 => Some(hmac::HMAC_SHA256),
            Algorithm::Hs384 => Some(hmac::HMAC_SHA384),
            Algorithm::Hs512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }

    /// How an RSA algorithm signs, and how it verifies (keys of 2048 to 8192 bits).
    pub fn rsa(self) -> Option<(&'static dyn RsaEncoding, &'static RsaParameters)> {
        use ring::signature as ring;
        Some(match self {
            Algorithm::Rs256 => (&ring::RSA_PKCS1_SHA256, &ring::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Rs384 => (&ring::RSA_PKCS1_SHA384, &ring::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::Rs512 => (&ring::RSA_PKCS1_SHA512, &ring::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::Ps256 => (&ring::RSA_PSS_SHA256, &ring::RSA_PSS_2048_8192_SHA256),
            Algorithm::Ps384 => (&ring::RSA_PSS_SHA384, &ring::RSA_PSS_2048_8192_SHA384),
            Algorithm::Ps512 => (&ring::RSA_PSS_SHA512, &ring::RSA_PSS_2048_8192_SHA512),
            _ => return None,
        })
    }

    /// Whether `signature` is that of `message` under `key`. A key of another kind verifies nothing.
    pub fn verify(self, key: &VerifyKey, message: &[u8], signature: &[u8]) -> bool {
        let plain = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
        };
        match (key, self.family()) {
            (VerifyKey::Secret(secret), Family::Secret) => self
                .hmac()
                .is_some_and(|hash| hmac::verify(&hmac::Key::new(hash, secret), message, signature).is_ok()),
            (VerifyKey::Rsa { n, e }, Family::Rsa) => self.rsa().is_some_and(|(_, how)| {
                RsaPublicKeyComponents { n, e }.verify(how, message, signature).is_ok()
            }),
            (VerifyKey::P256(point), Family::P256) => plain(&signature::ECDSA_P256_SHA256_FIXED, point),
            (VerifyKey::P384(point), Family::P384) => plain(&signature::ECDSA_P384_SHA384_FIXED, point),
            (VerifyKey::Ed25519(point), Family::Ed25519) => plain(&signature::ED25519, point),
            _ => false,
        }
    }
}
