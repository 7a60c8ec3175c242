//! Lists folders on several threads and keeps what a pattern, or a whole tree, takes.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::pattern::{Component, Exclude, Pattern, is_hidden, is_sidecar};
use super::source::{base_name, parent};
use super::{Directory, EntryKind, Listing, MAX_MEMBER_NAME, name_too_long};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage, show_bytes};
use crate::fs::{self, Kind};
use crate::report::Remark;
use crate::request::{OnChange, Symlinks};
use crate::threads::on_threads;

/// How often one folder may be reached through links. Folders that link to each other are reached on as many ways as
/// there are orders of them: ten give ten million paths, each without a loop.
const MAX_WAYS: u32 = 10_000;

/// What all walks of a scan share.
pub(super) struct Rules<'a> {
    pub hidden: bool,
    pub symlinks: Symlinks,
    pub on_change: OnChange,
    pub exclude: &'a Exclude,
    pub cancel: &'a CancelToken,
}

/// A source to walk for.
pub(super) struct Search {
    pub pattern: Pattern,
    /// A matched folder is packed with everything below.
    pub expand: bool,
    /// Whether anything matched.
    pub matched: AtomicBool,
}

/// A folder to list.
pub(super) struct Task {
    pub directory: Directory,
    /// What for; everything below where there is no search.
    pub search: Option<usize>,
    /// Components of the search that may match in this folder.
    pub states: Vec<usize>,
    /// The folder is a link, and following it is meant.
    pub is_link: bool,
    /// A wildcard took the folder: what no wildcard takes is not taken below it either.
    pub by_wildcard: bool,
    /// The source's own folder: may be missing.
    pub is_start: bool,
    /// The folder that it was found in, by device and inode; `None` where a link or the caller leads to it.
    pub inside: Option<(u64, u64)>,
    /// Which folder it was when it was seen, where somebody looked.
    pub identity: Option<(u64, u64)>,
    pub ancestors: Option<Arc<Ancestor>>,
}

impl Task {
    /// The folder's identity, once it is open; `None` where it is not the one that was found: a link that has taken the place
    /// of a folder on the way would lead out of what was named.
    fn identity_of(&self, folder: &OwnedFd) -> io::Result<Option<(u64, u64)>> {
        let identity = fs::identity(&fs::fstat(folder)?);
        let is_it = self.identity.is_none_or(|expected| expected == identity);
        let Some(inside) = self.inside.filter(|_| is_it) else { return Ok(is_it.then_some(identity)) };
        if let Ok(above) = fs::stat_at(folder, b"..") {
            return Ok((fs::identity(&above) == inside).then_some(identity));
        }
        // One that may be listed and not entered: it is looked for in the folder that it should be in.
        let above = fs::enter_directory(parent(&self.directory.path))?;
        let there = fs::lstat_at(&above, base_name(&self.directory.path))?;
        let is_there = fs::identity(&fs::fstat(&above)?) == inside && fs::identity(&there) == identity;
        Ok(is_there.then_some(identity))
    }
}

/// The folders above one, to notice that a link leads back into them.
pub(super) struct Ancestor {
    identity: (u64, u64),
    parent: Option<Arc<Ancestor>>,
}

impl Drop for Ancestor {
    /// One after the other: a chain may be as long as a path has folders, and each would take its share of the stack.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(mut ancestor) = next.and_then(Arc::into_inner) {
            next = ancestor.parent.take();
        }
    }
}

impl Ancestor {
    fn leads_back(mut chain: Option<&Arc<Self>>, identity: (u64, u64)) -> bool {
        while let Some(ancestor) = chain {
            if ancestor.identity == identity {
                return true;
            }
            chain = ancestor.parent.as_ref();
        }
        false
    }
}

/// What the walks found.
#[derive(Default)]
pub(super) struct Harvest {
    pub listings: Vec<Listing>,
    pub skipped: Vec<Remark>,
}

struct Queue {
    tasks: Vec<Task>,
    running: usize,
    failed: Option<Error>,
}

