//! Trees of files: what is in a folder, and small files, each written in one go.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, RawDir};

use super::{Kind, lstat_at};

/// Room for one `getdents64` call; 128 KiB holds some 4,000 names, and more gained nothing.
const LISTING_BYTES: usize = 128 << 10;

/// Open the file at `path` for writing from its beginning, made where it is not there; a link is refused.
pub(crate) fn create_over(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::io::retry_on_intr(|| rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o666)))?)
}

/// Call `each` with every name in the directory but `.` and `..`, in the order of the file system.
pub(crate) fn list(directory: impl AsFd, mut each: impl FnMut(&[u8], Kind) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(LISTING_BYTES);
    let spare: &mut [MaybeUninit<u8>] = buffer.spare_capacity_mut();
    let mut entries = RawDir::new(directory.as_fd(), spare);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let kind = match Kind::of_type(entry.file_type()) {
            Some(kind) => kind,
            None => match lstat_at(&directory, name) {
                Ok(stat) => Kind::of(&stat),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            },
        };
        each(name, kind)?;
    }
    Ok(())
}
