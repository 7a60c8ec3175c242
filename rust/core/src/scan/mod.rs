//! Sources → entries: what is there to pack, found without a stat per file.
//!
//! A [`Source`](source) is a path that exists, or a pattern; [`walk`] lists folders on several threads, enters only what
//! a pattern can still match in, and sorts each folder's names where it lists them.

mod gather;
mod pattern;
mod source;
mod walk;
mod wildcard;

use crate::error::{Error, ErrorKind, Stage, show_bytes};
use crate::fs;
use crate::report::Remark;

pub(crate) use gather::{Sources, below};
pub(crate) use pattern::{Component, components, is_hidden};

/// Longest member name: what a zip header can hold.
pub(crate) const MAX_MEMBER_NAME: usize = u16::MAX as usize;

/// The error on a path whose member name is longer than that.
pub(crate) fn name_too_long(path: &[u8]) -> Error {
    let message = format!(
        "the member name of {} is longer than 65,535 bytes, the most that zip can hold; pack from a deeper folder",
        show_bytes(path)
    );
    Error::new(ErrorKind::UnsafeName, Stage::Scan, message).at(fs::path(path))
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A regular file.
    File,
    /// A link whose file is packed.
    LinkedFile,
    /// A link that is packed as a link.
    StoredLink,
    /// A folder that nothing is packed from; the entry's name is empty, its folder is the one meant.
    EmptyDirectory,
}

/// A file found in a folder. Sixteen bytes: there may be millions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub name_start: u64,
    pub directory: u32,
    pub name_length: u16,
    pub kind: EntryKind,
}

/// A folder that entries were found in, under one naming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    /// Absolute path.
    pub path: Vec<u8>,
    /// What member names of its entries begin with: empty, or ending with a slash.
    pub member: Vec<u8>,
    /// Device and inode: the path is to lead there for as long as the pack lasts.
    pub identity: (u64, u64),
    /// Reached through a link to a folder: its originals are not the caller's to remove.
    pub through_link: bool,
}

/// Everything that was found, folder by folder, each folder's entries sorted by name.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub directories: Vec<Directory>,
    pub names: Vec<u8>,
    pub entries: Vec<Entry>,
    pub skipped: Vec<Remark>,
    pub warnings: Vec<String>,
    /// The directory that names the archive: common to all sources.
    pub common: Vec<u8>,
    /// The first sources, for a sentence.
    pub named: String,
}

impl Found {
    pub(crate) fn name(&self, entry: &Entry) -> &[u8] {
        &self.names[entry.name_start as usize..][..usize::from(entry.name_length)]
    }
}

/// The entries of one folder while it is listed.
#[derive(Debug)]
struct Listing {
    directory: Directory,
    names: Vec<u8>,
    entries: Vec<Entry>,
}

impl Listing {
    fn new(directory: Directory) -> Self {
        Self { directory, names: Vec::new(), entries: Vec::new() }
    }

    fn push(&mut self, name: &[u8], kind: EntryKind) {
        let entry = Entry {
            name_start: self.names.len() as u64,
            directory: 0,
            // A component has at most 255 bytes.
            name_length: name.len() as u16,
            kind,
        };
        self.names.extend_from_slice(name);
        self.entries.push(entry);
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        &self.names[entry.name_start as usize..][..usize::from(entry.name_length)]
    }

    /// Sort by name. Names such as `img_000123.png` share their beginning, so the eight bytes behind what all share
    /// decide most comparisons as one integer.
    fn sort(&mut self) {
        let Some(first) = self.entries.first() else { return };
        let first = self.name(first);
        let shared = self.entries.iter().fold(first.len(), |shared, entry| {
            let name = self.name(entry);
            first[..shared].iter().zip(name).take_while(|(a, b)| a == b).count()
        });
        let key = |entry: &Entry| {
            let rest = &self.name(entry)[shared..];
            let mut bytes = [0; 8];
            let length = rest.len().min(8);
            bytes[..length].copy_from_slice(&rest[..length]);
            u64::from_be_bytes(bytes)
        };
        let mut keyed: Vec<(u64, Entry)> = self.entries.iter().map(|entry| (key(entry), *entry)).collect();
        keyed.sort_unstable_by(|(a_key, a), (b_key, b)| a_key.cmp(b_key).then_with(|| self.name(a).cmp(self.name(b))));
        // The names in their order, too: each later step goes over all of them, and a file system lists them by their hashes.
        let mut names = Vec::with_capacity(self.names.len());
        let mut entries = Vec::with_capacity(keyed.len());
        for (_, entry) in keyed {
            entries.push(Entry { name_start: names.len() as u64, ..entry });
            names.extend_from_slice(self.name(&entry));
        }
        (self.names, self.entries) = (names, entries);
    }

    fn append_to(self, found: &mut Found) {
        let directory = found.directories.len() as u32;
        let base = found.names.len() as u64;
        found.directories.push(self.directory);
        found.names.extend_from_slice(&self.names);
        found.entries.extend(self.entries.into_iter().map(|entry| Entry {
            directory,
            name_start: base + entry.name_start,
            ..entry
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::{Directory, EntryKind, Found, Listing};
    use proptest::prelude::*;

    fn listing(names: &[Vec<u8>]) -> Listing {
        let directory = Directory { path: b"/x".into(), member: Vec::new(), identity: (0, 0), through_link: false };
        let mut listing = Listing::new(directory);
        for name in names {
            // A kind that tells what the entry was made for.
            let kind = if name.len().is_multiple_of(2) { EntryKind::File } else { EntryKind::StoredLink };
            listing.push(name, kind);
        }
        listing
    }

    proptest! {
        #[test]
        fn names_lie_in_the_order_of_their_entries(
            folders in proptest::collection::vec(proptest::collection::vec("(img_0)?[a-z.]{1,12}", 0..40), 1..4)
        ) {
            let mut found = Found::default();
            let mut expected = Vec::new();
            for names in &folders {
                let mut names: Vec<_> = names.iter().map(|name| name.clone().into_bytes()).collect();
                let mut listing = listing(&names);
                listing.sort();
                listing.append_to(&mut found);
                names.sort();
                expected.extend(names);
            }
            let got: Vec<_> = found.entries.iter().map(|entry| found.name(entry).to_vec()).collect();
            prop_assert_eq!(&got, &expected);
            prop_assert_eq!(&found.names, &expected.concat());
            for entry in &found.entries {
                let even = found.name(entry).len().is_multiple_of(2);
                prop_assert_eq!(entry.kind == EntryKind::File, even);
            }
        }
    }
}
