//! Scopes of `db`: files of SQLite, and databases on servers.

use assay_capability_api::scope::{NetworkScope, PathScope, READ};
use assay_capability_api::{Access, GrantError, Request, Scope};
use std::net::IpAddr;
use std::path::Path;

/// The verbs of [`Request::Action`] for SQLite.
pub const READ_FILE: &str = "read";
pub const WRITE_FILE: &str = "write";
/// The name of a database that lives in memory only.
pub const MEMORY: &str = ":memory:";

const FORMS: &str = "write sqlite:PATH, sqlite::memory:, postgres://HOST[:PORT][/DATABASE] or mysql://HOST[:PORT][/DATABASE], \
                     each but sqlite::memory: with ?ro at its end for reading only";

/// A scope of `db`.
#[derive(Debug)]
enum DbScope {
    Memory,
    File {
        scope: PathScope,
        only_read: bool,
    },
    Server {
        place: NetworkScope,
        only_read: bool,
    },
    /// Databases where files may not be read or written; only for a denial of those.
    Files(PathScope),
}

/// The port of a server that names none.
pub fn default_port(scheme: &str) -> u16 {
    if scheme == "mysql" { 3306 } else { 5432 }
}

/// Reads a scope of `db`.
///
/// # Errors
/// When it has none of the forms above.
pub fn parse(text: &str, base: &Path) -> Result<Box<dyn Scope>, GrantError> {
    let bad = |why: &str| GrantError::new(format!("{text}: {why}; {FORMS}"));
    let (place, only_read) = match text.split_once('?') {
        None => (text, false),
        Some((place, "ro")) => (place, true),
        Some(_) => return Err(bad("only ?ro can follow")),
    };
    if let Some(path) = place.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return match path {
            "" => Err(bad("the path is missing")),
            MEMORY => Ok(Box::new(DbScope::Memory)),
            path if path.starts_with(':') => Err(bad("the database in memory is :memory:")),
            path => {
                let path = assay_capability_api::scope::read_path(path).map_err(|why| bad(&why))?;
                let path = assay_capability_api::scope::normalize(&base.join(path));
                Ok(Box::new(DbScope::File { scope: PathScope::new(true, true, path), only_read }))
            }
        };
    }
    let (scheme, rest) = match place.split_once("://") {
        Some(("postgres" | "postgresql", rest)) => ("postgres", rest),
        Some(("mysql" | "mariadb", rest)) => ("mysql", rest),
        _ => return Err(bad("it names no kind of database")),
    };
    let (host, database) = rest.split_once('/').unwrap_or((rest, ""));
    if database.contains('/') {
        return Err(bad("a database has no slash in its name"));
    }
    if host.parse::<IpAddr>().is_ok() && (1..=3).contains(&database.len()) && is_number(database) {
        return Err(bad("a range of addresses is not a scope of databases"));
    }
    let place = NetworkScope::of_database(scheme, host, database).map_err(|why| bad(&why))?;
    Ok(Box::new(DbScope::Server { place, only_read }))
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Databases in files, as a scope of `fs` names them.
///
/// # Errors
/// When `text` is no scope of `fs`.
pub fn of_files(text: &str, base: &Path) -> Result<Box<dyn Scope>, GrantError> {
    Ok(Box::new(DbScope::Files(PathScope::parse(text, base)?)))
}

impl Scope for DbScope {
    fn matches(&self, request: &Request<'_>) -> bool {
        match (self, request) {
            (DbScope::Memory, Request::Action { name, .. }) => *name == MEMORY,
            (DbScope::File { .. } | DbScope::Files(_), Request::Action { name: MEMORY, .. }) => false,
            (DbScope::Files(scope), Request::Action { verb, name, .. }) => {
                let access = if *verb == READ_FILE { Access::Read } else { Access::Write };
                scope.matches(&Request::File { access, path: Path::new(name) })
            }
            (DbScope::File { scope, only_read }, Request::Action { verb, name, .. }) => {
                (!only_read || *verb == READ_FILE)
                    && scope.matches(&Request::File { access: Access::Write, path: Path::new(name) })
            }
            (DbScope::Server { place, only_read }, Request::Network { method, .. }) => {
                (!only_read || *method == Some(READ)) && place.matches(request)
            }
            _ => false,
        }
    }

    fn widen_for_denial(&mut self) {
        match self {
            DbScope::Memory => {}
            DbScope::Files(scope) => scope.widen_for_denial(),
            // A connection that writes can read too.
            DbScope::File { scope, only_read } => {
                *only_read = false;
                scope.widen_for_denial();
            }
            DbScope::Server { place, only_read } => {
                *only_read = false;
                place.widen_for_denial();
            }
        }
    }

    fn sample_address(&self) -> Option<IpAddr> {
        match self {
            DbScope::Server { place, .. } => place.sample_address(),
            _ => None,
        }
    }

    fn names_host(&self, host: &str) -> bool {
        matches!(self, DbScope::Server { place, .. } if place.names_host(host))
    }

    fn names_scheme(&self) -> bool {
        matches!(self, DbScope::Server { .. })
    }

    fn names_address(&self, address: IpAddr) -> bool {
        matches!(self, DbScope::Server { place, .. } if place.names_address(address))
    }

