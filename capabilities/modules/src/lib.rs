//! Source of modules for `require`: the project's directory, the user's directory, the standard library.
//! Always granted, and reaches nothing else. What a deny rule of `fs` is about is no module either.

mod directory;

pub use directory::Directory;

use assay_capability_api::scope::normalize;
use assay_capability_api::{Access, Capability, Ctx, Determinism, Linker, Request, Run};
use directory::Authorizer;
use std::path::Path;
use wasmtime::Result;
use wasmtime::component::HasSelf;

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/modules@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        require_store_data_send: true,
    });
}

use bindings::assay::host::modules;

/// The longest name of a module, bytes: longer than any path.
const NAME_MAX: usize = 4096;
/// The capability whose deny rules hold for modules too.
const FS: &str = "fs";

/// The capability `modules`.
pub struct Modules;

impl Capability for Modules {
    fn name(&self) -> &'static str {
        "modules"
    }

    fn summary(&self) -> &'static str {
        "source of modules for require"
    }

    fn always_linked(&self) -> bool {
        true
    }

    /// What a script is made of is the script.
    fn determinism(&self, _: &str) -> Determinism {
        Determinism::Program
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> Result<()> {
        modules::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }
}

/// Where modules come from, in the order in which they are searched.
#[derive(Clone, Debug, Default)]
pub struct Directories {
    /// `modules/` beside the script; none with `--no-local-modules`.
    pub project: Option<Directory>,
    /// `$ASSAY_MODULES_PATH` or `~/.assay/modules`.
    pub global: Option<Directory>,
}

/// Which place a module came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Project,
    Global,
    Builtin,
}

impl Origin {
    /// As `assay modules` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Project => "project",
            Origin::Global => "global",
            Origin::Builtin => "builtin",
        }
    }
}

/// A module's source and where it was found.
#[derive(Clone, Debug)]
pub struct Found {
    pub origin: Origin,
    /// A path, or `assay:...` for an embedded one.
    pub path: String,
    pub text: Vec<u8>,
}

impl Directories {
    /// Finds a module by its dotted name.
    ///
    /// # Errors
    /// The places that were tried and why each did not give the module, one a line.
    pub fn find(&self, name: &str) -> std::result::Result<Found, String> {
        self.find_within(name, u64::MAX, &|_| Ok(()))
    }

    /// The same, where a file may have so many bytes, and `authorizer` is asked about each.
    fn find_within(
        &self,
        name: &str,
        most: u64,
        authorizer: Authorizer<'_>,
    ) -> std::result::Result<Found, String> {
        if name.len() > NAME_MAX {
            return Err(format!("{} bytes are too many for a module name, at most {NAME_MAX}", name.len()));
        }
        let parts: Vec<&str> = name.split('.').collect();
        if parts.iter().any(|part| !is_part(part)) {
            return Err(format!(
                "'{name}' is not a module name: letters, digits, '_' and '-', separated by dots"
            ));
        }
        let candidates = [format!("{}.lua", parts.join("/")), format!("{}/init.lua", parts.join("/"))];
        let mut tried = Vec::new();
        for (origin, directory) in [(Origin::Project, &self.project), (Origin::Global, &self.global)] {
            let Some(directory) = directory else { continue };
            for candidate in &candidates {
                match directory.read(candidate, most, authorizer) {
                    Ok((path, text)) => return Ok(Found { origin, path, text }),
                    Err(why) => tried.push(why),
                }
            }
        }
        for candidate in &candidates {
            let path = candidate.strip_prefix("assay/").unwrap_or_default();
            match assay_stdlib::file(path) {
                Some(text) if !path.is_empty() => {
                    return Ok(Found {
                        origin: Origin::Builtin,
                        path: format!("assay:{path}"),
                        text: text.into_owned(),
                    });
                }
                _ => {}
            }
        }
        tried.push(format!("no module '{name}' in the standard library"));
        Err(tried.join("\n\t"))
    }
}

impl Directories {
    /// The path of a module that was found, for the operator: not as scripts see it.
    pub fn real_path(&self, found: &Found) -> String {
        let directory = match found.origin {
            Origin::Project => &self.project,
            Origin::Global => &self.global,
            Origin::Builtin => &None,
        };
        let own = directory.as_ref().and_then(|directory| directory.real_path(&found.path));
        own.map_or_else(|| found.path.clone(), |path| path.display().to_string())
    }
}

/// Names that cannot leave their directory.
fn is_part(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Refuses what a deny rule of `fs` is about; modules need no grant of it.
fn check_undenied(run: &Run, path: &Path) -> std::result::Result<(), String> {
    let path = normalize(&run.working_directory.join(path));
    let request = Request::File { access: Access::Read, path: &path };
    let Some(rule) = run.grants.denial(FS, &request) else { return Ok(()) };
    // The audit has the path, which a script must not learn where a link leads to it.
    let refusal = run.refuse_by(FS, &request.describe(FS), &rule);
    Err(match refusal.message.rsplit_once(" is denied by ") {
        Some((_, rule)) => format!("denied by {rule}"),
        None => refusal.message,
    })
}

impl modules::Host for Ctx {
    // Reads on the thread of the run: modules are small, local, and a run that loads one does nothing else.
    fn find(&mut self, name: String) -> Result<std::result::Result<modules::Source, String>> {
        let directories = self.state::<Directories>().clone();
        let most = self.run.budget.left();
        let found = directories.find_within(&name, most, &|path| check_undenied(&self.run, path));
        Ok(found.map(|found| {
            let chunk = match found.origin {
                Origin::Builtin => format!("={}", found.path),
                Origin::Project | Origin::Global => format!("@{}", found.path),
            };
            modules::Source { name: chunk, text: found.text }
        }))
    }
}

#[cfg(test)]
mod tests;
