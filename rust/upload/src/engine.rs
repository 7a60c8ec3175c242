//! The uploader of a process: its threads, its memory, its queue, and the uploads it has.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::asked::{self, Asked, AskedList};
use crate::azure::{Azure, Container};
use crate::credentials::Renewable;
use crate::destination::{Destination, Options, Scheme, bad};
use crate::error::{Result, UploadError, UploadErrorKind};
use crate::file::FileTarget;
use crate::lanes::Lanes;
use crate::meter::Bucket;
use crate::s3::{S3, Store};
use crate::source::{Identity, Source};
use crate::target::Target;
use crate::transfer::{self, Job};
use crate::upload::Upload;
use crate::web::HttpTarget;
use crate::wire::Wire;

/// What holds for all uploads of a process.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where journals are.
    pub state_dir: PathBuf,
    /// Bytes of files in memory at most, however many uploads there are.
    pub memory: u64,
    /// Bytes a second that all uploads together send at most.
    pub max_bps: Option<u64>,
    /// How long nothing may move before a request is given up and repeated.
    pub stall: Duration,
    /// How long an upload goes on while no request succeeds.
    pub give_up: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/tmp/vhpack"),
            memory: 64 << 20,
            max_bps: None,
            stall: Duration::from_secs(60),
            give_up: Duration::from_secs(86_400),
        }
    }
}

/// Memory is counted in these, so that a permit fits into 32 bits.
const UNIT: u64 = 4096;

/// Requests under way at one destination, unless told otherwise.
const LANES: usize = 16;

/// Uploads begun and not ended; the others wait as a name and a path.
const AT_ONCE: usize = 64;

/// Uploads in parts at once: each has a journal open.
const LARGE_AT_ONCE: usize = 8;

/// From this size on a look at the target costs little beside what it may save.
const LOOK_FIRST: u64 = 256 << 10;

/// What uploads to one bucket share.
#[derive(Clone)]
struct Endpoint {
    lanes: Arc<Lanes>,
    store: Option<Arc<Store>>,
    container: Option<Arc<Container>>,
    wire: Option<Wire>,
}

#[derive(Default)]
struct Queue {
    small: VecDeque<Waiting>,
    large: VecDeque<Waiting>,
    running: usize,
    running_large: usize,
}

struct Waiting {
    upload: Arc<Upload>,
    destination: Destination,
    source: Option<Arc<dyn Source>>,
    credentials: Option<Arc<Renewable>>,
    remove_after: bool,
    after: Option<Arc<Upload>>,
    /// Its number on the list of what was asked for.
    number: Option<u64>,
}

/// An upload, and what its file was when it was asked for.
type Active = (Arc<Upload>, Option<Identity>);

/// What every upload sees of the uploader.
pub(crate) struct Shared {
    pub settings: Settings,
    pub bucket: Arc<Bucket>,
    memory: Arc<Semaphore>,
    units: u32,
    endpoints: Mutex<HashMap<String, Endpoint>>,
    queue: Mutex<Queue>,
    /// The upload that each target has now.
    active: Mutex<HashMap<String, Active>>,
    asked: Mutex<AskedList>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Wait for leave to hold so many bytes; more than there are in all counts as all.
    pub async fn memory(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.units);
        Arc::clone(&self.memory).acquire_many_owned(units).await.ok()
    }

    /// Whether to look at the target before sending. Of many small files none is looked at: a look takes as long as sending one.
    pub fn may_skip(&self, length: u64) -> bool {
        length > LOOK_FIRST || lock(&self.queue).small.is_empty()
    }

    fn endpoint(&self, destination: &Destination, credentials: Option<&Arc<Renewable>>) -> Result<Endpoint> {
        let key = format!("{} {}", destination.endpoint(), credentials.map_or(0, |one| Arc::as_ptr(one) as usize));
        let mut endpoints = lock(&self.endpoints);
        if let Some(endpoint) = endpoints.get(&key) {
            return Ok(endpoint.clone());
        }
        let wire = || {
            Wire::new(
                self.settings.stall,
                Arc::clone(&self.bucket),
                destination.options.get("ca_bundle").map(String::as_str),
            )
        };
        let (mut store, mut container, mut plain) = (None, None, None);
        match destination.scheme {
            Scheme::S3 | Scheme::Gs => store = Some(Arc::new(Store::new(destination, wire()?, credentials.cloned())?)),
            Scheme::Http => plain = Some(wire()?),
            Scheme::File => {
                if let Some((name, _)) = destination.own_options().next() {
                    return Err(bad(format!("`{name}` is no option of file://")));
                }
            }
            Scheme::Azure => container = Some(Arc::new(Container::new(destination, wire()?)?)),
        }
        let lanes = Arc::new(Lanes::new(destination.concurrency.unwrap_or(LANES)));
        let endpoint = Endpoint { lanes, store, container, wire: plain };
        endpoints.insert(key, endpoint.clone());
        Ok(endpoint)
    }

    /// The target of a destination, and the lanes to it.
    pub fn place(
        &self,
        destination: &Destination,
        credentials: Option<&Arc<Renewable>>,
    ) -> Result<(Box<dyn Target>, Arc<Lanes>)> {
        let endpoint = self.endpoint(destination, credentials)?;
        Ok((self.target(destination, &endpoint)?, endpoint.lanes))
    }

    fn target(&self, destination: &Destination, endpoint: &Endpoint) -> Result<Box<dyn Target>> {
        let Destination { uri, key, overwrite, .. } = destination;
        if let Some(container) = &endpoint.container {
            return Ok(Box::new(Azure::new(Arc::clone(container), uri, key, *overwrite)));
        }
        Ok(match (&endpoint.store, &endpoint.wire) {
            (Some(store), _) => Box::new(S3::new(Arc::clone(store), uri, key, *overwrite)),
            (None, Some(wire)) => Box::new(HttpTarget::new(destination, wire.clone())?),
            (None, None) => Box::new(FileTarget::new(uri, destination.file(), *overwrite, Arc::clone(&self.bucket))),
        })
    }
}

