//! `assay completion`.

use crate::args::Arguments;
use anyhow::Result;
use clap::{Args, CommandFactory};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  assay completion bash > /etc/bash_completion.d/assay
  assay completion zsh > ~/.zfunc/_assay")]
pub(crate) struct Completion {
    shell: clap_complete::Shell,
}

pub(crate) fn print(args: &Completion) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "assay", &mut script);
    crate::print(&script)
}
