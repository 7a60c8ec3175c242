//! Places inside a gzip member: they save the way from its beginning, and change no byte.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vhpack_core::read::{Archive, Limits, Source};
use vhpack_core::{CancelToken, Progress};
use zlib_rs::{Deflate, DeflateFlush};

use crate::archives::{gzip, noise, tar, text};

const MIB: usize = 1 << 20;

/// A source that counts the bytes read from it.
struct Counted(Vec<u8>, Arc<AtomicU64>);

impl Source for Counted {
    fn length(&self) -> u64 {
        self.0.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let count = self.0.read_at(buffer, offset)?;
        self.1.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A gzip member that is flushed every so many bytes, as pigz does it, and ends with `end`.
fn flushed(raw: &[u8], every: usize, end: &[u8]) -> Vec<u8> {
    let mut out = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
    let mut deflate = Deflate::new(6, false, 15);
    for part in raw.chunks(every) {
        let mut packed = vec![0; part.len() + part.len() / 100 + 1024];
        let before = deflate.total_out();
        deflate.compress(part, &mut packed, DeflateFlush::SyncFlush).unwrap();
        packed.truncate((deflate.total_out() - before) as usize);
        out.extend(packed);
    }
    out.extend(end);
    out.extend(crc32fast::hash(raw).to_le_bytes());
    out.extend((raw.len() as u32).to_le_bytes());
    out
}

const FIXED_END: &[u8] = &[3, 0];
const STORED_END: &[u8] = &[1, 0, 0, 0xff, 0xff];

/// One member of gzip without a flush; from level 2 on, since zlib-rs makes one block of all at its first.
fn zlib(raw: &[u8], level: i32) -> Vec<u8> {
    let mut packed = vec![0; raw.len() + raw.len() / 100 + 1024];
    let mut deflate = Deflate::new(level, false, 15);
    deflate.compress(raw, &mut packed, DeflateFlush::Finish).unwrap();
    packed.truncate(deflate.total_out() as usize);
    let sums = [crc32fast::hash(raw).to_le_bytes(), (raw.len() as u32).to_le_bytes()].concat();
    [b"\x1f\x8b\x08\0\0\0\0\0\0\x03", &packed[..], &sums].concat()
}

/// What all members are when they are read from the last to the first, and how many bytes of the file that took.
fn backwards(bytes: Vec<u8>, entries: &[(&str, &[u8])]) -> u64 {
    let read = Arc::new(AtomicU64::new(0));
    let source = Counted(bytes, Arc::clone(&read));
    let archive =
        Archive::from_source(Path::new("a.tar.gz"), Box::new(source), Limits::default(), &CancelToken::default());
    let archive = archive.unwrap();
    read.store(0, Ordering::Relaxed);
    for (name, raw) in entries.iter().rev() {
        let member = archive.member(name.as_bytes()).unwrap();
        assert!(archive.read(&member).unwrap() == *raw, "{name}");
    }
    let total = read.load(Ordering::Relaxed);
    assert!(archive.verify(1, &Progress::default(), &CancelToken::default()).unwrap().is_sound());
    total
}

#[test]
fn members_far_back_are_reached_from_a_place_near_them() {
    let names: Vec<String> = (0..32).map(|number| format!("{number:02}")).collect();
    let contents: Vec<Vec<u8>> = (0..32).map(|number| [noise(MIB, number), text(MIB / 2)].concat()).collect();
    let entries: Vec<(&str, &[u8])> =
        names.iter().map(String::as_str).zip(contents.iter().map(Vec::as_slice)).collect();
    let raw = tar(&entries);
    // All of what lies before each member would be sixteen times the file.
    let assert_near = |bytes: Vec<u8>, what: &str| {
        let length = bytes.len() as u64;
        let total = backwards(bytes, &entries);
        assert!(total < 6 * length, "{total} of {length}, {what}");
    };
    for (every, end) in [(MIB, FIXED_END), (128 << 10, STORED_END), (100_000, FIXED_END)] {
        assert_near(flushed(&raw, every, end), &format!("flushed every {every} bytes"));
    }
    assert_near(gzip(&raw), "by libdeflate");
    for level in [2, 6, 9] {
        assert_near(zlib(&raw, level), &format!("by zlib at level {level}"));
    }
    // Members of gzip side by side, the second of which has places, too; a place never leads from one to the other.
    let (first, second) = raw.split_at(raw.len() / 3 + 7);
    let joined = [flushed(first, MIB, STORED_END), flushed(second, MIB, STORED_END)].concat();
    assert_near(joined, "in two members");
}

#[test]
fn text_has_places_inside_of_bytes() {
    let mut words = noise(1 << 16, 2).into_iter().cycle().map(|byte| b"etaoin shrdlu\nmf"[usize::from(byte >> 4)]);
    let contents: Vec<Vec<u8>> = (0..12).map(|_| words.by_ref().take(2 * MIB + 1001).collect()).collect();
    let names: Vec<String> = (0..12).map(|number| format!("{number:02}")).collect();
    let entries: Vec<(&str, &[u8])> =
        names.iter().map(String::as_str).zip(contents.iter().map(Vec::as_slice)).collect();
    let raw = tar(&entries);
    for bytes in [gzip(&raw), zlib(&raw, 3), zlib(&raw, 6)] {
        let length = bytes.len() as u64;
        let total = backwards(bytes, &entries);
        assert!(total < 4 * length, "{total} of {length}, and six times that from the beginning");
    }
}

#[test]
fn a_place_that_only_looks_like_one_is_none() {
    // The mark inside of what is stored, at the ends of blocks and of the stream; blocks that make nothing.
    let marks = [&[0, 0, 0, 0xff, 0xff][..], &noise(3, 1)].concat().repeat(3 * MIB / 2);
    let entries = [("a", &marks[..]), ("b", &[0, 0, 0xff, 0xff]), ("c", &marks[5..]), ("d", b"last")];
    let raw = tar(&entries);
    for every in [65_535, 100_000, 7 * MIB] {
        for end in [FIXED_END, STORED_END] {
            backwards(flushed(&raw, every, end), &entries);
            let stored = raw.chunks(65_531).fold(b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(), |mut out, part| {
                // A stored block, two empty ones with fixed codes, an empty stored one.
                let length = part.len() as u16;
                out.extend([&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), part].concat());
                out.extend([2, 8, 0, 0, 0, 0xff, 0xff]);
                out
            });
            let sums = [crc32fast::hash(&raw).to_le_bytes(), (raw.len() as u32).to_le_bytes()].concat();
            backwards([&stored[..], end, &sums].concat(), &entries);
        }
    }
}

#[test]
fn a_member_that_is_asked_for_many_times_is_unpacked_once() {
    let raw = tar(&[("first", &noise(MIB, 1)), ("last", &noise(MIB, 2))]);
    let bytes = crate::archives::zstd(&raw);
    let length = bytes.len() as u64;
    let read = Arc::default();
    let source = Counted(bytes, Arc::clone(&read));
    let archive =
        Archive::from_source(Path::new("memory"), Box::new(source), Limits::default(), &CancelToken::default())
            .unwrap();
    assert!(read.load(Ordering::Relaxed) < length * 3 / 2, "opening goes through all of it once");
    read.store(0, Ordering::Relaxed);
    let names = [b"last".to_vec(), b"first".to_vec()].repeat(20);
    let many = archive.read_many(&names, 2, &CancelToken::default()).unwrap();
    assert!(many.iter().zip([2, 1].into_iter().cycle()).all(|(bytes, seed)| *bytes == noise(MIB, seed)));
    assert!(read.load(Ordering::Relaxed) < length * 3 / 2);
}
