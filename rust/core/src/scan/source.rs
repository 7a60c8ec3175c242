//! What the caller named, looked up: a file, a folder, a pattern below a folder, or nothing.

use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::EntryKind;
use super::pattern::{Pattern, parse};
use super::walk::is_absent;
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage, show_bytes};
use crate::fs::{self, Kind};
use crate::report::Remark;
use crate::request::{Layout, OnChange, PackRequest, Symlinks};
use crate::threads::on_threads;

/// Names looked up between two looks at the shared counter; fewer are not worth another thread.
const LOOKUPS_PER_PART: usize = 2048;

/// A source, looked up. Small, since there may be a million: a single file's path is made from its text when it is needed.
pub(super) enum Source {
    /// A file, or a link that is packed as one or as itself.
    Single(EntryKind),
    /// A folder.
    Folder(Box<Start>),
    /// A folder's path and what to match below it.
    Pattern(Box<(Vec<u8>, Pattern)>),
    /// Nothing there.
    Missing,
    /// There, but not to be packed.
    Left(Box<Remark>),
}

/// A folder that was named.
pub(super) struct Start {
    pub path: Vec<u8>,
    /// By its device and inode, which folder the name meant; `None` where it is a link, wherever that leads.
    pub identity: Option<(u64, u64)>,
}

fn left(path: &[u8], reason: &str) -> Source {
    Source::Left(Box::new(Remark { path: fs::path(path).into(), reason: reason.into() }))
}

/// Looks sources up on several threads.
pub(super) struct Lookup<'a> {
    request: &'a PackRequest,
    /// Names that are not there are left out.
    pub tolerant: bool,
    /// What relative sources start from.
    pub working: Vec<u8>,
}

impl<'a> Lookup<'a> {
    pub fn new(request: &'a PackRequest, tolerant: bool) -> Result<Self> {
        let tolerant = tolerant || request.options.on_change == OnChange::Skip;
        let is_relative = |text: &[u8]| text.first() != Some(&b'/');
        let needs_working = match &request.base {
            Some(base) => base.is_relative(),
            None => request.sources.iter().chain(request.literals.iter()).any(is_relative),
        };
        let working = match std::env::current_dir() {
            Ok(working) => working.into_os_string().into_vec(),
            // Absolute paths need none, and it may be gone.
            Err(_) if !needs_working => b"/".to_vec(),
            Err(error) => {
                return Err(Error::io(
                    Stage::Scan,
                    "find the working directory, so cannot read",
                    fs::path(b"."),
                    error,
                ));
            }
        };
        let Some(base) = &request.base else { return Ok(Self { request, tolerant, working }) };
        let working = absolute(&working, base.as_os_str().as_bytes())
            .map_err(|error| Error::io(Stage::Scan, "find the folder", base, error))?;
        Ok(Self { request, tolerant, working })
    }

    /// The path of a source that was found, absolute.
    pub fn absolute(&self, text: &[u8]) -> Result<Vec<u8>> {
        absolute(&self.working, text).map_err(|error| Error::io(Stage::Scan, "look up", fs::path(text), error))
    }

    /// One source for each text; the flag says whether it may be a pattern.
    pub fn all(&self, texts: &[(&[u8], bool)], jobs: usize, cancel: &CancelToken) -> Result<Vec<Source>> {
        let (next, parts) = (AtomicUsize::new(0), texts.len().div_ceil(LOOKUPS_PER_PART));
        let made = on_threads(jobs.min(parts), || -> Result<Vec<(usize, Vec<Source>)>> {
            let mut made = Vec::new();
            loop {
                let part = next.fetch_add(1, Ordering::Relaxed);
                let Some(texts) = texts.chunks(LOOKUPS_PER_PART).nth(part) else { return Ok(made) };
                cancel.check(Stage::Scan)?;
                let sources = texts.iter().map(|&(text, may_be_pattern)| self.one(text, may_be_pattern));
                made.push((part, sources.collect::<Result<_>>()?));
            }
        });
        let mut made: Vec<_> = made.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        made.sort_unstable_by_key(|(part, _)| *part);
        Ok(made.into_iter().flat_map(|(_, sources)| sources).collect())
    }

