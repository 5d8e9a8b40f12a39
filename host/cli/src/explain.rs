//! `assay explain`: what a script needs, from its text alone.
//!
//! It reads tokens, not the program: `http.get("https://...")` gives a scope, of `http.get(url)` only the run can
//! tell. A builtin that hides behind another name is not seen; `--learn` sees it.

mod call;
mod lexer;
#[cfg(test)]
mod tests;

use crate::args::Explain;
use crate::print;
use crate::run::{folder_of, module_folders, read_script};
use anyhow::Result;
use assay_capability_api::scope::escape;
use assay_capability_api::secrets::hide;
use assay_capability_api::{Capability, Literal, Need};
use assay_capability_modules::{Folders, Origin};
use assay_runtime::Runtime;
use call::{Needed, Value, arguments, needed};
use lexer::{Token, tokens};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// What the guest has loaded before a script begins: `require` gives it without looking for a file.
const LOADED: &[&str] = &[
    "_G",
    "apt",
    "assay.compress",
    "assert",
    "async",
    "base64",
    "cgroup",
    "compress",
    "coroutine",
    "crypto",
    "db",
    "debug",
    "disk",
    "env",
    "fs",
    "http",
    "io",
    "json",
    "linux",
    "log",
    "markdown",
    "math",
    "oci",
    "os",
    "package",
    "process",
    "regex",
    "shell",
    "string",
    "systemd",
    "table",
    "tar",
    "template",
    "toml",
    "utf8",
    "ws",
    "yaml",
];

/// One use of a capability.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Use {
    capability: &'static str,
    function: String,
    asked: Asked,
    place: String,
}

/// How much of a capability a use needs.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
enum Asked {
    Scope(String),
    /// Whatever is granted of it.
    Any,
    All,
    /// Less than all of it may do, but the source does not tell what.
    Undecided,
}

impl Asked {
    fn scope(&self) -> Option<&str> {
        match self {
            Asked::Scope(scope) => Some(scope),
            _ => None,
        }
    }

    fn describe(&self) -> &str {
        match self {
            Asked::Scope(scope) => scope,
            Asked::Any => "any grant of it",
            Asked::All => "all of it",
            Asked::Undecided => "cannot be read from the source: any",
        }
    }
}

pub(crate) fn explain(args: &Explain) -> Result<u8> {
    let (source, _) = read_script(&args.file)?;
    let mut found = Findings::default();
    let folders = module_folders(&folder_of(&args.file), true);
    found.chunk(&String::from_utf8_lossy(&source), &args.file.display().to_string(), &folders);
    if args.json {
        return print(found.as_json().as_bytes());
    }
    print(found.as_text(&args.file.display().to_string()).as_bytes())
}

#[derive(Default)]
struct Findings {
    uses: BTreeSet<Use>,
    /// Modules by name and where they come from; none is not found.
    modules: BTreeMap<String, Option<Origin>>,
}

impl Findings {
    fn chunk(&mut self, text: &str, place: &str, folders: &Folders) {
        let tokens = tokens(text);
        let locals = locals(&tokens);
        for (at, token) in tokens.iter().enumerate() {
            let Token::Name(name, line) = token else { continue };
            // `x.http` and `x:http` are fields, `{ http = 1 }` and locals are not calls.
            if at > 0 && matches!(tokens[at - 1], Token::Symbol('.' | ':')) {
                continue;
            }
            let place = format!("{place}:{line}");
            if *name == "require" {
                if let Some([Value::Text(module), ..]) = arguments(&tokens[at + 1..]).as_deref() {
                    self.module(module, folders);
                }
                continue;
            }
            // A key of a table, or what is assigned to.
            if matches!(tokens.get(at + 1..at + 3), Some([Token::Symbol('='), next]) if *next != Token::Symbol('='))
            {
                continue;
            }
            let called = |from: usize| arguments(&tokens[from..]);
            let (function, rest) = match tokens.get(at + 1..at + 3) {
                Some([Token::Symbol('.'), Token::Name(field, _)]) => (format!("{name}.{field}"), at + 3),
                // `local fs = fs`, of which the functions are found by the same name, or a variable of the script's.
                _ if locals.contains(name) && called(at + 1).is_none() => continue,
                _ => ((*name).to_string(), at + 1),
            };
            let arguments = called(rest);
            for (capability, need) in needs(&function) {
                // What cannot be granted, such as the path "", is wrong in the script.
                let known = |scope: &String| capability.scope(scope, Path::new("/")).is_ok();
                let asked = match needed(need, arguments.as_deref()) {
                    Needed::Scopes(scopes) if !scopes.iter().all(known) => vec![Asked::Undecided],
                    Needed::Nothing => continue,
                    Needed::Scopes(scopes) => {
                        scopes.iter().map(|scope| Asked::Scope(hide(scope).into_owned())).collect()
                    }
                    Needed::Any => vec![Asked::Any],
                    Needed::Unknown if !capability.scopes().is_empty() => vec![Asked::Undecided],
                    Needed::Unknown | Needed::Whole => vec![Asked::All],
                };
                self.uses.extend(asked.into_iter().map(|asked| Use {
                    capability: capability.name(),
                    function: function.clone(),
                    asked,
                    place: place.clone(),
                }));
            }
        }
    }

