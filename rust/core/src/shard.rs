//! One plan cut into several archives: between members, never within what belongs together.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage, show};
use crate::fs::{self, Stamp};
use crate::plan::Plan;
use crate::scan::EntryKind;
use crate::stem;
use crate::target::Target;
use crate::threads::on_threads;

/// Entries looked at between two looks at the shared counter.
const CHUNK: usize = 256;

/// Which members go into which shard: as many as stay within `size` raw bytes, and at least one group of those that share a
/// stem. The cuts depend on names and sizes alone.
pub(crate) fn cut(plan: &Plan, size: u64, sizes: &[u64]) -> Vec<Range<usize>> {
    let mut shards = Vec::new();
    let (mut start, mut held) = (0, 0_u64);
    let mut at = 0;
    while at < sizes.len() {
        let stem = self::stem(plan, at);
        let mut end = at + 1;
        while end < sizes.len() && stem.is_some() && self::stem(plan, end) == stem {
            end += 1;
        }
        let group: u64 = sizes[at..end].iter().sum();
        if at > start && held + group > size {
            shards.push(start..at);
            (start, held) = (at, 0);
        }
        held += group;
        at = end;
    }
    shards.push(start..sizes.len());
    shards
}

fn stem(plan: &Plan, index: usize) -> Option<Vec<u8>> {
    let (folder, name) = plan.member(&plan.entries()[index]);
    stem::stem(folder, name)
}

/// The raw sizes of all members, as they are now; what has vanished meanwhile is for the pack to say.
pub(crate) fn sizes(plan: &Plan, jobs: usize, cancel: &CancelToken) -> Result<Vec<u64>> {
    let entries = plan.entries();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(vec![0; entries.len()]));
    on_threads(jobs.min(entries.len().div_ceil(CHUNK)).max(1), || {
        let mut folder: Option<(u32, OwnedFd)> = None;
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            let start = next.fetch_add(CHUNK, Ordering::Relaxed);
            let Some(rest) = entries.get(start..).filter(|rest| !rest.is_empty()) else { return };
            if cancel.is_cancelled() {
                return;
            }
            chunk.clear();
            for entry in rest.iter().take(CHUNK) {
                if folder.as_ref().is_none_or(|(index, _)| *index != entry.directory) {
                    let opened = fs::enter_directory(&plan.directory(entry).path);
                    folder = opened.ok().map(|opened| (entry.directory, opened));
                }
                let found = match (&folder, entry.kind) {
                    (Some((_, folder)), EntryKind::File | EntryKind::LinkedFile) => {
                        fs::stat_at(folder, plan.name(entry)).ok()
                    }
                    _ => None,
                };
                chunk.push(found.map_or(0, |stat| Stamp::of(&stat).size));
            }
            if let Ok(mut found) = found.lock() {
                found[start..start + chunk.len()].copy_from_slice(&chunk);
            }
        }
    });
    cancel.check(Stage::Plan)?;
    found.into_inner().map_err(|_| Error::cancelled(Stage::Plan))
}

/// The targets of `count` shards. What bears their names already is replaced with `force` only; shards beyond them, of an
/// earlier and larger pack, are refused in either case: a reader of all shards would take them for this one's.
pub(crate) fn targets(target: &Target, there: &[(u64, Target)], count: usize, force: bool) -> Result<Vec<Target>> {
    let taken = there.iter().map(|(number, _)| *number).find(|&number| !force || number >= count as u64);
    if let Some(number) = taken {
        let path = target.shard_path(number);
        let message = if force {
            format!(
                "{} is of an earlier pack that made more shards than the {count} of this one; move it and those behind it away, or choose another name",
                show(&path)
            )
        } else {
            format!("{} exists; choose another name, or replace it with force", show(&path))
        };
        return Err(Error::new(ErrorKind::TargetExists, Stage::Plan, message).at(&path));
    }
    let resolve = |number| match there.iter().find(|(known, _)| *known == number) {
        Some((_, shard)) => Ok(shard.clone()),
        None => Target::resolve(&target.shard_path(number)).map(Target::unknown),
    };
    (0..count as u64).map(resolve).collect()
}
