//! Entries → members: named, each file once, collisions refused, in archive order.

use std::cmp::Ordering;

use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage, show_bytes};
use crate::fs;
use crate::report::Remark;
use crate::request::Format;
use crate::scan::{Directory, Entry, EntryKind, Found, MAX_MEMBER_NAME, name_too_long};
use crate::stem;
use crate::target::{JOURNAL_SUFFIX, MANIFEST_SUFFIX, STAGED_SUFFIX, Target};

/// Members in archive order. Nothing changes it once it is made.
#[derive(Debug)]
pub(crate) struct Plan {
    found: Found,
}

impl Plan {
    /// Name, check and order everything found; errors come before a byte is written.
    pub fn new(
        mut found: Found,
        target: &Target,
        shards: &[(u64, Target)],
        sharded: bool,
        cancel: &CancelToken,
    ) -> Result<Self> {
        // A step takes about 100 ms for a million names.
        let check = || cancel.check(Stage::Plan);
        check()?;
        leave_out(&mut found, target, shards, sharded);
        if found.entries.is_empty() {
            return Err(nothing_found(&found));
        }
        check()?;
        check_names(&mut found)?;
        check()?;
        sort(&mut found);
        check()?;
        let mut plan = Self { found };
        plan.remove_repeats()?;
        plan.check_folders()?;
        if sharded {
            check()?;
            let order = stem::together(plan.entries().len(), |index| plan.member(&plan.entries()[index]));
            plan.found.entries = order.into_iter().map(|index| plan.found.entries[index]).collect();
        }
        Ok(plan)
    }

    pub fn entries(&self) -> &[Entry] {
        &self.found.entries
    }

    pub fn directories(&self) -> &[Directory] {
        &self.found.directories
    }

    pub fn directory(&self, entry: &Entry) -> &Directory {
        &self.found.directories[entry.directory as usize]
    }

    /// The entry's name in its folder.
    pub fn name(&self, entry: &Entry) -> &[u8] {
        self.found.name(entry)
    }

    /// The member name, in the two parts it is kept in.
    pub fn member(&self, entry: &Entry) -> (&[u8], &[u8]) {
        (&self.directory(entry).member, self.name(entry))
    }

    /// The path on disk.
    pub fn path(&self, entry: &Entry) -> Vec<u8> {
        fs::join(&self.directory(entry).path, self.name(entry))
    }

    pub fn skipped(&self) -> &[Remark] {
        &self.found.skipped
    }

    pub fn warnings(&self) -> &[String] {
        &self.found.warnings
    }

    /// The same file found twice stays once; two files with one member name are an error.
    fn remove_repeats(&mut self) -> Result<()> {
        let mut repeats = Vec::new();
        let entries = &self.found.entries;
        for (i, pair) in entries.windows(2).enumerate() {
            let (a, b) = (&pair[0], &pair[1]);
            if a.name_length != b.name_length && a.directory == b.directory {
                continue;
            }
            if compare(&self.found, a, b) == Ordering::Equal {
                if !self.same_file(a, b) {
                    return Err(self.collision(a, b));
                }
                repeats.push(i + 1);
            }
        }
        if !repeats.is_empty() {
            let mut repeats = repeats.into_iter().peekable();
            let mut at = 0;
            self.found.entries.retain(|_| {
                let repeated = repeats.next_if_eq(&at).is_some();
                at += 1;
                !repeated
            });
        }
        Ok(())
    }

    /// Whether both are one name in one folder, whatever led there. Another name of the same file in another folder would
    /// stay behind when the first is removed, and look like a new file later.
    fn same_file(&self, a: &Entry, b: &Entry) -> bool {
        let (in_a, in_b) = (self.directory(a), self.directory(b));
        self.name(a) == self.name(b) && (in_a.path == in_b.path || in_a.identity == in_b.identity)
    }

    fn collision(&self, a: &Entry, b: &Entry) -> Error {
        let (prefix, name) = self.member(a);
        let (a, b) = (self.path(a), self.path(b));
        let message = format!(
            "{} and {} would both become the member {}; pack them from a common folder, or one at a time",
            show_bytes(&a),
            show_bytes(&b),
            show_bytes(&[prefix, name].concat())
        );
        Error::new(ErrorKind::Collision, Stage::Plan, message).at(fs::path(&b))
    }

