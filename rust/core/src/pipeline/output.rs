//! The archive as it grows: bytes to the sink, records for the central directory, the digest of all of it.

use std::ops::Range;

use super::blocks::Block;
use super::budget::Around;
use super::order::Buffer;
use super::record::Record;
use crate::codec::Codec;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::frame::seekable::{self, Listed};
use crate::frame::{Frame, gzip, tar, zip};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::Remark;
use crate::request::{PackOptions, Stamps};
use crate::reread::reread;
use crate::sink::Sink;

/// Portions in which the central directory is written.
const PORTION: usize = 1 << 20;

pub(super) struct Output<S> {
    sink: S,
    frame: Frame,
    around: Around,
    align: u16,
    jobs: usize,
    /// What has been written of a compressed tar.
    pressed: Pressed,
    /// Where a large member of a compressed tar may have to be taken back to.
    mark: Option<OutputMark>,
    /// What of the large member that is being written is not final.
    unsettled: Unsettled,
    length: u64,
    /// Bytes of the archives before this one, and raw bytes of what is in them.
    before: u64,
    raw_before: u64,
    records: Vec<Record>,
    /// XXH3-128 of each record's content, where a manifest is to be written.
    hashes: Vec<u128>,
    skipped: Vec<Remark>,
    digest: Digest,
    /// Up to where the digest has come. It stops before a large member, whose header is patched, and catches up behind it.
    digested: u64,
    portion: Vec<u8>,
}

/// Everything the later stages need of a written archive.
pub(crate) struct Written<S> {
    pub sink: S,
    pub length: u64,
    pub records: Vec<Record>,
    /// XXH3-128 of each record's content, where a manifest is to be written.
    pub hashes: Vec<u128>,
    pub skipped: Vec<Remark>,
    pub digest: u128,
}

