//! The names of all files below a folder, listed before any clock that matters starts.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, openat};

use crate::error::{Failure, Result};

/// How many files a thread takes at a time: enough to make the shared counter free, few enough to end together.
pub const CLAIM: usize = 64;
/// `getdents64` costs 0.28 us an entry with a buffer of this size.
const DIRECTORY_BUFFER: usize = 128 << 10;

/// In which order files are visited.
#[derive(Clone, Copy)]
pub enum Order {
    /// By folder, then by name: the order in which jobs write them, mostly.
    Name,
    /// By inode number: the order on disk.
    Inode,
    /// As the directory gives them.
    Found,
}

impl Order {
    pub fn named(word: &OsStr) -> Result<Self> {
        match word.to_str() {
            Some("name") => Ok(Self::Name),
            Some("inode") => Ok(Self::Inode),
            Some("found") => Ok(Self::Found),
            _ => Err(Failure::usage(word)),
        }
    }
}

/// A folder held open, so that the kernel resolves one component for each of its files.
pub struct Folder {
    pub handle: OwnedFd,
    /// Relative to the listed folder.
    pub path: CString,
}

struct Entry {
    inode: u64,
    folder: usize,
    name: usize,
}

/// Open folders and the names of the files in them.
pub struct Listing {
    pub folders: Vec<Folder>,
    entries: Vec<Entry>,
    /// All names, each ended by NUL.
    names: Vec<u8>,
}

impl Listing {
    pub fn read(root: &Path, order: Order) -> Result<Self> {
        let mut listing = Self { folders: vec![Folder::open(root)?], entries: Vec::new(), names: Vec::new() };
        let mut buffer = Vec::with_capacity(DIRECTORY_BUFFER);
        let mut next = 0;
        while next < listing.folders.len() {
            listing.read_folder(next, &mut buffer).map_err(Failure::while_trying("list", root))?;
            next += 1;
        }
        listing.sort(order);
        Ok(listing)
    }

    fn read_folder(&mut self, folder: usize, buffer: &mut Vec<u8>) -> rustix::io::Result<()> {
        let mut subfolders = Vec::new();
        let mut entries = RawDir::new(&self.folders[folder].handle, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            match entry.file_type() {
                FileType::Directory if name != c"." && name != c".." => subfolders.push(name.to_owned()),
                FileType::RegularFile => {
                    self.entries.push(Entry { inode: entry.ino(), folder, name: self.names.len() });
                    self.names.extend_from_slice(name.to_bytes_with_nul());
                }
                _ => {}
            }
        }
        subfolders.sort();
        for name in subfolders {
            let opened = self.folders[folder].open_below(&name)?;
            self.folders.push(opened);
        }
        Ok(())
    }

    fn sort(&mut self, order: Order) {
        let names = &self.names;
        match order {
            Order::Name => self.entries.sort_unstable_by_key(|entry| (entry.folder, name_at(names, entry.name))),
            Order::Inode => self.entries.sort_unstable_by_key(|entry| entry.inode),
            Order::Found => {}
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Start handing out the files to threads.
    pub fn claims(&self) -> Claims<'_> {
        Claims { listing: self, next: AtomicUsize::new(0) }
    }
}

fn name_at(names: &[u8], start: usize) -> &CStr {
    CStr::from_bytes_until_nul(&names[start..]).unwrap_or_default()
}

impl Folder {
    const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

    pub fn open(path: &Path) -> Result<Self> {
        let handle = openat(CWD, path, Self::FLAGS, Mode::empty()).map_err(Failure::while_trying("open", path))?;
        Ok(Self { handle, path: CString::default() })
    }

    fn open_below(&self, name: &CStr) -> rustix::io::Result<Self> {
        let handle = openat(&self.handle, name, Self::FLAGS, Mode::empty())?;
        Ok(Self { handle, path: self.below(name) })
    }

    /// Give the path of a name in this folder, relative to the listed one.
    pub fn below(&self, name: &CStr) -> CString {
        let mut path = self.path.as_bytes().to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        // Neither part has a NUL in it.
        CString::new(path).unwrap_or_default()
    }
}

/// Files not yet taken by any thread.
pub struct Claims<'listing> {
    listing: &'listing Listing,
    next: AtomicUsize,
}

impl<'listing> Claims<'listing> {
    /// Take the next few files; none are left when this gives nothing.
    pub fn take(&self) -> impl ExactSizeIterator<Item = (&'listing Folder, &'listing CStr)> + use<'listing> {
        let Listing { folders, entries, names } = self.listing;
        let start = self.next.fetch_add(CLAIM, Ordering::Relaxed).min(entries.len());
        let end = (start + CLAIM).min(entries.len());
        entries[start..end].iter().map(|entry| (&folders[entry.folder], name_at(names, entry.name)))
    }
}

/// Run `work` on `threads` threads and give the sum of what they return.
pub fn on_threads(threads: usize, work: impl Fn() -> Result<u64> + Sync) -> Result<u64> {
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(&work)).collect();
        let joined = started.into_iter().map(|thread| thread.join().map_err(|_| Failure::new("a thread panicked"))?);
        joined.collect::<Result<Vec<_>>>().map(|sums| sums.iter().sum())
    })
}

/// Give a sentence about a file that is known by folder and name.
pub fn at<'a>(verb: &'a str, name: &'a CStr) -> impl FnOnce(rustix::io::Errno) -> Failure + 'a {
    move |cause| Failure::while_trying(verb, Path::new(OsStr::from_bytes(name.to_bytes())))(cause)
}
