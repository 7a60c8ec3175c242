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
    let from_the_start = backwards(gzip(&raw), &entries);
    for (every, end) in [(MIB, FIXED_END), (128 << 10, STORED_END), (100_000, FIXED_END)] {
        let total = backwards(flushed(&raw, every, end), &entries);
        assert!(total < from_the_start / 2, "{total} of {from_the_start}, flushed every {every} bytes");
    }
    // Members of gzip side by side, the second of which has places, too; a place never leads from one to the other.
    let (first, second) = raw.split_at(raw.len() / 3 + 7);
    let joined = [flushed(first, MIB, STORED_END), flushed(second, MIB, STORED_END)].concat();
    assert!(backwards(joined, &entries) < from_the_start / 2);
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
