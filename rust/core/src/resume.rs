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

/// Whether the plan holds every original of the lists again, so that replacing the archives loses none.
pub(crate) fn covers<'u>(plan: &Plan, unfinished: &'u [Unfinished]) -> std::result::Result<(), &'u Unfinished> {
    let packed = paths(plan);
    let held = |list: &Unfinished| list.originals().iter().all(|original| packed.contains(&original.path()));
    unfinished.iter().find(|list| !held(list)).map_or(Ok(()), Err)
}

fn paths(plan: &Plan) -> HashSet<Vec<u8>> {
    let files = plan.entries().iter().filter(|entry| entry.kind != EntryKind::EmptyDirectory);
    files.map(|entry| plan.path(entry)).collect()
}

/// Remove what is left of the lists and report on the archives, where the sources name just that. `None` where they name
/// more, or not all of it, or all that was ever on the lists.
pub(crate) fn finish(
    unfinished: &[Unfinished],
    plan: &Result<Plan>,
    options: &PackOptions,
    cancel: &CancelToken,
    progress: &Progress,
) -> Result<Option<PackReport>> {
    let named = match plan {
        Ok(plan) => paths(plan),
        Err(error) if error.kind() == ErrorKind::NoFiles => HashSet::new(),
        Err(_) => return Ok(None),
    };
    let originals: Vec<Original<'_>> = unfinished.iter().flat_map(Unfinished::originals).collect();
    let there = |original: &&Original<'_>| fs::lstat(fs::path(&original.path())).is_ok();
    let left: Vec<Original<'_>> = originals.iter().filter(there).copied().collect();
    let left_paths: HashSet<Vec<u8>> = left.iter().map(Original::path).collect();
    if unfinished.is_empty() || left.len() == originals.len() || left_paths != named {
        return Ok(None);
    }
    // The stamp says that it is the same file; before the last copies go, its bytes have to say so.
    for list in unfinished {
        list.check_archive(|| cancel.check(Stage::Remove))?;
    }
    progress.enter(Phase::Remove);
    let removal = remove(&left, options.jobs, cancel, progress);
    if removal.cancelled {
        return Err(Error::cancelled(Stage::Remove));
    }
    if removal.kept.is_empty() {
        unfinished.iter().for_each(Unfinished::forget);
    }
    Ok(Some(PackReport {
        archives: unfinished.iter().map(|list| (list.target.shown.clone(), list.digest)).collect(),
        files: originals.len() as u64,
        bytes_in: originals.iter().map(|original| original.stamp.size).sum(),
        bytes_out: unfinished.iter().map(|list| list.length).sum(),
        removed: removal.removed,
        kept: removal.kept,
        warnings: vec![
            "the archive is the one that an interrupted call had completed; this call removed the originals that were left".into(),
        ],
        ..PackReport::default()
    }))
}
