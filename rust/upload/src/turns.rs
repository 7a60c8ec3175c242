//! Threads that may block. A disk that hangs, such as a network mount whose server has gone, keeps every thread that touches it until it
//! is back; so each disk has only some of them, and none of the threads that talk to servers touches a disk of files.

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

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
        let free = Arc::clone(&self.free);
        // On a task of its own: whoever waits may not be polled when its turn comes, such as a body whose connection takes nothing, and
        // would keep the turn from those that are.
        let mut waiting = JoinSet::new();
        waiting.spawn(async move {
            let turn = free.acquire_owned().await.map_err(io::Error::other)?;
            blocking(move || {
                let outcome = work();
                drop(turn);
                outcome
            })
            .await
        });
        let ended = waiting.join_next().await.unwrap_or_else(|| Ok(Err(io::ErrorKind::Interrupted.into())));
        ended.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
    }
}

/// Do what may block on a thread for that, where something else bounds how many are at it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn turns_of_those_that_are_not_polled_are_not_kept_from_others() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let turns = Turns::new();
            let held: Vec<_> = (0..A_DISK)
                .map(|_| {
                    let (release, wait) = mpsc::channel::<()>();
                    let turns = turns.clone();
                    let work = move || wait.recv().map_err(io::Error::other);
                    (release, tokio::spawn(async move { turns.run(work).await }))
                })
                .collect();
            while turns.free.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
            let mut left_alone: Vec<_> = (0..2 * A_DISK).map(|_| Box::pin(turns.run(|| Ok(())))).collect();
            for one in &mut left_alone {
                assert!(one.as_mut().now_or_never().is_none());
            }
            for (release, holder) in held {
                release.send(()).unwrap();
                holder.await.unwrap().unwrap();
            }
            let ours = tokio::time::timeout(Duration::from_secs(20), turns.run(|| Ok(())));
            ours.await.expect("others have the turns and do nothing with them").unwrap();
            drop(left_alone);
        });
    }

    #[test]
    fn whoever_gives_up_waiting_takes_no_turn() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let turns = Turns::new();
            let all = turns.free.acquire_many(A_DISK as u32).await.unwrap();
            let (told, hears) = mpsc::channel();
            let mut given_up = Box::pin(turns.run(move || told.send(()).map_err(io::Error::other)));
            assert!(given_up.as_mut().now_or_never().is_none());
            drop(given_up);
            drop(all);
            turns.run(|| Ok(())).await.unwrap();
            // The work is dropped with what it would have said.
            assert!(hears.recv_timeout(Duration::from_secs(20)) == Err(mpsc::RecvTimeoutError::Disconnected));
        });
    }
}
