//! Places inside a gzip member where unpacking can begin: where a block of deflate ends, with the bytes unpacked last.
//!
//! A block may end inside a byte, and the decoder neither tells the bit nor begins at one. So all eight are tried, and
//! empty blocks lead to the one that makes what was made.

use std::sync::Arc;

use crate::read::decode::Decoder;
use crate::read::fault::Fault;
use crate::read::limits::Limits;
use crate::read::member::Packing;

/// Unpacked bytes between two places, at first; fuzzers make small archives.
const DISTANCE: u64 = if cfg!(fuzzing) { 256 } else { 4 << 20 };

/// More places than this are thinned out: at 32 KiB each, 32 MiB.
const MOST: usize = 1024;

/// What deflate can refer back to.
const WINDOW: usize = 32 << 10;

/// Bytes that tell which bit it is.
const ENOUGH: usize = if cfg!(fuzzing) { 32 } else { 4 << 10 };

/// Packed bytes that may pass before there are enough; else another block's end is taken.
const MOST_PACKED: usize = 256 << 10;

/// A place to begin: in the file, and in what it unpacks to; inside a member with what stands before it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Restart {
    pub file: u64,
    pub made: u64,
    pub window: Option<Arc<[u8]>>,
    /// To be unpacked first; it makes nothing.
    pub lead: Vec<u8>,
}

/// Places that are kept, in their order.
pub(super) struct Restarts {
    kept: Vec<Restart>,
    distance: u64,
}

impl Default for Restarts {
    fn default() -> Self {
        Self { kept: Vec::new(), distance: DISTANCE }
    }
}

impl Restarts {
    fn is_due(&self, made: u64) -> bool {
        made >= self.kept.last().map_or(0, |last| last.made) + self.distance
    }

    fn keep(&mut self, restart: Restart) {
        if !self.is_due(restart.made) {
            return;
        }
        self.kept.push(restart);
        if self.kept.len() > MOST {
            let mut number = 0;
            self.kept.retain(|_| {
                number += 1;
                number % 2 == 0
            });
            self.distance *= 2;
        }
    }

    /// The last place that is not behind `offset`.
    pub fn before(&self, offset: u64) -> Option<&Restart> {
        let number = self.kept.partition_point(|restart| restart.made <= offset);
        number.checked_sub(1).map(|number| &self.kept[number])
    }
}

/// Looks for places while a gzip member is unpacked block by block.
#[derive(Default)]
pub(super) struct Watch {
    /// The bytes unpacked last, and up to as many before them.
    window: Vec<u8>,
    /// The packed byte taken last.
    last: u8,
    trial: Option<Box<Trial>>,
    decoder: Option<Decoder>,
}

impl Watch {
    /// Another gzip member begins.
    pub fn reset(&mut self) {
        self.window.clear();
        self.trial = None;
    }

    /// See one step: what it took and made, whether it stopped at a block's end with more to come, and at the stream's; and
    /// where it stands now, in the file and unpacked.
    pub fn see(
        &mut self,
        restarts: &mut Restarts,
        (taken, made): (&[u8], &[u8]),
        (at_block_end, at_end): (bool, bool),
        (file, unpacked): (u64, u64),
    ) -> Result<(), Fault> {
        if let Some(trial) = &mut self.trial {
            trial.packed.extend_from_slice(taken);
            trial.raw.extend_from_slice(made);
            if trial.raw.len() >= ENOUGH && !at_end {
                let decoder = match &mut self.decoder {
                    Some(decoder) => decoder,
                    none => none.insert(Decoder::new(Packing::Deflate, &Limits::default())?),
                };
                if let Some(restart) = trial.settle(decoder) {
                    restarts.keep(restart);
                }
                self.trial = None;
            } else if at_end || trial.packed.len() > MOST_PACKED {
                self.trial = None;
            }
        }
        self.last = taken.last().copied().unwrap_or(self.last);
        let last = &made[made.len().saturating_sub(WINDOW)..];
        if self.window.len() + last.len() > 2 * WINDOW {
            self.window.drain(..self.window.len() - WINDOW);
        }
        self.window.extend_from_slice(last);
        if at_block_end && self.trial.is_none() && restarts.is_due(unpacked) {
            let window = self.window[self.window.len().saturating_sub(WINDOW)..].into();
            let (before, packed, raw) = (self.last, Vec::new(), Vec::new());
            self.trial = Some(Box::new(Trial { file, made: unpacked, window, before, packed, raw }));
        }
        Ok(())
    }
}

