//! A server: where it listens, the queue between them and the instances, and how it stops.
//!
//! Where one instance answers, the connections live on its own thread: handing a request to another thread and
//! back costs more than a small handler, and a script that computes lets other work run at every tick. Several instances
//! share connections that live on threads of their own. What is read waits in one queue, from which every instance
//! pulls.

use crate::bind::{Acceptor, Listener, SocketFile};
use crate::connection;
use crate::exchange::{Mailbox, Request};
use crate::router::Router;
use crate::scope::Address;
use crate::settings::{SHUTDOWN_MAX, Settings};
use assay_capability_api::types::Error;
use assay_capability_api::{Run, Shutdown, io_error, lock};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// Threads that read files for responses, for each listening thread.
const BLOCKING_THREADS: usize = 8;
/// Before accepting is tried again when the system has no descriptors left.
const RETRY: Duration = Duration::from_millis(100);

/// A server of a run.
pub struct Server {
    pub settings: Settings,
    pub router: Router,
    pub run: Arc<Run>,
    pub address: Address,
    queue: Mutex<Queue>,
    requests: Arc<AtomicUsize>,
    stop: watch::Sender<Option<Instant>>,
    file: Mutex<Option<SocketFile>>,
    /// Listeners that have not ended.
    listeners: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Request>,
    /// Instances that wait for requests, the longest waiting first.
    idle: VecDeque<Arc<Mailbox>>,
    ended: bool,
}

/// One of the requests that a server works on at a time.
pub struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What an instance gets from the queue.
pub struct Pulled {
    pub requests: Vec<Request>,
    pub ended: Vec<u64>,
    pub open: bool,
}

impl Server {
    pub fn new(
        settings: Settings,
        router: Router,
        run: Arc<Run>,
        address: Address,
        file: Option<SocketFile>,
    ) -> Server {
        Server {
            settings,
            router,
            run,
            address,
            queue: Mutex::default(),
            requests: Arc::default(),
            stop: watch::Sender::new(None),
            file: Mutex::new(file),
            listeners: AtomicUsize::new(0),
        }
    }

    /// Listens as a task of the thread that calls, until the handle's task is aborted or the server stops.
    ///
    /// # Errors
    /// When the thread's reactor cannot watch the socket.
    pub fn listen_here(
        self: &Arc<Self>,
        listener: Listener,
        tls: Option<TlsAcceptor>,
        shutdown: &Shutdown,
    ) -> Result<AbortHandle, Error> {
        self.listeners.store(1, Ordering::Release);
        let ended = Ended(self.clone());
        let acceptor = listener.start().map_err(|failure| self.cannot_listen(&failure))?;
        let (server, shutdown) = (self.clone(), shutdown.clone());
        let permits = Arc::new(Semaphore::new(self.settings.max_connections));
        let task = assay_capability_api::spawn_task(async move {
            let _ended = ended;
            server.accept(acceptor, tls, shutdown, permits).await;
        });
        Ok(task.abort_handle())
    }

