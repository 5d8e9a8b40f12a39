//! The trait that a capability's crate implements.

use crate::{Ctx, Determinism, GrantError, Linker, Request, Required, Scope};
use std::path::Path;
use wasmtime::component::Val;

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

impl Target {
    /// What a call of `function` is about that goes to a URL: the field `url` of a record among `args`, with one of
    /// `schemes`, and the field `method` where there is one.
    pub fn of_url(capability: &str, function: &str, args: &[Val], schemes: &[&str]) -> Target {
        let url = text_field(args, "url").and_then(|url| url::Url::parse(url).ok());
        let url = url.filter(|url| schemes.contains(&url.scheme()));
        let place = url.as_ref().and_then(|url| Some((url, url.host_str()?, url.port_or_known_default()?)));
        let Some((url, host, port)) = place else {
            return Target { what: format!("{capability}.{function}"), scope: None };
        };
        let method = text_field(args, "method").map(str::to_ascii_uppercase);
        let (scheme, method, path) = (url.scheme(), method.as_deref(), Some(url.path()));
        let request = Request::Network { scheme, method, host, port, path, address: None };
        Target { what: request.describe(capability), scope: request.scope() }
    }
}

/// The text in the field `wanted` of a record among a call's arguments.
pub fn text_field<'a>(args: &'a [Val], wanted: &str) -> Option<&'a str> {
    args.iter().find_map(|arg| match arg {
        Val::Record(fields) => fields.iter().find_map(|(name, value)| match value {
            Val::String(text) if name == wanted => Some(text.as_str()),
            _ => None,
        }),
        _ => None,
    })
}

/// A Lua function that needs a capability, for `assay explain`. One that needs several, or one in several ways, has as
/// many entries.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// `http.get`, `dofile`; `http.*` is every function of the library that no entry about the same capability names.
    pub function: &'static str,
    /// What it needs; none is the capability that declares it.
    pub capability: Option<&'static str>,
    /// Which argument says what is needed, from 0. A call without it needs nothing.
    pub argument: usize,
    pub literal: Literal,
}

/// What the text of a call says about the grant.
#[derive(Clone, Copy, Debug)]
pub enum Literal {
    /// The scope that covers the call, from its argument where that is a string, a number, or a list of them; none
    /// where that does not tell.
    Scope(fn(&str) -> Option<String>),
    /// The same where the argument may also be a table: from its field of this name, or its first item.
    Field(&'static str, fn(&str) -> Option<String>),
    /// The same where a table in its place needs nothing.
    Unless(fn(&str) -> Option<String>),
    /// The same for calls with this option, where it is neither nil nor false.
    With(&'static str, fn(&str) -> Option<String>),
    /// From the argument and the one after it.
    Pair(fn(&str, Option<&str>) -> Option<String>),
    /// From a field of this name in a table among the arguments, or in one of its tables; `stdin.file` is the field of
    /// a field. A call without it needs nothing, nor does a text without a scope, or a table with names in its place.
    /// One for `http.*` goes for those functions too that have entries of their own.
    Option(&'static str, fn(&str) -> Option<String>),
    /// A URL with one of these schemes, by its host and port.
    Url(&'static [&'static str]),
    /// This scope covers every call.
    Always(&'static str),
    /// All of the capability, whatever the arguments are.
    Whole,
    /// Some grant of it: which one is said by other calls.
    Any,
    /// Nothing: only the run can tell.
    Nothing,
    /// The function needs no grant.
    Free,
}

impl Need {
    pub const fn new(function: &'static str, literal: Literal) -> Need {
        Need { function, capability: None, argument: 0, literal }
    }

    /// The same about another argument than the first.
    #[must_use]
    pub const fn at(self, argument: usize) -> Need {
        Need { argument, ..self }
    }

    /// The same of another capability than the one that declares it.
    #[must_use]
    pub const fn of(self, capability: &'static str) -> Need {
        Need { capability: Some(capability), ..self }
    }
}

impl Literal {
    /// The name of a program, or the field `cmd`.
    pub const PROGRAM: Literal = Literal::Field("cmd", |name| Some(name.to_string()));
    /// The name itself.
    pub const NAME: Literal = Literal::Scope(|name| Some(name.to_string()));
}

/// What a denial of another capability takes back of one.
#[derive(Debug)]
pub enum Denied {
    Nothing,
    Whole,
    Part(Box<dyn Scope>),
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

    /// Whether something of it must be granted, and can be taken back.
    fn needs_grant(&self) -> bool {
        !(self.always_linked() && self.scopes().is_empty())
    }

    /// The scopes it understands; none means that it can only be granted whole.
    fn scopes(&self) -> &'static [ScopeForm] {
        &[]
    }

    /// Reads one scope. `base` is the directory that relative paths start from.
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

    /// What of this capability is taken back with another one, because it leads round that denial. `scope` is what was
    /// taken back, None all of it; `base` as for [`Capability::scope`].
    fn denied_with(&self, other: &str, scope: Option<&str>, base: &Path) -> Denied {
        let _ = (scope, base);
        if self.includes().contains(&other) { Denied::Whole } else { Denied::Nothing }
    }

    /// What the name alone grants, where that is less than all of it; taking it back takes back everything.
    fn bare(&self) -> Option<Box<dyn Scope>> {
        None
    }

    /// What its own Lua functions need, of it and of others.
    fn needs(&self) -> &'static [Need] {
        &[]
    }

    /// What it cannot do without of what the program that runs the script offers.
    fn requires(&self) -> &'static [Required] {
        &[]
    }

    /// What the answer of a function of its interface follows from, by its name there (`open`, `[method]file.read`): it
    /// decides which of them go on in a run that is replayed.
    fn determinism(&self, function: &str) -> Determinism {
        let _ = function;
        Determinism::Outside
    }

    /// Links the real implementation. An [`crate::Extension`] has none.
    ///
    /// # Errors
    /// When the interface cannot be defined, which is a bug.
    fn link(&self, linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
        let _ = linker;
        Ok(())
    }

    /// What a call of `function` with `args` is about, when the capability is not linked.
    fn target(&self, function: &str, args: &[Val]) -> Target {
        let _ = args;
        Target { what: format!("{}.{function}", self.name()), scope: None }
    }
}
