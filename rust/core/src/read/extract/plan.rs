//! What an extraction will write, decided before anything is written.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::{BuildHasher as _, RandomState};

use unicode_normalization::UnicodeNormalization as _;

use super::names::{parts, refuse_link};
use super::{Archive, Existing, ExtractRequest};
use crate::error::{ErrorKind, Result, show_bytes};
use crate::read::fault::Fault;
use crate::read::glob::Glob;
use crate::read::{Format, Limits, Member, MemberKind, content};
use crate::report::Remark;

/// Folders that no member stands for may be this many: a name of 64 KiB can ask for 500, and costs its writer nothing.
const IMPLIED_FOLDERS: usize = 1 << 20;

/// Why members are left out; verifying says so, too.
pub(super) const SPECIAL: &str = "a device, FIFO or socket";
pub(super) const NAMELESS: &str = "its name is empty";

/// Said of a zip's folder; all readers make the folder and pass over the bytes.
const FOLDER_BYTES: &str = "it is a folder, and its bytes are left out";

/// A folder below the destination. Number 0 is the destination; parents come before their children.
#[derive(Debug)]
pub(super) struct Folder {
    pub parent: u32,
    pub name: Vec<u8>,
    /// Of the member that the archive has for it.
    pub attributes: Option<(u32, Option<(i64, u32)>)>,
    /// The first folder that it is one with where case and accents do not count; itself, mostly.
    folds_to: u32,
}

/// A member, and where it goes.
#[derive(Debug)]
pub(super) struct Job {
    pub member: Member,
    pub folder: u32,
    pub name: Vec<u8>,
    /// A later member has its place.
    pub is_superseded: bool,
}

/// Another name for a file.
#[derive(Debug)]
pub(super) struct HardLink {
    pub job: Job,
    /// Which of [`Plan::files`], while they stand in the archive's order.
    pub file: Option<usize>,
    /// Where that file is written.
    pub target: (u32, Vec<u8>),
    /// What had its name before; where there is no such file, that stays.
    pub instead_of: Option<Place>,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub folders: Vec<Folder>,
    /// By offset.
    pub files: Vec<Job>,
    pub links: Vec<Job>,
    pub hard_links: Vec<HardLink>,
    pub skipped: Vec<Remark>,
    /// How many of those nobody asked to leave out.
    pub refused: u64,
    /// Files whose bytes nobody can get here, and why: encrypted, or packed by a method that is not known.
    pub unreadable: Vec<(Vec<u8>, String)>,
    pub warnings: Vec<String>,
    pub bytes: u64,
}

impl Plan {
    /// Whether the member's bytes cannot be had here, which is noted; what is wrong with it otherwise is a fault.
    fn is_unreadable(&mut self, member: &Member) -> Result<bool, Fault> {
        match content::check(member) {
            Ok(()) => Ok(false),
            Err(fault) if fault.kind() == ErrorKind::Unsupported => {
                self.unreadable.push((member.name.clone(), fault.what().to_owned()));
                Ok(true)
            }
            Err(fault) => Err(fault.in_member(&member.name).at(member.offset)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.folders.len() == 1 && self.files.is_empty() && self.links.is_empty() && self.hard_links.is_empty()
    }
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
pub(super) struct Planning<'a> {
    request: &'a ExtractRequest,
    limits: Limits,
    format: Format,
    pub plan: Plan,
    members: usize,
    /// What stands where, by the hash of its folder and name.
    places: HashMap<u64, Place>,
    /// The same where case and accents do not count.
    folded: HashMap<u64, Place>,
    collisions: u64,
    first_collision: Option<(Vec<u8>, Vec<u8>)>,
    repeated: u64,
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Folder(u32),
    File(usize),
    Link(usize),
    HardLink(usize),
}

pub(super) fn plan(archive: &Archive, request: &ExtractRequest) -> Result<Plan> {
    for name in request.names.iter().flatten() {
        archive.member(name)?;
    }
    let wanted = Wanted::new(request);
    let mut planning = Planning::new(request, archive.limits, archive.format());
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
        if planning.plan.is_unreadable(&member).map_err(|fault| archive.explain(fault))? {
            continue;
        }
        member.link = Some(archive.link_target(&member)?);
        planning.add(member).map_err(|fault| archive.explain(fault))?;
    }
    planning.find_link_targets(archive)?;
    Ok(planning.finish())
}

fn unsafe_member(member: &Member, what: &str) -> Fault {
    let fault = Fault::new(ErrorKind::UnsafeMember, format!("{what}; leave it out to extract the rest"));
    fault.in_member(&member.name).at(member.offset)
}

impl<'a> Planning<'a> {
    fn new(request: &'a ExtractRequest, limits: Limits, format: Format) -> Self {
        let root = Folder { parent: 0, name: Vec::new(), attributes: None, folds_to: 0 };
        let plan = Plan {
            folders: vec![root],
            files: Vec::new(),
            links: Vec::new(),
            hard_links: Vec::new(),
            skipped: Vec::new(),
            refused: 0,
            unreadable: Vec::new(),
            warnings: Vec::new(),
            bytes: 0,
        };
        Self {
            request,
            limits,
            format,
            plan,
            members: 0,
            places: HashMap::new(),
            folded: HashMap::new(),
            collisions: 0,
            first_collision: None,
            repeated: 0,
            hasher: RandomState::new(),
        }
    }

