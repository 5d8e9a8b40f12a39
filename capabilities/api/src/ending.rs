//! How a run is told to end, from whichever thread notices.

use crate::Stop;
use std::sync::OnceLock;
use tokio::sync::Notify;

/// Whether a run must end, and why. It is decided once, by the first to notice: the watchdog, a signal, a
/// decision that could not be audited.
#[derive(Debug, Default)]
pub struct Ending {
    why: OnceLock<Stop>,
    told: Notify,
}

impl Ending {
    /// Ends the run. The first reason stays.
    pub fn end(&self, why: Stop) {
        if self.why.set(why).is_ok() {
            self.told.notify_waiters();
        }
    }

    /// Why the run must end; none where it may go on. Costs a load.
    pub fn why(&self) -> Option<&Stop> {
        self.why.get()
    }

    /// For work between two host calls: whether to go on.
    ///
    /// # Errors
    /// The [`Stop`], as what travels through wasmtime.
    pub fn check(&self) -> wasmtime::Result<()> {
        match self.why() {
            None => Ok(()),
            Some(why) => Err(wasmtime::Error::new(why.clone())),
        }
    }

    /// Resolves when the run must end.
    pub async fn told(&self) -> Stop {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            // Before the look, so that nothing is missed between the two.
            told.as_mut().enable();
            if let Some(why) = self.why() {
                return why.clone();
            }
            told.await;
        }
    }
}
