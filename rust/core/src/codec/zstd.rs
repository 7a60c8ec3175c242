//! Zstandard: whole buffers into frames that stand for themselves.

use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

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

/// Bytes that the threads of a [`LongFrame`] take at a time; they hold two more than there are threads.
const JOB_BYTES: u32 = 2 << 20;

/// Compresses one long member into one frame, on threads of its own: readers of zips stop at a frame's end. The bytes do not
/// depend on how many threads there are, as long as the library uses its own at all.
pub struct LongFrame(CCtx<'static>);

impl LongFrame {
    /// For `size` bytes to come. `None` when there is no memory or thread for it.
    pub fn new(level: u8, size: u64, threads: usize) -> Option<Self> {
        let mut context = CCtx::try_create()?;
        for parameter in [
            CParameter::CompressionLevel(level.clamp(1, 12).into()),
            CParameter::ChecksumFlag(true),
            CParameter::NbWorkers(threads.clamp(1, 64) as u32),
            CParameter::JobSize(JOB_BYTES),
        ] {
            context.set_parameter(parameter).ok()?;
        }
        context.set_pledged_src_size(Some(size)).ok()?;
        Some(Self(context))
    }

    /// Take `raw`, the next of the member, and append what is ready of the frame to `out`: all of it after the `last`.
    pub fn append(&mut self, raw: &[u8], last: bool, out: &mut Vec<u8>) -> Option<()> {
        let end = if last { ZSTD_EndDirective::ZSTD_e_end } else { ZSTD_EndDirective::ZSTD_e_continue };
        let mut input = InBuffer::around(raw);
        loop {
            out.reserve(128 << 10);
            let at = out.len();
            let mut output = OutBuffer::around_pos(out, at);
            let left = self.0.compress_stream2(&mut output, &mut input, end).ok()?;
            if input.pos() == raw.len() && (!last || left == 0) {
                return Some(());
            }
        }
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
    fn a_long_frame_is_one_frame_and_the_same_with_any_number_of_threads() {
        let raw: Vec<u8> = (0..9_000_000_u32).map(|i| (i.wrapping_mul(i) >> 9) as u8).collect();
        let frames = [1, 2, 5].map(|threads| {
            let mut frame = LongFrame::new(3, raw.len() as u64, threads).unwrap();
            let mut out = Vec::new();
            let mut portions = raw.chunks(1 << 20).peekable();
            while let Some(portion) = portions.next() {
                frame.append(portion, portions.peek().is_none(), &mut out).unwrap();
            }
            out
        });
        assert!(frames[0] == frames[1] && frames[0] == frames[2]);
        assert_eq!(zstd_safe::find_frame_compressed_size(&frames[0]), Ok(frames[0].len()));
        let mut back = vec![0; raw.len()];
        assert_eq!(zstd_safe::decompress(&mut back[..], &frames[0]).unwrap(), raw.len());
        assert!(back == raw);
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
