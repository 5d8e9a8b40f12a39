//! Policies: the rules that runs share, and how they are written and matched.

use crate::scope::unescape;
use crate::secrets::hide;
use crate::{Capability, Denied, Request, Scope};
use std::fmt;
use std::path::Path;

/// A grant that cannot be read. The message names the text and the forms there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantError(String);

impl GrantError {
    /// Passwords in URLs are hidden in the message.
    pub fn new(message: impl Into<String>) -> GrantError {
        GrantError(hide(&message.into()).into_owned())
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
    pub(crate) side: Side,
}

/// Which rules a rule counts among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// It was written so.
    Both,
    /// It came with the grant of another capability, which `text` names.
    Allow,
    /// It came with the denial of another capability, which `text` names.
    Deny,
}

impl Rule {
    /// A rule of its own.
    pub fn new(capability: &'static str, scope: Option<Box<dyn Scope>>, text: impl Into<String>) -> Rule {
        Rule { capability, scope, text: text.into(), side: Side::Both }
    }

    pub(crate) fn matches(&self, capability: &str, request: &Request<'_>) -> bool {
        self.capability == capability && self.scope.as_ref().is_none_or(|scope| scope.matches(request))
    }
}

/// Reads `CAP[=SCOPE][,CAP[=SCOPE]...]`.
///
/// # Errors
/// When a capability does not exist or does not know a scope.
pub fn parse(
    text: &str,
    base: &Path,
    capabilities: &[&'static dyn Capability],
) -> Result<Vec<Rule>, GrantError> {
    let mut rules = Vec::new();
    for item in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
        let rule = parse_rule(item, base, capabilities)?;
        let (name, whole) = (rule.capability, rule.scope.is_none());
        rules.push(rule);
        let text = || item.to_string();
        // Part of a capability is not part of what it includes.
        let included = capabilities.iter().filter(|one| whole && one.name() == name);
        rules.extend(included.flat_map(|one| one.includes()).map(|capability| Rule {
            capability,
            scope: None,
            text: text(),
            side: Side::Allow,
        }));
        let scope = item.split_once('=').map(|(_, scope)| unescape(scope));
        for other in capabilities.iter().filter(|other| other.name() != name) {
            let scope = match other.denied_with(name, scope.as_deref(), base) {
                Denied::Nothing => continue,
                Denied::Whole => None,
                Denied::Part(scope) => Some(scope),
            };
            rules.push(Rule { capability: other.name(), scope, text: text(), side: Side::Deny });
        }
    }
    Ok(rules)
}

/// [`parse`] for what is taken back.
///
/// # Errors
/// As for [`parse`], and where a rule is about what needs no grant: it would take back nothing.
pub fn parse_denial(
    text: &str,
    base: &Path,
    capabilities: &[&'static dyn Capability],
) -> Result<Vec<Rule>, GrantError> {
    let rules = parse(text, base, capabilities)?;
    let free =
        |rule: &&Rule| capabilities.iter().any(|one| one.name() == rule.capability && !one.needs_grant());
    match rules.iter().find(free) {
        Some(rule) => Err(GrantError::new(format!(
            "{} needs no grant and cannot be denied: it reaches nothing outside of the run",
            rule.capability
        ))),
        None => Ok(rules),
    }
}

fn parse_rule(item: &str, base: &Path, capabilities: &[&'static dyn Capability]) -> Result<Rule, GrantError> {
    let (name, scope) = match item.split_once('=') {
        Some((name, scope)) => (name, Some(unescape(scope))),
        None => (item, None),
    };
    if item.is_empty() {
        return Err(GrantError::new(
            "a rule is empty; write CAPABILITY or CAPABILITY=SCOPE, with commas between them",
        ));
    }
    if let Some(why) = scope.as_deref().and_then(mishap) {
        return Err(GrantError::new(format!("in {}: {why}", item.escape_debug())));
    }
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
    Ok(Rule::new(capability.name(), scope, item))
}

/// What a scope has that is hardly meant: it would match nothing, so that a denial would deny nothing.
fn mishap(scope: &str) -> Option<&'static str> {
    let quoted = |mark| scope.len() > 1 && scope.starts_with(mark) && scope.ends_with(mark);
    if scope.trim_start() != scope {
        Some("a scope does not begin with a blank")
    } else if quoted('"') || quoted('\'') {
        Some("the quotes are part of the scope here; write it without them")
    } else if scope.starts_with('$') {
        Some("the shell did not replace what begins with '$'; write its value")
    } else if scope.contains(char::is_control) {
        Some("a scope has no line breaks and control characters")
    } else {
        None
    }
}

/// How a request was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// By this rule.
    Allow(String),
    /// By this rule, or because no rule allows it.
    Deny(Option<String>),
}

