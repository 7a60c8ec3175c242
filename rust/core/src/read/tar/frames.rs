//! A tar in zstd frames with a seek table: any frame is unpacked by itself, and recent ones are kept.

use std::collections::VecDeque;
use std::hash::Hasher as _;
use std::sync::{Arc, Mutex, PoisonError};

use twox_hash::XxHash64;

use crate::read::decode::unpack_frames;
use crate::read::fault::Fault;
use crate::read::source::Source;

/// Ends a seek table; also the zstd library's `contrib/seekable_format`.
const FOOTER_MAGIC: u32 = 0x8F92_EAB1;
/// Begins the skippable frame that holds a seek table.
const TABLE_MAGIC: u32 = 0x184D_2A5E;
const FOOTER: usize = 9;
const HEAD: usize = 8;
/// Entries that are read at a time.
const PORTION: usize = 4096;
const HAS_CHECKSUMS: u8 = 0x80;
const RESERVED: u8 = 0x7c;

/// Unpacked frames are kept up to this size together: some for each of 16 threads at a MiB or four each.
const KEPT: usize = 64 << 20;

/// And so many of them: finding one among these costs less than unpacking one, however small they are.
const KEPT_FRAMES: usize = 256;

/// A frame that unpacks to more, or takes more, is not held in memory as a whole.
const LARGEST_FRAME: u64 = 16 << 20;

/// What does not shrink grows by this part of it at most.
const GROWTH: u64 = 128;

/// Zstandard makes at most a block of 128 KiB of four bytes.
const MOST_RATIO: u64 = 32_768;

/// Where frames begin, packed and unpacked; the last entry is where both end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeekTable {
    pub starts: Vec<(u64, u64)>,
    /// Of what each frame unpacks to, the low half of its XXH64; empty where the table has none.
    sums: Vec<u32>,
}

impl SeekTable {
    /// Whether the table has no checksum of this frame, or this one. A frame of nothing may have any.
    fn agrees(&self, number: usize, sum: u64, length: u64) -> bool {
        length == 0 || self.sums.get(number).is_none_or(|told| *told == sum as u32)
    }
}

/// Holds a stream against the checksums of its seek table.
pub(crate) struct Sums<'a> {
    table: &'a SeekTable,
    number: usize,
    hash: XxHash64,
}

impl<'a> Sums<'a> {
    pub fn new(table: &'a SeekTable) -> Self {
        Self { table, number: 0, hash: XxHash64::with_seed(0) }
    }

    /// Take in the next bytes, which stand at `at`; where a frame begins whose checksum is another.
    pub fn see(&mut self, mut bytes: &[u8], mut at: u64) -> Option<u64> {
        let mut wrong = None;
        while let Some(&[from, to]) =
            self.table.starts.get(self.number..self.number + 2).and_then(|pair| pair.first_chunk())
            && (!bytes.is_empty() || at == to.1)
        {
            let count = bytes.len().min(usize::try_from(to.1.saturating_sub(at)).unwrap_or(usize::MAX));
            self.hash.write(&bytes[..count]);
            (bytes, at) = (&bytes[count..], at + count as u64);
            if at < to.1 {
                break;
            }
            let hash = std::mem::replace(&mut self.hash, XxHash64::with_seed(0));
            if !self.table.agrees(self.number, hash.finish(), to.1 - from.1) {
                wrong.get_or_insert(from.1);
            }
            self.number += 1;
        }
        wrong
    }
}

/// Read the seek table at the end of a zstd file; `None` where there is none that accounts for the whole file.
pub(crate) fn seek_table(source: &dyn Source) -> Result<Option<SeekTable>, Fault> {
    let mut footer = [0; FOOTER];
    let Some(footer_at) = source.length().checked_sub(FOOTER as u64) else { return Ok(None) };
    if source.read_at(&mut footer, footer_at)? < FOOTER {
        return Ok(None);
    }
    let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk));
    let (count, descriptor) = (word(&footer), footer[4]);
    if word(&footer[5..]) != FOOTER_MAGIC || descriptor & RESERVED != 0 {
        return Ok(None);
    }
    let entry = if descriptor & HAS_CHECKSUMS != 0 { 12 } else { 8 };
    let content = u64::from(count) * entry + FOOTER as u64;
    let Some(table_at) = source.length().checked_sub(content + HEAD as u64) else { return Ok(None) };
    let mut head = [0; HEAD];
    if source.read_at(&mut head, table_at)? < HEAD
        || word(&head) != TABLE_MAGIC
        || u64::from(word(&head[4..])) != content
    {
        return Ok(None);
    }
    let mut at = (0_u64, 0_u64);
    let (mut starts, mut sums) = (vec![at], Vec::new());
    let mut portion = vec![0; PORTION.min(count as usize) * entry as usize];
    for first in (0..u64::from(count)).step_by(PORTION) {
        let bytes = (u64::from(count) - first).min(PORTION as u64) * entry;
        let portion = &mut portion[..bytes as usize];
        if source.read_at(portion, table_at + HEAD as u64 + first * entry)? < portion.len() {
            return Ok(None);
        }
        for entry in portion.chunks_exact(entry as usize) {
            at = (at.0 + u64::from(word(entry)), at.1 + u64::from(word(&entry[4..])));
            // Frames that take bytes are bounded by the file; a table of nothing but zeros may be a hole of any size.
            if word(entry) == 0 || at.0 > table_at {
                return Ok(None);
            }
            starts.push(at);
            sums.extend(entry.get(8..).filter(|sum| !sum.is_empty()).map(word));
        }
    }
    Ok((at.0 == table_at).then_some(SeekTable { starts, sums }))
}

