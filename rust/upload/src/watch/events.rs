//! What the kernel tells of a tree: inotify, one watch for each folder.
//!
//! A hint and never the truth: network file systems tell nothing of what other machines do, queues overflow, and the number of
//! watches is limited. Whoever listens has to look for himself now and then.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// Room for some thousand events at a time.
const ROOM: usize = 64 << 10;

/// What somebody should look at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A file under this name was made, moved here, closed or got another mode.
    File(PathBuf),
    /// A folder is new, or was moved here.
    Folder(PathBuf),
    /// Some were lost.
    Lost,
}

/// The watches of a tree.
pub(super) struct Events {
    queue: OwnedFd,
    folders: HashMap<i32, PathBuf>,
    /// Whether every folder so far could be watched.
    whole: bool,
}

impl Events {
    /// `None` where the system grants no more queues; then only looking helps.
    pub fn new() -> Option<Self> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        Some(Self { queue, folders: HashMap::new(), whole: true })
    }

    /// Whether every folder so far could be watched.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Listen to a folder; it has to be listed afterwards, for what came before has made no event. Harmless when said twice, and
    /// the way to tell where a folder is that was moved.
    pub fn listen(&mut self, root: &Path, folder: &Path) {
        let flags = WatchFlags::ATTRIB
            | WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW
            | WatchFlags::EXCL_UNLINK;
        match inotify::add_watch(&self.queue, root.join(folder), flags) {
            Ok(number) => {
                self.folders.insert(number, folder.to_owned());
            }
            // Gone again, which its own folder tells.
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(_) => self.whole = false,
        }
    }

    /// A folder was moved away, and what is below it with it.
    fn forget(&mut self, folder: &Path) {
        let below: Vec<i32> =
            self.folders.iter().filter(|(_, path)| path.starts_with(folder)).map(|(number, _)| *number).collect();
        for number in below {
            self.folders.remove(&number);
            // Gone with its folder, if this fails.
            let _ = inotify::remove_watch(&self.queue, number);
        }
    }

    /// All events so far; does not wait.
    pub fn take(&mut self) -> Vec<Event> {
        let mut room = vec![MaybeUninit::uninit(); ROOM];
        let (mut taken, mut away) = (Vec::new(), Vec::new());
        let mut reader = Reader::new(&self.queue, &mut room);
        loop {
            match reader.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => taken.push(Event::Lost),
                Ok(event) if event.events().contains(ReadFlags::IGNORED) => {
                    self.folders.remove(&event.wd());
                }
                Ok(event) => {
                    let (Some(folder), Some(name)) = (self.folders.get(&event.wd()), event.file_name()) else {
                        continue;
                    };
                    let path = folder.join(OsStr::from_bytes(name.to_bytes()));
                    match (event.events().contains(ReadFlags::ISDIR), event.events()) {
                        (true, what) if what.contains(ReadFlags::MOVED_FROM) => away.push(path),
                        (true, what) if what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) => {
                            taken.push(Event::Folder(path));
                        }
                        (false, what) if !what.contains(ReadFlags::MOVED_FROM) => taken.push(Event::File(path)),
                        _ => {}
                    }
                }
                Err(Errno::INTR) => {}
                // Nothing more for now; a queue that fails is one that tells nothing.
                Err(_) => break,
            }
        }
        for folder in &away {
            self.forget(folder);
        }
        taken
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}
