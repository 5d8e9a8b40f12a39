//! Where a run has its time and its randomness from, and what becomes of it when it is replayed: one that gives the same
//! whenever it is run again, which is what an engine of durable workflows builds on.

use crate::random;
use crate::types::{Error, ErrorCode};
use crate::{Ctx, error};
use sha2::{Digest, Sha256};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Resolves when a time is over.
pub type Slept = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a script has its time from. Its limits go by the real one.
pub trait Clock: Send + Sync {
    /// Time since 1970-01-01T00:00:00Z.
    fn now(&self) -> Duration;

    /// Time since some moment, such as the run's start; never goes back.
    fn elapsed(&self) -> Duration;

    /// Waits. Dropped when the script gives it up.
    fn sleep(&self, time: Duration) -> Slept;
}

/// What a script has its random numbers from.
pub trait Entropy: Send + Sync {
    /// Fills all of `bytes`.
    ///
    /// # Errors
    /// When there are none to be had.
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// The clock of this machine.
pub struct RealClock {
    started: Instant,
}

impl RealClock {
    /// One whose [`Clock::elapsed`] begins at `started`.
    pub fn since(started: Instant) -> RealClock {
        RealClock { started }
    }
}

impl Clock for RealClock {
    fn now(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&self, time: Duration) -> Slept {
        Box::pin(async move {
            if time.is_zero() {
                // The timer rounds up to its next millisecond; what waits for nothing only gives way.
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(time).await;
            }
        })
    }
}

/// The operating system's random numbers.
pub struct RealEntropy;

impl Entropy for RealEntropy {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        random::fill(bytes).map_err(|failure| io::Error::other(failure.message))
    }
}

/// Random numbers that follow from a seed: block `n` is the SHA-256 of the seed, the stream and `n`, both as eight bytes
/// with the lowest first. Each filling begins with a new block. It stays so: what was run once is replayed by later
/// versions. Whoever knows the seed knows the numbers, and they come again: they are no secrets.
pub struct Seeded {
    seed: [u8; 32],
    stream: u64,
    blocks: AtomicU64,
}

impl Seeded {
    /// The first numbers of a stream.
    pub fn new(seed: [u8; 32], stream: u64) -> Seeded {
        Seeded { seed, stream, blocks: AtomicU64::new(0) }
    }
}

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        for part in bytes.chunks_mut(32) {
            let block = self.blocks.fetch_add(1, Ordering::Relaxed);
            let hash = Sha256::new()
                .chain_update(self.seed)
                .chain_update(self.stream.to_le_bytes())
                .chain_update(block.to_le_bytes())
                .finalize();
            part.copy_from_slice(&hash[..part.len()]);
        }
        Ok(())
    }
}

/// Seeds of what is inside of an instance: the order of tables, hash tables.
const STREAM_OF_SEEDS: u64 = 0;
/// What the script gets once it is replayed.
const STREAM_OF_SCRIPT: u64 = 1;

/// What a run has once it is replayed, in place of the world.
#[derive(Clone)]
pub struct Replay {
    /// What the script takes for the time.
    pub clock: Arc<dyn Clock>,
    /// What its random numbers follow from.
    pub seed: [u8; 32],
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").finish_non_exhaustive()
    }
}

/// What a function of the host does for a script, which says what becomes of it in a run that is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Determinism {
    /// It follows from its arguments, or is about what the run has itself: the same whenever it is run. Also what lets go
    /// of a handle.
    Pure,
    /// Its answer has time or randomness in it, all of which it asks [`Ctx::clock`] and [`Ctx::entropy`] for.
    Virtual,
    /// It goes to the program that runs the script and gave it what it reaches: its source, its output, its log, its end,
    /// and what the program adds, which decides for itself.
    Program,
    /// It reaches outside: refused in a replayed run. Its error has to say so.
    Outside,
}

/// Where an instance has its time and its randomness from now. A part of [`Ctx`].
pub(crate) struct Sources {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    seeds: Arc<dyn Entropy>,
    replayed: bool,
}

impl Sources {
    pub(crate) fn of(run: &crate::Run) -> Sources {
        let seeds = match &run.replay {
            Some(replay) => Arc::new(Seeded::new(replay.seed, STREAM_OF_SEEDS)),
            None => run.entropy.clone(),
        };
        Sources { clock: run.clock.clone(), entropy: run.entropy.clone(), seeds, replayed: false }
    }
}

/// The one place that decides what of the world a script reaches when its run is replayed. Every function of the host is
/// linked through [`crate::linked`], which asks [`Ctx::refused`].
impl Ctx {
    /// What the script takes for the time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.sources.clock
    }

    /// What the script has its random numbers from.
    pub fn entropy(&self) -> &Arc<dyn Entropy> {
        &self.sources.entropy
    }

    /// What seeds the inside of an instance. Where the run will be replayed it is so from its start: the order of what is
    /// in a table is seen later.
    pub fn seeds(&self) -> &Arc<dyn Entropy> {
        &self.sources.seeds
    }

    /// Whether the run is replayed now.
    pub fn is_replayed(&self) -> bool {
        self.sources.replayed
    }

    /// The top level of the script has run: from here on the run is replayed, where it is meant to be. Whether it is.
    pub fn begin_replay(&mut self) -> bool {
        let run = self.run.clone();
        if let Some(replay) = run.replay.as_ref().filter(|_| !self.sources.replayed) {
            self.sources.clock = replay.clock.clone();
            self.sources.entropy = Arc::new(Seeded::new(replay.seed, STREAM_OF_SCRIPT));
            self.sources.replayed = true;
        }
        self.sources.replayed
    }

    /// Why a function that reaches outside is not called; none where it may be.
    pub fn refused(&self, function: &str) -> Option<Error> {
        self.sources.replayed.then(|| {
            error(
                ErrorCode::Denied,
                format!("{function} reaches outside; not inside a workflow: use an activity"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(entropy: &dyn Entropy, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        entropy.fill(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn seeded_numbers_stay_what_they_are() {
        let seeded = |seed: u8, stream| Seeded::new([seed; 32], stream);
        // Written down: a replay by a later version must find them.
        let hex: String = filled(&seeded(7, 1), 8).iter().map(|byte| format!("{byte:02x}")).collect();
        let block = Sha256::digest([&[7; 32][..], &1u64.to_le_bytes(), &0u64.to_le_bytes()].concat());
        assert_eq!(hex, block[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        assert_eq!(filled(&seeded(7, 1), 1000), filled(&seeded(7, 1), 1000));
        for other in [seeded(8, 1), seeded(7, 0)] {
            assert_ne!(filled(&seeded(7, 1), 32), filled(&other, 32));
        }
        let once = seeded(7, 1);
        let (first, second) = (filled(&once, 33), filled(&once, 32));
        assert_eq!([&first[..32], &second].concat().len(), 64);
        let twice = seeded(7, 1);
        assert_eq!((filled(&twice, 33), filled(&twice, 32)), (first, second), "the same calls give the same");
    }
}
