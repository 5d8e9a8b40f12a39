//! The command line.

use assay_manifest::{duration, size};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Parser, Debug)]
#[command(
    name = "assay",
    version,
    about = "Runs Lua scripts in a sandbox that reaches only what it was granted",
    after_help = "Examples:
  assay check.lua                                   run a script that needs no grants
  assay --allow env=HOME check.lua -v               flags of Assay stand before the script, its own behind it
  assay run --allow http=api.example.com check.lua  let it reach one host
  assay run --allow fs=rw:./out,env=HOME sync.lua   let it write one folder and read one variable
  assay -e 'print(json.encode({1, 2}))'             run a line
  assay explain check.lua                           what a script needs
  assay capabilities                                what there is to grant",
    disable_help_subcommand = true
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct Common {
    /// Log more: debug with -v, trace with -vv
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Log errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// How log lines look
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        env = "ASSAY_LOG_FORMAT",
        hide_env = true
    )]
    pub(crate) log_format: LogFormat,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Pretty on a terminal, plain text elsewhere
    Auto,
    Text,
    Pretty,
    Json,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run a script
    Run(Run),
    /// Run a line of Lua, a file, or standard input (-)
    Exec(Exec),
    /// Try Lua line by line
    Repl(Repl),
    /// Run the *_test.lua files of a folder
    Test(Test),
    /// Say what a script needs to be granted, without running it
    Explain(Explain),
    /// List what can be granted
    Capabilities(Capabilities),
    /// List the modules that require finds
    Modules(Modules),
    /// Print a completion script for a shell
    #[command(after_help = "Examples:
  assay completion bash > /etc/bash_completion.d/assay
  assay completion zsh > ~/.zfunc/_assay")]
    Completion { shell: clap_complete::Shell },
    /// Print the version
    #[command(after_help = "Examples:
  assay version
  assay version --json                              with the capabilities that are built in")]
    Version {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    /// Whether somebody is to be asked for grants.
    pub(crate) fn asks(&self) -> bool {
        match self {
            Command::Run(Run { options, .. })
            | Command::Exec(Exec { options, .. })
            | Command::Repl(Repl { options })
            | Command::Test(Test { options, .. }) => options.grants.prompt,
            _ => false,
        }
    }
}

/// What a script may reach.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct GrantArgs {
    /// Grant a capability, or a part of it; repeatable (http=api.example.com, fs=rw:./out)
    #[arg(long, value_name = "CAP[=SCOPE],...", help_heading = "Grants")]
    pub(crate) allow: Vec<String>,
    /// Take back from what is granted; always wins
    #[arg(long, value_name = "CAP[=SCOPE],...", help_heading = "Grants")]
    pub(crate) deny: Vec<String>,
    /// Grant everything
    #[arg(short = 'A', long, help_heading = "Grants")]
    pub(crate) allow_all: bool,
    /// Read grants and limits from a file
    #[arg(long, value_name = "FILE", help_heading = "Grants")]
    pub(crate) manifest: Option<PathBuf>,
    /// Use a named set of the manifest
    #[arg(short = 'P', value_name = "SET", help_heading = "Grants")]
    pub(crate) set: Option<String>,
    /// Ask on the terminal for what is not granted
    #[arg(long, help_heading = "Grants")]
    pub(crate) prompt: bool,
    /// Write the smallest manifest that would have been enough
    #[arg(long, value_name = "FILE", help_heading = "Grants")]
    pub(crate) learn: Option<PathBuf>,
    /// Write every decision as a line of JSON
    #[arg(long, value_name = "FILE", help_heading = "Grants")]
    pub(crate) audit: Option<PathBuf>,
    /// Set an environment variable of the script
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Grants")]
    pub(crate) env: Vec<String>,
}

