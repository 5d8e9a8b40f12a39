//! `assay repl`.

use crate::args::RunOptions;
use crate::ending;
use crate::host::Host;
use crate::outputs::Outputs;
use crate::prepare::prepare;
use anyhow::{Context, Result};
use assay_runner::{Console, ConsoleReply, Input, Script};
use clap::Args;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use std::future::Future;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  assay repl
  assay repl --allow fs=read:.                      with files to look at")]
pub(crate) struct Repl {
    #[command(flatten)]
    pub(crate) options: RunOptions,
}

pub(crate) fn repl(args: &Repl) -> Result<u8> {
    let here = PathBuf::from(".");
    let lines = Arc::new(Lines::open()?);
    let script = Script::named("=stdin", "repl", Vec::new());
    let prepared = prepare(script, Input::Console(lines.clone()), &here, &args.options)?;
    let run = prepared.spec.run.clone();
    let outputs = Outputs::open(&run, &args.options)?;
    let unwritten = lines.unwritten.clone();
    let options = args.options.clone();
    let host = Host::new(move |run, outcome| {
        let code = ending::conclude(run, outcome, &options, &outputs);
        Ok(if unwritten.load(Ordering::Relaxed) { code.max(1) } else { code })
    })?;
    let outcome = host.run(prepared)?;
    host.conclude(&run, &outcome)
}

/// Lines from the terminal with history, or from a pipe.
struct Lines {
    editor: Arc<Mutex<DefaultEditor>>,
    history: Option<PathBuf>,
    terminal: bool,
    /// A value could not be shown, which ends the session.
    unwritten: Arc<AtomicBool>,
}

impl Lines {
    fn open() -> Result<Lines> {
        let mut editor = DefaultEditor::new().context("the terminal cannot be used")?;
        let history = history_file();
        if let Some(path) = &history {
            // The first time there is none.
            let _ = editor.load_history(path);
        }
        let terminal = std::io::stdin().is_terminal();
        if terminal {
            crate::say(&format!("assay {} (Lua 5.5); Ctrl-D leaves\n", env!("CARGO_PKG_VERSION")));
        }
        Ok(Lines { editor: Arc::new(Mutex::new(editor)), history, terminal, unwritten: Arc::default() })
    }
}

/// XDG base directory specification: state that is kept between runs.
fn history_file() -> Option<PathBuf> {
    let base = match std::env::var_os("XDG_STATE_HOME") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => PathBuf::from(std::env::var_os("HOME")?).join(".local/state"),
    };
    let folder = base.join("assay");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}

impl Console for Lines {
    fn next(&self, last: ConsoleReply) -> Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send>> {
        let prompt = match (&last, self.terminal) {
            (_, false) => "",
            (ConsoleReply::Incomplete, true) => ">> ",
            (_, true) => "> ",
        };
        match last {
            ConsoleReply::Done(values) if !values.is_empty() => {
                if let Err(error) = crate::print(format!("{}\n", values.join("\t")).as_bytes()) {
                    crate::say(&format!("assay: standard output cannot be written: {error:#}\n"));
                    self.unwritten.store(true, Ordering::Relaxed);
                    return Box::pin(std::future::ready(None));
                }
            }
            ConsoleReply::Failed(message) => crate::say(&format!("{message}\n")),
            _ => {}
        }
        let (editor, history) = (self.editor.clone(), self.history.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut editor = editor.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            loop {
                match editor.readline(prompt) {
                    Ok(line) => {
                        if !line.trim().is_empty()
                            && editor.add_history_entry(&line).unwrap_or(false)
                            && let Some(path) = &history
                        {
                            // Losing the history is no reason to stop.
                            let _ = editor.save_history(path);
                        }
                        return Some(line.into_bytes());
                    }
                    // Ctrl-C gives up the line, not the session.
                    Err(ReadlineError::Interrupted) => {}
                    Err(_) => return None,
                }
            }
        });
        Box::pin(async move { read.await.ok().flatten() })
    }
}
