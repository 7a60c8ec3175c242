//! How many workers and buffers the memory allows. The archive's bytes do not depend on the answer.

use crate::codec::tables_bytes;

/// Files above this are packed in blocks by all workers together; it bounds every buffer.
pub(crate) const LARGE_FROM: u64 = 4 << 20;

/// A batch ends when it has this many bytes: big writes, and small enough to stay in a core's cache until they are written.
pub(crate) const BATCH_BYTES: usize = 256 << 10;

/// A batch ends when it has this many files, so that no worker holds up the order for long.
pub(crate) const BATCH_FILES: usize = 64;

/// Block of a large file: 4 bytes of flush marker and 32 KiB of dictionary for each are lost in it, and 16 workers
/// still find work in a file of 16 MiB.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;

/// Members of a `.tar.zst` share a frame until it has this many raw bytes: enough for zstd to find nearly all that repeats,
/// and little enough that a reader who wants one member decompresses no more than it must.
pub(crate) const GROUP_BYTES: usize = 1 << 20;

/// A large member of a `.tar.zst` is cut into frames of this many raw bytes.
pub(crate) const FRAME_BYTES: usize = 2 << 20;

/// A full batch, the last file that still went in, and headers.
pub(crate) const BUFFER_LIMIT: usize = BATCH_BYTES + LARGE_FROM as usize + (128 << 10);

/// A worker's share: its buffer, room to compress a file into, two blocks in both forms, the compressors' own tables.
const WORKER_BYTES: usize = BUFFER_LIMIT + LARGE_FROM as usize + 4 * (BLOCK_BYTES + (64 << 10)) + (2 << 20);

/// How a memory budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    pub workers: usize,
    /// Buffers of batches, in work or waiting for their turn.
    pub buffers: usize,
    /// Blocks of a large file, or of a compressed tar, in work or waiting for their turn.
    pub blocks: usize,
}

/// What is made of the framed bytes on their way to the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Around {
    /// Nothing.
    Nothing,
    /// Nothing, and zstd within, at a level.
    Within(u8),
    /// One gzip stream.
    Gzip,
    /// Zstandard frames, at a level.
    Zstd(u8),
}

impl Around {
    /// A worker's share: its buffer, and two blocks in both forms with the compressor's own tables.
    const fn worker_bytes(self) -> usize {
        const SLACK: usize = 128 << 10;
        match self {
            Self::Nothing => WORKER_BYTES,
            // A large member has a compressor for each thread beside those for small ones.
            Self::Within(level) => WORKER_BYTES + 2 * tables_bytes(level),
            Self::Gzip => BUFFER_LIMIT + 4 * (BLOCK_BYTES + SLACK) + (1 << 20),
            Self::Zstd(level) => {
                let largest = GROUP_BYTES + LARGE_FROM as usize + SLACK;
                BUFFER_LIMIT + 4 * (largest + (largest >> 8)) + tables_bytes(level) + tables_bytes(1)
            }
        }
    }
}

impl Budget {
    /// The least memory that is kept to: one worker's share, in whole MiB.
    pub fn least(around: Around) -> u64 {
        (around.worker_bytes() as u64).next_multiple_of(1 << 20)
    }

    /// `memory` below [`least`](Self::least) still makes one worker.
    pub fn new(memory: u64, jobs: usize, around: Around) -> Self {
        let memory = usize::try_from(memory).unwrap_or(usize::MAX);
        let share = around.worker_bytes();
        let workers = (memory / share).clamp(1, jobs);
        let rest = memory.saturating_sub(workers * share);
        let waiting = (rest / BUFFER_LIMIT).min(2 * workers + 2);
        Self { workers, buffers: workers + waiting, blocks: 2 * workers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_serves_sixteen_workers_and_never_exceeds_the_memory() {
        assert_eq!(Budget::new(256 << 20, 16, Around::Nothing).workers, 16);
        for memory in [1, 16 << 20, 64 << 20, 256 << 20, 4 << 30] {
            for jobs in [1, 2, 16, 64] {
                for around in [Around::Nothing, Around::Gzip, Around::Zstd(3), Around::Zstd(12)] {
                    let budget = Budget::new(memory, jobs, around);
                    let waiting = budget.buffers - budget.workers;
                    let most = budget.workers * around.worker_bytes() + waiting * BUFFER_LIMIT;
                    assert!(most as u64 <= memory.max(around.worker_bytes() as u64), "{memory} {jobs} {budget:?}");
                }
            }
        }
    }
}
