//! `assay run`.

use crate::args::{RunOptions, Script};
use crate::prepare::read;
use crate::{host, tool};
use anyhow::Result;
use clap::{Args, ValueEnum};

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As they are; the exit code tells
    Script,
    /// In one line of JSON on stdout; ends after 20 s if no --timeout is given
    Tool,
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

pub(crate) fn run(args: &Run) -> Result<u8> {
    let prepared = read(&args.script, &args.options, true)?;
    match args.mode {
        Mode::Script => host::execute(prepared, &args.options),
        Mode::Tool => tool::run(prepared, &args.options),
    }
}
