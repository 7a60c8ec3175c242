//! The facade: a request in, an archive on disk and a report out.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::bound::bound;
use crate::cancel::CancelToken;
use crate::codec::Codec;
use crate::commit::{Committed, commit};
use crate::error::{Error, ErrorKind, Result, Stage, show};
use crate::growing::{Followed, Growing};
use crate::journal;
use crate::list::Made;
use crate::manifest;
use crate::mark;
use crate::pipeline::{self, Record};
use crate::plan::{Plan, count};
use crate::progress::{Phase, Progress};
use crate::read::Limits;
use crate::remove::remove_originals;
use crate::report::{PackReport, PlanReport};
use crate::request::{Format, Originals, PackOptions, PackRequest};
use crate::resume::{self, Backlog};
use crate::scan::{Found, Sources};
use crate::shard;
use crate::sink::StagedFile;
use crate::target::Target;

/// Pack what the request names into its target.
///
/// Until the archive is complete nothing is visible under the target's name, and an earlier archive there stays as it
/// is. An error, a cancelled call or a killed process leaves all originals in place and no file behind. Originals are
/// removed only where asked, only after archive and name are on disk, and only those that are still the files packed.
///
/// ```
/// use vhpack_core::{CancelToken, PackRequest, Progress, pack};
///
/// let folder = tempfile::tempdir()?;
/// # #[expect(clippy::disallowed_methods)]
/// std::fs::write(folder.path().join("a.txt"), "text")?;
/// let request = PackRequest {
///     sources: [folder.path().join("*.txt")].into_iter().collect(),
///     target: Some(folder.path().join("texts.zip")),
///     ..PackRequest::default()
/// };
/// let report = pack(&request, &Progress::default(), &CancelToken::default())?;
/// assert_eq!(report.files, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pack(request: &PackRequest, progress: &Progress, cancel: &CancelToken) -> Result<PackReport> {
    let start = Instant::now();
    let options = &request.options;
    progress.enter(Phase::Scan);
    let Prepared { target, shards_there, found, mut backlog } = prepare(request, cancel)?;
    let plan = Plan::new(found, &target, &shards_there, options.shard_size > 0, cancel);
    if options.originals == Originals::Remove
        && backlog.is_unfinished()
        && let archives =
            if options.shard_size > 0 { shards_there.iter().map(|(_, shard)| shard).collect() } else { vec![&target] }
        && let Some(mut report) = resume::finish(&backlog, &plan, request, &archives, cancel, progress)?
    {
        if options.shard_size > 0 {
            report.archives = all_shards(&shards_there, &report.archives, cancel)?;
        }
        follow_complete(options, &report)?;
        return Ok(PackReport { elapsed: start.elapsed(), ..report });
    }
    let plan = plan?;
    if backlog.is_unfinished() {
        // What is not there was excused as removed already; this call is none that finishes that.
        Sources::look_up(request, false, cancel)?;
    }
    check_replaced(request, &backlog, &plan, &target, cancel)?;
    backlog.release();
    let Shards { shards, sizes } = shards(options, &plan, target, &shards_there, cancel)?;
    let mut followed = Followed::default();
    progress.total_files.set(plan.entries().len() as u64);
    let mut archives: Vec<(Target, Committed)> = Vec::with_capacity(shards.len());
    let count = shards.len();
    if options.manifest {
        shards.iter().try_for_each(|(target, _)| manifest::check_place(target, options.force))?;
    }
    for (target, members) in shards {
        progress.enter(Phase::Pack);
        let last = archives.len() + 1 == count;
        let mut sink = StagedFile::create(&target, options.originals != Originals::Keep)?;
        if let Some(follower) = &options.follower {
            let growing = sink.grow(bound(&plan, members.clone(), &sizes, target.format, options))?;
            followed.push(Arc::clone(&growing));
            follower.follow(growing);
        }
        let committed = pack_one(options, &plan, members, &target, sink, &backlog, last, cancel, progress);
        let committed = committed.map_err(|error| among_shards(error, archives.len()))?;
        followed.name_last();
        archives.push((target, committed));
    }
    if options.originals == Originals::Remove {
        progress.enter(Phase::Remove);
    }
    let mut report = report(&plan, &archives, options);
    if options.originals == Originals::Remove {
        let made = Made::new(request.call(), &report);
        let removal = remove_originals(&mut archives, &plan, made, options, cancel, progress)?;
        if removal.cancelled {
            return Err(Error::cancelled(Stage::Remove));
        }
        (report.removed, report.kept) = (removal.removed, removal.kept);
    } else if options.read_only {
        mark::all(&archives)?;
    }
    followed.finish();
    Ok(PackReport { elapsed: start.elapsed(), ..report })
}

