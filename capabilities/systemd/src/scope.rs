//! The scopes: `read`, `journal`, `nginx.service:restart+reload`, `machine:web:exec`.

use crate::name;
use assay_capability_api::scope::NameScope;
use assay_capability_api::types::Error;
use assay_capability_api::{GrantError, Request, Run, Scope};

/// The capability's name.
pub const SYSTEMD: &str = "systemd";

/// What can be done to a unit.
const UNIT_VERBS: &[&str] =
    &["status", "start", "stop", "restart", "reload", "enable", "disable", "reset-failed"];
/// What can be done to a machine.
const MACHINE_VERBS: &[&str] = &["status", "start", "poweroff", "reboot", "terminate", "exec", "journal"];

/// In place of a unit's name where a request is about all of them.
pub const EVERYTHING: &str = "the whole system";

const FORMS: &str = "read, journal, journal:UNIT, daemon-reload, UNIT:VERB+VERB, machine:NAME:VERB+VERB";

/// A machine as a request names it: a blank is in no unit's name.
pub fn machine_name(name: &str) -> String {
    format!("machine {name}")
}

/// Asks for something to be done to a unit, by its full name.
///
/// # Errors
/// `denied`.
pub fn check_unit(run: &Run, verb: &str, name: &str) -> Result<(), Error> {
    let scope = match verb {
        "status" => "read".to_string(),
        "journal" => format!("journal:{name}"),
        _ => format!("{name}:{verb}"),
    };
    run.check(SYSTEMD, &Request::Action { verb, name, scope: &scope })
}

/// Asks for something to be done to a machine.
///
/// # Errors
/// `denied`.
pub fn check_machine(run: &Run, verb: &str, name: &str) -> Result<(), Error> {
    let scope = machine_scope(verb, name);
    run.check(SYSTEMD, &Request::Action { verb, name: &machine_name(name), scope: &scope })
}

/// The narrowest scope for a machine's verb.
pub fn machine_scope(verb: &str, name: &str) -> String {
    match verb {
        "status" => "read".to_string(),
        _ => format!("machine:{name}:{verb}"),
    }
}

/// Asks for a list: of units, timers, machines.
///
/// # Errors
/// `denied`.
pub fn check_list(run: &Run, what: &str) -> Result<(), Error> {
    run.check(SYSTEMD, &Request::Action { verb: "list", name: what, scope: "read" })
}

/// Asks for something that concerns the system as a whole: `journal`, `daemon-reload`.
///
/// # Errors
/// `denied`.
pub fn check_whole(run: &Run, verb: &str) -> Result<(), Error> {
    run.check(SYSTEMD, &Request::Action { verb, name: EVERYTHING, scope: verb })
}

#[derive(Debug)]
enum Form {
    /// Lists and states.
    Read,
    /// The entries of these units; none: the whole journal.
    Journal(Option<NameScope>),
    DaemonReload,
    /// These verbs on these units, or on these machines.
    Verbs {
        names: NameScope,
        machines: bool,
        verbs: Vec<&'static str>,
    },
}

#[derive(Debug)]
struct SystemdScope {
    form: Form,
    denies: bool,
}

impl Scope for SystemdScope {
    fn matches(&self, request: &Request<'_>) -> bool {
        let Request::Action { verb, name, .. } = *request else { return false };
        let machine = name.strip_prefix("machine ");
        match &self.form {
            Form::Read => matches!(verb, "list" | "status"),
            Form::DaemonReload => verb == "daemon-reload",
            Form::Journal(units) => {
                verb == "journal"
                    && machine.is_none()
                    && match units {
                        None => true,
                        // The whole journal has the entries of a unit that is denied.
                        Some(_) if name == EVERYTHING => self.denies,
                        Some(units) => units.matches(&Request::Name(name)),
                    }
            }
            Form::Verbs { names, machines, verbs } => {
                let own = if *machines { machine } else { Some(name).filter(|_| machine.is_none()) };
                own.is_some_and(|own| names.matches(&Request::Name(own))) && verbs.contains(&verb)
            }
        }
    }

    fn widen_for_denial(&mut self) {
        self.denies = true;
    }
}

fn wrong(text: &str, why: &str) -> GrantError {
    GrantError::new(format!("{text:?} is not a scope of systemd: {why}; there are {FORMS}"))
}

/// The verbs of `start+stop`; `*` is all of them.
fn verbs(text: &str, all: &'static [&'static str], whole: &str) -> Result<Vec<&'static str>, GrantError> {
    if text == "*" {
        return Ok(all.to_vec());
    }
    text.split('+')
        .map(|verb| {
            all.iter().copied().find(|known| *known == verb).ok_or_else(|| {
                wrong(whole, &format!("there is no verb {verb:?}, only {} and * for all", all.join(", ")))
            })
        })
        .collect()
}

/// A pattern for full names of units: `nginx` stands for `nginx.service`, `web-*` for all kinds.
fn unit_names(text: &str, whole: &str) -> Result<NameScope, GrantError> {
    let plain: String = text.chars().map(|c| if c == '*' { 'x' } else { c }).collect();
    name::unit(&plain).map_err(|error| wrong(whole, &error.message.replace(&plain, text)))?;
    let full = text.ends_with('*') || name::kind(text).is_some();
    Ok(NameScope::new(if full { text.to_string() } else { format!("{text}.service") }))
}

