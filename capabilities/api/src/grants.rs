//! Grants: the rules of a run, and the one place where they are matched.

use crate::scope::{escape, unescape};
use crate::{Capability, Request, Scope};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// A grant that cannot be read. The message names the text and the forms there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantError(String);

impl GrantError {
    pub fn new(message: impl Into<String>) -> GrantError {
        GrantError(message.into())
    }
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GrantError {}

/// `CAP` or `CAP=SCOPE`.
#[derive(Debug)]
pub struct Rule {
    pub capability: &'static str,
    /// None: the whole capability.
    pub scope: Option<Box<dyn Scope>>,
    /// As it was written, for messages and the audit.
    pub text: String,
    /// It came with a grant of another capability, which `text` names.
    pub implied: bool,
}

impl Rule {
    fn matches(&self, capability: &str, request: &Request<'_>) -> bool {
        self.capability == capability && self.scope.as_ref().is_none_or(|scope| scope.matches(request))
    }
}

/// What a person answers when asked for a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Once,
    Always,
    Deny,
}

/// Asks a person, on a terminal.
pub trait Asker: Send + Sync {
    /// `what` is the start of a sentence, `rule` what `Always` would grant.
    fn ask(&self, what: &str, rule: &str) -> Answer;
}

/// The rules of a run. Deny by default; a deny rule always wins.
#[derive(Default)]
pub struct Grants {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
    all: bool,
    /// Only public addresses are reached unless a rule grants others (hosted scripts).
    pub public_only: bool,
    asker: Option<Box<dyn Asker>>,
    /// What the run has of its own and needs no grant for: its temporary folder.
    own: OnceLock<(PathBuf, Rule)>,
    /// Capabilities as a whole, or `CAP=SCOPE`, that a person allowed for the rest of the run.
    answered: Mutex<Vec<(String, Answer)>>,
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grants")
            .field("allow", &self.allow)
            .field("deny", &self.deny)
            .field("all", &self.all)
            .finish()
    }
}

/// Reads `CAP[=SCOPE][,CAP[=SCOPE]...]`.
///
/// # Errors
/// When a capability does not exist or a scope is none of its own.
pub fn parse(
    text: &str,
    base: &Path,
    capabilities: &[&'static dyn Capability],
) -> Result<Vec<Rule>, GrantError> {
    let mut rules = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let rule = parse_rule(item, base, capabilities)?;
        let capability = capabilities.iter().find(|capability| capability.name() == rule.capability);
        // Part of a capability is not part of what it includes.
        let included = capability.filter(|_| rule.scope.is_none()).map_or(&[][..], |it| it.includes());
        rules.push(rule);
        rules.extend(included.iter().map(|capability| Rule {
            capability,
            scope: None,
            text: item.to_string(),
            implied: true,
        }));
    }
    Ok(rules)
}

fn parse_rule(item: &str, base: &Path, capabilities: &[&'static dyn Capability]) -> Result<Rule, GrantError> {
    let (name, scope) = match item.split_once('=') {
        Some((name, scope)) => (name, Some(unescape(scope))),
        None => (item, None),
    };
    let Some(capability) = capabilities.iter().find(|capability| capability.name() == name) else {
        let names: Vec<_> = capabilities.iter().map(|capability| capability.name()).collect();
        return Err(GrantError::new(format!(
            "there is no capability '{name}'; there are {}",
            names.join(", ")
        )));
    };
    let scope = scope
        .map(|scope| capability.scope(&scope, base))
        .transpose()
        .map_err(|error| GrantError::new(format!("in '{item}': {error}")))?
        .or_else(|| capability.bare());
    Ok(Rule { capability: capability.name(), scope, text: item.to_string(), implied: false })
}

/// How a request was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// By this rule.
    Allow(String),
    /// By this rule, or because no rule allows it.
    Deny(Option<String>),
}

impl Grants {
    pub fn allow(&mut self, rules: Vec<Rule>) {
        self.allow.extend(rules);
    }

    /// What a capability includes stays as it was granted itself.
    pub fn deny(&mut self, mut rules: Vec<Rule>) {
        rules.retain(|rule| !rule.implied);
        for scope in rules.iter_mut().filter_map(|rule| rule.scope.as_mut()) {
            scope.widen_for_denial();
        }
        self.deny.extend(rules);
    }

    /// Everything that no deny rule takes back.
    pub fn allow_all(&mut self) {
        self.all = true;
    }

    pub fn ask(&mut self, asker: Box<dyn Asker>) {
        self.asker = Some(asker);
    }

    /// Gives the run something of its own, dropped with the grants. Only deny rules go before it. False
    /// where it already has something.
    pub fn set_own(&self, path: PathBuf, rule: Rule) -> bool {
        self.own.set((path, rule)).is_ok()
    }

    /// The path of what is the run's own.
    pub fn own_path(&self) -> Option<PathBuf> {
        self.own.get().map(|(path, _)| path.clone())
    }

    /// Whether the request is about what is the run's own.
    pub(crate) fn is_own(&self, capability: &str, request: &Request<'_>) -> bool {
        self.own.get().is_some_and(|(_, rule)| rule.matches(capability, request))
    }

