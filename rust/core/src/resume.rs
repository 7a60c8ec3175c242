//! Finish a removal that an earlier call began, where this call asks for the same.

use std::collections::HashSet;

use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::fs;
use crate::journal::Unfinished;
use crate::plan::Plan;
use crate::progress::{Phase, Progress};
use crate::remove::{Original, remove};
use crate::report::PackReport;
use crate::request::PackOptions;
use crate::scan::EntryKind;
use crate::target::Target;

/// Whether the plan holds every original of the list again, so that replacing the archive loses none.
pub(crate) fn covers(plan: &Plan, unfinished: &Unfinished) -> bool {
    let packed = paths(plan);
    unfinished.originals().iter().all(|original| packed.contains(&original.path()))
}

fn paths(plan: &Plan) -> HashSet<Vec<u8>> {
    let files = plan.entries().iter().filter(|entry| entry.kind != EntryKind::EmptyDirectory);
    files.map(|entry| plan.path(entry)).collect()
}

/// Remove what is left of the list and report on the archive, where the sources name just that. `None` where they name
/// more, or not all of it, or all that was ever on the list.
pub(crate) fn finish(
    unfinished: &Unfinished,
    plan: &Result<Plan>,
    target: &Target,
    options: &PackOptions,
    cancel: &CancelToken,
    progress: &Progress,
) -> Result<Option<PackReport>> {
    let named = match plan {
        Ok(plan) => paths(plan),
        Err(error) if error.kind() == ErrorKind::NoFiles => HashSet::new(),
        Err(_) => return Ok(None),
    };
    let originals = unfinished.originals();
    let there = |original: &&Original<'_>| fs::lstat(fs::path(&original.path())).is_ok();
    let left: Vec<Original<'_>> = originals.iter().filter(there).copied().collect();
    let left_paths: HashSet<Vec<u8>> = left.iter().map(Original::path).collect();
    if left.len() == originals.len() || left_paths != named {
        return Ok(None);
    }
    // The stamp says that it is the same file; before the last copies go, its bytes have to say so.
    unfinished.check_archive(target, || cancel.check(Stage::Remove))?;
    progress.enter(Phase::Remove);
    let removal = remove(&left, options.jobs, cancel, progress);
    if removal.cancelled {
        return Err(Error::cancelled(Stage::Remove));
    }
    if removal.kept.is_empty() {
        unfinished.forget();
    }
    Ok(Some(PackReport {
        target: target.shown.clone(),
        files: originals.len() as u64,
        bytes_in: originals.iter().map(|original| original.stamp.size).sum(),
        bytes_out: unfinished.length,
        removed: removal.removed,
        kept: removal.kept,
        warnings: vec![
            "the archive is the one that an interrupted call had completed; this call removed the originals that were left".into(),
        ],
        digest: unfinished.digest,
        ..PackReport::default()
    }))
}
