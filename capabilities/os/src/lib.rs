//! What machine and system a run is on.

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{
    Capability, Ctx, GrantError, HostResult, Linker, Literal, Need, Request, Run, Scope, ScopeForm, error,
    io_error, signals,
};
use bindings::assay::host::os::{self, Machine};
use std::io::ErrorKind;
use std::path::Path;
use wasmtime::component::HasSelf;

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/os@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        with: { "assay:host/types@0.1.0": assay_capability_api::types },
        require_store_data_send: true,
    });
}

/// The name of this capability in grants.
const OS: &str = "os";
const HOSTNAME: &str = "hostname";
const INFO: &str = "info";
/// What `info` tells beside the machine's name. No scope grants it: other capabilities ask whether a rule denies it.
pub const SYSTEM: &str = "system";

/// The capability `os`.
pub struct Os;

impl Capability for Os {
    fn name(&self) -> &'static str {
        OS
    }

    fn summary(&self) -> &'static str {
        "the machine's name, system and uptime"
    }

    /// Linked into every run for the platform and architecture, which a script needs to choose what to
    /// download; the functions that tell about the machine check their grant themselves.
    fn always_linked(&self) -> bool {
        true
    }

    fn scopes(&self) -> &'static [ScopeForm] {
        &[
            ScopeForm { form: "hostname", grants: "the machine's name", example: "os=hostname" },
            ScopeForm { form: "info", grants: "system, version, name and uptime", example: "os=info" },
        ]
    }

    fn scope(&self, text: &str, _: &Path) -> Result<Box<dyn Scope>, GrantError> {
        match text {
            HOSTNAME => Ok(Box::new(OsScope { name: HOSTNAME, denies: false })),
            INFO => Ok(Box::new(OsScope { name: INFO, denies: false })),
            _ => Err(GrantError::new(format!("os={text}: the scopes of os are {HOSTNAME} and {INFO}"))),
        }
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[
            Need::new("os.hostname", Literal::Always(HOSTNAME)),
            Need::new("os.info", Literal::Always(INFO)),
            Need::new("os.*", Literal::Free),
        ];
        NEEDS
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
        os::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }
}

#[derive(Debug)]
struct OsScope {
    name: &'static str,
    denies: bool,
}

impl Scope for OsScope {
    fn matches(&self, request: &Request<'_>) -> bool {
        // What tells about the system has the machine's name in it.
        let also = self.denies && self.name == HOSTNAME;
        let told = self.denies && self.name == INFO;
        matches!(request, Request::Name(name)
            if *name == self.name || (also && *name == INFO) || (told && *name == SYSTEM))
    }

    fn widen_for_denial(&mut self) {
        self.denies = true;
    }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A value of os-release(5), without its quotes.
fn release_field(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_string())
}

#[cfg(target_os = "linux")]
fn uptime() -> f64 {
    rustix::system::sysinfo().uptime as f64
}

#[cfg(not(target_os = "linux"))]
fn uptime() -> f64 {
    0.0
}

fn info() -> Machine {
    let uname = rustix::system::uname();
    let kernel = uname.release().to_string_lossy().into_owned();
    // An image from scratch has no os-release; then the kernel is the system.
    let release =
        ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| std::fs::read_to_string(path).ok());
    let field = |key| release.as_deref().and_then(|text| release_field(text, key));
    let (name, version) = match field("NAME") {
        Some(name) => (name, field("VERSION_ID").unwrap_or_default()),
        None => (uname.sysname().to_string_lossy().into_owned(), kernel.clone()),
    };
    Machine {
        name,
        version,
        kernel,
        arch: std::env::consts::ARCH.into(),
        hostname: hostname(),
        uptime: uptime(),
    }
}

/// Lets the script handle a signal, or no longer.
fn catch(run: &Run, name: &str, caught: bool) -> Result<(), Error> {
    let Some(number) = signals::number(name) else {
        let why = match name {
            "KILL" | "STOP" => "no program can handle it".to_string(),
            _ => "there are TERM, INT, HUP, USR1 and USR2".to_string(),
        };
        return Err(error(ErrorCode::InvalidArgument, format!("os.on_signal: {name}: {why}")));
    };
    run.signals.catch(number, caught).map_err(|failure| match failure.kind() {
        ErrorKind::Unsupported => {
            error(ErrorCode::Unsupported, "os.on_signal: this program does not tell its scripts of signals")
        }
        _ => io_error(&format!("os.on_signal: {name} cannot be handled"), &failure),
    })
}

impl os::Host for Ctx {
    fn platform(&mut self) -> HostResult<String> {
        Ok(std::env::consts::OS.into())
    }

    fn arch(&mut self) -> HostResult<String> {
        Ok(std::env::consts::ARCH.into())
    }

    fn catch_signal(&mut self, name: String, caught: bool) -> HostResult<()> {
        Ok(catch(&self.run, &name, caught)?)
    }

    fn hostname(&mut self) -> HostResult<String> {
        self.run.check(OS, &Request::Name(HOSTNAME))?;
        Ok(hostname())
    }

    fn info(&mut self) -> HostResult<Machine> {
        self.run.check(OS, &Request::Name(INFO))?;
        Ok(info())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_os_release() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 13\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID='13'\nID=debian\nEMPTY=\n";
        assert_eq!(release_field(text, "NAME").as_deref(), Some("Debian GNU/Linux"));
        assert_eq!(release_field(text, "VERSION_ID").as_deref(), Some("13"));
        assert_eq!(release_field(text, "ID").as_deref(), Some("debian"));
        assert_eq!(release_field(text, "EMPTY"), None);
        assert_eq!(release_field(text, "VERSION"), None);
    }

    #[test]
    fn this_machine() {
        let info = info();
        assert!(!info.name.is_empty() && !info.kernel.is_empty() && !info.hostname.is_empty());
        assert_eq!(info.arch, std::env::consts::ARCH);
        if cfg!(target_os = "linux") {
            assert!(info.uptime > 0.0);
        }
    }

    #[test]
    fn scopes() {
        assert!(Os.scope("hostname", Path::new("/")).is_ok());
        assert!(Os.scope("info", Path::new("/")).is_ok());
        assert!(Os.scope("*", Path::new("/")).is_err());
    }
}
