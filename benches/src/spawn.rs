//! How fast programs are started.

use crate::process::Program;
use crate::report::{Table, quantile, ratio, seconds};
use crate::script::Script;
use crate::{Effort, Result};

const SCRIPT: &str = include_str!("../lua/spawn.lua");
const PYTHON: &str = include_str!("../peers/spawn.py");

pub const OPTIONS: &[&str] = &["--allow", "process=/bin/true"];

/// The script that starts `count` programs.
pub fn script(count: u32) -> Script<'static> {
    Script { before: format!("local COUNT = {count}"), ..Script::waiting(SCRIPT) }
}

pub fn measure(effort: Effort) -> Result<Table> {
    let count = effort.of(500, 100);
    let (ours, native) = (Program::assay_limited(OPTIONS)?, Program::native()?);
    let python = Program::python_of_debian();
    let script = script(count);
    let code = format!("COUNT, ROUNDS = {count}, {}\n{PYTHON}", script.rounds);
    let processes = effort.of(5, 1);
    let (mut mine, mut theirs, mut other) = (f64::INFINITY, f64::INFINITY, Vec::new());
    for _ in 0..processes {
        let (assay, mlua) = script.compare(&ours, &native, 1)?;
        mine = mine.min(assay);
        theirs = theirs.min(mlua);
        if let Some(python) = &python {
            let text = python.output(&code)?;
            let time = text.split_whitespace().next().and_then(|time| time.parse().ok());
            other.push(time.ok_or_else(|| format!("python3 printed no time but: {text}"))?);
        }
    }
    let mut notes = Vec::new();
    if python.is_none() {
        notes.push("Debian's python3 is not installed here and was left out.".into());
    }
    let each = f64::from(count);
    let fastest = quantile(&mut other, 0.0);
    let cells = |time: f64| format!("{}, {:.0} a second", seconds(time / each), each / time);
    let python = |text: String| if other.is_empty() { String::new() } else { text };
    let rows = vec![vec![
        format!("{count} times /bin/true"),
        cells(mine),
        cells(theirs),
        python(cells(fastest)),
        ratio(mine, theirs),
        python(ratio(mine, fastest)),
    ]];
    notes.push(format!(
        "Wall time of the fastest of {} runs, one program after the other, with the output captured. Native is std::process from mlua; python is \
         subprocess.run. Assay also gives each program a supervisor, which ends whatever it leaves behind.",
        processes * script.rounds
    ));
    let head = &["what", "assay", "native mlua", "python3", "to native", "to python3"];
    Ok(Table { title: "Processes", head, rows, notes })
}
