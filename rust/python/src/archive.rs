//! Archives that are read.

use std::ffi::OsString;
use std::num::NonZero;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use vhpack_core::{CancelToken, read};

use crate::call::run;
use crate::convert::{self, exception, remarks, text};

/// A member's name as text, with surrogate escapes for what is not UTF-8.
fn name_text(name: &[u8]) -> OsString {
    OsString::from_vec(name.to_vec())
}

/// What no file system's name reads as is the name of no member, and no error of its own.
fn name_bytes(name: &Bound<'_, PyString>) -> PyResult<Vec<u8>> {
    if let Ok(name) = name.to_str() {
        return Ok(name.as_bytes().to_vec());
    }
    match name.extract::<OsString>() {
        Ok(name) => Ok(name.into_vec()),
        Err(_) => name.call_method1("encode", ("utf-8", "surrogatepass"))?.extract(),
    }
}

fn names_bytes(names: Vec<Bound<'_, PyString>>) -> PyResult<Vec<Vec<u8>>> {
    names.into_iter().map(|name| name_bytes(&name)).collect()
}

fn threads(jobs: Option<usize>) -> PyResult<usize> {
    match jobs {
        Some(jobs) if (1..=1024).contains(&jobs) => Ok(jobs),
        Some(_) => Err(PyValueError::new_err("jobs is a number of threads from 1 to 1024")),
        None => Ok(available_parallelism().map_or(1, NonZero::get)),
    }
}

/// What an archive says of a member.
#[pyclass(frozen, module = "vhpack")]
pub(crate) struct Member(read::Member);

#[pymethods]
impl Member {
    #[getter]
    fn name(&self) -> OsString {
        name_text(&self.0.name)
    }
    #[getter]
    fn size(&self) -> u64 {
        self.0.size
    }
    #[getter]
    fn packed(&self) -> u64 {
        self.0.packed
    }
    #[getter]
    fn codec(&self) -> String {
        self.0.packing.name()
    }
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind.name()
    }
    #[getter]
    fn link(&self) -> Option<OsString> {
        self.0.link.as_deref().map(name_text)
    }
    #[getter]
    fn mode(&self) -> u32 {
        self.0.mode
    }
    #[getter]
    #[expect(clippy::cast_precision_loss, reason = "Python's own times are floats")]
    fn mtime(&self) -> Option<f64> {
        self.0.mtime.map(|(seconds, nanoseconds)| seconds as f64 + f64::from(nanoseconds) / 1e9)
    }
    #[getter]
    fn crc32(&self) -> Option<u32> {
        self.0.crc
    }
    #[getter]
    fn offset(&self) -> u64 {
        self.0.offset
    }
    fn __repr__(&self) -> String {
        let member = &self.0;
        format!(
            "Member(name={:?}, kind='{}', size={}, packed={}, codec='{}', offset={})",
            String::from_utf8_lossy(&member.name),
            member.kind.name(),
            member.size,
            member.packed,
            member.packing.name(),
            member.offset
        )
    }
}

/// Reads one member from any position.
#[pyclass(frozen, module = "vhpack")]
pub(crate) struct MemberReader(read::MemberReader);

#[pymethods]
impl MemberReader {
    #[getter]
    fn member(&self) -> Member {
        Member(self.0.member().clone())
    }

    fn read_at<'py>(&self, py: Python<'py>, offset: u64, length: usize) -> PyResult<Bound<'py, PyBytes>> {
        let left = self.0.member().size.saturating_sub(offset);
        let length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
        self.0.check_holdable(length as u64).map_err(|error| exception(py, &error))?;
        let is_long = self.0.takes_long(offset, length as u64);
        filled(py, length, is_long, |out, cancel| self.0.read_at_in_steps(out, offset, cancel).map(|_| ()))
    }
}

/// Bytes of a known length, written in place while other threads run. Long work can be interrupted, at the price of a thread.
fn filled(
    py: Python<'_>,
    length: usize,
    is_long: bool,
    fill: impl FnOnce(&mut [u8], &CancelToken) -> vhpack_core::Result<()> + Send,
) -> PyResult<Bound<'_, PyBytes>> {
    if isize::try_from(length).is_err() {
        return Err(PyMemoryError::new_err(()));
    }
    PyBytes::new_with(py, length, |out| {
        if is_long {
            return run(py, None, |_, cancel| fill(out, cancel));
        }
        py.detach(|| fill(out, &CancelToken::default())).map_err(|error| exception(py, &error))
    })
}

/// An archive that is open for reading.
#[pyclass(frozen, module = "vhpack")]
pub(crate) struct Archive(Arc<read::Archive>);

