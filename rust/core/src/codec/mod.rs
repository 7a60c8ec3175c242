//! Bytes in, bytes out: whether to compress, and how. No file, no container, no thread.

mod choose;
mod deflate;
mod zstd;

pub use choose::{SAMPLE_BYTES, SAMPLES, Verdict, is_kept, judge, pays_off, sample_offsets};
pub use deflate::{BlockDeflater, DICTIONARY_BYTES, WholeDeflater, longest_whole};
pub use zstd::{FrameCompressor, LongFrame, tables_bytes};

/// Why there are no compressed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It was told to stop.
    Stopped,
    /// The library gave up; never the input's fault.
    Library,
}

/// How a member's bytes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    /// As they are.
    #[default]
    Store,
    /// Deflate, RFC 1951.
    Deflate,
    /// Zstandard, RFC 8878.
    Zstd,
}

/// Versions of the libraries whose output ends up in archives.
pub fn versions() -> [(&'static str, &'static str); 3] {
    // Kept equal to `Cargo.lock` by a test.
    [("libdeflate", "1.26"), ("zlib-rs", "0.6.8"), ("zstd", "1.5.7")]
}
