//! Which paths are one; and a set of paths, of which there may be millions: sixteen bytes each, where the texts would take a hundred.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use unicode_normalization::UnicodeNormalization as _;

/// Which paths are in it, by digests under keys that nobody knows: who names files cannot make two of them one.
#[derive(Default)]
pub(crate) struct Paths {
    keys: (RandomState, RandomState),
    sorted: Vec<u128>,
}

impl Paths {
    /// From folders and names in them.
    pub fn new<'p>(paths: impl Iterator<Item = (&'p [u8], &'p [u8])>) -> Self {
        Self::with((RandomState::new(), RandomState::new()), paths)
    }

    /// A set that can be compared with `other`.
    pub fn of<'p>(other: &Self, paths: impl Iterator<Item = (&'p [u8], &'p [u8])>) -> Self {
        Self::with(other.keys.clone(), paths)
    }

    fn with<'p>(keys: (RandomState, RandomState), paths: impl Iterator<Item = (&'p [u8], &'p [u8])>) -> Self {
        let mut sorted: Vec<u128> = paths.map(|path| digest(&keys, path)).collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self { keys, sorted }
    }

    pub fn contains(&self, path: (&[u8], &[u8])) -> bool {
        self.sorted.binary_search(&digest(&self.keys, path)).is_ok()
    }

    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }
}

/// Sets with other keys are never equal, unless both are empty.
impl PartialEq for Paths {
    fn eq(&self, other: &Self) -> bool {
        self.sorted == other.sorted
    }
}

fn digest(keys: &(RandomState, RandomState), (folder, name): (&[u8], &[u8])) -> u128 {
    let half = |key: &RandomState| {
        let mut hasher = key.build_hasher();
        hasher.write(folder);
        hasher.write_u8(b'/');
        hasher.write(name);
        u128::from(hasher.finish())
    };
    half(&keys.0) << 64 | half(&keys.1)
}

/// Whether two names or paths are one to a file system that folds case or accents.
pub(crate) fn fold_alike(a: &[u8], b: &[u8]) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(b);
    }
    let fold = |text: &[u8]| -> Option<String> {
        let text = std::str::from_utf8(text).ok()?;
        Some(text.nfc().collect::<String>().to_lowercase().nfc().collect())
    };
    a == b || matches!((fold(a), fold(b)), (Some(a), Some(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_by_case_and_accents() {
        for (a, b) in [("out.zip", "OUT.Zip"), ("Äb.zip", "a\u{308}B.ZIP"), ("\u{212a}.zip", "k.zip")] {
            assert!(fold_alike(a.as_bytes(), b.as_bytes()), "{a} {b}");
        }
        assert!(fold_alike(b"\xff", b"\xff"));
        for (a, b) in [("out.zip", "out.zi"), ("ä", "a"), ("a/b", "a-b")] {
            assert!(!fold_alike(a.as_bytes(), b.as_bytes()), "{a} {b}");
        }
        assert!(!fold_alike(b"A\xff", b"a\xff"));
    }

    #[test]
    fn sets_compare_by_what_is_in_them() {
        let pairs = [(&b"/a"[..], &b"1"[..]), (b"/a", b"2"), (b"/b", b"1"), (b"/a", b"1")];
        let all = Paths::new(pairs.into_iter());
        assert!(all == Paths::of(&all, pairs.into_iter().rev().take(3)));
        assert!(all != Paths::of(&all, pairs.into_iter().take(2)));
        assert!(pairs.into_iter().all(|pair| all.contains(pair)));
        assert!(!all.contains((b"/b", b"2")) && !all.contains((b"/", b"a1")));
        assert!(Paths::default() == Paths::of(&all, [].into_iter()) && !all.is_empty());
    }
}
