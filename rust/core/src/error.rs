//! What can go wrong, said once: kind, stage, path, cause, and the next step.

use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// What kind of failure it is; a closed set that callers may match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The sources name nothing that can be packed.
    NoFiles,
    /// The target exists and overwriting was not asked for.
    TargetExists,
    /// The target is a directory.
    TargetIsDirectory,
    /// The target's suffix is no archive format that vhpack writes.
    UnknownFormat,
    /// Two different files would become one member.
    Collision,
    /// A member name that readers could not restore.
    UnsafeName,
    /// A file changed or vanished while it was packed.
    Changed,
    /// A source or the target's folder does not exist.
    NotFound,
    /// The operating system refused access.
    Permission,
    /// A FIFO, socket or device where a file was expected.
    SpecialFile,
    /// The disk, the quota or the file size limit is exhausted.
    NoSpace,
    /// Any other failure of the operating system.
    Io,
    /// An archive's bytes contradict each other, end early or fail a checksum.
    Corrupt,
    /// A member that would be written outside the destination, or over another.
    UnsafeMember,
    /// An archive beyond a limit that protects disk and memory.
    LimitExceeded,
    /// An archive, or a member of it, in a form that this reader does not know.
    Unsupported,
    /// An archive has no member of this name.
    MemberNotFound,
    /// Options that contradict each other or are out of range.
    Usage,
    /// The caller cancelled.
    Cancelled,
}

impl ErrorKind {
    /// The kind as the binding spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoFiles => "no_files",
            Self::TargetExists => "target_exists",
            Self::TargetIsDirectory => "target_is_directory",
            Self::UnknownFormat => "unknown_format",
            Self::Collision => "collision",
            Self::UnsafeName => "unsafe_name",
            Self::Changed => "changed",
            Self::NotFound => "not_found",
            Self::Permission => "permission",
            Self::SpecialFile => "special_file",
            Self::NoSpace => "no_space",
            Self::Io => "io",
            Self::Corrupt => "corrupt",
            Self::UnsafeMember => "unsafe_member",
            Self::LimitExceeded => "limit_exceeded",
            Self::Unsupported => "unsupported",
            Self::MemberNotFound => "member_not_found",
            Self::Usage => "usage",
            Self::Cancelled => "cancelled",
        }
    }

    fn of(cause: &io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Permission,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Self::NoSpace,
            _ => Self::Io,
        }
    }
}

/// The stage in which it went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Finding the files.
    Scan,
    /// Naming and ordering the members.
    Plan,
    /// Reading, compressing and writing.
    Pack,
    /// Making the archive durable and visible.
    Commit,
    /// Removing the originals.
    Remove,
    /// Reading and hashing.
    Hash,
    /// Opening, listing and reading an archive.
    Read,
    /// Writing an archive's members to a folder.
    Extract,
}

/// A failure: what was attempted, on which path, why it failed, and what to do next.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    stage: Stage,
    path: Option<PathBuf>,
    message: String,
    source: Option<io::Error>,
}

/// The result of every fallible function of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure that is not the operating system's; `message` is a whole sentence.
    pub fn new(kind: ErrorKind, stage: Stage, message: impl Into<String>) -> Self {
        Self { kind, stage, path: None, message: message.into(), source: None }
    }

    /// A failed call on `path`: "cannot {attempt} `path`: {cause}{; next step}".
    pub fn io(stage: Stage, attempt: &str, path: &Path, cause: impl Into<io::Error>) -> Self {
        let cause = cause.into();
        let kind = ErrorKind::of(&cause);
        let next = match (kind, stage) {
            (ErrorKind::NoSpace, _) => "free some space or choose another target",
            _ if matches!(cause.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                "ask for fewer jobs, or raise the limit on open files (`ulimit -n`)"
            }
            (ErrorKind::Permission, Stage::Scan | Stage::Pack | Stage::Hash) => {
                "make it readable or leave it out with exclude"
            }
            (ErrorKind::NotFound, Stage::Read) => "check the spelling",
            (ErrorKind::Permission, Stage::Read) => "make it readable",
            (_, Stage::Read) => "check the disk",
            (ErrorKind::Permission, _) => "choose a folder you may write to",
            (ErrorKind::NotFound, Stage::Scan | Stage::Hash) => "check the spelling, or leave it out",
            (_, Stage::Scan | Stage::Pack | Stage::Hash) => "check the disk, or leave it out with exclude",
            _ => "check the disk and choose another target",
        };
        let message = format!("cannot {attempt} {}: {}; {next}", show(path), reason(&cause));
        Self { kind, stage, path: Some(path.into()), message, source: Some(cause) }
    }

    /// A source that is not there, in whatever way the system says so.
    pub(crate) fn for_source(mut self) -> Self {
        if self.kind != ErrorKind::Permission {
            self.kind = ErrorKind::NotFound;
        }
        self
    }

    /// The same failure, said of `path`.
    #[must_use]
    pub fn at(mut self, path: &Path) -> Self {
        self.path = Some(path.into());
        self
    }

    /// The same failure under another kind, for causes whose meaning the caller knows better.
    #[must_use]
    pub fn as_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// The same failure in other words.
    #[must_use]
    pub(crate) fn with_message(mut self, message: String) -> Self {
        self.message = message;
        self
    }

    pub(crate) fn cancelled(stage: Stage) -> Self {
        Self::new(ErrorKind::Cancelled, stage, "cancelled")
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Where it happened.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The path it is about.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The operating system's error number, where there is one.
    pub fn errno(&self) -> Option<i32> {
        self.source.as_ref().and_then(io::Error::raw_os_error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|cause| cause as _)
    }
}

/// The system's words for a cause, without Rust's "(os error 13)".
pub(crate) fn reason(cause: &io::Error) -> String {
    let text = cause.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// A path as people can read it on one line: quoted, control characters and bytes that are not UTF-8 escaped.
pub fn show(path: &Path) -> String {
    show_bytes(path.as_os_str().as_bytes())
}

/// [`show`] for a path held as bytes.
pub(crate) fn show_bytes(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len() + 2);
    text.push('`');
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.push('`');
    text
}
