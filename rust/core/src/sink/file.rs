//! A staged file: without a name where the file system allows it, else under a dot-name beside the target.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::Sink;
use crate::error::{Error, ErrorKind, Result, Stage, reason, show};
use crate::fs;
use crate::growing::Growing;
use crate::journal::{self, Journal};
use crate::target::{STAGED_SUFFIX, Target, dot_name};

/// So many packs to one target at once leave nothing behind, whichever of them are killed.
const MOST_AT_ONCE: u32 = 8;

/// Written ranges of this length are handed to the disk while the next are made, when the end waits for the disk.
const WRITE_BACK_BYTES: u64 = 32 << 20;

/// The archive while it is written; dropping it removes it.
pub(crate) struct StagedFile {
    file: OwnedFd,
    folder: OwnedFd,
    target: PathBuf,
    target_name: Vec<u8>,
    /// What the archive may take the place of.
    replaces: Option<fs::Stamp>,
    /// The list beside the target that this pack knows of.
    list: Option<fs::Stamp>,
    /// Its dot-name, where it has one.
    name: Option<Vec<u8>>,
    length: u64,
    /// Up to where the disk was asked to write; `None` when nothing will wait for it.
    written_back: Option<u64>,
    /// Who reads along.
    growing: Option<Arc<Growing>>,
}

impl StagedFile {
    /// Begin an archive in the target's folder.
    pub fn create(target: &Target, durable: bool) -> Result<Self> {
        let shown = &target.shown;
        let failed = |error| Error::io(Stage::Commit, "write", shown, error);
        let path = target.folder.as_os_str().as_bytes();
        // Only a folder that may be listed can be synced.
        let folder = if durable { fs::open_directory(path) } else { fs::enter_directory(path) };
        let folder = folder.map_err(|error| Error::io(Stage::Commit, "open the folder of", shown, error))?;
        remove_leftovers(&folder, &target.name);
        let unnamed = fs::create_unnamed(&folder).map_err(failed)?;
        let (file, name) = if let Some(file) = unnamed {
            (file, None)
        } else {
            let (file, name) = create_dot_name(&folder, &target.name).map_err(failed)?;
            (file, Some(name))
        };
        // Without locks nobody takes the file for a leftover either.
        let _ = fs::lock(&file);
        Ok(Self {
            file,
            folder,
            target: shown.clone(),
            target_name: target.name.clone(),
            replaces: target.replaces,
            list: target.list,
            name,
            length: 0,
            written_back: durable.then_some(0),
            growing: None,
        })
    }

