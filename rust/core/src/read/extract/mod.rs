//! Extract: decide everything, then write files in the order in which they lie, links last.

mod destination;
mod hard_links;
mod names;
mod plan;

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::content::Content;
use super::fault::Fault;
use super::{Archive, Member, MemberKind, Packing};
use crate::cancel::CancelToken;
use crate::error::{Error, Result, Stage, show, show_bytes};
use crate::fs;
use crate::progress::{Phase, Progress};
use crate::report::Remark;
use crate::threads::on_threads;
use destination::{Destination, Failure, Reach, Written, make_whole};
use plan::{HardLink, Job, Plan};

/// Files that a worker takes at a time.
const CLAIM: usize = 32;

/// A member of up to this size is checked before its file is made, and written with one call. A larger one is checked while
/// it is written, and its file has no name before that is done: naming costs a small file more than writing it.
const AT_ONCE: u64 = 1 << 20;

/// How many of the members that cannot be read an error names.
const NAMED: usize = 20;

/// What to do with a name that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// Stop. Names are looked at before anything is written.
    #[default]
    Error,
    /// Replace it once the new file is complete. A folder is not replaced by a file.
    Overwrite,
    /// Leave it as it is, and say so in the report.
    Skip,
}

/// What to extract, and how.
#[derive(Debug, Clone, Default)]
pub struct ExtractRequest {
    /// The folder; made where it is not there.
    pub dest: PathBuf,
    /// Members by name. With patterns, those too; with neither, all.
    pub names: Option<Vec<Vec<u8>>>,
    /// Members by pattern.
    pub patterns: Option<Vec<Vec<u8>>>,
    /// What to do with names that are there already.
    pub existing: Existing,
    /// How many folders to take off the front of each name; members with no more than these are left out.
    pub strip: usize,
    /// Whether to make symbolic and hard links.
    pub links: bool,
    /// Whether to write names that differ in case or accents alone, and are one on some systems.
    pub allow_collisions: bool,
    /// Threads; a stream that can only be unpacked from its beginning takes one.
    pub jobs: usize,
}

/// What an extraction did.
#[derive(Debug, Clone, Default)]
pub struct ExtractReport {
    /// The folder.
    pub dest: PathBuf,
    /// Files written.
    pub files: u64,
    /// Folders that the archive names or its files need.
    pub directories: u64,
    /// Links made.
    pub links: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Members that were not written, and why.
    pub skipped: Vec<Remark>,
    /// How many of those were asked for, and cannot be written: devices, links that lead outside.
    pub refused: u64,
    /// What the user should know, whole sentences.
    pub warnings: Vec<String>,
    /// Wall time.
    pub elapsed: Duration,
}

struct Work<'a> {
    archive: &'a Archive,
    request: &'a ExtractRequest,
    destination: &'a Destination<'a>,
    progress: &'a Progress,
    cancel: &'a CancelToken,
    next: AtomicUsize,
    stop: AtomicBool,
    files: AtomicU64,
    bytes: AtomicU64,
    links: AtomicU64,
    skipped: Mutex<Vec<Remark>>,
}

