//! Compressed tars: the tar's bytes in order, cut into blocks. Any worker compresses any block, and whoever finishes the
//! one that is due writes it, and all that wait behind it.
//!
//! Where a block ends depends on the tar's bytes alone, so the archive's bytes depend on no thread and no memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::budget::{BLOCK_BYTES, FRAME_BYTES, GROUP_BYTES};
use crate::codec::{Codec, DICTIONARY_BYTES};

/// A stretch of the tar, and the room it is compressed in.
#[derive(Default)]
pub(super) struct Block {
    pub number: u64,
    /// What the codec is primed with, and the block's own bytes: initialised once and reused, only `used` count.
    bytes: Vec<u8>,
    used: usize,
    primed: usize,
    /// Whether it ends the tar.
    pub last: bool,
    pub packed: Vec<u8>,
    pub crc: crc32fast::Hasher,
}

impl Block {
    /// What stands before the block, as far as the codec may refer to it.
    pub fn dictionary(&self) -> &[u8] {
        &self.bytes[..self.primed]
    }

    pub fn raw(&self) -> &[u8] {
        &self.bytes[self.primed..self.used]
    }

    /// `length` bytes to write to behind what is used.
    fn room(&mut self, length: usize) -> &mut [u8] {
        let end = self.used + length;
        if self.bytes.len() < end {
            self.bytes.resize(end.next_multiple_of(64 << 10), 0);
        }
        &mut self.bytes[self.used..end]
    }

    fn append(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.used += bytes.len();
    }

    fn clear(&mut self) {
        (self.used, self.primed, self.last) = (0, 0, false);
    }
}

/// The blocks between the tar and the sink; part of what the workers share under one lock.
#[derive(Default)]
pub(super) struct Blocks {
    /// To be compressed, oldest first.
    pub queue: VecDeque<Block>,
    pub ready: BTreeMap<u64, Block>,
    free: Vec<Block>,
    /// Blocks that may still be made.
    unmade: usize,
    /// Blocks cut so far.
    pub cut: u64,
    pub written: u64,
    pub writing: bool,
}

impl Blocks {
    pub fn new(most: usize) -> Self {
        Self { unmade: most, ..Self::default() }
    }

    pub fn take(&mut self) -> Option<Block> {
        if let Some(block) = self.free.pop() {
            return Some(block);
        }
        self.unmade = self.unmade.checked_sub(1)?;
        Some(Block::default())
    }

    pub fn give(&mut self, mut block: Block) {
        block.clear();
        self.free.push(block);
    }

    pub fn push(&mut self, mut block: Block) {
        block.number = self.cut;
        self.cut += 1;
        self.queue.push_back(block);
    }

    /// Whether every block that was cut is written.
    pub fn is_idle(&self) -> bool {
        self.written == self.cut
    }
}

/// The tar as it grows; only who has the turn adds to it.
pub(super) struct Stream {
    codec: Codec,
    /// Length of the tar so far.
    pub position: u64,
    /// The block that is being filled.
    pub block: Block,
    /// The end of the block before.
    tail: Vec<u8>,
}

/// Where the tar stood, to come back to.
pub(super) struct Mark {
    pub block: u64,
    position: u64,
    bytes: Vec<u8>,
    primed: usize,
}

impl Stream {
    pub fn new(codec: Codec) -> Mutex<Self> {
        Mutex::new(Self { codec, position: 0, block: Block::default(), tail: Vec::new() })
    }

    pub fn lock(this: &Mutex<Self>) -> MutexGuard<'_, Self> {
        this.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether members keep together: frames are groups of whole ones, deflate blocks end wherever they are full.
    pub fn groups(&self) -> bool {
        self.codec == Codec::Zstd
    }

    /// How much the block still takes: of small members as many bytes as come, where they keep together.
    pub fn left(&self, in_large: bool) -> usize {
        let most = match (self.groups(), in_large) {
            (false, _) => BLOCK_BYTES,
            (true, true) => FRAME_BYTES,
            (true, false) => return usize::MAX,
        };
        most - self.block.raw().len()
    }

    /// Whether a group is complete.
    pub fn is_group(&self) -> bool {
        self.groups() && self.block.raw().len() >= GROUP_BYTES
    }

    pub fn append(&mut self, bytes: &[u8]) {
        self.block.append(bytes);
        self.position += bytes.len() as u64;
    }

    /// Room for `length` bytes, of which [`filled`](Self::filled) says how many count.
    pub fn room(&mut self, length: usize) -> &mut [u8] {
        self.block.room(length)
    }

    pub fn filled(&mut self, length: usize) {
        self.block.used += length;
        self.position += length as u64;
    }

    /// Take the full block out; the next is primed with its end.
    pub fn cut(&mut self) -> Block {
        let full = std::mem::take(&mut self.block);
        self.tail.clear();
        if self.codec == Codec::Deflate {
            let before = &full.bytes[..full.used];
            self.tail.extend_from_slice(&before[before.len().saturating_sub(DICTIONARY_BYTES)..]);
        }
        full
    }

    /// Go on in `block`.
    pub fn begin(&mut self, mut block: Block) {
        block.append(&self.tail);
        block.primed = self.tail.len();
        self.block = block;
    }

    pub fn mark(&self, block: u64) -> Mark {
        let bytes = self.block.bytes[..self.block.used].to_vec();
        Mark { block, position: self.position, bytes, primed: self.block.primed }
    }

    pub fn go_back(&mut self, mark: &Mark) {
        self.block.clear();
        self.block.append(&mark.bytes);
        self.block.primed = mark.primed;
        self.position = mark.position;
    }
}
