//! Zip's records as bytes: what they say, and whether they are whole. No file, no codec.

use super::names;
use crate::read::member::{Member, MemberKind, Packing};

pub(super) const END_LENGTH: usize = 22;
pub(super) const LOCATOR_LENGTH: usize = 20;
pub(super) const END64_LENGTH: usize = 56;
pub(super) const LOCAL_LENGTH: usize = 30;
pub(super) const RECORD_LENGTH: usize = 46;

pub(super) const LOCAL: [u8; 4] = *b"PK\x03\x04";
pub(super) const RECORD: [u8; 4] = *b"PK\x01\x02";
pub(super) const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";
const END: [u8; 4] = *b"PK\x05\x06";
const END64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR: [u8; 4] = *b"PK\x06\x07";

pub(super) const FLAG_ENCRYPTED: u16 = 1;
pub(super) const FLAG_DESCRIPTOR: u16 = 1 << 3;
pub(super) const FLAG_PATCH: u16 = 1 << 5;
const FLAG_UTF8: u16 = 1 << 11;

const FULL_16: u16 = u16::MAX;
const FULL_32: u32 = u32::MAX;

const UNIX: u8 = 3;
const MAC: u8 = 19;

/// Reads little-endian numbers one after the other; what is not there reads as `None`.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// What the end of the directory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub disk: u32,
    pub directory_disk: u32,
    /// Members on this disk, and in all.
    pub count_here: u64,
    pub count: u64,
    pub length: u64,
    pub offset: u64,
}

impl End {
    fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut fields = Fields(bytes);
        if fields.array()? != END {
            return None;
        }
        let (disk, directory_disk) = (fields.u16()?, fields.u16()?);
        let end = Self {
            disk: disk.into(),
            directory_disk: directory_disk.into(),
            count_here: fields.u16()?.into(),
            count: fields.u16()?.into(),
            length: fields.u32()?.into(),
            offset: fields.u32()?.into(),
        };
        Some((end, fields.u16()?.into()))
    }

    /// The last end record in the file's last bytes, and where it stands in them. One whose comment ends with the file
    /// is preferred, so that a comment that looks like a record deceives nobody.
    pub fn find(tail: &[u8]) -> Option<(Self, usize)> {
        let mut fallback = None;
        let last = tail.len().checked_sub(END_LENGTH)?;
        for at in (0..=last).rev() {
            if tail[at..].starts_with(&END)
                && let Some((end, comment)) = Self::parse(&tail[at..])
            {
                let length = END_LENGTH + comment;
                if at + length == tail.len() {
                    return Some((end, at));
                }
                if at + length < tail.len() && fallback.is_none() {
                    fallback = Some((end, at));
                }
            }
        }
        fallback
    }

    /// Where the last signature behind the end record at `at` stands, with bytes enough for a record: readers that look at no
    /// more take it for the end, as in a comment.
    pub fn rival(tail: &[u8], at: usize) -> Option<usize> {
        let last = tail.len().checked_sub(END_LENGTH)?;
        (at + 1..=last).rev().find(|&rival| tail[rival..].starts_with(&END))
    }

    /// Whether a field is full, so that the zip64 record has the value.
    pub fn is_full(&self) -> bool {
        self.count == u64::from(FULL_16) || self.length == u64::from(FULL_32) || self.offset == u64::from(FULL_32)
    }

    /// Whether a zip64 record repeats every field that is not full, as readers without zip64 go by these.
    pub fn agrees(&self, wide: &Self) -> bool {
        let half = |narrow: u64, wide: u64| narrow == u64::from(FULL_16) || narrow == wide;
        let word = |narrow: u64, wide: u64| narrow == u64::from(FULL_32) || narrow == wide;
        half(self.disk.into(), wide.disk.into())
            && half(self.directory_disk.into(), wide.directory_disk.into())
            && half(self.count_here, wide.count_here)
            && half(self.count, wide.count)
            && word(self.length, wide.length)
            && word(self.offset, wide.offset)
    }

    /// The zip64 end record.
    pub fn parse64(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.array()? != END64 {
            return None;
        }
        fields.take(8 + 4)?;
        let (disk, directory_disk) = (fields.u32()?, fields.u32()?);
        let count_here = fields.u64()?;
        Some(Self {
            disk,
            directory_disk,
            count_here,
            count: fields.u64()?,
            length: fields.u64()?,
            offset: fields.u64()?,
        })
    }
}

