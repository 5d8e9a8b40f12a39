//! Files of SQLite that take room of the run's temporary directory.

use super::vfs::Guarded;
use libsqlite3_sys::*;
use std::ffi::{c_int, c_void};

/// What stands behind an open file of SQLite's own file system, in the same memory. The methods come first: the file
/// points to them, and so to the whole.
#[repr(C)]
struct Counted {
    methods: sqlite3_io_methods,
    inner: *const sqlite3_io_methods,
    vfs: *const Guarded,
    /// Bytes of the shared memory file that took room.
    shared: i64,
}

/// Bytes of a file: SQLite's own with [`Counted`] behind it, and where that begins.
pub fn size_of_file(inner: c_int) -> (c_int, usize) {
    let offset = usize::try_from(inner).unwrap_or(0).next_multiple_of(align_of::<Counted>());
    (c_int::try_from(offset + size_of::<Counted>()).unwrap_or(c_int::MAX), offset)
}

/// Makes an open file take room for what is written to it.
///
/// # Safety
/// `file` was opened by SQLite's own file system, and has as many bytes as [`size_of_file`] says; `vfs` outlives it.
pub unsafe fn count(file: *mut sqlite3_file, offset: usize, vfs: *const Guarded) {
    // SAFETY: there is room for it, at an address that is a multiple of its alignment as `file` is.
    unsafe {
        let inner = (*file).pMethods;
        if inner.is_null() {
            return;
        }
        let mut methods = std::ptr::read(inner);
        methods.xWrite = Some(write);
        methods.xShmMap = methods.xShmMap.map(|_| map_shared as _);
        let counted = file.byte_add(offset).cast::<Counted>();
        counted.write(Counted { methods, inner, vfs, shared: 0 });
        (*file).pMethods = counted.cast();
    }
}

/// # Safety
/// As SQLite calls it, for a file that [`count`] has seen.
unsafe fn counted(file: *mut sqlite3_file) -> *mut Counted {
    // SAFETY: its methods are the first field of what stands behind it.
    unsafe { (*file).pMethods.cast::<Counted>().cast_mut() }
}

/// # Safety
/// As SQLite calls it, for a file that [`count`] has seen.
unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    at: sqlite3_int64,
) -> c_int {
    // SAFETY: the arguments are SQLite's own, handed on as they are.
    unsafe {
        let own = &*counted(file);
        let (Some(size_of), Some(write)) = ((*own.inner).xFileSize, (*own.inner).xWrite) else {
            return SQLITE_IOERR_WRITE;
        };
        let mut size = 0;
        let code = size_of(file, &mut size);
        if code != SQLITE_OK {
            return code;
        }
        let more = at.saturating_add(length.into()).saturating_sub(size);
        if more > 0 && !(*own.vfs).take(more.unsigned_abs(), 0) {
            return SQLITE_FULL;
        }
        write(file, bytes, length, at)
    }
}

/// The index of a log is a file too, which is mapped.
///
/// # Safety
/// As SQLite calls it, for a file that [`count`] has seen.
unsafe extern "C" fn map_shared(
    file: *mut sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: the arguments are SQLite's own, handed on as they are.
    unsafe {
        let own = &mut *counted(file);
        let Some(map) = (*own.inner).xShmMap else { return SQLITE_IOERR_SHMMAP };
        let end = (i64::from(region) + 1).saturating_mul(size.into());
        if end > own.shared {
            let more = if extend == 0 { 0 } else { end - own.shared };
            if !(*own.vfs).take(more.unsigned_abs(), u64::from(own.shared == 0)) {
                return SQLITE_FULL;
            }
            own.shared = own.shared.max(1) + more;
        }
        map(file, region, size, extend, out)
    }
}
