//! Files that get a second name in a store of contents, and are read-only from then on.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cancel::CancelToken;
use crate::error::{Result, Stage};
use crate::fs::{self, Kind, Stamp};
use crate::threads::on_threads;

/// What is claimed at once: enough that threads seldom meet, few enough that all of them are busy to the end.
const BATCH: usize = 64;

/// A file to adopt.
#[derive(Debug, Clone, Copy)]
pub struct Adoption<'a> {
    /// The file.
    pub path: &'a Path,
    /// The name that it is to have, too, in a folder that is there.
    pub target: &'a Path,
    /// What it was like when it was looked at: in bytes,
    pub size: u64,
    /// and in nanoseconds since 1970.
    pub modified: i64,
}

/// Give each file its second name, unless it has changed, and return the numbers of those that have got none, in order.
///
/// A file is made read-only before it has the name. One that gets none, for whatever reason, is as it was: the caller, who
/// knows other ways, does it again and hears why.
///
/// ```
/// use vhpack_core::{Adoption, CancelToken, adopt};
///
/// let folder = tempfile::tempdir()?;
/// let (path, target) = (folder.path().join("a.txt"), folder.path().join("content"));
/// # #[expect(clippy::disallowed_methods)]
/// std::fs::write(&path, "abc")?;
/// let changed = Adoption { path: &path, target: &target, size: 4, modified: 0 };
/// assert_eq!(adopt(&[changed], 1, &CancelToken::default())?, [0]);
/// assert!(!target.exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn adopt(files: &[Adoption<'_>], jobs: usize, cancel: &CancelToken) -> Result<Vec<usize>> {
    let next = AtomicUsize::new(0);
    let left = on_threads(jobs, || {
        let mut left = Vec::new();
        loop {
            let start = next.fetch_add(BATCH, Ordering::Relaxed);
            if start >= files.len() || cancel.is_cancelled() {
                return left;
            }
            let end = (start + BATCH).min(files.len());
            left.extend((start..end).filter(|&number| !is_adopted(&files[number])));
        }
    });
    cancel.check(Stage::Commit)?;
    let mut left = left.concat();
    left.sort_unstable();
    Ok(left)
}

fn is_adopted(file: &Adoption<'_>) -> bool {
    let Ok(stat) = fs::lstat(file.path) else { return false };
    let stamp = Stamp::of(&stat);
    let modified = stamp.mtime.saturating_mul(1_000_000_000).saturating_add(stamp.mtime_ns.into());
    if Kind::of(&stat) != Kind::File || (stamp.size, modified) != (file.size, file.modified) {
        return false;
    }
    // Nobody may write to it, and nobody may read it who could not before.
    let (before, after) = (stat.st_mode & 0o7777, stat.st_mode & 0o555 | 0o400);
    if before != after && fs::set_mode_of(file.path, after).is_err() {
        return false;
    }
    let linked = fs::link(file.path, file.target);
    if linked.is_err() && before != after {
        // If it cannot be undone, it is what happens to a file that is kept in another way, too.
        let _ = fs::set_mode_of(file.path, before);
    }
    linked.is_ok()
}
