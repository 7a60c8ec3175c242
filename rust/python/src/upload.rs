//! Uploads: the engine's handles as Python sees them. The engine's threads never enter Python; whoever waits looks for signals.

use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use vhpack_core::{Follower, Growing};
use vhpack_upload::{Given, GrowingSource, Options, OptionsByScheme, Renewable, Settings, State, UploadError};

use crate::convert;

/// How often a waiting thread looks for signals.
const LISTEN_EVERY: Duration = Duration::from_millis(100);

/// The exception that `vhpack.errors` makes of an upload's error.
pub(crate) fn exception(py: Python<'_>, error: &UploadError, path: Option<&Path>, uri: Option<&str>) -> PyErr {
    let make = || -> PyResult<PyErr> {
        let factory = py.import("vhpack.errors")?.getattr("of_upload")?;
        let made =
            factory.call1((error.kind.name(), error.message.as_str(), error.errno, path.map(convert::text), uri))?;
        Ok(PyErr::from_value(made))
    };
    make().unwrap_or_else(|failure| failure)
}

/// A path as `str` or `bytes`.
fn path(given: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    match given.cast::<PyBytes>() {
        Ok(bytes) => Ok(OsString::from_vec(bytes.as_bytes().to_vec()).into()),
        Err(_) => given.extract(),
    }
}

/// Where new keys come from.
struct Renewal {
    keys: Arc<Renewable>,
    callable: Py<PyAny>,
}

impl Renewal {
    fn new(py: Python<'_>, callable: Py<PyAny>) -> PyResult<Self> {
        let keys =
            Renewable::new(&callable.call0(py)?.extract(py)?).map_err(|error| exception(py, &error, None, None))?;
        Ok(Self { keys: Arc::new(keys), callable })
    }

    /// Ask for new keys where the server refused the old ones.
    fn renew(&self, py: Python<'_>) -> PyResult<()> {
        if self.keys.wanted() {
            let keys: Options = self.callable.call0(py)?.extract(py)?;
            self.keys.renew(&keys).map_err(|error| exception(py, &error, None, None))?;
        }
        Ok(())
    }
}

#[pyclass(module = "vhpack._vhpack", frozen)]
pub(crate) struct Upload {
    inner: Arc<vhpack_upload::Upload>,
    renewal: Option<Arc<Renewal>>,
}

#[pymethods]
impl Upload {
    #[getter]
    fn state(&self) -> &'static str {
        self.inner.state().name()
    }

    #[getter]
    fn bytes_sent(&self) -> u64 {
        self.inner.bytes_sent()
    }

    #[getter]
    fn bytes_total(&self) -> Option<u64> {
        self.inner.bytes_total()
    }

    #[getter]
    fn bytes_reused(&self) -> u64 {
        self.inner.bytes_reused()
    }

    #[getter]
    fn rate(&self) -> f64 {
        self.inner.rate()
    }

    #[getter]
    fn eta(&self) -> Option<f64> {
        self.inner.eta()
    }

    #[getter]
    fn uri(&self) -> &str {
        self.inner.uri()
    }

    #[getter]
    fn path(&self) -> OsString {
        convert::text(self.inner.path())
    }

    #[getter]
    fn checksum(&self) -> Option<String> {
        self.inner.checksum()
    }

    #[getter]
    fn skipped(&self) -> bool {
        self.inner.skipped()
    }

    #[getter]
    fn removed(&self) -> bool {
        self.inner.removed()
    }

    #[getter]
    fn kept(&self) -> Option<String> {
        self.inner.kept()
    }

    #[getter]
    fn error(&self) -> Option<(&'static str, String, Option<i32>)> {
        self.inner.error().map(|error| (error.kind.name(), error.message, error.errno))
    }

    #[getter]
    fn trouble(&self) -> Option<String> {
        self.inner.trouble()
    }

    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = timeout.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
        let began = Instant::now();
        loop {
            let left =
                timeout.map_or(LISTEN_EVERY, |timeout| timeout.saturating_sub(began.elapsed()).min(LISTEN_EVERY));
            if py.detach(|| self.inner.wait(left)) {
                return Ok(true);
            }
            py.check_signals()?;
            if let Some(Err(error)) = self.renewal.as_ref().map(|renewal| renewal.renew(py))
                && !error.is_instance_of::<PyException>(py)
            {
                // Ctrl-C. What a profile cannot give now it may give later; until then the server's refusals say enough.
                return Err(error);
            }
            if timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
                return Ok(false);
            }
        }
    }

    fn cancel(&self) {
        self.inner.cancel();
    }

    fn renew(&self, py: Python<'_>) -> PyResult<()> {
        self.renewal.as_ref().map_or(Ok(()), |renewal| renewal.renew(py))
    }

    fn __repr__(&self) -> String {
        let (sent, state) = (self.inner.bytes_sent(), self.inner.state());
        let of = match self.inner.bytes_total() {
            Some(total) if state != State::Done => format!(", {sent} of {total} bytes"),
            _ => format!(", {sent} bytes"),
        };
        format!("<Upload {} {}{of}>", self.inner.uri(), state.name())
    }
}

