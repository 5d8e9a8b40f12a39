//! Files that are written about a run. They are opened before it, so that the script cannot choose what is written to.

use crate::args::RunOptions;
use crate::usage;
use anyhow::Result;
use assay_capability_api::{Run, Use};
use assay_capability_fs::{OutputFile, open_output};
use assay_manifest::{Learnt, ManifestError, ManifestPaths};
use assay_runner::Runner;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What `--report-file` and `--learn` named.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub(crate) report: Option<OutputFile>,
    pub(crate) learn: Option<OutputFile>,
    /// What the manifest of `--learn` had before the run.
    manifest: String,
}

impl Outputs {
    /// Opens what the options name.
    ///
    /// # Errors
    /// A usage error where one cannot be written, or the script may have put a link in its place.
    pub(crate) fn open(run: &Run, options: &RunOptions) -> Result<Outputs> {
        let open = |path: &Option<_>| path.as_deref().map(|path| open(run, path, false)).transpose();
        let learn = open(&options.grants.learn)?;
        let manifest = learn.as_ref().map(|file| manifest(run, file)).transpose()?;
        let report = open(&options.report_file)?;
        for (file, flag) in [(&learn, "--learn"), (&report, "--report-file")] {
            if let Some(file) = file {
                file.withhold(run, &writes(flag));
            }
        }
        Ok(Outputs { report, learn, manifest: manifest.unwrap_or_default() })
    }
}

/// Why the script may not change what a flag asks for.
pub(crate) fn writes(flag: &str) -> String {
    format!("the host, which writes {flag} there")
}

/// What a manifest that is added to has already: it must be one before the script runs.
fn manifest(run: &Run, file: &OutputFile) -> Result<String> {
    let path = file.path();
    let text = file.read().map_err(|error| usage(format!("cannot read {}: {error}", path.display())))?;
    let text =
        String::from_utf8(text).map_err(|error| usage(format!("cannot read {}: {error}", path.display())))?;
    learnt(run, path, &text, &BTreeSet::new()).map_err(|error| {
        usage(format!("--learn adds to the manifest {}, which cannot be used: {error}", path.display()))
    })?;
    Ok(text)
}

fn learnt(
    run: &Run,
    path: &Path,
    text: &str,
    uses: &BTreeSet<Use>,
) -> std::result::Result<Learnt, ManifestError> {
    let path = run.path(&path.to_string_lossy());
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let place = ManifestPaths {
        base: path.parent().unwrap_or(&run.working_directory),
        working: &run.working_directory,
        home: home.as_deref(),
    };
    assay_manifest::learn(text, uses, place, Runner::capabilities())
}

/// Writes the manifest that `--learn` asks for. Says on stderr what is not in it, or where it fails; whether it did not.
pub(crate) fn write_learnt(outputs: &Outputs, run: &Run) -> bool {
    let (Some(file), Some(learned)) = (&outputs.learn, &run.learned) else { return true };
    let (uses, more) = learned.uses();
    if more {
        crate::say("assay: the script was allowed more than --learn keeps; the manifest is not enough\n");
    }
    match learnt(run, file.path(), &outputs.manifest, &uses) {
        Ok(learnt) => {
            for rule in learnt.left_out {
                crate::say(&format!(
                    "assay: --learn leaves out {rule}, which would grant far more than was used; add it to {} if it is meant\n",
                    file.path().display()
                ));
            }
            write(file, learnt.text.as_bytes())
        }
        Err(error) => {
            crate::say(&format!("assay: cannot write {}: {error}\n", file.path().display()));
            false
        }
    }
}

/// Opens one file, for appending where `append` says so.
///
/// # Errors
/// A usage error.
pub(crate) fn open(run: &Run, path: &Path, append: bool) -> Result<OutputFile> {
    open_output(run, path, append).map_err(|failure| usage(format!("cannot write {}", failure.message)))
}

/// Writes what was opened. Says on stderr where that fails; whether it did not.
pub(crate) fn write(file: &OutputFile, text: &[u8]) -> bool {
    match file.replace(text) {
        Ok(()) => true,
        Err(error) => {
            crate::say(&format!("assay: cannot write {}: {error}\n", file.path().display()));
            false
        }
    }
}
