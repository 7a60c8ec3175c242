//! Where archive bytes go.

mod file;

pub(crate) use file::{StagedFile, remove_leftovers};

use std::ops::Range;

use crate::error::Result;

/// Takes the bytes of an archive in order.
///
/// The pipeline calls from one thread at a time, but reads back from several. A sink that is dropped without being committed leaves no trace.
pub(crate) trait Sink: Send + Sync {
    /// Append `bytes`.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Write over bytes that were appended before; only header fields of the member that is being written.
    fn patch(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Read back what was appended: the bytes from `offset` on, as many as fit.
    fn read_back(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// Forget everything from `offset` on: a member that turned out not to be packed.
    fn rewind(&mut self, offset: u64) -> Result<()>;

    /// Everything before `sealed` is final, but for what is `open`; said after each change. Nothing there is written to,
    /// patched or taken back afterwards.
    fn seal(&mut self, sealed: u64, open: Option<&Range<u64>>);
}
