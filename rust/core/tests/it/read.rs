//! Reading what others have written: every format gives the same members, and portions give the same bytes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use vhpack_core::read::{Archive, Existing, ExtractRequest, Format, Limits, MemberReader, Source, seek_table};
use vhpack_core::{CancelToken, ErrorKind, PackOptions, PackRequest, Progress, Result, pack};

use crate::archives::{Packed, every_format, noise, tar_member, text, zip};

pub fn open(bytes: Vec<u8>, limits: Limits) -> Result<Archive> {
    Archive::from_source(Path::new("memory"), Box::new(bytes), limits, &CancelToken::default())
}

pub fn read(archive: &Archive, name: &str) -> Result<Vec<u8>> {
    archive.read(&archive.member(name.as_bytes())?)
}

#[test]
fn every_format_gives_the_same_members() {
    let (long, noise) = (text(200_000), noise(70_000, 3));
    let entries = [("a.txt", &b"short"[..]), ("folder/long.txt", &long), ("empty", b""), ("ü/noise.bin", &noise)];
    for (format, bytes) in every_format(&entries) {
        let archive = open(bytes, Limits::default()).unwrap();
        let names = archive.names(None).unwrap();
        let expected: Vec<Vec<u8>> = entries.iter().map(|entry| entry.0.as_bytes().to_vec()).collect();
        assert_eq!(names, expected, "{format}");
        for (name, raw) in entries {
            assert_eq!(read(&archive, name).unwrap(), raw, "{format}: {name}");
        }
        let reversed: Vec<Vec<u8>> = names.iter().rev().cloned().collect();
        let many = archive.read_many(&reversed, 3, &CancelToken::default()).unwrap();
        assert!(many.iter().zip(entries.iter().rev()).all(|(got, (_, raw))| got == raw), "{format}");
        assert_eq!(archive.find(b"none").unwrap(), None);
        assert_eq!(archive.member(b"none").unwrap_err().kind(), ErrorKind::MemberNotFound);
        let report = archive.verify(2, &Progress::default(), &CancelToken::default()).unwrap();
        assert!(report.is_sound() && report.warnings.is_empty(), "{format}: {report:?}");
    }
}

#[test]
fn portions_from_any_position_are_the_bytes_of_the_whole() {
    let long = text(300_000);
    for (format, bytes) in every_format(&[("first", &noise(5000, 1)), ("long", &long)]) {
        let archive = Arc::new(open(bytes, Limits::default()).unwrap());
        let member = archive.member(b"long").unwrap();
        let reader = MemberReader::new(archive, member).unwrap();
        for (offset, length) in [(0, 10), (10, 100_000), (299_990, 100), (5, 70_000), (300_000, 5), (1 << 60, 5)] {
            let mut out = vec![0; length];
            let count = reader.read_at(&mut out, offset).unwrap();
            let start = usize::try_from(offset).unwrap().min(long.len());
            assert_eq!(&out[..count], &long[start..(start + length).min(long.len())], "{format} at {offset}");
        }
    }
}

