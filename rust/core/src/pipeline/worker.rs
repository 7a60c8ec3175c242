//! One worker: opens, reads, judges and frames members, and packs blocks of large files with the others.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::budget::LARGE_FROM;
use super::large::{BlockFailure, Large, Step};
use super::order::{Batch, Buffer, Shared, Turn};
use super::record::Record;
use crate::codec::{
    BlockDeflater, Codec, Fault, SAMPLE_BYTES, Verdict, WholeDeflater, is_kept, judge, longest_whole, pays_off,
    sample_offsets,
};
use crate::error::{Error, ErrorKind, Result, Stage, show_bytes};
use crate::frame::{Frame, tar};
use crate::fs::{self, Kind, Stamp};
use crate::report::Remark;
use crate::request::{CodecChoice, DEFAULT_LEVEL, OnChange};
use crate::scan::{Entry, EntryKind};
use crate::sink::Sink;

/// A worker thread's own state: everything that is costly to make and reused from member to member.
pub(super) struct Worker<'a, 'b, S> {
    shared: &'a Shared<'b, S>,
    codecs: Codecs,
    /// A packed file before it takes the place of the raw one.
    scratch: Vec<u8>,
    header: Vec<u8>,
    /// The folder opened last; consecutive members mostly share it.
    folder: Option<(u32, OwnedFd)>,
}

struct Codecs {
    choice: CodecChoice,
    level: u8,
    probe: Option<WholeDeflater>,
    whole: Option<WholeDeflater>,
    block: Option<BlockDeflater>,
}