/// Where the zip64 end record stands, and on how many disks the archive lies.
pub(super) fn locator(bytes: &[u8]) -> Option<(u64, u32)> {
    let mut fields = Fields(bytes);
    if fields.array()? != LOCATOR {
        return None;
    }
    fields.take(4)?;
    Some((fields.u64()?, fields.u32()?))
}

/// A member's record in the central directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub made_on: u8,
    pub flags: u16,
    pub method: u16,
    pub dos_time: u32,
    pub crc: u32,
    pub packed: u64,
    pub size: u64,
    pub disk: u32,
    pub attributes: u32,
    /// Of the local header, counted from the archive's first byte.
    pub offset: u64,
    pub name: &'a [u8],
    pub extra: &'a [u8],
    /// Of the whole record.
    pub length: usize,
}

/// Why there is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The bytes end before the record does.
    Short,
    /// Something else stands there.
    Foreign,
    /// The zip64 field lacks a value that it has to have.
    Zip64,
}

impl<'a> Record<'a> {
    /// The record at the beginning of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Broken> {
        let head: &[u8; RECORD_LENGTH] = bytes.first_chunk().ok_or(Broken::Short)?;
        if head[..4] != RECORD {
            return Err(Broken::Foreign);
        }
        let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (name, extra, comment) = (usize::from(half(28)), usize::from(half(30)), usize::from(half(32)));
        let length = RECORD_LENGTH + name + extra + comment;
        let body = bytes.get(RECORD_LENGTH..length).ok_or(Broken::Short)?;
        let mut record = Self {
            made_on: head[5],
            flags: half(8),
            method: half(10),
            dos_time: word(12),
            crc: word(16),
            packed: word(20).into(),
            size: word(24).into(),
            disk: half(34).into(),
            attributes: word(38),
            offset: word(42).into(),
            name: &body[..name],
            extra: &body[name..name + extra],
            length,
        };
        record.widen(word(24), word(20), word(42), half(34)).ok_or(Broken::Zip64)?;
        Ok(record)
    }

    /// Take from the zip64 field what is full in the record: size, packed size, offset, disk, in this order.
    fn widen(&mut self, size: u32, packed: u32, offset: u32, disk: u16) -> Option<()> {
        if size != FULL_32 && packed != FULL_32 && offset != FULL_32 && disk != FULL_16 {
            return Some(());
        }
        let Some(field) = extra_field(self.extra, 1) else { return Some(()) };
        let mut fields = Fields(field);
        if size == FULL_32 {
            self.size = fields.u64()?;
        }
        if packed == FULL_32 {
            self.packed = fields.u64()?;
        }
        if offset == FULL_32 {
            self.offset = fields.u64()?;
        }
        if disk == FULL_16 {
            self.disk = fields.u32()?;
        }
        Some(())
    }

    fn mode(&self) -> Option<u32> {
        let mode = self.attributes >> 16;
        (matches!(self.made_on, UNIX | MAC) && mode != 0).then_some(mode)
    }

    pub fn kind(&self) -> MemberKind {
        const DOS_DIRECTORY: u32 = 0x10;
        if self.name.ends_with(b"/") {
            return MemberKind::Directory;
        }
        match self.mode().map(|mode| mode & 0o170_000) {
            // One that has bytes would lose them; unzip and Python tell a folder by its slash alone.
            Some(0o040_000) if self.size == 0 => MemberKind::Directory,
            Some(0o120_000) => MemberKind::Link,
            // What zip has read from a pipe, standard input among them, bears the pipe's kind.
            Some(0o100_000 | 0o010_000 | 0o040_000 | 0) => MemberKind::File,
            Some(_) => MemberKind::Special,
            None if self.attributes & DOS_DIRECTORY != 0 && self.size == 0 => MemberKind::Directory,
            None => MemberKind::File,
        }
    }

    pub fn decoded_name(&self) -> std::borrow::Cow<'a, [u8]> {
        names::decode(self.name, self.flags & FLAG_UTF8 != 0, self.extra)
    }

    /// The member; offsets in it count from the file's first byte, which is `shift` before the archive's.
    pub fn member(&self, shift: u64) -> Member {
        let name = self.decoded_name();
        let raw_name = (*name != *self.name).then(|| self.name.to_vec());
        let kind = self.kind();
        let default_mode = if kind == MemberKind::Directory { 0o755 } else { 0o644 };
        Member {
            name: name.into_owned(),
            size: self.size,
            packed: self.packed,
            packing: match self.method {
                0 => Packing::Stored,
                8 => Packing::Deflate,
                93 => Packing::Zstd,
                other => Packing::Other(other),
            },
            kind,
            link: None,
            mode: self.mode().map_or(default_mode, |mode| mode & 0o7777),
            mtime: mtime(self.extra, self.dos_time),
            crc: Some(self.crc),
            offset: self.offset.saturating_add(shift),
            start: None,
            flags: self.flags,
            raw_name,
            target: None,
        }
    }
}

