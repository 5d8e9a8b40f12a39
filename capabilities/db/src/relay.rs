//! From a socket of this process to a connection that is open already, for drivers that connect only by name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::{TcpStream, UnixListener};
use tokio::task::AbortHandle;

/// A relay for one connection. It ends when it is dropped, or when either side does.
pub struct Relay {
    folder: PathBuf,
    path: PathBuf,
    task: AbortHandle,
}

/// A name for the socket. On Linux it is in no folder, and needs none that can be written to.
#[cfg(target_os = "linux")]
fn folder(number: u64) -> io::Result<PathBuf> {
    Ok(PathBuf::from(format!("\0assay-db-{}-{number}", std::process::id())))
}

#[cfg(not(target_os = "linux"))]
fn folder(number: u64) -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = std::env::temp_dir().join(format!("assay-db-{}-{number}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

impl Relay {
    /// Waits for one connection of this process and hands it through to `stream`.
    ///
    /// # Errors
    /// The operating system's, where the socket cannot be made.
    pub fn start(mut stream: TcpStream, port: u16) -> io::Result<Relay> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let folder = folder(NUMBER.fetch_add(1, Ordering::Relaxed))?;
        // The name that PostgreSQL's clients expect.
        let path = folder.join(format!(".s.PGSQL.{port}"));
        let listener = UnixListener::bind(&path)?;
        let _ = stream.set_nodelay(true);
        let task = assay_capability_api::spawn_task(async move {
            let mut inner = loop {
                let Ok((inner, _)) = listener.accept().await else { return };
                // Other processes may find the name, but this one only is meant.
                let same = inner.peer_cred().is_ok_and(|peer| {
                    peer.pid().is_none_or(|pid| u32::try_from(pid) == Ok(std::process::id()))
                });
                if same {
                    break inner;
                }
            };
            drop(listener);
            // Both sides notice themselves where it breaks off.
            let _ =
                tokio::io::copy_bidirectional_with_sizes(&mut inner, &mut stream, 64 << 10, 64 << 10).await;
        });
        Ok(Relay { folder, path, task: task.abort_handle() })
    }

    /// The folder that a client of PostgreSQL is given.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        #[cfg(not(target_os = "linux"))]
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn it_hands_through() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let relay = Relay::start(outer, 5432).unwrap();
        let mut client = tokio::net::UnixStream::connect(relay.path()).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let mut got = [0; 4];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"ping");
        // There is no second way in.
        assert!(tokio::net::UnixStream::connect(relay.path()).await.is_err());
        drop(relay);
        assert_eq!(server.read(&mut got).await.unwrap(), 0);
    }
}
