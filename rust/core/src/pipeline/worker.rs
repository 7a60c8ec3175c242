//! One worker: opens, reads, judges and frames members, and packs blocks of large files with the others.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use super::blocks::Stream;
use super::budget::{BLOCK_BYTES, LARGE_FROM};
use super::large::{BlockFailure, Large, Step};
use super::order::{Batch, Buffer, Shared, Turn};
use super::packer::Packer;
use super::press::{Help, Work};
use super::record::Record;
use super::source::{Failure, Opened};
use crate::codec::{Codec, Fault, LongFrame, SAMPLE_BYTES, sample_offsets};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::frame::{Frame, tar, zip};
use crate::fs::{self, Kind, Stamp};
use crate::request::{CodecChoice, OnChange, PackOptions};
use crate::scan::{Entry, EntryKind};
use crate::sink::Sink;

/// How many raw bytes of a large file were packed, and their digest where it is asked for.
type Packed = (u64, Option<u128>);

/// The digest of a large file's content, where a manifest is to be written.
struct Hash(Option<Digest>);

impl Hash {
    fn new(options: &PackOptions) -> Self {
        Self(options.manifest.then(Digest::new))
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some(digest) = &mut self.0 {
            digest.update(bytes);
        }
    }

    fn finish(&self) -> Option<u128> {
        self.0.as_ref().map(Digest::finish)
    }
}

/// A worker thread's own state: everything that is costly to make and reused from member to member.
pub(super) struct Worker<'a, 'b, S> {
    shared: &'a Shared<'b, S>,
    packer: Packer,
    /// A packed file before it takes the place of the raw one.
    scratch: Vec<u8>,
    header: Vec<u8>,
    /// The folder opened last; consecutive members mostly share it.
    folder: Option<(u32, OwnedFd)>,
    /// The second in which this worker began.
    begun: i64,
}

impl<'a, 'b, S: Sink> Worker<'a, 'b, S> {
    pub fn new(shared: &'a Shared<'b, S>) -> Self {
        let packer = Packer::new(shared.method);
        Self { shared, packer, scratch: Vec::new(), header: Vec::new(), folder: None, begun: fs::second() }
    }

    /// Pack batches until none is left.
    pub fn run(mut self) {
        loop {
            let shared = self.shared;
            let Some(batch) = shared.claim(&mut |work| lend(shared, &mut self.packer, work)) else { return };
            if let Err(error) = self.batch(batch) {
                shared.fail(error);
                return;
            }
        }
    }

