//! A bug in a function of the host ends the run that met it, and no other.

use assay_capability_api::{Capability, Extension, Pending, Policy, Run, blocking, off_thread};
use assay_runner::{Ended, Input, RunOutcome, RunSpec, Runner, Script};
use std::sync::Arc;

/// A capability with a bug.
struct Broken;

impl Capability for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn summary(&self) -> &'static str {
        "panics"
    }
}

impl Extension for Broken {
    fn functions(&self) -> &'static [&'static str] {
        &["at_once", "later", "elsewhere", "soon"]
    }

    fn call<'a>(&'a self, _: &'a Arc<Run>, function: &'a str, _: String) -> Pending<'a> {
        assert_ne!(function, "at_once", "a bug");
        Box::pin(async move {
            tokio::task::yield_now().await;
            match function {
                "elsewhere" => off_thread(|| panic!("a bug of work that blocks")).await,
                "soon" => blocking(|| panic!("a bug of short work that blocks")).await,
                _ => panic!("a bug that comes later"),
            }
        })
    }
}

async fn run(runner: &Runner, source: &str) -> RunOutcome {
    let script = Script::new("x.lua", source.as_bytes());
    runner.run(&script, Input::default(), RunSpec::new(Run::new(Policy::default(), "/".into()))).await
}

#[tokio::test]
async fn a_panic_ends_its_own_run_only() {
    let runner = crate::runner().with_extensions(&[&Broken]);
    let others = (0..8).map(|n| {
        let runner = runner.clone();
        tokio::spawn(
            async move { run(&runner, &format!("for i = 1, 50 do sleep(0.001) end return {n}")).await },
        )
    });
    let others: Vec<_> = others.collect();
    for function in ["at_once", "later", "elsewhere", "soon"] {
        let outcome = run(&runner, &format!("pcall(broken.{function}) print('not reached')")).await;
        assert!(matches!(outcome.ended, Ended::Panicked(_)), "{function}: {outcome:?}");
        let problem = outcome.problem(&Default::default()).unwrap();
        assert!(problem.contains("internal error") && problem.contains("bug of Assay"), "{problem}");
    }
    for (n, other) in others.into_iter().enumerate() {
        match other.await.unwrap().ended {
            Ended::Returned(returned) => assert_eq!(returned.values, [n.to_string()]),
            ended => panic!("{ended:?}"),
        }
    }
    // Nor is the instance's place in the pool lost.
    for _ in 0..20 {
        assert!(matches!(run(&runner, "return 1").await.ended, Ended::Returned(_)));
    }
}
