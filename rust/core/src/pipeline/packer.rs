//! The compressors of one worker, and what they are asked to do.

use super::blocks::Block;
use super::budget::Around;
use crate::codec::{
    BlockDeflater, Codec, Fault, FrameCompressor, SAMPLE_BYTES, SAMPLES, Verdict, WholeDeflater, is_kept, judge,
    longest_whole, pays_off, sample_offsets,
};
use crate::frame::Frame;
use crate::request::{CodecChoice, DEFAULT_LEVEL, DEFAULT_ZSTD_LEVEL, Format, PackOptions};

/// What a format and its options come to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method {
    pub frame: Frame,
    /// What is done to the framed bytes.
    pub around: Around,
    /// How members are kept, as far as their content has no say.
    pub codec: Codec,
    pub choice: CodecChoice,
    pub level: u8,
}

impl Method {
    pub fn new(format: Format, options: &PackOptions) -> Self {
        let zstd = format == Format::TarZst || options.codec == CodecChoice::Zstd;
        let level = options.level.unwrap_or(if zstd { DEFAULT_ZSTD_LEVEL } else { DEFAULT_LEVEL });
        let (frame, around, codec) = match format {
            Format::Zip if zstd => (Frame::Zip, Around::Within(level), Codec::Store),
            Format::Zip => (Frame::Zip, Around::Nothing, Codec::Store),
            Format::Tar => (Frame::Tar, Around::Nothing, Codec::Store),
            Format::TarGz => (Frame::Tar, Around::Gzip, Codec::Deflate),
            Format::TarZst => (Frame::Tar, Around::Zstd(level), Codec::Zstd),
        };
        // A tar has no say about single members' codecs.
        let choice = if level == 0 || frame == Frame::Tar { CodecChoice::Store } else { options.codec };
        Self { frame, around, codec, choice, level }
    }
}

/// From this level on, blocks that will not shrink are not searched with all effort: 64 MiB of noise cost zstd 0.03 s at level 3,
/// 0.2 s at 6 and 0.9 s at 12.
const JUDGED_FROM: u8 = 5;

/// The level for them, which still finds what repeats as a whole.
const QUICK: u8 = 1;

pub(super) struct Packer {
    pub method: Method,
    probe: Option<WholeDeflater>,
    whole: Option<WholeDeflater>,
    frame: Option<FrameCompressor>,
    quick: Option<FrameCompressor>,
}

impl Packer {
    pub fn new(method: Method) -> Self {
        Self { method, probe: None, whole: None, frame: None, quick: None }
    }

    /// The packed length, with the bytes in `scratch`, where packing pays.
    pub fn pack(&mut self, raw: &[u8], scratch: &mut Vec<u8>, stop: &dyn Fn() -> bool) -> Result<Option<usize>, Fault> {
        let Method { choice, level, .. } = self.method;
        if choice == CodecChoice::Store {
            return Ok(None);
        }
        let probe = self.probe.get_or_insert_with(WholeDeflater::probe);
        let Verdict::Try { limit } = judge(choice, raw, probe) else { return Ok(None) };
        if self.codec(raw.len() as u64) == Codec::Deflate && raw.len() > longest_whole(level) {
            scratch.clear();
            BlockDeflater::new(level).compress(b"", raw, true, scratch, stop)?;
            return Ok(Some(scratch.len()).filter(|packed| *packed <= limit));
        }
        if scratch.len() < limit {
            scratch.resize(limit.next_multiple_of(64 << 10), 0);
        }
        let room = &mut scratch[..limit];
        if self.codec(raw.len() as u64) == Codec::Zstd {
            // Without memory for the compressor, the member is stored.
            self.frame = self.frame.take().or_else(|| FrameCompressor::new(level));
            return Ok(self.frame.as_mut().and_then(|frame| frame.compress(raw, room)));
        }
        Ok(self.whole.get_or_insert_with(|| WholeDeflater::new(level)).compress(raw, room))
    }

    /// What a member of `size` bytes is packed with where that pays.
    pub fn codec(&self, size: u64) -> Codec {
        // libarchive 3.6 reports zstd in a zip as cut short wherever its output buffer ends with the member.
        const LIBARCHIVE_BUFFER: u64 = 128 << 10;
        let zstd = self.method.choice == CodecChoice::Zstd && !size.is_multiple_of(LIBARCHIVE_BUFFER);
        if zstd { Codec::Zstd } else { Codec::Deflate }
    }

    pub fn judge_samples(&mut self, size: u64, head: &[u8], samples: &[&[u8]]) -> Codec {
        let probe = self.probe.get_or_insert_with(WholeDeflater::probe);
        if !is_kept(head) && pays_off(self.method.choice, samples, probe) { self.codec(size) } else { Codec::Store }
    }

    /// Whether samples of a block promise that it shrinks.
    fn shrinks(&mut self, raw: &[u8]) -> bool {
        if raw.len() < SAMPLES * SAMPLE_BYTES {
            return true;
        }
        let samples = sample_offsets(raw.len() as u64).map(|at| &raw[at as usize..][..SAMPLE_BYTES]);
        pays_off(CodecChoice::Auto, &samples, self.probe.get_or_insert_with(WholeDeflater::probe))
    }

    /// Compress a block of a tar.
    pub fn press(&mut self, block: &mut Block, stop: &dyn Fn() -> bool) -> Result<(), Fault> {
        let mut packed = std::mem::take(&mut block.packed);
        packed.clear();
        let level = self.method.level;
        if self.method.codec == Codec::Zstd {
            let quick = level >= JUDGED_FROM && !self.shrinks(block.raw());
            let (compressor, level) = if quick { (&mut self.quick, QUICK) } else { (&mut self.frame, level) };
            if compressor.is_none() {
                *compressor = FrameCompressor::new(level);
            }
            let compressor = compressor.as_mut().ok_or(Fault::Library)?;
            compressor.append(block.raw(), &mut packed).ok_or(Fault::Library)?;
        } else {
            let (dictionary, raw) = (block.dictionary(), block.raw());
            BlockDeflater::new(level).compress(dictionary, raw, block.last, &mut packed, stop)?;
            let mut crc = crc32fast::Hasher::new();
            crc.update(raw);
            block.crc = crc;
        }
        block.packed = packed;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::blocks::Stream;
    use super::*;

    fn pressed(level: u8, raw: &[u8]) -> Vec<u8> {
        let options = PackOptions { level: Some(level), ..PackOptions::default() };
        let stream = Stream::new(Codec::Zstd);
        let mut stream = Stream::lock(&stream);
        stream.append(raw);
        let mut block = stream.cut();
        Packer::new(Method::new(Format::TarZst, &options)).press(&mut block, &|| false).unwrap();
        block.packed
    }

    fn framed(level: u8, raw: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        FrameCompressor::new(level).unwrap().append(raw, &mut out).unwrap();
        out
    }

    #[test]
    fn effort_is_spent_on_what_shrinks() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let noise: Vec<u8> = (0..1 << 20).map(|_| next()).collect();
        let text: Vec<u8> = (0..200_000_u32).flat_map(|i| i.wrapping_mul(i).to_string().into_bytes()).collect();
        assert_eq!(pressed(12, &noise), framed(QUICK, &noise));
        assert_eq!(pressed(12, &text), framed(12, &text));
        assert_eq!(pressed(3, &text), framed(3, &text));
        assert_ne!(framed(12, &text), framed(QUICK, &text));
    }
}
