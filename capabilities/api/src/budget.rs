//! Bytes that the host holds for a run: arguments of calls that wait, bodies, rows, frames, queues, caches.

use crate::types::Error;
use crate::{Limit, limit_error};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a call that needs memory for a moment waits for others that have it. Most give it back soon; what a script
/// leaves open may not.
const PATIENCE: Duration = Duration::from_secs(30);

/// One number for all that the host keeps in memory for a run. Code that keeps more than a few kilobytes, or
/// something for each of many, takes it from here before allocating.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    peak: AtomicU64,
    /// What it is a part of: what is taken here is taken there too.
    parent: Option<Arc<Budget>>,
    /// Something was given back, here or in a budget that shares an ancestor.
    returned: Arc<Notify>,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Arc<Budget> {
        Budget::within(None, limit)
    }

    /// A budget of `limit` bytes that is a part of another one.
    pub fn within(parent: Option<&Arc<Budget>>, limit: u64) -> Arc<Budget> {
        let returned = parent.map_or_else(Arc::default, |parent| parent.returned.clone());
        let (used, peak) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Budget { limit, used, peak, parent: parent.cloned(), returned })
    }

    /// All of it, bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes held now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most that was held at a time, bytes.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Bytes that may still be taken.
    pub fn left(&self) -> u64 {
        let own = self.limit.saturating_sub(self.used());
        self.parent.as_ref().map_or(own, |parent| own.min(parent.left()))
    }

    /// The smaller of `wanted` and all of the budget: an option lowers a bound, it does not lift it.
    pub fn at_most(&self, wanted: u64) -> u64 {
        wanted.min(self.limit)
    }

    fn add(&self, bytes: u64) -> bool {
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.limit)
        });
        let Ok(before) = taken else { return false };
        if self.parent.as_ref().is_some_and(|parent| !parent.add(bytes)) {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.peak.fetch_max(before + bytes, Ordering::Relaxed);
        true
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.give_back(bytes);
        }
    }

    /// Takes `bytes` until the guard is dropped.
    ///
    /// # Errors
    /// `limit` when the run has not so many left; nothing is taken then.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Result<Held, Error> {
        let mut held = self.nothing();
        held.grow(bytes)?;
        Ok(held)
    }

    /// Takes `bytes` as soon as they are there: for what is held for a moment and not allocated yet, so that many
    /// calls at a time go one after the other.
    ///
    /// # Errors
    /// `limit` where that is more than all of the budget, or nothing was given back for long.
    pub async fn take_soon(self: &Arc<Self>, bytes: usize) -> Result<Held, Error> {
        if bytes as u64 > self.limit {
            return self.take(bytes);
        }
        let waiting = async {
            loop {
                let returned = self.returned.notified();
                tokio::pin!(returned);
                // Before the look, so that nothing is missed between the two.
                returned.as_mut().enable();
                if let Ok(held) = self.take(bytes) {
                    return held;
                }
                returned.await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(held) => Ok(held),
            Err(_) => self.take(bytes),
        }
    }

    /// A guard of no bytes, to be grown.
    pub fn nothing(self: &Arc<Self>) -> Held {
        Held { budget: self.clone(), bytes: 0 }
    }
}

/// Bytes taken from a [`Budget`]; given back when it is dropped. It lives as long as what it was taken for.
#[must_use]
pub struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Held {
    /// How many bytes it stands for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes `more` bytes.
    ///
    /// # Errors
    /// `limit` when the run has not so many left; what was held stays held.
    pub fn grow(&mut self, more: usize) -> Result<(), Error> {
        if !self.budget.add(more as u64) {
            return Err(limit_error(Limit::HostMemory, self.budget.limit));
        }
        self.bytes += more;
        Ok(())
    }

    /// Gives bytes back; at most what it holds.
    pub fn shrink(&mut self, less: usize) {
        let less = less.min(self.bytes);
        if less > 0 {
            self.bytes -= less;
            self.budget.give_back(less as u64);
            self.budget.returned.notify_waiters();
        }
    }

    /// Takes over what another guard of the same budget holds.
    pub fn join(&mut self, mut other: Held) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// `data` as bytes that hold this until the last copy of them is dropped, wherever that is.
    pub fn with(self, data: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Kept { data, _held: self })
    }

    /// Holds just `bytes` from now on.
    ///
    /// # Errors
    /// `limit` when the run has not so many left; what was held stays held.
    pub fn resize(&mut self, bytes: usize) -> Result<(), Error> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.grow(more),
            None => {
                self.shrink(self.bytes - bytes);
                Ok(())
            }
        }
    }

    /// Takes a part of it away, to be given back by itself: a queue hands on an element.
    pub fn split(&mut self, bytes: usize) -> Held {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Held { budget: self.budget.clone(), bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

/// Bytes and what they take of a budget.
struct Kept<T> {
    data: T,
    _held: Held,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Kept<T> {
    fn as_ref(&self) -> &[u8] {
        self.data.as_ref()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Held({})", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ErrorCode;

    #[test]
    fn both_sides_of_the_limit() {
        let budget = Budget::new(100);
        let mut first = budget.take(60).unwrap();
        let refused = budget.take(41).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Limit);
        assert!(refused.message.contains("--host-memory"), "{}", refused.message);
        let second = budget.take(40).unwrap();
        assert_eq!((budget.used(), budget.left(), budget.peak()), (100, 0, 100));
        assert!(first.grow(1).is_err());
        assert_eq!(first.bytes(), 60);
        drop(second);
        first.resize(100).unwrap();
        first.resize(10).unwrap();
        let part = first.split(4);
        assert_eq!((first.bytes(), part.bytes(), budget.used()), (6, 4, 10));
        drop(first);
        assert_eq!(budget.used(), 4);
        drop(part);
        assert_eq!((budget.used(), budget.peak()), (0, 100));
        let bytes = budget.take(5).unwrap().with(vec![1; 5]);
        let part = bytes.slice(1..2);
        drop(bytes);
        assert_eq!((&part[..], budget.used()), (&[1][..], 5));
        drop(part);
        assert_eq!(budget.used(), 0);
        assert!(budget.take(usize::MAX).is_err());
        assert_eq!(budget.at_most(1 << 40), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_what_is_given_back() {
        let budget = Budget::new(100);
        let first = budget.take(60).unwrap();
        let mut second = std::pin::pin!(budget.take_soon(50));
        assert!(polled(second.as_mut()).await.is_none());
        drop(first);
        let second = polled(second).await.expect("there is room now").unwrap();
        // Nothing is given back for long, or ever enough.
        assert_eq!(budget.take_soon(51).await.unwrap_err().code, ErrorCode::Limit);
        assert_eq!(budget.take_soon(101).await.unwrap_err().code, ErrorCode::Limit);
        drop(second);
        assert_eq!(budget.used(), 0);
    }

    /// What a future gives when it is polled once.
    async fn polled<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match future.as_mut().poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
