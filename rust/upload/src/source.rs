//! What is sent: a file that stays as it is, or an archive that grows while it is sent.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::error::{Result, UploadError, UploadErrorKind};

/// How far a source may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// Bytes below this will never change; more may come.
    Growing(u64),
    /// All there is.
    Complete(u64),
    /// Whoever made it gave up, and says why; nothing of it may be published.
    Aborted(String),
}

/// What tells a file's state from every other: the same values mean that nobody has touched it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The file system's number.
    pub dev: u64,
    /// The file's number on it.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// When it was written last, in nanoseconds.
    pub mtime: i128,
    /// When anything of it changed last, in nanoseconds.
    pub ctime: i128,
}

impl Identity {
    /// Whether both are of one file with the same bytes, as far as times tell; its mode may differ.
    pub(crate) fn same_bytes(&self, other: &Self) -> bool {
        (self.dev, self.ino, self.size, self.mtime) == (other.dev, other.ino, other.size, other.mtime)
    }

    pub(crate) fn of(meta: &std::fs::Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            mtime: nanoseconds(meta.mtime(), meta.mtime_nsec()),
            ctime: nanoseconds(meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// Bytes to send. `read_at`, `settle`, `still` and `touched` are called from threads that may block; the other functions return at once.
pub trait Source: Send + Sync {
    /// Where it lies, for messages and the journal.
    fn path(&self) -> &Path;

    /// How far it may be read now. Once `Complete` or `Aborted`, always that.
    fn extent(&self) -> Extent;

    /// Whether these bytes will never change any more. A source may have holes that are patched late, and be sealed behind them.
    fn ready(&self, offset: u64, length: u64) -> bool {
        match self.extent() {
            Extent::Growing(sealed) | Extent::Complete(sealed) => offset + length <= sealed,
            Extent::Aborted(_) => false,
        }
    }

    /// The length, from when on all of it lies at its path, whatever becomes of this process.
    fn whole(&self) -> Option<u64> {
        match self.extent() {
            Extent::Complete(total) => Some(total),
            Extent::Growing(_) | Extent::Aborted(_) => None,
        }
    }

    /// No more bytes than this will ever come: part sizes depend on it.
    fn bound(&self) -> u64;

    /// Fill `buffer` from `offset`, as far as there are bytes. Never called for what is not ready.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The state that `still` compares with; `None` while it grows.
    fn identity(&self) -> Option<Identity>;

    /// Have every change from here on leave a trace that `still` sees.
    fn settle(&self) {}

    /// Whether its bytes are those that it had from the beginning; what changed, else. Asked before each part and before
    /// anything is published.
    fn still(&self) -> std::result::Result<(), String>;

    /// Whether anything of the file changed that need not be its bytes: its mode, its name, or bytes under a time that was put back.
    fn touched(&self) -> bool {
        false
    }
}

/// Read exactly `buffer.len()` bytes; fewer mean that the file was cut.
pub(crate) fn read_exact(source: &dyn Source, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match source.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A file that is complete. Its descriptor is kept, so that renaming or unlinking it does not matter.
pub struct FileSource {
    path: PathBuf,
    file: File,
    identity: Identity,
}

impl FileSource {
    /// Open `path`; a link at its end is not followed, since what it leads to may change without a trace here.
    pub fn open(path: &Path) -> Result<Self> {
        let missing = |cause: &io::Error, next: &str| {
            UploadError::io(
                UploadErrorKind::SourceMissing,
                &format!("open `{}` to upload it", path.display()),
                cause,
                next,
            )
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let open = rustix::fs::open(path, flags | OFlags::NOFOLLOW, Mode::empty());
        let file = File::from(match open {
            Ok(fd) => fd,
            // The link itself is what the caller named: what it leads to is uploaded, by the path that it has now.
            Err(rustix::io::Errno::LOOP) => crate::disk::canonicalize(path)
                .and_then(|path| Ok(rustix::fs::open(path, flags | OFlags::NOFOLLOW, Mode::empty())?))
                .map_err(|cause| missing(&cause, "check where the link leads"))?,
            Err(errno) => return Err(missing(&errno.into(), "check the name and that it is readable")),
        });
        let meta = file.metadata().map_err(|cause| missing(&cause, "check the disk"))?;
        if !meta.is_file() {
            let message = format!(
                "cannot upload `{}`: it is not a regular file; name files, or a folder's contents",
                path.display()
            );
            return Err(UploadError::new(UploadErrorKind::SourceMissing, message));
        }
        Ok(Self { path: path.to_owned(), file, identity: Identity::of(&meta) })
    }
}

impl Source for FileSource {
    fn path(&self) -> &Path {
        &self.path
    }

    fn extent(&self) -> Extent {
        Extent::Complete(self.identity.size)
    }

    fn bound(&self) -> u64 {
        self.identity.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn identity(&self) -> Option<Identity> {
        Some(self.identity)
    }

    fn settle(&self) {
        // Pages that a mapping has written to change again without a new time, until they have gone to the disk. What cannot be synced
        // is sent all the same.
        let _ = self.file.sync_data();
    }

    fn still(&self) -> std::result::Result<(), String> {
        let now = self.file.metadata().map_err(|cause| format!("it cannot be looked at any more ({cause})"))?;
        changes(&self.identity, &Identity::of(&now))
    }

    fn touched(&self) -> bool {
        self.file.metadata().map_or(true, |now| Identity::of(&now) != self.identity)
    }
}

/// What differs between two looks at one file. A change of `ctime` alone is a new mode or another name; the bytes are the same.
fn changes(then: &Identity, now: &Identity) -> std::result::Result<(), String> {
    if now.size < then.size {
        Err(format!("it was cut from {} to {} bytes", then.size, now.size))
    } else if now.size > then.size {
        Err(format!("it grew from {} to {} bytes", then.size, now.size))
    } else if now.mtime != then.mtime {
        Err("it was written to".to_owned())
    } else {
        Ok(())
    }
}
