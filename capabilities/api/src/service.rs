//! Services that the program that runs a script offers to capabilities which serve clients: an orderly
//! shutdown, and further instances of the script.

use crate::Ctx;
use crate::lock;
use crate::types::Error;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// What the program that runs a script offers to capabilities: one thing of each type, a trait as a rule.
#[derive(Clone, Default)]
pub struct Services(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl Services {
    /// Offers something, in place of what was offered as the same type before.
    pub fn offer<T: ?Sized + Send + Sync + 'static>(&mut self, service: Arc<T>) {
        self.0.insert(TypeId::of::<T>(), Arc::new(service));
    }

    /// What is offered as a type.
    pub fn get<T: ?Sized + Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.get(&TypeId::of::<T>()).and_then(|service| service.downcast_ref::<Arc<T>>()).cloned()
    }
}

/// A service that a capability cannot do without.
#[derive(Clone, Copy, Debug)]
pub struct Required {
    /// What it is, for the message of a run that lacks it: "a workflow engine".
    pub name: &'static str,
    id: fn() -> TypeId,
}

impl Required {
    /// The service of a type, as it is called in messages.
    pub const fn of<T: ?Sized + Send + Sync + 'static>(name: &'static str) -> Required {
        Required { name, id: TypeId::of::<T> }
    }

    /// Whether it is offered.
    pub fn is_in(self, services: &Services) -> bool {
        services.0.contains_key(&(self.id)())
    }
}

/// How a run is asked to end. While somebody holds it, a signal asks instead of ending the run at once. A service; a
/// run without it is never asked.
#[derive(Clone, Default)]
pub struct Shutdown(Arc<Inner>);

struct Inner {
    /// Called when somebody first holds it.
    watch: Mutex<Option<Watch>>,
    holders: AtomicUsize,
    /// The longest time that a holder wants, milliseconds.
    grace: AtomicU64,
    requested: watch::Sender<bool>,
}

/// Starts to watch for what asks.
type Watch = Box<dyn FnOnce(&Shutdown) + Send>;

impl Default for Inner {
    fn default() -> Inner {
        Inner {
            watch: Mutex::default(),
            holders: AtomicUsize::new(0),
            grace: AtomicU64::new(0),
            requested: watch::Sender::new(false),
        }
    }
}

/// Somebody who wants to be asked.
pub struct Hold(Arc<Inner>);

impl Shutdown {
    /// One for which `watch` is called when it is first held: most scripts serve nobody and need no watching.
    pub fn watched(watch: impl FnOnce(&Shutdown) + Send + 'static) -> Shutdown {
        Shutdown(Arc::new(Inner { watch: Mutex::new(Some(Box::new(watch))), ..Inner::default() }))
    }

    /// Wants to be asked, and to have so long after that.
    pub fn hold(&self, grace: Duration) -> Hold {
        let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.0.grace.fetch_max(grace, Ordering::Relaxed);
        let watch = lock(&self.0.watch).take();
        if let Some(watch) = watch {
            watch(self);
        }
        self.0.holders.fetch_add(1, Ordering::AcqRel);
        Hold(self.0.clone())
    }

    /// Whether somebody wants to be asked. May be called in a signal handler.
    pub fn is_held(&self) -> bool {
        self.0.holders.load(Ordering::Acquire) > 0
    }

    /// Asks everybody who holds it, and who will.
    pub fn request(&self) {
        self.0.requested.send_replace(true);
    }

    /// Resolves when it was asked.
    pub async fn requested(&self) {
        // The sender lives as long as this.
        let _ = self.0.requested.subscribe().wait_for(|requested| *requested).await;
    }

    /// How long those who held it may take.
    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.0.grace.load(Ordering::Relaxed))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holders.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Sets up what a capability keeps in the [`Ctx`] of an instance.
pub type Prepare = Arc<dyn Fn(&mut Ctx) + Send + Sync>;

/// Starts further instances of a run's script. They share its grants, its limits and what it has used; each has its
/// own memory.
pub trait Replicas: Send + Sync {
    /// Starts `count` of them, each from the top of the script.
    ///
    /// # Errors
    /// When the system gives no thread, or this program has no room for more instances.
    fn start(&self, count: u32, prepare: Prepare) -> Result<(), Error>;
}
