//! Decisions go to what the program keeps them in, which may be a database; what it does not keep is not done.

use assay_capability_api::{
    Audit, AuditSink, Event, Identity, Limit, Limits, Policy, RunState, Stop, policy,
};
use assay_runner::{Ended, Input, RunOutcome, RunSpec, Runner, Script};
use serde_json::Value;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How a [`Memory`] keeps what it took.
enum Keeps {
    All,
    Nothing,
    /// It never says.
    Silent,
}

/// An audit in memory, with room for so many events.
struct Memory {
    events: Mutex<Vec<Value>>,
    room: usize,
    keeps: Keeps,
    asked: AtomicUsize,
}

impl Memory {
    fn new(room: usize, keeps: Keeps) -> Arc<Memory> {
        Arc::new(Memory { events: Mutex::default(), room, keeps, asked: AtomicUsize::new(0) })
    }

    fn events(&self) -> Vec<Value> {
        self.events.lock().unwrap().clone()
    }
}

impl AuditSink for Memory {
    fn record(&self, event: &Event<'_>) -> io::Result<()> {
        let mut events = self.events.lock().unwrap();
        if events.len() == self.room {
            return Err(io::Error::other("the table is full"));
        }
        events.push(serde_json::to_value(event)?);
        Ok(())
    }

    fn kept<'a>(&'a self) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>> {
        Box::pin(async {
            self.asked.fetch_add(1, Ordering::Relaxed);
            match self.keeps {
                Keeps::All => Ok(()),
                Keeps::Nothing => Err(io::Error::other("the database is gone")),
                Keeps::Silent => std::future::pending().await,
            }
        })
    }
}

async fn run(sink: &Arc<Memory>, tenant: &str, limits: Limits, source: &str) -> RunOutcome {
    let mut granted = Policy::default();
    granted.allow(policy::parse("env=A,fs=rw:/nowhere", Path::new("/"), Runner::capabilities()).unwrap());
    let script = Script::new("x.lua", source.as_bytes());
    let identity = Identity { run: format!("run of {tenant}"), ..script.identity(Some(tenant.into())) };
    let audit = Audit::new(sink.clone());
    let state = RunState { audit, identity, ..RunState::new(granted, "/".into()) }.limited(limits);
    crate::runner().run(&script, Input::default(), RunSpec::new(state.into())).await
}

#[tokio::test]
async fn runs_of_tenants_share_an_audit() {
    let sink = Memory::new(100, Keeps::All);
    for tenant in ["acme", "other"] {
        let outcome =
            run(&sink, tenant, Limits::default(), "env.get('A') pcall(fs.read, '/etc/passwd')").await;
        assert!(matches!(outcome.ended, Ended::Returned(_)), "{outcome:?}");
    }
    let told: Vec<_> = sink
        .events()
        .iter()
        .map(|event| {
            ["tenant", "run", "decision", "capability"].map(|name| event[name].as_str().unwrap().to_string())
        })
        .collect();
    let expected = [
        ["acme", "run of acme", "allow", "env"],
        ["acme", "run of acme", "deny", "fs"],
        ["other", "run of other", "allow", "env"],
        ["other", "run of other", "deny", "fs"],
    ];
    assert_eq!(told, expected);
    assert_eq!(sink.asked.load(Ordering::Relaxed), 2, "each run asks once whether its decisions are kept");
}

#[tokio::test]
async fn a_decision_that_is_not_taken_ends_the_run() {
    let sink = Memory::new(1, Keeps::All);
    for source in [
        "env.get('A') pcall(env.get, 'A') while true do end",
        "pcall(env.get, 'A') os.exit(0)",
        "pcall(fs.read, '/etc/passwd') return 1",
    ] {
        let outcome = run(&sink, "acme", Limits::default(), source).await;
        let Ended::Stopped(Stop::Unaudited(why)) = &outcome.ended else { panic!("{source}: {outcome:?}") };
        assert_eq!(why, "the table is full");
        assert_eq!(sink.events().len(), 1, "{source}");
    }
    // Without a decision nothing is to be written.
    let outcome = run(&sink, "acme", Limits::default(), "return 1").await;
    assert!(matches!(outcome.ended, Ended::Returned(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_decision_that_is_not_kept_ends_the_run() {
    let sink = Memory::new(100, Keeps::Nothing);
    for source in ["return env.get('A')", "env.get('A') os.exit(0)", "env.get('A') error('no')"] {
        let outcome = run(&sink, "acme", Limits::default(), source).await;
        let Ended::Stopped(Stop::Unaudited(why)) = &outcome.ended else { panic!("{source}: {outcome:?}") };
        assert_eq!(why, "the database is gone");
    }
    // A database that does not answer holds up a run no longer than its limits allow.
    let silent = Memory::new(100, Keeps::Silent);
    let limits = Limits { timeout: Some(Duration::from_millis(50)), ..Limits::default() };
    let outcome = run(&silent, "acme", limits, "return env.get('A')").await;
    assert!(matches!(outcome.ended, Ended::Stopped(Stop::Limit(Limit::Timeout))), "{outcome:?}");
}

#[tokio::test]
async fn what_a_run_writes_is_bounded() {
    let sink = Memory::new(usize::MAX, Keeps::All);
    let limits = Limits { audit: 10_000, ..Limits::default() };
    let outcome = run(&sink, "acme", limits, "while true do env.get('A') end").await;
    assert!(matches!(outcome.ended, Ended::Stopped(Stop::Limit(Limit::Audit))), "{outcome:?}");
    let bytes: usize = sink.events().iter().map(|event| event.to_string().len() + 1).sum();
    assert!((8_000..=10_000).contains(&bytes), "{bytes}");
}