/// The process's uploader. Its threads are never joined: at the end of the process they are simply gone, as after a crash, and
/// in a forked child they never were.
#[pyclass(module = "vhpack._vhpack", frozen)]
pub(crate) struct Uploader {
    engine: ManuallyDrop<vhpack_upload::Uploader>,
    /// One for each callable: uploads with the same keys share connections and lanes.
    renewals: Mutex<Vec<Arc<Renewal>>>,
}

impl Uploader {
    fn here(&self) -> PyResult<&vhpack_upload::Uploader> {
        if self.engine.is_ours() {
            return Ok(&self.engine);
        }
        Err(pyo3::exceptions::PyRuntimeError::new_err(
            "this uploader belongs to the process that was forked; make another one here",
        ))
    }

    fn renewal(&self, py: Python<'_>, callable: Option<Py<PyAny>>) -> PyResult<Option<Arc<Renewal>>> {
        let Some(callable) = callable else { return Ok(None) };
        let known = || self.renewals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known().iter().find(|renewal| renewal.callable.is(&callable)) {
            return Ok(Some(Arc::clone(same)));
        }
        let made = Arc::new(Renewal::new(py, callable)?);
        known().push(Arc::clone(&made));
        Ok(Some(made))
    }
}

#[pymethods]
impl Uploader {
    #[new]
    #[pyo3(signature = (*, state_dir, memory, max_bps, stall_seconds, give_up_seconds))]
    fn new(state_dir: PathBuf, memory: u64, max_bps: Option<u64>, stall_seconds: f64, give_up_seconds: f64) -> Self {
        let seconds = |seconds: f64| {
            Duration::try_from_secs_f64(seconds.max(0.001)).unwrap_or(Duration::from_secs(u64::from(u32::MAX)))
        };
        let settings =
            Settings { state_dir, memory, max_bps, stall: seconds(stall_seconds), give_up: seconds(give_up_seconds) };
        Self { engine: ManuallyDrop::new(vhpack_upload::Uploader::new(settings)), renewals: Mutex::default() }
    }

