//! What the frames of an HTTP/2 connection tell about its client: whether it gets on, and whether it only makes work.
//!
//! hyper keeps a connection whose client answers pings, whatever else it does. Here the frames are counted as they
//! pass (RFC 9113 4.1): requests and bodies are progress; pings, settings, resets and the like are noise, of which a
//! client may send only as much as it lets the server answer.

use assay_capability_api::Noise;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Bytes of the client's preface.
const PREFACE: usize = 24;
/// What the head of a message counts as progress, and what is progress at all within the bound: less is a client that
/// reads or writes byte by byte.
const PROGRESS: u64 = 1024;
/// How much noise the head of a response and a piece of a body make up for.
const HEAD_RELIEF: u32 = 4;
const DATA_RELIEF: u32 = 2;
/// Bytes of a piece of a body that is more than noise.
const SMALL: usize = 64;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const END_STREAM: u8 = 1;

/// The head of a frame.
struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frame {
    fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// The frames of one direction, as their bytes pass.
#[derive(Debug, Default)]
struct Scan {
    head: [u8; 9],
    have: usize,
    /// Bytes that belong to no head.
    skip: usize,
}

impl Scan {
    fn pass(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (self.head.len() - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == self.head.len() {
                let [a, b, c, kind, flags, id @ ..] = self.head;
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                let stream = u32::from_be_bytes(id) & 0x7fff_ffff;
                (self.have, self.skip) = (0, length);
                seen(Frame { length, kind, flags, stream });
            }
        }
    }
}

/// What is known of a connection's progress, shared with the task that ends it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Grows with each request, response and piece of a body.
    amount: AtomicU64,
    /// Requests that a handler works on, and responses that wait for the script.
    working: AtomicUsize,
    /// Streams that neither side has ended.
    open: AtomicUsize,
}

impl Progress {
    /// Until the guard is dropped, the connection waits for the script.
    pub fn work(self: &Arc<Self>) -> Working {
        self.working.fetch_add(1, Ordering::Relaxed);
        Working(self.clone())
    }

    /// Resolves when the client has done nothing for too long: `idle` between requests, `stalled` while it sends a
    /// request or takes a response.
    pub async fn stopped(&self, idle: Option<Duration>, stalled: Option<Duration>) {
        /// How often one looks in a bound.
        const LOOKS: u32 = 8;
        let shortest = match (idle, stalled) {
            (Some(idle), Some(stalled)) => idle.min(stalled),
            (one, other) => match one.or(other) {
                Some(bound) => bound,
                None => return std::future::pending().await,
            },
        };
        let (mut mark, mut since) = (self.amount.load(Ordering::Relaxed), Instant::now());
        loop {
            tokio::time::sleep((shortest / LOOKS).max(Duration::from_millis(1))).await;
            let amount = self.amount.load(Ordering::Relaxed);
            if self.working.load(Ordering::Relaxed) > 0 || amount - mark >= PROGRESS {
                (mark, since) = (amount, Instant::now());
                continue;
            }
            let bound = if self.open.load(Ordering::Relaxed) > 0 { stalled } else { idle };
            if bound.is_some_and(|bound| since.elapsed() >= bound) {
                return;
            }
        }
    }
}

