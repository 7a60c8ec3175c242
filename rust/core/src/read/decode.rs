//! Packed bytes → bytes, whole or in portions, never more than was announced.

use std::cell::RefCell;

use libdeflater::{DecompressionError, Decompressor};
use zlib_rs::{Inflate, InflateFlush, Status};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::fault::Fault;
use super::limits::{Limits, TRUST};
use super::member::Packing;
use super::source::Source;

/// Packed bytes that a stream holds at once.
const INPUT: usize = 64 << 10;

/// How far back a zstd frame may look, as a power of two: what the library allows by itself. More is `zstd --long=28` and above.
const WINDOW: u32 = 27;

/// The most that it can be told to allow.
const LARGEST_WINDOW: u32 = 31;

/// Errors of the library, whose numbers are fixed: a frame looks further back than is allowed, or makes more than there is
/// room for.
const WINDOW_TOO_LARGE: usize = 16_usize.wrapping_neg();
const NO_ROOM: usize = 70_usize.wrapping_neg();

thread_local! {
    static INFLATER: RefCell<Decompressor> = RefCell::new(Decompressor::new());
    /// Making one takes longer than to unpack a small frame.
    static FRAMES: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

fn zstd_context() -> Result<DCtx<'static>, Fault> {
    DCtx::try_create().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::OutOfMemory).into())
}

/// Unpack zstd frames into `out`, which may be longer; how many bytes they made, or the library's code of what is wrong. No
/// window is needed, as `out` is there.
pub(crate) fn unpack_frames(packed: &[u8], out: &mut [u8]) -> Result<Result<usize, usize>, Fault> {
    FRAMES.with_borrow_mut(|kept| {
        let mut context = kept.take().map_or_else(zstd_context, Ok)?;
        let made = context.decompress(out, packed);
        *kept = Some(context);
        Ok(made)
    })
}

/// Unpack `packed` into exactly `out`.
pub(crate) fn unpack_whole(packing: Packing, packed: &[u8], out: &mut [u8]) -> Result<(), Fault> {
    match packing {
        Packing::Stored | Packing::Tar if packed.len() == out.len() => out.copy_from_slice(packed),
        Packing::Deflate => match inflate(packed, out) {
            Ok(count) if count == out.len() => {}
            Ok(_) => return Err(shorter()),
            Err(DecompressionError::InsufficientSpace) => return Err(longer()),
            Err(DecompressionError::BadData) => return Err(damaged_deflate()),
        },
        Packing::Zstd => match unpack_frames(packed, out)? {
            Ok(count) if count == out.len() => {}
            Ok(_) => return Err(shorter()),
            Err(NO_ROOM) => return Err(longer()),
            Err(code) => return Err(damaged_zstd(code)),
        },
        packing => return Err(unknown(packing)),
    }
    Ok(())
}

fn unknown(packing: Packing) -> Fault {
    Fault::unsupported(format!("vhpack does not unpack {}", packing.name()))
}

fn inflate(packed: &[u8], out: &mut [u8]) -> Result<usize, DecompressionError> {
    INFLATER.with_borrow_mut(|inflater| inflater.deflate_decompress(packed, out))
}

/// What gzip has in front of a deflate stream, without name or time.
const GZIP_HEAD: &[u8; 10] = b"\x1f\x8b\x08\0\0\0\0\0\0\xff";

/// Unpack the deflate stream in `packed` from `start` on into `out`; whether it is one with this CRC and just that length, with
/// nothing behind it. Bytes before `start` are written over.
///
/// libdeflate does not say where a stream ends, and passes over what follows. But in a gzip member it looks for CRC and length
/// where the stream ends, so these are put behind all bytes: it finds them there, or, where bytes follow the stream that
/// begin with the same, finds these. So there must be no other such place.
pub(crate) fn is_just(packed: &mut Vec<u8>, start: usize, crc: Option<u32>, out: &mut [u8]) -> bool {
    let (Some(crc), Some(head)) = (crc, start.checked_sub(GZIP_HEAD.len())) else { return false };
    let length = packed.len();
    packed[head..start].copy_from_slice(GZIP_HEAD);
    packed.extend_from_slice(&crc.to_le_bytes());
    packed.extend_from_slice(&(out.len() as u32).to_le_bytes());
    let made = INFLATER.with_borrow_mut(|inflater| inflater.gzip_decompress(&packed[head..], out));
    let is_only = memchr::memmem::find(&packed[start..], &packed[length..]) == Some(length - start);
    packed.truncate(length);
    is_only && made == Ok(out.len())
}

