//! Make the archive visible, durable first where something depends on it; then, given the proof, remove the originals.

use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::cancel::CancelToken;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, Stage, reason};
use crate::fs::{self, Kind, Stamp};
use crate::pipeline::{Record, Written, cut_short};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::Remark;
use crate::request::{Originals, PackOptions};
use crate::scan::{Entry, EntryKind};
use crate::sink::{Sink as _, StagedFile};

/// Portion in which a staged archive is read back.
const PORTION: usize = 1 << 20;

/// Originals looked at and unlinked between two looks at the shared counter.
const CHUNK: usize = 64;

/// An archive that has its name; proof of what was asked for: with originals to remove, that it was read back, that it
/// and its name are on disk.
pub(crate) struct Committed {
    pub records: Vec<Record>,
    pub skipped: Vec<Remark>,
    pub length: u64,
    pub digest: u128,
    removable: bool,
}

/// Check, sync where asked, publish.
pub(crate) fn commit(written: Written<StagedFile>, options: &PackOptions, cancel: &CancelToken) -> Result<Committed> {
    let Written { mut sink, length, records, skipped, digest } = written;
    if sink.length() != length || sink.length_on_disk()? != length {
        return Err(cut_short());
    }
    let durable = options.originals != Originals::Keep;
    let removable = options.originals == Originals::Remove;
    let check = || cancel.check(Stage::Commit);
    if durable {
        sink.sync(check)?;
    }
    if removable {
        read_back(&mut sink, length, digest, check)?;
    }
    check()?;
    let finished = sink.publish(options.force)?;
    if durable {
        finished.sync_folder()?;
    }
    Ok(Committed { records, skipped, length, digest, removable })
}

/// The staged bytes are those that were written: before originals go, the archive is read once from end to end.
fn read_back(sink: &mut StagedFile, length: u64, digest: u128, check: impl Fn() -> Result<()>) -> Result<()> {
    let mut portion = vec![0; PORTION];
    let mut seen = Digest::new();
    let mut offset = 0;
    while offset < length {
        check()?;
        let count = sink.read_back(offset, &mut portion)?;
        if count == 0 {
            return Err(cut_short());
        }
        seen.update(&portion[..count]);
        offset += count as u64;
    }
    if seen.finish() == digest {
        return Ok(());
    }
    let message = "the staged archive does not read back as it was written; nothing was published, nothing removed";
    Err(Error::new(ErrorKind::Io, Stage::Commit, message))
}

/// What became of the originals.
#[derive(Default)]
pub(crate) struct Removal {
    pub removed: u64,
    pub kept: Vec<Remark>,
    /// The caller cancelled before all were looked at.
    pub cancelled: bool,
}

/// Remove exactly the files that were packed: same device, inode, size and modification time, not reached through a
/// linked folder. Goes on past single failures.
pub(crate) fn remove_originals(
    committed: &Committed,
    plan: &Plan,
    jobs: usize,
    cancel: &CancelToken,
    progress: &Progress,
) -> Removal {
    if !committed.removable {
        return Removal::default();
    }
    let (next, cancelled) = (AtomicUsize::new(0), AtomicBool::new(false));
    let kept = Mutex::new(Vec::new());
    let work = || {
        let mut remover = Remover { plan, folder: None, kept: Vec::new() };
        loop {
            let start = next.fetch_add(CHUNK, Ordering::Relaxed);
            let Some(records) = committed.records.get(start..) else { break };
            if records.is_empty() {
                break;
            }
            if cancel.is_cancelled() {
                cancelled.store(true, Ordering::Relaxed);
                break;
            }
            let gone = records.iter().take(CHUNK).filter(|record| remover.remove(record)).count();
            progress.removed.add(gone as u64);
        }
        kept.lock().unwrap_or_else(PoisonError::into_inner).append(&mut remover.kept);
    };
    std::thread::scope(|scope| {
        let threads = jobs.min(committed.records.len().div_ceil(CHUNK));
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let mut kept = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
    kept.sort_unstable_by(|a: &Remark, b| a.path.cmp(&b.path));
    Removal { removed: progress.removed.get(), kept, cancelled: cancelled.into_inner() }
}

struct Remover<'a> {
    plan: &'a Plan,
    folder: Option<(u32, OwnedFd)>,
    kept: Vec<Remark>,
}

impl Remover<'_> {
    /// Whether the original is gone now, and by this call.
    fn remove(&mut self, record: &Record) -> bool {
        let entry = &self.plan.entries()[record.entry as usize];
        if entry.kind == EntryKind::EmptyDirectory {
            return false;
        }
        match self.try_remove(record, entry) {
            Ok(()) => true,
            Err(reason) => {
                let path = fs::path(&self.plan.path(entry)).into();
                self.kept.push(Remark { path, reason });
                false
            }
        }
    }

    fn try_remove(&mut self, record: &Record, entry: &Entry) -> Result<(), String> {
        let directory = self.plan.directory(entry);
        if directory.through_link {
            return Err("reached through a linked folder".into());
        }
        if self.folder.as_ref().is_none_or(|(index, _)| *index != entry.directory) {
            let folder = fs::open_directory(&directory.path).map_err(|error| reason(&error))?;
            self.folder = Some((entry.directory, folder));
        }
        let Some((_, folder)) = &self.folder else { return Ok(()) };
        let name = self.plan.name(entry);
        let stat = fs::lstat_at(folder, name).map_err(|error| reason(&error))?;
        let same = match entry.kind {
            // The link goes, so it must still be one, and lead to the file that was packed.
            EntryKind::LinkedFile => {
                Kind::of(&stat) == Kind::Link
                    && fs::stat_at(folder, name).is_ok_and(|end| Stamp::of(&end) == record.stamp)
            }
            _ => Stamp::of(&stat) == record.stamp,
        };
        if !same {
            return Err("changed since it was packed".into());
        }
        fs::unlink(folder, name).map_err(|error| reason(&error))
    }
}
