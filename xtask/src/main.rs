//! `cargo xtask`: everything that is done with the project, from a fresh clone on.

mod audit;
mod check;
mod codegen;
mod dist;
mod guest;
mod new;
mod pages;
mod setup;
mod shell;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  run ARGS...          set up, build, and run `assay run ARGS...`
  test [FILTER]        set up, build, and run every check and test
  setup                fetch the C compiler, the Rust target and the servers of the tests
  guest                build the Lua guest and compile it ahead of time
  codegen [--check]    write the generated registries, or say which are stale
  new capability NAME  write the skeletons of a capability
  bench [--quick] [NAME...]
                       measure against the peers; all of it writes benches/RESULTS.md
  bench --before FILE [--quick]
                       measure against an older executable of Assay
  bench --soak [SECONDS]
                       serve under load, 3 minutes; writes the end of benches/RESULTS.md
  audit                check licences, sources and advisories with cargo-deny
  dist                 build the executable that is shipped";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["run", rest @ ..] => check::run(rest),
        ["test", rest @ ..] => check::test(rest),
        ["setup"] => setup::all(),
        ["guest"] => guest::build(),
        ["codegen"] => codegen::generate(),
        ["codegen", "--check"] => codegen::check(),
        ["new", "capability", name] => new::capability(name),
        ["bench", rest @ ..] => check::bench(rest),
        ["audit"] => audit::audit(),
        ["dist"] => dist::dist(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
