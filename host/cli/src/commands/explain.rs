//! `assay explain`: what a script needs, from its text alone.
//!
//! Lua's own compiler in the guest says whether the text is Lua; then it is gone through, with the modules that it requires.
//! `http.get("https://...")` gives a scope. What only the run knows (computed arguments and names, texts that are
//! compiled) is listed as what cannot be told, with its line; `--learn` sees it.

mod builtins;
mod call;
mod lexer;
mod parser;
mod syntax;
#[cfg(test)]
mod tests;
mod walk;

use crate::prepare::{directory_of, module_directories, read_script};
use crate::{ending, print, say};
use anyhow::Result;
use assay_capabilities::builtins::NEEDS;
use assay_capability_api::scope::{escape, shell_word};
use assay_capability_api::secrets::hide;
use assay_capability_api::{Capability, Limits, Literal, Need};
use assay_capability_modules::{Directories, Found, Origin};
use assay_runner::{Ended, RunOutcome, Runner, Script};
use builtins::Guest;
use call::{Needed, Value, needed};
use clap::{Args, ValueHint};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  assay explain report.lua                          what to grant, and what cannot be told
  assay explain --json report.lua                   the same for a program")]
pub(crate) struct Explain {
    /// The script
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// One use of a capability, or of something that may lead to any.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Use {
    /// None where it may be any.
    capability: Option<&'static str>,
    function: String,
    asked: Asked,
    place: SourceLine,
}

/// A file as people see it, and a line.
type SourceLine = (String, usize);

/// How much of a capability a use needs.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
enum Asked {
    Scope(String),
    /// Whatever is granted of it.
    Any,
    All,
    /// The source does not tell, for this reason.
    Undecided(String),
}

impl Asked {
    fn scope(&self) -> Option<&str> {
        match self {
            Asked::Scope(scope) => Some(scope),
            _ => None,
        }
    }

    /// Why the source does not tell.
    fn why(&self) -> Option<&str> {
        match self {
            Asked::Undecided(why) => Some(why),
            _ => None,
        }
    }

    fn describe(&self) -> String {
        match self {
            Asked::Scope(scope) => scope.escape_debug().to_string(),
            Asked::Any => "any grant of it".into(),
            Asked::All => "all of it".into(),
            Asked::Undecided(why) => format!("cannot tell: {why}"),
        }
    }
}

pub(crate) fn explain(args: &Explain) -> Result<u8> {
    let script = read_script(&args.file)?;
    let file = args.file.display().to_string();
    let directories = module_directories(&directory_of(&args.file), true);
    let guest = Guest::new()?;
    let found = match Findings::of(&guest, directories, &script) {
        Ok(found) => found,
        // As `assay run` ends it.
        Err(outcome) => {
            say(&ending::explain(&outcome, &Limits::default()).unwrap_or_default());
            return Ok(ending::verdict(&outcome).0);
        }
    };
    let text = if args.json { found.as_json(&guest) } else { found.as_text(&guest, &file) };
    print(text.as_bytes())
}

#[derive(Default)]
struct Findings {
    uses: BTreeSet<Use>,
    /// Modules by name and where they come from; none is not found.
    modules: BTreeMap<String, Option<Origin>>,
    /// Modules that are still to be gone through.
    pending: Vec<Found>,
    directories: Directories,
    /// What is called or looked into and no builtin, and where.
    missing: BTreeSet<(String, SourceLine)>,
    /// The globals that the script makes.
    assigned: BTreeSet<String>,
}

impl Findings {
    /// Goes through a script and what it requires. How it ended where one of them does not compile.
    fn of(
        guest: &Guest,
        directories: Directories,
        script: &Script,
    ) -> std::result::Result<Findings, Box<RunOutcome>> {
        let mut found = Findings { directories, ..Findings::default() };
        found.chunk(guest, script)?;
        while let Some(module) = found.pending.pop() {
            let chunk = match module.origin {
                Origin::Builtin => format!("={}", module.path),
                Origin::Project | Origin::Global => format!("@{}", module.path),
            };
            found.chunk(guest, &Script::named(chunk, module.path, module.text))?;
        }
        Ok(found)
    }

    fn chunk(&mut self, guest: &Guest, script: &Script) -> std::result::Result<(), Box<RunOutcome>> {
        let path = script.arg0();
        let outcome = guest.compile(script);
        if !matches!(outcome.ended, Ended::Returned(_)) {
            return Err(Box::new(outcome));
        }
        let tokens = lexer::tokens(script.source());
        match tokens.as_deref().and_then(parser::chunk) {
            Some(chunk) => walk::walk(chunk, path, guest, self),
            None => self.unseen("-", "the text cannot be gone through", (path, 1)),
        }
        Ok(())
    }

