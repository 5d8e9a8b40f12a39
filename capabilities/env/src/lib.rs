//! Environment variables of a run: the host's that are granted, those given to the run, and what the
//! script has set itself. The host process's environment is never changed.

mod hide;

pub use hide::hide;

use assay_capability_api::scope::NameScope;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{
    Capability, Ctx, Denied, GrantError, HostResult, Linker, Literal, Need, Request, Run, Scope, ScopeForm,
    error,
};
use bindings::assay::host::env::{self, Variable};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use wasmtime::component::HasSelf;

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/env@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        with: { "assay:host/types@0.1.0": assay_capability_api::types },
        require_store_data_send: true,
    });
}

/// The name of this capability in grants.
const ENV: &str = "env";
/// Bytes of a name that messages show.
const SHOWN: usize = 256;
/// How many bytes of names and values a script may set; they live in the host's memory.
const OVERLAY_MAX: usize = 1 << 20;

/// The capability `env`.
pub struct Env;

impl Capability for Env {
    fn name(&self) -> &'static str {
        ENV
    }

    fn summary(&self) -> &'static str {
        "environment variables of the host"
    }

    /// Linked into every run, because what a script sets itself needs no grant, and a name that is not
    /// granted reads as if it were not set. Each of the host's names is checked when it is read.
    fn always_linked(&self) -> bool {
        true
    }

    fn scopes(&self) -> &'static [ScopeForm] {
        &[
            ScopeForm { form: "NAME", grants: "reading one variable", example: "env=HOME" },
            ScopeForm { form: "PREFIX_*", grants: "reading every variable that fits", example: "env=AWS_*" },
        ]
    }

    fn scope(&self, text: &str, _: &Path) -> Result<Box<dyn Scope>, GrantError> {
        // Shells export functions as `BASH_FUNC_name%%`.
        let plain = |c: char| c.is_alphanumeric() || "_.-%*".contains(c);
        if text.is_empty() || !text.chars().all(plain) {
            return Err(GrantError::new(format!(
                "env={}: a variable is NAME, or has stars, as in AWS_*",
                text.escape_debug()
            )));
        }
        Ok(Box::new(NameScope::new(text)))
    }

    /// Shells keep the machine's name in a variable.
    fn denied_with(&self, other: &str, scope: Option<&str>, _: &Path) -> Denied {
        match (other, scope) {
            ("os", None | Some("hostname")) => Denied::Part(Box::new(MachineName)),
            _ => Denied::Nothing,
        }
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[
            Need::new("env.get", Literal::NAME),
            Need::new("env.list", Literal::Nothing),
            Need::new("env.*", Literal::Free),
        ];
        NEEDS
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
        env::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }
}

/// The variables that hold the machine's name.
#[derive(Debug)]
struct MachineName;

impl Scope for MachineName {
    fn matches(&self, request: &Request<'_>) -> bool {
        matches!(request, Request::Name("HOSTNAME" | "HOST"))
    }
}

/// The variables of a run, beside those of its surroundings ([`assay_capability_api::Ambient`]), which are read under the
/// grants. Those whose names are not UTF-8 are left out: no grant can name them.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Given to this run when it was started (`--env NAME=VALUE`, the `env:` of a check): no grant is
    /// needed, the giving is one.
    given: BTreeMap<String, Vec<u8>>,
    /// What the script has set; none where it has removed the name.
    set: BTreeMap<String, Option<Vec<u8>>>,
    set_bytes: usize,
}

impl Environment {
    /// One with variables that are given to the run.
    pub fn given(given: impl IntoIterator<Item = (String, String)>) -> Environment {
        let given = given.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
        Environment { given, ..Environment::default() }
    }

    /// One variable as the script sees it. The host's go through the grants; a refusal is audited there
    /// and reads as not set.
    pub fn get(&self, run: &Run, name: &str) -> Option<Vec<u8>> {
        // No environment has such a variable.
        if name.len() > OVERLAY_MAX {
            return None;
        }
        if let Some(value) = self.set.get(name) {
            return value.clone();
        }
        if let Some(value) = self.given.get(name) {
            return Some(value.clone());
        }
        // Checked before it is known whether the variable exists, so that the audit shows every attempt.
        run.check(ENV, &Request::Name(name)).ok()?;
        of_host(run, name)
    }

