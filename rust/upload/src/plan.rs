//! How large a part is: fixed before the first byte from an upper bound of the size, so that no store's limit is ever met.

use crate::error::{Result, UploadError, UploadErrorKind};

const MIB: u64 = 1 << 20;

/// What a store takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub smallest_part: u64,
    pub largest_part: u64,
    pub most_parts: u64,
}

impl Limits {
    pub const S3: Self = Self { smallest_part: 5 * MIB, largest_part: 5 << 30, most_parts: 10_000 };
    pub const AZURE: Self = Self { smallest_part: 1, largest_part: 4000 * MIB, most_parts: 50_000 };
    pub const FILE: Self = Self { smallest_part: 1, largest_part: 1 << 40, most_parts: 1 << 32 };
}

/// 8 MiB carry 70 GiB; larger ones cost more when a connection breaks and gain nothing on any link measured.
const USUAL_PART: u64 = 8 * MIB;

/// A tenth of the parts is kept back: a bound that was a little too small must not end an upload.
fn usable(most_parts: u64) -> u64 {
    most_parts - most_parts / 10
}

/// The size of every part but the last, for at most `bound` bytes.
pub(crate) fn part_size(bound: u64, asked: Option<u64>, limits: &Limits) -> Result<u64> {
    let too_large = |what: &str| {
        let most = limits.largest_part.saturating_mul(limits.most_parts) >> 30;
        Err(UploadError::new(
            UploadErrorKind::TooLarge,
            format!("{what}; the store takes objects up to {most} GiB: split the file, or use compress(shard_size=…)"),
        ))
    };
    if let Some(asked) = asked {
        if asked < limits.smallest_part || asked > limits.largest_part {
            let (low, high) = (limits.smallest_part, limits.largest_part);
            let message = format!("part_size is {asked}; this store takes parts from {low} to {high} bytes");
            return Err(UploadError::new(UploadErrorKind::BadDestination, message));
        }
        if bound.div_ceil(asked) <= limits.most_parts {
            return Ok(asked);
        }
    }
    let needed = bound.div_ceil(usable(limits.most_parts)).next_multiple_of(MIB);
    let size = needed.max(USUAL_PART).max(limits.smallest_part);
    if size > limits.largest_part {
        return too_large(&format!("{bound} bytes do not fit into {} parts", limits.most_parts));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_fits_into_the_parts_a_store_takes() {
        for bound in [0, 1, 8 * MIB, 70 << 30, 562 << 30, 5 << 40, 40 << 40] {
            let size = part_size(bound, None, &Limits::S3).unwrap();
            assert!(bound.div_ceil(size) <= 9_000, "{bound}");
            assert!((Limits::S3.smallest_part..=Limits::S3.largest_part).contains(&size));
        }
        assert_eq!(part_size(70 << 30, None, &Limits::S3).unwrap(), 8 * MIB);
        assert_eq!(part_size(60 << 40, None, &Limits::S3).unwrap_err().kind, UploadErrorKind::TooLarge);
    }

    #[test]
    fn a_size_that_is_asked_for_is_kept_where_the_store_takes_it() {
        assert_eq!(part_size(1 << 30, Some(5 * MIB), &Limits::S3).unwrap(), 5 * MIB);
        assert_eq!(part_size(1 << 30, Some(MIB), &Limits::S3).unwrap_err().kind, UploadErrorKind::BadDestination);
        assert!(part_size(100 << 30, Some(5 * MIB), &Limits::S3).unwrap() > 5 * MIB);
    }
}
