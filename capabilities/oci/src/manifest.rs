//! Manifests: images and indexes of the OCI image specification, and docker's (version 2, schema 2).

use crate::digest::Digest;
use crate::failure::{invalid, invalid_data, unsupported};
use assay_capability_api::types::Error;
use bytes::Bytes;
use serde_json::Value;
use std::fmt;

/// Bytes of a manifest, as registries bound them; of a configuration too.
pub const MAX_MANIFEST: u64 = 4 << 20;

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// What is asked for.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Image,
    /// Of several images, one for each platform.
    Index,
}

/// A manifest whose digest is known.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub raw: Bytes,
    pub digest: Digest,
    pub media_type: String,
    pub kind: Kind,
    pub json: Value,
}

/// What a manifest says about a blob or another manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    pub platform: Option<Platform>,
}

/// `os/architecture[/variant]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl Platform {
    /// Reads `linux/arm64` or `linux/arm/v7`.
    ///
    /// # Errors
    /// `invalid_argument`.
    pub fn parse(text: &str) -> Result<Platform, Error> {
        let parts: Vec<&str> = text.split('/').collect();
        let plain = |part: &&str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        match parts.as_slice() {
            [os, architecture, rest @ ..] if rest.len() <= 1 && parts.iter().all(plain) => Ok(Platform {
                os: os.to_ascii_lowercase(),
                architecture: architecture.to_ascii_lowercase(),
                variant: rest.first().map(|variant| variant.to_ascii_lowercase()),
            }),
            _ => Err(invalid(format!(
                "'{}' is not a platform; write OS/ARCHITECTURE[/VARIANT], such as linux/arm64 or linux/arm/v7",
                text.escape_debug()
            ))),
        }
    }

    /// The platform in a descriptor or a configuration.
    pub fn of(json: &Value) -> Option<Platform> {
        let field = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_ascii_lowercase);
        Some(Platform {
            os: field("os")?,
            architecture: field("architecture")?,
            variant: field("variant").filter(|variant| !variant.is_empty()),
        })
    }

    /// Whether `other` is what this asks for. Without a variant any will do; arm64 without one is v8.
    pub fn accepts(&self, other: &Platform) -> bool {
        let variant = |platform: &Platform| match (platform.architecture.as_str(), &platform.variant) {
            ("arm64", None) => Some("v8".to_string()),
            (_, variant) => variant.clone(),
        };
        self.os == other.os
            && self.architecture == other.architecture
            && (self.variant.is_none() || variant(self) == variant(other))
    }
}

impl Descriptor {
    /// Reads a descriptor.
    ///
    /// # Errors
    /// `invalid_data` where a field is missing or cannot be used, `unsupported` where its content is elsewhere.
    pub fn parse(json: &Value, what: &str) -> Result<Descriptor, Error> {
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        let digest = text("digest")
            .and_then(Digest::parse)
            .ok_or_else(|| invalid_data(format!("{what}: a descriptor has no digest in sha256 or sha512")))?;
        let size = json.get("size").and_then(Value::as_u64).filter(|size| *size <= i64::MAX as u64);
        let size = size
            .ok_or_else(|| invalid_data(format!("{what}: the descriptor of {digest} has no size from 0")))?;
        let media_type = text("mediaType").unwrap_or_default().to_string();
        let elsewhere = json.get("urls").and_then(Value::as_array).is_some_and(|urls| !urls.is_empty());
        if elsewhere || media_type.contains(".foreign.") || media_type.contains(".nondistributable.") {
            return Err(unsupported(format!(
                "{what}: the layer {digest} is a foreign one, which is kept outside of registries; its addresses \
                 are not followed"
            )));
        }
        Ok(Descriptor { media_type, digest, size, platform: json.get("platform").and_then(Platform::of) })
    }

    /// As it stands in a manifest.
    pub fn json(&self) -> Value {
        serde_json::json!({
            "mediaType": self.media_type,
            "digest": self.digest.to_string(),
            "size": self.size,
        })
    }
}