/// Why a member is not in the archive.
enum Failure {
    /// It changed or vanished: the caller's policy decides.
    Changed(String),
    Fatal(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

/// What a member's header needs to know before its bytes.
struct Opened {
    index: u32,
    file: OwnedFd,
    stamp: Stamp,
    mode: u16,
}

impl Opened {
    fn record(&self) -> Record {
        Record {
            stamp: self.stamp,
            packed: self.stamp.size,
            offset: 0,
            entry: self.index,
            crc: 0,
            mode: self.mode,
            codec: Codec::Store,
        }
    }
}

impl<'a, 'b, S: Sink> Worker<'a, 'b, S> {
    pub fn new(shared: &'a Shared<'b, S>) -> Self {
        let options = shared.options;
        let level = options.level.unwrap_or(DEFAULT_LEVEL);
        // A tar has no say about single members' codecs.
        let stores = level == 0 || shared.frame == Frame::Tar;
        let choice = if stores { CodecChoice::Store } else { options.codec };
        let codecs = Codecs { choice, level, probe: None, whole: None, block: None };
        Self { shared, codecs, scratch: Vec::new(), header: Vec::new(), folder: None }
    }

    /// Pack batches until none is left.
    pub fn run(mut self) {
        loop {
            let shared = self.shared;
            let Some(batch) = shared.claim(&mut |large| help(shared, &mut self.codecs, large)) else { return };
            if let Err(error) = self.batch(batch) {
                shared.fail(error);
                return;
            }
        }
    }

    fn batch(&mut self, mut batch: Batch) -> Result<()> {
        for index in batch.members.clone() {
            self.shared.cancel.check(Stage::Pack)?;
            let plan = self.shared.plan;
            let entry = &plan.entries()[index];
            match self.member(index as u32, entry, &mut batch) {
                Ok(()) => {}
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Changed(reason)) => {
                    batch.buffer.skipped.push(self.changed(entry, reason)?);
                }
            }
        }
        self.shared.submit(batch.ticket, batch.buffer)
    }

    /// The remark on a changed file where such files are skipped, else the error.
    fn changed(&self, entry: &Entry, reason: String) -> Result<Remark> {
        let path = self.shared.plan.path(entry);
        match self.shared.options.on_change {
            OnChange::Skip => Ok(Remark { path: fs::path(&path).into(), reason }),
            OnChange::Error => {
                let message = format!(
                    "{} {reason}; nothing was published: pack again when it is at rest, or leave changing files out with on-change skip",
                    show_bytes(&path)
                );
                Err(Error::new(ErrorKind::Changed, Stage::Pack, message).at(fs::path(&path)))
            }
        }
    }

    fn member(&mut self, index: u32, entry: &Entry, batch: &mut Batch) -> Result<(), Failure> {
        match entry.kind {
            EntryKind::File | EntryKind::LinkedFile => {
                let opened = self.open(index, entry)?;
                if opened.stamp.size > LARGE_FROM {
                    self.large(entry, &opened, batch)
                } else {
                    self.small(entry, &opened, batch)
                }
            }
            EntryKind::StoredLink => self.link(index, entry, &mut batch.buffer),
            EntryKind::EmptyDirectory => self.directory(index, entry, &mut batch.buffer),
        }
    }

    fn folder(&mut self, entry: &Entry) -> Result<&OwnedFd, Failure> {
        if self.folder.as_ref().is_none_or(|(index, _)| *index != entry.directory) {
            let directory = self.shared.plan.directory(entry);
            let folder = fs::enter_same(&directory.path, directory.identity);
            let folder = folder.map_err(|error| self.open_failed(entry, error))?;
            let folder = folder
                .ok_or_else(|| Failure::Changed("is in a folder that was replaced while it was packed".into()))?;
            self.folder = Some((entry.directory, folder));
        }
        match &self.folder {
            Some((_, folder)) => Ok(folder),
            None => Err(Failure::Changed("vanished while it was packed".into())),
        }
    }

    fn open_failed(&self, entry: &Entry, error: io::Error) -> Failure {
        let other = matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO));
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Failure::Changed("vanished while it was packed".into())
            }
            _ if other => Failure::Changed("was replaced by something that is no file".into()),
            _ => Failure::Fatal(self.io_error(entry, "read", error)),
        }
    }

    fn io_error(&self, entry: &Entry, attempt: &str, error: io::Error) -> Error {
        Error::io(Stage::Pack, attempt, fs::path(&self.shared.plan.path(entry)), error)
    }

    fn codec_error(&self, entry: &Entry, fault: Fault) -> Error {
        match fault {
            Fault::Stopped => Error::cancelled(Stage::Pack),
            Fault::Library => self.io_error(entry, "compress", io::Error::other("the deflate library failed")),
        }
    }

    fn open(&mut self, index: u32, entry: &Entry) -> Result<Opened, Failure> {
        let plan = self.shared.plan;
        let follow = entry.kind == EntryKind::LinkedFile;
        let folder = self.folder(entry)?;
        let file = fs::open_file(folder, plan.name(entry), follow);
        let file = file.map_err(|error| self.open_failed(entry, error))?;
        let stat = fs::fstat(&file).map_err(|error| self.io_error(entry, "read", error))?;
        if Kind::of(&stat) != Kind::File {
            return Err(Failure::Changed(format!("was replaced by {}", fs::special_name(&stat))));
        }
        Ok(Opened { index, file, stamp: Stamp::of(&stat), mode: stat.st_mode as u16 })
    }

    /// A file that fits in memory: read behind room for its header, so that storing it copies nothing.
    fn small(&mut self, entry: &Entry, opened: &Opened, batch: &mut Batch) -> Result<(), Failure> {
        let (shared, size) = (self.shared, opened.stamp.size as usize);
        let (frame, stamps) = (shared.frame, shared.options.stamps);
        let mut record = opened.record();
        let header_length = frame.header_length(&record.member(shared.plan, stamps, b""));
        let needed = header_length + size + frame.padding(opened.stamp.size).max(1);
        if batch.buffer.is_full_for(needed) {
            self.flush(batch)?;
        }
        let room = batch.buffer.room(needed);
        let (header, bytes) = room.split_at_mut(header_length);
        // One byte more than expected: a file that grew shows it in the same call.
        let mut read =
            fs::read_once(&opened.file, &mut bytes[..=size]).map_err(|error| self.io_error(entry, "read", error))?;
        if read > 0 && read < size {
            read += fs::read_full(&opened.file, &mut bytes[read..=size])
                .map_err(|error| self.io_error(entry, "read", error))?;
        }
        self.unchanged(entry, opened, read as u64)?;
        let raw = &bytes[..size];
        if frame == Frame::Zip {
            record.crc = crc32fast::hash(raw);
        }
        let stop = || shared.should_stop();
        let packed = self.codecs.pack(raw, &mut self.scratch, &stop).map_err(|fault| self.codec_error(entry, fault))?;
        if let Some(packed) = packed {
            record.packed = packed as u64;
            record.codec = Codec::Deflate;
            bytes[..packed].copy_from_slice(&self.scratch[..packed]);
        }
        let padding = frame.padding(record.packed);
        bytes[record.packed as usize..][..padding].fill(0);
        self.header.clear();
        frame.header(&mut self.header, &record.member(shared.plan, stamps, b""));
        header.copy_from_slice(&self.header);
        record.offset = batch.buffer.used as u64;
        batch.buffer.used += header_length + record.packed as usize + padding;
        batch.buffer.records.push(record);
        shared.saw(record.packed);
        Ok(())
    }

    /// Whether the bytes read are the file's: all of it, and not written to meanwhile.
    fn unchanged(&self, entry: &Entry, opened: &Opened, read: u64) -> Result<(), Failure> {
        let size = opened.stamp.size;
        let change = |what: &str| Err(Failure::Changed(format!("{what} while it was packed")));
        match read {
            _ if read > size => return change("grew"),
            _ if read < size => return change("shrank"),
            _ => {}
        }
        let stat = fs::fstat(&opened.file).map_err(|error| self.io_error(entry, "read", error))?;
        let now = Stamp::of(&stat);
        match now.size {
            _ if now == opened.stamp => Ok(()),
            n if n > size => change("grew"),
            n if n < size => change("shrank"),
            _ => change("was written to"),
        }
    }

    fn flush(&mut self, batch: &mut Batch) -> Result<()> {
        let shared = self.shared;
        let turn = shared.wait_turn(batch.ticket, &mut |large| help(shared, &mut self.codecs, large))?;
        shared.flush(&turn, &mut batch.buffer)
    }

    /// A file of many blocks: wait for the turn, then write its blocks in order while all who are free pack them.
    fn large(&mut self, entry: &Entry, opened: &Opened, batch: &mut Batch) -> Result<(), Failure> {
        let shared = self.shared;
        let turn = shared.wait_turn(batch.ticket, &mut |large| help(shared, &mut self.codecs, large))?;
        shared.flush(&turn, &mut batch.buffer)?;
        let mut record = opened.record();
        record.codec = self.judge_large(entry, opened)?;
        record.offset = shared.output().length();
        let mut written = self.write_large(entry, opened, &turn, &mut record);
        if written.is_ok() && record.codec == Codec::Deflate && record.packed >= record.size() {
            // Its samples shrank, or deflate was asked for, and all of it does not: stored, nobody has to inflate it.
            shared.output().rewind(record.offset, shared.progress)?;
            record.codec = Codec::Store;
            written = self.write_large(entry, opened, &turn, &mut record);
        }
        let written = written.and_then(|raw| self.unchanged(entry, opened, raw));
        match written {
            Ok(()) => {
                let stamps = shared.options.stamps;
                let check = || shared.cancel.check(Stage::Pack);
                Ok(shared.output().complete(record, shared.plan, stamps, check, shared.progress)?)
            }
            Err(Failure::Changed(reason)) => {
                let remark = self.changed(entry, reason)?;
                Ok(shared.output().take_back(record.offset, remark, shared.progress)?)
            }
            Err(fatal) => Err(fatal),
        }
    }

    /// Header and blocks, which all who are free pack; returns how many raw bytes were packed.
    fn write_large(
        &mut self,
        entry: &Entry,
        opened: &Opened,
        turn: &Turn,
        record: &mut Record,
    ) -> Result<u64, Failure> {
        let shared = self.shared;
        let file = opened.file.try_clone().map_err(|error| self.io_error(entry, "read", error))?;
        let large = Large::new(file, opened.stamp.size, record.codec, self.codecs.level, shared.budget.blocks);
        let large = Arc::new(large);
        shared.offer(turn, Some(Arc::clone(&large)));
        let written = self.write_blocks(entry, &large, record);
        large.abandon();
        shared.offer(turn, None);
        written
    }

    fn judge_large(&mut self, entry: &Entry, opened: &Opened) -> Result<Codec, Failure> {
        match self.codecs.choice {
            CodecChoice::Store => return Ok(Codec::Store),
            CodecChoice::Deflate => return Ok(Codec::Deflate),
            CodecChoice::Auto => {}
        }
        let mut samples = [[0; SAMPLE_BYTES]; 4];
        let [a, b, c] = sample_offsets(opened.stamp.size);
        for (sample, offset) in samples.iter_mut().zip([0, a, b, c]) {
            let read = fs::read_at(&opened.file, sample, offset);
            if read.map_err(|error| self.io_error(entry, "read", error))? < SAMPLE_BYTES {
                return Err(Failure::Changed("shrank while it was packed".into()));
            }
        }
        let [head, samples @ ..] = &samples;
        Ok(self.codecs.judge_samples(head, &[&samples[0], &samples[1], &samples[2]]))
    }

    fn write_blocks(&mut self, entry: &Entry, large: &Large, record: &mut Record) -> Result<u64, Failure> {
        let shared = self.shared;
        self.header.clear();
        let early = Record { packed: 0, ..*record };
        shared.frame.header(&mut self.header, &early.member(shared.plan, shared.options.stamps, b""));
        shared.output().write_part(&self.header, shared.progress)?;
        record.packed = 0;
        let mut crc = crc32fast::Hasher::new();
        let (mut raw, mut tail) = (0, None);
        loop {
            if shared.should_stop() {
                return Err(Error::cancelled(Stage::Pack).into());
            }
            match large.next_step() {
                Step::Write(block) if !block.follows(tail) => {
                    return Err(Failure::Changed("was written to while it was packed".into()));
                }
                Step::Write(block) => {
                    tail = Some(block.tail());
                    shared.output().write_part(block.bytes(), shared.progress)?;
                    crc.combine(block.crc());
                    record.packed += block.bytes().len() as u64;
                    raw += block.raw_length();
                    shared.progress.bytes_in.add(block.raw_length());
                    large.wrote(block);
                }
                Step::Pack(index, block) => {
                    large.pack(index, block, &mut self.codecs.block, &|| shared.should_stop());
                }
                Step::Wait => {}
                Step::Done => {
                    let padding = [0; tar::BLOCK];
                    let padding = &padding[..shared.frame.padding(record.packed)];
                    shared.output().write_part(padding, shared.progress)?;
                    record.crc = crc.finalize();
                    return Ok(raw);
                }
                Step::Failed(BlockFailure::Shrank) => {
                    return Err(Failure::Changed("shrank while it was packed".into()));
                }
                Step::Failed(BlockFailure::Read(error)) => return Err(self.io_error(entry, "read", error).into()),
                Step::Failed(BlockFailure::Codec(fault)) => return Err(self.codec_error(entry, fault).into()),
            }
        }
    }

    fn link(&mut self, index: u32, entry: &Entry, buffer: &mut Buffer) -> Result<(), Failure> {
        let name = self.shared.plan.name(entry);
        let folder = self.folder(entry)?;
        let found = fs::read_link(folder, name).and_then(|end| Ok((end, fs::lstat_at(folder, name)?)));
        let (end, stat) = found.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => Failure::Changed("is no longer a link".into()),
            _ => self.open_failed(entry, error),
        })?;
        // A zip has the end of a link as the member's bytes, a tar has it in the header.
        let (bytes, link) = match self.shared.frame {
            Frame::Zip => (&end[..], &b""[..]),
            Frame::Tar => (&b""[..], &end[..]),
        };
        let mut record = Record {
            stamp: Stamp { size: end.len() as u64, ..Stamp::of(&stat) },
            packed: bytes.len() as u64,
            offset: 0,
            entry: index,
            crc: crc32fast::hash(bytes),
            mode: stat.st_mode as u16,
            codec: Codec::Store,
        };
        self.frame(&mut record, bytes, link, buffer);
        Ok(())
    }

    fn directory(&mut self, index: u32, entry: &Entry, buffer: &mut Buffer) -> Result<(), Failure> {
        let stat = fs::fstat(self.folder(entry)?).map_err(|error| self.io_error(entry, "read", error))?;
        let mut record = Record {
            stamp: Stamp::of(&stat),
            packed: 0,
            offset: 0,
            entry: index,
            crc: 0,
            mode: stat.st_mode as u16,
            codec: Codec::Store,
        };
        self.frame(&mut record, b"", b"", buffer);
        Ok(())
    }

    fn frame(&mut self, record: &mut Record, bytes: &[u8], link: &[u8], buffer: &mut Buffer) {
        self.header.clear();
        let member = record.member(self.shared.plan, self.shared.options.stamps, link);
        self.shared.frame.header(&mut self.header, &member);
        record.offset = buffer.used as u64;
        for part in [&self.header[..], bytes] {
            buffer.room(part.len()).copy_from_slice(part);
            buffer.used += part.len();
        }
        buffer.records.push(*record);
    }
}

