//! Long calls: the engine works on a thread of its own, the calling thread reports progress and listens for signals.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use vhpack_core::{CancelToken, Names, PackOptions, PackRequest, Progress as EngineProgress};

use crate::convert::{self, exception};
use crate::report::{PackReport, PlanReport, Progress};
use crate::upload::Following;

/// How often the calling thread looks for signals; an interrupt has to be over within 200 ms.
const LISTEN_EVERY: Duration = Duration::from_millis(50);

/// Progress goes out at every second look.
const LOOKS_PER_REPORT: u32 = 2;

pub(crate) type Outcome<T> = vhpack_core::Result<T>;

/// Run `work` on its own thread. An exception in `progress`, or from a signal handler, cancels the work, waits for its
/// end, and is raised then.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&EngineProgress, &CancelToken) -> Outcome<T> + Send,
) -> PyResult<T> {
    let (value, last) = run_to_end(py, progress, work)?;
    last.map(|()| value)
}

/// The same, with apart what the last call of `progress`, when all is done, has raised.
fn run_to_end<T: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&EngineProgress, &CancelToken) -> Outcome<T> + Send,
) -> PyResult<(T, PyResult<()>)> {
    let (counters, cancel) = (EngineProgress::default(), CancelToken::default());
    let progress = progress.map(|callable| callable.clone().unbind());
    // Once before anything happens: a short call may be over before the second look.
    if let Some(callable) = &progress {
        report(py, callable, &counters)?;
    }
    let mut work = Some(work);
    let (outcome, raised) = py.detach(|| {
        std::thread::scope(|scope| {
            let (done, finished) = channel();
            let worker = std::thread::Builder::new().spawn_scoped(scope, {
                let (counters, cancel, work) = (&counters, &cancel, &mut work);
                move || {
                    let outcome = work.take().map(|work| work(counters, cancel));
                    // The receiver outlives the worker, which is joined below.
                    let _ = done.send(());
                    outcome
                }
            });
            let Ok(worker) = worker else { return (Ok(None), None) };
            let mut raised = None;
            let mut looks = 0;
            while matches!(finished.recv_timeout(LISTEN_EVERY), Err(RecvTimeoutError::Timeout)) {
                looks += 1;
                if raised.is_some() {
                    continue;
                }
                let result = Python::attach(|py| {
                    py.check_signals()?;
                    match &progress {
                        Some(callable) if looks % LOOKS_PER_REPORT == 0 => report(py, callable, &counters),
                        _ => Ok(()),
                    }
                });
                if let Err(error) = result {
                    cancel.cancel();
                    raised = Some(error);
                }
            }
            (worker.join(), raised)
        })
    });
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    if let Some(error) = raised {
        return Err(error);
    }
    // A system that grants no thread gets the work done on this one, which cannot listen meanwhile.
    let outcome = match (outcome, work.take()) {
        (None, Some(work)) => Some(py.detach(|| work(&counters, &cancel))),
        (outcome, _) => outcome,
    };
    let Some(outcome) = outcome else { return Err(PyRuntimeError::new_err("the engine was not called")) };
    let value = outcome.map_err(|error| exception(py, &error))?;
    let last = progress.as_ref().map_or(Ok(()), |callable| report(py, callable, &counters));
    Ok((value, last))
}

fn report(py: Python<'_>, callable: &Py<PyAny>, counters: &EngineProgress) -> PyResult<()> {
    callable.call1(py, (Progress::now(counters),)).map(|_| ())
}

