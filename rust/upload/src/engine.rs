//! The uploader of a process: its threads, its memory, its queue, and the uploads it has.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::asked::{self, Asked, AskedList};
use crate::azure::{Azure, Container};
use crate::body;
use crate::credentials::Renewable;
use crate::destination::{Destination, Options, Scheme, bad, place_of};
use crate::error::{Result, UploadError, UploadErrorKind};
use crate::file::FileTarget;
use crate::lanes::Lanes;
use crate::meter::Bucket;
use crate::s3::{S3, Store};
use crate::source::{Identity, Source};
use crate::target::Target;
use crate::transfer::{self, Job};
use crate::turns::Turns;
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

/// Uploads to one destination that are begun and not ended; the others wait as a name and a path.
const AT_ONCE: usize = 64;

/// Those of them in parts: each has a journal open.
const LARGE_AT_ONCE: usize = 8;

/// Whole files that are read at once to be compared: each keeps one of the threads that may block, and bodies need those, too.
const HASHED_AT_ONCE: usize = 2;

/// Threads that read, write and look names up; they end when there is nothing to do. One disk has eight of them and folders that are
/// uploaded to four, so that two that hang leave some to the others.
const BLOCKING_THREADS: usize = 32;

/// Requests under way at folders: each keeps a thread, also while it waits for the bandwidth that was allowed.
const FILE_LANES: usize = 4;

/// What uploads to one bucket share.
#[derive(Clone)]
struct Endpoint {
    lanes: Arc<Lanes>,
    store: Option<Arc<Store>>,
    container: Option<Arc<Container>>,
    wire: Option<Wire>,
}

/// What waits for one destination. One that is down must not keep the others' uploads waiting, so each has its own.
#[derive(Default)]
struct Queue {
    small: VecDeque<Waiting>,
    large: VecDeque<Waiting>,
    running: usize,
    running_large: usize,
}

