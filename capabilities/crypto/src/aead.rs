//! Authenticated encryption with a random nonce in front of the ciphertext.

use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;
const XNONCE_LEN: usize = 24;

/// What a key was made for.
enum Cipher {
    Aes(Box<LessSafeKey>),
    XChaCha(Box<XChaCha20Poly1305>),
}

impl Cipher {
    fn new(algorithm: &str, key: &[u8]) -> Result<Cipher, Error> {
        let wrong_key = || {
            let message = format!("the key of {algorithm} is {KEY_LEN} bytes long, this one {}", key.len());
            error(ErrorCode::InvalidArgument, message)
        };
        match algorithm.to_ascii_lowercase().as_str() {
            "aes-256-gcm" => Ok(Cipher::Aes(Box::new(LessSafeKey::new(
                UnboundKey::new(&AES_256_GCM, key).map_err(|_| wrong_key())?,
            )))),
            "xchacha20-poly1305" => Ok(Cipher::XChaCha(Box::new(
                XChaCha20Poly1305::new_from_slice(key).map_err(|_| wrong_key())?,
            ))),
            _ => Err(error(
                ErrorCode::InvalidArgument,
                format!(
                    "there is no cipher '{algorithm}' here; there are aes-256-gcm and xchacha20-poly1305"
                ),
            )),
        }
    }

    fn nonce_len(&self) -> usize {
        match self {
            Cipher::Aes(_) => NONCE_LEN,
            Cipher::XChaCha(_) => XNONCE_LEN,
        }
    }
}

/// Gives the nonce, the ciphertext and the tag in a row.
///
/// # Errors
/// `invalid-argument` for an unknown algorithm or a key of the wrong length.
pub fn encrypt(algorithm: &str, key: &[u8], plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, Error> {
    let cipher = Cipher::new(algorithm, key)?;
    let nonce = crate::random_bytes(cipher.nonce_len())?;
    let too_long = || error(ErrorCode::InvalidArgument, format!("the text is too long for {algorithm}"));
    let mut out = Vec::with_capacity(nonce.len() + plaintext.len() + TAG_LEN);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plaintext);
    let body = &mut out[nonce.len()..];
    match cipher {
        Cipher::Aes(key) => {
            let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| too_long())?;
            let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), body).map_err(|_| too_long())?;
            out.extend_from_slice(tag.as_ref());
        }
        Cipher::XChaCha(key) => {
            let nonce = XNonce::try_from(nonce.as_slice()).map_err(|_| too_long())?;
            let tag = key.encrypt_inout_detached(&nonce, aad, body.into()).map_err(|_| too_long())?;
            out.extend_from_slice(&tag);
        }
    }
    Ok(out)
}

/// The reverse of [`encrypt`].
///
/// # Errors
/// `invalid-data` when key, ciphertext, nonce or `aad` are not those of the encryption.
pub fn decrypt(algorithm: &str, key: &[u8], mut sealed: Vec<u8>, aad: &[u8]) -> Result<Vec<u8>, Error> {
    let cipher = Cipher::new(algorithm, key)?;
    let nonce_len = cipher.nonce_len();
    if sealed.len() < nonce_len + TAG_LEN {
        let least = nonce_len + TAG_LEN;
        let message =
            format!("{} bytes are not a ciphertext of {algorithm}: it has at least {least}", sealed.len());
        return Err(error(ErrorCode::InvalidData, message));
    }
    let refused = || {
        error(
            ErrorCode::InvalidData,
            "the ciphertext cannot be decrypted: the key, the data or the aad is not the one it was made with",
        )
    };
    let mut body = sealed.split_off(nonce_len);
    match cipher {
        Cipher::Aes(key) => {
            let nonce = Nonce::try_assume_unique_for_key(&sealed).map_err(|_| refused())?;
            let length = key.open_in_place(nonce, Aad::from(aad), &mut body).map_err(|_| refused())?.len();
            body.truncate(length);
        }
        Cipher::XChaCha(key) => {
            let nonce = XNonce::try_from(sealed.as_slice()).map_err(|_| refused())?;
            key.decrypt_in_place(&nonce, aad, &mut body).map_err(|_| refused())?;
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refusals() {
        let key = [7; 32];
        for algorithm in ["aes-256-gcm", "XChaCha20-Poly1305"] {
            for text in [&b""[..], b"hello\0\xff", &[9; 100_000]] {
                let sealed = encrypt(algorithm, &key, text, b"aad").unwrap();
                assert_eq!(decrypt(algorithm, &key, sealed.clone(), b"aad").unwrap(), text);
                assert_ne!(sealed, encrypt(algorithm, &key, text, b"aad").unwrap(), "a nonce was used twice");
                let code = |result: Result<Vec<u8>, Error>| result.unwrap_err().code;
                assert_eq!(code(decrypt(algorithm, &key, sealed.clone(), b"")), ErrorCode::InvalidData);
                assert_eq!(
                    code(decrypt(algorithm, &[8; 32], sealed.clone(), b"aad")),
                    ErrorCode::InvalidData
                );
                for at in [0, sealed.len() - 1, sealed.len() / 2] {
                    let mut changed = sealed.clone();
                    changed[at] ^= 1;
                    assert_eq!(code(decrypt(algorithm, &key, changed, b"aad")), ErrorCode::InvalidData);
                }
                assert_eq!(
                    code(decrypt(algorithm, &key, sealed[..20].to_vec(), b"aad")),
                    ErrorCode::InvalidData
                );
            }
            assert_eq!(encrypt(algorithm, &[0; 16], b"", b"").unwrap_err().code, ErrorCode::InvalidArgument);
        }
        assert_eq!(encrypt("rc4", &key, b"", b"").unwrap_err().code, ErrorCode::InvalidArgument);
    }

    // draft-irtf-cfrg-xchacha-03, A.3.1.
    #[test]
    fn known_answer_of_xchacha() {
        let unhex = |text: &str| hex::decode(text).unwrap();
        let key: Vec<u8> = (0x80..=0x9f).collect();
        let mut sealed: Vec<u8> = (0x40..=0x57).collect();
        sealed.extend(unhex(
            "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb\
             731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452\
             2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
             21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49",
        ));
        let aad = unhex("50515253c0c1c2c3c4c5c6c7");
        let text = decrypt("xchacha20-poly1305", &key, sealed, &aad).unwrap();
        assert_eq!(text[..28], *b"Ladies and Gentlemen of the ");
    }
}
