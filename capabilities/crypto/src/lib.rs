//! Hashes, message authentication, randomness, tokens and encryption. Always granted: nothing here reaches
//! outside the run, except for the file of `hash_file`, which goes through the grants of `fs`.

mod aead;
mod algorithm;
mod claims;
mod hash;
mod jwt;
mod key;
mod object;

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{
    Capability, Ctx, Determinism, HostResult, Linker, Literal, Need, Run, error, io_error, off_thread, random,
};
use assay_capability_fs::needs;
use bindings::assay::host::crypto::{self, Token, Verification, VerificationKey};
use std::sync::Arc;
use wasmtime::component::{Accessor, HasSelf};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/crypto@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        with: { "assay:host/types@0.1.0": assay_capability_api::types },
        require_store_data_send: true,
    });
}

/// The most random bytes that one call gives.
const RANDOM_MAX: u32 = 16 << 20;

/// The capability `crypto`.
pub struct Crypto;

impl Capability for Crypto {
    fn name(&self) -> &'static str {
        "crypto"
    }

    fn summary(&self) -> &'static str {
        "hashes, message authentication, randomness, tokens and encryption"
    }

    fn always_linked(&self) -> bool {
        true
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[needs::read("crypto.hash_file"), Need::new("crypto.*", Literal::Free)];
        NEEDS
    }

    fn determinism(&self, function: &str) -> Determinism {
        match function {
            "hash" | "hmac" | "hkdf" | "decrypt" | "jwt-decode" => Determinism::Pure,
            "random" | "jwt-verify" => Determinism::Virtual,
            // Nonces that are used again give keys away, so what needs them has none from a seed.
            _ => Determinism::Outside,
        }
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
        crypto::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }
}

/// Refuses what no key or secret is as long as, before anything is computed with it.
fn bounded(secrets: &[&[u8]]) -> Result<(), Error> {
    match secrets.iter().map(|secret| secret.len()).max() {
        Some(longest) if longest > SECRET_MAX => {
            let message = format!("{longest} bytes are too many for a key, at most {SECRET_MAX} are taken");
            Err(error(ErrorCode::InvalidArgument, message))
        }
        _ => Ok(()),
    }
}

/// Does `work` over `bytes` of data, for which `held` bytes of memory are needed: on another thread where it takes its
/// time.
async fn at_length<T: Send + 'static>(
    run: &Run,
    bytes: usize,
    held: usize,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    run.count_bytes(bytes)?;
    let held = Arc::new(run.budget.take(held)?);
    if bytes <= SHORT {
        return work();
    }
    // Held until what it gives is on its way, and until the work ends where nobody waits for it.
    let held_by_work = held.clone();
    off_thread(move || {
        let _held = held_by_work;
        work()
    })
    .await
}

/// Fills a new buffer from the operating system's generator.
fn random_bytes(count: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; count];
    random::fill(&mut bytes)?;
    Ok(bytes)
}

/// What is hashed between two looks at the run's limits, bytes.
const PIECE: usize = 1 << 20;
/// Data that are read from a file at a time, bytes.
const READ: usize = 256 << 10;
/// The longest key, or what one is derived from, bytes.
const SECRET_MAX: usize = 1 << 20;
/// Data that are worked on without another thread, bytes.
const SHORT: usize = 64 << 10;
/// Bytes of memory for each byte of JSON text, at worst: numbers of one digit in a list.
const PARSED: usize = 32;

impl crypto::Host for Ctx {
    fn hash(&mut self, algorithm: String, data: Vec<u8>) -> HostResult<Vec<u8>> {
        self.run.count_bytes(data.len())?;
        let mut hasher = hash::hasher(&algorithm)?;
        for piece in data.chunks(PIECE) {
            self.run.ending.check()?;
            hasher.update(piece);
        }
        Ok(hasher.finalize().into_vec())
    }

    fn hmac(&mut self, algorithm: String, key: Vec<u8>, data: Vec<u8>) -> HostResult<Vec<u8>> {
        bounded(&[&key])?;
        self.run.count_bytes(key.len() + data.len())?;
        hash::hmac(&algorithm, &key, data.chunks(PIECE), || self.run.ending.check())
    }

    fn hkdf(
        &mut self,
        algorithm: String,
        secret: Vec<u8>,
        salt: Vec<u8>,
        info: Vec<u8>,
        length: u32,
    ) -> HostResult<Vec<u8>> {
        bounded(&[&secret, &salt, &info])?;
        Ok(hash::hkdf(&algorithm, &secret, &salt, &info, length as usize)?)
    }

    fn random(&mut self, count: u32) -> HostResult<Vec<u8>> {
        if count > RANDOM_MAX {
            let message =
                format!("{count} random bytes in one call are too many; ask for at most {RANDOM_MAX}");
            return Err(error(ErrorCode::InvalidArgument, message).into());
        }
        let count = count as usize;
        self.run.count_bytes(count)?;
        let _held = self.run.budget.take(count)?;
        let mut bytes = vec![0; count];
        let filled = self.entropy().fill(&mut bytes);
        filled.map_err(|failure| io_error("no random bytes", &failure))?;
        Ok(bytes)
    }