    /// Listens on so many threads.
    ///
    /// # Errors
    /// When the system gives no thread or descriptor; then none goes on.
    pub fn listen(
        self: &Arc<Self>,
        listener: Listener,
        tls: Option<TlsAcceptor>,
        shutdown: &Shutdown,
        threads: usize,
    ) -> Result<(), Error> {
        let failed = |failure| self.cannot_listen(&failure);
        let permits = Arc::new(Semaphore::new(self.settings.max_connections));
        let mut listeners = Vec::with_capacity(threads);
        for _ in 1..threads {
            listeners.push(listener.duplicate().map_err(failed)?);
        }
        listeners.push(listener);
        self.listeners.store(listeners.len(), Ordering::Release);
        let guards: Vec<_> = listeners.iter().map(|_| Ended(self.clone())).collect();
        for (listener, ended) in listeners.into_iter().zip(guards) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(BLOCKING_THREADS)
                .build()
                .map_err(failed)?;
            let (server, tls, shutdown) = (self.clone(), tls.clone(), shutdown.clone());
            let permits = permits.clone();
            let work = move || {
                let _ended = ended;
                // All that this thread does is for the run.
                let _counted = server.run.cpu.enter();
                let acceptor = {
                    let _context = runtime.enter();
                    listener.start()
                };
                match acceptor {
                    Ok(acceptor) => runtime.block_on(server.accept(acceptor, tls, shutdown, permits)),
                    Err(failure) => tracing::error!(%failure, address = %server.address, "cannot listen"),
                }
                // A file that is being read must not hold the thread.
                runtime.shutdown_background();
            };
            if let Err(failure) = std::thread::Builder::new().name("http".into()).spawn(work) {
                self.stop(Some(Duration::ZERO));
                return Err(failed(failure));
            }
        }
        Ok(())
    }

    fn cannot_listen(&self, failure: &std::io::Error) -> Error {
        io_error(&format!("cannot listen on {}", self.address), failure)
    }

    async fn accept(
        self: &Arc<Self>,
        acceptor: Acceptor,
        tls: Option<TlsAcceptor>,
        shutdown: Shutdown,
        permits: Arc<Semaphore>,
    ) {
        let mut connections = JoinSet::new();
        let mut stop = self.stop.subscribe();
        // A connection that was accepted, until the run has a handle for it.
        let mut waiting = None;
        let deadline = loop {
            tokio::select! {
                biased;
                deadline = stopped(&mut stop) => break deadline,
                () = shutdown.requested() => self.stop(None),
                Some(_) = connections.join_next() => {}
                handle = async {
                    if waiting.is_none() {
                        let permit = permits.clone().acquire_owned().await;
                        waiting = Some((permit, acceptor.accept().await));
                    }
                    // The next ones wait at the system's meanwhile.
                    self.run.take_handle_soon().await
                } => match waiting.take() {
                    Some((permit, Ok((stream, peer)))) => {
                        let work = connection::serve(self.clone(), stream, peer, tls.clone());
                        connections.spawn(assay_capability_api::counted(async move {
                            work.await;
                            drop((permit, handle));
                        }));
                    }
                    Some((_, Err(failure))) => {
                        tracing::debug!(address = %self.address, %failure, "cannot accept");
                        tokio::time::sleep(RETRY).await;
                    }
                    None => {}
                },
            }
        };
        drop(acceptor);
        let mut deadline = deadline;
        loop {
            tokio::select! {
                joined = connections.join_next() => if joined.is_none() { return },
                () = tokio::time::sleep_until(deadline) => return,
                // The deadline may come nearer.
                _ = stop.changed() => if let Some(changed) = *stop.borrow_and_update() { deadline = changed },
            }
        }
    }

    /// Stops to accept. What is under way may end within so long; by default as the settings say.
    pub fn stop(&self, within: Option<Duration>) {
        let within = within.unwrap_or(self.settings.shutdown_timeout).min(SHUTDOWN_MAX);
        let deadline = Instant::now() + within;
        drop(lock(&self.file).take());
        self.stop.send_if_modified(|stop| {
            let sooner = stop.is_none_or(|before| deadline < before);
            if sooner {
                *stop = Some(deadline);
            }
            sooner
        });
    }

    /// Whether the server stops.
    pub fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Resolves when the server stops.
    pub async fn stopping(&self) {
        stopped(&mut self.stop.subscribe()).await;
    }

    /// A place among the requests that are worked on; none when there are too many.
    pub fn count(&self) -> Option<Counted> {
        let counted = Counted(self.requests.clone());
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        (before < self.settings.max_requests).then_some(counted)
    }

    /// Hands a request to whichever instance is free first.
    pub fn push(&self, request: Request) {
        let idle = {
            let mut queue = lock(&self.queue);
            queue.waiting.push_back(request);
            queue.idle.pop_front()
        };
        if let Some(mailbox) = idle {
            mailbox.wake();
        }
    }

    /// Takes up to `max` requests.
    pub fn poll_pull(&self, context: &Context<'_>, mailbox: &Arc<Mailbox>, max: usize) -> Poll<Pulled> {
        let ended = mailbox.take(context);
        let mut queue = lock(&self.queue);
        let count = queue.waiting.len().min(max);
        let requests: Vec<_> = queue.waiting.drain(..count).collect();
        let open = !queue.ended;
        if requests.is_empty() && ended.is_empty() && open {
            if !queue.idle.iter().any(|idle| Arc::ptr_eq(idle, mailbox)) {
                queue.idle.push_back(mailbox.clone());
            }
            return Poll::Pending;
        }
        Poll::Ready(Pulled { requests, ended, open })
    }

    /// An instance that no longer pulls must not be woken in place of one that does.
    pub fn leave(&self, mailbox: &Arc<Mailbox>) {
        let next = {
            let mut queue = lock(&self.queue);
            queue.idle.retain(|idle| !Arc::ptr_eq(idle, mailbox));
            if queue.waiting.is_empty() { None } else { queue.idle.pop_front() }
        };
        if let Some(mailbox) = next {
            mailbox.wake();
        }
    }

    fn end(&self) {
        let idle = {
            let mut queue = lock(&self.queue);
            queue.ended = true;
            queue.waiting.clear();
            std::mem::take(&mut queue.idle)
        };
        idle.iter().for_each(|mailbox| mailbox.wake());
    }
}

/// A listener that ends, however it does; the last one ends the server.
struct Ended(Arc<Server>);

impl Drop for Ended {
    fn drop(&mut self) {
        if self.0.listeners.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.end();
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<Option<Instant>>) -> Instant {
    match stop.wait_for(Option::is_some).await.map(|deadline| *deadline) {
        Ok(Some(deadline)) => deadline,
        // Nothing is left that could stop it.
        _ => Instant::now(),
    }
}
