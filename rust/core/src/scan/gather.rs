//! Sources become listings and walks under one naming, and everything found becomes one [`Found`].

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use super::pattern::{Exclude, Pattern};
use super::source::{Lookup, Source, Start, absolute, base_name, parent};
use super::walk::{Rules, Search, Task, is_absent, walk};
use super::{Directory, EntryKind, Found, Listing};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage, show_bytes};
use crate::fs;
use crate::report::Remark;
use crate::request::{Layout, PackRequest};

/// The sources, looked up.
pub(crate) struct Sources<'a> {
    request: &'a PackRequest,
    lookup: Lookup<'a>,
    /// Each source's text, and whether it may be a pattern.
    texts: Vec<(&'a [u8], bool)>,
    looked_up: Vec<Source>,
    /// The deepest folder that holds all that is named.
    pub common: Vec<u8>,
}

impl<'a> Sources<'a> {
    /// Find out what each source is. `tolerant` leaves out names that are not there.
    pub fn look_up(request: &'a PackRequest, tolerant: bool, cancel: &CancelToken) -> Result<Self> {
        let lookup = Lookup::new(request, tolerant)?;
        let patterns = request.sources.iter().map(|text| (text, true));
        let literals = request.literals.iter().map(|text| (text, false));
        let texts: Vec<(&[u8], bool)> = patterns.chain(literals).collect();
        let looked_up = lookup.all(&texts, request.options.jobs, cancel)?;
        let common = common_folder(&lookup, &texts, &looked_up)?.unwrap_or_else(|| lookup.working.clone());
        Ok(Self { request, lookup, texts, looked_up, common })
    }

    /// Walk the folders, and return all that was found.
    pub fn scan(self, cancel: &CancelToken) -> Result<Found> {
        let Self { request, lookup, texts, looked_up, common } = self;
        let root = request.root.as_deref().map(|root| resolve_root(&lookup, root)).transpose()?;
        let exclude = Exclude::new(&request.exclude);
        let mut gather = Gather {
            lookup: &lookup,
            layout: request.layout,
            root: root.as_deref(),
            common: &common,
            exclude: &exclude,
            listings: HashMap::new(),
            tasks: Vec::new(),
            searches: Vec::new(),
            searched: Vec::new(),
            unmatched: Vec::new(),
            skipped: Vec::new(),
        };
        for (&(text, _), source) in texts.iter().zip(looked_up) {
            cancel.check(Stage::Scan)?;
            gather.add(text, source)?;
        }
        let rules = Rules {
            hidden: request.hidden,
            symlinks: request.symlinks,
            on_change: request.options.on_change,
            exclude: &exclude,
            cancel,
        };
        let Gather { listings, tasks, searches, searched, mut unmatched, mut skipped, .. } = gather;
        let harvest = walk(&rules, &searches, tasks, request.options.jobs)?;
        let missed = searches.iter().zip(searched).filter(|(search, _)| !search.matched.load(Ordering::Relaxed));
        unmatched.extend(missed.map(|(_, text)| text));
        skipped.extend(harvest.skipped);
        skipped.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        skipped.dedup();
        let mut listings: Vec<Listing> = listings.into_values().collect();
        listings.iter_mut().for_each(Listing::sort);
        listings.extend(harvest.listings);
        let warnings = unmatched
            .into_iter()
            .map(|text| format!("nothing matches {}; the other sources were taken", show_bytes(text)))
            .collect();
        let mut found = Found { skipped, warnings, named: named(&texts), ..Found::default() };
        assemble(listings, &mut found);
        found.common = common;
        Ok(found)
    }
}

struct Gather<'a> {
    lookup: &'a Lookup<'a>,
    layout: Layout,
    root: Option<&'a [u8]>,
    common: &'a [u8],
    exclude: &'a Exclude,
    /// Entries named one by one, by folder.
    listings: HashMap<Vec<u8>, Listing>,
    tasks: Vec<Task>,
    searches: Vec<Search>,
    /// The source text of each search.
    searched: Vec<&'a [u8]>,
    unmatched: Vec<&'a [u8]>,
    skipped: Vec<Remark>,
}

impl<'a> Gather<'a> {
    fn add(&mut self, text: &'a [u8], source: Source) -> Result<()> {
        match source {
            Source::Missing => self.unmatched.push(text),
            Source::Left(remark) => self.skipped.push(*remark),
            Source::Single(kind) => self.single(text, kind)?,
            Source::Folder(start) if self.layout == Layout::Tree => {
                let Start { path, identity } = *start;
                let directory = self.directory(path, identity.is_none())?;
                self.task(directory, None, identity.is_none(), identity);
            }
            Source::Folder(start) => {
                let Start { path, identity } = *start;
                self.search(text, path, identity.is_none(), identity, Pattern::everything())?;
            }
            Source::Pattern(below) => self.search(text, below.0, false, None, below.1)?,
        }
        Ok(())
    }

