//! What the measurements were made on.

use crate::Result;
use crate::process::Program;
use std::process::Command;

/// Machine and versions, as a Markdown list.
pub fn describe() -> Result<String> {
    let mut text = String::new();
    let mut item = |name: &str, value: &str| text.push_str(&format!("- {name}: {}\n", value.trim()));
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpus.lines().find(|line| line.starts_with(name))?;
        line.split_once(": ").map(|(_, value)| value)
    };
    item("CPU", field("model name").unwrap_or(std::env::consts::ARCH));
    item("cores", &std::thread::available_parallelism().map_or(0, usize::from).to_string());
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes = memory.split_whitespace().nth(1).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    item("memory", &format!("{:.0} GiB", kibibytes / (1 << 20) as f64));
    item("kernel", &std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default());
    let build =
        if cfg!(debug_assertions) { " (DEVELOPMENT BUILD: times of the host mean nothing)" } else { "" };
    let assay = Program::assay(&[])?;
    item("assay", &format!("{}{build}", version(&assay, "version").unwrap_or_default()));
    item("native", "mlua 0.12 with Lua 5.5.0, see benches/native");
    for (program, flag) in
        [(Program::lua(), "-v"), (Program::python(), "--version"), (Program::node(), "--version")]
    {
        if let Some(program) = program {
            item(program.name, &version(&program, flag).unwrap_or_default());
        }
    }
    for (name, program, code) in [
        ("aiohttp", Program::python_of_debian(), "import aiohttp; print(aiohttp.__version__)"),
        ("psycopg2", Program::python_of_debian(), "import psycopg2; print(psycopg2.__version__)"),
    ] {
        if let Some(version) = program.and_then(|program| program.output(code).ok()) {
            item(name, &version);
        }
    }
    Ok(text)
}

/// The first line that a program says of itself.
fn version(program: &Program, flag: &str) -> Option<String> {
    let output = Command::new(program.path()).arg(flag).output().ok()?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8(text).ok()?.lines().next().map(String::from)
}
