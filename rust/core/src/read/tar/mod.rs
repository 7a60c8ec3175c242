//! Tar, plain or packed: a table of members made by one pass, and a stream that is read at positions.

mod frames;
mod layout;
mod sequential;
mod table;

pub(crate) use frames::{Frames, seek_table};
pub(crate) use layout::is_header;
pub(crate) use sequential::{Sequential, Wrap};
use table::Table;

use super::fault::Fault;
use super::limits::Limits;
use super::member::Member;
use super::source::Source;
use crate::cancel::CancelToken;

/// Read with a header of a plain tar, so that small members need no call of their own.
const AHEAD: usize = 2048;

/// Where a tar's bytes come from.
pub(crate) enum TarStream {
    Plain,
    Frames(Frames),
    Sequential(Sequential),
}

impl TarStream {
    /// Whether any place is reached at the same cost.
    pub fn is_random(&self) -> bool {
        !matches!(self, Self::Sequential(_))
    }

    /// Fill `out` from `offset` of the tar; short only at its end.
    pub fn read_at(&self, source: &dyn Source, out: &mut [u8], offset: u64) -> Result<usize, Fault> {
        match self {
            Self::Plain => Ok(source.read_at(out, offset)?),
            Self::Frames(frames) => frames.read_at(source, out, offset),
            Self::Sequential(stream) => stream.read_at(source, out, offset),
        }
    }
}

/// An opened tar.
pub(crate) struct Tar {
    pub stream: TarStream,
    pub table: Table,
    /// How long the stream is, unpacked.
    pub length: u64,
    /// Behind the end mark there is something else than zeros, or behind the packed stream anything: from here on, in
    /// the tar or in the file.
    pub trailing: Option<u64>,
}

impl Tar {
    pub fn open(source: &dyn Source, stream: TarStream, limits: &Limits, cancel: &CancelToken) -> Result<Self, Fault> {
        let mut ahead = Ahead { bytes: vec![0; AHEAD], start: 0, filled: 0 };
        let mut read = |out: &mut [u8], offset: u64| match &stream {
            TarStream::Plain => ahead.read_at(source, out, offset),
            packed => packed.read_at(source, out, offset),
        };
        let table = Table::read(&mut read, source.length(), limits, cancel)?;
        let (length, trailing) = match &stream {
            TarStream::Plain => (source.length(), None),
            TarStream::Frames(frames) => (frames.len(), None),
            TarStream::Sequential(sequential) => {
                let (length, file_end, zeros) = sequential.finish(source, table.end)?;
                let rest = if file_end < source.length() { Some(file_end) } else { None };
                (length, rest.or((!zeros).then_some(table.end)))
            }
        };
        limits.check_bytes(length, source.length())?;
        Ok(Self { stream, table, length, trailing })
    }

    pub fn each(&self, each: &mut dyn FnMut(Member) -> Result<(), Fault>) -> Result<(), Fault> {
        (0..).map_while(|number| self.table.member(number)).try_for_each(each)
    }
}

/// Serves headers of small members that lie close to each other from one read.
struct Ahead {
    bytes: Vec<u8>,
    start: u64,
    filled: usize,
}

impl Ahead {
    fn read_at(&mut self, source: &dyn Source, out: &mut [u8], offset: u64) -> Result<usize, Fault> {
        if out.len() > self.bytes.len() {
            return Ok(source.read_at(out, offset)?);
        }
        let is_here = offset >= self.start && offset + out.len() as u64 <= self.start + self.filled as u64;
        if !is_here {
            self.filled = source.read_at(&mut self.bytes, offset)?;
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        let count = out.len().min(self.filled - from);
        out[..count].copy_from_slice(&self.bytes[from..from + count]);
        Ok(count)
    }
}
