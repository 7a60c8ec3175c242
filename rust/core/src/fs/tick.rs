//! The clock by which files are dated: two changes within one of its ticks look like one.

use std::io;
use std::os::fd::AsFd;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_getres};

use super::{Stat, fstat};

/// How long changes of one file may bear one time: most file systems date them by a clock that moves with the kernel's ticks.
/// Kernels from 6.13 on date finer what was looked at, on most local file systems; nothing says which.
static TICK: LazyLock<Duration> = LazyLock::new(|| {
    let tick = clock_getres(ClockId::RealtimeCoarse);
    let slowest = Duration::from_millis(10);
    Duration::try_from(tick).unwrap_or(slowest).min(slowest)
});

/// [`fstat`], as soon as a change that comes later would have a later time. A file that is written to without a pause is
/// waited for no longer than a few ticks. `begun` is a second before which the caller did not look.
pub(crate) fn fstat_at_rest(file: impl AsFd, begun: i64) -> io::Result<Stat> {
    let mut stat = fstat(&file)?;
    for _ in 0..3 {
        // The clock is asked only about what was written lately.
        if stat.st_mtime + 1 < begun {
            break;
        }
        let Some(rest) = rest_of_tick(&stat, now(), *TICK) else { break };
        std::thread::sleep(rest);
        stat = fstat(&file)?;
    }
    Ok(stat)
}

/// Time since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The second that it is.
pub(crate) fn second() -> i64 {
    now().as_secs().cast_signed()
}

fn rest_of_tick(stat: &Stat, now: Duration, tick: Duration) -> Option<Duration> {
    let written = Duration::new(u64::try_from(stat.st_mtime).ok()?, stat.st_mtime_nsec as u32);
    // What lies ahead was dated by another clock than ours.
    let age = now.checked_sub(written)?;
    tick.checked_sub(age).filter(|rest| !rest.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_looked_at_when_its_next_change_would_show() {
        for _ in 0..20 {
            let file = tempfile::tempfile().unwrap();
            crate::fs::write_all(&file, b"x").unwrap();
            let stat = fstat_at_rest(&file, second()).unwrap();
            assert_eq!(rest_of_tick(&stat, now(), *TICK), None);
        }
    }

    #[test]
    fn only_what_was_written_within_a_tick_is_waited_for() {
        let mut stat = fstat(tempfile::tempfile().unwrap()).unwrap();
        (stat.st_mtime, stat.st_mtime_nsec) = (1000, 5_000_000);
        let tick = Duration::from_millis(4);
        let rest = |microseconds| rest_of_tick(&stat, Duration::from_micros(microseconds), tick);
        assert_eq!(rest(1_000_005_000), Some(tick));
        assert_eq!(rest(1_000_008_000), Some(Duration::from_millis(1)));
        assert_eq!(rest(1_000_009_000), None);
        assert_eq!(rest(2_000_000_000), None);
        // A clock that is ahead of ours is another's.
        assert_eq!(rest(1_000_004_999), None);
        stat.st_mtime = -5;
        assert_eq!(rest_of_tick(&stat, Duration::ZERO, tick), None);
    }
}
