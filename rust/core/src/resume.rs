//! Finish a removal that an earlier call began, where this call asks for the same; else protect what it left.

use std::collections::HashSet;

use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage, show};
use crate::fs;
use crate::journal::{Distrusted, Earlier, Unfinished};
use crate::plan::Plan;
use crate::progress::{Phase, Progress};
use crate::remove::{Original, Standing, left, reached, remove};
use crate::report::PackReport;
use crate::request::PackOptions;
use crate::scan::EntryKind;
use crate::target::Target;

/// What earlier packs to the same targets have left to do.
#[derive(Default)]
pub(crate) struct Backlog {
    unfinished: Vec<Unfinished>,
    distrusted: Option<Distrusted>,
}

impl Backlog {
    /// Take in what lies beside a target.
    pub fn add(&mut self, target: &Target) -> Result<()> {
        match Earlier::find(target)? {
            Earlier::Nothing => {}
            Earlier::Unfinished(unfinished) => self.unfinished.push(unfinished),
            Earlier::Distrusted(distrusted) => self.distrusted = Some(distrusted),
        }
        Ok(())
    }

    /// Whether there is a removal that the same call could finish.
    pub fn is_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    fn originals(&self) -> Vec<Original<'_>> {
        self.unfinished.iter().flat_map(Unfinished::originals).collect()
    }

    /// Refuse a plan whose archive would take the place of the only copy of something.
    pub fn protect(&self, plan: &Plan) -> Result<()> {
        if let Some(Distrusted { target, list, why }) = &self.distrusted {
            let message = format!(
                "{} may hold files whose originals an earlier pack has removed, and its list of them, {}, {why}; move the archive away, or remove the list if nothing is missing",
                show(&target.shown),
                show(list)
            );
            return Err(Error::new(ErrorKind::TargetExists, Stage::Plan, message).at(&target.shown));
        }
        let named = paths(plan);
        let listed: HashSet<Vec<u8>> = self.originals().iter().map(Original::path).collect();
        // Where a removal has ended, new files make a new archive, as without a list.
        let is_new = named.iter().any(|path| !listed.contains(path));
        for list in &self.unfinished {
            let holds_all = || list.originals().iter().all(|original| named.contains(&original.path()));
            let may_replace = if list.ended { is_new } else { holds_all() };
            if !may_replace {
                return Err(replaces_only_copy(list));
            }
        }
        Ok(())
    }

    /// What [`protect`](Self::protect) has seen in the plan must be in the archive, too: files that were left out while
    /// it was packed may be the last copies.
    pub fn protect_from(&self, left_out: bool) -> Result<()> {
        match self.unfinished.iter().find(|list| !list.ended) {
            Some(list) if left_out => Err(replaces_only_copy(list)),
            _ => Ok(()),
        }
    }
}

fn replaces_only_copy(list: &Unfinished) -> Error {
    let (target, path) = (show(&list.target.shown), show(&list.path()));
    let message = if list.ended {
        format!(
            "{target} holds files whose originals an earlier pack has removed, and this pack would replace it by one of what that pack kept or left out; choose another name, or remove {path} to go on"
        )
    } else {
        format!(
            "{target} holds files whose originals an interrupted pack has removed, and this pack would replace it; say the same call again to finish it, move it away, or choose another name ({path} lists the originals)"
        )
    };
    Error::new(ErrorKind::TargetExists, Stage::Plan, message).at(&list.target.shown)
}

fn paths(plan: &Plan) -> HashSet<Vec<u8>> {
    let files = plan.entries().iter().filter(|entry| entry.kind != EntryKind::EmptyDirectory);
    files.map(|entry| plan.path(entry)).collect()
}

/// Remove what is left of the lists and report on the archives, where the sources name just that. `None` where they name
/// more, or not all of it, or all that was ever on the lists.
pub(crate) fn finish(
    backlog: &Backlog,
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
    let originals = backlog.originals();
    let is_there = |original: &&Original<'_>| fs::lstat(fs::path(&original.path())).is_ok();
    let there: Vec<Original<'_>> = originals.iter().filter(is_there).copied().collect();
    let names_what_is_left = named == there.iter().map(Original::path).collect();
    let all_there = there.len() == originals.len() && backlog.unfinished.iter().all(|list| !list.ended);
    // What was left out is in no archive: a removal cannot answer for it.
    let answers = there.iter().all(|original| original.standing != Standing::LeftOut);
    if !backlog.is_unfinished() || !names_what_is_left || all_there || !answers {
        return Ok(None);
    }
    // The stamp says that it is the same file; before the last copies go, its bytes have to say so.
    for list in &backlog.unfinished {
        list.check_archive(|| cancel.check(Stage::Remove))?;
    }
    progress.enter(Phase::Remove);
    let mut removal = remove(&there, options.jobs, cancel, progress);
    if removal.cancelled {
        return Err(Error::cancelled(Stage::Remove));
    }
    for list in &backlog.unfinished {
        let left = left(&list.originals(), &removal.kept);
        if left.is_empty() { list.forget() } else { list.end(&left) }
    }
    removal.kept.extend(reached(&there));
    removal.kept.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(Some(PackReport {
        archives: backlog.unfinished.iter().map(|list| (list.target.shown.clone(), list.digest())).collect(),
        files: originals.len() as u64,
        bytes_in: originals.iter().map(|original| original.stamp.size).sum(),
        bytes_out: backlog.unfinished.iter().map(Unfinished::length).sum(),
        removed: removal.removed,
        kept: removal.kept,
        warnings: vec![
            "the archive is the one that an earlier call had completed; this call removed the originals that were left"
                .into(),
        ],
        ..PackReport::default()
    }))
}
