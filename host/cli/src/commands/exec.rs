//! `assay exec`: as `assay run`, with the modules of the working directory.

use crate::args::{RunOptions, Script};
use crate::host;
use crate::prepare::read;
use anyhow::Result;
use clap::Args;

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

pub(crate) fn exec(args: &Exec) -> Result<u8> {
    host::execute(read(&args.script, &args.options, false)?, &args.options)
}
