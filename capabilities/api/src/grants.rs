//! Grants: the rules of a run, and the one place where they are matched.

use crate::scope::{PathScope, rule_text, unescape};
use crate::secrets::hide;
use crate::{Call, Capability, Denied, Request, Scope};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock};

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
    side: Side,
}

/// Which rules a rule counts among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
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

    fn matches(&self, capability: &str, request: &Request<'_>) -> bool {
        self.capability == capability && self.scope.as_ref().is_none_or(|scope| scope.matches(request))
    }
}

/// What a person answers when asked for a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This call of the script may have it.
    Once,
    /// The run may, for as long as it lasts.
    Always,
    /// The run may, and the rule was kept for the next ones.
    Keep,
    /// The run may not.
    Deny,
    /// Nor anything else that would have to be asked for.
    DenyAll,
}

/// What a person is asked. Texts are as the script made them: who shows them has to see to control characters.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The start of a sentence.
    pub what: &'a str,
    /// What `Always` would grant.
    pub rule: &'a str,
    /// Whether the rule stands for this request alone, so that it may be kept.
    pub is_own: bool,
    /// The line of the script that asks, where it is known.
    pub line: Option<&'a str>,
    /// What the same call was allowed before, where that led here: a redirect to another host.
    pub after: Option<&'a str>,
}

/// Asks a person, on a terminal.
pub trait Asker: Send + Sync {
    fn ask(&self, question: &Question<'_>) -> Answer;

    /// Keeps one more rule, which a request needs that was answered with [`Answer::Keep`].
    fn keep(&self, rule: &str) {
        let _ = rule;
    }
}

/// What a person was asked so far.
#[derive(Default)]
struct Asked {
    /// Rules, and whether each was allowed or denied for the rest of the run.
    for_good: HashMap<String, Answered>,
    /// What calls of the script were allowed, the last ones.
    calls: VecDeque<Allowed>,
    deny_all: bool,
}

/// An answer that holds for the rest of the run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answered {
    Allowed { kept: bool },
    Denied,
}

/// What one call of the script was allowed.
struct Allowed {
    call: (u64, u64),
    capability: String,
    rule: String,
    /// Where a request by HTTP goes.
    origin: Option<String>,
    answer: Answer,
}

/// So many calls that were allowed something are known at a time. One that is forgotten is asked about anew.
const CALLS_MAX: usize = 1000;