    /// End the archive's content, once all batches are in it.
    pub fn close(mut self) -> Result<()> {
        let shared = self.shared;
        shared.close(&mut |work| lend(shared, &mut self.packer, work))
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
                    batch.buffer.skipped.push(self.shared.changed(entry, reason)?);
                }
            }
        }
        let shared = self.shared;
        shared.submit(batch.ticket, batch.buffer, &mut |work| lend(shared, &mut self.packer, work))
    }

    fn member(&mut self, index: u32, entry: &Entry, batch: &mut Batch) -> Result<(), Failure> {
        match entry.kind {
            EntryKind::File | EntryKind::LinkedFile => {
                let opened = self.open(index, entry)?;
                match (opened.stamp.size > LARGE_FROM, &self.shared.stream) {
                    (false, _) => self.small(entry, &opened, batch),
                    (true, None) => self.large(entry, &opened, batch),
                    (true, Some(stream)) => self.large_in(entry, &opened, batch, stream),
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
            let folder = folder.map_err(|error| self.shared.open_failed(entry, error))?;
            let folder = folder
                .ok_or_else(|| Failure::Changed("is in a folder that was replaced while it was packed".into()))?;
            self.folder = Some((entry.directory, folder));
        }
        match &self.folder {
            Some((_, folder)) => Ok(folder),
            None => Err(Failure::Changed("vanished while it was packed".into())),
        }
    }

    fn open(&mut self, index: u32, entry: &Entry) -> Result<Opened, Failure> {
        let plan = self.shared.plan;
        let follow = entry.kind == EntryKind::LinkedFile;
        let folder = self.folder(entry)?;
        let file = fs::open_file(folder, plan.name(entry), follow);
        let file = file.map_err(|error| self.shared.open_failed(entry, error))?;
        let stat = fs::fstat_at_rest(&file, self.begun);
        let stat = stat.map_err(|error| self.shared.io_error(entry, "read", error))?;
        if Kind::of(&stat) != Kind::File {
            return Err(Failure::Changed(format!("was replaced by {}", fs::special_name(&stat))));
        }
        Ok(Opened { index, file, stamp: Stamp::of(&stat), mode: stat.st_mode as u16 })
    }

    /// A file that fits in memory: read behind room for its header, so that storing it copies nothing.
    fn small(&mut self, entry: &Entry, opened: &Opened, batch: &mut Batch) -> Result<(), Failure> {
        let (shared, size) = (self.shared, opened.stamp.size as usize);
        let (frame, stamps) = (shared.method.frame, shared.options.stamps);
        let mut record = opened.record(shared.method.codec);
        let header_length = frame.header_length(&record.member(shared.plan, stamps, b""));
        let needed = header_length + size + frame.padding(opened.stamp.size).max(1);
        if batch.buffer.is_full_for(needed) {
            self.flush(batch)?;
        }
        let room = batch.buffer.room(needed);
        let (header, bytes) = room.split_at_mut(header_length);
        // One byte more than expected: a file that grew shows it in the same call.
        let mut read = fs::read_once(&opened.file, &mut bytes[..=size])
            .map_err(|error| self.shared.io_error(entry, "read", error))?;
        if read > 0 && read < size {
            read += fs::read_full(&opened.file, &mut bytes[read..=size])
                .map_err(|error| self.shared.io_error(entry, "read", error))?;
        }
        self.shared.unchanged(entry, opened, read as u64)?;
        let raw = &bytes[..size];
        if frame == Frame::Zip || shared.options.manifest {
            record.crc = crc32fast::hash(raw);
        }
        let hash = shared.options.manifest.then(|| Digest::of(raw));
        let packed = self.packer.pack(raw, &mut self.scratch, &|| shared.should_stop());
        if let Some(packed) = packed.map_err(|fault| shared.codec_error(entry, fault))? {
            record.packed = packed as u64;
            record.codec = self.packer.codec(opened.stamp.size);
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
        batch.buffer.hashes.extend(hash);
        shared.saw(record.packed);
        Ok(())
    }

    fn flush(&mut self, batch: &mut Batch) -> Result<()> {
        let shared = self.shared;
        let help = &mut |work: Work<'_>| lend(shared, &mut self.packer, work);
        let turn = shared.wait_turn(batch.ticket, help)?;
        shared.flush(&turn, &mut batch.buffer, help)
    }

    /// A file of many blocks: wait for the turn, then write its blocks in order while all who are free pack them.
    fn large(&mut self, entry: &Entry, opened: &Opened, batch: &mut Batch) -> Result<(), Failure> {
        let shared = self.shared;
        let help = &mut |work: Work<'_>| lend(shared, &mut self.packer, work);
        let turn = shared.wait_turn(batch.ticket, help)?;
        shared.flush(&turn, &mut batch.buffer, help)?;
        let mut record = opened.record(shared.method.codec);
        record.codec = self.judge_large(entry, opened)?;
        record.offset = shared.output().length();
        let mut written = self.write_large(&turn, entry, opened, &mut record);
        if written.is_ok() && record.codec != Codec::Store && record.packed >= record.size() {
            // Its samples shrank, or its codec was asked for, and all of it does not: stored, nobody has to unpack it.
            shared.output().rewind(record.offset, shared.progress)?;
            record.codec = Codec::Store;
            written = self.write_large(&turn, entry, opened, &mut record);
        }
        let written = written.and_then(|(raw, hash)| shared.unchanged(entry, opened, raw).map(|()| hash));
        match written {
            Ok(hash) => {
                let stamps = shared.options.stamps;
                let check = || shared.cancel.check(Stage::Pack);
                Ok(shared.output().complete((record, hash), shared.plan, stamps, check, shared.progress)?)
            }
            Err(Failure::Changed(reason)) => {
                let remark = self.shared.changed(entry, reason)?;
                Ok(shared.output().take_back(record.offset, remark, shared.progress)?)
            }
            Err(fatal) => Err(fatal),
        }
    }

    /// A large file in a compressed tar: wait for the turn, then read it into the tar while all who are free compress.
    fn large_in(
        &mut self,
        entry: &Entry,
        opened: &Opened,
        batch: &mut Batch,
        stream: &Mutex<Stream>,
    ) -> Result<(), Failure> {
        let shared = self.shared;
        let help = &mut |work: Work<'_>| lend(shared, &mut self.packer, work);
        let turn = shared.wait_turn(batch.ticket, help)?;
        shared.flush(&turn, &mut batch.buffer, help)?;
        let mut stream = Stream::lock(stream);
        let mark = shared.begin_large(&turn, &mut stream, shared.options.on_change == OnChange::Skip, help)?;
        let mut record = Record { offset: stream.position, ..opened.record(shared.method.codec) };
        match read_into(shared, &mut stream, entry, opened, &mut record, help) {
            Ok(hash) => Ok(shared.end_large(&mut stream, record, hash, help)?),
            Err(Failure::Changed(reason)) => {
                let remark = shared.changed(entry, reason)?;
                // Where a change is no error there is a mark.
                let Some(mark) = mark else { return Err(Error::cancelled(Stage::Pack).into()) };
                Ok(shared.take_back(&mut stream, &mark, remark, help)?)
            }
            Err(fatal) => Err(fatal),
        }
    }

    /// Header and content.
    fn write_large(
        &mut self,
        turn: &Turn,
        entry: &Entry,
        opened: &Opened,
        record: &mut Record,
    ) -> Result<Packed, Failure> {
        match record.codec {
            Codec::Zstd => self.write_frame(entry, opened, record),
            Codec::Store | Codec::Deflate => self.write_shared(turn, entry, opened, record),
        }
    }

    fn judge_large(&mut self, entry: &Entry, opened: &Opened) -> Result<Codec, Failure> {
        match self.shared.method.choice {
            CodecChoice::Store => return Ok(Codec::Store),
            CodecChoice::Deflate => return Ok(Codec::Deflate),
            CodecChoice::Auto | CodecChoice::Zstd => {}
        }
        let mut samples = [[0; SAMPLE_BYTES]; 4];
        let [a, b, c] = sample_offsets(opened.stamp.size);
        for (sample, offset) in samples.iter_mut().zip([0, a, b, c]) {
            let read = fs::read_at(&opened.file, sample, offset);
            if read.map_err(|error| self.shared.io_error(entry, "read", error))? < SAMPLE_BYTES {
                return Err(Failure::Changed("shrank while it was packed".into()));
            }
        }
        let [head, samples @ ..] = &samples;
        Ok(self.packer.judge_samples(opened.stamp.size, head, &[&samples[0], &samples[1], &samples[2]]))
    }

    /// Offer the file's blocks to all workers, and write them.
    fn write_shared(
        &mut self,
        turn: &Turn,
        entry: &Entry,
        opened: &Opened,
        record: &mut Record,
    ) -> Result<Packed, Failure> {
        let shared = self.shared;
        let file = opened.file.try_clone().map_err(|error| shared.io_error(entry, "read", error))?;
        let large = Large::new(file, opened.stamp.size, record.codec, shared.method.level, shared.budget.blocks);
        let large = Arc::new(large);
        shared.offer(turn, Some(Arc::clone(&large)));
        let written = self.write_blocks(entry, &large, record);
        large.abandon();
        shared.offer(turn, None);
        written
    }

    /// Append a header before CRC and packed size are known.
    fn write_early(&mut self, record: &Record) -> Result<()> {
        let shared = self.shared;
        self.header.clear();
        let early = Record { packed: 0, ..*record };
        shared.method.frame.header(&mut self.header, &early.member(shared.plan, shared.options.stamps, b""));
        if shared.options.align > 0 && record.codec == Codec::Store {
            zip::align(&mut self.header, record.offset, shared.options.align);
        }
        // Stored as it is, or in a tar, a member is taken back only where changed files are skipped.
        let settled = record.codec == Codec::Store && shared.options.on_change == OnChange::Error;
        shared.output().write_early(&self.header, settled, shared.progress)
    }

    /// Header and one zstd frame.
    fn write_frame(&mut self, entry: &Entry, opened: &Opened, record: &mut Record) -> Result<Packed, Failure> {
        let (shared, size) = (self.shared, opened.stamp.size);
        let failed = || shared.io_error(entry, "compress", io::Error::other("the zstd library failed"));
        self.write_early(record)?;
        let mut frame = LongFrame::new(shared.method.level, size, shared.budget.workers).ok_or_else(failed)?;
        let (mut raw, mut packed) = (vec![0; BLOCK_BYTES], Vec::new());
        let (mut crc, mut hash) = (crc32fast::Hasher::new(), Hash::new(shared.options));
        let mut read = 0;
        record.packed = 0;
        while read < size {
            if shared.should_stop() {
                return Err(Error::cancelled(Stage::Pack).into());
            }
            let length = (size - read).min(BLOCK_BYTES as u64) as usize;
            let got = fs::read_full(&opened.file, &mut raw[..length]);
            if got.map_err(|error| shared.io_error(entry, "read", error))? < length {
                return Err(Failure::Changed("shrank while it was packed".into()));
            }
            read += length as u64;
            crc.update(&raw[..length]);
            hash.update(&raw[..length]);
            packed.clear();
            frame.append(&raw[..length], read == size, &mut packed).ok_or_else(failed)?;
            shared.output().write_part(&packed, shared.progress)?;
            record.packed += packed.len() as u64;
            shared.progress.bytes_in.add(length as u64);
        }
        record.crc = crc.finalize();
        Ok((read, hash.finish()))
    }

    /// Header and blocks.
    fn write_blocks(&mut self, entry: &Entry, large: &Large, record: &mut Record) -> Result<Packed, Failure> {
        let shared = self.shared;
        self.write_early(record)?;
        record.packed = 0;
        let (mut crc, mut hash) = (crc32fast::Hasher::new(), Hash::new(shared.options));
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
                    record.packed += block.bytes().len() as u64;
                    raw += block.raw_length();
                    let mut output = shared.output();
                    output.write_part(block.bytes(), shared.progress)?;
                    if !output.is_settled()
                        && shared.options.on_change == OnChange::Error
                        && record.packed + longest_deflated(record.size().saturating_sub(raw)) < record.size()
                    {
                        output.settle();
                    }
                    drop(output);
                    crc.combine(block.crc());
                    hash.update(block.raw());
                    shared.progress.bytes_in.add(block.raw_length());
                    large.wrote(block);
                }
                Step::Pack(index, block) => large.pack(index, block, &|| shared.should_stop()),
                Step::Wait => {}
                Step::Done => {
                    let padding = [0; tar::BLOCK];
                    let padding = &padding[..shared.method.frame.padding(record.packed)];
                    shared.output().write_part(padding, shared.progress)?;
                    record.crc = crc.finalize();
                    return Ok((raw, hash.finish()));
                }
                Step::Failed(BlockFailure::Shrank) => {
                    return Err(Failure::Changed("shrank while it was packed".into()));
                }
                Step::Failed(BlockFailure::Read(error)) => {
                    return Err(self.shared.io_error(entry, "read", error).into());
                }
                Step::Failed(BlockFailure::Codec(fault)) => return Err(shared.codec_error(entry, fault).into()),
            }
        }
    }

    fn link(&mut self, index: u32, entry: &Entry, buffer: &mut Buffer) -> Result<(), Failure> {
        let name = self.shared.plan.name(entry);
        let folder = self.folder(entry)?;
        let found = fs::lstat_at(folder, name).and_then(|before| {
            let end = fs::read_link(folder, name)?;
            Ok((before, end, fs::lstat_at(folder, name)?))
        });
        let (before, end, stat) = found.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => Failure::Changed("is no longer a link".into()),
            _ => self.shared.open_failed(entry, error),
        })?;
        if Stamp::of(&before) != Stamp::of(&stat) {
            return Err(Failure::Changed("was replaced while it was packed".into()));
        }
        // A zip has the end of a link as the member's bytes, a tar has it in the header.
        let (bytes, link) = match self.shared.method.frame {
            Frame::Zip => (&end[..], &b""[..]),
            Frame::Tar => (&b""[..], &end[..]),
        };
        let mut record = Record {
            stamp: Stamp { size: end.len() as u64, ..Stamp::of(&stat) },
            packed: bytes.len() as u64,
            offset: 0,
            entry: index,
            crc: crc32fast::hash(&end),
            mode: stat.st_mode as u16,
            codec: self.shared.method.codec,
        };
        self.frame(&mut record, bytes, link, buffer);
        buffer.hashes.extend(self.shared.options.manifest.then(|| Digest::of(&end)));
        Ok(())
    }

    fn directory(&mut self, index: u32, entry: &Entry, buffer: &mut Buffer) -> Result<(), Failure> {
        let stat = fs::fstat(self.folder(entry)?).map_err(|error| self.shared.io_error(entry, "read", error))?;
        let mut record = Record {
            stamp: Stamp::of(&stat),
            packed: 0,
            offset: 0,
            entry: index,
            crc: 0,
            mode: stat.st_mode as u16,
            codec: self.shared.method.codec,
        };
        self.frame(&mut record, b"", b"", buffer);
        buffer.hashes.extend(self.shared.options.manifest.then(|| Digest::of(b"")));
        Ok(())
    }

    fn frame(&mut self, record: &mut Record, bytes: &[u8], link: &[u8], buffer: &mut Buffer) {
        self.header.clear();
        let member = record.member(self.shared.plan, self.shared.options.stamps, link);
        self.shared.method.frame.header(&mut self.header, &member);
        record.offset = buffer.used as u64;
        for part in [&self.header[..], bytes] {
            buffer.room(part.len()).copy_from_slice(part);
            buffer.used += part.len();
        }
        buffer.records.push(*record);
    }
}

