//! The Kubernetes cluster that a run is in, if it is.
//!
//! Its API has a certificate of the cluster's own authority, which each pod finds in a file. That authority is trusted
//! for the API and for nothing else.

use crate::pem;
use assay_capability_api::{Ambient, off_thread};
use std::fs::File;
use std::io::Read;

/// The certificate of the cluster's authority, beside the token of a service account ("Accessing the Kubernetes API
/// from a Pod").
const AUTHORITY: &str = "ca.crt";

/// The names of the API's service, before the cluster's own domain.
const SERVICE: [&str; 3] = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];

/// Whether an origin is the API of the cluster around a run.
pub fn is_api(ambient: &Ambient, host: &str, port: u16) -> bool {
    let variable = |name| ambient.variable(name).map(String::from);
    is_service(host, port, variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"))
}

/// The same, with the address of the API as Kubernetes gives it to each container.
fn is_service(host: &str, port: u16, address: Option<String>, at: Option<String>) -> bool {
    let Some(address) = address.filter(|address| !address.is_empty()) else { return false };
    let at = at.and_then(|port| port.parse().ok()).unwrap_or(443);
    let bare = |host: &str| host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    let host = bare(host);
    let named = SERVICE.contains(&host.as_str()) || host.starts_with("kubernetes.default.svc.");
    (host == bare(&address) && port == at) || (named && (port == at || port == 443))
}

/// The certificate of the cluster's authority, PEM; nothing where it cannot be read. No script names the file, so no grant
/// is asked for it.
pub async fn authority(ambient: &Ambient) -> Option<Vec<u8>> {
    let path = ambient.service_account.as_ref()?.join(AUTHORITY);
    let read = move || {
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(pem::MOST).read_to_end(&mut text));
        Ok(read.ok().map(|_| text))
    };
    off_thread(read).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_api_of_the_cluster_is_it() {
        let address = || Some("10.96.0.1".to_string());
        let port = || Some("6443".to_string());
        for (host, number, is) in [
            ("10.96.0.1", 6443, true),
            ("10.96.0.1", 443, false),
            ("10.96.0.2", 6443, false),
            ("kubernetes", 443, true),
            ("kubernetes.default", 6443, true),
            ("kubernetes.default.svc.", 443, true),
            ("kubernetes.default.svc.cluster.local", 443, true),
            ("kubernetes.default.svc.cluster.local", 8443, false),
            ("kubernetes.default.example.com", 443, false),
            ("kubernetes.example.com", 443, false),
        ] {
            assert_eq!(is_service(host, number, address(), port()), is, "{host}:{number}");
            assert!(!is_service(host, number, None, port()), "outside of a cluster: {host}:{number}");
            assert!(
                !is_service(host, number, Some(String::new()), port()),
                "an empty address: {host}:{number}"
            );
        }
        assert!(is_service("[fd00::1]", 443, Some("fd00::1".into()), None));
        assert!(!is_service("[fd00::2]", 443, Some("fd00::1".into()), Some("nonsense".into())));
    }
}