struct Walker<'a> {
    rules: &'a Rules<'a>,
    searches: &'a [Search],
    queue: Mutex<Queue>,
    wake: Condvar,
    /// How often each folder was reached through a link.
    ways: Mutex<HashMap<(u64, u64), u32>>,
}

/// List all folders that the tasks lead to, on up to `jobs` threads.
pub(super) fn walk(rules: &Rules<'_>, searches: &[Search], tasks: Vec<Task>, jobs: usize) -> Result<Harvest> {
    if tasks.is_empty() {
        return Ok(Harvest::default());
    }
    let queue = Mutex::new(Queue { tasks, running: 0, failed: None });
    let walker = Walker { rules, searches, queue, wake: Condvar::new(), ways: Mutex::default() };
    let mut harvest = Harvest::default();
    for part in on_threads(jobs, || walker.run()) {
        harvest.listings.extend(part.listings);
        harvest.skipped.extend(part.skipped);
    }
    let queue = walker.queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    match queue.failed {
        Some(error) => Err(error),
        None => Ok(harvest),
    }
}

/// Ends the walk when its thread panics, so that no other waits for it for ever.
struct Running<'a, 'b>(&'a Walker<'b>);

impl Drop for Running<'_, '_> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.running -= 1;
        if std::thread::panicking() {
            queue.failed.get_or_insert_with(|| Error::cancelled(Stage::Scan));
        }
        if queue.failed.is_some() || (queue.running == 0 && queue.tasks.is_empty()) {
            self.0.wake.notify_all();
        }
    }
}

impl Walker<'_> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) -> Harvest {
        let mut harvest = Harvest::default();
        while let Some(task) = self.next() {
            let running = Running(self);
            let result = self.rules.cancel.check(Stage::Scan).and_then(|()| self.list(task, &mut harvest));
            match result {
                Ok(children) if children.is_empty() => {}
                Ok(children) => {
                    self.lock().tasks.extend(children);
                    self.wake.notify_all();
                }
                Err(error) => {
                    self.lock().failed.get_or_insert(error);
                }
            }
            drop(running);
        }
        harvest
    }

    fn next(&self) -> Option<Task> {
        let mut queue = self.lock();
        loop {
            if queue.failed.is_some() {
                return None;
            }
            if let Some(task) = queue.tasks.pop() {
                queue.running += 1;
                return Some(task);
            }
            if queue.running == 0 {
                return None;
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// List one folder: entries go to the harvest, folders to list next come back.
    fn list(&self, task: Task, harvest: &mut Harvest) -> Result<Vec<Task>> {
        let path = &task.directory.path;
        let opened = if task.inside.is_some() { fs::open_directory_itself(path) } else { fs::open_directory(path) };
        let descriptor = match opened {
            Ok(descriptor) => descriptor,
            Err(error) => return self.not_listed(&task, error, harvest),
        };
        let identity = match task.identity_of(&descriptor) {
            Ok(Some(identity)) => identity,
            Ok(None) => return self.not_listed(&task, io::Error::from_raw_os_error(libc::ELOOP), harvest),
            Err(error) => return self.not_listed(&task, error, harvest),
        };
        let mut visit = Visit::new(self, task, harvest);
        visit.listing.directory.identity = identity;
        if self.rules.symlinks == Symlinks::Follow {
            let task = &visit.task;
            if (task.is_link || task.directory.through_link) && Ancestor::leads_back(task.ancestors.as_ref(), identity)
            {
                visit.skip_directory("a link that leads back into its own folder");
                return Ok(Vec::new());
            }
            if task.is_link {
                self.count_way(&task.directory.path, identity)?;
            }
            let parent = visit.task.ancestors.take();
            visit.task.ancestors = Some(Arc::new(Ancestor { identity, parent }));
        }
        visit.close_states();
        if let Some(names) = visit.literal_names() {
            for name in names {
                match fs::lstat_at(&descriptor, &name) {
                    Ok(stat) => visit.entry(&descriptor, &name, Kind::of(&stat)),
                    Err(error) if is_absent(&error) => {}
                    Err(error) => {
                        let path = fs::join(&visit.task.directory.path, &name);
                        return Err(Error::io(Stage::Scan, "look up", fs::path(&path), error));
                    }
                }
            }
        } else {
            let listed = fs::list(&descriptor, |name, kind| {
                visit.entry(&descriptor, name, kind);
                if self.rules.cancel.is_cancelled() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
            });
            self.rules.cancel.check(Stage::Scan)?;
            listed.map_err(|error| Error::io(Stage::Scan, "list", path_of(&visit), error))?;
        }
        visit.finish()
    }

    fn count_way(&self, path: &[u8], identity: (u64, u64)) -> Result<()> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let count = ways.entry(identity).or_default();
        *count += 1;
        if *count <= MAX_WAYS {
            return Ok(());
        }
        let message = format!(
            "{} is reached through more than 10,000 links, among folders that link to each other; pack with symlinks store or skip, or leave links out with exclude",
            show_bytes(path)
        );
        let cause = io::Error::from_raw_os_error(libc::ELOOP);
        Err(Error::io(Stage::Scan, "follow links to", fs::path(path), cause).with_message(message))
    }

    fn not_listed(&self, task: &Task, error: io::Error, harvest: &mut Harvest) -> Result<Vec<Task>> {
        let path = fs::path(&task.directory.path);
        let replaced = task.inside.or(task.identity).is_some() && error.raw_os_error() == Some(libc::ELOOP);
        if replaced || is_absent(&error) {
            if task.is_start && task.search.is_some() && !replaced {
                return Ok(Vec::new());
            }
            if self.rules.on_change == OnChange::Skip {
                harvest
                    .skipped
                    .push(Remark { path: path.into(), reason: "vanished or was replaced while it was listed".into() });
                return Ok(Vec::new());
            }
            let message = format!(
                "{} vanished or was replaced while it was listed; nothing was published: pack again when it is at rest, or leave it out with exclude",
                crate::error::show(path)
            );
            return Err(Error::io(Stage::Scan, "list", path, error).as_kind(ErrorKind::Changed).with_message(message));
        }
        Err(Error::io(Stage::Scan, "list", path, error))
    }
}

fn path_of<'a>(visit: &'a Visit<'_, '_>) -> &'a std::path::Path {
    fs::path(&visit.task.directory.path)
}

