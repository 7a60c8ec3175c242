//! What a caller asks for: sources, target, and every option with its default and reason.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, Stage, show};
use crate::growing::Follower;

/// Below this, `memory` lacks its unit: whoever says `--memory 256` or `1k` means something else.
const LEAST_MEMORY: u64 = 1 << 20;

/// Default for [`PackOptions::memory`]: room for 16 workers with reorder slack.
pub const DEFAULT_MEMORY: u64 = 256 << 20;

/// Default for [`PackOptions::level`] where members are deflated; chosen from the table of levels in `benches/RESULTS.md`.
pub const DEFAULT_LEVEL: u8 = 5;

/// Default for [`PackOptions::level`] in a `.tar.zst`; zstd's own.
pub const DEFAULT_ZSTD_LEVEL: u8 = 3;

/// What to pack, where to, and how.
#[derive(Debug, Clone, Default)]
pub struct PackRequest {
    /// Each a path that exists, else a pattern under Python's `glob(recursive=True)` rules.
    pub sources: Names,
    /// Paths that are never read as patterns.
    pub literals: Names,
    /// The archive; `None` names it after the sources' common directory, in the working directory.
    pub target: Option<PathBuf>,
    /// What relative sources start from, taken literally; `None` is the working directory.
    pub base: Option<PathBuf>,
    /// How sources become members.
    pub layout: Layout,
    /// Layout `Tree`: what member names are relative to, instead of the sources' common directory.
    /// Layout `Outputs`: the folder below which a linked folder is no place to remove originals from.
    pub root: Option<PathBuf>,
    /// Patterns of what to leave out: without `/` for any component of a member name, else for the whole name.
    pub exclude: Vec<Vec<u8>>,
    /// Wildcards match names that start with a dot, too.
    pub hidden: bool,
    /// What becomes of symbolic links.
    pub symlinks: Symlinks,
    /// The rest.
    pub options: PackOptions,
}

/// What the target's suffix says: containers, and what is around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.zip`: members are compressed one by one, and can be read one by one.
    Zip,
    /// `.tar`: members as they are, one behind the other.
    Tar,
    /// `.tar.gz`: a tar in one gzip stream.
    TarGz,
    /// `.tar.zst`: a tar in independent zstd frames with a seek table.
    TarZst,
}

impl Format {
    /// Every suffix that is known, and what it means; upper and lower case are the same.
    pub const SUFFIXES: [(&'static str, Self); 6] = [
        (".zip", Self::Zip),
        (".tar", Self::Tar),
        (".tar.gz", Self::TarGz),
        (".tgz", Self::TarGz),
        (".tar.zst", Self::TarZst),
        (".tzst", Self::TarZst),
    ];

    /// The format that a file name asks for.
    pub fn of(name: &[u8]) -> Option<Self> {
        Self::suffix(name).map(|(_, format)| format)
    }

    /// How many bytes of a name say its format.
    pub(crate) fn suffix_length(name: &[u8]) -> usize {
        Self::suffix(name).map_or(0, |(suffix, _)| suffix.len())
    }

    fn suffix(name: &[u8]) -> Option<(&'static str, Self)> {
        let ends = |suffix: &str| {
            let cut = name.len().checked_sub(suffix.len());
            cut.is_some_and(|cut| name[cut..].eq_ignore_ascii_case(suffix.as_bytes()))
        };
        Self::SUFFIXES.into_iter().find(|(suffix, _)| ends(suffix))
    }
}

/// Names one behind the other, each ended by a NUL, which no name can hold: a million of them are one allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(Vec<u8>);

impl Names {
    /// From names that NULs separate; empty names are dropped.
    pub fn from_joined(joined: impl Into<Vec<u8>>) -> Self {
        Self(joined.into())
    }

    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == 0).filter(|name| !name.is_empty())
    }
}

impl<T: AsRef<OsStr>> FromIterator<T> for Names {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        let mut joined = Vec::new();
        for name in names {
            joined.extend_from_slice(name.as_ref().as_bytes());
            joined.push(0);
        }
        Self(joined)
    }
}

/// How sources become members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// Directories are packed with everything below; names are relative to the directory common to all sources.
    #[default]
    Tree,
    /// A directory means the files directly in it; names are relative to each source's own literal folder.
    Outputs,
}

/// What becomes of symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Symlinks {
    /// Leave them out and say so.
    Skip,
    /// Pack what they lead to, as zip does; loops are left out and reported.
    #[default]
    Follow,
    /// Pack the link itself.
    Store,
}

/// What to do when a file changes or vanishes while it is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnChange {
    /// End the pack; nothing is published, nothing removed.
    #[default]
    Error,
    /// Leave the file out, keep its original, say so in the report.
    Skip,
}

/// How members are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CodecChoice {
    /// Deflate what shrinks, store what does not, decided by content.
    #[default]
    Auto,
    /// Store everything.
    Store,
    /// Deflate everything that deflate makes smaller, by however little.
    Deflate,
    /// As `Auto`, with zstd in the place of deflate: a zip that many readers refuse.
    Zstd,
}

/// Times and modes of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stamps {
    /// The files' own modification times (whole seconds) and permission bits.
    #[default]
    Original,
    /// One time (seconds since 1970, UTC) for all, and modes 0644 or 0755: equal contents give equal archives on every machine.
    Fixed(i64),
}

/// When the call waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Originals {
    /// Keep them, and do not wait for the disk, as tar and 7z do not.
    #[default]
    Keep,
    /// Keep them, and return only when archive and directory are on disk.
    KeepDurable,
    /// Remove them once archive and directory are on disk.
    Remove,
}

