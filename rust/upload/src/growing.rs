//! An archive that is sent while it is packed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use vhpack_core::{End, Growing};

use crate::source::{Extent, Identity, Source};

/// Follows the pack of one archive: nothing of it is published before the pack says that all of it went well.
pub struct GrowingSource(Arc<Growing>);

impl GrowingSource {
    /// The source that an archive is while it is packed.
    pub fn new(archive: Arc<Growing>) -> Self {
        Self(archive)
    }
}

impl Source for GrowingSource {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn extent(&self) -> Extent {
        let growth = self.0.growth();
        match (growth.end, growth.length) {
            (Some(End::Finished), Some(length)) => Extent::Complete(length),
            (None, _) => Extent::Growing(growth.sealed),
            (Some(_), _) => Extent::Aborted("its pack failed; correct that and pack again".to_owned()),
        }
    }

    fn ready(&self, offset: u64, length: u64) -> bool {
        let growth = self.0.growth();
        growth.end != Some(End::Aborted) && growth.holds(&(offset..offset + length))
    }

    fn whole(&self) -> Option<u64> {
        let growth = self.0.growth();
        growth.length.filter(|_| growth.named)
    }

    fn bound(&self) -> u64 {
        self.0.bound()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset).map(|()| buffer.len())
    }

    fn identity(&self) -> Option<Identity> {
        None
    }

    fn still(&self) -> Result<(), String> {
        if self.0.growth().length.is_none() || self.0.is_unchanged() {
            return Ok(());
        }
        Err("it was written to".to_owned())
    }
}