#[pyfunction]
#[pyo3(signature = (
    sources, literals, target, *, base=None, layout="tree", root=None, exclude=Vec::new(), hidden=false, symlinks="follow",
    on_change="error", codec="auto", level=None, align=0, shard_size=0, manifest=false, jobs=None, memory=None, reproducible=false, epoch=None,
    remove_originals=false, read_only=false, force=false, durable=false, follow=None, progress=None,
))]
#[expect(
    clippy::too_many_arguments,
    clippy::fn_params_excessive_bools,
    reason = "keyword-only in Python, where the stub names them"
)]
pub(crate) fn pack(
    py: Python<'_>,
    sources: &[u8],
    literals: &[u8],
    target: Option<Vec<u8>>,
    base: Option<Vec<u8>>,
    layout: &str,
    root: Option<Vec<u8>>,
    exclude: Vec<Vec<u8>>,
    hidden: bool,
    symlinks: &str,
    on_change: &str,
    codec: &str,
    level: Option<u8>,
    align: u16,
    shard_size: u64,
    manifest: bool,
    jobs: Option<usize>,
    memory: Option<u64>,
    reproducible: bool,
    epoch: Option<i64>,
    remove_originals: bool,
    read_only: bool,
    force: bool,
    durable: bool,
    follow: Option<&Bound<'_, Following>>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<PackReport> {
    let default = PackOptions::default();
    let options = PackOptions {
        codec: convert::codec(codec)?,
        level,
        align,
        shard_size,
        manifest,
        jobs: jobs.unwrap_or(default.jobs),
        memory: memory.unwrap_or(default.memory),
        stamps: convert::stamps(reproducible, epoch),
        originals: convert::originals(remove_originals, durable || read_only),
        read_only,
        force,
        on_change: convert::on_change(on_change)?,
        follower: follow.map(|follow| follow.get().follower()),
    };
    let request = PackRequest {
        sources: Names::from_joined(sources),
        literals: Names::from_joined(literals),
        target: convert::path(target),
        base: convert::path(base),
        layout: convert::layout(layout)?,
        root: convert::path(root),
        exclude,
        hidden,
        symlinks: convert::symlinks(symlinks)?,
        options,
    };
    let work = |progress: &EngineProgress, cancel: &CancelToken| vhpack_core::pack(&request, progress, cancel);
    let (report, last) = run_to_end(py, progress, work)?;
    if let Err(error) = last {
        // The archive has its name, and originals are gone: what the last look at that raises must not hide it.
        error.write_unraisable(py, progress);
    }
    Ok(PackReport(report))
}

#[pyfunction]
#[pyo3(signature = (
    sources, literals, target, *, base=None, layout="tree", root=None, exclude=Vec::new(), hidden=false, symlinks="follow",
    on_change="error", codec="auto", level=None, align=0, shard_size=0, jobs=None, memory=None, manifest=false,
    force=false,
))]
#[expect(clippy::too_many_arguments, reason = "keyword-only in Python, where the stub names them")]
pub(crate) fn plan(
    py: Python<'_>,
    sources: &[u8],
    literals: &[u8],
    target: Option<Vec<u8>>,
    base: Option<Vec<u8>>,
    layout: &str,
    root: Option<Vec<u8>>,
    exclude: Vec<Vec<u8>>,
    hidden: bool,
    symlinks: &str,
    on_change: &str,
    codec: &str,
    level: Option<u8>,
    align: u16,
    shard_size: u64,
    jobs: Option<usize>,
    memory: Option<u64>,
    manifest: bool,
    force: bool,
) -> PyResult<PlanReport> {
    let default = PackOptions::default();
    let on_change = convert::on_change(on_change)?;
    let request = PackRequest {
        sources: Names::from_joined(sources),
        literals: Names::from_joined(literals),
        target: convert::path(target),
        base: convert::path(base),
        layout: convert::layout(layout)?,
        root: convert::path(root),
        exclude,
        hidden,
        symlinks: convert::symlinks(symlinks)?,
        options: PackOptions {
            codec: convert::codec(codec)?,
            level,
            align,
            shard_size,
            jobs: jobs.unwrap_or(default.jobs),
            memory: memory.unwrap_or(default.memory),
            manifest,
            force,
            on_change,
            ..default
        },
    };
    run(py, None, |_, cancel| vhpack_core::plan(&request, cancel)).map(PlanReport)
}
