//! Which words of the command line are Assay's and which the script's.
//!
//! Everything after the script's file, or after `-e CODE`, is the script's, whatever it looks like. So it is put aside before
//! clap sees a word of it: a script that is started by its `#!` line, or by a program that passes on words of
//! strangers, must not get a grant by an argument.

use crate::args::Arguments;
use clap::{Arg, ArgAction, Command, CommandFactory};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What is run where the first word is no command.
const DEFAULT: &str = "run";
/// The commands that run one script with arguments.
const RUNNERS: [&str; 2] = ["run", "exec"];
/// The command that runs several, which get none.
const SUITE: &str = "test";

/// The words of a command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Words {
    /// For clap, up to and with the script.
    pub(crate) own: Vec<OsString>,
    /// Those of the script, with a leading `--` where there was one.
    pub(crate) script: Vec<OsString>,
}

/// Where something other than an option begins.
enum At {
    /// A word that is no option, at this place.
    Word(usize),
    /// After the code of `-e`.
    Code(usize),
    /// An option that is not known, or one that prints something and ends.
    Other,
    /// There are only options.
    End,
}

/// Splits a command line. `command` is built.
///
/// # Errors
/// What is wrong, where a flag stands where it would be taken for something else.
pub(crate) fn part(command: &Command, words: impl Iterator<Item = OsString>) -> Result<Words, String> {
    let mut own: Vec<OsString> = words.collect();
    let whole = |own| Ok(Words { own, script: Vec::new() });
    let top: Vec<&Arg> = command.get_arguments().collect();
    let (name, from) = match scan(&top, &own, 1) {
        At::Word(at) if command.find_subcommand(&own[at]).is_some() => (own[at].clone(), at + 1),
        At::Word(at) if !is_file(&own[at]) => return whole(own),
        // Nothing, or `--help`: not that of a script.
        At::End => return whole(own),
        At::Other if !options_lead_to_script(command, &own) => return whole(own),
        At::Word(_) | At::Code(_) | At::Other => {
            own.insert(1, DEFAULT.into());
            (DEFAULT.into(), 2)
        }
    };
    let Some(command) = command.find_subcommand(&name) else { return whole(own) };
    let known: Vec<&Arg> = command.get_arguments().collect();
    if name == SUITE {
        return match scan(&known, &own, from) {
            At::Word(at) => paths_only(&own[at..]).map(|()| Words { own, script: Vec::new() }),
            _ => whole(own),
        };
    }
    if !RUNNERS.iter().any(|runner| name == *runner) {
        return whole(own);
    }
    let end = match scan(&known, &own, from) {
        At::Word(at) => at + 1,
        At::Code(at) => at,
        At::Other | At::End => return whole(own),
    };
    let script = own.split_off(end.min(own.len()));
    Ok(Words { own, script })
}

/// The first word from `from` on that is no option and no option's value, as clap reads them.
fn scan(known: &[&Arg], words: &[OsString], from: usize) -> At {
    let mut at = from;
    while let Some(word) = words.get(at) {
        let bytes = word.as_bytes();
        at += 1;
        if bytes == b"--" {
            return if at < words.len() { At::Word(at) } else { At::End };
        }
        if let Some(long) = bytes.strip_prefix(b"--") {
            let (name, has_value) = match long.iter().position(|byte| *byte == b'=') {
                Some(equals) => (&long[..equals], true),
                None => (long, false),
            };
            let found = known.iter().find(|arg| arg.get_long().is_some_and(|long| long.as_bytes() == name));
            match found.map(|arg| takes_value(arg)) {
                None => return At::Other,
                Some(Takes::Value) if !has_value => at += 1,
                Some(Takes::Value | Takes::Nothing) => {}
                Some(Takes::Ends) => return At::Other,
            }
            continue;
        }
        let Some(cluster) = bytes.strip_prefix(b"-").filter(|cluster| !cluster.is_empty()) else {
            return At::Word(at - 1);
        };
        for (place, short) in cluster.iter().enumerate() {
            let found = known.iter().find(|arg| arg.get_short() == Some(char::from(*short)));
            match found.map(|arg| takes_value(arg)) {
                None | Some(Takes::Ends) => return At::Other,
                Some(Takes::Nothing) => continue,
                Some(Takes::Value) => {}
            }
            // The rest of the word is the value, or the next word is.
            at += usize::from(place + 1 == cluster.len());
            if *short == b'e' {
                return At::Code(at);
            }
            break;
        }
    }
    At::End
}

