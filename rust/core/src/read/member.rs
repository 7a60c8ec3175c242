//! One member of an archive, as its headers describe it.

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link.
    Link,
    /// Another name of a member that comes before it.
    HardLink,
    /// A device, FIFO or socket.
    Special,
}

impl MemberKind {
    /// The kind in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Link => "link",
            Self::HardLink => "hardlink",
            Self::Special => "special",
        }
    }
}

/// How a member's bytes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As they are.
    Stored,
    /// Deflate.
    Deflate,
    /// Zstandard.
    Zstd,
    /// Inside a tar, whose stream may be compressed as a whole.
    Tar,
    /// Inside a tar, without the holes of a sparse file.
    Sparse,
    /// A zip method that this reader does not know.
    Other(u16),
}

impl Packing {
    /// The codec in lower case.
    pub fn name(self) -> String {
        match self {
            Self::Stored => "stored".into(),
            Self::Deflate => "deflate".into(),
            Self::Zstd => "zstd".into(),
            Self::Tar => "tar".into(),
            Self::Sparse => "sparse".into(),
            Self::Other(method) => format!("method {method}"),
        }
    }
}

/// A member's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name: UTF-8 unless the archive says otherwise, folders with a slash at the end.
    pub name: Vec<u8>,
    /// Bytes unpacked.
    pub size: u64,
    /// Bytes in the archive.
    pub packed: u64,
    /// How they are kept.
    pub packing: Packing,
    /// What it is.
    pub kind: MemberKind,
    /// Where a hard link, or a tar's symbolic link, leads. A zip's link has its target as content.
    pub link: Option<Vec<u8>>,
    /// Permissions, with set-id bits as recorded.
    pub mode: u32,
    /// Modification time: seconds since 1970 and nanoseconds.
    pub mtime: Option<(i64, u32)>,
    /// CRC-32 of the unpacked bytes.
    pub crc: Option<u32>,
    /// Where its header stands; in a compressed tar, in the tar stream.
    pub offset: u64,
    /// Where its bytes stand; a zip says it in the local header only.
    pub(crate) start: Option<u64>,
    /// General purpose bits of zip.
    pub(crate) flags: u16,
    /// The name as the directory has it, where that is not how it reads.
    pub(crate) raw_name: Option<Vec<u8>>,
    /// The number of the file whose bytes a hard link has.
    pub(crate) target: Option<u32>,
}

/// The same path with `./` in front, as `tar cf all.tar .` writes it, or without. Who adds to an archive may write the other.
pub(crate) fn other_spelling(path: &[u8]) -> Vec<u8> {
    path.strip_prefix(b"./").map_or_else(|| [b"./", path].concat(), <[u8]>::to_vec)
}

impl Member {
    /// Whether it is a file: with bytes of its own or, as a hard link, with those of a member before it.
    pub fn is_file(&self) -> bool {
        self.kind == MemberKind::File || self.target.is_some()
    }

    /// The name of what a symbolic link with this target means; `None` outside the archive. Folders on the way are taken for
    /// real ones.
    pub(crate) fn path_of_target(&self, target: &[u8]) -> Option<Vec<u8>> {
        if target.starts_with(b"/") {
            return None;
        }
        let folder = self.name.iter().rposition(|&byte| byte == b'/').map_or(&[][..], |slash| &self.name[..slash]);
        let mut path = Vec::new();
        let all = [folder, target].join(&b'/');
        for part in all.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")) {
            if part == b".." {
                path.pop()?;
            } else {
                path.push(part);
            }
        }
        // `tar cf all.tar .` writes names that begin with `./`.
        let beginning = if self.name.starts_with(b"./") { &b"./"[..] } else { b"" };
        Some([beginning, &path.join(&b'/')].concat())
    }

    pub(crate) fn raw_name(&self) -> &[u8] {
        self.raw_name.as_deref().unwrap_or(&self.name)
    }
}
