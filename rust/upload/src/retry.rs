//! When a request is repeated, and for how long: each time signed anew, with whatever credentials are good then.

use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Class, Fault, UploadErrorKind};
use crate::lanes::Lanes;
use crate::upload::Upload;

/// The first pause; each is twice the one before.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause: a server that comes back is noticed within half a minute.
const LONGEST: Duration = Duration::from_secs(30);

/// Bytes that arrive changed this often are no accident.
const CORRUPT_TRIES: u32 = 6;

/// Keys that are refused this often will not become right.
const CREDENTIALS_TRIES: u32 = 5;

/// How long one upload goes on without any request that succeeds.
pub(crate) struct Patience {
    give_up: Duration,
    stall: Duration,
    /// When the first request since the last that went well was made that failed. Between requests hours may pass, where what
    /// is sent has to be made first.
    failing: Mutex<Option<Instant>>,
}

impl Patience {
    pub fn new(give_up: Duration, stall: Duration) -> Self {
        Self { give_up, stall, failing: Mutex::new(None) }
    }

    fn well(&self) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether a request that was made at `asked` and failed is the last. A place that has never answered is given up soon: its
    /// address is wrong more often than its network is down.
    fn over(&self, asked: Instant, answered: bool) -> bool {
        let limit = if answered { self.give_up } else { self.give_up.min(self.stall * 2) };
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(asked).elapsed() > limit
    }
}

/// A number that nobody can foretell, for tokens and for pauses.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn pause(tries: u32) -> Duration {
    let full = FIRST.saturating_mul(1 << tries.min(16)).min(LONGEST);
    full / 2 + full.mul_f64((random() % 1024) as f64 / 2048.0)
}

/// What a request may know of those before it that asked the same.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Before {
    pub tries: u32,
    /// The last one ended without an answer.
    pub broke_off: bool,
}

/// Ask until there is an answer that repeating does not change, or patience is over.
pub(crate) async fn until_answered<T, F, A>(
    lanes: &Lanes,
    patience: &Patience,
    upload: &Upload,
    mut ask: F,
) -> Result<T, Fault>
where
    F: FnMut(Before) -> A,
    A: Future<Output = Result<T, Fault>>,
{
    let (mut before, mut corrupt, mut refused) = (Before::default(), 0, 0);
    loop {
        let lane = lanes.enter().await;
        let asked = Instant::now();
        let outcome = ask(before).await;
        drop(lane);
        let fault = match outcome {
            Ok(answer) => {
                lanes.well();
                patience.well();
                upload.set_trouble(None);
                return Ok(answer);
            }
            Err(fault) => fault,
        };
        if fault.answered {
            lanes.set_answered();
        }
        match fault.class {
            Class::Again | Class::Busy | Class::Credentials => {}
            _ => return Err(fault),
        }
        // Nor are answers that make no sense, such as a captive portal's.
        corrupt += u32::from(matches!(fault.error.kind, UploadErrorKind::Corrupt | UploadErrorKind::Rejected));
        refused += u32::from(fault.class == Class::Credentials);
        if corrupt == CORRUPT_TRIES || refused == CREDENTIALS_TRIES || patience.over(asked, lanes.answered()) {
            return Err(Fault { class: Class::Final, ..fault });
        }
        if fault.class == Class::Busy || fault.error.kind == UploadErrorKind::Stalled {
            lanes.busy(fault.wait);
        }
        upload.set_trouble(Some(fault.error.message));
        tokio::time::sleep(pause(before.tries).max(fault.wait.unwrap_or_default())).await;
        let broke_off = !fault.answered && fault.error.kind == UploadErrorKind::Unreachable;
        before = Before { tries: before.tries + 1, broke_off };
    }
}