/// Archives that an earlier call had completed, for those who would have read along.
fn follow_complete(options: &PackOptions, report: &PackReport) -> Result<()> {
    let mut followed = Followed::default();
    if let Some(follower) = &options.follower {
        for (path, _) in &report.archives {
            let growing = Growing::complete(path).map_err(|error| Error::io(Stage::Commit, "read", path, error))?;
            followed.push(Arc::clone(&growing));
            follower.follow(growing);
        }
    }
    followed.finish();
    Ok(())
}

/// Every shard that is there, also those whose lists were gone before the removal was finished.
fn all_shards(
    there: &[(u64, Target)],
    listed: &[(std::path::PathBuf, u128)],
    cancel: &CancelToken,
) -> Result<Vec<(std::path::PathBuf, u128)>> {
    let with_digest = |(_, shard): &(u64, Target)| {
        let known = listed.iter().find(|(path, _)| *path == shard.shown).map(|(_, digest)| *digest);
        let digest = known.map_or_else(|| journal::digest_of(shard, || cancel.check(Stage::Remove)), Ok)?;
        Ok((shard.shown.clone(), digest))
    };
    there.iter().map(with_digest).collect()
}

/// The archives to be made, what goes into each, and the sizes of all members, where those were asked for.
struct Shards {
    shards: Vec<(Target, Range<usize>)>,
    sizes: Vec<u64>,
}

fn shards(
    options: &PackOptions,
    plan: &Plan,
    target: Target,
    there: &[(u64, Target)],
    cancel: &CancelToken,
) -> Result<Shards> {
    let wanted = options.shard_size > 0 || options.follower.is_some();
    let sizes = if wanted { shard::sizes(plan, options.jobs, cancel)? } else { Vec::new() };
    if options.shard_size == 0 {
        return Ok(Shards { shards: vec![(target, 0..plan.entries().len())], sizes });
    }
    let cuts = shard::cut(plan, options.shard_size, &sizes);
    let targets = shard::targets(&target, there, cuts.len(), options.force)?;
    Ok(Shards { shards: targets.into_iter().zip(cuts).collect(), sizes })
}

/// Pack and publish one archive. The last is waited for with a phase of its own.
#[expect(clippy::too_many_arguments, reason = "one step of `pack`, which has all of it at hand")]
fn pack_one(
    options: &PackOptions,
    plan: &Plan,
    members: Range<usize>,
    target: &Target,
    sink: StagedFile,
    backlog: &Backlog,
    last: bool,
    cancel: &CancelToken,
    progress: &Progress,
) -> Result<Committed> {
    let entries = &plan.entries()[members.clone()];
    let written = pipeline::run(plan, members, target.format, options, sink, cancel, progress)?;
    // Files that change are left out, but not all of them; a shard may be left with nothing.
    let alone = entries.len() == plan.entries().len();
    if alone
        && written.records.iter().all(Record::is_directory)
        && count(entries) != (0, written.records.len() as u64, 0)
    {
        let message = format!(
            "No files to compress: every file changed or vanished while it was packed, so {} was not written; pack again when they are at rest",
            show(&target.shown)
        );
        return Err(Error::new(ErrorKind::NoFiles, Stage::Pack, message).at(&target.shown));
    }
    backlog.protect_from(!written.skipped.is_empty())?;
    if last {
        progress.enter(Phase::Commit);
    }
    let durable = options.originals != Originals::Keep;
    let manifest = options.manifest.then(|| {
        let check = || cancel.check(Stage::Commit);
        manifest::stage(target, plan, &written, durable, check)
    });
    let manifest = manifest.transpose()?;
    let committed = commit(written, options, cancel)?;
    match manifest {
        Some(staged) => {
            let check = || cancel.check(Stage::Commit);
            let finished = staged.publish(options.force, false, false, check);
            finished.and_then(|finished| if durable { finished.sync_name() } else { Ok(()) }).map_err(|error| {
                let message = format!(
                    "{} is complete, and no original was removed, but its manifest cannot be written: {error}",
                    show(&target.shown)
                );
                if error.kind() == ErrorKind::Cancelled { error } else { error.with_message(message) }
            })?;
        }
        None => manifest::clear(target),
    }
    Ok(committed)
}

