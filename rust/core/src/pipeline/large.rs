//! One large file in blocks: any worker packs any block, the one whose turn it is writes them in order.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crc32fast::Hasher;

use super::budget::BLOCK_BYTES;
use crate::codec::{BlockDeflater, Codec, DICTIONARY_BYTES, Fault};
use crate::fs;

/// How long a waiting worker sleeps before it looks whether the pack has failed elsewhere.
const LOOK_UP: Duration = Duration::from_millis(20);

/// A packed block, and the room it was packed in.
#[derive(Default)]
pub(super) struct Block {
    /// Dictionary and raw bytes.
    raw: Vec<u8>,
    packed: Vec<u8>,
    range: std::ops::Range<usize>,
    codec: Codec,
    crc: Hasher,
    /// Of the bytes that the block was primed with, and of those that prime the next: read twice, they must be the same.
    dictionary_crc: u32,
    tail_crc: u32,
}

impl Block {
    /// What goes into the archive.
    pub fn bytes(&self) -> &[u8] {
        match self.codec {
            Codec::Store | Codec::Zstd => &self.raw[self.range.clone()],
            Codec::Deflate => &self.packed,
        }
    }

    pub fn raw(&self) -> &[u8] {
        &self.raw[self.range.clone()]
    }

    pub fn raw_length(&self) -> u64 {
        self.range.len() as u64
    }

    /// Whether the block was primed with what ends `before`, as deflate needs.
    pub fn follows(&self, before: Option<u32>) -> bool {
        self.codec == Codec::Store || before.is_none_or(|tail| tail == self.dictionary_crc)
    }

    /// What the next block must have been primed with.
    pub fn tail(&self) -> u32 {
        self.tail_crc
    }

    /// The checksum of the raw bytes, to be combined in order.
    pub fn crc(&self) -> &Hasher {
        &self.crc
    }
}

/// Why a block could not be packed.
#[derive(Debug)]
pub(super) enum BlockFailure {
    /// The file is shorter than it was.
    Shrank,
    Read(std::io::Error),
    Codec(Fault),
}

struct State {
    unclaimed: u64,
    /// Blocks written, in order.
    written: u64,
    ready: BTreeMap<u64, Block>,
    free: Vec<Block>,
    failed: Option<BlockFailure>,
    abandoned: bool,
}

/// A large file that is being packed.
pub(super) struct Large {
    file: OwnedFd,
    size: u64,
    blocks: u64,
    codec: Codec,
    level: u8,
    /// Blocks in work or waiting at any time.
    window: u64,
    state: Mutex<State>,
    wake: Condvar,
}

/// What the writing worker does next.
pub(super) enum Step {
    Write(Block),
    Pack(u64, Block),
    Wait,
    Done,
    Failed(BlockFailure),
}

impl Large {
    pub fn new(file: OwnedFd, size: u64, codec: Codec, level: u8, window: usize) -> Self {
        let state = State {
            unclaimed: 0,
            written: 0,
            ready: BTreeMap::new(),
            free: Vec::new(),
            failed: None,
            abandoned: false,
        };
        Self {
            file,
            size,
            blocks: size.div_ceil(BLOCK_BYTES as u64),
            codec,
            level,
            window: window as u64,
            state: Mutex::new(state),
            wake: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether blocks are left that nobody has claimed.
    pub fn has_work(&self) -> bool {
        let state = self.lock();
        !state.abandoned && state.failed.is_none() && state.unclaimed < self.blocks
    }

    fn claim(&self, state: &mut State) -> Option<(u64, Block)> {
        if state.unclaimed < self.blocks && state.unclaimed < state.written + self.window {
            let block = state.free.pop().unwrap_or_default();
            state.unclaimed += 1;
            return Some((state.unclaimed - 1, block));
        }
        None
    }

    /// Pack blocks for the worker that writes, until none is left to claim.
    pub fn help(&self, stop: &dyn Fn() -> bool) {
        let mut state = self.lock();
        while !state.abandoned && state.failed.is_none() && state.unclaimed < self.blocks && !stop() {
            match self.claim(&mut state) {
                Some((index, block)) => {
                    drop(state);
                    self.pack(index, block, stop);
                    state = self.lock();
                }
                None => state = self.wait(state),
            }
        }
    }

    fn wait<'g>(&self, state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        self.wake.wait_timeout(state, LOOK_UP).unwrap_or_else(PoisonError::into_inner).0
    }

    /// What the writing worker is to do; blocks that are due come before new work.
    pub fn next_step(&self) -> Step {
        let mut state = self.lock();
        if let Some(failure) = state.failed.take() {
            return Step::Failed(failure);
        }
        if state.written == self.blocks {
            return Step::Done;
        }
        let due = state.written;
        if let Some(block) = state.ready.remove(&due) {
            return Step::Write(block);
        }
        if let Some((index, block)) = self.claim(&mut state) {
            return Step::Pack(index, block);
        }
        drop(self.wait(state));
        Step::Wait
    }

    /// The block that was due is written; its room is free again.
    pub fn wrote(&self, block: Block) {
        let mut state = self.lock();
        state.written += 1;
        state.free.push(block);
        self.wake.notify_all();
    }

    /// Nobody is to go on with this file.
    pub fn abandon(&self) {
        self.lock().abandoned = true;
        self.wake.notify_all();
    }

    /// Read and pack one block, and hand it in.
    pub fn pack(&self, index: u64, mut block: Block, stop: &dyn Fn() -> bool) {
        let result = self.fill(index, &mut block, stop);
        let mut state = self.lock();
        match result {
            Ok(()) => {
                state.ready.insert(index, block);
            }
            Err(failure) => {
                state.failed.get_or_insert(failure);
            }
        }
        self.wake.notify_all();
    }

    fn fill(&self, index: u64, block: &mut Block, stop: &dyn Fn() -> bool) -> Result<(), BlockFailure> {
        let start = index * BLOCK_BYTES as u64;
        let length = (self.size - start).min(BLOCK_BYTES as u64) as usize;
        let dictionary = match self.codec {
            Codec::Store | Codec::Zstd => 0,
            Codec::Deflate => start.min(DICTIONARY_BYTES as u64) as usize,
        };
        if block.raw.len() < dictionary + length {
            block.raw.resize(dictionary + length, 0);
        }
        let read = fs::read_at(&self.file, &mut block.raw[..dictionary + length], start - dictionary as u64)
            .map_err(BlockFailure::Read)?;
        if read < dictionary + length {
            return Err(BlockFailure::Shrank);
        }
        block.codec = self.codec;
        block.range = dictionary..dictionary + length;
        let raw = &block.raw[block.range.clone()];
        block.crc = Hasher::new();
        block.crc.update(raw);
        if self.codec == Codec::Deflate {
            block.dictionary_crc = crc32fast::hash(&block.raw[..dictionary]);
            block.tail_crc = crc32fast::hash(&raw[raw.len().saturating_sub(DICTIONARY_BYTES)..]);
            block.packed.clear();
            BlockDeflater::new(self.level)
                .compress(&block.raw[..dictionary], raw, index + 1 == self.blocks, &mut block.packed, stop)
                .map_err(BlockFailure::Codec)?;
        }
        Ok(())
    }
}
