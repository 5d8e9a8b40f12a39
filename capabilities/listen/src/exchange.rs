//! A request and its response, between the connection that waits and the guest that answers.

use crate::body::{Body, Upload, Writer};
use crate::server::{Counted, Server};
use crate::websocket::Socket;
use assay_capability_api::{Held, lock};
use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Where a connection comes from.
#[derive(Clone, Debug)]
pub enum Peer {
    Tcp(SocketAddr),
    Unix,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Peer::Tcp(address) => write!(f, "{address}"),
            Peer::Unix => f.write_str("unix"),
        }
    }
}

/// A request on its way to an instance.
pub struct Request {
    pub parts: Parts,
    pub route: u32,
    /// As wit/listen.wit says.
    pub head: Vec<u8>,
    pub body: Bytes,
    pub rest: Option<Upload>,
    pub upgrade: Option<Upgrade>,
    pub response_slot: Arc<ResponseSlot>,
    pub counted: Counted,
    /// What head and body take of the run's budget until the guest has them.
    pub held: Held,
}

/// A connection that may become something else than HTTP.
pub struct Upgrade {
    pub ready: OnUpgrade,
    pub after: After,
    pub secure: bool,
}

/// What a connection goes on with when its HTTP is over, on its own thread.
pub type After = Arc<Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>>;

/// Tells an instance which of its exchanges have ended.
#[derive(Default)]
pub struct Mailbox(Mutex<MailboxState>);

#[derive(Default)]
struct MailboxState {
    ended: Vec<u64>,
    waker: Option<Waker>,
}

impl Mailbox {
    pub fn wake(&self) {
        if let Some(waker) = lock(&self.0).waker.take() {
            waker.wake();
        }
    }

    /// Takes the exchanges that ended; wakes `context` at the next.
    pub fn take(&self, context: &Context<'_>) -> Vec<u64> {
        let mut state = lock(&self.0);
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        std::mem::take(&mut state.ended)
    }

    fn tell(&self, id: u64) {
        let mut state = lock(&self.0);
        state.ended.push(id);
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }
}

/// Where the connection finds the response that the guest gives.
#[derive(Default)]
pub struct ResponseSlot(Mutex<State>);

#[derive(Default)]
struct State {
    response: Option<Response<Body>>,
    /// The exchange was dropped without an answer.
    abandoned: bool,
    /// Nobody waits any more.
    over: bool,
    waker: Option<Waker>,
    owner: Option<(Arc<Mailbox>, u64)>,
}

impl ResponseSlot {
    /// Hands the response to the connection; gives it back where nobody waits for one.
    pub fn answer(&self, response: Response<Body>) -> Result<(), Box<Response<Body>>> {
        let mut state = lock(&self.0);
        if state.over || state.response.is_some() {
            return Err(Box::new(response));
        }
        state.response = Some(response);
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
        Ok(())
    }

    /// No answer will come.
    pub fn abandon(&self) {
        let mut state = lock(&self.0);
        state.abandoned = true;
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }

    /// Whether nobody waits for the answer any more; else `owner` is told when that comes to be.
    pub fn take_over(&self, owner: &Arc<Mailbox>, id: u64) -> bool {
        let mut state = lock(&self.0);
        state.owner = Some((owner.clone(), id));
        !state.over
    }

    /// Whether nobody waits any more.
    pub fn is_over(&self) -> bool {
        lock(&self.0).over
    }

    /// Tells the guest that nobody waits any more.
    pub fn tell_owner(&self) {
        let owner = {
            let mut state = lock(&self.0);
            state.over = true;
            state.owner.take()
        };
        if let Some((mailbox, id)) = owner {
            mailbox.tell(id);
        }
    }
}

/// A connection that waits for its response; none when no answer will come. Dropped before, it tells the guest.
pub struct Waiting {
    response_slot: Arc<ResponseSlot>,
    done: bool,
}

impl Waiting {
    pub fn new(response_slot: Arc<ResponseSlot>) -> Waiting {
        Waiting { response_slot, done: false }
    }
}

impl Future for Waiting {
    type Output = Option<Response<Body>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut state = lock(&this.response_slot.0);
        let abandoned = state.abandoned;
        if state.response.is_some() || abandoned {
            let response = state.response.take();
            drop(state);
            this.done = true;
            return Poll::Ready(response);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.done {
            self.response_slot.tell_owner();
        }
    }
}

/// An exchange in the hands of the guest.
pub struct Exchange {
    pub server: Arc<Server>,
    pub parts: Parts,
    pub response_slot: Arc<ResponseSlot>,
    pub rest: Rest,
    pub upgrade: Option<Upgrade>,
    pub phase: Phase,
    pub _counted: Counted,
}

/// What is left of the request body.
pub enum Rest {
    None,
    Some(Upload),
    /// A call reads it.
    Taken,
    /// It is too large or did not arrive, which is answered so where the handler fails for it.
    Refused(StatusCode, &'static str),
}

/// How far the response is.
pub enum Phase {
    Waiting,
    /// A call makes it.
    Answering,
    Writing(Writer),
    Socket(Socket),
    Answered,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if matches!(self.phase, Phase::Waiting | Phase::Answering) {
            self.response_slot.abandon();
        }
    }
}

/// The exchanges of an instance, by number.
#[derive(Default)]
pub struct Exchanges {
    slots: Vec<(u32, Option<Box<Exchange>>)>,
    free: Vec<u32>,
}

impl Exchanges {
    /// A number is never used twice: its upper half counts the uses of the slot.
    pub fn insert(&mut self, exchange: Box<Exchange>) -> u64 {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push((0, None));
                self.slots.len() as u32 - 1
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.0 = slot.0.wrapping_add(1);
        slot.1 = Some(exchange);
        u64::from(slot.0) << 32 | u64::from(index)
    }

    pub fn get(&mut self, id: u64) -> Option<&mut Exchange> {
        let slot = self.slots.get_mut((id & 0xffff_ffff) as usize)?;
        if u64::from(slot.0) != id >> 32 {
            return None;
        }
        slot.1.as_deref_mut()
    }

    pub fn remove(&mut self, id: u64) -> Option<Box<Exchange>> {
        self.get(id)?;
        let index = (id & 0xffff_ffff) as u32;
        self.free.push(index);
        self.slots[index as usize].1.take()
    }
}
