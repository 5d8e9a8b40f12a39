//! A search that follows all ways through a pattern at once, one thread for each state it may be in (Pike, 1993).
//!
//! It finds the positions of groups, and what the lazy automata cannot: word boundaries beside characters that are not
//! ASCII, and patterns so wide that the automata throw their states away as fast as they make them.

use super::engine::{Budget, STATE, Stopped};
use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::primitives::StateID;
use regex_automata::{Anchored, Input};

/// The slot of a group that took no part.
pub const UNSET: usize = usize::MAX;

/// The threads at one position, in the order of their priority.
struct List {
    /// Where in `states` each state of the pattern is, if it is.
    places: Vec<u32>,
    states: Vec<StateID>,
    /// The slots of each state's thread.
    slots: Vec<usize>,
}

enum Step {
    Explore(StateID),
    Restore { slot: usize, value: usize },
}

pub struct Threads {
    current: List,
    next: List,
    stack: Vec<Step>,
}

impl List {
    fn new(states: usize) -> List {
        List { places: vec![0; states], states: Vec::new(), slots: Vec::new() }
    }

    fn clear(&mut self, width: usize) {
        self.states.clear();
        // What is in the slots of a state is set when the state is added.
        let slots = self.places.len() * width;
        if self.slots.len() < slots {
            self.slots.resize(slots, UNSET);
        }
    }

    /// Adds a state; false where it is there.
    fn insert(&mut self, state: StateID) -> bool {
        let place = self.places[state.as_usize()] as usize;
        if self.states.get(place) == Some(&state) {
            return false;
        }
        self.places[state.as_usize()] = self.states.len() as u32;
        self.states.push(state);
        true
    }
}

impl Threads {
    pub fn new(nfa: &NFA) -> Threads {
        let states = nfa.states().len();
        Threads { current: List::new(states), next: List::new(states), stack: Vec::new() }
    }

    /// The most bytes that a search takes.
    pub fn needed(nfa: &NFA) -> usize {
        let (states, slots) = (nfa.states().len(), nfa.group_info().slot_len());
        let list = states * (size_of::<u32>() + 2 * size_of::<StateID>() + slots * size_of::<usize>());
        2 * list + 2 * states * size_of::<Step>()
    }

    pub fn size(&self) -> usize {
        let list =
            |list: &List| 4 * (list.places.capacity() + list.states.capacity() + list.slots.capacity());
        list(&self.current) + list(&self.next) + self.stack.capacity() * size_of::<Step>()
    }

    /// The first `width` slots of the first match in the range of `input`.
    pub fn search(
        &mut self,
        nfa: &NFA,
        input: &Input<'_>,
        width: usize,
        budget: &mut Budget,
    ) -> Result<Option<Vec<usize>>, Stopped> {
        let anchored = input.get_anchored() == Anchored::Yes || nfa.is_always_start_anchored();
        let (text, end) = (input.haystack(), input.end());
        let mut found: Option<Vec<usize>> = None;
        let mut scratch = vec![UNSET; width];
        self.current.clear(width);
        self.next.clear(width);
        for at in input.start()..=end {
            if self.current.states.is_empty() && (found.is_some() || (anchored && at > input.start())) {
                break;
            }
            if found.is_none() && (!anchored || at == input.start()) {
                scratch.fill(UNSET);
                let start = nfa.start_anchored();
                follow(nfa, &mut self.current, &mut self.stack, start, &mut scratch, text, at, budget)?;
            }
            for n in 0..self.current.states.len() {
                let state = self.current.states[n];
                let own = state.as_usize() * width;
                let to = match nfa.state(state) {
                    State::Match { .. } => {
                        found = Some(self.current.slots[own..own + width].to_vec());
                        // Threads behind this one have a lower priority.
                        break;
                    }
                    _ if at == end => None,
                    State::ByteRange { trans } => trans.matches_byte(text[at]).then_some(trans.next),
                    State::Sparse(sparse) => sparse.matches_byte(text[at]),
                    State::Dense(dense) => dense.matches_byte(text[at]),
                    _ => None,
                };
                if let Some(to) = to {
                    scratch.copy_from_slice(&self.current.slots[own..own + width]);
                    follow(nfa, &mut self.next, &mut self.stack, to, &mut scratch, text, at + 1, budget)?;
                }
            }
            budget.take(STATE * (1 + self.current.states.len()))?;
            std::mem::swap(&mut self.current, &mut self.next);
            self.next.states.clear();
        }
        Ok(found)
    }
}

/// Adds to `list` what can be reached from `from` without reading a byte.
#[allow(clippy::too_many_arguments, reason = "the parts of one search, borrowed apart")]
fn follow(
    nfa: &NFA,
    list: &mut List,
    stack: &mut Vec<Step>,
    from: StateID,
    slots: &mut [usize],
    text: &[u8],
    at: usize,
    budget: &mut Budget,
) -> Result<(), Stopped> {
    stack.clear();
    stack.push(Step::Explore(from));
    let mut steps = 0;
    while let Some(step) = stack.pop() {
        let mut state = match step {
            Step::Restore { slot, value } => {
                slots[slot] = value;
                continue;
            }
            Step::Explore(state) => state,
        };
        while list.insert(state) {
            steps += 1 + slots.len() / 4;
            match nfa.state(state) {
                State::Look { look, next } if nfa.look_matcher().matches(*look, text, at) => state = *next,
                State::Union { alternates } => {
                    let Some((first, rest)) = alternates.split_first() else { break };
                    stack.extend(rest.iter().rev().map(|next| Step::Explore(*next)));
                    steps += rest.len();
                    state = *first;
                }
                State::BinaryUnion { alt1, alt2 } => {
                    stack.push(Step::Explore(*alt2));
                    state = *alt1;
                }
                State::Capture { next, slot, .. } => {
                    let slot = slot.as_usize();
                    if slot < slots.len() {
                        stack.push(Step::Restore { slot, value: slots[slot] });
                        slots[slot] = at;
                    }
                    state = *next;
                }
                State::ByteRange { .. } | State::Sparse(_) | State::Dense(_) | State::Match { .. } => {
                    let own = state.as_usize() * slots.len();
                    list.slots[own..own + slots.len()].copy_from_slice(slots);
                    break;
                }
                State::Look { .. } | State::Fail => break,
            }
        }
    }
    budget.take(STATE * steps)
}
