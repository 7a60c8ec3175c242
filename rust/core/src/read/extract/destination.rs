//! Writing below one folder and nowhere else: every step down is by descriptor, and no link is followed.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::Existing;
use super::plan::{Folder, Job};
use crate::error::{Error, ErrorKind, Result, Stage, show};
use crate::fs::{self, Kind};

/// The first folders stay open for all workers: of 256 or fewer, as most archives have, each is entered once.
const SHARED_OPEN: usize = 256;

/// Descriptors of other folders that a worker keeps open.
const KEPT_OPEN: usize = 32;

/// And at least so many, however many workers there are: the folder that it writes to, and the one above.
const LEAST_OPEN: usize = 2;

/// How many of the first folders stay open for all of `workers`, and how many others each of them keeps: half of what may be
/// open at all, as 64 workers would take twice the usual 1,024.
fn shares(most: u64, workers: usize) -> (usize, usize) {
    let room = usize::try_from(most / 2).unwrap_or(usize::MAX);
    let shared = SHARED_OPEN.min(room / 4);
    (shared, ((room - shared) / workers.max(1)).clamp(LEAST_OPEN, KEPT_OPEN))
}

/// The folder that an archive is extracted to.
pub(super) struct Destination<'a> {
    root: OwnedFd,
    path: &'a Path,
    folders: &'a [Folder],
    /// There was nothing in it, so that nothing can be in the way.
    pub is_new: bool,
    /// Folders that were not there before, and those that are there now.
    made: Vec<AtomicBool>,
    there: Vec<AtomicBool>,
    shared: Vec<OnceLock<OwnedFd>>,
    /// Descriptors of others that each worker may keep.
    kept: usize,
}

/// What became of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Yes,
    WasThere,
}

pub(super) fn failed(attempt: &str, path: &Path, cause: io::Error) -> Error {
    Error::io(Stage::Extract, attempt, path, cause)
}

impl<'a> Destination<'a> {
    /// The folder at `path`, made where it is not there, for so many workers.
    pub fn open(path: &'a Path, folders: &'a [Folder], workers: usize) -> Result<Self> {
        fs::create_directories(path).map_err(|cause| match cause.raw_os_error() {
            Some(libc::EEXIST | libc::ENOTDIR) => no_folder(path),
            _ => failed("create", path, cause),
        })?;
        let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
        let root = fs::open_directory(bytes).map_err(|cause| failed("enter", path, cause))?;
        let mut is_new = true;
        fs::list(&root, |_, _| {
            is_new = false;
            Ok(())
        })
        .map_err(|cause| failed("list", path, cause))?;
        let no = || folders.iter().map(|_| AtomicBool::new(false)).collect();
        let (shared, kept) = shares(fs::most_open(), workers);
        let shared = folders.iter().take(shared).map(|_| OnceLock::new()).collect();
        Ok(Self { root, path, folders, is_new, made: no(), there: no(), shared, kept })
    }

    /// Whether this extraction made the folder.
    pub fn was_made(&self, folder: u32) -> bool {
        self.made[folder as usize].load(Relaxed)
    }

    /// Where a folder, or something in it, is, for people.
    pub fn path(&self, folder: u32, name: &[u8]) -> PathBuf {
        let mut parts = vec![name];
        let mut number = folder;
        while number != 0 {
            parts.push(&self.folders[number as usize].name);
            number = self.folders[number as usize].parent;
        }
        parts.reverse();
        self.path.join(fs::path(&parts.join(&b'/')))
    }

    fn folder_path(&self, number: u32) -> PathBuf {
        let folder = &self.folders[number as usize];
        if number == 0 { self.path.into() } else { self.path(folder.parent, &folder.name) }
    }
}

/// Reaches folders for one thread, and keeps the last ones open.
pub(super) struct Reach<'a> {
    destination: &'a Destination<'a>,
    open: HashMap<u32, OwnedFd>,
}

impl<'a> Reach<'a> {
    pub fn new(destination: &'a Destination<'a>) -> Self {
        Self { destination, open: HashMap::new() }
    }

