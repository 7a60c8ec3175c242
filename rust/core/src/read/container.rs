//! What an archive is, and how its members are found in it.

use super::fault::Fault;
use super::limits::Limits;
use super::member::Member;
use super::source::Source;
use super::tar::{self, Frames, Sequential, Tar, TarStream, Wrap};
use super::zip::{self, Zip};
use crate::cancel::CancelToken;

/// The format of an archive, told by its bytes and never by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Zip.
    Zip,
    /// Tar.
    Tar,
    /// Tar in gzip.
    TarGz,
    /// Tar in Zstandard frames.
    TarZst,
}

impl Format {
    /// The suffix that it usually has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zip => "zip",
            Self::Tar => "tar",
            Self::TarGz => "tar.gz",
            Self::TarZst => "tar.zst",
        }
    }
}

/// By the seek table where there is one whose frames fit into memory, else from beginning to end.
fn zstd_stream(source: &dyn Source, limits: &Limits, cancel: &CancelToken) -> Result<TarStream, Fault> {
    let Some(table) = tar::seek_table(source)? else {
        return Ok(TarStream::Sequential(Sequential::new(Wrap::Zstd, *limits, cancel)));
    };
    if let Some((_, raw)) = table.starts.last() {
        limits.check_total(*raw)?;
    }
    Ok(match Frames::new(&table) {
        Some(frames) => TarStream::Frames(frames),
        None => TarStream::Sequential(Sequential::with_table(Wrap::Zstd, *limits, cancel, table)),
    })
}

/// Two blocks of zeros, or the 10,240 bytes that writers fill up to, are a tar of nothing. More of them are a file whose
/// bytes never came.
fn is_empty_tar(source: &dyn Source) -> Result<bool, Fault> {
    const TAPE_RECORD: usize = 10_240;
    let mut bytes = vec![0; TAPE_RECORD + 1];
    let count = source.read_at(&mut bytes, 0)?;
    Ok((512..=TAPE_RECORD).contains(&count) && bytes.iter().all(|&byte| byte == 0))
}

/// An opened archive of one format or another.
pub(crate) enum Container {
    Zip(Zip),
    Tar(Tar, Format),
}

