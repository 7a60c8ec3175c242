//! One large file under BLAKE3, whose digest is a tree: any thread hashes any block, the file's own thread joins them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use blake3::hazmat::{ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::algorithm::Sum;
use crate::fs;

/// A power of two, so that a block is a subtree; long enough that claiming one costs nothing.
const BLOCK_BYTES: u64 = 1 << 20;

/// Files from here on are worth a tree.
pub(super) const TREE_FROM: u64 = 8 << 20;

struct State {
    unclaimed: usize,
    /// Threads that are hashing a block.
    busy: usize,
    values: Vec<ChainingValue>,
    failed: Option<io::Error>,
}

/// A file that several threads may hash.
pub(super) struct Tree {
    file: OwnedFd,
    size: u64,
    state: Mutex<State>,
    wake: Condvar,
}

impl Tree {
    /// Of a file of at least [`TREE_FROM`] bytes.
    pub fn new(file: OwnedFd, size: u64) -> Self {
        let blocks = size.div_ceil(BLOCK_BYTES) as usize;
        let state = State { unclaimed: 0, busy: 0, values: vec![[0; 32]; blocks], failed: None };
        Self { file, size, state: Mutex::new(state), wake: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hash blocks until none is left. Progress hears of every block; `stopped` is asked before each.
    pub fn help(&self, buffer: &mut [u8], stopped: &dyn Fn() -> bool, hashed: &dyn Fn(u64)) {
        loop {
            let mut state = self.lock();
            let block = state.unclaimed;
            if block == state.values.len() || state.failed.is_some() || stopped() {
                return;
            }
            state.unclaimed += 1;
            state.busy += 1;
            drop(state);
            let busy = Busy(self);
            let offset = block as u64 * BLOCK_BYTES;
            let length = BLOCK_BYTES.min(self.size - offset);
            match self.block(offset, length, buffer) {
                Ok(value) => self.lock().values[block] = value,
                Err(error) => {
                    self.lock().failed.get_or_insert(error);
                }
            }
            drop(busy);
            hashed(length);
        }
    }

    fn block(&self, offset: u64, length: u64, buffer: &mut [u8]) -> io::Result<ChainingValue> {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(offset);
        let mut done = 0;
        while done < length {
            let portion = (length - done).min(buffer.len() as u64) as usize;
            if fs::read_at(&self.file, &mut buffer[..portion], offset + done)? < portion {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it shrank while it was read"));
            }
            hasher.update(&buffer[..portion]);
            done += portion as u64;
        }
        Ok(hasher.finalize_non_root())
    }

    /// Wait for the blocks in other threads, and join all; `None` where the work was stopped.
    pub fn finish(&self) -> io::Result<Option<Sum>> {
        let mut state = self.lock();
        while state.busy > 0 {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(error) = state.failed.take() {
            return Err(error);
        }
        if state.unclaimed < state.values.len() {
            return Ok(None);
        }
        let (left, right) = state.values.split_at(left_half(state.values.len()));
        let root = merge_subtrees_root(&join(left), &join(right), Mode::Hash);
        Ok(Some(Sum::new(root.as_bytes())))
    }
}

/// Counts its thread as busy, also while a panic unwinds it.
struct Busy<'a>(&'a Tree);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.lock().busy -= 1;
        self.0.wake.notify_all();
    }
}

fn join(values: &[ChainingValue]) -> ChainingValue {
    if let [value] = values {
        return *value;
    }
    let (left, right) = values.split_at(left_half(values.len()));
    merge_subtrees_non_root(&join(left), &join(right), Mode::Hash)
}

/// BLAKE3's rule: the left subtree is the largest complete one that leaves something to the right.
fn left_half(count: usize) -> usize {
    count.next_power_of_two() / 2
}
