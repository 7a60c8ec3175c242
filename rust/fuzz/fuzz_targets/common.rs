//! What a caller may do with an archive, done with whatever the fuzzer made.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use vhpack_core::read::{Archive, Existing, ExtractRequest, Limits};
use vhpack_core::{CancelToken, Progress};

/// Small, so that an honest archive of much data costs no time.
pub const LIMITS: Limits = Limits { max_members: 1000, max_total: 4 << 20, max_ratio: 200 };

/// Extracting takes many times as long as all else; one input of so many goes to the disk, always the same.
const EXTRACTED: u32 = 8;

/// Open, list, find, read, read backwards, verify, extract.
pub fn use_all(bytes: Vec<u8>) {
    let cancel = CancelToken::default();
    let hash = crc32fast::hash(&bytes);
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
    let _ = archive.digests(1, &Progress::default(), &cancel);
    if hash.is_multiple_of(EXTRACTED) {
        extract(&archive, hash / EXTRACTED);
    }
}

/// Extract into a folder, and into what that has left there: whatever the archive says, nothing beside the folder changes.
fn extract(archive: &Archive, choice: u32) {
    const KEPT: &[u8] = b"beside the destination";
    let around: PathBuf = std::env::temp_dir().join(format!("vhpack-fuzz-{}", std::process::id()));
    let (kept, dest) = (around.join("kept"), around.join("dest"));
    remove(&around);
    fs::create_dir_all(&around).expect("there is a place for temporary files");
    fs::write(&kept, KEPT).expect("it can be written to");
    for existing in [Existing::Error, [Existing::Overwrite, Existing::Skip][choice as usize % 2]] {
        let request = ExtractRequest {
            dest: dest.clone(),
            existing,
            strip: choice as usize / 2 % 3,
            links: true,
            allow_collisions: choice / 8 % 2 == 0,
            jobs: 1,
            ..ExtractRequest::default()
        };
        let _ = archive.extract(&request, &Progress::default(), &CancelToken::default());
    }
    let beside = fs::read_dir(&around).expect("it is there").flatten().filter(|entry| entry.path() != dest);
    assert_eq!(beside.map(|entry| entry.path()).collect::<Vec<_>>(), [kept.clone()]);
    let stat = fs::metadata(&kept).expect("it is there");
    assert!(stat.nlink() == 1 && fs::read(&kept).is_ok_and(|bytes| bytes == KEPT));
    remove(&around);
}

/// Remove a folder with all below, also where the archive has left it without modes.
fn remove(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    let below = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path());
    }
    let _ = fs::remove_dir_all(folder);
}
