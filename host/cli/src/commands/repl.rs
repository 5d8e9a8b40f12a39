//! `assay repl`.

mod help;

use crate::args::RunOptions;
use crate::ending;
use crate::host::Host;
use crate::outputs::Outputs;
use crate::prepare::prepare;
use anyhow::{Context, Result};
use assay_capability_api::lock;
use assay_runner::{Console, ConsoleReply, ConsoleRequest, Input, Script};
use clap::Args;
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Editor, Helper};
use std::future::Future;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

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
    // A signal may end the run while a line is typed.
    let terminal = tcgetattr(stdin()).ok();
    let outcome = host.run(prepared)?;
    if let Some(terminal) = terminal {
        // Where it is gone there is nothing to restore.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &terminal);
    }
    host.conclude(&run, &outcome)
}

/// What the thread that reads lines tells.
enum Told {
    /// A line; none at the end of the input.
    Line(Option<ConsoleRequest>),
    /// Tab was pressed behind this text; the thread waits for how it may go on.
    Complete(String, mpsc::Sender<Vec<String>>),
}

/// Lines from the terminal with history, or from a pipe.
struct Lines {
    editor: Arc<Mutex<Editor<Completion, FileHistory>>>,
    history: Option<PathBuf>,
    terminal: bool,
    /// A value could not be shown, which ends the session.
    unwritten: Arc<AtomicBool>,
    tells: UnboundedSender<Told>,
    told: Arc<tokio::sync::Mutex<UnboundedReceiver<Told>>>,
    /// Where the thread waits for how a word may go on.
    completes: Arc<Mutex<Option<mpsc::Sender<Vec<String>>>>>,
}

impl Lines {
    fn open() -> Result<Lines> {
        let (tells, told) = unbounded_channel();
        let config = Config::builder().completion_type(CompletionType::List).build();
        let mut editor = Editor::with_config(config).context("the terminal cannot be used")?;
        editor.set_helper(Some(Completion(tells.clone())));
        let history = history_file();
        if let Some(path) = &history {
            // The first time the file does not exist.
            let _ = editor.load_history(path);
        }
        let terminal = std::io::stdin().is_terminal();
        if terminal {
            let version = env!("CARGO_PKG_VERSION");
            crate::say(&format!("assay {version} (Lua 5.5); help() says what there is, Ctrl-D leaves\n"));
        }
        Ok(Lines {
            editor: Arc::new(Mutex::new(editor)),
            history,
            terminal,
            unwritten: Arc::default(),
            tells,
            told: Arc::new(tokio::sync::Mutex::new(told)),
            completes: Arc::default(),
        })
    }

    /// Starts to read a line on a thread of its own.
    fn read(&self, prompt: &'static str) {
        let (editor, history, tells) = (self.editor.clone(), self.history.clone(), self.tells.clone());
        tokio::task::spawn_blocking(move || {
            let request = match lock(&editor).readline(prompt) {
                Ok(line) => Some(ConsoleRequest::Line(line.into_bytes())),
                // Ctrl-C gives up the line, not the session.
                Err(ReadlineError::Interrupted) => Some(ConsoleRequest::Abandon),
                Err(_) => None,
            };
            if let Some(ConsoleRequest::Line(line)) = &request {
                remember(&editor, &history, line);
            }
            // Where the session is over nobody listens.
            let _ = tells.send(Told::Line(request));
        });
    }
}

fn remember(editor: &Mutex<Editor<Completion, FileHistory>>, history: &Option<PathBuf>, line: &[u8]) {
    let line = String::from_utf8_lossy(line);
    let mut editor = lock(editor);
    if !line.trim().is_empty()
        && editor.add_history_entry(&*line).unwrap_or(false)
        && let Some(path) = history
    {
        // Losing the history is no reason to stop.
        let _ = editor.save_history(path);
    }
}

/// XDG base directory specification: state that is kept between runs.
fn history_file() -> Option<PathBuf> {
    let base = match std::env::var_os("XDG_STATE_HOME") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => PathBuf::from(std::env::var_os("HOME")?).join(".local/state"),
    };
    let directory = base.join("assay");
    std::fs::create_dir_all(&directory).ok()?;
    Some(directory.join("history"))
}

/// Asks the session how a word may go on.
struct Completion(UnboundedSender<Told>);

impl Completer for Completion {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let text = line.get(..position).unwrap_or(line);
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let start = text.trim_end_matches(is_part).len();
        let (sender, candidates) = mpsc::channel();
        let asked = self.0.send(Told::Complete(text.into(), sender));
        // Without a session there is nothing to complete.
        let candidates = asked.ok().and_then(|()| candidates.recv().ok()).unwrap_or_default();
        Ok((start, candidates))
    }
}

impl Hinter for Completion {
    type Hint = String;
}

impl Highlighter for Completion {}
impl Validator for Completion {}
impl Helper for Completion {}

impl Console for Lines {
    fn next(&self, last: ConsoleReply) -> Pin<Box<dyn Future<Output = Option<ConsoleRequest>> + Send>> {
        let prompt = match (&last, self.terminal) {
            (_, false) => "",
            (ConsoleReply::Incomplete, true) => ">> ",
            (_, true) => "> ",
        };
        match last {
            ConsoleReply::Candidates(names) => {
                if let Some(waits) = lock(&self.completes).take() {
                    // The thread goes on with its line.
                    let _ = waits.send(names);
                }
            }
            ConsoleReply::Done(values) if !values.is_empty() => {
                if let Err(error) = crate::print(format!("{}\n", values.join("\t")).as_bytes()) {
                    crate::say(&format!("assay: {error:#}\n"));
                    self.unwritten.store(true, Ordering::Relaxed);
                    return Box::pin(std::future::ready(None));
                }
                self.read(prompt);
            }
            ConsoleReply::Failed(message) => {
                crate::say(&format!("{message}\n"));
                self.read(prompt);
            }
            ConsoleReply::Start | ConsoleReply::Incomplete | ConsoleReply::Done(_) => self.read(prompt),
        }
        let (told, completes) = (self.told.clone(), self.completes.clone());
        Box::pin(async move {
            match told.lock().await.recv().await? {
                Told::Line(request) => request,
                Told::Complete(text, waits) => {
                    *lock(&completes) = Some(waits);
                    Some(ConsoleRequest::Complete(text))
                }
            }
        })
    }

    fn help(&self, topic: &str) -> Option<String> {
        help::about(topic)
    }
}
