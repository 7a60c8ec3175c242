//! Where a member is, in twenty bytes: enough to read one that is stored without asking the directory again.

use super::layout::{FLAG_DESCRIPTOR, FLAG_ENCRYPTED, FLAG_PATCH, Record};
use crate::read::fault::Fault;
use crate::read::member::MemberKind;

/// Stands for a size that only the directory can tell, along with everything else.
const ASK: u32 = u32::MAX;

/// What an index keeps of a record besides the name's hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Of the record, in the directory.
    position: u32,
    offset_low: u32,
    offset_high: u16,
    size: u32,
    crc: u32,
}

/// A stored member that its local header alone may confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Direct {
    /// Of the local header, in the file.
    pub offset: u64,
    pub size: u32,
    pub crc: u32,
}

impl Place {
    /// The place of `record`, which stands at `position` of the directory; `plain` where the name reads as it is written.
    pub fn of(record: &Record<'_>, position: u64, plain: bool) -> Result<Self, Fault> {
        let Ok(position) = u32::try_from(position) else {
            return Err(Fault::unsupported("its directory is larger than 4 GiB; split the archive"));
        };
        let needs_directory = FLAG_ENCRYPTED | FLAG_DESCRIPTOR | FLAG_PATCH;
        let direct = plain
            && record.method == 0
            && record.flags & needs_directory == 0
            && record.kind() == MemberKind::File
            && record.size == record.packed;
        let (size, high) = (u32::try_from(record.size), u16::try_from(record.offset >> 32));
        let (size, offset_high) = match (direct, size, high) {
            (true, Ok(size), Ok(high)) => (size, high),
            _ => (ASK, 0),
        };
        Ok(Self { position, offset_low: record.offset as u32, offset_high, size, crc: record.crc })
    }

    pub fn position(&self) -> u64 {
        self.position.into()
    }

    /// What can be read without the directory; `shift` bytes stand before the archive.
    pub fn direct(&self, shift: u64) -> Option<Direct> {
        let offset = u64::from(self.offset_high) << 32 | u64::from(self.offset_low);
        (self.size != ASK).then_some(Direct { offset: offset + shift, size: self.size, crc: self.crc })
    }
}
