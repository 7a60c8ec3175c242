//! Finish a removal that an earlier call began, where this call asks for the same; else protect what it left.

use std::ops::Range;

use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage, show_bytes};
use crate::fs::{self, Stamp};
use crate::journal::{Distrusted, Earlier, Unfinished, under_another_name};
use crate::list::Made;
use crate::manifest;
use crate::mark;
use crate::paths::Paths;
use crate::plan::Plan;
use crate::progress::{Phase, Progress};
use crate::refuse::{self, Why};
use crate::remove::{Folder, Original, Presence, Removal, Standing, emptied, left, presence, reached, remove, settle};
use crate::report::{PackReport, Remark};
use crate::request::{Originals, PackOptions, PackRequest};
use crate::scan::EntryKind;
use crate::target::Target;

/// What earlier packs to the same targets have left to do.
#[derive(Default)]
pub(crate) struct Backlog {
    unfinished: Vec<Unfinished>,
    distrusted: Option<Distrusted>,
    /// How many archives there are, with a list or without: shards are moved away together.
    archives: usize,
    /// How many shards there are without a gap, counted from the first.
    shards: u64,
}

impl Backlog {
    /// For shards of these numbers, in order; none for a single archive.
    pub fn of_shards(numbers: impl Iterator<Item = u64>) -> Self {
        let shards = numbers.zip(0..).take_while(|(number, place)| number == place).count() as u64;
        Self { shards, ..Self::default() }
    }

    /// Whether all archives are there that the call made which left this list. What became of the originals of one that
    /// was moved away alone, no other list knows.
    fn is_whole(&self, list: &Unfinished) -> bool {
        let made = list.made().archives;
        made <= 1 || made <= self.shards
    }

    /// Take in what lies beside a target.
    pub fn add(&mut self, target: &Target, cancel: &CancelToken) -> Result<()> {
        let check = &|| cancel.check(Stage::Plan);
        self.archives += 1;
        match Earlier::find(target, check)? {
            Earlier::Nothing => {}
            Earlier::Unfinished(unfinished) => self.unfinished.push(unfinished),
            Earlier::Distrusted(distrusted) => self.distrusted = Some(distrusted),
        }
        if self.distrusted.is_none() {
            self.distrusted = under_another_name(target, check)?;
        }
        // An archive that was moved, and a link left in its place, has its list beside the link.
        let Some(link) = target.by_link() else { return Ok(()) };
        match Earlier::find(&link, check)? {
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

    /// Whether this call names its sources as those did that left the lists: only then may it name what is gone.
    pub fn is_of(&self, request: &PackRequest) -> bool {
        let call = request.call();
        self.is_unfinished() && self.unfinished.iter().all(|list| list.made().call == call)
    }

    fn folders(&self) -> Vec<Vec<Folder<'_>>> {
        self.unfinished.iter().map(Unfinished::folders).collect()
    }

    /// Refuse a plan whose archive would take the place of the only copy of something.
    pub fn protect(&self, plan: &Plan, request: &PackRequest, cancel: &CancelToken) -> Result<()> {
        if let Some(distrusted) = &self.distrusted {
            return Err(refuse::distrusted(distrusted));
        }
        if !self.is_unfinished() {
            return Ok(());
        }
        let folders = self.folders();
        let reading = Reading::new(self, &folders, cancel)?;
        let named = named(plan);
        let Some(list) = reading.in_the_way(self, plan, &named, request, cancel)? else { return Ok(()) };
        Err(self.only_copy(list, &reading.why(self, list, plan, &named, request)))
    }

    /// What [`protect`](Self::protect) has seen in the plan must be in the archive, too: files that were left out while
    /// it was packed may be the last copies.
    pub fn protect_from(&self, left_out: bool) -> Result<()> {
        match self.unfinished.first() {
            Some(list) if left_out => Err(self.only_copy(list, &Why::LeftOut)),
            _ => Ok(()),
        }
    }

    fn only_copy(&self, list: &Unfinished, why: &Why<'_>) -> Error {
        refuse::only_copy(list, why, self.archives > 1)
    }

    /// The error on a target that exists, where it has a removal to be finished.
    pub fn exists(&self, error: Error, cancel: &CancelToken) -> Error {
        let Some(list) = self.unfinished.first() else { return error };
        let folders = self.folders();
        let reading = match Reading::new(self, &folders, cancel) {
            Ok(reading) => reading,
            Err(cancelled) => return cancelled,
        };
        match (reading.away(), reading.doubted()) {
            (Some((_, away)), _) if !list.ended => self.only_copy(list, &Why::Away(away)),
            (None, Some((_, folder))) if !list.ended => self.only_copy(list, &Why::Doubted(folder)),
            _ => refuse::exists(error, list),
        }
    }
}

/// The files of a plan.
fn named(plan: &Plan) -> Paths {
    let files = plan.entries().iter().filter(|entry| entry.kind != EntryKind::EmptyDirectory);
    Paths::new(files.map(|entry| (&plan.directory(entry).path[..], plan.name(entry))))
}

fn parts<'a>(original: &Original<'a>) -> (&'a [u8], &'a [u8]) {
    (original.folder.path, original.name)
}

