//! Files whose contents get a second name in a store, where nobody writes to them any more.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
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

/// How a file gets its second name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As the same file, which is read-only from then on.
    Link,
    /// As one of its own, read-only, which shares its blocks with the first: where the file system can do that.
    Clone,
}

/// Give each file its second name, unless it has changed, and return the numbers of those that have got none, in order.
///
/// What is linked is made read-only before it has the name, and gets none while any process can write to it. A file that gets
/// none, for whatever reason, is as it was: the caller, who knows other ways, does it again and hears why.
///
/// ```
/// use vhpack_core::{Adoption, CancelToken, Manner, adopt};
///
/// let folder = tempfile::tempdir()?;
/// let (path, target) = (folder.path().join("a.txt"), folder.path().join("content"));
/// # #[expect(clippy::disallowed_methods)]
/// std::fs::write(&path, "abc")?;
/// let changed = Adoption { path: &path, target: &target, size: 4, modified: 0 };
/// assert_eq!(adopt(&[changed], Manner::Link, 1, &CancelToken::default())?, [0]);
/// assert!(!target.exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn adopt(files: &[Adoption<'_>], manner: Manner, jobs: usize, cancel: &CancelToken) -> Result<Vec<usize>> {
    let next = AtomicUsize::new(0);
    let is_adopted = |file: &Adoption<'_>| match manner {
        Manner::Link => is_linked(file),
        Manner::Clone => cloned(file).unwrap_or(false),
    };
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

fn is_linked(file: &Adoption<'_>) -> bool {
    let Ok(opened) = fs::open_path(file.path) else { return false };
    let Some(stat) = fs::fstat(&opened).ok().filter(|stat| is_as_it_was(file, stat)) else { return false };
    let (before, after) = (stat.st_mode & 0o7777, read_only(&stat));
    if before != after && fs::set_file_mode(&opened, after).is_err() {
        return false;
    }
    // Who has it open already, no mode keeps from writing.
    let is_linked = !fs::has_writers(opened) && fs::link(file.path, file.target).is_ok();
    if !is_linked && before != after {
        // If it cannot be undone, it is what happens to a file that is kept in another way, too.
        let _ = fs::set_mode_of(file.path, before);
    }
    is_linked
}

/// Without a name until it is what it should be, so that a killed process leaves nothing.
fn cloned(file: &Adoption<'_>) -> io::Result<bool> {
    let (source, folder) = (fs::open_path(file.path)?, file.target.parent().unwrap_or(Path::new("/")));
    let folder = fs::open_directory(folder.as_os_str().as_bytes())?;
    let Some(copy) = fs::create_unnamed_member(&folder, 0o600)? else { return Ok(false) };
    fs::clone(&source, &copy)?;
    // After that: what has not changed by now has not changed before.
    let stat = fs::fstat(&source)?;
    if !is_as_it_was(file, &stat) {
        return Ok(false);
    }
    fs::set_file_mode(&copy, read_only(&stat))?;
    fs::link_unnamed(&copy, &folder, file.target.file_name().unwrap_or_default().as_bytes())?;
    Ok(true)
}

fn is_as_it_was(file: &Adoption<'_>, stat: &fs::Stat) -> bool {
    let stamp = Stamp::of(stat);
    let modified = stamp.mtime.saturating_mul(1_000_000_000).saturating_add(stamp.mtime_ns.into());
    Kind::of(stat) == Kind::File && (stamp.size, modified) == (file.size, file.modified)
}

/// Nobody may write to it, and nobody may read it who could not before.
fn read_only(stat: &fs::Stat) -> u32 {
    stat.st_mode & 0o555 | 0o400
}
