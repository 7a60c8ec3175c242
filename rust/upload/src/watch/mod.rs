//! A folder whose files are uploaded as they become read-only: which are ready, and each version of each exactly once.
//!
//! ```text
//!  inotify ─┐
//!           ├─▶ look: regular, no write bit ──▶ waiting ──a second look, the same──▶ handed out ──ended──▶ ledger
//!  walks ───┘
//! ```
//!
//! The trainer marks, this uploads: that is how the platform works, and it goes on when the trainer is killed.

mod events;
mod ledger;
mod walk;

use std::collections::{HashMap, VecDeque};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, Stat};

use crate::error::{Result, UploadError, UploadErrorKind};
use events::{Event, Events};
use ledger::Ledger;
use walk::Walk;

/// A file that looks the same twice, this long apart, is not being written any more.
const STABLE: Duration = Duration::from_millis(200);

/// What still changes at the end is handed out all the same after this long; sending it says what is the matter.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file that has changed this often while it was sent at the end is somebody's who goes on writing: it has failed.
const TIRED_AFTER: u32 = 3;

/// Names looked at between two looks at the kernel's events.
const AT_ONCE: usize = 4096;

/// Files that describe others: the platform wants them last, when those are there.
const SIDECARS: [&[u8]; 2] = [b".metadata.json", b"valohai.metadata.jsonl"];

/// What archives and uploads are called before they are complete.
const STAGED: [&[u8]; 3] = [b".vhpack-staged", b".vhpack-removing", b".vhpart"];

/// What tells a file's content from what it was: the same values mean that nobody has written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: (i64, u64),
}

impl Version {
    #[expect(clippy::cast_sign_loss, reason = "sizes are never negative")]
    fn of(stat: &Stat) -> Self {
        let mtime = (stat.st_mtime, stat.st_mtime_nsec);
        Self { dev: stat.st_dev, ino: stat.st_ino, size: stat.st_size as u64, mtime }
    }
}

/// A file to be uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Relative to the folder that is watched.
    pub path: PathBuf,
    /// Its length.
    pub size: u64,
}

/// How the upload of a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It is there: not again before it has changed.
    Done,
    /// It is not; tried once more at the end.
    Failed,
    /// It changed or vanished: what bears its name now is looked at anew.
    Changed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Open,
    Done,
    /// Failed, and whether that was at the end, when nothing is tried again.
    Failed(bool),
}

/// A file between its two looks.
struct Waiting {
    version: Version,
    /// When this version was seen first, and when any was.
    since: Instant,
    first: Instant,
}

/// Finds the files of a tree that are ready.
pub struct Watcher {
    root: PathBuf,
    /// A folder below that is none of the tree's.
    apart: PathBuf,
    events: Option<Events>,
    walk: Walk,
    waiting: HashMap<PathBuf, Waiting>,
    /// When to look at those again, the next one first.
    queue: VecDeque<(Instant, PathBuf)>,
    /// How many of those that wait are no sidecars.
    ordinary: usize,
    handed: HashMap<PathBuf, (Version, Standing)>,
    open: usize,
    /// How many of those are sidecars.
    open_sidecars: usize,
    /// Files that changed while they were sent at the end, when nothing is waited for any more, and how often.
    restless: HashMap<PathBuf, u32>,
    ledger: Ledger,
    /// At the end everything is ready: the number of rounds that had ended when that was said.
    finishing: Option<u64>,
}

impl Watcher {
    /// Watch a folder that is uploaded to a place (see `place_of`). `None` where another process does so already; `state_dir` is where it says so.
    pub fn new(folder: &Path, place: &str, state_dir: &Path) -> Result<Option<Self>> {
        let failed = |cause: rustix::io::Errno| {
            let attempt = format!("watch `{}`", folder.display());
            UploadError::io(UploadErrorKind::SourceMissing, &attempt, &cause.into(), "name a folder that is there")
        };
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let opened = rustix::fs::open(folder, flags, Mode::empty()).map_err(failed)?;
        let root = rustix::fs::readlink(format!("/proc/self/fd/{}", fd_number(&opened)), Vec::new()).map_err(failed)?;
        let root = PathBuf::from(std::ffi::OsStr::from_bytes(root.as_bytes()));
        crate::journal::make_folder(state_dir)?;
        let apart = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
        let Some((ledger, known)) = Ledger::open(state_dir, &root, place)? else { return Ok(None) };
        Ok(Some(Self {
            root,
            apart,
            events: Events::new(),
            walk: Walk::new(),
            waiting: HashMap::new(),
            queue: VecDeque::new(),
            ordinary: 0,
            handed: known.into_iter().map(|(path, version)| (path, (version, Standing::Done))).collect(),
            open: 0,
            open_sidecars: 0,
            restless: HashMap::new(),
            ledger,
            finishing: None,
        }))
    }

