//! `assay test`.

use crate::args::RunOptions;
use crate::host::Host;
use crate::prepare::{directory_of, prepare, read_script};
use crate::{ending, grants, logging, outputs, usage};
use anyhow::{Context, Result};
use assay_capability_api::Run;
use assay_capability_fs::OutputFile;
use assay_runner::{Input, RunOutcome};
use clap::{Args, ValueHint};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Args, Debug)]
#[command(after_help = "Flags stand before the first path: a file of tests has no arguments.

Examples:
  assay test tests/
  assay test --allow http=localhost:8080 --junit report.xml tests/")]
pub(crate) struct Test {
    #[command(flatten)]
    pub(crate) options: RunOptions,
    /// Files, or directories that are searched for *_test.lua
    #[arg(default_value = ".", value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Run only files whose path contains this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
}

/// Runs every test file in an instance of its own.
pub(crate) fn test(args: &Test) -> Result<u8> {
    for (flag, given) in
        [("--learn", args.options.grants.learn.is_some()), ("--report", args.options.report.is_some())]
    {
        if given {
            return Err(usage(format!(
                "{flag} is about one run; run the file of the test with assay run {flag}"
            )));
        }
    }
    let mut files = Vec::new();
    for path in &args.paths {
        collect(path, true, &mut files).map_err(|error| usage(format!("{}: {error}", path.display())))?;
    }
    files.sort();
    files.dedup();
    if let Some(filter) = &args.filter {
        files.retain(|path| path.display().to_string().contains(filter.as_str()));
    }
    if files.is_empty() {
        return Err(usage("there are no *_test.lua files to run"));
    }
    let junit_file = args.junit.as_deref().map(|path| open_junit(path, args)).transpose()?;
    let host = Host::new(|run, outcome| {
        let result = Tested::of(run, outcome);
        show(&result);
        Ok(result.code)
    })?;
    let mut results = Vec::new();
    for path in files {
        let result = one(&host, &path, args, junit_file.as_ref())?;
        show(&result);
        let stop = result.code >= 128 && result.message.is_none();
        results.push(result);
        if stop {
            break;
        }
    }
    host.leave();
    if let Some(file) = junit_file {
        let report = junit(&results).to_string().context("the results cannot be written as XML")?;
        file.replace(report.as_bytes()).with_context(|| format!("cannot write {}", file.path().display()))?;
    }
    let failed = results.iter().filter(|result| result.code != 0).count();
    let assertions: u64 = results.iter().map(|result| result.assertions).sum();
    let passed = results.len() - failed;
    crate::print(format!("{passed} passed, {failed} failed ({assertions} assertions)\n").as_bytes())?;
    Ok(u8::from(failed > 0))
}

/// Opens the file for the results before any script runs, with what the scripts are granted.
fn open_junit(path: &Path, args: &Test) -> Result<OutputFile> {
    let here = std::env::current_dir().context("the working directory cannot be found")?;
    let (grants, _) = grants::assemble(&args.options.grants, &args.options.limits)?;
    outputs::open(&Run::new(grants, here), path, false)
}

struct Tested {
    path: PathBuf,
    code: u8,
    /// What went wrong; none where it passed.
    message: Option<String>,
    assertions: u64,
    took: Duration,
}

fn one(host: &Host, path: &Path, args: &Test, junit: Option<&OutputFile>) -> Result<Tested> {
    let prepared = prepare(read_script(path)?, Input::default(), &directory_of(path), &args.options)?;
    let run = prepared.spec.run.clone();
    if let Some(file) = junit {
        file.withhold(&run, &outputs::writes("--junit"));
    }
    let outcome = host.run(prepared)?;
    Ok(Tested::of(&run, &outcome))
}

impl Tested {
    fn of(run: &Run, outcome: &RunOutcome) -> Tested {
        let (code, _) = ending::verdict(outcome);
        let message = match ending::explain(outcome, &run.limits) {
            None if code != 0 => Some(format!("ended with exit code {code}\n")),
            message => message,
        };
        Tested {
            path: PathBuf::from(&run.identity.script),
            code,
            message,
            assertions: outcome.assertions,
            took: run.started.elapsed(),
        }
    }
}

/// Test files below a directory; a file that is named itself is one whatever its name.
fn collect(path: &Path, named: bool, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            // Links are not followed: they could lead in circles.
            if !entry.file_type()?.is_symlink() {
                collect(&entry.path(), false, files)?;
            }
        }
    } else if named || path.to_string_lossy().ends_with("_test.lua") {
        std::fs::metadata(path)?;
        files.push(path.to_path_buf());
    }
    Ok(())
}

fn show(tested: &Tested) {
    let (good, bad, plain) =
        if logging::colours() { ("\x1b[32m", "\x1b[31m", "\x1b[0m") } else { ("", "", "") };
    let path = tested.path.display();
    let took = tested.took.as_secs_f64();
    crate::say(&match &tested.message {
        None => format!("{good}pass{plain} {path} ({} assertions, {took:.2} s)\n", tested.assertions),
        Some(message) => format!("{bad}FAIL{plain} {path} ({took:.2} s)\n{message}"),
    });
}

fn junit(results: &[Tested]) -> Report {
    let mut suite = TestSuite::new("assay");
    for tested in results {
        let mut status = match &tested.message {
            None => TestCaseStatus::success(),
            Some(_) => TestCaseStatus::non_success(NonSuccessKind::Failure),
        };
        if let Some(message) = &tested.message {
            status.set_message(message.lines().next().unwrap_or_default()).set_description(message.as_str());
        }
        let mut case = TestCase::new(tested.path.display().to_string(), status);
        case.set_time(tested.took).set_assertions(usize::try_from(tested.assertions).unwrap_or(usize::MAX));
        suite.add_test_case(case);
    }
    let mut report = Report::new("assay");
    report.add_test_suite(suite);
    report
}
