//! The zip container: local headers with known sizes, central directory, zip64 wherever a field would overflow.
//!
//! Never a data descriptor. A header holds no position of its own, so members may be framed in any order and joined.

use super::{Member, Method};

/// From here on a 32-bit field holds a marker and the value stands in the zip64 extra field.
const ZIP64_FROM: u64 = 0xFFFF_FFFF;
/// The same for 16-bit counts.
const ZIP64_COUNT_FROM: u64 = 0xFFFF;
/// A member of at least this raw size gets a zip64 local header before its compressed size is known: deflate can grow
/// data by some bytes in each block.
const ZIP64_RAW_FROM: u64 = ZIP64_FROM - (ZIP64_FROM >> 8);

const STORED: u16 = 0;
const DEFLATED: u16 = 8;
const ZSTD: u16 = 93;
/// Names are UTF-8.
const FLAG_UTF8: u16 = 1 << 11;
/// Stored, deflated, folders.
const VERSION_DEFAULT: u16 = 20;
const VERSION_ZIP64: u16 = 45;
const VERSION_ZSTD: u16 = 63;
/// Made on Unix: readers take modes from the upper half of the external attributes.
const MADE_ON_UNIX: u16 = 3 << 8;
const DOS_DIRECTORY: u32 = 0x10;

/// Where the CRC stands in a local header; the two sizes follow.
const CRC_OFFSET: u64 = 14;
/// Where the sizes stand in the zip64 extra field of a local header whose name has this length.
const fn zip64_sizes_offset(name_length: usize) -> u64 {
    30 + name_length as u64 + 4
}

impl Member<'_> {
    /// Whether the local header carries zip64 sizes. Depends on the raw size alone, so that it can be written first.
    fn has_zip64_header(&self) -> bool {
        self.size >= ZIP64_RAW_FROM
    }

    fn flags(&self) -> u16 {
        if self.name.0.is_ascii() && self.name.1.is_ascii() { 0 } else { FLAG_UTF8 }
    }

    fn method_number(&self) -> u16 {
        match self.method {
            Method::Stored => STORED,
            Method::Deflated => DEFLATED,
            Method::Zstd => ZSTD,
        }
    }

    /// The version of the format that a reader needs.
    fn version(&self, zip64: bool) -> u16 {
        match self.method {
            Method::Zstd => VERSION_ZSTD,
            _ if zip64 => VERSION_ZIP64,
            _ => VERSION_DEFAULT,
        }
    }
}

/// Length of [`local_header`].
pub fn local_header_length(member: &Member<'_>) -> usize {
    let zip64 = if member.has_zip64_header() { 20 } else { 0 };
    30 + member.name_length() + zip64 + time_extra_length(member.mtime)
}

/// Append the local header. Every length fits its field: names are checked by the plan, extras are short.
pub fn local_header(out: &mut Vec<u8>, member: &Member<'_>) {
    let zip64 = member.has_zip64_header();
    let extra = if zip64 { 20 } else { 0 } + time_extra_length(member.mtime);
    out.extend_from_slice(b"PK\x03\x04");
    put16(out, member.version(zip64));
    put16(out, member.flags());
    put16(out, member.method_number());
    put32(out, dos_time(member.mtime));
    put32(out, member.crc);
    put32(out, if zip64 { u32::MAX } else { member.packed as u32 });
    put32(out, if zip64 { u32::MAX } else { member.size as u32 });
    put16(out, member.name_length() as u16);
    put16(out, extra as u16);
    out.extend_from_slice(member.name.0);
    out.extend_from_slice(member.name.1);
    if zip64 {
        put16(out, 1);
        put16(out, 16);
        put64(out, member.size);
        put64(out, member.packed);
    }
    time_extra(out, member.mtime);
}

/// Lengthen a local header that is to stand at `at`, so that what follows begins at a multiple of `align`: by an extra field
/// that Android's tools gave the number to, and that the central directory does not repeat.
pub fn align(header: &mut Vec<u8>, at: u64, align: u16) {
    const FIELD: usize = 6;
    const EXTRA_LENGTH: usize = 28;
    let past = |length: usize| ((at + length as u64) % u64::from(align)) as usize;
    if past(header.len()) == 0 {
        return;
    }
    let zeros = (usize::from(align) - past(header.len() + FIELD)) % usize::from(align);
    put16(header, 0xD935);
    put16(header, (2 + zeros) as u16);
    put16(header, align);
    header.resize(header.len() + zeros, 0);
    let length = u16::from_le_bytes([header[EXTRA_LENGTH], header[EXTRA_LENGTH + 1]]) + (FIELD + zeros) as u16;
    header[EXTRA_LENGTH..EXTRA_LENGTH + 2].copy_from_slice(&length.to_le_bytes());
}

/// The length of the local header that `bytes` begin with.
pub fn length_of_header(bytes: &[u8]) -> usize {
    let field = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    30 + field(26) + field(28)
}

