//! Remove originals: exactly those that were packed, in parallel, past single failures, and resumable.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::cancel::CancelToken;
use crate::commit::Committed;
use crate::error::{Error, Result, Stage, reason, show, show_bytes};
use crate::fs::{self, Kind, Stamp, Stat};
use crate::journal::Journal;
use crate::list::{self, Made};
use crate::mark;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::Remark;
use crate::request::PackOptions;
use crate::scan::{Directory, EntryKind};
use crate::target::Target;
use crate::threads::on_threads;

/// Originals looked at and unlinked between two looks at the shared counter.
const CHUNK: usize = 64;

/// A folder that files were packed from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Folder<'a> {
    pub path: &'a [u8],
    /// Device and inode.
    pub identity: (u64, u64),
    /// `None` where it was gone already when the list was made.
    pub origin: Option<fs::Origin>,
    /// The number that its device had when the list was made, where that is another now.
    pub renumbered: Option<u64>,
}

impl Folder<'_> {
    /// Let a folder of a list have the number that its device has now: disks get another one with each mount.
    pub fn renumber(&mut self) {
        let now = self.origin.and_then(|origin| fs::renumbered(self.path, self.identity, origin));
        if let Some(now) = now {
            self.renumbered = Some(std::mem::replace(&mut self.identity.0, now));
        }
    }

    /// The stamp of a file in it, as a list has it, by the number that its device has now.
    pub fn stamp_now(&self, listed: Stamp) -> Stamp {
        if self.renumbered == Some(listed.dev) { Stamp { dev: self.identity.0, ..listed } } else { listed }
    }
}

/// A file that was packed; 72 bytes, since there may be millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Original<'a> {
    pub folder: &'a Folder<'a>,
    pub name: &'a [u8],
    pub standing: Standing,
    /// The file as it was when it was read.
    pub stamp: Stamp,
}

/// What is to become of a source. The numbers stand in lists on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Standing {
    /// It goes.
    File = 1,
    /// A link to the file that was packed: the link goes, the file stays.
    Link = 2,
    /// Packed, and reached through a linked folder: it is not the caller's to remove.
    Reached = 3,
    /// Named and not packed, since it changed meanwhile.
    LeftOut = 4,
}

impl Standing {
    pub fn of(number: u8) -> Option<Self> {
        [Self::File, Self::Link, Self::Reached, Self::LeftOut].into_iter().find(|known| *known as u8 == number)
    }

    /// Whether the archive holds it and the original may go.
    pub fn goes(self) -> bool {
        matches!(self, Self::File | Self::Link)
    }
}

impl Original<'_> {
    pub fn path(&self) -> Vec<u8> {
        fs::join(self.folder.path, self.name)
    }

    /// Whether it is missing on a disk that has another number now: that may be a copy of the disk, made before it was there.
    pub fn is_doubted(&self, found: Presence) -> bool {
        found == Presence::Gone && self.folder.renumbered.is_some()
    }

    /// Whether what stands under its name, `stat`, is what was packed: of a link that is the file to which it leads.
    fn is_as_packed(&self, stat: &Stat, folder: &OwnedFd) -> bool {
        let leads_to_it = || fs::stat_at(folder, self.name).is_ok_and(|end| Stamp::of(&end) == self.stamp);
        match self.standing {
            Standing::Link => Kind::of(stat) == Kind::Link && leads_to_it(),
            Standing::Reached => Stamp::of(stat) == self.stamp || leads_to_it(),
            Standing::File | Standing::LeftOut => Stamp::of(stat) == self.stamp,
        }
    }
}

/// Whether an original is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    There,
    /// Its folder is the one that it was packed from, and has nothing of that name.
    Gone,
    /// Its folder is away, or another.
    Unknown,
}

/// Whether a folder made at another time has the place, and even the inode, of the one that was packed from.
fn is_another(folder: &Folder<'_>) -> bool {
    folder.origin.is_some_and(|origin| fs::origin(folder.path).is_some_and(|now| now != origin))
}

