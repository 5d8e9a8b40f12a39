//! `assay explain`: what a script needs, from its text alone.
//!
//! It reads tokens, not the program: `http.get("https://...")` gives a scope, `http.get(url)` says that the
//! scope is decided at run time. A builtin that hides behind another name is not seen; `--learn` sees it.

mod lexer;

use crate::args::Explain;
use crate::print;
use crate::run::{folder_of, module_folders, read_script};
use anyhow::Result;
use assay_capability_api::Literal;
use assay_capability_api::scope::escape;
use assay_capability_modules::{Folders, Origin};
use assay_runtime::Runtime;
use lexer::{Token, tokens};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// One use of a capability.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Use {
    capability: &'static str,
    function: String,
    /// The scope, where a literal argument gives it.
    scope: Option<String>,
    place: String,
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
        for (at, token) in tokens.iter().enumerate() {
            let Token::Name(name, line) = token else { continue };
            // `x.http` and `x:http` are fields, `{ http = 1 }` and locals are not calls.
            if at > 0 && matches!(tokens[at - 1], Token::Symbol('.' | ':')) {
                continue;
            }
            let place = format!("{place}:{line}");
            if *name == "require" {
                if let Some(module) = literal(&tokens[at + 1..]) {
                    self.module(module, folders);
                }
                continue;
            }
            // A key of a table, or what is assigned to.
            if matches!(tokens.get(at + 1..at + 3), Some([Token::Symbol('='), next]) if *next != Token::Symbol('='))
            {
                continue;
            }
            let (function, rest) = match tokens.get(at + 1..at + 3) {
                Some([Token::Symbol('.'), Token::Name(field, _)]) => (format!("{name}.{field}"), at + 3),
                _ => ((*name).to_string(), at + 1),
            };
            for (capability, first) in needs(&function) {
                let scope = match first {
                    Literal::Scope(scope) => literal(&tokens[rest..]).and_then(scope),
                    Literal::Nothing | Literal::Free => None,
                };
                self.uses.insert(Use { capability, function: function.clone(), scope, place: place.clone() });
            }
        }
    }

    fn module(&mut self, name: &str, folders: &Folders) {
        if self.modules.contains_key(name) {
            return;
        }
        let found = folders.find(name).ok();
        self.modules.insert(name.to_string(), found.as_ref().map(|found| found.origin));
        if let Some(found) = found {
            self.chunk(&String::from_utf8_lossy(&found.text), &found.path, folders);
        }
    }

    /// What to grant: scopes where every use has one, the whole capability elsewhere.
    fn grants(&self) -> Vec<String> {
        let mut scopes: BTreeMap<&str, Option<BTreeSet<&str>>> = BTreeMap::new();
        for one in &self.uses {
            let entry = scopes.entry(one.capability).or_insert_with(|| Some(BTreeSet::new()));
            match (&one.scope, entry.as_mut()) {
                (Some(scope), Some(scopes)) => {
                    scopes.insert(scope);
                }
                _ => *entry = None,
            }
        }
        let mut grants = Vec::new();
        for (capability, scopes) in scopes {
            match scopes {
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
            .map(|one| json!({ "capability": one.capability, "function": one.function, "scope": one.scope, "place": one.place }))
            .collect();
        let modules: BTreeMap<_, _> =
            self.modules.iter().map(|(name, origin)| (name, origin.map(Origin::name))).collect();
        format!("{:#}\n", json!({ "uses": uses, "modules": modules, "allow": self.grants() }))
    }

    fn as_text(&self, file: &str) -> String {
        let mut text = String::new();
        let width = self.uses.iter().map(|one| one.function.len()).max().unwrap_or(0);
        for one in &self.uses {
            let scope = one.scope.as_deref().unwrap_or("(decided at run time)");
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
        text
    }
}

/// The text of `("...` or `"...`, the first argument of a call.
fn literal<'a>(tokens: &'a [Token<'a>]) -> Option<&'a str> {
    match tokens {
        [Token::Symbol('('), Token::Text(text), Token::Symbol(')' | ','), ..] | [Token::Text(text), ..] => {
            Some(text)
        }
        _ => None,
    }
}

/// The capabilities that a function needs, and what its first argument says about the scope.
fn needs(function: &str) -> impl Iterator<Item = (&'static str, Literal)> {
    Runtime::capabilities().iter().filter_map(move |capability| {
        let need = capability.needs().iter().find(|need| match need.function.strip_suffix('*') {
            Some(library) => function.starts_with(library) || Some(function) == library.strip_suffix('.'),
            None => need.function == function,
        })?;
        (!matches!(need.literal, Literal::Free)).then_some((capability.name(), need.literal))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(text: &str) -> Vec<String> {
        let mut found = Findings::default();
        found.chunk(text, "x.lua", &Folders::default());
        found.grants()
    }

    #[test]
    fn literals_give_scopes() {
        assert_eq!(grants("http.get('https://api.example.com/x')"), ["http=api.example.com:443"]);
        assert_eq!(grants("http.get \"http://u:p@h:81/x\""), ["http=h:81"]);
        assert_eq!(grants("fs.read('a,b')"), ["fs=read:a%2Cb"]);
        assert_eq!(grants("local x = env.get('HOME') or env.get(\"PATH\")"), ["env=HOME", "env=PATH"]);
    }

    #[test]
    fn anything_else_needs_the_whole_capability() {
        assert_eq!(grants("http.get(url)"), ["http"]);
        assert_eq!(grants("http.get('https://a' .. b)"), ["http"]);
        assert_eq!(grants("http.get('https://a.example/') http.get(x)"), ["http"]);
    }

    #[test]
    fn comments_strings_and_fields_are_not_uses() {
        assert!(
            grants("-- http.get('x')\n--[[ fs.read('y') ]] local s = 'http.get(1)' x.http.get(1)").is_empty()
        );
        assert!(grants("local s = [==[ env.get('A') ]==]").is_empty());
    }
}
