//! The papers are true: their Lua runs, their links lead somewhere, the tests that they name exist.

use assay_tests::cases;
use assay_tests::executable::{Directory, Finished, assay, root};
use libtest_mimic::{Failed, Trial};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A block of Lua in a Markdown file.
struct Block {
    /// Relative to the root of the project.
    file: String,
    /// Of its first line of code.
    line: usize,
    code: String,
}

/// One trial for each block of Lua in README.md and docs/*.md, and those about all papers.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("docs::links_lead_somewhere", || {
            judge(papers().and_then(|papers| broken_links(&papers)))
        }),
        Trial::test("docs::named_tests_exist", || judge(papers().and_then(|papers| missing_tests(&papers)))),
        Trial::test("docs::pages_show_every_example", || judge(missing_examples())),
        Trial::test("docs::the_readme_names_its_two_commands", || judge(missing_commands())),
        Trial::test("docs::the_table_of_scopes_is_the_executable_s", || judge(stale_scopes())),
        Trial::test("docs::the_page_of_templates_lists_what_there_is", || judge(missing_names())),
        Trial::test("docs::the_table_of_limits_has_every_flag", || judge(missing_limits())),
        Trial::test("docs::security_lists_every_attack", || judge(stale_attacks())),
    ];
    match papers() {
        Ok(papers) => {
            // docs/reference is made from tests/capability, where its examples run with their grants.
            let runnable = papers.iter().filter(|(file, _)| file == "README.md" || is_guide(file));
            for block in runnable.flat_map(|(file, text)| blocks(file, text)) {
                let name = format!("docs::{}::line_{}", block.file, block.line);
                trials.push(Trial::test(name, move || run(&block).map_err(Failed::from)));
            }
        }
        Err(error) => trials.push(Trial::test("docs::papers_can_be_read", move || Err(Failed::from(error)))),
    }
    trials
}

/// `docs/X.md`, and nothing below other directories.
fn is_guide(file: &str) -> bool {
    file.strip_prefix("docs/").is_some_and(|name| !name.contains('/'))
}

/// Fails with what is wrong, one a line.
fn judge(wrong: Result<Vec<String>, String>) -> Result<(), Failed> {
    match wrong {
        Ok(wrong) if wrong.is_empty() => Ok(()),
        Ok(wrong) => Err(Failed::from(wrong.join("\n"))),
        Err(error) => Err(Failed::from(error)),
    }
}

/// The Markdown files of the root and of docs, with their text.
fn papers() -> Result<Vec<(String, String)>, String> {
    let mut files = Vec::new();
    for (directory, deep) in [("", false), ("docs", true)] {
        collect(&root().join(directory), deep, &mut files)?;
    }
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        Ok((name, text))
    };
    files.into_iter().map(read).collect()
}

fn collect(directory: &Path, deep: bool, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() && deep {
            collect(&path, deep, files)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
    Ok(())
}

/// The blocks fenced as `lua`; those fenced as `lua ignore` are no scripts of their own.
fn blocks(file: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    // Inside a fence: the block, where it is one to run.
    let mut fence: Option<Option<Block>> = None;
    for (at, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut fence) {
            (Some(info), None) => {
                let block = Block { file: file.into(), line: at + 2, code: String::new() };
                fence = Some((info.trim() == "lua").then_some(block));
            }
            (Some(_), Some(_)) => blocks.extend(fence.take().flatten()),
            (None, Some(Some(block))) => {
                block.code.push_str(line);
                block.code.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

/// Runs a block in a directory of its own through `assay exec -`. Its first line may be `-- grants: CAP=SCOPE,...`,
/// with `${TMP}` for the directory.
fn run(block: &Block) -> Result<(), String> {
    let directory = Directory::new();
    let mut args = vec!["exec".to_string()];
    if let Some(grants) = block.code.lines().next().and_then(|line| line.strip_prefix("-- grants:")) {
        let grants = grants.trim().replace("${TMP}", &directory.path().display().to_string());
        args.extend(["--allow".into(), grants]);
    }
    args.push("-".into());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let failed = |error: std::io::Error| format!("the executable cannot be run: {error}");
    let mut child = assay(directory.path(), &args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // The lines are numbered as in the file.
        let code = "\n".repeat(block.line - 1) + &block.code;
        stdin.write_all(code.as_bytes()).map_err(failed)?;
    }
    let done: Finished = child.wait_with_output().map_err(failed)?.into();
    if done.code == Some(0) {
        return Ok(());
    }
    Err(format!("{}:{}: exit code {:?}\n{}{}", block.file, block.line, done.code, done.stdout, done.stderr))
}

/// The lines of a paper outside of fenced blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((at + 1, line))
    })
}

/// Links to files of the project that are not there.
fn broken_links(papers: &[(String, String)]) -> Result<Vec<String>, String> {
    let mut broken = Vec::new();
    for (file, text) in papers {
        let path = root().join(file);
        let directory = path.parent().unwrap_or(&path);
        for (number, line) in prose(text) {
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let target = link.split('#').next().unwrap_or_default();
                if !target.is_empty() && !target.contains(':') && !directory.join(target).exists() {
                    broken.push(format!("{file}:{number}: {target} does not exist"));
                }
            }
        }
    }
    Ok(broken)
}