/// The uploader of a process. Its threads begin with the first upload.
pub struct Uploader {
    shared: Arc<Shared>,
    runtime: Mutex<Option<Runtime>>,
    pid: u32,
}

/// Whether an upload in parts is to be expected.
const LARGE: u64 = 8 << 20;

impl Uploader {
    /// Nothing is begun yet.
    pub fn new(settings: Settings) -> Self {
        let units = u32::try_from(settings.memory / UNIT).unwrap_or(u32::MAX >> 3).clamp(1, u32::MAX >> 3);
        let shared = Shared {
            bucket: Arc::new(Bucket::new(settings.max_bps)),
            memory: Arc::new(Semaphore::new(units as usize)),
            units,
            settings,
            endpoints: Mutex::default(),
            queue: Mutex::default(),
            active: Mutex::default(),
            asked: Mutex::default(),
        };
        Self { shared: Arc::new(shared), runtime: Mutex::new(None), pid: std::process::id() }
    }

    /// Whether this is the process that made it; in a forked child it must not be used.
    pub fn is_ours(&self) -> bool {
        self.pid == std::process::id()
    }

    /// Upload the file at `path`. Arguments are checked; the rest happens behind the caller's back.
    pub fn start(
        &self,
        path: &Path,
        uri: &str,
        options: &Options,
        credentials: Option<Arc<Renewable>>,
        remove_after: bool,
        supersede: bool,
    ) -> Result<Arc<Upload>> {
        let identity = crate::disk::metadata(path).ok().map(|meta| Identity::of(&meta));
        self.enqueue(path, None, identity, uri, options, credentials, remove_after, supersede)
    }

    /// Whether a destination makes sense, without asking it.
    pub fn check(uri: &str, options: &Options) -> Result<()> {
        Destination::parse(uri, options).map(|_| ())
    }

    /// Upload what `source` has and will have.
    pub fn follow(
        &self,
        source: Arc<dyn Source>,
        uri: &str,
        options: &Options,
        credentials: Option<Arc<Renewable>>,
    ) -> Result<Arc<Upload>> {
        let path = source.path().to_owned();
        self.enqueue(&path, Some(source), None, uri, options, credentials, false, true)
    }

    pub(crate) fn state_dir(&self) -> &Path {
        &self.shared.settings.state_dir
    }

    /// Run something short on the uploader's threads, and wait for it.
    pub(crate) fn block_on<T>(&self, work: impl AsyncFnOnce(&Shared) -> Result<T>) -> Result<T> {
        let handle = self.handle()?;
        handle.block_on(work(&self.shared))
    }

    fn note(&self, path: &Path, uri: &str, options: &Options, remove_after: bool) -> Result<u64> {
        let asked = Asked {
            path: path.to_owned(),
            uri: uri.to_owned(),
            options: options.clone(),
            remove_after,
            created: asked::now(),
        };
        lock(&self.shared.asked).add(self.state_dir(), &asked)
    }