#[test]
fn a_wrong_crc_is_told_whichever_way_the_member_is_read() {
    let long = text(300_000);
    for packed in [Packed::Stored, Packed::Deflated, Packed::Zstd] {
        let mut bytes = zip(&[("long", &long)], packed, true);
        let record = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
        bytes[record + 16] ^= 1;
        let archive = Arc::new(open(bytes, Limits::default()).unwrap());
        assert_eq!(read(&archive, "long").unwrap_err().kind(), ErrorKind::Corrupt, "{packed:?}");
        let reader = MemberReader::new(Arc::clone(&archive), archive.member(b"long").unwrap()).unwrap();
        assert!(reader.read_at(&mut vec![0; 1000], 0).is_ok());
        assert!(reader.read_at(&mut vec![0; 300_000], 1000).is_err(), "{packed:?}");
        let folder = tempfile::tempdir().unwrap();
        assert!(extract(&archive, folder.path(), Existing::Error).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a damaged file was left");
        let report = archive.verify(1, &Progress::default(), &CancelToken::default()).unwrap();
        assert_eq!(report.damaged[0].name, b"long");
    }
}

#[test]
fn damage_is_told_to_who_looks_at_the_beginning_first_and_to_who_reads_again() {
    let long = text(300_000);
    for packed in [Packed::Stored, Packed::Deflated, Packed::Zstd] {
        let mut bytes = zip(&[("long", &long)], packed, false);
        let record = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
        bytes[14] ^= 1;
        bytes[record + 16] ^= 1;
        let archive = Arc::new(open(bytes, Limits::default()).unwrap());
        let reader = MemberReader::new(Arc::clone(&archive), archive.member(b"long").unwrap()).unwrap();
        let mut all = vec![0; long.len()];
        assert!(reader.read_at(&mut vec![0; 70_000], 0).is_ok());
        assert!(reader.read_at(&mut vec![0; 1000], 200_000).is_ok());
        for _ in 0..2 {
            assert!(reader.read_at(&mut all, 0).is_err(), "{packed:?}");
            assert!(reader.read_at(&mut vec![0; 1000], 299_500).is_err(), "{packed:?}: the end alone");
        }
    }
}

pub fn extract(archive: &Archive, dest: &Path, existing: Existing) -> Result<u64> {
    let request = ExtractRequest { dest: dest.into(), existing, links: true, jobs: 2, ..ExtractRequest::default() };
    archive.extract(&request, &Progress::default(), &CancelToken::default()).map(|report| report.files)
}

#[test]
fn what_pack_writes_comes_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir_all(source.join("a/b")).unwrap();
    for number in 0..200_u32 {
        std::fs::write(source.join(format!("a/b/{number}")), text(number as usize * 50)).unwrap();
    }
    std::fs::write(source.join("large"), noise(5 << 20, 5)).unwrap();
    let target = folder.path().join("all.zip");
    let request = PackRequest {
        sources: [&source].into_iter().collect(),
        target: Some(target.clone()),
        ..PackRequest::default()
    };
    let request = PackRequest { options: PackOptions::default(), ..request };
    pack(&request, &Progress::default(), &CancelToken::default()).unwrap();
    let archive = Archive::open(&target, Limits::default(), &CancelToken::default()).unwrap();
    assert_eq!(archive.format(), Format::Zip);
    let back = folder.path().join("back");
    assert_eq!(extract(&archive, &back, Existing::Error).unwrap(), 201);
    for name in archive.names(None).unwrap() {
        let name = String::from_utf8(name).unwrap();
        assert_eq!(std::fs::read(back.join(&name)).unwrap(), std::fs::read(source.join(&name)).unwrap());
    }
    assert_eq!(extract(&archive, &back, Existing::Error).unwrap_err().kind(), ErrorKind::TargetExists);
    assert_eq!(extract(&archive, &back, Existing::Skip).unwrap(), 0);
    assert_eq!(extract(&archive, &back, Existing::Overwrite).unwrap(), 201);
}

#[test]
fn limits_are_kept_and_zero_lifts_them() {
    let entries = [("a", &b"12345"[..]), ("b", b"12345")];
    for (format, bytes) in every_format(&entries) {
        let refused = |limits: Limits| open(bytes.clone(), limits).err().map(|error| error.kind());
        let members = Limits { max_members: 1, ..Limits::default() };
        assert_eq!(refused(members), Some(ErrorKind::LimitExceeded), "{format}");
        assert_eq!(refused(Limits { max_total: 9, ..Limits::default() }), Some(ErrorKind::LimitExceeded), "{format}");
        assert_eq!(refused(Limits { max_members: 0, max_total: 0, max_ratio: 0 }), None, "{format}");
    }
}

