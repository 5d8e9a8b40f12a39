//! Log lines go where the embedding program says, and name their run and tenant.

use assay_capability_api::{Identity, Policy, Run, RunState};
use assay_capability_log::LogSink;
use assay_runner::{Input, RunSpec, Script};
use std::sync::{Arc, Mutex};
use tracing::Level;

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl LogSink for Lines {
    fn is_enabled(&self, level: Level) -> bool {
        level <= Level::INFO
    }

    fn write(&self, run: &Run, level: Level, message: &str, fields: Option<&str>) {
        let Identity { run: id, tenant, .. } = &run.identity;
        let line =
            format!("{id} {} {level} {message} {}", tenant.as_deref().unwrap_or("-"), fields.unwrap_or("-"));
        self.0.lock().unwrap().push(line);
    }
}

#[tokio::test]
async fn lines_carry_the_run_and_its_tenant() {
    let runner = crate::runner();
    let script = Script::new("talk.lua", r#"log.debug("no") log.info("yes", { n = 1 })"#.as_bytes());
    let lines = Arc::new(Lines::default());
    let mut ids = Vec::new();
    for tenant in [None, Some("acme".to_string())] {
        let identity = script.identity(tenant);
        ids.push(identity.run.clone());
        let mut spec =
            RunSpec::new(RunState { identity, ..RunState::new(Policy::default(), "/".into()) }.into());
        spec.services.offer::<dyn LogSink>(lines.clone());
        runner.run(&script, Input::default(), spec).await;
    }
    assert_ne!(ids[0], ids[1]);
    let expected =
        [format!("{} - INFO yes {{\"n\":1}}", ids[0]), format!("{} acme INFO yes {{\"n\":1}}", ids[1])];
    assert_eq!(*lines.0.lock().unwrap(), expected);

    // Without a place to go they go nowhere, and the script does not mind.
    let spec = RunSpec::new(Run::new(Policy::default(), "/".into()));
    let outcome = runner.run(&script, Input::default(), spec).await;
    assert!(outcome.problem(&Default::default()).is_none(), "{outcome:?}");
}
