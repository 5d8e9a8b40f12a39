//! The one test binary: what is found in directories, and tests of the command line.

mod cgroup;
mod cli;
mod docs;
mod ends;
mod environment;
mod examples;
mod explain;
mod files;
mod globs;
mod grants;
mod layers;
mod learn;
mod limits;
mod memory;
mod options;
mod process;
mod replace;
mod secrets;
mod serve;
mod terminal;
mod walls;
mod words;

use assay_tests::{cases, executable};
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for area in ["capability", "sandbox", "database"] {
        match cases::of_directory(&executable::root().join("tests").join(area)) {
            Ok(files) => {
                for (file, cases) in files {
                    for case in cases {
                        let name = format!("{area}::{file}::{}", case.title.replace(' ', "_"));
                        trials.push(Trial::test(name, move || case.run().map_err(Failed::from)));
                    }
                }
            }
            Err(error) => {
                trials.push(Trial::test(format!("{area}::files_can_be_read"), move || {
                    Err(Failed::from(error))
                }));
            }
        }
    }
    for (area, tests) in [
        ("cgroup", cgroup::TESTS),
        ("cli", cli::TESTS),
        ("ends", ends::TESTS),
        ("environment", environment::TESTS),
        ("examples", examples::TESTS),
        ("explain", explain::TESTS),
        ("files", files::TESTS),
        ("globs", globs::TESTS),
        ("grants", grants::TESTS),
        ("layers", layers::TESTS),
        ("learn", learn::TESTS),
        ("limits", limits::TESTS),
        ("memory", memory::TESTS),
        ("options", options::TESTS),
        ("replace", replace::TESTS),
        ("secrets", secrets::TESTS),
        ("serve", serve::TESTS),
        ("serve", serve::attacks::TESTS),
        ("serve", serve::instances::TESTS),
        ("serve", serve::sockets::TESTS),
        ("serve", serve::streams::TESTS),
        ("serve", serve::version2::TESTS),
        ("process", process::TESTS),
        ("terminal", terminal::TESTS),
        ("walls", walls::TESTS),
        ("words", words::TESTS),
    ] {
        for (name, test) in tests {
            trials.push(Trial::test(format!("{area}::{name}"), || {
                test();
                Ok(())
            }));
        }
    }
    trials.extend(docs::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}
