//! The list of originals beside their archive, from before the archive is visible until the last of them is gone.
//!
//! A call that is killed while it removes leaves an archive and some of the originals. The same call again would find
//! those, and put an archive of them in the place of the only copy of the rest. The list lets it finish instead. And while
//! the call lives, the list is locked: no other pack replaces an archive whose originals are going.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::commit::Committed;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, Stage, reason, show};
use crate::fs::{self, Held, Stamp};
use crate::list::{self, Listed, Made, State};
use crate::remove::{Folder, Original};
use crate::reread::reread;
use crate::target::{JOURNAL_SUFFIX, Target, dot_name};

/// The name of the list beside `target`.
pub(crate) fn name_for(target: &[u8]) -> Vec<u8> {
    dot_name(target, "", JOURNAL_SUFFIX)
}

/// The list beside the archive `target`, where there is one.
pub(crate) fn beside(folder: &OwnedFd, target: &[u8]) -> Option<Stamp> {
    fs::lstat_at(folder, &name_for(target)).ok().map(|stat| Stamp::of(&stat))
}

/// Whether a pack may be published beside the list that is there. It may not where a living pack holds the list, or where
/// one wrote it while this pack ran, unless there is no archive that it could be about.
pub(crate) fn is_in_the_way(folder: &OwnedFd, target: &[u8], known: Option<Stamp>, exists: bool) -> bool {
    let there = match fs::lstat_at(folder, &name_for(target)) {
        Ok(stat) => Stamp::of(&stat),
        // Nobody knows, so it is taken for one.
        Err(error) => return fs::tells_nothing(&error),
    };
    match fs::open_file(folder, &name_for(target), false).map(Held::new) {
        Ok(file) if matches!(fs::lock(&file), Ok(false)) => return true,
        Err(error) if fs::tells_nothing(&error) => return true,
        _ => {}
    }
    exists && known != Some(there)
}

/// Forget the list beside an archive that has been replaced.
pub(crate) fn clear(folder: &OwnedFd, target: &[u8]) {
    if beside(folder, target).is_some() {
        // One that stays is found stale, or distrusted, by the next pack to this target.
        forget(folder, &name_for(target));
    }
}

/// Unlink a list, and what was to take its place.
fn forget(folder: &OwnedFd, name: &[u8]) {
    let next = next_name(name);
    if fs::lstat_at(folder, &next).is_ok() {
        let _ = fs::unlink(folder, &next);
    }
    let _ = fs::unlink(folder, name);
}

fn next_name(name: &[u8]) -> Vec<u8> {
    dot_name(name, ".next", JOURNAL_SUFFIX)
}

/// Refuse to go on beside a pack that is removing its originals.
pub(crate) fn busy(target: &std::path::Path, stage: Stage) -> Error {
    let message = format!(
        "another pack to {} is removing its originals, and nothing may take its place meanwhile; nothing was published: pack again when it has ended",
        show(target)
    );
    Error::new(ErrorKind::TargetExists, stage, message).at(target)
}

/// The list of a pack that removes its originals. Dropped before [`begin`](Self::begin) it goes: nothing was removed.
pub(crate) struct Journal {
    folder: OwnedFd,
    name: Vec<u8>,
    /// Locked for as long as this process works on it.
    file: Held,
    listed: Option<Listed>,
}

impl Journal {
    /// Create the empty list, which keeps other packs away. Where there is one, that goes on to protect its archive until
    /// [`settle`](Self::settle) puts this in its place.
    pub fn claim(folder: &OwnedFd, target: &[u8]) -> io::Result<Self> {
        let mut name = name_for(target);
        if beside(folder, target).is_some() {
            name = next_name(&name);
            let _ = fs::unlink(folder, &name);
        }
        let file = Held::new(fs::create_private(folder, &name)?);
        // Who looks at it in this moment lets go of it at once. A file system without locks keeps others away by the
        // list's presence alone.
        let Ok(locked) = fs::lock_soon(&file, Duration::from_secs(2), || Ok::<_, Infallible>(()));
        if matches!(locked, Ok(false)) {
            let _ = fs::unlink(folder, &name);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Self { folder: folder.try_clone()?, name, file, listed: None })
    }