/// See [`Progress::work`].
#[derive(Debug)]
pub struct Working(Arc<Progress>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The frames of both directions.
#[derive(Debug)]
pub struct Frames {
    incoming: Scan,
    outgoing: Scan,
    open: BTreeSet<u32>,
    last: u32,
    noise: Noise,
    progress: Arc<Progress>,
}

impl Frames {
    pub fn new() -> Frames {
        Frames {
            incoming: Scan { skip: PREFACE, ..Scan::default() },
            outgoing: Scan::default(),
            open: BTreeSet::new(),
            last: 0,
            noise: Noise::default(),
            progress: Arc::default(),
        }
    }

    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Takes what the client has sent; false where it only makes work.
    pub fn received(&mut self, bytes: &[u8]) -> bool {
        let (mut noise, mut amount) = (0u32, 0);
        let (open, last) = (&mut self.open, &mut self.last);
        self.incoming.pass(bytes, |frame| {
            match frame.kind {
                DATA => amount += frame.length as u64,
                HEADERS => {
                    amount += PROGRESS;
                    if frame.stream > *last {
                        *last = frame.stream;
                        open.insert(frame.stream);
                    }
                }
                RESET => {
                    open.remove(&frame.stream);
                }
                _ => {}
            }
            let gets_on = frame.kind == DATA && (frame.length >= SMALL || frame.ends_stream());
            noise = noise.saturating_add(u32::from(!gets_on));
        });
        self.count(amount);
        self.noise.add(noise)
    }

    /// Takes what was sent to the client.
    pub fn sent(&mut self, bytes: &[u8]) {
        let (mut relief, mut amount) = (0u32, 0);
        let open = &mut self.open;
        self.outgoing.pass(bytes, |frame| {
            match frame.kind {
                DATA => amount += frame.length as u64,
                HEADERS => amount += PROGRESS,
                _ => {}
            }
            if frame.kind == RESET || frame.ends_stream() {
                open.remove(&frame.stream);
            }
            relief = relief.saturating_add(match frame.kind {
                HEADERS => HEAD_RELIEF,
                DATA if frame.length >= SMALL => DATA_RELIEF,
                _ => 0,
            });
        });
        self.noise.relieve(relief);
        self.count(amount);
    }

    fn count(&self, amount: u64) {
        self.progress.amount.fetch_add(amount, Ordering::Relaxed);
        self.progress.open.store(self.open.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOISE: u32 = Noise::MOST;

    fn frame(length: usize, kind: u8, flags: u8, stream: u32) -> Vec<u8> {
        let mut bytes = (length as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.resize(9 + length, 0);
        bytes
    }

    fn after_preface() -> Frames {
        let mut frames = Frames::new();
        assert!(frames.received(&[b'x'; PREFACE]));
        frames
    }

    #[test]
    fn frames_are_found_in_pieces_of_every_size() {
        let bytes: Vec<u8> =
            [frame(70, HEADERS, 4, 1), frame(100, DATA, 1, 1), frame(8, 6, 0, 0), frame(0, 4, 1, 0)].concat();
        for size in [1, 2, 5, 9, 10, 100, 1000] {
            let mut frames = after_preface();
            bytes.chunks(size).for_each(|piece| assert!(frames.received(piece)));
            assert_eq!(frames.progress.amount.load(Ordering::Relaxed), PROGRESS + 100, "{size}");
            // The request, a ping and the settings.
            assert_eq!(frames.noise.amount().round(), 3.0, "{size}");
            assert_eq!(frames.progress.open.load(Ordering::Relaxed), 1);
            frames.sent(&frame(5, HEADERS, 4, 1));
            frames.sent(&frame(70, DATA, END_STREAM, 1));
            assert_eq!(frames.progress.open.load(Ordering::Relaxed), 0);
            assert_eq!(frames.noise.amount(), 0.0);
        }
    }

    #[test]
    fn noise_is_bounded_and_answers_make_up_for_it() {
        // Pings, settings, windows, priorities, resets, continuations, empty and tiny data, unknown frames.
        for (length, kind) in
            [(8, 6), (0, 4), (4, 8), (5, 2), (4, RESET), (1, 9), (0, DATA), (63, DATA), (0, 200)]
        {
            let mut frames = after_preface();
            let flood = frame(length, kind, 0, 1);
            let passed = (0..NOISE + 400).take_while(|_| frames.received(&flood)).count();
            assert!((NOISE as usize..NOISE as usize + 400).contains(&passed), "{kind}: {passed}");
        }
        let mut frames = after_preface();
        // Rapid reset: requests that nobody waits for.
        let rapid: Vec<u8> = [frame(10, HEADERS, 5, 1), frame(4, RESET, 0, 1)].concat();
        assert!((0..NOISE).any(|_| !frames.received(&rapid)));
        // As many requests that are answered are not noise.
        let mut frames = after_preface();
        for n in 0..20_000 {
            assert!(frames.received(&frame(10, HEADERS, 5, 2 * n + 1)), "{n}");
            assert!(frames.received(&frame(4, 8, 0, 0)) && frames.received(&frame(8, 6, 0, 0)));
            frames.sent(&frame(10, HEADERS, 4, 2 * n + 1));
            frames.sent(&frame(10, DATA, END_STREAM, 2 * n + 1));
        }
        let mut frames = after_preface();
        for _ in 0..20_000 {
            assert!(frames.received(&frame(SMALL, DATA, 0, 1)));
        }
    }
}
