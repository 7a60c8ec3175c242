//! A tar packed as one stream, which can only be unpacked from a beginning: of the file, a frame, or a gzip member.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cancel::CancelToken;
use crate::read::decode::Decoder;
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
    waiting: Mutex<Vec<Unpacking>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the locks guard is changed in single steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sequential {
    pub fn new(wrap: Wrap, limits: Limits, cancel: &CancelToken) -> Self {
        let points = Mutex::new(vec![(0, 0)]);
        Self { wrap, limits, cancel: cancel.clone(), points, waiting: Mutex::default() }
    }

    /// With beginnings that are known.
    pub fn with_points(wrap: Wrap, limits: Limits, cancel: &CancelToken, points: &[(u64, u64)]) -> Self {
        Self { points: Mutex::new(points.to_vec()), ..Self::new(wrap, limits, cancel) }
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
        let point = {
            let points = lock(&self.points);
            points[points.partition_point(|point| point.1 <= offset).saturating_sub(1)]
        };
        let mut waiting = lock(&self.waiting);
        let near =
            (0..waiting.len()).filter(|&n| waiting[n].position() <= offset).max_by_key(|&n| waiting[n].position());
        match near {
            Some(number) if waiting[number].position() >= point.1 => Ok(waiting.remove(number)),
            _ => {
                drop(waiting);
                Unpacking::new(self.wrap, point)
            }
        }
    }

    /// How far the nearest unpacking, or beginning, is on the way to `offset`.
    pub fn reached(&self, offset: u64) -> u64 {
        let points = lock(&self.points);
        let point = points[points.partition_point(|point| point.1 <= offset).saturating_sub(1)].1;
        drop(points);
        let waiting = lock(&self.waiting);
        let positions = waiting.iter().map(Unpacking::position).filter(|&position| position <= offset);
        positions.max().unwrap_or(0).max(point)
    }

    fn note_point(&self, point: (u64, u64)) {
        let mut points = lock(&self.points);
        if points.last().is_some_and(|last| point.1 >= last.1 + POINT_DISTANCE) {
            points.push(point);
        }
    }

    /// The same stream, of which nothing has been read.
    pub fn again(&self, cancel: &CancelToken) -> Self {
        Self::new(self.wrap, self.limits, cancel)
    }

    /// Unpack what follows `offset`; where the stream ends unpacked, where in the file, and whether all from `offset` on
    /// was zeros.
    pub fn finish(&self, source: &dyn Source, mut offset: u64) -> Result<(u64, u64, bool), Fault> {
        let mut unpacking = self.nearest(offset)?;
        let mut scratch = vec![0; OUTPUT];
        let mut zeros = true;
        loop {
            let count = unpacking.read_at(self, source, &mut scratch, offset)?;
            if count == 0 {
                return Ok((offset, unpacking.next - unpacking.unread.len() as u64, zeros));
            }
            zeros = zeros && scratch[..count].iter().all(|&b| b == 0);
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
}

impl Unpacking {
    fn new(wrap: Wrap, (file, made): (u64, u64)) -> Result<Self, Fault> {
        let packing = match wrap {
            Wrap::Gzip => Packing::Deflate,
            Wrap::Zstd => Packing::Zstd,
        };
        Ok(Self {
            decoder: Decoder::new(packing)?,
            next_is: Next::Beginning,
            input: vec![0; INPUT],
            unread: 0..0,
            next: file,
            output: vec![0; OUTPUT],
            ready: 0..0,
            made,
            crc: crc32fast::Hasher::new(),
            member_made: 0,
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
                    let fed = self.decoder.feed(&self.input[self.unread.clone()], &mut self.output)?;
                    if fed.taken == 0 && fed.made == 0 && !fed.ended {
                        return Err(self.cut_short(source));
                    }
                    self.unread.start += fed.taken;
                    self.made += fed.made as u64;
                    self.ready = 0..fed.made;
                    stream.limits.check_bytes(self.made, source.length())?;
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

    fn cut_short(&self, source: &dyn Source) -> Fault {
        let at = self.next - self.unread.len() as u64;
        let what = if at >= source.length() { "it is cut short" } else { "its packed data is damaged" };
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
        if stream.wrap == Wrap::Gzip {
            self.gzip_header(source)?;
            self.crc = crc32fast::Hasher::new();
            self.member_made = 0;
        }
        self.decoder.reset();
        self.next_is = Next::Data;
        Ok(())
    }

    /// Step over a gzip header, whose optional parts take any length.
    fn gzip_header(&mut self, source: &dyn Source) -> Result<(), Fault> {
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
                while self.take(source, 1)? != [0] {}
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
            return Err(self.cut_short(source));
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
        let trailer = self.take(source, 8)?;
        if trailer[..4] != crc.to_le_bytes() || trailer[4..] != length.to_le_bytes() {
            return Err(Fault::corrupt("the CRC of the gzip data is wrong; something before this is damaged").at(made));
        }
        Ok(())
    }
}

fn is_skippable(head: &[u8]) -> bool {
    matches!(head, [low, 0x2a, 0x4d, 0x18, ..] if low & 0xf0 == 0x50)
}