    fn one(&self, text: &[u8], may_be_pattern: bool) -> Result<Source> {
        let found = absolute(&self.working, text).and_then(|path| {
            let stat = fs::lstat(fs::path(&path))?;
            if needs_directory(text) && Kind::of(&fs::stat(fs::path(&path))?) != Kind::Directory {
                return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
            }
            Ok((stat, path))
        });
        match found {
            Ok((stat, path)) => self.literal(text, path, &stat),
            Err(error) if !is_absent(&error) && error.kind() != io::ErrorKind::PermissionDenied => {
                Err(Error::io(Stage::Scan, "look up", fs::path(text), error))
            }
            Err(error) => match parse(text).filter(|_| may_be_pattern) {
                Some((folder, pattern)) => match absolute(&self.working, folder) {
                    Ok(folder) => Ok(Source::Pattern(Box::new((folder, pattern)))),
                    Err(error) if is_absent(&error) => Ok(Source::Missing),
                    Err(error) => Err(Error::io(Stage::Scan, "look up", fs::path(folder), error)),
                },
                None if self.request.layout == Layout::Outputs && is_absent(&error) => Ok(Source::Missing),
                None if is_absent(&error) && self.tolerant => {
                    let path = absolute(&self.working, text).unwrap_or_else(|_| text.to_vec());
                    Ok(left(&path, "not there"))
                }
                None => Err(Error::io(Stage::Scan, "find", fs::path(text), error).for_source()),
            },
        }
    }

    fn literal(&self, text: &[u8], path: Vec<u8>, stat: &rustix::fs::Stat) -> Result<Source> {
        let needs_directory = needs_directory(text);
        let kind = Kind::of(stat);
        let (kind, is_link, stat) = if kind == Kind::Link {
            if self.request.symlinks == Symlinks::Skip && !needs_directory {
                return Ok(left(&path, "a symbolic link"));
            }
            if self.request.symlinks == Symlinks::Store && !needs_directory {
                return Ok(Source::Single(EntryKind::StoredLink));
            }
            let target = fs::stat(fs::path(&path));
            match target {
                Ok(target) => (Kind::of(&target), true, target),
                Err(error) if self.request.layout == Layout::Outputs && is_absent(&error) => {
                    return Ok(left(&path, "a link that leads nowhere"));
                }
                Err(error) => return Err(Error::io(Stage::Scan, "follow the link", fs::path(text), error)),
            }
        } else {
            (kind, false, *stat)
        };
        match kind {
            Kind::Directory if is_link => Ok(Source::Folder(Box::new(Start { path, identity: None }))),
            Kind::Directory => {
                // Opened, since only that has a disk mounted which comes when it is wanted.
                match fs::enter_directory_itself(&path).and_then(fs::fstat) {
                    Ok(stat) => Ok(Source::Folder(Box::new(Start { path, identity: Some(fs::identity(&stat)) }))),
                    Err(error) if is_absent(&error) && self.tolerant => Ok(left(&path, "not there")),
                    Err(error) => Err(Error::io(Stage::Scan, "look up", fs::path(text), error)),
                }
            }
            Kind::File if is_link => Ok(Source::Single(EntryKind::LinkedFile)),
            Kind::File => Ok(Source::Single(EntryKind::File)),
            Kind::Special | Kind::Link => {
                let message = format!(
                    "cannot read {}: it is {}; only files, folders and links can be taken",
                    show_bytes(text),
                    fs::special_name(&stat)
                );
                Err(Error::new(ErrorKind::SpecialFile, Stage::Scan, message).at(fs::path(text)))
            }
        }
    }
}

/// Written with a slash or `/.` at the end: only a folder is meant.
fn needs_directory(text: &[u8]) -> bool {
    text.ends_with(b"/") || text.ends_with(b"/.")
}

/// The path made absolute, without `.`, empty components and `..`; what stands before a `..` is resolved on disk, since a
/// link there leads elsewhere than its name says.
pub(super) fn absolute(working: &[u8], text: &[u8]) -> io::Result<Vec<u8>> {
    let mut path = if text.first() == Some(&b'/') { Vec::new() } else { working.to_vec() };
    while path.last() == Some(&b'/') {
        path.pop();
    }
    for part in text.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                path.extend_from_slice(b"/..");
                path = fs::canonical(fs::path(&path))?.into_os_string().into_vec();
                while path.last() == Some(&b'/') {
                    path.pop();
                }
            }
            part => {
                path.push(b'/');
                path.extend_from_slice(part);
            }
        }
    }
    if path.is_empty() {
        path.push(b'/');
    }
    Ok(path)
}

pub(super) fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|&b| b == b'/') {
        Some(0) | None => b"/",
        Some(cut) => &path[..cut],
    }
}

pub(super) fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&b| b == b'/').next().unwrap_or(path)
}
