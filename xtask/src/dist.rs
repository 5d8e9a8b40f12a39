//! What is shipped.

use crate::guest;
use crate::shell::{Result, cargo, run, say, target};
use std::path::PathBuf;

/// The executable as it is shipped.
pub fn executable() -> Result<PathBuf> {
    guest::build()?;
    say("building assay for shipping");
    run(cargo(&["build", "--quiet", "--locked", "--package", "assay", "--profile", "dist"]))?;
    Ok(target().join("dist/assay"))
}

pub fn dist() -> Result<u8> {
    let path = executable()?;
    let size = std::fs::metadata(&path).map_err(|error| error.to_string())?.len();
    println!("{} {:.1} MB", path.display(), size as f64 / 1e6);
    Ok(0)
}
