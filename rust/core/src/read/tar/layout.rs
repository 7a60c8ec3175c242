//! Tar's headers as bytes: ustar, pax and GNU's forms. No file, no codec.

use super::sparse::Records;
use crate::read::fault::Fault;
use crate::read::member::MemberKind;

pub(super) const BLOCK: usize = 512;

/// The longest pax header, and the longest GNU name; both are read whole.
pub(super) const LONGEST_EXTENSION: u64 = 1 << 20;

/// What a header block is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It begins a member.
    Member(MemberKind),
    /// A sparse file in GNU's old form, or star's, whose map begins in the header.
    Sparse,
    /// Its data are pax records for the next member.
    Pax,
    /// Its data are pax records for all that follow.
    Global,
    /// Its data are the next member's name.
    LongName,
    /// Its data are the next member's link target.
    LongLink,
    /// The name of the tape, which is no member.
    Label,
    /// The rest of a file that began on another volume.
    Continued,
}

/// One header block.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    /// Whether bytes follow, `size` of them. A writer may state a size of a link's end or a folder, where none do.
    pub has_data: bool,
    pub size: u64,
    /// The size that is stated of a hard link, behind which pax allows the file's bytes, and most writers leave them out.
    pub link_size: u64,
    pub mode: u32,
    pub mtime: i64,
    pub purpose: Purpose,
}

/// Whether a block has a header's checksum. Some old writers summed signed bytes.
pub(crate) fn is_header(block: &[u8; BLOCK]) -> bool {
    let Some(stated) = number(&block[148..156]) else { return false };
    let outside = block[..148].iter().chain(&block[156..]);
    let unsigned: i64 = outside.clone().map(|&b| i64::from(b)).sum();
    let signed: i64 = outside.map(|&b| i64::from(b.cast_signed())).sum();
    let blanks = 8 * 32;
    stated == unsigned + blanks || stated == signed + blanks
}

impl Header {
    pub fn parse(block: &[u8; BLOCK]) -> Result<Self, Fault> {
        if !is_header(block) {
            return Err(Fault::corrupt("a header's checksum is wrong, or there is no header here"));
        }
        let size = number(&block[124..136]).and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| Fault::corrupt("a header's size is no number"))?;
        let mut name = text(&block[..100]).to_vec();
        // GNU's own form has other things where ustar has a prefix.
        if &block[257..263] == b"ustar\0" && block[345] != 0 {
            name = [text(&block[345..500]), b"/", &name].concat();
        }
        let purpose = purpose(block[156]);
        let has_data = !matches!(block[156], b'1'..=b'6');
        let link_size = if block[156] == b'1' { size } else { 0 };
        let size = if has_data { size } else { 0 };
        Ok(Self {
            name,
            link: text(&block[157..257]).to_vec(),
            has_data,
            size,
            link_size,
            mode: number(&block[100..108]).map_or(0o644, |mode| (mode & 0o7777).cast_unsigned() as u32),
            mtime: number(&block[136..148]).unwrap_or(0),
            purpose,
        })
    }
}

fn purpose(flag: u8) -> Purpose {
    Purpose::Member(match flag {
        b'1' => MemberKind::HardLink,
        b'2' => MemberKind::Link,
        // GNU's incremental backups list a folder's names as its data.
        b'5' | b'D' => MemberKind::Directory,
        b'x' | b'X' => return Purpose::Pax,
        b'g' => return Purpose::Global,
        b'L' => return Purpose::LongName,
        b'K' => return Purpose::LongLink,
        b'V' => return Purpose::Label,
        b'S' => return Purpose::Sparse,
        b'M' => return Purpose::Continued,
        b'3' | b'4' | b'6' => MemberKind::Special,
        // Also all that a reader does not know, as POSIX has it and other readers do.
        _ => MemberKind::File,
    })
}

/// Up to the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|&b| b == 0).unwrap_or(field.len())]
}

/// Octal digits between blanks, or with the first bit set a number of base 256 as GNU writes it.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        let first = if field[0] & 0x40 == 0 { i64::from(field[0] & 0x3f) } else { i64::from(field[0] | 0x80) - 256 };
        return field[1..].iter().try_fold(first, |value, &byte| value.checked_mul(256)?.checked_add(byte.into()));
    }
    let digits = text(field).trim_ascii();
    digits.iter().try_fold(0_i64, |value, &digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add((digit - b'0').into()),
        _ => None,
    })
}

