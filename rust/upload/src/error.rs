//! What can go wrong with an upload: kind, the sentence for people, and what the engine may do about it.

use std::fmt;
use std::io;
use std::time::Duration;

/// What kind of failure it is; a closed set that callers may match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadErrorKind {
    /// The URI's scheme is none that vhpack uploads to.
    UnknownScheme,
    /// The URI or an option of the destination makes no sense.
    BadDestination,
    /// No credentials were found.
    NoCredentials,
    /// The server refused: wrong secret, or no right to write there.
    Denied,
    /// There is no such bucket, container or folder.
    NoSuchBucket,
    /// The server could not be reached, or kept failing, for as long as was allowed.
    Unreachable,
    /// Nothing moved for as long as was allowed.
    Stalled,
    /// The name is taken, and overwriting was not allowed.
    Exists,
    /// The file changed, was cut or was replaced while it was sent.
    SourceChanged,
    /// The file is not there, or is no regular file.
    SourceMissing,
    /// The server has other bytes than were sent.
    Corrupt,
    /// The journal cannot be written, or cannot be believed.
    Journal,
    /// The file is larger than the store takes.
    TooLarge,
    /// The caller cancelled, or a newer upload to the same name took its place.
    Cancelled,
    /// Any other answer of the server.
    Rejected,
}

impl UploadErrorKind {
    /// The kind as the binding spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownScheme => "unknown_scheme",
            Self::BadDestination => "bad_destination",
            Self::NoCredentials => "no_credentials",
            Self::Denied => "denied",
            Self::NoSuchBucket => "no_such_bucket",
            Self::Unreachable => "unreachable",
            Self::Stalled => "stalled",
            Self::Exists => "exists",
            Self::SourceChanged => "source_changed",
            Self::SourceMissing => "source_missing",
            Self::Corrupt => "corrupt",
            Self::Journal => "journal",
            Self::TooLarge => "too_large",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
        }
    }
}

/// A failed upload: kind, a whole sentence with the next step, and the system's error number where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadError {
    /// What kind of failure it is.
    pub kind: UploadErrorKind,
    /// What was attempted, why it failed, what to do next.
    pub message: String,
    /// The system's error number, where a system call failed.
    pub errno: Option<i32>,
}

/// The result of every fallible function of this crate.
pub type Result<T, E = UploadError> = std::result::Result<T, E>;

impl UploadError {
    /// A failure in words.
    pub fn new(kind: UploadErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), errno: None }
    }

    /// A failed system call: "cannot {attempt}: {cause}; {next}".
    pub fn io(kind: UploadErrorKind, attempt: &str, cause: &io::Error, next: &str) -> Self {
        Self { kind, message: format!("cannot {attempt}: {}; {next}", reason(cause)), errno: cause.raw_os_error() }
    }
}

/// The system's words without the number that Rust adds.
pub(crate) fn reason(cause: &io::Error) -> String {
    let text = cause.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for UploadError {}

/// What the engine may do about a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Nothing: the same request would fail again.
    Final,
    /// Ask again: the connection broke, or the server had a fault.
    Again,
    /// Ask again later and less: the server is busy.
    Busy,
    /// Ask again with fresh credentials.
    Credentials,
    /// The server does not know the multipart upload.
    NoUpload,
    /// The server does not have a part as it was named, or not as it was sent.
    BadPart,
    /// The server does not know what was asked for.
    Unsupported,
}

/// A failed request.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub class: Class,
    pub error: UploadError,
    /// How long the server asked to be left alone.
    pub wait: Option<Duration>,
    /// It is a server's answer, not the lack of one.
    pub answered: bool,
}

impl Fault {
    pub fn new(class: Class, kind: UploadErrorKind, message: impl Into<String>) -> Self {
        Self { class, error: UploadError::new(kind, message), wait: None, answered: false }
    }
}

impl From<UploadError> for Fault {
    fn from(error: UploadError) -> Self {
        Self { class: Class::Final, error, wait: None, answered: false }
    }
}