/// Look for every original, by the folder that it was packed from; and whether those that are there are as they were packed.
pub(crate) fn presence<'a>(originals: &[Original<'a>], cancel: &CancelToken) -> Result<(Vec<Presence>, bool)> {
    let mut remover = Remover::<'a>::default();
    let mut known: Option<(&Folder<'_>, bool)> = None;
    let mut found = Vec::with_capacity(originals.len());
    let mut unchanged = true;
    for original in originals {
        cancel.check(Stage::Plan)?;
        if original.standing == Standing::LeftOut {
            let there = !fs::lstat(fs::path(&original.path())).is_err_and(|error| !fs::tells_nothing(&error));
            found.push(if there { Presence::There } else { Presence::Gone });
            continue;
        }
        let another = match known {
            Some((folder, another)) if std::ptr::eq(folder, original.folder) => another,
            _ => is_another(original.folder),
        };
        known = Some((original.folder, another));
        found.push(match remover.look_up(original) {
            _ if another => Presence::Unknown,
            Ok(Some((stat, folder))) => {
                unchanged &= original.is_as_packed(&stat, folder);
                Presence::There
            }
            Ok(None) => Presence::Gone,
            Err(_) => Presence::Unknown,
        });
    }
    Ok((found, unchanged))
}

/// The folders that originals go from, in order.
pub(crate) fn emptied<'a>(originals: &[Original<'a>]) -> Vec<&'a Folder<'a>> {
    let going = originals.iter().filter(|original| original.standing.goes());
    let mut folders: Vec<_> = going.map(|original| original.folder).collect();
    folders.dedup_by(|a, b| std::ptr::eq(*a, *b));
    folders
}

/// Wait until what was removed is gone from the disks, before the list of it goes from its own, `own`: the other way round a
/// loss of power could bring originals back that nothing tells from new files. Some disks keep the order by themselves.
pub(crate) fn settle(emptied: &[&Folder<'_>], own: Option<u64>, target: &Target) -> Result<()> {
    let mut settled = Vec::new();
    for folder in emptied {
        let device = folder.identity.0;
        if settled.contains(&device) {
            continue;
        }
        let unsettled = |error: std::io::Error| {
            let message = format!(
                "{} is complete, and its originals are removed, but the disk of {} does not confirm that: {}; check that disk, and say the same call again",
                show(&target.shown),
                show_bytes(folder.path),
                reason(&error)
            );
            Error::io(Stage::Remove, "sync the disk of", fs::path(folder.path), error).with_message(message)
        };
        let opened = match fs::open_directory(folder.path) {
            Ok(opened) => opened,
            Err(error) if fs::tells_nothing(&error) => return Err(unsettled(error)),
            // One that may only be entered cannot be synced; the next may be on the same disk.
            Err(_) => continue,
        };
        if !fs::fstat(&opened).is_ok_and(|stat| fs::identity(&stat) == folder.identity) {
            continue;
        }
        if own == Some(device) && fs::keeps_order(&opened) {
            settled.push(device);
            continue;
        }
        if fs::sync_disk(&opened).map_err(unsettled)? {
            settled.push(device);
        }
    }
    Ok(())
}

/// What became of the originals.
#[derive(Default)]
pub(crate) struct Removal {
    pub removed: u64,
    pub kept: Vec<Remark>,
    /// The caller cancelled before all were looked at.
    pub cancelled: bool,
}

/// Remove what committed archives hold, and set the read-only mark where it is asked for. The lists of it are on disk before
/// the first file goes, and stay until the last has gone and the mark is set, so that a call that is killed meanwhile can be
/// finished by the next.
pub(crate) fn remove_originals(
    archives: &mut [(Target, Committed)],
    plan: &Plan,
    made: Made,
    options: &PackOptions,
    cancel: &CancelToken,
    progress: &Progress,
) -> Result<Removal> {
    let mut journals = Vec::with_capacity(archives.len());
    for (_, committed) in &mut *archives {
        let Some(journal) = committed.journal.take() else { return Ok(Removal::default()) };
        journals.push(journal);
    }
    let folders = folders(plan);
    let left_out: Vec<Vec<Folder<'_>>> = archives.iter().map(|(_, committed)| folders_of_left_out(committed)).collect();
    let mut originals = Vec::new();
    let mut lists = Vec::with_capacity(archives.len());
    for (((target, committed), journal), left_out) in archives.iter().zip(&mut journals).zip(&left_out) {
        let start = originals.len();
        gather(committed, plan, &folders, left_out, &mut originals);
        lists.push((start..originals.len(), journal.begin(target, committed, made, &originals[start..])));
    }
    if let Some(failed) = lists.iter_mut().position(|(_, begun)| begun.is_err()) {
        journals.into_iter().for_each(Journal::forget);
        return lists.swap_remove(failed).1.map(|()| Removal::default());
    }
    let mut removal = remove(&originals, options.jobs, cancel, progress);
    if removal.cancelled {
        return Ok(removal);
    }
    let marked = if options.read_only { mark::all(archives) } else { Ok(()) };
    if let [(target, _), ..] = &archives[..]
        && removal.removed > 0
    {
        settle(&emptied(&originals), journals.first().and_then(Journal::device), target)?;
    }
    let lefts: Vec<_> = lists.iter().map(|(list, _)| left(&originals[list.clone()], &removal.kept)).collect();
    let count: usize = lefts.iter().map(Vec::len).sum();
    for (journal, left) in journals.into_iter().zip(lefts) {
        // What is left of the sources is not what the archives hold: the lists stay, so that the same call again does not put
        // archives of the rest in their place. Shards are judged as one: one whose originals are all gone, or all there, is
        // not to be replaced for that while another has both, and its list stands for that even if the others are moved away.
        if count > 0 && count < originals.len() {
            journal.end(&left);
        } else if count > 0 || marked.is_ok() {
            journal.forget();
        }
    }
    marked?;
    removal.kept.extend(reached(&originals));
    removal.kept.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(removal)
}

/// What the sources still hold of a list when all that could go has gone.
pub(crate) fn left<'a>(originals: &[Original<'a>], kept: &[Remark]) -> Vec<Original<'a>> {
    let kept: HashSet<&[u8]> = kept.iter().map(|remark| remark.path.as_os_str().as_bytes()).collect();
    let own = own_names(originals);
    let stays = |original: &&Original<'_>| match original.standing {
        Standing::Reached => !is_gone_by_its_own_name(original, &own),
        Standing::LeftOut => true,
        Standing::File | Standing::Link => kept.contains(&original.path()[..]),
    };
    originals.iter().filter(stays).copied().collect()
}

