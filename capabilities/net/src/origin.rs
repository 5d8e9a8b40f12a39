//! Where a request goes.

/// Scheme, host and port (RFC 6454).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// With TLS.
    pub secure: bool,
    /// As in the URL: lower case, punycode, IPv6 in brackets.
    pub host: String,
    /// Also where it is the scheme's own.
    pub port: u16,
}

impl Origin {
    /// The scheme of HTTP.
    pub fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// `host`, or `host:port` where the port is not the scheme's own.
    pub fn authority(&self) -> String {
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}
