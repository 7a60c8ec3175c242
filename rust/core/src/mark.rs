//! The read-only mark, by which the platform is told to take an archive away.

use std::os::unix::ffi::OsStrExt as _;

use crate::commit::Committed;
use crate::error::{Error, ErrorKind, Result, Stage, reason, show};
use crate::fs;
use crate::target::Target;

/// What the mark leaves of a file's permissions.
const READING: u32 = 0o444;

/// Whether the archive has the mark.
pub(crate) fn is_set(target: &Target) -> bool {
    fs::lstat(&target.real()).is_ok_and(|stat| stat.st_mode & 0o222 == 0)
}

/// Mark every archive that was just committed.
pub(crate) fn all(archives: &[(Target, Committed)]) -> Result<()> {
    archives.iter().try_for_each(|(target, committed)| one(target, committed.identity))
}

/// Mark the archive that is the target, if it is still the file of this device and inode, and bring the mark to the disk:
/// what is known of the call is forgotten next.
pub(crate) fn one(target: &Target, identity: (u64, u64)) -> Result<()> {
    let folder = fs::enter_directory(target.folder.as_os_str().as_bytes());
    let failed = |error: std::io::Error| {
        let message = format!(
            "{} is complete, but cannot be marked read-only: {}; mark it by hand to upload it, or say the same call again",
            show(&target.shown),
            reason(&error)
        );
        Error::io(Stage::Commit, "mark", &target.shown, error).as_kind(ErrorKind::Io).with_message(message)
    };
    let opened = folder.and_then(|folder| fs::open_file(&folder, &target.name, false));
    let file = opened.map_err(failed)?;
    let stat = fs::fstat(&file).map_err(failed)?;
    if fs::identity(&stat) != identity {
        let message = format!(
            "{} was replaced by another as soon as it was complete, so it was not marked read-only; pack again",
            show(&target.shown)
        );
        return Err(Error::new(ErrorKind::TargetExists, Stage::Commit, message).at(&target.shown));
    }
    fs::set_file_mode(&file, stat.st_mode & READING).and_then(|()| fs::sync_whole(&file)).map_err(failed)
}