    fn module(&mut self, name: &str, folders: &Folders) {
        if self.modules.contains_key(name) {
            return;
        }
        if LOADED.contains(&name) {
            self.modules.insert(name.to_string(), Some(Origin::Builtin));
            return;
        }
        let found = folders.find(name).ok();
        self.modules.insert(hide(name).into_owned(), found.as_ref().map(|found| found.origin));
        if let Some(found) = found {
            self.chunk(&String::from_utf8_lossy(&found.text), &found.path, folders);
        }
    }

    /// What to grant: scopes where every use has one, the whole capability elsewhere.
    fn grants(&self) -> Vec<String> {
        let mut all: BTreeMap<&str, Vec<&Asked>> = BTreeMap::new();
        for one in &self.uses {
            all.entry(one.capability).or_default().push(&one.asked);
        }
        let mut grants = Vec::new();
        for (capability, mut asked) in all {
            asked.retain(|asked| **asked != Asked::Any);
            let scopes: Option<BTreeSet<&str>> = asked.iter().map(|asked| asked.scope()).collect();
            match scopes.filter(|scopes| !scopes.is_empty()) {
                None => grants.push(capability.to_string()),
                Some(scopes) => {
                    grants.extend(scopes.into_iter().map(|scope| format!("{capability}={}", escape(scope))))
                }
            }
        }
        grants
    }

    fn as_json(&self) -> String {
        let uses: Vec<_> = self
            .uses
            .iter()
            .map(|one| json!({ "capability": one.capability, "function": one.function, "scope": one.asked.scope(), "place": one.place }))
            .collect();
        let modules: BTreeMap<_, _> =
            self.modules.iter().map(|(name, origin)| (name, origin.map(Origin::name))).collect();
        let undecided: Vec<_> = self.undecided().into_iter().collect();
        let found =
            json!({ "uses": uses, "modules": modules, "allow": self.grants(), "undecided": undecided });
        format!("{found:#}\n")
    }

    /// The capabilities that are granted whole for want of knowing better.
    fn undecided(&self) -> BTreeSet<&'static str> {
        let having = |asked: Asked| {
            BTreeSet::from_iter(self.uses.iter().filter(|one| one.asked == asked).map(|one| one.capability))
        };
        &having(Asked::Undecided) - &having(Asked::All)
    }

    fn as_text(&self, file: &str) -> String {
        let mut text = String::new();
        let width = self.uses.iter().map(|one| one.function.len()).max().unwrap_or(0);
        for one in &self.uses {
            let scope = one.asked.describe();
            let _ =
                writeln!(text, "{:<8} {:<width$}  {:<40} {}", one.capability, one.function, scope, one.place);
        }
        for (name, origin) in &self.modules {
            let _ = writeln!(text, "module   {name}  {}", origin.map_or("not found", Origin::name));
        }
        let grants = self.grants();
        if grants.is_empty() {
            let _ = writeln!(text, "{file} needs no grants.");
        } else {
            let _ = writeln!(text, "\nassay run --allow {} {file}", grants.join(","));
        }
        let undecided = Vec::from_iter(self.undecided());
        if !undecided.is_empty() {
            let _ = writeln!(
                text,
                "\nOf {} more is granted so than the script may need. What it needs is written by a run that is\n\
                 allowed everything:\n\nassay run --learn grants.toml --allow-all {file}",
                undecided.join(", ")
            );
        }
        text
    }
}

/// The names of local variables, wherever they are declared.
fn locals<'a>(tokens: &[Token<'a>]) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        if !matches!(token, Token::Name("local", _)) {
            continue;
        }
        let mut rest = &tokens[at + 1..];
        // `local a <const>, b = ...`
        while let [Token::Name(name, _), tail @ ..] = rest {
            names.insert(*name);
            rest = match tail {
                [Token::Symbol('<'), Token::Name(..), Token::Symbol('>'), Token::Symbol(','), next @ ..]
                | [Token::Symbol(','), next @ ..] => next,
                _ => break,
            };
        }
    }
    names
}

/// The capabilities that a function needs, and how its arguments say what of them.
fn needs(function: &str) -> impl Iterator<Item = (&'static dyn Capability, &'static Need)> {
    let covers = move |need: &&Need| match need.function.strip_suffix('*') {
        Some(library) => function.starts_with(library) || Some(function) == library.strip_suffix('.'),
        None => need.function == function,
    };
    Runtime::capabilities().iter().flat_map(move |capability| {
        let needs = capability.needs();
        let name = needs.iter().find(covers).map(|need| need.function);
        let always = move |need: &&Need| matches!(need.literal, Literal::Option(..)) && covers(need);
        let also = move |need: &&Need| Some(need.function) == name || always(need);
        needs.iter().filter(also).map(|need| (*capability, need))
    })
}