/// The frames of a file with a seek table.
pub(crate) struct Frames {
    table: SeekTable,
    kept: Mutex<VecDeque<(usize, Arc<Vec<u8>>)>>,
}

impl Frames {
    /// `None` where a frame is too large to be unpacked whole.
    pub fn new(table: &SeekTable) -> Option<Self> {
        let fits = table.starts.windows(2).all(|pair| {
            let (packed, raw) = (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1);
            raw <= LARGEST_FRAME && packed <= LARGEST_FRAME + LARGEST_FRAME / GROWTH
        });
        fits.then(|| Self { table: table.clone(), kept: Mutex::default() })
    }

    pub fn len(&self) -> u64 {
        self.table.starts.last().map_or(0, |last| last.1)
    }

    /// Fill `out` from `offset` of what the frames unpack to; short only at the end.
    pub fn read_at(&self, source: &dyn Source, out: &mut [u8], offset: u64) -> Result<usize, Fault> {
        let mut filled = 0;
        while filled < out.len() && offset + (filled as u64) < self.len() {
            let at = offset + filled as u64;
            let number = self.table.starts.partition_point(|start| start.1 <= at) - 1;
            let frame = self.frame(source, number)?;
            let rest = &frame[(at - self.table.starts[number].1) as usize..];
            let count = rest.len().min(out.len() - filled);
            out[filled..filled + count].copy_from_slice(&rest[..count]);
            filled += count;
        }
        Ok(filled)
    }

    fn frame(&self, source: &dyn Source, number: usize) -> Result<Arc<Vec<u8>>, Fault> {
        if let Some((_, frame)) = self.lock().iter().find(|(kept, _)| *kept == number) {
            return Ok(Arc::clone(frame));
        }
        let frame = Arc::new(self.unpack(source, number)?);
        let mut kept = self.lock();
        kept.push_back((number, Arc::clone(&frame)));
        let mut bytes: usize = kept.iter().map(|(_, frame)| frame.len()).sum();
        while (bytes > KEPT || kept.len() > KEPT_FRAMES)
            && let Some((_, oldest)) = kept.pop_front()
        {
            bytes -= oldest.len();
        }
        Ok(frame)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(usize, Arc<Vec<u8>>)>> {
        // Entries are whole before they are put in.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unpack one frame, and check it against the table and its own checksum.
    pub fn unpack(&self, source: &dyn Source, number: usize) -> Result<Vec<u8>, Fault> {
        let ((from, raw_from), (to, raw_to)) = (self.table.starts[number], self.table.starts[number + 1]);
        let (length, raw_length) = (to - from, raw_to - raw_from);
        let damaged =
            |what: String| Fault::corrupt(format!("the frame at byte {from} of the file {what}")).at(raw_from);
        if raw_length / MOST_RATIO > length {
            return Err(damaged("is too short for what the seek table says it holds".into()));
        }
        let mut packed = vec![0; length as usize];
        if source.read_at(&mut packed, from)? < packed.len() {
            return Err(damaged("is cut short".into()));
        }
        let mut raw = vec![0; raw_length as usize];
        match unpack_frames(&packed, &mut raw)? {
            Ok(count) if count == raw.len() => {
                if self.table.agrees(number, XxHash64::oneshot(0, &raw), raw_length) {
                    return Ok(raw);
                }
                Err(damaged("has another checksum than the seek table says".into()))
            }
            Ok(_) => Err(damaged("holds another number of bytes than the seek table says".into())),
            Err(code) => Err(damaged(format!("is damaged: {}", zstd_safe::get_error_name(code)))),
        }
    }

    /// Where what a frame holds begins and ends, unpacked.
    pub fn span(&self, number: usize) -> (u64, u64) {
        (self.table.starts[number].1, self.table.starts[number + 1].1)
    }

    pub fn count(&self) -> usize {
        self.table.starts.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_small_the_frames_are_few_are_kept() {
        let mut packed = vec![0; 100];
        let length = zstd_safe::compress(&mut packed[..], b"x", 1).unwrap();
        packed.truncate(length);
        let count = 4 * KEPT_FRAMES as u64;
        let starts = (0..=count).map(|number| (number * length as u64, number)).collect();
        let frames = Frames::new(&SeekTable { starts, sums: Vec::new() }).unwrap();
        let source = packed.repeat(count as usize);
        let mut raw = vec![0; count as usize];
        assert_eq!(frames.read_at(&source, &mut raw, 0).unwrap(), raw.len());
        assert!(raw.iter().all(|&byte| byte == b'x'));
        assert_eq!(frames.lock().len(), KEPT_FRAMES);
    }
}