#[test]
fn tars_in_forms_that_readers_get_wrong() {
    let long = "d/".repeat(90) + "name";
    let mut bytes = tar_member(b"././@LongLink", b'L', b"", &[long.as_bytes(), b"\0"].concat());
    // Cut where a folder ends, and no folder.
    bytes.extend(tar_member(b"cut/", b'0', b"", b"gnu"));
    bytes.extend(tar_member(b"old/", b'\0', b"", b""));
    bytes.extend(tar_member(b"link", b'2', b"old", b""));
    bytes.extend(tar_member(b"device", b'3', b"", b""));
    bytes.extend([0; 512]);
    let archive = open(bytes, Limits::default()).unwrap();
    assert_eq!(read(&archive, &long).unwrap(), b"gnu");
    let kinds: Vec<&str> = archive.members(None).unwrap().iter().map(|member| member.kind.name()).collect();
    assert_eq!(kinds, ["file", "directory", "link", "special"]);
    assert_eq!(read(&archive, "device").unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_sparse_file_that_is_neither_gnu_s_nor_star_s_is_refused_when_the_tar_is_opened() {
    let error = open(tar_member(b"sparse", b'S', b"", b"holes"), Limits::default()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("member `sparse` at offset 0"), "{error}");
}

fn pax_path(name: &[u8]) -> Vec<u8> {
    let record = [b" path=", name, b"\n"].concat();
    let digits = (record.len() + 5).to_string().len();
    let mut length = digits + record.len();
    if length.to_string().len() > digits {
        length += 1;
    }
    tar_member(b"pax", b'x', b"", &[length.to_string().as_bytes(), &record].concat())
}

#[test]
fn names_beyond_all_measure_are_refused_before_they_fill_memory() {
    let mut raw = Vec::new();
    for number in 0..1200 {
        raw.extend(pax_path(format!("{number:060000}").as_bytes()));
        raw.extend(tar_member(b"short", b'0', b"", b""));
    }
    raw.extend([0; 1024]);
    let packed = crate::archives::zstd(&raw);
    let refused = open(packed.clone(), Limits::default()).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
    assert!(refused.to_string().contains("--unsafe-limits"), "{refused}");
    assert_eq!(open(packed, Limits { max_ratio: 0, ..Limits::default() }).unwrap().files(), 1200);
    // The same names where they take as much room as they seem to.
    assert_eq!(open(raw, Limits::default()).unwrap().files(), 1200);
}

#[test]
fn members_beyond_all_measure_are_refused_before_they_fill_memory() {
    // Two thousand empty members in a hundred bytes.
    let frame = crate::archives::zstd(&tar_member(b"a", b'0', b"", b"").repeat(2048));
    let packed = frame.repeat(560);
    let refused = open(packed.clone(), Limits::default()).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
    assert!(refused.to_string().contains("the list of its members"), "{refused}");
    let lifted =
        open([packed, crate::archives::zstd(&[0; 1024])].concat(), Limits { max_ratio: 0, ..Limits::default() });
    assert_eq!(lifted.unwrap().count(), 560 * 2048);
}

#[test]
fn a_size_of_what_has_no_bytes_is_passed_over() {
    for flag in b'1'..=b'6' {
        let mut bytes = crate::archives::tar_header(b"odd", 4096, flag, b"first");
        bytes.splice(0..0, tar_member(b"first", b'0', b"", b"1"));
        bytes.extend(tar_member(b"next", b'0', b"", b"2"));
        bytes.extend([0; 1024]);
        let archive = open(bytes, Limits::default()).unwrap();
        assert_eq!(read(&archive, "next").unwrap(), b"2", "{flag}");
        let odd = &archive.members(None).unwrap()[1];
        assert_eq!(odd.size, 0);
        assert!(archive.verify(1, &Progress::default(), &CancelToken::default()).unwrap().is_sound());
    }
}

fn verified(archive: &Archive) -> vhpack_core::read::VerifyReport {
    archive.verify(2, &Progress::default(), &CancelToken::default()).unwrap()
}

/// The same tar as it is, in gzip, and in zstd with and without a seek table.
fn wrapped(raw: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("tar", raw.to_vec()),
        ("tar.gz", crate::archives::gzip(raw)),
        ("tar.zst", crate::archives::zstd(raw)),
        ("tar.zst with a seek table", crate::archives::seekable(raw, &[512, 1024])),
    ]
}

#[test]
fn members_behind_an_end_mark_are_damage_and_other_bytes_a_warning() {
    let one = |name: &str| tar_member(name.as_bytes(), b'0', b"", &noise(700, 1));
    let end = vec![0; 1024];
    let wiped_out = [one("a"), vec![0; 512], noise(1024, 2), one("c"), end.clone()].concat();
    let joined = [one("a"), vec![0; 10_240], one("b"), end.clone()].concat();
    let wiped_out_last = [one("a"), vec![0; 512], noise(700, 2), vec![0; 324], end.clone()].concat();
    for (what, raw) in [("wiped out", wiped_out), ("joined", joined), ("wiped out last", wiped_out_last)] {
        for (format, bytes) in wrapped(&raw) {
            let archive = open(bytes, Limits::default()).unwrap();
            assert_eq!(archive.names(None).unwrap(), [b"a"]);
            assert_eq!(archive.warnings().len(), 1, "{what} {format}");
            let report = verified(&archive);
            assert!(report.damaged[0].reason.contains("not listed"), "{what} {format}: {report:?}");
        }
    }
    for (format, bytes) in wrapped(&[one("a"), end.clone(), noise(900, 3)].concat()) {
        let report = verified(&open(bytes, Limits::default()).unwrap());
        assert!(report.is_sound() && report.warnings[0].contains("belongs to no member"), "{format}: {report:?}");
    }
    for (format, bytes) in wrapped(&[one("a"), vec![0; 300_000]].concat()) {
        let archive = open(bytes, Limits::default()).unwrap();
        let report = verified(&archive);
        assert!(report.is_sound() && report.warnings.is_empty() && archive.warnings().is_empty(), "{format}");
    }
}

/// A seek table of these frames, with checksums where there are any.
fn table(frames: &[(u32, u32)], sums: &[u32]) -> Vec<u8> {
    let mut content = Vec::new();
    for (number, frame) in frames.iter().enumerate() {
        content.extend([frame.0.to_le_bytes(), frame.1.to_le_bytes()].concat());
        content.extend(sums.get(number).into_iter().flat_map(|sum| sum.to_le_bytes()));
    }
    let count = frames.len() as u32;
    let length = content.len() as u32 + 9;
    let head = [0x184D_2A5E_u32.to_le_bytes(), length.to_le_bytes()].concat();
    let descriptor = if sums.is_empty() { 0 } else { 0x80 };
    [head, content, count.to_le_bytes().to_vec(), vec![descriptor], 0x8F92_EAB1_u32.to_le_bytes().to_vec()].concat()
}

#[test]
fn a_seek_table_that_lies_is_damage() {
    let hidden = tar_member(b"hidden", b'0', b"", b"1");
    let last = [tar_member(b"last", b'0', b"", b"2"), vec![0; 1024]].concat();
    // Frames above 16 MiB are streamed, smaller ones read by themselves.
    for size in [17 << 20, 4096] {
        let first = tar_member(b"first", b'0', b"", &vec![7; size]);
        let (one, two) =
            (crate::archives::zstd(&[first.clone(), hidden.clone()].concat()), crate::archives::zstd(&last));
        let (one_packed, two_packed) = (one.len() as u32, two.len() as u32);
        let with = |frames: &[(u32, u32)], sums: &[u32]| [&one[..], &two, &table(frames, sums)].concat();
        let real = (first.len() + hidden.len()) as u32;
        let honest = [(one_packed, real), (two_packed, last.len() as u32)];
        let lie = [(one_packed, first.len() as u32), honest[1]];
        let longer = [honest[0], (two_packed, last.len() as u32 + 512)];
        for frames in [lie, longer] {
            let is_told =
                open(with(&frames, &[]), Limits::default()).map_or(true, |lying| !verified(&lying).is_sound());
            assert!(is_told, "{frames:?}");
        }
        let sum = |raw: &[u8]| twox_hash::XxHash64::oneshot(0, raw) as u32;
        let sums = [sum(&[first.clone(), hidden.clone()].concat()), sum(&last)];
        assert!(verified(&open(with(&honest, &sums), Limits::default()).unwrap()).is_sound());
        // The first frame's is asked for only when its bytes are.
        let wrong = open(with(&honest, &[sums[0] ^ 1, sums[1]]), Limits::default());
        assert!(wrong.is_err() || !verified(&wrong.unwrap()).is_sound());
    }
}

/// A file of zeros but for its beginning and its end, as a hole makes it; counts what was asked for.
struct Hole {
    head: Vec<u8>,
    length: u64,
    tail: Vec<u8>,
    read: AtomicU64,
}

impl Source for Hole {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let count = buffer.len().min(usize::try_from(self.length.saturating_sub(offset)).unwrap());
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        let tail_at = self.length - self.tail.len() as u64;
        for (at, byte) in (offset..).zip(&mut buffer[..count]) {
            let (part, at) = if at < tail_at { (&self.head, at) } else { (&self.tail, at - tail_at) };
            *byte = part.get(at as usize).copied().unwrap_or(0);
        }
        Ok(count)
    }
}

