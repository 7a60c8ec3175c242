//! `hash_paths` and `hash_check`: digests as ready lines while the engine works, or as a list at the end.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCFunction};
use vhpack_core::{CheckRequest, HashRequest, Names, Verdict, sum_line};

use crate::call::run;
use crate::convert;
use crate::report::{CheckReport, HashReport};

/// Lines that are ready to be written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn add(&self, add: impl FnOnce(&mut Vec<u8>)) {
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn hand_out(&self, py: Python<'_>, write: &Py<PyAny>) -> PyResult<()> {
        let lines = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if !lines.is_empty() {
            write.call1(py, (PyBytes::new(py, &lines),))?;
        }
        Ok(())
    }
}

/// The observer that hands lines to `write` before it tells `progress`.
fn observer<'py>(
    lines: &Lines,
    write: Option<&Bound<'py, PyAny>>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(write) = write else { return Ok(progress.cloned()) };
    let (lines, py) = (lines.clone(), write.py());
    let (write, progress) = (write.clone().unbind(), progress.map(|progress| progress.clone().unbind()));
    let observe = PyCFunction::new_closure(py, None, None, move |seen, _| -> PyResult<()> {
        let py = seen.py();
        lines.hand_out(py, &write)?;
        progress.as_ref().map_or(Ok(()), |progress| progress.call1(py, seen.clone()).map(|_| ()))
    })?;
    Ok(Some(observe.into_any()))
}

#[pyfunction]
#[pyo3(signature = (
    sources, literals, *, algorithm, exclude=Vec::new(), hidden=false, stdin=false, jobs=None, write=None, progress=None,
))]
#[expect(clippy::too_many_arguments, reason = "keyword-only in Python, where the stub names them")]
pub(crate) fn hash_paths(
    py: Python<'_>,
    sources: &[u8],
    literals: &[u8],
    algorithm: &str,
    exclude: Vec<Vec<u8>>,
    hidden: bool,
    stdin: bool,
    jobs: Option<usize>,
    write: Option<&Bound<'_, PyAny>>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<HashReport> {
    let default = HashRequest::default();
    let request = HashRequest {
        sources: Names::from_joined(sources),
        literals: Names::from_joined(literals),
        exclude,
        hidden,
        stdin,
        algorithm: convert::algorithm(algorithm)?,
        jobs: jobs.unwrap_or(default.jobs),
    };
    let lines = Lines::default();
    let as_lines = write.is_some();
    let observe = observer(&lines, write, progress)?;
    let (mut digests, mut failed) = (Vec::new(), Vec::new());
    let report = run(py, observe.as_ref(), |progress, cancel| {
        vhpack_core::hash(&request, progress, cancel, |name, sum| {
            match sum {
                Ok(sum) if as_lines => lines.add(|lines| sum_line(lines, request.algorithm, &sum, name)),
                Ok(sum) => digests.push((os_string(name), sum.to_string())),
                Err(error) if as_lines => failed.push((os_string(name), error.to_string())),
                Err(error) => return Err(error),
            }
            Ok(())
        })
    })?;
    Ok(HashReport { report, digests, failed })
}

#[pyfunction]
#[pyo3(signature = (names, *, algorithms, jobs=None))]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 makes owned values of the caller's")]
pub(crate) fn hash_both(
    py: Python<'_>,
    names: &[u8],
    algorithms: (String, String),
    jobs: Option<usize>,
) -> PyResult<Vec<(String, String)>> {
    let names = Names::from_joined(names);
    let algorithms = [convert::algorithm(&algorithms.0)?, convert::algorithm(&algorithms.1)?];
    let jobs = jobs.unwrap_or(HashRequest::default().jobs);
    let sums = run(py, None, |progress, cancel| vhpack_core::hash_both(&names, algorithms, jobs, progress, cancel))?;
    Ok(sums.into_iter().map(|[one, other]| (one.to_string(), other.to_string())).collect())
}

#[pyfunction]
#[pyo3(signature = (lines, *, algorithm=None, quiet=false, jobs=None, write=None, progress=None))]
pub(crate) fn hash_check(
    py: Python<'_>,
    lines: Vec<u8>,
    algorithm: Option<&str>,
    quiet: bool,
    jobs: Option<usize>,
    write: Option<&Bound<'_, PyAny>>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<CheckReport> {
    let algorithm = algorithm.map(convert::algorithm).transpose()?;
    let default = HashRequest::default();
    let request = CheckRequest { list: lines, algorithm, jobs: jobs.unwrap_or(default.jobs) };
    let said = Lines::default();
    let observe = observer(&said, write, progress)?;
    let mut failed = Vec::new();
    let report = run(py, observe.as_ref(), |progress, cancel| {
        vhpack_core::check(&request, progress, cancel, |name, verdict| {
            let word: &[u8] = match verdict {
                Verdict::Same if quiet => return,
                Verdict::Same => b"OK",
                Verdict::Differs => b"FAILED",
                Verdict::Unreadable(_) => b"FAILED open or read",
            };
            said.add(|said| verdict_line(said, name, word));
            match verdict {
                Verdict::Same => {}
                Verdict::Differs => failed.push((os_string(name), "the digest differs".to_owned())),
                Verdict::Unreadable(error) => failed.push((os_string(name), error.to_string())),
            }
        })
    })?;
    Ok(CheckReport { report, failed })
}

/// As `sha256sum -c` says it: a name that would take more than a line is escaped, and the line says so.
fn verdict_line(said: &mut Vec<u8>, name: &[u8], word: &[u8]) {
    if name.contains(&b'\n') {
        said.push(b'\\');
        for byte in name {
            match byte {
                b'\\' => said.extend_from_slice(br"\\"),
                b'\n' => said.extend_from_slice(br"\n"),
                byte => said.push(*byte),
            }
        }
    } else {
        said.extend_from_slice(name);
    }
    said.extend_from_slice(b": ");
    said.extend_from_slice(word);
    said.push(b'\n');
}

fn os_string(name: &[u8]) -> OsString {
    OsStr::from_bytes(name).to_owned()
}
