//! What `mutate` makes of the configuration and the manifest of an image (OCI image specification, "Image Configuration" and
//! "Image Manifest").

use crate::bindings::assay::host::oci;
use crate::digest::Digest;
use crate::failure::{invalid, invalid_data};
use crate::manifest::{Descriptor, MAX_MANIFEST, Manifest, Platform};
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// Changes that were checked.
pub struct Changes<'a> {
    asked: &'a oci::Changes,
    platform: Option<Platform>,
    ports: Option<Vec<String>>,
}

/// Names and values of one kind, in the order of the names.
fn sorted(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    let mut pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    pairs.sort_unstable();
    pairs
}

/// `80`, `53/udp`: with the protocol, as it stands in a configuration.
fn port(text: &str) -> Result<String, Error> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let is_port =
        number.parse::<u16>().is_ok_and(|number| number > 0) && number.bytes().all(|b| b.is_ascii_digit());
    match is_port && matches!(protocol, "tcp" | "udp" | "sctp") {
        true => Ok(format!("{number}/{protocol}")),
        false => Err(invalid(format!(
            "oci.mutate: exposed_ports: '{}' is not a port; write 8080 or 53/udp",
            text.escape_debug()
        ))),
    }
}

/// The object at `name`, which is made where it is missing or null.
fn object<'a>(json: &'a mut Value, name: &str, what: &str) -> Result<&'a mut Map<String, Value>, Error> {
    let wrong = || invalid_data(format!("{what}: its '{name}' is not an object"));
    let field = json.as_object_mut().ok_or_else(wrong)?.entry(name).or_insert(Value::Null);
    if field.is_null() {
        *field = json!({});
    }
    field.as_object_mut().ok_or_else(wrong)
}

fn merge(into: &mut Map<String, Value>, pairs: &[(String, String)]) {
    for (name, value) in sorted(pairs) {
        into.insert(name.to_owned(), value.into());
    }
}