    /// Let others read along: an archive that will have at most `bound` bytes.
    pub fn grow(&mut self, bound: u64) -> Result<Arc<Growing>> {
        let file = self.file.try_clone().map_err(|error| self.failed("write", error))?;
        let growing = Growing::new(&self.target, bound, file);
        self.growing = Some(Arc::clone(&growing));
        Ok(growing)
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// Wait until the bytes are on disk, in steps between which `check` may give up.
    pub fn sync(&self, check: impl Fn() -> Result<()>) -> Result<()> {
        const STEP: u64 = 8 << 20;
        let mut offset = 0;
        while offset < self.length {
            check()?;
            fs::write_back(&self.file, offset, STEP, true).map_err(|error| self.failed("write to disk", error))?;
            offset += STEP;
        }
        check()?;
        fs::sync_file(&self.file).map_err(|error| self.failed("write to disk", error))
    }

    /// All bytes are written: who reads along knows the length.
    pub fn close(&self) -> Result<()> {
        let Some(growing) = &self.growing else { return Ok(()) };
        growing.close(self.length).map_err(|error| self.failed("check", error))
    }

    /// The length that the file system reports.
    pub fn length_on_disk(&self) -> Result<u64> {
        let stat = fs::fstat(&self.file).map_err(|error| self.failed("check", error))?;
        Ok(fs::Stamp::of(&stat).size)
    }

    /// Give the archive its name, at once; `replace` an earlier one or refuse to.
    ///
    /// `only_known` refuses to replace what was not there when the pack began. `claim` puts the list of originals beside
    /// the archive before it is visible. Looking and naming are one step to all packs into this folder.
    pub fn publish(
        mut self,
        replace: bool,
        only_known: bool,
        claim: bool,
        check: impl Fn() -> Result<()>,
    ) -> Result<Finished> {
        let _alone =
            fs::lock_directory(&self.folder, check)?.map_err(|error| self.failed("lock the folder of", error))?;
        let there = match fs::lstat_at(&self.folder, &self.target_name) {
            Ok(stat) => Some(fs::Stamp::of(&stat)),
            Err(error) if fs::tells_nothing(&error) => return Err(self.failed("look for", error)),
            Err(_) => None,
        };
        if journal::is_in_the_way(&self.folder, &self.target_name, self.list, there.is_some()) {
            return Err(journal::busy(&self.target, Stage::Commit));
        }
        if replace && only_known && there.is_some() && there != self.replaces {
            let message = format!(
                "{} was written by another while this pack ran; nothing was published: look at it, then pack again",
                show(&self.target)
            );
            return Err(Error::new(ErrorKind::TargetExists, Stage::Commit, message).at(&self.target));
        }
        let mut journal = if claim { Some(self.claim()?) } else { None };
        let published = self.give_name(replace);
        published.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists if !replace => {
                let message =
                    format!("{} appeared meanwhile; choose another name, or replace it with force", show(&self.target));
                self.failed("name", error).as_kind(ErrorKind::TargetExists).with_message(message)
            }
            _ => self.failed("name", error),
        })?;
        self.name = None;
        // What an earlier list was about has been replaced, by what holds all that it must.
        match &mut journal {
            Some(journal) => journal.settle(&self.target_name).map_err(|error| self.unsettled(error))?,
            None => journal::clear(&self.folder, &self.target_name),
        }
        let duplicate = |file: &OwnedFd| file.try_clone().map_err(|error| self.failed("sync", error));
        let identity =
            fs::fstat(&self.file).map(|stat| fs::identity(&stat)).map_err(|error| self.failed("check", error))?;
        Ok(Finished {
            identity,
            file: duplicate(&self.file)?,
            folder: duplicate(&self.folder)?,
            target: self.target.clone(),
            journal,
        })
    }

    fn unsettled(&self, error: std::io::Error) -> Error {
        let list = self.target.with_file_name(fs::path(&journal::name_for(&self.target_name)));
        let message = format!(
            "{} is complete, and no original was removed: the list of them cannot take the place of {}: {}; remove that, and pack again",
            show(&self.target),
            show(&list),
            reason(&error)
        );
        self.failed("write", error).with_message(message)
    }

    fn claim(&self) -> Result<Journal> {
        Journal::claim(&self.folder, &self.target_name).map_err(|error| {
            let message = format!(
                "cannot write the list of originals beside {}: {}; nothing was published: make its folder writable, or keep the originals",
                show(&self.target),
                reason(&error)
            );
            self.failed("write", error).with_message(message)
        })
    }

    fn give_name(&mut self, replace: bool) -> std::io::Result<()> {
        if self.name.is_none() {
            if !replace {
                return fs::link_unnamed(&self.file, &self.folder, &self.target_name);
            }
            match fs::link_unnamed(&self.file, &self.folder, &self.target_name) {
                // An unnamed file cannot replace another in one step: it gets a dot-name first.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    let link = |name: &[u8]| fs::link_unnamed(&self.file, &self.folder, name);
                    self.name = Some(with_free_name(&self.target_name, link)?.1);
                }
                other => return other,
            }
        }
        match &self.name {
            Some(name) if replace => fs::replace(&self.folder, name, &self.target_name),
            Some(name) => fs::rename_new(&self.folder, name, &self.target_name),
            None => Ok(()),
        }
    }

    fn failed(&self, attempt: &str, error: std::io::Error) -> Error {
        Error::io(Stage::Commit, attempt, &self.target, error)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Nothing can be done about a failure here; the next pack to this target removes what is left.
            let _ = fs::unlink(&self.folder, name);
        }
    }
}

