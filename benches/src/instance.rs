//! Instances in this process: how soon one is ready, and what one that waits costs.

use crate::report::{Table, at_most, no_target, quantile, seconds};
use crate::{Effort, Result, reactor};
use assay_capability_api::{Limits, Output, Policy, Run, RunState};
use assay_runner::{Ended, Input, RunSpec, Runner, Script};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

/// Microseconds.
const READY_TARGET: f64 = 50.0;
/// MiB.
const MEMORY_TARGET: f64 = 1.0;

/// The argument that makes this program measure idle instances, in a process of their own.
pub const IDLE: &str = "--idle";

pub fn measure(effort: Effort) -> Result<Table> {
    let mut rows = ready(effort)?;
    for count in [1, 100, 1000] {
        let (resident, proportional) = in_own_process(count)?;
        let [target, met] = at_most(resident, MEMORY_TARGET, " MiB");
        rows.push(vec![
            format!("memory of an idle instance, of {count}"),
            format!("{resident:.2} MiB"),
            format!("{proportional:.2} MiB"),
            target,
            met,
        ]);
    }
    let notes = vec![
        "The runtime inside this process, one thread, with a CPU and a wall limit. Ready is from the call that makes the \
         store to the first output of Lua; the end includes freeing the instance."
            .into(),
        "Memory is what the process grew by, divided by the instances, which wait in sleep: resident (each page counted in every \
         instance that maps it, also those of the snapshot that all share), and in the second column proportional (each page counted once)."
            .into(),
    ];
    let head = &["what", "p50 / resident", "p99 / proportional", "target", "met"];
    Ok(Table { title: "Instances", head, rows, notes })
}

/// When the first output came, and how much.
#[derive(Clone, Default)]
struct Probe {
    first: Arc<Mutex<Option<Instant>>>,
    writes: Arc<AtomicUsize>,
}

impl Probe {
    fn first(&self) -> Option<Instant> {
        *self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Output for Probe {
    fn write(&mut self, _: bool, _: &[u8]) -> std::io::Result<()> {
        self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert_with(Instant::now);
        self.writes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<bool> {
        Ok(true)
    }
}

fn script(source: &str) -> Script {
    Script::named("=bench", "", source.as_bytes())
}

pub fn limited_run() -> Run {
    let limit = Some(Duration::from_secs(1000));
    let limits = Limits { cpu: limit, timeout: limit, ..Limits::default() };
    RunState { limits, ..RunState::new(Policy::default(), PathBuf::from("/")) }.into()
}

/// A runner with a pool, as a host of many scripts has it: one instance alone would get none.
pub fn runner(instances: u32) -> Result<Runner> {
    Runner::new(instances.max(2))
}

/// Runs a script in a fresh instance; it must return.
async fn run(runner: &Runner, script: &Script, probe: Probe) -> Result<()> {
    let spec = RunSpec { output: Arc::new(move || Box::new(probe.clone())), ..RunSpec::new(limited_run()) };
    let outcome = runner.run(script, Input::default(), spec).await;
    match outcome.ended {
        Ended::Returned(_) => Ok(()),
        other => Err(format!("{}: {other:?}", String::from_utf8_lossy(script.source()))),
    }
}

fn ready(effort: Effort) -> Result<Vec<Vec<String>>> {
    let (runner, script) = (runner(1)?, script("print(1)"));
    let (mut ready, mut whole) = (Vec::new(), Vec::new());
    reactor()?.block_on(async {
        let warm_up = effort.of(500, 50);
        for round in 0..warm_up + effort.of(5000, 500) {
            let probe = Probe::default();
            let began = Instant::now();
            run(&runner, &script, probe.clone()).await?;
            let ended = began.elapsed();
            let first = probe.first().ok_or("print printed nothing")?;
            if round >= warm_up {
                ready.push((first - began).as_secs_f64());
                whole.push(ended.as_secs_f64());
            }
        }
        Ok::<_, String>(())
    })?;
    let median = quantile(&mut ready, 0.5) * 1e6;
    let row = |what: &str, times: &mut [f64], [target, met]: [String; 2]| {
        let [median, most] = [0.5, 0.99].map(|part| seconds(quantile(times, part)));
        vec![what.into(), median, most, target, met]
    };
    Ok(vec![
        row("fresh instance ready", &mut ready, at_most(median, READY_TARGET, " us")),
        row("fresh instance, `print(1)`, end", &mut whole, no_target()),
    ])
}

/// MiB per instance, resident and proportional.
fn in_own_process(count: u32) -> Result<(f64, f64)> {
    let here = std::env::current_exe().map_err(|error| error.to_string())?;
    let output =
        Command::new(here).args([IDLE, &count.to_string()]).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers.as_slice() {
        [resident, proportional] => Ok((*resident, *proportional)),
        _ => Err(format!("{count} idle instances: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// The process of [`in_own_process`]: prints MiB per instance.
pub fn idle(count: &str) -> Result<()> {
    let count: u32 = count.parse().map_err(|_| format!("{IDLE} {count}: not a number"))?;
    let reactor = reactor()?;
    // The first run brings what all instances share: the code of the guest, the timers.
    reactor.block_on(run(&runner(1)?, &script("print(1) sleep(0.01)"), Probe::default()))?;
    let runner = runner(count)?;
    let waiting = script("print(1) sleep(1000)");
    let before = memory()?;
    let tasks = LocalSet::new();
    let probe = Probe::default();
    tasks.block_on(&reactor, async {
        for _ in 0..count {
            let (runner, waiting, probe) = (runner.clone(), waiting.clone(), probe.clone());
            tokio::task::spawn_local(async move {
                if let Err(error) = run(&runner, &waiting, probe).await {
                    eprintln!("{error}");
                    std::process::exit(1);
                }
            });
        }
        while probe.writes.load(Ordering::Relaxed) < count as usize {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The last one has printed but may not wait yet.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let after = memory()?;
        println!("{} {}", (after.0 - before.0) / f64::from(count), (after.1 - before.1) / f64::from(count));
        std::process::exit(0)
    })
}

/// Resident and proportional memory of this process in MiB.
fn memory() -> Result<(f64, f64)> {
    let path = "/proc/self/smaps_rollup";
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kibibytes.map(|value| value / 1024.0).ok_or_else(|| format!("{path} has no {name}"))
    };
    Ok((field("Rss:")?, field("Pss:")?))
}
