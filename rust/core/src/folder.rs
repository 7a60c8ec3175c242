//! Whole folders: files that are written to one and looked at, two that change places, and the wait for all that is in one.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::digest::Digest;
use crate::error::{Error, Result, Stage};
use crate::fs::{self, Kind, Stat};

/// A file as it was when it was written, or looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its path below the folder, as bytes; empty of one that was written.
    pub name: Vec<u8>,
    /// Bytes.
    pub size: u64,
    /// When it was written to, in nanoseconds since 1970.
    pub modified: i128,
    /// Whether it is a regular file.
    pub is_file: bool,
}

impl Seen {
    fn of(name: Vec<u8>, stat: &Stat) -> Self {
        Self {
            name,
            size: stat.st_size.unsigned_abs(),
            modified: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
            is_file: Kind::of(stat) == Kind::File,
        }
    }
}

/// Write a file, new or in place of what it held, and return what it is then, and its XXH3-128.
///
/// In one call what takes a caller four, and with no second reading for the digest.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(Seen, u128)> {
    let write = || -> io::Result<Seen> {
        let file = fs::create_over(path)?;
        fs::write_all(&file, content)?;
        Ok(Seen::of(Vec::new(), &fs::fstat(&file)?))
    };
    let seen = write().map_err(|cause| Error::io(Stage::Commit, "write", path, cause))?;
    Ok((seen, Digest::of(content)))
}

/// Look at all that lies below a folder and is no folder itself, in no order.
pub fn look_through(folder: &Path) -> Result<Vec<Seen>> {
    let root = folder.as_os_str().as_bytes();
    let (mut found, mut waiting) = (Vec::new(), vec![Vec::new()]);
    while let Some(base) = waiting.pop() {
        let place = fs::join(root, &base);
        let mut look = || -> io::Result<()> {
            let directory = fs::open_directory(&place)?;
            fs::list(&directory, |name, kind| {
                let name_below = if base.is_empty() { name.to_vec() } else { fs::join(&base, name) };
                if kind == Kind::Directory {
                    waiting.push(name_below);
                } else {
                    found.push(Seen::of(name_below, &fs::lstat_at(&directory, name)?));
                }
                Ok(())
            })
        };
        look().map_err(|cause| Error::io(Stage::Commit, "look through", fs::path(&place), cause))?;
    }
    Ok(found)
}

/// Let two folders of one file system change places in one step; `false` where the file system cannot do that, and
/// nothing was done.
pub fn exchange(one: &Path, other: &Path) -> Result<bool> {
    fs::exchange(one, other).map_err(|cause| Error::io(Stage::Commit, "replace the folder", other, cause))
}

/// Wait until all that was written to the file system of `folder` is on disk.
///
/// One call for any number of files, where an `fsync` of each would wait for the disk as often. `false` where the file
/// system does not promise anything by it, and each file has to be synced by itself.
pub fn sync_system(folder: &Path) -> Result<bool> {
    fs::sync_system(folder).map_err(|cause| Error::io(Stage::Commit, "bring to the disk", folder, cause))
}
