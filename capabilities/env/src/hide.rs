//! The environment that the kernel shows to others.

use std::ffi::{CStr, c_char};
use std::os::unix::ffi::OsStrExt;

unsafe extern "C" {
    /// The variables of the process (environ(7)), ending in a null pointer.
    static environ: *const *mut c_char;
}

/// Moves the variables of this process out of the memory that `/proc/PID/environ` shows, so that a program that a script
/// starts does not read there what the script may not. The process keeps its variables.
///
/// # Safety
/// No other thread may run yet: `main` calls it first.
pub unsafe fn hide() {
    let mut shown: Vec<(*mut c_char, usize)> = Vec::new();
    // SAFETY: libc keeps `environ` a list of strings, and nobody changes it while this thread is the only one.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            shown.push((*entry, CStr::from_ptr(*entry).count_bytes()));
            entry = entry.add(1);
        }
    }
    for (name, value) in std::env::vars_os() {
        if !name.is_empty() && !name.as_bytes().contains(&b'=') {
            // SAFETY: as above. It puts a copy in the place of the string.
            unsafe { std::env::set_var(name, value) };
        }
    }
    for (text, length) in shown {
        // SAFETY: the strings are those of the program's start, which are writable and as long as they were. What still
        // points to one, a second variable of the same name, is empty then.
        unsafe { std::ptr::write_bytes(text, 0, length) };
    }
}
