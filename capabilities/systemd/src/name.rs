//! Names of units and machines: what is one, and how it is written in full.

use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};

/// The kinds of unit, which are the ends of their names (systemd.unit(5)).
pub const KINDS: &[&str] = &[
    "service",
    "socket",
    "target",
    "timer",
    "mount",
    "automount",
    "path",
    "slice",
    "scope",
    "swap",
    "device",
];

/// systemd's own limit on the name of a unit (`UNIT_NAME_MAX`).
const UNIT_MAX: usize = 255;
/// systemd's own limit on the name of a machine (`HOST_NAME_MAX`).
const MACHINE_MAX: usize = 64;

fn is_unit_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@')
}

fn invalid(what: &str, text: &str, why: &str) -> Error {
    error(ErrorCode::InvalidArgument, format!("{text:?} is not the name of a {what}: {why}"))
}

/// The kind of unit that a full name says.
pub fn kind(name: &str) -> Option<&str> {
    let (stem, kind) = name.rsplit_once('.')?;
    (!stem.is_empty() && KINDS.contains(&kind)).then_some(kind)
}

/// The full name of a unit: `nginx` is `nginx.service`, as systemctl takes it.
///
/// # Errors
/// `invalid-argument` for what cannot be a name: paths, wildcards, anything that is not ASCII.
pub fn unit(text: &str) -> Result<String, Error> {
    if text.is_empty() {
        return Err(invalid("unit", text, "it is empty"));
    }
    if let Some(bad) = text.chars().find(|c| !is_unit_character(*c)) {
        let why = match bad {
            '*' | '?' | '[' | ']' => "wildcards are only for systemd.list_units".to_string(),
            '/' => "give the unit's name, not a path (systemd-escape --path makes it)".to_string(),
            _ => format!("{bad:?} cannot be in it (systemd-escape writes it as \\xNN)"),
        };
        return Err(invalid("unit", text, &why));
    }
    let name = match kind(text) {
        Some(_) => text.to_string(),
        None => format!("{text}.service"),
    };
    if name.starts_with('@') || name.starts_with('.') {
        return Err(invalid("unit", text, "it must not begin with '@' or '.'"));
    }
    if name.len() > UNIT_MAX {
        return Err(invalid("unit", text, &format!("it is longer than {UNIT_MAX} bytes")));
    }
    Ok(name)
}

/// A pattern for the names of units in a list: as [`unit`], with the wildcards `*`, `?` and `[...]`.
///
/// # Errors
/// `invalid-argument` for what can match no name.
pub fn unit_pattern(text: &str) -> Result<String, Error> {
    if !text.contains(['*', '?', '[']) {
        return unit(text);
    }
    if let Some(bad) =
        text.chars().find(|c| !is_unit_character(*c) && !matches!(c, '*' | '?' | '[' | ']' | '!' | '^'))
    {
        return Err(invalid("unit", text, &format!("{bad:?} cannot be in a pattern")));
    }
    if text.len() > UNIT_MAX {
        return Err(invalid("unit", text, &format!("the pattern is longer than {UNIT_MAX} bytes")));
    }
    Ok(text.to_string())
}

/// Checks the name of a machine. `.host`, by which systemd's programs mean the host itself, is refused: what is
/// granted for a machine must not reach the host.
///
/// # Errors
/// `invalid-argument` for what is not a host name.
pub fn machine(text: &str) -> Result<&str, Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let why = if text.is_empty() {
        "it is empty"
    } else if text.len() > MACHINE_MAX {
        "it is longer than 64 bytes"
    } else if !text.chars().all(allowed) {
        "only letters, digits, '-', '_' and '.' can be in it"
    } else if text.starts_with(['-', '.']) || text.ends_with(['-', '.']) || text.contains("..") {
        "it must not begin or end with '-' or '.'"
    } else {
        return Ok(text);
    };
    Err(invalid("machine", text, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_written_in_full() {
        for (text, name) in [
            ("nginx", "nginx.service"),
            ("nginx.service", "nginx.service"),
            ("logrotate.timer", "logrotate.timer"),
            ("-.mount", "-.mount"),
            ("getty@tty1", "getty@tty1.service"),
            ("my.app", "my.app.service"),
            ("dev-disk-by\\x2duuid.device", "dev-disk-by\\x2duuid.device"),
        ] {
            assert_eq!(unit(text).ok().as_deref(), Some(name), "{text}");
        }
    }

    #[test]
    fn what_is_no_unit() {
        let long = "x".repeat(300);
        for text in [
            "",
            "*",
            "ngin?.service",
            "a b",
            "/etc/passwd",
            "../x.service",
            "@x",
            ".service",
            "a\nb",
            "a\0b",
            "ü.service",
            "a,b",
            "a;b",
            "$(x)",
            &long,
        ] {
            assert!(unit(text).is_err(), "{text}");
        }
        // A dash at the start is a name of systemd's (`-.slice`): no program gets it as an argument of its own.
        assert_eq!(unit("--now").ok().as_deref(), Some("--now.service"));
    }

    #[test]
    fn patterns() {
        assert_eq!(unit_pattern("nginx").ok().as_deref(), Some("nginx.service"));
        assert_eq!(unit_pattern("ng*").ok().as_deref(), Some("ng*"));
        assert_eq!(unit_pattern("[!a-c]?.timer").ok().as_deref(), Some("[!a-c]?.timer"));
        assert!(unit_pattern("a b*").is_err());
        assert!(unit_pattern("*/*").is_err());
    }

    #[test]
    fn machines() {
        for text in ["web", "web-1.example.com", "a_b", "A1"] {
            assert!(machine(text).is_ok(), "{text}");
        }
        let long = "x".repeat(65);
        for text in
            ["", ".host", "-x", "root@web", "user@.host", "a b", "a/b", "web.", "a..b", "web\n", "*", &long]
        {
            assert!(machine(text).is_err(), "{text}");
        }
    }
}