/// Device and inode of what goes, where some of it may also be reached through linked folders.
fn own_names(originals: &[Original<'_>]) -> HashSet<(u64, u64)> {
    if originals.iter().all(|original| original.standing != Standing::Reached) {
        return HashSet::new();
    }
    let files = originals.iter().filter(|original| original.standing == Standing::File);
    files.map(|original| (original.stamp.dev, original.stamp.ino)).collect()
}

/// Whether what was reached through a linked folder was packed by its own name, too, and has gone with that.
fn is_gone_by_its_own_name(original: &Original<'_>, own: &HashSet<(u64, u64)>) -> bool {
    own.contains(&(original.stamp.dev, original.stamp.ino))
        && fs::lstat(fs::path(&original.path())).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Remarks on what was packed and is not the caller's to remove.
pub(crate) fn reached<'o>(originals: &'o [Original<'_>]) -> impl Iterator<Item = Remark> + 'o {
    let own = own_names(originals);
    let reached = originals.iter().filter(|original| original.standing == Standing::Reached);
    reached.filter(move |original| !is_gone_by_its_own_name(original, &own)).map(|original| {
        let path = original.path();
        let same = fs::stat(fs::path(&path)).is_ok_and(|stat| Stamp::of(&stat) == original.stamp);
        let changed = if same { "" } else { ", and changed since it was packed" };
        Remark { path: fs::path(&path).into(), reason: format!("reached through a linked folder{changed}") }
    })
}

/// The plan's folders, as they are now.
fn folders(plan: &Plan) -> Vec<Folder<'_>> {
    fn folder(directory: &Directory) -> Folder<'_> {
        let origin = fs::origin(&directory.path);
        Folder { path: &directory.path, identity: directory.identity, origin, renumbered: None }
    }
    plan.directories().iter().map(folder).collect()
}

/// The folders of what changed and was left out, one for each: of those nobody asks which folder it was.
fn folders_of_left_out(committed: &Committed) -> Vec<Folder<'_>> {
    let paths = committed.skipped.iter().map(|remark| list::split(&remark.path).0);
    paths.map(|path| Folder { path, identity: (0, 0), origin: None, renumbered: None }).collect()
}

/// The sources of one archive: what was packed, and what changed and was left out.
fn gather<'p>(
    committed: &'p Committed,
    plan: &'p Plan,
    folders: &'p [Folder<'p>],
    left_out: &'p [Folder<'p>],
    originals: &mut Vec<Original<'p>>,
) {
    originals.reserve(committed.records.len() + left_out.len());
    for record in &committed.records {
        let entry = &plan.entries()[record.entry as usize];
        let standing = match entry.kind {
            EntryKind::EmptyDirectory => continue,
            _ if plan.directory(entry).through_link => Standing::Reached,
            EntryKind::LinkedFile => Standing::Link,
            EntryKind::File | EntryKind::StoredLink => Standing::File,
        };
        let folder = &folders[entry.directory as usize];
        originals.push(Original { folder, name: plan.name(entry), standing, stamp: record.stamp });
    }
    for (remark, folder) in committed.skipped.iter().zip(left_out) {
        let (_, name) = list::split(&remark.path);
        originals.push(Original { folder, name, standing: Standing::LeftOut, stamp: Stamp::default() });
    }
}

