//! Checksums: CRC-64/NVME of all that is sent, CRC-32C for Google, MD5 where a tag is all that a server tells.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crc_fast::CrcAlgorithm::{Crc32Iscsi, Crc64Nvme};
use sha2::{Digest as _, Sha256};

use crate::md5::{Md5, Together};

/// Which digests are wanted beside the CRC-64, which is always computed: it costs next to nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub md5: bool,
    pub crc32c: bool,
    pub sha256: bool,
}

/// Digests of bytes that come one after the other.
pub(crate) struct Digesting {
    crc64: crc_fast::Digest,
    crc32c: Option<crc_fast::Digest>,
    md5: Option<Md5>,
    sha256: Option<Sha256>,
}

/// What `Digesting` found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digests {
    pub crc64: u64,
    pub crc32c: Option<u32>,
    pub md5: Option<[u8; 16]>,
    pub sha256: Option<[u8; 32]>,
}

impl Digesting {
    pub fn new(wanted: Wanted) -> Self {
        Self {
            crc64: crc_fast::Digest::new(Crc64Nvme),
            crc32c: wanted.crc32c.then(|| crc_fast::Digest::new(Crc32Iscsi)),
            md5: wanted.md5.then(Md5::new),
            sha256: wanted.sha256.then(Sha256::new),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.update_all_but_md5(bytes);
        if let Some(digest) = &mut self.md5 {
            digest.update(bytes);
        }
    }

    /// The same, where other threads are at it, too: their MD5s cost little more than one.
    pub fn update_together(&mut self, bytes: &Bytes, others: &Together) {
        self.update_all_but_md5(bytes);
        if let Some(digest) = &mut self.md5 {
            digest.update_together(bytes, others);
        }
    }

    fn update_all_but_md5(&mut self, bytes: &[u8]) {
        self.crc64.update(bytes);
        if let Some(digest) = &mut self.crc32c {
            digest.update(bytes);
        }
        if let Some(digest) = &mut self.sha256 {
            digest.update(bytes);
        }
    }

    pub fn finish(self) -> Digests {
        Digests {
            crc64: self.crc64.finalize(),
            crc32c: self.crc32c.map(|digest| digest.finalize() as u32),
            md5: self.md5.map(Md5::finish),
            sha256: self.sha256.map(|digest| digest.finalize().into()),
        }
    }
}

/// All digests of bytes in hand.
pub(crate) fn of(bytes: &[u8], wanted: Wanted) -> Digests {
    let mut digesting = Digesting::new(wanted);
    digesting.update(bytes);
    digesting.finish()
}

/// The CRC-64 of two runs of bytes, one behind the other, from that of each and the length of the second.
pub(crate) fn join64(first: u64, second: u64, length: u64) -> u64 {
    crc_fast::checksum_combine(Crc64Nvme, first, second, length)
}

/// The same for CRC-32C.
pub(crate) fn join32(first: u32, second: u32, length: u64) -> u32 {
    crc_fast::checksum_combine(Crc32Iscsi, u64::from(first), u64::from(second), length) as u32
}

/// The tag that stores give an object of several parts: MD5 of the parts' MD5s, and their number.
pub(crate) fn multipart_etag(parts: &[[u8; 16]]) -> String {
    let mut whole = Md5::new();
    for part in parts {
        whole.update(part);
    }
    format!("{}-{}", hex(&whole.finish()), parts.len())
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// HMAC of RFC 2104 with SHA-256.
pub(crate) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut padded = [0u8; BLOCK];
    if key.len() > BLOCK {
        padded[..32].copy_from_slice(&sha256(key));
    } else {
        padded[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(padded.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)] as char, DIGITS[usize::from(byte & 15)] as char])
        .collect()
}

pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    bytes.chunks_exact(2).map(|pair| Some((digit(pair[0])? << 4) | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standards() {
        let digests = of(b"123456789", Wanted { md5: true, crc32c: true, sha256: true });
        assert_eq!(digests.crc64, 0xae8b_1486_0a79_9888);
        assert_eq!(digests.crc32c, Some(0xe306_9283));
        assert_eq!(digests.md5.map(|md5| hex(&md5)).unwrap(), "25f9e794323b453885f5181f1b624d0b");
        // RFC 4231, case 2, and a key longer than a block, case 6.
        let short = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&short), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let long = hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex(&long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn joined_checksums_are_those_of_the_whole() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| ((n * 31) >> 3) as u8).collect();
        let wanted = Wanted { crc32c: true, ..Wanted::default() };
        let whole = of(&bytes, wanted);
        for cut in [0, 1, 63, 4096, 99_999, 100_000] {
            let (first, second) = (of(&bytes[..cut], wanted), of(&bytes[cut..], wanted));
            let length = (bytes.len() - cut) as u64;
            assert_eq!(join64(first.crc64, second.crc64, length), whole.crc64);
            assert_eq!(join32(first.crc32c.unwrap(), second.crc32c.unwrap(), length), whole.crc32c.unwrap());
        }
    }
}