enum Takes {
    Nothing,
    Value,
    /// It prints something, and nothing runs.
    Ends,
}

fn takes_value(arg: &Arg) -> Takes {
    match arg.get_action() {
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version => Takes::Ends,
        action if action.takes_values() => Takes::Value,
        _ => Takes::Nothing,
    }
}

/// `assay FLAGS FILE`: the first word is no option of all commands, but one of `run`.
fn options_lead_to_script(command: &Command, words: &[OsString]) -> bool {
    let Some(run) = command.find_subcommand(DEFAULT) else { return false };
    let known: Vec<&Arg> = run.get_arguments().collect();
    match scan(&known, words, 1) {
        // `assay --allow x run FILE` is an error of clap's, which knows what to say.
        At::Word(at) => command.find_subcommand(&words[at]).is_none(),
        At::Code(_) | At::End => true,
        At::Other => false,
    }
}

/// Whether a word in place of a command is a script: standard input, or something with a file's look.
fn is_file(word: &OsStr) -> bool {
    let path = Path::new(word);
    word == "-" || path.extension().is_some() || word.as_bytes().contains(&b'/') || path.is_file()
}

/// Where several files are run, no flag stands behind one of them: whose would it be?
fn paths_only(words: &[OsString]) -> Result<(), String> {
    let is_flag = |word: &&OsString| word.len() > 1 && word.as_bytes().starts_with(b"-");
    match words.iter().take_while(|word| *word != "--").find(is_flag) {
        None => Ok(()),
        Some(flag) => Err(format!(
            "{} stands behind a path; flags of assay test stand before the first path: assay test FLAGS PATH...",
            shown(flag)
        )),
    }
}

/// An argument of the script that looks as if it was meant for Assay, as it is shown. After `--` none does.
/// `is_program` is a script that is started by its `#!` line: its own arguments often have the names of limits.
pub(crate) fn misplaced(script: &[OsString], is_program: bool) -> Option<String> {
    if !script.iter().any(|word| word.as_bytes().starts_with(b"-")) {
        return None;
    }
    let command = Arguments::command();
    let run = command.find_subcommand(DEFAULT)?;
    let looks_alike = |word: &[u8]| {
        run.get_arguments().any(|arg| {
            let of_assay = match arg.get_help_heading() {
                // `--env` and `-P` are options of many programs, and grant nothing by themselves.
                Some("Grants") => !matches!(arg.get_id().as_str(), "env" | "set"),
                Some("Limits") => !is_program,
                _ => false,
            };
            let short = arg.get_short().map(|short| format!("-{short}"));
            let long = arg.get_long().map(|long| format!("--{long}"));
            let is = |name: Option<String>| {
                name.is_some_and(|name| {
                    let rest = word.strip_prefix(name.as_bytes());
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
                })
            };
            of_assay && (is(short) || is(long))
        })
    };
    let before = script.iter().take_while(|word| *word != "--");
    before.into_iter().find(|word| looks_alike(word.as_bytes())).map(|word| shown(word))
}

