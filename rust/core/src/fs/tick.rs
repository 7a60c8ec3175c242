//! The clock by which files are dated: two changes within one of its ticks look like one.

use std::io;
use std::os::fd::AsFd;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_getres, clock_gettime};

use super::{Stat, fstat};

/// How long changes of one file may bear one time: most file systems date them by a clock that moves with the kernel's ticks.
/// Kernels from 6.13 on date finer what was looked at, on most local file systems; nothing says which.
static TICK: LazyLock<Duration> = LazyLock::new(|| {
    let tick = clock_getres(ClockId::RealtimeCoarse);
    let slowest = Duration::from_millis(10);
    Duration::try_from(tick).unwrap_or(slowest).min(slowest)
});

/// Looks at the clock within a tick. It moves when the kernel comes to it, which a busy machine may put off.
const LOOKS: u32 = 4;
/// For how many ticks, by the clock itself, a file that is written to without a pause is waited for.
const MOST_TICKS: u32 = 4;
/// After so many looks the clock is taken to stand.
const MOST_LOOKS: u32 = 1000;

/// [`fstat`], as soon as a change that comes later would have a later time. A file that is written to without a pause is
/// waited for no longer than a few ticks. `begun` is a second before which the caller did not look.
pub(crate) fn fstat_at_rest(file: impl AsFd, begun: i64) -> io::Result<Stat> {
    let mut stat = fstat(&file)?;
    let mut until = None;
    for _ in 0..MOST_LOOKS {
        // The clock is asked only about what was written lately.
        if stat.st_mtime + 1 < begun {
            break;
        }
        let now = dated_now();
        if !may_hide_a_change(&stat, now, *TICK) || now > *until.get_or_insert_with(|| now + MOST_TICKS * *TICK) {
            break;
        }
        std::thread::sleep(*TICK / LOOKS);
        stat = fstat(&file)?;
    }
    Ok(stat)
}

/// The time that a change would be dated by now, since 1970.
fn dated_now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::RealtimeCoarse)).unwrap_or_default()
}

/// The second that it is.
pub(crate) fn second() -> i64 {
    clock_gettime(ClockId::Realtime).tv_sec
}

/// Whether a change that is dated `now` would bear the time that the file has.
fn may_hide_a_change(stat: &Stat, now: Duration, tick: Duration) -> bool {
    let Ok(seconds) = u64::try_from(stat.st_mtime) else { return false };
    let ahead = Duration::new(seconds, stat.st_mtime_nsec as u32).checked_sub(now);
    // Up to a tick ahead is what the kernel dates finer; what lies further was dated by another clock than ours.
    ahead.is_some_and(|ahead| ahead <= tick)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};

    use super::*;

    #[test]
    fn a_file_is_looked_at_when_its_next_change_would_show() {
        // Pipes are dated by the coarse clock in every kernel.
        let (_reader, file) = std::io::pipe().unwrap();
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let change = || futimens(&file, &Timestamps { last_access: now, last_modification: now }).unwrap();
        let time = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
        for _ in 0..20 {
            change();
            let stat = fstat_at_rest(&file, second()).unwrap();
            change();
            assert!(time(&fstat(&file).unwrap()) > time(&stat));
        }
    }

    #[test]
    fn only_what_was_written_within_a_tick_is_waited_for() {
        let mut stat = fstat(tempfile::tempfile().unwrap()).unwrap();
        (stat.st_mtime, stat.st_mtime_nsec) = (1000, 5_000_000);
        let hides =
            |microseconds| may_hide_a_change(&stat, Duration::from_micros(microseconds), Duration::from_millis(4));
        assert!(hides(1_000_005_000));
        assert!(hides(1_000_001_000));
        assert!(!hides(1_000_005_001));
        assert!(!hides(2_000_000_000));
        // A clock that is further ahead of ours is another's.
        assert!(!hides(1_000_000_999));
        stat.st_mtime = -5;
        assert!(!may_hide_a_change(&stat, Duration::ZERO, Duration::from_millis(4)));
    }
}
