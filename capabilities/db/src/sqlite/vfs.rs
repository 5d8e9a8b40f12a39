//! The files that one database may touch, and no other.
//!
//! SQLite opens by name: the database, its journal and its log, and whatever a journal that somebody prepared
//! names as the journal of several databases, which it even deletes. So each database has a file system of its own that
//! knows only its own names. They lead through a directory that was checked and is held open, and SQLite follows no
//! link in the last part of a name, so that nothing on the way can be swapped.
//!
//! What SQLite writes in the run's temporary directory takes its room. It has no temporary files of its own: those it
//! holds in memory (`temp_store`), and there they are refused.

use super::{COMPANIONS, file};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error, lock};
use assay_capability_fs::Temp;
use libsqlite3_sys::*;
use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A file system of SQLite. The first field must stay the first: SQLite gives back a pointer to it.
#[repr(C)]
pub struct Guarded {
    vfs: sqlite3_vfs,
    /// SQLite's own, which does the work.
    inner: *mut sqlite3_vfs,
    name: CString,
    /// The database's path; empty where it is in memory.
    path: Vec<u8>,
    run: Arc<Run>,
    /// The run's temporary directory, where the database lies in it.
    room: Option<Arc<Temp>>,
    /// Where in a file's memory [`file::count`] begins.
    offset: usize,
    /// Why the last write was refused.
    refusal: Mutex<Option<Error>>,
}

/// The file system of one database, as long as it is in use.
pub struct Vfs(Box<Guarded>);

// SAFETY: nothing changes after it is registered, and SQLite's own file system can be used from every thread.
unsafe impl Send for Vfs {}
// SAFETY: as above.
unsafe impl Sync for Vfs {}

impl Vfs {
    /// Registers a file system for the database at `path`, which lies in `room` if there is one.
    ///
    /// # Errors
    /// Where SQLite has no file system of its own.
    pub fn new(run: &Arc<Run>, path: &CStr, room: Option<Arc<Temp>>) -> Result<Vfs, Error> {
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
        let offset;
        (vfs.szOsFile, offset) = file::size_of_file(vfs.szOsFile);
        let (path, run, refusal) = (path.to_bytes().to_vec(), run.clone(), Mutex::default());
        let mut guarded = Box::new(Guarded { vfs, inner, name, path, run, room, offset, refusal });
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

    /// Why a write was refused since this was asked last.
    pub fn take_refusal(&self) -> Option<Error> {
        lock(&self.0.refusal).take()
    }
}

impl Drop for Vfs {
    fn drop(&mut self) {
        // SAFETY: it was registered, and no database uses it: each holds on to it.
        unsafe { sqlite3_vfs_unregister(&raw mut self.0.vfs) };
    }
}

impl Guarded {
    /// Takes room for what is about to be written; whether there is so much.
    pub fn take(&self, bytes: u64, entries: u64) -> bool {
        let Some(room) = &self.room else { return true };
        let taken = room.take(&self.run, bytes, entries);
        // SQLite has no more than a number for the reason.
        let mut refusal = lock(&self.refusal);
        taken.map_err(|failure| *refusal = Some(failure)).is_ok()
    }

    /// Whether there is a file.
    ///
    /// # Safety
    /// `name` is a string.
    unsafe fn exists(&self, name: *const c_char) -> bool {
        let mut found = 0;
        // SAFETY: the file system is SQLite's own, and `found` is a place for a number.
        let code = unsafe {
            (*self.inner).xAccess.map(|access| access(self.inner, name, SQLITE_ACCESS_EXISTS, &mut found))
        };
        code == Some(SQLITE_OK) && found != 0
    }

    /// Whether a name is the database's or that of one of its companions.
    fn owns(&self, name: &CStr) -> bool {
        let rest = name.to_bytes().strip_prefix(self.path.as_slice());
        !self.path.is_empty()
            && rest.is_some_and(|rest| rest.is_empty() || COMPANIONS.iter().any(|one| one.as_bytes() == rest))
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
        // SQLite looks here to see whether there is something to close.
        (*file).pMethods = std::ptr::null();
        let is_own = !name.is_null() && own.owns(CStr::from_ptr(name));
        let Some(open) = (*own.inner).xOpen.filter(|_| is_own) else { return SQLITE_CANTOPEN };
        let makes = own.room.is_some() && flags & SQLITE_OPEN_CREATE != 0 && !own.exists(name);
        if makes && !own.take(0, 1) {
            return SQLITE_FULL;
        }
        let code = open(own.inner, name, file, flags, out);
        if code == SQLITE_OK && own.room.is_some() {
            file::count(file, own.offset, own);
        }
        code
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

/// The name as it is: following links is what the directory that is held open is there to prevent.
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
