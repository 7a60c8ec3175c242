//! Name → place, without the names: a hash and a number for each member.

use std::hash::{BuildHasher as _, RandomState};

use twox_hash::XxHash3_64;

/// Finds members by name. The table takes 12 bytes a member, positions 8; names stay where they are, and are compared
/// there when a hash agrees.
///
/// A slot is chosen by the upper half of a hash and holds the lower, so that a wrong name is read once in four thousand
/// million probes. Hashes are seeded by the process, else an archive could be made whose names all share a slot.
pub(crate) struct Index {
    seed: u64,
    positions: Vec<u64>,
    /// Lower half of the hash, and number of the member plus one; zero where free.
    slots: Vec<(u32, u32)>,
}

/// Collects an [`Index`], growing with the members that are really there.
pub(crate) struct Indexing {
    seed: u64,
    positions: Vec<u64>,
    hashes: Vec<u64>,
}

fn slot(hash: u64, slots: usize) -> usize {
    ((u128::from(hash) * slots as u128) >> 64) as usize
}

impl Indexing {
    pub fn new() -> Self {
        Self { seed: RandomState::new().hash_one(0), positions: Vec::new(), hashes: Vec::new() }
    }

    pub fn push(&mut self, name: &[u8], position: u64) {
        self.hashes.push(XxHash3_64::oneshot_with_seed(self.seed, name));
        self.positions.push(position);
    }

    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// The index, and members whose hash an earlier one has: the same name, or a coincidence of 64 bits. Of those the
    /// last is found.
    pub fn finish(self) -> (Index, Vec<u32>) {
        let Self { seed, positions, hashes } = self;
        let count = positions.len();
        let mut slots = vec![(0, 0); count + count / 2 + 1];
        let mut again = Vec::new();
        for (number, &hash) in hashes.iter().enumerate() {
            let mut at = slot(hash, slots.len());
            loop {
                let (low, taken) = slots[at];
                if taken == 0 || (low == hash as u32 && hashes[taken as usize - 1] == hash) {
                    if taken != 0 {
                        again.push(number as u32);
                    }
                    slots[at] = (hash as u32, number as u32 + 1);
                    break;
                }
                at = if at + 1 == slots.len() { 0 } else { at + 1 };
            }
        }
        (Index { seed, positions, slots }, again)
    }
}

impl Index {
    pub fn position(&self, number: u32) -> Option<u64> {
        self.positions.get(number as usize).copied()
    }

    /// Numbers of members that may bear the name.
    pub fn candidates(&self, name: &[u8]) -> impl Iterator<Item = u32> {
        let hash = XxHash3_64::oneshot_with_seed(self.seed, name);
        let first = slot(hash, self.slots.len());
        self.slots[first..]
            .iter()
            .chain(&self.slots[..first])
            .take_while(|(_, taken)| *taken != 0)
            .filter(move |(low, _)| *low == hash as u32)
            .map(|(_, taken)| taken - 1)
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
                indexing.push(format!("member {number}").as_bytes(), number * 3);
            }
            indexing.push(b"member 0", 7);
            let (index, again) = indexing.finish();
            assert_eq!(again.len(), usize::from(count > 0));
            for number in 1..count {
                let found: Vec<u32> = index.candidates(format!("member {number}").as_bytes()).collect();
                assert!(found.contains(&(number as u32)));
                assert_eq!(index.position(number as u32), Some(number * 3));
            }
            let last = index.candidates(b"member 0").next().unwrap();
            assert_eq!(index.position(last), Some(7));
            assert!(index.candidates(b"none").count() <= 1);
        }
    }
}
