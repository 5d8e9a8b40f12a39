//! Names of images: `ghcr.io/acme/app:1.2`, `alpine`, `localhost:5000/x@sha256:...`.

use crate::digest::Digest;
use crate::failure::invalid;
use assay_capability_api::secrets::hide_url;
use assay_capability_api::types::Error;
use std::fmt;
use url::Url;

/// The registry that names without one mean.
pub const DOCKER: &str = "docker.io";
/// Where it is.
const DOCKER_HOST: &str = "registry-1.docker.io";
/// Bytes of a repository's name with its registry, as docker allows.
const MAX_NAME: usize = 255;

/// An image, or a repository where neither tag nor digest is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Host in its one spelling, with its port unless that is 443; `docker.io` for Docker Hub.
    pub registry: String,
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

impl Reference {
    /// Reads a name as docker does: without a registry it is on Docker Hub, there without an owner it is in
    /// `library/`.
    ///
    /// # Errors
    /// `invalid_argument`, with what is wrong.
    pub fn parse(text: &str) -> Result<Reference, Error> {
        let wrong = |why: &str| {
            invalid(format!(
                "'{}' is not the name of an image: {why}; write [REGISTRY/]REPOSITORY[:TAG][@DIGEST]",
                shown(text)
            ))
        };
        if text.contains("://") {
            return Err(wrong("it has no scheme (https:// or docker://)"));
        }
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) => {
                let digest = Digest::parse(digest).ok_or_else(|| {
                    wrong("the digest must be sha256: with 64, or sha512: with 128 lower-case hexadecimal digits")
                })?;
                (name, Some(digest))
            }
        };
        let last = name.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match name[last..].find(':') {
            None => (name, None),
            Some(at) => (&name[..last + at], Some(&name[last + at + 1..])),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong(
                "a tag has at most 128 letters, digits, '_', '.' and '-', and starts with none of the last two",
            ));
        }
        let (registry, repository) = split(name).map_err(|why| wrong(&why))?;
        check_repository(&repository).map_err(|why| wrong(&why))?;
        if registry.len() + repository.len() >= MAX_NAME {
            return Err(wrong("it is longer than 255 bytes"));
        }
        Ok(Reference { registry, repository, tag: tag.map(str::to_string), digest })
    }

    /// `registry/repository`, as grants name it.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The digest, the tag, or `latest`: the last part of a manifest's path.
    pub fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_string(),
        }
    }

    /// The tag, the digest, or `latest`: what a manifest is written under.
    pub fn label(&self) -> String {
        self.tag.clone().unwrap_or_else(|| self.selector())
    }

    /// The root of the registry's addresses.
    ///
    /// # Errors
    /// `invalid_argument` where the registry is no host, which `parse` excludes.
    pub fn root(&self, secure: bool) -> Result<Url, Error> {
        let host = if self.registry == DOCKER { DOCKER_HOST } else { self.registry.as_str() };
        let scheme = if secure { "https" } else { "http" };
        Url::parse(&format!("{scheme}://{host}/"))
            .map_err(|why| invalid(format!("the registry '{host}' is not a host: {why}")))
    }

    /// Whether a host is part of the registry though it has another name: Docker Hub's token server, and
    /// the stores that it documents for blobs. A grant of the registry covers them.
    pub fn is_companion(&self, host: &str, port: u16) -> bool {
        const HUB: &[&str] =
            &["auth.docker.io", "production.cloudflare.docker.com", "production.cloudfront.docker.com"];
        self.registry == DOCKER && port == 443 && HUB.contains(&host)
    }

    /// Whether the registry is this machine by its own name, where plain HTTP is read by nobody else.
    pub fn is_local(&self) -> bool {
        let host = match self.registry.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => host,
            _ => self.registry.as_str(),
        };
        let bare = host.trim_matches(['[', ']']);
        bare == "localhost"
            || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// Whether the first part of a name is a registry, by docker's rule.
pub fn is_registry(part: &str) -> bool {
    part.contains(['.', ':']) || part.eq_ignore_ascii_case("localhost")
}

/// Registry and repository of a name without tag and digest.
///
/// # Errors
/// Why the name has no valid registry.
pub fn split(name: &str) -> Result<(String, String), String> {
    match name.split_once('/') {
        Some((first, rest)) if is_registry(first) => {
            let registry = registry(first)?;
            let library = registry == DOCKER && !rest.contains('/');
            Ok((registry, if library { format!("library/{rest}") } else { rest.to_string() }))
        }
        Some(_) => Ok((DOCKER.to_string(), name.to_string())),
        None => Ok((DOCKER.to_string(), format!("library/{name}"))),
    }
}

/// A text that was to be the name of an image, for messages. What is before a digest is no password.
fn shown(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((name, digest)) if digest.starts_with("sha") => {
            format!("{}@{}", hide_url(name), digest.escape_debug())
        }
        _ => hide_url(text),
    }
}

