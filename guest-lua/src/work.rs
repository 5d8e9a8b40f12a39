//! Counts work in Rust that a script causes, so that the limits of the run are checked as it goes on.
//!
//! Lua's budget of steps sees neither loops in Rust nor the crates that parse for a binding. Both count here: loops
//! call [`spend`], and what runs in a [`region`](crate::region) is counted by what it allocates, which all parsers do
//! as they go on.

/// How much work goes on between two looks at the limits. A unit is about what one byte costs in a loop over text,
/// so this is some milliseconds.
const QUANTUM: usize = 1 << 20;
/// What a call of a builtin costs whatever it does.
pub const CALL: usize = 64;

/// How much may be looked at in one piece before [`spend`] must be called.
pub const PIECE: usize = 1 << 18;

static mut SPENT: usize = 0;

/// Accounts for work. Now and then it asks the host, which ends the run if a limit is reached.
#[inline]
pub fn spend(units: usize) {
    unsafe {
        SPENT = SPENT.saturating_add(units);
        if SPENT >= QUANTUM {
            tick();
        }
    }
}

#[cold]
#[inline(never)]
fn tick() {
    unsafe { SPENT = 0 };
    crate::scheduler::computed_long();
    crate::host::control::tick();
}