#[test]
fn a_seek_table_of_four_gibibytes_of_nothing_takes_no_memory() {
    let count = 350_000_000_u32;
    let content = u64::from(count) * 12 + 9;
    let head = [0x184D_2A5E_u32.to_le_bytes(), (content as u32).to_le_bytes()].concat();
    let tail = [&count.to_le_bytes()[..], &[0x80], &0x8F92_EAB1_u32.to_le_bytes()].concat();
    let hole = Hole { head, length: 8 + content, tail, read: AtomicU64::new(0) };
    assert_eq!(seek_table(&hole), None);
    assert!(hole.read.into_inner() < 1 << 20);
}

#[test]
fn zeros_are_an_empty_tar_only_where_a_writer_would_have_made_them() {
    let named = |name: &str, bytes: Vec<u8>| {
        Archive::from_source(Path::new(name), Box::new(bytes), Limits::default(), &CancelToken::default())
    };
    for (name, length) in [("a.tar", 1024), ("a.tar", 10_240), ("memory", 1024)] {
        assert_eq!(named(name, vec![0; length]).unwrap().count(), 0);
    }
    let beginning = [vec![0; 512], tar_member(b"a", b'0', b"", b"1")].concat();
    let files =
        [("a.zip", vec![0; 1024]), ("a.tar.gz", vec![0; 10_240]), ("a.tar", vec![0; 20_480]), ("a.tar", beginning)];
    for (name, bytes) in files {
        assert_eq!(named(name, bytes).err().unwrap().kind(), ErrorKind::Corrupt, "{name}");
    }
}

