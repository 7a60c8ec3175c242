//! What an archive is, and how its members are found in it.

use super::fault::Fault;
use super::limits::Limits;
use super::member::Member;
use super::source::Source;
use super::zip::{self, Zip};
use crate::cancel::CancelToken;

/// The format of an archive, told by its bytes and never by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Zip.
    Zip,
}

impl Format {
    /// The suffix that it usually has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zip => "zip",
        }
    }
}

/// An opened archive of one format or another.
pub(crate) enum Container {
    Zip(Zip),
}

impl Container {
    pub fn open(source: &dyn Source, limits: &Limits, cancel: &CancelToken) -> Result<Self, Fault> {
        let mut head = [0; 512];
        let count = source.read_at(&mut head, 0)?;
        let head = &head[..count];
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") || zip::has_end(source)? {
            return Ok(Self::Zip(Zip::open(source, limits, cancel)?));
        }
        Err(Fault::unsupported("it is no archive that vhpack reads: zip"))
    }

    pub fn format(&self) -> Format {
        match self {
            Self::Zip(_) => Format::Zip,
        }
    }

    pub fn files(&self) -> u64 {
        match self {
            Self::Zip(zip) => zip.files,
        }
    }

    pub fn members(&self) -> u64 {
        match self {
            Self::Zip(zip) => zip.members,
        }
    }

    pub fn find(&self, source: &dyn Source, name: &[u8]) -> Result<Option<Member>, Fault> {
        match self {
            Self::Zip(zip) => zip.find(source, name),
        }
    }

    pub fn each(
        &self,
        source: &dyn Source,
        each: &mut dyn FnMut(Member) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match self {
            Self::Zip(zip) => zip.each(source, each),
        }
    }

    /// Where a member's bytes begin, for [`read_at`](Self::read_at).
    pub fn data_start(&self, source: &dyn Source, member: &Member) -> Result<u64, Fault> {
        match self {
            Self::Zip(zip) => zip.data_start(source, member),
        }
    }

    /// Read bytes where members lie: of the file, or of the tar stream in it.
    pub fn read_at(&self, source: &dyn Source, out: &mut [u8], offset: u64) -> Result<usize, Fault> {
        match self {
            Self::Zip(_) => Ok(source.read_at(out, offset)?),
        }
    }
}
