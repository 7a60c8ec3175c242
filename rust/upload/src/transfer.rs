//! One upload from its first look at the source to the last at the target.

pub(crate) mod parts;
pub(crate) mod record;
mod verify;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::body::{self, PIECE, Range};
use crate::checksum::{Digests, Wanted, hex};
use crate::destination::Destination;
use crate::engine::Shared;
use crate::error::{Class, Fault, Result, UploadError, UploadErrorKind};
use crate::journal::Journal;
use crate::lanes::Lanes;
use crate::meter::Meter;
use crate::plan;
use crate::retry::{Patience, random, until_answered};
use crate::source::{Extent, FileSource, Source, read_exact};
use crate::target::{Part, Proof, Target};
use crate::upload::{State, Upload};

/// How often a growing source is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How often an upload begins anew: when the server has forgotten it, or has parts that we did not send.
const RESTARTS: u32 = 3;

/// Everything about one upload.
pub(crate) struct Job {
    pub shared: Arc<Shared>,
    pub upload: Arc<Upload>,
    pub destination: Destination,
    pub target: Box<dyn Target>,
    pub lanes: Arc<Lanes>,
    pub source: Option<Arc<dyn Source>>,
    pub remove_after: bool,
    /// An upload to the same target that has to be over first.
    pub after: Option<Arc<Upload>>,
}

/// A job with its source open.
pub(crate) struct Transfer<'a> {
    job: &'a Job,
    source: Arc<dyn Source>,
    patience: Patience,
    /// The multipart upload on the server, for whoever has to abort it.
    live: Arc<Mutex<Live>>,
    /// The server's tags have been seen to be MD5s.
    tags_match: AtomicBool,
    /// Its tags mean nothing: the object is read back.
    read_back: AtomicBool,
    /// What stands at the target was compared as a whole with what was sent: only then may the file here be removed.
    seen: AtomicBool,
}