impl Archive {
    fn readable(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<read::Member> {
        let name = name_bytes(name)?;
        py.detach(|| self.0.readable(&name)).map_err(|error| exception(py, &error))
    }
}

#[pymethods]
impl Archive {
    #[new]
    #[pyo3(signature = (path, *, max_members=None, max_total=None, max_ratio=None, progress=None))]
    fn new(
        py: Python<'_>,
        path: Vec<u8>,
        max_members: Option<u64>,
        max_total: Option<u64>,
        max_ratio: Option<u64>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let default = read::Limits::default();
        let limits = read::Limits {
            max_members: max_members.unwrap_or(default.max_members),
            max_total: max_total.unwrap_or(default.max_total),
            max_ratio: max_ratio.unwrap_or(default.max_ratio),
        };
        let path = PathBuf::from(OsString::from_vec(path));
        run(py, progress, |_, cancel| read::Archive::open(&path, limits, cancel)).map(|archive| Self(Arc::new(archive)))
    }

    #[getter]
    fn path(&self) -> OsString {
        text(self.0.path())
    }

    #[getter]
    fn format(&self) -> &'static str {
        self.0.format().name()
    }

    #[getter]
    fn count(&self) -> u64 {
        self.0.count()
    }

    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.0.warnings()
    }

    fn __len__(&self) -> usize {
        usize::try_from(self.0.files()).unwrap_or(usize::MAX)
    }

    fn names(&self, py: Python<'_>) -> PyResult<Vec<OsString>> {
        let names = py.detach(|| self.0.names(None)).map_err(|error| exception(py, &error))?;
        Ok(names.into_iter().map(OsString::from_vec).collect())
    }

    #[pyo3(signature = (patterns=None))]
    fn members(&self, py: Python<'_>, patterns: Option<Vec<Bound<'_, PyString>>>) -> PyResult<Vec<Member>> {
        let patterns = patterns.map(names_bytes).transpose()?;
        let members = run(py, None, |_, _| self.0.members(patterns.as_deref()))?;
        Ok(members.into_iter().map(Member).collect())
    }

    fn member(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<Member> {
        let name = name_bytes(name)?;
        py.detach(|| self.0.member(&name)).map(Member).map_err(|error| exception(py, &error))
    }

    fn contains(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<bool> {
        let name = name_bytes(name)?;
        py.detach(|| self.0.contains(&name)).map_err(|error| exception(py, &error))
    }

    fn read<'py>(&self, py: Python<'py>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = name_bytes(name)?;
        if let Some(direct) = self.0.direct(&bytes) {
            let mut is_read = false;
            let content = filled(py, direct.size(), false, |out, _| {
                is_read = self.0.read_direct(&bytes, direct, out)?;
                Ok(())
            })?;
            if is_read {
                return Ok(content);
            }
        }
        let member = self.readable(py, name)?;
        self.0.check_holdable(&member).map_err(|error| exception(py, &error))?;
        let length = usize::try_from(member.size).unwrap_or(usize::MAX);
        let is_long = self.0.takes_long(&member, 0, member.size);
        filled(py, length, is_long, |out, cancel| self.0.read_into_in_steps(&member, out, cancel))
    }

    #[pyo3(signature = (names, jobs=None))]
    fn read_many<'py>(
        &self,
        py: Python<'py>,
        names: Vec<Bound<'py, PyString>>,
        jobs: Option<usize>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let (names, jobs) = (names_bytes(names)?, threads(jobs)?);
        let read = run(py, None, |_, cancel| self.0.read_many(&names, jobs, cancel))?;
        Ok(read.into_iter().map(|bytes| PyBytes::new(py, &bytes)).collect())
    }

    fn read_range<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyString>,
        offset: u64,
        length: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.open(py, name)?.read_at(py, offset, length)
    }

    fn open(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<MemberReader> {
        let member = self.readable(py, name)?;
        let reader = py.detach(|| read::MemberReader::new(Arc::clone(&self.0), member));
        reader.map(MemberReader).map_err(|error| exception(py, &error))
    }

    fn glob(&self, py: Python<'_>, pattern: &Bound<'_, PyString>) -> PyResult<Vec<OsString>> {
        let pattern = name_bytes(pattern)?;
        let names = py.detach(|| self.0.names(Some(&pattern))).map_err(|error| exception(py, &error))?;
        Ok(names.into_iter().map(OsString::from_vec).collect())
    }

    #[pyo3(signature = (
        dest, *, names=None, patterns=None, existing="error", strip=0, links=true, allow_collisions=false, jobs=None,
        progress=None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword-only in Python, where the stub names them")]
    fn extract(
        &self,
        py: Python<'_>,
        dest: Vec<u8>,
        names: Option<Vec<Bound<'_, PyString>>>,
        patterns: Option<Vec<Bound<'_, PyString>>>,
        existing: &str,
        strip: usize,
        links: bool,
        allow_collisions: bool,
        jobs: Option<usize>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<ExtractReport> {
        let request = read::ExtractRequest {
            dest: PathBuf::from(OsString::from_vec(dest)),
            names: names.map(names_bytes).transpose()?,
            patterns: patterns.map(names_bytes).transpose()?,
            existing: convert::existing(existing)?,
            strip,
            links,
            allow_collisions,
            jobs: threads(jobs)?,
        };
        run(py, progress, |progress, cancel| self.0.extract(&request, progress, cancel)).map(ExtractReport)
    }

    #[pyo3(signature = (*, jobs=None, progress=None))]
    fn verify(
        &self,
        py: Python<'_>,
        jobs: Option<usize>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<VerifyReport> {
        let jobs = threads(jobs)?;
        run(py, progress, |progress, cancel| self.0.verify(jobs, progress, cancel)).map(VerifyReport)
    }

    /// CRC-32, XXH3-128 and why they are not known, of each of the members.
    #[pyo3(signature = (*, jobs=None, progress=None))]
    fn digests(
        &self,
        py: Python<'_>,
        jobs: Option<usize>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<(u32, String, Option<String>)>> {
        let jobs = threads(jobs)?;
        let digests = run(py, progress, |progress, cancel| self.0.digests(jobs, progress, cancel))?;
        let row = |sums| match sums {
            Ok((crc, digest)) => (crc, format!("{digest:032x}"), None),
            Err(error) => (0, String::new(), Some(vhpack_core::Error::to_string(&error))),
        };
        Ok(digests.into_iter().map(row).collect())
    }

    fn __repr__(&self) -> String {
        let path = self.0.path().to_string_lossy();
        format!("Archive({path:?}, format='{}', count={})", self.format(), self.count())
    }
}

/// What an extraction did.
#[pyclass(frozen, module = "vhpack")]
pub(crate) struct ExtractReport(read::ExtractReport);

#[pymethods]
impl ExtractReport {
    #[getter]
    fn dest(&self) -> OsString {
        text(&self.0.dest)
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
    fn bytes(&self) -> u64 {
        self.0.bytes
    }
    #[getter]
    fn skipped(&self) -> Vec<(OsString, String)> {
        remarks(&self.0.skipped)
    }
    #[getter]
    fn refused(&self) -> u64 {
        self.0.refused
    }
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.0.warnings.clone()
    }
    #[getter]
    fn seconds(&self) -> f64 {
        self.0.elapsed.as_secs_f64()
    }
    fn __repr__(&self) -> String {
        let report = &self.0;
        format!(
            "ExtractReport(dest={:?}, files={}, directories={}, links={}, bytes={}, skipped={}, seconds={:.3})",
            report.dest.to_string_lossy(),
            report.files,
            report.directories,
            report.links,
            report.bytes,
            report.skipped.len(),
            report.elapsed.as_secs_f64()
        )
    }
}

/// What a verification found.
#[pyclass(frozen, module = "vhpack")]
pub(crate) struct VerifyReport(read::VerifyReport);

#[pymethods]
impl VerifyReport {
    #[getter]
    fn ok(&self) -> bool {
        self.0.is_sound()
    }
    #[getter]
    fn members(&self) -> u64 {
        self.0.members
    }
    #[getter]
    fn files(&self) -> u64 {
        self.0.files
    }
    #[getter]
    fn bytes(&self) -> u64 {
        self.0.bytes
    }
    #[getter]
    fn damaged(&self) -> Vec<(OsString, u64, String)> {
        let tuple = |damage: &read::Damage| (name_text(&damage.name), damage.offset, damage.reason.clone());
        self.0.damaged.iter().map(tuple).collect()
    }
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.0.warnings.clone()
    }
    #[getter]
    fn seconds(&self) -> f64 {
        self.0.elapsed.as_secs_f64()
    }
    fn __repr__(&self) -> String {
        let report = &self.0;
        format!(
            "VerifyReport(ok={}, members={}, bytes={}, damaged={}, seconds={:.3})",
            if report.is_sound() { "True" } else { "False" },
            report.members,
            report.bytes,
            report.damaged.len(),
            report.elapsed.as_secs_f64()
        )
    }
}
