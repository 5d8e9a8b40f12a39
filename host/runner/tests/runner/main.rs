//! Running scripts as another program does.

#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

mod ambient;
mod audit;
mod embedder;
mod failure;
mod log;
mod panics;
mod replay;
mod tenants;

use assay_runner::Runner;
use std::sync::LazyLock;

/// The one runner of this process, which the tests share where they share a process.
fn runner() -> Runner {
    static RUNNER: LazyLock<Runner> = LazyLock::new(|| Runner::new(32).unwrap());
    RUNNER.clone()
}

#[test]
fn a_process_has_one_runner() {
    let _first = runner();
    let second = Runner::new(1).map(drop).unwrap_err();
    assert!(second.contains("has a runtime already"), "{second}");
}