    /// The folder's descriptor; it and those above it are made where they are not there.
    pub fn folder(&mut self, number: u32, make: bool) -> Result<BorrowedFd<'_>> {
        if self.opened(number).is_none() {
            let missing = self.missing(number);
            if self.open.len() + missing.len() > self.destination.kept {
                // Not those above it: a deep folder would be reached anew for each that is in it.
                let mut kept = HashMap::new();
                let mut above = number;
                while above != 0 {
                    kept.extend(self.open.remove_entry(&above));
                    above = self.destination.folders[above as usize].parent;
                }
                self.open = kept;
            }
            for number in missing.into_iter().rev() {
                if self.open.len() > self.destination.kept {
                    // On the way down only the last step is needed for the next.
                    let above = self.open.remove_entry(&self.destination.folders[number as usize].parent);
                    self.open.clear();
                    self.open.extend(above);
                }
                self.enter(number, make).map_err(|cause| {
                    let path = self.destination.folder_path(number);
                    match cause.raw_os_error() {
                        Some(libc::ENOTDIR | libc::ELOOP) => in_the_way(&path),
                        _ => failed("create the folder", &path, cause),
                    }
                })?;
            }
        }
        Ok(self.opened(number).unwrap_or(self.destination.root.as_fd()))
    }

    fn opened(&self, number: u32) -> Option<BorrowedFd<'_>> {
        if number == 0 {
            return Some(self.destination.root.as_fd());
        }
        let shared = self.destination.shared.get(number as usize).and_then(OnceLock::get);
        shared.or_else(|| self.open.get(&number)).map(OwnedFd::as_fd)
    }

    /// The folder and those above it that are not open, from the deepest up.
    fn missing(&self, number: u32) -> Vec<u32> {
        let above = |&number: &u32| Some(self.destination.folders[number as usize].parent);
        std::iter::successors(Some(number), above).take_while(|&number| self.opened(number).is_none()).collect()
    }

    fn enter(&mut self, number: u32, make: bool) -> io::Result<()> {
        let Destination { folders, made, there, shared, root, .. } = self.destination;
        let (folder, number_at) = (&folders[number as usize], number as usize);
        let parent = self.opened(folder.parent).unwrap_or(root.as_fd());
        if make && !there[number_at].load(Relaxed) && fs::create_directory(parent, &folder.name)? {
            made[number_at].store(true, Relaxed);
        }
        let entered = fs::enter_at(parent, &folder.name)?;
        there[number_at].store(true, Relaxed);
        match shared.get(number_at) {
            // Another worker was as fast; either descriptor will do.
            Some(slot) => drop(slot.set(entered)),
            None => drop(self.open.insert(number, entered)),
        }
        Ok(())
    }

    /// Whether something bears the job's name already.
    pub fn is_taken(&mut self, job: &Job) -> Result<bool> {
        let destination = self.destination;
        let folder = match self.folder(job.folder, false) {
            Ok(folder) => folder,
            Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(false),
            Err(error) => return Err(error),
        };
        match fs::lstat_at(folder, &job.name) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(cause) => Err(failed("look at", &destination.path(job.folder, &job.name), cause)),
        }
    }

    /// Refuse a job whose name is taken already.
    pub fn check_free(&mut self, job: &Job) -> Result<()> {
        if self.is_taken(job)? { Err(exists(&self.destination.path(job.folder, &job.name))) } else { Ok(()) }
    }

    /// Make something new under the job's name with `make`, which is given a folder and a name that nothing has.
    ///
    /// What is there already is replaced by a rename once the new is complete, so that a link is replaced and never
    /// written through. What is known to be replaced is made once: a large file would fail to take its name at its end only.
    pub fn put(&mut self, job: &Job, existing: Existing, make: Make<'_>) -> Result<Written> {
        let destination = self.destination;
        let folder = self.folder(job.folder, true)?;
        let name = &job.name[..];
        let path = || destination.path(job.folder, name);
        let look = existing == Existing::Overwrite && !destination.is_new;
        let there = if look { fs::lstat_at(folder, name).ok() } else { None };
        let first = match there {
            Some(_) => Err(Failure::Io("create", io::ErrorKind::AlreadyExists.into())),
            None => make(folder, name),
        };
        let outcome = match first {
            Err(Failure::Io(_, cause)) if cause.kind() == io::ErrorKind::AlreadyExists => match existing {
                Existing::Error => return Err(exists(&path())),
                Existing::Skip => return Ok(Written::WasThere),
                Existing::Overwrite => {
                    if fs::lstat_at(folder, name).is_ok_and(|stat| Kind::of(&stat) == Kind::Directory) {
                        return Err(in_the_way(&path()));
                    }
                    replace(folder, name, make)
                }
            },
            other => other,
        };
        match outcome {
            Ok(()) => Ok(Written::Yes),
            Err(Failure::Io(attempt, cause)) => Err(failed(attempt, &path(), cause)),
            Err(Failure::Archive(error)) => Err(error),
        }
    }
}