/// The same failure, where shards before it are on disk already.
fn among_shards(error: Error, complete: usize) -> Error {
    if complete == 0 || error.kind() == ErrorKind::Cancelled {
        return error;
    }
    let own = error.to_string().replace("nothing was published", "this shard was not published");
    let message = format!("{own}; the {complete} shards before it are complete and stay, and no original was removed");
    error.with_message(message)
}

/// What was packed.
fn report(plan: &Plan, archives: &[(Target, Committed)], options: &PackOptions) -> PackReport {
    let mut report =
        PackReport { warnings: plan.warnings().to_vec(), skipped: plan.skipped().to_vec(), ..PackReport::default() };
    let mut zip = false;
    for (target, committed) in archives {
        for record in &committed.records {
            count_member(&mut report, record);
        }
        report.bytes_out += committed.length;
        let members = committed.records.len() as u64;
        let bytes = committed.records.iter().fold(0, |sum: u64, record| sum.saturating_add(record.size()));
        report.warnings.extend(beyond_reading(&target.shown, members, bytes, &Limits::default()));
        report.skipped.extend(committed.skipped.iter().cloned());
        zip |= target.format == Format::Zip;
        report.archives.push((target.shown.clone(), committed.digest));
        if options.manifest {
            report.manifests.push(target.manifest().shown);
        }
    }
    if zip && report.zstd > 0 {
        report.warnings.push(ZSTD_IN_ZIP.into());
    }
    report.warnings.extend(archives.first().and_then(|(target, _)| tight_memory(target, options)));
    report.skipped.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    report
}

/// What to say where `memory` cannot be kept to: one worker takes what it needs.
fn tight_memory(target: &Target, options: &PackOptions) -> Option<String> {
    let least = pipeline::least_memory(target.format, options);
    (options.memory < least).then(|| {
        format!(
            "memory of {} KiB is less than one worker needs for {} at these settings, {} MiB, which it takes",
            options.memory >> 10,
            show(&target.shown),
            least >> 20
        )
    })
}

/// What reading refuses by default is worth a word to whoever packs it.
fn beyond_reading(shown: &Path, members: u64, bytes: u64, limits: &Limits) -> Option<String> {
    let what = if members > limits.max_members {
        format!("{members} members, and reading takes {}", limits.max_members)
    } else if bytes > limits.max_total {
        format!("{bytes} bytes unpacked, and reading takes {}", limits.max_total)
    } else {
        return None;
    };
    let way_out = "pack it in shards (--shard-size, shard_size=), or read it with --unsafe-limits (unsafe_limits=True)";
    Some(format!("{} has {what} unless it is told otherwise: {way_out}", show(shown)))
}

fn count_member(report: &mut PackReport, record: &Record) {
    if record.is_file() {
        report.files += 1;
        report.bytes_in += record.size();
        match record.codec {
            Codec::Store => report.stored += 1,
            Codec::Deflate => report.deflated += 1,
            Codec::Zstd => report.zstd += 1,
        }
    } else if record.size() > 0 {
        report.links += 1;
    } else {
        report.directories += 1;
    }
}

/// Tried with Info-ZIP 6.00, Java 17, Python 3.11, 7-Zip 26.02 and bsdtar 3.6.2.
const ZSTD_IN_ZIP: &str = "members are compressed with zstd (zip's method 93): Info-ZIP unzip skips them, Java refuses the \
    whole archive, and Python before 3.14, .NET, Windows and macOS cannot read them; 7-Zip from 24.01, bsdtar and WinZip can";

/// What [`pack`] would do, without writing anything.
pub fn plan(request: &PackRequest, cancel: &CancelToken) -> Result<PlanReport> {
    let Prepared { target, shards_there, found, backlog } = prepare(request, cancel)?;
    let plan = Plan::new(found, &target, &shards_there, request.options.shard_size > 0, cancel)?;
    check_replaced(request, &backlog, &plan, &target, cancel)?;
    let Shards { shards, .. } = shards(&request.options, &plan, target.clone(), &shards_there, cancel)?;
    if request.options.manifest {
        shards.iter().try_for_each(|(target, _)| manifest::check_place(target, request.options.force))?;
    }
    let (files, directories, links) = count(plan.entries());
    let sizes = shard::sizes(&plan, request.options.jobs, cancel)?;
    let mut report = PlanReport {
        bytes_in: sizes.iter().sum(),
        warnings: plan.warnings().iter().cloned().chain(tight_memory(&target, &request.options)).collect(),
        target: target.shown,
        files,
        directories,
        links,
        skipped: plan.skipped().to_vec(),
        ..PlanReport::default()
    };
    for entry in plan.entries() {
        cancel.check(Stage::Plan)?;
        let (prefix, name) = plan.member(entry);
        report.members.push(String::from_utf8_lossy(&[prefix, name].concat()).into_owned());
    }
    Ok(report)
}

