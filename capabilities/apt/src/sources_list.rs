//! Descriptions of repositories in the two formats of sources.list(5).

use crate::Outcome;
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};

/// Bytes of a description.
const MAX_TEXT: usize = 64 << 10;

/// Which format a description is in, and so the ending of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    OneLine,
    Deb822,
}

impl Format {
    pub fn ending(self) -> &'static str {
        match self {
            Format::OneLine => "list",
            Format::Deb822 => "sources",
        }
    }

    pub fn other(self) -> Format {
        match self {
            Format::OneLine => Format::Deb822,
            Format::Deb822 => Format::OneLine,
        }
    }
}

/// A checked description of one or more repositories.
#[derive(Debug)]
pub struct Sources {
    pub format: Format,
    lines: Vec<String>,
}

fn invalid(why: impl std::fmt::Display) -> Error {
    error(ErrorCode::InvalidArgument, format!("source_list: {why}"))
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

fn is_blank(line: &str) -> bool {
    line.trim().is_empty()
}

/// A line of the one-line format: its type, its options in brackets if it has any, and the rest.
fn entry(line: &str) -> Option<(&str, Option<&str>, &str)> {
    let (kind, rest) = line.trim().split_once([' ', '\t'])?;
    if kind != "deb" && kind != "deb-src" {
        return None;
    }
    let rest = rest.trim_start();
    match rest.strip_prefix('[') {
        Some(rest) => {
            let (options, rest) = rest.split_once(']')?;
            Some((kind, Some(options.trim()), rest.trim()))
        }
        None => Some((kind, None, rest)),
    }
}

/// `Name: value` of the deb822 format.
fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let plain = !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    plain.then_some((name, value.trim()))
}

impl Sources {
    /// Reads a description.
    ///
    /// # Errors
    /// `invalid-argument` where it is in neither format.
    pub fn parse(text: &str) -> Outcome<Sources> {
        if text.len() > MAX_TEXT {
            return Err(invalid(format_args!("{} bytes are more than {MAX_TEXT}", text.len())));
        }
        let lines: Vec<String> = text.replace("\r\n", "\n").trim().lines().map(str::to_string).collect();
        if let Some(line) = lines.iter().find(|line| line.chars().any(|c| c.is_control() && c != '\t')) {
            return Err(invalid(format_args!("{line:?} holds a control character")));
        }
        let first = lines.iter().find(|line| !is_blank(line) && !is_comment(line));
        let format = match first {
            None => return Err(invalid("it describes no repository")),
            Some(line) if entry(line).is_some() => Format::OneLine,
            Some(line) if field(line).is_some() => Format::Deb822,
            Some(line) => {
                return Err(invalid(format_args!(
                    "{line:?} is neither a line 'deb URI SUITE COMPONENT...' nor a field 'Types: deb'"
                )));
            }
        };
        let sources = Sources { format, lines };
        match format {
            Format::OneLine => sources.check_lines()?,
            Format::Deb822 => sources.check_stanzas()?,
        }
        Ok(sources)
    }

    fn check_lines(&self) -> Outcome<()> {
        for line in self.lines.iter().filter(|line| !is_blank(line) && !is_comment(line)) {
            let (_, _, rest) = entry(line).ok_or_else(|| {
                invalid(format_args!("{line:?} is not a line 'deb [OPTION=VALUE...] URI SUITE COMPONENT...'"))
            })?;
            let mut words = rest.split_ascii_whitespace();
            let (uri, suite) = (words.next().unwrap_or_default(), words.next());
            if !uri.contains(':') || suite.is_none() {
                return Err(invalid(format_args!("{line:?} has no URI and suite")));
            }
        }
        Ok(())
    }

    /// Ranges of lines between blank ones.
    fn stanzas(&self) -> Vec<std::ops::Range<usize>> {
        let mut stanzas = Vec::new();
        let mut start = None;
        for (n, line) in self.lines.iter().enumerate() {
            match (is_blank(line), start) {
                (false, None) => start = Some(n),
                (true, Some(from)) => {
                    stanzas.push(from..n);
                    start = None;
                }
                _ => {}
            }
        }
        stanzas.extend(start.map(|from| from..self.lines.len()));
        stanzas.retain(|stanza| self.lines[stanza.clone()].iter().any(|line| !is_comment(line)));
        stanzas
    }

    fn has_field(&self, stanza: &std::ops::Range<usize>, wanted: &str) -> bool {
        let mut fields = self.lines[stanza.clone()].iter().filter_map(|line| field(line));
        fields.any(|(name, _)| name.eq_ignore_ascii_case(wanted))
    }