    /// The archive has its name: what is known of an earlier one is of no use any more.
    pub fn settle(&mut self, target: &[u8]) -> io::Result<()> {
        let name = name_for(target);
        if self.name != name {
            fs::replace(&self.folder, &self.name, &name)?;
            self.name = name;
        }
        Ok(())
    }

    /// Write the list, and return when it is on disk.
    pub fn begin(
        &mut self,
        target: &Target,
        committed: &Committed,
        made: Made,
        originals: &[Original<'_>],
    ) -> Result<()> {
        let path = target.real();
        let failed = |error: io::Error| {
            let message = format!(
                "{} is complete, and no original was removed: cannot write the list of them beside it: {}; remove them by hand",
                show(&target.shown),
                reason(&error)
            );
            Error::io(Stage::Remove, "write", &path, error).with_message(message)
        };
        let stat = fs::lstat_at(&self.folder, &target.name).map_err(failed)?;
        if fs::identity(&stat) != committed.identity {
            let message = format!(
                "{} was replaced by another as soon as it was complete, so no original was removed; pack again",
                show(&target.shown)
            );
            return Err(Error::new(ErrorKind::TargetExists, Stage::Remove, message).at(&target.shown));
        }
        let listed = Listed { archive: Stamp::of(&stat), digest: committed.digest, made };
        self.write(State::Prepared, listed, originals).map_err(failed)?;
        // From here on the list stays, whatever happens.
        self.listed = Some(listed);
        Ok(())
    }

    fn write(&self, state: State, listed: Listed, originals: &[Original<'_>]) -> io::Result<()> {
        fs::write_all(&self.file, &list::encode(state, listed, originals))?;
        fs::sync_file(&self.file)?;
        fs::sync_directory(&self.folder)?;
        // Only a list that is whole, and on disk, says that originals may be gone.
        fs::write_at(&self.file, &[State::Removing.byte()], list::STATE_AT)?;
        fs::sync_file(&self.file)
    }

    /// The device that the list is on.
    pub fn device(&self) -> Option<u64> {
        fs::fstat(&self.file).ok().map(|stat| fs::identity(&stat).0)
    }

    /// Nothing is left to remove, or nothing was removed.
    pub fn forget(self) {
        forget(&self.folder, &self.name);
    }

    /// The removal has ended, and `left` is what the sources still hold: put that in the place of the list.
    pub fn end(self, left: &[Original<'_>]) {
        if let Some(listed) = self.listed {
            // Where that fails the whole list stays, which forbids more.
            let _ = put_ended(&self.folder, &self.name, listed, left);
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.listed.is_none() {
            let _ = fs::unlink(&self.folder, &self.name);
        }
    }
}

fn put_ended(folder: &OwnedFd, name: &[u8], listed: Listed, left: &[Original<'_>]) -> io::Result<()> {
    let next = next_name(name);
    let _ = fs::unlink(folder, &next);
    let file = fs::create_private(folder, &next)?;
    let written = fs::write_all(&file, &list::encode(State::Ended, listed, left)).and_then(|()| fs::sync_file(&file));
    if let Err(error) = written.and_then(|()| fs::replace(folder, &next, name)) {
        let _ = fs::unlink(folder, &next);
        return Err(error);
    }
    fs::sync_directory(folder)
}

/// What lies beside a target from an earlier pack.
pub(crate) enum Earlier {
    /// Nothing that counts.
    Nothing,
    /// A removal that was begun: the list is ours, whole, and about the archive that is there.
    Unfinished(Unfinished),
    /// A list that cannot be gone by, beside an archive that may be the only copy of what was on it.
    Distrusted(Distrusted),
}

/// XXH3-128 of the archive that is there.
pub(crate) fn digest_of(target: &Target, check: impl Fn() -> Result<()> + Sync) -> Result<u128> {
    let folder = fs::enter_directory(target.folder.as_os_str().as_bytes())
        .map_err(|error| Error::io(Stage::Remove, "read back", &target.shown, error))?;
    digest_in(&folder, target, check)
}

fn digest_in(folder: &OwnedFd, target: &Target, check: impl Fn() -> Result<()> + Sync) -> Result<u128> {
    let failed = |error: io::Error| Error::io(Stage::Remove, "read back", &target.shown, error);
    let file = fs::open_file(folder, &target.name, false).map_err(failed)?;
    let mut digest = Digest::new();
    let read = |at, room: &mut [u8]| fs::read_at(&file, room, at).map_err(failed);
    reread(&mut digest, 0..u64::MAX, 2, read, check)?;
    Ok(digest.finish())
}

/// The list of an archive that was renamed without it, where that archive is the target now.
///
/// What cannot be opened, listed or read for a reason that may pass is an error: it could be about the only copy of something.
pub(crate) fn under_another_name(
    target: &Target,
    check: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Option<Distrusted>> {
    let Some(archive) = target.replaces else { return Ok(None) };
    let own = name_for(&target.name);
    let next = next_name(&own);
    let unknown = |error: io::Error| Error::io(Stage::Plan, "look for lists of originals beside", &target.shown, error);
    let folder = match fs::open_directory(target.folder.as_os_str().as_bytes()) {
        Ok(folder) => folder,
        Err(error) if fs::tells_nothing(&error) => return Err(unknown(error)),
        Err(_) => return Ok(None),
    };
    let mut lists = Vec::new();
    let listed = fs::list(&folder, |name, _| {
        // What was to take the place of the own list is about the same, and says no more.
        if name.starts_with(b".") && name.ends_with(JOURNAL_SUFFIX) && name != own && name != next {
            lists.push(name.to_vec());
        }
        Ok(())
    });
    match listed {
        Err(error) if fs::tells_nothing(&error) => return Err(unknown(error)),
        // A folder that may not be listed has no more to say.
        Err(_) => return Ok(None),
        Ok(()) => {}
    }
    let why_not = |name: &Vec<u8>| {
        // Whoever wrote it, with whatever version, and however much: its first bytes do.
        let mut head = [0; list::HEADER];
        let read = fs::open_file(&folder, name, false).and_then(|file| fs::read_at(file, &mut head, 0));
        match read {
            Err(error) if fs::tells_nothing(&error) => return Err(unknown(error)),
            // Another user's: of an archive that is not there under its own name, and may be the one that is here, if that is his.
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    && !has_archive(&folder, name)
                    && owner(&folder, name) == owner(&folder, &target.name) =>
            {
                return Ok(Some("may be about this archive, and cannot be read"));
            }
            Err(_) => return Ok(None),
            Ok(_) => {}
        }
        let Some((listed, listed_digest)) = list::about(&head) else { return Ok(None) };
        // It may have been brought back, as a copy. One whose own archive is still there has that to protect.
        let bereft = || !has_archive(&folder, name) && listed.size == archive.size;
        let is_it = listed == archive || (bereft() && digest_in(&folder, target, check)? == listed_digest);
        Ok(is_it.then_some("is about this archive, which had another name"))
    };
    for name in &lists {
        if let Some(why) = why_not(name)? {
            let list = target.folder.join(fs::path(name));
            return Ok(Some(Distrusted { target: target.clone(), list, why: why.into() }));
        }
    }
    Ok(None)
}

/// Who made what bears this name.
fn owner(folder: &OwnedFd, name: &[u8]) -> Option<u32> {
    fs::lstat_at(folder, name).ok().map(|stat| stat.st_uid)
}

/// Whether the archive is there beside which a list of this name lies; of names that were cut short nobody knows.
fn has_archive(folder: &OwnedFd, list: &[u8]) -> bool {
    let archive = list.strip_prefix(b".").and_then(|name| name.strip_suffix(JOURNAL_SUFFIX)).unwrap_or_default();
    name_for(archive) == list && fs::lstat_at(folder, archive).is_ok()
}

impl Unfinished {
    /// The list as one that only forbids.
    pub fn distrust(self, why: &str) -> Distrusted {
        Distrusted { list: self.path(), target: self.target, why: why.into() }
    }
}

/// Why a list cannot be gone by.
pub(crate) struct Distrusted {
    pub target: Target,
    pub list: PathBuf,
    pub why: String,
}

/// A removal that was begun and not finished, or that left something.
pub(crate) struct Unfinished {
    folder: OwnedFd,
    name: Vec<u8>,
    /// Holds the lock.
    file: Option<Held>,
    bytes: Vec<u8>,
    listed: Listed,
    /// The archive.
    pub target: Target,
    /// Whether it came to its end, and left something.
    pub ended: bool,
    /// The archive has its bytes and is another file: a copy, of which nobody knows what its like elsewhere was used for.
    pub copied: bool,
}

impl Earlier {
    /// Look for a list beside the target, which was resolved before: a list that comes later is about a later archive.
    pub fn find(target: &Target, check: &(dyn Fn() -> Result<()> + Sync)) -> Result<Self> {
        let name = name_for(&target.name);
        let list = target.folder.join(fs::path(&name));
        let folder = match fs::enter_directory(target.folder.as_os_str().as_bytes()) {
            Ok(folder) => folder,
            Err(error) if fs::tells_nothing(&error) => {
                return Err(Error::io(Stage::Plan, "look for a list of originals beside", &target.shown, error));
            }
            Err(_) => return Ok(Self::Nothing),
        };
        let distrusted = |why: String| {
            // Without an archive there is nothing that a pack could replace.
            if target.replaces.is_none() {
                return Ok(Self::Nothing);
            }
            Ok(Self::Distrusted(Distrusted { target: target.clone(), list: list.clone(), why }))
        };
        let file = match fs::open_file(&folder, &name, false) {
            Ok(file) => Held::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Nothing),
            Err(error) => return distrusted(format!("cannot be read: {}", reason(&error))),
        };
        if matches!(fs::lock(&file), Ok(false)) {
            return Err(busy(&target.shown, Stage::Plan));
        }
        let stat = match fs::fstat(&file) {
            Ok(stat) => stat,
            Err(error) => return distrusted(format!("cannot be read: {}", reason(&error))),
        };
        // It may have been finished between being opened and locked.
        if beside(&folder, &target.name).map(|there| there.ino) != Some(Stamp::of(&stat).ino) {
            return Self::find(target, check);
        }
        // Whoever can write the list decides what is removed: it must be ours alone.
        if !fs::is_ours_alone(&stat) {
            return distrusted("belongs to another user, may be written by others, or has a second name".into());
        }
        let mut bytes = Vec::new();
        let size = Stamp::of(&stat).size as usize;
        if bytes.try_reserve_exact(size).is_err() {
            return distrusted("is too large to be read".into());
        }
        bytes.resize(size, 0);
        match fs::read_at(&file, &mut bytes, 0) {
            Ok(count) => bytes.truncate(count),
            Err(error) => return distrusted(format!("cannot be read: {}", reason(&error))),
        }
        let ended = match State::of(&bytes) {
            Some(State::Prepared) => return Ok(Self::Nothing),
            Some(State::Removing) => false,
            Some(State::Ended) => true,
            None if list::is_of_another_version(&bytes) => {
                return distrusted("was written by another version of vhpack".into());
            }
            None => return distrusted("is damaged".into()),
        };
        let Some((listed, _)) = list::decode(&bytes) else { return distrusted("is damaged".into()) };
        let Some(now) = target.replaces else { return Ok(Self::Nothing) };
        let found =
            Unfinished { folder, name, file: Some(file), bytes, listed, target: target.clone(), ended, copied: false };
        // A copy that was put in its place, or a file system that was mounted again, has another stamp and the same bytes.
        if listed.archive == now {
            return Ok(Self::Unfinished(found));
        }
        if listed.archive.size == now.size && found.check_archive(check).is_ok() {
            return Ok(Self::Unfinished(Unfinished { copied: true, ..found }));
        }
        check()?;
        distrusted("is about an archive of other content".into())
    }
}

impl Unfinished {
    /// The folders that the originals were packed from, by the numbers that their devices have now.
    pub fn folders(&self) -> Vec<Folder<'_>> {
        let mut folders = list::decode(&self.bytes).map(|(_, folders)| folders).unwrap_or_default();
        folders.iter_mut().for_each(Folder::renumber);
        folders
    }

    /// The originals, with the folders from [`folders`](Self::folders).
    pub fn originals<'a>(&'a self, folders: &'a [Folder<'a>]) -> impl Iterator<Item = Original<'a>> {
        list::originals(&self.bytes, folders)
    }

    /// What the call that made the archive was, and what it counted.
    pub fn made(&self) -> Made {
        self.listed.made
    }

    /// The device that the list is on.
    pub fn device(&self) -> Option<u64> {
        self.file.as_ref().and_then(|file| fs::fstat(file).ok()).map(|stat| fs::identity(&stat).0)
    }

    /// The list's own path.
    pub fn path(&self) -> PathBuf {
        self.target.folder.join(fs::path(&self.name))
    }

    /// XXH3-128 of the archive.
    pub fn digest(&self) -> u128 {
        self.listed.digest
    }

    /// The archive reads as it was written.
    pub fn check_archive(&self, check: impl Fn() -> Result<()> + Sync) -> Result<()> {
        let target = &self.target;
        if digest_in(&self.folder, target, check)? == self.listed.digest {
            return Ok(());
        }
        let message = format!(
            "{0} is not as an interrupted pack left it, so no more originals were removed; look at it with `vhpack verify`, then move it away, and the same call packs what is left; or remove {1}, which ends the removal: {0} may then be replaced",
            show(&target.shown),
            show(&self.path())
        );
        Err(Error::new(ErrorKind::Io, Stage::Remove, message).at(&target.shown))
    }

    /// An archive that was copied to its place may not be on the disk yet, and soon is the only one to hold its files.
    pub fn bring_to_disk(&self) -> Result<()> {
        if !self.copied {
            return Ok(());
        }
        let failed = |error: io::Error| Error::io(Stage::Remove, "bring to the disk", &self.target.shown, error);
        let file = fs::open_file(&self.folder, &self.target.name, false).map_err(failed)?;
        fs::sync_whole(&file).map_err(failed)?;
        let folder = fs::open_directory(self.target.folder.as_os_str().as_bytes()).map_err(failed)?;
        fs::sync_directory(&folder).map_err(failed)
    }

    /// Let go of the list, which this pack is to replace.
    pub fn release(&mut self) {
        self.file = None;
    }

    /// Every original on it is gone.
    pub fn forget(&self) {
        forget(&self.folder, &self.name);
    }

    /// What is left was looked at, and has to stay.
    pub fn end(&self, left: &[Original<'_>]) {
        let _ = put_ended(&self.folder, &self.name, self.listed, left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::PackReport;

    #[test]
    fn who_cancels_does_not_wait_until_an_archive_is_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.zip");
        let opened = fs::open_directory(folder.path().as_os_str().as_bytes()).unwrap();
        fs::write_all(fs::create_named(&opened, b"out.zip").unwrap(), b"an archive").unwrap();
        let mut digest = Digest::new();
        digest.update(b"an archive");
        // As of a copy: another file with the bytes that are listed.
        let archive = Stamp { size: 10, ..Stamp::default() };
        let listed = Listed { archive, digest: digest.finish(), made: Made::new(1, &PackReport::default()) };
        let list = fs::create_private(&opened, &name_for(b"out.zip")).unwrap();
        fs::write_all(&list, &list::encode(State::Removing, listed, &[])).unwrap();
        let target = Target::resolve(&path).unwrap();

        let found = Earlier::find(&target, &|| Ok(())).unwrap();
        assert!(matches!(found, Earlier::Unfinished(Unfinished { copied: true, .. })));
        drop(found);
        let cancelled = Earlier::find(&target, &|| Err(Error::cancelled(Stage::Plan)));
        assert_eq!(cancelled.map(|_| ()).unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
