//! What stands behind a tar's last member: two blocks of zeros and, up to the end, more of them in an honest one.

use super::layout::{BLOCK, is_header};

/// Writers fill up to a record, which is 10,240 bytes as a rule and for a tape up to a mebibyte. More zeros stand in files that
/// had their length before their bytes, which never came.
const MOST_ZEROS: u64 = (1 << 20) + 2 * BLOCK as u64;

/// Looks at all that follows the end mark, portion by portion.
pub(super) struct Behind {
    end: u64,
    first: Option<u64>,
    header: Option<u64>,
}

/// How the end of a tar is not what it should be, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Oddity {
    /// There is no end mark.
    Unmarked(u64),
    /// The end mark is one block instead of two, and something follows: a header may have been wiped out.
    Single(u64),
    /// A header stands behind the end mark, as where archives were joined.
    Members { mark: u64, header: u64 },
    /// Bytes that are no header stand behind the end mark.
    Bytes(u64),
    /// More zeros follow than any writer fills up with: how many, with the mark.
    Zeros { mark: u64, count: u64 },
    /// Bytes of the file stand behind the packed stream.
    Unpacked(u64),
}

impl Behind {
    pub fn new(end: u64) -> Self {
        Self { end, first: None, header: None }
    }

    /// Take in what stands at `offset`, whole blocks except at the very end.
    pub fn see(&mut self, bytes: &[u8], offset: u64) {
        let blocks = bytes.chunks(BLOCK).zip((offset..).step_by(BLOCK));
        for (block, at) in blocks.filter(|(block, _)| block.iter().any(|&byte| byte != 0)) {
            self.first.get_or_insert(at);
            if self.header.is_none() && block.first_chunk().is_some_and(is_header) {
                self.header = Some(at);
            }
        }
    }

    /// What is odd in a stream of `length` bytes.
    pub fn oddity(&self, length: u64) -> Option<Oddity> {
        let Some(first) = self.first else {
            let count = length.saturating_sub(self.end);
            return (count > MOST_ZEROS).then_some(Oddity::Zeros { mark: self.end, count });
        };
        Some(match self.header {
            _ if first == self.end + BLOCK as u64 => Oddity::Single(self.end),
            Some(header) => Oddity::Members { mark: self.end, header },
            None => Oddity::Bytes(self.end),
        })
    }
}

impl Oddity {
    /// Whether members may be missing.
    pub fn is_damage(self) -> bool {
        !matches!(self, Self::Bytes(_) | Self::Zeros { .. } | Self::Unpacked(_))
    }

    pub fn offset(self) -> u64 {
        match self {
            Self::Members { header, .. } => header,
            Self::Zeros { mark, .. } => mark,
            Self::Unmarked(at) | Self::Single(at) | Self::Bytes(at) | Self::Unpacked(at) => at,
        }
    }

    /// A sentence without its full stop.
    pub fn what(self) -> String {
        match self {
            Self::Unmarked(at) => format!("it ends at byte {at} without its end mark; it was probably cut short"),
            Self::Single(at) => format!(
                "the end mark at byte {at} is one block of zeros instead of two, and more follows; a member's header may \
                 have been wiped out there, and what follows is not listed"
            ),
            Self::Members { mark, header } => format!(
                "a member's header stands at byte {header}, behind the end mark at byte {mark}, and what follows is not \
                 listed; where archives were joined, use GNU tar's --ignore-zeros"
            ),
            Self::Zeros { mark, count } => format!(
                "{count} zeros follow byte {mark}, more than writers put at an end; what should stand there may never have been \
                 written, as in a download that broke off"
            ),
            Self::Bytes(at) | Self::Unpacked(at) => format!("what follows byte {at} belongs to no member"),
        }
    }
}
