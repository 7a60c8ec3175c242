//! Container bytes around members: no file, no codec, no thread.

pub mod gzip;
pub mod seekable;
pub mod tar;
pub mod zip;

/// How a member's bytes are kept, as far as a container says it of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// As they are.
    Stored,
    /// Deflate, RFC 1951.
    Deflated,
    /// Zstandard, which zip calls method 93.
    Zstd,
}

/// What headers say of a member.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The name, in two parts that belong together.
    pub name: (&'a [u8], &'a [u8]),
    /// Where a link leads, for containers that say it in the header.
    pub link: &'a [u8],
    /// How its bytes are kept.
    pub method: Method,
    /// CRC-32 of the raw bytes.
    pub crc: u32,
    /// Raw size.
    pub size: u64,
    /// Size in the archive.
    pub packed: u64,
    /// Seconds since 1970, UTC.
    pub mtime: i64,
    /// `st_mode`: kind and permissions.
    pub mode: u32,
}

impl Member<'_> {
    fn name_length(&self) -> usize {
        self.name.0.len() + self.name.1.len()
    }
}

/// The containers: what stands before a member's bytes, and what behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// See [`zip`].
    Zip,
    /// See [`tar`].
    Tar,
}

impl Frame {
    /// Length of [`header`](Self::header).
    pub fn header_length(self, member: &Member<'_>) -> usize {
        match self {
            Self::Zip => zip::local_header_length(member),
            Self::Tar => tar::header_length(member),
        }
    }

    /// Append what stands before the member's bytes.
    pub fn header(self, out: &mut Vec<u8>, member: &Member<'_>) {
        match self {
            Self::Zip => zip::local_header(out, member),
            Self::Tar => tar::header(out, member),
        }
    }

    /// How many zeros stand behind the bytes of a member that takes `packed` of them.
    pub fn padding(self, packed: u64) -> usize {
        match self {
            Self::Zip => 0,
            Self::Tar => tar::padding(packed),
        }
    }
}
