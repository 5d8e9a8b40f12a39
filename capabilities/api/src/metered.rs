//! Connections that carry messages: no more is read of one than its reader wants, and what is read is taken from the
//! run's budget before it is a message.

use crate::types::Error;
use crate::{Budget, Held, lock};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a message counts at least: empty ones must not be many.
const LEAST: usize = 256;

/// How much of a connection was read, and how much of it may be.
pub struct Meter {
    budget: Arc<Budget>,
    /// Bytes that may be read before somebody asks for a message.
    ahead: usize,
    /// Bytes that its reader can hold before they are a message.
    most: usize,
    /// What each of them takes.
    weight: usize,
    state: Mutex<State>,
}

struct State {
    /// Bytes that make no whole message yet.
    fresh: Held,
    /// What the messages that wait count.
    queued: usize,
    /// Somebody waits for a message.
    asked: bool,
    /// The budget did not last.
    over: bool,
    waker: Option<Waker>,
}

impl Meter {
    /// Of a connection of which `ahead` bytes may be read before a message is asked for. A message that grows has room
    /// for twice as much.
    pub fn new(budget: &Arc<Budget>, ahead: usize) -> Arc<Meter> {
        Meter::of(budget, ahead, usize::MAX, 2)
    }

    /// The same, whose reader holds `most` bytes at most: what is read beyond that has gone its way, as the framing of
    /// a body does.
    pub fn buffered(budget: &Arc<Budget>, ahead: usize, most: usize) -> Arc<Meter> {
        Meter::of(budget, ahead, most, 1)
    }

    fn of(budget: &Arc<Budget>, ahead: usize, most: usize, weight: usize) -> Arc<Meter> {
        let state = State { fresh: budget.nothing(), queued: 0, asked: false, over: false, waker: None };
        Arc::new(Meter { budget: budget.clone(), ahead, most, weight, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn room(&self, state: &State) -> usize {
        if state.asked && state.queued == 0 {
            return usize::MAX;
        }
        self.ahead.saturating_sub((state.fresh.bytes() / self.weight).saturating_add(state.queued))
    }

    /// What was read has become a message of so many bytes, or nothing that is kept.
    ///
    /// # Errors
    /// `limit` where the run has not so many left.
    pub fn became(&self, bytes: usize) -> Result<Held, Error> {
        let mut state = self.lock();
        let fresh = state.fresh.bytes();
        state.fresh.shrink(fresh);
        let held = self.budget.take(bytes);
        state.over |= held.is_err();
        held
    }

    /// Hands bytes that were read to their reader, with their share of the budget.
    pub fn pass(&self, bytes: usize) -> Held {
        let mut state = self.lock();
        let held = state.fresh.split(bytes);
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
        held
    }

    /// A message waits.
    pub fn queue(&self, bytes: usize) {
        self.lock().queued += bytes.max(LEAST);
    }

    /// A message that has waited was taken.
    pub fn unqueue(&self, bytes: usize) {
        let mut state = self.lock();
        state.queued = state.queued.saturating_sub(bytes.max(LEAST));
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }

    /// Whether somebody waits for a message.
    pub fn ask(&self, asked: bool) {
        let mut state = self.lock();
        state.asked = asked;
        if let Some(waker) = state.waker.take().filter(|_| asked) {
            drop(state);
            waker.wake();
        }
    }

    /// Whether nothing is read until somebody asks.
    pub fn is_full(&self) -> bool {
        self.room(&self.lock()) == 0
    }

    /// The bytes of the budget that it takes from.
    pub fn limit(&self) -> u64 {
        self.budget.limit()
    }

    /// Whether the budget did not last for what came.
    pub fn is_over(&self) -> bool {
        self.lock().over
    }

    /// How many bytes may be read; ready when there are some.
    pub fn poll_room(&self, context: &Context<'_>) -> Poll<usize> {
        let mut state = self.lock();
        match self.room(&state) {
            0 => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
            room => Poll::Ready(room),
        }
    }

    fn read(&self, bytes: usize) -> io::Result<()> {
        let mut state = self.lock();
        let bytes = bytes.min(self.most.saturating_sub(state.fresh.bytes() / self.weight));
        state.fresh.grow(bytes.saturating_mul(self.weight)).map_err(|failure| {
            state.over = true;
            io::Error::new(io::ErrorKind::QuotaExceeded, failure.message)
        })
    }
}

/// A connection that is read as its meter says.
pub struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
}

impl<S> Metered<S> {
    pub fn new(stream: S, meter: Arc<Meter>) -> Metered<S> {
        Metered { stream, meter }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = ready!(self.meter.poll_room(context));
        let before = buffer.filled().len();
        if buffer.remaining() <= room {
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        } else {
            // A part of it has to be filled with zeros first.
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
            let read = part.filled().len();
            buffer.advance(read);
        }
        self.meter.read(buffer.filled().len() - before)?;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// What one poll reads of an endless connection.
    async fn read(metered: &mut Metered<tokio::io::Repeat>) -> Option<io::Result<usize>> {
        let mut bytes = [0; 100];
        poll_fn(|context| {
            let mut buffer = ReadBuf::new(&mut bytes);
            Poll::Ready(match Pin::new(&mut *metered).poll_read(context, &mut buffer) {
                Poll::Pending => None,
                Poll::Ready(result) => Some(result.map(|()| buffer.filled().len())),
            })
        })
        .await
    }

    #[tokio::test]
    async fn no_more_is_read_than_is_wanted_and_fits() {
        let budget = Budget::new(2000);
        let meter = Meter::new(&budget, 150);
        let mut metered = Metered::new(tokio::io::repeat(1), meter.clone());
        let mut next = async || read(&mut metered).await.map(|result| result.map_err(|_| ()));
        assert_eq!((next().await, next().await, next().await), (Some(Ok(100)), Some(Ok(50)), None));
        assert!(meter.is_full() && budget.used() == 300);
        // A message that waits keeps the next from being read; one that is asked for comes whatever its size.
        let held = meter.became(120).unwrap();
        meter.queue(120);
        assert_eq!((next().await, budget.used()), (None, 120));
        meter.ask(true);
        assert_eq!(next().await, None);
        meter.unqueue(120);
        drop(held);
        for _ in 0..10 {
            assert_eq!(next().await, Some(Ok(100)));
        }
        assert_eq!((next().await, meter.is_over(), budget.used()), (Some(Err(())), true, 2000));
        drop(meter.became(0).unwrap());
        assert_eq!(budget.used(), 0);
        assert!(meter.became(2001).is_err());
    }

    #[tokio::test]
    async fn what_its_reader_cannot_hold_is_not_counted() {
        let budget = Budget::new(1000);
        let meter = Meter::buffered(&budget, 100, 250);
        let mut metered = Metered::new(tokio::io::repeat(1), meter.clone());
        meter.ask(true);
        for _ in 0..100 {
            assert!(matches!(read(&mut metered).await, Some(Ok(100))));
        }
        assert_eq!(budget.used(), 250);
        let piece = meter.pass(200);
        meter.ask(false);
        assert_eq!((piece.bytes(), budget.used()), (200, 250));
        assert!(matches!(read(&mut metered).await, Some(Ok(50))));
        assert!(read(&mut metered).await.is_none());
        drop((piece, meter.pass(usize::MAX)));
        assert_eq!(budget.used(), 0);
    }
}