impl Archive {
    /// Write members below a folder. Nothing is written before names, links, limits and, unless told otherwise, existing
    /// files have been checked; nothing is ever written outside the folder.
    ///
    /// Files that are encrypted, or packed by a method that is not known, keep nobody from the others: these are extracted
    /// first, and the error that names the rest comes last.
    ///
    /// Each file is complete when its call ends: one that fails is removed. Files written before a failure stay. A process
    /// that is killed leaves no file of more than 1 MiB incomplete under its name; a smaller one is at risk while the one
    /// call that writes it runs.
    pub fn extract(
        &self,
        request: &ExtractRequest,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<ExtractReport> {
        let begun = Instant::now();
        progress.enter(Phase::Extract);
        let plan = plan::plan(self, request)?;
        self.limits
            .check_written(plan.bytes, self.source.length(), &request.dest)
            .map_err(|fault| self.explain(fault))?;
        if plan.is_empty() && !plan.unreadable.is_empty() {
            return Err(self.unreadable(&plan));
        }
        progress.total_files.set(plan.files.len() as u64);
        let destination = Destination::open(&request.dest, &plan.folders, self.workers(request, &plan))?;
        if plan::must_be_free(request) && !destination.is_new {
            let mut reach = Reach::new(&destination);
            let hard_links = plan.hard_links.iter().map(|link| &link.job);
            for job in plan.files.iter().chain(&plan.links).chain(hard_links) {
                cancel.check(Stage::Extract)?;
                reach.check_free(job)?;
            }
        }
        let work = Work {
            archive: self,
            request,
            destination: &destination,
            progress,
            cancel,
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            links: AtomicU64::new(0),
            skipped: Mutex::default(),
        };
        let made = work.files(&plan).and_then(|()| work.rest(&plan));
        let files = work.files.load(Ordering::Relaxed);
        made.map_err(|error| after_some(error, files, &request.dest))?;
        if !plan.unreadable.is_empty() {
            let error = self.unreadable(&plan);
            return Err(after_some(error, files, &request.dest));
        }
        let mut skipped = work.skipped.into_inner().unwrap_or_default();
        skipped.splice(0..0, plan.skipped);
        Ok(ExtractReport {
            dest: request.dest.clone(),
            files,
            directories: plan.folders.len() as u64 - 1,
            refused: plan.refused,
            links: work.links.into_inner(),
            bytes: work.bytes.into_inner(),
            skipped,
            warnings: [self.warnings(), plan.warnings].concat(),
            elapsed: begun.elapsed(),
        })
    }
}

impl Archive {
    /// Threads that write files.
    fn workers(&self, request: &ExtractRequest, plan: &Plan) -> usize {
        let most = if self.is_random() { request.jobs } else { 1 };
        most.min(plan.files.len().div_ceil(CLAIM)).max(1)
    }

    /// The failure that stands for all files that no call can extract; the others have been by then.
    fn unreadable(&self, plan: &Plan) -> Error {
        let all = &plan.unreadable;
        let mut named: Vec<String> =
            all.iter().take(NAMED).map(|(name, why)| format!("{} ({why})", show_bytes(name))).collect();
        if all.len() > NAMED {
            named.push(format!("and {} more", all.len() - NAMED));
        }
        let members = if all.len() == 1 { "member" } else { "members" };
        let what = format!("{} {members} cannot be extracted: {}", all.len(), named.join(", "));
        self.explain(Fault::unsupported(what))
    }
}

/// Why a member with this target, where it is a link, has no place below a destination, if it has none.
pub(crate) fn refused(member: &Member, target: Option<&[u8]>) -> Option<&'static str> {
    let depth = match names::parts(&member.name) {
        Err(reason) => return Some(reason),
        Ok(parts) if parts.is_empty() && member.kind != MemberKind::Directory => return Some(plan::NAMELESS),
        Ok(parts) => parts.len().saturating_sub(1),
    };
    match member.kind {
        MemberKind::Special => Some(plan::SPECIAL),
        MemberKind::HardLink if !member.is_file() => Some(hard_links::LOST),
        _ => target.and_then(|target| names::refuse_link(target, depth)),
    }
}

/// Say what is there now, where a call ended half-way.
fn after_some(error: Error, files: u64, dest: &std::path::Path) -> Error {
    if files == 0 || error.kind() == crate::ErrorKind::Cancelled {
        return error;
    }
    let counted = if files == 1 { "1 file was".to_owned() } else { format!("{files} files were") };
    let message = format!("{error}; {counted} extracted to {} before", show(dest));
    error.with_message(message)
}

/// A file that was not written since something had its place already.
struct Kept<'a> {
    member: &'a Member,
    /// Where it was written for the first of its links.
    copy: Option<(u32, &'a [u8])>,
}

