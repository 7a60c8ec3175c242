//! Zstandard's seekable format: independent frames, and a table of their lengths in a skippable frame at the end.
//!
//! Readers that do not know the table skip it and decompress the frames as one stream.

/// Begins a skippable frame; this one is the seek table's by agreement.
const SKIPPABLE: u32 = 0x184D_2A5E;
/// Ends the table, so that it is found from the end of the file.
const FOOTER: u32 = 0x8F92_EAB1;
/// The table has checksums.
const CHECKSUMS: u8 = 1 << 7;

/// A frame, as the seek table lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Length in the archive.
    pub packed: u32,
    /// Length of its content.
    pub raw: u32,
    /// The lower half of the content's XXH64, which also ends the frame.
    pub checksum: u32,
}

impl Listed {
    /// Of a frame that ends with its content's checksum.
    pub fn of(frame: &[u8], raw: usize) -> Self {
        let checksum = frame.last_chunk().copied().map_or(0, u32::from_le_bytes);
        Self { packed: frame.len() as u32, raw: raw as u32, checksum }
    }
}

/// Append the seek table of frames that stand one behind the other from the file's beginning.
pub fn seek_table(out: &mut Vec<u8>, frames: &[Listed]) {
    let mut put = |value: u32| out.extend_from_slice(&value.to_le_bytes());
    put(SKIPPABLE);
    put(12 * frames.len() as u32 + 9);
    for frame in frames {
        for field in [frame.packed, frame.raw, frame.checksum] {
            put(field);
        }
    }
    put(frames.len() as u32);
    out.push(CHECKSUMS);
    out.extend_from_slice(&FOOTER.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_a_skippable_frame_found_from_the_end() {
        let frames = [Listed { packed: 5, raw: 70, checksum: 9 }, Listed { packed: 6, raw: 80, checksum: 10 }];
        let mut out = Vec::new();
        seek_table(&mut out, &frames);
        assert_eq!(out.len(), 8 + 2 * 12 + 9);
        assert_eq!(out[..8], [0x5E, 0x2A, 0x4D, 0x18, 33, 0, 0, 0]);
        assert_eq!(out[out.len() - 9..], [2, 0, 0, 0, 0x80, 0xB1, 0xEA, 0x92, 0x8F]);
    }

    #[test]
    fn a_frame_is_listed_with_the_checksum_that_ends_it() {
        let listed = Listed::of(&[9, 9, 1, 0, 0, 2], 40);
        assert_eq!(listed, Listed { packed: 6, raw: 40, checksum: 0x0200_0001 });
    }
}