/// Tests that a paper names as `FILE::NAME` and that are not there.
fn missing_tests(papers: &[(String, String)]) -> Result<Vec<String>, String> {
    let mut missing = Vec::new();
    for (file, text) in papers {
        for (number, line) in prose(text) {
            // Every second part of a line split at backquotes is code.
            for code in line.split('`').skip(1).step_by(2) {
                let Some((path, name)) = code.split_once("::") else { continue };
                let wanted = match Path::new(path).extension().and_then(|extension| extension.to_str()) {
                    Some("rs") => vec![format!("fn {name}(")],
                    Some("lua") => vec![format!("--# case: {name}\n"), format!("--# example: {name}\n")],
                    _ => continue,
                };
                let source = std::fs::read_to_string(root().join(path)).unwrap_or_default();
                if !wanted.iter().any(|wanted| source.contains(wanted)) {
                    missing.push(format!("{file}:{number}: {path} has no test '{name}'"));
                }
            }
        }
    }
    Ok(missing)
}

/// Examples of the files of cases that their page in docs/reference does not show, with their code and under their title.
fn missing_examples() -> Result<Vec<String>, String> {
    let mut missing = Vec::new();
    let mut count = 0;
    for (file, cases) in cases::of_directory(&root().join("tests/capability"))? {
        let page = format!("docs/reference/{file}.md");
        let text = std::fs::read_to_string(root().join(&page)).unwrap_or_default();
        for example in cases.iter().filter(|case| case.example) {
            count += 1;
            let code = format!("lua\n{}\n```", example.code().trim());
            let shown = text.split("\n### ").skip(1).any(|section| {
                section.lines().next() == Some(example.title.as_str()) && section.contains(&code)
            });
            if !shown {
                missing.push(format!("{page} does not show the example '{}'", example.title));
            }
        }
    }
    if count == 0 {
        return Err("tests/capability has no examples".into());
    }
    Ok(missing)
}

/// The commands that a fresh clone starts with.
fn missing_commands() -> Result<Vec<String>, String> {
    let path = root().join("README.md");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let wanted = ["cargo xtask run --allow fs=read:examples examples/log_summary.lua", "cargo xtask test"];
    let missing = wanted.iter().filter(|wanted| !text.lines().any(|line| line.trim() == **wanted));
    Ok(missing.map(|wanted| format!("README.md has no line '{wanted}'")).collect())
}

/// Filters, tests, functions and methods that the page of `template` lists, and templates do not have.
fn missing_names() -> Result<Vec<String>, String> {
    let page = std::fs::read_to_string(root().join("docs/reference/template.md"))
        .map_err(|error| error.to_string())?;
    let names = |title: &str| -> Result<Vec<String>, String> {
        let list = page.split_once(&format!("\n{title}")).and_then(|(_, rest)| rest.split("\n\n").nth(1));
        let list = list.ok_or_else(|| format!("the page has no '{title}'"))?;
        Ok(list.split('`').skip(1).step_by(2).map(str::to_owned).collect())
    };
    let mut code = String::new();
    for (title, source) in [
        ("Filters, ", "{{ 'NAME' is filter }}"),
        ("Tests:", "{{ 'NAME' is test }}"),
        ("Functions:", "{{ NAME is defined }}"),
    ] {
        for name in names(title)? {
            let source = source.replace("NAME", &name);
            code.push_str(&format!(
                "if template.render_string([[{source}]]) ~= 'true' then print([[{source}]]) end\n"
            ));
        }
    }
    for name in names("Methods ")? {
        code.push_str(&format!(
            "do local found = false
            for _, value in ipairs({{ [['x']], '{{}}', '[]' }}) do
                local ok, err = pcall(template.render_string, '{{{{ ' .. value .. '.{name}() }}}}')
                found = found or ok or not err.message:find('no method named', 1, true)
            end
            if not found then print('{name}') end end\n"
        ));
    }
    if code.lines().count() < 100 {
        return Err(format!("the page lists too little: {code}"));
    }
    let directory = Directory::new();
    let output =
        assay(directory.path(), &["exec", "-e", &code]).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(|line| format!("there is no {line}")).collect())
}

/// Limits of `assay run` that the table in `docs/limits.md` does not have.
fn missing_limits() -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(root().join("docs/limits.md")).map_err(|error| error.to_string())?;
    let directory = Directory::new();
    let help = assay(directory.path(), &["run", "--help"]).output().map_err(|error| error.to_string())?;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let section = help.split_once("\nLimits:\n").ok_or("assay run --help has no section 'Limits'")?.1;
    let words = section.lines().take_while(|line| line.is_empty() || line.starts_with(' '));
    let flags: Vec<&str> =
        words.filter_map(|line| line.trim().strip_prefix("--")?.split(' ').next()).collect();
    if flags.len() < 8 {
        return Err(format!("assay run --help has no more limits than {flags:?}"));
    }
    let missing = flags.iter().filter(|flag| !text.contains(&format!("\n| `--{flag}`, `{flag}` | ")));
    Ok(missing.map(|flag| format!("the table of docs/limits.md has no --{flag}")).collect())
}

