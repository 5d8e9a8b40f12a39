//! From a socket of this process to a connection that is open already, for drivers that connect only by name. What comes
//! in is taken from the run's budget, because such a driver does not say what it buffers. The memory that the driver allocates for a
//! packet before it arrives (16 MiB at most) is not counted here.

use assay_capability_api::types::Error;
use assay_capability_api::{Budget, Held, lock};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};
use tokio::task::AbortHandle;

/// Bytes that are handed through at a time.
const CHUNK: usize = 64 << 10;

/// What has come in, and was not handed out by the driver yet.
pub struct Inflow {
    held: Mutex<Held>,
    refused: Mutex<Option<Error>>,
}

impl Inflow {
    fn new(budget: &Arc<Budget>) -> Arc<Inflow> {
        Arc::new(Inflow { held: Mutex::new(budget.nothing()), refused: Mutex::default() })
    }

    /// False where the run has not so many bytes left.
    fn add(&self, bytes: usize) -> bool {
        let grown = lock(&self.held).grow(bytes);
        grown.map_err(|why| lock(&self.refused).get_or_insert(why).code).is_ok()
    }

    /// The driver has handed out so many.
    pub fn handed_out(&self, bytes: usize) {
        lock(&self.held).shrink(bytes);
    }

    /// The driver has handed out all.
    pub fn all_out(&self) {
        self.handed_out(usize::MAX);
    }

    /// Why no more came in.
    pub fn refused(&self) -> Option<Error> {
        lock(&self.refused).clone()
    }
}

/// Hands through all that comes, in memory of its own.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    inflow: Option<&Inflow>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 || !inflow.is_none_or(|inflow| inflow.add(count)) {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}

/// A relay for one connection. It ends when it is dropped, or when either side does.
pub struct Relay {
    #[cfg(not(target_os = "linux"))]
    directory: PathBuf,
    path: PathBuf,
    task: AbortHandle,
    pub inflow: Arc<Inflow>,
}

/// A name for the socket. On Linux it is in no directory, and needs none that can be written to.
#[cfg(target_os = "linux")]
fn directory(number: u64) -> io::Result<PathBuf> {
    Ok(PathBuf::from(format!("\0assay-db-{}-{number}", std::process::id())))
}

#[cfg(not(target_os = "linux"))]
fn directory(number: u64) -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let directory = std::env::temp_dir().join(format!("assay-db-{}-{number}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
    Ok(directory)
}

impl Relay {
    /// Waits for one connection of this process and hands it through to `stream`.
    ///
    /// # Errors
    /// The operating system's, where the socket cannot be made.
    pub fn start(stream: TcpStream, budget: &Arc<Budget>) -> io::Result<Relay> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let directory = directory(NUMBER.fetch_add(1, Ordering::Relaxed))?;
        let path = directory.join("socket");
        let listener = UnixListener::bind(&path)?;
        let inflow = Inflow::new(budget);
        let counted = inflow.clone();
        let task = assay_capability_api::spawn_task(async move {
            let inner = loop {
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
            let (from_server, to_server) = stream.into_split();
            let (from_client, to_client) = inner.into_split();
            let inwards = pump(from_server, to_client, Some(&counted));
            let outwards = pump(from_client, to_server, None);
            // Both sides notice themselves where it breaks off.
            let _ = tokio::try_join!(inwards, outwards);
        });
        Ok(Relay {
            #[cfg(not(target_os = "linux"))]
            directory,
            path,
            task: task.abort_handle(),
            inflow,
        })
    }

    /// Where the client connects.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        #[cfg(not(target_os = "linux"))]
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_hands_through() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let budget = Budget::new(100);
        let relay = Relay::start(outer, &budget).unwrap();
        let mut client = tokio::net::UnixStream::connect(relay.path()).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let mut got = [0; 4];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"ping");
        // What comes in counts until it was handed out, and no more comes than there is room for.
        server.write_all(&[0; 60]).await.unwrap();
        client.read_exact(&mut [0; 60]).await.unwrap();
        assert_eq!(budget.used(), 60);
        relay.inflow.handed_out(40);
        server.write_all(&[0; 80]).await.unwrap();
        client.read_exact(&mut [0; 80]).await.unwrap();
        assert_eq!(budget.used(), 100);
        assert!(relay.inflow.refused().is_none());
        server.write_all(&[0]).await.unwrap();
        assert_eq!(client.read(&mut got).await.unwrap(), 0);
        assert!(relay.inflow.refused().is_some());
        relay.inflow.all_out();
        assert_eq!(budget.used(), 0);
        // There is no second way in.
        assert!(tokio::net::UnixStream::connect(relay.path()).await.is_err());
        drop(relay);
        assert_eq!(server.read(&mut got).await.unwrap(), 0);
    }
}
