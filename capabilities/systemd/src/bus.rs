//! The connection to the system bus: one for a run, made when it is first needed and again when it broke.

use crate::errors::{failure, no_bus, timed_out};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{HandleGuard, Run, error, io_error};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use zbus::{Connection, DynamicType, Message};

/// For connecting and the handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// For a call, unless the script says otherwise.
pub const CALL: Duration = Duration::from_secs(30);

/// The well-known names, and what implements them.
pub const SYSTEMD: &str = "org.freedesktop.systemd1";
pub const MACHINED: &str = "org.freedesktop.machine1";
/// Properties of any object.
pub const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// A call on the bus.
#[derive(Clone, Copy)]
pub struct Method<'a> {
    pub service: &'static str,
    pub path: &'a str,
    pub interface: &'static str,
    pub name: &'static str,
}

impl Method<'static> {
    /// A method of systemd's manager.
    pub const fn manager(name: &'static str) -> Self {
        Method {
            service: SYSTEMD,
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            name,
        }
    }

    /// A method of the registry of machines.
    pub const fn machines(name: &'static str) -> Self {
        Method {
            service: MACHINED,
            path: "/org/freedesktop/machine1",
            interface: "org.freedesktop.machine1.Manager",
            name,
        }
    }
}

struct Connected {
    connection: Connection,
    _handle: HandleGuard,
}

/// The run's connection; clones share it. It ends with the run.
#[derive(Clone, Default)]
pub struct Bus(Arc<Mutex<Option<Connected>>>);

impl Bus {
    /// The connection, made where no working one exists. `what` is what is tried: "cannot list units".
    ///
    /// # Errors
    /// `unavailable` where there is no bus, `permission`, `timeout`, `limit` of handles.
    pub async fn connection(&self, run: &Arc<Run>, what: &str) -> Result<Connection, Error> {
        if !cfg!(target_os = "linux") {
            return Err(error(ErrorCode::Unsupported, format!("{what}: systemd is Linux only")));
        }
        let mut connected = self.0.lock().await;
        if let Some(connected) = connected.as_ref().filter(|connected| !connected.connection.is_closed()) {
            return Ok(connected.connection.clone());
        }
        *connected = None;
        let handle = run.take_handle()?;
        let connection = tokio::time::timeout(CONNECT, connect(run, what))
            .await
            .unwrap_or_else(|_| Err(timed_out(what, "the system bus did not answer", CONNECT)))?;
        *connected = Some(Connected { connection: connection.clone(), _handle: handle });
        Ok(connection)
    }

    /// Calls a method and waits for its answer.
    ///
    /// # Errors
    /// As for [`Bus::connection`], and what the service answers; see [`failure`].
    pub async fn call<B>(
        &self,
        run: &Arc<Run>,
        what: &str,
        method: Method<'_>,
        arguments: &B,
    ) -> Result<Message, Error>
    where
        B: serde::Serialize + DynamicType,
    {
        self.call_within(run, what, method, arguments, CALL).await
    }

    /// As [`Bus::call`], with a time limit of its own.
    ///
    /// # Errors
    /// As for [`Bus::call`].
    pub async fn call_within<B>(
        &self,
        run: &Arc<Run>,
        what: &str,
        method: Method<'_>,
        arguments: &B,
        limit: Duration,
    ) -> Result<Message, Error>
    where
        B: serde::Serialize + DynamicType,
    {
        let connection = self.connection(run, what).await?;
        let call = connection.call_method(
            Some(method.service),
            method.path,
            Some(method.interface),
            method.name,
            arguments,
        );
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => {
                run.count_bytes(answer.data().len())?;
                Ok(answer)
            }
            Ok(Err(failed)) => Err(failure(what, &failed)),
            Err(_) => Err(timed_out(what, &format!("{} did not answer", method.service), limit)),
        }
    }
}

/// A socket of an address: its path, or its name with a NUL before it.
fn sockets(addresses: &[u8]) -> Vec<OsString> {
    let mut found = Vec::new();
    for address in addresses.split(|byte| *byte == b';') {
        let Some(pairs) = address.strip_prefix(b"unix:") else { continue };
        for pair in pairs.split(|byte| *byte == b',') {
            if let Some(path) = pair.strip_prefix(b"path=") {
                found.push(OsString::from_vec(unescape(path)));
            } else if let Some(name) = pair.strip_prefix(b"abstract=") {
                let mut abstract_name = vec![0];
                abstract_name.extend(unescape(name));
                found.push(OsString::from_vec(abstract_name));
            }
        }
    }
    found
}

/// `%2f` in the value of an address.
fn unescape(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while at < value.len() {
        let hex = |byte: u8| (byte as char).to_digit(16);
        match value[at..] {
            [b'%', high, low, ..] if hex(high).is_some() && hex(low).is_some() => {
                let byte = hex(high).unwrap_or(0) * 16 + hex(low).unwrap_or(0);
                out.push(u8::try_from(byte).unwrap_or(b'%'));
                at += 3;
            }
            [byte, ..] => {
                out.push(byte);
                at += 1;
            }
            [] => break,
        }
    }
    out
}

/// Connects to the first address that answers. Only sockets of this machine: an address with a host would
/// go around the network check.
async fn connect(run: &Run, what: &str) -> Result<Connection, Error> {
    let addresses = run.ambient.system_bus.as_deref().ok_or_else(|| {
        let why = "the program that runs the script gives it no system bus";
        error(ErrorCode::Unsupported, format!("{what}: {why}"))
    })?;
    let addresses = addresses.as_bytes();
    let sockets = sockets(addresses);
    if sockets.is_empty() {
        return Err(error(
            ErrorCode::Unsupported,
            format!(
                "{what}: DBUS_SYSTEM_BUS_ADDRESS is {:?}, and only addresses of the form unix:path=... and unix:abstract=... are used",
                String::from_utf8_lossy(addresses)
            ),
        ));
    }
    let mut last = None;
    for socket in sockets {
        let shown = String::from_utf8_lossy(socket.as_bytes()).replace('\0', "@");
        match UnixStream::connect(&socket).await.and_then(UnixStream::into_std) {
            Ok(stream) => {
                return zbus::connection::Builder::unix_stream(stream)
                    .build()
                    .await
                    .map_err(|failed| failure(&format!("{what}: the system bus at {shown}"), &failed));
            }
            Err(refused) => last = Some((shown, refused)),
        }
    }
    Err(match last {
        Some((shown, refused)) if refused.kind() == std::io::ErrorKind::PermissionDenied => {
            io_error(&format!("{what}: connecting to the system bus at {shown}"), &refused)
        }
        Some((shown, refused)) => no_bus(what, &shown, &refused),
        None => no_bus(what, "no address", &std::io::ErrorKind::NotFound.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let of = |text: &str| -> Vec<Vec<u8>> {
            sockets(text.as_bytes()).into_iter().map(OsString::into_vec).collect()
        };
        assert_eq!(of("unix:path=/run/a;unix:path=/run/b").len(), 2);
        assert_eq!(of("unix:path=/tmp/a%20b,guid=12"), [b"/tmp/a b".to_vec()]);
        assert_eq!(of("tcp:host=example.com,port=1;unix:abstract=x"), [b"\0x".to_vec()]);
        assert_eq!(of("unix:path=/a%zz"), [b"/a%zz".to_vec()]);
        assert_eq!(of("unix:path=/a%"), [b"/a%".to_vec()]);
        assert!(of("unixexec:path=/bin/sh").is_empty());
        assert!(of("").is_empty());
    }
}