impl Container {
    pub fn open(source: &dyn Source, limits: &Limits, cancel: &CancelToken) -> Result<Self, Fault> {
        let mut head = [0; 512];
        let count = source.read_at(&mut head, 0)?;
        let tar = |stream, format| Ok(Self::Tar(Tar::open(source, stream, limits, cancel)?, format));
        if head[..count].starts_with(b"PK\x03\x04") || head[..count].starts_with(b"PK\x05\x06") {
            return Ok(Self::Zip(Zip::open(source, limits, cancel)?));
        }
        // A tar is asked first: one that holds a zip may look like a zip from its end.
        if tar::is_header(&head) || (head == [0; 512] && is_empty_tar(source)?) {
            return tar(TarStream::Plain, Format::Tar);
        }
        if head[..count].starts_with(b"\x1f\x8b") {
            return tar(TarStream::Sequential(Sequential::new(Wrap::Gzip, *limits, cancel)), Format::TarGz);
        }
        if head[..count].starts_with(b"\x28\xb5\x2f\xfd") || matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]) {
            return tar(zstd_stream(source, limits, cancel)?, Format::TarZst);
        }
        // Bytes may stand in front of a zip, as in archives that unpack themselves.
        if zip::has_end(source)? {
            return Ok(Self::Zip(Zip::open(source, limits, cancel)?));
        }
        if count > 0 && head == [0; 512] {
            return Err(Fault::corrupt("it begins with zeros, as a file does that was never filled; make it anew"));
        }
        Err(Fault::unsupported("it is no archive that vhpack reads: zip, tar, tar.gz, tar.zst; or it is cut short"))
    }

    pub fn format(&self) -> Format {
        match self {
            Self::Zip(_) => Format::Zip,
            Self::Tar(_, format) => *format,
        }
    }

    pub fn files(&self) -> u64 {
        match self {
            Self::Zip(zip) => zip.files,
            Self::Tar(tar, _) => tar.table.files,
        }
    }

    /// What its packed members may ask for.
    pub fn limits(&self) -> &Limits {
        match self {
            Self::Zip(zip) => &zip.limits,
            Self::Tar(tar, _) => &tar.limits,
        }
    }

    /// Numbers of the members that a later one has the name of, in order.
    pub fn superseded(&self) -> &[u32] {
        match self {
            Self::Zip(zip) => &zip.superseded,
            Self::Tar(tar, _) => &tar.table.superseded,
        }
    }

    pub fn members(&self) -> u64 {
        match self {
            Self::Zip(zip) => zip.members,
            Self::Tar(tar, _) => tar.table.members(),
        }
    }

    pub fn find(&self, source: &dyn Source, name: &[u8]) -> Result<Option<Member>, Fault> {
        match self {
            Self::Zip(zip) => zip.find(source, name),
            Self::Tar(tar, _) => Ok(tar.table.find(name)),
        }
    }

    pub fn each(&self, source: &dyn Source, each: &mut dyn FnMut(Member) -> Result<(), Fault>) -> Result<(), Fault> {
        match self {
            Self::Zip(zip) => zip.each(source, each),
            Self::Tar(tar, _) => tar.each(each),
        }
    }

    /// What is odd about the archive as a whole, a sentence without its full stop.
    pub fn oddity(&self) -> Option<String> {
        match self {
            Self::Zip(_) => None,
            Self::Tar(tar, _) => tar.oddity.map(tar::Oddity::what),
        }
    }

    /// Refuse a tar's member that the stream ends inside of. A zip's was held against the directory's place when it was opened, but
    /// the directory may have been written to since.
    pub fn check_extent(&self, member: &Member) -> Result<(), Fault> {
        match (self, member.start) {
            (Self::Zip(zip), _) if member.offset.saturating_add(member.packed) > zip.directory() => {
                Err(Fault::corrupt("it would lie outside the archive's data"))
            }
            (Self::Tar(tar, _), Some(start)) if start.saturating_add(member.packed) > tar.length => {
                Err(Fault::corrupt("the archive ends inside its data"))
            }
            _ => Ok(()),
        }
    }

    /// The file whose bytes a hard link has.
    pub fn target(&self, member: &Member) -> Option<Member> {
        match self {
            Self::Zip(_) => None,
            Self::Tar(tar, _) => tar.table.member(member.target? as usize),
        }
    }

    /// Where a member's bytes begin, for [`read_at`](Self::read_at).
    pub fn data_start(&self, source: &dyn Source, member: &Member) -> Result<u64, Fault> {
        match self {
            Self::Zip(zip) => zip.data_start(source, member),
            Self::Tar(..) => Ok(member.start.unwrap_or(member.offset)),
        }
    }

    /// Read a sparse member's bytes from `offset` on.
    pub fn read_sparse(
        &self,
        source: &dyn Source,
        member: &Member,
        out: &mut [u8],
        offset: u64,
    ) -> Result<usize, Fault> {
        match self {
            Self::Zip(_) => Ok(0),
            Self::Tar(tar, _) => tar.read_sparse(source, member, out, offset),
        }
    }

    /// Where a tar's stream is when a member is read on from `offset`.
    pub fn place(&self, member: &Member, offset: u64) -> u64 {
        match self {
            Self::Zip(_) => member.start.unwrap_or(member.offset).saturating_add(offset),
            Self::Tar(tar, _) => tar.place(member, offset),
        }
    }

    /// How many bytes from `offset` of a member on are a hole, and how many behind these are not.
    pub fn hole(&self, member: &Member, offset: u64) -> (u64, u64) {
        match self {
            Self::Zip(_) => (0, u64::MAX),
            Self::Tar(tar, _) => tar.hole(member, offset),
        }
    }

    /// Read bytes where members lie: of the file, or of the tar stream in it.
    pub fn read_at(&self, source: &dyn Source, out: &mut [u8], offset: u64) -> Result<usize, Fault> {
        match self {
            Self::Zip(_) => Ok(source.read_at(out, offset)?),
            Self::Tar(tar, _) => tar.stream.read_at(source, out, offset),
        }
    }
}
