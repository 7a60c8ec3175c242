//! The files to hash, in the order of their shown names, and how each is opened.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use super::HashRequest;
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::fs;
use crate::plan::compare_joined;
use crate::report::Remark;
use crate::request::{Names, PackOptions, PackRequest};
use crate::scan::{EntryKind, Found, Sources, below};

/// A folder that files are opened in.
struct Folder {
    path: Vec<u8>,
    /// What the shown names of its files begin with: empty, or ending with a slash.
    shown: Vec<u8>,
    /// Where it was found by listing: the path must still lead there.
    identity: Option<(u64, u64)>,
}

struct File {
    name_start: usize,
    name_length: u32,
    folder: u32,
    /// The name is a link, or may be one.
    follow: bool,
}

/// Files in order; a million of them are four allocations.
#[derive(Default)]
pub(super) struct Files {
    folders: Vec<Folder>,
    names: Vec<u8>,
    list: Vec<File>,
}

/// The folder opened last; consecutive files mostly share it.
pub(super) type LastFolder = Option<(u32, OwnedFd)>;

impl Files {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The name as it is shown: absolute where it was named so, else relative to the working directory.
    pub fn shown(&self, index: usize) -> Vec<u8> {
        let (folder, name) = self.parts(index);
        [&folder.shown, name].concat()
    }

    fn parts(&self, index: usize) -> (&Folder, &[u8]) {
        let file = &self.list[index];
        let name = &self.names[file.name_start..][..file.name_length as usize];
        (&self.folders[file.folder as usize], name)
    }

    pub fn open(&self, index: usize, last: &mut LastFolder) -> io::Result<OwnedFd> {
        let (file, (folder, name)) = (&self.list[index], self.parts(index));
        let directory = match last.take() {
            Some((number, directory)) if number == file.folder => directory,
            _ => match folder.identity {
                None => fs::enter_directory(&folder.path)?,
                Some(identity) => fs::enter_same(&folder.path, identity)?
                    .ok_or_else(|| io::Error::other("its folder was replaced by another"))?,
            },
        };
        let opened = fs::open_file(&directory, name, file.follow);
        *last = Some((file.folder, directory));
        opened
    }

    /// A file by its shown name; names that share a folder are best added one behind the other.
    pub fn add(&mut self, shown: &[u8]) {
        let cut = shown.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let (folder, name) = shown.split_at(cut);
        if self.folders.last().is_none_or(|last| last.shown != folder) {
            let path = if folder.is_empty() { b".".to_vec() } else { folder.to_vec() };
            self.folders.push(Folder { path, shown: folder.to_vec(), identity: None });
        }
        self.push(self.folders.len() - 1, name, true);
    }

    fn push(&mut self, folder: usize, name: &[u8], follow: bool) {
        let (name_start, name_length) = (self.names.len(), name.len() as u32);
        self.names.extend_from_slice(name);
        self.list.push(File { name_start, name_length, folder: folder as u32, follow });
    }

    fn take(&mut self, found: &Found, shown: impl Fn(&[u8]) -> Vec<u8>) {
        let first = self.folders.len();
        self.folders.extend(found.directories.iter().map(|directory| Folder {
            path: directory.path.clone(),
            shown: shown(&directory.path),
            identity: Some(directory.identity),
        }));
        for entry in &found.entries {
            if matches!(entry.kind, EntryKind::File | EntryKind::LinkedFile) {
                let follow = entry.kind == EntryKind::LinkedFile;
                self.push(first + entry.directory as usize, found.name(entry), follow);
            }
        }
    }

    /// By shown name, each once. Each folder's files are sorted already: this merges runs.
    fn sort(&mut self) {
        let mut files = std::mem::take(&mut self.list);
        let parts = |file: &File| {
            let name = &self.names[file.name_start..][..file.name_length as usize];
            (&self.folders[file.folder as usize].shown[..], name)
        };
        files.sort_by(|a, b| {
            if a.folder == b.folder { parts(a).1.cmp(parts(b).1) } else { compare_joined(parts(a), parts(b)) }
        });
        files.dedup_by(|a, b| a.name_length == b.name_length && compare_joined(parts(a), parts(b)).is_eq());
        self.list = files;
    }
}

