//! Listening sockets.

use crate::io::Plain;
use crate::scope::{Address, BIND};
use crate::settings::invalid;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Request, Run, error, io_error};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::exchange::Peer;

/// The capability's name.
pub const LISTEN: &str = "listen";

/// A socket that listens, not yet in any thread's hands.
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The same in the hands of a thread's reactor.
pub enum Acceptor {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// The file of a unix socket, removed when the server stops.
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed or replaced it; there is nobody to tell.
        if is_socket(&self.0) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Listens where a script asks to, if it may. Gives the address with the port that the system chose.
///
/// # Errors
/// `denied`, `invalid_argument`, `exists` where somebody listens there already, the operating system's.
pub fn bind(run: &Run, address: &str, port: u16) -> Result<(Listener, Address, Option<SocketFile>), Error> {
    let Some(wanted) = Address::parse(address, port, &run.working_folder) else {
        return Err(invalid(format!(
            "'{address}' is no address to listen on; give an IP address, localhost, or unix:PATH"
        )));
    };
    let (name, scope) = (wanted.to_string(), wanted.scope());
    run.check(LISTEN, &Request::Action { verb: BIND, name: &name, scope: &scope })?;
    let failed = |failure: io::Error| match failure.kind() {
        io::ErrorKind::AddrInUse => error(
            ErrorCode::Exists,
            format!("cannot listen on {wanted}: somebody else listens there already"),
        ),
        _ => io_error(&format!("cannot listen on {wanted}"), &failure),
    };
    match &wanted {
        Address::Tcp(address) => {
            let listener = TcpListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            // The port that the system chose may be one that is denied.
            let chosen = Address::Tcp(bound).to_string();
            run.check_undenied(LISTEN, &Request::Action { verb: BIND, name: &chosen, scope: &scope })?;
            Ok((Listener::Tcp(listener), Address::Tcp(bound), None))
        }
        Address::Unix(path) => {
            let listener = match UnixListener::bind(path) {
                // What a process that was killed left behind: a socket that nobody listens on.
                Err(failure) if failure.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
                    std::fs::remove_file(path).and_then(|()| UnixListener::bind(path))
                }
                result => result,
            };
            let listener = listener.map_err(failed)?;
            let file = SocketFile(path.clone());
            listener.set_nonblocking(true).map_err(failed)?;
            Ok((Listener::Unix(listener), wanted.clone(), Some(file)))
        }
    }
}

fn is_stale(path: &Path) -> bool {
    is_socket(path)
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|failure| failure.kind() == io::ErrorKind::ConnectionRefused)
}

impl Listener {
    /// The same socket for another thread.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn duplicate(&self) -> io::Result<Listener> {
        Ok(match self {
            Listener::Tcp(listener) => Listener::Tcp(listener.try_clone()?),
            Listener::Unix(listener) => Listener::Unix(listener.try_clone()?),
        })
    }

    /// Hands it to the reactor of the thread that calls.
    ///
    /// # Errors
    /// When the reactor cannot watch it.
    pub fn start(self) -> io::Result<Acceptor> {
        Ok(match self {
            Listener::Tcp(listener) => Acceptor::Tcp(tokio::net::TcpListener::from_std(listener)?),
            Listener::Unix(listener) => Acceptor::Unix(tokio::net::UnixListener::from_std(listener)?),
        })
    }
}

impl Acceptor {
    /// The next connection.
    ///
    /// # Errors
    /// The operating system's, of this connection or for want of descriptors.
    pub async fn accept(&self) -> io::Result<(Plain, Peer)> {
        match self {
            Acceptor::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Responses are written whole; waiting for more only delays them.
                stream.set_nodelay(true)?;
                Ok((Plain::Tcp(stream), Peer::Tcp(peer)))
            }
            Acceptor::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Plain::Unix(stream), Peer::Unix))
            }
        }
    }
}