    fn handle(&self) -> Result<Handle> {
        let mut runtime = lock(&self.runtime);
        let made = match runtime.take() {
            Some(made) => made,
            None => make_runtime()?,
        };
        let handle = made.handle().clone();
        *runtime = Some(made);
        Ok(handle)
    }

    #[expect(clippy::too_many_arguments, reason = "start and follow name them")]
    fn enqueue(
        &self,
        path: &Path,
        source: Option<Arc<dyn Source>>,
        identity: Option<Identity>,
        uri: &str,
        options: &Options,
        credentials: Option<Arc<Renewable>>,
        remove_after: bool,
        supersede: bool,
    ) -> Result<Arc<Upload>> {
        let destination = Destination::parse(uri, options)?;
        // Another process, which may have another working folder, has to find it.
        let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let size = source.as_ref().map_or(identity.map_or(0, |identity| identity.size), |source| source.bound());
        let upload = Arc::new(Upload::new(uri, path));
        let growing = source.is_some();
        let after = {
            let mut active = lock(&self.shared.active);
            let before = active.get(uri).filter(|(before, _)| !before.state().ended()).cloned();
            if let Some((before, theirs)) = &before {
                let same = theirs.zip(identity).is_some_and(|(theirs, ours)| theirs.same_bytes(&ours));
                if same && before.path() == path && !before.is_cancelled() {
                    return Ok(Arc::clone(before));
                }
                if !supersede {
                    let message = format!(
                        "`{uri}` is being uploaded to from `{}`; wait for that, or choose another name",
                        before.path().display()
                    );
                    return Err(UploadError::new(UploadErrorKind::Exists, message));
                }
                before.cancel();
            }
            active.insert(uri.to_owned(), (Arc::clone(&upload), identity));
            before.map(|(before, _)| before)
        };
        // An archive that grows is remembered by whoever packs it, and by its journal.
        let number = if growing { None } else { Some(self.note(path, uri, options, remove_after)?) };
        let waiting =
            Waiting { upload: Arc::clone(&upload), destination, source, credentials, remove_after, after, number };
        {
            let mut queue = lock(&self.shared.queue);
            let line = if size > LARGE { &mut queue.large } else { &mut queue.small };
            line.push_back(waiting);
        }
        let handle = self.handle()?;
        let _inside = handle.enter();
        pump(&self.shared);
        Ok(upload)
    }
}

fn make_runtime() -> Result<Runtime> {
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .thread_keep_alive(Duration::from_secs(5))
        .thread_name("vhpack-up")
        .enable_all()
        .build();
    built.map_err(|cause| {
        UploadError::io(
            UploadErrorKind::Rejected,
            "start the threads that upload",
            &cause,
            "raise the limit of threads",
        )
    })
}

/// Begin what may begin. Small files first: they are over before a large one notices.
fn pump(shared: &Arc<Shared>) {
    loop {
        let (waiting, large) = {
            let mut queue = lock(&shared.queue);
            if queue.running >= AT_ONCE {
                return;
            }
            let next = match queue.small.pop_front() {
                Some(small) => Some((small, false)),
                None if queue.running_large < LARGE_AT_ONCE => queue.large.pop_front().map(|large| (large, true)),
                None => None,
            };
            let Some((waiting, large)) = next else { return };
            queue.running += 1;
            queue.running_large += usize::from(large);
            (waiting, large)
        };
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            run(&shared, waiting).await;
            {
                let mut queue = lock(&shared.queue);
                queue.running -= 1;
                queue.running_large -= usize::from(large);
            }
            pump(&shared);
        });
    }
}

async fn run(shared: &Arc<Shared>, waiting: Waiting) {
    let Waiting { upload, destination, source, credentials, remove_after, after, number } = waiting;
    let uri = destination.uri.clone();
    let outcome = match shared.place(&destination, credentials.as_ref()) {
        Ok((target, lanes)) => {
            let job = Job {
                shared: Arc::clone(shared),
                upload: Arc::clone(&upload),
                destination,
                target,
                lanes,
                source,
                remove_after,
                after,
            };
            Box::pin(transfer::run(job)).await
        }
        Err(error) => Err(error),
    };
    // What the next process may still bring to its end stays on the list.
    let unfinished = outcome.as_ref().is_err_and(|error| transfer::may_go_on(error.kind));
    if let Some(number) = number.filter(|_| !unfinished) {
        lock(&shared.asked).done(number);
    }
    {
        let mut active = lock(&shared.active);
        if active.get(&uri).is_some_and(|(now, _)| Arc::ptr_eq(now, &upload)) {
            active.remove(&uri);
        }
    }
    // Last: whoever waits for it finds nothing left to be done.
    upload.finish(outcome);
}
