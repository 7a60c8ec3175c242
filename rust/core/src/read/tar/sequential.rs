//! A tar packed as one stream, which can only be unpacked from a beginning: of the file, a frame, or a gzip member.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::frames::SeekTable;
use super::restarts::{Restart, Restarts, Watch};
use crate::cancel::CancelToken;
use crate::read::decode::{Decoder, Fed};
use crate::read::fault::Fault;
use crate::read::limits::Limits;
use crate::read::member::Packing;
use crate::read::source::Source;

/// Packed and unpacked bytes that one unpacking holds.
const INPUT: usize = 64 << 10;
const OUTPUT: usize = 128 << 10;

/// Unpackings that wait where they stopped, so that reading on costs nothing.
const WAITING: usize = 4;

/// Beginnings are noted at this distance, unpacked; closer ones save little and would fill memory.
const POINT_DISTANCE: u64 = 1 << 20;

const GZIP_MAGIC: &[u8] = b"\x1f\x8b";
const ZSTD_MAGIC: &[u8] = b"\x28\xb5\x2f\xfd";

const CUT_SHORT: &str = "it is cut short";

/// What wraps the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrap {
    Gzip,
    Zstd,
}

/// A packed stream, read at positions of what it unpacks to.
pub(crate) struct Sequential {
    wrap: Wrap,
    limits: Limits,
    /// Of the call that made this: opening and verifying unpack all of it, which takes long.
    cancel: CancelToken,
    /// Where one can begin: in the file, and in what it unpacks to. Grows while the stream is read for the first time.
    points: Mutex<Vec<(u64, u64)>>,
    /// The same inside gzip members, while the stream is read for the first time.
    restarts: Box<Mutex<Restarts>>,
    waiting: Mutex<Vec<Unpacking>>,
    /// Says where beginnings are.
    table: Option<Arc<SeekTable>>,
    /// Which of the table's beginnings is to come next, while it is checked.
    checking: Option<Mutex<usize>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the locks guard is changed in single steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sequential {
    pub fn new(wrap: Wrap, limits: Limits, cancel: &CancelToken) -> Self {
        let points = Mutex::new(vec![(0, 0)]);
        let (waiting, table, checking) = (Mutex::default(), None, None);
        let restarts = Box::default();
        Self { wrap, limits, cancel: cancel.clone(), points, restarts, waiting, table, checking }
    }

    /// With the beginnings that a seek table knows.
    pub fn with_table(wrap: Wrap, limits: Limits, cancel: &CancelToken, table: SeekTable) -> Self {
        let points = Mutex::new(table.starts.clone());
        Self { points, table: Some(Arc::new(table)), ..Self::new(wrap, limits, cancel) }
    }

    pub fn table(&self) -> Option<&SeekTable> {
        self.table.as_deref()
    }

    /// Fill `out` from `offset` of what the stream unpacks to; short only at its end.
    pub fn read_at(&self, source: &dyn Source, out: &mut [u8], offset: u64) -> Result<usize, Fault> {
        let mut unpacking = self.nearest(offset)?;
        let result = unpacking.read_at(self, source, out, offset);
        if result.is_ok() {
            let mut waiting = lock(&self.waiting);
            if waiting.len() == WAITING {
                waiting.remove(0);
            }
            waiting.push(unpacking);
        }
        result
    }

    /// The unpacking that has the shortest way to `offset`.
    fn nearest(&self, offset: u64) -> Result<Unpacking, Fault> {
        let restart = self.restart(offset);
        let mut waiting = lock(&self.waiting);
        let near =
            (0..waiting.len()).filter(|&n| waiting[n].position() <= offset).max_by_key(|&n| waiting[n].position());
        match near {
            Some(number) if waiting[number].position() >= restart.made => Ok(waiting.remove(number)),
            _ => {
                drop(waiting);
                Unpacking::new(self.wrap, &self.limits, &restart)
            }
        }
    }

    /// The last beginning, or place inside a gzip member, that is not behind `offset`.
    fn restart(&self, offset: u64) -> Restart {
        let (file, made) = {
            let points = lock(&self.points);
            points[points.partition_point(|point| point.1 <= offset).saturating_sub(1)]
        };
        match lock(&self.restarts).before(offset) {
            Some(restart) if restart.made > made => restart.clone(),
            _ => Restart { file, made, window: None, lead: Vec::new() },
        }
    }

    /// How far the nearest unpacking, or beginning, is on the way to `offset`.
    pub fn reached(&self, offset: u64) -> u64 {
        let restart = self.restart(offset).made;
        let waiting = lock(&self.waiting);
        let positions = waiting.iter().map(Unpacking::position).filter(|&position| position <= offset);
        positions.max().unwrap_or(0).max(restart)
    }

    fn note_point(&self, point: (u64, u64)) {
        let mut points = lock(&self.points);
        if points.last().is_some_and(|last| point.1 >= last.1 + POINT_DISTANCE) {
            points.push(point);
        }
    }

    /// The same stream, of which nothing has been read and no beginning is believed; [`finish`](Self::finish) holds its
    /// seek table against it.
    pub fn again(&self, cancel: &CancelToken) -> Self {
        let (table, checking) = (self.table.clone(), Some(Mutex::default()));
        Self { table, checking, ..Self::new(self.wrap, self.limits, cancel) }
    }

    /// Refuse a seek table whose beginnings up to this one, which is real, are not all real themselves. The last of them
    /// is where the table itself begins, and so says how long all is.
    fn check_point(&self, point: (u64, u64)) -> Result<(), Fault> {
        let (Some(table), Some(checking)) = (&self.table, &self.checking) else { return Ok(()) };
        let mut next = lock(checking);
        while let Some(&told) = table.starts.get(*next).filter(|told| told.0 <= point.0) {
            if told != point {
                let what =
                    format!("the seek table is wrong: byte {} of the file is not byte {} of the tar", told.0, told.1);
                return Err(Fault::corrupt(what).at(told.1.min(point.1)));
            }
            *next += 1;
        }
        Ok(())
    }

    /// Unpack what follows `offset`, and show it to `see` with its position; where the stream ends unpacked, and where in
    /// the file.
    pub fn finish(
        &self,
        source: &dyn Source,
        mut offset: u64,
        see: &mut dyn FnMut(&[u8], u64),
    ) -> Result<(u64, u64), Fault> {
        let mut unpacking = self.nearest(offset)?;
        let mut scratch = vec![0; OUTPUT];
        loop {
            let count = unpacking.read_at(self, source, &mut scratch, offset)?;
            if count == 0 {
                return Ok((unpacking.made, unpacking.next - unpacking.unread.len() as u64));
            }
            see(&scratch[..count], offset);
            offset += count as u64;
        }
    }
}

/// What comes next in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A frame or a gzip member, or the end.
    Beginning,
    Data,
    End,
}