/// A member's local header, which repeats what the directory says.
#[derive(Debug)]
pub(super) struct LocalHeader<'a> {
    pub flags: u16,
    pub method: u16,
    pub crc: u32,
    pub packed: u64,
    pub size: u64,
    pub name: &'a [u8],
    /// Of the header with name and extra field.
    pub length: usize,
    /// Whether a descriptor behind the data has sizes of eight bytes.
    pub zip64: bool,
}

/// The length of the whole header whose fixed part this is.
pub(super) fn local_length(fixed: &[u8; LOCAL_LENGTH]) -> usize {
    let half = |at: usize| usize::from(u16::from_le_bytes([fixed[at], fixed[at + 1]]));
    LOCAL_LENGTH + half(26) + half(28)
}

impl<'a> LocalHeader<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Broken> {
        let head: &[u8; LOCAL_LENGTH] = bytes.first_chunk().ok_or(Broken::Short)?;
        if head[..4] != LOCAL {
            return Err(Broken::Foreign);
        }
        let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = local_length(head);
        let name_length = usize::from(half(26));
        let body = bytes.get(LOCAL_LENGTH..length).ok_or(Broken::Short)?;
        let (name, extra) = body.split_at(name_length);
        let zip64 = extra_field(extra, 1);
        let (mut size, mut packed) = (u64::from(word(22)), u64::from(word(18)));
        if let Some(field) = zip64 {
            let mut fields = Fields(field);
            if size == u64::from(FULL_32) {
                size = fields.u64().ok_or(Broken::Zip64)?;
            }
            if packed == u64::from(FULL_32) {
                packed = fields.u64().ok_or(Broken::Zip64)?;
            }
        }
        let (flags, method, crc) = (half(6), half(8), word(14));
        Ok(Self { flags, method, crc, packed, size, name, length, zip64: zip64.is_some() })
    }
}

