//! The gzip container: ten bytes before one deflate stream, eight behind it.

/// No name and no time, which would make equal contents differ; no word on effort or system, which nobody reads.
pub const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// What ends the stream: the content's CRC-32, and its length modulo 2^32.
pub fn trailer(crc: u32, length: u64) -> [u8; 8] {
    let mut trailer = [0; 8];
    trailer[..4].copy_from_slice(&crc.to_le_bytes());
    trailer[4..].copy_from_slice(&(length as u32).to_le_bytes());
    trailer
}