/// Every setting of a pack that is not about its sources.
#[derive(Debug, Clone)]
pub struct PackOptions {
    /// Compress or store; default by content.
    pub codec: CodecChoice,
    /// Effort, 0 (store) to 12 (smallest); `None` is the format's default: [`DEFAULT_LEVEL`] for deflate, [`DEFAULT_ZSTD_LEVEL`] for zstd.
    pub level: Option<u8>,
    /// What the offsets of stored zip members are a multiple of, 64 or 4096, so that they can be mapped into memory; 0, the
    /// default, leaves them where they fall.
    pub align: u16,
    /// Write a manifest beside each archive; default no.
    pub manifest: bool,
    /// Raw bytes of members that one archive holds at most, unless a single group of members that share a stem has more; the
    /// target's name is numbered then. 0, the default, makes one archive.
    pub shard_size: u64,
    /// Worker threads; default one per available core.
    pub jobs: usize,
    /// Bytes that buffers may take, whatever the input's size; fewer workers run when it is small, and less than one of them
    /// needs is refused. Default [`DEFAULT_MEMORY`].
    pub memory: u64,
    /// Times and modes; default the files' own.
    pub stamps: Stamps,
    /// What becomes of the originals, and whether to wait for the disk; default keep, not wait.
    pub originals: Originals,
    /// Mark the archive read-only, last of all and where it is on disk, by which the platform is told to upload it; default no.
    pub read_only: bool,
    /// Replace an existing target; default refuse.
    pub force: bool,
    /// Files that change underway; default error.
    pub on_change: OnChange,
    /// Who reads each archive while it is packed; default nobody.
    pub follower: Option<Arc<dyn Follower>>,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self {
            codec: CodecChoice::default(),
            level: None,
            align: 0,
            shard_size: 0,
            manifest: false,
            jobs: available_parallelism().map_or(1, Into::into),
            memory: DEFAULT_MEMORY,
            stamps: Stamps::default(),
            originals: Originals::default(),
            read_only: false,
            force: false,
            on_change: OnChange::default(),
            follower: None,
        }
    }
}

impl PackOptions {
    /// Refuse methods that the target's format has no place for.
    pub(crate) fn check_method(&self, format: Format, target: &Path) -> Result<()> {
        let refuse = |message| Err(Error::new(ErrorKind::Usage, Stage::Plan, message).at(target));
        let stores = self.level == Some(0) || self.codec == CodecChoice::Store;
        match (format, self.codec) {
            _ if self.align > 0 && format != Format::Zip => {
                refuse(format!("{} is a tar, whose members cannot be aligned; name a .zip", show(target)))
            }
            (Format::TarGz, CodecChoice::Zstd) => {
                refuse(format!("{} is deflated; name a .tar.zst for zstd", show(target)))
            }
            (Format::Tar, CodecChoice::Zstd) => {
                refuse(format!("{} holds members as they are; name a .tar.zst for zstd", show(target)))
            }
            (Format::Tar, CodecChoice::Deflate) => {
                refuse(format!("{} holds members as they are; name a .zip or .tar.gz to deflate them", show(target)))
            }
            (Format::TarGz | Format::TarZst, _) if stores => {
                refuse(format!("{} is compressed by its name; name a .tar to store", show(target)))
            }
            (Format::TarZst, CodecChoice::Deflate) => {
                refuse(format!("{} is compressed with zstd; name a .tar.gz or .zip to deflate", show(target)))
            }
            _ => Ok(()),
        }
    }
}

impl PackRequest {
    /// A digest of what the sources are: that of two calls is the same where they name the same, in whatever order.
    pub(crate) fn call(&self) -> u128 {
        let digest_of = |parts: &[&[u8]]| {
            let mut digest = Digest::new();
            for part in parts {
                digest.update(&(part.len() as u64).to_le_bytes());
                digest.update(part);
            }
            digest.finish()
        };
        let sum = |kind: &[u8], names: &mut dyn Iterator<Item = &[u8]>| {
            names.fold(0_u128, |sum, name| sum.wrapping_add(digest_of(&[kind, name])))
        };
        let sources = sum(b"source", &mut self.sources.iter())
            .wrapping_add(sum(b"literal", &mut self.literals.iter()))
            .wrapping_add(sum(b"exclude", &mut self.exclude.iter().map(Vec::as_slice)));
        let working = std::env::current_dir().unwrap_or_default();
        let start = self.base.as_ref().map_or_else(|| working.clone(), |base| working.join(base));
        let root = self.root.as_deref().map_or(&b"\0"[..], |root| root.as_os_str().as_bytes());
        let how = [u8::from(self.hidden), self.layout as u8, self.symlinks as u8];
        digest_of(&[&sources.to_le_bytes(), start.as_os_str().as_bytes(), root, &how])
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let usage = |message: &str| Err(Error::new(ErrorKind::Usage, Stage::Plan, message));
        if self.options.level.is_some_and(|level| level > 12) {
            return usage("the level is a number from 0 (store) to 12 (smallest)");
        }
        if !matches!(self.options.align, 0 | 64 | 4096) {
            return usage("align is 64 or 4096 bytes");
        }
        if self.options.jobs == 0 || self.options.jobs > 1024 {
            return usage("jobs is a number of threads from 1 to 1024");
        }
        if self.options.memory < LEAST_MEMORY {
            return usage(
                "memory is at least 1 MiB; give it a unit, as in 64MiB, or leave it at its default of 256 MiB",
            );
        }
        if self.sources.iter().chain(self.literals.iter()).next().is_none() {
            return Err(Error::new(
                ErrorKind::NoFiles,
                Stage::Plan,
                "No files to compress: no source was named; name files, directories or patterns",
            ));
        }
        Ok(())
    }
}