/// Rules, read once and shared by runs. Deny by default; a deny rule always wins.
#[derive(Debug, Default)]
pub struct Policy {
    pub(crate) allow: Vec<Rule>,
    pub(crate) deny: Vec<Rule>,
    pub(crate) all: bool,
    /// Only public addresses are reached unless a rule grants others (hosted scripts).
    pub public_only: bool,
}

impl Policy {
    pub fn allow(&mut self, mut rules: Vec<Rule>) {
        rules.retain(|rule| rule.side != Side::Deny);
        self.allow.extend(rules);
    }

    /// What a capability includes stays as it was granted itself; what leads round the denial goes with it.
    pub fn deny(&mut self, mut rules: Vec<Rule>) {
        rules.retain(|rule| rule.side != Side::Allow);
        for scope in rules.iter_mut().filter_map(|rule| rule.scope.as_mut()) {
            scope.widen_for_denial();
        }
        self.deny.extend(rules);
    }

    /// Everything that no deny rule takes back.
    pub fn allow_all(&mut self) {
        self.all = true;
    }

    /// The files that may be run because a rule names them, with that rule. Where all of `every`, the capability that
    /// runs programs, is granted there are none.
    pub fn programs(&self, every: &str) -> Vec<(&Path, &str)> {
        let whole = |name: &str| {
            self.all || self.allow.iter().any(|rule| rule.capability == name && rule.scope.is_none())
        };
        let named = self.allow.iter().filter(|rule| !whole(rule.capability) && !whole(every));
        named
            .flat_map(|rule| {
                rule.scope.iter().flat_map(|scope| scope.programs()).map(|file| (file, rule.text.as_str()))
            })
            .collect()
    }

    /// The rule that takes back all of a capability, as it was written.
    pub fn denial_of_all(&self, capability: &str) -> Option<&str> {
        let whole = |rule: &&Rule| rule.capability == capability && rule.scope.is_none();
        self.deny.iter().find(whole).map(|rule| rule.text.as_str())
    }

    /// The rules as they were written, allow and deny, for reports.
    pub fn describe(&self) -> (Vec<&str>, Vec<&str>) {
        fn written(rules: &[Rule]) -> Vec<&str> {
            rules.iter().filter(|rule| rule.side == Side::Both).map(|rule| rule.text.as_str()).collect()
        }
        let mut allow = written(&self.allow);
        if self.all {
            allow.push("all");
        }
        (allow, written(&self.deny))
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

    /// Whether an allow rule names this host itself, which lifts the guard on the names of metadata services.
    pub(crate) fn names_host(&self, capability: &str, host: &str) -> bool {
        self.allow
            .iter()
            .filter(|rule| rule.capability == capability)
            .filter_map(|rule| rule.scope.as_ref())
            .any(|scope| scope.names_host(host))
    }

    /// Whether an allow rule that was written with a scheme covers this request, and no deny rule does.
    pub(crate) fn names_scheme(&self, capability: &str, request: &Request<'_>) -> bool {
        self.denial(capability, request).is_none()
            && self.allow.iter().any(|rule| {
                rule.capability == capability
                    && rule.scope.as_ref().is_some_and(|scope| scope.names_scheme() && scope.matches(request))
            })
    }

    /// The deny rule that is about the request, as it was written.
    pub(crate) fn denial(&self, capability: &str, request: &Request<'_>) -> Option<&str> {
        self.deny.iter().find(|rule| rule.matches(capability, request)).map(|rule| rule.text.as_str())
    }

    /// What the rules say; none where none of them is about the request.
    pub(crate) fn decide(&self, capability: &str, request: &Request<'_>) -> Option<Verdict> {
        if let Some(rule) = self.denial(capability, request) {
            return Some(Verdict::Deny(Some(rule.into())));
        }
        if self.all {
            return Some(Verdict::Allow("all".into()));
        }
        let rule = self.allow.iter().find(|rule| rule.matches(capability, request))?;
        Some(Verdict::Allow(rule.text.clone()))
    }

    /// Whether the rules allow the request.
    pub fn allows(&self, capability: &str, request: &Request<'_>) -> bool {
        matches!(self.decide(capability, request), Some(Verdict::Allow(_)))
    }
}
