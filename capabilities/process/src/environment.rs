//! The environment of a program that a script starts, and the scopes that grant variables.
//!
//! A variable can make a granted program run something else: `BASH_ENV`, `GIT_SSH_COMMAND`, `NODE_OPTIONS`,
//! `LD_PRELOAD`. So a script sets the variables that are granted and those few that only tell a language, a time zone,
//! a terminal or an empty home; what was given or granted for reading when the run was started goes through as it is.

use assay_capability_api::scope::NameScope;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Ctx, GrantError, Request, Run, Scope};
use assay_capability_env::Environment;
use std::collections::BTreeMap;
use std::path::{Component, Path};

/// What a scope for a variable begins with.
const PREFIX: &str = "env:";
/// How a request for a variable calls what it is about.
const VARIABLE: &str = "the environment variable";
const PATH: &str = "PATH";
const HOME: &str = "HOME";
/// Bytes of a value that needs no grant.
const MAX_FREE: usize = 128;

/// Variables with which any program, or any shell that it starts, takes in other code. A pattern does not mean them.
fn chooses_code(name: &str) -> bool {
    const FAMILIES: &[&str] = &["LD_", "DYLD_", "_RLD", "BASH_FUNC_"];
    const NAMES: &[&str] = &[
        "GCONV_PATH",
        "GLIBC_TUNABLES",
        "LOCPATH",
        "NLSPATH",
        PATH,
        "BASH_ENV",
        "ENV",
        "SHELLOPTS",
        "BASHOPTS",
        "PS4",
    ];
    FAMILIES.iter().any(|family| name.starts_with(family)) || NAMES.contains(&name)
}

/// `env:NAME` and `env:PREFIX_*`.
#[derive(Debug)]
pub struct VariableScope {
    /// As it was written, without the prefix.
    text: String,
    pattern: NameScope,
    denies: bool,
}

impl VariableScope {
    /// Reads what is no name of a program; none where it is one.
    ///
    /// # Errors
    /// Where it names no variable.
    pub fn parse(capability: &str, text: &str) -> Option<Result<VariableScope, GrantError>> {
        let name = text.strip_prefix(PREFIX)?;
        let plain = |c: char| c.is_alphanumeric() || "_.-%*".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            return Some(Err(GrantError::new(format!(
                "{text:?} names no environment variable; write {capability}={PREFIX}NAME or {capability}={PREFIX}PREFIX_*"
            ))));
        }
        Some(Ok(VariableScope { text: name.to_string(), pattern: NameScope::new(name), denies: false }))
    }
}

impl Scope for VariableScope {
    fn matches(&self, request: &Request<'_>) -> bool {
        let Request::Action { verb: VARIABLE, name, .. } = *request else { return false };
        let meant = self.denies || self.text == name || !chooses_code(name);
        meant && self.pattern.matches(&Request::Name(name))
    }

    fn widen_for_denial(&mut self) {
        self.denies = true;
    }
}

/// What a program gets, and what of it needs a grant.
#[derive(Debug, Default)]
pub struct Variables {
    pub list: Vec<(String, Vec<u8>)>,
    /// Those to which the script gives another value than they had when the run was started.
    set: Vec<(String, Vec<u8>)>,
}

impl Variables {
    /// What the script itself sees (nothing, unless something was granted or given), or nothing, and `own` over it.
    /// The search path is there in any case: without one some programs look in their working directory.
    pub fn new(ctx: &mut Ctx, clear: bool, own: Vec<(String, Vec<u8>)>) -> Variables {
        let run = ctx.run.clone();
        let environment = ctx.state::<Environment>();
        let mut list = if clear { BTreeMap::new() } else { environment.list(&run) };
        let mut set: BTreeMap<String, Vec<u8>> =
            if clear { BTreeMap::new() } else { environment.set_by_script().collect() };
        for (name, value) in own {
            set.insert(name.clone(), value.clone());
            list.insert(name, value);
        }
        let path = environment.of_operator(&run, PATH).unwrap_or_else(|| run.ambient.path_variable());
        set.retain(|name, value| match name.as_str() {
            PATH => *value != path,
            name => environment.of_operator(&run, name).as_ref() != Some(value),
        });
        list.entry(PATH.into()).or_insert(path);
        Variables { list: list.into_iter().collect(), set: set.into_iter().collect() }
    }

    /// Checks each variable that the script has set.
    ///
    /// # Errors
    /// `denied`, with the grant.
    pub fn check(&self, run: &Run, capability: &str) -> Result<(), Error> {
        for (name, value) in &self.set {
            let scope = format!("{PREFIX}{name}");
            let request = Request::Action { verb: VARIABLE, name, scope: &scope };
            let mut free = if needs_no_grant(name, value) { Ok(()) } else { Err(String::new()) };
            if name == HOME && !run.would_allow(capability, &request) {
                free = home(run, value);
            }
            match free {
                Ok(()) if !run.grants.denies(capability, &request) => {}
                Ok(()) => run.check(capability, &request)?,
                Err(why) => {
                    run.check(capability, &request).map_err(|refused| explained(refused, name, &why))?
                }
            }
        }
        Ok(())
    }
}