    #[pyo3(signature = (path, uri, options, *, credentials=None, remove_after=false, supersede=true))]
    #[expect(
        clippy::too_many_arguments,
        clippy::needless_pass_by_value,
        reason = "keyword-only in Python, where the stub names them; what is converted is owned"
    )]
    fn start(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = path)] path: PathBuf,
        uri: &str,
        options: Options,
        credentials: Option<Py<PyAny>>,
        remove_after: bool,
        supersede: bool,
    ) -> PyResult<Upload> {
        let (uploader, renewal) = (self.here()?, self.renewal(py, credentials)?);
        let keys = renewal.as_ref().map(|renewal| Arc::clone(&renewal.keys));
        let begun = py.detach(|| uploader.start(&path, uri, &options, keys, remove_after, supersede));
        begun.map(|inner| Upload { inner, renewal }).map_err(|error| exception(py, &error, Some(&path), Some(uri)))
    }

    #[pyo3(signature = (target, uri, options, *, credentials=None))]
    fn follow(
        slf: &Bound<'_, Self>,
        target: Vec<u8>,
        uri: String,
        options: Options,
        credentials: Option<Py<PyAny>>,
    ) -> PyResult<Following> {
        let py = slf.py();
        slf.get().here()?;
        vhpack_upload::Uploader::check(&uri, &options).map_err(|error| exception(py, &error, None, Some(&uri)))?;
        let follow =
            Follow { uploader: slf.clone().unbind(), target, uri, options, keys: None, begun: Mutex::default() };
        let renewal = slf.get().renewal(py, credentials)?;
        let keys = renewal.as_ref().map(|renewal| Arc::clone(&renewal.keys));
        Ok(Following { follow: Arc::new(Follow { keys, ..follow }), renewal })
    }

    #[pyo3(signature = (*, beneath=OptionsByScheme::new(), above=OptionsByScheme::new(), credentials=None))]
    fn resume(
        &self,
        py: Python<'_>,
        beneath: OptionsByScheme,
        above: OptionsByScheme,
        credentials: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Upload>> {
        let (uploader, renewal) = (self.here()?, self.renewal(py, credentials)?);
        let given = Given { beneath, above, credentials: renewal.as_ref().map(|renewal| Arc::clone(&renewal.keys)) };
        let taken = py.detach(|| uploader.resume(&given));
        Ok(taken.into_iter().map(|inner| Upload { inner, renewal: renewal.clone() }).collect())
    }

    fn close(&self) -> PyResult<()> {
        self.here()?.close();
        Ok(())
    }

    fn records<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let uploader = self.here()?;
        let records = py.detach(|| uploader.records());
        let one = |record: vhpack_upload::Record| {
            let dict = PyDict::new(py);
            dict.set_item("id", convert::text(&record.journal))?;
            dict.set_item("state", record.state)?;
            dict.set_item("uri", record.uri)?;
            dict.set_item("path", convert::text(&record.path))?;
            dict.set_item("bytes_sent", record.bytes_sent)?;
            dict.set_item("bytes_total", record.bytes_total)?;
            dict.set_item("alive", record.alive)?;
            dict.set_item("created", record.created)?;
            dict.set_item("error", record.error)?;
            Ok(dict)
        };
        records.into_iter().map(one).collect()
    }

    #[pyo3(signature = (*, older_than, dry_run, beneath=OptionsByScheme::new(), above=OptionsByScheme::new(), credentials=None))]
    fn sweep<'py>(
        &self,
        py: Python<'py>,
        older_than: f64,
        dry_run: bool,
        beneath: OptionsByScheme,
        above: OptionsByScheme,
        credentials: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let (uploader, renewal) = (self.here()?, self.renewal(py, credentials)?);
        let given = Given { beneath, above, credentials: renewal.map(|renewal| Arc::clone(&renewal.keys)) };
        let older_than = Duration::try_from_secs_f64(older_than.max(0.0)).unwrap_or(Duration::MAX);
        let swept = py.detach(|| uploader.sweep(older_than, dry_run, &given));
        let one = |swept: vhpack_upload::Swept| {
            let dict = PyDict::new(py);
            dict.set_item("uri", swept.uri)?;
            dict.set_item("id", swept.id)?;
            dict.set_item("age", swept.age)?;
            dict.set_item("aborted", swept.aborted)?;
            dict.set_item("error", swept.error)?;
            Ok(dict)
        };
        swept.map_err(|error| exception(py, &error, None, None))?.into_iter().map(one).collect()
    }

    /// In a forked child: close what holds the parent's locks. Nothing else is touched, and no lock is taken.
    #[expect(clippy::unused_self, reason = "called on the parent's uploader, which the child must not look into")]
    fn forget_in_child(&self, py: Python<'_>) -> PyResult<()> {
        let close = py.import("os")?.getattr("close")?;
        vhpack_upload::descriptors_to_close_in_child().into_iter().try_for_each(|fd| close.call1((fd,)).map(|_| ()))
    }
}

/// Begins an upload of each archive that a pack makes.
struct Follow {
    uploader: Py<Uploader>,
    /// The archive's name, as the pack was asked for it, and where it goes.
    target: Vec<u8>,
    uri: String,
    options: Options,
    keys: Option<Arc<Renewable>>,
    begun: Mutex<Vec<Result<Arc<vhpack_upload::Upload>, UploadError>>>,
}

impl std::fmt::Debug for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Follow({})", self.uri)
    }
}

impl Follow {
    /// Where an archive goes: a shard has its number where the archive's own name has none.
    fn uri_of(&self, archive: &[u8]) -> String {
        let shared = self.target.iter().zip(archive).take_while(|(a, b)| a == b).count();
        let number = archive.len().saturating_sub(self.target.len());
        let (stem, suffix) = self.uri.split_at(self.uri.len().saturating_sub(self.target.len() - shared));
        format!("{stem}{}{suffix}", String::from_utf8_lossy(&archive[shared..shared + number]))
    }
}

impl Follower for Follow {
    fn follow(&self, archive: Arc<Growing>) {
        let name = archive.path().file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
        let source = Arc::new(GrowingSource::new(archive));
        let begun = self.uploader.get().engine.follow(source, &self.uri_of(&name), &self.options, self.keys.clone());
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).push(begun);
    }
}

/// The uploads of one pack: handed to it, and asked for them afterwards.
#[pyclass(module = "vhpack._vhpack", frozen)]
pub(crate) struct Following {
    follow: Arc<Follow>,
    renewal: Option<Arc<Renewal>>,
}

impl Following {
    pub(crate) fn follower(&self) -> Arc<dyn Follower> {
        Arc::clone(&self.follow) as Arc<dyn Follower>
    }
}

#[pymethods]
impl Following {
    #[getter]
    fn uploads(&self, py: Python<'_>) -> PyResult<Vec<Upload>> {
        let begun = self.follow.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |begun: &Result<Arc<vhpack_upload::Upload>, UploadError>| match begun {
            Ok(inner) => Ok(Upload { inner: Arc::clone(inner), renewal: self.renewal.clone() }),
            Err(error) => Err(exception(py, error, None, Some(&self.follow.uri))),
        };
        begun.iter().map(one).collect()
    }
}
