//! How a pattern is searched for: with lazy automata, and with [`threads`](super::threads) where those cannot.
//!
//! The searches of the crate `regex` run to their end in one call. Here the same automata are driven byte by byte,
//! so that the limits of the run are asked as the search goes on, and all searches of one call share one budget.

use super::threads::Threads;
use crate::call::Error;
use crate::lua::Lua;
use crate::region::{self, region};
use crate::work::spend;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::prefilter::Prefilter;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind, Span};
use std::cell::Cell;
use std::panic::AssertUnwindSafe;

/// Bytes that one compiled pattern may take.
const SIZE_LIMIT: usize = 2 << 20;
/// Bytes that the states of one automaton may take, of a part of all that there is; older ones are thrown away.
const CACHE_LIMIT: usize = 1 << 20;
const CACHE_PART: usize = 64;
/// Bytes of a pattern's text: what is longer takes more than SIZE_LIMIT in nearly all cases.
const PATTERN_LIMIT: usize = 64 << 10;
/// Classes of Unicode in a pattern, as `\w`: each is a list of hundreds of ranges while the pattern is read, and
/// compiled they take more than SIZE_LIMIT anyway.
const CLASSES_LIMIT: usize = 1000;
/// Slots for the positions of groups that all threads of a search may have.
const SLOTS_LIMIT: usize = 1 << 20;
/// What the searches of one call may cost, and for each byte of the text. One unit is a byte that an automaton reads; a
/// state of the pattern that is looked at costs more. It takes some 3 ns at most.
const BUDGET: u64 = 1 << 28;
const BYTE_BUDGET: u64 = 1 << 9;
/// The cost of a state that is looked at, where the automaton has not seen the same before.
pub const STATE: usize = 8;
/// The most that is read between two accounts.
const WINDOW: usize = 1 << 16;

/// A compiled pattern.
pub struct Regex {
    nfa: NFA,
    lazy: Option<Lazy>,
    /// Taken out while a search runs: an error of Lua that ends one may not leave them in use.
    caches: Cell<Option<Box<Caches>>>,
}

/// Automata whose states are made when a search comes to them.
struct Lazy {
    forward: DFA,
    /// Finds where a match starts, from its end.
    reverse: DFA,
    prefilter: Option<Prefilter>,
}

pub struct Caches {
    lazy: Option<(Cache, Cache)>,
    pub threads: Threads,
}

/// Why a search ended without an answer.
pub enum Stopped {
    /// The automaton cannot go on; threads can.
    Lazy,
    /// The budget of the call is used up.
    Budget,
    /// There is not enough memory.
    Memory(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Stopped {
        Stopped::Memory(error)
    }
}

/// Why a pattern does not compile.
pub enum Bad {
    TooLong,
    TooLarge,
    Groups,
    Syntax(String),
}

impl Regex {
    /// Compiles a pattern, in a region.
    pub fn new(pattern: &str) -> Result<Regex, Bad> {
        if pattern.len() > PATTERN_LIMIT {
            return Err(Bad::TooLong);
        }
        let class = |pair: &&[u8]| pair[0] == b'\\' && b"dDpPsSwW".contains(&pair[1]);
        if pattern.as_bytes().windows(2).filter(class).count() > CLASSES_LIMIT {
            return Err(Bad::TooLarge);
        }
        Regex::build(pattern)
    }

    fn build(pattern: &str) -> Result<Regex, Bad> {
        let syntax = syntax::Config::new().utf8(false).nest_limit(100);
        let hir = syntax::parse_with(pattern, &syntax).map_err(|error| Bad::Syntax(error.to_string()))?;
        let config = thompson::Config::new().utf8(false).nfa_size_limit(Some(SIZE_LIMIT));
        let nfa = thompson::Compiler::new()
            .configure(config.clone().which_captures(WhichCaptures::All))
            .build_from_hir(&hir)
            .map_err(|error| match error.size_limit() {
                Some(_) => Bad::TooLarge,
                None => Bad::Syntax(error.to_string()),
            })?;
        if nfa.states().len().saturating_mul(nfa.group_info().slot_len()) > SLOTS_LIMIT {
            return Err(Bad::Groups);
        }
        let reverse = thompson::Compiler::new()
            .configure(config.which_captures(WhichCaptures::None).reverse(true))
            .build_from_hir(&hir);
        let prefilter = Prefilter::from_hir_prefix(MatchKind::LeftmostFirst, &hir).filter(Prefilter::is_fast);
        let lazy = reverse.ok().and_then(|reverse| Lazy::new(&nfa, reverse, prefilter));
        Ok(Regex { nfa, lazy, caches: Cell::new(None) })
    }

