//! Listening sockets.

use crate::io::Plain;
use crate::scope::{Address, BIND};
use crate::settings::invalid;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Request, Run, error, io_error};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat, unlinkat};
use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
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

/// The file of a unix socket, in its directory, which is held open; removed when the server stops.
pub struct SocketFile {
    directory: OwnedFd,
    name: OsString,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed or replaced it; there is nobody to tell.
        if self.is_socket() {
            let _ = self.remove();
        }
    }
}

impl SocketFile {
    /// The place of a socket in the directory that was checked: one that has been moved, or a link in its place, is another.
    fn locate(path: &Path) -> io::Result<SocketFile> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, directory, flags, Mode::empty())?;
        match assay_capability_fs::path_of(&opened) {
            Some(real) if real == directory => Ok(SocketFile { directory: opened, name: name.to_owned() }),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Its path through the open directory, for calls that take no directory.
    fn path(&self) -> PathBuf {
        Path::new(&format!("/proc/self/fd/{}", self.directory.as_raw_fd())).join(&self.name)
    }

    fn is_socket(&self) -> bool {
        statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
    }

    /// Whether it is what a process that was killed left behind: a socket that nobody listens on.
    fn is_stale(&self) -> bool {
        self.is_socket()
            && std::os::unix::net::UnixStream::connect(self.path())
                .is_err_and(|failure| failure.kind() == io::ErrorKind::ConnectionRefused)
    }

    fn remove(&self) -> io::Result<()> {
        Ok(unlinkat(&self.directory, &self.name, AtFlags::empty())?)
    }

    fn bind(&self) -> io::Result<UnixListener> {
        match UnixListener::bind(self.path()) {
            Err(failure) if failure.kind() == io::ErrorKind::AddrInUse && self.is_stale() => {
                self.remove()?;
                UnixListener::bind(self.path())
            }
            result => result,
        }
    }
}

/// Listens where a script asks to, if it may. Gives the address with the port that the system chose.
///
/// # Errors
/// `denied`, `invalid_argument`, `exists` where somebody listens there already, the operating system's.
pub fn bind(run: &Run, address: &str, port: u16) -> Result<(Listener, Address, Option<SocketFile>), Error> {
    let Some(wanted) = Address::parse(address, port, &run.working_directory) else {
        return Err(invalid(format!(
            "'{address}' is not an address to listen on; give an IP address, localhost, or unix:PATH"
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
            let file = SocketFile::locate(path).map_err(failed)?;
            let listener = file.bind().map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            Ok((Listener::Unix(listener), wanted.clone(), Some(file)))
        }
    }
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
    /// The operating system's, about this connection or because no descriptor is left.
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
