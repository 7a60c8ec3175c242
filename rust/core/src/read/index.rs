//! Name → number, without the names: eight bytes a member.

use std::hash::{BuildHasher as _, RandomState};

use twox_hash::XxHash3_64;

use super::fault::Fault;

/// Finds members by name: half of each name's hash, and the member's number, as one number, sorted. Names stay
/// where they are, and are compared there when a hash agrees.
///
/// Hashes are spread evenly, so a look-up begins where its hash would stand and is near. They are seeded by the process,
/// else an archive could be made whose names all share one.
pub(crate) struct Index {
    seed: u64,
    entries: Vec<u64>,
}

/// Collects an [`Index`], growing with the members that are really there.
pub(crate) struct Indexing {
    seed: u64,
    entries: Vec<u64>,
}

const HALF: u32 = 32;

impl Indexing {
    pub fn new() -> Self {
        Self { seed: RandomState::new().hash_one(0), entries: Vec::new() }
    }

    /// Take in the next member.
    pub fn push(&mut self, name: &[u8]) -> Result<(), Fault> {
        let Ok(number) = u32::try_from(self.entries.len()) else {
            return Err(Fault::unsupported("it has more members than 32 bits count; split it"));
        };
        let hash = XxHash3_64::oneshot_with_seed(self.seed, name);
        if self.entries.try_reserve(1).is_err() {
            return Err(Fault::no_memory("the list of its members"));
        }
        self.entries.push(hash >> HALF << HALF | u64::from(number));
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn finish(mut self) -> Index {
        self.entries.shrink_to_fit();
        self.entries.sort_unstable();
        Index { seed: self.seed, entries: self.entries }
    }
}

impl Index {
    /// Numbers of members that may bear the name, the last first.
    pub fn candidates(&self, name: &[u8]) -> impl Iterator<Item = usize> {
        let hash = (XxHash3_64::oneshot_with_seed(self.seed, name) >> HALF) as u32;
        let end = self.first_at(u64::from(hash) + 1);
        let same = self.entries[..end].iter().rev().take_while(move |&&entry| (entry >> HALF) as u32 == hash);
        same.map(|&entry| entry as u32 as usize)
    }

    /// Numbers below `number` of members that may bear the name, the last first.
    pub fn before(&self, name: &[u8], number: usize) -> impl Iterator<Item = usize> {
        let hash = XxHash3_64::oneshot_with_seed(self.seed, name) >> HALF;
        let end = self.entries.partition_point(|&entry| entry < hash << HALF | number as u64);
        let same = self.entries[..end].iter().rev().take_while(move |&&entry| entry >> HALF == hash);
        same.map(|&entry| entry as u32 as usize)
    }

    /// How many entries have a smaller hash.
    fn first_at(&self, hash: u64) -> usize {
        let count = self.entries.len();
        let is_before = |at: usize| self.entries[at] >> HALF < hash;
        // Doubling steps away from the guess, then halving between what they found.
        let guess = ((hash * count as u64) >> HALF) as usize;
        let (mut low, mut high, mut step) = (guess.min(count), guess.min(count), 8);
        while low > 0 && !is_before(low - 1) {
            low = low.saturating_sub(step);
            step *= 2;
        }
        step = 8;
        while high < count && is_before(high) {
            high = (high + step).min(count);
            step *= 2;
        }
        low + self.entries[low..high].partition_point(|entry| entry >> HALF < hash)
    }

    /// Numbers of the members that a later one has the name of, in order; `same` compares the names of two.
    pub fn superseded(&self, mut same: impl FnMut(usize, usize) -> Result<bool, Fault>) -> Result<Vec<u32>, Fault> {
        let mut found = Vec::new();
        for run in self.entries.chunk_by(|a, b| a >> HALF == b >> HALF).filter(|run| run.len() > 1) {
            for (at, &entry) in run.iter().enumerate() {
                for &later in &run[at + 1..] {
                    if same(entry as u32 as usize, later as u32 as usize)? {
                        found.push(entry as u32);
                        break;
                    }
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Members whose hash another has, in pairs: the same name, or a coincidence of 32 bits.
    pub fn doubles(&self) -> impl Iterator<Item = (usize, usize)> {
        let pairs = self.entries.windows(2).filter(|pair| pair[0] >> HALF == pair[1] >> HALF);
        pairs.map(|pair| (pair[0] as u32 as usize, pair[1] as u32 as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::Indexing;

    #[test]
    fn every_name_is_found_and_repeats_are_told() {
        for count in [0, 1, 2, 3, 1000, 10_000_usize] {
            let mut indexing = Indexing::new();
            for number in 0..count {
                indexing.push(format!("member {number}").as_bytes()).unwrap();
            }
            indexing.push(b"member 0").unwrap();
            let index = indexing.finish();
            assert_eq!(index.doubles().any(|pair| pair == (0, count)), count > 0);
            for number in 1..count {
                let found: Vec<usize> = index.candidates(format!("member {number}").as_bytes()).collect();
                assert!(found.contains(&number));
            }
            assert_eq!(index.candidates(b"member 0").next(), Some(count));
            assert_eq!(index.before(b"member 0", count).next(), (count > 0).then_some(0));
            let same = |a, b| Ok((a, b) == (0, count));
            assert_eq!(index.superseded(same).unwrap(), if count > 0 { vec![0] } else { vec![] });
            assert!(index.candidates(b"none").count() <= 1);
        }
    }
}
