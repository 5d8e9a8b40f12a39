//! What a run sees of its environment, under grants and without.

use super::*;
use assay_capability_api::{Ambient, Policy, RunState, policy};
use std::sync::atomic::Ordering;

fn run(allow: &str, deny: &str) -> Run {
    let mut rules = Policy::default();
    let parse = |text: &str| policy::parse(text, Path::new("/"), &[&Env]).unwrap();
    rules.allow(parse(allow));
    rules.deny(parse(deny));
    let host = [("HOME", "/home/x"), ("AWS_REGION", "eu"), ("AWS_KEY", "k"), ("SECRET", "s")];
    let variables = host.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let ambient = Ambient { variables, ..Ambient::default() }.into();
    RunState { ambient, ..RunState::new(rules, "/".into()) }.into()
}

fn environment() -> Environment {
    Environment::given([("GIVEN".to_string(), "g".to_string())])
}

fn names(run: &Run, environment: &Environment) -> String {
    environment.list(run).into_keys().collect::<Vec<_>>().join(" ")
}

#[test]
fn only_granted_names_are_seen() {
    let environment = environment();
    for (allow, deny, seen) in [
        ("", "", "GIVEN"),
        ("env=HOME", "", "GIVEN HOME"),
        ("env=AWS_*", "", "AWS_KEY AWS_REGION GIVEN"),
        ("env=AWS_*", "env=*_KEY", "AWS_REGION GIVEN"),
        ("env", "env=SECRET", "AWS_KEY AWS_REGION GIVEN HOME"),
        ("env", "env", "GIVEN"),
    ] {
        let run = run(allow, deny);
        assert_eq!(names(&run, &environment), seen, "{allow} without {deny}");
        assert_eq!(run.usage.denials.load(Ordering::Relaxed), 0, "a list is no attempt");
        for name in ["HOME", "AWS_REGION", "AWS_KEY", "SECRET"] {
            let visible = seen.split(' ').any(|own| own == name);
            assert_eq!(environment.get(&run, name).is_some(), visible, "{name} with {allow} without {deny}");
        }
        assert_eq!(environment.get(&run, "GIVEN").as_deref(), Some(&b"g"[..]));
    }
}

#[test]
fn a_refused_name_is_audited() {
    let run = run("", "");
    assert_eq!(environment().get(&run, "SECRET"), None);
    assert_eq!(environment().get(&run, "NOT_SET"), None);
    assert_eq!(run.usage.denials.load(Ordering::Relaxed), 2);
}

#[test]
fn what_a_script_sets_is_its_own() {
    let run = run("env=HOME", "");
    let mut environment = environment();
    environment.set("SECRET".into(), Some(b"mine".to_vec())).unwrap();
    assert_eq!(environment.get(&run, "SECRET").as_deref(), Some(&b"mine"[..]));
    environment.set("SECRET".into(), None).unwrap();
    assert_eq!(environment.get(&run, "SECRET"), None, "removing does not uncover the host's");
    environment.set("HOME".into(), None).unwrap();
    environment.set("GIVEN".into(), None).unwrap();
    assert_eq!(names(&run, &environment), "");
    environment.set("A".into(), Some(b"\xff".to_vec())).unwrap();
    assert_eq!(names(&run, &environment), "A");
}

#[test]
fn what_cannot_be_set() {
    let mut environment = environment();
    for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0")] {
        let code = environment.set(name.into(), Some(value.into())).unwrap_err().code;
        assert_eq!(code, ErrorCode::InvalidArgument, "{name:?}");
    }
    environment.set("A".into(), Some(vec![b'x'; OVERLAY_MAX - 1])).unwrap();
    assert_eq!(environment.set("B".into(), Some(Vec::new())).unwrap_err().code, ErrorCode::Limit);
    environment.set("A".into(), Some(vec![b'x'; OVERLAY_MAX - 2])).unwrap();
    environment.set("B".into(), Some(Vec::new())).unwrap();
}

#[test]
fn scopes() {
    for text in ["", "A=B", "A\0"] {
        assert!(Env.scope(text, Path::new("/")).is_err(), "{text:?}");
    }
}