    fn skip(&mut self, member: &Member, reason: impl Into<String>) {
        self.plan.skipped.push(Remark { path: crate::fs::path(&member.name).into(), reason: reason.into() });
    }

    /// Leave a member out that was to be extracted.
    pub fn refuse(&mut self, member: &Member, reason: impl Into<String>) {
        self.plan.refused += 1;
        self.skip(member, reason);
    }

    fn add(&mut self, member: Member) -> Result<(), Fault> {
        self.members += 1;
        let parts = parts(&member.name).map_err(|what| unsafe_member(&member, what))?;
        if parts.len() <= self.request.strip {
            if parts.is_empty() && member.kind != MemberKind::Directory {
                return Err(unsafe_member(&member, NAMELESS));
            }
            return Ok(());
        }
        let parts = &parts[self.request.strip..];
        let mut file = None;
        match member.kind {
            MemberKind::Special => {
                self.refuse(&member, SPECIAL);
                return Ok(());
            }
            MemberKind::Link | MemberKind::HardLink if !self.request.links => {
                self.skip(&member, "a link");
                return Ok(());
            }
            MemberKind::Link => {
                let target = member.link.as_deref().unwrap_or_default();
                if let Some(reason) = refuse_link(target, parts.len() - 1) {
                    self.refuse(&member, format!("{reason}: {}", show_bytes(target)));
                    return Ok(());
                }
            }
            MemberKind::Directory => {
                if member.size > 0 {
                    self.skip(&member, FOLDER_BYTES);
                }
                let number = self.folder(&member, parts)?;
                self.plan.folders[number as usize].attributes = Some((member.mode, member.mtime));
                return Ok(());
            }
            MemberKind::File => {
                if self.plan.is_unreadable(&member)? {
                    return Ok(());
                }
                self.plan.bytes = self.plan.bytes.saturating_add(member.size);
            }
            // Now, since a later member of the target's name is another file.
            MemberKind::HardLink => file = self.file_at(member.link.as_deref().unwrap_or_default()),
        }
        let folder = self.folder(&member, &parts[..parts.len() - 1])?;
        let name = parts[parts.len() - 1].to_vec();
        self.place(Job { member, folder, name, is_superseded: false }, file)
    }

