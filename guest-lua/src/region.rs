//! Memory of Rust code, and computations that end in Lua's "not enough memory" instead of ending the run.
//!
//! When memory is short, Rust can only abort, and its frames are not unwound here. So what computes for a
//! script runs in a [`region`]: when there is no memory for it, Lua's error jumps to the region's start over all frames
//! of Rust in between, and every block that the region has allocated is freed at once, whatever owned it. That is sound
//! because nothing of these frames is looked at again, and as long as a region stores nothing that it allocates where
//! others find it: in a static, in a handle of Lua, in what its closure borrows. [`outside`] is for what must do so.
//!
//! The blocks of a region are in a ring with its mark. When it ends well, the ring joins the one of the region around it,
//! or goes on without a mark. The links take 8 bytes before the block, so these blocks lie 8 bytes beside multiples of
//! 16, where libc's own never do: that tells the two kinds apart.

use crate::alloc;
use crate::call::Error;
use crate::ffi::*;
use crate::lua::{Lua, protected};
use crate::work::spend;
use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::UnwindSafe;
use std::ptr::null_mut;

/// What an allocation in a region stands for: the work that led to it.
const ALLOCATION: usize = 256;
/// Bytes that regions leave to what is not in one: tasks, buffers of files, what the host gives.
const RESERVE: usize = 512 << 10;

#[repr(C)]
struct Links {
    next: *mut Links,
    previous: *mut Links,
}

/// The bytes before a block of a region, and what tells it apart from others.
const LINKS: usize = 8;
const _: () = assert!(size_of::<Links>() == LINKS);

static mut RUNNING: Running = NONE;
/// Bytes that Rust code holds.
static mut USED: usize = 0;
/// Bytes that Rust code and Lua may hold together.
static mut LIMIT: usize = usize::MAX;

/// What is done about an allocation.
#[derive(Clone, Copy)]
pub struct Running {
    /// The Lua thread of the region that runs; none outside of one.
    thread: *mut lua_State,
    /// How many times an allocation counts as work.
    weight: usize,
    /// The mark of the region.
    mark: *mut Links,
}

/// No region.
const NONE: Running = Running { thread: null_mut(), weight: 0, mark: null_mut() };

unsafe extern "C" {
    fn malloc(size: usize) -> *mut u8;
    fn realloc(block: *mut u8, size: usize) -> *mut u8;
    fn free(block: *mut u8);
    fn malloc_usable_size(block: *mut u8) -> usize;
}

/// Bytes that libc's allocator keeps before each block.
const HEADER: usize = size_of::<usize>();

/// Bytes that a block takes, more than it was asked for.
unsafe fn footprint(block: *mut u8) -> usize {
    unsafe { malloc_usable_size(block) + HEADER }
}

/// Sets how many bytes the instance may take beside those that it has taken by now.
pub fn set_limit(more: usize) {
    unsafe { LIMIT = held().saturating_add(more) };
}

fn held() -> usize {
    unsafe { USED.saturating_add(alloc::taken()) }
}

/// All bytes that Rust code and Lua may hold together.
pub fn limit() -> usize {
    unsafe { LIMIT }
}

/// Bytes that may still be taken at a time. What is free may lie in pieces, so it is not sure.
pub fn room() -> usize {
    unsafe { LIMIT }.saturating_sub(held()).saturating_sub(RESERVE)
}

/// Frees what Lua no longer uses if less than `bytes` can be taken; false if it is too little even then.
pub fn has_room(lua: Lua, bytes: usize) -> bool {
    if bytes > room() {
        unsafe { lua_reclaim(lua.0) };
    }
    bytes <= room()
}

/// The same, as an error.
///
/// # Errors
/// "not enough memory", if it is too little.
pub fn make_room(lua: Lua, bytes: usize) -> Result<(), Error> {
    match has_room(lua, bytes) {
        true => Ok(()),
        false => region(lua, || -> () { unsafe { lua_nomemory(lua.0) } }),
    }
}

/// Runs `f`, whose allocations count as work. An error of Lua ends `f` but not its caller.
///
/// # Errors
/// The error of Lua, which is on top of the stack: "not enough memory", where that was short.
pub fn region<T>(lua: Lua, f: impl FnOnce() -> T + UnwindSafe) -> Result<T, Error> {
    weighted(lua, 1, f)
}

/// As [`region`], for code that works much for each of its allocations: each counts `weight` times.
///
/// # Errors
/// The same.
pub fn weighted<T>(lua: Lua, weight: usize, f: impl FnOnce() -> T + UnwindSafe) -> Result<T, Error> {
    let mut links = Links { next: null_mut(), previous: null_mut() };
    let mark = &raw mut links;
    unsafe {
        *mark = Links { next: mark, previous: mark };
        let outer = RUNNING;
        let result = protected(lua, || {
            RUNNING = Running { thread: lua.0, weight, mark };
            f()
        });
        if result.is_err() {
            loop {
                let next = (*mark).next;
                if next == mark {
                    break;
                }
                release(next);
            }
        } else if !outer.mark.is_null() {
            join(outer.mark, mark);
        }
        unlink(mark);
        result
    }
}