/// How much a script may use.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct LimitArgs {
    /// Memory of the script [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    pub(crate) memory: Option<u64>,
    /// CPU time [default: none]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Limits")]
    pub(crate) cpu: Option<Duration>,
    /// Time from start to end [default: none]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Limits")]
    pub(crate) timeout: Option<Duration>,
    /// Bytes on stdout and stderr [default: none]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    pub(crate) max_output: Option<u64>,
    /// Bytes of log lines [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    pub(crate) max_log: Option<u64>,
    /// Open files and connections at a time [default: 1024]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub(crate) max_handles: Option<u64>,
    /// Programs that run at a time [default: 64]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub(crate) max_children: Option<u64>,
    /// Bytes read and written through capabilities [default: none]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    pub(crate) max_host_bytes: Option<u64>,
    /// Bytes of the audit file [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    pub(crate) max_audit: Option<u64>,
    /// Memory of the host that holds what goes through capabilities [default: as --memory]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    pub(crate) host_memory: Option<u64>,
    /// Bytes in the temporary directory of the run [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    pub(crate) temp_bytes: Option<u64>,
    /// Files, directories and links in it [default: 10000]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub(crate) temp_entries: Option<u64>,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) grants: GrantArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// Report what the run used, on stderr
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) report: Option<ReportFormat>,
    /// Write the report to a file instead
    #[arg(long, value_name = "FILE", requires = "report")]
    pub(crate) report_file: Option<PathBuf>,
    /// Find modules in the standard library only
    #[arg(long)]
    pub(crate) no_local_modules: bool,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportFormat {
    Text,
    Json,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As they are; the exit code tells
    Script,
    /// In one line of JSON on stdout; ends after 20 s if no --timeout is given
    Tool,
}

/// What is run, and its arguments. Everything behind it is the script's: `words` takes it away before flags are read.
#[derive(Args, Debug)]
pub(crate) struct Script {
    /// Run this code; all words behind it are the script's
    #[arg(short = 'e', value_name = "CODE", conflicts_with = "file")]
    pub(crate) code: Option<String>,
    /// The script, or - for standard input; all words behind it are the script's
    #[arg(required_unless_present = "code", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// Arguments of the script, in the global `arg`; a -- before the first is left out
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Flags of Assay stand before FILE. What stands behind it is the script's, whatever it looks like.

Examples:
  assay run --allow http=GET:api.example.com,env=API_* report.lua --month 11
  assay run --manifest prod.toml -P nightly --timeout 5m job.lua
  assay run --learn job.toml -A job.lua             find out what to grant
  assay run --mode tool --allow http ask.lua x      run it as the tool of an agent, with JSON on stdout"
)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) options: RunOptions,
    /// How the script's output and end are told
    #[arg(long, value_enum, default_value = "script", env = "ASSAY_MODE", hide_env = true)]
    pub(crate) mode: Mode,
    #[command(flatten)]
    pub(crate) script: Script,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Flags of Assay stand before CODE and FILE. What stands behind is the script's, whatever it looks like.

Examples:
  assay exec -e 'print(time())'
  assay exec --allow env=HOME -e 'print(env.get(\"HOME\"), arg[1])' x
  echo 'print(1 + 1)' | assay exec -"
)]
pub(crate) struct Exec {
    #[command(flatten)]
    pub(crate) options: RunOptions,
    #[command(flatten)]
    pub(crate) script: Script,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  assay repl
  assay repl --allow fs=read:.                      with files to look at")]
pub(crate) struct Repl {
    #[command(flatten)]
    pub(crate) options: RunOptions,
}

#[derive(Args, Debug)]
#[command(after_help = "Flags stand before the first path: a file of tests has no arguments.

Examples:
  assay test tests/
  assay test --allow http=localhost:8080 --junit report.xml tests/")]
pub(crate) struct Test {
    #[command(flatten)]
    pub(crate) options: RunOptions,
    /// Files, or folders that are searched for *_test.lua
    #[arg(default_value = ".", value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Run only files whose path contains this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  assay explain report.lua                          what to grant, and what cannot be told
  assay explain --json report.lua                   the same for a program")]
pub(crate) struct Explain {
    /// The script
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  assay capabilities                                all of them with their scopes
  assay capabilities http                           those of http")]
pub(crate) struct Capabilities {
    /// Only this capability
    pub(crate) name: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  assay modules                                     what require finds from here
  assay modules --no-local-modules                  what is built in")]
pub(crate) struct Modules {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Find modules in the standard library only
    #[arg(long)]
    pub(crate) no_local_modules: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        use clap::CommandFactory;
        for command in Arguments::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let example = format!("assay {}", command.get_name());
            assert!(help.contains("Examples:") && help.contains(&example), "{}", command.get_name());
        }
    }
}
