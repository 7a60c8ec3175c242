//! The digests that files can be hashed with, and how each is computed in portions.

use std::fmt;

use sha2::{Digest as _, Sha256};
use twox_hash::XxHash3_128;

/// Which digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// XXH3 of 128 bits: fast, notices damage, no defence against an adversary.
    #[default]
    Xxh3,
    /// BLAKE3 of 256 bits: withstands an adversary, and several threads can hash one file.
    Blake3,
    /// SHA-256, which every system can check.
    Sha256,
    /// The CRC-32 of zip and gzip.
    Crc32,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Xxh3, Self::Blake3, Self::Sha256, Self::Crc32];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xxh3 => "xxh3-128",
            Self::Blake3 => "blake3",
            Self::Sha256 => "sha256",
            Self::Crc32 => "crc32",
        }
    }

    /// The name in lines like `SHA256 (a.txt) = …`.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::Xxh3 => "XXH128",
            Self::Blake3 => "BLAKE3",
            Self::Sha256 => "SHA256",
            Self::Crc32 => "CRC32",
        }
    }

    /// Length of the digest in bytes.
    pub(super) fn length(self) -> usize {
        match self {
            Self::Xxh3 => 16,
            Self::Blake3 | Self::Sha256 => 32,
            Self::Crc32 => 4,
        }
    }
}

/// A thing, and maybe another of its kind: 64 digits without a name may be one digest or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OneOrTwo<T> {
    pub first: T,
    pub other: Option<T>,
}

impl<T> OneOrTwo<T> {
    pub fn one(first: T) -> Self {
        Self { first, other: None }
    }

    pub fn map<U>(self, mut f: impl FnMut(T) -> U) -> OneOrTwo<U> {
        OneOrTwo { first: f(self.first), other: self.other.map(f) }
    }
}

impl<T: PartialEq> OneOrTwo<T> {
    pub fn contains(&self, thing: &T) -> bool {
        self.first == *thing || self.other.as_ref() == Some(thing)
    }
}

/// A digest; `Display` writes it in lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    bytes: [u8; 32],
    length: u8,
}

impl Sum {
    /// From at most 32 bytes, in the order in which they are written.
    pub(super) fn new(digest: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes[..digest.len()].copy_from_slice(digest);
        Self { bytes, length: digest.len() as u8 }
    }

    /// The digest's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.bytes()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        let text = std::str::from_utf8(&digits[..2 * self.bytes().len()]);
        f.write_str(text.unwrap_or_default())
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Hashes bytes in order, in any portions.
pub(super) enum Hasher {
    Xxh3(Box<XxHash3_128>),
    Blake3(Box<blake3::Hasher>),
    Sha256(Sha256),
    Crc32(crc32fast::Hasher),
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Xxh3 => Self::Xxh3(Box::new(XxHash3_128::new())),
            Algorithm::Blake3 => Self::Blake3(Box::default()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Crc32 => Self::Crc32(crc32fast::Hasher::new()),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Xxh3(hasher) => hasher.write(bytes),
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Crc32(hasher) => hasher.update(bytes),
        }
    }

    pub fn finish(self) -> Sum {
        match self {
            Self::Xxh3(hasher) => Sum::new(&hasher.finish_128().to_be_bytes()),
            Self::Blake3(hasher) => Sum::new(hasher.finalize().as_bytes()),
            Self::Sha256(hasher) => Sum::new(&hasher.finalize()),
            Self::Crc32(hasher) => Sum::new(&hasher.finalize().to_be_bytes()),
        }
    }
}

/// The digest of bytes that are all there, without the state that portions need.
pub(super) fn oneshot(algorithm: Algorithm, bytes: &[u8]) -> Sum {
    match algorithm {
        Algorithm::Xxh3 => Sum::new(&XxHash3_128::oneshot(bytes).to_be_bytes()),
        Algorithm::Blake3 => Sum::new(blake3::hash(bytes).as_bytes()),
        Algorithm::Sha256 => Sum::new(&Sha256::digest(bytes)),
        Algorithm::Crc32 => Sum::new(&crc32fast::hash(bytes).to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_published_vectors() {
        let vectors = [
            (Algorithm::Xxh3, "99aa06d3014798d86001c324468d497f", "06b05ab6733a618578af5f94892f3950"),
            (
                Algorithm::Blake3,
                "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
                "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
            ),
            (
                Algorithm::Sha256,
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (Algorithm::Crc32, "00000000", "352441c2"),
        ];
        for (algorithm, empty, abc) in vectors {
            assert_eq!(oneshot(algorithm, b"").to_string(), empty, "{algorithm:?}");
            assert_eq!(oneshot(algorithm, b"abc").to_string(), abc, "{algorithm:?}");
        }
    }

    #[test]
    fn portions_do_not_matter() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|i| (i.wrapping_mul(i) >> 3) as u8).collect();
        for algorithm in Algorithm::ALL {
            for portion in [1, 63, 1024, 65_537, 300_000] {
                let mut hasher = Hasher::new(algorithm);
                bytes.chunks(portion).for_each(|part| hasher.update(part));
                assert_eq!(hasher.finish(), oneshot(algorithm, &bytes), "{algorithm:?} {portion}");
            }
        }
    }
}
