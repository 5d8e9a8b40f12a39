//! The files that one database may touch, and no other.
//!
//! SQLite opens by name: the database, its journal and its log, and whatever a journal that somebody prepared
//! names as the journal of several databases, which it even deletes. So each database has a file system of its own that
//! knows only its own names. They lead through a folder that was checked and is held open, and SQLite follows no
//! link in the last part of a name, so that nothing on the way can be swapped.

use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use libsqlite3_sys::*;
use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::atomic::{AtomicU64, Ordering};

/// A file system of SQLite. The first field must stay the first: SQLite gives back a pointer to it.
#[repr(C)]
struct Guarded {
    vfs: sqlite3_vfs,
    /// SQLite's own, which does the work.
    inner: *mut sqlite3_vfs,
    name: CString,
    /// The database's path; empty where it is in memory.
    path: Vec<u8>,
}

/// The file system of one database, as long as it is in use.
pub struct Vfs(Box<Guarded>);

// SAFETY: nothing changes after it is registered, and SQLite's own file system can be used from every thread.
unsafe impl Send for Vfs {}
// SAFETY: as above.
unsafe impl Sync for Vfs {}

impl Vfs {
    /// Registers a file system for the database at `path`.
    ///
    /// # Errors
    /// Where SQLite has no file system of its own.
    pub fn new(path: &CStr) -> Result<Vfs, Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name =
            CString::new(format!("assay-{}", NUMBER.fetch_add(1, Ordering::Relaxed))).unwrap_or_default();
        // SAFETY: null asks for the default; what it gives lives as long as the process.
        let inner = unsafe { sqlite3_vfs_find(std::ptr::null()) };
        if inner.is_null() {
            return Err(error(ErrorCode::Unsupported, "db: SQLite has no file system on this platform"));
        }
        // SAFETY: `inner` was just found; the structure is plain data.
        let mut vfs = unsafe { std::ptr::read(inner) };
        vfs.pNext = std::ptr::null_mut();
        vfs.zName = name.as_ptr();
        vfs.xOpen = Some(open);
        vfs.xDelete = Some(delete);
        vfs.xAccess = Some(access);
        vfs.xFullPathname = Some(full_path);
        vfs.xDlOpen = None;
        let mut guarded = Box::new(Guarded { vfs, inner, name, path: path.to_bytes().to_vec() });
        // SAFETY: the box keeps its address until `drop` takes it back.
        let code = unsafe { sqlite3_vfs_register(&raw mut guarded.vfs, 0) };
        match code {
            SQLITE_OK => Ok(Vfs(guarded)),
            code => Err(error(ErrorCode::Other, format!("db: SQLite takes no file system (error {code})"))),
        }
    }

    /// Its name, for opening.
    pub fn name(&self) -> &CStr {
        &self.0.name
    }
}

impl Drop for Vfs {
    fn drop(&mut self) {
        // SAFETY: it was registered, and no database uses it: each holds on to it.
        unsafe { sqlite3_vfs_unregister(&raw mut self.0.vfs) };
    }
}

impl Guarded {
    /// Whether a name is the database's or that of one of its companions.
    fn owns(&self, name: &CStr) -> bool {
        let rest = name.to_bytes().strip_prefix(self.path.as_slice());
        !self.path.is_empty()
            && rest.is_some_and(|rest| [&b""[..], b"-journal", b"-wal", b"-shm"].contains(&rest))
    }
}

/// # Safety
/// `vfs` is one that [`Vfs::new`] registered; SQLite calls only while it is.
unsafe fn guarded<'a>(vfs: *mut sqlite3_vfs) -> &'a Guarded {
    // SAFETY: the structure begins with what SQLite has the address of.
    unsafe { &*vfs.cast::<Guarded>() }
}

/// # Safety
/// As SQLite calls it: `name` is null for a temporary file, or a string.
unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: the arguments are SQLite's own, handed on as they are.
    unsafe {
        let own = guarded(vfs);
        if !name.is_null() && !own.owns(CStr::from_ptr(name)) {
            // SQLite looks here to see whether there is something to close.
            (*file).pMethods = std::ptr::null();
            return SQLITE_CANTOPEN;
        }
        match (*own.inner).xOpen {
            Some(open) => open(own.inner, name, file, flags, out),
            None => SQLITE_CANTOPEN,
        }
    }
}

/// # Safety
/// As SQLite calls it.
unsafe extern "C" fn delete(vfs: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: the arguments are SQLite's own, handed on as they are.
    unsafe {
        let own = guarded(vfs);
        match (*own.inner).xDelete {
            Some(delete) if own.owns(CStr::from_ptr(name)) => delete(own.inner, name, sync),
            _ => SQLITE_IOERR_DELETE,
        }
    }
}

/// # Safety
/// As SQLite calls it.
unsafe extern "C" fn access(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: the arguments are SQLite's own, handed on as they are.
    unsafe {
        let own = guarded(vfs);
        match (*own.inner).xAccess {
            Some(access) if own.owns(CStr::from_ptr(name)) => access(own.inner, name, flags, out),
            _ => {
                *out = 0;
                SQLITE_OK
            }
        }
    }
}

/// The name as it is: following links is what the folder that is held open is there to prevent.
///
/// # Safety
/// As SQLite calls it: `out` has room for `room` bytes.
unsafe extern "C" fn full_path(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: `name` is a string, and no more is written than there is room for.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if usize::try_from(room).is_ok_and(|room| bytes.len() <= room) {
            std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
            return SQLITE_OK;
        }
    }
    SQLITE_CANTOPEN
}