/// What is on the lists, and what has become of it.
struct Reading<'b> {
    originals: Vec<Original<'b>>,
    /// Which of them are on which list.
    lists: Vec<Range<usize>>,
    found: Vec<Presence>,
    /// Those that are there are as they were packed.
    unchanged: bool,
}

impl<'b> Reading<'b> {
    fn new(backlog: &'b Backlog, folders: &'b [Vec<Folder<'b>>], cancel: &CancelToken) -> Result<Self> {
        let mut originals = Vec::new();
        let mut lists = Vec::with_capacity(folders.len());
        // Growing would take twice what they need.
        let counts = backlog.unfinished.iter().zip(folders).map(|(list, folders)| list.originals(folders).count());
        originals.reserve_exact(counts.sum());
        for (list, folders) in backlog.unfinished.iter().zip(folders) {
            let start = originals.len();
            originals.extend(list.originals(folders));
            lists.push(start..originals.len());
        }
        let (found, unchanged) = presence(&originals, cancel)?;
        Ok(Self { originals, lists, found, unchanged })
    }

    fn there(&self) -> impl Iterator<Item = &Original<'b>> {
        self.originals.iter().zip(&self.found).filter(|(_, found)| **found == Presence::There).map(|(one, _)| one)
    }

    /// The first list whose archive the plan's may not replace. Shards are judged as one: the originals of the first may be
    /// gone, and those of the last still there.
    fn in_the_way<'l>(
        &self,
        backlog: &'l Backlog,
        plan: &Plan,
        named: &Paths,
        request: &PackRequest,
        cancel: &CancelToken,
    ) -> Result<Option<&'l Unfinished>> {
        let cut_off = || {
            let lists = backlog.unfinished.iter().zip(&self.lists).filter(|(list, _)| !list.ended);
            lists.flat_map(|(_, range)| range.clone())
        };
        let holds_all = cut_off().all(|at| named.contains(parts(&self.originals[at])));
        // Cut off between the last original and its list, it is finished: unless what is left has another name now.
        // And unless the disk has another number: it may be a copy of the one that they were packed from, made before.
        let is_gone = |at: usize| self.found[at] == Presence::Gone && self.originals[at].folder.renumbered.is_none();
        let all_gone = cut_off().all(is_gone) && !self.names_moved(plan, cancel);
        // And unless the archive still waits for the mark, without which the platform has never taken it.
        let waits = |list: &Unfinished| request.options.read_only && !mark::is_set(&list.target);
        let mut is_new = None;
        let mut may_replace = |list: &Unfinished| match (list.copied || !backlog.is_whole(list), list.ended) {
            // The originals of its like elsewhere, or of a shard that was moved away, may be the ones that are missing here.
            (true, _) => !list.ended && holds_all,
            // With nothing on them, they are of shards whose like have been moved away, with all that says what is new.
            (false, true) => *is_new.get_or_insert_with(|| !self.originals.is_empty() && self.names_new(plan, cancel)),
            (false, false) => holds_all || (all_gone && !waits(list)),
        };
        let found = backlog.unfinished.iter().find(|list| !may_replace(list));
        // What was looked at no further says nothing.
        cancel.check(Stage::Plan)?;
        Ok(found)
    }

    /// Whether the plan holds files that are on no list: where a removal has ended, new files make a new archive, as without a
    /// list. A file that is on the list is not new by another path.
    fn names_new(&self, plan: &Plan, cancel: &CancelToken) -> bool {
        let listed = Paths::new(self.originals.iter().map(parts));
        let mut known: Vec<_> = self.originals.iter().map(|one| (one.stamp.dev, one.stamp.ino)).collect();
        known.sort_unstable();
        let files = plan.entries().iter().filter(|entry| entry.kind != EntryKind::EmptyDirectory);
        files.filter(|entry| !listed.contains((&plan.directory(entry).path, plan.name(entry)))).any(|entry| {
            let identity = fs::stat(fs::path(&plan.path(entry))).map(|stat| fs::identity(&stat));
            cancel.is_cancelled() || identity.is_ok_and(|identity| known.binary_search(&identity).is_err())
        })
    }

    /// Whether the plan holds an original under another path than the listed one: it was moved, and not removed.
    fn names_moved(&self, plan: &Plan, cancel: &CancelToken) -> bool {
        let files = self.originals.iter().filter(|one| one.standing == Standing::File);
        let mut known: Vec<_> = files.map(|one| one.stamp).collect();
        known.sort_unstable();
        plan.entries().iter().filter(|entry| entry.kind != EntryKind::EmptyDirectory).any(|entry| {
            let path = plan.path(entry);
            let look_up = if entry.kind == EntryKind::StoredLink { fs::lstat } else { fs::stat };
            cancel.is_cancelled()
                || match look_up(fs::path(&path)) {
                    Ok(stat) => known.binary_search(&Stamp::of(&stat)).is_ok(),
                    Err(error) => fs::tells_nothing(&error),
                }
        })
    }

    /// The first original that is out of sight, and its folder.
    fn away(&self) -> Option<(usize, &'b Folder<'b>)> {
        let at = self.found.iter().position(|found| *found == Presence::Unknown)?;
        Some((at, self.originals[at].folder))
    }

    /// The first original on whose absence nobody can rely, and its folder.
    fn doubted(&self) -> Option<(usize, &'b Folder<'b>)> {
        let at = self.originals.iter().zip(&self.found).position(|(original, found)| original.is_doubted(*found))?;
        Some((at, self.originals[at].folder))
    }

    /// Why the plan's archive may not replace that of the list, as far as the caller can do something about it.
    fn why(&self, backlog: &Backlog, list: &Unfinished, plan: &Plan, named: &Paths, request: &PackRequest) -> Why<'b> {
        if list.ended {
            return Why::Ended;
        }
        if let Some((_, folder)) = self.away() {
            return Why::Away(folder);
        }
        if let Some((_, folder)) = self.doubted() {
            return Why::Doubted(folder);
        }
        let there = Paths::of(named, self.there().map(parts));
        let missed = self.there().find(|original| !named.contains(parts(original)));
        let mut files = plan.entries().iter().filter(|entry| entry.kind != EntryKind::EmptyDirectory);
        let extra = files.find(|entry| !there.contains((&plan.directory(entry).path, plan.name(entry))));
        match (missed, extra) {
            _ if request.options.originals != Originals::Remove => Why::Other,
            (None, Some(extra)) => Why::Extra(plan.path(extra)),
            (Some(missed), None) if backlog.is_of(request) => Why::Missed(missed.path()),
            _ => Why::Other,
        }
    }
}

