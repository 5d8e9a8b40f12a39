//! What can be granted of `apt`, and the requests that are matched against it.

use assay_capability_api::scope::{NameScope, PathScope, normalize, read_path};
use assay_capability_api::{Access, GrantError, Request, Scope, ScopeForm};
use std::path::Path;

pub const FORMS: &[ScopeForm] = &[
    ScopeForm {
        form: "read",
        grants: "asking what is installed and what could be upgraded",
        example: "apt=read",
    },
    ScopeForm { form: "update", grants: "fetching the lists of packages", example: "apt=update" },
    ScopeForm {
        form: "install[:NAME]",
        grants: "installing and upgrading packages, and what they depend on; a star stands for any characters",
        example: "apt=install:nginx*",
    },
    ScopeForm {
        form: "remove[:NAME]",
        grants: "removing packages; those that depend on them must be granted too",
        example: "apt=remove:nginx*",
    },
    ScopeForm {
        form: "source[:ID]",
        grants: "adding a repository, whose packages may then be installed",
        example: "apt=source:grafana",
    },
    ScopeForm {
        form: "root:PATH",
        grants: "working on another system's root directory, which fs=rw:PATH must grant too",
        example: "apt=root:/srv/image",
    },
];

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Read,
    Update,
    Install,
    Remove,
    Source,
    Root,
}

impl Verb {
    const ALL: [Verb; 6] = [Verb::Read, Verb::Update, Verb::Install, Verb::Remove, Verb::Source, Verb::Root];

    /// The word in scopes.
    pub const fn word(self) -> &'static str {
        match self {
            Verb::Read => "read",
            Verb::Update => "update",
            Verb::Install => "install",
            Verb::Remove => "remove",
            Verb::Source => "source",
            Verb::Root => "root",
        }
    }

    /// The scope that covers doing it to `name`.
    pub fn scope(self, name: &str) -> String {
        match self {
            Verb::Read | Verb::Update => self.word().into(),
            _ => format!("{}:{name}", self.word()),
        }
    }

    /// What is named in a request that is about nothing of its own.
    pub fn object(self) -> &'static str {
        match self {
            Verb::Read => "the package database",
            Verb::Update => "the package lists",
            _ => "",
        }
    }
}

/// One scope.
#[derive(Debug)]
pub struct AptScope {
    verb: Verb,
    object: Object,
}

#[derive(Debug)]
enum Object {
    Any,
    Name(NameScope),
    Directory(PathScope),
}

/// Whether it has lower-case letters, digits and `marks` only.
fn is_pattern(name: &str, marks: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || marks.contains(c))
}

impl AptScope {
    /// Reads one scope; a relative path starts at `base`.
    ///
    /// # Errors
    /// When it has none of [`FORMS`].
    pub fn parse(text: &str, base: &Path) -> Result<AptScope, GrantError> {
        let wrong = || {
            let forms: Vec<_> = FORMS.iter().map(|form| form.form).collect();
            GrantError::new(format!("apt={text}: the scopes of apt are {}", forms.join(", ")))
        };
        let (word, name) = match text.split_once(':') {
            Some((word, name)) => (word, Some(name)),
            None => (text, None),
        };
        let verb = Verb::ALL.into_iter().find(|verb| verb.word() == word).ok_or_else(wrong)?;
        let object = match (verb, name) {
            (Verb::Root, Some(path)) if !path.is_empty() => {
                let path = read_path(path).map_err(|why| GrantError::new(format!("apt={text}: {why}")))?;
                Object::Directory(PathScope::new(true, true, normalize(&base.join(path))))
            }
            (Verb::Install | Verb::Remove | Verb::Source, None) => Object::Any,
            (Verb::Install | Verb::Remove, Some(name)) if !is_pattern(name, "+.-*") => {
                return Err(GrantError::new(format!(
                    "apt={}: a package is its name, in lower case, with stars for any characters, and without version \
                     and architecture",
                    text.escape_debug()
                )));
            }
            (Verb::Install | Verb::Remove | Verb::Source, Some(name)) if !name.is_empty() => {
                Object::Name(NameScope::new(name))
            }
            (Verb::Read | Verb::Update, None) => Object::Any,
            _ => return Err(wrong()),
        };
        Ok(AptScope { verb, object })
    }
}

impl Scope for AptScope {
    fn matches(&self, request: &Request<'_>) -> bool {
        let Request::Action { verb, name, .. } = request else { return false };
        *verb == self.verb.word()
            && match &self.object {
                Object::Any => true,
                Object::Name(pattern) => pattern.matches(&Request::Name(name)),
                Object::Directory(directory) => {
                    directory.matches(&Request::File { access: Access::Write, path: Path::new(name) })
                }
            }
    }
}
