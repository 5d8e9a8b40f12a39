//! The executable under test against an older one, on the scripts of the other measurements.

use crate::process::Program;
use crate::report::{Table, at_most, quantile, ratio, seconds};
use crate::script::Script;
use crate::{Effort, Result, calls, compute, db, http, spawn};
use std::path::Path;

/// Times the older one.
const TARGET: f64 = 1.03;

/// Both executables with the same options.
struct Sides {
    now: Program,
    before: Program,
}

impl Sides {
    fn new(before: &Path, options: &[&str]) -> Result<Sides> {
        Ok(Sides {
            now: Program::assay_limited(options)?,
            before: Program::assay_limited_at("before", before, options),
        })
    }

    fn compare(&self, script: &Script, processes: u32) -> Result<(f64, f64)> {
        script.compare(&self.now, &self.before, processes)
    }
}

/// Measures all; `before` is the older executable.
pub fn measure(effort: Effort, before: &Path) -> Result<Table> {
    let mut rows = starts(effort, before)?;
    let processes = effort.of(9, 2);
    let mut add = |what: &str, (now, before): (f64, f64)| rows.push(row(what, now, before));
    let plain = Sides::new(before, &[])?;
    for (name, source) in compute::all() {
        add(name, plain.compare(&Script::computing(source), processes)?);
    }
    let templates = Script::computing(include_str!("../lua/templates.lua"));
    add("3,000 small templates", plain.compare(&templates, processes)?);
    for (name, source, _) in compute::ERRORS {
        let script = Script { rounds: 5, ..Script::computing(source) };
        add(name, plain.compare(&script, processes)?);
    }
    let refused = Sides::new(before, calls::OPTIONS)?;
    for (name, source, _) in calls::ALL {
        add(name, refused.compare(&Script::waiting(source), processes)?);
    }
    let address = http::serve()?;
    let client = Sides::new(before, &["--allow", &format!("http={address}")])?;
    for at_once in http::AT_ONCE {
        let count = effort.of(10_000, 1_000);
        let script = http::script(address, count, *at_once);
        add(&format!("{count} http.get, {at_once} at a time"), client.compare(&script, processes)?);
    }
    let servers = db::Servers::start()?;
    for database in servers.databases() {
        let sides = Sides::new(before, &["--allow", &database.grant])?;
        for (what, times) in database.fastest(processes, &[&sides.now, &sides.before])? {
            add(&what, (times[0], times[1]));
        }
    }
    let programs = Sides::new(before, spawn::OPTIONS)?;
    let count = effort.of(500, 100);
    add(&format!("{count} times /bin/true"), programs.compare(&spawn::script(count), processes)?);
    let notes = vec![
        "The two executables take turns. Whole processes: medians; scripts: the fastest run of each side, computing ones on the clock of \
         CPU time."
            .into(),
    ];
    Ok(Table {
        title: "Before and now",
        head: &["what", "now", "before", "ratio", "target", "met"],
        rows,
        notes,
    })
}

/// From exec to exit, and to the first line.
fn starts(effort: Effort, before: &Path) -> Result<Vec<Vec<String>>> {
    let sides = Sides::new(before, &[])?;
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..effort.of(200, 25) {
        times[0].push(sides.now.lifetime("return 1")?);
        times[1].push(sides.before.lifetime("return 1")?);
        times[2].push(sides.now.until_output("print(1)")?);
        times[3].push(sides.before.until_output("print(1)")?);
    }
    let [now, old, first, old_first] = times.map(|mut times| quantile(&mut times, 0.5));
    Ok(vec![row("runs `return 1` and exits", now, old), row("prints its first line", first, old_first)])
}

fn row(what: &str, now: f64, before: f64) -> Vec<String> {
    let [target, met] = at_most(now / before, TARGET, "x");
    vec![what.into(), seconds(now), seconds(before), ratio(now, before), target, met]
}