/// Header, content and padding of a large file, into the tar.
fn read_into<S: Sink>(
    shared: &Shared<'_, S>,
    stream: &mut Stream,
    entry: &Entry,
    opened: &Opened,
    record: &mut Record,
    help: Help<'_>,
) -> Result<Option<u128>, Failure> {
    let mut header = Vec::new();
    shared.method.frame.header(&mut header, &record.member(shared.plan, shared.options.stamps, b""));
    shared.append_large(stream, &header, help)?;
    let size = opened.stamp.size;
    let (mut crc, mut hash) = (crc32fast::Hasher::new(), Hash::new(shared.options));
    let mut read = 0;
    while read < size {
        if shared.should_stop() {
            return Err(Error::cancelled(Stage::Pack).into());
        }
        let length = (size - read).min(stream.left(true) as u64) as usize;
        let room = stream.room(length);
        let got = fs::read_full(&opened.file, room);
        if shared.options.manifest {
            crc.update(room);
            hash.update(room);
        }
        if got.map_err(|error| shared.io_error(entry, "read", error))? < length {
            return Err(Failure::Changed("shrank while it was packed".into()));
        }
        read += length as u64;
        shared.filled(stream, length, help)?;
        shared.progress.bytes_in.add(length as u64);
    }
    shared.append_large(stream, &[0; tar::BLOCK][..tar::padding(size)], help)?;
    record.crc = crc.finalize();
    shared.unchanged(entry, opened, read).map(|()| hash.finish())
}

/// What `raw` bytes cannot exceed when they are deflated in blocks: deflate stores what does not shrink, in pieces of 16 KiB at
/// least with five bytes each, and a block ends with five more. Twice that, and some for a file that is hardly longer.
const fn longest_deflated(raw: u64) -> u64 {
    raw + (raw >> 10) + (64 << 10)
}

/// Do for the others what would otherwise be waited for.
fn lend<S: Sink>(shared: &Shared<'_, S>, packer: &mut Packer, work: Work<'_>) {
    match work {
        Work::Large(large) => large.help(&|| shared.should_stop()),
        Work::Block(mut block) => {
            let pressed = packer.press(&mut block, &|| shared.should_stop()).map_err(|fault| match fault {
                Fault::Stopped => Error::cancelled(Stage::Pack),
                Fault::Library => Error::new(
                    ErrorKind::Io,
                    Stage::Pack,
                    "the compression library failed; nothing was published: choose a .zip or .tar",
                ),
            });
            if let Err(error) = pressed.and_then(|()| shared.hand_in(block)) {
                shared.fail(error);
            }
        }
    }
}
