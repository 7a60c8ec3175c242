//! MD5 of many streams at once. One stream cannot go faster than its chain of additions, half a gigabyte a second, which is more than
//! all the rest of an upload takes; streams side by side in a vector's lanes go at that pace each.

mod wide;

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use md5::block_api::compress;

/// Bytes that MD5 takes at once.
const BLOCK: usize = 64;

/// Fewer bytes are done with before others have been met.
const FEW: usize = if cfg!(test) { 200 } else { 64 << 10 };

/// Streams that go side by side: the 32-bit numbers of a vector of AVX2.
const LANES: usize = 8;

/// RFC 1321, section 3.3.
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

type State = [u32; 4];

/// MD5 of bytes that come one after the other.
#[derive(Clone)]
pub(crate) struct Md5 {
    state: State,
    /// What does not fill a block yet.
    tail: Vec<u8>,
    length: u64,
}

impl Md5 {
    pub fn new() -> Self {
        Self { state: START, tail: Vec::new(), length: 0 }
    }

    /// Take bytes by this thread alone.
    pub fn update(&mut self, bytes: &[u8]) {
        let whole = self.begin(bytes);
        let (blocks, tail) = bytes[whole..].as_chunks::<BLOCK>();
        compress(&mut self.state, blocks);
        self.tail.extend_from_slice(tail);
    }

    /// Take bytes together with other threads that do so now: one of them works for all. A few it takes alone.
    pub fn update_together(&mut self, bytes: &Bytes, others: &Together) {
        if bytes.len() < FEW {
            self.update(bytes);
            return;
        }
        let begun = self.begin(bytes);
        let end = begun + (bytes.len() - begun) / BLOCK * BLOCK;
        if begun < end {
            self.state = others.take(self.state, bytes.slice(begun..end));
        }
        self.tail.extend_from_slice(&bytes[end..]);
    }

    /// Fill the block that was begun, and tell how many bytes that took.
    fn begin(&mut self, bytes: &[u8]) -> usize {
        self.length = self.length.wrapping_add(bytes.len() as u64);
        if self.tail.is_empty() {
            return 0;
        }
        let taken = bytes.len().min(BLOCK - self.tail.len());
        self.tail.extend_from_slice(&bytes[..taken]);
        let (blocks, _) = self.tail.as_chunks::<BLOCK>();
        if !blocks.is_empty() {
            compress(&mut self.state, blocks);
            self.tail.clear();
        }
        taken
    }

    pub fn finish(mut self) -> [u8; 16] {
        let bits = self.length.wrapping_mul(8);
        self.tail.push(0x80);
        self.tail.resize(if self.tail.len() > BLOCK - 8 { 2 * BLOCK } else { BLOCK } - 8, 0);
        self.tail.extend_from_slice(&bits.to_le_bytes());
        compress(&mut self.state, self.tail.as_chunks::<BLOCK>().0);
        let mut digest = [0; 16];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }
}

/// Where threads that have blocks to hash meet: those of one pool, so that a forked child does not find it held by a thread that is not there.
#[derive(Debug, Default)]
pub(crate) struct Together {
    line: Mutex<Line>,
    /// Some are done, and whoever waits still may be the next to work.
    moved: Condvar,
    /// As many wait as usual.
    gathered: Condvar,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    waiting: VecDeque<(u64, State, Bytes)>,
    done: HashMap<u64, State>,
    /// One thread is at it, for itself and for whoever has come meanwhile.
    busy: bool,
    /// How many it was for of late: as many are on their way again.
    usual: usize,
}

/// How long those who are expected are waited for: two takes of a piece each; what went before is still being sent meanwhile.
const PATIENCE: Duration = Duration::from_millis(1);

