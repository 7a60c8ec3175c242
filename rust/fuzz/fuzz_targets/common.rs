//! What a caller may do with an archive, done with whatever the fuzzer made.

use std::path::Path;

use vhpack_core::read::{Archive, Limits};
use vhpack_core::{CancelToken, Progress};

/// Small, so that an honest archive of much data costs no time.
pub const LIMITS: Limits = Limits { max_members: 1000, max_total: 4 << 20, max_ratio: 200 };

/// Open, list, find, read, read backwards, verify.
pub fn use_all(bytes: Vec<u8>) {
    let cancel = CancelToken::default();
    let Ok(archive) = Archive::from_source(Path::new("fuzzed"), Box::new(bytes), LIMITS, &cancel) else { return };
    let Ok(members) = archive.members(None) else { return };
    let mut contents = Vec::new();
    for member in members {
        let _ = archive.find(&member.name);
        if let Ok(read) = archive.read(&member) {
            assert_eq!(read.len() as u64, member.size);
            contents.push((member, read));
        }
    }
    // The way back begins at other places, and must lead to the same bytes.
    for (member, read) in contents.into_iter().rev() {
        assert!(archive.read(&member).is_ok_and(|again| again == read));
    }
    let _ = archive.verify(1, &Progress::default(), &cancel);
}
