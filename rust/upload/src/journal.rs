//! What has to outlive a killed process: one file for each upload in parts, appended to line by line; and one for each process,
//! which names what it was asked to send.
//!
//! A line is JSON, a tab, and the CRC-32C of the JSON. What follows the first line that is torn or lies is not believed: parts that
//! are not believed are sent again. The lock on the file says whether its process lives.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::checksum::{Wanted, hex, of, sha256};
use crate::error::{Result, UploadError, UploadErrorKind};

/// The version that is written, and the only one that is read.
const VERSION: u64 = 1;

/// Ten thousand parts of 200 bytes, and as much again for parts that were sent twice; longer journals are not ours.
const LONGEST: u64 = 64 << 20;

/// Descriptors of locked files: a forked child has to close them, or it would hold the locks for as long as it lives.
static LOCKED: [AtomicI32; 256] = [const { AtomicI32::new(-1) }; 256];

/// A locked journal, to be appended to.
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    slot: Option<usize>,
}

/// Nobody else may have the journal: another process is at the same upload.
pub(crate) struct Busy;

fn failed(path: &Path, attempt: &str, cause: &io::Error) -> UploadError {
    let attempt = format!("{attempt} the journal `{}`", path.display());
    UploadError::io(
        UploadErrorKind::Journal,
        &attempt,
        cause,
        "free some space, or set VHPACK_STATE_DIR to a folder on another disk",
    )
}

/// The journal of uploads to `uri`.
pub(crate) fn place(state_dir: &Path, uri: &str) -> PathBuf {
    state_dir.join(format!("{}.v{VERSION}.jsonl", hex(&sha256(uri.as_bytes())[..16])))
}

/// The ledger of a watch of `folder` that uploads to `uri`.
pub(crate) fn watch_place(state_dir: &Path, folder: &Path, uri: &str) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let both = [folder.as_os_str().as_bytes(), b"\0", uri.as_bytes()].concat();
    state_dir.join(format!("{}.watch-v{VERSION}.jsonl", hex(&sha256(&both)[..16])))
}

/// The folder that journals are in, made if need be; for its owner alone, as URIs may tell more than they should.
pub(crate) fn make_folder(state_dir: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir);
    made.map_err(|cause| failed(state_dir, "make a folder for", &cause))
}

impl Journal {
    /// Open and lock; what it holds comes with it. `Err(Busy)` inside where another process has it.
    pub fn open(path: PathBuf) -> Result<Result<(Self, Vec<Value>), Busy>> {
        loop {
            let open = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags(libc_nofollow())
                .open(&path);
            let mut file = open.map_err(|cause| failed(&path, "open", &cause))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Err(Busy)),
                // A file system without locks cannot say; two processes with one target are then told apart by their tokens alone.
                Ok(()) | Err(rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOLCK) => {}
                Err(errno) => return Err(failed(&path, "lock", &errno.into())),
            }
            // Whoever had the lock may have removed the file meanwhile; then this one has no name any more.
            if !same_file(&file, &path) {
                continue;
            }
            let lines = read(&mut file).map_err(|cause| failed(&path, "read", &cause))?;
            let (lines, good) = parse(&lines);
            file.set_len(good).map_err(|cause| failed(&path, "cut the torn end of", &cause))?;
            let slot =
                LOCKED.iter().position(|slot| slot.compare_exchange(-1, file.as_raw_fd(), Relaxed, Relaxed).is_ok());
            return Ok(Ok((Self { path, file, slot }, lines)));
        }
    }

    /// Append a record; `sync` waits until it would survive a power cut.
    pub fn append(&mut self, record: &Value, sync: bool) -> Result<()> {
        let line = line(record);
        let written =
            self.file.write_all(line.as_bytes()).and_then(|()| if sync { self.file.sync_data() } else { Ok(()) });
        written.map_err(|cause| failed(&self.path, "write", &cause))
    }

    /// Begin anew with one record.
    pub fn restart(&mut self, record: &Value) -> Result<()> {
        self.file.set_len(0).map_err(|cause| failed(&self.path, "empty", &cause))?;
        self.append(record, false)
    }

    /// Nothing is left to remember.
    pub fn remove(self) {
        // What stays behind is finished with, and says so by its last record or by the server's answer.
        let _ = crate::disk::remove_file(&self.path);
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            LOCKED[slot].store(-1, Relaxed);
        }
    }
}