impl<S: Sink> Output<S> {
    pub fn new(
        sink: S,
        frame: Frame,
        around: Around,
        options: &PackOptions,
        members: usize,
        progress: &Progress,
    ) -> Self {
        Self {
            sink,
            frame,
            around,
            align: options.align,
            jobs: options.jobs,
            pressed: Pressed::default(),
            mark: None,
            unsettled: Unsettled::default(),
            length: 0,
            before: progress.bytes_out.get(),
            raw_before: progress.bytes_in.get(),
            records: Vec::with_capacity(members),
            hashes: Vec::new(),
            skipped: Vec::new(),
            digest: Digest::new(),
            digested: 0,
            portion: Vec::new(),
        }
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// Append a batch.
    pub fn write(&mut self, buffer: &mut Buffer, progress: &Progress) -> Result<()> {
        if self.align > 0 {
            return self.write_aligned(buffer, progress);
        }
        let bytes = &buffer.bytes[..buffer.used];
        self.sink.write(bytes)?;
        self.digest.update(bytes);
        let at = self.length;
        self.length += bytes.len() as u64;
        self.digested = self.length;
        self.seal();
        self.adopt(buffer, at, progress);
        progress.bytes_out.set(self.before + self.length);
        Ok(())
    }

    /// Append a batch whose stored members are to begin at multiples of the alignment: it depends on where they stand.
    fn write_aligned(&mut self, buffer: &mut Buffer, progress: &Progress) -> Result<()> {
        let mut portion = std::mem::take(&mut self.portion);
        portion.clear();
        let start = self.length;
        let ends: Vec<_> = buffer.records.iter().skip(1).map(|record| record.offset as usize).collect();
        for (record, end) in buffer.records.iter_mut().zip(ends.into_iter().chain([buffer.used])) {
            let (header, bytes) = {
                let member = &buffer.bytes[record.offset as usize..end];
                member.split_at(zip::length_of_header(member))
            };
            let mut header = header.to_vec();
            record.offset = portion.len() as u64;
            if record.is_file() && record.codec == Codec::Store && record.size() > 0 {
                zip::align(&mut header, start + record.offset, self.align);
            }
            portion.extend_from_slice(&header);
            portion.extend_from_slice(bytes);
        }
        self.append(&portion)?;
        self.portion = portion;
        self.adopt(buffer, start, progress);
        progress.bytes_out.set(self.before + self.length);
        Ok(())
    }

    /// Take over what is known of a batch whose bytes are on their way, from `at` in the tar on.
    pub fn adopt(&mut self, buffer: &mut Buffer, at: u64, progress: &Progress) {
        let mut raw = 0;
        self.records.extend(buffer.records.iter().map(|record| {
            raw += record.size();
            Record { offset: at + record.offset, ..*record }
        }));
        self.hashes.append(&mut buffer.hashes);
        self.skipped.append(&mut buffer.skipped);
        progress.files.add(buffer.records.len() as u64);
        progress.bytes_in.add(raw);
    }

    /// Append a part of a large member, whose header is not final yet.
    pub fn write_part(&mut self, bytes: &[u8], progress: &Progress) -> Result<()> {
        self.sink.write(bytes)?;
        self.length += bytes.len() as u64;
        self.seal();
        progress.bytes_out.set(self.before + self.length);
        Ok(())
    }

    /// Append the header of a large member. `settled` says that the member stays, whatever comes.
    pub fn write_early(&mut self, header: &[u8], settled: bool, progress: &Progress) -> Result<()> {
        let start = self.length;
        self.unsettled.from = (!settled).then_some(start);
        if self.frame == Frame::Zip {
            self.unsettled.header = Some(start..start + header.len() as u64);
        }
        self.write_part(header, progress)
    }

    /// Whether the large member may still be taken back.
    pub fn is_settled(&self) -> bool {
        self.unsettled.from.is_none()
    }

    /// What is written of the large member stays, and so does what will be.
    pub fn settle(&mut self) {
        self.unsettled.from = None;
        self.seal();
    }

    /// Say how far the archive is final.
    fn seal(&mut self) {
        let marked = self.mark.as_ref().and_then(|mark| mark.before.as_ref()).map(|before| before.0);
        let sealed = [self.unsettled.from, marked].into_iter().flatten().fold(self.length, u64::min);
        let open = self.unsettled.header.as_ref().filter(|header| header.start < sealed);
        self.sink.seal(sealed, open);
    }

    /// Complete a large member: patch its header where that was written too early, and let the digest catch up.
    pub fn complete(
        &mut self,
        (record, hash): (Record, Option<u128>),
        plan: &Plan,
        stamps: Stamps,
        check: impl Fn() -> Result<()> + Sync,
        progress: &Progress,
    ) -> Result<()> {
        if self.frame == Frame::Zip {
            self.patch_header(&record, plan, stamps)?;
        }
        self.unsettled = Unsettled::default();
        self.seal();
        self.catch_up(check)?;
        self.keep(record, hash, progress);
        Ok(())
    }

    /// Take over what is known of a large member whose bytes are on their way, or written.
    pub fn keep(&mut self, record: Record, hash: Option<u128>, progress: &Progress) {
        self.mark = None;
        self.seal();
        self.records.push(record);
        self.hashes.extend(hash);
        progress.files.add(1);
    }

    /// Let the digest come to the end of what is written.
    fn catch_up(&mut self, check: impl Fn() -> Result<()> + Sync) -> Result<()> {
        let sink = &self.sink;
        let read = |at, room: &mut [u8]| sink.read_back(at, room);
        self.digested = reread(&mut self.digest, self.digested..self.length, self.jobs, read, check)?;
        if self.digested < self.length { Err(cut_short()) } else { Ok(()) }
    }

    fn patch_header(&mut self, record: &Record, plan: &Plan, stamps: Stamps) -> Result<()> {
        let fields = zip::late_fields(&record.member(plan, stamps, b"")).ok_or_else(|| {
            let message =
                "a file of almost 4 GiB grew past it when it was compressed; nothing was published: store it instead";
            Error::new(ErrorKind::Io, Stage::Pack, message)
        })?;
        for (at, bytes) in fields {
            self.sink.patch(record.offset + at, &bytes)?;
        }
        Ok(())
    }

    /// Take back a large member that began at `offset`.
    pub fn take_back(&mut self, offset: u64, remark: Remark, progress: &Progress) -> Result<()> {
        self.rewind(offset, progress)?;
        self.skipped.push(remark);
        Ok(())
    }

    /// Forget what was written of a large member that began at `offset`.
    pub fn rewind(&mut self, offset: u64, progress: &Progress) -> Result<()> {
        self.sink.rewind(offset)?;
        self.length = offset;
        self.unsettled = Unsettled::default();
        progress.bytes_out.set(self.before + offset);
        progress.bytes_in.set(self.raw_before + self.records.iter().map(Record::size).sum::<u64>());
        Ok(())
    }

    /// Append what ends the archive, a zip's central directory before it.
    pub fn finish(
        mut self,
        plan: &Plan,
        stamps: Stamps,
        check: impl Fn() -> Result<()> + Sync,
        progress: &Progress,
    ) -> Result<Written<S>> {
        match self.frame {
            Frame::Zip => self.central_directory(plan, stamps, check)?,
            Frame::Tar if self.around().is_none() => self.append(&tar::END)?,
            Frame::Tar => self.end_around(check)?,
        }
        progress.bytes_out.set(self.before + self.length);
        Ok(Written {
            sink: self.sink,
            length: self.length,
            records: self.records,
            hashes: self.hashes,
            skipped: self.skipped,
            digest: self.digest.finish(),
        })
    }
}

/// What of a large member is not final: all of it while it may be taken back, a zip's header until its last fields are known.
#[derive(Default)]
struct Unsettled {
    from: Option<u64>,
    header: Option<Range<u64>>,
}

/// Counts of a compressed tar, as far as it is written.
#[derive(Default, Clone)]
struct Pressed {
    raw: u64,
    crc: crc32fast::Hasher,
    frames: Vec<Listed>,
}

/// What a large member of a compressed tar is taken back to.
struct OutputMark {
    /// The block that the member begins in.
    block: u64,
    /// The length then, and the counts; the frames are only cut back. `None` until that block is written.
    before: Option<(u64, u64, crc32fast::Hasher, usize)>,
}

impl<S: Sink> Output<S> {
    /// What compresses the tar, where it is compressed.
    pub fn around(&self) -> Option<Codec> {
        match self.around {
            Around::Nothing | Around::Within(_) => None,
            Around::Gzip => Some(Codec::Deflate),
            Around::Zstd(_) => Some(Codec::Zstd),
        }
    }

