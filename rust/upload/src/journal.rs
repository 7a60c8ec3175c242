//! What has to outlive a killed process: one file for each upload in parts, appended to line by line; and one for each process,
//! which names what it was asked to send.
//!
//! A line is JSON, a tab, and the CRC-32C of the JSON. What follows the first line that is torn or lies is not believed: parts that
//! are not believed are sent again. The lock on the file says whether its process lives.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::checksum::{Wanted, hex, of, sha256};
use crate::error::{Result, UploadError, UploadErrorKind};

/// The version that is written, and the only one that is read.
const VERSION: u64 = 1;

/// Fifty thousand parts of 200 bytes, or five thousand files with the longest names, and as much again; longer files are not ours.
const LONGEST: u64 = 64 << 20;

/// No record of ours is longer.
const LONGEST_LINE: u64 = 1 << 20;

/// Descriptors of locked files: a forked child has to close them, or it would hold the locks for as long as it lives.
static LOCKED: [AtomicI32; 256] = [const { AtomicI32::new(-1) }; 256];

/// A locked journal, to be appended to.
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// How many bytes of it are whole lines.
    good: u64,
    /// Half a line stands behind them.
    torn: bool,
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
        "free some space, or set VHPACK_STATE_DIR to a folder of yours on another disk",
    )
}

/// The journal of uploads to an object, see `destination::place_of`.
pub(crate) fn place(state_dir: &Path, object: &str) -> PathBuf {
    state_dir.join(format!("{}.v{VERSION}.jsonl", hex(&sha256(object.as_bytes())[..16])))
}