fn libc_nofollow() -> i32 {
    (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC).bits() as i32
}

fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), crate::disk::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// In a forked child: the descriptors that hold the parent's locks, to be closed by the caller. Takes no lock of this process.
pub(crate) fn locked_in_child() -> Vec<i32> {
    LOCKED.iter().map(|slot| slot.swap(-1, Relaxed)).filter(|fd| *fd >= 0).collect()
}

fn read(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn line(record: &Value) -> String {
    let text = record.to_string();
    let crc = of(text.as_bytes(), Wanted { crc32c: true, ..Wanted::default() }).crc32c.unwrap_or_default();
    format!("{text}\t{crc:08x}\n")
}

/// The records up to the first that cannot be believed, and how many bytes they take.
pub(crate) fn parse(bytes: &[u8]) -> (Vec<Value>, u64) {
    let (mut records, mut good) = (Vec::new(), 0);
    for text in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some((json, crc)) =
            text.strip_suffix(b"\n").and_then(|text| text.split_at_checked(text.len().checked_sub(9)?))
        else {
            break;
        };
        let sum = of(json, Wanted { crc32c: true, ..Wanted::default() }).crc32c.unwrap_or_default();
        if crc != format!("\t{sum:08x}").as_bytes() {
            break;
        }
        let Ok(record) = serde_json::from_slice(json) else { break };
        records.push(record);
        good += text.len() as u64;
    }
    (records, good)
}

/// The records of a journal that may belong to another process, and whether that lives.
pub(crate) fn look(path: &Path) -> io::Result<(Vec<Value>, bool)> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc_nofollow()).open(path)?;
    let alive = flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK);
    Ok((parse(&read(&mut file)?).0, alive))
}

/// A path in a record: as text where it is, as hexadecimal digits where it is not.
pub(crate) fn path_value(path: &Path) -> Value {
    use std::os::unix::ffi::OsStrExt as _;
    match path.to_str() {
        Some(text) => json!(text),
        None => json!({ "hex": hex(path.as_os_str().as_bytes()) }),
    }
}

pub(crate) fn value_path(value: &Value) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    match value {
        Value::String(text) => Some(PathBuf::from(text)),
        Value::Object(map) => {
            let bytes = crate::checksum::from_hex(map.get("hex")?.as_str()?)?;
            Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let (records, good) = parse(&bytes);
            prop_assert!(good <= bytes.len() as u64 && (records.is_empty() || good > 0));
        }

        #[test]
        fn a_torn_or_flipped_journal_is_believed_up_to_there(count in 1usize..20, at in any::<prop::sample::Index>(), flip in any::<bool>()) {
            let lines: Vec<String> = (0..count).map(|n| line(&json!({ "n": n, "text": "ü\n\t" }))).collect();
            let mut bytes = lines.concat().into_bytes();
            let at = at.index(bytes.len());
            if flip { bytes[at] ^= 4 } else { bytes.truncate(at) }
            let whole = lines.iter().scan(0, |end, line| { *end += line.len(); Some(*end) }).take_while(|end| *end <= at).count();
            let (records, good) = parse(&bytes);
            prop_assert_eq!(records.len(), whole);
            prop_assert_eq!(good as usize, lines[..whole].concat().len());
        }
    }

    #[test]
    fn one_process_has_a_journal_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path(), "s3://bucket/x");
        let Ok((mut first, _)) = Journal::open(place.clone()).unwrap() else { panic!("it is free") };
        first.append(&json!({ "t": "begin" }), true).unwrap();
        assert!(Journal::open(place.clone()).unwrap().is_err());
        assert!(look(&place).unwrap().1);
        drop(first);
        let Ok((_, records)) = Journal::open(place.clone()).unwrap() else { panic!("it is free again") };
        assert_eq!(records, [json!({ "t": "begin" })]);
    }
}
