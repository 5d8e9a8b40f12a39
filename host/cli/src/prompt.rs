//! Asking for grants on the terminal.
//!
//! The question is written to `/dev/tty` and answered from there. While `--prompt` is on, what the script writes to a terminal
//! has no control characters (`port::guard`), so it can neither use reverse video, as the head of a question does, nor
//! overwrite one; and while a question is open nothing else is written.

use crate::port;
use assay_capability_api::scope::shell_word;
use assay_capability_api::{Answer, Asker, Question, lock};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, QueueSelector, tcflush, tcgetattr, tcsetattr,
};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What is shown of a text at most, characters: the choices below it must stay on the screen.
const SHOWN_MAX: usize = 400;
/// How long an answer may be, bytes.
const ANSWER_MAX: usize = 64;

/// Whether somebody can be asked: standard input and error are a person's terminal.
pub(crate) fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// The terminal of the process.
pub(crate) struct Terminal {
    tty: File,
    /// The manifest that an answer may be written to, opened before the run.
    manifest: Option<Mutex<(PathBuf, File)>>,
}

impl Terminal {
    /// None where there is no terminal to ask on.
    pub(crate) fn open(manifest: Option<&Path>) -> Option<Terminal> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let tty = File::from(rustix::fs::open("/dev/tty", flags, Mode::empty()).ok()?);
        let manifest = manifest.and_then(|path| {
            let file = File::options().read(true).write(true).open(path).ok()?;
            Some(Mutex::new((path.to_path_buf(), file)))
        });
        Some(Terminal { tty, manifest })
    }

    fn write(&self, text: &str) -> io::Result<()> {
        (&self.tty).write_all(text.as_bytes())
    }

    /// Whatever a program did to the terminal: lines are read whole and shown as they are typed.
    fn make_sane(&self) -> io::Result<()> {
        let mut modes = tcgetattr(&self.tty)?;
        modes.input_modes |= InputModes::ICRNL;
        modes.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        modes.local_modes |= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        Ok(tcsetattr(&self.tty, OptionalActions::Drain, &modes)?)
    }

    /// Shows the choices and reads a line that was typed after they appeared; none at the end of the input.
    fn choose(&self, choices: &str) -> io::Result<Option<String>> {
        self.write(choices)?;
        // What was typed before was an answer to something else.
        tcflush(&self.tty, QueueSelector::IFlush)?;
        self.write("[d] deny > ")?;
        let mut line = Vec::new();
        loop {
            // A signal ends the wait, and nothing is granted.
            poll(&mut [PollFd::new(&self.tty, PollFlags::IN)], None)?;
            let mut piece = [0; 256];
            let count = (&self.tty).read(&mut piece)?;
            if count == 0 {
                return Ok(None);
            }
            line.extend_from_slice(&piece[..count.min(ANSWER_MAX)]);
            line.truncate(2 * ANSWER_MAX);
            if piece[..count].contains(&b'\n') {
                return Ok(Some(String::from_utf8_lossy(&line).trim().to_ascii_lowercase()));
            }
        }
    }

    fn converse(&self, question: &Question<'_>) -> io::Result<Answer> {
        self.make_sane()?;
        self.write(&head(question))?;
        let keeps = self.manifest.is_some() && question.is_own;
        let choices = if keeps { "\n   [m] always, and write it to the manifest" } else { "" };
        let choices =
            format!("   [o] allow once   [a] always in this run{choices}\n   [x] deny all that is left   ");
        loop {
            let Some(line) = self.choose(&choices)? else { return Ok(Answer::Deny) };
            match line.as_str() {
                "o" | "once" | "y" | "yes" => return Ok(Answer::Once),
                "a" | "always" => return Ok(Answer::Always),
                "d" | "deny" | "n" | "no" => return Ok(Answer::Deny),
                "x" => return Ok(Answer::DenyAll),
                "m" if keeps => match self.write_down(question.rule) {
                    Ok(()) => return Ok(Answer::Keep),
                    Err(error) => {
                        self.write(&format!("   the manifest cannot be written: {}\n", shown(&error)))?
                    }
                },
                "m" => self.write("   there is no manifest to write it to; name one with --manifest\n")?,
                _ => self.write("   please answer with one of the letters\n")?,
            }
        }
    }

    fn write_down(&self, rule: &str) -> Result<(), String> {
        let Some(manifest) = &self.manifest else { return Err("there is no manifest".into()) };
        let mut manifest = lock(manifest);
        let (path, file) = &mut *manifest;
        let mut replace = || {
            let mut text = String::new();
            file.rewind()?;
            file.read_to_string(&mut text)?;
            let text =
                assay_manifest::add(&text, rule).map_err(|error| io::Error::other(error.to_string()))?;
            file.rewind()?;
            file.write_all(text.as_bytes())?;
            file.set_len(text.len() as u64)
        };
        replace().map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Asker for Terminal {
    fn ask(&self, question: &Question<'_>) -> Answer {
        let held = port::hold();
        // A user who cannot be asked has not allowed it.
        let answer = self.converse(question).unwrap_or(Answer::DenyAll);
        drop(held);
        answer
    }

    fn keep(&self, rule: &str) {
        if let Err(error) = self.write_down(rule) {
            let held = port::hold();
            let _ = self.write(&format!("   the manifest cannot be written: {}\n", shown(&error)));
            drop(held);
        }
    }
}

/// What is asked, by whom, and what "always" would grant. Its first line is in reverse video.
fn head(question: &Question<'_>) -> String {
    let place = match question.line {
        Some(line) => format!("at {}", shown(line)),
        None => "at a line that is not known".to_string(),
    };
    let after =
        question.after.map(|rule| format!("   It was allowed {} and is led on by that.\n", shown(rule)));
    let after = after.unwrap_or_default();
    let rule = match question.is_own {
        true => format!("   by --allow {}\n", shown(&shell_word(question.rule))),
        false => "   no rule stands for it alone\n".into(),
    };
    format!(
        "\x1b[0m\n\x1b[7m assay \x1b[0m The script asks for {}.\n   {place}\n{after}{rule}",
        shown(question.what)
    )
}

/// A text of the script as one line that is what it looks like: what has no look of its own, or changes that of others
/// (control characters, marks of direction, invisible blanks), stands as its number.
fn shown(text: &(impl ToString + ?Sized)) -> String {
    let text = text.to_string();
    let mut shown = String::new();
    let count = text.chars().count();
    for (at, c) in text.chars().enumerate() {
        if count > SHOWN_MAX && at == SHOWN_MAX / 2 {
            shown.push_str(&format!(" [... {} characters ...] ", count - SHOWN_MAX));
        }
        if count > SHOWN_MAX && at >= SHOWN_MAX / 2 && at < count - SHOWN_MAX / 2 {
            continue;
        }
        match c {
            '\'' | '"' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn texts_are_what_they_look_like() {
        for (text, line) in [
            ("reading /a b'\"", "reading /a b'\""),
            ("/é/中", "/é/中"),
            ("a\nb\r\t", "a\\nb\\r\\t"),
            ("\u{1b}[2J\u{9b}1m\u{8}", "\\u{1b}[2J\\u{9b}1m\\u{8}"),
            ("\u{202e}x\u{200b}\u{feff}\u{a0}\u{2066}", "\\u{202e}x\\u{200b}\\u{feff}\\u{a0}\\u{2066}"),
            ("\\u{1b}", "\\\\u{1b}"),
        ] {
            assert_eq!(shown(&text), line);
        }
        let long = format!("{}{}{}", "a".repeat(200), "b".repeat(1000), "c".repeat(200));
        let cut = shown(&long);
        assert!(cut.starts_with(&"a".repeat(200)) && cut.ends_with(&"c".repeat(200)), "{cut}");
        assert!(cut.contains(" [... 1000 characters ...] ") && !cut.contains('b'), "{cut}");
    }
}
