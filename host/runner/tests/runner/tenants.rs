//! Runs of tenants: the limits of hosted scripts, and what the runs of one tenant may have together.

use assay_capability_api::{Account, Ambient, Counter, Limit, Limits, Policy, RunState, Stop, policy};
use assay_runner::{Ended, Input, RunOutcome, RunSpec, Runner, Script};
use std::path::Path;
use std::sync::Arc;

/// Runs a script of a tenant, with a policy and limits of its own.
async fn run(
    runner: &Runner,
    account: &Arc<Account>,
    policy: Policy,
    limits: Limits,
    source: &str,
) -> RunOutcome {
    let ambient = Arc::new(Ambient::inherited());
    let shared =
        RunState { ambient, ..RunState::new(policy, "/".into()) }.limited(limits).within(account.clone());
    let script = Script::new("x.lua", source.as_bytes());
    runner.run(&script, Input::default(), RunSpec::new(shared.into())).await
}

fn allowing(text: &str) -> Policy {
    let mut policy = Policy::default();
    policy.allow(policy::parse(text, Path::new("/"), Runner::capabilities()).unwrap());
    policy
}

fn values(outcome: &RunOutcome) -> &[String] {
    match &outcome.ended {
        Ended::Returned(returned) => &returned.values,
        ended => panic!("{ended:?}"),
    }
}

#[tokio::test]
async fn hosted_scripts_reach_public_addresses_only_and_start_nothing() {
    let runner = crate::runner();
    let account = Account::new("tenant acme", Limits::unlimited(), None);
    for (public_only, mut policy, source, expected) in [
        (true, allowing("http"), "http.get('http://127.0.0.1:9/')", "denied"),
        (true, allowing("http"), "http.get('http://10.0.0.1/')", "denied"),
        (false, allowing("process"), "process.run{ cmd = 'true' }", "limit"),
    ] {
        policy.public_only = public_only;
        let source = format!("local ok, e = pcall(function() {source} end) return e.code, e.message");
        let outcome = run(&runner, &account, policy, Limits::hosted(), &source).await;
        assert_eq!(values(&outcome)[0], expected, "{source}: {outcome:?}");
    }
    let spin = run(
        &runner,
        &account,
        Policy::default(),
        Limits { cpu: Some(std::time::Duration::from_millis(50)), ..Limits::hosted() },
        "while true do end",
    );
    assert!(matches!(spin.await.ended, Ended::Stopped(Stop::Limit(Limit::Cpu))));
}

#[tokio::test]
async fn host_calls_are_bounded() {
    let runner = crate::runner();
    let account = Account::new("tenant acme", Limits::unlimited(), None);
    let calls = |n: u32| format!("for i = 1, {n} do os.time() env.get('X') end return 'done'");
    let limits = Limits { host_calls: Some(500), ..Limits::hosted() };
    let below = run(&runner, &account, Policy::default(), limits.clone(), &calls(100)).await;
    assert_eq!(values(&below), ["done"]);
    let above = run(&runner, &account, Policy::default(), limits, &calls(1000)).await;
    assert!(matches!(above.ended, Ended::Stopped(Stop::Limit(Limit::HostCalls))), "{above:?}");
    assert!(account.usage.now(Counter::HostCalls) > 600);
}

#[tokio::test]
async fn runs_of_a_tenant_share_memory_cpu_and_calls() {
    let runner = crate::runner();
    let process = Account::new("this process", Limits::unlimited(), None);
    let tenant = |limits| Account::new("tenant acme", limits, Some(process.clone()));

    // Memory: one run has room for its megabytes, eight at a time have not.
    let hoard = "local t = {} for i = 1, 12 do t[i] = string.rep('x', 1 << 20) end sleep(0.2) return #t";
    let acme = tenant(Limits { memory: 64 << 20, ..Limits::unlimited() });
    let alone = run(&runner, &acme, Policy::default(), Limits::hosted(), hoard).await;
    assert_eq!(values(&alone), ["12"]);
    assert_eq!(acme.usage.now(Counter::Memory), 0, "what a run had is given back");
    let together = (0..8).map(|_| {
        let (runner, acme) = (runner.clone(), acme.clone());
        tokio::spawn(async move { run(&runner, &acme, Policy::default(), Limits::hosted(), hoard).await })
    });
    let mut refused = 0;
    for one in together.collect::<Vec<_>>() {
        refused += usize::from(!matches!(one.await.unwrap().ended, Ended::Returned(_)));
    }
    assert!(refused > 0 && acme.usage.peak(Counter::Memory) <= 64 << 20);

    // CPU: what the first run used, the second has not.
    let acme = tenant(Limits { cpu: Some(std::time::Duration::from_millis(100)), ..Limits::unlimited() });
    let spin = "while os.clock() < 0.08 do end return 'done'";
    let first = run(&runner, &acme, Policy::default(), Limits::hosted(), spin).await;
    assert_eq!(values(&first), ["done"]);
    let second = run(&runner, &acme, Policy::default(), Limits::hosted(), spin).await;
    assert!(matches!(second.ended, Ended::Stopped(Stop::Limit(Limit::Cpu))), "{second:?}");
    assert!(process.cpu.nanoseconds() >= 100_000_000);
}