/// A word in a message: cut, and without characters that would change the line.
fn shown(word: &OsStr) -> String {
    let text: String = word.to_string_lossy().chars().take(80).collect();
    format!("'{}'", text.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_line(line: &str) -> Result<(String, String), String> {
        let mut command = Arguments::command();
        command.build();
        let words = line.split(' ').map(OsString::from);
        let text = |words: Vec<OsString>| words.join(OsStr::new(" ")).to_string_lossy().into_owned();
        part(&command, words).map(|words| (text(words.own), text(words.script)))
    }

    #[test]
    fn what_follows_a_script_is_its_own() {
        for (line, own, script) in [
            ("assay run x.lua -A", "assay run x.lua", "-A"),
            ("assay run --allow env=LANG x.lua -A --help", "assay run --allow env=LANG x.lua", "-A --help"),
            ("assay run x.lua -- -A", "assay run x.lua", "-- -A"),
            ("assay run -- -A x", "assay run -- -A", "x"),
            (
                "assay run -A -vv --memory=1MiB --cpu 1s - -v",
                "assay run -A -vv --memory=1MiB --cpu 1s -",
                "-v",
            ),
            ("assay run -vA x -q", "assay run -vA x", "-q"),
            ("assay run -P set x.lua --learn F", "assay run -P set x.lua", "--learn F"),
            ("assay run -Pset x.lua --audit F", "assay run -Pset x.lua", "--audit F"),
            ("assay run -e CODE -A", "assay run -e CODE", "-A"),
            ("assay exec -eCODE -A", "assay exec -eCODE", "-A"),
            ("assay exec -Ae CODE -A", "assay exec -Ae CODE", "-A"),
            ("assay exec -AeCODE -e -A", "assay exec -AeCODE", "-e -A"),
            ("assay exec --deny -e -e CODE -A", "assay exec --deny -e -e CODE", "-A"),
            ("assay exec - -A", "assay exec -", "-A"),
            ("assay -v exec x.lua -A", "assay -v exec x.lua", "-A"),
            ("assay --log-format json run x.lua -A", "assay --log-format json run x.lua", "-A"),
        ] {
            assert_eq!(split_line(line), Ok((own.into(), script.into())), "{line}");
        }
    }

    #[test]
    fn without_a_command_a_script_is_run() {
        for (line, own, script) in [
            ("assay x.lua", "assay run x.lua", ""),
            ("assay ./x run", "assay run ./x", "run"),
            ("assay x.lua -A", "assay run x.lua", "-A"),
            ("assay - -A", "assay run -", "-A"),
            ("assay -v x.lua", "assay run -v x.lua", ""),
            ("assay -A x.lua -A", "assay run -A x.lua", "-A"),
            ("assay -vA x.lua --help", "assay run -vA x.lua", "--help"),
            ("assay --allow http x --help", "assay run --allow http x", "--help"),
            ("assay --allow run x.lua", "assay run --allow run x.lua", ""),
            ("assay -e CODE --help", "assay run -e CODE", "--help"),
            ("assay -v -eCODE -A", "assay run -v -eCODE", "-A"),
            ("assay -A", "assay run -A", ""),
            ("assay -- -A -A", "assay run -- -A", "-A"),
        ] {
            let result = split_line(line);
            // Without the look of a file it is no script.
            if line == "assay -- -A -A" {
                assert_eq!(result, Ok((line.into(), String::new())));
                continue;
            }
            assert_eq!(result, Ok((own.into(), script.into())), "{line}");
        }
    }

    #[test]
    fn the_rest_is_for_clap() {
        for line in [
            "assay",
            "assay --help",
            "assay -h",
            "assay -V",
            "assay -v --help",
            "assay rnu x.lua",
            "assay --allow http run x.lua",
            "assay --unknown x.lua",
            "assay -Z x.lua",
            "assay run",
            "assay run --help x.lua",
            "assay run --unknown x.lua",
            "assay run --allow",
            "assay run -e",
            "assay explain x.lua --json",
            "assay test -A x.lua y.lua",
            "assay test -A",
            "assay repl -A",
            "assay completion bash",
        ] {
            assert_eq!(split_line(line), Ok((line.into(), String::new())), "{line}");
        }
    }

    #[test]
    fn files_of_a_suite_have_no_arguments() {
        for line in ["assay test x.lua -A", "assay test -A x.lua --filter x", "assay -v test x.lua -v"] {
            assert!(split_line(line).is_err_and(|error| error.contains("before the first path")), "{line}");
        }
        assert!(split_line("assay test -- x.lua -A").is_err());
    }

    #[test]
    fn arguments_that_look_like_grants() {
        let misplaced = |line: &str, is_program| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            super::misplaced(&words, is_program)
        };
        for line in
            ["-A", "x --allow-all", "--allow=http y", "--deny x", "--learn F", "--manifest=F", "--prompt"]
        {
            assert!(misplaced(line, true).is_some(), "{line}");
        }
        for line in ["-- -A", "x -- --allow y", "-Abc", "--allowed", "--env prod", "-P x", "--help -v", "A"] {
            assert_eq!(misplaced(line, false), None, "{line}");
        }
        assert_eq!(
            (misplaced("--timeout 5s", true), misplaced("--timeout=5s", false).is_some()),
            (None, true)
        );
        assert_eq!(misplaced("--allow=\u{1b}[2J", true).as_deref(), Some("'--allow=\\u{1b}[2J'"));
    }
}