/// A home that needs no grant: a directory of the run's temporary one, which the script cannot fill.
///
/// # Errors
/// Why the value is not such a home.
fn home(run: &Run, value: &[u8]) -> Result<(), String> {
    let path = std::str::from_utf8(value).map(Path::new).map_err(|_| "it is not UTF-8")?;
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !plain {
        return Err("it is not an absolute path without '.' and '..'".into());
    }
    assay_capability_fs::seal_home(run, path)
}

fn explained(mut refused: Error, name: &str, why: &str) -> Error {
    if refused.code == ErrorCode::Denied && refused.message.contains("--allow") {
        let hint = match name {
            PATH => "; programs get the PATH that Assay was started with",
            HOME => {
                refused.message.push_str(
                    "; without a grant it may be an empty directory of fs.tempdir(), which is then ",
                );
                "the programs' alone"
            }
            "TZ" => "; without a grant it may be the name of a time zone",
            _ if name == "LANG" || name.starts_with("LC_") => {
                "; without a grant it may be the name of a locale"
            }
            _ => "; the option env or env.set sets it for the program",
        };
        refused.message.push_str(hint);
        if !why.is_empty() {
            refused.message.push_str(&format!(": {why}"));
        }
    }
    refused
}

/// Values that are names to look up, never paths: a locale, time zone or terminal that is a path is a file of the
/// script's own making.
fn needs_no_grant(name: &str, value: &[u8]) -> bool {
    let Ok(value) = std::str::from_utf8(value) else { return false };
    let made_of = |others: &str| value.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c));
    let short = value.len() <= MAX_FREE;
    match name {
        "TZ" => {
            short
                && made_of("_+-/,.:<>")
                && !value.starts_with([':', '/'])
                && !value.split('/').any(|part| part == "..")
        }
        "TERM" => short && made_of("_+-."),
        "LANG" => short && made_of("_-.@"),
        _ => is_locale_category(name) && short && made_of("_-.@"),
    }
}

fn is_locale_category(name: &str) -> bool {
    const CATEGORIES: &[&str] = &[
        "ALL",
        "COLLATE",
        "CTYPE",
        "MESSAGES",
        "MONETARY",
        "NUMERIC",
        "TIME",
        "ADDRESS",
        "IDENTIFICATION",
        "MEASUREMENT",
        "NAME",
        "PAPER",
        "TELEPHONE",
    ];
    name.strip_prefix("LC_").is_some_and(|category| CATEGORIES.contains(&category))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(scope: &str, denies: bool, name: &str) -> bool {
        let mut parsed = VariableScope::parse("process", scope).unwrap().unwrap();
        if denies {
            parsed.widen_for_denial();
        }
        parsed.matches(&Request::Action { verb: VARIABLE, name, scope: "" })
    }

    #[test]
    fn patterns_do_not_mean_what_loads_code() {
        assert!(matches("env:MYAPP_*", false, "MYAPP_LEVEL") && matches("env:A", false, "A"));
        assert!(!matches("env:MYAPP_*", false, "XMYAPP_") && !matches("env:A", false, "AB"));
        for name in ["LD_PRELOAD", "DYLD_X", "GCONV_PATH", "PATH", "BASH_ENV", "BASH_FUNC_ls%%"] {
            assert!(!matches("env:*", false, name), "{name}");
            assert!(!matches(&format!("env:{}*", &name[..2]), false, name), "{name}");
            assert!(matches(&format!("env:{name}"), false, name) && matches("env:*", true, name), "{name}");
        }
        for bad in ["env:", "env:A=B", "env:A B", "env:A\n"] {
            assert!(VariableScope::parse("process", bad).unwrap().is_err(), "{bad:?}");
        }
        assert!(VariableScope::parse("process", "env").is_none());
    }

    #[test]
    fn values_that_are_names_need_no_grant() {
        for (name, value, free) in [
            ("LANG", "de_DE.UTF-8@euro", true),
            ("LANG", "/tmp/x", false),
            ("LANG", "../x", false),
            ("LC_ALL", "C.UTF-8", true),
            ("LC_ALL", "..%2f/x", false),
            ("LC_X", "C", false),
            ("LANGUAGE", "de", false),
            ("TZ", "Europe/Berlin", true),
            ("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", true),
            ("TZ", ":/etc/shadow", false),
            ("TZ", "/etc/shadow", false),
            ("TZ", "../../../etc/shadow", false),
            ("TZ", "Europe/../../x", false),
            ("TERM", "xterm-256color", true),
            ("TERM", "../x", false),
            ("TERMINFO", "x", false),
            ("HOME", "/tmp", false),
            ("lang", "C", false),
            ("", "C", false),
        ] {
            assert_eq!(needs_no_grant(name, value.as_bytes()), free, "{name}={value}");
        }
        assert!(needs_no_grant("LANG", &[b'a'; MAX_FREE]));
        assert!(!needs_no_grant("LANG", &[b'a'; MAX_FREE + 1]));
        assert!(!needs_no_grant("LANG", b"\xff"));
    }
}
