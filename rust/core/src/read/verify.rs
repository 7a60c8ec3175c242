//! Verify: read everything once, and say what is damaged, where and why.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::container::Container;
use super::content::{self, Content};
use super::fault::Fault;
use super::tar::{Frames, Sequential, Sums, Tar, TarStream};
use super::zip::Zip;
use super::{Archive, Member, MemberKind, extract};
use crate::cancel::CancelToken;
use crate::error::{ErrorKind, Result, Stage, show_bytes};
use crate::progress::{Phase, Progress};
use crate::threads::on_threads;

/// Members that a thread takes at a time.
const CLAIM: usize = 32;

/// Larger members are read in portions of this size.
pub(super) const PORTION: usize = 1 << 20;

/// A member that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Its name.
    pub name: Vec<u8>,
    /// Where the damage, or the member's header, is; in a compressed tar, in the tar stream.
    pub offset: u64,
    /// What is wrong.
    pub reason: String,
}

/// What a verification found.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// Members looked at.
    pub members: u64,
    /// Regular files among them.
    pub files: u64,
    /// Bytes of the members, unpacked.
    pub bytes: u64,
    /// What is damaged, or cannot be checked because it cannot be read.
    pub damaged: Vec<Damage>,
    /// What is odd and yet no damage, whole sentences: bytes that belong to no member, names that appear twice.
    pub warnings: Vec<String>,
    /// Wall time.
    pub elapsed: Duration,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty()
    }

    fn add(&mut self, member: &Member, fault: &Fault) {
        let offset = fault.offset().unwrap_or(member.offset);
        self.damaged.push(Damage { name: member.name.clone(), offset, reason: fault.what().to_owned() });
    }
}

/// What one thread found.
#[derive(Default)]
struct Found {
    report: VerifyReport,
    /// Where members begin and end in the file, and their numbers.
    spans: Vec<(u64, u64, usize)>,
}

impl Archive {
    /// Read every member and check all that the format allows: headers against the directory, checksums, sizes, and that
    /// members neither overlap nor leave room between them. What is damaged is listed; an error is only that the archive
    /// cannot be read at all.
    pub fn verify(&self, jobs: usize, progress: &Progress, cancel: &CancelToken) -> Result<VerifyReport> {
        let begun = Instant::now();
        progress.enter(Phase::Verify);
        let mut members = Vec::new();
        self.each(&mut |member| {
            members.push(member);
            Ok(())
        })?;
        let bytes = members.iter().fold(0, |sum: u64, member| sum.saturating_add(member.size));
        self.limits.check_total(bytes).map_err(|fault| self.explain(fault))?;
        progress.total_files.set(members.len() as u64);
        let mut report = match &self.container {
            Container::Zip(zip) => self.verify_zip(zip, &members, jobs, progress, cancel)?,
            Container::Tar(tar, _) => self.verify_tar(tar, &members, jobs, progress, cancel)?,
        };
        report.warnings.extend(self.unsafe_members(&members));
        report.members = members.len() as u64;
        report.files = members.iter().filter(|member| member.is_file()).count() as u64;
        report.bytes = bytes;
        report.damaged.sort_by_key(|damage| damage.offset);
        report.elapsed = begun.elapsed();
        Ok(report)
    }

    /// What extraction would refuse is no damage, and yet whoever verifies wants to know of it.
    fn unsafe_members(&self, members: &[Member]) -> Option<String> {
        let superseded = self.container.superseded();
        let mut refused = members.iter().zip(0..).filter_map(|(member, number)| {
            if member.kind == MemberKind::HardLink && superseded.binary_search(&number).is_ok() {
                return None;
            }
            let is_link = member.kind == MemberKind::Link;
            let target = if is_link { self.link_target(member).ok() } else { None };
            extract::refused(member, target.as_deref()).map(|reason| (member, reason))
        });
        let (first, reason) = refused.next()?;
        let count = refused.count() + 1;
        let name = show_bytes(&first.name);
        Some(format!("Extraction would refuse {count} of the members; the first is {name}: {reason}."))
    }