    /// Something may lead to any builtin.
    fn unseen(&mut self, function: &str, why: &str, place: (&str, usize)) {
        self.add(None, function, Asked::Undecided(why.into()), place);
    }

    /// A builtin goes where it is not followed: what it will be called with is not known.
    fn escaped(&mut self, path: &str, how: &str, place: (&str, usize)) {
        let mut is_known = false;
        for (capability, need) in needs(path).into_iter().filter(|(_, need)| says_what(need)) {
            is_known = true;
            let asked = match need.literal {
                Literal::Always(scope) => Asked::Scope(scope.into()),
                Literal::Whole => Asked::All,
                _ => Asked::Undecided(how.into()),
            };
            self.add(Some(capability.name()), path, asked, place);
        }
        if !is_known {
            self.unseen(path, how, place);
        }
    }

    /// A builtin is called.
    fn used(&mut self, function: &str, arguments: &[Value], place: (&str, usize)) {
        for (capability, need) in needs(function) {
            // What cannot be granted, such as the path "", is wrong in the script.
            let known = |scope: &String| capability.scope(scope, Path::new("/")).is_ok();
            let asked = match needed(need, arguments) {
                Needed::Scopes(scopes) if !scopes.iter().all(known) => {
                    vec![Asked::Undecided(format!("its argument {} tells no scope", need.argument + 1))]
                }
                Needed::Nothing => continue,
                Needed::Scopes(scopes) => {
                    scopes.iter().map(|scope| Asked::Scope(hide(scope).into_owned())).collect()
                }
                Needed::Any => vec![Asked::Any],
                Needed::Unknown(why) if !capability.scopes().is_empty() => vec![Asked::Undecided(why)],
                Needed::Unknown(_) | Needed::Whole => vec![Asked::All],
            };
            asked.into_iter().for_each(|asked| self.add(Some(capability.name()), function, asked, place));
        }
    }

    fn add(
        &mut self,
        capability: Option<&'static str>,
        function: &str,
        asked: Asked,
        (path, line): (&str, usize),
    ) {
        let place = (path.to_string(), line);
        self.uses.insert(Use { capability, function: function.into(), asked, place });
    }

    /// A name stands for no builtin.
    fn missing(&mut self, name: &str, (path, line): (&str, usize)) {
        self.missing.insert((name.into(), (path.into(), line)));
    }

    /// A module is required.
    fn requires(&mut self, name: &str, guest: &Guest, place: (&str, usize)) {
        if guest.loaded(name).is_some() {
            self.modules.insert(name.into(), Some(Origin::Builtin));
            return;
        }
        if self.modules.get(name).is_some_and(Option::is_some) {
            return;
        }
        let found = self.directories.find(name).ok();
        self.modules.insert(hide(name).into_owned(), found.as_ref().map(|found| found.origin));
        match found {
            Some(found) => self.pending.push(found),
            None => self.unseen("require", &format!("the module {} is not found", hide(name)), place),
        }
    }

    /// What to grant: scopes where every use has one, the whole capability elsewhere.
    fn grants(&self) -> Vec<String> {
        let mut all: BTreeMap<&str, Vec<&Asked>> = BTreeMap::new();
        for one in &self.uses {
            if let Some(capability) = one.capability {
                all.entry(capability).or_default().push(&one.asked);
            }
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

    /// The capabilities that are granted whole because no narrower scope is known.
    fn undecided(&self) -> BTreeSet<&'static str> {
        let whole = |one: &&Use| one.asked == Asked::All;
        let having = |wanted: &dyn Fn(&&Use) -> bool| -> BTreeSet<&'static str> {
            self.uses.iter().filter(wanted).filter_map(|one| one.capability).collect()
        };
        &having(&|one| one.asked.why().is_some()) - &having(&whole)
    }

    /// Whether all that the script needs is known.
    fn is_complete(&self) -> bool {
        self.uses.iter().all(|one| one.asked.why().is_none())
    }