    /// Every variable that the script sees, by name. It is also what the programs that it starts get.
    pub fn list(&self, run: &Run) -> BTreeMap<String, Vec<u8>> {
        let whole = run.would_allow(ENV, &Request::Whole) && run.check_whole(ENV, &Request::Whole).is_ok();
        let host = run.ambient.variables.iter();
        let mut list: BTreeMap<String, Vec<u8>> = host
            .filter_map(|(name, value)| Some((name.to_str()?, value)))
            .filter(|(name, _)| !self.given.contains_key(*name) && !self.set.contains_key(*name))
            .filter(|(name, _)| {
                // Names that are not granted are no attempt to read them, so they are not audited.
                let request = Request::Name(name);
                run.would_allow(ENV, &request) && (whole || run.check_whole(ENV, &request).is_ok())
            })
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect();
        list.extend(self.given.clone());
        for (name, value) in &self.set {
            match value {
                Some(value) => list.insert(name.clone(), value.clone()),
                None => list.remove(name),
            };
        }
        list
    }

    /// The value of a variable that was given to the run when it was started, or that the script may read; what the
    /// script has set is not looked at.
    pub fn of_operator(&self, run: &Run, name: &str) -> Option<Vec<u8>> {
        if let Some(value) = self.given.get(name) {
            return Some(value.clone());
        }
        // Not read by the script: no attempt to be audited.
        of_host(run, name).filter(|_| run.would_allow(ENV, &Request::Name(name)))
    }

    /// The variables to which the script has given a value.
    pub fn set_by_script(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.set.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
    }

    /// Sets a variable of the run, or removes it there.
    ///
    /// # Errors
    /// `invalid-argument` for a name or value that no environment can hold, `limit` where the script sets
    /// more than a megabyte.
    pub fn set(&mut self, name: String, value: Option<Vec<u8>>) -> Result<(), Error> {
        let too_much = |name: &str| {
            let shown = &name[..name.floor_char_boundary(SHOWN)];
            let message = format!(
                "setting the environment variable {shown}: a run may set {OVERLAY_MAX} bytes of variables"
            );
            Err(error(ErrorCode::Limit, message))
        };
        // Before anything is looked for in it.
        if name.len() + value.as_ref().map_or(0, Vec::len) > OVERLAY_MAX {
            return too_much(&name);
        }
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = format!(
                "setting the environment variable {name:?}: a name is not empty and has neither '=' nor NUL"
            );
            return Err(error(ErrorCode::InvalidArgument, message));
        }
        if value.as_ref().is_some_and(|value| value.contains(&0)) {
            let message = format!("setting the environment variable {name}: a value cannot hold a NUL byte");
            return Err(error(ErrorCode::InvalidArgument, message));
        }
        let size = |name: &str, value: &Option<Vec<u8>>| name.len() + value.as_ref().map_or(0, Vec::len);
        let before = self.set.get(&name).map_or(0, |value| size(&name, value));
        let bytes = self.set_bytes - before + size(&name, &value);
        if bytes > OVERLAY_MAX {
            return too_much(&name);
        }
        self.set_bytes = bytes;
        self.set.insert(name, value);
        Ok(())
    }
}

/// A variable of the surroundings.
fn of_host(run: &Run, name: &str) -> Option<Vec<u8>> {
    run.ambient.variables.get(OsStr::new(name)).map(|value| value.as_bytes().to_vec())
}

impl env::Host for Ctx {
    fn get(&mut self, name: String) -> HostResult<Option<Vec<u8>>> {
        let run = self.run.clone();
        Ok(self.state::<Environment>().get(&run, &name))
    }

    fn set(&mut self, name: String, value: Option<Vec<u8>>) -> HostResult<()> {
        Ok(self.state::<Environment>().set(name, value)?)
    }

    fn list(&mut self) -> HostResult<Vec<Variable>> {
        let run = self.run.clone();
        let list = self.state::<Environment>().list(&run);
        // Programs get the list too, and do without what is not granted; a script that asks for it wants it.
        if run.would_allow(ENV, &Request::Whole) {
            run.learn(ENV, &Request::Whole);
        } else {
            list.keys()
                .map(|name| Request::Name(name))
                .filter(|request| run.would_allow(ENV, request))
                .for_each(|request| run.learn(ENV, &request));
        }
        Ok(list.into_iter().map(|(key, value)| Variable { key, value }).collect())
    }

    fn cwd(&mut self) -> HostResult<String> {
        Ok(self.run.working_directory.display().to_string())
    }
}

#[cfg(test)]
mod tests;