/// Remove what is left of the lists, mark the archives where that is asked for, and report on them, where the sources name
/// just what is left; that nothing is left is believed only of the call that made the archive. `None` where they name more, or
/// not all of it, or all that was ever on the lists.
pub(crate) fn finish(
    backlog: &Backlog,
    plan: &Result<Plan>,
    request: &PackRequest,
    archives: &[&Target],
    cancel: &CancelToken,
    progress: &Progress,
) -> Result<Option<PackReport>> {
    let named = match plan {
        Ok(plan) => named(plan),
        Err(error) if error.kind() == ErrorKind::NoFiles => Paths::default(),
        Err(_) => return Ok(None),
    };
    if !backlog.is_unfinished() || (named.is_empty() && !backlog.is_of(request)) {
        return Ok(None);
    }
    let folders = backlog.folders();
    let reading = Reading::new(backlog, &folders, cancel)?;
    let names_what_is_left = named == Paths::of(&named, reading.there().map(parts));
    let all_there = reading.found.iter().all(|found| *found == Presence::There);
    let ended = backlog.unfinished.iter().all(|list| list.ended);
    // Its list stays, so a file that came later, under the name of one that is gone, would be kept by this call and every other.
    let left_out = || reading.there().any(|original| original.standing == Standing::LeftOut);
    let doubted = reading.doubted().filter(|_| !ended && (!reading.unchanged || left_out()));
    // Nothing was removed, or all was brought back: packed again where that may be, else the archive holds it already.
    let again = all_there && !ended && (request.options.force || !reading.unchanged);
    if let Ok(plan) = plan
        && !named.is_empty()
        && (!names_what_is_left || again)
        && reading.in_the_way(backlog, plan, &named, request, cancel)?.is_none()
    {
        return Ok(None);
    }
    let on_it = |at: usize| backlog.unfinished.iter().zip(&reading.lists).find(|(_, range)| range.contains(&at));
    if let Some((at, folder)) = reading.away()
        && let Some((list, _)) = on_it(at)
    {
        return Err(backlog.only_copy(list, &Why::Away(folder)));
    }
    if let Some((at, folder)) = doubted
        && let Some((list, _)) = on_it(at)
    {
        return Err(backlog.only_copy(list, &Why::Doubted(folder)));
    }
    // What was left out is in no archive: a removal that has ended cannot answer for it.
    let answers = !ended || reading.there().all(|original| original.standing != Standing::LeftOut);
    if !answers || !names_what_is_left || again {
        return Ok(None);
    }
    drop(named);
    // The stamp says that it is the same file; before the last copies go, its bytes have to say so.
    for list in &backlog.unfinished {
        list.check_archive(|| cancel.check(Stage::Remove))?;
        list.bring_to_disk()?;
    }
    progress.enter(Phase::Remove);
    let Some(removal) = remove_rest(backlog, reading, &request.options, archives, cancel, progress)? else {
        return Err(Error::cancelled(Stage::Remove));
    };
    Ok(Some(report(backlog, plan.as_ref().ok(), removal, archives, &request.options)))
}

