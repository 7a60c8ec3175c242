//! A source while it is packed: opened, checked, and what is said of it when it is not what it was.

use std::io;
use std::os::fd::OwnedFd;

use super::order::Shared;
use super::record::Record;
use crate::codec::{Codec, Fault};
use crate::error::{Error, ErrorKind, Result, Stage, show_bytes};
use crate::fs::{self, Stamp};
use crate::report::Remark;
use crate::request::OnChange;
use crate::scan::Entry;

/// Why a member is not in the archive.
pub(super) enum Failure {
    /// It changed or vanished: the caller's policy decides.
    Changed(String),
    Fatal(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

/// What a member's header needs to know before its bytes.
pub(super) struct Opened {
    pub index: u32,
    pub file: OwnedFd,
    pub stamp: Stamp,
    pub mode: u16,
}

impl Opened {
    pub fn record(&self, codec: Codec) -> Record {
        Record {
            stamp: self.stamp,
            packed: self.stamp.size,
            offset: 0,
            entry: self.index,
            crc: 0,
            mode: self.mode,
            codec,
        }
    }
}

impl<S> Shared<'_, S> {
    /// The remark on a changed file where such files are skipped, else the error.
    pub fn changed(&self, entry: &Entry, reason: String) -> Result<Remark> {
        let path = self.plan.path(entry);
        match self.options.on_change {
            OnChange::Skip => Ok(Remark { path: fs::path(&path).into(), reason }),
            OnChange::Error => {
                let message = format!(
                    "{} {reason}; nothing was published: pack again when it is at rest, or leave changing files out with on-change skip",
                    show_bytes(&path)
                );
                Err(Error::new(ErrorKind::Changed, Stage::Pack, message).at(fs::path(&path)))
            }
        }
    }

    pub fn open_failed(&self, entry: &Entry, error: io::Error) -> Failure {
        let other = matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO));
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Failure::Changed("vanished while it was packed".into())
            }
            _ if other => Failure::Changed("was replaced by something that is no file".into()),
            _ => Failure::Fatal(self.io_error(entry, "read", error)),
        }
    }

    pub fn io_error(&self, entry: &Entry, attempt: &str, error: io::Error) -> Error {
        Error::io(Stage::Pack, attempt, fs::path(&self.plan.path(entry)), error)
    }

    pub fn codec_error(&self, entry: &Entry, fault: Fault) -> Error {
        match fault {
            Fault::Stopped => Error::cancelled(Stage::Pack),
            Fault::Library => self.io_error(entry, "compress", io::Error::other("the compression library failed")),
        }
    }

    /// Whether the bytes read are the file's: all of it, and not written to meanwhile.
    pub fn unchanged(&self, entry: &Entry, opened: &Opened, read: u64) -> Result<(), Failure> {
        let size = opened.stamp.size;
        let change = |what: &str| Err(Failure::Changed(format!("{what} while it was packed")));
        match read {
            _ if read > size => return change("grew"),
            _ if read < size => return change("shrank"),
            _ => {}
        }
        let stat = fs::fstat(&opened.file).map_err(|error| self.io_error(entry, "read", error))?;
        let now = Stamp::of(&stat);
        match now.size {
            _ if now == opened.stamp => Ok(()),
            n if n > size => change("grew"),
            n if n < size => change("shrank"),
            _ => change("was written to"),
        }
    }
}