    /// A file may not bear the name of a folder that other members lie in. Within one tree the file system sees to it.
    fn check_folders(&self) -> Result<()> {
        let directories = &self.found.directories;
        let root = |directory: &Directory| directory.path.len() + 1 - directory.member.len();
        if directories.windows(2).all(|pair| {
            let cut = root(&pair[0]).min(pair[0].path.len());
            root(&pair[0]) == root(&pair[1]) && pair[1].path.starts_with(&pair[0].path[..cut])
        }) {
            return Ok(());
        }
        for directory in directories {
            let mut folder = directory.member.strip_suffix(b"/").unwrap_or(b"");
            while !folder.is_empty() {
                let search = |entry: &Entry| {
                    let (prefix, name) = self.member(entry);
                    compare_joined((prefix, name), (folder, b""))
                };
                if let Ok(at) = self.entries().binary_search_by(search) {
                    let file = &self.entries()[at];
                    let message = format!(
                        "{} would become the member {}, which is also the folder of {}; pack them one at a time",
                        show_bytes(&self.path(file)),
                        show_bytes(folder),
                        show_bytes(&directory.path)
                    );
                    let path = self.path(file);
                    return Err(Error::new(ErrorKind::Collision, Stage::Plan, message).at(fs::path(&path)));
                }
                folder = match folder.iter().rposition(|&b| b == b'/') {
                    Some(cut) => &folder[..cut],
                    None => b"",
                };
            }
        }
        Ok(())
    }
}

fn nothing_found(found: &Found) -> Error {
    let left = match &found.skipped[..] {
        [] => String::new(),
        [first, rest @ ..] => format!(
            "; left out: {} ({}){}",
            crate::error::show(&first.path),
            first.reason,
            if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) }
        ),
    };
    let message = format!("No files to compress at {}{left}; check the spelling, or name other sources", found.named);
    Error::new(ErrorKind::NoFiles, Stage::Scan, message).at(fs::path(&found.common))
}

/// Take the target, and what other packs are staging, out of the sources. `shards` are those that are there.
fn leave_out(found: &mut Found, target: &Target, shards: &[(u64, Target)], sharded: bool) {
    let Found { directories, names, entries, skipped, .. } = found;
    let manifests: Vec<Target> =
        std::iter::once(target).chain(shards.iter().map(|(_, shard)| shard)).map(Target::manifest).collect();
    let manifests: Vec<Target> = manifests.into_iter().filter(|manifest| manifest.replaces.is_some()).collect();
    let own_folder = fs::stat(&target.folder).ok().map(|stat| fs::identity(&stat));
    entries.retain(|entry| {
        let name = &names[entry.name_start as usize..][..usize::from(entry.name_length)];
        let folder = &directories[entry.directory as usize].path;
        let is_ours = name.ends_with(STAGED_SUFFIX) || name.ends_with(JOURNAL_SUFFIX);
        // Another way to the target's folder, or a link to the target: names that are looked at twice are few.
        let may_be_target = name == target.name || entry.kind == EntryKind::LinkedFile;
        let reason = if is_ours && name.first() == Some(&b'.') {
            "belongs to a pack"
        } else if target.is(folder, name)
            || (may_be_target && target.is_replaced(&fs::join(folder, name)))
            || target.is_in_another_case(folder, name)
        {
            "the target itself"
        } else if sharded
            && (target.is_shard(folder, name)
                || (Format::of(name).is_some()
                    && shards.iter().any(|(_, shard)| shard.is_in_another_case(folder, name))))
        {
            "a shard of the target"
        } else if let Some(archive) = name.strip_suffix(MANIFEST_SUFFIX)
            && (target.is(folder, archive) || (sharded && target.is_shard(folder, archive)))
        {
            "the target's manifest"
        } else if has_suffix(name, MANIFEST_SUFFIX) && manifests.iter().any(|one| one.is_in_another_case(folder, name))
        {
            "the target's manifest"
        } else if entry.kind == EntryKind::EmptyDirectory
            && Some(directories[entry.directory as usize].identity) == own_folder
        {
            // It will not be empty the next time, and is to give the same archive then.
            "the target's folder"
        } else {
            return true;
        };
        let path = fs::path(&fs::join(folder, name)).into();
        skipped.push(Remark { path, reason: reason.into() });
        false
    });
}

/// Whether a name ends so, in whatever case.
fn has_suffix(name: &[u8], suffix: &[u8]) -> bool {
    name.len().checked_sub(suffix.len()).is_some_and(|cut| name[cut..].eq_ignore_ascii_case(suffix))
}