struct Rest {
    removal: Removal,
    left_out: Vec<Remark>,
    /// A folder on whose word alone nothing is forgotten.
    doubted: Option<Vec<u8>>,
}

/// Remove what is there, mark, and put the lists in order; `None` where the caller has cancelled.
fn remove_rest(
    backlog: &Backlog,
    reading: Reading<'_>,
    options: &PackOptions,
    archives: &[&Target],
    cancel: &CancelToken,
    progress: &Progress,
) -> Result<Option<Rest>> {
    let Reading { originals: mut there, lists, found, .. } = reading;
    let emptied = emptied(&there);
    let doubted = there.iter().zip(&found).find(|(original, found)| original.is_doubted(**found));
    let doubted = doubted.map(|(original, _)| original.folder.path.to_vec());
    let counts = lists.iter().map(|range| found[range.clone()].iter().filter(|one| **one == Presence::There).count());
    let counts: Vec<usize> = counts.collect();
    let mut found = found.into_iter();
    there.retain(|_| found.next() == Some(Presence::There));
    let mut removal = remove(&there, options.jobs, cancel, progress);
    if removal.cancelled {
        return Ok(None);
    }
    let identity = |target: &Target| target.replaces.map(|stamp| (stamp.dev, stamp.ino)).unwrap_or_default();
    let marked = if options.read_only {
        archives.iter().try_for_each(|target| mark::one(target, identity(target)))
    } else {
        Ok(())
    };
    if let (Some(list), Some(target)) = (backlog.unfinished.first(), archives.first()) {
        settle(&emptied, list.device(), target)?;
    }
    let mut start = 0;
    let lefts: Vec<_> = counts
        .into_iter()
        .map(|count| {
            start += count;
            left(&there[start - count..start], &removal.kept)
        })
        .collect();
    // Of shards one list goes when all may go.
    let some_left = lefts.iter().any(|left| !left.is_empty());
    for (list, left) in backlog.unfinished.iter().zip(lefts) {
        // The whole lists stay where the disk that they are about may be another.
        if doubted.is_some() {
            continue;
        }
        if some_left {
            list.end(&left);
        } else if marked.is_ok() {
            list.forget();
        }
    }
    marked?;
    removal.kept.extend(reached(&there));
    removal.kept.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let left_out = there.iter().filter(|original| original.standing == Standing::LeftOut);
    let left_out = left_out.map(|original| Remark {
        path: fs::path(&original.path()).into(),
        reason: "left out by the call that made the archive".into(),
    });
    Ok(Some(Rest { left_out: left_out.collect(), removal, doubted }))
}

