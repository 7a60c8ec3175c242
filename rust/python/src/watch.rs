//! The watch of a folder: which of its files are ready.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use vhpack_upload::Options;
use vhpack_upload::watch::{Ended, Watcher as Inner};

use crate::upload::exception;

/// Finds the files of a tree that are ready to be uploaded.
#[pyclass(frozen, module = "vhpack._vhpack")]
pub(crate) struct Watcher(Mutex<Inner>);

impl Watcher {
    fn with<T: Send>(&self, py: Python<'_>, call: impl FnOnce(&mut Inner) -> T + Send) -> T {
        py.detach(|| call(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[pymethods]
impl Watcher {
    /// `None` where another process watches the folder for this URI on the server that the options name.
    #[staticmethod]
    #[pyo3(signature = (folder, uri, options, *, state_dir))]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 makes owned values of the caller's")]
    fn of(py: Python<'_>, folder: Vec<u8>, uri: &str, options: Options, state_dir: &str) -> PyResult<Option<Self>> {
        let folder = OsString::from_vec(folder);
        let place = vhpack_upload::place_of(uri, &options);
        let opened = py.detach(|| Inner::new(Path::new(&folder), &place, Path::new(state_dir)));
        Ok(opened
            .map_err(|error| exception(py, &error, Some(Path::new(&folder)), Some(uri)))?
            .map(|inner| Self(Mutex::new(inner))))
    }
    #[pyo3(signature = (most, patience))]
    fn ready(&self, py: Python<'_>, most: usize, patience: f64) -> Vec<(OsString, u64)> {
        let patience = Duration::try_from_secs_f64(patience).unwrap_or_default();
        let ready = self.with(py, |inner| inner.ready(most, patience));
        ready.into_iter().map(|ready| (ready.path.into_os_string(), ready.size)).collect()
    }
    fn ended(&self, py: Python<'_>, path: Vec<u8>, how: &str) -> PyResult<bool> {
        let how = match how {
            "done" => Ended::Done,
            "failed" => Ended::Failed,
            "changed" => Ended::Changed,
            other => return Err(PyValueError::new_err(format!("{other:?} is no way to end"))),
        };
        let path = OsString::from_vec(path);
        let said = self.with(py, |inner| inner.ended(Path::new(&path), how));
        said.map_err(|error| exception(py, &error, Some(Path::new(&path)), None))
    }
    fn finish(&self, py: Python<'_>) {
        self.with(py, Inner::finish);
    }
    #[getter]
    fn root(&self, py: Python<'_>) -> OsString {
        self.with(py, |inner| inner.root().as_os_str().to_owned())
    }
    #[getter]
    fn is_finished(&self, py: Python<'_>) -> bool {
        self.with(py, |inner| inner.is_finished())
    }
    #[getter]
    fn is_told(&self, py: Python<'_>) -> bool {
        self.with(py, |inner| inner.is_told())
    }
    #[getter]
    fn waiting(&self, py: Python<'_>) -> usize {
        self.with(py, |inner| inner.waiting())
    }
    #[getter]
    fn rounds(&self, py: Python<'_>) -> u64 {
        self.with(py, |inner| inner.rounds())
    }
}