/// Unlink every original that is still the file that was packed. Links go before files: what they lead to may be one of
/// them, and is how they are recognised.
pub(crate) fn remove(originals: &[Original<'_>], jobs: usize, cancel: &CancelToken, progress: &Progress) -> Removal {
    let mut links: Vec<Original<'_>> =
        originals.iter().filter(|original| original.standing == Standing::Link).copied().collect();
    let mut remover = Remover::default();
    links.retain_mut(|link| remover.recognise(link));
    let mut removal = remove_all(&links, jobs, cancel, progress);
    removal.kept.append(&mut remover.kept);
    if removal.cancelled {
        return removal;
    }
    let files: Vec<Original<'_>>;
    let files = if originals.iter().all(|original| original.standing == Standing::File) {
        originals
    } else {
        files = originals.iter().filter(|original| original.standing == Standing::File).copied().collect();
        &files
    };
    let rest = remove_all(files, jobs, cancel, progress);
    removal.kept.extend(rest.kept);
    Removal { removed: rest.removed, kept: removal.kept, cancelled: rest.cancelled }
}

fn remove_all(originals: &[Original<'_>], jobs: usize, cancel: &CancelToken, progress: &Progress) -> Removal {
    let (next, cancelled) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut remover = Remover::default();
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

#[derive(Default)]
struct Remover<'a> {
    /// The folder opened last; consecutive originals mostly share it.
    folder: Option<(&'a Folder<'a>, OwnedFd)>,
    kept: Vec<Remark>,
}

const CHANGED: &str = "changed since it was packed";

impl<'a> Remover<'a> {
    /// Whether the link still leads to the file that was packed; from here on its own stamp stands for it.
    fn recognise(&mut self, link: &mut Original<'a>) -> bool {
        let result = self.look_up(link).and_then(|found| {
            let Some((stat, folder)) = found else { return Ok(None) };
            let end = fs::stat_at(folder, link.name).map_err(|error| reason(&error))?;
            let same = Kind::of(&stat) == Kind::Link && Stamp::of(&end) == link.stamp;
            if same { Ok(Some(Stamp::of(&stat))) } else { Err(CHANGED.into()) }
        });
        match result {
            Ok(Some(stamp)) => link.stamp = stamp,
            Ok(None) => return false,
            Err(reason) => {
                self.keep(link, reason);
                return false;
            }
        }
        true
    }

    /// Whether the original is gone now, and by this call.
    fn remove(&mut self, original: &Original<'a>) -> bool {
        let result = self.look_up(original).and_then(|found| match found {
            // Removed by another hand, or by an earlier call.
            None => Ok(false),
            Some((stat, folder)) if Stamp::of(&stat) == original.stamp => {
                fs::unlink(folder, original.name).map(|()| true).map_err(|error| reason(&error))
            }
            Some(_) => Err(CHANGED.into()),
        });
        result.unwrap_or_else(|reason| {
            self.keep(original, reason);
            false
        })
    }

    fn keep(&mut self, original: &Original<'a>, reason: String) {
        self.kept.push(Remark { path: fs::path(&original.path()).into(), reason });
    }

    /// The original as it is now, and its folder; `None` where there is nothing any more.
    fn look_up(&mut self, original: &Original<'a>) -> Result<Option<(Stat, &OwnedFd)>, String> {
        let absent = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        if self.folder.as_ref().is_none_or(|(folder, _)| !std::ptr::eq(*folder, original.folder)) {
            let folder = match fs::enter_same(original.folder.path, original.folder.identity) {
                Ok(Some(folder)) => folder,
                Ok(None) => return Err("its folder was replaced since it was packed".into()),
                // Moved or unmounted it may come back, with all that is in it.
                Err(error) if absent(&error) => return Err("its folder is not there any more".into()),
                Err(error) => return Err(reason(&error)),
            };
            self.folder = Some((original.folder, folder));
        }
        let Some((_, folder)) = &self.folder else { return Ok(None) };
        match fs::lstat_at(folder, original.name) {
            Ok(stat) => Ok(Some((stat, folder))),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(reason(&error)),
        }
    }
}
