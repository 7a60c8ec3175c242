//! Hard links: each becomes another name of a file that this extraction writes, or that file itself.

use std::collections::HashMap;

use super::Archive;
use super::names::parts;
use super::plan::{Job, Planning};
use crate::error::{Result, show_bytes};
use crate::read::{Member, MemberKind, content};

/// How many hard links may lead to each other; writers make one.
const LONGEST_CHAIN: usize = 8;

/// Why such a link is left out; verifying says so, too.
pub(super) const LOST: &str = "a hard link to no file of the archive before it";

impl Planning<'_> {
    /// Decide what each hard link is made of. A file whose name a later member has taken, or that nobody asked for, is
    /// written under the name of the first link to it, and the others are links to that.
    pub fn find_link_targets(&mut self, archive: &Archive) -> Result<()> {
        if self.plan.hard_links.iter().any(|link| link.file.is_none()) {
            self.find_elsewhere(archive)?;
            self.refuse_lost();
        }
        for link in self.plan.hard_links.iter_mut().filter(|link| !link.job.is_superseded) {
            let Some(at) = link.file else { continue };
            let file = &mut self.plan.files[at];
            if file.is_superseded {
                file.is_superseded = false;
                (file.folder, file.name) = (link.job.folder, std::mem::take(&mut link.job.name));
                link.job.is_superseded = true;
            } else {
                link.target = (file.folder, file.name.clone());
            }
        }
        Ok(())
    }

    /// Leave out the links that lead to no file. What had the name of one before keeps it, and so on from the last.
    fn refuse_lost(&mut self) {
        let mut lost = Vec::new();
        for number in (0..self.plan.hard_links.len()).rev() {
            let link = &mut self.plan.hard_links[number];
            if link.job.is_superseded || link.file.is_some() {
                continue;
            }
            link.job.is_superseded = true;
            lost.push(link.job.member.clone());
            if let Some(before) = link.instead_of {
                self.restore(before);
            }
        }
        for member in lost.into_iter().rev() {
            let target = show_bytes(member.link.as_deref().unwrap_or_default());
            self.refuse(&member, format!("{LOST}: {target}"));
        }
    }

    /// Find the files of links whose targets are not extracted under their own names: one pass over the archive for each
    /// step from link to link, of which there is mostly one.
    fn find_elsewhere(&mut self, archive: &Archive) -> Result<()> {
        let mut files: HashMap<u64, usize> = HashMap::new();
        let mut sought: Vec<(usize, Vec<u8>, u64)> = Vec::new();
        for (number, link) in self.plan.hard_links.iter().enumerate() {
            if link.file.is_none() {
                let target = link.job.member.link.as_deref().unwrap_or_default();
                sought.extend(path(target).map(|path| (number, path, link.job.member.offset)));
            }
        }
        for _ in 0..LONGEST_CHAIN {
            if sought.is_empty() {
                break;
            }
            let found = last_before(archive, &sought)?;
            let mut further = Vec::new();
            for ((number, ..), member) in sought.into_iter().zip(found) {
                let Some(member) = member else { continue };
                match (member.kind, member.link.as_deref().and_then(path)) {
                    (MemberKind::HardLink, Some(path)) => further.push((number, path, member.offset)),
                    (MemberKind::File, _) if content::check(&member).is_ok() => {
                        let at = *files.entry(member.offset).or_insert_with(|| {
                            self.plan.bytes = self.plan.bytes.saturating_add(member.size);
                            let job = Job { member, folder: 0, name: Vec::new(), is_superseded: true };
                            self.plan.files.push(job);
                            self.plan.files.len() - 1
                        });
                        self.plan.hard_links[number].file = Some(at);
                    }
                    _ => {}
                }
            }
            sought = further;
        }
        Ok(())
    }
}

/// A name in the one spelling that all spellings of it share.
fn path(name: &[u8]) -> Option<Vec<u8>> {
    parts(name).ok().map(|parts| parts.join(&b'/'))
}

/// For each path the last member that has it before an offset.
fn last_before(archive: &Archive, sought: &[(usize, Vec<u8>, u64)]) -> Result<Vec<Option<Member>>> {
    let mut by_path: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (place, (_, path, _)) in sought.iter().enumerate() {
        by_path.entry(path).or_default().push(place);
    }
    // Those that come last first, so that each member of a path settles only the links between it and the one before.
    for places in by_path.values_mut() {
        places.sort_unstable_by_key(|&place| std::cmp::Reverse(sought[place].2));
    }
    let mut found = vec![None; sought.len()];
    let mut last: HashMap<Vec<u8>, Member> = HashMap::new();
    archive.each(&mut |member| {
        let Some(path) = path(&member.name) else { return Ok(()) };
        let Some(places) = by_path.get_mut(&path[..]) else { return Ok(()) };
        let before = last.get(&path);
        while let Some(place) = places.pop_if(|place| sought[*place].2 <= member.offset) {
            found[place] = before.cloned();
        }
        last.insert(path, member);
        Ok(())
    })?;
    for (path, places) in by_path {
        for place in places {
            found[place] = last.get(path).cloned();
        }
    }
    Ok(found)
}
