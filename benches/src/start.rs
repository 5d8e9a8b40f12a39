//! From exec to exit.

use crate::process::Program;
use crate::report::{Table, at_most, no_target, quantile, ratio, seconds};
use crate::{Effort, Result};

/// Times Lua's.
const TARGET: f64 = 3.0;
/// Milliseconds.
const FIRST_LINE_TARGET: f64 = 2.0;
/// Megabytes, stripped.
const SIZE_TARGET: f64 = 25.0;

pub fn measure(effort: Effort) -> Result<Table> {
    let mut notes = vec![];
    let mut programs: Vec<(Program, &str)> =
        vec![(Program::assay(&[])?, "return 1"), (Program::native()?, "return 1")];
    for (name, program, code) in [
        ("lua5.4", Program::lua(), "return 1"),
        ("python3", Program::python(), "1"),
        ("node", Program::node(), "1"),
    ] {
        match program {
            Some(program) => programs.push((program, code)),
            None => notes.push(format!("{name} is not installed here and was left out.")),
        }
    }
    let mut times = vec![Vec::new(); programs.len()];
    let (mut first, mut first_of_lua) = (Vec::new(), Vec::new());
    for round in 0..effort.of(105, 25) {
        for (times, (program, code)) in times.iter_mut().zip(&programs) {
            times.push(program.lifetime(code)?);
        }
        first.push(programs[0].0.until_output("print(1)")?);
        if let Some((lua, _)) = programs.iter().find(|(program, _)| program.name == "lua5.4") {
            first_of_lua.push(lua.until_output("print(1)")?);
        }
        if round == 4 {
            // The first rounds brought the files into memory.
            times.iter_mut().for_each(Vec::clear);
            first.clear();
            first_of_lua.clear();
        }
    }
    let lua = programs
        .iter()
        .position(|(program, _)| program.name == "lua5.4")
        .map(|at| quantile(&mut times[at], 0.5));
    let mut rows = Vec::new();
    for ((program, _), times) in programs.iter().zip(&mut times) {
        let median = quantile(times, 0.5);
        let against = lua.map(|lua| ratio(median, lua)).unwrap_or_default();
        let target = match lua {
            Some(lua) if program.name == "assay" => at_most(median / lua, TARGET, "x"),
            _ => no_target(),
        };
        rows.push(row(format!("{} runs `return 1` and exits", program.name), times, against, target));
    }
    let median = quantile(&mut first, 0.5) * 1e3;
    rows.push(row(
        "assay prints its first line".into(),
        &mut first,
        String::new(),
        at_most(median, FIRST_LINE_TARGET, " ms"),
    ));
    if !first_of_lua.is_empty() {
        rows.push(row("lua5.4 prints its first line".into(), &mut first_of_lua, String::new(), no_target()));
    }
    let path = programs[0].0.path();
    let size =
        std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.len() as f64 / 1e6;
    let [target, met] = at_most(size, SIZE_TARGET, " MB");
    rows.push(vec![
        "size of the executable".into(),
        format!("{size:.1} MB"),
        String::new(),
        String::new(),
        String::new(),
        target,
        met,
    ]);
    let rounds = first.len();
    notes.push(format!(
        "Whole processes, {rounds} of each, the programs taking turns; the times begin before fork and exec. Ratio and target are of the medians."
    ));
    let head = &["what", "min", "median", "p90", "to lua5.4", "target", "met"];
    Ok(Table { title: "Start", head, rows, notes })
}

fn row(what: String, times: &mut [f64], against: String, [target, met]: [String; 2]) -> Vec<String> {
    let [min, median, most] = [0.0, 0.5, 0.9].map(|part| seconds(quantile(times, part)));
    vec![what, min, median, most, against, target, met]
}
