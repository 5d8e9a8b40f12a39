//! `cargo xtask bench`: Assay against its peers and the targets of its design. Each comparison interleaves its sides
//! in one run and prints a ratio.

mod before;
mod calls;
mod compute;
mod db;
mod fresh;
mod http;
mod instance;
mod limits;
mod load;
mod machine;
mod process;
mod report;
mod script;
mod serve;
mod server;
mod soak;
mod spawn;
mod start;

use report::{Table, markdown, soak_of};
use std::path::Path;
use std::process::ExitCode;

/// What went wrong, for the person at the terminal.
type Result<T> = std::result::Result<T, String>;

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    quick: bool,
}

impl Effort {
    fn of<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

type Measure = fn(Effort) -> Result<Table>;

/// Compares with the executable that follows.
const BEFORE: &str = "--before";

const ALL: &[(&str, Measure)] = &[
    ("start", start::measure),
    ("instance", instance::measure),
    ("compute", compute::measure),
    ("errors", compute::measure_errors),
    ("calls", calls::measure),
    ("http", http::measure),
    ("serve", serve::measure),
    ("db", db::measure),
    ("spawn", spawn::measure),
    ("limits", limits::measure),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [instance::IDLE, count] => instance::idle(count),
        [fresh::SERVE] => fresh::serve(),
        [soak::CLIENT, address, request, header] => soak::client(address, request, header),
        [soak::SOAK] => soak::run(None),
        [soak::SOAK, seconds] => soak::run(Some(seconds)),
        [BEFORE, path, args @ ..] => before(path, args),
        args => run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says how the executable under test compares with an older one.
fn before(path: &str, args: &[&str]) -> Result<()> {
    let effort = match args {
        [] => Effort { quick: false },
        ["--quick"] => Effort { quick: true },
        _ => return Err(format!("after {BEFORE} FILE there is nothing but --quick")),
    };
    println!("{}", machine::describe()?);
    println!("{}", before::measure(effort, Path::new(path))?.text());
    Ok(())
}

fn run(args: &[&str]) -> Result<()> {
    let (flags, names): (Vec<&str>, Vec<&str>) = args.iter().partition(|arg| arg.starts_with('-'));
    if let Some(flag) = flags.iter().find(|flag| **flag != "--quick") {
        return Err(format!(
            "{flag} is unknown; there is --quick, --before FILE, --soak [SECONDS], and the names {}",
            known()
        ));
    }
    if let Some(name) = names.iter().find(|name| ALL.iter().all(|(known, _)| known != *name)) {
        return Err(format!("{name} is unknown; there are {}", known()));
    }
    let effort = Effort { quick: !flags.is_empty() };
    let machine = machine::describe()?;
    println!("{machine}");
    let mut tables = Vec::new();
    for (name, measure) in ALL.iter().filter(|(name, _)| names.is_empty() || names.contains(name)) {
        let table = measure(effort).map_err(|error| format!("{name}: {error}"))?;
        println!("{}", table.text());
        tables.push(table);
    }
    if effort.quick || !names.is_empty() || cfg!(debug_assertions) {
        println!("benches/RESULTS.md stays as it is: it is written by a full run of the shipped build.");
        return Ok(());
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md");
    let old = std::fs::read_to_string(path).unwrap_or_default();
    std::fs::write(path, markdown(&machine, &tables) + soak_of(&old))
        .map_err(|error| format!("cannot write {path}: {error}"))?;
    println!("wrote {path}");
    Ok(())
}

/// One thread that runs everything.
fn reactor() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}

fn known() -> String {
    ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
