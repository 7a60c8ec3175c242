//! An archive that others may read while it is packed, as far as its bytes are final.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::fs::{self, Stamp};

/// Wants to know of archives while they are packed.
pub trait Follower: fmt::Debug + Send + Sync {
    /// An archive begins. Called once for each, before its first byte, from the thread that packs: what takes longer than a
    /// moment belongs on a thread of the follower's own.
    fn follow(&self, archive: Arc<Growing>);
}

/// How far an archive has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Growth {
    /// Bytes before this one never change again, and are never taken back; those of `open` apart. It only grows.
    pub sealed: u64,
    /// Bytes among the sealed ones that are not final yet: the header of the large zip member that is being written, whose
    /// checksum is known after its last byte. Some hundred bytes at most, with an alignment some thousand.
    pub open: Option<Range<u64>>,
    /// The length of the whole archive, once that is known; all of it is sealed then.
    pub length: Option<u64>,
    /// Whether the archive bears its name: whoever is killed from here on leaves it behind, complete.
    pub named: bool,
    /// How it ended; `None` while the pack runs.
    pub end: Option<End>,
}

/// How the pack of an archive ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The archive bears its name, and everything that was asked for is done: originals removed, the mark set.
    Finished,
    /// There is no archive, or none to rely on.
    Aborted,
}

impl Growth {
    /// Whether all of these bytes are final.
    pub fn holds(&self, range: &Range<u64>) -> bool {
        let is_open = |open: &Range<u64>| range.start < open.end && open.start < range.end;
        range.end <= self.sealed && !self.open.as_ref().is_some_and(is_open)
    }
}

/// An archive that is being packed, for those who read along.
///
/// What is read here is what the archive will hold, to the byte: a range is readable as soon as it is final and not before.
/// The file stays readable whatever becomes of its name.
#[derive(Debug)]
pub struct Growing {
    path: PathBuf,
    bound: u64,
    file: OwnedFd,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    growth: Growth,
    /// The file as it was when it had all its bytes.
    stamp: Option<Stamp>,
}

impl Growing {
    /// An archive that will stand at `path` and have at most `bound` bytes, and that is written to `file`.
    pub(crate) fn new(path: &Path, bound: u64, file: OwnedFd) -> Arc<Self> {
        let state = Mutex::new(State::default());
        Arc::new(Self { path: path.into(), bound, file, state, wake: Condvar::new() })
    }

    /// An archive that is complete already.
    pub(crate) fn complete(path: &Path) -> io::Result<Arc<Self>> {
        let file = fs::open_path(path)?;
        let length = Stamp::of(&fs::fstat(&file)?).size;
        let this = Self::new(path, length, file);
        this.seal(length, None);
        this.close(length)?;
        this.name();
        Ok(this)
    }

    /// Where the archive will stand.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its length will hardly exceed: reckoned from the sizes that the files had before the pack, and the worst that
    /// headers and compression can add. Files that grow afterwards can.
    pub fn bound(&self) -> u64 {
        self.bound
    }

    /// How far it has come.
    pub fn growth(&self) -> Growth {
        self.lock().growth.clone()
    }

