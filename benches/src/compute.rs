//! Lua that computes: in the sandbox, with limits, against native.

use crate::process::Program;
use crate::report::{Table, at_most, geometric_mean, no_target, ratio, seconds};
use crate::script::Script;
use crate::{Effort, Result};

/// Times native.
const MEAN_TARGET: f64 = 1.4;
const SWITCH_TARGET: f64 = 1.5;
const SWITCH_IN_COROUTINE_TARGET: f64 = 4.0;

/// Those that the geometric mean is of.
const MEASURED: &[(&str, &str)] = &[
    ("fib", include_str!("../lua/fib.lua")),
    ("n-body", include_str!("../lua/nbody.lua")),
    ("spectral norm", include_str!("../lua/spectral_norm.lua")),
    ("string building", include_str!("../lua/strings.lua")),
    ("table sort", include_str!("../lua/sort.lua")),
    ("json round trip of 1 MB", include_str!("../lua/json.lua")),
    ("pattern matching", include_str!("../lua/patterns.lua")),
];

const BESIDE: &[(&str, &str)] = &[
    ("loops", include_str!("../lua/loops.lua")),
    ("objects and garbage", include_str!("../lua/objects.lua")),
];

/// Errors and coroutines, and whether the design has a target for them.
pub const ERRORS: &[(&str, &str, bool)] = &[
    ("pcall(error)", include_str!("../lua/pcall_error.lua"), true),
    ("pcall of an index of nil", include_str!("../lua/pcall_index.lua"), false),
    ("coroutine yield and resume", include_str!("../lua/yield.lua"), true),
];

const HEAD: &[&str] = &["what", "assay", "native mlua", "ratio", "target", "met"];

/// Every script that computes: its name and its source.
pub fn all() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    MEASURED.iter().chain(BESIDE)
}

pub fn measure(effort: Effort) -> Result<Table> {
    let (ours, theirs) = (Program::assay_limited(&[])?, Program::native()?);
    let processes = effort.of(7, 2);
    let (mut rows, mut ratios) = (Vec::new(), Vec::new());
    for (n, (name, source)) in all().enumerate() {
        let (mine, other) = Script::computing(source).compare(&ours, &theirs, processes)?;
        rows.push(row(name, mine, other, no_target()));
        if n < MEASURED.len() {
            ratios.push(mine / other);
        }
    }
    let mean = geometric_mean(&ratios);
    let [target, met] = at_most(mean, MEAN_TARGET, "x");
    let name = format!("geometric mean of the first {}", ratios.len());
    rows.push(vec![name, String::new(), String::new(), format!("{mean:.2}x"), target, met]);
    let notes = vec![
        format!(
            "CPU time of the fastest of {} runs, in {processes} processes a side that take turns; Assay with a CPU and a wall limit set. \
             Both sides must come to the same result.",
            processes * 3
        ),
        "Native is PUC Lua 5.5.0 as mlua vendors it, by the system's C compiler at -O3, without limits. Its json is the guest's own \
         source, compiled natively."
            .into(),
    ];
    Ok(Table { title: "Compute", head: HEAD, rows, notes })
}

pub fn measure_errors(effort: Effort) -> Result<Table> {
    let (ours, theirs) = (Program::assay_limited(&[])?, Program::native()?);
    let mut rows = Vec::new();
    for (name, source, has_target) in ERRORS {
        for in_coroutine in [false, true] {
            let script = Script { in_coroutine, rounds: 5, ..Script::computing(source) };
            let (mine, other) = script.compare(&ours, &theirs, effort.of(7, 2))?;
            let limit = if in_coroutine { SWITCH_IN_COROUTINE_TARGET } else { SWITCH_TARGET };
            let target = if *has_target { at_most(mine / other, limit, "x") } else { no_target() };
            let name = if in_coroutine { format!("{name}, inside a coroutine") } else { (*name).into() };
            rows.push(row(&name, mine, other, target));
        }
    }
    let notes = vec!["As above: 20,000 errors, 100,000 switches there and back.".into()];
    Ok(Table { title: "Errors and coroutines", head: HEAD, rows, notes })
}

fn row(name: &str, ours: f64, theirs: f64, [target, met]: [String; 2]) -> Vec<String> {
    vec![name.into(), seconds(ours), seconds(theirs), ratio(ours, theirs), target, met]
}
