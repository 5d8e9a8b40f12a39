//! What `help` of the repl says: the pages of the builtins.

use std::fmt::Write;

include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// The page that names all.
const INDEX: &str = "README";

const SESSION: &str = "\
Type Lua. An expression shows its value; what is not complete goes on in the next line; local variables live on.
Tab completes names, Ctrl-C ends what runs or gives up the line, Ctrl-D leaves.
help(\"fs\") is about a builtin, help(fs.read) about one of its functions.

";

/// What there is to say about a topic: a builtin, a function, or the session for an empty one.
pub(super) fn about(topic: &str) -> Option<String> {
    if topic.is_empty() {
        return Some(format!("{SESSION}{}", index()));
    }
    match PAGES.iter().find(|(name, _)| *name == topic && *name != INDEX) {
        Some((_, page)) => Some(overview(page)),
        None => {
            let sections: Vec<_> = PAGES.iter().flat_map(|(_, page)| sections(page, topic)).collect();
            (!sections.is_empty()).then(|| sections.join("\n"))
        }
    }
}

/// Each builtin with its line of the index.
fn index() -> String {
    let mut text = String::new();
    let page = PAGES.iter().find(|(name, _)| *name == INDEX).map_or("", |(_, page)| page);
    for row in page.lines() {
        let cells = row.strip_prefix("| [").and_then(|row| row.strip_suffix(" |"));
        if let Some((name, summary)) = cells.and_then(|cells| cells.split_once("](")) {
            let summary = summary.split_once(" | ").map_or("", |(_, summary)| summary);
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:<10} {summary}");
        }
    }
    text
}

/// The text before the functions of a page, and the line of each.
fn overview(page: &str) -> String {
    let (text, functions) = page.split_once("\n## ").unwrap_or((page, ""));
    let mut shown = format!("{}\n\n", text.trim_start_matches('#').trim());
    for line in functions.split("\n## ").filter_map(|section| section.lines().next()) {
        shown.push_str(line);
        shown.push('\n');
    }
    shown
}

/// The sections of a page about a function of this name.
fn sections<'a>(page: &'a str, topic: &'a str) -> impl Iterator<Item = String> + 'a {
    page.split("\n## ").skip(1).filter_map(move |section| {
        let heading = section.lines().next().unwrap_or_default();
        let is_about = heading.split(", ").any(|one| {
            let name = one.split(['(', ' ']).next().unwrap_or_default();
            name == topic
        });
        is_about.then(|| format!("{}\n", section.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::about;

    #[test]
    fn the_session_a_builtin_a_function_and_nothing() {
        let session = about("").unwrap();
        assert!(
            session.contains("Ctrl-D") && session.contains("\nfs         Files and directories\n"),
            "{session}"
        );
        let page = about("fs").unwrap();
        assert!(
            page.starts_with("fs\nFiles and directories.") && page.contains("\nfs.read(path) -> string\n"),
            "{page}"
        );
        let function = about("fs.read").unwrap();
        assert!(function.starts_with("fs.read(path) -> string\nThe content of a file"), "{function}");
        assert!(!function.contains("fs.write(") && about("http.serve").is_some());
        assert_eq!(about("nothing.like.this"), None);
        assert_eq!(about("README"), None);
    }
}
