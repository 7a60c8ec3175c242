//! Whole folders: two that change places, and the wait for all that is in one.

use std::path::Path;

use crate::error::{Error, Result, Stage};
use crate::fs;

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