impl Together {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state behind these blocks.
    fn take(&self, mut state: State, blocks: Bytes) -> State {
        if !wide::exist() {
            compress(&mut state, blocks.as_chunks::<BLOCK>().0);
            return state;
        }
        let mut line = self.line();
        let ours = line.next;
        line.next += 1;
        line.waiting.push_back((ours, state, blocks));
        loop {
            if let Some(state) = line.done.remove(&ours) {
                return state;
            }
            if line.busy {
                if line.waiting.len() >= line.usual {
                    self.gathered.notify_one();
                }
                line = self.moved.wait(line).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            line.busy = true;
            let few = |line: &mut Line| line.waiting.len() < line.usual;
            line = self.gathered.wait_timeout_while(line, PATIENCE, few).unwrap_or_else(PoisonError::into_inner).0;
            // Ours is among the first of them, or those before it are done first.
            let several = line.waiting.len().min(LANES);
            line.usual = several.max(line.usual.saturating_sub(1));
            let batch: Vec<_> = line.waiting.drain(..several).collect();
            drop(line);
            let (mut states, streams): (Vec<State>, Vec<&[u8]>) =
                batch.iter().map(|(_, state, blocks)| (*state, blocks.as_ref())).unzip();
            compress_many(&mut states, streams);
            line = self.line();
            line.done.extend(batch.iter().zip(states).map(|((number, ..), state)| (*number, state)));
            line.busy = false;
            self.moved.notify_all();
        }
    }
}

/// Take whole blocks of at most `LANES` streams, of any lengths.
fn compress_many(states: &mut [State], mut streams: Vec<&[u8]>) {
    loop {
        let left: Vec<usize> = (0..streams.len()).filter(|&stream| !streams[stream].is_empty()).collect();
        let Some(shortest) = left.iter().map(|&stream| streams[stream].len()).min() else { return };
        if let [stream] = left[..] {
            compress(&mut states[stream], streams[stream].as_chunks::<BLOCK>().0);
            return;
        }
        // Lanes without a stream of their own do what the first does, for nothing.
        let of: [usize; LANES] = std::array::from_fn(|lane| left[if lane < left.len() { lane } else { 0 }]);
        let mut side_by_side: [[u32; LANES]; 4] = std::array::from_fn(|word| of.map(|stream| states[stream][word]));
        wide::compress(&mut side_by_side, of.map(|stream| streams[stream][..shortest].as_chunks::<BLOCK>().0));
        for (lane, &stream) in left.iter().enumerate() {
            states[stream] = side_by_side.map(|words| words[lane]);
            streams[stream] = &streams[stream][shortest..];
        }
    }
}

#[cfg(test)]
mod tests {
    use md5::Digest as _;
    use proptest::prelude::*;

    use super::*;

    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect()
    }

    proptest! {
        #[test]
        fn streams_side_by_side_have_the_digests_of_each(streams in prop::collection::vec(prop::collection::vec(0..700usize, 0..6), 1..20)) {
            let others = &Together::default();
            let found: Vec<_> = std::thread::scope(|scope| {
                let hashing: Vec<_> = streams.iter().zip(1..).map(|(pieces, seed)| scope.spawn(move || {
                    let (mut md5, mut whole) = (Md5::new(), Vec::new());
                    for (number, &length) in pieces.iter().enumerate() {
                        let piece = noise(length, seed);
                        whole.extend_from_slice(&piece);
                        if number % 3 == 2 { md5.update(&piece) } else { md5.update_together(&piece.into(), others) }
                    }
                    (md5.finish(), whole)
                })).collect();
                hashing.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            for (digest, whole) in found {
                prop_assert_eq!(digest, <[u8; 16]>::from(md5::Md5::digest(&whole)));
            }
        }

        #[test]
        fn lanes_of_unequal_lengths_have_the_states_of_each(lengths in prop::collection::vec(0..5usize, 1..=LANES)) {
            let streams: Vec<Vec<u8>> = lengths.iter().zip(1..).map(|(blocks, seed)| noise(blocks * BLOCK, seed)).collect();
            let mut states = vec![START; streams.len()];
            compress_many(&mut states, streams.iter().map(Vec::as_slice).collect());
            for (state, stream) in states.iter().zip(&streams) {
                let mut alone = START;
                compress(&mut alone, stream.as_chunks::<BLOCK>().0);
                prop_assert_eq!(*state, alone);
            }
        }
    }
}
