//! Credentials: those that the script gave, or those that docker's configuration file has for a registry.

use crate::failure::{invalid, invalid_data, unsupported};
use crate::reference::{self, DOCKER};
use assay_capability_api::types::Error;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::HeaderValue;
use serde_json::Value;

/// What proves who asks a registry.
#[derive(Clone, Default)]
pub enum Credentials {
    #[default]
    Anonymous,
    Password {
        username: String,
        password: String,
    },
    /// Exchanged for tokens at the registry's token server (OAuth2 refresh token).
    Identity(String),
    /// Sent to the registry as it is.
    Token(HeaderValue),
}

impl Credentials {
    /// Takes what the script gave.
    ///
    /// # Errors
    /// `invalid_argument` where it cannot be sent.
    pub fn given(
        username: Option<String>,
        password: Option<String>,
        token: Option<String>,
    ) -> Result<Credentials, Error> {
        match (username, password, token) {
            (None, None, None) => Ok(Credentials::Anonymous),
            (None, None, Some(token)) => {
                Ok(Credentials::Token(bearer(&token).ok_or_else(|| {
                    invalid("oci: the token has characters that cannot be sent in a header")
                })?))
            }
            (Some(username), Some(password), None) => {
                if username.contains(':') {
                    return Err(invalid("oci: a user name has no colon"));
                }
                Ok(Credentials::Password { username, password })
            }
            _ => Err(invalid("oci: credentials are {username = ..., password = ...} or {token = ...}")),
        }
    }
}

/// The value of `Authorization` for a token (RFC 6750 2.1).
pub fn bearer(token: &str) -> Option<HeaderValue> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The value of `Authorization` for a user (RFC 7617).
pub fn basic(username: &str, password: &str) -> Option<HeaderValue> {
    let encoded = STANDARD.encode(format!("{username}:{password}"));
    let mut value = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Looks a registry up in docker's `config.json`. One that is not in it is asked anonymously.
///
/// # Errors
/// `invalid_data` where the file is not as it should be, `unsupported` where a credential helper, an
/// external program, has the credentials.
pub fn from_docker(config: &[u8], path: &str, registry: &str) -> Result<Credentials, Error> {
    let wrong = |why: &str| invalid_data(format!("{path}: {why}"));
    let config: Value =
        serde_json::from_slice(config).map_err(|why| wrong(&format!("it is not JSON: {why}")))?;
    let entry = |section: &str| -> Option<&Value> {
        let entries = config.get(section)?.as_object()?;
        entries.iter().find(|(key, _)| is_entry(key, registry)).map(|(_, value)| value)
    };
    let helped = |helper: &Value| {
        unsupported(format!(
            "{path}: the credentials for {registry} are kept by the helper 'docker-credential-{}', an external \
             program, which is not run; give username and password, or a token",
            helper.as_str().unwrap_or_default().escape_debug()
        ))
    };
    if let Some(helper) = entry("credHelpers") {
        return Err(helped(helper));
    }
    let Some(own) = entry("auths") else { return Ok(Credentials::Anonymous) };
    let field = |name: &str| own.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = field("registrytoken") {
        return Ok(Credentials::Token(
            bearer(token).ok_or_else(|| wrong("the registrytoken is not a token"))?,
        ));
    }
    if let Some(token) = field("identitytoken") {
        return Ok(Credentials::Identity(token.to_string()));
    }
    if let Some(encoded) = field("auth") {
        let decoded = STANDARD
            .decode(encoded)
            .or_else(|_| STANDARD_NO_PAD.decode(encoded))
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let Some((username, password)) = pair else {
            return Err(wrong(&format!("the auth of {registry} is not user:password in base64")));
        };
        // Old versions of docker padded the password with NUL bytes.
        let password = password.trim_end_matches('\0');
        return Ok(Credentials::Password { username: username.into(), password: password.into() });
    }
    if let (Some(username), Some(password)) = (field("username"), field("password")) {
        return Ok(Credentials::Password { username: username.into(), password: password.into() });
    }
    match config.get("credsStore") {
        Some(helper) => Err(helped(helper)),
        None => Ok(Credentials::Anonymous),
    }
}

/// Whether a key of the file, a host or a URL, means this registry.
fn is_entry(key: &str, registry: &str) -> bool {
    let host = key.trim_start_matches("https://").trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or_default();
    reference::registry(host).is_ok_and(|name| name == registry)
        || (registry == DOCKER && host == "index.docker.io")
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_capability_api::types::ErrorCode;

    const CONFIG: &str = r#"{
        "auths": {
            "https://index.docker.io/v1/": {"auth": "dXNlcjpwYTpzcw=="},
            "ghcr.io": {"auth": "dXNlcjpwYXNz", "identitytoken": "refresh"},
            "localhost:5000": {"auth": "bm90aGluZw=="},
            "kept.example": {},
            "plain.example": {"username": "a", "password": "b"},
            "token.example": {"registrytoken": "tok"}
        },
        "credHelpers": {"123.dkr.ecr.eu-central-1.amazonaws.com": "ecr-login"},
        "credsStore": "desktop"
    }"#;

    fn look(registry: &str) -> Result<Credentials, Error> {
        from_docker(CONFIG.as_bytes(), "config.json", registry)
    }

    #[test]
    fn entries_are_found() {
        assert!(matches!(look("docker.io").unwrap(),
            Credentials::Password { username, password } if username == "user" && password == "pa:ss"));
        assert!(matches!(look("ghcr.io").unwrap(), Credentials::Identity(token) if token == "refresh"));
        assert!(matches!(look("plain.example").unwrap(), Credentials::Password { .. }));
        assert!(matches!(look("token.example").unwrap(), Credentials::Token(_)));
        assert!(matches!(look("other.example").unwrap(), Credentials::Anonymous));
        assert!(matches!(look("localhost:5001").unwrap(), Credentials::Anonymous));
        assert_eq!(look("localhost:5000").err().unwrap().code, ErrorCode::InvalidData);
    }

    #[test]
    fn helpers_are_named_and_not_run() {
        for registry in ["123.dkr.ecr.eu-central-1.amazonaws.com", "kept.example"] {
            let error = look(registry).err().unwrap();
            assert_eq!(error.code, ErrorCode::Unsupported);
            assert!(error.message.contains("docker-credential-"), "{}", error.message);
        }
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for config in ["", "x", "{"] {
            assert!(from_docker(config.as_bytes(), "c", "ghcr.io").is_err());
        }
        for config in ["{}", "[]", "1", r#"{"auths":[]}"#] {
            assert!(matches!(from_docker(config.as_bytes(), "c", "ghcr.io"), Ok(Credentials::Anonymous)));
        }
    }

    #[test]
    fn tokens_cannot_add_fields() {
        assert!(bearer("a\r\nx: y").is_none() && bearer("a b").is_none() && bearer("").is_none());
        assert_eq!(bearer("a.b-c_d~e+f/g=").unwrap(), "Bearer a.b-c_d~e+f/g=");
        assert!(Credentials::given(Some("a:b".into()), Some("c".into()), None).is_err());
        assert!(Credentials::given(Some("a".into()), None, None).is_err());
        assert!(Credentials::given(Some("a".into()), Some("b".into()), Some("c".into())).is_err());
    }
}
