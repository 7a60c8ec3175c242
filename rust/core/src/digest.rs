//! XXH3-128: a digest to tell archives apart and notice damage; no defence against an adversary.

use twox_hash::XxHash3_128;

/// Hashes bytes in order, in any portions.
pub(crate) struct Digest(XxHash3_128);

impl Digest {
    pub fn new() -> Self {
        Self(XxHash3_128::new())
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    pub fn finish(&self) -> u128 {
        self.0.finish_128()
    }

    /// The digest of bytes that are there in one piece.
    pub fn of(bytes: &[u8]) -> u128 {
        XxHash3_128::oneshot(bytes)
    }
}
