//! Trees of small files: each written in one go, all of them looked at.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

/// Open the file at `path` for writing from its beginning, made where it is not there; a link is refused.
pub(crate) fn create_over(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::io::retry_on_intr(|| rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o666)))?)
}