/// A registry in the one spelling that grants are matched with.
///
/// # Errors
/// Why the text is not a registry.
pub fn registry(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
    if !starts || !text.bytes().all(plain) {
        return Err("the registry is not HOST or HOST:PORT".into());
    }
    let url = Url::parse(&format!("https://{text}/")).map_err(|why| format!("the registry: {why}"))?;
    let host = url.host_str().ok_or("the registry is missing")?.trim_end_matches('.');
    if url.port() == Some(0) {
        return Err("the registry's port is 0".into());
    }
    Ok(match (host, url.port()) {
        (DOCKER | DOCKER_HOST | "index.docker.io", None) => DOCKER.to_string(),
        (host, None) => host.to_string(),
        (host, Some(port)) => format!("{host}:{port}"),
    })
}

/// `[a-z0-9]+` with single separators `.`, `_`, `__` or any number of `-`, in parts separated by `/`.
pub fn check_repository(repository: &str) -> Result<(), String> {
    for part in repository.split('/') {
        if part.is_empty() {
            return Err("a part of the repository is empty".into());
        }
        if part.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err("a repository is in lower case".into());
        }
        let mut rest = part;
        loop {
            let word = rest.len()
                - rest.trim_start_matches(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).len();
            let separator_at = &rest[word..];
            if word == 0 {
                return Err(format!("the repository has '{}'", part.escape_debug()));
            }
            if separator_at.is_empty() {
                break;
            }
            let dashes = separator_at.len() - separator_at.trim_start_matches('-').len();
            let separator = match separator_at.as_bytes() {
                [b'.', ..] => 1,
                [b'_', b'_', ..] => 2,
                [b'_', ..] => 1,
                _ => dashes,
            };
            if separator == 0 {
                return Err(format!("the repository has '{}'", part.escape_debug()));
            }
            rest = &separator_at[separator..];
        }
    }
    Ok(())
}

/// `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
pub fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = tag.bytes();
    bytes.next().is_some_and(word)
        && tag.len() <= 128
        && bytes.all(|byte| word(byte) || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_read_as_docker_does() {
        for (text, full, selector) in [
            ("alpine", "docker.io/library/alpine", "latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20", "3.20"),
            ("docker.io/alpine", "docker.io/library/alpine", "latest"),
            ("index.docker.io/acme/x", "docker.io/acme/x", "latest"),
            ("acme/app", "docker.io/acme/app", "latest"),
            ("ghcr.io/acme/app:v1", "ghcr.io/acme/app:v1", "v1"),
            ("ghcr.io:443/acme/app", "ghcr.io/acme/app", "latest"),
            ("GHCR.io/acme/app", "ghcr.io/acme/app", "latest"),
            ("localhost/x", "localhost/x", "latest"),
            ("localhost:5000/a/b/c:t", "localhost:5000/a/b/c:t", "t"),
            ("host:5000/x", "host:5000/x", "latest"),
            ("0x7f.1:5000/x", "127.0.0.1:5000/x", "latest"),
            ("a/b__c/d-----e.f_g", "docker.io/a/b__c/d-----e.f_g", "latest"),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), full, "{text}");
            assert_eq!(reference.selector(), selector, "{text}");
        }
        let both = Reference::parse(&format!("x.example/y:t@{SHA}")).unwrap();
        assert_eq!((both.selector().as_str(), both.label().as_str()), (SHA, "t"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "/",
            "x/",
            "/x",
            "a//b",
            "UPPER",
            "x:",
            "x:-t",
            "x: t",
            "x:t/y:u v",
            "../x",
            "x/../y",
            "x/./y",
            "x..y",
            "x_",
            "x___y",
            "-x",
            "x\0",
            "x?y",
            "x%2fy",
            "x@sha256:00",
            "x@",
            "x@sha256:00@sha256:00",
            "https://ghcr.io/x",
            "docker://x",
            "user@ghcr.io/x",
            "ghcr.io:99999/x",
            "ghcr.io:0/x",
            "[::1/x",
            "gh cr.io/x",
            "ghcr.io\\evil.example/x",
            "ghcr.io#/x",
            "é/x",
            &format!("x:{}", "t".repeat(129)),
            &"x".repeat(255),
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn this_machine_is_told_by_its_names() {
        for (text, local) in [
            ("localhost/x", true),
            ("localhost:1/x", true),
            ("127.0.0.1:5000/x", true),
            ("127.1.2.3:1/x", true),
            ("[::1]:5000/x", true),
            ("10.0.0.1:1/x", false),
            ("localhost.example/x", false),
            ("x", false),
        ] {
            assert_eq!(Reference::parse(text).unwrap().is_local(), local, "{text}");
        }
    }
}