    fn lies_in(&self, root: &Path) -> bool {
        matches!(self, DbScope::File { scope, .. } if scope.lies_in(root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(verb: &'static str, name: &'static str) -> Request<'static> {
        Request::Action { verb, name, scope: "" }
    }

    fn server(scheme: &'static str, host: &'static str, port: u16, path: &'static str) -> Request<'static> {
        Request::Network { scheme, method: Some("WRITE"), host, port, path: Some(path), address: None }
    }

    fn scope(text: &str) -> Box<dyn Scope> {
        parse(text, Path::new("/srv")).unwrap()
    }

    #[test]
    fn files() {
        let rw = scope("sqlite:app.db");
        assert!(rw.matches(&file(READ_FILE, "/srv/app.db")) && rw.matches(&file(WRITE_FILE, "/srv/app.db")));
        assert!(!rw.matches(&file(READ_FILE, "/srv/app.db2")) && !rw.matches(&file(READ_FILE, MEMORY)));
        let ro = scope("sqlite:///data?ro");
        assert!(ro.matches(&file(READ_FILE, "/data/x.db")) && !ro.matches(&file(WRITE_FILE, "/data/x.db")));
        let memory = scope("sqlite::memory:");
        assert!(
            memory.matches(&file(WRITE_FILE, MEMORY)) && !memory.matches(&file(READ_FILE, "/srv/:memory:"))
        );
    }

    #[test]
    fn servers() {
        for (text, request, matches) in [
            ("postgres://db.example/app", server("postgres", "db.example", 5432, "/app"), true),
            ("postgres://db.example/app", server("postgres", "db.example", 5433, "/app"), false),
            ("postgres://db.example/app", server("postgres", "db.example", 5432, "/app2"), false),
            ("postgres://db.example/app", server("mysql", "db.example", 5432, "/app"), false),
            ("postgresql://db.example/app_*", server("postgres", "db.example", 5432, "/app_1"), true),
            ("postgres://db.example:6000", server("postgres", "db.example", 6000, "/any"), true),
            ("mariadb://*.example", server("mysql", "a.example", 3306, "/any"), true),
            ("mysql://[::1]/x", server("mysql", "::1", 3306, "/x"), true),
            ("mysql://::1/x", server("mysql", "::1", 3306, "/x"), true),
            ("postgres://db.example:*/app", server("postgres", "db.example", 1, "/app"), true),
            ("postgres://db.example/app?ro", server("postgres", "db.example", 5432, "/app"), false),
            ("postgres://127.1/app", server("postgres", "127.0.0.1", 5432, "/app"), true),
            ("postgres://bücher.example/ä", server("postgres", "xn--bcher-kva.example", 5432, "/ä"), true),
        ] {
            assert_eq!(scope(text).matches(&request), matches, "{text}");
        }
        let read = Request::Network {
            scheme: "postgres",
            method: Some(READ),
            host: "h",
            port: 5432,
            path: Some("/d"),
            address: None,
        };
        assert!(scope("postgres://h/d?ro").matches(&read) && scope("postgres://h/d").matches(&read));
        assert_eq!(read.scope().unwrap(), "postgres://h:5432/d?ro");
    }

    #[test]
    fn a_denial_takes_in_what_might_be_meant() {
        let denied = |text: &str, request: &Request<'_>| {
            let mut scope = scope(text);
            scope.widen_for_denial();
            scope.matches(request)
        };
        for (text, request, matches) in [
            ("postgres://127.0.0.1:5432", server("postgres", "localhost", 5432, "/app"), true),
            ("postgres://127.0.0.1:5432", server("postgres", "0.0.0.0", 5432, "/app"), true),
            ("postgres://localhost:5432", server("postgres", "::1", 5432, "/app"), true),
            ("postgres://127.0.0.1:5432", server("postgres", "localhost", 5433, "/app"), false),
            ("postgres://db.example", server("postgres", "db.example", 6000, "/app"), true),
            ("postgres://db.example/app?ro", server("postgres", "db.example", 5432, "/app"), true),
            ("postgres://db.example/app", server("postgres", "db.example", 5432, "/"), true),
            ("postgres://db.example/app", server("postgres", "db.example", 5432, "/other"), false),
            ("mysql://db.example/app", server("mysql", "db.example", 3306, "/other"), true),
            ("mysql://db.example", server("postgres", "db.example", 3306, "/other"), false),
        ] {
            assert_eq!(denied(text, &request), matches, "{text}");
        }
        assert!(denied("sqlite:/data?ro", &file(WRITE_FILE, "/data/x.db")));
        let mut files = of_files("read:/data", Path::new("/")).unwrap();
        files.widen_for_denial();
        assert!(
            files.matches(&file(READ_FILE, "/data/x.db")) && !files.matches(&file(READ_FILE, "/other.db"))
        );
        assert!(!files.matches(&file(READ_FILE, MEMORY)) && !files.matches(&server("mysql", "h", 1, "/")));
        assert!(denied("sqlite:/data", &file(READ_FILE, "/data/x.db")));
    }

    #[test]
    fn what_is_not_a_scope_is_refused() {
        for text in [
            "",
            "sqlite:",
            "x",
            "postgres://",
            "postgres://u@h/d",
            "postgres://h/d?x",
            "postgres://h/a/b",
            "oracle://h/d",
        ] {
            assert!(parse(text, Path::new("/")).is_err(), "{text}");
        }
    }
}
