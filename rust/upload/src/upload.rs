//! The handle of one upload: what it is doing, how far it is, and how it ended. Everything is pulled; nobody is called back.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::error::{UploadError, UploadErrorKind};

/// What an upload is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waiting for its turn.
    Queued,
    /// Reading what is compared with what the target has.
    Hashing,
    /// Asking the server to begin.
    Creating,
    /// Sending bytes.
    Sending,
    /// Asking the server to make one object of the parts.
    Completing,
    /// Comparing what the server has with what was sent.
    Verifying,
    /// The target has exactly these bytes.
    Done,
    /// It ended otherwise, see `error`.
    Failed,
    /// The caller ended it.
    Cancelled,
}

impl State {
    /// The state as the binding spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Hashing => "hashing",
            Self::Creating => "creating",
            Self::Sending => "sending",
            Self::Completing => "completing",
            Self::Verifying => "verifying",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen.
    pub fn ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// Rates are over this long, so that they neither jump nor lag.
const RATE_OVER: Duration = Duration::from_secs(4);

#[derive(Debug)]
struct Status {
    state: State,
    /// Its turn has come: from now on whoever runs it brings it to its end.
    begun: bool,
    error: Option<UploadError>,
    trouble: Option<String>,
    checksum: Option<String>,
    /// Why a file that was to be removed was not.
    kept: Option<String>,
    /// Seconds between looks, and what had been sent at them.
    rate: f64,
    looked: Instant,
    sent: u64,
}

/// One upload. Shared by whoever asked for it and by the engine.
pub struct Upload {
    uri: String,
    path: PathBuf,
    status: Mutex<Status>,
    ended: Condvar,
    pub(crate) sent: Arc<AtomicI64>,
    reused: AtomicU64,
    total: AtomicU64,
    skipped: AtomicBool,
    remove_after: AtomicBool,
    removed: AtomicBool,
    cancelled: AtomicBool,
    cancel: Notify,
    /// Done once when it is cancelled before its turn came: nothing may remember it then.
    forget: Mutex<Option<Forget>>,
}

type Forget = Box<dyn FnOnce() + Send>;

const UNKNOWN: u64 = u64::MAX;

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upload({} to {}: {})", self.path.display(), self.uri, self.state().name())
    }
}

impl Upload {
    pub(crate) fn new(uri: &str, path: &Path, remove_after: bool) -> Self {
        let status = Status {
            state: State::Queued,
            begun: false,
            error: None,
            trouble: None,
            checksum: None,
            kept: None,
            rate: 0.0,
            looked: Instant::now(),
            sent: 0,
        };
        Self {
            uri: uri.to_owned(),
            path: path.to_owned(),
            status: Mutex::new(status),
            ended: Condvar::new(),
            sent: Arc::default(),
            reused: AtomicU64::new(0),
            total: AtomicU64::new(UNKNOWN),
            skipped: AtomicBool::new(false),
            remove_after: AtomicBool::new(remove_after),
            removed: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            cancel: Notify::new(),
            forget: Mutex::new(None),
        }
    }