impl Manifest {
    /// Reads a manifest and verifies it. `content_type` is what the registry says that it is.
    ///
    /// # Errors
    /// `invalid_data` where it is not what `expected` names, or not a manifest that can be understood in one
    /// way only; `unsupported` for kinds that are not images, and for docker's schema 1.
    pub fn parse(
        raw: Bytes,
        content_type: Option<&str>,
        expected: Option<&Digest>,
        what: &str,
    ) -> Result<Manifest, Error> {
        let digest = match expected {
            None => Digest::of(&raw),
            Some(expected) => {
                expected.verify(&raw, what)?;
                expected.clone()
            }
        };
        let json: Value = serde_json::from_slice(&raw)
            .map_err(|why| invalid_data(format!("{what}: the manifest is not JSON: {why}")))?;
        let own = json.get("mediaType").and_then(Value::as_str);
        let said = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
        let schema1 = |text: &str| text.starts_with("application/vnd.docker.distribution.manifest.v1+");
        if json.get("schemaVersion").and_then(Value::as_u64) == Some(1)
            || own.is_some_and(schema1)
            || said.is_some_and(schema1)
        {
            return Err(unsupported(format!(
                "{what}: it is an image of docker's schema 1, which cannot be verified; push it again with a \
                 docker from 1.10 on"
            )));
        }
        let has = |name: &str| json.get(name).is_some();
        let known = said.filter(|said| kind(said).is_some());
        if let (Some(own), Some(said)) = (own, known)
            && own != said
        {
            return Err(invalid_data(format!(
                "{what}: the registry says that it is {said}, the manifest that it is {}",
                own.escape_debug()
            )));
        }
        let guess = match (has("manifests"), has("layers")) {
            (true, false) => Some(OCI_INDEX),
            (false, true) => Some(OCI_MANIFEST),
            _ => None,
        };
        let Some(media_type) = own.or(known).or(guess) else {
            return Err(invalid_data(format!("{what}: it is neither an image nor an index")));
        };
        let Some(kind) = kind(media_type) else {
            return Err(unsupported(format!(
                "{what}: manifests of the type {} are not known",
                media_type.escape_debug()
            )));
        };
        // One text that is an image for one reader and an index for another hides what is in it.
        let other = match kind {
            Kind::Image => has("manifests"),
            Kind::Index => has("layers") || has("config"),
        };
        if other {
            return Err(invalid_data(format!("{what}: it can be read as an image and as an index")));
        }
        let media_type = media_type.to_string();
        Ok(Manifest { raw, digest, media_type, kind, json })
    }

    /// The configuration of an image, or the empty list of an index.
    ///
    /// # Errors
    /// As for [`Descriptor::parse`].
    pub fn config(&self, what: &str) -> Result<Descriptor, Error> {
        match self.json.get("config") {
            Some(config) => Descriptor::parse(config, what),
            None => Err(invalid_data(format!("{what}: the image has no configuration"))),
        }
    }

    /// Configuration and layers of an image.
    ///
    /// # Errors
    /// As for [`Descriptor::parse`].
    pub fn blobs(&self, what: &str) -> Result<Vec<Descriptor>, Error> {
        let mut blobs = vec![self.config(what)?];
        blobs.extend(self.list("layers", what)?);
        Ok(blobs)
    }

    /// The manifests of an index.
    ///
    /// # Errors
    /// As for [`Descriptor::parse`].
    pub fn children(&self, what: &str) -> Result<Vec<Descriptor>, Error> {
        self.list("manifests", what)
    }

    fn list(&self, name: &str, what: &str) -> Result<Vec<Descriptor>, Error> {
        match self.json.get(name) {
            Some(Value::Array(list)) => list.iter().map(|item| Descriptor::parse(item, what)).collect(),
            _ => Err(invalid_data(format!("{what}: the manifest has no list of {name}"))),
        }
    }

    /// The image for `platform` in an index.
    ///
    /// # Errors
    /// `not_found`, with the platforms that there are.
    pub fn choose(&self, platform: &Platform, what: &str) -> Result<Descriptor, Error> {
        let children = self.children(what)?;
        let matching =
            children.iter().find(|child| child.platform.as_ref().is_some_and(|own| platform.accepts(own)));
        matching.cloned().ok_or_else(|| {
            let there = platforms(&children);
            assay_capability_api::error(
                assay_capability_api::types::ErrorCode::NotFound,
                format!("{what}: there is no image for {platform}; there are {there}"),
            )
        })
    }

    /// What a call gives back about it.
    pub fn about(&self) -> Value {
        serde_json::json!({
            "digest": self.digest.to_string(),
            "media_type": self.media_type,
            "size": self.raw.len(),
        })
    }

    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.clone(),
            size: self.raw.len() as u64,
            platform: None,
        }
    }

    /// Whether it is written as docker does.
    pub fn is_docker(&self) -> bool {
        self.media_type == DOCKER_MANIFEST || self.media_type == DOCKER_LIST
    }
}

