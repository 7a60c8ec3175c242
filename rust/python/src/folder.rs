//! `write_file`, `look_through`, `exchange` and `sync_system`: whole folders; `adopt`: many files of one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use pyo3::prelude::*;
use vhpack_core::{Adoption, Manner, Names, PackOptions};

use crate::call::run;
use crate::convert::exception;

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

#[pyfunction]
pub(crate) fn write_file(py: Python<'_>, file: Vec<u8>, content: &[u8]) -> PyResult<(u64, i128, String)> {
    let target = path(file);
    let written = py.detach(|| vhpack_core::write_file(&target, content)).map_err(|error| exception(py, &error))?;
    Ok((written.0.size, written.0.modified, format!("{:032x}", written.1)))
}

#[pyfunction]
pub(crate) fn look_through(py: Python<'_>, folder: Vec<u8>) -> PyResult<Vec<(OsString, u64, i128, bool)>> {
    let folder = path(folder);
    let found = run(py, None, |_, _| vhpack_core::look_through(&folder))?;
    Ok(found.into_iter().map(|seen| (OsString::from_vec(seen.name), seen.size, seen.modified, seen.is_file)).collect())
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

#[pyfunction]
pub(crate) fn adopt(
    py: Python<'_>,
    paths: Vec<u8>,
    targets: Vec<u8>,
    sizes: Vec<u64>,
    modified: Vec<i64>,
    clone: bool,
) -> PyResult<Vec<usize>> {
    let (paths, targets) = (Names::from_joined(paths), Names::from_joined(targets));
    let named = paths.iter().zip(targets.iter()).zip(sizes).zip(modified);
    let files: Vec<_> = named
        .map(|(((path, target), size), modified)| Adoption {
            path: OsStr::from_bytes(path).as_ref(),
            target: OsStr::from_bytes(target).as_ref(),
            size,
            modified,
        })
        .collect();
    let (manner, jobs) = (if clone { Manner::Clone } else { Manner::Link }, PackOptions::default().jobs);
    run(py, None, |_, cancel| vhpack_core::adopt(&files, manner, jobs, cancel))
}
