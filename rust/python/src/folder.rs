//! `exchange` and `sync_system`: whole folders.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use pyo3::prelude::*;

use crate::call::run;
use crate::convert::exception;

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

#[pyfunction]
pub(crate) fn exchange(py: Python<'_>, one: Vec<u8>, other: Vec<u8>) -> PyResult<bool> {
    let (one, other) = (path(one), path(other));
    py.detach(|| vhpack_core::exchange(&one, &other)).map_err(|error| exception(py, &error))
}

#[pyfunction]
pub(crate) fn sync_system(py: Python<'_>, folder: Vec<u8>) -> PyResult<bool> {
    let folder = path(folder);
    run(py, None, |_, _| vhpack_core::sync_system(&folder))
}