/// What has to be cleaned up when an upload is ended from outside.
#[derive(Default)]
pub(crate) struct Live {
    pub id: Option<String>,
    pub journal: Option<Journal>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an upload that failed like this is left to `resume`; what cannot go on where it stopped would only cost money.
pub(crate) fn may_go_on(kind: UploadErrorKind) -> bool {
    use UploadErrorKind::{Denied, Journal, NoCredentials, Stalled, Unreachable};
    matches!(kind, Unreachable | Stalled | Denied | NoCredentials | Journal)
}

/// Run a job to its end, and clean up behind it.
pub(crate) async fn run(job: Job) -> Result<()> {
    let live = Arc::new(Mutex::new(Live::default()));
    let outcome = tokio::select! {
        outcome = go(&job, Arc::clone(&live)) => outcome,
        () = job.upload.cancelled() => {
            Err(UploadError::new(UploadErrorKind::Cancelled, format!("the upload to `{}` was cancelled", job.destination.uri)))
        }
    };
    if let Err(error) = &outcome {
        let keep = may_go_on(error.kind);
        let Live { id, journal } = std::mem::take(&mut *lock(&live));
        if !keep {
            let aborted = match &id {
                Some(id) => {
                    matches!(tokio::time::timeout(Duration::from_secs(20), job.target.abort(id)).await, Ok(Ok(())))
                }
                None => true,
            };
            // A journal that stays tells `sweep` what to abort.
            if let Some(journal) = journal.filter(|_| aborted) {
                journal.remove();
            }
        }
    }
    outcome
}

async fn go(job: &Job, live: Arc<Mutex<Live>>) -> Result<()> {
    if let Some(before) = &job.after {
        while !before.state().ended() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let source: Arc<dyn Source> = match &job.source {
        Some(source) => Arc::clone(source),
        None => Arc::new(FileSource::open(job.upload.path())?),
    };
    let settings = &job.shared.settings;
    let patience = Patience::new(settings.give_up, settings.stall);
    let flag = || AtomicBool::new(false);
    let transfer = Transfer { job, source, patience, live, tags_match: flag(), read_back: flag(), seen: flag() };
    transfer.send().await.map_err(|fault| fault.error)?;
    if job.remove_after {
        transfer.remove().await?;
    }
    Ok(())
}

impl Transfer<'_> {
    async fn send(&self) -> Result<(), Fault> {
        let target = &self.job.target;
        let part_size = match target.limits() {
            Some(limits) => plan::part_size(self.source.bound(), self.job.destination.part_size, &limits)?,
            None => u64::MAX,
        };
        // What is no larger than a part goes by one request; a growing source shows only at its end which it is.
        loop {
            match self.source.extent() {
                Extent::Complete(length) if length <= part_size => return self.single(length).await,
                Extent::Complete(_) => break,
                // The first part itself may be ready last: a zip's large member has its header completed at its end.
                Extent::Growing(sealed) if sealed > part_size => break,
                Extent::Growing(_) => tokio::time::sleep(LOOK_EVERY).await,
                Extent::Aborted(why) => return Err(self.given_up(&why)),
            }
        }
        self.in_parts(part_size).await
    }

    fn given_up(&self, why: &str) -> Fault {
        let message = format!("`{}` is not uploaded: {why}", self.source.path().display());
        Fault::new(Class::Final, UploadErrorKind::Cancelled, message)
    }

    fn changed(&self, what: &str) -> Fault {
        let path = self.source.path().display();
        let message = format!(
            "`{path}` changed while it was uploaded to `{}`: {what}; nothing was published: mark files read-only before uploading them",
            self.job.destination.uri
        );
        Fault::new(Class::Final, UploadErrorKind::SourceChanged, message)
    }

    fn unreadable(&self, cause: &std::io::Error) -> Fault {
        if cause.kind() == std::io::ErrorKind::UnexpectedEof {
            return self.changed("it was cut");
        }
        let attempt = format!("read `{}` to upload it", self.source.path().display());
        UploadError::io(UploadErrorKind::SourceMissing, &attempt, cause, "check the disk").into()
    }

    fn still(&self) -> Result<(), Fault> {
        self.source.still().map_err(|what| self.changed(&what))
    }

    fn meter(&self) -> Arc<Meter> {
        Arc::new(Meter::new(Arc::clone(&self.job.upload.sent)))
    }

    async fn ask<T, A: Future<Output = Result<T, Fault>>>(&self, ask: impl FnMut(u32) -> A) -> Result<T, Fault> {
        until_answered(&self.job.lanes, &self.patience, &self.job.upload, ask).await
    }

    /// One request for all of it.
    async fn single(&self, length: u64) -> Result<(), Fault> {
        let (upload, target) = (&self.job.upload, &self.job.target);
        upload.set_total(length);
        let _memory = self.job.shared.memory(length.min(body::MEMORY)).await;
        let proof = target.proof();
        let wanted = target.wanted(proof);
        let mut range = Range { source: Arc::clone(&self.source), offset: 0, length, bytes: None, known: None };
        let known = self.read_or_hash(&mut range, wanted).await?;
        range.known = Some(known.crc64);
        upload.set_checksum(known.crc64);
        // Looked at after the bytes were read: they are of one state of the file.
        self.still()?;
        if self.job.shared.may_skip(length) && self.same_there(length, &known, None).await? {
            return Ok(());
        }
        upload.enter(State::Sending);
        let name = token();
        let put = self.ask(|tries| {
            let (range, name) = (range.clone(), name.clone());
            async move {
                match target.put(range, known, &name, self.meter()).await {
                    // An answer that was lost: the object that is in the way is ours.
                    Err(fault)
                        if tries > 0 && fault.error.kind == UploadErrorKind::Exists && self.is_ours(&name).await =>
                    {
                        Ok(None)
                    }
                    Err(fault) => Err(fault),
                    Ok(taken) => self.compare_tag(proof, tries, &taken.tag, &known).map(|()| Some(taken.tag)),
                }
            }
        });
        let put_tag = put.await.map_err(|fault| self.name_change(fault))?;
        let told = put_tag.is_some_and(|tag| known.md5.is_some_and(|md5| tag.eq_ignore_ascii_case(&hex(&md5))));
        if told {
            self.seen.store(true, Relaxed);
        }
        if self.read_back.load(Relaxed) || (proof == Proof::ReadBack && !told) {
            upload.enter(State::Verifying);
            return match self.compare_read_back(known.crc64).await {
                // Written to, but not to be read: what the server acknowledged is all that can be known.
                Err(fault)
                    if proof == Proof::ReadBack
                        && matches!(fault.error.kind, UploadErrorKind::Denied | UploadErrorKind::Rejected) =>
                {
                    Ok(())
                }
                other => other,
            };
        }
        Ok(())
    }

    /// What broke a body off is told with the file's name.
    fn name_change(&self, fault: Fault) -> Fault {
        if fault.error.kind == UploadErrorKind::SourceChanged && !fault.error.message.contains('`') {
            let what = self.source.still().err().unwrap_or(fault.error.message);
            return self.changed(&what);
        }
        fault
    }

    /// Compare what stands at the target as a whole: by the server's own checksum of it, or by reading it.
    async fn look(&self) -> Result<(), Fault> {
        let ours = self.job.upload.crc64();
        let told = self.ask(|_| self.job.target.head()).await?.and_then(|remote| remote.crc64);
        match (told, ours) {
            (Some(theirs), Some(ours)) if theirs == ours => Ok(()),
            (_, Some(ours)) => self.compare_read_back(ours).await,
            (_, None) => Err(Fault::new(Class::Final, UploadErrorKind::Corrupt, "its checksum is not known")),
        }
    }

    async fn is_ours(&self, token: &str) -> bool {
        matches!(self.job.target.head().await, Ok(Some(remote)) if remote.token.as_deref() == Some(token))
    }

    /// Few bytes are taken into memory, many are hashed and read again when they are sent.
    async fn read_or_hash(&self, range: &mut Range, wanted: Wanted) -> Result<Digests, Fault> {
        if range.length > PIECE {
            return body::hash(range, wanted).await.map_err(|error| self.unreadable(&error));
        }
        let (source, offset, length) = (Arc::clone(&range.source), range.offset, range.length as usize);
        let read = move || {
            let mut buffer = vec![0; length];
            read_exact(&*source, &mut buffer, offset)?;
            let digests = crate::checksum::of(&buffer, wanted);
            Ok((Bytes::from(buffer), digests))
        };
        let outcome =
            tokio::task::spawn_blocking(read).await.unwrap_or_else(|stopped| Err(std::io::Error::other(stopped)));
        let (bytes, digests) = outcome.map_err(|error| self.unreadable(&error))?;
        range.bytes = Some(bytes);
        Ok(digests)
    }

    /// Whether the server's tag is that of the bytes we sent. A server whose tags never were that is read back at the end.
    fn compare_tag(&self, proof: Proof, tries: u32, tag: &str, digests: &Digests) -> Result<(), Fault> {
        let Some(md5) = digests.md5.filter(|_| proof == Proof::Tags) else { return Ok(()) };
        if tag.eq_ignore_ascii_case(&hex(&md5)) {
            self.tags_match.store(true, Relaxed);
            return Ok(());
        }
        if tries >= 2 && !self.tags_match.load(Relaxed) {
            self.read_back.store(true, Relaxed);
            return Ok(());
        }
        let message = format!(
            "`{}` arrived changed at the server; check the network between here and there",
            self.job.destination.uri
        );
        Err(Fault::new(Class::Again, UploadErrorKind::Corrupt, message))
    }

    /// Remove the file that was sent, and nothing else: neither a newer one of its name nor one that was written to since; and not
    /// on the word of a server alone that showed nothing of what it has.
    async fn remove(&self) -> Result<()> {
        let path = self.source.path();
        let keep = |why: &str| {
            let (path, uri) = (path.display(), &self.job.destination.uri);
            self.job.upload.set_kept(format!("`{path}` is uploaded to `{uri}` and was not removed: {why}"));
            Ok(())
        };
        if !self.seen.load(Relaxed)
            && let Err(fault) = self.look().await
        {
            let why = format!(
                "what arrived could not be checked: {}; look there, then remove it yourself",
                fault.error.message
            );
            return keep(&why);
        }
        let same = self.source.still().is_ok() && {
            use std::os::unix::fs::MetadataExt as _;
            let named = crate::disk::symlink_metadata(path).ok();
            named
                .zip(self.source.identity())
                .is_some_and(|(named, ours)| (named.dev(), named.ino()) == (ours.dev, ours.ino))
        };
        if !same {
            return keep("it has changed since; upload it again");
        }
        crate::disk::remove_file(path).map_err(|cause| {
            let attempt = format!("remove `{}`, which is uploaded", path.display());
            UploadError::io(UploadErrorKind::SourceMissing, &attempt, &cause, "remove it yourself")
        })?;
        self.job.upload.set_removed();
        Ok(())
    }
}

/// Names one upload of ours among all others, on the server too.
pub(crate) fn token() -> String {
    format!("{:016x}{:016x}", random(), random())
}

/// What is known of a part that was sent.
pub(crate) fn part_of(number: u64, length: u64, tag: String, digests: &Digests) -> Part {
    Part { number, tag, length, crc64: digests.crc64, crc32c: digests.crc32c, md5: digests.md5 }
}