fn help<S: Sink>(shared: &Shared<'_, S>, codecs: &mut Codecs, large: &Large) {
    large.help(&mut codecs.block, &|| shared.should_stop());
}

impl Codecs {
    /// The packed length, with the bytes in `scratch`, where packing pays.
    fn pack(&mut self, raw: &[u8], scratch: &mut Vec<u8>, stop: &dyn Fn() -> bool) -> Result<Option<usize>, Fault> {
        if self.choice == CodecChoice::Store {
            return Ok(None);
        }
        let probe = self.probe.get_or_insert_with(WholeDeflater::probe);
        let Verdict::Try { limit } = judge(self.choice, raw, probe) else { return Ok(None) };
        let level = self.level;
        if raw.len() > longest_whole(level) {
            scratch.clear();
            self.block.get_or_insert_with(|| BlockDeflater::new(level)).compress(b"", raw, true, scratch, stop)?;
            return Ok(Some(scratch.len()).filter(|packed| *packed <= limit));
        }
        if scratch.len() < limit {
            scratch.resize(limit.next_multiple_of(64 << 10), 0);
        }
        Ok(self.whole.get_or_insert_with(|| WholeDeflater::new(level)).compress(raw, &mut scratch[..limit]))
    }

    fn judge_samples(&mut self, head: &[u8], samples: &[&[u8]]) -> Codec {
        let probe = self.probe.get_or_insert_with(WholeDeflater::probe);
        if !is_kept(head) && pays_off(self.choice, samples, probe) { Codec::Deflate } else { Codec::Store }
    }
}