/// What to write over a local header, and where from its start, once CRC and packed size are known. `None` where packing
/// has grown the member beyond what the header that was written can say.
pub fn late_fields(member: &Member<'_>) -> Option<Vec<(u64, Vec<u8>)>> {
    let mut head = member.crc.to_le_bytes().to_vec();
    if member.has_zip64_header() {
        let sizes = [member.size.to_le_bytes(), member.packed.to_le_bytes()].concat();
        return Some(vec![(CRC_OFFSET, head), (zip64_sizes_offset(member.name_length()), sizes)]);
    }
    if member.packed >= ZIP64_FROM {
        return None;
    }
    put32(&mut head, member.packed as u32);
    put32(&mut head, member.size as u32);
    Some(vec![(CRC_OFFSET, head)])
}

/// Append the central directory's header of a member whose local header stands at `offset`.
pub fn central_header(out: &mut Vec<u8>, member: &Member<'_>, offset: u64) {
    let large = |value: u64| value >= ZIP64_FROM;
    let mut zip64 = Vec::new();
    for value in [member.size, member.packed, offset] {
        if large(value) {
            put64(&mut zip64, value);
        }
    }
    // A reader that finds zip64 in one header expects the version in the other to allow it.
    let version = member.version(!zip64.is_empty() || member.has_zip64_header());
    let zip64_length = if zip64.is_empty() { 0 } else { 4 + zip64.len() };
    let narrow = |value: u64| if large(value) { u32::MAX } else { value as u32 };
    out.extend_from_slice(b"PK\x01\x02");
    put16(out, MADE_ON_UNIX | version);
    put16(out, version);
    put16(out, member.flags());
    put16(out, member.method_number());
    put32(out, dos_time(member.mtime));
    put32(out, member.crc);
    put32(out, narrow(member.packed));
    put32(out, narrow(member.size));
    put16(out, member.name_length() as u16);
    put16(out, (zip64_length + time_extra_length(member.mtime)) as u16);
    put16(out, 0);
    put16(out, 0);
    put16(out, 0);
    put32(out, attributes(member.mode));
    put32(out, narrow(offset));
    out.extend_from_slice(member.name.0);
    out.extend_from_slice(member.name.1);
    if !zip64.is_empty() {
        put16(out, 1);
        put16(out, zip64.len() as u16);
        out.extend_from_slice(&zip64);
    }
    time_extra(out, member.mtime);
}

/// Append what ends the archive: `count` headers of `length` bytes that begin at `offset`.
pub fn end(out: &mut Vec<u8>, count: u64, length: u64, offset: u64) {
    if count >= ZIP64_COUNT_FROM || length >= ZIP64_FROM || offset >= ZIP64_FROM {
        out.extend_from_slice(b"PK\x06\x06");
        put64(out, 44);
        put16(out, MADE_ON_UNIX | VERSION_ZIP64);
        put16(out, VERSION_ZIP64);
        put32(out, 0);
        put32(out, 0);
        put64(out, count);
        put64(out, count);
        put64(out, length);
        put64(out, offset);
        out.extend_from_slice(b"PK\x06\x07");
        put32(out, 0);
        put64(out, offset + length);
        put32(out, 1);
    }
    let count = count.min(ZIP64_COUNT_FROM) as u16;
    out.extend_from_slice(b"PK\x05\x06");
    put32(out, 0);
    put16(out, count);
    put16(out, count);
    put32(out, length.min(ZIP64_FROM) as u32);
    put32(out, offset.min(ZIP64_FROM) as u32);
    put16(out, 0);
}

fn attributes(mode: u32) -> u32 {
    const DIRECTORY: u32 = 0o040_000;
    let dos = if mode & 0o170_000 == DIRECTORY { DOS_DIRECTORY } else { 0 };
    mode << 16 | dos
}

/// Seconds that the extended timestamp field holds: a signed 32-bit number.
fn fits_unix_extra(mtime: i64) -> bool {
    i32::try_from(mtime).is_ok()
}

fn time_extra_length(mtime: i64) -> usize {
    if fits_unix_extra(mtime) { 9 } else { 36 }
}

const SECONDS_1601_TO_1970: i64 = 11_644_473_600;

/// The modification time to the second: `UT` where it fits, else NTFS's count of 100 ns since 1601.
fn time_extra(out: &mut Vec<u8>, mtime: i64) {
    if let Ok(seconds) = i32::try_from(mtime) {
        put16(out, 0x5455);
        put16(out, 5);
        out.push(1);
        put32(out, seconds.cast_unsigned());
        return;
    }
    let ticks = mtime.saturating_add(SECONDS_1601_TO_1970).saturating_mul(10_000_000).max(0).cast_unsigned();
    put16(out, 0x000a);
    put16(out, 32);
    put32(out, 0);
    put16(out, 1);
    put16(out, 24);
    for _ in ["modified", "read", "created"] {
        put64(out, ticks);
    }
}

