//! Threads that may block. A disk that hangs, such as a network mount whose server has gone, keeps every thread that touches it until it
//! is back; so each disk has only some of them, and none of the threads that talk to servers touches a disk of files.

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::md5::Together;

/// Threads that one disk of sources may keep: reading ahead for as many bodies as two cores can hash, twice over.
const A_DISK: usize = 8;

/// Leave to block threads over one disk.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    free: Arc<Semaphore>,
    /// Where they hash together what they have read.
    pub together: Arc<Together>,
}

impl Turns {
    pub fn new() -> Self {
        Self { free: Arc::new(Semaphore::new(A_DISK)), together: Arc::default() }
    }

    /// Do what may block, once fewer than the disk's share of threads are at it. Who waits no longer leaves the turn to the thread: it
    /// may hang.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let turn = Arc::clone(&self.free).acquire_owned().await.map_err(io::Error::other)?;
        blocking(move || {
            let outcome = work();
            drop(turn);
            outcome
        })
        .await
    }
}

/// Do what may block on a thread for that, where something else bounds how many are at it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
}
