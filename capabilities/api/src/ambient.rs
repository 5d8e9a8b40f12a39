//! What a run sees of the process around it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

/// Where programs are looked for when `PATH` is not set, as POSIX shells do.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where a pod finds what it needs to talk to its cluster ("Accessing the Kubernetes API from a Pod").
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Where the system bus is when no variable says so (D-Bus specification, "Well-known Message Bus Instances").
const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket;unix:path=/var/run/dbus/system_bus_socket";

/// What a run sees of the process around it: nothing, unless it is given. Grants decide on top of it.
#[derive(Clone, Debug, Default)]
pub struct Ambient {
    /// Environment variables: what scripts read under the grants of `env`, and what says which proxy and which cluster
    /// there is.
    pub variables: BTreeMap<OsString, OsString>,
    /// Directories where programs are looked for by name, as in `PATH`; without it they are named by path.
    pub search_path: Option<OsString>,
    /// The directory in which the run makes its temporary one; without it a run has none.
    pub temporary: Option<PathBuf>,
    /// Addresses of the system bus, as D-Bus writes them.
    pub system_bus: Option<OsString>,
    /// The directory with the certificate and the token of a Kubernetes service account.
    pub service_account: Option<PathBuf>,
}

impl Ambient {
    /// All that this process has.
    pub fn inherited() -> Ambient {
        let variables: BTreeMap<_, _> = std::env::vars_os().collect();
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Ambient {
            search_path: Some(set("PATH").unwrap_or_else(|| SEARCH_PATH.into())),
            temporary: Some(std::env::temp_dir()),
            system_bus: Some(set("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|| SYSTEM_BUS.into())),
            service_account: Some(SERVICE_ACCOUNT.into()),
            variables,
        }
    }

    /// A variable that is UTF-8 and not empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(OsStr::new(name))
            .and_then(|value| value.to_str())
            .filter(|value| !value.is_empty())
    }

    /// The directories of the search path that do not depend on where the process happens to be.
    pub fn search_directories(&self) -> impl Iterator<Item = PathBuf> {
        let path = self.search_path.as_deref().unwrap_or_default();
        std::env::split_paths(path).filter(|directory| directory.is_absolute())
    }

    /// The value of `PATH` for a program of the run: without one some programs look in their working directory.
    pub fn path_variable(&self) -> Vec<u8> {
        let path = std::env::join_paths(self.search_directories()).unwrap_or_default();
        if path.is_empty() { SEARCH_PATH.into() } else { path.into_encoded_bytes() }
    }

    /// The directory in which temporary ones are made.
    ///
    /// # Errors
    /// Where the run has none.
    pub fn temporary(&self) -> io::Result<&PathBuf> {
        self.temporary.as_ref().ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, "the program that runs the script gives it none")
        })
    }
}