/// What pax records say of a member, beyond its header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extension {
    pub name: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub mtime: Option<(i64, u32)>,
    /// An empty value: what a global header says counts for nothing, and the header's own time does.
    pub own_mtime: bool,
    pub sparse: Option<Box<Records>>,
    /// The archive begins inside a file, the rest of which is on the volume before.
    pub is_continued: bool,
}

impl Extension {
    /// Take in the records of one pax header: `LENGTH KEY=VALUE\n`, where the length counts all of it.
    pub fn add(&mut self, mut records: &[u8]) -> Result<(), Fault> {
        let malformed = || Fault::corrupt("a pax record is malformed");
        while !records.is_empty() && records[0] != 0 {
            let blank = records.iter().take(20).position(|&b| b == b' ').ok_or_else(malformed)?;
            let length: usize =
                std::str::from_utf8(&records[..blank]).ok().and_then(|t| t.parse().ok()).ok_or_else(malformed)?;
            let record = records.get(blank + 1..length).ok_or_else(malformed)?;
            records = &records[length..];
            let record = record.strip_suffix(b"\n").ok_or_else(malformed)?;
            let equals = record.iter().position(|&b| b == b'=').ok_or_else(malformed)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key.strip_prefix(b"GNU.sparse.") {
                Some(key) => self.sparse.get_or_insert_default().take(key, value),
                None => self.take(key, value).ok_or_else(malformed)?,
            }
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            // An empty value takes back what was said before, also by a global header, which of the first three is refused.
            b"path" if value.is_empty() => self.name = None,
            b"linkpath" if value.is_empty() => self.link = None,
            b"size" if value.is_empty() => self.size = None,
            b"mtime" if value.is_empty() => (self.mtime, self.own_mtime) = (None, true),
            b"GNU.volume.offset" => self.is_continued = value != b"0",
            b"path" => self.name = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
            b"mtime" => self.mtime = Some(seconds(value)?),
            _ => {}
        }
        Some(())
    }

    /// Whether it would give every member the same name, target or size.
    pub fn is_harmful_for_all(&self) -> bool {
        self.name.is_some() || self.link.is_some() || self.size.is_some() || self.sparse.is_some()
    }
}

/// `-12.5` is 12.5 seconds before 1970: seconds are rounded down, and the rest is counted up.
fn seconds(value: &[u8]) -> Option<(i64, u32)> {
    let value = std::str::from_utf8(value).ok()?;
    exact_seconds(value).or_else(|| float_seconds(value))
}

/// Python's writer has a time as it prints a float, with an exponent where it is far from one.
#[expect(clippy::cast_sign_loss, reason = "what is above the floor is not negative")]
fn float_seconds(value: &str) -> Option<(i64, u32)> {
    let float = value.parse().ok().filter(|float: &f64| float.abs() < 1e18)?;
    let nanoseconds = ((float - float.floor()) * 1e9).round().min(999_999_999.0);
    Some((float.floor() as i64, nanoseconds as u32))
}

fn exact_seconds(value: &str) -> Option<(i64, u32)> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let whole_seconds: i64 = whole.parse().ok()?;
    let mut nanoseconds = 0;
    let mut unit = 100_000_000;
    for digit in fraction.bytes() {
        nanoseconds += unit * u32::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
        unit /= 10;
    }
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some((whole_seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((whole_seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_of_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff"), Some(-1));
        assert_eq!(number(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(number(b"12x4567\0"), None);
    }

    #[test]
    fn pax_records_say_name_size_and_time() {
        let mut extension = Extension::default();
        extension.add(b"16 path=long/na\n13 size=4096\n21 mtime=1700.250000\n").unwrap();
        assert_eq!(extension.name.as_deref(), Some(&b"long/na"[..]));
        assert_eq!((extension.size, extension.mtime), (Some(4096), Some((1700, 250_000_000))));
        assert_eq!(seconds(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!([seconds(b"1e-05"), seconds(b"-1e-05")], [Some((0, 10_000)), Some((-1, 999_990_000))]);
        assert_eq!(seconds(b"-1e-30"), Some((-1, 999_999_999)));
        assert_eq!(seconds(b"1.5e+16"), Some((15_000_000_000_000_000, 0)));
        assert_eq!([seconds(b"inf"), seconds(b"nan"), seconds(b"1e19"), seconds(b"soon")], [None; 4]);
        for bad in [&b"99 path=a\n"[..], b"5 a=b", b"x", b"3\n", b"0 a=b\n", b"11 size=abc\n", b"6 ab\n\n"] {
            assert!(Extension::default().add(bad).is_err(), "{bad:?}");
        }
    }
}
