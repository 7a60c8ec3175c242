//! Files → digests: claimed in portions by all threads, handed out in order.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::algorithm::{Algorithm, Hasher, OneOrTwo, Sum, oneshot};
use super::files::{Files, LastFolder, shown_path};
use super::tree::{TREE_FROM, Tree};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage, show};
use crate::fs::{self, Kind, Stamp, Timespec};
use crate::progress::Progress;
use crate::threads::on_threads;

/// What is read at once: small enough that the bytes are still in the core's own cache when they are hashed.
pub(super) const PORTION: usize = 256 << 10;

/// Most files in a batch; fewer where there are few files, so that all threads get some.
const BATCH_FILES: usize = 64;

/// How long standard input may be silent before the caller's wish to stop is looked for.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Two digests of one file are wanted where a line to check does not say which of two it means.
pub(super) type Sums = OneOrTwo<Sum>;

/// Takes the result of each file, in order, one at a time; an error ends the work.
pub(super) trait Take: FnMut(usize, Result<Sums>) -> Result<()> + Send {}
impl<T: FnMut(usize, Result<Sums>) -> Result<()> + Send> Take for T {}

struct State<T> {
    /// The batch that is handed out next, and those that wait behind it.
    due: usize,
    waiting: BTreeMap<usize, Vec<Result<Sums>>>,
    take: T,
    /// Large files that threads without other work may help with.
    trees: Vec<Arc<Tree>>,
    working: usize,
    failed: Option<Error>,
}

struct Shared<'a, T> {
    files: &'a Files,
    algorithms: &'a (dyn Fn(usize) -> OneOrTwo<Algorithm> + Sync),
    batch: usize,
    next: AtomicUsize,
    stopped: AtomicBool,
    state: Mutex<State<T>>,
    wake: Condvar,
    progress: &'a Progress,
    cancel: &'a CancelToken,
}

/// Hash all files with what `algorithms` says of each. Returns once every thread has ended, also on errors.
pub(super) fn run<T: Take>(
    files: &Files,
    algorithms: &(dyn Fn(usize) -> OneOrTwo<Algorithm> + Sync),
    jobs: usize,
    progress: &Progress,
    cancel: &CancelToken,
    take: T,
) -> Result<()> {
    let state = State { due: 0, waiting: BTreeMap::new(), take, trees: Vec::new(), working: 0, failed: None };
    let shared = Shared {
        files,
        algorithms,
        batch: (files.len() / (32 * jobs)).clamp(1, BATCH_FILES),
        next: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
        state: Mutex::new(state),
        wake: Condvar::new(),
        progress,
        cancel,
    };
    on_threads(jobs, || Worker::new(&shared).run());
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    cancel.check(Stage::Hash)?;
    state.failed.map_or(Ok(()), Err)
}

impl<T: Take> Shared<'_, T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.cancel.is_cancelled()
    }

    fn claim(&self) -> Option<(usize, Range<usize>)> {
        let batch = self.next.fetch_add(1, Ordering::Relaxed);
        let start = batch.saturating_mul(self.batch);
        (start < self.files.len() && !self.is_stopped())
            .then(|| (batch, start..(start + self.batch).min(self.files.len())))
    }

    /// Hand out a batch, and those that waited for it.
    fn submit(&self, batch: usize, results: Vec<Result<Sums>>) {
        let mut state = self.lock();
        let state = &mut *state;
        state.waiting.insert(batch, results);
        while let Some(results) = state.waiting.remove(&state.due) {
            for (at, result) in results.into_iter().enumerate() {
                if state.failed.is_none()
                    && let Err(error) = (state.take)(state.due * self.batch + at, result)
                {
                    state.failed = Some(error);
                    self.stopped.store(true, Ordering::Relaxed);
                }
            }
            state.due += 1;
        }
    }
}

struct Worker<'a, 'b, T: Take> {
    shared: &'a Shared<'b, T>,
    buffer: Vec<u8>,
    folder: LastFolder,
}

/// Counts a thread as working, also while a panic unwinds it, so that no other waits for it for ever.
struct Working<'a, 'b, T: Take>(&'a Shared<'b, T>);

impl<T: Take> Drop for Working<'_, '_, T> {
    fn drop(&mut self) {
        self.0.lock().working -= 1;
        self.0.wake.notify_all();
    }
}

impl<'a, 'b, T: Take> Worker<'a, 'b, T> {
    fn new(shared: &'a Shared<'b, T>) -> Self {
        Self { shared, buffer: vec![0; PORTION], folder: None }
    }

    fn run(mut self) {
        self.shared.lock().working += 1;
        let working = Working(self.shared);
        while let Some((batch, files)) = self.shared.claim() {
            let results: Vec<_> = files.map_while(|index| self.file(index)).collect();
            if self.shared.is_stopped() {
                return;
            }
            self.shared.submit(batch, results);
        }
        drop(working);
        self.help();
    }