fn report(
    backlog: &Backlog,
    plan: Option<&Plan>,
    rest: Rest,
    archives: &[&Target],
    options: &PackOptions,
) -> PackReport {
    let Rest { removal, left_out, doubted } = rest;
    // Shards that were made together have the same counts, of them all.
    let mut made: Vec<Made> = backlog.unfinished.iter().map(Unfinished::made).collect();
    made.dedup();
    let mut report = PackReport { resumed: true, ..PackReport::default() };
    for counts in made.iter().map(Made::report) {
        report.files += counts.files;
        report.directories += counts.directories;
        report.links += counts.links;
        report.bytes_in += counts.bytes_in;
        report.stored += counts.stored;
        report.deflated += counts.deflated;
        report.zstd += counts.zstd;
    }
    report.archives = backlog.unfinished.iter().map(|list| (list.target.shown.clone(), list.digest())).collect();
    report.bytes_out = archives.iter().filter_map(|target| target.replaces).map(|stamp| stamp.size).sum();
    let did = if removal.removed == 0 { "removed no original" } else { "removed the originals that were left" };
    report.warnings = vec![format!("the archive is the one that an earlier call had completed; this call {did}")];
    if let Some(folder) = doubted {
        report.warnings.push(format!(
            "the disk of {} was mounted again under another number, and may be a copy from before there were originals: the list of them stays, and the archive is not replaced",
            show_bytes(&folder)
        ));
    }
    if options.manifest {
        let (there, missing): (Vec<&Target>, Vec<&Target>) =
            archives.iter().partition(|target| manifest::is_there(target, &report.archives));
        report.manifests = there.iter().map(|target| target.manifest().shown).collect();
        if !missing.is_empty() {
            let warning = "a manifest is written only by the call that makes the archive; this call wrote none";
            report.warnings.push(warning.into());
        }
    }
    report.removed = removal.removed;
    report.kept = removal.kept;
    report.skipped = plan.map(|plan| plan.skipped().to_vec()).unwrap_or_default();
    report.skipped.extend(left_out);
    report.skipped.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    report
}