struct Waiting {
    upload: Arc<Upload>,
    /// Which queue it stands in.
    endpoint: Arc<str>,
    /// Those of its destination: there may be many thousand that wait, most with the same.
    options: Arc<Options>,
    place: Arc<str>,
    /// Options for another process to find, where they are not the destination's.
    recorded: Option<Arc<Options>>,
    source: Option<Arc<dyn Source>>,
    /// Of the disk that the source lies on.
    turns: Turns,
    credentials: Option<Arc<Renewable>>,
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
    /// Half of the memory is for bytes that wait for a lane, half for requests that have one: of one for both, all might be held by
    /// those that wait for lanes, and all lanes by those that wait for memory.
    in_hand: Arc<Semaphore>,
    under_way: Arc<Semaphore>,
    /// How much either half has.
    units: u32,
    hashing: Semaphore,
    /// By the number of the disk; archives that grow have one of their own.
    disks: Mutex<HashMap<u64, Turns>>,
    endpoints: Mutex<HashMap<String, Endpoint>>,
    queues: Mutex<HashMap<Arc<str>, Queue>>,
    /// The upload that each target has now.
    active: Mutex<HashMap<Arc<str>, Active>>,
    asked: Mutex<AskedList>,
    /// By target, the numbers of those that failed and are still on that list.
    unfinished: Mutex<HashMap<Arc<str>, Vec<u64>>>,
    /// The last few that were given.
    options: Mutex<VecDeque<Arc<Options>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Wait for leave to hold so many bytes before there is a request; more than there are in all counts as all.
    pub async fn in_hand(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.in_hand).acquire_many_owned(self.units_of(bytes)).await.ok()
    }

    /// Wait for leave to have a request with a body of so many bytes under way.
    pub async fn under_way(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.under_way).acquire_many_owned(self.units_of(bytes.min(body::MEMORY))).await.ok()
    }

    fn units_of(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.units)
    }

    /// Whether small files wait for a destination: then one listing tells of many what a look at each would.
    pub fn many_wait(&self, endpoint: &str) -> bool {
        lock(&self.queues).get(endpoint).is_some_and(|queue| !queue.small.is_empty())
    }

    /// Wait for leave to read a whole file.
    pub async fn hashing(&self) -> Option<SemaphorePermit<'_>> {
        self.hashing.acquire().await.ok()
    }

    /// The same options once for all that wait with them.
    fn shared_options(&self, options: &Options) -> Arc<Options> {
        const KEPT: usize = 8;
        let mut known = lock(&self.options);
        if let Some(same) = known.iter().find(|one| ***one == *options) {
            return Arc::clone(same);
        }
        known.truncate(KEPT - 1);
        let new = Arc::new(options.clone());
        known.push_front(Arc::clone(&new));
        new
    }

    fn turns(&self, disk: u64) -> Turns {
        lock(&self.disks).entry(disk).or_insert_with(Turns::new).clone()
    }

    /// The name of a destination's queue, once for all that stand in it.
    fn queue(&self, endpoint: &str) -> Arc<str> {
        let mut queues = lock(&self.queues);
        if let Some((known, _)) = queues.get_key_value(endpoint) {
            return Arc::clone(known);
        }
        let new: Arc<str> = endpoint.into();
        queues.insert(Arc::clone(&new), Queue::default());
        new
    }

    fn endpoint(&self, destination: &Destination, credentials: Option<&Arc<Renewable>>) -> Result<Endpoint> {
        let key = endpoint_key(destination, credentials);
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
        let most = if destination.scheme == Scheme::File { FILE_LANES } else { usize::MAX };
        let lanes = Arc::new(Lanes::new(destination.concurrency.unwrap_or(LANES).min(most)));
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

/// What uploads with the same credentials to one server share.
fn endpoint_key(destination: &Destination, credentials: Option<&Arc<Renewable>>) -> String {
    format!("{} {}", destination.endpoint(), credentials.map_or(0, |one| Arc::as_ptr(one) as usize))
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
        let units = u32::try_from(settings.memory / 2 / UNIT).unwrap_or(u32::MAX >> 3).clamp(1, u32::MAX >> 3);
        let shared = Shared {
            bucket: Arc::new(Bucket::new(settings.max_bps)),
            in_hand: Arc::new(Semaphore::new(units as usize)),
            under_way: Arc::new(Semaphore::new(units as usize)),
            units,
            hashing: Semaphore::new(HASHED_AT_ONCE),
            disks: Mutex::default(),
            settings,
            endpoints: Mutex::default(),
            queues: Mutex::default(),
            active: Mutex::default(),
            asked: Mutex::default(),
            unfinished: Mutex::default(),
            options: Mutex::default(),
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
        self.enqueue(path, None, uri, options, options, credentials, remove_after, supersede)
    }

    /// The same for another process, whose list says `recorded`: what this one is told beside that is not for the next to find.
    pub(crate) fn take_over(
        &self,
        path: &Path,
        uri: &str,
        options: &Options,
        recorded: &Options,
        credentials: Option<Arc<Renewable>>,
        remove_after: bool,
    ) -> Result<Arc<Upload>> {
        self.enqueue(path, None, uri, options, recorded, credentials, remove_after, false)
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
        self.enqueue(&path, Some(source), uri, options, options, credentials, false, true)
    }

    /// End its threads, and leave what failed to whoever resumes it; nothing may be under way.
    pub fn close(&self) {
        if let Some(runtime) = lock(&self.runtime).take() {
            runtime.shutdown_background();
        }
        *lock(&self.shared.asked) = AskedList::default();
    }

    pub(crate) fn state_dir(&self) -> &Path {
        &self.shared.settings.state_dir
    }

    /// Run something short on the uploader's threads, and wait for it.
    pub(crate) fn block_on<T>(&self, work: impl AsyncFnOnce(&Shared) -> Result<T>) -> Result<T> {
        let handle = self.handle()?;
        handle.block_on(work(&self.shared))
    }

    fn note(
        &self,
        path: &Path,
        identity: Option<Identity>,
        uri: &str,
        options: &Options,
        remove_after: bool,
    ) -> Result<u64> {
        let asked = Asked {
            path: path.to_owned(),
            state: identity.map(|identity| (identity.size, identity.mtime)),
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
        uri: &str,
        options: &Options,
        recorded: &Options,
        credentials: Option<Arc<Renewable>>,
        remove_after: bool,
        supersede: bool,
    ) -> Result<Arc<Upload>> {
        let destination = Destination::parse(uri, options)?;
        let meta = if source.is_some() { None } else { crate::disk::metadata(path).ok() };
        let identity = meta.map(|meta| Identity::of(&meta));
        // Another process, which may have another working folder, has to find it.
        let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let size = source.as_ref().map_or(identity.map_or(0, |identity| identity.size), |source| source.bound());
        let upload = Arc::new(Upload::new(uri, path, remove_after));
        let growing = source.is_some();
        let place: Arc<str> = place_of(uri, recorded).into();
        let after = {
            let mut active = lock(&self.shared.active);
            let before = active.get(&place).filter(|(before, _)| !before.state().ended()).cloned();
            if let Some((before, theirs)) = &before {
                let same = theirs.zip(identity).is_some_and(|(theirs, ours)| theirs.same_bytes(&ours));
                if same && before.path() == path && !before.is_cancelled() {
                    before.ask_again(remove_after);
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
            active.insert(Arc::clone(&place), (Arc::clone(&upload), identity));
            before.map(|(before, _)| before)
        };
        // An archive that grows is remembered by whoever packs it, and by its journal; what is signed for one use, by nobody.
        let is_noted = !growing && !destination.is_signed();
        let noted = if is_noted { self.note(path, identity, uri, recorded, remove_after).map(Some) } else { Ok(None) };
        let prepared = noted.and_then(|number| Ok((number, self.handle()?)));
        let (number, handle) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                // Nobody will bring it to its end: the next call for this target must not wait for it.
                end(&self.shared, &place, &upload, Err(error.clone()));
                return Err(error);
            }
        };
        let endpoint = self.shared.queue(&endpoint_key(&destination, credentials.as_ref()));
        let shared = Arc::downgrade(&self.shared);
        upload.set_forget(move || {
            if let Some((shared, number)) = shared.upgrade().zip(number) {
                lock(&shared.asked).done(number);
            }
        });
        let waiting = Waiting {
            upload: Arc::clone(&upload),
            endpoint: Arc::clone(&endpoint),
            options: self.shared.shared_options(options),
            place,
            recorded: (!std::ptr::eq(options, recorded)).then(|| self.shared.shared_options(recorded)),
            source,
            turns: self.shared.turns(identity.map_or(0, |identity| identity.dev)),
            credentials,
            after,
            number,
        };
        {
            let mut queues = lock(&self.shared.queues);
            let queue = queues.entry(Arc::clone(&endpoint)).or_default();
            let line = if size > LARGE { &mut queue.large } else { &mut queue.small };
            line.push_back(waiting);
        }
        let _inside = handle.enter();
        pump(&self.shared, &endpoint);
        Ok(upload)
    }
}

fn make_runtime() -> Result<Runtime> {
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
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
fn pump(shared: &Arc<Shared>, endpoint: &str) {
    loop {
        let (waiting, large) = {
            let mut queues = lock(&shared.queues);
            let Some(queue) = queues.get_mut(endpoint) else { return };
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
            let endpoint = Arc::clone(&waiting.endpoint);
            let (upload, place) = (Arc::clone(&waiting.upload), Arc::clone(&waiting.place));
            let inside = Arc::clone(&shared);
            // A fault of ours in one of them must not keep those behind it, nor whoever waits for it, waiting for ever.
            if let Err(stopped) = tokio::spawn(async move { run(&inside, waiting).await }).await {
                let message = format!(
                    "cannot upload to `{}`: vhpack failed ({stopped}), which is a fault of its own; upload it again, and report this",
                    upload.uri()
                );
                end(&shared, &place, &upload, Err(UploadError::new(UploadErrorKind::Rejected, message)));
            }
            if let Some(queue) = lock(&shared.queues).get_mut(&endpoint) {
                queue.running -= 1;
                queue.running_large -= usize::from(large);
            }
            pump(&shared, &endpoint);
        });
    }
}

async fn run(shared: &Arc<Shared>, waiting: Waiting) {
    let Waiting { upload, endpoint, options, place, source, turns, credentials, after, .. } = waiting;
    let (number, recorded) = (waiting.number, waiting.recorded);
    if !upload.begin() {
        // Cancelled while it waited; that is told already.
        end(shared, &place, &upload, Ok(()));
        return;
    }
    let placed = Destination::parse(upload.uri(), &options)
        .and_then(|destination| Ok((shared.place(&destination, credentials.as_ref())?, destination)));
    let outcome = match placed {
        Ok(((target, lanes), destination)) => {
            let job = Job {
                shared: Arc::clone(shared),
                upload: Arc::clone(&upload),
                endpoint,
                destination,
                place: Arc::clone(&place),
                recorded,
                target,
                lanes,
                source,
                turns,
                after,
            };
            Box::pin(transfer::run(job)).await
        }
        Err(error) => Err(error),
    };
    let mut unfinished = lock(&shared.unfinished);
    if outcome.as_ref().is_err_and(|error| transfer::is_still_wanted(error.kind)) {
        // What the next process may still bring to its end stays on the list.
        unfinished.entry(Arc::clone(&place)).or_default().extend(number);
    } else {
        let earlier = unfinished.remove(&place).unwrap_or_default();
        let mut asked = lock(&shared.asked);
        number.into_iter().chain(earlier).for_each(|number| asked.done(number));
    }
    drop(unfinished);
    end(shared, &place, &upload, outcome);
}

/// Bring an upload to its end; last of all, since whoever waits for it is to find nothing left to be done.
fn end(shared: &Shared, place: &str, upload: &Arc<Upload>, outcome: Result<()>) {
    {
        let mut active = lock(&shared.active);
        if active.get(place).is_some_and(|(now, _)| Arc::ptr_eq(now, upload)) {
            active.remove(place);
        }
    }
    upload.finish(outcome);
}