    /// The folder, without links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the kernel tells of every folder; else marks are noticed by looking alone, within seconds.
    pub fn is_told(&self) -> bool {
        self.events.as_ref().is_some_and(Events::is_whole)
    }

    /// Files that are known and not handed out yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many rounds over the tree have ended.
    pub fn rounds(&self) -> u64 {
        self.walk.rounds
    }

    /// The job is over: everything that is left is marked and handed out, marked before or not.
    pub fn finish(&mut self) {
        if self.finishing.is_none() {
            self.finishing = Some(self.walk.rounds);
            self.walk.restart();
        }
    }

    /// Whether all has been handed out, and has ended.
    pub fn is_finished(&self) -> bool {
        self.finishing.is_some_and(|rounds| self.walk.rounds > rounds) && self.waiting.is_empty() && self.open == 0
    }

    /// Up to `most` files that are ready; waits for the first no longer than `patience`.
    pub fn ready(&mut self, most: usize, patience: Duration) -> Vec<Ready> {
        let until = Instant::now() + patience;
        loop {
            self.listen();
            self.look_around();
            let ready = self.hand_out(most);
            let now = Instant::now();
            if !ready.is_empty() || now >= until || self.is_finished() {
                return ready;
            }
            let next = self.queue.front().map_or(until, |(due, _)| *due);
            self.rest(until.min(next).min(self.walk.due()).saturating_duration_since(now));
        }
    }