struct Unpacking {
    decoder: Decoder,
    next_is: Next,
    input: Vec<u8>,
    unread: std::ops::Range<usize>,
    /// Of the file, behind the input.
    next: u64,
    output: Vec<u8>,
    ready: std::ops::Range<usize>,
    /// What was unpacked in all; the last of it may still be in the output.
    made: u64,
    /// Of the present gzip member.
    crc: crc32fast::Hasher,
    member_made: u64,
    /// Whether that was unpacked from its first byte on, so that its CRC is known.
    is_whole: bool,
    watch: Watch,
}

impl Unpacking {
    fn new(wrap: Wrap, limits: &Limits, restart: &Restart) -> Result<Self, Fault> {
        let packing = match wrap {
            Wrap::Gzip => Packing::Deflate,
            Wrap::Zstd => Packing::Zstd,
        };
        let mut decoder = Decoder::new(packing, limits)?;
        if let Some(window) = &restart.window {
            decoder.resume(window)?;
        }
        let mut input = vec![0; INPUT];
        input[..restart.lead.len()].copy_from_slice(&restart.lead);
        Ok(Self {
            decoder,
            next_is: if restart.window.is_some() { Next::Data } else { Next::Beginning },
            input,
            unread: 0..restart.lead.len(),
            next: restart.file,
            output: vec![0; OUTPUT],
            ready: 0..0,
            made: restart.made,
            crc: crc32fast::Hasher::new(),
            member_made: 0,
            is_whole: restart.window.is_none(),
            watch: Watch::default(),
        })
    }

