//! Many members at once: read in the order in which they lie, on several threads, returned in the order asked for.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Archive, Member};
use crate::cancel::CancelToken;
use crate::error::{Result, Stage};
use crate::threads::on_threads;

/// Members that a thread takes at a time: enough to make the counter cheap, few enough to share the last ones.
const CLAIM: usize = 16;

impl Archive {
    /// The bytes of each named member, in the order of the names. The first failure ends it.
    pub fn read_many(&self, names: &[Vec<u8>], jobs: usize, cancel: &CancelToken) -> Result<Vec<Vec<u8>>> {
        let members = in_parallel(names.len(), jobs, cancel, |number| self.readable(&names[number]))?;
        let bytes = members.iter().fold(0, |sum: u64, member| sum.saturating_add(member.size));
        self.limits.check_held(bytes, self.source.length()).map_err(|fault| self.explain(fault))?;
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_unstable_by_key(|&number| members[number].offset);
        // Asked for twice, or by the names of two links, a member is unpacked once: a stream would have to go back for it.
        let same: Vec<&[usize]> = order.chunk_by(|&a, &b| members[a].offset == members[b].offset).collect();
        // One stream has one place at a time.
        let jobs = if self.is_random() { jobs } else { 1 };
        let read = in_parallel(same.len(), jobs, cancel, |place| {
            let member: &Member = &members[same[place][0]];
            self.read_in_steps(member, cancel)
        })?;
        let mut results: Vec<Vec<u8>> = Vec::new();
        results.resize_with(order.len(), Vec::new);
        for (numbers, bytes) in same.into_iter().zip(read) {
            for &number in &numbers[1..] {
                results[number].clone_from(&bytes);
            }
            results[numbers[0]] = bytes;
        }
        Ok(results)
    }
}

/// What `work` makes of each number below `count`, in their order; the failure with the lowest number, if any.
fn in_parallel<T: Send>(
    count: usize,
    jobs: usize,
    cancel: &CancelToken,
    work: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let failed = AtomicUsize::new(usize::MAX);
    let threads = jobs.min(count.div_ceil(CLAIM)).max(1);
    let made = on_threads(threads, || {
        let mut made: Vec<(usize, Result<T>)> = Vec::new();
        loop {
            let first = next.fetch_add(CLAIM, Ordering::Relaxed);
            if first >= count.min(failed.load(Ordering::Relaxed)) {
                return made;
            }
            for number in first..(first + CLAIM).min(count) {
                let result = cancel.check(Stage::Read).and_then(|()| work(number));
                let stop = result.is_err();
                made.push((number, result));
                if stop {
                    failed.fetch_min(number, Ordering::Relaxed);
                    return made;
                }
            }
        }
    });
    let mut all: Vec<(usize, Result<T>)> = made.into_iter().flatten().collect();
    all.sort_unstable_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, result)| result).collect()
}
