//! Damaged archives of every format: an error or the right bytes, never a panic, never memory for a mere claim.

use proptest::prelude::*;
use vhpack_core::read::Limits;
use vhpack_core::{CancelToken, ErrorKind, Progress};

use crate::archives::{every_format, noise, text};
use crate::read::open;

/// So that a lie about sizes that gets through costs little.
const TIGHT: Limits = Limits { max_members: 1000, max_total: 16 << 20, max_ratio: 200 };

fn small() -> Vec<(&'static str, Vec<u8>)> {
    every_format(&[("a.txt", b"short"), ("folder/b.txt", &text(700)), ("c.bin", &noise(300, 9))])
}

/// Members that were read without an error, and whether the whole archive is said to be sound.
type Used = (Vec<(Vec<u8>, Vec<u8>)>, bool);

/// Do with an archive all that a caller may.
fn use_all(bytes: Vec<u8>) -> Option<Used> {
    let archive = match open(bytes, TIGHT) {
        Ok(archive) => archive,
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::Io, "{error}");
            assert!(error.to_string().contains("memory"), "{error}");
            return None;
        }
    };
    let mut read = Vec::new();
    for member in archive.members(None).ok()? {
        let _ = archive.find(&member.name);
        if archive.check_readable(&member).is_ok()
            && let Ok(bytes) = archive.read(&member)
        {
            read.push((member.name, bytes));
        }
    }
    let report = archive.verify(1, &Progress::default(), &CancelToken::default()).ok()?;
    Some((read, report.is_sound()))
}

#[test]
fn every_prefix_of_an_archive_is_refused_or_called_damaged() {
    for (format, bytes) in small() {
        let (whole, is_sound) = use_all(bytes.clone()).unwrap();
        assert!(whole.len() == 3 && is_sound, "{format}");
        for length in 0..bytes.len() {
            let Some((read, true)) = use_all(bytes[..length].to_vec()) else { continue };
            // One zero block is an end mark; the second may be missing.
            let is_end_of_tar = format == "tar" && length >= bytes.len() - 512;
            // All frames without the table, which is 33 bytes long, are a whole archive; up to three bytes of it are not
            // yet recognised, and are bytes behind the end.
            let is_all_frames = format == "tar.zst with a seek table" && (30..=33).contains(&(bytes.len() - length));
            assert!(
                is_end_of_tar || is_all_frames,
                "{format} cut to {length} of {} gave {} members",
                bytes.len(),
                read.len()
            );
        }
    }
}

#[test]
fn every_changed_byte_is_noticed_or_harmless() {
    for (format, bytes) in small() {
        for at in 0..bytes.len() {
            for change in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                let _ = (format, use_all(changed));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn changed_archives_give_an_error_or_bytes(
        which in 0..10_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..9)), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = small().swap_remove(which).1;
        for (at, change) in changes {
            let at = at.index(bytes.len());
            let end = (at + change.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&change[..end - at]);
        }
        if let Some(cut) = cut {
            bytes.drain(..cut.index(bytes.len()));
        }
        use_all(bytes);
    }

    #[test]
    fn bytes_behind_a_magic_number_give_an_error(
        magic in prop::sample::select(vec![&b"PK\x03\x04"[..], b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"\x5e\x2a\x4d\x18"]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        use_all([magic, &rest].concat());
    }
}