/// Refuse bytes behind the deflate stream that unpacks to `out`: there are some where the last one can be spared.
pub(crate) fn expect_whole_end(packing: Packing, packed: &[u8], out: &mut [u8]) -> Result<(), Fault> {
    match packed.split_last() {
        Some((_, rest)) if packing == Packing::Deflate && inflate(rest, out) == Ok(out.len()) => {
            Err(more_than_stream())
        }
        _ => Ok(()),
    }
}

pub(crate) fn shorter() -> Fault {
    Fault::corrupt("it unpacks to fewer bytes than announced")
}

fn longer() -> Fault {
    Fault::corrupt("it unpacks to more bytes than announced")
}

fn more_than_stream() -> Fault {
    Fault::corrupt("there is more packed data than its stream")
}

fn damaged_deflate() -> Fault {
    Fault::corrupt("its deflate stream is damaged")
}

/// A decoder that is fed in portions.
pub(crate) enum Decoder {
    Stored,
    Deflate(Box<Inflate>),
    Zstd(DCtx<'static>),
}

/// What one feeding did.
pub(crate) struct Fed {
    pub taken: usize,
    pub made: usize,
    /// The deflate stream, or a frame, ends here.
    pub ended: bool,
}

impl Decoder {
    pub fn new(packing: Packing, limits: &Limits) -> Result<Self, Fault> {
        Ok(match packing {
            Packing::Stored | Packing::Tar => Self::Stored,
            Packing::Deflate => Self::Deflate(Box::new(Inflate::new(false, 15))),
            Packing::Zstd => {
                let mut context = zstd_context()?;
                let window = if limits.max_ratio == 0 { LARGEST_WINDOW } else { WINDOW };
                context.set_parameter(DParameter::WindowLogMax(window)).map_err(damaged_zstd)?;
                Self::Zstd(context)
            }
            Packing::Sparse | Packing::Other(_) => return Err(unknown(packing)),
        })
    }

    /// Begin again, for another stream.
    pub fn reset(&mut self) {
        match self {
            Self::Stored => {}
            Self::Deflate(inflate) => inflate.reset(false),
            // A session can always be reset.
            Self::Zstd(context) => drop(context.reset(ResetDirective::SessionOnly)),
        }
    }

    /// Begin again in the middle of a deflate stream, behind these bytes.
    pub fn resume(&mut self, window: &[u8]) -> Result<(), Fault> {
        self.reset();
        match self {
            Self::Deflate(inflate) => inflate.set_dictionary(window).map(|_| ()).map_err(|_| damaged_deflate()),
            _ => Err(damaged_deflate()),
        }
    }

    /// Take some of `input` and make some of `out`.
    pub fn feed(&mut self, input: &[u8], out: &mut [u8]) -> Result<Fed, Fault> {
        self.feed_until(input, out, InflateFlush::NoFlush)
    }

    /// The same, but not beyond the end of a block of deflate.
    pub fn feed_block(&mut self, input: &[u8], out: &mut [u8]) -> Result<Fed, Fault> {
        self.feed_until(input, out, InflateFlush::Block)
    }

    fn feed_until(&mut self, input: &[u8], out: &mut [u8], until: InflateFlush) -> Result<Fed, Fault> {
        match self {
            Self::Stored => {
                let count = input.len().min(out.len());
                out[..count].copy_from_slice(&input[..count]);
                Ok(Fed { taken: count, made: count, ended: false })
            }
            Self::Deflate(inflate) => {
                let (taken, made) = (inflate.total_in(), inflate.total_out());
                let status = inflate.decompress(input, out, until).map_err(|_| damaged_deflate())?;
                Ok(Fed {
                    taken: (inflate.total_in() - taken) as usize,
                    made: (inflate.total_out() - made) as usize,
                    ended: status == Status::StreamEnd,
                })
            }
            Self::Zstd(context) => {
                let mut from = InBuffer::around(input);
                let mut to = OutBuffer::around(out);
                let left = context.decompress_stream(&mut to, &mut from).map_err(damaged_zstd)?;
                Ok(Fed { taken: from.pos(), made: to.pos(), ended: left == 0 })
            }
        }
    }
}

/// Too large a window is refused by the library itself, before it takes the memory.
fn damaged_zstd(code: usize) -> Fault {
    if code == WINDOW_TOO_LARGE {
        let what = format!(
            "to unpack it takes a window of more than 128 MiB of memory, as zstd --long=28 and above make it; unpack it with \
             zstd -d --long=31, or {TRUST}"
        );
        return Fault::new(crate::ErrorKind::LimitExceeded, what);
    }
    Fault::corrupt(format!("its zstd data is damaged: {}", zstd_safe::get_error_name(code)))
}

/// One packed stream that lies in a source.
pub(crate) struct Stream {
    decoder: Decoder,
    input: Vec<u8>,
    /// What of the input is not taken yet.
    unread: std::ops::Range<usize>,
    start: u64,
    next: u64,
    end: u64,
    ended: bool,
}

impl Stream {
    /// The stream in the bytes from `start` to `end`.
    pub fn new(packing: Packing, start: u64, end: u64, limits: &Limits) -> Result<Self, Fault> {
        let input = vec![0; INPUT.min(usize::try_from(end.saturating_sub(start)).unwrap_or(INPUT))];
        Ok(Self { decoder: Decoder::new(packing, limits)?, input, unread: 0..0, start, next: start, end, ended: false })
    }