/// The length of the descriptor with this CRC and these sizes, packed and not, that stands behind a member's data; `zip64`
/// where its sizes should have eight bytes.
///
/// Writers disagree on when they have, and leave the signature out, which a CRC may look like: what fits is right.
pub(super) fn descriptor(bytes: &[u8], expected: (u32, u64, u64), zip64: bool) -> Option<usize> {
    let fits = |wide: bool, signature: &[u8]| {
        let mut fields = Fields(bytes.strip_prefix(signature)?);
        let crc = fields.u32()?;
        let (packed, size) =
            if wide { (fields.u64()?, fields.u64()?) } else { (fields.u32()?.into(), fields.u32()?.into()) };
        ((crc, packed, size) == expected).then(|| bytes.len() - fields.0.len())
    };
    [zip64, !zip64].into_iter().find_map(|wide| fits(wide, &DESCRIPTOR).or_else(|| fits(wide, b"")))
}

/// The content of the extra field `id`. What is malformed is passed over, as writers pad with zeros.
pub(super) fn extra_field(extra: &[u8], id: u16) -> Option<&[u8]> {
    let mut fields = Fields(extra);
    loop {
        let (found, length) = (fields.u16()?, fields.u16()?);
        let content = fields.take(length.into())?;
        if found == id {
            return Some(content);
        }
    }
}

/// The exact time where a field has it, else DOS's, which is taken for UTC.
fn mtime(extra: &[u8], dos: u32) -> Option<(i64, u32)> {
    const NTFS: u16 = 0x000a;
    const UNIX_TIME: u16 = 0x5455;
    if let Some([flags, rest @ ..]) = extra_field(extra, UNIX_TIME)
        && flags & 1 != 0
        && let Some(seconds) = rest.first_chunk()
    {
        return Some((i32::from_le_bytes(*seconds).into(), 0));
    }
    if let Some(ntfs) = extra_field(extra, NTFS)
        && let Some(ticks) = ntfs.get(4..).and_then(|tags| extra_field(tags, 1)).and_then(<[u8]>::first_chunk)
    {
        let ticks = u64::from_le_bytes(*ticks);
        let seconds = (ticks / 10_000_000).cast_signed() - 11_644_473_600;
        return Some((seconds, (ticks % 10_000_000) as u32 * 100));
    }
    dos_seconds(dos).map(|seconds| (seconds, 0))
}

fn dos_seconds(dos: u32) -> Option<i64> {
    let (date, time) = (dos >> 16, dos & 0xffff);
    let (year, month, day) = (1980 + (date >> 9), date >> 5 & 15, date & 31);
    if !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    // Years begin in March here, so that the leap day comes last.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let days = i64::from(365 * shifted_year + leap_days + day_of_year) - 719_468;
    let seconds = (time >> 11) * 3600 + (time >> 5 & 63) * 60 + (time & 31) * 2;
    Some(days * 86_400 + i64::from(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dos_times_are_seconds_since_1970() {
        let dos = |y: u32, mo: u32, d: u32, h: u32, mi: u32, s: u32| {
            ((y - 1980) << 9 | mo << 5 | d) << 16 | h << 11 | mi << 5 | (s / 2)
        };
        assert_eq!(dos_seconds(dos(1980, 1, 1, 0, 0, 0)), Some(315_532_800));
        assert_eq!(dos_seconds(dos(2000, 2, 29, 0, 0, 0)), Some(951_782_400));
        assert_eq!(dos_seconds(dos(2023, 11, 14, 22, 13, 20)), Some(1_700_000_000));
        assert_eq!(dos_seconds(dos(2107, 12, 31, 23, 59, 58)), Some(4_354_819_198));
        assert_eq!(dos_seconds(0), None);
    }

    #[test]
    fn a_comment_that_looks_like_an_end_is_not_taken_for_one() {
        let mut tail = b"PK\x05\x06\0\0\0\0\x01\0\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let comment = [&b"xx"[..], b"PK\x05\x06\0\0\0\0\x02\0\x02\0\0\0\0\0\0\0\0\0\x09\0", b"yy"].concat();
        tail.extend((comment.len() as u16).to_le_bytes());
        tail.extend(&comment);
        let (end, at) = End::find(&tail).unwrap();
        assert_eq!((end.count, at), (1, 0));
    }
}
