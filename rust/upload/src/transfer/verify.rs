//! Whether the target has what was sent. Only the server's own word counts, and only where it computes what it says.

use std::sync::atomic::Ordering::Relaxed;

use super::Transfer;
use crate::body::{self, Range};
use crate::checksum::{Digests, Wanted, hex, multipart_etag};
use crate::error::{Class, Fault, Result, UploadErrorKind};
use crate::target::{Part, Proof, Remote};
use crate::upload::State;
use std::sync::Arc;

/// Patience is over already: whatever is asked next would only wait as long again.
pub(super) fn nobody_there(fault: &Fault) -> bool {
    use UploadErrorKind::{NoCredentials, Stalled, Unreachable};
    matches!(fault.error.kind, Unreachable | Stalled | NoCredentials)
}

impl Transfer<'_> {
    pub(super) fn corrupt(&self, what: &str) -> Fault {
        let message = format!(
            "`{}` is not what was sent: {what}; it was sent again without success: check the network and the server",
            self.job.destination.uri
        );
        Fault::new(Class::BadPart, UploadErrorKind::Corrupt, message)
    }

    pub(super) async fn compare_read_back(&self, crc64: u64) -> Result<(), Fault> {
        let found = self.ask(|_| self.job.target.read_back()).await?;
        if found != crc64 {
            return Err(self.corrupt("its bytes have another checksum"));
        }
        self.seen.store(true, Relaxed);
        Ok(())
    }

    /// After Complete: size, then the best witness that there is.
    pub(super) async fn verify(
        &self,
        parts: &[Part],
        total: u64,
        whole: u64,
        crc32c: Option<u32>,
        proof: Proof,
        token: &str,
    ) -> Result<(), Fault> {
        self.job.upload.enter(State::Verifying);
        let remote = match self.ask(|_| self.job.target.head()).await {
            Ok(Some(remote)) => remote,
            Ok(None) => return Err(self.corrupt("it is not there")),
            // Whoever may write but not read has had every part compared when it was taken.
            Err(fault) if fault.error.kind == UploadErrorKind::Denied && !self.read_back.load(Relaxed) => return Ok(()),
            Err(fault) => return Err(fault),
        };
        if remote.token.as_deref().is_some_and(|theirs| theirs != token) {
            return Err(self.corrupt("another upload has replaced it"));
        }
        if remote.size != total {
            return Err(self.corrupt(&format!("it has {} bytes, not {total}", remote.size)));
        }
        if let (Some(theirs), Some(ours)) = (remote.crc32c, crc32c) {
            if theirs != ours {
                return Err(self.corrupt("the server has another checksum of it"));
            }
            self.seen.store(true, Relaxed);
            return Ok(());
        }
        match (proof, remote.crc64) {
            (Proof::Refuses, Some(theirs)) if theirs != whole => {
                return Err(self.corrupt("the server has another checksum of it"));
            }
            (Proof::Refuses, theirs) => {
                if theirs.is_some() {
                    self.seen.store(true, Relaxed);
                }
                return Ok(());
            }
            _ => {}
        }
        // A file was read before it got its name; a server without tags that mean something is read now.
        let tags: Option<Vec<[u8; 16]>> = parts.iter().map(|part| part.md5).collect();
        let as_expected = tags.is_some_and(|tags| remote.tag.as_deref() == Some(multipart_etag(&tags).as_str()));
        let read_before = remote.tag.is_none() && proof == Proof::ReadBack;
        if (as_expected && !self.read_back.load(Relaxed)) || read_before {
            self.seen.store(true, Relaxed);
            return Ok(());
        }
        self.compare_read_back(whole).await
    }

    /// Whether the target has these bytes already; then nothing is sent.
    pub(super) async fn same_there(&self, length: u64, known: &Digests, part_size: Option<u64>) -> Result<bool, Fault> {
        let upload = &self.job.upload;
        upload.enter(State::Hashing);
        let remote = match self.ask(|_| self.job.target.head()).await {
            Ok(Some(remote)) if remote.size == length => remote,
            Ok(_) => return Ok(false),
            // Whether it may be written shows when it is written.
            Err(fault) if !nobody_there(&fault) => return Ok(false),
            Err(fault) => return Err(fault),
        };
        let Some(same) = self.same(&remote, length, known, part_size).await? else { return Ok(false) };
        if same {
            self.seen.store(true, Relaxed);
            upload.add_reused(length);
            upload.set_skipped();
        }
        Ok(same)
    }

    /// `None` where what the server tells cannot be compared.
    async fn same(
        &self,
        remote: &Remote,
        length: u64,
        known: &Digests,
        part_size: Option<u64>,
    ) -> Result<Option<bool>, Fault> {
        let proof = self.job.target.proof();
        if proof == Proof::ReadBack {
            return Ok(Some(self.ask(|_| self.job.target.read_back()).await? == known.crc64));
        }
        if let (Some(theirs), Some(ours)) = (remote.crc32c, known.crc32c) {
            return Ok(Some(theirs == ours));
        }
        if let (Proof::Refuses, Some(theirs)) = (proof, remote.crc64) {
            return Ok(Some(theirs == known.crc64));
        }
        let Some(tag) = &remote.tag else { return Ok(None) };
        let (Some(part_size), true) = (part_size, tag.contains('-')) else {
            return Ok(known.md5.map(|md5| tag.eq_ignore_ascii_case(&hex(&md5))));
        };
        if !tag.ends_with(&format!("-{}", length.div_ceil(part_size))) {
            return Ok(None);
        }
        let mut tags = Vec::new();
        let mut offset = 0;
        while offset < length {
            let range = Range {
                source: Arc::clone(&self.source),
                offset,
                length: part_size.min(length - offset),
                bytes: None,
                known: None,
            };
            let digests = body::hash(&range, Wanted { md5: true, ..Wanted::default() })
                .await
                .map_err(|error| self.unreadable(&error))?;
            tags.extend(digests.md5);
            offset += range.length;
        }
        Ok(Some(multipart_etag(&tags) == *tag))
    }
}
