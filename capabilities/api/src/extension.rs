//! Capabilities that the program around a run adds to those of this build.

use crate::types::Error;
use crate::{Capability, Run};
use std::pin::Pin;
use std::sync::Arc;

/// A call of an extension that is under way: its result as JSON. Dropped when the script gives it up.
pub type Pending<'a> = Pin<Box<dyn Future<Output = Result<String, Error>> + Send + 'a>>;

/// A capability of an embedding program: scripts find its functions in a global table of its name. It is granted as any
/// other, and checks each call itself. In a run that is replayed those of its functions go on of which
/// [`Capability::determinism`] says so: they answer from a history, or only compute.
pub trait Extension: Capability {
    /// The names of its functions.
    fn functions(&self) -> &'static [&'static str];

    /// Calls one. `arguments` is a list in JSON; the answer is JSON too. It asks [`Run::check`] before it does anything.
    fn call<'a>(&'a self, run: &'a Arc<Run>, function: &'a str, arguments: String) -> Pending<'a>;
}

/// The extensions of a program, a service of its runs.
#[derive(Clone, Copy)]
pub struct Extensions(pub &'static [&'static dyn Extension]);

impl Extensions {
    /// The one of this name.
    pub fn find(self, name: &str) -> Option<&'static dyn Extension> {
        self.0.iter().copied().find(|extension| extension.name() == name)
    }
}