    /// What is to be done if it is cancelled before its turn.
    pub(crate) fn set_forget(&self, forget: impl FnOnce() + Send + 'static) {
        *self.forget.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(forget));
    }

    /// Its turn has come; false where it has ended before.
    pub(crate) fn begin(&self) -> bool {
        let mut status = self.status();
        status.begun = true;
        !status.state.ended()
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it goes.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Where it comes from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        self.status().state
    }

    /// Bytes that the target has or is getting, those of earlier attempts included.
    pub fn bytes_sent(&self) -> u64 {
        self.sent.load(Relaxed).max(0) as u64 + self.bytes_reused()
    }

    /// Bytes in all, once that is known.
    pub fn bytes_total(&self) -> Option<u64> {
        Some(self.total.load(Relaxed)).filter(|total| *total != UNKNOWN)
    }

    /// Bytes that an earlier attempt had sent, or that were at the target already.
    pub fn bytes_reused(&self) -> u64 {
        self.reused.load(Relaxed)
    }

    /// Bytes a second, over the last few seconds; zero when it has ended.
    pub fn rate(&self) -> f64 {
        let sent = self.sent.load(Relaxed).max(0) as u64;
        let mut status = self.status();
        if status.state.ended() {
            return 0.0;
        }
        let passed = status.looked.elapsed();
        if passed > Duration::from_millis(100) {
            let now = sent.saturating_sub(status.sent) as f64 / passed.as_secs_f64();
            let weight = (passed.as_secs_f64() / RATE_OVER.as_secs_f64()).min(1.0);
            status.rate = if status.sent == 0 { now } else { status.rate * (1.0 - weight) + now * weight };
            (status.looked, status.sent) = (Instant::now(), sent);
        }
        status.rate
    }

    /// Seconds that it will take at that rate; `None` while nobody can say.
    pub fn eta(&self) -> Option<f64> {
        let left = self.bytes_total()?.saturating_sub(self.bytes_sent());
        if self.state().ended() {
            return Some(0.0);
        }
        let rate = self.rate();
        (rate > 0.0).then(|| left as f64 / rate)
    }

    /// CRC-64/NVME of all bytes, as `crc64nvme:` and sixteen digits, once it is known.
    pub fn checksum(&self) -> Option<String> {
        self.status().checksum.clone()
    }

    /// Whether the target had these bytes already, so that none were sent.
    pub fn skipped(&self) -> bool {
        self.skipped.load(Relaxed)
    }

    /// Whether the file is to be removed once it has been verified.
    pub(crate) fn remove_after(&self) -> bool {
        self.remove_after.load(Relaxed)
    }

    /// The same was asked for once more while it is under way: the file stays unless both have it removed.
    pub(crate) fn ask_again(&self, remove_after: bool) {
        if !self.remove_after.fetch_and(remove_after, Relaxed) && remove_after {
            let path = self.path.display();
            self.set_kept(format!(
                "`{path}` was being uploaded already when its removal was asked for, and stays; remove it yourself"
            ));
        }
    }

    /// Whether the file was removed after it had been verified.
    pub fn removed(&self) -> bool {
        self.removed.load(Relaxed)
    }

    /// Why the file still is here although it was to be removed once it was uploaded.
    pub fn kept(&self) -> Option<String> {
        self.status().kept.clone()
    }

    /// Why it failed.
    pub fn error(&self) -> Option<UploadError> {
        self.status().error.clone()
    }

    /// What goes wrong at the moment, while it is tried again.
    pub fn trouble(&self) -> Option<String> {
        self.status().trouble.clone()
    }

    /// Wait until it has ended, or `timeout` is over; whether it has ended.
    pub fn wait(&self, timeout: Duration) -> bool {
        let waited = self.ended.wait_timeout_while(self.status(), timeout, |status| !status.state.ended());
        waited.unwrap_or_else(PoisonError::into_inner).0.state.ended()
    }

    /// End it: nothing appears at the target, and its parts are removed from there. Returns at once.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
        self.cancel.notify_waiters();
        self.cancel.notify_one();
        if self.status().begun {
            return;
        }
        // Behind large ones its turn may come in hours.
        let forget = self.forget.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(forget) = forget {
            forget();
            self.finish(Err(self.cancellation()));
        }
    }

    pub(crate) fn cancellation(&self) -> UploadError {
        UploadError::new(UploadErrorKind::Cancelled, format!("the upload to `{}` was cancelled", self.uri))
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    /// Returns when `cancel` was called.
    pub(crate) async fn cancelled(&self) {
        while !self.is_cancelled() {
            self.cancel.notified().await;
        }
    }

    pub(crate) fn enter(&self, state: State) {
        let mut status = self.status();
        if !status.state.ended() {
            status.state = state;
        }
    }

    pub(crate) fn set_total(&self, total: u64) {
        self.total.store(total, Relaxed);
    }

    pub(crate) fn add_reused(&self, bytes: u64) {
        self.reused.fetch_add(bytes, Relaxed);
    }

    /// Bytes that were taken have to be sent once more.
    pub(crate) fn take_back(&self, bytes: u64) {
        self.sent.fetch_sub(bytes as i64, Relaxed);
    }

    /// All is to be sent anew.
    pub(crate) fn reset(&self) {
        self.reused.store(0, Relaxed);
        self.sent.store(0, Relaxed);
    }

    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        self.status().trouble = trouble;
    }

    pub(crate) fn set_checksum(&self, crc64: u64) {
        self.status().checksum = Some(format!("crc64nvme:{crc64:016x}"));
    }

    pub(crate) fn set_skipped(&self) {
        self.skipped.store(true, Relaxed);
    }

    /// The checksum of what was sent, once all of it was read.
    pub(crate) fn crc64(&self) -> Option<u64> {
        let status = self.status();
        u64::from_str_radix(status.checksum.as_ref()?.strip_prefix("crc64nvme:")?, 16).ok()
    }

    pub(crate) fn set_kept(&self, why: String) {
        self.status().kept = Some(why);
    }

    pub(crate) fn set_removed(&self) {
        self.removed.store(true, Relaxed);
    }

    pub(crate) fn finish(&self, outcome: Result<(), UploadError>) {
        let mut status = self.status();
        if status.state.ended() {
            return;
        }
        status.trouble = None;
        match outcome {
            Ok(()) => status.state = State::Done,
            Err(error) => {
                let cancelled = error.kind == UploadErrorKind::Cancelled;
                status.state = if cancelled { State::Cancelled } else { State::Failed };
                status.error = Some(error);
            }
        }
        self.ended.notify_all();
    }
}