    /// Wait until `enough` is true of what is there, or `patience` is at its end; how far it has come then.
    pub fn wait(&self, mut enough: impl FnMut(&Growth) -> bool, patience: Duration) -> Growth {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || enough(&state.growth) {
                return state.growth.clone();
            }
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Fill `buffer` with the archive's bytes from `offset` on. All of them have to be final; what may still change is
    /// never handed out.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if !self.growth().holds(&(offset..offset + buffer.len() as u64)) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = fs::read_at(&self.file, buffer, offset)?;
        if read < buffer.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Whether nobody has written to the file since it had all its bytes. `false` before that.
    pub fn is_unchanged(&self) -> bool {
        let known = self.lock().stamp;
        known.is_some() && fs::fstat(&self.file).ok().map(|stat| Stamp::of(&stat)) == known
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All before `sealed` is final, but for what is `open`.
    pub(crate) fn seal(&self, sealed: u64, open: Option<&Range<u64>>) {
        let mut state = self.lock();
        state.growth.sealed = state.growth.sealed.max(sealed);
        state.growth.open = open.cloned();
        drop(state);
        self.wake.notify_all();
    }

    /// Everything from `offset` on is taken back. Where that was said to be final, nobody may rely on any of it.
    pub(crate) fn rewound(&self, offset: u64) {
        if offset < self.growth().sealed {
            self.abort();
        }
    }

    /// All bytes are written and sealed.
    pub(crate) fn close(&self, length: u64) -> io::Result<()> {
        let stamp = Stamp::of(&fs::fstat(&self.file)?);
        let mut state = self.lock();
        state.stamp = Some(stamp);
        if state.growth.sealed == length && state.growth.open.is_none() {
            state.growth.length = Some(length);
        }
        drop(state);
        self.wake.notify_all();
        Ok(())
    }

    /// The archive has its name.
    pub(crate) fn name(&self) {
        self.lock().growth.named = true;
        self.wake.notify_all();
    }

    /// The archive is there, with all that was asked for.
    pub(crate) fn finish(&self) {
        let mut state = self.lock();
        let whole = state.growth.length.is_some();
        state.growth.end.get_or_insert(if whole { End::Finished } else { End::Aborted });
        drop(state);
        self.wake.notify_all();
    }

    /// The pack has failed, unless it has finished before.
    pub(crate) fn abort(&self) {
        self.lock().growth.end.get_or_insert(End::Aborted);
        self.wake.notify_all();
    }
}

/// The archives of one pack that are followed: aborted when this goes, unless they were said to be finished.
#[derive(Debug, Default)]
pub(crate) struct Followed(Vec<Arc<Growing>>);

impl Followed {
    pub fn push(&mut self, archive: Arc<Growing>) {
        self.0.push(archive);
    }

    /// The last one has its name.
    pub fn name_last(&self) {
        if let Some(archive) = self.0.last() {
            archive.name();
        }
    }

    /// The pack has ended well.
    pub fn finish(self) {
        self.0.iter().for_each(|archive| archive.finish());
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.0.iter().for_each(|archive| archive.abort());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growing(folder: &Path) -> (Arc<Growing>, OwnedFd) {
        let folder = fs::enter_directory(folder.as_os_str().as_encoded_bytes()).unwrap();
        let file = fs::create_named(&folder, b"archive").unwrap();
        (Growing::new(Path::new("/archive"), 100, file.try_clone().unwrap()), file)
    }

    #[test]
    fn only_what_is_final_is_handed_out() {
        let folder = tempfile::tempdir().unwrap();
        let (growing, file) = growing(folder.path());
        fs::write_all(&file, b"0123456789").unwrap();
        let read = |range: Range<u64>| {
            let mut buffer = vec![0; (range.end - range.start) as usize];
            growing.read_at(&mut buffer, range.start).map(|()| buffer)
        };
        let refused = io::ErrorKind::WouldBlock;
        assert_eq!(read(0..1).unwrap_err().kind(), refused);
        growing.seal(8, Some(&(2..4)));
        assert_eq!((read(0..2).unwrap(), read(4..8).unwrap()), (b"01".to_vec(), b"4567".to_vec()));
        for range in [0..3, 2..4, 3..8, 4..9, 1..5] {
            assert_eq!(read(range.clone()).unwrap_err().kind(), refused, "{range:?}");
        }
        growing.seal(10, None);
        assert_eq!(read(0..10).unwrap(), b"0123456789");
        growing.seal(12, None);
        assert_eq!(read(8..12).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_archive_ends_once() {
        let folder = tempfile::tempdir().unwrap();
        let (growing, file) = growing(folder.path());
        fs::write_all(&file, b"0123456789").unwrap();
        growing.seal(10, Some(&(2..4)));
        growing.close(10).unwrap();
        assert_eq!(growing.growth().length, None, "a header is still open");
        growing.seal(10, None);
        growing.close(10).unwrap();
        assert_eq!(growing.growth().length, Some(10));
        assert!(growing.is_unchanged());
        let mut followed = Followed::default();
        followed.push(Arc::clone(&growing));
        followed.finish();
        growing.abort();
        assert_eq!(growing.growth().end, Some(End::Finished));
        fs::write_all(&file, b"more").unwrap();
        assert!(!growing.is_unchanged());
    }

    #[test]
    fn taking_back_what_was_final_and_failing_both_abort() {
        let folder = tempfile::tempdir().unwrap();
        let (growing, _file) = growing(folder.path());
        growing.seal(10, None);
        growing.rewound(10);
        assert_eq!(growing.growth().end, None);
        growing.rewound(9);
        growing.finish();
        assert_eq!(growing.growth().end, Some(End::Aborted));
        let other = tempfile::tempdir().unwrap();
        let (growing, _file) = self::growing(other.path());
        let mut followed = Followed::default();
        followed.push(Arc::clone(&growing));
        drop(followed);
        assert_eq!(growing.growth().end, Some(End::Aborted));
    }

    #[test]
    fn waiting_ends_with_the_archive_and_with_patience() {
        let folder = tempfile::tempdir().unwrap();
        let (growing, _file) = growing(folder.path());
        assert_eq!(growing.wait(|_| false, Duration::from_millis(1)).sealed, 0);
        let other = Arc::clone(&growing);
        let waiting = std::thread::spawn(move || other.wait(|growth| growth.sealed == 3, Duration::from_secs(60)));
        for sealed in 1..=3 {
            growing.seal(sealed, None);
        }
        assert_eq!(waiting.join().unwrap().sealed, 3);
    }
}