    fn jwt_decode(&mut self, token: String) -> HostResult<Token> {
        self.run.count_bytes(token.len())?;
        let _held = self.run.budget.take(PARSED * token.len().min(jwt::TOKEN_MAX))?;
        let parts = jwt::split(&token)?;
        Ok(Token { header: parts.header_json, claims: parts.claims_json })
    }

    fn jwt_verify(
        &mut self,
        token: String,
        key: VerificationKey,
        options: Verification,
    ) -> HostResult<Token> {
        self.run.count_bytes(token.len())?;
        let (VerificationKey::Text(text) | VerificationKey::Jwks(text)) = &key;
        bounded(&[text])?;
        let _held = self.run.budget.take(PARSED * (text.len() + token.len().min(jwt::TOKEN_MAX)))?;
        let keys = match key {
            VerificationKey::Text(text) => key::from_text(&text)?,
            VerificationKey::Jwks(json) => key::from_jwks(&json)?,
        };
        let rules = claims::Rules {
            audience: options.audience,
            issuer: options.issuer,
            leeway: options.leeway,
            validate_exp: options.validate_exp,
            validate_nbf: options.validate_nbf,
            required: options.required_claims,
        };
        let now = self.clock().now().as_secs_f64();
        let parts = jwt::verify(&token, &keys, &options.algorithms, &rules, now)?;
        Ok(Token { header: parts.header_json, claims: parts.claims_json })
    }
}

impl crypto::HostWithStore<Ctx> for HasSelf<Ctx> {
    async fn hash_file(
        accessor: &Accessor<Ctx, Self>,
        path: String,
        algorithm: String,
    ) -> HostResult<Vec<u8>> {
        let run = accessor.with(|mut access| access.get().run.clone());
        Ok(hash_file(run, path, algorithm).await?)
    }

    async fn jwt_sign(
        accessor: &Accessor<Ctx, Self>,
        claims: Vec<u8>,
        key: Vec<u8>,
        algorithm: String,
        header: Vec<u8>,
    ) -> HostResult<String> {
        let run = accessor.with(|mut access| access.get().run.clone());
        bounded(&[&key])?;
        // The claims, their base64, and the token around it; the header as it is parsed.
        let held = 4 * claims.len() + (PARSED + 4) * header.len() + key.len();
        let bytes = claims.len() + header.len();
        // An RSA signature takes milliseconds.
        let work = move || jwt::sign(claims, &key, &algorithm, &header);
        Ok(at_length(&run, bytes.max(SHORT + 1), held, work).await?)
    }

    async fn encrypt(
        accessor: &Accessor<Ctx, Self>,
        algorithm: String,
        key: Vec<u8>,
        plaintext: Vec<u8>,
        aad: Vec<u8>,
    ) -> HostResult<Vec<u8>> {
        let run = accessor.with(|mut access| access.get().run.clone());
        let (bytes, held) = (plaintext.len() + aad.len(), 2 * plaintext.len() + aad.len() + key.len());
        Ok(at_length(&run, bytes, held, move || aead::encrypt(&algorithm, &key, &plaintext, &aad)).await?)
    }

    async fn decrypt(
        accessor: &Accessor<Ctx, Self>,
        algorithm: String,
        key: Vec<u8>,
        ciphertext: Vec<u8>,
        aad: Vec<u8>,
    ) -> HostResult<Vec<u8>> {
        let run = accessor.with(|mut access| access.get().run.clone());
        let (bytes, held) = (ciphertext.len() + aad.len(), 2 * ciphertext.len() + aad.len() + key.len());
        Ok(at_length(&run, bytes, held, move || aead::decrypt(&algorithm, &key, ciphertext, &aad)).await?)
    }
}

async fn hash_file(run: Arc<Run>, path: String, algorithm: String) -> Result<Vec<u8>, Error> {
    let mut hasher = hash::hasher(&algorithm)?;
    let _handle = run.take_handle()?;
    let _path = run.budget.take(3 * path.len())?;
    let (opener, name) = (run.clone(), path.clone());
    let mut file = off_thread(move || assay_capability_fs::open_read(&opener, &name)).await?;
    loop {
        let name = path.clone();
        let held = run.budget.take_soon(READ).await?;
        // One piece per turn, so that a call that is dropped stops at the next one.
        let read;
        (file, hasher, read) = off_thread(move || {
            use std::io::Read;
            let _held = held;
            let mut buffer = vec![0; READ];
            let read = loop {
                match file.read(&mut buffer) {
                    Err(failed) if failed.kind() == std::io::ErrorKind::Interrupted => {}
                    other => break other.map_err(|failed| io_error(&format!("reading {name}"), &failed))?,
                }
            };
            hasher.update(&buffer[..read]);
            Ok((file, hasher, read))
        })
        .await?;
        if read == 0 {
            return Ok(hasher.finalize().into_vec());
        }
        run.count_bytes(read)?;
    }
}