/// A block's end, of which nobody tells how many bits of the last byte taken belong to the next block.
struct Trial {
    file: u64,
    made: u64,
    window: Arc<[u8]>,
    /// The last byte taken before it.
    before: u8,
    /// What was taken and made since.
    packed: Vec<u8>,
    raw: Vec<u8>,
}

impl Trial {
    /// The place, if from just one bit on the packed bytes make what they have made: the right one always does.
    fn settle(&self, decoder: &mut Decoder) -> Option<Restart> {
        let mut leads = (0..8).map(|unused| lead(unused, self.before)).filter(|lead| self.fits(decoder, lead));
        let found = leads.next()?;
        if leads.next().is_some() {
            return None;
        }
        Some(Restart { file: self.file, made: self.made, window: Some(Arc::clone(&self.window)), lead: found })
    }

    fn fits(&self, decoder: &mut Decoder, lead: &[u8]) -> bool {
        if decoder.resume(&self.window).is_err() {
            return false;
        }
        let (mut out, mut made) = (vec![0; self.raw.len()], 0);
        for mut input in [lead, &self.packed] {
            while made < out.len() {
                let Ok(fed) = decoder.feed(input, &mut out[made..]) else { return false };
                if fed.ended || (fed.taken, fed.made) == (0, 0) {
                    break;
                }
                (input, made) = (&input[fed.taken..], made + fed.made);
            }
        }
        out == self.raw
    }
}

/// What to unpack first to go on inside a byte: empty blocks that end where the `unused` upper bits of the byte `before`
/// begin, and these bits. What follows stays on its own bytes, as stored blocks need it.
fn lead(unused: u32, before: u8) -> Vec<u8> {
    let mut bits = Bits::default();
    if unused == 0 {
        return bits.bytes;
    }
    let used = 8 - unused;
    if !used.is_multiple_of(2) {
        // With codes of its own, for the first letter and the end: 91 bits, an odd number, which no other empty block has.
        bits.push(0b100, 3);
        bits.push(14 << 10, 14);
        // Codes of lengths, in their fixed order: a bit for 18 (so many zeros), and one for 1.
        for at in 0..18 {
            bits.push(u32::from(at == 2 || at == 17), 3);
        }
        // One letter, 138 + 117 of none, the end; one distance.
        for (code, length) in [(0, 1), (1, 1), (138 - 11, 7), (1, 1), (117 - 11, 7), (0, 1), (0, 1)] {
            bits.push(code, length);
        }
        bits.push(1, 1);
    }
    while bits.count % 8 != used {
        // With the fixed codes.
        bits.push(0b010, 10);
    }
    bits.push(u32::from(before) >> used, unused);
    bits.bytes
}

/// Bits in deflate's order, the lowest of each byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: u32,
}

