//! Finish a removal that an earlier call began, where this call asks for the same; else protect what it left.

use std::collections::HashSet;

use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage, show};
use crate::fs;
use crate::journal::{Distrusted, Earlier, Unfinished, under_another_name};
use crate::plan::Plan;
use crate::progress::{Phase, Progress};
use crate::remove::{Original, Presence, Standing, left, presence, reached, remove};
use crate::report::{PackReport, Remark};
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
        if self.distrusted.is_none() {
            self.distrusted = under_another_name(target);
        }
        // An archive that was moved, and a link left in its place, has its list beside the link.
        let Some(link) = target.by_link() else { return Ok(()) };
        match Earlier::find(&link)? {
            Earlier::Nothing => {}
            Earlier::Unfinished(unfinished) => {
                self.distrusted = Some(unfinished.distrust("stands beside a link to it"));
            }
            Earlier::Distrusted(distrusted) => self.distrusted = Some(distrusted),
        }
        Ok(())
    }

    /// Let go of the lists: the pack goes on, and is to replace them.
    pub fn release(&mut self) {
        self.unfinished.iter_mut().for_each(Unfinished::release);
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
        let known: HashSet<(u64, u64)> =
            self.originals().iter().map(|original| (original.stamp.dev, original.stamp.ino)).collect();
        // Where a removal has ended, new files make a new archive, as without a list. A file that is on the list is not
        // new by another path.
        let is_new = named.iter().any(|path| {
            let identity = || fs::stat(fs::path(path)).map(|stat| fs::identity(&stat));
            !listed.contains(path) && identity().is_ok_and(|identity| !known.contains(&identity))
        });
        for list in &self.unfinished {
            let originals = list.originals();
            let holds_all = || originals.iter().all(|original| named.contains(&original.path()));
            // Cut off between the last original and its list, it is finished.
            let all_gone = || presence(&originals).iter().all(|found| *found == Presence::Gone);
            let may_replace = match (list.copied, list.ended) {
                // The originals of its like elsewhere may be the ones that are missing here.
                (true, _) => !list.ended && holds_all(),
                (false, true) => is_new,
                (false, false) => holds_all() || all_gone(),
            };
            if !may_replace {
                return Err(replaces_only_copy(list));
            }
        }
        Ok(())
    }

    /// What [`protect`](Self::protect) has seen in the plan must be in the archive, too: files that were left out while
    /// it was packed may be the last copies.
    pub fn protect_from(&self, left_out: bool) -> Result<()> {
        match self.unfinished.first() {
            Some(list) if left_out => Err(replaces_only_copy(list)),
            _ => Ok(()),
        }
    }
}

fn replaces_only_copy(list: &Unfinished) -> Error {
    let (target, path) = (show(&list.target.shown), show(&list.path()));
    let message = if list.ended {
        format!(
            "{target} holds files whose originals an earlier pack has removed, and this pack would replace it by one of what that pack kept or left out; move it away or choose another name ({path} lists what is left)"
        )
    } else {
        format!(
            "{target} holds files whose originals an interrupted pack has removed, and this pack would replace it; say the same call again to finish it, move it away, or choose another name ({path} lists the originals)"
        )
    };
    Error::new(ErrorKind::TargetExists, Stage::Plan, message).at(&list.target.shown)
}

/// What a list has left when all that could go has gone; what was left out may have gone by another hand.
fn left_there<'a>(originals: &[Original<'a>], kept: &[Remark], there: &[Original<'_>]) -> Vec<Original<'a>> {
    let there: HashSet<Vec<u8>> = there.iter().map(Original::path).collect();
    let mut left = left(originals, kept);
    left.retain(|original| there.contains(&original.path()));
    left
}

/// Refuse to take for gone what may only be out of sight.
fn folder_is_away(backlog: &Backlog, original: &Original<'_>) -> Error {
    let list = backlog.unfinished.first().map(Unfinished::path).unwrap_or_default();
    let folder = fs::path(original.folder);
    let message = format!(
        "the folder {}, whose files an earlier pack was removing, is away or another one; bring it back and say the same call again, or remove {} if nothing in it is missing",
        show(folder),
        show(&list)
    );
    let cause = std::io::Error::from_raw_os_error(libc::ENOENT);
    Error::io(Stage::Remove, "enter", folder, cause).with_message(message)
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
    let found = presence(&originals);
    let there: Vec<Original<'_>> =
        originals.iter().zip(&found).filter(|(_, found)| **found == Presence::There).map(|(one, _)| *one).collect();
    let ended = backlog.unfinished.iter().all(|list| list.ended);
    let names_what_is_left = named == there.iter().map(Original::path).collect();
    let all_there = there.len() == originals.len() && !ended;
    // What was left out is in no archive: a removal that has ended cannot answer for it.
    let answers = !ended || there.iter().all(|original| original.standing != Standing::LeftOut);
    if !backlog.is_unfinished() || !names_what_is_left || all_there || !answers {
        return Ok(None);
    }
    if let Some(away) = found.iter().position(|found| *found == Presence::Unknown) {
        return Err(folder_is_away(backlog, &originals[away]));
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
        let left = self::left_there(&list.originals(), &removal.kept, &there);
        if left.is_empty() { list.forget() } else { list.end(&left) }
    }
    removal.kept.extend(reached(&there));
    removal.kept.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let left_out = there.iter().filter(|original| original.standing == Standing::LeftOut);
    let skipped = left_out.map(|original| Remark {
        path: fs::path(&original.path()).into(),
        reason: "left out by the call that made the archive".into(),
    });
    let did = if removal.removed == 0 { "removed no original" } else { "removed the originals that were left" };
    let mut warnings = vec![format!("the archive is the one that an earlier call had completed; this call {did}")];
    if options.manifest {
        warnings.push("a manifest is written only by the call that makes the archive; this call wrote none".into());
    }
    Ok(Some(PackReport {
        archives: backlog.unfinished.iter().map(|list| (list.target.shown.clone(), list.digest())).collect(),
        files: originals.len() as u64,
        bytes_in: originals.iter().map(|original| original.stamp.size).sum(),
        bytes_out: backlog.unfinished.iter().map(Unfinished::length).sum(),
        removed: removal.removed,
        kept: removal.kept,
        skipped: skipped.collect(),
        warnings,
        ..PackReport::default()
    }))
}