    /// Wait, but not for longer than the kernel has nothing to tell.
    fn rest(&self, time: Duration) {
        let Some(events) = &self.events else {
            std::thread::sleep(time);
            return;
        };
        let time = Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() };
        // A signal, or an event, ends it: either way it is looked around again.
        let _ = rustix::event::poll(&mut [PollFd::new(&events.as_fd(), PollFlags::IN)], Some(&time));
    }

    fn listen(&mut self) {
        let Some(events) = &mut self.events else { return };
        for event in events.take() {
            match event {
                Event::File(path) => self.look(&path),
                Event::Folder(path) => self.walk.add(path),
                Event::Lost => self.walk.restart(),
            }
        }
    }

    fn look_around(&mut self) {
        let mut found = Vec::new();
        let Self { walk, events, root, apart, .. } = self;
        let enter = |folder: &Path| {
            let own = root.join(folder).starts_with(&*apart);
            if let Some(events) = events
                && !own
            {
                // Before it is listed: what comes between the two is told twice, and not missed.
                events.listen(root, folder);
            }
            !own
        };
        walk.go_on(root, AT_ONCE, enter, |one| found.push(one));
        for one in found {
            self.consider(one.path, &one.stat);
        }
    }

    fn look(&mut self, path: &Path) {
        match rustix::fs::lstat(self.root.join(path)) {
            Ok(stat) => self.consider(path.to_owned(), &stat),
            Err(_) => self.drop_waiting(path),
        }
    }

    /// Whether a file that looks like this is to be uploaded.
    fn is_ready(&self, path: &Path, stat: &Stat) -> bool {
        let name = path.file_name().map_or(&b""[..], |name| name.as_bytes());
        let is_marked = stat.st_mode & 0o222 == 0;
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && (is_marked || self.finishing.is_some())
            && !(name.starts_with(b".") && STAGED.iter().any(|suffix| name.ends_with(suffix)))
            && !self.root.join(path).starts_with(&self.apart)
    }

    fn consider(&mut self, path: PathBuf, stat: &Stat) {
        let version = Version::of(stat);
        let is_restless = self.restless.get(&path).is_some_and(|times| *times >= TIRED_AFTER);
        if !self.is_ready(&path, stat) || self.is_settled(&path, &version) || is_restless {
            return self.drop_waiting(&path);
        }
        if self.waiting.get(&path).is_some_and(|waiting| waiting.version == version) {
            return;
        }
        let now = Instant::now();
        let first = self.waiting.get(&path).map_or(now, |waiting| waiting.first);
        if self.waiting.insert(path.clone(), Waiting { version, since: now, first }).is_none() {
            self.ordinary += usize::from(!is_sidecar(&path));
            self.queue.push_back((now + STABLE, path));
        }
    }

    /// Whether this version has been handed out before, and is not to be tried again.
    fn is_settled(&self, path: &Path, version: &Version) -> bool {
        self.handed.get(path).is_some_and(|(known, standing)| {
            let again = *standing == Standing::Failed(false) && self.finishing.is_some();
            known == version && !again
        })
    }

    fn drop_waiting(&mut self, path: &Path) {
        if self.waiting.remove(path).is_some() {
            self.ordinary -= usize::from(!is_sidecar(path));
        }
    }

    /// The second look at those whose time has come.
    fn hand_out(&mut self, most: usize) -> Vec<Ready> {
        let mut ready = Vec::new();
        let now = Instant::now();
        while ready.len() < most {
            if self.queue.front().is_none_or(|(due, _)| *due > now) {
                break;
            }
            let Some((_, path)) = self.queue.pop_front() else { break };
            if !self.waiting.contains_key(&path) {
                continue;
            }
            self.look(&path);
            let Some(Waiting { version, since, first }) = self.waiting.get(&path) else { continue };
            let age = |from: &Instant| now.saturating_duration_since(*from);
            let is_stable = age(since) >= STABLE || (self.finishing.is_some() && age(first) > PATIENCE);
            let version = *version;
            let others = self.ordinary + self.open - self.open_sidecars;
            let waits_for_others = is_sidecar(&path) && others > 0;
            let is_open = self.handed.get(&path).is_some_and(|(_, standing)| *standing == Standing::Open);
            if !is_stable || waits_for_others || is_open {
                self.queue.push_back((now + STABLE, path));
                continue;
            }
            self.drop_waiting(&path);
            self.mark(&path);
            self.handed.insert(path.clone(), (version, Standing::Open));
            self.open += 1;
            self.open_sidecars += usize::from(is_sidecar(&path));
            ready.push(Ready { path, size: version.size });
        }
        ready
    }

    /// At the end nobody has marked what is left. Another's file stays as it is, and is uploaded all the same.
    fn mark(&self, path: &Path) {
        if self.finishing.is_some()
            && let path = self.root.join(path)
            && let Ok(stat) = rustix::fs::lstat(&path)
            && stat.st_mode & 0o222 != 0
        {
            let _ = rustix::fs::chmod(&path, Mode::from_raw_mode(stat.st_mode & 0o7555));
        }
    }

    /// Say how the upload of a file ended that was handed out; whether what bears its name now is looked at anew.
    pub fn ended(&mut self, path: &Path, how: Ended) -> Result<bool> {
        let Some((version, standing @ Standing::Open)) = self.handed.get_mut(path) else { return Ok(false) };
        self.open -= 1;
        self.open_sidecars -= usize::from(is_sidecar(path));
        match how {
            Ended::Done => {
                *standing = Standing::Done;
                self.ledger.add(path, version).map(|()| false)
            }
            Ended::Failed => {
                *standing = Standing::Failed(self.finishing.is_some());
                Ok(false)
            }
            Ended::Changed => {
                self.handed.remove(path);
                if self.finishing.is_some() {
                    let times = self.restless.entry(path.to_owned()).or_default();
                    *times += 1;
                    if *times >= TIRED_AFTER {
                        return Ok(false);
                    }
                }
                self.look(path);
                Ok(true)
            }
        }
    }
}

fn is_sidecar(path: &Path) -> bool {
    let name = path.file_name().map_or(&b""[..], |name| name.as_bytes());
    SIDECARS.iter().any(|suffix| name.ends_with(suffix))
}

fn fd_number(fd: &impl std::os::fd::AsRawFd) -> i32 {
    fd.as_raw_fd()
}

#[cfg(test)]
mod tests;
