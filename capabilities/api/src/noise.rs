//! Bounds how much a peer may send that asks for nothing.

use std::time::Instant;

/// Frames of noise at a time, and how many more in each second.
const MOST: u32 = 2000;
const PER_SECOND: f64 = 200.0;

/// What a connection has sent that asks for nothing and still is work: pings, settings, empty pieces.
#[derive(Debug)]
pub struct Noise {
    amount: f64,
    since: Instant,
}

impl Default for Noise {
    fn default() -> Noise {
        Noise { amount: 0.0, since: Instant::now() }
    }
}

impl Noise {
    /// What may come at once.
    pub const MOST: u32 = MOST;

    /// Counts frames; false where there are too many.
    pub fn add(&mut self, frames: u32) -> bool {
        if frames == 0 {
            return true;
        }
        let now = Instant::now();
        let passed = now.duration_since(std::mem::replace(&mut self.since, now)).as_secs_f64();
        self.amount = (self.amount - passed * PER_SECOND).max(0.0) + f64::from(frames);
        self.amount <= f64::from(MOST)
    }

    /// Frames that ask for something make up for so many.
    pub fn relieve(&mut self, frames: u32) {
        self.amount = (self.amount - f64::from(frames)).max(0.0);
    }

    /// What is counted now.
    pub fn amount(&self) -> f64 {
        self.amount
    }
}
