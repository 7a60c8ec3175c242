//! Batches are made in any order and written in the plan's: whoever finishes the one that is due writes it, and all that
//! wait behind it, while the others go on.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::blocks::{Blocks, Stream};
use super::budget::{BATCH_BYTES, BATCH_FILES, BUFFER_LIMIT, Budget};
use super::large::Large;
use super::output::Output;
use super::packer::Method;
use super::press::{Help, Work};
use super::record::Record;
use crate::cancel::CancelToken;
use crate::error::{Error, Result, Stage};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::Remark;
use crate::request::PackOptions;
use crate::sink::Sink;

/// How long a waiting worker sleeps before it looks whether the call was cancelled.
const LOOK_UP: Duration = Duration::from_millis(20);

/// Framed members on their way to the sink.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    /// Initialised once and reused: only the first `used` bytes count.
    pub bytes: Vec<u8>,
    pub used: usize,
    pub records: Vec<Record>,
    /// XXH3-128 of each record's content, where a manifest is to be written.
    pub hashes: Vec<u128>,
    pub skipped: Vec<Remark>,
}

impl Buffer {
    /// At least `length` bytes to write to behind what is used.
    pub fn room(&mut self, length: usize) -> &mut [u8] {
        let end = self.used + length;
        if self.bytes.len() < end {
            self.bytes.resize(end.next_multiple_of(64 << 10), 0);
        }
        &mut self.bytes[self.used..end]
    }

    pub fn clear(&mut self) {
        self.used = 0;
        self.records.clear();
        self.hashes.clear();
        self.skipped.clear();
        // A buffer that a large file stretched gives the rest back.
        if self.bytes.len() > 2 * BATCH_BYTES {
            self.bytes.truncate(BATCH_BYTES);
            self.bytes.shrink_to_fit();
        }
    }

    pub fn is_full_for(&self, length: usize) -> bool {
        self.used > 0 && self.used + length > BUFFER_LIMIT
    }
}

/// A run of consecutive members that one worker packs.
pub(super) struct Batch {
    pub ticket: u64,
    pub members: Range<usize>,
    pub buffer: Buffer,
}

pub(super) struct State {
    /// First entry that nobody has claimed.
    unclaimed: usize,
    tickets: u64,
    /// The ticket that is to be written next.
    due: u64,
    ready: BTreeMap<u64, Buffer>,
    free: Vec<Buffer>,
    /// Buffers that may still be made.
    unmade: usize,
    writing: bool,
    large: Option<Arc<Large>>,
    pub blocks: Blocks,
    pub failed: Option<Error>,
}

/// What the workers of one pack share.
pub(super) struct Shared<'a, S> {
    pub plan: &'a Plan,
    /// Where this archive's members end among the plan's.
    end: usize,
    pub options: &'a PackOptions,
    pub method: Method,
    pub budget: Budget,
    pub cancel: &'a CancelToken,
    pub progress: &'a Progress,
    pub output: Mutex<Output<S>>,
    /// The tar before it is compressed, where it is.
    pub stream: Option<Mutex<Stream>>,
    state: Mutex<State>,
    pub wake: Condvar,
    has_failed: AtomicBool,
    /// For the average file size, which decides how many files a batch claims.
    seen_files: AtomicU64,
    seen_bytes: AtomicU64,
}

/// The right to write: every earlier member is written, and no later one will be until it is given up.
pub(super) struct Turn(());

