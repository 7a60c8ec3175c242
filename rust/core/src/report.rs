//! What a call did, in numbers and names.

use std::path::PathBuf;
use std::time::Duration;

/// A path and why it was treated so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The path, as the source named it.
    pub path: PathBuf,
    /// Why, in a few words.
    pub reason: String,
}

/// What a pack did.
#[derive(Debug, Clone, Default)]
pub struct PackReport {
    /// The archives, absolute, each with its XXH3-128; more than one only where shards were asked for.
    pub archives: Vec<(PathBuf, u128)>,
    /// Their manifests, where those were asked for.
    pub manifests: Vec<PathBuf>,
    /// Files packed.
    pub files: u64,
    /// Empty folders packed.
    pub directories: u64,
    /// Links packed as links.
    pub links: u64,
    /// Bytes of the files packed.
    pub bytes_in: u64,
    /// Bytes of the archives.
    pub bytes_out: u64,
    /// Wall time of the call.
    pub elapsed: Duration,
    /// Files stored as they are.
    pub stored: u64,
    /// Files deflated.
    pub deflated: u64,
    /// Files compressed with zstd.
    pub zstd: u64,
    /// An earlier call made the archives, and this one finished the removal of their originals. What is counted of files is
    /// what that call counted; `removed`, `kept` and `elapsed` are this one's.
    pub resumed: bool,
    /// Originals removed.
    pub removed: u64,
    /// Originals that were to be removed and were not.
    pub kept: Vec<Remark>,
    /// What the sources named and the archive does not hold.
    pub skipped: Vec<Remark>,
    /// What the user should know, whole sentences.
    pub warnings: Vec<String>,
}

/// What a pack would do.
#[derive(Debug, Clone, Default)]
pub struct PlanReport {
    /// The archive, absolute.
    pub target: PathBuf,
    /// Member names in archive order.
    pub members: Vec<String>,
    /// Files to pack.
    pub files: u64,
    /// Empty folders to pack.
    pub directories: u64,
    /// Links to pack as links.
    pub links: u64,
    /// Bytes of the files, as they are now.
    pub bytes_in: u64,
    /// What the sources name and the archive would not hold.
    pub skipped: Vec<Remark>,
    /// What the user should know, whole sentences.
    pub warnings: Vec<String>,
}