impl Bits {
    fn push(&mut self, value: u32, length: u32) {
        for at in 0..length {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> at & 1) << (self.count % 8)) as u8;
            }
            self.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_thinned_out_and_found() {
        let mut restarts = Restarts::default();
        for number in 0..10_000_u64 {
            let made = number * DISTANCE / 2;
            restarts.keep(Restart { file: number, made, window: None, lead: Vec::new() });
            assert!(restarts.kept.len() <= MOST);
        }
        assert!(restarts.kept.len() > MOST / 3);
        assert_eq!(restarts.before(DISTANCE - 1), None);
        let all: Vec<u64> = restarts.kept.iter().map(|restart| restart.made).collect();
        assert!(all.windows(2).all(|pair| pair[1] - pair[0] >= DISTANCE));
        for pair in all.windows(2) {
            assert_eq!(restarts.before(pair[1] - 1).unwrap().made, pair[0]);
            assert_eq!(restarts.before(pair[1]).unwrap().made, pair[1]);
        }
        assert_eq!(restarts.before(u64::MAX).unwrap().made, *all.last().unwrap());
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..length).map(|_| byte()).collect()
    }

    fn text(length: usize) -> Vec<u8> {
        noise(length).into_iter().map(|byte| b'a' + byte / 16).collect()
    }

    #[test]
    fn from_every_place_that_is_found_the_rest_is_unpacked() {
        // Letters for blocks with codes of their own, all bytes for stored ones, zeros for few codes of many bytes.
        let raw = [text(900_000), noise(200_000), vec![0; 300_000], text(300_000)].concat();
        let mut packed = vec![0; raw.len()];
        let (mut on_bytes, mut inside) = (0, 0);
        for (level, taken, given) in [(3, 5000, 10_000), (6, 65_536, 131_072), (9, 5000, 131_072)] {
            let mut deflate = zlib_rs::Deflate::new(level, false, 15);
            deflate.compress(&raw, &mut packed, zlib_rs::DeflateFlush::Finish).unwrap();
            let packed = &packed[..deflate.total_out() as usize];
            let (mut watch, mut restarts) = (Watch::default(), Restarts { kept: Vec::new(), distance: 1 });
            let mut decoder = Decoder::new(Packing::Deflate, &Limits::default()).unwrap();
            let (mut at, mut made, mut out) = (0, 0, vec![0; given]);
            loop {
                let input = &packed[at..packed.len().min(at + taken)];
                let fed = decoder.feed_block(input, &mut out).unwrap();
                (at, made) = (at + fed.taken, made + fed.made);
                let is_stop = !fed.ended && fed.taken < input.len() && fed.made < out.len();
                let step = (&input[..fed.taken], &out[..fed.made]);
                watch.see(&mut restarts, step, (is_stop, fed.ended), (at as u64, made as u64)).unwrap();
                if fed.ended {
                    break;
                }
            }
            assert_eq!(made, raw.len());
            for Restart { file, made, window, lead } in restarts.kept {
                *if lead.is_empty() { &mut on_bytes } else { &mut inside } += 1;
                decoder.resume(&window.unwrap()).unwrap();
                let (mut out, mut count) = (vec![0; raw.len() - made as usize], 0);
                for mut input in [&lead[..], &packed[file as usize..]] {
                    while !input.is_empty() {
                        let fed = decoder.feed(input, &mut out[count..]).unwrap();
                        (input, count) = (&input[fed.taken..], count + fed.made);
                    }
                }
                assert!(out == raw[made as usize..], "level {level} from {made}");
            }
        }
        assert!(on_bytes > 3 && inside > 20, "{on_bytes} and {inside}");
    }

    #[test]
    fn what_leads_to_a_bit_is_empty_blocks() {
        let mut decoder = Decoder::new(Packing::Deflate, &Limits::default()).unwrap();
        for unused in 0..8 {
            // A block with the fixed codes of one letter, and the end, begins at this bit.
            let mut bits = Bits::default();
            bits.push(0, 8 - unused);
            bits.push(0b011, 3);
            // The letter `b`: its code has the highest bit first.
            bits.push(u32::from((b'b' + 0x30).reverse_bits()), 8);
            bits.push(0, 7);
            let lead = lead(unused, bits.bytes[0]);
            decoder.resume(b"").unwrap();
            let mut out = [0; 4];
            let first = decoder.feed(&lead, &mut out).unwrap();
            assert_eq!((first.taken, first.made, first.ended), (lead.len(), 0, false), "{unused}");
            let second = decoder.feed(&bits.bytes[1..], &mut out).unwrap();
            assert_eq!((second.made, second.ended, out[0]), (1, true, b'b'), "{unused}");
        }
    }
}
