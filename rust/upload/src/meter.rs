//! What goes out is counted here: progress for people, the stall watch, and the bandwidth that was allowed.

use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of a connection that the kernel keeps at most: the usual limit of `tcp_wmem`.
const KERNEL_HOLDS: u64 = 4 << 20;

/// Counts one request's bytes into its upload's, and remembers when something moved last.
#[derive(Debug)]
pub(crate) struct Meter {
    began: Instant,
    /// Milliseconds from `began` to the last movement.
    moved: AtomicU64,
    sent: AtomicU64,
    total: Arc<AtomicI64>,
    kept: AtomicU64,
    broken: Mutex<Option<String>>,
}

impl Meter {
    pub fn new(total: Arc<AtomicI64>) -> Self {
        Self {
            began: Instant::now(),
            moved: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            total,
            kept: AtomicU64::new(0),
            broken: Mutex::default(),
        }
    }

    /// For the same bytes once more.
    pub fn anew(&self) -> Self {
        Self::new(Arc::clone(&self.total))
    }

    pub fn touch(&self) {
        self.moved.store(self.began.elapsed().as_millis() as u64, Relaxed);
    }

    pub fn sent(&self, bytes: u64) {
        self.touch();
        self.sent.fetch_add(bytes, Relaxed);
        self.total.fetch_add(bytes as i64, Relaxed);
    }

    /// The request was answered: what it sent counts for good.
    pub fn keep(&self) {
        self.kept.store(self.sent.load(Relaxed), Relaxed);
    }

    /// The body could not be read on, and why; the connection only tells that it broke.
    pub fn broke(&self, error: &io::Error) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(crate::error::reason(error));
    }

    pub fn broken(&self) -> Option<String> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes handed to the connection.
    pub fn bytes(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// How much longer nothing may move before `stall` is over; zero when it is. What the kernel has taken goes out unseen, so
    /// that a slow server is silent for long once all is handed over: a `stall` is allowed for each MiB that may still be there.
    pub fn patience(&self, stall: Duration) -> Duration {
        let moved = Duration::from_millis(self.moved.load(Relaxed));
        let hidden = self.bytes().min(KERNEL_HOLDS) as f64 / f64::from(1 << 20);
        (moved + stall + stall.mul_f64(hidden)).saturating_sub(self.began.elapsed())
    }
}

impl Drop for Meter {
    /// What a failed request sent has to be sent again: it is taken back from the progress.
    fn drop(&mut self) {
        let lost = self.sent.load(Relaxed) - self.kept.load(Relaxed);
        self.total.fetch_sub(lost as i64, Relaxed);
    }
}

/// Bytes a second that all uploads together may send; a token bucket that holds a tenth of a second.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: Option<u64>,
    /// When the bytes taken so far will all have been due.
    due: Mutex<Instant>,
}

impl Bucket {
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate: rate.map(|rate| rate.max(1)), due: Mutex::new(Instant::now()) }
    }

    /// How much to send at once: less at low rates, so that it flows.
    pub fn frame(&self, most: usize) -> usize {
        self.rate.map_or(most, |rate| (rate as usize / 16).max(1024).min(most))
    }

    /// Take `bytes`, or hear how long to wait before asking again.
    pub fn take(&self, bytes: usize) -> Option<Duration> {
        let rate = self.rate?;
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let ahead = due.saturating_duration_since(now);
        if ahead > Duration::from_millis(100) {
            return Some(ahead.saturating_sub(Duration::from_millis(50)));
        }
        *due = (*due).max(now) + Duration::from_secs_f64(bytes as f64 / rate as f64);
        None
    }
}
