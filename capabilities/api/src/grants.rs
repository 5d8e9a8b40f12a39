//! Grants: what a run may do by its policy, by what is its own, and by the answers of a person.

use crate::policy::Verdict;
use crate::scope::{PathScope, rule_text};
use crate::secrets::hide;
use crate::{Call, Policy, Request, Rule, lock};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

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

/// What a person is asked. Texts are as the script made them: the code that shows them must replace control characters.
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

/// So many calls that were allowed something are known at a time. One that is forgotten is asked about again.
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

/// A file of the host's own that the script may not change, wherever a grant would let it.
struct Withheld {
    /// What the file system knows it by, whatever its name.
    device: u64,
    inode: u64,
    path: PathBuf,
    /// In place of a rule, as a thing: "the host, which writes the audit there".
    why: String,
}

/// What a run may do: a policy, and what changes while the run lasts.
#[derive(Default)]
pub struct Grants {
    policy: Arc<Policy>,
    asker: Option<Box<dyn Asker>>,
    /// What the run has of its own and needs no grant for: its temporary directory.
    own: OnceLock<(PathBuf, Rule)>,
    /// What this run may not do because of what it is: see [`Grants::seal`].
    sealed: Mutex<Vec<Rule>>,
    withheld: OnceLock<Mutex<Vec<Withheld>>>,
    asked: Mutex<Asked>,
}

impl std::ops::Deref for Grants {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.policy
    }
}

impl From<Arc<Policy>> for Grants {
    fn from(policy: Arc<Policy>) -> Grants {
        Grants { policy, ..Grants::default() }
    }
}

impl From<Policy> for Grants {
    fn from(policy: Policy) -> Grants {
        Arc::new(policy).into()
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.policy.fmt(f)
    }
}

impl Grants {
    pub fn ask(&mut self, asker: Box<dyn Asker>) {
        self.asker = Some(asker);
    }

    /// Gives the run something of its own, dropped with the grants. Only deny rules go before it. False
    /// where it already has something.
    pub fn set_own(&self, path: PathBuf, rule: Rule) -> bool {
        self.own.set((path, rule)).is_ok()
    }

    /// Takes the writing of a file, or of all in a directory, back from `capability`, from now on. `why` stands in place of a
    /// rule in messages and the audit, as a thing: "the HOME of a program".
    pub fn seal(&self, capability: &'static str, path: PathBuf, why: &str) {
        let scope = PathScope::new(false, true, path);
        self.sealed().push(Rule::new(capability, Some(Box::new(scope)), why));
    }

    /// Keeps the script from changing a regular file, by any name that it has: from writing to it, emptying, removing,
    /// replacing or moving it. `path` is where it really is, `why` as in [`Grants::seal`].
    pub fn withhold(&self, file: &File, path: PathBuf, why: impl Into<String>) {
        let Some(about) = file.metadata().ok().filter(|about| about.is_file()) else { return };
        let withheld = Withheld { device: about.dev(), inode: about.ino(), path, why: why.into() };
        let all = self.withheld.get_or_init(Mutex::default);
        lock(all).push(withheld);
    }

    /// Whether some file is withheld.
    pub fn withholds(&self) -> bool {
        self.withheld.get().is_some()
    }

    /// Why the file with this device, whose type differs from system to system, and inode may not be changed.
    pub fn withheld(&self, device: impl TryInto<u64>, inode: u64) -> Option<String> {
        let device = device.try_into().ok()?;
        self.find_withheld(|one| (one.device, one.inode) == (device, inode))
    }

    /// Why a directory may not be moved or removed as a whole: a file lies in it that may not be changed.
    pub fn withheld_in(&self, directory: &Path) -> Option<String> {
        self.find_withheld(|one| one.path.starts_with(directory))
    }

    fn find_withheld(&self, is: impl Fn(&Withheld) -> bool) -> Option<String> {
        let all = lock(self.withheld.get()?);
        all.iter().find(|one| is(one)).map(|one| one.why.clone())
    }

    fn sealed(&self) -> MutexGuard<'_, Vec<Rule>> {
        lock(&self.sealed)
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

    /// A deny rule about something under `directory`, by its text: what is done to the directory as a whole
    /// would be done to that too.
    pub fn denies_in(&self, capability: &str, directory: &Path) -> Option<String> {
        let about = |rule: &&Rule| {
            rule.capability == capability && rule.scope.as_ref().is_some_and(|scope| scope.lies_in(directory))
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
        let sealed = || {
            self.sealed().iter().find(|rule| rule.matches(capability, request)).map(|rule| rule.text.clone())
        };
        self.policy.denial(capability, request).map(String::from).or_else(sealed)
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
        match self.own.get().filter(|(_, rule)| rule.matches(capability, request)) {
            Some((_, rule)) if !self.all => Some(Verdict::Allow(rule.text.clone())),
            _ => self.policy.decide(capability, request),
        }
    }

    /// Whether somebody is asked, who wants to know which line of the script asks.
    pub fn asks(&self) -> bool {
        self.asker.is_some()
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        lock(&self.asked)
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
                // What belongs to a request that was allowed is not asked again, and is kept where that was.
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
