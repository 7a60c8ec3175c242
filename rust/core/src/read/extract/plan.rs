//! What an extraction will write, decided before anything is written.

use std::collections::hash_map::{Entry, HashMap};
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use unicode_normalization::UnicodeNormalization as _;

use super::names::{parts, refuse_link};
use super::{Archive, Existing, ExtractRequest};
use crate::error::{ErrorKind, Result, show_bytes};
use crate::read::fault::Fault;
use crate::read::glob::Glob;
use crate::read::{Format, Member, MemberKind, content};
use crate::report::Remark;

/// A folder below the destination. Number 0 is the destination; parents come before their children.
#[derive(Debug)]
pub(super) struct Folder {
    pub parent: u32,
    pub name: Vec<u8>,
    /// Of the member that the archive has for it.
    pub attributes: Option<(u32, Option<(i64, u32)>)>,
}

/// A member and the folder it goes to; its name there is the last part of its own.
#[derive(Debug)]
pub(super) struct Job {
    pub member: Member,
    pub folder: u32,
}

impl Job {
    pub fn name(&self) -> &[u8] {
        last_part(&self.member.name)
    }
}

fn last_part(name: &[u8]) -> &[u8] {
    name.rsplit(|&b| b == b'/').next().unwrap_or(name)
}

#[derive(Debug)]
pub(super) struct Plan {
    pub folders: Vec<Folder>,
    /// By offset.
    pub files: Vec<Job>,
    pub links: Vec<Job>,
    /// Each with the folder and name of the file that it is another name of.
    pub hard_links: Vec<(Job, u32, Vec<u8>)>,
    pub skipped: Vec<Remark>,
    pub warnings: Vec<String>,
    pub bytes: u64,
}

/// Which members were asked for.
struct Wanted {
    names: Option<HashSet<Vec<u8>>>,
    globs: Option<Vec<Glob>>,
}

impl Wanted {
    fn new(request: &ExtractRequest) -> Self {
        Self {
            names: request.names.as_ref().map(|names| names.iter().cloned().collect()),
            globs: request.patterns.as_ref().map(|texts| texts.iter().map(|text| Glob::new(text)).collect()),
        }
    }

    fn takes(&self, name: &[u8]) -> bool {
        match (&self.names, &self.globs) {
            (None, None) => true,
            (names, globs) => {
                names.as_ref().is_some_and(|names| names.contains(name))
                    || globs.as_ref().is_some_and(|globs| globs.iter().any(|glob| glob.matches(name)))
            }
        }
    }
}

/// Builds a [`Plan`] member by member.
struct Planning<'a> {
    request: &'a ExtractRequest,
    format: Format,
    plan: Plan,
    folder_numbers: HashMap<Vec<u8>, u32>,
    /// Hash of each path that is no folder's, and where its job stands.
    taken: HashMap<u64, Place>,
    /// Hash of each path as it reads where case and accents do not count.
    folded: HashMap<u64, Vec<u8>>,
    folded_collisions: u64,
    first_folded: Option<(Vec<u8>, Vec<u8>)>,
    repeated: u64,
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    File(usize),
    Link(usize),
    HardLink(usize),
}

pub(super) fn plan(archive: &Archive, request: &ExtractRequest) -> Result<Plan> {
    for name in request.names.iter().flatten() {
        archive.member(name)?;
    }
    let wanted = Wanted::new(request);
    let mut planning = Planning::new(request, archive.format());
    let mut links = Vec::new();
    archive.each(&mut |member| {
        if !wanted.takes(&member.name) {
            return Ok(());
        }
        if member.kind == MemberKind::Link && member.link.is_none() {
            links.push(member);
            return Ok(());
        }
        planning.add(member)
    })?;
    // A zip's link has its target as content, which cannot be read while the directory is.
    for mut member in links {
        member.link = Some(archive.link_target(&member)?);
        planning.add(member).map_err(|fault| archive.explain(fault))?;
    }
    planning.finish().map_err(|fault| archive.explain(fault))
}

