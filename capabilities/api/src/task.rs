//! Futures that go on beside the calls of a script.

use crate::Cpu;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::task::JoinHandle;

/// A future whose polls are counted as CPU time of a run.
pub struct Counted<F> {
    cpu: Option<Arc<Cpu>>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _counted = self.cpu.as_ref().map(Cpu::enter);
        self.future.as_mut().poll(context)
    }
}

/// Counts the polls of a future as those of the run that this thread works for now.
pub fn counted<F: Future>(future: F) -> Counted<F> {
    Counted { cpu: Cpu::current(), future: Box::pin(future) }
}

/// Starts what goes on beside a call, such as the driver of a connection: what others make it do by what they send is
/// CPU time of the run that started it.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn spawn_task<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    tokio::spawn(counted(future))
}
