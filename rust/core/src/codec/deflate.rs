//! Deflate twice: libdeflate for what fits in memory, zlib-rs for the blocks of what does not.

use libdeflater::{CompressionLvl, Compressor};
use zlib_rs::{Deflate, DeflateFlush, Status};

use super::Fault;

/// What deflate can refer back to, and so what a block is primed with.
pub const DICTIONARY_BYTES: usize = 32 << 10;

/// The level at which samples are tried: the cheapest that finds matches at all.
const PROBE_LEVEL: u8 = 1;

/// What is compressed between two looks at whether to go on: at its slowest (level 9 on noise of two letters) zlib-rs
/// takes one microsecond for a byte.
const SLICE_BYTES: usize = 64 << 10;

/// The longest input that [`WholeDeflater`] gets through soon enough at this level: it cannot be interrupted. On random
/// letters it takes 30 ns for a byte at level 6, and 260 to 500 ns at levels 8 to 12.
pub fn longest_whole(level: u8) -> usize {
    if level <= 6 { 4 << 20 } else { 512 << 10 }
}

/// Compresses whole buffers; one for each thread, since it is large to make and small to reuse.
pub struct WholeDeflater(Compressor);

impl WholeDeflater {
    /// For `level` 1 to 12; 0 and what lies beyond are moved to the nearest.
    pub fn new(level: u8) -> Self {
        let level = CompressionLvl::new(i32::from(level.clamp(1, 12))).unwrap_or_default();
        Self(Compressor::new(level))
    }

    /// For trying samples.
    pub fn probe() -> Self {
        Self::new(PROBE_LEVEL)
    }

    /// Compress into `out`; `None` when the result does not fit, which is how a limit is set.
    pub fn compress(&mut self, raw: &[u8], out: &mut [u8]) -> Option<usize> {
        self.0.deflate_compress(raw, out).ok()
    }
}

/// Compresses the blocks of one stream independently: each is primed with the raw bytes before it and ends on a byte
/// boundary, so that the results, joined in order, are one deflate stream.
///
/// Each block gets a state of its own: one that is reset still makes other bytes of a block than one that is new, and then
/// the archive would say which worker had which block. It costs some 30 µs for each.
pub struct BlockDeflater {
    level: i32,
}

impl BlockDeflater {
    /// For `level` 1 to 12; zlib's scale ends at 9. Its lowest level knows fixed Huffman codes only, which make weights
    /// larger (104.7 % of a bf16 checkpoint, where the next level gives 80 %), so 1 is its second.
    pub fn new(level: u8) -> Self {
        Self { level: i32::from(level.clamp(2, 9)) }
    }

    /// Append the compressed form of `raw` to `out`. `dictionary` is the end of what came before, at most
    /// [`DICTIONARY_BYTES`]; `last` ends the stream. `stop` is asked every few dozen milliseconds at least.
    pub fn compress(
        &self,
        dictionary: &[u8],
        raw: &[u8],
        last: bool,
        out: &mut Vec<u8>,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Fault> {
        let mut stream = Deflate::new(self.level, false, 15);
        if !dictionary.is_empty() {
            stream.set_dictionary(dictionary).map_err(|_| Fault::Library)?;
        }
        let (mut taken, mut filled) = (0, out.len());
        // Deflate grows incompressible data by five bytes in 16 KiB at most; the rest is for flush markers.
        out.resize(filled + raw.len() + raw.len() / 1024 + 128, 0);
        loop {
            if stop() {
                return Err(Fault::Stopped);
            }
            let end = raw.len().min(taken + SLICE_BYTES);
            let flush = match end == raw.len() {
                false => DeflateFlush::NoFlush,
                true if last => DeflateFlush::Finish,
                true => DeflateFlush::SyncFlush,
            };
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let status = stream.compress(&raw[taken..end], &mut out[filled..], flush).map_err(|_| Fault::Library)?;
            taken += (stream.total_in() - before_in) as usize;
            filled += (stream.total_out() - before_out) as usize;
            let done = match status {
                Status::StreamEnd => true,
                _ => !last && taken == raw.len() && filled < out.len(),
            };
            if done {
                out.truncate(filled);
                return Ok(());
            }
            if filled == out.len() {
                out.resize(filled + filled / 8 + 1024, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(packed: &[u8], length: usize) -> Vec<u8> {
        let mut raw = vec![0; length];
        let n = libdeflater::Decompressor::new().deflate_decompress(packed, &mut raw).unwrap();
        raw.truncate(n);
        raw
    }

    #[test]
    fn blocks_join_into_one_stream_at_every_level() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(|i| i.wrapping_mul(i).to_string().into_bytes()).collect();
        for level in 1..=12 {
            for size in [1_000, 65_536, 1 << 20] {
                let mut packed = Vec::new();
                let deflater = BlockDeflater::new(level);
                let mut at = 0;
                while at < text.len() {
                    let end = (at + size).min(text.len());
                    let dictionary = &text[at.saturating_sub(DICTIONARY_BYTES)..at];
                    deflater.compress(dictionary, &text[at..end], end == text.len(), &mut packed, &|| false).unwrap();
                    at = end;
                }
                assert_eq!(inflate(&packed, text.len()), text, "level {level}, blocks of {size}");
            }
        }
    }
}
