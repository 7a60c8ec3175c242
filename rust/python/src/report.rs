//! Reports and progress as frozen Python classes.

use std::ffi::OsString;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use vhpack_core::Remark;

use crate::convert::{remarks, text};

type Remarks = Vec<(OsString, String)>;

/// What a report is pickled as: archives with digests, manifests, counts, seconds, remarks.
type PackState = (Vec<(OsString, u128)>, Vec<OsString>, [u64; 10], f64, Remarks, Remarks, Vec<String>);

/// What a pack did.
#[pyclass(frozen, module = "vhpack")]
pub(crate) struct PackReport(pub vhpack_core::PackReport);

#[pymethods]
impl PackReport {
    /// From what `__getnewargs__` gave, so that workers can send their reports to each other.
    #[new]
    #[pyo3(signature = (*state))]
    fn new(state: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let (archives, manifests, counts, seconds, kept, skipped, warnings): PackState = state.extract()?;
        let [files, directories, links, bytes_in, bytes_out, stored, deflated, zstd, removed, resumed] = counts;
        Ok(Self(vhpack_core::PackReport {
            archives: archives.into_iter().map(|(path, digest)| (path.into(), digest)).collect(),
            manifests: manifests.into_iter().map(Into::into).collect(),
            files,
            directories,
            links,
            bytes_in,
            bytes_out,
            elapsed: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
            stored,
            deflated,
            zstd,
            resumed: resumed > 0,
            removed,
            kept: restored(kept),
            skipped: restored(skipped),
            warnings,
        }))
    }
    fn __getnewargs__(&self) -> PackState {
        let report = &self.0;
        let counts = [
            report.files,
            report.directories,
            report.links,
            report.bytes_in,
            report.bytes_out,
            report.stored,
            report.deflated,
            report.zstd,
            report.removed,
            report.resumed.into(),
        ];
        let (kept, skipped) = (remarks(&report.kept), remarks(&report.skipped));
        let archives = report.archives.iter().map(|(path, digest)| (text(path), *digest)).collect();
        (archives, self.manifests(), counts, self.seconds(), kept, skipped, report.warnings.clone())
    }
    #[getter]
    fn target(&self) -> OsString {
        self.0.archives.first().map(|(path, _)| text(path)).unwrap_or_default()
    }
    #[getter]
    fn targets(&self) -> Vec<OsString> {
        self.0.archives.iter().map(|(path, _)| text(path)).collect()
    }
    #[getter]
    fn manifests(&self) -> Vec<OsString> {
        self.0.manifests.iter().map(|path| text(path)).collect()
    }
    #[getter]
    fn files(&self) -> u64 {
        self.0.files
    }
    #[getter]
    fn directories(&self) -> u64 {
        self.0.directories
    }
    #[getter]
    fn links(&self) -> u64 {
        self.0.links
    }
    #[getter]
    fn bytes_in(&self) -> u64 {
        self.0.bytes_in
    }
    #[getter]
    fn bytes_out(&self) -> u64 {
        self.0.bytes_out
    }
    #[getter]
    fn seconds(&self) -> f64 {
        self.0.elapsed.as_secs_f64()
    }
    #[getter]
    fn stored(&self) -> u64 {
        self.0.stored
    }
    #[getter]
    fn deflated(&self) -> u64 {
        self.0.deflated
    }
    #[getter]
    fn zstd(&self) -> u64 {
        self.0.zstd
    }
    #[getter]
    fn resumed(&self) -> bool {
        self.0.resumed
    }
    #[getter]
    fn removed(&self) -> u64 {
        self.0.removed
    }
    #[getter]
    fn kept(&self) -> Vec<(OsString, String)> {
        remarks(&self.0.kept)
    }
    #[getter]
    fn skipped(&self) -> Vec<(OsString, String)> {
        remarks(&self.0.skipped)
    }
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.0.warnings.clone()
    }
    #[getter]
    fn digest(&self) -> String {
        self.0.archives.first().map(|(_, digest)| format!("{digest:032x}")).unwrap_or_default()
    }
    #[getter]
    fn digests(&self) -> Vec<String> {
        self.0.archives.iter().map(|(_, digest)| format!("{digest:032x}")).collect()
    }
    fn __repr__(&self) -> String {
        let report = &self.0;
        format!(
            "PackReport(target={:?}, targets={}, files={}, bytes_in={}, bytes_out={}, stored={}, deflated={}, zstd={}, skipped={}, removed={}, kept={}, seconds={:.3}, digest='{}')",
            self.target().to_string_lossy(),
            report.archives.len(),
            report.files,
            report.bytes_in,
            report.bytes_out,
            report.stored,
            report.deflated,
            report.zstd,
            report.skipped.len(),
            report.removed,
            report.kept.len(),
            report.elapsed.as_secs_f64(),
            self.digest(),
        )
    }
}

fn restored(remarks: Remarks) -> Vec<Remark> {
    remarks.into_iter().map(|(path, reason)| Remark { path: path.into(), reason }).collect()
}