/// The time as DOS has it, date in the upper half: UTC, two-second steps, 1980 to 2107; what lies outside is moved to the
/// nearest end.
fn dos_time(mtime: i64) -> u32 {
    const FIRST: i64 = 315_532_800; // 1980-01-01 00:00:00
    const LAST: i64 = 4_354_819_198; // 2107-12-31 23:59:58
    let mtime = mtime.clamp(FIRST, LAST);
    let (days, seconds) = (mtime.div_euclid(86_400), mtime.rem_euclid(86_400) as u32);
    let (year, month, day) = civil(days);
    let date = (year - 1980) << 9 | month << 5 | day;
    date << 16 | (seconds / 3600) << 11 | (seconds / 60 % 60) << 5 | (seconds % 60 / 2)
}

/// Days since 1970 as year, month, day. Years are counted from March, so that the leap day comes last.
fn civil(days: i64) -> (u32, u32, u32) {
    let days = (days + 719_468).cast_unsigned(); // since 0000-03-01; dates here are never before 1980
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    ((era * 400 + year_of_era + carry) as u32, month as u32, day as u32)
}

fn put16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(size: u64, packed: u64) -> Member<'static> {
        Member {
            name: (b"a/", b"b"),
            link: b"",
            method: Method::Stored,
            crc: 7,
            size,
            packed,
            mtime: 1_700_000_000,
            mode: 0o100_644,
        }
    }

    #[test]
    fn local_header_has_the_length_announced() {
        for size in [0, 1 << 20, ZIP64_RAW_FROM, ZIP64_FROM, 1 << 40] {
            for mtime in [0, 1_700_000_000, 1 << 40, -(1 << 40)] {
                let member = Member { mtime, ..member(size, size) };
                let mut out = Vec::new();
                local_header(&mut out, &member);
                assert_eq!(out.len(), local_header_length(&member));
            }
        }
    }

    #[test]
    fn late_fields_make_a_header_written_early_equal_to_one_written_late() {
        for size in [5 << 20, ZIP64_RAW_FROM, 1 << 40] {
            let late = Member { crc: 0x1234_5678, ..member(size, size - 1000) };
            let mut early = Vec::new();
            local_header(&mut early, &Member { crc: 0, packed: 0, ..late });
            for (at, bytes) in late_fields(&late).unwrap() {
                early[at as usize..][..bytes.len()].copy_from_slice(&bytes);
            }
            let mut expected = Vec::new();
            local_header(&mut expected, &late);
            assert_eq!(early, expected);
        }
    }

    #[test]
    fn a_header_that_cannot_say_the_packed_size_is_not_patched() {
        assert!(late_fields(&member(ZIP64_RAW_FROM - 1, ZIP64_FROM)).is_none());
        assert!(late_fields(&member(ZIP64_RAW_FROM, ZIP64_FROM)).is_some());
    }

    #[test]
    fn an_aligned_header_ends_where_it_should_and_counts_what_it_got() {
        for align in [64, 4096] {
            for at in [0, 1, 5, 17, 63, 64, 4000, 1 << 40] {
                let mut out = Vec::new();
                local_header(&mut out, &member(100, 100));
                let plain = out.len();
                super::align(&mut out, at, align);
                assert_eq!((at + out.len() as u64) % u64::from(align), 0);
                assert_eq!(length_of_header(&out), out.len());
                assert!(out.len() - plain < usize::from(align) + 6);
            }
        }
    }

    #[test]
    fn central_header_carries_only_the_fields_that_overflow() {
        let lengths = |size, packed, offset| {
            let mut out = Vec::new();
            central_header(&mut out, &member(size, packed), offset);
            out.len() - 46 - 3 - 9
        };
        assert_eq!(lengths(1, 1, 1), 0);
        assert_eq!(lengths(1, 1, ZIP64_FROM - 1), 0);
        assert_eq!(lengths(1, 1, ZIP64_FROM), 12);
        assert_eq!(lengths(ZIP64_FROM, 1, 1), 12);
        assert_eq!(lengths(ZIP64_FROM, ZIP64_FROM, ZIP64_FROM), 28);
    }

    #[test]
    fn dos_times_are_utc_and_clamped() {
        for (mtime, expected) in [
            (0, (1980, 1, 1, 0, 0, 0)),
            (315_532_800, (1980, 1, 1, 0, 0, 0)),
            (951_782_400, (2000, 2, 29, 0, 0, 0)),
            (1_700_000_001, (2023, 11, 14, 22, 13, 20)),
            (i64::MAX, (2107, 12, 31, 23, 59, 58)),
        ] {
            let dos = dos_time(mtime);
            let (date, time) = (dos >> 16, dos & 0xffff);
            let got = (1980 + (date >> 9), date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, (time & 31) * 2);
            assert_eq!(got, expected, "{mtime}");
        }
    }

    #[test]
    fn zip64_end_appears_exactly_when_a_field_overflows() {
        let length = |count, size, offset| {
            let mut out = Vec::new();
            end(&mut out, count, size, offset);
            out.len()
        };
        assert_eq!(length(65_534, 10, 10), 22);
        assert_eq!(length(65_535, 10, 10), 98);
        assert_eq!(length(1, ZIP64_FROM, 10), 98);
        assert_eq!(length(1, 10, ZIP64_FROM), 98);
    }
}
