//! The compressors of one worker, and what they are asked to do.

use super::blocks::Block;
use super::budget::Around;
use crate::codec::{
    BlockDeflater, Codec, Fault, FrameCompressor, Verdict, WholeDeflater, is_kept, judge, longest_whole, pays_off,
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
        let default = if format == Format::TarZst { DEFAULT_ZSTD_LEVEL } else { DEFAULT_LEVEL };
        let level = options.level.unwrap_or(default);
        let (frame, around, codec) = match format {
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

pub(super) struct Packer {
    pub method: Method,
    probe: Option<WholeDeflater>,
    whole: Option<WholeDeflater>,
    frame: Option<FrameCompressor>,
}

impl Packer {
    pub fn new(method: Method) -> Self {
        Self { method, probe: None, whole: None, frame: None }
    }

    /// The packed length, with the bytes in `scratch`, where packing pays.
    pub fn pack(&mut self, raw: &[u8], scratch: &mut Vec<u8>, stop: &dyn Fn() -> bool) -> Result<Option<usize>, Fault> {
        let Method { choice, level, .. } = self.method;
        if choice == CodecChoice::Store {
            return Ok(None);
        }
        let probe = self.probe.get_or_insert_with(WholeDeflater::probe);
        let Verdict::Try { limit } = judge(choice, raw, probe) else { return Ok(None) };
        if raw.len() > longest_whole(level) {
            scratch.clear();
            BlockDeflater::new(level).compress(b"", raw, true, scratch, stop)?;
            return Ok(Some(scratch.len()).filter(|packed| *packed <= limit));
        }
        if scratch.len() < limit {
            scratch.resize(limit.next_multiple_of(64 << 10), 0);
        }
        Ok(self.whole.get_or_insert_with(|| WholeDeflater::new(level)).compress(raw, &mut scratch[..limit]))
    }

    pub fn judge_samples(&mut self, head: &[u8], samples: &[&[u8]]) -> Codec {
        let probe = self.probe.get_or_insert_with(WholeDeflater::probe);
        if !is_kept(head) && pays_off(self.method.choice, samples, probe) { Codec::Deflate } else { Codec::Store }
    }

    /// Compress a block of a tar.
    pub fn press(&mut self, block: &mut Block, stop: &dyn Fn() -> bool) -> Result<(), Fault> {
        let mut packed = std::mem::take(&mut block.packed);
        packed.clear();
        let level = self.method.level;
        if self.method.codec == Codec::Zstd {
            if self.frame.is_none() {
                self.frame = FrameCompressor::new(level);
            }
            let frame = self.frame.as_mut().ok_or(Fault::Library)?;
            frame.append(block.raw(), &mut packed).ok_or(Fault::Library)?;
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