    fn verify_zip(
        &self,
        zip: &Zip,
        members: &[Member],
        jobs: usize,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<VerifyReport> {
        let found = in_claims(members.len(), jobs, cancel, |number, found: &mut Found, buffer| {
            let member = &members[number];
            match self.verify_member(zip, member, buffer, cancel) {
                Ok((start, end)) => found.spans.push((start, end, number)),
                Err(fault) if fault.kind() == ErrorKind::Cancelled => return Err(self.explain(fault)),
                Err(fault) => found.report.add(member, &fault),
            }
            progress.files.add(1);
            progress.bytes_in.add(member.packed);
            Ok(())
        })?;
        let mut report = VerifyReport::default();
        let mut spans = Vec::new();
        for mut part in found {
            report.damaged.append(&mut part.report.damaged);
            spans.append(&mut part.spans);
        }
        if let Some(member) = zip.repeated(&*self.source).map_err(|fault| self.explain(fault))? {
            report.add(&member, &Fault::corrupt("another member has the same name"));
        }
        if report.is_sound() {
            check_spans(zip, spans, members, &mut report);
        }
        let behind = self.source.length() - zip.end.min(self.source.length());
        if behind > 0 {
            report.warnings.push(format!("{behind} bytes follow the archive's end."));
        }
        if let Some(at) = zip.rival_end {
            report.warnings.push(format!(
                "What may be another end record stands at byte {at}, behind the archive's own; readers that go by it find \
                 other members."
            ));
        }
        let folders = members.iter().filter(|member| member.kind == MemberKind::Directory && member.size > 0).count();
        if folders > 0 {
            report.warnings.push(format!("Folders with bytes, which extraction leaves out: {folders}."));
        }
        Ok(report)
    }

    /// Read a member of any kind; where it begins and ends.
    fn verify_member(
        &self,
        zip: &Zip,
        member: &Member,
        buffer: &mut Vec<u8>,
        cancel: &CancelToken,
    ) -> Result<(u64, u64), Fault> {
        let (container, source) = (&self.container, &*self.source);
        if matches!(member.kind, MemberKind::File | MemberKind::Link) || member.size > 0 {
            let as_file = Member { kind: MemberKind::File, ..member.clone() };
            content::check(&as_file)?;
            self.limits.check_total(member.size)?;
            if member.size <= PORTION as u64 {
                buffer.resize(member.size as usize, 0);
                content::read_strictly(container, source, &as_file, buffer)?;
            } else {
                buffer.resize(PORTION, 0);
                let mut content = Content::new(container, source, &as_file)?;
                let mut at = 0;
                while at < member.size {
                    if cancel.is_cancelled() {
                        return Err(Fault::cancelled());
                    }
                    at += content.read_at(container, source, &as_file, at, buffer)? as u64;
                }
            }
        }
        Ok((member.offset, zip.member_end(source, member)?))
    }

    fn verify_tar(
        &self,
        tar: &Tar,
        members: &[Member],
        jobs: usize,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<VerifyReport> {
        // Stretches of the tar that could not be read.
        let mut bad = match &tar.stream {
            TarStream::Plain => self.read_plain(jobs, progress, cancel)?,
            TarStream::Frames(frames) => self.read_frames(frames, jobs, progress, cancel)?,
            TarStream::Sequential(stream) => self.read_sequential(stream, progress, cancel)?,
        };
        bad.sort_unstable();
        let mut report = VerifyReport::default();
        for member in members {
            let start = member.start.unwrap_or(member.offset);
            let end = start.saturating_add(member.packed);
            // Stretches do not overlap: the first that ends behind the member's beginning is the only one to ask.
            let hit = bad.get(bad.partition_point(|(_, to, _)| *to <= member.offset)).filter(|(from, ..)| *from < end);
            if let Some((.., reason)) = hit {
                report.add(member, &Fault::corrupt(reason.clone()));
            } else if end > tar.length {
                report.add(member, &Fault::corrupt("the archive ends inside its data"));
            }
        }
        if report.is_sound()
            && let Some((from, _, reason)) = bad.first()
        {
            report.damaged.push(Damage { name: Vec::new(), offset: *from, reason: reason.clone() });
        }
        match tar.oddity {
            Some(oddity) if oddity.is_damage() => {
                report.damaged.push(Damage { name: Vec::new(), offset: oddity.offset(), reason: oddity.what() });
            }
            _ => report.warnings.extend(self.warnings()),
        }
        progress.files.add(members.len() as u64);
        Ok(report)
    }

    /// A plain tar has checksums of headers alone, which opening has checked; its data must be readable and there.
    fn read_plain(&self, jobs: usize, progress: &Progress, cancel: &CancelToken) -> Result<Vec<(u64, u64, String)>> {
        let portions = usize::try_from(self.source.length().div_ceil(PORTION as u64)).unwrap_or(usize::MAX);
        let read = in_claims(portions, jobs, cancel, |number, bad: &mut Vec<_>, buffer| {
            buffer.resize(PORTION, 0);
            let at = number as u64 * PORTION as u64;
            match self.source.read_at(buffer, at) {
                Ok(count) => progress.bytes_in.add(count as u64),
                Err(cause) => bad.push((at, at + PORTION as u64, format!("cannot be read: {cause}"))),
            }
            Ok(())
        })?;
        Ok(read.into_iter().flatten().collect())
    }

    fn read_frames(
        &self,
        frames: &Frames,
        jobs: usize,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<Vec<(u64, u64, String)>> {
        let read = in_claims(frames.count(), jobs, cancel, |number, bad: &mut Vec<_>, _| {
            match frames.unpack(&*self.source, number) {
                Ok(raw) => progress.bytes_in.add(raw.len() as u64),
                Err(fault) => {
                    let (from, to) = frames.span(number);
                    bad.push((from, to, fault.what().to_owned()));
                }
            }
            Ok(())
        })?;
        Ok(read.into_iter().flatten().collect())
    }

    /// Checksums along the way are checked by unpacking it; behind a damaged place nothing can be read.
    fn read_sequential(
        &self,
        stream: &Sequential,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<Vec<(u64, u64, String)>> {
        let mut bad = Vec::new();
        let mut sums = stream.table().map(Sums::new);
        let finished = stream.again(cancel).finish(&*self.source, 0, &mut |bytes, at| {
            if let Some(from) = sums.as_mut().and_then(|sums| sums.see(bytes, at)) {
                let what = "the frame that begins here has another checksum than the seek table says";
                bad.push((from, at + bytes.len() as u64, what.to_owned()));
            }
        });
        match finished {
            Ok((length, _)) => {
                progress.bytes_in.add(length);
                Ok(bad)
            }
            Err(fault) if matches!(fault.kind(), ErrorKind::Io | ErrorKind::Cancelled) => Err(self.explain(fault)),
            Err(fault) => {
                bad.push((fault.offset().unwrap_or(0), u64::MAX, fault.what().to_owned()));
                Ok(bad)
            }
        }
    }
}

/// Members side by side fill the archive; what lies between them belongs to none.
fn check_spans(zip: &Zip, mut spans: Vec<(u64, u64, usize)>, members: &[Member], report: &mut VerifyReport) {
    spans.sort_unstable();
    let mut at = zip.shift;
    let (mut gaps, mut bytes) = (0_u64, 0_u64);
    for (start, end, number) in spans {
        if start < at {
            report.add(&members[number], &Fault::corrupt("it overlaps another member"));
        } else if start > at {
            gaps += 1;
            bytes += start - at;
        }
        at = at.max(end);
    }
    if zip.shift > 0 {
        report.warnings.push(format!("{} bytes stand in front of the archive.", zip.shift));
    }
    if zip.directory() > at {
        gaps += 1;
        bytes += zip.directory() - at;
    }
    if zip.hidden > 0 {
        gaps += 1;
        bytes += zip.hidden;
    }
    if gaps > 0 {
        report.warnings.push(format!("{bytes} bytes in {gaps} places belong to no member."));
    }
}

/// Call `work` for every number below `count`, shared out over threads; what each thread gathered.
pub(super) fn in_claims<T: Default + Send>(
    count: usize,
    jobs: usize,
    cancel: &CancelToken,
    work: impl Fn(usize, &mut T, &mut Vec<u8>) -> Result<()> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let claim = CLAIM.min(count / jobs.max(1) + 1);
    let threads = jobs.min(count.div_ceil(claim)).max(1);
    let gathered = on_threads(threads, || {
        let (mut gathered, mut buffer) = (T::default(), Vec::new());
        loop {
            let first = next.fetch_add(claim, Ordering::Relaxed);
            if first >= count {
                return Ok(gathered);
            }
            for number in first..first.saturating_add(claim).min(count) {
                cancel.check(Stage::Read)?;
                work(number, &mut gathered, &mut buffer)?;
            }
        }
    });
    gathered.into_iter().collect()
}