    /// The number of a folder, which is made where there is none. Each level is found by the number of the one above, so
    /// that a deep path takes no more room than its own bytes.
    fn folder(&mut self, member: &Member, parts: &[&[u8]]) -> Result<u32, Fault> {
        let mut number = 0;
        for part in parts {
            let next = self.plan.folders.len() as u32;
            match self.places.entry(self.hasher.hash_one((number, part))) {
                Entry::Occupied(place) => match *place.get() {
                    Place::Folder(folder) => number = folder,
                    _ => return Err(unsafe_member(member, "its folder would also be another member's file or link")),
                },
                Entry::Vacant(free) => {
                    let most = IMPLIED_FOLDERS + self.members;
                    if self.limits.max_members != 0 && next as usize > most {
                        let what = format!(
                            "the archive asks for more than {most} folders; if you trust it, lift the limits with \
                             --unsafe-limits, or unsafe_limits=True in Python"
                        );
                        let fault = Fault::new(ErrorKind::LimitExceeded, what);
                        return Err(fault.in_member(&member.name).at(member.offset));
                    }
                    free.insert(Place::Folder(next));
                    let name = part.to_vec();
                    self.plan.folders.push(Folder { parent: number, name, attributes: None, folds_to: next });
                    if let Some(Place::Folder(first)) = self.fold(member, number, part, Place::Folder(next))? {
                        self.plan.folders[next as usize].folds_to = first;
                    }
                    number = next;
                }
            }
        }
        Ok(number)
    }

    /// The file that a member of this name would be a link to, of those that were added.
    fn file_at(&self, target: &[u8]) -> Option<usize> {
        let parts = parts(target).ok()?;
        let (name, folders) = parts.get(self.request.strip..)?.split_last()?;
        let mut number = 0;
        for part in folders {
            match self.places.get(&self.hasher.hash_one((number, part)))? {
                Place::Folder(folder) => number = *folder,
                _ => return None,
            }
        }
        match self.places.get(&self.hasher.hash_one((number, name)))? {
            Place::File(at) => Some(*at),
            Place::HardLink(at) => self.plan.hard_links[*at].file,
            _ => None,
        }
    }

    fn job(&self, place: Place) -> Option<&Job> {
        match place {
            Place::Folder(_) => None,
            Place::File(at) => self.plan.files.get(at),
            Place::Link(at) => self.plan.links.get(at),
            Place::HardLink(at) => self.plan.hard_links.get(at).map(|link| &link.job),
        }
    }

    /// Give the job its place among its like; of two members with one name a tar's later one wins, as in every reader.
    fn place(&mut self, job: Job, file: Option<usize>) -> Result<(), Fault> {
        let place = match job.member.kind {
            MemberKind::Link => Place::Link(self.plan.links.len()),
            MemberKind::HardLink => Place::HardLink(self.plan.hard_links.len()),
            _ => Place::File(self.plan.files.len()),
        };
        let key = self.hasher.hash_one((job.folder, &job.name[..]));
        let instead_of = self.places.insert(key, place);
        match instead_of {
            None => drop(self.fold(&job.member, job.folder, &job.name, place)?),
            Some(Place::Folder(_)) => {
                return Err(unsafe_member(&job.member, "it would be a file, and also the folder of another member"));
            }
            Some(old) => self.supersede(old, &job.member)?,
        }
        match place {
            Place::Link(_) => self.plan.links.push(job),
            Place::HardLink(_) => {
                self.plan.hard_links.push(HardLink { job, file, target: (0, Vec::new()), instead_of });
            }
            _ => self.plan.files.push(job),
        }
        Ok(())
    }

    fn supersede(&mut self, old: Place, member: &Member) -> Result<(), Fault> {
        let name = self.job(old).map(|job| job.member.name.clone()).unwrap_or_default();
        if self.format == Format::Zip {
            let what = "two members would become this file; the archive is malformed or meant to deceive";
            return Err(Fault::new(ErrorKind::UnsafeMember, what).in_member(&member.name).at(member.offset));
        }
        if parts(&name).ok() != parts(&member.name).ok() {
            let what = format!(
                "with {} folders taken off, it and {} would become one file; strip fewer, or extract them one by one",
                self.request.strip,
                show_bytes(&name)
            );
            return Err(Fault::new(ErrorKind::UnsafeMember, what).in_member(&member.name).at(member.offset));
        }
        self.repeated += 1;
        self.set_superseded(old, true);
        Ok(())
    }

