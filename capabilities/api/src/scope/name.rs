//! Scopes that are names: `HOME`, `AWS_*`.

use super::{Request, Scope};

/// A name, or a pattern with `*` for any characters.
#[derive(Debug)]
pub struct NameScope {
    pattern: String,
}

impl NameScope {
    pub fn new(pattern: impl Into<String>) -> NameScope {
        NameScope { pattern: pattern.into() }
    }
}

impl Scope for NameScope {
    fn matches(&self, request: &Request<'_>) -> bool {
        matches!(request, Request::Name(name) if wildcard(&self.pattern, name))
    }
}

/// Whether `pattern`, in which `*` stands for any characters, matches all of `text`.
pub(super) fn wildcard(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::wildcard;

    #[test]
    fn stars_match_any_run_of_characters() {
        for (pattern, text, matches) in [
            ("HOME", "HOME", true),
            ("HOME", "HOMES", false),
            ("AWS_*", "AWS_REGION", true),
            ("AWS_*", "XAWS_REGION", false),
            ("*_TOKEN", "GH_TOKEN", true),
            ("*", "", true),
            ("a*a", "a", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
        ] {
            assert_eq!(wildcard(pattern, text), matches, "{pattern} on {text}");
        }
    }
}
