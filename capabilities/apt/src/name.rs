//! Names of packages. apt-get reads much more into an argument than a name: `nginx-` removes it, `lib.*` is a pattern,
//! `./x.deb` a file, `task^` a task. Only names pass here.

use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};

/// A checked `NAME[:ARCHITECTURE][=VERSION]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// As apt-get gets it.
    pub full: String,
    /// The package alone.
    pub package: String,
    pub architecture: Option<String>,
    pub version: Option<String>,
}

/// Debian Policy 5.6.1, without those that end in a hyphen, which apt-get takes for a removal.
fn is_package(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() >= 2
        && bytes.next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        && bytes.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"+-.".contains(&c))
        && !text.ends_with('-')
}

fn is_architecture(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        && !text.ends_with('-')
}

/// Debian Policy 5.6.12.
fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || b".+-~:".contains(&c))
}

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// `invalid-argument` where the text is not a package's name.
    pub fn parse(text: &str) -> Result<Name, Error> {
        let (rest, version) = match text.split_once('=') {
            Some((rest, version)) => (rest, Some(version)),
            None => (text, None),
        };
        let (package, architecture) = match rest.split_once(':') {
            Some((package, architecture)) => (package, Some(architecture)),
            None => (rest, None),
        };
        if is_package(package) && architecture.is_none_or(is_architecture) && version.is_none_or(is_version) {
            return Ok(Name {
                full: text.into(),
                package: package.into(),
                architecture: architecture.map(str::to_string),
                version: version.map(str::to_string),
            });
        }
        let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
        Err(error(
            ErrorCode::InvalidArgument,
            format!(
                "'{shown}' is not the name of a package; write NAME, NAME:ARCHITECTURE or NAME=VERSION, in lower case, \
                 without blanks, patterns or paths"
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, package, architecture, version) in [
            ("nginx", "nginx", None, None),
            ("g++", "g++", None, None),
            ("libstdc++6:i386", "libstdc++6", Some("i386"), None),
            ("python3.11", "python3.11", None, None),
            ("0ad", "0ad", None, None),
            ("bash=5.2.15-2+b7", "bash", None, Some("5.2.15-2+b7")),
            ("vim:amd64=2:9.0.1378-2", "vim", Some("amd64"), Some("2:9.0.1378-2")),
            ("x=1.0~rc1", "", None, None),
        ] {
            match Name::parse(text) {
                Ok(name) => {
                    assert_eq!(name.full, text);
                    assert_eq!(name.package, package);
                    assert_eq!(name.architecture.as_deref(), architecture);
                    assert_eq!(name.version.as_deref(), version);
                }
                Err(_) => assert_eq!(package, "", "{text}"),
            }
        }
    }

    #[test]
    fn what_is_no_name() {
        for text in [
            "",
            "a",
            "-y",
            "--help",
            "-oAPT::Update::Pre-Invoke::=id",
            "nginx-",
            "nginx:amd64-",
            "lib.*",
            "lib?x",
            "a b",
            "./x.deb",
            "/tmp/x.deb",
            "../x",
            "task^",
            "nginx/stable",
            "~ninstalled",
            "?installed",
            "Nginx",
            "näme",
            "a\0b",
            "ab\n",
            "ab=",
            "ab:",
            "ab=;id",
            "ab=$(id)",
            "ab=1.0 --force",
            "ab:=1",
            "ab=1=2/..",
            "^ab",
            "ab$",
            ".ab",
            "+ab",
            "ab:-",
            "ab=-1",
        ] {
            let failed = Name::parse(text).unwrap_err();
            assert_eq!(failed.code, ErrorCode::InvalidArgument, "{text}");
        }
    }
}
