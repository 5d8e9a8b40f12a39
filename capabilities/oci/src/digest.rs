//! Content digests (OCI image specification, "Digests").

use crate::failure::invalid_data;
use assay_capability_api::types::Error;
use sha2::{Digest as _, Sha256, Sha512};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }
}

/// `sha256:` or `sha512:` and lower-case hexadecimal digits. What it is made of can be part of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    pub algorithm: Algorithm,
    pub hex: String,
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl Digest {
    /// Reads a digest; none where `text` is not one that can be verified here.
    pub fn parse(text: &str) -> Option<Digest> {
        let (algorithm, hex) = text.split_once(':')?;
        let (algorithm, digits) = match algorithm {
            "sha256" => (Algorithm::Sha256, 64),
            "sha512" => (Algorithm::Sha512, 128),
            _ => return None,
        };
        let plain = hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        (hex.len() == digits && plain).then(|| Digest { algorithm, hex: hex.to_string() })
    }

    /// The SHA-256 of `data`.
    pub fn of(data: &[u8]) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(data);
        hasher.finish()
    }

    /// Checks `data` against this digest.
    ///
    /// # Errors
    /// `invalid_data`, with what `what` is.
    pub fn verify(&self, data: &[u8], what: &str) -> Result<(), Error> {
        let mut hasher = Hasher::new(self.algorithm);
        hasher.update(data);
        self.compare(&hasher.finish(), what)
    }

    /// # Errors
    /// `invalid_data` where `found` is another digest.
    pub fn compare(&self, found: &Digest, what: &str) -> Result<(), Error> {
        if found == self {
            return Ok(());
        }
        Err(invalid_data(format!("{what}: what came has the digest {found}, not {self}")))
    }
}

/// A digest in the making.
#[derive(Clone)]
pub enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Hasher {
        match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    pub fn update(&mut self, data: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(data),
            Hasher::Sha512(hasher) => hasher.update(data),
        }
    }

    pub fn finish(self) -> Digest {
        match self {
            Hasher::Sha256(hasher) => {
                Digest { algorithm: Algorithm::Sha256, hex: hex::encode(hasher.finalize()) }
            }
            Hasher::Sha512(hasher) => {
                Digest { algorithm: Algorithm::Sha512, hex: hex::encode(hasher.finalize()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_exact() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert!(Digest::parse(empty).unwrap().verify(b"", "x").is_ok());
        assert!(Digest::parse(empty).unwrap().verify(b"x", "x").is_err());
        let long = format!("sha512:{}", "0".repeat(128));
        assert_eq!(Digest::parse(&long).unwrap().to_string(), long);
        for text in [
            "",
            "sha256:",
            "sha256:e3b0",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            &empty.to_uppercase(),
            &empty.replace("e3", "E3"),
            &empty.replace("e3", "g3"),
            &format!("{empty}0"),
            &format!("sha256:../{}", "0".repeat(61)),
        ] {
            assert!(Digest::parse(text).is_none(), "{text}");
        }
    }
}
