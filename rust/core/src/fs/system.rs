//! What is asked of a file system as a whole.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

/// Let two names of one file system change places in one step; `false` where it cannot do that.
pub(crate) fn exchange(one: &Path, other: &Path) -> io::Result<bool> {
    match rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Make an empty file share all blocks of another one, as they are at this moment; an error where the file system cannot do that.
pub(crate) fn clone(file: impl AsFd, copy: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::ioctl_ficlone(copy, file)?)
}

/// Wait until all that was written to the file system that has `folder` is on disk.
///
/// `false` where that says nothing.
pub(crate) fn sync_system(folder: &Path) -> io::Result<bool> {
    let folder = super::open_directory(folder.as_os_str().as_bytes())?;
    if is_in_user_space(&folder)? {
        return Ok(false);
    }
    rustix::io::retry_on_intr(|| rustix::fs::syncfs(&folder))?;
    Ok(true)
}

/// Whether the file system is FUSE: it is handed the bytes, and learns only from a file's own `fsync` that somebody waits for them.
pub(super) fn is_in_user_space(folder: impl AsFd) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(folder)?.f_type == 0x6573_5546)
}
