//! The archive as it grows: bytes to the sink, records for the central directory, the digest of all of it.

use super::order::Buffer;
use super::record::Record;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::frame::{Frame, tar, zip};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::Remark;
use crate::request::Stamps;
use crate::sink::Sink;

/// Portions in which the central directory is written and bytes are read back.
const PORTION: usize = 1 << 20;

pub(super) struct Output<S> {
    sink: S,
    frame: Frame,
    length: u64,
    records: Vec<Record>,
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
    pub skipped: Vec<Remark>,
    pub digest: u128,
}

impl<S: Sink> Output<S> {
    pub fn new(sink: S, frame: Frame, members: usize) -> Self {
        Self {
            sink,
            frame,
            length: 0,
            records: Vec::with_capacity(members),
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
        let bytes = &buffer.bytes[..buffer.used];
        self.sink.write(bytes)?;
        self.digest.update(bytes);
        let mut raw = 0;
        self.records.extend(buffer.records.iter().map(|record| {
            raw += record.size();
            Record { offset: self.length + record.offset, ..*record }
        }));
        self.length += bytes.len() as u64;
        self.digested = self.length;
        self.skipped.append(&mut buffer.skipped);
        progress.files.add(buffer.records.len() as u64);
        progress.bytes_in.add(raw);
        progress.bytes_out.set(self.length);
        Ok(())
    }

    /// Append a part of a large member, whose header is not final yet.
    pub fn write_part(&mut self, bytes: &[u8], progress: &Progress) -> Result<()> {
        self.sink.write(bytes)?;
        self.length += bytes.len() as u64;
        progress.bytes_out.set(self.length);
        Ok(())
    }

    /// Complete a large member: patch its header where that was written too early, and let the digest catch up.
    pub fn complete(
        &mut self,
        record: Record,
        plan: &Plan,
        stamps: Stamps,
        check: impl Fn() -> Result<()>,
        progress: &Progress,
    ) -> Result<()> {
        if self.frame == Frame::Zip {
            self.patch_header(&record, plan, stamps)?;
        }
        let mut portion = std::mem::take(&mut self.portion);
        portion.resize(PORTION, 0);
        while self.digested < self.length {
            check()?;
            let count = self.sink.read_back(self.digested, &mut portion)?;
            if count == 0 {
                return Err(cut_short());
            }
            self.digest.update(&portion[..count]);
            self.digested += count as u64;
        }
        self.portion = portion;
        self.records.push(record);
        progress.files.add(1);
        Ok(())
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
        progress.bytes_out.set(offset);
        progress.bytes_in.set(self.records.iter().map(Record::size).sum());
        Ok(())
    }

    /// Append what ends the archive, a zip's central directory before it.
    pub fn finish(
        mut self,
        plan: &Plan,
        stamps: Stamps,
        check: impl Fn() -> Result<()>,
        progress: &Progress,
    ) -> Result<Written<S>> {
        match self.frame {
            Frame::Zip => self.central_directory(plan, stamps, check)?,
            Frame::Tar => self.append(&tar::END)?,
        }
        progress.bytes_out.set(self.length);
        Ok(Written {
            sink: self.sink,
            length: self.length,
            records: self.records,
            skipped: self.skipped,
            digest: self.digest.finish(),
        })
    }
}

impl<S: Sink> Output<S> {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write(bytes)?;
        self.digest.update(bytes);
        self.length += bytes.len() as u64;
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