    /// The number of group `name`.
    pub fn group(&self, name: &str) -> Option<usize> {
        self.nfa.group_info().to_index(regex_automata::PatternID::ZERO, name)
    }

    /// The names of the groups, in their order.
    pub fn names(&self) -> impl Iterator<Item = Option<&str>> {
        self.nfa.group_info().pattern_names(regex_automata::PatternID::ZERO)
    }

    /// Bytes that a search may need.
    fn needed(&self) -> usize {
        let lazy = if self.lazy.is_some() { 2 * cache_limit() } else { 0 };
        lazy + Threads::needed(&self.nfa)
    }

    /// Bytes that it takes, about.
    pub fn size(&self) -> usize {
        let caches = self.caches.take();
        let cached = caches.as_ref().map_or(0, |caches| caches.size());
        self.caches.set(caches);
        2 * self.nfa.memory_usage() + cached
    }
}

fn cache_limit() -> usize {
    CACHE_LIMIT.min(region::limit() / CACHE_PART)
}

impl Lazy {
    fn new(nfa: &NFA, reverse: NFA, prefilter: Option<Prefilter>) -> Option<Lazy> {
        let config = DFA::config()
            .cache_capacity(cache_limit())
            .unicode_word_boundary(true)
            .minimum_cache_clear_count(Some(3))
            .minimum_bytes_per_state(Some(10));
        let forward = DFA::builder()
            .configure(config.clone().specialize_start_states(prefilter.is_some()))
            .build_from_nfa(nfa.clone())
            .ok()?;
        let reverse =
            DFA::builder().configure(config.match_kind(MatchKind::All)).build_from_nfa(reverse).ok()?;
        Some(Lazy { forward, reverse, prefilter })
    }
}

impl Caches {
    fn new(regex: &Regex) -> Caches {
        let lazy = regex.lazy.as_ref().map(|lazy| (lazy.forward.create_cache(), lazy.reverse.create_cache()));
        Caches { lazy, threads: Threads::new(&regex.nfa) }
    }

    fn size(&self) -> usize {
        let lazy = self.lazy.as_ref();
        lazy.map_or(0, |(forward, reverse)| forward.memory_usage() + reverse.memory_usage())
            + self.threads.size()
    }
}

/// The searches of one call, through one text.
pub struct Search<'a> {
    regex: &'a Regex,
    text: &'a [u8],
    caches: Option<Box<Caches>>,
    /// Whether the automata are of no use for this text.
    threads_only: bool,
    budget: Budget,
}

/// What is left for the searches of one call.
pub struct Budget(u64);

impl Budget {
    /// Accounts for work.
    ///
    /// # Errors
    /// When nothing is left.
    #[inline]
    pub fn take(&mut self, units: usize) -> Result<(), Stopped> {
        spend(units);
        match self.0.checked_sub(units as u64) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => Err(Stopped::Budget),
        }
    }
}