    /// Names that nothing makes, where each stands, and what may have been meant.
    fn unknown<'f>(
        &'f self,
        guest: &'f Guest,
    ) -> impl Iterator<Item = (&'f str, &'f SourceLine, Option<&'f str>)> {
        // What is not seen may make any global.
        let may_make = self.uses.iter().any(|one| one.capability.is_none());
        self.missing
            .iter()
            .filter(move |(name, _)| name.contains('.') || !(may_make || self.assigned.contains(name)))
            .map(|(name, place)| (name.as_str(), place, guest.near(name)))
    }

    fn as_json(&self, guest: &Guest) -> String {
        let uses: Vec<Json> = self
            .uses
            .iter()
            .map(|one| {
                json!({ "capability": one.capability, "function": one.function, "scope": one.asked.scope(),
                        "cannot_tell": one.asked.why(), "place": shown(&one.place) })
            })
            .collect();
        let modules: BTreeMap<_, _> =
            self.modules.iter().map(|(name, origin)| (name, origin.map(Origin::name))).collect();
        let unknown: Vec<Json> = self
            .unknown(guest)
            .map(|(name, place, meant)| json!({ "name": name, "place": shown(place), "meant": meant }))
            .collect();
        let found = json!({
            "uses": uses,
            "modules": modules,
            "unknown": unknown,
            "allow": self.grants(),
            "undecided": self.undecided(),
            "complete": self.is_complete(),
        });
        format!("{found:#}\n")
    }

    fn as_text(&self, guest: &Guest, file: &str) -> String {
        let mut text = String::new();
        let width = self.uses.iter().map(|one| one.function.len()).max().unwrap_or(0);
        // What may be any comes last.
        let (known, any): (Vec<&Use>, Vec<&Use>) = self.uses.iter().partition(|one| one.capability.is_some());
        for one in known.into_iter().chain(any) {
            let (capability, scope) = (one.capability.unwrap_or("any"), one.asked.describe());
            let place = shown(&one.place);
            let _ = writeln!(text, "{capability:<8} {:<width$}  {scope:<40} {place}", one.function);
        }
        for (name, origin) in &self.modules {
            let _ = writeln!(text, "module   {name}  {}", origin.map_or("not found", Origin::name));
        }
        for (name, place, meant) in self.unknown(guest) {
            let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
            let _ = writeln!(text, "unknown  {name}: nothing has this name{meant}  {}", shown(place));
        }
        let (grants, file) = (self.grants(), shell_word(file));
        if !grants.is_empty() {
            let _ = writeln!(text, "\nassay run --allow {} {file}", shell_word(&grants.join(",")));
        } else if self.is_complete() {
            let _ = writeln!(text, "{file} needs no grants.");
        }
        text.push_str(&self.advice(&file));
        text
    }

    /// What to do where not all is known.
    fn advice(&self, file: &str) -> String {
        if self.is_complete() {
            return String::new();
        }
        let undecided = Vec::from_iter(self.undecided());
        let granted = match undecided.is_empty() {
            true => String::new(),
            false => format!("Of {} more is granted so than the script may need. ", undecided.join(", ")),
        };
        let missing = match self.uses.iter().any(|one| one.capability.is_none()) {
            true => "Where it says any, the script may need more than is listed. ",
            false => "",
        };
        format!(
            "\n{granted}{missing}What it needs is written by a run that is allowed everything:\n\n\
             assay run --learn grants.toml --allow-all {file}\n"
        )
    }
}

fn shown((path, line): &SourceLine) -> String {
    format!("{path}:{line}")
}

/// Whether a need is one of the function itself, and not of some calls of it.
fn says_what(need: &Need) -> bool {
    !matches!(need.literal, Literal::Free | Literal::Option(..) | Literal::With(..))
}

/// Whether a builtin needs a grant.
fn is_needy(path: &str) -> bool {
    needs(path).iter().any(|(_, need)| says_what(need))
}

/// What every function is said to need by those who own it.
fn declared() -> impl Iterator<Item = (&'static dyn Capability, &'static Need)> {
    let all = Runner::capabilities();
    let owned = all.iter().flat_map(|owner| owner.needs().iter().map(move |need| (Some(owner.name()), need)));
    let others = NEEDS.iter().map(|need| (None, need));
    owned.chain(others).filter_map(move |(owner, need)| {
        let name = need.capability.or(owner)?;
        let capability = all.iter().find(|capability| capability.name() == name)?;
        Some((*capability, need))
    })
}

/// The capabilities that a function needs, and how its arguments say what of them.
fn needs(function: &str) -> Vec<(&'static dyn Capability, &'static Need)> {
    let covers = |need: &Need| match need.function.strip_suffix('*') {
        Some(library) => function.starts_with(library) || Some(function) == library.strip_suffix('.'),
        None => need.function == function,
    };
    let covering: Vec<_> = declared().filter(|(_, need)| covers(need)).collect();
    let is_named = |capability: &dyn Capability| {
        let mut of_it = covering.iter().filter(|(other, _)| other.name() == capability.name());
        of_it.any(|(_, need)| need.function == function)
    };
    let counts = |(capability, need): &(&dyn Capability, &Need)| {
        let always = matches!(need.literal, Literal::Option(..));
        always || need.function == function || !is_named(*capability)
    };
    covering.iter().copied().filter(|one| counts(one)).collect()
}
