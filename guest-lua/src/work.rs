//! Work in Rust that a script sets off: it asks for the limits of the run as it goes on, and where memory is short
//! it ends as Lua's own error.
//!
//! Lua's budget of steps sees neither loops in Rust nor the crates that parse for a binding. Both count here: loops
//! call [`spend`], and what runs in a [`region`] is counted by what it allocates, which all parsers do as they go on.

use crate::ffi::{LUA_ERRMEM, luaD_throw};
use crate::lua::Lua;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;

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
/// The region that runs; null outside of regions.
static mut REGION: *mut Region = null_mut();

struct Region {
    /// Who gets the error where memory is short.
    lua: Lua,
    /// What was allocated in the region and is still there, in a circle.
    blocks: Link,
}

/// Before each block: its neighbours in the circle of its region, null where it was made outside of one.
#[repr(C)]
struct Link {
    previous: *mut Link,
    next: *mut Link,
}

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

/// Runs `f`, whose allocations count as work. Where one fails, what `f` has allocated is freed, and "not enough
/// memory" is raised in `lua`.
///
/// `f` does not call the host, and changes nothing that outlives it but its result: its frames are dropped without
/// destructors when memory is short, as they are by any error of Lua.
pub fn region<T>(lua: Lua, f: impl FnOnce() -> T) -> T {
    let mut region = Region { lua, blocks: Link { previous: null_mut(), next: null_mut() } };
    let blocks = &raw mut region.blocks;
    unsafe {
        (*blocks).previous = blocks;
        (*blocks).next = blocks;
        let outer = REGION;
        REGION = &raw mut region;
        let result = f();
        REGION = outer;
        // What is left is the result's.
        unlink(blocks);
        result
    }
}

/// Leaves the region that an error of Lua has ended; what the guest is entered by calls it.
pub fn reset() {
    unsafe { REGION = null_mut() };
}

/// Leaves the region for a call of the host.
pub fn outside<T>(f: impl FnOnce() -> T) -> T {
    let outer = unsafe { REGION };
    unsafe { REGION = null_mut() };
    let result = f();
    unsafe { REGION = outer };
    result
}

/// Frees what the region has allocated, and raises "not enough memory".
#[cold]
fn no_memory(region: *mut Region) -> ! {
    unsafe {
        REGION = null_mut();
        let end = &raw mut (*region).blocks;
        let mut block = (*end).next;
        while block != end {
            let next = (*block).next;
            // The allocator of the C library knows the size.
            System.dealloc(block.cast(), Layout::new::<Link>());
            block = next;
        }
        luaD_throw((*region).lua.0, LUA_ERRMEM)
    }
}

unsafe fn link(block: *mut Link, region: *mut Region) {
    unsafe {
        let end = &raw mut (*region).blocks;
        (*block).previous = end;
        (*block).next = (*end).next;
        (*(*end).next).previous = block;
        (*end).next = block;
    }
}

unsafe fn unlink(block: *mut Link) {
    unsafe {
        let (previous, next) = ((*block).previous, (*block).next);
        if !previous.is_null() {
            (*previous).next = next;
            (*next).previous = previous;
        }
    }
}

/// The system's allocator, which counts in regions and remembers what was allocated in them.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The layout with a [`Link`] before it; none for what needs a coarser alignment, which is not remembered.
fn linked(size: usize, align: usize) -> Option<Layout> {
    match align <= align_of::<u64>() {
        true => Layout::from_size_align(size.checked_add(size_of::<Link>())?, align_of::<u64>()).ok(),
        false => None,
    }
}

#[inline]
fn count(size: usize) {
    if unsafe { !REGION.is_null() } {
        spend(ALLOCATION + size / 16);
    }
}

/// Completes an allocation.
#[inline]
unsafe fn complete(block: *mut u8, layout: Option<Layout>) -> *mut u8 {
    unsafe {
        let region = REGION;
        if block.is_null() {
            if !region.is_null() {
                no_memory(region);
            }
            return block;
        }
        if layout.is_none() {
            return block;
        }
        let block: *mut Link = block.cast();
        if region.is_null() {
            block.write(Link { previous: null_mut(), next: null_mut() });
        } else {
            link(block, region);
        }
        block.add(1).cast()
    }
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        let with_link = linked(layout.size(), layout.align());
        unsafe { complete(System.alloc(with_link.unwrap_or(layout)), with_link) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        let with_link = linked(layout.size(), layout.align());
        unsafe { complete(System.alloc_zeroed(with_link.unwrap_or(layout)), with_link) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        let (Some(old), Some(new)) = (linked(layout.size(), layout.align()), linked(size, layout.align()))
        else {
            return unsafe { complete(System.realloc(block, layout, size), None) };
        };
        unsafe {
            let block = block.cast::<Link>().sub(1);
            // Where it is alone in its circle, its neighbour is itself: it must not move while it is in one.
            unlink(block);
            let moved = System.realloc(block.cast(), old, new.size());
            if moved.is_null() {
                complete(block.cast(), Some(old));
            }
            complete(moved, Some(new))
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0);
        let Some(with_link) = linked(layout.size(), layout.align()) else {
            return unsafe { System.dealloc(block, layout) };
        };
        unsafe {
            let block = block.cast::<Link>().sub(1);
            unlink(block);
            System.dealloc(block.cast(), with_link);
        }
    }
}
