//! The arguments that all commands share, and those that all commands which run scripts share. The others stand beside
//! their commands in `commands/`.

use crate::commands::Command;
use assay_capability_api::{Amount, LIMITS, LimitSpec, Limits, Unit};
use clap::{Args, Parser, ValueEnum, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Parser, Debug)]
#[command(
    name = "assay",
    version,
    about = "Runs Lua scripts in a sandbox that reaches only what it was granted",
    after_help = "Examples:
  assay check.lua                                   run a script that needs no grants
  assay --allow env=HOME check.lua -v               flags of Assay stand before the script, its own behind it
  assay run --allow http=api.example.com check.lua  let it reach one host
  assay run --allow fs=rw:./out,env=HOME sync.lua   let it write one directory and read one variable
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

/// How much a script may use: a flag for each of the table's limits.
#[derive(Debug, Clone, Default)]
pub(crate) struct LimitArgs(Vec<(&'static LimitSpec, Amount)>);

impl LimitArgs {
    /// Sets what flags say.
    pub(crate) fn apply(&self, limits: &mut Limits) {
        self.0.iter().for_each(|(spec, amount)| spec.set(limits, *amount));
    }
}

impl clap::FromArgMatches for LimitArgs {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<LimitArgs, clap::Error> {
        let mut args = LimitArgs::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        let given =
            LIMITS.iter().filter_map(|spec| Some((spec, *matches.get_one::<Amount>(spec.limit.name())?)));
        self.0.extend(given);
        Ok(())
    }
}

impl Args for LimitArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        LIMITS.iter().fold(command, |command, spec| {
            let form = match spec.unit {
                Unit::Memory | Unit::Size => "SIZE",
                Unit::Time => "TIME",
                Unit::Count => "N",
            };
            let flag = clap::Arg::new(spec.limit.name())
                .long(spec.limit.name())
                .value_name(form)
                .value_parser(|text: &str| spec.read(text))
                .help(format!("{} [default: {}]", capitalized(spec.bounds), spec.default_text()))
                .help_heading("Limits");
            command.arg(flag)
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        LimitArgs::augment_args(command)
    }
}

fn capitalized(phrase: &str) -> String {
    let mut characters = phrase.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_page_has_the_limits_of_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/limits.md");
        let page = std::fs::read_to_string(path).expect("the page is there");
        let rows = LIMITS.iter().map(|spec| {
            let name = spec.limit.name();
            format!(
                "| `--{name}`, `{name}` | {} | {} |\n",
                spec.bounds,
                spec.default_text().replace("--memory", "`--memory`")
            )
        });
        let table: String = rows.collect();
        assert!(page.contains(&table), "docs/limits.md lacks this table:\n{table}");
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
