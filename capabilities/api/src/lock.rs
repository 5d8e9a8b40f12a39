//! Locks whose holder may have panicked.

use std::sync::{Mutex, MutexGuard};

/// Takes a lock, also after a panic of who held it: that ended its own run, and what our locks guard is whole between any
/// two steps of who holds them.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
