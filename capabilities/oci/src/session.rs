//! What the parts of one call share: the run, its connections, its options and how far it has come.

use crate::failure::Trouble;
use crate::reference::Reference;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Request, Run, error, random};
use assay_capability_http::client::Client;
use assay_capability_net::Trust;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The first wait before another attempt; each further one is twice as long.
const BACKOFF: Duration = Duration::from_millis(250);
/// The longest wait, also where a server asks for more: then the call fails and says so.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Which registries are reached by plain HTTP.
#[derive(Clone, Debug)]
pub enum Plain {
    /// Those on this machine.
    Local,
    /// All, none, or those named.
    All,
    Named(Vec<String>),
}

/// How many bytes have come and how many will.
#[derive(Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    pub fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back what an attempt that failed had added.
    pub fn take_back(&self, bytes: u64) {
        self.done.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn now(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}

pub struct Session {
    pub run: Arc<Run>,
    pub client: Client,
    pub trust: Trust,
    pub plain: Plain,
    /// Attempts after the first.
    pub retries: u32,
    /// Bytes of one blob; 0 is no bound.
    pub max_blob: u64,
    pub progress: Arc<Progress>,
}

impl Session {
    /// Checks what is done to a repository, or the host that a registry sends on to.
    ///
    /// # Errors
    /// `denied`.
    pub fn check(&self, verb: &str, name: &str, scope: &str) -> Result<(), Error> {
        self.run.check("oci", &Request::Action { verb, name, scope })
    }

    /// The same for a host that belongs to a registry, so that its grant covers it.
    ///
    /// # Errors
    /// `denied`, by a deny rule.
    pub fn check_own(&self, verb: &str, name: &str, registry: &Reference) -> Result<(), Error> {
        let request = Request::Action { verb, name, scope: "" };
        self.run.check_included("oci", &request, &format!("the grant of {}", registry.name()))
    }

    /// Makes attempts until one succeeds, fails for good, or there have been enough.
    ///
    /// # Errors
    /// That of the last attempt.
    pub async fn retry<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let mut made = 0;
        loop {
            let (mut failure, after) = match attempt().await {
                Ok(value) => return Ok(value),
                Err(Trouble::Final(failure)) => return Err(failure),
                Err(Trouble::Passing { error, after }) => (error, after),
            };
            if made == self.retries {
                if made > 0 {
                    failure.message.push_str(&format!(" (after {} attempts)", made + 1));
                }
                return Err(failure);
            }
            let wait = after.unwrap_or_else(|| backoff(made));
            if wait > MAX_WAIT {
                failure.message.push_str(&format!("; it asks to wait for {} seconds", wait.as_secs()));
                return Err(failure);
            }
            made += 1;
            tokio::time::sleep(wait).await;
        }
    }

    /// # Errors
    /// `limit` where a blob is larger than the call allows.
    pub fn check_size(&self, size: u64, what: &str) -> Result<(), Error> {
        if self.max_blob == 0 || size <= self.max_blob {
            return Ok(());
        }
        Err(error(
            ErrorCode::Limit,
            format!("{what}: the blob has {size} bytes, more than {}; raise max_blob", self.max_blob),
        ))
    }
}

/// Doubled each time, and up to a quarter more, so that many clients do not come back at once.
fn backoff(made: u32) -> Duration {
    let base = BACKOFF.saturating_mul(1 << made.min(10)).min(MAX_WAIT / 2);
    let random = u32::try_from(random::number() % 256).unwrap_or(0);
    base + base * random / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        for made in 0..40 {
            let wait = backoff(made);
            assert!(wait >= BACKOFF.min(MAX_WAIT / 2) && wait <= MAX_WAIT, "{made}: {wait:?}");
        }
        assert!(backoff(3) >= BACKOFF * 8);
    }
}
