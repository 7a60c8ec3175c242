//! An upload in parts: begun or taken up again, sent as the source becomes ready, completed once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::record::{self, Remembered};
use super::{LOOK_EVERY, RESTARTS, Transfer, lock, part_of, token};
use crate::body::{self, Range};
use crate::checksum::{Digests, Wanted, join32, join64, multipart_etag};
use crate::error::{Class, Fault, Result, UploadErrorKind};
use crate::journal::{self, Journal};
use crate::source::{Extent, Identity};
use crate::target::{Part, Proof, Remote, Target};
use crate::upload::State;

/// Parts that are looked at when the source grows: what is ready stands at the front.
const LOOK_AHEAD: usize = 64;

/// Seconds that a server may need to show an object whose Complete was not answered.
const LOOKS: u32 = 10;

/// An upload on the server, and what of it can be used.
struct Begun {
    id: String,
    token: String,
    /// It was asked to make an object of it before.
    completing: bool,
    proof: Proof,
    /// Parts that the server has, if the bytes here are still those.
    there: BTreeMap<u64, Part>,
}

impl Transfer<'_> {
    pub(super) async fn in_parts(&self, part_size: u64) -> Result<(), Fault> {
        let upload = &self.job.upload;
        if let Extent::Complete(total) = self.source.extent() {
            upload.set_total(total);
            let source = Arc::clone(&self.source);
            let settle = move || {
                source.settle();
                Ok(())
            };
            self.job.turns.run(settle).await.map_err(|cause| self.unreadable(&cause))?;
            if self.same_in_parts(total, part_size).await? {
                // A process that was killed between that and its last word has left a record.
                self.give_up_older().await;
                return Ok(());
            }
        }
        let (remembered, waited) = self.open_journal(part_size).await?;
        if waited
            && let Extent::Complete(total) = self.source.extent()
            && self.same_in_parts(total, part_size).await?
        {
            // The process that had it has sent just this.
            self.forget();
            return Ok(());
        }
        let mut begun = self.begin(remembered, part_size).await?;
        for restart in 1.. {
            match self.attempt(&begun, part_size).await {
                Err(fault) if restart < RESTARTS && matches!(fault.class, Class::NoUpload | Class::BadPart) => {
                    upload.set_trouble(Some(fault.error.message));
                    upload.reset();
                    // It may be gone; if it is not, its parts cost money.
                    let _ = self.job.target.abort(&begun.id).await;
                    lock(&self.live).id = None;
                    begun = self.begin(None, part_size).await?;
                }
                Ok(()) => {
                    self.forget();
                    return Ok(());
                }
                Err(fault) => return Err(self.name_change(fault).await),
            }
        }
        Ok(())
    }

    /// Nothing is left to be resumed.
    fn forget(&self) {
        if let Some(journal) = std::mem::take(&mut *lock(&self.live)).journal {
            journal.remove();
        }
    }

    /// What was begun in parts when there was more to send to this target, and is of no use now.
    pub(super) async fn give_up_older(&self) {
        let place = journal::place(&self.job.shared.settings.state_dir, &self.job.place);
        if crate::disk::metadata(&place).is_err() {
            return;
        }
        // A process that has it will see to it itself.
        let Ok(Ok((journal, records))) = Journal::open(place) else { return };
        let aborted = match record::read(&records) {
            Some(Remembered { id: Some(id), .. }) => self.job.target.abort(&id).await.is_ok(),
            Some(Remembered { created, token, .. }) => {
                abort_nameless(&*self.job.target, created, &token, "").await.is_ok()
            }
            None => true,
        };
        // One that stays tells `sweep` what to abort.
        if aborted {
            journal.remove();
        }
    }

    /// The whole file is read only where the sizes agree.
    async fn same_in_parts(&self, total: u64, part_size: u64) -> Result<bool, Fault> {
        let target = &self.job.target;
        let Some(head) = self.there().await?.filter(|remote| remote.size == Some(total)) else { return Ok(false) };
        // Some servers name an object by the MD5 of all of it, however it was sent: such a tag has no dash.
        let by_whole = head.tag.as_ref().is_some_and(|tag| !tag.contains('-'));
        let by_parts = head.tag.as_ref().is_none_or(|tag| tag.ends_with(&format!("-{}", total.div_ceil(part_size))));
        if head.crc64.is_none() && head.crc32c.is_none() && !by_whole && !by_parts {
            return Ok(false);
        }
        self.job.upload.enter(State::Hashing);
        let turn = self.job.shared.hashing().await;
        let wanted = Wanted { md5: true, sha256: false, ..target.wanted(target.proof()) };
        let (known, tags) = if by_whole {
            let range = self.range(0, total);
            (body::hash(&range, wanted).await.map_err(|error| self.unreadable(&error))?, None)
        } else {
            let (known, tags) = self.hash_parts(total, part_size, wanted).await?;
            (known, Some(tags))
        };
        self.job.upload.set_checksum(known.crc64);
        drop(turn);
        self.still().await?;
        self.is_same(&head, total, &known, tags.as_deref()).await
    }

    /// Digests of the whole, and the tag that a store gives what was sent in parts of this size: by reading it once.
    async fn hash_parts(&self, total: u64, part_size: u64, wanted: Wanted) -> Result<(Digests, String), Fault> {
        let (mut whole, mut tags) = (Digests { crc32c: wanted.crc32c.then_some(0), ..Digests::default() }, Vec::new());
        for offset in (0..total).step_by(part_size as usize) {
            let length = part_size.min(total - offset);
            let range = self.range(offset, length);
            let part = body::hash(&range, wanted).await.map_err(|error| self.unreadable(&error))?;
            whole.crc64 = join64(whole.crc64, part.crc64, length);
            whole.crc32c = whole.crc32c.zip(part.crc32c).map(|(first, second)| join32(first, second, length));
            tags.extend(part.md5);
        }
        Ok((whole, multipart_etag(&tags)))
    }

    /// Take the journal; while another process has it, that one is uploading, and this one waits.
    async fn open_journal(&self, part_size: u64) -> Result<(Option<Remembered>, bool), Fault> {
        let state_dir = &self.job.shared.settings.state_dir;
        journal::make_folder(state_dir)?;
        let place = journal::place(state_dir, &self.job.place);
        let mut waited = false;
        let (journal, records) = loop {
            if let Ok(opened) = Journal::open(place.clone())? {
                break opened;
            }
            let message = format!("another process is uploading to `{}`", self.job.destination.uri);
            self.job.upload.set_trouble(Some(message));
            waited = true;
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        self.job.upload.set_trouble(None);
        lock(&self.live).journal = Some(journal);
        let Some(remembered) = record::read(&records) else { return Ok((None, waited)) };
        // Another file or another part size: its parts are of no use here, and are removed from the server.
        if remembered.given_up
            || remembered.uri != self.job.destination.uri
            || remembered.part_size != part_size
            || remembered.path != self.source.path()
        {
            // The last that is known of it goes with this record; where the server may not be asked for it, sweeping could not either.
            let _ = match &remembered.id {
                Some(id) => self.ask(|_| self.job.target.abort(id)).await,
                None => abort_nameless(&*self.job.target, remembered.created, &remembered.token, "").await.map(drop),
            };
            return Ok((None, waited));
        }
        Ok((Some(remembered), waited))
    }

    fn note(&self, record: &serde_json::Value, sync: bool) -> Result<(), Fault> {
        let mut live = lock(&self.live);
        live.journal.as_mut().map_or(Ok(()), |journal| Ok(journal.append(record, sync)?))
    }

    async fn begin(&self, remembered: Option<Remembered>, part_size: u64) -> Result<Begun, Fault> {
        let target = &self.job.target;
        self.job.upload.enter(State::Creating);
        if let Some(Remembered { id: None, created, token, .. }) = &remembered {
            // Killed between the server's answer and the journal: nobody knows that upload's name but the server.
            let _ = abort_nameless(&**target, *created, token, "").await;
        }
        if let Some(Remembered { id: Some(id), token, mut parts, completing, .. }) = remembered {
            lock(&self.live).id = Some(id.clone());
            if completing {
                // The server may be at it this moment: then it lists parts of an upload that is gone a moment later. Only another
                // Complete tells, by an answer, or by there being an object of ours and no such upload.
                return Ok(Begun { id, token, completing, proof: target.proof(), there: parts });
            }
            match self.ask(|_| target.parts(&id)).await {
                Ok(listed) => {
                    if let Some(listed) = listed {
                        let there: BTreeMap<u64, _> =
                            listed.into_iter().map(|part| (part.number, (part.tag, part.size))).collect();
                        parts.retain(|number, part| {
                            there.get(number).is_some_and(|(tag, size)| *tag == part.tag && *size == part.length)
                        });
                    }
                    let proof = target.proof();
                    return Ok(Begun { id, token, completing, proof, there: parts });
                }
                Err(fault) if fault.class == Class::NoUpload => lock(&self.live).id = None,
                Err(fault) => return Err(fault),
            }
        }
        if !self.job.destination.overwrite {
            self.refuse_taken(self.there().await?.is_some())?;
        }
        let token = token();
        let total = match self.source.extent() {
            Extent::Complete(total) => Some(total),
            _ => None,
        };
        let asked = record::Begin {
            destination: &self.job.destination,
            place: &self.job.place,
            options: self.job.recorded.as_deref().unwrap_or(&self.job.destination.options),
            path: self.source.path(),
            token: &token,
            part_size,
            total,
            remove_after: self.job.upload.remove_after(),
            mtime: self.source.identity().map(|identity| identity.mtime),
        };
        let record = asked.record();
        if let Some(journal) = lock(&self.live).journal.as_mut() {
            journal.restart(&record)?;
        }
        let created = record["created"].as_f64().unwrap_or_default();
        lock(&self.live).beginning = Some((created, token.clone()));
        let mut again = false;
        let id = self
            .ask(|before| {
                again = before.tries > 0;
                target.create(&token)
            })
            .await?;
        {
            let mut live = lock(&self.live);
            (live.id, live.beginning) = (Some(id.clone()), None);
        }
        // Synced: an upload that nobody remembers costs money until somebody finds it.
        self.note(&record::upload(&id), true)?;
        if again {
            // An answer that was lost may have begun one that nobody knows; what cannot be listed is left to the store's own rules.
            let _ = abort_nameless(&**target, created, &token, &id).await;
        }
        let proof = target.proof();
        Ok(Begun { id, token, completing: false, proof, there: BTreeMap::new() })
    }

    async fn attempt(&self, begun: &Begun, part_size: u64) -> Result<(), Fault> {
        let (parts, total) = self.send_parts(begun, part_size).await?;
        let whole = parts.iter().fold(0, |crc, part| join64(crc, part.crc64, part.length));
        self.before_complete(total, whole).await?;
        let upload = &self.job.upload;
        upload.set_checksum(whole);
        upload.enter(State::Completing);
        self.note(&record::completing(), true)?;
        let target = &self.job.target;
        let asked_before = &AtomicBool::new(begun.completing);
        let completed = self.ask(|before| {
            let parts = &parts;
            async move {
                asked_before.fetch_or(before.tries > 0, Relaxed);
                match target.complete(&begun.id, parts, whole).await {
                    Err(fault)
                        if before.tries > 0
                            && fault.error.kind == UploadErrorKind::Exists
                            && self.is_ours(&begun.token).await =>
                    {
                        Ok(())
                    }
                    other => other,
                }
            }
        });
        match completed.await {
            Ok(()) => {}
            // The answer to an earlier request may have been lost: then the object is there, and is ours.
            Err(fault) if fault.class == Class::NoUpload => {
                match self.has_appeared(begun, total, asked_before.load(Relaxed)).await? {
                    Some(remote) if remote.token.is_some() => {}
                    // A server that keeps no tokens: what stands there may be what stood there before, in all but some bytes alike.
                    Some(_) => {
                        upload.enter(State::Verifying);
                        return match self.compare_read_back(total, whole).await {
                            Err(other) if other.error.kind == UploadErrorKind::Corrupt => Err(fault),
                            outcome => outcome,
                        };
                    }
                    None => return Err(fault),
                }
            }
            Err(fault) => return Err(fault),
        }
        lock(&self.live).id = None;
        let crc32c = parts.iter().try_fold(0, |crc, part| Some(join32(crc, part.crc32c?, part.length)));
        self.verify(&parts, total, whole, crc32c, begun.proof, &begun.token).await
    }

    /// What may be the object that a server knows no upload of any more. One that was asked before may still be making it.
    async fn has_appeared(&self, begun: &Begun, total: u64, asked_before: bool) -> Result<Option<Remote>, Fault> {
        for look in 0.. {
            let looked =
                self.ask(|_| self.job.target.head()).await.map_err(|fault| self.unseen(fault, asked_before))?;
            if let Some(remote) = looked
                && remote.size.is_none_or(|size| size == total)
                && remote.token.as_ref().is_none_or(|token| *token == begun.token)
            {
                return Ok(Some(remote));
            }
            if !asked_before || look == LOOKS {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(None)
    }

    /// Where nobody may look, only people can tell what became of a Complete whose answer was lost.
    fn unseen(&self, fault: Fault, asked_before: bool) -> Fault {
        if !asked_before || fault.error.kind != UploadErrorKind::Denied {
            return fault;
        }
        let message = format!(
            "`{}` may be there: all its parts were taken, the answer to the request that makes one of them was lost, and nobody here may look; \
             look there, or upload it again",
            self.job.destination.uri
        );
        Fault::new(Class::Final, UploadErrorKind::Denied, message)
    }

    /// The last look at the source: what is completed is what it is now.
    async fn before_complete(&self, total: u64, whole: u64) -> Result<(), Fault> {
        self.still().await?;
        let source = Arc::clone(&self.source);
        if !self.job.turns.run(move || Ok(source.touched())).await.unwrap_or(true) {
            return Ok(());
        }
        // A new mode, a new name, or bytes rewritten under the old time: only reading tells.
        let _turn = self.job.shared.hashing().await;
        let range = self.range(0, total);
        let now = body::hash(&range, Wanted::default()).await.map_err(|error| self.unreadable(&error))?;
        if now.crc64 == whole { Ok(()) } else { Err(self.changed("its bytes were rewritten")) }
    }

    /// Send what the server does not have; the parts in order, and how many bytes they are.
    async fn send_parts(&self, begun: &Begun, part_size: u64) -> Result<(Vec<Part>, u64), Fault> {
        let upload = &self.job.upload;
        upload.enter(State::Sending);
        let mut done: BTreeMap<u64, Part> = BTreeMap::new();
        let (mut waiting, mut known_to) = (BTreeSet::new(), 0);
        let mut under_way = FuturesUnordered::new();
        let mut whole_noted = false;
        loop {
            let (sealed, total) = match self.source.extent() {
                Extent::Complete(total) => (total, Some(total)),
                Extent::Growing(sealed) => (sealed, None),
                Extent::Aborted(why) => return Err(self.given_up(&why)),
            };
            let parts = total.map_or(sealed / part_size, |total| total.div_ceil(part_size));
            waiting.extend(known_to + 1..=parts);
            known_to = known_to.max(parts);
            if let Some(total) = total {
                upload.set_total(total);
            }
            if let (Some(total), false) = (self.source.whole(), whole_noted) {
                let path = self.source.path().to_owned();
                let named = self.job.turns.run(move || crate::disk::metadata(path)).await.ok();
                let mtime = named.map(|meta| Identity::of(&meta).mtime);
                self.note(&record::whole(self.source.path(), total, mtime), false)?;
                whole_noted = true;
            }
            let length = |number: u64| total.map_or(part_size, |total| part_size.min(total - (number - 1) * part_size));
            let candidates: Vec<u64> = waiting.iter().copied().take(LOOK_AHEAD).collect();
            for number in candidates {
                if under_way.len() > self.job.lanes.limit() {
                    break;
                }
                if self.source.ready((number - 1) * part_size, length(number)) {
                    waiting.remove(&number);
                    under_way.push(self.send_part(begun, number, (number - 1) * part_size, length(number)));
                }
            }
            if total.is_some() && waiting.is_empty() && under_way.is_empty() {
                return Ok((done.into_values().collect(), total.unwrap_or_default()));
            }
            tokio::select! {
                Some(part) = under_way.next(), if !under_way.is_empty() => {
                    let part: Part = part?;
                    done.insert(part.number, part);
                }
                () = tokio::time::sleep(LOOK_EVERY), if total.is_none() || under_way.is_empty() => {}
            }
        }
    }

    async fn send_part(&self, begun: &Begun, number: u64, offset: u64, length: u64) -> Result<Part, Fault> {
        let (job, target) = (self.job, &self.job.target);
        let mut range = self.range(offset, length);
        let unreadable = |error| self.unreadable(&error);
        if let Some(part) = begun.there.get(&number).filter(|part| part.length == length) {
            // Only what is still the same here counts as sent.
            if body::hash(&range, Wanted::default()).await.map_err(unreadable)?.crc64 == part.crc64 {
                job.upload.add_reused(length);
                return Ok(part.clone());
            }
        }
        self.still().await?;
        let known: Option<Digests> = match target.before(begun.proof) {
            Some(wanted) => Some(body::hash(&range, wanted).await.map_err(unreadable)?),
            None => None,
        };
        range.known = known.map(|known| known.crc64);
        // Whether the server has a part of this number that is not what was sent.
        let spoilt = &AtomicBool::new(false);
        let part = self.ask(|before| {
            let range = Range { held: before.broke_off, ..range.clone() };
            async move {
                // Some servers fail without a reason once they have forgotten an upload; asked for its parts, they say so.
                if before.tries > 0 && before.tries % 3 == 0 {
                    target.parts(&begun.id).await?;
                }
                let _memory = job.shared.under_way(length).await;
                let taken = match target.part(&begun.id, number, range, known, self.meter()).await {
                    // Servers that take each part once keep a spoilt one: only another upload is without it.
                    Err(fault) if matches!(fault.class, Class::Unsupported | Class::Final) && spoilt.load(Relaxed) => {
                        let class = if fault.class == Class::Final { Class::Final } else { Class::BadPart };
                        let what = "a part arrived changed, and the server takes no part twice";
                        return Err(Fault { class, ..self.corrupt(what) });
                    }
                    other => other?,
                };
                self.compare_tag(begun.proof, before.tries, &taken.tag, &taken.digests).inspect_err(|_| {
                    spoilt.store(true, Relaxed);
                    self.job.upload.take_back(length);
                })?;
                Ok(part_of(number, length, taken.tag, &taken.digests))
            }
        });
        let part = part.await?;
        self.note(&record::part(&part), false)?;
        Ok(part)
    }
}

/// Abort uploads to just this target that were begun right after a journal that names none, and have no part: nobody knows the
/// id of the one that the journal's process was killed over, so nobody has sent it any. All others are somebody else's.
/// Whether there was one.
pub(crate) async fn abort_nameless(target: &dyn Target, created: f64, token: &str, ours: &str) -> Result<bool, Fault> {
    const WINDOW: f64 = 120.0;
    let mut found = false;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    // The process that asks has tried until now; of one that was killed nobody knows for how long.
    let until = if ours.is_empty() { created + WINDOW } else { now + 2.0 };
    for stale in target.stale().await? {
        let begun = stale.age.map(|age| now - age.as_secs_f64());
        let in_time = begun.is_some_and(|begun| (created - 2.0..until).contains(&begun));
        let is_the_one = stale.id != ours
            && (stale.id == token
                || in_time && matches!(target.parts(&stale.id).await, Ok(Some(parts)) if parts.is_empty()));
        if is_the_one {
            target.abort(&stale.id).await?;
            found = true;
        }
    }
    Ok(found)
}