/// The platforms of an index, for a message.
pub fn platforms(children: &[Descriptor]) -> String {
    let names: Vec<String> = children
        .iter()
        .filter_map(|child| child.platform.as_ref())
        .filter(|platform| platform.os != "unknown")
        .map(ToString::to_string)
        .take(20)
        .collect();
    if names.is_empty() { "none".into() } else { names.join(", ").escape_debug().to_string() }
}

fn kind(media_type: &str) -> Option<Kind> {
    match media_type {
        OCI_MANIFEST | DOCKER_MANIFEST => Some(Kind::Image),
        OCI_INDEX | DOCKER_LIST => Some(Kind::Index),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_capability_api::types::ErrorCode;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str, content_type: Option<&str>) -> Result<Manifest, Error> {
        Manifest::parse(Bytes::from(text.to_string()), content_type, None, "x")
    }

    fn image(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{SHA}","size":0}},"layers":[]{extra}}}"#
        )
    }

    #[test]
    fn kinds_are_told_in_one_way_only() {
        assert_eq!(parse(&image(""), Some(DOCKER_MANIFEST)).unwrap().media_type, DOCKER_MANIFEST);
        assert_eq!(parse(&image(""), None).unwrap().media_type, OCI_MANIFEST);
        assert_eq!(parse(&image(""), Some("application/json")).unwrap().kind, Kind::Image);
        let own = format!(r#","mediaType":"{OCI_MANIFEST}""#);
        assert!(parse(&image(&own), Some(&format!("{OCI_MANIFEST}; charset=utf-8"))).is_ok());
        let code = |text: &str, content_type| parse(text, content_type).unwrap_err().code;
        assert_eq!(code(&image(&own), Some(OCI_INDEX)), ErrorCode::InvalidData);
        assert_eq!(code(&image(r#","manifests":[]"#), None), ErrorCode::InvalidData);
        assert_eq!(code(&image(r#","manifests":[]"#), Some(OCI_MANIFEST)), ErrorCode::InvalidData);
        assert_eq!(code(&image(""), Some(OCI_INDEX)), ErrorCode::InvalidData);
        assert_eq!(code(r#"{"schemaVersion":1}"#, None), ErrorCode::Unsupported);
        let v1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        assert_eq!(code("{}", Some(v1)), ErrorCode::Unsupported);
        assert_eq!(code(r#"{"mediaType":"application/x"}"#, None), ErrorCode::Unsupported);
        for text in ["", "x", "[]", "{}", "null"] {
            assert_eq!(code(text, None), ErrorCode::InvalidData, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(code(&deep, None), ErrorCode::InvalidData);
    }

    #[test]
    fn descriptors_are_checked() {
        let read = |text: &str| {
            Descriptor::parse(&serde_json::from_str(text).unwrap(), "x").map_err(|error| error.code)
        };
        assert_eq!(read(&format!(r#"{{"digest":"{SHA}","size":7}}"#)).unwrap().size, 7);
        for text in [
            "{}".to_string(),
            r#"{"digest":"sha256:../../etc/passwd","size":1}"#.into(),
            format!(r#"{{"digest":"{SHA}"}}"#),
            format!(r#"{{"digest":"{SHA}","size":-1}}"#),
            format!(r#"{{"digest":"{SHA}","size":1.5}}"#),
            format!(r#"{{"digest":"{SHA}","size":18446744073709551615}}"#),
        ] {
            assert_eq!(read(&text), Err(ErrorCode::InvalidData), "{text}");
        }
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        for extra in [r#""urls":["http://x/"]"#.to_string(), format!(r#""mediaType":"{foreign}""#)] {
            let text = format!(r#"{{"digest":"{SHA}","size":1,{extra}}}"#);
            assert_eq!(read(&text), Err(ErrorCode::Unsupported), "{text}");
        }
    }

    #[test]
    fn platforms_are_matched() {
        let platform = |text: &str| Platform::parse(text).unwrap();
        for (asked, there, wanted) in [
            ("linux/amd64", "linux/amd64", true),
            ("Linux/AMD64", "linux/amd64", true),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm", "linux/arm/v7", true),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/arm", "linux/arm64", false),
            ("linux/amd64", "windows/amd64", false),
        ] {
            assert_eq!(platform(asked).accepts(&platform(there)), wanted, "{asked} {there}");
        }
        for text in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/../x", "linux/am d64"] {
            assert!(Platform::parse(text).is_err(), "{text}");
        }
    }
}