/// Runs `f` as if no region ran: it may call the host, and what it allocates stays.
pub fn outside<T>(f: impl FnOnce() -> T) -> T {
    let running = leave();
    let result = f();
    back(running);
    result
}

/// Runs `f`, whose allocations count as work, in no region: for what keeps some of them in statics.
pub fn counted<T>(f: impl FnOnce() -> T) -> T {
    let running = leave_counted();
    let result = f();
    back(running);
    result
}

/// Leaves the region that runs, for code that it does not know of: finalizers of a collection that it sets off.
#[must_use]
pub fn leave() -> Running {
    unsafe { std::ptr::replace(&raw mut RUNNING, NONE) }
}

/// As [`leave`], but allocations still count as work.
#[must_use]
pub fn leave_counted() -> Running {
    unsafe { std::ptr::replace(&raw mut RUNNING, Running { weight: 1, ..NONE }) }
}

/// Goes back to what [`leave`] gave.
pub fn back(running: Running) {
    unsafe { RUNNING = running };
}

/// The system's allocator, with the blocks of regions in their rings.
struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

/// Makes one ring of two.
unsafe fn join(one: *mut Links, other: *mut Links) {
    unsafe {
        let (next, last) = ((*one).next, (*other).previous);
        (*one).next = other;
        (*other).previous = one;
        (*last).next = next;
        (*next).previous = last;
    }
}

unsafe fn unlink(block: *mut Links) {
    unsafe {
        let Links { next, previous } = *block;
        (*previous).next = next;
        (*next).previous = previous;
    }
}

unsafe fn release(block: *mut Links) {
    unsafe {
        unlink(block);
        USED = USED.saturating_sub(footprint(block.cast()));
        free(block.cast());
    }
}

/// Whether a block is one of a region.
fn is_linked(block: *mut u8) -> bool {
    block.addr() & LINKS != 0
}

/// Makes sure that a region may take `more` bytes, or ends it.
#[inline]
fn charge(more: usize) {
    let Running { thread, weight, .. } = unsafe { RUNNING };
    if weight != 0 {
        spend((ALLOCATION + more / 16) * weight);
    }
    if !thread.is_null() && held().saturating_add(more) > unsafe { LIMIT }.saturating_sub(RESERVE) {
        short(thread, more);
    }
}

/// Looks for memory that Lua does not use any more; if nothing is found, ends the region.
#[cold]
#[inline(never)]
fn short(thread: *mut lua_State, more: usize) {
    unsafe {
        lua_reclaim(thread);
        if held().saturating_add(more) > LIMIT.saturating_sub(RESERVE) {
            lua_nomemory(thread);
        }
    }
}

/// What `take` gives, if need be after Lua has given back what it does not use any more; else ends the region.
#[inline]
unsafe fn sure(take: impl Fn() -> *mut u8) -> *mut u8 {
    let block = take();
    if !block.is_null() {
        return block;
    }
    unsafe {
        let thread = RUNNING.thread;
        lua_reclaim(thread);
        let block = take();
        if block.is_null() {
            lua_nomemory(thread);
        }
        block
    }
}

unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        charge(layout.size());
        unsafe {
            // What needs a wider alignment than the links leave stays out of the ring, and is lost with its region.
            if RUNNING.thread.is_null() || layout.align() > LINKS {
                let block = System.alloc(layout);
                if !block.is_null() {
                    USED += footprint(block);
                }
                return block;
            }
            let block = sure(|| malloc(layout.size() + LINKS));
            USED += footprint(block);
            let links = block.cast::<Links>();
            *links = Links { next: links, previous: links };
            join(RUNNING.mark, links);
            block.add(LINKS)
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        charge(size.saturating_sub(layout.size()));
        unsafe {
            if !is_linked(block) {
                let before = footprint(block);
                let moved = System.realloc(block, layout, size);
                if !moved.is_null() {
                    USED = USED.saturating_sub(before) + footprint(moved);
                }
                return moved;
            }
            let block = block.sub(LINKS);
            let before = footprint(block);
            let grow = || realloc(block, size + LINKS);
            let moved = if RUNNING.thread.is_null() { grow() } else { sure(grow) };
            if moved.is_null() {
                return moved;
            }
            USED = USED.saturating_sub(before) + footprint(moved);
            // Its place in the ring is what says to which region it belongs.
            let links = moved.cast::<Links>();
            if (*links).next == block.cast() {
                *links = Links { next: links, previous: links };
            } else {
                (*(*links).previous).next = links;
                (*(*links).next).previous = links;
            }
            moved.add(LINKS)
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe {
            if is_linked(block) {
                release(block.sub(LINKS).cast());
            } else {
                USED = USED.saturating_sub(footprint(block));
                System.dealloc(block, layout);
            }
        }
    }
}

/// Makes sure of what [`is_linked`] relies on.
///
/// # Panics
/// When libc's blocks are aligned otherwise, which a build of the guest shows at once.
pub fn check() {
    for size in [1, 4, 8, 12, 16, 100, 1000, 70_000] {
        let block = unsafe { malloc(size) };
        assert!(block.addr() % (2 * LINKS) == 0, "libc's blocks are not aligned to {} bytes", 2 * LINKS);
        unsafe { free(block) };
    }
}
