//! The checks before a program is started: of the program itself, of its directory and files.

pub use crate::command::{check_words, hold_words};
pub use crate::environment::Variables;
use crate::program::{Program, find};
use crate::stream;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, HandleGuard, Request, Run, io_error};
use assay_capability_fs::How;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

type Outcome<T> = Result<T, Error>;

/// Finds a program and checks that it is granted. Looks at the disk.
///
/// # Errors
/// `denied`, else as for [`find`].
pub fn program(run: &Run, capability: &str, name: &str) -> Outcome<Program> {
    match find(name, &run.working_directory, &run.ambient) {
        Ok(program) => match run.check(capability, &program.request()) {
            Ok(()) => Ok(program),
            Err(mut refused) => {
                // Where it was found, or that it was, is no matter of who may not start it.
                let shown =
                    if name.contains('/') { run.path(name).display().to_string() } else { name.into() };
                refused.message = refused.message.replace(&program.path.display().to_string(), &shown);
                Err(refused)
            }
        },
        Err(failed) => {
            // Whether it exists is no matter of who may not start it.
            let path = if name.contains('/') { run.path(name) } else { Path::new(name).to_path_buf() };
            run.check(capability, &Request::Program { name, path: &path, real: &path })?;
            Err(failed)
        }
    }
}

/// Opens the working directory that a script wants for a program. Looks at the disk.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn directory(run: &Run, path: Option<&str>) -> Outcome<Option<OwnedFd>> {
    // What a program does there is its own; the script reads nothing by it.
    let opened = path.map(|path| assay_capability_fs::open_directory(run, Access::Stat, path)).transpose();
    opened.map_err(|mut error| {
        if error.code != ErrorCode::Denied {
            error.message = format!("the working directory {}", error.message);
        }
        error
    })
}

/// Where a program's input comes from.
#[derive(Debug)]
pub enum Input {
    Null,
    Pipe,
    File(String),
}

/// Where a program's output goes.
#[derive(Debug)]
pub enum Output {
    Null,
    /// To the script, which holds a handle of the run for it.
    Pipe,
    /// To the run's own output.
    Inherit,
    File {
        path: String,
        append: bool,
    },
}

/// One of a program's standard streams: its end, and the run's where there is one.
pub struct Ends {
    pub theirs: OwnedFd,
    pub ours: Option<(stream::Stream, Option<HandleGuard>)>,
}

fn pipe_failed(source: std::io::Error) -> Error {
    io_error("cannot make a pipe", &source)
}

/// A file for a program, which expects its reads and writes to wait.
fn file(run: &Run, path: &str, how: How) -> Outcome<Ends> {
    let file = assay_capability_fs::open(run, path, how)?;
    let blocking = || -> std::io::Result<()> {
        let flags = rustix::fs::fcntl_getfl(&file)?;
        Ok(rustix::fs::fcntl_setfl(&file, flags - rustix::fs::OFlags::NONBLOCK)?)
    };
    blocking().map_err(|source| io_error(path, &source))?;
    Ok(Ends { theirs: file.into(), ours: None })
}

impl Input {
    /// # Errors
    /// `denied` for a file, `limit` where the run has no handle left, or the operating system's.
    pub fn open(&self, run: &Arc<Run>) -> Outcome<Ends> {
        match self {
            Input::Null => Ok(Ends { theirs: stream::null().map_err(pipe_failed)?, ours: None }),
            Input::Pipe => {
                let handle = run.take_handle()?;
                let (theirs, ours) = stream::input().map_err(pipe_failed)?;
                Ok(Ends { theirs, ours: Some((ours, Some(handle))) })
            }
            Input::File(path) => file(run, path, How { read: true, ..How::default() }),
        }
    }
}

impl Output {
    /// # Errors
    /// `denied` for a file, `limit` where the run has no handle left, or the operating system's.
    pub fn open(&self, run: &Arc<Run>) -> Outcome<Ends> {
        match self {
            Output::Null => Ok(Ends { theirs: stream::null().map_err(pipe_failed)?, ours: None }),
            Output::Pipe | Output::Inherit => {
                let handle = matches!(self, Output::Pipe).then(|| run.take_handle()).transpose()?;
                let (theirs, ours) = stream::output().map_err(pipe_failed)?;
                Ok(Ends { theirs, ours: Some((ours, handle)) })
            }
            Output::File { path, append } => {
                let how = How {
                    write: true,
                    create: true,
                    parents: true,
                    append: *append,
                    truncate: !append,
                    ..How::default()
                };
                file(run, path, how)
            }
        }
    }
}

/// Another descriptor for the same stream.
///
/// # Errors
/// The operating system's.
pub fn same(end: &OwnedFd) -> Outcome<OwnedFd> {
    end.as_fd().try_clone_to_owned().map_err(pipe_failed)
}
