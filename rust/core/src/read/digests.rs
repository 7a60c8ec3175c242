//! What a manifest says of each member's content, taken from the archive itself.

use super::content::Content;
use super::verify::{PORTION, in_claims};
use super::{Archive, Member, MemberKind};
use crate::cancel::CancelToken;
use crate::digest::Digest;
use crate::error::{ErrorKind, Result, Stage};
use crate::progress::{Phase, Progress};

/// CRC-32 and XXH3-128.
pub type Sums = (u32, u128);

impl Archive {
    /// The sums of what each member holds, in the archive's order, or why it cannot be read. A link holds its path, a folder
    /// nothing.
    pub fn digests(&self, jobs: usize, progress: &Progress, cancel: &CancelToken) -> Result<Vec<Result<Sums>>> {
        progress.enter(Phase::Verify);
        let members = self.members(None)?;
        progress.total_files.set(members.len() as u64);
        // One stream has one place at a time.
        let jobs = if self.is_random() { jobs } else { 1 };
        let found = in_claims(members.len(), jobs, cancel, |number, found: &mut Vec<_>, buffer| {
            let member = &members[number];
            match self.sums(member, buffer, cancel) {
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                sums => found.push((number, sums)),
            }
            progress.files.add(1);
            progress.bytes_in.add(member.packed);
            Ok(())
        })?;
        let mut found: Vec<_> = found.into_iter().flatten().collect();
        found.sort_unstable_by_key(|(number, _)| *number);
        Ok(found.into_iter().map(|(_, sums)| sums).collect())
    }

    fn sums(&self, member: &Member, buffer: &mut Vec<u8>, cancel: &CancelToken) -> Result<Sums> {
        let whole = |bytes: &[u8]| (crc32fast::hash(bytes), Digest::of(bytes));
        match member.kind {
            MemberKind::Directory => return Ok(whole(b"")),
            MemberKind::Link => return self.link_target(member).map(|target| whole(&target)),
            _ => {}
        }
        let member = self.content_of(member.clone());
        self.check_readable(&member)?;
        self.approach(&member, 0, cancel)?;
        if member.size <= PORTION as u64 {
            buffer.resize(member.size as usize, 0);
            return self.read_into(&member, buffer).map(|()| whole(buffer));
        }
        let explained = |fault| self.explain_in(&member, fault);
        let mut content = Content::new(&self.container, &*self.source, &member).map_err(explained)?;
        let (mut crc, mut digest, mut at) = (crc32fast::Hasher::new(), Digest::new(), 0);
        buffer.resize(PORTION, 0);
        while at < member.size {
            cancel.check(Stage::Read)?;
            let count = content.read_at(&self.container, &*self.source, &member, at, buffer).map_err(explained)?;
            crc.update(&buffer[..count]);
            digest.update(&buffer[..count]);
            at += count as u64;
        }
        Ok((crc.finalize(), digest.finish()))
    }
}
