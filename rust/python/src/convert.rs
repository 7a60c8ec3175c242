//! Python's words for options and paths, and the engine's errors as Python's exceptions.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use pyo3::exceptions::{PyKeyboardInterrupt, PyValueError};
use pyo3::prelude::*;
use vhpack_core::read::Existing;
use vhpack_core::{Algorithm, CodecChoice, Error, ErrorKind, Layout, OnChange, Originals, Remark, Stamps, Symlinks};

/// 1980-01-01, the earliest time that zip can hold.
const ZIP_EPOCH: i64 = 315_532_800;

pub(crate) fn path(bytes: Option<Vec<u8>>) -> Option<PathBuf> {
    bytes.map(|bytes| OsString::from_vec(bytes).into())
}

fn unknown(option: &str, got: &str, known: &str) -> PyErr {
    PyValueError::new_err(format!("{option} is {got:?}; it must be one of {known}"))
}

pub(crate) fn layout(word: &str) -> PyResult<Layout> {
    match word {
        "tree" => Ok(Layout::Tree),
        "outputs" => Ok(Layout::Outputs),
        other => Err(unknown("layout", other, "tree, outputs")),
    }
}

pub(crate) fn symlinks(word: &str) -> PyResult<Symlinks> {
    match word {
        "skip" => Ok(Symlinks::Skip),
        "follow" => Ok(Symlinks::Follow),
        "store" => Ok(Symlinks::Store),
        other => Err(unknown("symlinks", other, "skip, follow, store")),
    }
}

pub(crate) fn on_change(word: &str) -> PyResult<OnChange> {
    match word {
        "error" => Ok(OnChange::Error),
        "skip" => Ok(OnChange::Skip),
        other => Err(unknown("on_change", other, "error, skip")),
    }
}

pub(crate) fn codec(word: &str) -> PyResult<CodecChoice> {
    match word {
        "auto" => Ok(CodecChoice::Auto),
        "store" => Ok(CodecChoice::Store),
        "deflate" => Ok(CodecChoice::Deflate),
        "zstd" => Ok(CodecChoice::Zstd),
        other => Err(unknown("codec", other, "auto, store, deflate, zstd")),
    }
}

pub(crate) fn algorithm(word: &str) -> PyResult<Algorithm> {
    let known = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == word);
    known.ok_or_else(|| unknown("algorithm", word, &Algorithm::ALL.map(Algorithm::name).join(", ")))
}

pub(crate) fn existing(word: &str) -> PyResult<Existing> {
    match word {
        "error" => Ok(Existing::Error),
        "overwrite" => Ok(Existing::Overwrite),
        "skip" => Ok(Existing::Skip),
        other => Err(unknown("existing", other, "error, overwrite, skip")),
    }
}

pub(crate) fn stamps(reproducible: bool, epoch: Option<i64>) -> Stamps {
    if reproducible { Stamps::Fixed(epoch.unwrap_or(ZIP_EPOCH)) } else { Stamps::Original }
}

pub(crate) fn originals(remove: bool, durable: bool) -> Originals {
    match (remove, durable) {
        (true, _) => Originals::Remove,
        (false, true) => Originals::KeepDurable,
        (false, false) => Originals::Keep,
    }
}

/// The exception that `vhpack.errors` makes of an engine error.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    if error.kind() == ErrorKind::Cancelled {
        return PyKeyboardInterrupt::new_err(());
    }
    let make = || -> PyResult<PyErr> {
        let factory = py.import("vhpack.errors")?.getattr("_from_engine")?;
        let made = factory.call1((error.kind().name(), error.to_string(), error.errno(), error.path().map(text)))?;
        Ok(PyErr::from_value(made))
    };
    make().unwrap_or_else(|failure| failure)
}

/// A path as Python's `str`, with surrogate escapes for what is not UTF-8.
pub(crate) fn text(path: &Path) -> OsString {
    path.as_os_str().to_owned()
}

pub(crate) fn remarks(remarks: &[Remark]) -> Vec<(OsString, String)> {
    remarks.iter().map(|remark| (text(&remark.path), remark.reason.clone())).collect()
}
