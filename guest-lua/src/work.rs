//! Work in Rust that a script sets off: it asks for the limits of the run as it goes on.
//!
//! Lua's budget of steps sees neither loops in Rust nor the crates that parse for a binding. Both count here: loops
//! call [`spend`], and what runs in a [`region`] is counted by what it allocates, which all parsers do as they go on.

use std::alloc::{GlobalAlloc, Layout, System};

/// How much work goes on between two looks at the limits. A unit is about what one byte costs in a loop over text,
/// so this is some milliseconds.
const QUANTUM: usize = 1 << 20;
/// What a call of a builtin costs whatever it does.
pub const CALL: usize = 64;
/// What an allocation stands for: the work that led to it.
const ALLOCATION: usize = 256;

/// How much may be looked at in one piece before [`spend`] must be called.
pub const PIECE: usize = 1 << 18;

static mut SPENT: usize = 0;
/// Whether a region runs.
static mut REGION: bool = false;

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
    crate::host::control::tick();
}

/// Runs `f`, whose allocations count as work. `f` does not call the host.
pub fn region<T>(f: impl FnOnce() -> T) -> T {
    unsafe {
        let outer = REGION;
        REGION = true;
        let result = f();
        REGION = outer;
        result
    }
}

/// Leaves the region that an error of Lua has ended; what the guest is entered by calls it.
pub fn reset() {
    unsafe { REGION = false };
}

/// Leaves the region for a call of the host.
pub fn outside<T>(f: impl FnOnce() -> T) -> T {
    let outer = unsafe { REGION };
    unsafe { REGION = false };
    let result = f();
    unsafe { REGION = outer };
    result
}

/// The system's allocator, which counts in regions.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[inline]
fn count(size: usize) {
    if unsafe { REGION } {
        spend(ALLOCATION + size / 16);
    }
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) };
    }
}
