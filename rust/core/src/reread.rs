//! Hash what is in a file, in order: while one thread hashes a portion, another reads the next.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::digest::Digest;
use crate::error::Result;
use crate::threads::on_threads;

/// What a thread reads at once.
const PORTION: u64 = 512 << 10;
/// Reading takes twice as long as hashing, so that more threads would wait for each other.
const MOST_THREADS: usize = 2;

/// Take the bytes of `range` into the digest, and return up to where they came: less than its end where `read`, which is given an
/// offset and room, found nothing more. `check` may give up between portions.
pub(crate) fn reread(
    digest: &mut Digest,
    range: Range<u64>,
    jobs: usize,
    read: impl Fn(u64, &mut [u8]) -> Result<usize> + Sync,
    check: impl Fn() -> Result<()> + Sync,
) -> Result<u64> {
    let next = AtomicU64::new(range.start);
    let turn = Mutex::new(Turn { digest, at: range.start, ended: None });
    let moved = Condvar::new();
    let work = || {
        let mut portion = vec![0; PORTION.min(range.end.saturating_sub(range.start)) as usize];
        loop {
            let at = next.fetch_add(PORTION, Ordering::Relaxed);
            if at >= range.end {
                return;
            }
            let wanted = (range.end - at).min(PORTION) as usize;
            let found = check().and_then(|()| fill(at, &mut portion[..wanted], &read));
            let mut turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            while turn.at != at && turn.ended.is_none() {
                turn = moved.wait(turn).unwrap_or_else(PoisonError::into_inner);
            }
            if turn.ended.is_some() {
                return;
            }
            match found {
                Ok(count) => {
                    turn.digest.update(&portion[..count]);
                    turn.at += count as u64;
                    if count < wanted {
                        turn.ended = Some(Ok(()));
                    }
                }
                Err(error) => turn.ended = Some(Err(error)),
            }
            moved.notify_all();
        }
    };
    let portions = range.end.saturating_sub(range.start).div_ceil(PORTION);
    on_threads(jobs.min(MOST_THREADS).min(portions as usize).max(1), work);
    let turn = turn.into_inner().unwrap_or_else(PoisonError::into_inner);
    turn.ended.unwrap_or(Ok(())).map(|()| turn.at)
}

struct Turn<'a> {
    digest: &'a mut Digest,
    /// Up to where everything is hashed.
    at: u64,
    /// The end was met early, or something failed.
    ended: Option<Result<()>>,
}

fn fill(at: u64, buffer: &mut [u8], read: impl Fn(u64, &mut [u8]) -> Result<usize>) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read(at + filled as u64, &mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind, Stage};

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| ((at * 31) >> 7) as u8).collect()
    }

    #[test]
    fn any_length_is_hashed_by_any_number_of_threads_as_in_one_piece() {
        let portion = PORTION as usize;
        for length in [0, 1, portion - 1, portion, portion + 1, 7 * portion + 13] {
            let content = bytes(length);
            for jobs in [1, 2, 16] {
                for start in [0, length / 3] {
                    let read = |at: u64, room: &mut [u8]| {
                        // In pieces that end nowhere in particular.
                        let rest = &content[at as usize..];
                        let count = rest.len().min(room.len()).min(100_003);
                        room[..count].copy_from_slice(&rest[..count]);
                        Ok(count)
                    };
                    let mut digest = Digest::new();
                    digest.update(&content[..start]);
                    let end = reread(&mut digest, start as u64..length as u64, jobs, read, || Ok(())).unwrap();
                    assert_eq!((end, digest.finish()), (length as u64, Digest::of(&content)));
                }
            }
        }
    }

    #[test]
    fn a_file_that_is_shorter_is_told_by_where_it_ended() {
        let content = bytes(3 * PORTION as usize + 5);
        for jobs in [1, 2] {
            let read = |at: u64, room: &mut [u8]| {
                let rest = content.get(at as usize..).unwrap_or_default();
                let count = rest.len().min(room.len());
                room[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            };
            let end = reread(&mut Digest::new(), 0..20 * PORTION, jobs, read, || Ok(())).unwrap();
            assert_eq!(end, content.len() as u64);
        }
    }

    #[test]
    fn a_failure_anywhere_ends_all_threads_and_is_returned() {
        for jobs in [1, 2] {
            for failing in 0..6 {
                let read = |at: u64, room: &mut [u8]| {
                    if at / PORTION == failing {
                        return Err(Error::new(ErrorKind::Io, Stage::Commit, "unreadable"));
                    }
                    Ok(room.len())
                };
                let error = reread(&mut Digest::new(), 0..6 * PORTION, jobs, read, || Ok(())).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Io);
            }
            let cancelled = || Err(Error::cancelled(Stage::Commit));
            let error =
                reread(&mut Digest::new(), 0..6 * PORTION, jobs, |_, room| Ok(room.len()), cancelled).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cancelled);
        }
    }
}