/// Scheme, host and port of a request that may be redirected: what a person who allowed it has seen.
fn origin(request: &Request<'_>) -> Option<String> {
    match request {
        Request::Network { scheme: scheme @ ("http" | "https"), host, port, .. } => {
            Some(format!("{scheme}://{host}:{port}"))
        }
        _ => None,
    }
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
    /// What this run may not do because of what it is: see [`Grants::seal`].
    sealed: Mutex<Vec<Rule>>,
    asked: Mutex<Asked>,
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

impl Grants {
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

    pub fn ask(&mut self, asker: Box<dyn Asker>) {
        self.asker = Some(asker);
    }

    /// Gives the run something of its own, dropped with the grants. Only deny rules go before it. False
    /// where it already has something.
    pub fn set_own(&self, path: PathBuf, rule: Rule) -> bool {
        self.own.set((path, rule)).is_ok()
    }

    /// Takes back the writing of a file, or of all in a folder, from now on. `why` stands in place of a rule in messages
    /// and the audit, as a thing: "the HOME of a program".
    pub fn seal(&self, path: PathBuf, why: &str) {
        let scope = PathScope::new(false, true, path);
        self.sealed().push(Rule::new("fs", Some(Box::new(scope)), why));
    }

    /// The files that may be run because a rule names them, with that rule. Where every program is granted there are
    /// none.
    pub fn programs(&self) -> Vec<(&Path, &str)> {
        let whole = |name: &str| {
            self.all || self.allow.iter().any(|rule| rule.capability == name && rule.scope.is_none())
        };
        let named = self.allow.iter().filter(|rule| !whole(rule.capability) && !whole("process"));
        named
            .flat_map(|rule| {
                rule.scope.iter().flat_map(|scope| scope.programs()).map(|file| (file, rule.text.as_str()))
            })
            .collect()
    }

    fn sealed(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.sealed.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
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
    pub fn denies_in(&self, capability: &str, folder: &Path) -> Option<String> {
        let about = |rule: &&Rule| {
            rule.capability == capability && rule.scope.as_ref().is_some_and(|scope| scope.lies_in(folder))
        };
        self.deny.iter().chain(&*self.sealed()).find(about).map(|rule| rule.text.clone())
    }

    /// Whether the capability must be linked: some request of it could be allowed, or only the capability can tell which
    /// rule denies one.
    pub fn reaches(&self, capability: &str) -> bool {
        let of_it = |rules: &[Rule]| rules.iter().any(|rule| rule.capability == capability);
        let ruled = of_it(&self.allow) || of_it(&self.deny);
        (self.all || self.asker.is_some() || ruled) && self.denial_of_all(capability).is_none()
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

    /// Whether the rules allow the request, without asking anybody.
    pub fn allows(&self, capability: &str, request: &Request<'_>) -> bool {
        matches!(self.decide_unasked(capability, request), Some(Verdict::Allow(_)))
    }

    /// Whether a deny rule is about the request, for what needs no grant.
    pub fn denies(&self, capability: &str, request: &Request<'_>) -> bool {
        self.denial(capability, request).is_some()
    }

    /// The deny rule that is about the request, as it was written.
    pub fn denial(&self, capability: &str, request: &Request<'_>) -> Option<String> {
        let text = |rules: &[Rule]| {
            rules.iter().find(|rule| rule.matches(capability, request)).map(|rule| rule.text.clone())
        };
        text(&self.deny).or_else(|| text(&self.sealed()))
    }

    /// Whether an allow rule with a scope covers the request, and no deny rule does: what neither a whole capability
    /// nor a grant of everything includes.
    pub fn covers_by_scope(&self, capability: &str, request: &Request<'_>) -> bool {
        !self.denies(capability, request)
            && self.allow.iter().any(|rule| rule.scope.is_some() && rule.matches(capability, request))
    }

    /// Whether `path` is where a rule that allows the request begins: the directory that was granted itself.
    pub fn begins_at(&self, capability: &str, request: &Request<'_>, path: &Path) -> bool {
        let own = self.own.get().map(|(_, rule)| rule);
        self.allow.iter().chain(own).any(|rule| {
            rule.matches(capability, request) && rule.scope.as_ref().is_some_and(|scope| scope.lies_in(path))
        })
    }

    /// Where below `root` the rules of a capability begin, as paths below it: there rights differ from those of `root`.
    pub fn borders(&self, capability: &str, root: &Path) -> Vec<PathBuf> {
        let sealed = self.sealed();
        let rules =
            self.allow.iter().chain(&self.deny).chain(&*sealed).filter(|rule| rule.capability == capability);
        let mut borders: Vec<PathBuf> = rules
            .filter_map(|rule| rule.scope.as_ref())
            .flat_map(|scope| scope.places())
            .filter_map(|place| place.strip_prefix(root).ok().map(Path::to_path_buf))
            .collect();
        borders.sort_unstable();
        borders.dedup();
        borders
    }

    pub(crate) fn decide(&self, call: Option<&Call>, capability: &str, request: &Request<'_>) -> Verdict {
        self.decide_unasked(capability, request).unwrap_or_else(|| self.ask_person(call, capability, request))
    }

    /// What the rules say; none where only a person could still allow it.
    pub(crate) fn decide_unasked(&self, capability: &str, request: &Request<'_>) -> Option<Verdict> {
        if let Some(rule) = self.denial(capability, request) {
            return Some(Verdict::Deny(Some(rule)));
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
        !self.denies(capability, request)
            && self.allow.iter().any(|rule| {
                rule.capability == capability
                    && rule.scope.as_ref().is_some_and(|scope| scope.names_scheme() && scope.matches(request))
            })
    }

    /// Whether somebody is asked, who wants to know which line of the script asks.
    pub fn asks(&self) -> bool {
        self.asker.is_some()
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Asks once for each rule and call of the script; what was denied stays denied. The lock is held while a
    /// person thinks, so that there is one question at a time.
    fn ask_person(&self, call: Option<&Call>, capability: &str, request: &Request<'_>) -> Verdict {
        let Some(asker) = &self.asker else { return Verdict::Deny(None) };
        let rule = rule_text(capability, request.scope().as_deref());
        let mut asked = self.asked();
        let answer = match asked.for_good.get(&rule) {
            Some(Answered::Denied) => return Verdict::Deny(None),
            Some(Answered::Allowed { kept }) => {
                if *kept {
                    Answer::Keep
                } else {
                    Answer::Always
                }
            }
            None => match asked.of_call(call, capability, &rule, request) {
                // What belongs to a request that was allowed is not asked anew, and is kept where that was.
                Some(answer) => {
                    if answer == Answer::Keep && request.has_own_scope() {
                        asker.keep(&rule);
                    }
                    answer
                }
                None if asked.deny_all => return Verdict::Deny(None),
                None => {
                    let what = hide(&request.describe(capability)).into_owned();
                    let line = call.map(|call| call.line.as_str()).filter(|line| !line.is_empty());
                    let after = asked.led_from(call, capability, request);
                    let is_own = request.has_own_scope();
                    asker.ask(&Question { what: &what, rule: &rule, is_own, line, after })
                }
            },
        };
        match answer {
            Answer::Once => {}
            Answer::Always | Answer::Keep => {
                let kept = answer == Answer::Keep;
                asked.for_good.insert(rule.clone(), Answered::Allowed { kept });
            }
            Answer::Deny => {
                asked.for_good.insert(rule, Answered::Denied);
                return Verdict::Deny(None);
            }
            Answer::DenyAll => {
                asked.deny_all = true;
                return Verdict::Deny(None);
            }
        }
        asked.allow(call, capability, &rule, request, answer);
        Verdict::Allow(rule)
    }
}

impl Asked {
    /// What the call was answered for this rule, or for another request to the same place: redirects, with what they
    /// change of path and method, are part of the request that was asked for.
    fn of_call(
        &self,
        call: Option<&Call>,
        capability: &str,
        rule: &str,
        request: &Request<'_>,
    ) -> Option<Answer> {
        let origin = origin(request);
        let covers = |allowed: &&Allowed| {
            allowed.rule == rule
                || (allowed.capability == capability && origin.is_some() && allowed.origin == origin)
        };
        self.of(call).find(covers).map(|allowed| allowed.answer)
    }

    /// The rule of the request that led the call to another place.
    fn led_from(&self, call: Option<&Call>, capability: &str, request: &Request<'_>) -> Option<&str> {
        origin(request)?;
        let led = |allowed: &&Allowed| allowed.capability == capability && allowed.origin.is_some();
        self.of(call).find(led).map(|allowed| allowed.rule.as_str())
    }

    fn of(&self, call: Option<&Call>) -> impl Iterator<Item = &Allowed> {
        let number = call.map(|call| call.number);
        self.calls.iter().rev().filter(move |allowed| Some(allowed.call) == number)
    }

    fn allow(
        &mut self,
        call: Option<&Call>,
        capability: &str,
        rule: &str,
        request: &Request<'_>,
        answer: Answer,
    ) {
        let Some(call) = call.map(|call| call.number) else { return };
        if self.calls.iter().any(|allowed| allowed.call == call && allowed.rule == rule) {
            return;
        }
        if self.calls.len() >= CALLS_MAX {
            self.calls.pop_front();
        }
        let (capability, rule) = (capability.to_string(), rule.to_string());
        self.calls.push_back(Allowed { call, capability, rule, origin: origin(request), answer });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Answers in order, and remembers what it kept.
    struct Person {
        answers: Mutex<VecDeque<Answer>>,
        kept: Arc<Mutex<Vec<String>>>,
    }

    impl Asker for Person {
        fn ask(&self, _: &Question<'_>) -> Answer {
            self.answers.lock().unwrap().pop_front().expect("nothing more is asked")
        }

        fn keep(&self, rule: &str) {
            self.kept.lock().unwrap().push(rule.into());
        }
    }

    fn asking(answers: &[Answer]) -> (Grants, Arc<Mutex<Vec<String>>>) {
        let kept = Arc::default();
        let mut grants = Grants::default();
        let answers = Mutex::new(answers.iter().copied().collect());
        grants.ask(Box::new(Person { answers, kept: Arc::clone(&kept) }));
        (grants, kept)
    }

    fn get<'a>(scheme: &'a str, host: &'a str, path: &'a str) -> Request<'a> {
        Request::Network { scheme, method: Some("GET"), host, port: 80, path: Some(path), address: None }
    }

    fn allows(grants: &Grants, number: (u64, u64), request: &Request<'_>) -> bool {
        let call = Call { number, line: "x.lua:1".into() };
        matches!(grants.decide(Some(&call), "http", request), Verdict::Allow(_))
    }

    #[test]
    fn an_answer_is_for_one_call_of_one_instance() {
        let (grants, _) = asking(&[Answer::Once, Answer::Once, Answer::Once, Answer::Deny]);
        let a = get("http", "a", "/x");
        // The same call again, another call, the same number in another instance, and no call at all.
        assert!(allows(&grants, (1, 1), &a) && allows(&grants, (1, 1), &a));
        assert!(allows(&grants, (1, 2), &a) && allows(&grants, (1, 1), &a));
        assert!(allows(&grants, (2, 1), &a));
        assert_eq!(grants.decide(None, "http", &a), Verdict::Deny(None));
    }

    #[test]
    fn redirects_within_a_place_are_part_of_a_request() {
        let (grants, kept) = asking(&[Answer::Keep, Answer::Once, Answer::DenyAll]);
        assert!(allows(&grants, (1, 1), &get("http", "a", "/x")));
        assert!(allows(&grants, (1, 1), &get("http", "a", "/y")));
        assert_eq!(*kept.lock().unwrap(), ["http=GET:http://a/y"]);
        // Now by its rule, in any call; and what follows from it.
        assert!(
            allows(&grants, (1, 2), &get("http", "a", "/y"))
                && allows(&grants, (1, 2), &get("http", "a", "/z"))
        );
        // Another place, another scheme, another call that was allowed nothing there.
        assert!(allows(&grants, (1, 1), &get("http", "b", "/y")));
        assert!(!allows(&grants, (1, 1), &get("https", "a", "/y")));
        assert!(!allows(&grants, (1, 3), &get("http", "a", "/w")));
        assert!(allows(&grants, (1, 3), &get("http", "a", "/x")));
    }

    #[test]
    fn calls_that_are_remembered_are_bounded() {
        let (grants, _) = asking(&[Answer::Always]);
        for number in 0..2 * CALLS_MAX as u64 {
            assert!(allows(&grants, (1, number), &get("http", "a", "/x")));
        }
        assert_eq!(grants.asked().calls.len(), CALLS_MAX);
    }
}