/// Makes something new in a folder under a name that nothing has; leaves nothing where it fails.
pub(super) type Make<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, &[u8]) -> Result<(), Failure>;

/// Why something was not made: the disk, or the archive.
pub(super) enum Failure {
    Io(&'static str, io::Error),
    Archive(Error),
}

/// Stages of one file that may be there at once, left by killed processes or written by other calls.
const MOST_STAGES: u32 = 1000;

/// Make something under a name for what is not complete yet, the first that is free; the name. None is cleared first: another
/// call may be writing just that file, in this process or in a container that numbers its processes in the same way. Two stages
/// of one file differ in `stage`.
fn make_staged(
    name: &[u8],
    stage: &str,
    make: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<Vec<u8>, Failure> {
    let process = std::process::id();
    let mut number = 0;
    loop {
        // Drawn, and never used again: a name that is free once more would be another call's when it is cleared up after.
        let drawn = RandomState::new().hash_one(number);
        let staged =
            crate::target::dot_name(name, &format!("{stage}.{process}.{drawn:x}"), crate::target::STAGED_SUFFIX);
        match make(&staged) {
            Err(Failure::Io(_, cause)) if cause.kind() == io::ErrorKind::AlreadyExists && number < MOST_STAGES => {
                number += 1;
            }
            outcome => return outcome.map(|()| staged),
        }
    }
}

/// Make a file that has its name only once `write` is done with it: a call that is killed leaves nothing under the name,
/// and where the file system can make files without one, nothing at all.
pub(super) fn make_whole(
    folder: BorrowedFd<'_>,
    name: &[u8],
    mode: u32,
    write: &mut dyn FnMut(&OwnedFd) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |cause| Failure::Io("create", cause);
    if let Some(file) = fs::create_unnamed_member(folder, mode).map_err(failed)? {
        write(&file)?;
        return fs::link_unnamed(&file, folder, name).map_err(failed);
    }
    let mut created = None;
    let staged = make_staged(name, ".new", &mut |staged| {
        created = Some(fs::create_member(folder, staged, mode).map_err(failed)?);
        Ok(())
    })?;
    let named = created.map_or(Ok(()), |file| write(&file));
    let named = named.and_then(|()| fs::rename_new(folder, &staged, name).map_err(failed));
    if named.is_err() {
        let _ = fs::unlink(folder, &staged);
    }
    named
}

fn replace(folder: BorrowedFd<'_>, name: &[u8], make: Make<'_>) -> Result<(), Failure> {
    let staged = make_staged(name, "", &mut |staged| make(folder, staged))?;
    let replaced = fs::replace(folder, &staged, name);
    // Renaming one hard link over another of the same file does nothing. Else the name is free, and may be another call's by now.
    let identity = |name: &[u8]| fs::lstat_at(folder, name).ok().map(|stat| fs::identity(&stat));
    if replaced.is_err() || identity(&staged).is_some_and(|staged| identity(name) == Some(staged)) {
        let _ = fs::unlink(folder, &staged);
    }
    replaced.map_err(|cause| Failure::Io("replace", cause))
}

fn exists(path: &Path) -> Error {
    let message = format!("{} exists; extract to another folder, or say whether to overwrite or to skip", show(path));
    let cause = io::Error::from_raw_os_error(libc::EEXIST);
    Error::io(Stage::Extract, "create", path, cause).with_message(message).as_kind(ErrorKind::TargetExists)
}

fn no_folder(path: &Path) -> Error {
    let message = format!("cannot extract to {}: it, or what it is in, is no folder; name another", show(path));
    let cause = io::Error::from_raw_os_error(libc::EEXIST);
    Error::io(Stage::Extract, "create", path, cause).with_message(message).as_kind(ErrorKind::TargetExists)
}

fn in_the_way(path: &Path) -> Error {
    let message = format!(
        "{} is no folder where the archive needs one, or a folder where it needs a file, or a link, which is not followed; \
         move it, or extract to another folder",
        show(path)
    );
    Error::new(ErrorKind::TargetExists, Stage::Extract, message).at(path)
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn workers_share_half_of_the_descriptors_that_there_may_be() {
        assert_eq!(shares(1024, 2), (128, 32));
        assert_eq!(shares(u64::MAX, 64), (256, 32));
        for (most, workers) in [(1024, 64), (1024, 16), (256, 2), (4096, 96)] {
            let (shared, kept) = shares(most, workers);
            assert!((shared + kept * workers) as u64 <= most / 2 && kept >= 2, "{most} for {workers}");
        }
        assert_eq!(shares(64, 1024), (8, 2), "no less, or nothing could be written");
    }
}