    fn check_stanzas(&self) -> Outcome<()> {
        for stanza in self.stanzas() {
            for line in self.lines[stanza.clone()].iter().filter(|line| !is_comment(line)) {
                if !line.starts_with([' ', '\t']) && field(line).is_none() {
                    return Err(invalid(format_args!("{line:?} is not a field 'NAME: VALUE'")));
                }
            }
            for name in ["Types", "URIs", "Suites"] {
                if !self.has_field(&stanza, name) {
                    return Err(invalid(format_args!("a repository has no field '{name}'")));
                }
            }
        }
        Ok(())
    }

    /// The content of the file. A repository that names no key itself is bound to `key`: without that apt would not
    /// use it.
    pub fn text(&self, key: Option<&str>) -> String {
        let mut lines = self.lines.clone();
        if let Some(key) = key {
            match self.format {
                Format::OneLine => {
                    for line in lines.iter_mut().filter(|line| !is_comment(line)) {
                        let Some((kind, options, rest)) = entry(line) else { continue };
                        *line = match options {
                            Some(options) if options.to_ascii_lowercase().contains("signed-by") => continue,
                            Some(options) if !options.is_empty() => {
                                format!("{kind} [{options} signed-by={key}] {rest}")
                            }
                            _ => format!("{kind} [signed-by={key}] {rest}"),
                        };
                    }
                }
                // From the last, so that the lines of the others stay where they are.
                Format::Deb822 => {
                    for stanza in self.stanzas().iter().rev() {
                        if !self.has_field(stanza, "Signed-By") {
                            lines.insert(stanza.end, format!("Signed-By: {key}"));
                        }
                    }
                }
            }
        }
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let sources = Sources::parse(
            "# ours\r\n\ndeb https://a.example stable main\ndeb-src\t[ arch=amd64 ] https://a.example ./\ndeb [signed-by=/k] file:/x ./\n#deb https://b.example x y\ndeb [] https://c.example x y",
        )
        .unwrap();
        assert_eq!(sources.format, Format::OneLine);
        assert_eq!(
            sources.text(Some("/etc/apt/keyrings/a.asc")),
            "# ours\n\ndeb [signed-by=/etc/apt/keyrings/a.asc] https://a.example stable main\ndeb-src [arch=amd64 signed-by=/etc/apt/keyrings/a.asc] https://a.example ./\ndeb [signed-by=/k] file:/x ./\n#deb https://b.example x y\ndeb [signed-by=/etc/apt/keyrings/a.asc] https://c.example x y\n"
        );
        assert!(sources.text(None).contains("deb https://a.example stable main\n"));
    }

    #[test]
    fn stanzas() {
        let sources = Sources::parse(
            "# ours\n\nTypes: deb\nURIs: https://a.example\n https://b.example\nSuites: stable\nComponents: main\n\n\ntypes: deb\nuris: file:/x\nsuites: ./\nsigned-by: /k\n",
        )
        .unwrap();
        assert_eq!(sources.format, Format::Deb822);
        assert_eq!(
            sources.text(Some("/key")),
            "# ours\n\nTypes: deb\nURIs: https://a.example\n https://b.example\nSuites: stable\nComponents: main\nSigned-By: /key\n\n\ntypes: deb\nuris: file:/x\nsuites: ./\nsigned-by: /k\n"
        );
        let one = Sources::parse("Types: deb\nURIs: a:b\nSuites: x").unwrap();
        assert_eq!(one.text(Some("/k")), "Types: deb\nURIs: a:b\nSuites: x\nSigned-By: /k\n");
    }

    #[test]
    fn what_is_in_neither_format() {
        for text in [
            "",
            "# nothing\n\n",
            "hello",
            "deb",
            "deb https://a.example",
            "deb stable main",
            "deb [arch=amd64 https://a.example x",
            "deb https://a.example x y\nTypes: deb",
            "deb https://a.example x y\nrm -rf /",
            "Types: deb\nURIs: a:b",
            "Types: deb\nURIs: a:b\nSuites: x\nnonsense",
            "Types: deb\nURIs: a:b\nSuites: x\n\nTypes: deb\n",
            "deb https://a.example x\0y z",
            "deb https://a.example x \u{1b}[2J",
            "rpm https://a.example x y",
        ] {
            let failed = Sources::parse(text).unwrap_err();
            assert_eq!(failed.code, ErrorCode::InvalidArgument, "{text:?}");
        }
        assert!(Sources::parse(&format!("deb a:b c d\n# {}", "x".repeat(MAX_TEXT))).is_err());
    }
}
