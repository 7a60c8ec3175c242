//! Remove originals: exactly those that were packed, in parallel, past single failures, and resumable.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::cancel::CancelToken;
use crate::commit::Committed;
use crate::error::{Result, reason};
use crate::fs::{self, Kind, Stamp};
use crate::journal::Journal;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::Remark;
use crate::scan::EntryKind;
use crate::target::Target;
use crate::threads::on_threads;

/// Originals looked at and unlinked between two looks at the shared counter.
const CHUNK: usize = 64;

/// A file that was packed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Original<'a> {
    pub folder: &'a [u8],
    pub name: &'a [u8],
    /// A link to the file that was packed: the link goes, the file stays.
    pub is_link: bool,
    /// The file as it was when it was read.
    pub stamp: Stamp,
}

impl Original<'_> {
    pub fn path(&self) -> Vec<u8> {
        fs::join(self.folder, self.name)
    }
}

/// What became of the originals.
#[derive(Default)]
pub(crate) struct Removal {
    pub removed: u64,
    pub kept: Vec<Remark>,
    /// The caller cancelled before all were looked at.
    pub cancelled: bool,
}

/// Remove what a committed archive holds. The list of it is on disk before the first file goes, so that a call that
/// is killed meanwhile can be finished by the next.
pub(crate) fn remove_originals(
    committed: &Committed,
    plan: &Plan,
    target: &Target,
    jobs: usize,
    cancel: &CancelToken,
    progress: &Progress,
) -> Result<Removal> {
    if !committed.removable {
        return Ok(Removal::default());
    }
    let (mut originals, mut out_of_reach) = (Vec::with_capacity(committed.records.len()), Vec::new());
    for record in &committed.records {
        let entry = &plan.entries()[record.entry as usize];
        let directory = plan.directory(entry);
        match entry.kind {
            EntryKind::EmptyDirectory => {}
            _ if directory.through_link => out_of_reach.push(Remark {
                path: fs::path(&plan.path(entry)).into(),
                reason: "reached through a linked folder".into(),
            }),
            kind => originals.push(Original {
                folder: &directory.path,
                name: plan.name(entry),
                is_link: kind == EntryKind::LinkedFile,
                stamp: record.stamp,
            }),
        }
    }
    let journal = Journal::begin(target, committed, &originals)?;
    let mut removal = remove(&originals, jobs, cancel, progress);
    if !removal.cancelled {
        journal.end();
    }
    removal.kept.extend(out_of_reach);
    removal.kept.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(removal)
}

/// Unlink every original that is still the file that was packed.
pub(crate) fn remove(originals: &[Original<'_>], jobs: usize, cancel: &CancelToken, progress: &Progress) -> Removal {
    let (next, cancelled) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut remover = Remover { folder: None, kept: Vec::new() };
        loop {
            let start = next.fetch_add(CHUNK, Ordering::Relaxed);
            let Some(rest) = originals.get(start..).filter(|rest| !rest.is_empty()) else { break };
            if cancel.is_cancelled() {
                cancelled.store(true, Ordering::Relaxed);
                break;
            }
            let gone = rest.iter().take(CHUNK).filter(|original| remover.remove(original)).count();
            progress.removed.add(gone as u64);
        }
        remover.kept
    };
    let threads = jobs.min(originals.len().div_ceil(CHUNK)).max(1);
    let kept = on_threads(threads, work).into_iter().flatten().collect();
    Removal { removed: progress.removed.get(), kept, cancelled: cancelled.into_inner() }
}

struct Remover<'a> {
    /// The folder opened last; consecutive originals mostly share it.
    folder: Option<(&'a [u8], OwnedFd)>,
    kept: Vec<Remark>,
}

impl<'a> Remover<'a> {
    /// Whether the original is gone now, and by this call.
    fn remove(&mut self, original: &Original<'a>) -> bool {
        match self.try_remove(original) {
            Ok(gone) => gone,
            Err(reason) => {
                self.kept.push(Remark { path: fs::path(&original.path()).into(), reason });
                false
            }
        }
    }

    /// `false` where there is nothing any more: it was removed by another hand, or by an earlier call.
    fn try_remove(&mut self, original: &Original<'a>) -> Result<bool, String> {
        if self.folder.as_ref().is_none_or(|(path, _)| *path != original.folder) {
            let folder = match fs::open_directory(original.folder) {
                Ok(folder) => folder,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(reason(&error)),
            };
            self.folder = Some((original.folder, folder));
        }
        let Some((_, folder)) = &self.folder else { return Ok(false) };
        let stat = match fs::lstat_at(folder, original.name) {
            Ok(stat) => stat,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(reason(&error)),
        };
        let same = if original.is_link {
            // The link goes, so it must still be one, and lead to the file that was packed.
            Kind::of(&stat) == Kind::Link
                && fs::stat_at(folder, original.name).is_ok_and(|end| Stamp::of(&end) == original.stamp)
        } else {
            Stamp::of(&stat) == original.stamp
        };
        if !same {
            return Err("changed since it was packed".into());
        }
        fs::unlink(folder, original.name).map(|()| true).map_err(|error| reason(&error))
    }
}
