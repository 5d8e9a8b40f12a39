//! The programs that a script knows by their numbers.

use crate::processes::Child;
use crate::stream::{PIECE, Stream};
use assay_capability_api::{Counter, Ctx, Limit, Stop, lock};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use wasmtime::Result;
use wasmtime::component::{Accessor, AccessorTask, HasSelf};

/// How many programs that have ended keep their exit status for a question by number.
const REMEMBERED: usize = 4096;

/// A program with what of its output goes to the run's.
#[derive(Clone)]
pub struct Known {
    pub child: Child,
    inherited: Arc<[(Arc<Stream>, bool)]>,
}

/// The programs of a run by number. A number that the system gives again stands for the later one.
#[derive(Clone, Default)]
pub struct Children(Arc<Mutex<BTreeMap<u32, Known>>>);

impl Children {
    /// Remembers a program, and lets what it writes to `inherited` (with true for errors) go to the run's output.
    ///
    /// # Errors
    /// When the store cannot take a task.
    pub fn add(
        accessor: &Accessor<Ctx, HasSelf<Ctx>>,
        child: Child,
        inherited: Vec<(Arc<Stream>, bool)>,
    ) -> Result<Known> {
        let known = Known { child, inherited: inherited.into() };
        for (stream, stderr) in known.inherited.iter() {
            accessor.spawn(Pump { stream: stream.clone(), stderr: *stderr, child: known.child.clone() })?;
        }
        let children = accessor.with(|mut access| access.get().state::<Children>().clone());
        let mut children = lock(&children.0);
        if children.len() >= REMEMBERED {
            children.retain(|_, known| known.child.exit().is_none());
        }
        children.insert(known.child.pid, known.clone());
        Ok(known)
    }

    /// The program of this number, if this run has started it.
    pub fn get(&self, pid: i64) -> Option<Known> {
        let pid = u32::try_from(pid).ok()?;
        lock(&self.0).get(&pid).cloned()
    }
}

impl Known {
    /// Writes out what the program has written and nobody has taken, so that it is seen before its end is told.
    ///
    /// # Errors
    /// Where the run has to end: its output has no reader.
    pub async fn drain(&self, accessor: &Accessor<Ctx, HasSelf<Ctx>>) -> Result<()> {
        for (stream, stderr) in self.inherited.iter() {
            while let Ok(Some(bytes)) = stream.read_now(PIECE)
                && !bytes.is_empty()
                && write(accessor, &self.child, *stderr, &bytes)?
            {
                settle(accessor).await;
            }
        }
        Ok(())
    }
}

/// Waits until the readers of the run's output take more, so that a program is read no faster than they read.
async fn settle(accessor: &Accessor<Ctx, HasSelf<Ctx>>) {
    loop {
        let ready = accessor.with(|mut access| {
            let output = &mut access.get().output;
            // A failure is told by the next write.
            let stalled = output.is_congested() && matches!(output.flush(), Ok(false));
            stalled.then(|| output.ready())
        });
        match ready {
            Some(ready) => ready.await,
            None => return,
        }
    }
}

/// Writes to the run's output; false where nothing more can be written.
fn write(accessor: &Accessor<Ctx, HasSelf<Ctx>>, child: &Child, stderr: bool, bytes: &[u8]) -> Result<bool> {
    accessor.with(|mut access| {
        let ctx = access.get();
        if ctx.run.spend(Counter::Output, bytes.len() as u64).is_err() {
            tracing::error!(pid = child.pid, "killed: it wrote more than the {} limit", Limit::Output.name());
            child.kill_tree_now();
            return Ok(false);
        }
        match ctx.output.write(stderr, bytes).and_then(|()| ctx.output.flush()) {
            Ok(_) => Ok(true),
            Err(gone) if gone.kind() == ErrorKind::BrokenPipe => Err(wasmtime::Error::new(Stop::unread())),
            Err(error) => {
                tracing::error!(%error, "what a program writes cannot be written on");
                Ok(false)
            }
        }
    })
}

/// Brings what a program writes to the run's output.
struct Pump {
    stream: Arc<Stream>,
    stderr: bool,
    child: Child,
}

impl AccessorTask<Ctx, HasSelf<Ctx>> for Pump {
    async fn run(self, accessor: &Accessor<Ctx, HasSelf<Ctx>>) -> Result<()> {
        // A read that fails is the end: there is nobody to tell.
        while let Ok(bytes) = self.stream.read(PIECE).await
            && !bytes.is_empty()
            && write(accessor, &self.child, self.stderr, &bytes)?
        {
            settle(accessor).await;
        }
        Ok(())
    }
}