impl<'a> Search<'a> {
    /// # Errors
    /// "not enough memory", where what the search may need is not there.
    pub fn new(lua: Lua, regex: &'a Regex, text: &'a [u8]) -> Result<Search<'a>, Error> {
        let mut caches = regex.caches.take();
        let held = caches.as_ref().map_or(0, |caches| caches.size());
        let needed = regex.needed().saturating_sub(held);
        if needed > region::room() {
            caches = None;
            region::make_room(lua, regex.needed())?;
        }
        let caches = match caches {
            Some(caches) => caches,
            None => region(lua, AssertUnwindSafe(|| Box::new(Caches::new(regex))))?,
        };
        let threads_only = regex.lazy.is_none();
        let budget = Budget(BUDGET.saturating_add(BYTE_BUDGET.saturating_mul(text.len() as u64)));
        Ok(Search { regex, text, caches: Some(caches), threads_only, budget })
    }

    /// Whether there is a match.
    pub fn is_match(&mut self) -> Result<bool, Stopped> {
        if !self.threads_only {
            match self.forward(0, true) {
                Err(Stopped::Lazy) => self.threads_only = true,
                found => return Ok(found?.is_some()),
            }
        }
        Ok(self.threads(0, self.text.len(), Anchored::No, 2)?.is_some())
    }

    /// The first match that starts at `from` or later.
    pub fn find(&mut self, from: usize) -> Result<Option<Span>, Stopped> {
        self.budget.take(16)?;
        if !self.threads_only {
            match self.find_lazily(from) {
                Err(Stopped::Lazy) => self.threads_only = true,
                found => return found,
            }
        }
        let found = self.threads(from, self.text.len(), Anchored::No, 2)?;
        Ok(found.and_then(|slots| span(&slots, 0)))
    }

    /// The positions of the groups of the match `found`.
    pub fn groups(&mut self, found: Span) -> Result<Vec<Option<Span>>, Stopped> {
        let groups = self.regex.nfa.group_info().group_len(regex_automata::PatternID::ZERO);
        if groups == 1 {
            return Ok(vec![Some(found)]);
        }
        let slots = self.threads(found.start, found.end, Anchored::Yes, 2 * groups)?.unwrap_or_default();
        Ok((0..groups).map(|group| span(&slots, group)).collect())
    }

    fn threads(
        &mut self,
        from: usize,
        to: usize,
        anchored: Anchored,
        slots: usize,
    ) -> Result<Option<Vec<usize>>, Stopped> {
        let Some(caches) = &mut self.caches else { return Ok(None) };
        let input = Input::new(self.text).range(from..to).anchored(anchored);
        caches.threads.search(&self.regex.nfa, &input, slots, &mut self.budget)
    }

    fn find_lazily(&mut self, from: usize) -> Result<Option<Span>, Stopped> {
        let Some(end) = self.forward(from, false)? else { return Ok(None) };
        if end == from || self.regex.nfa.is_always_start_anchored() {
            return Ok(Some(Span { start: from, end }));
        }
        let start = self.reverse(from, end)?;
        Ok(Some(Span { start, end }))
    }

    /// Where the first match that starts at `from` or later ends; with `earliest` any position at which it is sure
    /// that there is one.
    fn forward(&mut self, from: usize, earliest: bool) -> Result<Option<usize>, Stopped> {
        let (Some(lazy), Some((cache, _))) =
            (&self.regex.lazy, self.caches.as_mut().and_then(|caches| caches.lazy.as_mut()))
        else {
            return Err(Stopped::Lazy);
        };
        let (dfa, text, end) = (&lazy.forward, self.text, self.text.len());
        let start_at = |cache: &mut Cache, at: usize| {
            dfa.start_state_forward(cache, &Input::new(text).range(at..)).map_err(|_| Stopped::Lazy)
        };
        let mut at = from;
        if let Some(prefilter) = &lazy.prefilter {
            match candidate(prefilter, text, at, &mut self.budget)? {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        let mut state = start_at(cache, at)?;
        let mut found = None;
        let mut window = Window::new(dfa, cache);
        cache.search_start(at);
        while at < end {
            let stop = end.min(at + window.len);
            let begin = at;
            while at < stop {
                state = step(dfa, cache, state, text[at], at)?;
                if !state.is_tagged() {
                    at += 1;
                    continue;
                }
                if state.is_match() {
                    // A match is seen one byte late: it ends before this byte.
                    found = Some(at);
                    if earliest {
                        break;
                    }
                } else if state.is_dead() {
                    break;
                } else if state.is_quit() {
                    return Err(Stopped::Lazy);
                } else if state.is_start() && found.is_none() {
                    // Only with a prefilter are the states at which a search starts marked.
                    let Some(prefilter) = &lazy.prefilter else { return Err(Stopped::Lazy) };
                    match candidate(prefilter, text, at, &mut self.budget)? {
                        None => return Ok(None),
                        Some(next) if next > at => {
                            at = next;
                            state = start_at(cache, at)?;
                            break;
                        }
                        Some(_) => {}
                    }
                }
                at += 1;
            }
            window.account(at.saturating_sub(begin), dfa, cache, &mut self.budget)?;
            if state.is_dead() || (earliest && found.is_some()) {
                cache.search_finish(at);
                return Ok(found);
            }
        }
        cache.search_finish(end);
        state = dfa.next_eoi_state(cache, state).map_err(|_| Stopped::Lazy)?;
        Ok(if state.is_match() { Some(end) } else { found })
    }

    /// Where the match that ends at `to` starts, not before `from`.
    fn reverse(&mut self, from: usize, to: usize) -> Result<usize, Stopped> {
        let (Some(lazy), Some((_, cache))) =
            (&self.regex.lazy, self.caches.as_mut().and_then(|caches| caches.lazy.as_mut()))
        else {
            return Err(Stopped::Lazy);
        };
        let (dfa, text) = (&lazy.reverse, self.text);
        let input = Input::new(text).range(from..to).anchored(Anchored::Yes);
        let mut state = dfa.start_state_reverse(cache, &input).map_err(|_| Stopped::Lazy)?;
        let (mut at, mut found) = (to, None);
        let mut window = Window::new(dfa, cache);
        cache.search_start(at);
        while at > from && !state.is_dead() {
            let stop = from.max(at.saturating_sub(window.len));
            let begin = at;
            while at > stop {
                state = step(dfa, cache, state, text[at - 1], at)?;
                if state.is_tagged() {
                    if state.is_match() {
                        found = Some(at);
                    } else if state.is_dead() {
                        break;
                    } else if state.is_quit() {
                        return Err(Stopped::Lazy);
                    }
                }
                at -= 1;
            }
            window.account(begin - at, dfa, cache, &mut self.budget)?;
        }
        cache.search_finish(at);
        if !state.is_dead() {
            state = match from {
                0 => dfa.next_eoi_state(cache, state),
                _ => dfa.next_state(cache, state, text[from - 1]),
            }
            .map_err(|_| Stopped::Lazy)?;
            if state.is_match() {
                found = Some(from);
            } else if state.is_quit() {
                return Err(Stopped::Lazy);
            }
        }
        found.ok_or(Stopped::Lazy)
    }
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        self.regex.caches.set(self.caches.take());
    }
}

