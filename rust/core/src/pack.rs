//! The facade: a request in, an archive on disk and a report out.

use std::time::Instant;

use crate::cancel::CancelToken;
use crate::commit::commit;
use crate::error::{Error, ErrorKind, Result, Stage, show};
use crate::fs;
use crate::journal::{self, Unfinished};
use crate::pipeline::{self, Record};
use crate::plan::{Plan, count};
use crate::progress::{Phase, Progress};
use crate::remove::remove_originals;
use crate::report::{PackReport, PlanReport, Remark};
use crate::request::{Format, Originals, PackRequest};
use crate::resume;
use crate::scan::{Found, Sources};
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
    let Prepared { target, found, unfinished } = prepare(request, cancel)?;
    let plan = Plan::new(found, &target, cancel);
    if let Some(unfinished) = &unfinished
        && options.originals == Originals::Remove
        && let Some(report) = resume::finish(unfinished, &plan, &target, options, cancel, progress)?
    {
        return Ok(PackReport { elapsed: start.elapsed(), ..report });
    }
    let plan = plan?;
    check_replaced(request, unfinished.as_ref(), &plan, &target)?;
    progress.total_files.set(plan.entries().len() as u64);
    progress.enter(Phase::Pack);
    let sink = StagedFile::create(&target, options.originals != Originals::Keep)?;
    let written = pipeline::run(&plan, target.format, options, sink, cancel, progress)?;
    // Files that change are left out, but not all of them.
    if written.records.iter().all(Record::is_directory) && count(plan.entries()) != (0, written.records.len() as u64, 0)
    {
        let message = format!(
            "No files to compress: every file changed or vanished while it was packed, so {} was not written; pack again when they are at rest",
            show(&target.shown)
        );
        return Err(Error::new(ErrorKind::NoFiles, Stage::Pack, message).at(&target.shown));
    }
    progress.enter(Phase::Commit);
    let committed = commit(written, options, cancel)?;
    journal::clear(&target);
    if options.originals == Originals::Remove {
        progress.enter(Phase::Remove);
    }
    let removal = remove_originals(&committed, &plan, &target, options.jobs, cancel, progress)?;
    if removal.cancelled {
        return Err(Error::cancelled(Stage::Remove));
    }
    let mut report = PackReport {
        target: target.shown.clone(),
        bytes_out: committed.length,
        digest: committed.digest,
        removed: removal.removed,
        kept: removal.kept,
        warnings: plan.warnings().to_vec(),
        skipped: sorted(plan.skipped(), committed.skipped),
        ..PackReport::default()
    };
    for record in &committed.records {
        if record.is_file() {
            report.files += 1;
            report.bytes_in += record.size();
            match record.codec {
                crate::codec::Codec::Store => report.stored += 1,
                crate::codec::Codec::Deflate => report.deflated += 1,
                crate::codec::Codec::Zstd => report.zstd += 1,
            }
        } else if record.size() > 0 {
            report.links += 1;
        } else {
            report.directories += 1;
        }
    }
    if target.format == Format::Zip && report.zstd > 0 {
        report.warnings.push(ZSTD_IN_ZIP.into());
    }
    report.elapsed = start.elapsed();
    Ok(report)
}

/// Tried with Info-ZIP 6.00, Java 17, Python 3.11, 7-Zip 26.02 and bsdtar 3.6.2.
const ZSTD_IN_ZIP: &str = "members are compressed with zstd (zip's method 93): Info-ZIP unzip skips them, Java refuses the \
    whole archive, and Python before 3.14, .NET, Windows and macOS cannot read them; 7-Zip from 24.01, bsdtar and WinZip can";

/// What [`pack`] would do, without writing anything.
pub fn plan(request: &PackRequest, cancel: &CancelToken) -> Result<PlanReport> {
    let Prepared { target, found, unfinished } = prepare(request, cancel)?;
    let plan = Plan::new(found, &target, cancel)?;
    check_replaced(request, unfinished.as_ref(), &plan, &target)?;
    let (files, directories, links) = count(plan.entries());
    let mut report = PlanReport {
        target: target.shown,
        files,
        directories,
        links,
        skipped: plan.skipped().to_vec(),
        warnings: plan.warnings().to_vec(),
        ..PlanReport::default()
    };
    for entry in plan.entries() {
        cancel.check(Stage::Plan)?;
        let (prefix, name) = plan.member(entry);
        report.members.push(String::from_utf8_lossy(&[prefix, name].concat()).into_owned());
        if matches!(entry.kind, crate::scan::EntryKind::File | crate::scan::EntryKind::LinkedFile) {
            let path = plan.path(entry);
            let stat =
                fs::stat(fs::path(&path)).map_err(|error| Error::io(Stage::Plan, "look up", fs::path(&path), error))?;
            report.bytes_in += fs::Stamp::of(&stat).size;
        }
    }
    Ok(report)
}

struct Prepared {
    target: Target,
    found: Found,
    /// The list of a removal that an earlier call to this target did not finish.
    unfinished: Option<Unfinished>,
}

/// Target first, then the sources: a target that may not be written is said before a long scan.
fn prepare(request: &PackRequest, cancel: &CancelToken) -> Result<Prepared> {
    request.validate()?;
    let options = &request.options;
    let look_up = |tolerant| Sources::look_up(request, tolerant, cancel);
    let (target, sources) = if let Some(path) = &request.target {
        (Target::resolve(path)?, None)
    } else {
        let sources = look_up(false)?;
        (Target::resolve(&Target::default_path(&sources.common)?)?, Some(sources))
    };
    options.check_method(target.format, &target.shown)?;
    let unfinished = Unfinished::find(&target)?;
    let may_resume = unfinished.is_some() && options.originals == Originals::Remove;
    if !options.force && !may_resume {
        target.refuse_existing()?;
    }
    let sources = match sources {
        Some(sources) => sources,
        // What is named may be among what was removed already.
        None => look_up(may_resume)?,
    };
    let found = sources.scan(cancel)?;
    Ok(Prepared { target, found, unfinished })
}

/// Refuse to replace an archive that may not be replaced, or that is the only copy of something.
fn check_replaced(request: &PackRequest, unfinished: Option<&Unfinished>, plan: &Plan, target: &Target) -> Result<()> {
    if !request.options.force {
        target.refuse_existing()?;
    }
    let refuse = |kind, message| Err(Error::new(kind, Stage::Plan, message).at(&target.shown));
    if unfinished.is_some_and(|unfinished| !resume::covers(plan, unfinished)) {
        let message = format!(
            "{} holds files whose originals an interrupted pack has removed, and this pack would replace it; move it away or choose another name",
            show(&target.shown)
        );
        return refuse(ErrorKind::TargetExists, message);
    }
    // What is left of a tree whose files were packed and removed is no reason to replace their archive.
    let (files, _, links) = count(plan.entries());
    if files + links == 0 && target.exists() {
        let message = format!(
            "No files to compress: the sources hold only empty folders, and {} exists; remove it first to pack those",
            show(&target.shown)
        );
        return refuse(ErrorKind::NoFiles, message);
    }
    Ok(())
}

fn sorted(planned: &[Remark], packed: Vec<Remark>) -> Vec<Remark> {
    let mut all = planned.to_vec();
    all.extend(packed);
    all.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    all
}
