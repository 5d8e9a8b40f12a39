//! What a script finds when it begins, as the guest itself tells.

use anyhow::{Context, Result, bail};
use assay_capabilities::builtins::{DOING, Does};
use assay_capability_api::{Policy, Run};
use assay_runner::{Ended, Input, RunOutcome, RunSpec, Runner, Script};
use std::collections::{BTreeMap, BTreeSet};

/// Gives lines of `GLOBAL KIND`, `LIBRARY.FIELD KIND` and `=MODULE GLOBAL`.
const LIST: &str = include_str!("builtins.lua");

/// What a builtin does with others.
pub(super) fn does(path: &str) -> Option<Does> {
    DOING.iter().find(|(name, _)| *name == path).map(|(_, does)| *does)
}

/// Why what a builtin leads to cannot be told.
pub(super) fn reaches(path: &str) -> Option<&'static str> {
    match does(path) {
        Some(Does::Reaches(why)) => Some(why),
        _ => None,
    }
}

/// Whether a library has a builtin that reaches others.
pub(super) fn has_reaching(library: &str) -> bool {
    DOING.iter().any(|(name, does)| {
        let field = name.strip_prefix(library).is_some_and(|rest| rest.starts_with('.'));
        field && matches!(does, Does::Reaches(_))
    })
}

/// The guest, which compiles the texts that are explained and runs none of them.
pub(super) struct Guest {
    runner: Runner,
    reactor: tokio::runtime::Runtime,
    /// Globals and fields of libraries by their path, and whether each is a library.
    names: BTreeMap<String, bool>,
    /// What `require` gives without looking for a file, and the global that is the same.
    modules: BTreeMap<String, String>,
}

impl Guest {
    pub(super) fn new() -> Result<Guest> {
        let runner = Runner::new(1).map_err(anyhow::Error::msg)?;
        let reactor =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("no async runtime")?;
        let mut guest = Guest { runner, reactor, names: BTreeMap::new(), modules: BTreeMap::new() };
        let list = Script::named("=builtins", "builtins", LIST.as_bytes());
        let Ended::Returned(returned) = guest.run(&list, Input::default()).ended else {
            bail!("the sandbox does not list its builtins, which is a bug of Assay");
        };
        for line in returned.values.iter().flat_map(|value| value.lines()) {
            match line.split_once(' ') {
                Some((name, what)) if name.starts_with('=') => {
                    guest.modules.insert(name[1..].into(), what.into());
                }
                Some((name, what)) => {
                    guest.names.insert(name.into(), what == "library");
                }
                None => {}
            }
        }
        Ok(guest)
    }

    fn run(&self, script: &Script, input: Input) -> RunOutcome {
        let spec = RunSpec::new(Run::new(Policy::default(), "/".into()));
        self.reactor.block_on(self.runner.run(script, input, spec))
    }

    /// Compiles a script: how that ended.
    pub(super) fn compile(&self, script: &Script) -> RunOutcome {
        self.run(script, Input::Check)
    }

    /// The paths of all.
    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Whether there is a builtin of this path.
    pub(super) fn has(&self, path: &str) -> bool {
        self.names.contains_key(path)
    }

    pub(super) fn is_library(&self, path: &str) -> bool {
        self.names.get(path).copied().unwrap_or_default()
    }

    /// The paths of what is in a library.
    pub(super) fn fields(&self, library: &str) -> impl Iterator<Item = &str> {
        let start = format!("{library}.");
        let names = self.names.range(start.clone()..).map(|(name, _)| name.as_str());
        names.take_while(move |name| name.starts_with(&start))
    }

    /// The global that a module is which is loaded before the script begins; empty where none is the same.
    pub(super) fn loaded(&self, module: &str) -> Option<&str> {
        self.modules.get(module).map(String::as_str)
    }

    /// The builtin that somebody who wrote `path` may have meant.
    pub(super) fn near(&self, path: &str) -> Option<&str> {
        let library = path.rsplit_once('.').map(|(library, _)| library);
        let alike = |known: &&String| known.rsplit_once('.').map(|(library, _)| library) == library;
        let known: BTreeSet<&String> = self.names.keys().filter(alike).collect();
        let far = |known: &str| strsim::osa_distance(known, path);
        let nearest = known.into_iter().min_by_key(|known| far(known))?;
        let name = path.len() - library.map_or(0, |library| library.len() + 1);
        (far(nearest) <= (name + 1) / 3).then_some(nearest)
    }
}