    fn single(&mut self, text: &[u8], kind: EntryKind) -> Result<()> {
        let path = self.lookup.absolute(text)?;
        let (folder, name) = (parent(&path), base_name(&path));
        if !self.listings.contains_key(folder) {
            let mut directory = self.directory(folder.to_vec(), false)?;
            match fs::stat(fs::path(folder)) {
                Ok(stat) => directory.identity = fs::identity(&stat),
                Err(error) if is_absent(&error) && self.lookup.tolerant => {
                    self.skipped.push(Remark { path: fs::path(&path).into(), reason: "not there".into() });
                    return Ok(());
                }
                Err(error) => return Err(Error::io(Stage::Scan, "enter", fs::path(folder), error)),
            }
            self.listings.insert(folder.to_vec(), Listing::new(directory));
        }
        let Some(listing) = self.listings.get_mut(folder) else { return Ok(()) };
        let prefix = &listing.directory.member;
        if self.exclude.is_empty()
            || !(self.exclude.matches_prefix(prefix) || self.exclude.matches(prefix, name, false))
        {
            listing.push(name, kind);
        }
        Ok(())
    }

    fn search(
        &mut self,
        text: &'a [u8],
        folder: Vec<u8>,
        is_link: bool,
        identity: Option<(u64, u64)>,
        pattern: Pattern,
    ) -> Result<()> {
        let directory = self.directory(folder, is_link)?;
        let expand = self.layout == Layout::Tree && !pattern.ends_recursive();
        self.searches.push(Search { pattern, expand, matched: AtomicBool::new(false) });
        self.searched.push(text);
        self.task(directory, Some(self.searches.len() - 1), is_link, identity);
        Ok(())
    }

    fn task(&mut self, directory: Directory, search: Option<usize>, is_link: bool, identity: Option<(u64, u64)>) {
        if self.exclude.matches_prefix(&directory.member) {
            return;
        }
        let states = if search.is_some() { vec![0] } else { Vec::new() };
        self.tasks.push(Task {
            directory,
            search,
            states,
            is_link,
            by_wildcard: false,
            is_start: true,
            inside: None,
            identity,
            ancestors: None,
        });
    }

    /// A folder that a source names, with the member names of what is in it.
    fn directory(&self, path: Vec<u8>, is_link: bool) -> Result<Directory> {
        let member = match (self.layout, self.root) {
            (Layout::Outputs, _) => Vec::new(),
            (Layout::Tree, root) => {
                let root = root.unwrap_or(self.common);
                let below = below(root, &path).ok_or_else(|| {
                    let message = format!(
                        "{} is not below the root {}; choose a root above all sources",
                        show_bytes(&path),
                        show_bytes(root)
                    );
                    Error::new(ErrorKind::Usage, Stage::Plan, message).at(fs::path(&path))
                })?;
                if below.is_empty() { Vec::new() } else { [below, b"/"].concat() }
            }
        };
        let identity = (0, 0);
        let through_link = is_link || (self.layout == Layout::Outputs && self.leaves_root(&path));
        Ok(Directory { path, member, identity, through_link })
    }

    /// Whether a link stands between the outputs folder and a folder in it, so that the folder is really elsewhere.
    fn leaves_root(&self, path: &[u8]) -> bool {
        let Some(inner) = self.root.and_then(|root| below(root, path)) else { return false };
        let start = path.len() - inner.len();
        let ends = (start + 1..=path.len()).filter(|&end| end == path.len() || path[end] == b'/');
        ends.map(|end| fs::path(&path[..end]))
            .any(|part| fs::lstat(part).is_ok_and(|stat| fs::Kind::of(&stat) == fs::Kind::Link))
    }
}

fn resolve_root(lookup: &Lookup<'_>, root: &std::path::Path) -> Result<Vec<u8>> {
    absolute(&lookup.working, root.as_os_str().as_bytes())
        .map_err(|error| Error::io(Stage::Scan, "find the root", root, error))
}

/// The part of `path` below `root`; empty where they are one.
pub(crate) fn below<'a>(root: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    if root == b"/" {
        return path.strip_prefix(b"/");
    }
    match path.strip_prefix(root)? {
        [] => Some(&[]),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// The deepest folder that holds all sources' literal folders.
fn common_folder(lookup: &Lookup<'_>, texts: &[(&[u8], bool)], sources: &[Source]) -> Result<Option<Vec<u8>>> {
    let mut common: Option<Vec<u8>> = None;
    for ((text, _), source) in texts.iter().zip(sources) {
        let single;
        let folder = match source {
            Source::Single(_) => {
                single = lookup.absolute(text)?;
                parent(&single)
            }
            Source::Left(remark) => parent(remark.path.as_os_str().as_bytes()),
            Source::Folder(start) => &start.path,
            Source::Pattern(below) => &below.0,
            Source::Missing => continue,
        };
        match &mut common {
            None => common = Some(folder.to_vec()),
            Some(common) => {
                while below(common, folder).is_none() {
                    let shorter = parent(common).len();
                    common.truncate(shorter);
                }
            }
        }
    }
    Ok(common)
}

/// Folders in the order of their member names; one that several walks listed keeps each entry once.
fn assemble(mut listings: Vec<Listing>, found: &mut Found) {
    let by_name = |a: &Listing, b: &Listing| {
        (&a.directory.member, &a.directory.path).cmp(&(&b.directory.member, &b.directory.path))
    };
    listings.sort_unstable_by(by_name);
    found.entries.reserve_exact(listings.iter().map(|listing| listing.entries.len()).sum());
    found.names.reserve_exact(listings.iter().map(|listing| listing.names.len()).sum());
    for listing in listings {
        listing.append_to(found);
    }
}

fn named(texts: &[(&[u8], bool)]) -> String {
    let first: Vec<String> = texts.iter().take(5).map(|(text, _)| show_bytes(text)).collect();
    let more = if texts.len() > 5 { format!(" and {} more", texts.len() - 5) } else { String::new() };
    format!("{}{more}", first.join(", "))
}