fn machine_names(text: &str, whole: &str) -> Result<NameScope, GrantError> {
    let plain: String = text.chars().map(|c| if c == '*' { 'x' } else { c }).collect();
    name::machine(&plain).map_err(|error| wrong(whole, &error.message.replace(&plain, text)))?;
    Ok(NameScope::new(text))
}

/// Reads a scope.
///
/// # Errors
/// When `text` is of no form that there is.
pub fn parse(text: &str) -> Result<Box<dyn Scope>, GrantError> {
    let form = match text {
        "read" => Form::Read,
        "journal" => Form::Journal(None),
        "daemon-reload" => Form::DaemonReload,
        _ => match text.split_once(':') {
            Some(("journal", units)) => Form::Journal(Some(unit_names(units, text)?)),
            Some(("machine", rest)) => {
                let Some((names, list)) = rest.rsplit_once(':') else {
                    return Err(wrong(text, "it says no verb"));
                };
                Form::Verbs {
                    names: machine_names(names, text)?,
                    machines: true,
                    verbs: verbs(list, MACHINE_VERBS, text)?,
                }
            }
            // A colon may be in a unit's name; it is in no verb.
            Some(_) => {
                let (names, list) = text.rsplit_once(':').unwrap_or((text, ""));
                let before = names.rsplit_once(':');
                if before.is_some_and(|(_, word)| word.split('+').all(|verb| UNIT_VERBS.contains(&verb))) {
                    return Err(wrong(text, "verbs have a plus between them"));
                }
                if before.is_some_and(|(word, _)| matches!(word, "unit" | "units" | "service")) {
                    return Err(wrong(text, "a unit is named by itself"));
                }
                Form::Verbs {
                    names: unit_names(names, text)?,
                    machines: false,
                    verbs: verbs(list, UNIT_VERBS, text)?,
                }
            }
            None => return Err(wrong(text, "it says no verb")),
        },
    };
    Ok(Box::new(SystemdScope { form, denies: false }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action<'a>(verb: &'a str, name: &'a str) -> Request<'a> {
        Request::Action { verb, name, scope: "" }
    }

    #[track_caller]
    fn matches(scope: &str, verb: &str, name: &str) -> bool {
        parse(scope).unwrap_or_else(|error| panic!("{error}")).matches(&action(verb, name))
    }

    #[test]
    fn verbs_on_units() {
        assert!(matches("nginx:restart", "restart", "nginx.service"));
        assert!(matches("nginx.service:restart+reload", "reload", "nginx.service"));
        assert!(!matches("nginx:restart", "stop", "nginx.service"));
        assert!(!matches("nginx:restart", "restart", "nginx.socket"));
        assert!(!matches("nginx:restart", "restart", "nginx-evil.service"));
        assert!(matches("web-*:start", "start", "web-1.timer"));
        assert!(!matches("web-*.service:start", "start", "web-1.timer"));
        assert!(matches("a-*-b:start", "start", "a-1-b.service"));
        assert!(matches("a:b.service:stop", "stop", "a:b.service"));
        assert!(matches("nginx:*", "enable", "nginx.service"));
        assert!(!matches("*:*", "journal", "nginx.service"));
        assert!(!matches("*:*", "exec", "machine web"));
        assert!(!matches("*:*", "poweroff", "machine web"));
        assert!(!matches("*:start", "start", "machine web"));
        assert!(!matches("*:*", "daemon-reload", EVERYTHING));
    }

    #[test]
    fn machines() {
        assert!(matches("machine:web:exec", "exec", "machine web"));
        assert!(matches("machine:w*:*", "poweroff", "machine web"));
        assert!(!matches("machine:web:exec", "exec", "machine web2"));
        assert!(!matches("machine:*:*", "start", "web.service"));
        assert!(!matches("machine:web:exec", "poweroff", "machine web"));
    }

    #[test]
    fn reading() {
        assert!(matches("read", "status", "nginx.service"));
        assert!(matches("read", "status", "machine web"));
        assert!(matches("read", "list", "units"));
        assert!(!matches("read", "journal", EVERYTHING));
        assert!(!matches("read", "start", "nginx.service"));
        assert!(matches("nginx:status", "status", "nginx.service"));
        assert!(!matches("nginx:status", "list", "units"));
    }

    #[test]
    fn the_journal() {
        assert!(matches("journal", "journal", EVERYTHING));
        assert!(matches("journal", "journal", "nginx.service"));
        assert!(matches("journal:nginx", "journal", "nginx.service"));
        assert!(!matches("journal:nginx", "journal", "ssh.service"));
        assert!(!matches("journal:*", "journal", EVERYTHING));
        assert!(!matches("journal", "journal", "machine web"));
        let mut denial = parse("journal:ssh").unwrap_or_else(|error| panic!("{error}"));
        denial.widen_for_denial();
        assert!(denial.matches(&action("journal", EVERYTHING)));
        assert!(!denial.matches(&action("journal", "nginx.service")));
    }

    #[test]
    fn what_is_no_scope() {
        for text in [
            "",
            "nginx",
            "nginx:",
            ":restart",
            "nginx:explode",
            "nginx:restart+",
            "machine:web",
            "machine:web:",
            "machine:.host:exec",
            "machine:a b:exec",
            "machine:web:restart",
            "journal:",
            "journal:a b",
            "a/b:start",
            "nginx:restart,stop",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
