//! The callbacks of SQLite: the authorizer, which decides what a statement may do, and the progress handler, which ends it.

use assay_capability_api::lock;
use libsqlite3_sys::*;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a file that another process has locked is waited for.
const BUSY: Duration = Duration::from_secs(5);
/// Instructions of SQLite's machine between two looks at whether to go on.
const PACE: c_int = 1000;

/// Pragmas that only tell something.
const TELLING: [&str; 31] = [
    "application_id",
    "collation_list",
    "compile_options",
    "data_version",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "module_list",
    "page_count",
    "page_size",
    "pragma_list",
    "quick_check",
    "schema_version",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
    "max_page_count",
    "journal_size_limit",
    "wal_autocheckpoint",
    "cache_size",
    "mmap_size",
    "busy_timeout",
    "temp_store",
    "database_list",
];
/// Pragmas that may also be set.
const SETTABLE: [&str; 23] = [
    "application_id",
    "auto_vacuum",
    "automatic_index",
    "case_sensitive_like",
    "defer_foreign_keys",
    "encoding",
    "foreign_keys",
    "ignore_check_constraints",
    "incremental_vacuum",
    "journal_mode",
    "journal_size_limit",
    "locking_mode",
    "optimize",
    "analysis_limit",
    "page_size",
    "query_only",
    "recursive_triggers",
    "secure_delete",
    "synchronous",
    "user_version",
    "wal_autocheckpoint",
    "wal_checkpoint",
    "reverse_unordered_selects",
];
/// Of those that are set, what tells by an argument: `table_info(t)`.
const ASKING: [&str; 10] = [
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// What a connection's callbacks know.
pub struct Hooks {
    /// Nobody waits for the statement any more.
    pub stop: Arc<AtomicBool>,
    /// A statement of this crate is running, which may begin and end transactions.
    pub control: AtomicBool,
    /// Why something was refused.
    refused: Mutex<Option<String>>,
    /// Milliseconds that a lock was waited for.
    waited: AtomicU32,
}

impl Hooks {
    pub fn new() -> Hooks {
        Hooks {
            stop: Arc::default(),
            control: AtomicBool::new(false),
            refused: Mutex::default(),
            waited: AtomicU32::new(0),
        }
    }

    /// Why the last statement was refused, once.
    pub fn take_refusal(&self) -> Option<String> {
        lock(&self.refused).take()
    }

    /// Makes `db` ask.
    ///
    /// # Safety
    /// `db` is open, and closed before `self` is dropped or moved.
    pub unsafe fn install(&self, db: *mut sqlite3) {
        let this = std::ptr::from_ref(self).cast_mut().cast::<c_void>();
        // SAFETY: the callbacks are given what they expect, which outlives the connection.
        unsafe {
            sqlite3_set_authorizer(db, Some(authorize), this);
            sqlite3_progress_handler(db, PACE, Some(progress), this);
            sqlite3_busy_handler(db, Some(busy), this);
        }
    }

    /// Why `action` is not allowed; none where it is.
    fn refusal(&self, action: c_int, first: Option<&str>, second: Option<&str>) -> Option<String> {
        let name = first.unwrap_or_default().to_ascii_lowercase();
        match action {
            // VACUUM attaches a file without a name, VACUUM INTO the one that it writes.
            SQLITE_ATTACH if matches!(first, Some("" | ":memory:")) => None,
            SQLITE_ATTACH => Some(match first {
                Some(path) => format!(
                    "{path}: a connection reaches one database; ATTACH and VACUUM INTO are not allowed"
                ),
                None => "ATTACH is not allowed".into(),
            }),
            SQLITE_TRANSACTION | SQLITE_SAVEPOINT if !self.control.load(Ordering::Relaxed) => {
                Some("connections are shared; use db.transaction(conn, fn)".into())
            }
            SQLITE_PRAGMA => match second {
                None if TELLING.contains(&name.as_str()) || SETTABLE.contains(&name.as_str()) => None,
                Some(_) if SETTABLE.contains(&name.as_str()) || ASKING.contains(&name.as_str()) => None,
                _ => Some(format!("the pragma {name} is not allowed")),
            },
            SQLITE_FUNCTION => {
                let function = second.unwrap_or_default().to_ascii_lowercase();
                matches!(function.as_str(), "load_extension" | "fts3_tokenizer")
                    .then(|| format!("the function {function} is not allowed"))
            }
            _ => None,
        }
    }
}

/// # Safety
/// As SQLite calls it: strings or null, and the hooks that were installed.
unsafe extern "C" fn authorize(
    hooks: *mut c_void,
    action: c_int,
    first: *const c_char,
    second: *const c_char,
    _: *const c_char,
    _: *const c_char,
) -> c_int {
    // SAFETY: `install` gave it, and it lives as long as the connection.
    let hooks = unsafe { &*hooks.cast::<Hooks>() };
    let text = |text: *const c_char| {
        // SAFETY: it is null or a string that lives as long as this call.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy())
    };
    match hooks.refusal(action, text(first).as_deref(), text(second).as_deref()) {
        None => SQLITE_OK,
        Some(why) => {
            *lock(&hooks.refused) = Some(why);
            SQLITE_DENY
        }
    }
}

/// # Safety
/// As SQLite calls it, with the hooks that were installed.
unsafe extern "C" fn progress(hooks: *mut c_void) -> c_int {
    // SAFETY: `install` gave it, and it lives as long as the connection.
    let hooks = unsafe { &*hooks.cast::<Hooks>() };
    hooks.stop.load(Ordering::Relaxed).into()
}

/// # Safety
/// As SQLite calls it, with the hooks that were installed.
unsafe extern "C" fn busy(hooks: *mut c_void, tried: c_int) -> c_int {
    // SAFETY: `install` gave it, and it lives as long as the connection.
    let hooks = unsafe { &*hooks.cast::<Hooks>() };
    if tried == 0 {
        hooks.waited.store(0, Ordering::Relaxed);
    }
    let pause = u32::try_from(tried).unwrap_or(0).clamp(1, 25);
    let waited = hooks.waited.fetch_add(pause, Ordering::Relaxed);
    if hooks.stop.load(Ordering::Relaxed) || Duration::from_millis(waited.into()) >= BUSY {
        return 0;
    }
    std::thread::sleep(Duration::from_millis(pause.into()));
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed() {
        let hooks = Hooks::new();
        for (action, first, second, allowed) in [
            (SQLITE_ATTACH, Some(""), None, true),
            (SQLITE_ATTACH, Some(":memory:"), None, true),
            (SQLITE_ATTACH, Some("/etc/x.db"), None, false),
            (SQLITE_ATTACH, Some("file::memory:?cache=shared"), None, false),
            (SQLITE_ATTACH, None, None, false),
            (SQLITE_TRANSACTION, Some("BEGIN"), None, false),
            (SQLITE_SAVEPOINT, Some("BEGIN"), Some("x"), false),
            (SQLITE_PRAGMA, Some("Table_Info"), Some("t"), true),
            (SQLITE_PRAGMA, Some("journal_mode"), Some("wal"), true),
            (SQLITE_PRAGMA, Some("cache_size"), None, true),
            (SQLITE_PRAGMA, Some("cache_size"), Some("-1000000"), false),
            (SQLITE_PRAGMA, Some("writable_schema"), Some("1"), false),
            (SQLITE_PRAGMA, Some("writable_schema"), None, false),
            (SQLITE_PRAGMA, Some("temp_store_directory"), Some("/etc"), false),
            (SQLITE_PRAGMA, Some("max_page_count"), Some("9"), false),
            (SQLITE_PRAGMA, Some("mmap_size"), Some("9"), false),
            (SQLITE_FUNCTION, None, Some("LOAD_EXTENSION"), false),
            (SQLITE_FUNCTION, None, Some("upper"), true),
            (SQLITE_SELECT, None, None, true),
        ] {
            assert_eq!(
                hooks.refusal(action, first, second).is_none(),
                allowed,
                "{action} {first:?} {second:?}"
            );
        }
        hooks.control.store(true, Ordering::Relaxed);
        assert!(hooks.refusal(SQLITE_TRANSACTION, Some("BEGIN"), None).is_none());
    }
}
