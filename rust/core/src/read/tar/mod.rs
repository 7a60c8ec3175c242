//! Tar, plain or packed: a table of members made by one pass, and a stream that is read at positions.

mod behind;
mod frames;
mod layout;
mod restarts;
mod sequential;
mod sparse;
mod table;

use behind::Behind;
pub(crate) use behind::Oddity;
pub(crate) use frames::{Frames, Sums, seek_table};
pub(crate) use layout::is_header;
pub(crate) use sequential::{Sequential, Wrap};
use table::Table;

use super::fault::Fault;
use super::limits::Limits;
use super::member::Member;
use super::source::Source;
use crate::cancel::CancelToken;
use crate::error::ErrorKind;

/// Read with a header of a plain tar, so that small members need no call of their own.
const AHEAD: usize = 2048;

/// Read at a time behind the end mark.
const BEHIND: usize = 256 << 10;

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
    /// What is odd behind the last member.
    pub oddity: Option<Oddity>,
    pub limits: Limits,
}

impl Tar {
    pub fn open(source: &dyn Source, stream: TarStream, limits: &Limits, cancel: &CancelToken) -> Result<Self, Fault> {
        let mut ahead = Ahead { bytes: vec![0; AHEAD], start: 0, filled: 0 };
        let mut read = |out: &mut [u8], offset: u64| match &stream {
            TarStream::Plain => ahead.read_at(source, out, offset),
            packed => packed.read_at(source, out, offset),
        };
        let table = Table::read(&mut read, source.length(), limits, cancel)?;
        let mut behind = Behind::new(table.end);
        // The mark's first block has been read, and a stream that is packed would be unpacked up to it once more.
        let rest = if table.is_marked { table.end + layout::BLOCK as u64 } else { table.end };
        let (length, unpacked) = match &stream {
            TarStream::Plain => (source.length(), None),
            TarStream::Frames(frames) => (frames.len(), None),
            TarStream::Sequential(sequential) => {
                let (length, file_end) = sequential.finish(source, rest, &mut |bytes, at| behind.see(bytes, at))?;
                (length, (file_end < source.length()).then_some(Oddity::Unpacked(file_end)))
            }
        };
        limits.check_total(length)?;
        if stream.is_random() {
            look_behind(source, &stream, (rest, length), &mut behind, cancel)?;
        }
        let unmarked = (!table.is_marked).then_some(Oddity::Unmarked(table.end.min(length)));
        let oddity = unmarked.or_else(|| behind.oddity(length)).or(unpacked);
        Ok(Self { stream, table, length, oddity, limits: *limits })
    }

    /// Fill `out` from `offset` of a sparse member; short only where the stream ends inside its data.
    pub fn read_sparse(
        &self,
        source: &dyn Source,
        member: &Member,
        out: &mut [u8],
        offset: u64,
    ) -> Result<usize, Fault> {
        let Some(map) = self.table.map(member) else { return Ok(0) };
        let mut filled = 0;
        while filled < out.len() {
            let (place, length) = map.run(offset + filled as u64);
            let count = usize::try_from(length).unwrap_or(usize::MAX).min(out.len() - filled);
            let part = &mut out[filled..filled + count];
            let read = if let Some(place) = place {
                self.stream.read_at(source, part, map.start + place)?
            } else {
                part.fill(0);
                count
            };
            filled += read;
            if read < count || count == 0 {
                break;
            }
        }
        Ok(filled)
    }

    /// Where the stream is when a member is read on from `offset`.
    pub fn place(&self, member: &Member, offset: u64) -> u64 {
        let start = member.start.unwrap_or(member.offset);
        start.saturating_add(self.table.map(member).map_or(offset, |map| map.place(offset)))
    }

    /// How many bytes from `offset` of a member on are a hole, and how many behind these are not.
    pub fn hole(&self, member: &Member, offset: u64) -> (u64, u64) {
        let Some(map) = self.table.map(member) else { return (0, u64::MAX) };
        match map.run(offset) {
            (Some(_), length) => (0, length),
            (None, hole) => (hole, map.run(offset + hole).1),
        }
    }

    pub fn each(&self, each: &mut dyn FnMut(Member) -> Result<(), Fault>) -> Result<(), Fault> {
        (0..).map_while(|number| self.table.member(number)).try_for_each(each)
    }
}

/// Read all that follows the end mark. Damage there hides no member that a header would tell of; verifying tells of it.
fn look_behind(
    source: &dyn Source,
    stream: &TarStream,
    (mut at, length): (u64, u64),
    behind: &mut Behind,
    cancel: &CancelToken,
) -> Result<(), Fault> {
    let mut bytes = vec![0; BEHIND.min(usize::try_from(length.saturating_sub(at)).unwrap_or(BEHIND))];
    while at < length {
        if cancel.is_cancelled() {
            return Err(Fault::cancelled());
        }
        match stream.read_at(source, &mut bytes, at) {
            Ok(0) => break,
            Ok(count) => behind.see(&bytes[..count], at),
            Err(fault) if fault.kind() == ErrorKind::Corrupt => {}
            Err(fault) => return Err(fault),
        }
        at += bytes.len() as u64;
    }
    Ok(())
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
