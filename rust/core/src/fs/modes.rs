//! Modes of what is there already.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode};

use super::fd_path;

/// Set a folder's modes, by way of an open descriptor for entering it.
pub(crate) fn set_mode(directory: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::chmodat(CWD, fd_path(directory), Mode::from_raw_mode(mode & 0o777), AtFlags::empty())?)
}

/// Set an open file's modes.
pub(crate) fn set_file_mode(file: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode & 0o777))?)
}

/// Set the modes of the file at a path.
pub(crate) fn set_mode_of(path: &Path, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode & 0o7777))?)
}
