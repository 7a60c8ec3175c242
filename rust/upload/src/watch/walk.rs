//! One look at everything in a tree, a few names at a time.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};

/// Between the end of one round and the beginning of the next, at least.
const PAUSE: Duration = Duration::from_secs(5);

/// A round that takes long is followed by a pause of ten times as long: looking costs a tenth of a core at most.
const REST: u32 = 10;

/// A round over the tree: what is left of it, and when the next begins.
pub(super) struct Walk {
    /// Folders to be listed, relative to the root.
    folders: Vec<PathBuf>,
    listing: Option<(PathBuf, Dir)>,
    began: Instant,
    next: Instant,
    /// Rounds that have ended.
    pub rounds: u64,
}

/// What was found under a name.
pub(super) struct Found {
    pub path: PathBuf,
    pub stat: Stat,
}

impl Walk {
    pub fn new() -> Self {
        let now = Instant::now();
        Self { folders: Vec::new(), listing: None, began: now, next: now, rounds: 0 }
    }

    /// Begin a round anew.
    pub fn restart(&mut self) {
        (self.folders, self.listing) = (vec![PathBuf::new()], None);
        self.began = Instant::now();
    }

    /// Look at a folder, too, before the round ends.
    pub fn add(&mut self, folder: PathBuf) {
        if self.is_resting() {
            self.began = Instant::now();
        }
        self.folders.push(folder);
    }

    pub fn is_resting(&self) -> bool {
        self.folders.is_empty() && self.listing.is_none()
    }

    /// When there is something to be done.
    pub fn due(&self) -> Instant {
        if self.is_resting() { self.next } else { Instant::now() }
    }

    /// Look at up to `most` names. `enter` is called with each folder before it is listed, and may keep it from being.
    pub fn go_on(
        &mut self,
        root: &Path,
        most: usize,
        mut enter: impl FnMut(&Path) -> bool,
        mut each: impl FnMut(Found),
    ) {
        if self.is_resting() {
            if Instant::now() < self.next {
                return;
            }
            self.restart();
        }
        for _ in 0..most {
            if self.listing.is_none() {
                let Some(folder) = self.folders.pop() else {
                    self.rounds += 1;
                    self.next = Instant::now() + PAUSE.max(self.began.elapsed() * REST);
                    return;
                };
                if enter(&folder) {
                    // A folder that cannot be listed now may be next time; what lies in it is not lost before that.
                    self.listing = open(&root.join(&folder)).map(|listing| (folder, listing));
                }
                continue;
            }
            let Some((folder, listing)) = &mut self.listing else { continue };
            let Some(Ok(entry)) = listing.next() else {
                self.listing = None;
                continue;
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let looked = listing.fd().and_then(|fd| rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW));
            let Ok(stat) = looked else { continue };
            let path = folder.join(OsStr::from_bytes(name.to_bytes()));
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                self.folders.push(path);
            } else {
                each(Found { path, stat });
            }
        }
    }
}

fn open(folder: &Path) -> Option<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, folder, flags, Mode::empty()).ok()?;
    Dir::new(opened).ok()
}
