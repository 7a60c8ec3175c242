//! How much an archive may claim before it is taken for an attack: every default in one place.

use std::path::Path;

use super::fault::Fault;
use super::room;
use crate::error::ErrorKind;

/// What [`Limits::max_ratio`] leaves alone, whatever room there is: so much does no harm, and small archives of zeros are
/// common.
const FREE_BYTES: u64 = 1 << 30;

/// A tar's list of members, with their names and the maps of sparse files, may take this much, and [`NAME_RATIO`] bytes more for each
/// byte of the file.
const FREE_NAMES: u64 = 64 << 20;

/// A header of 512 bytes packs to no less than 2.6 where names are numbers and all else is the same, and takes 80 in the list; as a
/// rule to 40, and takes 120.
const NAME_RATIO: u64 = 64;

/// Bounds on what an archive may unpack to. Zero lifts a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members of all kinds. Default ten million: a zip's index takes 28 bytes a member, so 280 MB; a tar's table 64 and the name.
    pub max_members: u64,
    /// Bytes of all members together. Default 16 TiB, the largest file of ext4.
    pub max_total: u64,
    /// Bytes unpacked for each byte of the archive. What goes beyond, and beyond 1 GiB, may take half of the room that
    /// there is: of the disk where it is extracted, of the memory where it is held. What only passes through (listing,
    /// verifying, reading in portions) takes no room and is not held against it. Also whether a tar's list of members is bounded
    /// by its size. Default 200: zeros that somebody has packed reach 1030 with deflate and 30,000 with zstd, exactly as
    /// bombs do, so a ratio alone cannot tell them; and what is data stays below.
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

/// The longest target of a link; `PATH_MAX`.
pub(crate) const LINK_BYTES: u64 = 4096;

/// The next step for whoever meets a limit.
pub(super) const TRUST: &str = "if you trust it, lift the limits with --unsafe-limits, or unsafe_limits=True in Python";

/// How many symbolic links may lead to each other, as on Linux.
pub(crate) const LINKS: usize = 40;

impl Limits {
    /// Refuse the next member after `count`.
    pub(crate) fn check_members(&self, count: u64) -> Result<(), Fault> {
        if self.max_members == 0 || count <= self.max_members {
            return Ok(());
        }
        let what = format!("it has more than {} members; {TRUST}", self.max_members);
        Err(Fault::new(ErrorKind::LimitExceeded, what))
    }

    /// Refuse a table of a tar's members that takes `bytes` in a file of `packed`.
    pub(crate) fn check_table(&self, bytes: u64, packed: u64) -> Result<(), Fault> {
        let most = FREE_NAMES.saturating_add(packed.saturating_mul(NAME_RATIO));
        if self.max_ratio == 0 || bytes <= most {
            return Ok(());
        }
        let what = format!(
            "the list of its members, with names and the maps of sparse files, takes more than {most} bytes; {TRUST}"
        );
        Err(Fault::new(ErrorKind::LimitExceeded, what))
    }

    /// Refuse `raw` bytes, which nobody has asked to unpack yet.
    pub(crate) fn check_total(&self, raw: u64) -> Result<(), Fault> {
        if self.max_total != 0 && raw > self.max_total {
            let what = format!("it unpacks to {raw} bytes, more than {}; {TRUST}", self.max_total);
            return Err(Fault::new(ErrorKind::LimitExceeded, what));
        }
        Ok(())
    }

    /// Refuse to write `raw` bytes below `dest` that were packed into `packed`.
    pub(crate) fn check_written(&self, raw: u64, packed: u64, dest: &Path) -> Result<(), Fault> {
        self.check_room(raw, packed, "of the disk", "free some space", || room::on_disk(dest))
    }

    /// Refuse to hold `raw` bytes that were packed into `packed`.
    pub(crate) fn check_held(&self, raw: u64, packed: u64) -> Result<(), Fault> {
        self.check_room(raw, packed, "of the memory", "read it in portions", room::in_memory)
    }

    fn check_room(
        &self,
        raw: u64,
        packed: u64,
        place: &str,
        way_out: &str,
        free: impl FnOnce() -> Option<u64>,
    ) -> Result<(), Fault> {
        self.check_total(raw)?;
        if self.max_ratio == 0 || raw <= FREE_BYTES || raw / self.max_ratio <= packed {
            return Ok(());
        }
        // Where nobody knows how much there is, nothing tells zeros from a bomb.
        let most = free().unwrap_or(0) / 2;
        if raw <= most.max(FREE_BYTES) {
            return Ok(());
        }
        let what = format!(
            "{packed} bytes unpack to {raw}, more than {} times as many, as in a decompression bomb, and may take half \
             {place} that is free, which is {most}; {way_out}, or {TRUST}",
            self.max_ratio
        );
        Err(Fault::new(ErrorKind::LimitExceeded, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_unpacked_where_there_is_room_and_bombs_nowhere() {
        const GIB: u64 = 1 << 30;
        let limits = Limits::default();
        let check = |limits: &Limits, raw, packed, free| limits.check_room(raw, packed, "", "", || free).is_ok();
        // Within the ratio, or small: nobody asks for room.
        assert!(limits.check_room(200 * GIB, GIB, "", "", || panic!("asked")).is_ok());
        assert!(limits.check_room(GIB, 1, "", "", || panic!("asked")).is_ok());
        // 1.5 GiB of zeros, and the largest bomb of ten megabytes that zstd can make.
        assert!(check(&limits, 3 * GIB / 2, GIB / 1000, Some(3 * GIB)));
        assert!(!check(&limits, 3 * GIB / 2, GIB / 1000, Some(3 * GIB - 2)));
        assert!(!check(&limits, 10_000_000 * 32_768, 10_000_000, Some(500 * GIB)));
        assert!(!check(&limits, 2 * GIB, 1, None), "nobody knows of any room");
        assert!(!check(&limits, 17 << 40, 1 << 40, Some(u64::MAX)), "the total counts everywhere");
        assert!(check(&Limits { max_ratio: 0, ..limits }, 2 * GIB, 1, Some(0)));
    }
}
