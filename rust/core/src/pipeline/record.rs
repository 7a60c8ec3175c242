//! What is known of a packed member until the central directory is written and the originals are removed.

use crate::codec::Codec;
use crate::frame::{Member, Method};
use crate::fs::Stamp;
use crate::plan::Plan;
use crate::request::Stamps;

const KIND_BITS: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

/// One packed member; 72 bytes, since there may be millions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    /// The original as it was when it was read.
    pub stamp: Stamp,
    /// Length in the archive.
    pub packed: u64,
    /// Where the local header stands; relative to its buffer until that is written.
    pub offset: u64,
    /// Place among the plan's entries.
    pub entry: u32,
    pub crc: u32,
    /// `st_mode`; sixteen bits are all there is.
    pub mode: u16,
    pub codec: Codec,
}

impl Record {
    /// Length of the raw bytes.
    pub fn size(&self) -> u64 {
        if self.is_directory() { 0 } else { self.stamp.size }
    }

    pub fn is_file(&self) -> bool {
        !self.is_directory() && u32::from(self.mode) & KIND_BITS != LINK
    }

    pub fn is_directory(&self) -> bool {
        u32::from(self.mode) & KIND_BITS == DIRECTORY
    }

    /// What the headers say of it; `link` is where a link leads, for containers that say it there.
    pub fn member<'a>(&self, plan: &'a Plan, stamps: Stamps, link: &'a [u8]) -> Member<'a> {
        let mode = u32::from(self.mode);
        let (mtime, mode) = match stamps {
            // The set-id bits have no business in an archive that others unpack.
            Stamps::Original => (self.stamp.mtime, mode & (KIND_BITS | 0o777)),
            Stamps::Fixed(mtime) => (mtime, mode & KIND_BITS | fixed_permissions(mode)),
        };
        Member {
            name: plan.member(&plan.entries()[self.entry as usize]),
            link,
            method: match self.codec {
                Codec::Store => Method::Stored,
                Codec::Zstd => Method::Zstd,
                Codec::Deflate => Method::Deflated,
            },
            crc: self.crc,
            size: self.size(),
            packed: self.packed,
            mtime,
            mode,
        }
    }
}

fn fixed_permissions(mode: u32) -> u32 {
    match mode & KIND_BITS {
        LINK => 0o777,
        DIRECTORY => 0o755,
        _ if mode & 0o100 != 0 => 0o755,
        _ => 0o644,
    }
}