/// Readers restore names that are UTF-8 and short enough; a backslash they read differently.
fn check_names(found: &mut Found) -> Result<()> {
    let mut with_backslash = None;
    let mut backslashes = 0_u64;
    for entry in &found.entries {
        let directory = &found.directories[entry.directory as usize];
        let name = found.name(entry);
        if std::str::from_utf8(name).is_err() || std::str::from_utf8(&directory.member).is_err() {
            let path = fs::join(&directory.path, name);
            let message = format!(
                "the name {} is not UTF-8, and zip readers would restore another; rename it or leave it out with exclude",
                show_bytes(&path)
            );
            return Err(Error::new(ErrorKind::UnsafeName, Stage::Plan, message).at(fs::path(&path)));
        }
        if directory.member.len() + name.len() > MAX_MEMBER_NAME {
            return Err(name_too_long(&fs::join(&directory.path, name)));
        }
        if name.contains(&b'\\') || directory.member.contains(&b'\\') {
            let member = [&directory.member[..], name].concat();
            if member.split(|&b| b == b'\\' || b == b'/').any(|part| part == b"..") {
                let path = fs::join(&directory.path, name);
                let message = format!(
                    "the name {} would leave the folder it is extracted to on Windows; rename it or leave it out with exclude",
                    show_bytes(&path)
                );
                return Err(Error::new(ErrorKind::UnsafeName, Stage::Plan, message).at(fs::path(&path)));
            }
            backslashes += 1;
            with_backslash.get_or_insert(member);
        }
    }
    if let Some(first) = with_backslash {
        found.warnings.push(format!(
            "{backslashes} member names hold a backslash, which readers on Windows take for a folder separator; the first is {}",
            show_bytes(&first)
        ));
    }
    Ok(())
}

/// Each folder's entries are sorted already: this merges runs, which the standard sort recognises.
fn sort(found: &mut Found) {
    let mut entries = std::mem::take(&mut found.entries);
    entries.sort_by(|a, b| compare(found, a, b));
    found.entries = entries;
}

fn compare(found: &Found, a: &Entry, b: &Entry) -> Ordering {
    if a.directory == b.directory {
        return found.name(a).cmp(found.name(b));
    }
    let prefix = |entry: &Entry| &found.directories[entry.directory as usize].member[..];
    compare_joined((prefix(a), found.name(a)), (prefix(b), found.name(b)))
}

/// `a.0 + a.1` against `b.0 + b.1`, without joining them.
pub(crate) fn compare_joined(a: (&[u8], &[u8]), b: (&[u8], &[u8])) -> Ordering {
    let shared = a.0.len().min(b.0.len());
    a.0[..shared].cmp(&b.0[..shared]).then_with(|| {
        let (a_rest, b_rest) = (&a.0[shared..], &b.0[shared..]);
        if a_rest.is_empty() { compare_split(b_rest, b.1, a.1).reverse() } else { compare_split(a_rest, a.1, b.1) }
    })
}

/// `head + tail` against `whole`.
fn compare_split(head: &[u8], tail: &[u8], whole: &[u8]) -> Ordering {
    let cut = head.len().min(whole.len());
    head[..cut]
        .cmp(&whole[..cut])
        .then_with(|| if cut < head.len() { Ordering::Greater } else { tail.cmp(&whole[cut..]) })
}

/// What the plan holds of each kind: files, folders, links.
pub(crate) fn count(entries: &[Entry]) -> (u64, u64, u64) {
    entries.iter().fold((0, 0, 0), |(files, directories, links), entry| match entry.kind {
        EntryKind::File | EntryKind::LinkedFile => (files + 1, directories, links),
        EntryKind::EmptyDirectory => (files, directories + 1, links),
        EntryKind::StoredLink => (files, directories, links + 1),
    })
}

#[cfg(test)]
mod tests {
    use super::compare_joined;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn joined_names_compare_as_if_joined(
            a in ("[a/.]{0,6}", "[a/.]{0,6}"),
            b in ("[a/.]{0,6}", "[a/.]{0,6}"),
        ) {
            let expected = format!("{}{}", a.0, a.1).into_bytes().cmp(&format!("{}{}", b.0, b.1).into_bytes());
            let got = compare_joined((a.0.as_bytes(), a.1.as_bytes()), (b.0.as_bytes(), b.1.as_bytes()));
            prop_assert_eq!(got, expected);
        }
    }
}