fn span(slots: &[usize], group: usize) -> Option<Span> {
    match (slots.get(2 * group), slots.get(2 * group + 1)) {
        (Some(&start), Some(&end)) if start <= end && end != super::threads::UNSET => {
            Some(Span { start, end })
        }
        _ => None,
    }
}

#[inline]
fn step(
    dfa: &DFA,
    cache: &mut Cache,
    state: LazyStateID,
    byte: u8,
    at: usize,
) -> Result<LazyStateID, Stopped> {
    if !state.is_tagged() {
        let next = dfa.next_state_untagged(cache, state, byte);
        if !next.is_unknown() {
            return Ok(next);
        }
    }
    cache.search_update(at);
    dfa.next_state(cache, state, byte).map_err(|_| Stopped::Lazy)
}

/// The next place from `at` on where a match may start.
fn candidate(
    prefilter: &Prefilter,
    text: &[u8],
    mut at: usize,
    budget: &mut Budget,
) -> Result<Option<usize>, Stopped> {
    // Pieces overlap by what the prefilter looks for.
    let overlap = prefilter.max_needle_len();
    loop {
        let end = text.len().min(at + WINDOW + overlap);
        let found = prefilter.find(text, Span { start: at, end });
        budget.take(8 + found.map_or(end, |found| found.start).saturating_sub(at))?;
        match found {
            Some(found) => return Ok(Some(found.start)),
            None if end == text.len() => return Ok(None),
            None => at = end - overlap,
        }
    }
}

/// How much is read between two accounts, and what the cache held at the last one.
struct Window {
    /// Making the states for so many bytes costs some milliseconds at most.
    len: usize,
    used: usize,
    clears: usize,
}

impl Window {
    fn new(dfa: &DFA, cache: &Cache) -> Window {
        let len = (WINDOW / dfa.get_nfa().states().len().max(1)).clamp(8, 4096);
        Window { len, used: cache.memory_usage(), clears: cache.clear_count() }
    }

    fn account(
        &mut self,
        bytes: usize,
        dfa: &DFA,
        cache: &Cache,
        budget: &mut Budget,
    ) -> Result<(), Stopped> {
        let (used, clears) = (cache.memory_usage(), cache.clear_count());
        // A state takes its transitions and some bytes more.
        let made = if clears != self.clears {
            bytes + 1
        } else {
            (used.saturating_sub(self.used) / ((4 << dfa.byte_classes().stride2()) + 16)).min(bytes + 1)
        };
        (self.used, self.clears) = (used, clears);
        budget.take(bytes + made * dfa.get_nfa().states().len() * STATE)
    }
}