impl<'a> Planning<'a> {
    fn new(request: &'a ExtractRequest, format: Format) -> Self {
        let root = Folder { parent: 0, name: Vec::new(), attributes: None };
        let plan = Plan {
            folders: vec![root],
            files: Vec::new(),
            links: Vec::new(),
            hard_links: Vec::new(),
            skipped: Vec::new(),
            warnings: Vec::new(),
            bytes: 0,
        };
        Self {
            request,
            format,
            plan,
            folder_numbers: HashMap::new(),
            taken: HashMap::new(),
            folded: HashMap::new(),
            folded_collisions: 0,
            first_folded: None,
            repeated: 0,
            hasher: RandomState::new(),
        }
    }

    fn skip(&mut self, member: &Member, reason: &str) {
        self.plan.skipped.push(Remark { path: crate::fs::path(&member.name).into(), reason: reason.into() });
    }

    fn add(&mut self, member: Member) -> Result<(), Fault> {
        let unsafe_member = |what: &str| {
            let fault = Fault::new(ErrorKind::UnsafeMember, format!("{what}; leave it out to extract the rest"));
            fault.in_member(&member.name).at(member.offset)
        };
        let parts = parts(&member.name).map_err(unsafe_member)?;
        if parts.len() <= self.request.strip {
            if parts.is_empty() && member.kind != MemberKind::Directory {
                return Err(unsafe_member("its name is empty"));
            }
            return Ok(());
        }
        let parts = &parts[self.request.strip..];
        match member.kind {
            MemberKind::Special => {
                self.skip(&member, "a device, FIFO or socket");
                return Ok(());
            }
            MemberKind::Link | MemberKind::HardLink if !self.request.links => {
                self.skip(&member, "a link");
                return Ok(());
            }
            MemberKind::Link => {
                let target = member.link.as_deref().unwrap_or_default();
                if let Some(reason) = refuse_link(target, parts.len() - 1) {
                    return Err(unsafe_member(&format!("{reason}: {}", show_bytes(target))));
                }
            }
            MemberKind::Directory => {
                let number = self.folder(parts);
                self.plan.folders[number as usize].attributes = Some((member.mode, member.mtime));
                return Ok(());
            }
            MemberKind::File => {
                content::check(&member).map_err(|fault| fault.in_member(&member.name).at(member.offset))?;
                self.plan.bytes += member.size;
            }
            MemberKind::HardLink => {}
        }
        let folder = self.folder(&parts[..parts.len() - 1]);
        let path = parts.join(&b'/');
        self.place(Job { member, folder }, &path)
    }

    fn folder(&mut self, parts: &[&[u8]]) -> u32 {
        if parts.is_empty() {
            return 0;
        }
        let path = parts.join(&b'/');
        if let Some(&number) = self.folder_numbers.get(&path) {
            return number;
        }
        let parent = self.folder(&parts[..parts.len() - 1]);
        let number = self.plan.folders.len() as u32;
        self.plan.folders.push(Folder { parent, name: parts[parts.len() - 1].to_vec(), attributes: None });
        self.folder_numbers.insert(path, number);
        number
    }

    /// Give the job its place among its like; of two members with one name a tar's later one wins, as in every reader.
    fn place(&mut self, job: Job, path: &[u8]) -> Result<(), Fault> {
        self.note_folded(path);
        let (files, links, hard_links) = (self.plan.files.len(), self.plan.links.len(), self.plan.hard_links.len());
        let place = match job.member.kind {
            MemberKind::Link => Place::Link(links),
            MemberKind::HardLink => Place::HardLink(hard_links),
            _ => Place::File(files),
        };
        match self.taken.entry(self.hasher.hash_one(path)) {
            Entry::Vacant(free) => {
                free.insert(place);
            }
            Entry::Occupied(_) if self.format == Format::Zip => {
                let what = "two members would become this file; the archive is malformed or meant to deceive";
                return Err(Fault::new(ErrorKind::UnsafeMember, what)
                    .in_member(&job.member.name)
                    .at(job.member.offset));
            }
            Entry::Occupied(mut old) => {
                self.repeated += 1;
                match old.insert(place) {
                    Place::File(at) => self.plan.files[at].member.kind = MemberKind::Special,
                    Place::Link(at) => self.plan.links[at].member.kind = MemberKind::Special,
                    Place::HardLink(at) => self.plan.hard_links[at].0.member.kind = MemberKind::Special,
                }
            }
        }
        match place {
            Place::File(_) => self.plan.files.push(job),
            Place::Link(_) => self.plan.links.push(job),
            Place::HardLink(_) => self.plan.hard_links.push((job, 0, Vec::new())),
        }
        Ok(())
    }

