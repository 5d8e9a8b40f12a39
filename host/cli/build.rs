//! Embeds the pages of the builtins for `help` of the repl, without their examples.

use std::fmt::Write;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../docs/reference");
    println!("cargo::rerun-if-changed={}", directory.display());
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(&directory)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".md")) else {
            continue;
        };
        println!("cargo::rerun-if-changed={}", path.display());
        let text = std::fs::read_to_string(&path)?;
        let text = text.split("\n## Examples\n").next().unwrap_or_default();
        let text = text.split_once("-->\n").map_or(text, |(_, page)| page);
        pages.push((name.to_string(), text.trim().to_string()));
    }
    pages.sort();
    let mut code = String::from("/// Name and text of each page.\nconst PAGES: &[(&str, &str)] = &[\n");
    for (name, text) in &pages {
        writeln!(code, "    ({name:?}, {text:?}),")?;
    }
    code.push_str("];\n");
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("pages.rs"), code)?;
    Ok(())
}
