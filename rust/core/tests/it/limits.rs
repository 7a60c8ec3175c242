//! What costs too much is refused, what is merely long can be interrupted, and what cannot be read keeps nobody from the rest.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vhpack_core::read::{Archive, Existing, ExtractRequest, Limits, MemberReader, Source};
use vhpack_core::{CancelToken, ErrorKind, Progress, Result};

use crate::archives::{Packed, deflate, gzip, noise, seekable, tar, tar_member, text, zip, zip_of, zstd};
use crate::read::{extract, open, read};

#[test]
fn what_claims_more_than_deflate_can_make_takes_no_memory() {
    // Some hundred bytes that claim to be 1.5 GiB.
    let mut bytes = zip(&[("zeros", &vec![0; 100_000])], Packed::Deflated, true);
    let record = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    bytes[record + 24..record + 28].copy_from_slice(&(3_u32 << 29).to_le_bytes());
    for limits in [Limits::default(), Limits { max_ratio: 0, ..Limits::default() }] {
        let archive = open(bytes.clone(), limits).unwrap();
        assert_eq!(archive.members(None).unwrap()[0].size, 3 << 29);
        assert_eq!(read(&archive, "zeros").unwrap_err().kind(), ErrorKind::Corrupt);
        let verified = archive.verify(1, &Progress::default(), &CancelToken::default()).unwrap();
        assert!(verified.damaged[0].reason.contains("cannot unpack to"), "{verified:?}");
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(extract(&archive, folder.path(), Existing::Error).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_total_beyond_its_limit_is_refused_while_a_stream_is_unpacked() {
    // The table of members is small; what lies behind its end is not.
    let raw = [tar(&[("a", b"1")]), vec![0; 8 << 20]].concat();
    let limits = Limits { max_total: 4 << 20, ..Limits::default() };
    for bytes in [gzip(&raw), zstd(&raw)] {
        assert_eq!(open(bytes.clone(), limits).err().unwrap().kind(), ErrorKind::LimitExceeded);
        assert!(open(bytes, Limits::default()).is_ok());
    }
}

/// Flags and method of a member's two headers changed to these.
fn with_headers(mut bytes: Vec<u8>, name: &[u8], flags: u8, method: u8) -> Vec<u8> {
    for (magic, head, at) in [(b"PK\x03\x04", 30, 6), (b"PK\x01\x02", 46, 8)] {
        let starts = |start: &usize| bytes[*start..].starts_with(magic) && bytes[start + head..].starts_with(name);
        let start = (0..bytes.len() - head).find(starts).unwrap();
        bytes[start + at] |= flags;
        bytes[start + at + 2] = method;
    }
    bytes
}

#[test]
fn members_that_cannot_be_read_keep_nobody_from_the_others() {
    let entries = [("a/first", &b"1"[..]), ("secret/x", b"2"), ("odd", b"3"), ("last", b"4")];
    let bytes = with_headers(zip(&entries, Packed::Stored, false), b"secret/x", 1, 0);
    let archive = open(with_headers(bytes, b"odd", 0, 12), Limits::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = extract(&archive, folder.path(), Existing::Error).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let message = error.to_string();
    for part in
        ["2 members cannot be extracted", "`secret/x` (it is encrypted", "`odd` (it is packed with", "2 files were"]
    {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(std::fs::read(folder.path().join("a/first")).unwrap(), b"1");
    assert_eq!(std::fs::read(folder.path().join("last")).unwrap(), b"4");
    assert!(!folder.path().join("secret").exists() && !folder.path().join("odd").exists());
    // Damage is no such case: nothing is written at all.
    let damaged = with_headers(zip(&entries, Packed::Stored, false), b"last", 1, 0);
    let mut damaged = with_headers(damaged, b"odd", 0, 0);
    let record = damaged.windows(7).rposition(|window| window == b"a/first").unwrap() - 46;
    damaged[record + 20] = 9;
    let there = folder.path().join("there");
    let refused = open(damaged, Limits::default()).and_then(|archive| extract(&archive, &there, Existing::Error));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(!there.exists());
}

#[test]
fn more_unreadable_members_than_anyone_reads_are_counted() {
    let names: Vec<String> = (0..30).map(|number| format!("{number:02}")).collect();
    let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"1"[..])).collect();
    let bytes = names
        .iter()
        .fold(zip(&entries, Packed::Stored, false), |bytes, name| with_headers(bytes, name.as_bytes(), 1, 0));
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("dest");
    let error = extract(&open(bytes, Limits::default()).unwrap(), &dest, Existing::Error).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("30 members") && message.contains("`19`") && !message.contains("`20`"), "{message}");
    assert!(message.ends_with("and 10 more") && !dest.exists(), "{message}");
}

/// Cancels after so many reads, and counts those that come then.
struct Watched {
    bytes: Vec<u8>,
    left: AtomicU64,
    later: Arc<AtomicU64>,
    cancel: CancelToken,
}

impl Source for Watched {
    fn length(&self) -> u64 {
        self.bytes.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        if self.left.load(Ordering::Relaxed) == 0 {
            self.cancel.cancel();
            self.later.fetch_add(1, Ordering::Relaxed);
        } else {
            self.left.fetch_sub(1, Ordering::Relaxed);
        }
        self.bytes.read_at(buffer, offset)
    }
}

#[test]
fn opening_can_be_interrupted_at_every_header_however_many_speak_of_one_member() {
    let records = tar_member(b"pax", b'x', b"", &[&b"3000 comment="[..], &[b'c'; 2986], b"\n"].concat());
    let raw = [&records.repeat(500)[..], &tar_member(b"a", b'0', b"", b"1"), &[0; 1024]].concat();
    let cuts: Vec<usize> = (1..500).map(|number| number * records.len()).collect();
    for bytes in [raw.clone(), seekable(&raw, &cuts)] {
        assert_eq!(open(bytes.clone(), Limits::default()).unwrap().names(None).unwrap(), [b"a"]);
        let (cancel, later) = (CancelToken::default(), Arc::new(AtomicU64::new(0)));
        let source = Watched { bytes, left: AtomicU64::new(30), later: Arc::clone(&later), cancel: cancel.clone() };
        let opened = Archive::from_source(Path::new("memory"), Box::new(source), Limits::default(), &cancel);
        assert_eq!(opened.err().unwrap().kind(), ErrorKind::Cancelled);
        assert!(later.load(Ordering::Relaxed) <= 2);
    }
}

#[test]
fn the_way_to_a_far_place_of_a_packed_member_can_be_interrupted() -> Result<()> {
    let raw = noise(40 << 20, 1);
    for packed in [Packed::Deflated, Packed::Zstd] {
        let cancel = CancelToken::default();
        let later = Arc::new(AtomicU64::new(0));
        let source = Watched {
            bytes: zip(&[("large", &raw)], packed, false),
            left: AtomicU64::new(30),
            later: Arc::clone(&later),
            cancel: cancel.clone(),
        };
        let archive = Archive::from_source(Path::new("memory"), Box::new(source), Limits::default(), &cancel)?;
        let archive = Arc::new(archive);
        let reader = MemberReader::new(Arc::clone(&archive), archive.member(b"large")?)?;
        let far = raw.len() as u64 - 5;
        assert!(reader.takes_long(far, 1) && !reader.takes_long(10, 1));
        let stopped = reader.read_at_in_steps(&mut [0; 5], far, &cancel);
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Cancelled, "{packed:?}");
        // A step of 4 MiB is read in portions of 64 KiB: the rest of one step, of the ten that the way has.
        let reads = later.swap(0, Ordering::Relaxed);
        assert!((1..=66).contains(&reads), "{reads} reads after the interrupt");
        // Where it stopped it goes on; and back again, which begins anew.
        let mut out = [0; 5];
        let never = CancelToken::default();
        assert_eq!(reader.read_at_in_steps(&mut out, far, &never)?, 5);
        assert_eq!(out[..], raw[raw.len() - 5..]);
        assert!(reader.takes_long(far, 5), "it lies before where the reader is");
        assert_eq!(reader.read_at_in_steps(&mut out, 30 << 20, &never)?, 5);
        assert_eq!(out[..], raw[30 << 20..][..5]);
        assert_eq!(reader.read_at_in_steps(&mut out, 3, &never)?, 5);
        assert_eq!(out[..], raw[3..8]);
        later.store(0, Ordering::Relaxed);
        assert_eq!(reader.read_at_in_steps(&mut out, 1 << 60, &never)?, 0);
        assert_eq!(later.load(Ordering::Relaxed), 0, "nothing is behind the end, and nothing is unpacked for it");
    }
    Ok(())
}

/// A zstd frame whose header asks for a window of 256 MiB, as `zstd --long=28` makes it; blocks as they are.
fn long_zstd(raw: &[u8]) -> Vec<u8> {
    let mut frame = b"\x28\xb5\x2f\xfd\0\x90".to_vec();
    let blocks = raw.chunks(128 << 10);
    let last = blocks.len() - 1;
    for (number, block) in blocks.enumerate() {
        let header = (block.len() as u32) << 3 | u32::from(number == last);
        frame.extend(&header.to_le_bytes()[..3]);
        frame.extend(block);
    }
    frame
}

#[test]
fn a_window_of_more_than_128_mib_is_taken_only_where_limits_are_lifted() {
    let lifted = Limits { max_ratio: 0, ..Limits::default() };
    let large = noise(20 << 20, 3);
    let members = [("small", &b"abc"[..]), ("large", &large)];
    let packed = long_zstd(&tar(&members));
    let error = open(packed.clone(), Limits::default()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    let message = error.to_string();
    assert!(message.contains("--long=28") && message.contains("unsafe_limits=True"), "{message}");
    let archive = open(packed, lifted).unwrap();
    assert!(read(&archive, "large").unwrap() == large && read(&archive, "small").unwrap() == b"abc");

    let packed = zip_of(&members, 93, long_zstd);
    let archive = open(packed.clone(), Limits::default()).unwrap();
    assert_eq!(read(&archive, "small").unwrap(), b"abc", "what is unpacked as a whole needs no window");
    assert_eq!(read(&archive, "large").unwrap_err().kind(), ErrorKind::LimitExceeded);
    assert!(read(&open(packed, lifted).unwrap(), "large").unwrap() == large);
}

#[test]
fn bytes_behind_a_packed_stream_are_damage_to_whoever_verifies() {
    type Pack = fn(&[u8]) -> Vec<u8>;
    let raw = text(9000);
    for (method, pack) in [(8, deflate as Pack), (93, zstd as Pack)] {
        for (behind, empty) in [(&b"\0"[..], false), (b"junk", false), (b"\0", true)] {
            let entry = [("a", if empty { &[][..] } else { &raw[..] })];
            let sound = open(zip_of(&entry, method, pack), Limits::default()).unwrap();
            assert!(sound.verify(1, &Progress::default(), &CancelToken::default()).unwrap().is_sound());
            let archive =
                open(zip_of(&entry, method, |raw| [&pack(raw)[..], behind].concat()), Limits::default()).unwrap();
            let report = archive.verify(1, &Progress::default(), &CancelToken::default()).unwrap();
            assert!(!report.is_sound(), "{method} {behind:?}");
        }
    }
}

#[test]
fn many_links_to_one_path_of_many_members_are_settled_by_the_last_before_each() {
    // Every other member is another version of the file, and none of them is asked for.
    let count = 30_000;
    let mut bytes = Vec::new();
    for number in 0..count {
        bytes.extend(tar_member(b"file", b'0', b"", number.to_string().as_bytes()));
        bytes.extend(tar_member(format!("links/{number}").as_bytes(), b'1', b"file", b""));
    }
    bytes.extend([0; 1024]);
    let folder = tempfile::tempdir().unwrap();
    let request = ExtractRequest {
        dest: folder.path().into(),
        patterns: Some(vec![b"links/*9".to_vec()]),
        links: true,
        jobs: 2,
        ..ExtractRequest::default()
    };
    let archive = open(bytes, Limits::default()).unwrap();
    let report = archive.extract(&request, &Progress::default(), &CancelToken::default()).unwrap();
    assert_eq!(report.files, count / 10);
    for number in [9, 12_349, count - 1] {
        let content = std::fs::read(folder.path().join(format!("links/{number}"))).unwrap();
        assert_eq!(content, number.to_string().as_bytes());
    }
}

#[test]
fn the_search_for_what_links_lead_to_can_be_interrupted() {
    let bytes = [tar_member(b"b", b'1', b"a", b""), vec![0; 1024]].concat();
    let archive = open(bytes, Limits::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let request = ExtractRequest { dest: folder.path().join("out"), links: true, jobs: 1, ..ExtractRequest::default() };
    let cancel = CancelToken::default();
    cancel.cancel();
    let stopped = archive.extract(&request, &Progress::default(), &cancel);
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(!request.dest.exists(), "before anything is made");
}

#[test]
fn portions_read_in_steps_are_those_read_at_once() {
    let raw = text(9 << 20);
    let archive = Arc::new(open(zip(&[("a", &raw)], Packed::Deflated, true), Limits::default()).unwrap());
    let reader = MemberReader::new(Arc::clone(&archive), archive.member(b"a").unwrap()).unwrap();
    let mut out = vec![0; raw.len()];
    for from in [0, 5 << 20, 8 << 20, 1] {
        let count = reader.read_at_in_steps(&mut out, from as u64, &CancelToken::default()).unwrap();
        assert!(out[..count] == raw[from..], "from {from}");
    }
}