/// What the request's sources lead to.
pub(super) struct Wanted {
    pub files: Files,
    pub skipped: Vec<Remark>,
    pub warnings: Vec<String>,
}

/// Find the files, under the rules of a pack. Absolute and relative sources are looked up apart, so that each file is
/// shown in the way in which it was named.
pub(super) fn find(request: &HashRequest, cancel: &CancelToken) -> Result<Wanted> {
    let working = std::env::current_dir()
        .map_err(|error| Error::io(Stage::Scan, "find the working directory, so cannot read", fs::path(b"."), error))?;
    let working = working.into_os_string().into_vec();
    let mut wanted = Wanted { files: Files::default(), skipped: Vec::new(), warnings: Vec::new() };
    let mut named = String::new();
    for absolute in [true, false] {
        let of = |names: &Names| names.iter().filter(|name| name.starts_with(b"/") == absolute).map(fs::path).collect();
        let part = PackRequest {
            sources: of(&request.sources),
            literals: of(&request.literals),
            exclude: request.exclude.clone(),
            hidden: request.hidden,
            options: PackOptions { jobs: request.jobs, ..PackOptions::default() },
            ..PackRequest::default()
        };
        if part.sources.iter().chain(part.literals.iter()).next().is_none() {
            continue;
        }
        let found = Sources::look_up(&part, false, cancel)?.scan(cancel)?;
        wanted.files.take(&found, |path| shown_folder(&working, path, absolute));
        wanted.skipped.extend(found.skipped);
        wanted.warnings.extend(found.warnings);
        named = if named.is_empty() { found.named } else { format!("{named}, {}", found.named) };
    }
    if wanted.files.len() == 0 {
        let message = match &named[..] {
            "" => "No files to hash: no source was named; name files, folders or patterns".into(),
            named => format!("No files to hash at {named}; check the spelling, or name other sources"),
        };
        return Err(Error::new(ErrorKind::NoFiles, Stage::Scan, message));
    }
    wanted.files.sort();
    Ok(wanted)
}

/// What the shown names of a folder's files begin with.
fn shown_folder(working: &[u8], path: &[u8], absolute: bool) -> Vec<u8> {
    let mut shown = if absolute {
        path.to_vec()
    } else if let Some(inner) = below(working, path) {
        inner.to_vec()
    } else {
        // Only a `..` leads out, which was resolved on disk, as the working directory is: its parents are the real ones.
        let mut shared = working;
        let mut up = Vec::new();
        while below(shared, path).is_none() {
            let cut = shared.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            shared = if cut == 0 { b"/" } else { &shared[..cut] };
            up.extend_from_slice(b"../");
        }
        [&up, below(shared, path).unwrap_or(path)].concat()
    };
    if !shown.is_empty() && shown.last() != Some(&b'/') {
        shown.push(b'/');
    }
    shown
}

/// For errors: the path of a file that has none but its shown name.
pub(super) fn shown_path(shown: &[u8]) -> &std::path::Path {
    std::path::Path::new(std::ffi::OsStr::from_bytes(shown))
}

#[cfg(test)]
mod tests {
    use super::shown_folder;

    #[test]
    fn folders_are_shown_from_where_one_stands() {
        let shown = |working: &str, path: &str, absolute| {
            String::from_utf8(shown_folder(working.as_bytes(), path.as_bytes(), absolute)).unwrap()
        };
        assert_eq!(shown("/a/b", "/a/b", false), "");
        assert_eq!(shown("/a/b", "/a/b/c/d", false), "c/d/");
        assert_eq!(shown("/a/b", "/a/bc", false), "../bc/");
        assert_eq!(shown("/a/b", "/", false), "../../");
        assert_eq!(shown("/", "/x", false), "x/");
        assert_eq!(shown("/a/b", "/a/b/c", true), "/a/b/c/");
        assert_eq!(shown("/a/b", "/", true), "/");
    }
}
