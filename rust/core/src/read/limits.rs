//! How much an archive may claim before it is taken for an attack: every default in one place.

use super::fault::Fault;
use crate::error::ErrorKind;

/// What [`Limits::max_ratio`] leaves alone: so much does no harm, and small archives of zeros are common.
const FREE_BYTES: u64 = 1 << 30;

/// Bounds on what an archive may unpack to. Zero lifts a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members of all kinds. Default ten million: an index takes some 20 bytes a member, so 200 MB.
    pub max_members: u64,
    /// Bytes of all members together. Default 16 TiB, the largest file of ext4.
    pub max_total: u64,
    /// Bytes unpacked for each byte of the archive, counted from 1 GiB unpacked. Default 200: deflate can be driven to
    /// 1032 and zstd far beyond, and no dataset of that size should come near.
    pub max_ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_members: 10_000_000, max_total: 16 << 40, max_ratio: 200 }
    }
}

/// The longest name of a member, in bytes; also what zip's field holds.
pub(crate) const NAME_BYTES: usize = 65_535;

/// The deepest member, in folders: each is one open descriptor away from the last.
pub(crate) const DEPTH: usize = 512;

/// How many hard links may lead to each other; writers make one.
pub(crate) const HARD_LINKS: usize = 8;

/// The longest target of a link; `PATH_MAX`.
pub(crate) const LINK_BYTES: u64 = 4096;

impl Limits {
    /// Refuse the next member after `count`.
    pub(crate) fn check_members(&self, count: u64) -> Result<(), Fault> {
        if self.max_members == 0 || count <= self.max_members {
            return Ok(());
        }
        let what = format!("it has more than {} members; raise the limit if you trust it", self.max_members);
        Err(Fault::new(ErrorKind::LimitExceeded, what))
    }

    /// Refuse `raw` bytes that were packed into `packed`.
    pub(crate) fn check_bytes(&self, raw: u64, packed: u64) -> Result<(), Fault> {
        if self.max_total != 0 && raw > self.max_total {
            let what =
                format!("it unpacks to {raw} bytes, more than {}; raise the limit if you trust it", self.max_total);
            return Err(Fault::new(ErrorKind::LimitExceeded, what));
        }
        if self.max_ratio != 0 && raw > FREE_BYTES && raw / self.max_ratio > packed {
            let what = format!(
                "{packed} bytes unpack to {raw}, more than {} times as many, as in a decompression bomb; raise the \
                 limit if you trust it",
                self.max_ratio
            );
            return Err(Fault::new(ErrorKind::LimitExceeded, what));
        }
        Ok(())
    }
}
