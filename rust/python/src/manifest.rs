//! Manifests that are read.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use vhpack_core::read;

use crate::convert::exception;

/// A manifest: its head, and its members one by one.
#[pyclass(frozen, module = "vhpack")]
pub(crate) struct Manifest {
    head: read::ManifestHead,
    lines: Mutex<read::Manifest>,
}

#[pymethods]
impl Manifest {
    #[new]
    fn new(py: Python<'_>, path: Vec<u8>) -> PyResult<Self> {
        let path = PathBuf::from(OsString::from_vec(path));
        let lines = py.detach(|| read::Manifest::open(&path)).map_err(|error| exception(py, &error))?;
        Ok(Self { head: lines.head().clone(), lines: Mutex::new(lines) })
    }

    #[getter]
    fn archive(&self) -> &str {
        &self.head.archive
    }
    #[getter]
    fn size(&self) -> u64 {
        self.head.size
    }
    #[getter]
    fn digest(&self) -> String {
        format!("{:032x}", self.head.digest)
    }
    #[getter]
    fn members(&self) -> u64 {
        self.head.members
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<ManifestMember>> {
        // One that panicked has left a position behind at worst, and is not there: nothing here panics.
        let next = py.detach(|| self.lines.lock().unwrap_or_else(PoisonError::into_inner).next());
        next.transpose().map(|member| member.map(ManifestMember)).map_err(|error| exception(py, &error))
    }

    fn __repr__(&self) -> String {
        format!("Manifest(archive={:?}, size={}, members={})", self.head.archive, self.head.size, self.head.members)
    }
}

/// What a manifest says of a member.
#[pyclass(frozen, module = "vhpack")]
pub(crate) struct ManifestMember(read::ManifestMember);

#[pymethods]
impl ManifestMember {
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind
    }
    #[getter]
    fn size(&self) -> u64 {
        self.0.size
    }
    #[getter]
    fn offset(&self) -> u64 {
        self.0.offset
    }
    #[getter]
    fn packed(&self) -> u64 {
        self.0.packed
    }
    #[getter]
    fn crc32(&self) -> u32 {
        self.0.crc
    }
    #[getter]
    fn digest(&self) -> String {
        format!("{:032x}", self.0.digest)
    }
    fn __repr__(&self) -> String {
        format!("ManifestMember(name={:?}, kind='{}', size={})", self.0.name, self.0.kind, self.0.size)
    }
}