impl Changes<'_> {
    /// # Errors
    /// `invalid_argument` for a name, a port or a platform that cannot be used.
    pub fn parse(asked: &oci::Changes) -> Result<Changes<'_>, Error> {
        for (kind, pairs) in
            [("labels", &asked.labels), ("annotations", &asked.annotations), ("env", &asked.env)]
        {
            for (name, value) in pairs {
                let why = match kind {
                    _ if name.is_empty() => "a name is empty",
                    "env" if name.contains('=') => "a name of a variable has a '='",
                    "env" if name.contains('\0') || value.contains('\0') => "a variable has a NUL byte",
                    _ => continue,
                };
                return Err(invalid(format!("oci.mutate: {kind}: {why}")));
            }
        }
        let texts =
            asked.cmd.iter().chain(&asked.entrypoint).flatten().chain(&asked.user).chain(&asked.workdir);
        if let Some(text) = texts.into_iter().find(|text| text.contains('\0')) {
            return Err(invalid(format!("oci.mutate: '{}' has a NUL byte", text.escape_debug())));
        }
        let platform = asked.platform.as_deref().map(Platform::parse).transpose()?;
        let ports = asked.exposed_ports.as_ref().map(|ports| ports.iter().map(|text| port(text)).collect());
        Ok(Changes { asked, platform, ports: ports.transpose()? })
    }

    pub fn is_empty(&self) -> bool {
        let oci::Changes { labels, annotations, env, cmd, entrypoint, user, workdir, .. } = self.asked;
        labels.is_empty()
            && annotations.is_empty()
            && env.is_empty()
            && cmd.is_none()
            && entrypoint.is_none()
            && user.is_none()
            && workdir.is_none()
            && self.ports.is_none()
            && self.platform.is_none()
    }

    /// The configuration, with one layer more where there is one.
    ///
    /// # Errors
    /// `invalid_data` where it is not that of an image.
    pub fn config(&self, mut config: Value, diff_id: Option<&Digest>, what: &str) -> Result<Value, Error> {
        let what = format!("{what}: the configuration");
        if let Some(diff_id) = diff_id {
            let layers = config.pointer_mut("/rootfs/diff_ids").and_then(Value::as_array_mut);
            let layers = layers.ok_or_else(|| {
                invalid_data(format!("{what} has no rootfs.diff_ids: it is not an image of files"))
            })?;
            layers.push(diff_id.to_string().into());
            let entry = json!({ "created_by": "assay oci.mutate" });
            // An image without a history gets none: one that does not tell of every layer would be wrong.
            if let Some(Value::Array(history)) = config.get_mut("history") {
                history.push(entry);
            }
        }
        if let Some(platform) = &self.platform {
            let root =
                config.as_object_mut().ok_or_else(|| invalid_data(format!("{what} is not an object")))?;
            root.insert("os".into(), platform.os.clone().into());
            root.insert("architecture".into(), platform.architecture.clone().into());
            // What was said of the old platform is not true of this one.
            for name in ["variant", "os.version", "os.features"] {
                root.remove(name);
            }
            if let Some(variant) = &platform.variant {
                root.insert("variant".into(), variant.clone().into());
            }
        }
        self.runtime(&mut config, &what)?;
        Ok(config)
    }

    /// How the image is run: the object `config` of a configuration.
    fn runtime(&self, config: &mut Value, what: &str) -> Result<(), Error> {
        let asked = self.asked;
        if !asked.labels.is_empty() {
            object(config, "config", what)?;
            merge(object(&mut config["config"], "Labels", what)?, &asked.labels);
        }
        if let Some(ports) = &self.ports {
            object(config, "config", what)?;
            let exposed = object(&mut config["config"], "ExposedPorts", what)?;
            exposed.extend(ports.iter().map(|port| (port.clone(), json!({}))));
        }
        let mut set = |name: &str, value: Value| {
            object(config, "config", what).map(|run| run.insert(name.to_owned(), value)).map(drop)
        };
        if let Some(entrypoint) = &asked.entrypoint {
            set("Entrypoint", json!(entrypoint))?;
            // It held the arguments of the old one.
            set("Cmd", Value::Null)?;
        }
        if let Some(cmd) = &asked.cmd {
            set("Cmd", json!(cmd))?;
        }
        if let Some(user) = &asked.user {
            set("User", json!(user))?;
        }
        if let Some(workdir) = &asked.workdir {
            set("WorkingDir", json!(workdir))?;
        }
        if !asked.env.is_empty() {
            let run = object(config, "config", what)?;
            let variables = run.entry("Env").or_insert(Value::Null);
            *variables = with_variables(variables, &sorted(&asked.env), what)?;
        }
        Ok(())
    }

    /// The manifest of the image with this configuration, and one layer more where there is one.
    ///
    /// # Errors
    /// `invalid_data` where it is not that of an image, `limit` where it would be too large.
    pub fn manifest(
        &self,
        image: &Manifest,
        config: &Descriptor,
        layer: Option<&Descriptor>,
        what: &str,
    ) -> Result<Manifest, Error> {
        let mut json = image.json.clone();
        for (name, value) in
            [("digest", Value::from(config.digest.to_string())), ("size", config.size.into())]
        {
            json["config"][name] = value;
        }
        // A copy of the content in the descriptor would be the old one.
        if let Some(config) = json["config"].as_object_mut() {
            config.remove("data");
        }
        match json.get_mut("layers") {
            Some(Value::Array(layers)) => layers.extend(layer.map(Descriptor::json)),
            _ => return Err(invalid_data(format!("{what}: the manifest has no list of layers"))),
        }
        if !self.asked.annotations.is_empty() {
            merge(object(&mut json, "annotations", what)?, &self.asked.annotations);
        }
        let raw = Bytes::from(json.to_string());
        if raw.len() as u64 > MAX_MANIFEST {
            return Err(error(ErrorCode::Limit, format!("{what}: the manifest would be too large")));
        }
        Manifest::parse(raw, Some(&image.media_type), None, what)
    }
}

