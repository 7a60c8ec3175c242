//! What is wrong with an archive, before it is known which one it is.

use std::io;
use std::path::Path;

use crate::error::{Error, ErrorKind, Stage, show, show_bytes};

/// A failure at a place inside an archive. Formats and decoders know no path; [`Fault::of`] adds it.
#[derive(Debug)]
pub(crate) struct Fault(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    member: Option<Vec<u8>>,
    offset: Option<u64>,
    what: String,
    cause: Option<io::Error>,
}

impl Fault {
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, member: None, offset: None, what: what.into(), cause: None }))
    }

    pub fn corrupt(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, what)
    }

    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, what)
    }

    /// What an honest archive of that size needs is not there.
    pub fn no_memory(what: &str) -> Self {
        Self::new(ErrorKind::LimitExceeded, format!("there is no memory for {what}; split the archive"))
    }

    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
    }

    /// Where it was found, unless something closer to it has said so.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// Whose fault it is, unless something closer to it has said so.
    #[must_use]
    pub fn in_member(mut self, name: &[u8]) -> Self {
        self.0.member.get_or_insert_with(|| name.to_vec());
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// The error that a caller sees, about the archive at `path`.
    pub fn of(self, path: &Path) -> Error {
        let Inner { kind, member, offset, what, cause } = *self.0;
        if let Some(cause) = cause {
            return Error::io(Stage::Read, "read", path, cause);
        }
        if kind == ErrorKind::Cancelled {
            return Error::cancelled(Stage::Read);
        }
        let place = match (member, offset) {
            (Some(name), Some(offset)) => format!(", member {} at offset {offset}", show_bytes(&name)),
            (Some(name), None) => format!(", member {}", show_bytes(&name)),
            (None, Some(offset)) => format!(" at offset {offset}"),
            (None, None) => String::new(),
        };
        Error::new(kind, Stage::Read, format!("{}{place}: {what}", show(path))).at(path)
    }
}

impl From<io::Error> for Fault {
    fn from(cause: io::Error) -> Self {
        let mut fault = Self::new(ErrorKind::Io, "");
        fault.0.cause = Some(cause);
        fault
    }
}
