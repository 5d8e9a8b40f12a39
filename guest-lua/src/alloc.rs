//! Lua's allocator: size classes for small blocks, the system's allocator for large ones, and the
//! limit at which Lua raises "not enough memory" before the store's limit ends the run. Not the counting
//! allocator of `work.rs`: the VM charges for its own allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::ptr::null_mut;

const STEP: usize = 16;
/// The largest block that a size class serves. Lua's tables of up to 16 nodes are below it.
const SMALL: usize = 512;
const CLASSES: usize = SMALL / STEP + 1;
/// How much is taken from the system at a time.
const CHUNK: usize = 64 * 1024;

struct Pool {
    free: [*mut u8; CLASSES],
    next: *mut u8,
    end: *mut u8,
    /// Bytes that the system has given: chunks, whatever of them is in use, and large blocks.
    taken: usize,
    limit: usize,
}

static mut POOL: Pool =
    Pool { free: [null_mut(); CLASSES], next: null_mut(), end: null_mut(), taken: 0, limit: usize::MAX };

/// How many bytes Lua holds, with those that are free for its small blocks only.
pub fn taken() -> usize {
    unsafe { POOL.taken }
}

/// Sets how many bytes Lua may hold.
pub fn set_limit(bytes: usize) {
    unsafe { POOL.limit = bytes }
}

/// Runs what the guest does by itself, where an error of Lua would find no handler: a script that has used up its
/// memory must still get its error told. The reserve between Lua's limit and the instance's pays for it.
pub fn beyond_limit<T>(f: impl FnOnce() -> T) -> T {
    let limit = unsafe { POOL.limit };
    set_limit(usize::MAX);
    let result = f();
    set_limit(limit);
    result
}

fn class(size: usize) -> usize {
    size.div_ceil(STEP)
}

fn layout(size: usize) -> Layout {
    // Lua's own checks keep sizes below isize::MAX.
    unsafe { Layout::from_size_align_unchecked(size, 8) }
}

impl Pool {
    fn may_take(&self, bytes: usize) -> bool {
        bytes <= self.limit.saturating_sub(self.taken)
    }

    #[inline]
    unsafe fn take(&mut self, size: usize) -> *mut u8 {
        if size > SMALL {
            if !self.may_take(size) {
                return null_mut();
            }
            let block = unsafe { System.alloc(layout(size)) };
            if !block.is_null() {
                self.taken += size;
            }
            return block;
        }
        let class = class(size);
        let block = self.free[class];
        if block.is_null() {
            return unsafe { self.refill(class) };
        }
        self.free[class] = unsafe { *(block as *mut *mut u8) };
        block
    }

    #[inline]
    unsafe fn give(&mut self, block: *mut u8, size: usize) {
        if size > SMALL {
            self.taken -= size;
            return unsafe { System.dealloc(block, layout(size)) };
        }
        let class = class(size);
        unsafe { *(block as *mut *mut u8) = self.free[class] };
        self.free[class] = block;
    }

    #[cold]
    #[inline(never)]
    unsafe fn refill(&mut self, class: usize) -> *mut u8 {
        let size = class * STEP;
        if (self.end as usize) - (self.next as usize) < size {
            let rest = ((self.end as usize) - (self.next as usize)) / STEP;
            if rest > 0 {
                unsafe { self.give(self.next, rest * STEP) };
            }
            self.end = self.next;
            let chunk = match self.may_take(CHUNK) {
                true => unsafe { System.alloc(Layout::from_size_align_unchecked(CHUNK, 16)) },
                false => null_mut(),
            };
            if chunk.is_null() {
                return unsafe { self.split(class) };
            }
            self.taken += CHUNK;
            self.next = chunk;
            self.end = unsafe { chunk.add(CHUNK) };
        }
        let block = self.next;
        self.next = unsafe { block.add(size) };
        block
    }

    /// A part of a free block of a larger class.
    #[cold]
    unsafe fn split(&mut self, class: usize) -> *mut u8 {
        let Some(larger) = (class + 1..CLASSES).find(|class| !self.free[*class].is_null()) else {
            return null_mut();
        };
        let block = self.free[larger];
        unsafe {
            self.free[larger] = *(block as *mut *mut u8);
            self.give(block.add(class * STEP), (larger - class) * STEP);
        }
        block
    }

    unsafe fn resize(&mut self, block: *mut u8, old: usize, new: usize) -> *mut u8 {
        if new > old && !self.may_take(new - old) {
            return null_mut();
        }
        let moved = unsafe { System.realloc(block, layout(old), new) };
        if !moved.is_null() {
            self.taken = self.taken - old + new;
        }
        moved
    }
}

/// `lua_Alloc` (reference manual, section 4.6).
pub unsafe extern "C" fn lua_alloc(
    _: *mut c_void,
    block: *mut c_void,
    old: usize,
    new: usize,
) -> *mut c_void {
    let pool = unsafe { (&raw mut POOL).as_mut_unchecked() };
    let block = block as *mut u8;
    // With no block, `old` tells the kind of object instead of a size.
    let old = if block.is_null() { 0 } else { old };
    unsafe {
        let moved = if new == 0 {
            if old != 0 {
                pool.give(block, old);
            }
            null_mut()
        } else if old == 0 {
            pool.take(new)
        } else if old > SMALL && new > SMALL {
            pool.resize(block, old, new)
        } else if old <= SMALL && new <= SMALL && class(old) == class(new) {
            block
        } else {
            let moved = pool.take(new);
            if !moved.is_null() {
                std::ptr::copy_nonoverlapping(block, moved, old.min(new));
                pool.give(block, old);
            }
            moved
        };
        moved.cast()
    }
}