    /// Names that differ in case or accents alone are told apart here, and become one on other systems.
    fn note_folded(&mut self, path: &[u8]) {
        let Ok(text) = std::str::from_utf8(path) else { return };
        let hash = if text.is_ascii() {
            self.hasher.hash_one(text.to_ascii_lowercase())
        } else {
            self.hasher.hash_one(text.nfc().collect::<String>().to_lowercase().nfc().collect::<String>())
        };
        match self.folded.entry(hash) {
            Entry::Vacant(free) => {
                free.insert(path.to_vec());
            }
            Entry::Occupied(first) if first.get() != path => {
                self.folded_collisions += 1;
                self.first_folded.get_or_insert_with(|| (first.get().clone(), path.to_vec()));
            }
            Entry::Occupied(_) => {}
        }
    }

    fn finish(mut self) -> Result<Plan, Fault> {
        for job in self.plan.files.iter().chain(&self.plan.links).chain(self.plan.hard_links.iter().map(|link| &link.0))
        {
            if self.folder_numbers.contains_key(&self.path(job)) {
                let what = "it would be a file, and also the folder of another member";
                return Err(Fault::new(ErrorKind::UnsafeMember, what)
                    .in_member(&job.member.name)
                    .at(job.member.offset));
            }
        }
        self.find_link_targets()?;
        if self.repeated > 0 {
            self.plan
                .warnings
                .push(format!("{} members have a later one of the same name, which was taken", self.repeated));
        }
        if let Some((first, second)) = &self.first_folded {
            self.plan.warnings.push(format!(
                "{} names differ from another in case or accents alone, and are one file on other systems; the first are \
                 {} and {}",
                self.folded_collisions,
                show_bytes(first),
                show_bytes(second)
            ));
        }
        let is_current = |job: &Job| job.member.kind != MemberKind::Special;
        self.plan.files.retain(is_current);
        self.plan.links.retain(is_current);
        self.plan.hard_links.retain(|(job, ..)| is_current(job));
        self.plan.files.sort_by_key(|job| job.member.offset);
        Ok(self.plan)
    }

    /// Where the job's member is written, below the destination.
    fn path(&self, job: &Job) -> Vec<u8> {
        let mut parts = vec![job.name()];
        let mut folder = job.folder;
        while folder != 0 {
            parts.push(&self.plan.folders[folder as usize].name);
            folder = self.plan.folders[folder as usize].parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }

    /// A hard link is made to a file that this extraction writes, and to nothing else.
    fn find_link_targets(&mut self) -> Result<(), Fault> {
        let mut targets = BTreeMap::new();
        for (number, (job, ..)) in self.plan.hard_links.iter().enumerate() {
            let refused = |what: String| {
                let fault = Fault::new(ErrorKind::UnsafeMember, what);
                fault.in_member(&job.member.name).at(job.member.offset)
            };
            let target = job.member.link.as_deref().unwrap_or_default();
            let parts =
                parts(target).map_err(|reason| refused(format!("its target {}: {reason}", show_bytes(target))))?;
            let path = parts.get(self.request.strip..).unwrap_or_default().join(&b'/');
            let file = match self.taken.get(&self.hasher.hash_one(&path[..])) {
                Some(Place::File(at)) => &self.plan.files[*at],
                Some(Place::HardLink(at)) if *at < number => &self.plan.hard_links[*at].0,
                _ => {
                    let what = "it is a hard link to {}, which is not among the files extracted";
                    return Err(refused(what.replace("{}", &show_bytes(target))));
                }
            };
            targets.insert(number, (file.folder, file.name().to_vec()));
        }
        for (number, (folder, name)) in targets {
            let link = &mut self.plan.hard_links[number];
            (link.1, link.2) = (folder, name);
        }
        Ok(())
    }
}

/// What would be overwritten counts as in the way only where it must not be.
pub(super) fn must_be_free(request: &ExtractRequest) -> bool {
    request.existing == Existing::Error
}
