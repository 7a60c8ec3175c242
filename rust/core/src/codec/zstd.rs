//! Zstandard: whole buffers into frames that stand for themselves.

use zstd_safe::{CCtx, CParameter};

/// Compresses buffers into frames of their own, each with its content's size and checksum; one for each thread.
pub struct FrameCompressor(CCtx<'static>);

impl FrameCompressor {
    /// For `level` 1 to 12, zstd's own. `None` when there is no memory for it.
    pub fn new(level: u8) -> Option<Self> {
        let mut context = CCtx::try_create()?;
        for parameter in [
            CParameter::CompressionLevel(level.clamp(1, 12).into()),
            CParameter::ChecksumFlag(true),
            CParameter::ContentSizeFlag(true),
        ] {
            context.set_parameter(parameter).ok()?;
        }
        Some(Self(context))
    }

    /// Append the frame of `raw` to `out`. `None` is a fault in the library, never in the input.
    pub fn append(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let start = out.len();
        out.resize(start + zstd_safe::compress_bound(raw.len()), 0);
        let length = self.compress(raw, &mut out[start..])?;
        out.truncate(start + length);
        Some(())
    }

    /// Compress into `out`; `None` when the result does not fit, which is how a limit is set.
    pub fn compress(&mut self, raw: &[u8], out: &mut [u8]) -> Option<usize> {
        self.0.compress2(out, raw).ok()
    }
}

/// What a compressor of `level` keeps for buffers of up to 5 MiB, rounded up from what `sizeof` says.
pub const fn tables_bytes(level: u8) -> usize {
    match level {
        0..=2 => 1 << 20,
        3..=4 => 3 << 20,
        5..=8 => 6 << 20,
        9 => 11 << 20,
        10..=11 => 21 << 20,
        _ => 41 << 20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_no_larger_than_said() {
        let raw: Vec<u8> = (0..5_u32 << 20).map(|i| (i.wrapping_mul(i) >> 9) as u8).collect();
        for level in 1..=12 {
            let mut compressor = FrameCompressor::new(level).unwrap();
            compressor.append(&raw, &mut Vec::new()).unwrap();
            let (kept, said) = (compressor.0.sizeof(), tables_bytes(level));
            assert!(kept <= said, "level {level} keeps {kept}, said {said}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said_and_harms_nothing() {
        let mut compressor = FrameCompressor::new(3).unwrap();
        let raw: Vec<u8> = (0..100_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        assert_eq!(compressor.compress(&raw, &mut vec![0; 1000]), None);
        let mut out = Vec::new();
        compressor.append(&raw, &mut out).unwrap();
        let mut back = vec![0; raw.len()];
        assert_eq!(zstd_safe::decompress(&mut back[..], &out).unwrap(), raw.len());
        assert!(back == raw);
    }
}
