//! Whether the target has what was sent. Only the server's own word counts, and only where it computes what it says.

use std::sync::atomic::Ordering::Relaxed;

use super::Transfer;
use crate::body;
use crate::checksum::{Digests, Wanted, hex, multipart_etag};
use crate::error::{Class, Fault, Result, UploadErrorKind};
use crate::retry::random;
use crate::target::{Part, Proof, Remote};
use crate::upload::State;

/// Places where parts meet that are read back, at random, where a server's tag of the whole is no MD5 of the parts'; and how
/// much on either side. Reading all of it back would cost as much as sending it, and at some stores money.
const SEAMS: usize = 32;
const AROUND: u64 = 32 << 10;

/// Up to this size the whole is read back all the same.
const READ_WHOLE: u64 = 64 << 20;

/// Patience is over already: whatever is asked next would only wait as long again.
fn nobody_there(fault: &Fault) -> bool {
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

    pub(super) async fn compare_read_back(&self, total: u64, crc64: u64) -> Result<(), Fault> {
        let all = 0..total;
        let found = self.ask(|_| self.job.target.read_back(&all, true)).await?;
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
        if let Some(size) = remote.size.filter(|size| *size != total) {
            return Err(self.corrupt(&format!("it has {size} bytes, not {total}")));
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
        // Each part's tag was the MD5 of what was sent: only how they were put together is left to be seen.
        let each_compared = |part: &Part| part.md5.is_some_and(|md5| part.tag.eq_ignore_ascii_case(&hex(&md5)));
        if total > READ_WHOLE && parts.iter().all(each_compared) && self.compare_seams(parts, total).await? {
            return Ok(());
        }
        self.compare_read_back(total, whole).await
    }

    /// Compare both ends and some of the places where parts meet; false where the server gives no spans.
    async fn compare_seams(&self, parts: &[Part], total: u64) -> Result<bool, Fault> {
        let mut seams = vec![0, total];
        let mut at = 0;
        let inner: Vec<u64> = parts
            .iter()
            .map(|part| {
                at += part.length;
                at
            })
            .filter(|at| *at < total)
            .collect();
        seams.extend((0..SEAMS.min(inner.len())).map(|_| inner[random() as usize % inner.len()]));
        for seam in seams {
            let span = seam.saturating_sub(AROUND)..(seam + AROUND).min(total);
            let range = self.range(span.start, span.end - span.start);
            let ours = body::hash(&range, Wanted::default()).await.map_err(|error| self.unreadable(&error))?;
            match self.ask(|_| self.job.target.read_back(&span, false)).await {
                Ok(theirs) if theirs == ours.crc64 => {}
                Ok(_) => return Err(self.corrupt("its parts are not put together as they were sent")),
                Err(fault) if fault.class == Class::Unsupported => return Ok(false),
                Err(fault) => return Err(fault),
            }
        }
        Ok(true)
    }

    /// Whether the target has these bytes already; then nothing is sent.
    /// `by_parts` is the tag that it would have if it had been sent in parts as it is sent here.
    pub(super) async fn is_same(
        &self,
        remote: &Remote,
        length: u64,
        known: &Digests,
        by_parts: Option<&str>,
    ) -> Result<bool, Fault> {
        if remote.size != Some(length) || self.same(remote, known, by_parts).await? != Some(true) {
            return Ok(false);
        }
        self.seen.store(true, Relaxed);
        self.job.upload.add_reused(length);
        self.job.upload.set_skipped();
        Ok(true)
    }

    /// What stands at the target; nothing where it may not be looked at: whether it may be written shows when it is written.
    pub(super) async fn there(&self) -> Result<Option<Remote>, Fault> {
        match self.ask(|_| self.job.target.head()).await {
            Err(fault) if !nobody_there(&fault) => Ok(None),
            other => other,
        }
    }

    /// `None` where what the server tells cannot be compared.
    async fn same(&self, remote: &Remote, known: &Digests, by_parts: Option<&str>) -> Result<Option<bool>, Fault> {
        let proof = self.job.target.proof();
        if proof == Proof::ReadBack {
            let whole = 0..remote.size.unwrap_or_default();
            return Ok(Some(self.ask(|_| self.job.target.read_back(&whole, true)).await? == known.crc64));
        }
        if let (Some(theirs), Some(ours)) = (remote.crc32c, known.crc32c) {
            return Ok(Some(theirs == ours));
        }
        if let (Proof::Refuses, Some(theirs)) = (proof, remote.crc64) {
            return Ok(Some(theirs == known.crc64));
        }
        let Some(tag) = &remote.tag else { return Ok(None) };
        if tag.contains('-') {
            return Ok(by_parts.map(|ours| ours == tag));
        }
        Ok(known.md5.map(|md5| tag.eq_ignore_ascii_case(&hex(&md5))))
    }
}