#[test]
fn a_zip64_record_that_contradicts_the_end_record_is_refused() {
    let bytes = zip(&[("seen", b"1"), ("hidden", b"2")], Packed::Stored, false);
    let end = bytes.len() - 22;
    let word = |at: usize| u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()));
    let wide = |count: u64, length: u64, offset: u64| {
        let mut record = b"PK\x06\x06".to_vec();
        record.extend(44_u64.to_le_bytes());
        record.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        record.extend([count, count, length, offset].map(u64::to_le_bytes).concat());
        record.extend(b"PK\x06\x07\0\0\0\0");
        record.extend((end as u64).to_le_bytes());
        record.extend(1_u32.to_le_bytes());
        [&bytes[..end], &record, &bytes[end..]].concat()
    };
    let (length, offset) = (word(end + 12), word(end + 16));
    assert_eq!(open(wide(2, length, offset), Limits::default()).unwrap().files(), 2);
    // A directory of its second record alone, which readers without zip64 would not see so.
    let half = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap() as u64;
    let hidden = wide(1, offset + length - half, half);
    assert!(open(hidden.clone(), Limits::default()).err().unwrap().to_string().contains("contradicts"));
    let mut full = hidden;
    let end = full.len() - 22;
    full[end + 8..end + 20].fill(0xff);
    assert!(open(full, Limits::default()).is_ok());
}