/// The ledger of a watch of `folder` that uploads to a place.
pub(crate) fn watch_place(state_dir: &Path, folder: &Path, place: &str) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let both = [folder.as_os_str().as_bytes(), b"\0", place.as_bytes()].concat();
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
        let mut records = Vec::new();
        let opened = Self::open_each(path, LONGEST, |record| records.push(record))?;
        Ok(opened.map(|journal| (journal, records)))
    }

    /// The same, each record handed over as it is read: a file of up to `longest` bytes need not be in memory.
    pub fn open_each(path: PathBuf, longest: u64, mut each: impl FnMut(Value)) -> Result<Result<Self, Busy>> {
        loop {
            let open =
                OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(careful()).open(&path);
            let mut file = open.and_then(|file| ours(file, &path)).map_err(|cause| failed(&path, "open", &cause))?;
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
            let length = file.metadata().map_err(|cause| failed(&path, "read", &cause))?.len();
            if length > longest {
                let message =
                    format!("the journal `{}` is longer than any that vhpack writes; remove it", path.display());
                return Err(UploadError::new(UploadErrorKind::Journal, message));
            }
            let good = read_each(&mut file, longest, &mut each).map_err(|cause| failed(&path, "read", &cause))?;
            file.set_len(good).map_err(|cause| failed(&path, "cut the torn end of", &cause))?;
            let slot =
                LOCKED.iter().position(|slot| slot.compare_exchange(-1, file.as_raw_fd(), Relaxed, Relaxed).is_ok());
            return Ok(Ok(Self { path, file, good, torn: false, slot }));
        }
    }

    /// Append a record; `sync` waits until it would survive a power cut.
    pub fn append(&mut self, record: &Value, sync: bool) -> Result<()> {
        let line = line(record);
        let written = self.write(line.as_bytes()).and_then(|()| if sync { self.file.sync_data() } else { Ok(()) });
        written.map_err(|cause| failed(&self.path, "write", &cause))
    }

    /// Write a line, or none of it: behind half a line, which a disk may have had room for, nothing would be believed any more.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.good)?;
        }
        self.torn = true;
        if let Err(cause) = self.file.write_all(line) {
            // Where this fails, too, the next line is not written before it is done.
            self.torn = self.file.set_len(self.good).is_err();
            return Err(cause);
        }
        self.torn = false;
        self.good += line.len() as u64;
        Ok(())
    }

    /// Begin anew with one record.
    pub fn restart(&mut self, record: &Value) -> Result<()> {
        self.file.set_len(0).map_err(|cause| failed(&self.path, "empty", &cause))?;
        (self.good, self.torn) = (0, false);
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

/// Neither what a link leads to nor what keeps its reader waiting is a journal.
fn careful() -> i32 {
    use rustix::fs::OFlags;
    (OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32
}

/// A journal says which files to send and to remove: it is believed only if nobody else can have written it.
fn ours(file: File, path: &Path) -> io::Result<File> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = file.metadata()?;
    let refused = |why: &str| Err(io::Error::other(why.to_owned()));
    if !meta.is_file() {
        return refused("it is no regular file");
    }
    let open_to = |mode: u32| mode & 0o022;
    if meta.uid() == rustix::process::geteuid().as_raw() && open_to(meta.mode()) == 0 {
        return Ok(file);
    }
    // Some file systems have one owner, or one mode, for all: then it is the one that a file of ours has there.
    let (uid, mode) = owner_of_a_new_file(path.parent().unwrap_or(Path::new(".")))?;
    if meta.uid() != uid {
        return refused("it belongs to another user");
    }
    if open_to(meta.mode()) & !open_to(mode) != 0 {
        return refused("others may write to it");
    }
    Ok(file)
}

fn owner_of_a_new_file(folder: &Path) -> io::Result<(u32, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    // A name that no other thread or process takes meanwhile; were one left behind, the next would have another.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let probe = folder.join(format!(".probe-{}-{now}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(careful()).open(&probe)?;
    let meta = made.metadata();
    crate::disk::remove_file(probe)?;
    meta.map(|meta| (meta.uid(), meta.mode()))
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

/// Hand over the records up to the first that cannot be believed; how many bytes they take.
fn read_each(file: &mut File, longest: u64, each: &mut impl FnMut(Value)) -> io::Result<u64> {
    file.rewind()?;
    let mut lines = BufReader::new(file.take(longest));
    let (mut line, mut good) = (Vec::new(), 0);
    loop {
        line.clear();
        lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        let Some(record) = record_of(&line) else { return Ok(good) };
        each(record);
        good += line.len() as u64;
    }
}

fn line(record: &Value) -> String {
    let text = record.to_string();
    let crc = of(text.as_bytes(), Wanted { crc32c: true, ..Wanted::default() }).crc32c.unwrap_or_default();
    format!("{text}\t{crc:08x}\n")
}

/// The record of a line; `None` where it is torn, or lies.
fn record_of(line: &[u8]) -> Option<Value> {
    let text = line.strip_suffix(b"\n")?;
    let (json, crc) = text.split_at_checked(text.len().checked_sub(9)?)?;
    let sum = of(json, Wanted { crc32c: true, ..Wanted::default() }).crc32c.unwrap_or_default();
    if crc != format!("\t{sum:08x}").as_bytes() {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// The records of a journal that may belong to another process, and whether that lives.
pub(crate) fn look(path: &Path) -> io::Result<(Vec<Value>, bool)> {
    let mut file =
        OpenOptions::new().read(true).custom_flags(careful()).open(path).and_then(|file| ours(file, path))?;
    let alive = flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK);
    let mut records = Vec::new();
    read_each(&mut file, LONGEST, &mut |record| records.push(record))?;
    Ok((records, alive))
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

    fn parse(bytes: &[u8]) -> (Vec<Value>, u64) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut records = Vec::new();
        let good = read_each(&mut file, LONGEST, &mut |record| records.push(record)).unwrap();
        (records, good)
    }

    #[test]
    fn what_others_may_have_written_is_not_believed() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path(), "s3://bucket/x");
        let Ok((mut journal, _)) = Journal::open(place.clone()).unwrap() else { panic!("it is free") };
        journal.append(&json!({ "t": "begin" }), false).unwrap();
        drop(journal);
        assert_eq!(look(&place).unwrap().0.len(), 1);
        let open = File::options().read(true).open(&place).unwrap();
        open.set_permissions(std::fs::Permissions::from_mode(0o622)).unwrap();
        assert!(look(&place).is_err());
        assert!(Journal::open(place).is_err());
        let pipe = folder.path().join("0.v1.jsonl");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(look(&pipe).is_err(), "a pipe keeps its reader waiting");
    }

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
    fn a_line_that_was_cut_off_takes_none_behind_it_along() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path(), "s3://bucket/x");
        let Ok((mut journal, _)) = Journal::open(place.clone()).unwrap() else { panic!("it is free") };
        journal.append(&json!({ "n": 1 }), false).unwrap();
        // As a full disk leaves it: room for some of a line, and an error.
        journal.file.write_all(b"{\"n\":").unwrap();
        journal.torn = true;
        journal.append(&json!({ "n": 2 }), false).unwrap();
        assert_eq!(look(&place).unwrap().0, [json!({ "n": 1 }), json!({ "n": 2 })]);
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
