//! The facade: a request in, an archive on disk and a report out.

use std::time::Instant;

use crate::cancel::CancelToken;
use crate::commit::{commit, remove_originals};
use crate::error::{Error, Result, Stage};
use crate::fs;
use crate::pipeline;
use crate::plan::{Plan, count};
use crate::progress::{Phase, Progress};
use crate::report::{PackReport, PlanReport, Remark};
use crate::request::{Originals, PackRequest};
use crate::scan::scan;
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
///     sources: vec![folder.path().join("*.txt").into_os_string().into_encoded_bytes()],
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
    let (plan, target) = planned(request, cancel)?;
    progress.total_files.set(plan.entries().len() as u64);
    progress.enter(Phase::Pack);
    let sink = StagedFile::create(&target, options.originals != Originals::Keep)?;
    let written = pipeline::run(&plan, options, sink, cancel, progress)?;
    progress.enter(Phase::Commit);
    let committed = commit(written, options, cancel)?;
    progress.enter(Phase::Remove);
    let removal = remove_originals(&committed, &plan, options.jobs, cancel, progress);
    if removal.cancelled {
        return Err(Error::cancelled(Stage::Remove));
    }
    let mut report = PackReport {
        target: target.shown,
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
            }
        } else if record.size() > 0 {
            report.links += 1;
        } else {
            report.directories += 1;
        }
    }
    report.elapsed = start.elapsed();
    Ok(report)
}

/// What [`pack`] would do, without writing anything.
pub fn plan(request: &PackRequest, cancel: &CancelToken) -> Result<PlanReport> {
    let (plan, target) = planned(request, cancel)?;
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

fn planned(request: &PackRequest, cancel: &CancelToken) -> Result<(Plan, Target)> {
    request.validate()?;
    let options = &request.options;
    let early = match &request.target {
        Some(path) => Some(Target::resolve(path, options.force)?),
        None => None,
    };
    let found = scan(request, options.jobs, cancel)?;
    let target = match early {
        Some(target) => target,
        None => Target::resolve(&Target::default_path(&found.common)?, options.force)?,
    };
    let plan = Plan::new(found, &target)?;
    cancel.check(Stage::Plan)?;
    Ok((plan, target))
}

fn sorted(planned: &[Remark], packed: Vec<Remark>) -> Vec<Remark> {
    let mut all = planned.to_vec();
    all.extend(packed);
    all.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    all
}