/// A list of `NAME=VALUE` with other values: names that are there keep their place, others come after them.
fn with_variables(list: &Value, variables: &[(&str, &str)], what: &str) -> Result<Value, Error> {
    let name_of = |entry: &Value| {
        let text = entry.as_str().unwrap_or_default();
        text.split_once('=').map_or(text, |(name, _)| name).to_owned()
    };
    let mut list = match list {
        Value::Null => Vec::new(),
        Value::Array(list) => list.clone(),
        _ => return Err(invalid_data(format!("{what}: its 'Env' is not a list"))),
    };
    for (name, value) in variables {
        let entry = Value::from(format!("{name}={value}"));
        match list.iter_mut().find(|old| name_of(old) == *name) {
            Some(old) => *old = entry,
            None => list.push(entry),
        }
    }
    Ok(Value::Array(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> oci::Changes {
        oci::Changes {
            labels: vec![],
            annotations: vec![],
            env: vec![],
            cmd: None,
            entrypoint: None,
            user: None,
            workdir: None,
            exposed_ports: None,
            platform: None,
        }
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    fn changed(asked: &oci::Changes, config: Value) -> Result<Value, Error> {
        Changes::parse(asked)?.config(config, None, "image")
    }

    #[test]
    fn what_is_there_is_kept_or_replaced() {
        let asked = oci::Changes {
            labels: vec![pair("b", "2"), pair("a", "1")],
            env: vec![pair("PATH", "/bin"), pair("NEW", "=x")],
            cmd: Some(vec!["-v".into()]),
            entrypoint: Some(vec!["/tool".into()]),
            user: Some("65532:65532".into()),
            workdir: Some("/srv".into()),
            exposed_ports: Some(vec!["8080".into(), "53/udp".into()]),
            platform: Some("linux/arm64".into()),
            ..none()
        };
        let old = json!({
            "os": "windows", "architecture": "amd64", "variant": "v1", "os.version": "10",
            "config": {"Labels": {"a": "0", "c": "3"}, "Env": ["PATH=/usr/bin", "HOME=/"], "Cmd": ["old"], "StopSignal": "SIGINT"},
        });
        let new = json!({
            "os": "linux", "architecture": "arm64",
            "config": {
                "Labels": {"a": "1", "b": "2", "c": "3"},
                "Env": ["PATH=/bin", "HOME=/", "NEW==x"],
                "Entrypoint": ["/tool"], "Cmd": ["-v"], "User": "65532:65532", "WorkingDir": "/srv",
                "ExposedPorts": {"53/udp": {}, "8080/tcp": {}}, "StopSignal": "SIGINT",
            },
        });
        assert_eq!(changed(&asked, old).unwrap(), new);
        let own = |config: Value| json!({ "os": "linux", "architecture": "arm64", "config": config });
        let made = changed(&asked, own(Value::Null)).unwrap();
        assert_eq!(made["config"]["Env"], json!(["NEW==x", "PATH=/bin"]));
        let entrypoint = oci::Changes { entrypoint: Some(vec!["x".into()]), ..none() };
        assert_eq!(changed(&entrypoint, own(json!({"Cmd": ["old"]}))).unwrap()["config"]["Cmd"], Value::Null);
        let labels = oci::Changes { labels: vec![pair("a", "1")], ..none() };
        for config in [json!([]), json!({"config": []}), json!({"config": {"Labels": []}})] {
            assert_eq!(changed(&labels, config).unwrap_err().code, ErrorCode::InvalidData);
        }
        let env = oci::Changes { env: vec![pair("a", "1")], ..none() };
        assert_eq!(changed(&env, json!({"config": {"Env": {}}})).unwrap_err().code, ErrorCode::InvalidData);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        assert!(Changes::parse(&none()).unwrap().is_empty());
        for asked in [
            oci::Changes { env: vec![pair("a=b", "")], ..none() },
            oci::Changes { env: vec![pair("a", "\0")], ..none() },
            oci::Changes { labels: vec![pair("", "x")], ..none() },
            oci::Changes { user: Some("a\0".into()), ..none() },
            oci::Changes { cmd: Some(vec!["\0".into()]), ..none() },
            oci::Changes { platform: Some("linux".into()), ..none() },
            oci::Changes { exposed_ports: Some(vec!["0".into()]), ..none() },
            oci::Changes { exposed_ports: Some(vec!["80/x".into()]), ..none() },
            oci::Changes { exposed_ports: Some(vec!["+80".into()]), ..none() },
        ] {
            assert_eq!(
                Changes::parse(&asked).err().map(|e| e.code),
                Some(ErrorCode::InvalidArgument),
                "{asked:?}"
            );
        }
    }
}
