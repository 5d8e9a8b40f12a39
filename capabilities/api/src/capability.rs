//! The trait that a capability's crate implements.

use crate::{Ctx, GrantError, Scope};
use std::path::Path;
use wasmtime::component::{Linker, Val};

/// One form of scope, for `assay capabilities` and the reference.
#[derive(Clone, Copy, Debug)]
pub struct ScopeForm {
    /// `read:PATH`.
    pub form: &'static str,
    /// What it grants, a phrase.
    pub grants: &'static str,
    /// A whole flag's value: `fs=read:./config`.
    pub example: &'static str,
}

/// What a call of an ungranted capability was about, for its denial and the audit.
#[derive(Clone, Debug)]
pub struct Target {
    /// "http to api.example.com:443": the start of the sentence.
    pub what: String,
    /// The narrowest scope that would grant it.
    pub scope: Option<String>,
}

/// A Lua function that needs a capability, for `assay explain`.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// `http.get`, `dofile`; `http.*` is every function of the library that no entry before it names.
    pub function: &'static str,
    pub literal: Literal,
}

/// What the first argument of a call says about the grant, where it is a literal.
#[derive(Clone, Copy, Debug)]
pub enum Literal {
    /// The scope that covers the call; none where this text does not tell.
    Scope(fn(&str) -> Option<String>),
    /// Nothing: only the run can tell.
    Nothing,
    /// The function needs no grant.
    Free,
}

impl Need {
    pub const fn new(function: &'static str, literal: Literal) -> Need {
        Need { function, literal }
    }
}

impl Literal {
    /// A file that is read.
    pub const READ: Literal = Literal::Scope(|path| Some(format!("read:{path}")));
    /// A file that is written.
    pub const WRITE: Literal = Literal::Scope(|path| Some(format!("write:{path}")));
    /// The name itself.
    pub const NAME: Literal = Literal::Scope(|name| Some(name.to_string()));
    /// A URL, by its host and port.
    pub const URL: Literal = Literal::Scope(|text| {
        let url = url::Url::parse(text).ok()?;
        Some(crate::scope::host_and_port(url.host_str()?, url.port_or_known_default()?))
    });
}

/// A capability: an interface of `assay:host` that a script must be granted.
pub trait Capability: Send + Sync {
    /// Its name on the command line, in manifests and as the WIT interface.
    fn name(&self) -> &'static str;

    /// What it is for, in a phrase.
    fn summary(&self) -> &'static str;

    /// Linked into every run. One without scopes needs no grant; one with scopes decides each call itself,
    /// because some of its calls need none (`fs.tempdir`, `env.set`).
    fn always_linked(&self) -> bool {
        false
    }

    /// The scopes it understands; none means that it can only be granted whole.
    fn scopes(&self) -> &'static [ScopeForm] {
        &[]
    }

    /// Reads one scope. `base` is the folder that relative paths start from.
    ///
    /// # Errors
    /// When `text` is not a scope of this capability; the message says which forms there are.
    fn scope(&self, text: &str, base: &Path) -> Result<Box<dyn Scope>, GrantError> {
        let _ = base;
        Err(GrantError::new(format!("{} has no scopes, only {}; got {text}", self.name(), self.name())))
    }

    /// Other capabilities that a grant of it, without a scope, grants as well.
    fn includes(&self) -> &'static [&'static str] {
        &[]
    }

    /// What the name alone grants, where that is less than all of it; taking it back takes back everything.
    fn bare(&self) -> Option<Box<dyn Scope>> {
        None
    }

    /// The Lua functions that need it, the more specific ones first. A function may need several capabilities.
    fn needs(&self) -> &'static [Need] {
        &[]
    }

    /// Links the real implementation.
    ///
    /// # Errors
    /// When the interface cannot be defined, which is a bug.
    fn link(&self, linker: &mut Linker<Ctx>) -> wasmtime::Result<()>;

    /// What a call of `function` with `args` is about, when the capability is not linked.
    fn target(&self, function: &str, args: &[Val]) -> Target {
        let _ = args;
        Target { what: format!("{}.{function}", self.name()), scope: None }
    }
}