    /// A large member begins in this block, and may have to be taken back.
    pub fn mark(&mut self, block: u64) {
        self.mark = Some(OutputMark { block, before: None });
    }

    /// Append a compressed block.
    pub fn write_block(
        &mut self,
        block: &Block,
        check: impl Fn() -> Result<()> + Sync,
        progress: &Progress,
    ) -> Result<()> {
        if self.length == 0 && self.around == Around::Gzip {
            self.append(&gzip::HEADER)?;
        }
        if let Some(mark) = &mut self.mark
            && mark.block == block.number
        {
            mark.before = Some((self.length, self.pressed.raw, self.pressed.crc.clone(), self.pressed.frames.len()));
        }
        let raw = block.raw().len();
        self.pressed.raw += raw as u64;
        if self.around == Around::Gzip {
            self.pressed.crc.combine(&block.crc);
        } else {
            self.pressed.frames.push(Listed::of(&block.packed, raw));
        }
        // What may be taken back is left to be digested until it may not.
        if self.mark.as_ref().is_some_and(|mark| mark.before.is_some()) {
            self.sink.write(&block.packed)?;
            self.length += block.packed.len() as u64;
            self.seal();
        } else {
            self.catch_up(check)?;
            self.append(&block.packed)?;
        }
        progress.bytes_out.set(self.before + self.length);
        Ok(())
    }

    /// Take back everything since the mark.
    pub fn go_back(&mut self, remark: Remark) -> Result<()> {
        self.skipped.push(remark);
        let Some(OutputMark { before: Some((length, raw, crc, frames)), .. }) = self.mark.take() else {
            return Ok(());
        };
        self.sink.rewind(length)?;
        self.length = length;
        self.pressed.raw = raw;
        self.pressed.crc = crc;
        self.pressed.frames.truncate(frames);
        Ok(())
    }

    fn end_around(&mut self, check: impl Fn() -> Result<()> + Sync) -> Result<()> {
        self.catch_up(check)?;
        let mut end = Vec::new();
        if self.around == Around::Gzip {
            end.extend_from_slice(&gzip::trailer(self.pressed.crc.clone().finalize(), self.pressed.raw));
        } else {
            seekable::seek_table(&mut end, &self.pressed.frames);
        }
        self.append(&end)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write(bytes)?;
        self.digest.update(bytes);
        self.length += bytes.len() as u64;
        self.digested = self.length;
        self.seal();
        Ok(())
    }

    fn central_directory(&mut self, plan: &Plan, stamps: Stamps, check: impl Fn() -> Result<()>) -> Result<()> {
        let start = self.length;
        let records = std::mem::take(&mut self.records);
        let mut portion = std::mem::take(&mut self.portion);
        portion.clear();
        for record in &records {
            zip::central_header(&mut portion, &record.member(plan, stamps, b""), record.offset);
            if portion.len() >= PORTION {
                check()?;
                self.append(&portion)?;
                portion.clear();
            }
        }
        let length = self.length + portion.len() as u64 - start;
        zip::end(&mut portion, records.len() as u64, length, start);
        self.records = records;
        self.append(&portion)
    }
}

pub(crate) fn cut_short() -> Error {
    Error::new(
        ErrorKind::Io,
        Stage::Commit,
        "the staged archive is shorter than what was written to it; nothing was published",
    )
}