impl Sink for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        fs::write_all(&self.file, bytes).map_err(|error| self.failed("write", error))?;
        self.length += bytes.len() as u64;
        if let Some(from) = self.written_back
            && self.length - from >= WRITE_BACK_BYTES
        {
            fs::write_back(&self.file, from, self.length - from, false).map_err(|error| self.failed("write", error))?;
            self.written_back = Some(self.length);
        }
        Ok(())
    }

    fn patch(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        fs::write_at(&self.file, bytes, offset).map_err(|error| self.failed("write", error))
    }

    fn read_back(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        fs::read_at(&self.file, buffer, offset).map_err(|error| self.failed("read back", error))
    }

    fn rewind(&mut self, offset: u64) -> Result<()> {
        fs::rewind(&self.file, offset).map_err(|error| self.failed("write", error))?;
        self.length = offset;
        if let Some(from) = &mut self.written_back {
            *from = offset.min(*from);
        }
        if let Some(growing) = &self.growing {
            growing.rewound(offset);
        }
        Ok(())
    }

    fn seal(&mut self, sealed: u64, open: Option<&Range<u64>>) {
        if let Some(growing) = &self.growing {
            growing.seal(sealed, open);
        }
    }
}

/// An archive that has its name.
pub(crate) struct Finished {
    /// Device and inode of the archive.
    pub identity: (u64, u64),
    file: OwnedFd,
    folder: OwnedFd,
    target: PathBuf,
    /// Where it was claimed.
    pub journal: Option<Journal>,
}

impl Finished {
    /// Wait until the name is on disk, too: the file's own count of names, and the folder that holds this one.
    pub fn sync_name(&self) -> Result<()> {
        fs::sync_file(&self.file)
            .and_then(|()| fs::sync_directory(&self.folder))
            .map_err(|error| {
                let message = format!(
                    "{} is complete, and no original was removed: its name cannot be brought to the disk: {}; check the disk",
                    show(&self.target),
                    reason(&error)
                );
                Error::io(Stage::Commit, "sync the folder of", &self.target, error).with_message(message)
            })
    }
}

fn staged_name(target: &[u8], number: u32) -> Vec<u8> {
    dot_name(target, &format!(".{number}"), STAGED_SUFFIX)
}

/// Call `attempt` with one dot-name after the other until it finds one that is free.
fn with_free_name<T>(
    target: &[u8],
    mut attempt: impl FnMut(&[u8]) -> std::io::Result<T>,
) -> std::io::Result<(T, Vec<u8>)> {
    let mut number = 0;
    loop {
        let name = staged_name(target, number);
        match attempt(&name) {
            Ok(value) => return Ok((value, name)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// A new file under a dot-name, locked before anyone can take it for a leftover.
fn create_dot_name(folder: &OwnedFd, target: &[u8]) -> std::io::Result<(OwnedFd, Vec<u8>)> {
    loop {
        let (file, name) = with_free_name(target, |name| fs::create_named(folder, name))?;
        let still_there = || -> std::io::Result<bool> {
            Ok(fs::Stamp::of(&fs::lstat_at(folder, &name)?).ino == fs::Stamp::of(&fs::fstat(&file)?).ino)
        };
        // A file system that knows no locks is no reason not to pack: then nobody takes the name for a leftover either.
        if fs::lock(&file).unwrap_or(true) && still_there().unwrap_or(false) {
            return Ok((file, name));
        }
    }
}

/// Remove what killed packs to this target left behind: staged names that no living process holds locked.
pub(crate) fn remove_leftovers(folder: &OwnedFd, target: &[u8]) {
    for number in 0.. {
        let name = staged_name(target, number);
        let Ok(file) = fs::open_file(folder, &name, false) else {
            // Of several packs at once any may have been killed.
            if number >= MOST_AT_ONCE {
                return;
            }
            continue;
        };
        if fs::lock(&file).unwrap_or(false) {
            // Failing to tidy up must not fail the pack.
            let _ = fs::unlink(folder, &name);
        }
    }
}