    pub fn restart(&mut self) {
        self.decoder.reset();
        self.unread = 0..0;
        self.next = self.start;
        self.ended = false;
    }

    fn fill(&mut self, source: &dyn Source) -> Result<(), Fault> {
        let wanted = self.input.len().min(usize::try_from(self.end - self.next).unwrap_or(usize::MAX));
        let count = source.read_at(&mut self.input[..wanted], self.next)?;
        if count < wanted {
            return Err(Fault::corrupt("the archive ends inside its data").at(self.next + count as u64));
        }
        self.next += count as u64;
        self.unread = 0..count;
        Ok(())
    }

    /// Unpack some bytes into `out`; zero only at the end of the stream.
    pub fn read(&mut self, source: &dyn Source, out: &mut [u8]) -> Result<usize, Fault> {
        loop {
            if self.unread.is_empty() && self.next < self.end {
                self.fill(source)?;
            }
            let last = self.unread.is_empty();
            // Frames may follow each other; a deflate stream ends once.
            if self.ended && (last || matches!(self.decoder, Decoder::Deflate(_))) {
                return Ok(0);
            }
            let fed = self.decoder.feed(&self.input[self.unread.clone()], out)?;
            self.unread.start += fed.taken;
            self.ended = fed.ended;
            if fed.made > 0 || out.is_empty() {
                return Ok(fed.made);
            }
            if fed.taken == 0 && !fed.ended {
                return match self.decoder {
                    Decoder::Stored => Ok(0),
                    _ => Err(Fault::corrupt("its packed data ends too early")),
                };
            }
        }
    }

    /// Make sure that nothing more comes.
    pub fn expect_end(&mut self, source: &dyn Source) -> Result<(), Fault> {
        if self.read(source, &mut [0])? > 0 {
            return Err(longer());
        }
        if !self.unread.is_empty() || self.next < self.end {
            return Err(more_than_stream());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{inflate, is_just};

    #[test]
    fn a_stream_is_just_itself_with_nothing_behind_it() {
        let raw = b"all work and no play ".repeat(50);
        let crc = crc32fast::hash(&raw);
        let mut stream = vec![0; 2000];
        let length = libdeflater::Compressor::default().deflate_compress(&raw, &mut stream).unwrap();
        stream.truncate(length);
        let front = b"a local header, which may be written over";
        let mut out = vec![0; raw.len()];
        let mut just = |stream: &[u8], crc: u32, length: usize| {
            let mut packed = [front, stream].concat();
            let is = is_just(&mut packed, front.len(), Some(crc), &mut out[..length]);
            assert_eq!(&packed[front.len()..], stream, "it is as it was");
            is
        };
        assert!(just(&stream, crc, raw.len()));
        // What libdeflate looks for where the stream ends, and something else behind it, or half of that.
        let sums = [crc.to_le_bytes(), (raw.len() as u32).to_le_bytes()].concat();
        for behind in [&b"\0"[..], b"junk and more", &sums, &[&sums[..], b"junk"].concat(), &sums[..4], &sums.repeat(2)]
        {
            let stream = [&stream, behind].concat();
            assert_eq!(inflate(&stream, &mut vec![0; raw.len()]), Ok(raw.len()), "others read it");
            assert!(!just(&stream, crc, raw.len()), "{behind:?}");
        }
        assert!(!just(&stream, crc ^ 1, raw.len()));
        assert!(!just(&stream, crc, raw.len() - 1));
        assert!(!just(&stream[..length - 1], crc, raw.len()));
        assert!(!is_just(&mut stream.clone(), 9, Some(crc), &mut out));
    }
}