    /// Where the next byte that it gives stands.
    fn position(&self) -> u64 {
        self.made - self.ready.len() as u64
    }

    fn read_at(
        &mut self,
        stream: &Sequential,
        source: &dyn Source,
        out: &mut [u8],
        offset: u64,
    ) -> Result<usize, Fault> {
        let mut filled = 0;
        while filled < out.len() {
            if self.ready.is_empty() && !self.more(stream, source)? {
                break;
            }
            let skip = usize::try_from(offset.saturating_sub(self.position())).unwrap_or(usize::MAX);
            self.ready.start += skip.min(self.ready.len());
            let count = self.ready.len().min(out.len() - filled);
            out[filled..filled + count].copy_from_slice(&self.output[self.ready.start..self.ready.start + count]);
            self.ready.start += count;
            filled += count;
        }
        Ok(filled)
    }

    /// Unpack some bytes; `false` at the end.
    fn more(&mut self, stream: &Sequential, source: &dyn Source) -> Result<bool, Fault> {
        loop {
            match self.next_is {
                Next::End => return Ok(false),
                Next::Beginning => self.begin(stream, source)?,
                Next::Data => {
                    if stream.cancel.is_cancelled() {
                        return Err(Fault::cancelled());
                    }
                    if self.unread.is_empty() {
                        self.fill(source)?;
                    }
                    let made = self.made;
                    let fed = self.feed(stream).map_err(|fault| fault.at(made))?;
                    if fed.taken == 0 && fed.made == 0 && !fed.ended {
                        return Err(self.cut_short(source));
                    }
                    self.unread.start += fed.taken;
                    self.made += fed.made as u64;
                    self.ready = 0..fed.made;
                    stream.limits.check_total(self.made)?;
                    if stream.wrap == Wrap::Gzip {
                        self.crc.update(&self.output[..fed.made]);
                        self.member_made += fed.made as u64;
                    }
                    if fed.ended {
                        self.end_of_part(stream, source)?;
                    }
                    if fed.made > 0 {
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// Unpack some bytes; of a gzip member that is unpacked from its beginning by the first pass, a block, to look for
    /// places to begin at. What verifies unpacks once more, and needs none.
    fn feed(&mut self, stream: &Sequential) -> Result<Fed, Fault> {
        let input = &self.input[self.unread.clone()];
        if stream.wrap != Wrap::Gzip || stream.checking.is_some() || !self.is_whole {
            return self.decoder.feed(input, &mut self.output);
        }
        let fed = self.decoder.feed_block(input, &mut self.output)?;
        let file = self.next - self.unread.len() as u64 + fed.taken as u64;
        let is_stop = !fed.ended && fed.taken < input.len() && fed.made < self.output.len();
        self.watch.see(
            &mut lock(&stream.restarts),
            (&input[..fed.taken], &self.output[..fed.made]),
            (is_stop, fed.ended),
            (file, self.made + fed.made as u64),
        )?;
        Ok(fed)
    }

    fn cut_short(&self, source: &dyn Source) -> Fault {
        let at = self.next - self.unread.len() as u64;
        let what = if at >= source.length() { CUT_SHORT } else { "its packed data is damaged" };
        Fault::corrupt(what).at(self.made)
    }

    fn fill(&mut self, source: &dyn Source) -> Result<(), Fault> {
        self.input.copy_within(self.unread.clone(), 0);
        let have = self.unread.len();
        let count = source.read_at(&mut self.input[have..], self.next)?;
        self.next += count as u64;
        self.unread = 0..have + count;
        Ok(())
    }

    /// At least `count` unread bytes, or what the file still has.
    fn peek(&mut self, source: &dyn Source, count: usize) -> Result<&[u8], Fault> {
        if self.unread.len() < count {
            self.fill(source)?;
        }
        Ok(&self.input[self.unread.clone()])
    }

    /// Begin a frame or gzip member; anything else ends the stream, as gzip does it too.
    fn begin(&mut self, stream: &Sequential, source: &dyn Source) -> Result<(), Fault> {
        let point = (self.next - self.unread.len() as u64, self.made);
        let head = self.peek(source, 4)?;
        let begins = match stream.wrap {
            Wrap::Gzip => head.starts_with(GZIP_MAGIC),
            Wrap::Zstd => head.starts_with(ZSTD_MAGIC) || is_skippable(head),
        };
        if !begins {
            if self.made == 0 && point.0 == 0 {
                return Err(self.cut_short(source));
            }
            self.next_is = Next::End;
            return Ok(());
        }
        stream.note_point(point);
        stream.check_point(point)?;
        if stream.wrap == Wrap::Gzip {
            self.gzip_header(stream, source)?;
            self.crc = crc32fast::Hasher::new();
            self.member_made = 0;
            self.is_whole = true;
            self.watch.reset();
        }
        self.decoder.reset();
        self.next_is = Next::Data;
        Ok(())
    }

    /// Step over a gzip header, whose optional parts take any length.
    fn gzip_header(&mut self, stream: &Sequential, source: &dyn Source) -> Result<(), Fault> {
        const EXTRA: u8 = 4;
        const NAME: u8 = 8;
        const COMMENT: u8 = 16;
        const CRC: u8 = 2;
        let made = self.made;
        let head = self.take(source, 10)?;
        let (method, flags) = (head[2], head[3]);
        if method != 8 || flags & 0xe0 != 0 {
            return Err(Fault::unsupported("a gzip header asks for what no reader knows").at(made));
        }
        if flags & EXTRA != 0 {
            let length = self.take(source, 2)?;
            let length = u16::from_le_bytes([length[0], length[1]]);
            self.take(source, length.into())?;
        }
        for text in [NAME, COMMENT] {
            if flags & text != 0 {
                while self.take(source, 1)? != [0] {
                    if stream.cancel.is_cancelled() {
                        return Err(Fault::cancelled());
                    }
                }
            }
        }
        if flags & CRC != 0 {
            self.take(source, 2)?;
        }
        Ok(())
    }

    fn take(&mut self, source: &dyn Source, count: usize) -> Result<&[u8], Fault> {
        if count > self.input.len() {
            self.input.resize(count, 0);
        }
        if self.unread.len() < count {
            self.fill(source)?;
        }
        if self.unread.len() < count {
            return Err(Fault::corrupt(CUT_SHORT).at(self.made));
        }
        let taken = self.unread.start..self.unread.start + count;
        self.unread.start += count;
        Ok(&self.input[taken])
    }

    /// Behind deflate's last block gzip has the CRC and the length; zstd checks its frames itself.
    fn end_of_part(&mut self, stream: &Sequential, source: &dyn Source) -> Result<(), Fault> {
        self.next_is = Next::Beginning;
        if stream.wrap == Wrap::Zstd {
            return Ok(());
        }
        let (made, crc, length) = (self.made, self.crc.clone().finalize(), self.member_made as u32);
        let whole = self.is_whole;
        let trailer = self.take(source, 8)?;
        let is_right = trailer[..4] == crc.to_le_bytes() && trailer[4..] == length.to_le_bytes();
        if whole && !is_right {
            return Err(Fault::corrupt("the CRC of the gzip data is wrong; something before this is damaged").at(made));
        }
        Ok(())
    }
}

fn is_skippable(head: &[u8]) -> bool {
    matches!(head, [low, 0x2a, 0x4d, 0x18, ..] if low & 0xf0 == 0x50)
}