impl<'a, S: Sink> Shared<'a, S> {
    pub fn new(
        (plan, members): (&'a Plan, Range<usize>),
        options: &'a PackOptions,
        method: Method,
        budget: Budget,
        cancel: &'a CancelToken,
        progress: &'a Progress,
        output: Output<S>,
    ) -> Self {
        let stream = output.around().map(Stream::new);
        let state = State {
            unclaimed: members.start,
            tickets: 0,
            due: 0,
            ready: BTreeMap::new(),
            free: Vec::new(),
            unmade: budget.buffers,
            writing: false,
            large: None,
            // One is being filled from the beginning.
            blocks: Blocks::new(budget.blocks - 1),
            failed: None,
        };
        Self {
            plan,
            end: members.end,
            options,
            method,
            budget,
            cancel,
            progress,
            output: Mutex::new(output),
            stream,
            state: Mutex::new(state),
            wake: Condvar::new(),
            has_failed: AtomicBool::new(false),
            seen_files: AtomicU64::new(0),
            seen_bytes: AtomicU64::new(0),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn output(&self) -> MutexGuard<'_, Output<S>> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// End the pack with this error, unless another came first.
    pub fn fail(&self, error: Error) {
        self.lock().failed.get_or_insert(error);
        self.has_failed.store(true, Ordering::Relaxed);
        self.wake.notify_all();
    }

    /// Whether the pack was cancelled or has failed. Takes no lock: it is asked by those who hold the lock of a large file.
    pub fn should_stop(&self) -> bool {
        self.cancel.is_cancelled() || self.has_failed.load(Ordering::Relaxed)
    }

    /// The error that ended the pack, and the output.
    pub fn finish(self) -> Result<Output<S>> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        match state.failed {
            Some(error) => Err(error),
            None => Ok(self.output.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    pub fn saw(&self, bytes: u64) {
        self.seen_files.fetch_add(1, Ordering::Relaxed);
        self.seen_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many files the next batch takes: about [`BATCH_BYTES`] by the average so far, fewer near the end so that all
    /// workers finish together. Only speed depends on it.
    fn batch_files(&self, left: usize) -> usize {
        let files = self.seen_files.load(Ordering::Relaxed);
        let by_size = if files < 8 {
            4
        } else {
            let average = self.seen_bytes.load(Ordering::Relaxed) / files;
            BATCH_BYTES / (average as usize + 64)
        };
        by_size.min(BATCH_FILES).min(left / (2 * self.budget.workers)).max(1)
    }

    /// The next batch, with a buffer. Both are taken in plan order under one lock: taken apart, later batches could
    /// hold all buffers while the one that is due has none. `None` when all is written or the pack has failed.
    pub fn claim(&self, help: Help<'_>) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            if state.failed.is_some() || self.cancel.is_cancelled() {
                state.failed.get_or_insert_with(|| Error::cancelled(Stage::Pack));
                self.has_failed.store(true, Ordering::Relaxed);
                self.wake.notify_all();
                return None;
            }
            if let Some(large) = state.large.clone().filter(|large| large.has_work()) {
                drop(state);
                help(Work::Large(&large));
                state = self.lock();
                continue;
            }
            if let Some(block) = state.blocks.queue.pop_front() {
                drop(state);
                help(Work::Block(block));
                state = self.lock();
                continue;
            }
            let left = self.end - state.unclaimed;
            if left == 0 && state.due == state.tickets {
                return None;
            }
            if left > 0 && (state.unmade > 0 || !state.free.is_empty()) {
                let buffer = state.free.pop().unwrap_or_else(|| {
                    state.unmade -= 1;
                    Buffer::default()
                });
                let start = state.unclaimed;
                state.unclaimed += self.batch_files(left);
                state.tickets += 1;
                return Some(Batch { ticket: state.tickets - 1, members: start..state.unclaimed, buffer });
            }
            state = self.wait(state);
        }
    }

    pub fn wait<'g>(&self, state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        self.wake.wait_timeout(state, LOOK_UP).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Wait until every earlier batch is written.
    pub fn wait_turn(&self, ticket: u64, help: Help<'_>) -> Result<Turn> {
        let mut state = self.lock();
        loop {
            self.cancel.check(Stage::Pack)?;
            if state.failed.is_some() {
                return Err(Error::cancelled(Stage::Pack));
            }
            if state.due == ticket && !state.writing {
                return Ok(Turn(()));
            }
            if let Some(large) = state.large.clone().filter(|large| large.has_work()) {
                drop(state);
                help(Work::Large(&large));
                state = self.lock();
                continue;
            }
            if let Some(block) = state.blocks.queue.pop_front() {
                drop(state);
                help(Work::Block(block));
                state = self.lock();
                continue;
            }
            state = self.wait(state);
        }
    }

    /// Write what a batch has so far, and let it go on.
    pub fn flush(&self, _turn: &Turn, buffer: &mut Buffer, help: Help<'_>) -> Result<()> {
        self.deliver(buffer, help)?;
        buffer.clear();
        Ok(())
    }

    /// Offer the blocks of a large file to all workers that wait.
    pub fn offer(&self, _turn: &Turn, large: Option<Arc<Large>>) {
        self.lock().large = large;
        self.wake.notify_all();
    }

    /// Hand in a finished batch. Writes it, and all that wait behind it, when it is due.
    pub fn submit(&self, ticket: u64, buffer: Buffer, help: Help<'_>) -> Result<()> {
        let mut state = self.lock();
        state.ready.insert(ticket, buffer);
        if state.writing {
            return Ok(());
        }
        state.writing = true;
        loop {
            let due = state.due;
            let Some(mut buffer) = state.ready.remove(&due) else { break };
            drop(state);
            self.deliver(&mut buffer, help)?;
            buffer.clear();
            state = self.lock();
            state.free.push(buffer);
            state.due += 1;
            self.wake.notify_all();
        }
        state.writing = false;
        self.wake.notify_all();
        Ok(())
    }
}
