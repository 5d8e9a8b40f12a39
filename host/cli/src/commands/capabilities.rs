//! `assay capabilities`.

use crate::{print, usage};
use anyhow::Result;
use assay_capability_api::Capability;
use assay_runner::Runner;
use clap::Args;
use serde_json::json;
use std::fmt::Write;

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

pub(crate) fn list(args: &Capabilities) -> Result<u8> {
    let all = Runner::capabilities();
    let chosen: Vec<_> = match &args.name {
        None => all.to_vec(),
        Some(name) => all.iter().copied().filter(|capability| capability.name() == name).collect(),
    };
    if chosen.is_empty() {
        let names: Vec<_> = all.iter().map(|capability| capability.name()).collect();
        return Err(usage(format!("there is no such capability; there are {}", names.join(", "))));
    }
    if args.json {
        let list: Vec<_> = chosen.iter().map(|capability| as_json(*capability)).collect();
        return print(format!("{:#}\n", json!(list)).as_bytes());
    }
    print(as_text(&chosen).as_bytes())
}

fn as_json(capability: &dyn Capability) -> serde_json::Value {
    let scopes: Vec<_> = capability
        .scopes()
        .iter()
        .map(|scope| json!({ "form": scope.form, "grants": scope.grants, "example": scope.example }))
        .collect();
    json!({
        "name": capability.name(),
        "summary": capability.summary(),
        "needs_grant": capability.needs_grant(),
        "scopes": scopes,
    })
}

fn as_text(capabilities: &[&dyn Capability]) -> String {
    let mut text = String::new();
    for capability in capabilities {
        let always = if capability.needs_grant() { "" } else { " (always granted)" };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:<10} {}{always}", capability.name(), capability.summary());
        let width = capability.scopes().iter().map(|scope| scope.form.len()).max().unwrap_or(0);
        for scope in capability.scopes() {
            let _ = writeln!(text, "           {:<width$}  {}", scope.form, scope.grants);
        }
        for scope in capability.scopes() {
            let _ = writeln!(text, "           --allow {}", scope.example);
        }
    }
    text
}
