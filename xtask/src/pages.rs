//! The reference: one page for each builtin, made of the comment and the examples of its file of cases.

use std::fmt::Write as _;

/// A page of the reference.
pub struct Page {
    pub text: String,
    /// The first sentence of the page's first paragraph.
    pub summary: String,
}

/// An example as its page shows it.
#[derive(Default)]
struct Example {
    title: String,
    grants: Vec<String>,
    /// What else it was given, one line each.
    given: Vec<String>,
    code: String,
}

/// The page of a builtin: the leading comment of its file of cases, and its examples. `note` says where the
/// page comes from.
pub fn page(source: &str, note: &str) -> Page {
    let comment: Vec<&str> = source
        .lines()
        .map_while(|line| line.strip_prefix("---"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let mut text = format!("<!-- {note} -->\n");
    for line in &comment {
        let _ = writeln!(text, "{line}");
    }
    let examples = examples(source);
    if !examples.is_empty() {
        text.push_str("\n## Examples\n");
    }
    let placeholders = || examples.iter().flat_map(Example::placeholders);
    if placeholders().any(|name| name == "TMP") {
        text.push_str("\n`${TMP}` is the directory that an example runs in.\n");
    }
    if placeholders().any(|name| name != "TMP") {
        text.push_str("\nOther names in `${}` are ports and files of the servers that the tests start.\n");
    }
    for example in examples {
        example.show(&mut text);
    }
    Page { text, summary: summary(&comment) }
}

/// The first sentence below the title, however many lines it has, as a cell of a table.
fn summary(comment: &[&str]) -> String {
    let paragraph: Vec<&str> = comment
        .iter()
        .skip_while(|line| line.starts_with('#') || line.trim().is_empty())
        .take_while(|line| !line.trim().is_empty())
        .map(|line| line.trim())
        .collect();
    let paragraph = paragraph.join(" ");
    let sentence = paragraph.split(". ").next().unwrap_or_default();
    sentence.trim_end_matches('.').replace('|', "\\|")
}

/// The examples of a file of cases, in its order.
fn examples(source: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut open: Option<Example> = None;
    for line in source.lines() {
        let directive = line.strip_prefix("--# ").and_then(|text| text.split_once(':'));
        match (directive.map(|(name, value)| (name.trim(), value.trim())), &mut open) {
            (Some(("example", title)), _) => {
                examples.extend(open.replace(Example { title: title.into(), ..Example::default() }));
            }
            (Some(("case", _)), _) => examples.extend(open.take()),
            (Some(("allow", grants)), Some(example)) => example.grants.push(grants.into()),
            (Some((name, value)), Some(example)) => example.given.extend(given(name, value)),
            (None, Some(example)) => {
                example.code.push_str(line);
                example.code.push('\n');
            }
            (_, None) => {}
        }
    }
    examples.extend(open);
    examples
}

/// What a reader must know of a directive; none of those that only the tests need.
fn given(name: &str, value: &str) -> Option<String> {
    match name {
        "deny" => Some(format!("Denied: `--deny {value}`")),
        "flags" => Some(format!("Run with: `{value}`")),
        "args" => Some(format!("Arguments: `{value}`")),
        "env" => Some(format!("Environment: `{value}`")),
        "stdin" => Some(format!("Line of input: `{value}`")),
        "file" => value.split_once('=').map(|(name, text)| format!("File `{}`: `{text}`", name.trim())),
        "link" => value.split_once('=').map(|(name, to)| format!("Link `{}` to `{to}`", name.trim())),
        "stdout" | "stderr" => Some(format!("Writes to {name}: `{value}`")),
        _ => None,
    }
}

impl Example {
    /// The names in `${}`.
    fn placeholders(&self) -> impl Iterator<Item = &str> {
        let texts = self.grants.iter().chain(&self.given).chain(std::iter::once(&self.code));
        texts.flat_map(|text| text.split("${").skip(1)).filter_map(|rest| Some(rest.split_once('}')?.0))
    }

    fn show(&self, text: &mut String) {
        let _ = writeln!(text, "\n### {}", self.title);
        if !self.grants.is_empty() {
            let _ = writeln!(text, "\nGranted: `--allow {}`", self.grants.join(","));
        }
        for line in &self.given {
            let _ = writeln!(text, "\n{line}");
        }
        // Code that has fences of its own is shown in a longer one.
        let mut fence = String::from("```");
        while self.code.contains(&fence) {
            fence.push('`');
        }
        let _ = writeln!(text, "\n{fence}lua\n{}\n{fence}", self.code.trim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
--- # name
---
--- Does one thing, of which the sentence
--- is long | wide. And another.
---
--- ## name.run()
--- - an item

--# example: first
--# allow: fs=rw:${TMP}
--# allow: http=a
--# file: a.txt=x=y
local x = 1

name.run(x)

--# case: only run
error('not shown')
--# example: second
--# needs: http
print('```')
--# example: third
print(${PORT})
";

    #[test]
    fn a_page_has_the_comment_and_every_example_whole() {
        let text = page(SOURCE, "note").text;
        let wanted = "\
<!-- note -->
# name

Does one thing, of which the sentence
is long | wide. And another.

## name.run()
- an item

## Examples

`${TMP}` is the directory that an example runs in.

Other names in `${}` are ports and files of the servers that the tests start.

### first

Granted: `--allow fs=rw:${TMP},http=a`

File `a.txt`: `x=y`

```lua
local x = 1

name.run(x)
```

### second

````lua
print('```')
````

### third

```lua
print(${PORT})
```
";
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_summary_is_a_sentence_not_a_line() {
        assert_eq!(page(SOURCE, "").summary, "Does one thing, of which the sentence is long \\| wide");
        assert_eq!(page("--- # x\n--- Only this.\n\nrest", "").summary, "Only this");
    }

    #[test]
    fn a_file_without_examples_has_no_such_heading() {
        assert_eq!(page("--- # x\n--- Text.\n--# case: y\nprint(1)\n", "n").text, "<!-- n -->\n# x\nText.\n");
    }
}