/// `docs/grants.md` holds the scopes as `assay capabilities` knows them.
fn stale_scopes() -> Result<Vec<String>, String> {
    let marks = ("<!-- scopes: written from `assay capabilities` -->\n", "<!-- end of scopes -->\n");
    stale("docs/grants.md", marks, scopes_table()?)
}

/// `SECURITY.md` lists the attacks that are tested.
fn stale_attacks() -> Result<Vec<String>, String> {
    let marks = ("<!-- attacks: written from the tests -->\n", "<!-- end of attacks -->\n");
    stale("SECURITY.md", marks, attacks()?)
}

/// Whether a paper has this between its marks. With `ASSAY_WRITE_DOCS` set the file is brought up to date instead.
fn stale(file: &str, (begin, end): (&str, &str), wanted: String) -> Result<Vec<String>, String> {
    let path = root().join(file);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let parts = text.split_once(begin).and_then(|(head, rest)| Some((head, rest.split_once(end)?)));
    let (head, (found, tail)) =
        parts.ok_or_else(|| format!("{file} lacks the marks around {}", begin.trim()))?;
    if found == wanted {
        return Ok(Vec::new());
    }
    if std::env::var_os("ASSAY_WRITE_DOCS").is_some() {
        let text = format!("{head}{begin}{wanted}{end}{tail}");
        return std::fs::write(&path, text).map(|()| Vec::new()).map_err(|error| error.to_string());
    }
    Ok(vec![format!("{file} is stale; run the tests once with ASSAY_WRITE_DOCS=1")])
}

/// What the files of `tests/sandbox` attack, in the order of the list.
const KINDS: &[(&str, &str)] = &[
    ("fs", "Files"),
    ("tar", "Archives"),
    ("http", "HTTP client"),
    ("ws", "WebSockets"),
    ("listen", "HTTP server: what a script may not make of it"),
    ("db", "Databases"),
    ("oci", "Container registries"),
    ("process", "Programs"),
    ("env", "Environment variables"),
    ("systemd", "systemd and the journal"),
    ("crypto", "Cryptography"),
    ("arguments", "Arguments and options"),
    ("boundary", "Values that cross the boundary"),
];

/// The attacks by kind, each with the file of its tests.
fn attacks() -> Result<String, String> {
    let mut list = String::new();
    let mut files = cases::of_directory(&root().join("tests/sandbox"))?;
    let place = |file: &str| KINDS.iter().position(|(name, _)| *name == file).unwrap_or(KINDS.len());
    files.sort_by_key(|(file, _)| place(file));
    for (file, cases) in &files {
        let kind = KINDS.get(place(file)).map_or(file.as_str(), |(_, kind)| kind);
        let titles = cases.iter().map(|case| case.title.clone());
        add_attacks(&mut list, kind, &format!("tests/sandbox/{}.lua", file.replace("::", "/")), titles);
    }
    for (kind, file, tests) in [
        ("HTTP server: clients", "serve/attacks.rs", crate::serve::attacks::TESTS),
        ("HTTP server: clients of version 2", "serve/version2.rs", crate::serve::version2::TESTS),
        ("Programs that outlive their run", "process.rs", crate::process::TESTS),
        ("Limits", "limits.rs", crate::limits::TESTS),
        ("Limits on what the host does for a script", "walls.rs", crate::walls::TESTS),
        ("Memory that the host holds for a script", "memory.rs", crate::memory::TESTS),
    ] {
        let titles = tests.iter().map(|(name, _)| name.replace('_', " "));
        add_attacks(&mut list, kind, &format!("tests/harness/{file}"), titles);
    }
    Ok(list)
}

fn add_attacks(list: &mut String, kind: &str, file: &str, titles: impl Iterator<Item = String>) {
    list.push_str(&format!("\n### {kind}\n\n`{file}`\n\n"));
    titles.for_each(|title| list.push_str(&format!("- {title}\n")));
}

fn scopes_table() -> Result<String, String> {
    let directory = Directory::new();
    let listed =
        assay(directory.path(), &["capabilities", "--json"]).output().map_err(|error| error.to_string())?;
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout)
        .map_err(|error| format!("assay capabilities --json: {error}"))?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().replace('|', "\\|");
    let mut table = String::from("| capability | scope | what it grants | example |\n|---|---|---|---|\n");
    for capability in listed.as_array().ok_or("it is no list")? {
        if capability["needs_grant"] == false {
            continue;
        }
        let (name, summary) = (text(&capability["name"]), text(&capability["summary"]));
        table.push_str(&format!("| `{name}` | none | {summary} | `--allow {name}` |\n"));
        for scope in capability["scopes"].as_array().into_iter().flatten() {
            let (form, grants) = (text(&scope["form"]), text(&scope["grants"]));
            table.push_str(&format!("| | `{form}` | {grants} | `--allow {}` |\n", text(&scope["example"])));
        }
    }
    Ok(table)
}