struct Prepared {
    target: Target,
    /// Shards of an earlier pack, by number, as they were before anything was looked up.
    shards_there: Vec<(u64, Target)>,
    found: Found,
    backlog: Backlog,
}

/// Target first, then the sources: a target that may not be written is said before a long scan.
fn prepare(request: &PackRequest, cancel: &CancelToken) -> Result<Prepared> {
    request.validate()?;
    let options = &request.options;
    let look_up = |tolerant| Sources::look_up(request, tolerant, cancel);
    let mut missing = None;
    let (target, sources) = if let Some(path) = &request.target {
        (Target::resolve(path)?, None)
    } else {
        let sources = look_up(false).or_else(|error| {
            // What is named may be among what was removed already: it names the archive all the same.
            if error.kind() != ErrorKind::NotFound || options.originals != Originals::Remove {
                return Err(error);
            }
            missing = Some(error);
            look_up(true)
        })?;
        (Target::resolve(&Target::default_path(&sources.common)?)?, Some(sources))
    };
    options.check_method(target.format, &target.shown)?;
    let sharded = options.shard_size > 0;
    let mut shards_there = Vec::new();
    if sharded {
        for number in target.shards_there()? {
            shards_there.push((number, Target::resolve(&target.shard_path(number))?));
        }
    }
    let mut backlog = Backlog::of_shards(shards_there.iter().map(|(number, _)| *number));
    for target in if sharded { shards_there.iter().map(|(_, shard)| shard).collect() } else { vec![&target] } {
        backlog.add(target, cancel)?;
    }
    let may_resume = backlog.is_unfinished() && options.originals == Originals::Remove;
    let resumes = may_resume && backlog.is_of(request);
    if let Some(error) = missing
        && !resumes
    {
        return Err(error);
    }
    if !options.force && !may_resume {
        refuse_existing(&target, &shards_there, sharded).map_err(|error| backlog.exists(error, cancel))?;
    }
    let sources = match sources {
        Some(sources) => sources,
        // What is named may be among what was removed already.
        None => look_up(resumes)?,
    };
    let found = sources.scan(cancel)?;
    Ok(Prepared { target, shards_there, found, backlog })
}

/// Refuse to replace an archive that may not be replaced, or that is the only copy of something.
fn check_replaced(
    request: &PackRequest,
    backlog: &Backlog,
    plan: &Plan,
    target: &Target,
    cancel: &CancelToken,
) -> Result<()> {
    let sharded = request.options.shard_size > 0;
    // First, since force would not help there.
    backlog.protect(plan, request, cancel)?;
    if !request.options.force && !sharded {
        target.refuse_existing()?;
    }
    // What is left of a tree whose files were packed and removed is no reason to replace their archive.
    let (files, _, links) = count(plan.entries());
    let exists = if sharded { !target.shards_there()?.is_empty() } else { target.exists() };
    if files + links == 0 && exists {
        let message = format!(
            "No files to compress: the sources hold only empty folders, and {} exists; remove it first to pack those",
            show(&target.shown)
        );
        return Err(Error::new(ErrorKind::NoFiles, Stage::Plan, message).at(&target.shown));
    }
    Ok(())
}

/// Refuse what is there already, where it is not to be replaced.
fn refuse_existing(target: &Target, there: &[(u64, Target)], sharded: bool) -> Result<()> {
    if sharded { shard::targets(target, there, 0, false).map(|_| ()) } else { target.refuse_existing() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reading_would_refuse_is_told_when_it_is_packed() {
        let limits = Limits { max_members: 10, max_total: 1000, max_ratio: 200 };
        let told = |members, bytes| beyond_reading(Path::new("a.zip"), members, bytes, &limits);
        assert_eq!(told(10, 1000), None);
        assert!(told(11, 0).unwrap().starts_with("`a.zip` has 11 members, and reading takes 10 unless"));
        assert!(
            told(1, 1001).unwrap().contains("1001 bytes unpacked") && told(1, 1001).unwrap().contains("--shard-size")
        );
    }
}