    /// Lend a hand to those that are busy with a large file.
    fn help(&mut self) {
        let shared = self.shared;
        let mut state = shared.lock();
        while state.working > 0 {
            let Some(tree) = state.trees.pop() else {
                state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            // The file stays offered to the others until its blocks are claimed, which is when this call returns.
            state.trees.push(Arc::clone(&tree));
            drop(state);
            tree.help(&mut self.buffer, &|| shared.is_stopped(), &|bytes| shared.progress.bytes_in.add(bytes));
            state = shared.lock();
            state.trees.retain(|offered| !Arc::ptr_eq(offered, &tree));
        }
    }

    /// The digests of one file; `None` where the work was stopped meanwhile.
    fn file(&mut self, index: usize) -> Option<Result<Sums>> {
        let shared = self.shared;
        if shared.is_stopped() {
            return None;
        }
        let result = self.open_and_hash(index);
        shared.progress.files.add(1);
        match result {
            Ok(sums) => sums.map(Ok),
            Err(Failure::Io(error)) => {
                let shown = shared.files.shown(index);
                Some(Err(Error::io(Stage::Hash, "read", shown_path(&shown), error)))
            }
            Err(Failure::NoFile(what)) => {
                let shown = shared.files.shown(index);
                let path = shown_path(&shown);
                let message = format!("cannot hash {}: it is {what}; name files", show(path));
                Some(Err(Error::new(ErrorKind::SpecialFile, Stage::Hash, message).at(path)))
            }
        }
    }

    fn open_and_hash(&mut self, index: usize) -> Result<Option<Sums>, Failure> {
        let shared = self.shared;
        let file = shared.files.open(index, &mut self.folder)?;
        let stat = fs::fstat(&file)?;
        match Kind::of(&stat) {
            Kind::File => {}
            Kind::Directory => return Err(Failure::NoFile("a folder")),
            Kind::Link | Kind::Special => return Err(Failure::NoFile(fs::special_name(&stat))),
        }
        let (size, algorithms) = (Stamp::of(&stat).size, (shared.algorithms)(index));
        if size >= TREE_FROM && algorithms == OneOrTwo::one(Algorithm::Blake3) {
            let tree = Arc::new(Tree::new(file, size));
            return Ok(self.tree(&tree)?.map(OneOrTwo::one));
        }
        self.portions(&file, size, algorithms)
    }

    fn tree(&mut self, tree: &Arc<Tree>) -> io::Result<Option<Sum>> {
        let shared = self.shared;
        shared.lock().trees.push(Arc::clone(tree));
        shared.wake.notify_all();
        tree.help(&mut self.buffer, &|| shared.is_stopped(), &|bytes| shared.progress.bytes_in.add(bytes));
        shared.lock().trees.retain(|offered| !Arc::ptr_eq(offered, tree));
        tree.finish()
    }

    fn portions(
        &mut self,
        file: impl AsFd,
        size: u64,
        algorithms: OneOrTwo<Algorithm>,
    ) -> Result<Option<Sums>, Failure> {
        let (shared, buffer) = (self.shared, &mut self.buffer);
        let mut read = fs::read_once(&file, buffer)?;
        shared.progress.bytes_in.add(read as u64);
        // What fills less than the buffer and is as long as the file says is all of it; no further call need ask.
        if read < buffer.len() && read as u64 == size {
            return Ok(Some(algorithms.map(|algorithm| oneshot(algorithm, &buffer[..read]))));
        }
        let mut hashers = algorithms.map(Hasher::new);
        while read > 0 {
            if shared.is_stopped() {
                return Ok(None);
            }
            hashers.first.update(&buffer[..read]);
            if let Some(other) = &mut hashers.other {
                other.update(&buffer[..read]);
            }
            read = fs::read_once(&file, buffer)?;
            shared.progress.bytes_in.add(read as u64);
        }
        Ok(Some(hashers.map(Hasher::finish)))
    }
}

/// Why a file has no digest.
enum Failure {
    Io(io::Error),
    /// Something other than a file is there.
    NoFile(&'static str),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Hash standard input to its end.
pub(super) fn stdin(algorithm: Algorithm, progress: &Progress, cancel: &CancelToken) -> Result<Sum> {
    let (mut hasher, mut buffer) = (Hasher::new(algorithm), vec![0; PORTION]);
    loop {
        cancel.check(Stage::Hash)?;
        let read = fs::read_stdin(&mut buffer, &PATIENCE)
            .map_err(|error| Error::io(Stage::Hash, "read", shown_path(b"-"), error))?;
        match read {
            None => {}
            Some(0) => return Ok(hasher.finish()),
            Some(read) => {
                hasher.update(&buffer[..read]);
                progress.bytes_in.add(read as u64);
            }
        }
    }
}
