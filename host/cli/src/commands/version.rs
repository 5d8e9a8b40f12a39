//! `assay version`.

use anyhow::Result;
use clap::Args;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  assay version
  assay version --json                              with the capabilities that are built in")]
pub(crate) struct Version {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn print(args: &Version) -> Result<u8> {
    let names: Vec<_> = assay_capabilities::ALL.iter().map(|capability| capability.name()).collect();
    let text = if args.json {
        let version = serde_json::json!({
            "name": "assay",
            "version": env!("CARGO_PKG_VERSION"),
            "lua": "5.5",
            "target": std::env::consts::ARCH.to_string() + "-" + std::env::consts::OS,
            "capabilities": names,
        });
        format!("{version:#}\n")
    } else {
        format!("assay {} (Lua 5.5)\n", env!("CARGO_PKG_VERSION"))
    };
    crate::print(text.as_bytes())
}