/// Nothing there under that name, or nothing that can have entries.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename)
}

/// One folder while it is listed.
struct Visit<'a, 'b> {
    walker: &'a Walker<'b>,
    task: Task,
    harvest: &'a mut Harvest,
    listing: Listing,
    children: Vec<Task>,
    failed: Option<Error>,
}

/// What a name is wanted for.
#[derive(Default)]
struct Match {
    /// The name is one that the source takes.
    taken: bool,
    /// A wildcard took it, not its own name.
    by_wildcard: bool,
    /// Where the pattern goes on below it.
    below: Vec<usize>,
}

impl<'a, 'b> Visit<'a, 'b> {
    fn new(walker: &'a Walker<'b>, task: Task, harvest: &'a mut Harvest) -> Self {
        let listing = Listing::new(task.directory.clone());
        Self { walker, task, harvest, listing, children: Vec::new(), failed: None }
    }

    fn search(&self) -> Option<&'a Search> {
        self.task.search.map(|index| &self.walker.searches[index])
    }

    /// `**` may match no folder at all: what stands behind it may match here, too.
    fn close_states(&mut self) {
        let Some(search) = self.search() else { return };
        let components = &search.pattern.components;
        let mut at = 0;
        while at < self.task.states.len() {
            let state = self.task.states[at];
            match components.get(state) {
                Some(Component::Recursive) => self.add_state(state + 1),
                Some(Component::Parent) => self.visit_parent(state + 1),
                _ => {}
            }
            at += 1;
        }
        self.task.states.retain(|&state| state < components.len() && !matches!(components[state], Component::Parent));
    }

    fn add_state(&mut self, state: usize) {
        if !self.task.states.contains(&state) {
            self.task.states.push(state);
        }
    }

    /// `..` behind a wildcard: the folder above, where the names go on from there.
    fn visit_parent(&mut self, state: usize) {
        let Directory { path, member, through_link, .. } = &self.task.directory;
        let (Some(cut), Some(member_cut)) = (
            path.iter().rposition(|&b| b == b'/'),
            member.strip_suffix(b"/").map(|m| m.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1)),
        ) else {
            return;
        };
        if self.task.is_link {
            return;
        }
        self.children.push(Task {
            directory: Directory {
                path: path[..cut].to_vec(),
                member: member[..member_cut].to_vec(),
                identity: (0, 0),
                through_link: *through_link,
            },
            search: self.task.search,
            states: vec![state],
            is_link: false,
            by_wildcard: self.task.by_wildcard,
            is_start: false,
            inside: None,
            identity: self.task.inside,
            ancestors: None,
        });
    }

    /// The names to look up where every state is a plain name, so that the folder need not be listed.
    fn literal_names(&self) -> Option<Vec<Vec<u8>>> {
        let components = &self.search()?.pattern.components;
        let names = self.task.states.iter().map(|&state| match &components[state] {
            Component::Name(name) => name.literal().map(<[u8]>::to_vec),
            _ => None,
        });
        names.collect()
    }

    fn matching(&self, name: &[u8]) -> Match {
        let Some(search) = self.search() else {
            return Match { taken: true, ..Match::default() };
        };
        let components = &search.pattern.components;
        let hidden_ok = self.walker.rules.hidden || !is_hidden(name);
        let mut found = Match::default();
        for &state in &self.task.states {
            let is_last = state + 1 == components.len();
            match &components[state] {
                Component::Recursive if hidden_ok => {
                    found.below.push(state);
                    found.taken |= is_last;
                    found.by_wildcard |= is_last;
                }
                Component::Name(wildcard) => {
                    let is_literal = wildcard.literal().is_some();
                    if !(hidden_ok || is_literal || wildcard.asks_for_hidden()) || !wildcard.matches(name) {
                        continue;
                    }
                    if is_last {
                        found.taken = true;
                        found.by_wildcard |= !is_literal;
                    } else {
                        found.below.push(state + 1);
                    }
                }
                _ => {}
            }
        }
        found
    }

    fn entry(&mut self, descriptor: &impl std::os::fd::AsFd, name: &[u8], kind: Kind) {
        let found = self.matching(name);
        if !found.taken && found.below.is_empty() {
            return;
        }
        let exclude = self.walker.rules.exclude;
        if !exclude.is_empty() && kind != Kind::Link {
            let is_directory = kind == Kind::Directory;
            if exclude.matches(&self.task.directory.member, name, is_directory) {
                return;
            }
        }
        match kind {
            Kind::File => self.file(name, &found, EntryKind::File),
            Kind::Directory => self.directory(name, found, false),
            Kind::Link => self.link(descriptor, name, found),
            Kind::Special => {
                if found.taken {
                    let what = fs::lstat_at(descriptor.as_fd(), name);
                    let what = what.as_ref().map_or("a special file", fs::special_name);
                    self.skip(name, what);
                }
            }
        }
    }

    fn file(&mut self, name: &[u8], found: &Match, kind: EntryKind) {
        if !found.taken {
            return;
        }
        let mut by_wildcard = self.task.by_wildcard;
        if let Some(search) = self.search() {
            if search.pattern.directories_only {
                return;
            }
            search.matched.store(true, Ordering::Relaxed);
            by_wildcard = found.by_wildcard && !search.pattern.names_sidecars();
        }
        if by_wildcard && is_sidecar(name) {
            self.skip(name, "describes other outputs; name it to pack it");
            return;
        }
        self.listing.push(name, kind);
    }

    fn directory(&mut self, name: &[u8], found: Match, is_link: bool) {
        let Directory { path, member, through_link, .. } = &self.task.directory;
        let below = [member, name, b"/"].concat();
        if below.len() > MAX_MEMBER_NAME {
            // Here and not in the plan: a chain of folders deeper than that would take its length squared in memory.
            self.failed.get_or_insert_with(|| name_too_long(&fs::join(path, name)));
            return;
        }
        let directory = Directory {
            path: fs::join(path, name),
            member: below,
            identity: (0, 0),
            through_link: *through_link || is_link,
        };
        let child = |search, states, by_wildcard| Task {
            directory: directory.clone(),
            search,
            states,
            is_link,
            by_wildcard,
            is_start: false,
            inside: (!is_link).then_some(self.listing.directory.identity),
            identity: None,
            ancestors: self.task.ancestors.clone(),
        };
        match self.search() {
            None => self.children.push(child(None, Vec::new(), self.task.by_wildcard)),
            Some(search) => {
                let mut children = Vec::new();
                let whole = found.taken && search.expand;
                // Below a folder that is taken whole there is nothing to look for.
                if !found.below.is_empty() && (!whole || search.pattern.goes_up()) {
                    children.push(child(self.task.search, found.below, false));
                }
                if whole {
                    search.matched.store(true, Ordering::Relaxed);
                    children.push(child(None, Vec::new(), found.by_wildcard && !search.pattern.names_sidecars()));
                }
                self.children.extend(children);
            }
        }
    }

    fn link(&mut self, descriptor: &impl std::os::fd::AsFd, name: &[u8], found: Match) {
        let target = fs::stat_at(descriptor.as_fd(), name);
        let leads_to_directory = matches!(&target, Ok(stat) if Kind::of(stat) == Kind::Directory);
        // One that cannot be looked up may lead to a folder.
        if self.walker.rules.exclude.matches(&self.task.directory.member, name, leads_to_directory || target.is_err()) {
            return;
        }
        match self.walker.rules.symlinks {
            Symlinks::Skip if found.taken || leads_to_directory => self.skip(name, "a symbolic link"),
            Symlinks::Store if found.taken => self.file(name, &found, EntryKind::StoredLink),
            Symlinks::Store if leads_to_directory => self.skip(name, "a linked folder, not entered"),
            Symlinks::Skip | Symlinks::Store => {}
            Symlinks::Follow => match target {
                Ok(stat) => match Kind::of(&stat) {
                    Kind::File => self.file(name, &found, EntryKind::LinkedFile),
                    Kind::Directory => self.directory(name, found, true),
                    _ if found.taken => self.skip(name, &format!("a link to {}", &fs::special_name(&stat)[2..])),
                    _ => {}
                },
                Err(error) if is_absent(&error) || error.raw_os_error() == Some(libc::ELOOP) => {
                    let end = if is_absent(&error) { "nowhere" } else { "to itself" };
                    if found.taken {
                        self.skip(name, &format!("a link that leads {end}"));
                    }
                }
                // There may be something, as behind the name of a file that cannot be read.
                Err(error) => {
                    let path = fs::join(&self.task.directory.path, name);
                    let error = Error::io(Stage::Scan, "follow the link", fs::path(&path), error);
                    self.failed.get_or_insert(error);
                }
            },
        }
    }

    fn skip(&mut self, name: &[u8], reason: &str) {
        if let Some(search) = self.search() {
            search.matched.store(true, Ordering::Relaxed);
        }
        let path = fs::join(&self.task.directory.path, name);
        self.harvest.skipped.push(Remark { path: fs::path(&path).into(), reason: reason.into() });
    }

    fn skip_directory(&mut self, reason: &str) {
        let path = fs::path(&self.task.directory.path).into();
        self.harvest.skipped.push(Remark { path, reason: reason.into() });
    }

    fn finish(mut self) -> Result<Vec<Task>> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let whole_tree = self.task.search.is_none();
        if whole_tree
            && self.listing.entries.is_empty()
            && self.children.is_empty()
            && !self.task.directory.member.is_empty()
        {
            self.listing.push(b"", EntryKind::EmptyDirectory);
        }
        if !self.listing.entries.is_empty() {
            self.listing.sort();
            self.harvest.listings.push(self.listing);
        }
        Ok(self.children)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_chain_of_folders_is_forgotten_on_a_small_stack() {
        let forget = || {
            let chain = |parent, number| Some(Arc::new(Ancestor { identity: (0, number), parent }));
            let deepest = (0..100_000).fold(None, chain);
            assert!(Ancestor::leads_back(deepest.as_ref(), (0, 0)));
        };
        std::thread::Builder::new().stack_size(64 << 10).spawn(forget).unwrap().join().unwrap();
    }
}