    fn set_superseded(&mut self, place: Place, is_superseded: bool) {
        let plan = &mut self.plan;
        match place {
            Place::Folder(_) => {}
            Place::File(at) => plan.files[at].is_superseded = is_superseded,
            Place::Link(at) => plan.links[at].is_superseded = is_superseded,
            Place::HardLink(at) => plan.hard_links[at].job.is_superseded = is_superseded,
        }
    }

    /// Give the name back to what had it before a member that is not made.
    pub fn restore(&mut self, place: Place) {
        self.repeated -= 1;
        self.set_superseded(place, false);
    }

    /// Look for a place that this one falls together with where case and accents do not count.
    fn fold(&mut self, member: &Member, folder: u32, name: &[u8], place: Place) -> Result<Option<Place>, Fault> {
        let folder_folds = self.plan.folders[folder as usize].folds_to;
        let hash = match std::str::from_utf8(name) {
            Ok(text) if !text.is_ascii() => {
                // Up and down again, letter by letter: two lower case sigmas share a capital, and so do long and round s.
                // Down first, since the capital sharp s is its own capital.
                let lower = text.nfc().flat_map(char::to_lowercase);
                let text: String = lower.flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect();
                self.hasher.hash_one((folder_folds, text.as_bytes()))
            }
            Ok(_) => self.hasher.hash_one((folder_folds, &name.to_ascii_lowercase()[..])),
            Err(_) => self.hasher.hash_one((folder_folds, name)),
        };
        let first = match self.folded.entry(hash) {
            Entry::Vacant(free) => {
                free.insert(place);
                return Ok(None);
            }
            Entry::Occupied(first) => *first.get(),
        };
        let (first_name, second_name) = (self.path(first), self.path_in(folder, name));
        if !self.request.allow_collisions {
            let what = format!(
                "{} and {} differ in case or accents alone, and are one on systems where these do not count; extract \
                 them one by one, or allow it (--allow-collisions, allow_collisions=True)",
                show_bytes(&first_name),
                show_bytes(&second_name)
            );
            return Err(Fault::new(ErrorKind::UnsafeMember, what).in_member(&member.name).at(member.offset));
        }
        self.collisions += 1;
        self.first_collision.get_or_insert((first_name, second_name));
        Ok(Some(first))
    }

    fn path(&self, place: Place) -> Vec<u8> {
        match (place, self.job(place)) {
            (Place::Folder(number), _) => {
                let folder = &self.plan.folders[number as usize];
                self.path_in(folder.parent, &folder.name)
            }
            (_, Some(job)) => self.path_in(job.folder, &job.name),
            _ => Vec::new(),
        }
    }

    /// Where something is written, below the destination.
    fn path_in(&self, mut folder: u32, name: &[u8]) -> Vec<u8> {
        let mut parts = vec![name];
        while folder != 0 {
            parts.push(&self.plan.folders[folder as usize].name);
            folder = self.plan.folders[folder as usize].parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }

    fn finish(mut self) -> Plan {
        if self.repeated > 0 {
            let (members, have) = if self.repeated == 1 { ("member", "has") } else { ("members", "have") };
            self.plan
                .warnings
                .push(format!("{} {members} {have} a later one of the same name, which was taken", self.repeated));
        }
        if let Some((first, second)) = &self.first_collision {
            self.plan.warnings.push(format!(
                "names that differ from another in case or accents alone, and are one file on other systems: {}; the \
                 first are {} and {}",
                self.collisions,
                show_bytes(first),
                show_bytes(second)
            ));
        }
        self.plan.files.retain(|job| !job.is_superseded);
        self.plan.links.retain(|job| !job.is_superseded);
        self.plan.hard_links.retain(|link| !link.job.is_superseded);
        self.plan.files.sort_by_key(|job| job.member.offset);
        self.plan
    }
}

/// What would be overwritten counts as in the way only where it must not be.
pub(super) fn must_be_free(request: &ExtractRequest) -> bool {
    request.existing == Existing::Error
}