/// What a pack would do.
#[pyclass(frozen, module = "vhpack")]
pub(crate) struct PlanReport(pub vhpack_core::PlanReport);

#[pymethods]
impl PlanReport {
    #[getter]
    fn target(&self) -> OsString {
        text(&self.0.target)
    }
    #[getter]
    fn members(&self) -> Vec<String> {
        self.0.members.clone()
    }
    #[getter]
    fn files(&self) -> u64 {
        self.0.files
    }
    #[getter]
    fn directories(&self) -> u64 {
        self.0.directories
    }
    #[getter]
    fn links(&self) -> u64 {
        self.0.links
    }
    #[getter]
    fn bytes_in(&self) -> u64 {
        self.0.bytes_in
    }
    #[getter]
    fn skipped(&self) -> Vec<(OsString, String)> {
        remarks(&self.0.skipped)
    }
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.0.warnings.clone()
    }
    fn __repr__(&self) -> String {
        let report = &self.0;
        format!(
            "PlanReport(target={:?}, files={}, bytes_in={}, skipped={})",
            report.target.to_string_lossy(),
            report.files,
            report.bytes_in,
            report.skipped.len(),
        )
    }
}

/// What was hashed.
#[pyclass(frozen, module = "vhpack")]
pub(crate) struct HashReport {
    pub report: vhpack_core::HashReport,
    pub digests: Vec<(OsString, String)>,
    pub failed: Vec<(OsString, String)>,
}

#[pymethods]
impl HashReport {
    #[getter]
    fn files(&self) -> u64 {
        self.report.files
    }
    #[getter]
    fn bytes_in(&self) -> u64 {
        self.report.bytes
    }
    #[getter]
    fn seconds(&self) -> f64 {
        self.report.elapsed.as_secs_f64()
    }
    #[getter]
    fn digests(&self) -> Vec<(OsString, String)> {
        self.digests.clone()
    }
    #[getter]
    fn failed(&self) -> Vec<(OsString, String)> {
        self.failed.clone()
    }
    #[getter]
    fn skipped(&self) -> Vec<(OsString, String)> {
        remarks(&self.report.skipped)
    }
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.report.warnings.clone()
    }
    fn __repr__(&self) -> String {
        format!(
            "HashReport(files={}, bytes_in={}, failed={}, seconds={:.3})",
            self.report.files,
            self.report.bytes,
            self.failed.len(),
            self.report.elapsed.as_secs_f64()
        )
    }
}

/// What a check of digests found.
#[pyclass(frozen, module = "vhpack")]
pub(crate) struct CheckReport {
    pub report: vhpack_core::CheckReport,
    pub failed: Vec<(OsString, String)>,
}

#[pymethods]
impl CheckReport {
    #[getter]
    fn same(&self) -> u64 {
        self.report.same
    }
    #[getter]
    fn differing(&self) -> u64 {
        self.report.differing
    }
    #[getter]
    fn unreadable(&self) -> u64 {
        self.report.unreadable
    }
    #[getter]
    fn malformed(&self) -> Vec<u64> {
        self.report.malformed.clone()
    }
    #[getter]
    fn bytes_in(&self) -> u64 {
        self.report.bytes
    }
    #[getter]
    fn seconds(&self) -> f64 {
        self.report.elapsed.as_secs_f64()
    }
    #[getter]
    fn failed(&self) -> Vec<(OsString, String)> {
        self.failed.clone()
    }
    fn __repr__(&self) -> String {
        let report = &self.report;
        format!(
            "CheckReport(same={}, differing={}, unreadable={}, malformed={}, seconds={:.3})",
            report.same,
            report.differing,
            report.unreadable,
            report.malformed.len(),
            report.elapsed.as_secs_f64()
        )
    }
}

/// How far a call has come, at one moment.
#[pyclass(frozen, module = "vhpack")]
pub(crate) struct Progress {
    #[pyo3(get)]
    stage: &'static str,
    #[pyo3(get)]
    files: u64,
    #[pyo3(get)]
    total_files: u64,
    #[pyo3(get)]
    bytes_in: u64,
    #[pyo3(get)]
    bytes_out: u64,
    #[pyo3(get)]
    removed: u64,
}

impl Progress {
    pub fn now(progress: &vhpack_core::Progress) -> Self {
        Self {
            stage: progress.phase().name(),
            files: progress.files.get(),
            total_files: progress.total_files.get(),
            bytes_in: progress.bytes_in.get(),
            bytes_out: progress.bytes_out.get(),
            removed: progress.removed.get(),
        }
    }
}

#[pymethods]
impl Progress {
    fn __repr__(&self) -> String {
        format!(
            "Progress(stage='{}', files={}, total_files={}, bytes_in={}, bytes_out={}, removed={})",
            self.stage, self.files, self.total_files, self.bytes_in, self.bytes_out, self.removed
        )
    }
}