impl Work<'_> {
    fn files(&self, plan: &Plan) -> Result<()> {
        let results = on_threads(self.archive.workers(self.request, plan), || {
            let result = self.some_files(&plan.files);
            if result.is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
            result
        });
        results.into_iter().collect()
    }

    fn some_files(&self, jobs: &[Job]) -> Result<()> {
        let mut reach = Reach::new(self.destination);
        let mut buffer = Vec::new();
        loop {
            let first = self.next.fetch_add(CLAIM, Ordering::Relaxed);
            let Some(claimed) = jobs.get(first..(first + CLAIM).min(jobs.len())).filter(|jobs| !jobs.is_empty()) else {
                return Ok(());
            };
            for job in claimed {
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                self.cancel.check(Stage::Extract)?;
                self.file(&mut reach, job, &mut buffer)?;
            }
        }
    }

    fn file(&self, reach: &mut Reach<'_>, job: &Job, buffer: &mut Vec<u8>) -> Result<Written> {
        let member = &job.member;
        if self.request.existing == Existing::Skip && !self.destination.is_new && reach.is_taken(job)? {
            self.was_there(job);
            return Ok(Written::WasThere);
        }
        self.archive.approach(member, 0, self.cancel)?;
        let small = member.size <= AT_ONCE;
        if small {
            buffer.resize(member.size as usize, 0);
            self.archive.read_into(member, buffer)?;
        }
        let dated = |file: &OwnedFd| match member.mtime {
            Some(time) => fs::set_time(file, time).map_err(|cause| Failure::Io("set the time of", cause)),
            None => Ok(()),
        };
        let written = reach.put(job, self.request.existing, &mut |folder, name| {
            if !small {
                return make_whole(folder, name, member.mode, &mut |file| {
                    self.copy(job, file, buffer).and_then(|()| dated(file))
                });
            }
            let file = fs::create_member(folder, name, member.mode).map_err(|cause| Failure::Io("create", cause))?;
            let filled = fs::write_all(&file, buffer).map_err(|cause| Failure::Io("write", cause));
            let finished = filled.and_then(|()| dated(&file));
            if finished.is_err() {
                let _ = fs::unlink(folder, name);
            }
            finished
        })?;
        self.count(job, written);
        Ok(written)
    }

    fn count(&self, job: &Job, written: Written) {
        match written {
            Written::Yes => {
                self.files.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(job.member.size, Ordering::Relaxed);
                self.progress.files.add(1);
                self.progress.bytes_in.add(job.member.packed);
                self.progress.bytes_out.add(job.member.size);
            }
            Written::WasThere => self.was_there(job),
        }
    }

    fn was_there(&self, job: &Job) {
        let path = self.destination.path(job.folder, &job.name);
        if let Ok(mut skipped) = self.skipped.lock() {
            skipped.push(Remark { path, reason: "is there already".into() });
        }
    }

    /// A large member, in portions; its CRC is checked with the last. Holes stay holes: a disk image of a tebibyte may have
    /// a few mebibytes of content.
    fn copy(&self, job: &Job, file: &OwnedFd, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        let (archive, member) = (self.archive, &job.member);
        let explained = |fault| Failure::Archive(archive.explain_in(member, fault));
        buffer.resize(AT_ONCE as usize, 0);
        let mut content = Content::new(&archive.container, &*archive.source, member).map_err(explained)?;
        let mut at = 0;
        while at < member.size {
            self.cancel.check(Stage::Extract).map_err(Failure::Archive)?;
            let (hole, run) = archive.container.hole(member, at);
            if hole > 0 {
                fs::skip(file, hole).map_err(|cause| Failure::Io("write", cause))?;
                at += hole;
                continue;
            }
            let portion = buffer.len().min(usize::try_from(run).unwrap_or(usize::MAX));
            let count = content
                .read_at(&archive.container, &*archive.source, member, at, &mut buffer[..portion])
                .map_err(explained)?;
            fs::write_all(file, &buffer[..count]).map_err(|cause| Failure::Io("write", cause))?;
            at += count as u64;
        }
        if member.packing == Packing::Sparse {
            fs::set_length(file, member.size).map_err(|cause| Failure::Io("write", cause))?;
        }
        Ok(())
    }

    /// Files whose places had something that was to stay, by place. A link to one of these would have the bytes of whatever is there.
    fn kept<'p>(&self, plan: &'p Plan) -> HashMap<(u32, &'p [u8]), Kept<'p>> {
        let mut kept = HashMap::new();
        if self.request.existing == Existing::Skip && !plan.hard_links.is_empty() {
            let skipped: HashSet<PathBuf> = self
                .skipped
                .lock()
                .map(|skipped| skipped.iter().map(|remark| remark.path.clone()).collect())
                .unwrap_or_default();
            let files = plan.files.iter().filter(|job| skipped.contains(&self.destination.path(job.folder, &job.name)));
            kept.extend(files.map(|job| ((job.folder, &job.name[..]), Kept { member: &job.member, copy: None })));
        }
        kept
    }

    /// Empty folders, hard links, links, and last what writing to folders has changed.
    fn rest(&self, plan: &Plan) -> Result<()> {
        let mut reach = Reach::new(self.destination);
        for number in 0..plan.folders.len() as u32 {
            self.cancel.check(Stage::Extract)?;
            reach.folder(number, true)?;
        }
        let mut kept = self.kept(plan);
        let mut buffer = Vec::new();
        for HardLink { job, target: (folder, name), .. } in &plan.hard_links {
            let mut place = (*folder, &name[..]);
            if let Some(kept) = kept.get_mut(&place) {
                if let Some(copy) = kept.copy {
                    place = copy;
                } else {
                    let (member, name) = (kept.member.clone(), job.name.clone());
                    let copy = Job { member, folder: job.folder, name, is_superseded: false };
                    if self.file(&mut reach, &copy, &mut buffer)? == Written::Yes {
                        kept.copy = Some((job.folder, &job.name[..]));
                    }
                    continue;
                }
            }
            let (folder, name) = place;
            let from = rustix::io::dup(reach.folder(folder, false)?)
                .map_err(|cause| destination::failed("enter", &self.request.dest, cause.into()))?;
            self.link(&mut reach, job, &mut |directory, new| fs::create_hard_link(&from, name, directory, new))?;
        }
        for job in &plan.links {
            let target = job.member.link.as_deref().unwrap_or_default();
            self.link(&mut reach, job, &mut |directory, name| {
                fs::create_link(target, directory, name)?;
                // A file system without times of links is no reason to fail.
                let _ = job.member.mtime.map(|time| fs::set_time_at(directory, name, time));
                Ok(())
            })?;
        }
        // From the deepest up, since setting a time below changes nothing above, but a mode may bar the way.
        for (number, folder) in plan.folders.iter().enumerate().rev() {
            if let Some((mode, mtime)) = folder.attributes {
                let number = number as u32;
                if !self.destination.was_made(number) {
                    continue;
                }
                let failed = |attempt: &str, cause| {
                    destination::failed(attempt, &self.destination.path(folder.parent, &folder.name), cause)
                };
                let opened = reach.folder(number, false)?;
                // Made with all modes, so what it has now is what the umask leaves.
                let left = fs::fstat(opened).map_err(|cause| failed("look at", cause))?.st_mode;
                fs::set_mode(opened, mode & left).map_err(|cause| failed("set the mode of", cause))?;
                if let Some(time) = mtime {
                    let parent = reach.folder(folder.parent, false)?;
                    fs::set_time_at(parent, &folder.name, time).map_err(|cause| failed("set the time of", cause))?;
                }
            }
        }
        Ok(())
    }

    fn link(
        &self,
        reach: &mut Reach<'_>,
        job: &Job,
        make: &mut dyn FnMut(BorrowedFd<'_>, &[u8]) -> io::Result<()>,
    ) -> Result<()> {
        self.cancel.check(Stage::Extract)?;
        let written = reach.put(job, self.request.existing, &mut |folder, name| {
            make(folder, name).map_err(|cause| Failure::Io("make the link", cause))
        })?;
        match written {
            Written::Yes => drop(self.links.fetch_add(1, Ordering::Relaxed)),
            Written::WasThere => self.was_there(job),
        }
        Ok(())
    }
}