    /// Whether the request is allowed by a rule whose own path lies in `root`, by a rule for the whole
    /// capability, or by a person who was asked about it: by one who knew what lies there.
    pub fn anchored(&self, capability: &str, request: &Request<'_>, root: &Path) -> bool {
        let matching = || self.allow.iter().filter(|rule| rule.matches(capability, request));
        self.all
            || matching().any(|rule| rule.scope.as_ref().is_none_or(|scope| scope.lies_in(root)))
            || (self.asker.is_some() && matching().next().is_none())
    }

    /// A deny rule about something under `folder`, by its text: what is done to the folder as a whole
    /// would be done to that too.
    pub fn denies_in(&self, capability: &str, folder: &Path) -> Option<&str> {
        self.deny
            .iter()
            .find(|rule| {
                rule.capability == capability
                    && rule.scope.as_ref().is_some_and(|scope| scope.lies_in(folder))
            })
            .map(|rule| rule.text.as_str())
    }

    /// Whether the capability must be linked: some request of it could be allowed.
    pub fn reaches(&self, capability: &str) -> bool {
        let denied = self.deny.iter().any(|rule| rule.capability == capability && rule.scope.is_none());
        let allowed =
            self.all || self.asker.is_some() || self.allow.iter().any(|rule| rule.capability == capability);
        allowed && !denied
    }

    /// The rules as they were written, allow and deny, for reports.
    pub fn describe(&self) -> (Vec<&str>, Vec<&str>) {
        let own = self.allow.iter().filter(|rule| !rule.implied);
        let mut allow: Vec<&str> = own.map(|rule| rule.text.as_str()).collect();
        if self.all {
            allow.push("all");
        }
        (allow, self.deny.iter().map(|rule| rule.text.as_str()).collect())
    }

    fn denied(&self, capability: &str, request: &Request<'_>) -> Option<&Rule> {
        self.deny.iter().find(|rule| rule.matches(capability, request))
    }

    pub(crate) fn decide(&self, capability: &str, request: &Request<'_>) -> Verdict {
        self.decide_unasked(capability, request).unwrap_or_else(|| self.ask_person(capability, request))
    }

    /// What the rules say; none where only a person could still allow it.
    pub(crate) fn decide_unasked(&self, capability: &str, request: &Request<'_>) -> Option<Verdict> {
        if let Some(rule) = self.denied(capability, request) {
            return Some(Verdict::Deny(Some(rule.text.clone())));
        }
        if self.all {
            return Some(Verdict::Allow("all".into()));
        }
        if let Some((_, rule)) = self.own.get().filter(|(_, rule)| rule.matches(capability, request)) {
            return Some(Verdict::Allow(rule.text.clone()));
        }
        let rule = self.allow.iter().find(|rule| rule.matches(capability, request))?;
        Some(Verdict::Allow(rule.text.clone()))
    }

    /// Like [`Grants::decide`] without asking, for a request of which only the name is known yet: a rule
    /// about addresses may still decide.
    pub(crate) fn depends_on_address(&self, capability: &str, request: &Request<'_>) -> bool {
        let Request::Network { scheme, method, host, port, path, .. } = *request else { return false };
        // Some address that a rule's range covers would match.
        self.allow.iter().any(|rule| {
            rule.capability == capability
                && rule.scope.as_ref().is_some_and(|scope| {
                    scope.sample_address().is_some_and(|address| {
                        scope.matches(&Request::Network {
                            scheme,
                            method,
                            host,
                            port,
                            path,
                            address: Some(address),
                        })
                    })
                })
        })
    }

    /// Whether an allow rule names this address itself, which lifts the guard on special addresses.
    pub(crate) fn names_address(&self, capability: &str, address: std::net::IpAddr) -> bool {
        self.allow
            .iter()
            .filter(|rule| rule.capability == capability)
            .filter_map(|rule| rule.scope.as_ref())
            .any(|scope| scope.names_address(address))
    }

    /// Whether an allow rule that was written with a scheme covers this request, and no deny rule does.
    pub(crate) fn names_scheme(&self, capability: &str, request: &Request<'_>) -> bool {
        self.denied(capability, request).is_none()
            && self.allow.iter().any(|rule| {
                rule.capability == capability
                    && rule.scope.as_ref().is_some_and(|scope| scope.names_scheme() && scope.matches(request))
            })
    }

    fn ask_person(&self, capability: &str, request: &Request<'_>) -> Verdict {
        let Some(asker) = &self.asker else { return Verdict::Deny(None) };
        let rule = match request.scope() {
            Some(scope) => format!("{capability}={}", escape(&scope)),
            None => capability.to_string(),
        };
        let mut answered = self.answered.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let answer = match answered.iter().find(|(text, _)| *text == rule) {
            Some((_, answer)) => *answer,
            None => {
                let answer = asker.ask(&request.describe(capability), &rule);
                if answer == Answer::Always {
                    answered.push((rule.clone(), answer));
                }
                answer
            }
        };
        match answer {
            Answer::Once | Answer::Always => Verdict::Allow(rule),
            Answer::Deny => Verdict::Deny(None),
        }
    }
}
