//! One upload from its first look at the source to the last at the target.

pub(crate) mod parts;
pub(crate) mod record;
mod verify;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::parts::abort_nameless;
use crate::body::{self, PIECE, Range};
use crate::checksum::{Digesting, Digests, Wanted, hex};
use crate::destination::{Destination, Options, Scheme};
use crate::engine::Shared;
use crate::error::{Class, Fault, Result, UploadError, UploadErrorKind};
use crate::journal::Journal;
use crate::lanes::Lanes;
use crate::meter::Meter;
use crate::plan;
use crate::retry::{Before, Patience, random, until_answered};
use crate::source::{Extent, FileSource, Source};
use crate::target::{Part, Proof, Target};
use crate::turns::{Turns, blocking};
use crate::upload::{State, Upload};

/// How often a growing source is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Files that go by one request are hashed before; those above this size a few at a time.
const LONG: u64 = 64 << 20;

/// How often an upload begins anew: when the server has forgotten it, or has parts that we did not send.
const RESTARTS: u32 = 3;

/// How long the server gets to forget an upload that is given up.
const ABORTING: Duration = Duration::from_secs(20);

/// How long an upload that is cancelled while the server makes an object of it may still become done.
const COMPLETING: Duration = Duration::from_secs(10);

/// Everything about one upload.
pub(crate) struct Job {
    pub shared: Arc<Shared>,
    pub upload: Arc<Upload>,
    /// Which queue it stood in.
    pub endpoint: Arc<str>,
    pub destination: Destination,
    /// What tells the object from every other, by what was said of the server when it was asked for.
    pub place: Arc<str>,
    /// Options for another process to find, where they are not the destination's.
    pub recorded: Option<Arc<Options>>,
    pub target: Box<dyn Target>,
    pub lanes: Arc<Lanes>,
    pub source: Option<Arc<dyn Source>>,
    /// Of the disk that the source lies on.
    pub turns: Turns,
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
    /// An upload is being begun, and whether it was nobody knows yet: when that began, and its token.
    pub beginning: Option<(f64, String)>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the parts of an upload that failed like this are left to `resume`; where it cannot go on, they would only cost money.
fn may_go_on(kind: UploadErrorKind) -> bool {
    use UploadErrorKind::{BadDestination, Denied, Journal, NoCredentials, NoSuchBucket, Stalled, Unreachable};
    matches!(kind, Unreachable | Stalled | Denied | NoCredentials | NoSuchBucket | BadDestination | Journal)
}

/// Whether a file that failed like this stays on the list of what was asked for: whatever is wrong with the destination may be put right.
pub(crate) fn is_still_wanted(kind: UploadErrorKind) -> bool {
    use UploadErrorKind::{Cancelled, Corrupt, Exists, SourceChanged, SourceMissing, TooLarge, UnknownScheme};
    !matches!(kind, Cancelled | SourceChanged | SourceMissing | TooLarge | Exists | Corrupt | UnknownScheme)
}

/// Run a job to its end, and clean up behind it.
pub(crate) async fn run(job: Job) -> Result<()> {
    let live = Arc::new(Mutex::new(Live::default()));
    let mut work = Box::pin(go(&job, Arc::clone(&live)));
    let mut outcome = tokio::select! {
        outcome = &mut work => Some(outcome),
        () = job.upload.cancelled() => None,
    };
    if outcome.is_none() && matches!(job.upload.state(), State::Completing | State::Verifying) {
        // The server may be at it already: then it is not cancelled, but done.
        outcome = tokio::time::timeout(COMPLETING, &mut work).await.ok();
    }
    drop(work);
    let outcome = outcome.unwrap_or_else(|| Err(job.upload.cancellation()));
    if let Err(error) = &outcome
        && !may_go_on(error.kind)
    {
        let live = std::mem::take(&mut *lock(&live));
        give_up(&job, live).await;
    }
    outcome
}

/// Have the server forget what there is of an upload. A journal that has to stay says that nobody is to go on with it, and tells
/// `sweep` what to abort.
async fn give_up(job: &Job, live: Live) {
    let Live { id, journal, beginning } = live;
    let Some(mut journal) = journal else { return };
    // First of all: should this process be killed now, nobody resumes it.
    let _ = journal.append(&record::given_up(), false);
    let abort = async {
        match (&id, &beginning) {
            (Some(id), _) => job.target.abort(id).await.map(|()| true),
            // One that the server has not begun yet is found by whoever looks later.
            (None, Some((created, token))) => abort_nameless(&*job.target, *created, token, "").await,
            (None, None) => Ok(true),
        }
    };
    if matches!(tokio::time::timeout(ABORTING, abort).await, Ok(Ok(true))) {
        journal.remove();
    }
}

async fn go(job: &Job, live: Arc<Mutex<Live>>) -> Result<()> {
    if let Some(before) = &job.after {
        while !before.state().ended() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let source: Arc<dyn Source> = if let Some(source) = &job.source {
        Arc::clone(source)
    } else {
        let path = job.upload.path().to_owned();
        let opened = job.turns.run(move || Ok(FileSource::open(&path))).await;
        Arc::new(opened.unwrap_or_else(|cause| Err(unopened(job.upload.path(), &cause)))?)
    };
    if is_itself(job, &*source).await {
        let message =
            format!("`{}` is the file itself that is to be uploaded; choose another folder", job.destination.uri);
        return Err(UploadError::new(UploadErrorKind::BadDestination, message));
    }
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

fn unopened(path: &Path, cause: &std::io::Error) -> UploadError {
    UploadError::io(
        UploadErrorKind::SourceMissing,
        &format!("open `{}` to upload it", path.display()),
        cause,
        "try again",
    )
}

/// Whether the destination is a name of the very file that is sent: by a link or another mount, names alone do not tell. An archive that
/// grows has no name yet; then it is its folder and the name that it will have.
async fn is_itself(job: &Job, source: &dyn Source) -> bool {
    if job.destination.scheme != Scheme::File {
        return false;
    }
    let (there, here, path) = (job.destination.file(), source.identity(), source.path().to_owned());
    let look = move || {
        let place = |path: &Path| crate::disk::metadata(path).map(|meta| (meta.dev(), meta.ino()));
        if let Some(here) = here {
            return Ok(place(&there)? == (here.dev, here.ino));
        }
        let (Some(to), Some(from)) = (there.parent(), path.parent()) else { return Ok(false) };
        Ok(there.file_name() == path.file_name() && place(to)? == place(from)?)
    };
    blocking(look).await.unwrap_or(false)
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
                Extent::Complete(length) if length <= part_size => {
                    self.single(length).await?;
                    self.give_up_older().await;
                    return Ok(());
                }
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

    fn range(&self, offset: u64, length: u64) -> Range {
        Range::new(&self.source, &self.job.turns, offset, length)
    }

    /// Whether the source is as it was.
    async fn look_at_source(&self) -> Result<(), String> {
        let source = Arc::clone(&self.source);
        let looked = self.job.turns.run(move || Ok(source.still())).await;
        looked.unwrap_or_else(|cause| Err(crate::error::reason(&cause)))
    }

    async fn still(&self) -> Result<(), Fault> {
        self.look_at_source().await.map_err(|what| self.changed(&what))
    }

    fn meter(&self) -> Arc<Meter> {
        Arc::new(Meter::new(Arc::clone(&self.job.upload.sent)))
    }

    async fn ask<T, A: Future<Output = Result<T, Fault>>>(&self, ask: impl FnMut(Before) -> A) -> Result<T, Fault> {
        until_answered(&self.job.lanes, &self.patience, &self.job.upload, ask).await
    }

    /// One request for all of it.
    async fn single(&self, length: u64) -> Result<(), Fault> {
        let (upload, target) = (&self.job.upload, &self.job.target);
        upload.set_total(length);
        let many = self.job.shared.many_wait(&self.job.endpoint);
        let look = !many || !self.job.destination.overwrite || target.may_be_there().await;
        // Before anything is held in memory: a place that does not answer is asked for long.
        let there = if look { self.there().await? } else { None };
        let turn = if length > LONG { self.job.shared.hashing().await } else { None };
        let memory = self.job.shared.in_hand(length.min(PIECE)).await;
        let proof = target.proof();
        let wanted = target.wanted(proof);
        let mut range = self.range(0, length);
        let known = self.read_or_hash(&mut range, wanted).await?;
        drop(turn);
        range.known = Some(known.crc64);
        upload.set_checksum(known.crc64);
        if let Some(there) = &there {
            upload.enter(State::Hashing);
            if self.is_same(there, length, &known, None).await? {
                return Ok(());
            }
            self.refuse_taken(true)?;
        }
        upload.enter(State::Sending);
        let name = token();
        // Bytes in hand are for the first try alone, so that a place that does not answer keeps no memory from others.
        let first = Mutex::new(range.bytes.take().map(|bytes| (memory, bytes)));
        let put = self.ask(|before| {
            let (mut range, name) = (Range { held: before.broke_off, ..range.clone() }, name.clone());
            let in_hand = lock(&first).take();
            async move {
                let _memory = match in_hand {
                    Some((memory, bytes)) => {
                        range.bytes = Some(bytes);
                        memory
                    }
                    None => self.job.shared.under_way(length).await,
                };
                match target.put(range, known, &name, self.meter()).await {
                    // An answer that was lost: the object that is in the way is ours.
                    Err(fault)
                        if before.tries > 0
                            && fault.error.kind == UploadErrorKind::Exists
                            && self.is_ours(&name).await =>
                    {
                        Ok(None)
                    }
                    Err(fault) => Err(fault),
                    Ok(taken) => {
                        let compared = self.compare_tag(proof, before.tries, &taken.tag, &known);
                        compared.map(|()| Some(taken.tag)).inspect_err(|_| upload.take_back(length))
                    }
                }
            }
        });
        let put_tag = match put.await {
            Ok(tag) => tag,
            Err(fault) => return Err(self.name_change(fault).await),
        };
        let told = put_tag.is_some_and(|tag| known.md5.is_some_and(|md5| tag.eq_ignore_ascii_case(&hex(&md5))));
        if told {
            self.seen.store(true, Relaxed);
        }
        if self.read_back.load(Relaxed) || (proof == Proof::ReadBack && !told) {
            upload.enter(State::Verifying);
            return match self.compare_read_back(length, known.crc64).await {
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
    async fn name_change(&self, fault: Fault) -> Fault {
        if fault.error.kind == UploadErrorKind::SourceChanged && !fault.error.message.contains('`') {
            let what = self.look_at_source().await.err().unwrap_or(fault.error.message);
            return self.changed(&what);
        }
        fault
    }

    /// Compare what stands at the target as a whole: by the server's own checksum of it, or by reading it.
    async fn look(&self) -> Result<(), Fault> {
        let (ours, total) = (self.job.upload.crc64(), self.job.upload.bytes_total().unwrap_or_default());
        let told = self.ask(|_| self.job.target.head()).await?.and_then(|remote| remote.crc64);
        match (told, ours) {
            (Some(theirs), Some(ours)) if theirs == ours => Ok(()),
            (_, Some(ours)) => self.compare_read_back(total, ours).await,
            (_, None) => Err(Fault::new(Class::Final, UploadErrorKind::Corrupt, "its checksum is not known")),
        }
    }

    /// Where a name that is taken must stay as it is: the server's own condition alone would not do, since some know none.
    fn refuse_taken(&self, is_taken: bool) -> Result<(), Fault> {
        if self.job.destination.overwrite || !is_taken {
            return Ok(());
        }
        let message =
            format!("`{}` is there already; choose another name, or allow overwriting", self.job.destination.uri);
        Err(Fault::new(Class::Final, UploadErrorKind::Exists, message))
    }

    async fn is_ours(&self, token: &str) -> bool {
        matches!(self.job.target.head().await, Ok(Some(remote)) if remote.token.as_deref() == Some(token))
    }

    /// Few bytes are taken into memory, many are hashed and read again when they are sent. The source is looked at after they were
    /// read: they are of one state of it.
    async fn read_or_hash(&self, range: &mut Range, wanted: Wanted) -> Result<Digests, Fault> {
        if range.length > PIECE {
            let digests = body::hash(range, wanted).await.map_err(|error| self.unreadable(&error))?;
            self.still().await?;
            return Ok(digests);
        }
        let (source, offset, length) = (Arc::clone(&range.source), range.offset, range.length);
        let together = Arc::clone(&range.turns.together);
        let read = move || {
            let (bytes, digesting) = body::read_piece(&*source, offset, length, Digesting::new(wanted), &together)?;
            Ok((bytes, digesting.finish(), source.still()))
        };
        let (bytes, digests, still) = range.turns.run(read).await.map_err(|error| self.unreadable(&error))?;
        still.map_err(|what| self.changed(&what))?;
        range.bytes = Some(bytes);
        Ok(digests)
    }

    /// Whether the server's tag is that of the bytes we sent. A server whose tags never were that is read back at the end.
    fn compare_tag(&self, proof: Proof, tries: u32, tag: &str, digests: &Digests) -> Result<(), Fault> {
        // Once a server's tags are known to be none, each part is sent once, and the whole is read back.
        let compared = proof == Proof::Tags && !self.read_back.load(Relaxed);
        let Some(md5) = digests.md5.filter(|_| compared) else { return Ok(()) };
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
        if is_itself(self.job, &*self.source).await {
            return keep("its destination is the file itself");
        }
        let (source, name) = (Arc::clone(&self.source), path.to_owned());
        let remove = move || {
            let named = crate::disk::symlink_metadata(&name).ok().map(|named| (named.dev(), named.ino()));
            let same = source.still().is_ok()
                && named.is_some()
                && named == source.identity().map(|ours| (ours.dev, ours.ino));
            if same { crate::disk::remove_file(&name).map(|()| true) } else { Ok(false) }
        };
        let removed = self.job.turns.run(remove).await.map_err(|cause| {
            let attempt = format!("remove `{}`, which is uploaded", path.display());
            UploadError::io(UploadErrorKind::SourceMissing, &attempt, &cause, "remove it yourself")
        })?;
        if !removed {
            return keep("it has changed since; upload it again");
        }
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
