//! Counters that a running call keeps up to date and anyone may read.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// How far a call has come. Reading never waits for the work, and the work never waits for a reader.
#[derive(Debug, Default)]
pub struct Progress {
    stage: AtomicU8,
    /// Members finished.
    pub files: Counter,
    /// Members of the plan; zero until the plan is made.
    pub total_files: Counter,
    /// Bytes read from finished members.
    pub bytes_in: Counter,
    /// Bytes of the archive so far.
    pub bytes_out: Counter,
    /// Originals removed.
    pub removed: Counter,
}

/// What the call is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Finding, naming and ordering the files.
    Scan,
    /// Reading, compressing, writing.
    Pack,
    /// Waiting for the disk, publishing.
    Commit,
    /// Removing the originals.
    Remove,
    /// Writing an archive's members to a folder.
    Extract,
    /// Reading all of an archive to find damage.
    Verify,
    /// Reading and hashing files.
    Hash,
}

impl Phase {
    /// The phase in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Pack => "pack",
            Self::Commit => "commit",
            Self::Remove => "remove",
            Self::Extract => "extract",
            Self::Verify => "verify",
            Self::Hash => "hash",
        }
    }
}

impl Progress {
    /// What the call is busy with.
    pub fn phase(&self) -> Phase {
        match self.stage.load(Ordering::Relaxed) {
            0 => Phase::Scan,
            1 => Phase::Pack,
            2 => Phase::Commit,
            3 => Phase::Remove,
            4 => Phase::Extract,
            5 => Phase::Verify,
            _ => Phase::Hash,
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.stage.store(phase as u8, Ordering::Relaxed);
    }
}

/// A number that only grows, but for a member that had to be taken back.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
}