#[test]
fn a_tar_without_its_end_lists_what_it_has_and_fails_verification() {
    let raw = [tar_member(b"a", b'0', b"", b"whole"), tar_member(b"b", b'0', b"", &noise(2000, 1))].concat();
    for (length, is_whole) in [(raw.len(), true), (raw.len() - 700, false)] {
        for (format, bytes) in wrapped(&raw[..length]) {
            let archive = open(bytes, Limits::default()).unwrap();
            assert_eq!(archive.names(None).unwrap(), [b"a", b"b"], "{format}");
            assert!(archive.warnings()[0].contains("without its end mark"), "{format}");
            assert_eq!(read(&archive, "a").unwrap(), b"whole");
            assert_eq!(read(&archive, "b").is_ok(), is_whole, "{format}");
            assert!(!verified(&archive).is_sound(), "{format}");
        }
    }
    // The last member claims what the file never had: no memory is taken for it.
    let huge = [&raw[..], &crate::archives::tar_header(b"huge", 0o7_777_777_777, b'0', b"")].concat();
    let archive = open(huge, Limits { max_ratio: 0, ..Limits::default() }).unwrap();
    assert_eq!(read(&archive, "huge").unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn frames_too_large_to_keep_are_streamed() {
    let large = vec![7; 17 << 20];
    let raw = crate::archives::tar(&[("first", b"1"), ("large", &large), ("last", b"3")]);
    let bytes = crate::archives::seekable(&raw, &[1024, raw.len() - 2560]);
    let archive = open(bytes, Limits::default()).unwrap();
    assert_eq!(read(&archive, "last").unwrap(), b"3");
    assert_eq!(read(&archive, "first").unwrap(), b"1");
    assert_eq!(read(&archive, "large").unwrap(), large);
    assert!(archive.verify(2, &Progress::default(), &CancelToken::default()).unwrap().is_sound());
}

#[test]
fn a_damaged_frame_damages_the_members_in_it_and_no_others() {
    let entries: Vec<(String, Vec<u8>)> = (0..40).map(|n| (format!("{n:02}"), noise(3000, n))).collect();
    let entries: Vec<(&str, &[u8])> = entries.iter().map(|(name, raw)| (&name[..], &raw[..])).collect();
    let raw = crate::archives::tar(&entries);
    let cuts: Vec<usize> = (1..raw.len() / 8192).map(|n| n * 8192).collect();
    let bytes = crate::archives::seekable(&raw, &cuts);
    let armed = Arc::new(AtomicBool::new(false));
    let archive = Archive::from_source(
        Path::new("memory"),
        Box::new(Spoiled { bytes, armed: Arc::clone(&armed) }),
        Limits::default(),
        &CancelToken::default(),
    )
    .unwrap();
    armed.store(true, Ordering::Relaxed);
    let report = archive.verify(2, &Progress::default(), &CancelToken::default()).unwrap();
    assert!((1..8).contains(&report.damaged.len()), "{report:?}");
    assert!(report.damaged.iter().all(|damage| damage.reason.contains("damaged")));
}

/// Goes bad in the middle after it was opened, as a disk may.
struct Spoiled {
    bytes: Vec<u8>,
    armed: Arc<AtomicBool>,
}

impl Source for Spoiled {
    fn length(&self) -> u64 {
        self.bytes.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let count = self.bytes.read_at(buffer, offset)?;
        let bad = self.bytes.len() as u64 / 2;
        if self.armed.load(Ordering::Relaxed) && (offset..offset + count as u64).contains(&bad) {
            buffer[(bad - offset) as usize] ^= 0xff;
        }
        Ok(count)
    }
}
