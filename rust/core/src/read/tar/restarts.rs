//! Places inside a gzip member where unpacking can begin: behind an empty stored block, which ends on a byte, with the
//! bytes unpacked last. pigz and our own writer leave one between two blocks; other writers mostly none.

use std::sync::Arc;

/// Unpacked bytes between two places, at first; fuzzers make small archives.
const DISTANCE: u64 = if cfg!(fuzzing) { 256 } else { 4 << 20 };

/// More places than this are thinned out: at 32 KiB each, 32 MiB.
const MOST: usize = 1024;

/// What deflate can refer back to.
const WINDOW: usize = 32 << 10;

/// What an empty stored block ends with.
const MARK: [u8; 4] = [0, 0, 0xff, 0xff];

/// A place to begin: in the file, and in what it unpacks to; inside a member with what stands before it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Restart {
    pub file: u64,
    pub made: u64,
    pub window: Option<Arc<[u8]>>,
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
    /// The packed bytes taken last.
    tail: [u8; 4],
    /// Taken and made since the last end of a block that was seen.
    taken: usize,
    made: usize,
    /// Where the last block of all may have ended, which only the next step tells.
    candidate: Option<Restart>,
}

impl Watch {
    /// Another gzip member begins.
    pub fn reset(&mut self) {
        *self = Self { window: std::mem::take(&mut self.window), ..Self::default() };
        self.window.clear();
    }

    /// See one step: what it took and made, whether it stopped at a block's end with more to come, and at the stream's; and
    /// where it stands now, in the file and unpacked.
    pub fn see(
        &mut self,
        restarts: &mut Restarts,
        (taken, made): (&[u8], &[u8]),
        (at_block_end, at_end): (bool, bool),
        (file, unpacked): (u64, u64),
    ) {
        if let Some(candidate) = self.candidate.take()
            && !at_end
        {
            restarts.keep(candidate);
        }
        let last = &taken[taken.len().saturating_sub(MARK.len())..];
        self.tail.rotate_left(last.len());
        self.tail[MARK.len() - last.len()..].copy_from_slice(last);
        self.taken += taken.len();
        self.made += made.len();
        let last = &made[made.len().saturating_sub(WINDOW)..];
        if self.window.len() + last.len() > 2 * WINDOW {
            self.window.drain(..self.window.len() - WINDOW);
        }
        self.window.extend_from_slice(last);
        if !at_block_end {
            return;
        }
        // Since the last end there was one block of four or five bytes that made nothing. One with codes of its own has at
        // least nine, and one with the fixed codes ends in zeros: it is a stored one, and ends with a whole byte.
        let is_place = self.made == 0 && (4..=5).contains(&self.taken) && self.tail == MARK;
        (self.taken, self.made) = (0, 0);
        if is_place && restarts.is_due(unpacked) {
            let window = self.window[self.window.len().saturating_sub(WINDOW)..].into();
            self.candidate = Some(Restart { file, made: unpacked, window: Some(window) });
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
            restarts.keep(Restart { file: number, made, window: None });
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
}
