//! Locks on files and folders, which end with the process that holds them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};

/// Mark the open file as in use; a file left behind by a killed process carries no mark.
///
/// `false` where another process holds it; an error where the file system knows no locks.
pub(crate) fn lock(file: impl AsFd) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// An open file or directory that is locked, or that may be, until this is dropped.
pub(crate) struct Held(OwnedFd);

impl Held {
    /// What was opened to be locked.
    pub fn new(file: OwnedFd) -> Self {
        Self(file)
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing would leave the lock to a child that was forked meanwhile.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// Keep others who ask for it out of the directory until what is returned is dropped. They hold it for moments: one that
/// is held for ten seconds is no lock of ours, and an error. `None` where the file system, or the directory, allows no
/// locks. `check` may give up meanwhile.
pub(crate) fn lock_directory(
    directory: impl AsFd,
    check: impl Fn() -> crate::error::Result<()>,
) -> crate::error::Result<io::Result<Option<Held>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // A descriptor of its own: locks are held by those.
    let own = match rustix::fs::openat(directory, ".", flags, Mode::empty()).map_err(io::Error::from) {
        Ok(own) => Held::new(own),
        Err(error) if super::tells_nothing(&error) => return Ok(Err(error)),
        Err(_) => return Ok(Ok(None)),
    };
    match lock_soon(&own, Duration::from_secs(10), check)? {
        Ok(true) => Ok(Ok(Some(own))),
        Ok(false) => Ok(Err(io::ErrorKind::WouldBlock.into())),
        Err(_) => Ok(Ok(None)),
    }
}

/// [`lock`], and again until it succeeds or `patience` is at its end.
pub(crate) fn lock_soon<E>(
    file: impl AsFd,
    patience: Duration,
    check: impl Fn() -> Result<(), E>,
) -> Result<io::Result<bool>, E> {
    let since = Instant::now();
    loop {
        match lock(&file) {
            Ok(false) if since.elapsed() < patience => std::thread::sleep(Duration::from_millis(1)),
            other => return Ok(other),
        }
        check()?;
    }
}
