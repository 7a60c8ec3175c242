//! Name → place, without the names: eight bytes a member.

use std::hash::{BuildHasher as _, RandomState};

use twox_hash::XxHash3_64;

use super::fault::Fault;

/// Finds members by name: half of each name's hash, and where its record stands, as one number, sorted. Names stay
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

    /// Take in a member whose record stands at `position` of the directory.
    pub fn push(&mut self, name: &[u8], position: u64) -> Result<(), Fault> {
        let Ok(position) = u32::try_from(position) else {
            return Err(Fault::unsupported("its directory is larger than 4 GiB; split the archive"));
        };
        let hash = XxHash3_64::oneshot_with_seed(self.seed, name);
        self.entries.push(hash >> HALF << HALF | u64::from(position));
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
    /// Positions of members that may bear the name, the last in the directory first.
    pub fn candidates(&self, name: &[u8]) -> impl Iterator<Item = u64> {
        let hash = (XxHash3_64::oneshot_with_seed(self.seed, name) >> HALF) as u32;
        let end = self.first_at(u64::from(hash) + 1);
        let same = self.entries[..end].iter().rev().take_while(move |&&entry| (entry >> HALF) as u32 == hash);
        same.map(|&entry| u64::from(entry as u32))
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

    /// Positions of members whose hash another has, in pairs: the same name, or a coincidence of 32 bits.
    pub fn doubles(&self) -> impl Iterator<Item = (u64, u64)> {
        let pairs = self.entries.windows(2).filter(|pair| pair[0] >> HALF == pair[1] >> HALF);
        pairs.map(|pair| (u64::from(pair[0] as u32), u64::from(pair[1] as u32)))
    }
}

#[cfg(test)]
mod tests {
    use super::Indexing;

    #[test]
    fn every_name_is_found_and_repeats_are_told() {
        for count in [0, 1, 2, 3, 1000, 10_000_u64] {
            let mut indexing = Indexing::new();
            for number in 0..count {
                indexing.push(format!("member {number}").as_bytes(), number * 3).unwrap();
            }
            indexing.push(b"member 0", 70_000).unwrap();
            let index = indexing.finish();
            assert_eq!(index.doubles().any(|pair| pair == (0, 70_000)), count > 0);
            for number in 1..count {
                let found: Vec<u64> = index.candidates(format!("member {number}").as_bytes()).collect();
                assert!(found.contains(&(number * 3)));
            }
            assert_eq!(index.candidates(b"member 0").next(), Some(70_000));
            assert!(index.candidates(b"none").count() <= 1);
        }
    }

    #[test]
    fn a_directory_too_large_for_a_position_is_refused() {
        assert!(Indexing::new().push(b"a", 1 << 32).is_err());
    }
}
