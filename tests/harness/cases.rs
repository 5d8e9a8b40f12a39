//! Scripts with directives: what is in `tests/capability` and `tests/sandbox`. The format is described in
//! CONTRIBUTING.md.

use crate::executable::{Directory, Finished, assay};
use crate::servers;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// One script of a file.
#[derive(Clone, Debug, Default)]
pub struct Case {
    pub title: String,
    /// The line of its title in the file, so that errors can be found.
    pub line: usize,
    /// Whether it is shown on the page.
    pub example: bool,
    directives: Vec<(String, String)>,
    code: String,
}

/// The cases of a file.
///
/// # Errors
/// When a directive is not known, or comes before the first case.
pub fn parse(text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        if let Some(directive) = line.strip_prefix("--# ") {
            let (name, value) =
                directive.split_once(':').ok_or(format!("line {number}: a directive is NAME: VALUE"))?;
            let (name, value) = (name.trim(), value.trim());
            match name {
                "example" | "case" => {
                    let example = name == "example";
                    cases.push(Case { title: value.into(), line: number, example, ..Case::default() });
                    continue;
                }
                "allow" | "deny" | "needs" | "exit" | "stdout" | "stderr" | "stdin" | "args" | "env"
                | "flags" | "file" | "link" => {}
                _ => return Err(format!("line {number}: there is no directive '{name}'")),
            }
            let case =
                cases.last_mut().ok_or(format!("line {number}: '{name}' comes before the first case"))?;
            case.directives.push((name.into(), value.into()));
            continue;
        }
        if let Some(case) = cases.last_mut() {
            case.code.push_str(line);
            case.code.push('\n');
        }
    }
    if cases.is_empty() {
        return Err("there are no cases (--# case: TITLE)".into());
    }
    Ok(cases)
}

/// The cases of a directory's files by the names of the files: `NAME.lua` is `NAME`, `NAME/THEME.lua` is `NAME::THEME`.
///
/// # Errors
/// When a file cannot be read or understood; when a theme has no `NAME.lua`, or an example, which is shown nowhere.
pub fn of_directory(directory: &Path) -> Result<Vec<(String, Vec<Case>)>, String> {
    let mut files = Vec::new();
    for path in entries(directory)? {
        let name = stem(&path);
        if !path.is_dir() {
            files.push((name, cases_of(&path)?));
            continue;
        }
        if !path.with_extension("lua").is_file() {
            return Err(format!("{}: there is no {name}.lua beside it", path.display()));
        }
        for theme in entries(&path)? {
            let cases = cases_of(&theme)?;
            if let Some(case) = cases.iter().find(|case| case.example) {
                let line = case.line;
                return Err(format!("{}: line {line}: examples are in {name}.lua", theme.display()));
            }
            files.push((format!("{name}::{}", stem(&theme)), cases));
        }
    }
    Ok(files)
}

/// The Lua files and directories of a directory, sorted.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries =
        std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "lua"));
    paths.sort();
    Ok(paths)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn cases_of(path: &Path) -> Result<Vec<Case>, String> {
    let place = |error: String| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| place(error.to_string()))?;
    parse(&text).map_err(place)
}

/// The text with each `${NAME}` replaced.
pub fn substitute(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut text = text.to_string();
    for (name, value) in values {
        text = text.replace(&format!("${{{name}}}"), value);
    }
    text
}

/// `\n`, `\t` and `\\` in what a stream must contain.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('t')) => out.push('\t'),
            ('\\', Some(other)) => out.push(other),
            _ => out.push(c),
        }
    }
    out
}

impl Case {
    /// The values of a directive.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.directives.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The servers that it needs.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.all("needs")
    }

    /// The script, without its directives.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Runs the case through the executable.
    ///
    /// # Errors
    /// What was not as the case says.
    pub fn run(&self) -> Result<(), String> {
        let directory = Directory::new();
        let mut values = BTreeMap::new();
        values.insert("TMP".to_string(), directory.path().display().to_string());
        let mut running = Vec::new();
        for name in self.all("needs") {
            let server = servers::start(name, directory.path())?;
            values.extend(server.values.clone());
            running.push(server);
        }
        let text = |value: &str| substitute(value, &values);
        for value in self.all("file") {
            let (name, content) = value.split_once('=').ok_or("--# file: NAME=CONTENT")?;
            directory.write(name.trim(), &text(content));
        }
        for value in self.all("link") {
            let value = text(value);
            let (name, target) = value.split_once('=').ok_or("--# link: NAME=TARGET")?;
            std::os::unix::fs::symlink(target, directory.path().join(name))
                .map_err(|error| error.to_string())?;
        }
        // The code starts where its title is, so that line numbers are those of the file.
        let code = "\n".repeat(self.line) + &text(&self.code);
        directory.write("case.lua", &code);
        let mut args = vec!["run".to_string()];
        for name in ["allow", "deny"] {
            for value in self.all(name) {
                args.extend([format!("--{name}"), text(value)]);
            }
        }
        for value in self.all("flags") {
            args.extend(text(value).split_whitespace().map(String::from));
        }
        args.extend(["case.lua".into(), "--".into()]);
        for value in self.all("args") {
            args.extend(text(value).split_whitespace().map(String::from));
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = assay(directory.path(), &args);
        for value in self.all("env") {
            let value = text(value);
            let (name, value) = value.split_once('=').ok_or("--# env: NAME=VALUE")?;
            command.env(name, value);
        }
        let stdin: Vec<String> = self.all("stdin").map(&text).collect();
        if !stdin.is_empty() {
            command.stdin(Stdio::piped());
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the executable cannot be started: {error}"))?;
        if let Some(mut pipe) = child.stdin.take() {
            // A script that does not read its input is no failure of the test.
            let _ = pipe.write_all((stdin.join("\n") + "\n").as_bytes());
        }
        let finished: Finished = child.wait_with_output().map_err(|error| error.to_string())?.into();
        self.judge(&finished, &values)
    }

    fn judge(&self, finished: &Finished, values: &BTreeMap<String, String>) -> Result<(), String> {
        let mut wrong = Vec::new();
        let exit = self.all("exit").last().unwrap_or("0");
        if finished.code.map(|code| code.to_string()).as_deref() != Some(exit) {
            wrong.push(format!("exit code {:?}, not {exit}", finished.code));
        }
        for (name, stream) in [("stdout", &finished.stdout), ("stderr", &finished.stderr)] {
            for wanted in self.all(name) {
                let wanted = unescape(&substitute(wanted, values));
                if !stream.contains(&wanted) {
                    wrong.push(format!("{name} lacks: {wanted}"));
                }
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(format!("{}\n--- stdout\n{}\n--- stderr\n{}", wrong.join("\n"), finished.stdout, finished.stderr))
    }
}
