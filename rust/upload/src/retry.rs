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
    well: Mutex<Instant>,
}

impl Patience {
    pub fn new(give_up: Duration, stall: Duration) -> Self {
        Self { give_up, stall, well: Mutex::new(Instant::now()) }
    }

    fn well(&self) {
        *self.well.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// A place that has never answered is given up soon: its address is wrong more often than its network is down.
    fn over(&self, answered: bool) -> bool {
        let limit = if answered { self.give_up } else { self.give_up.min(self.stall * 2) };
        self.well.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > limit
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

/// Ask until there is an answer that repeating does not change, or patience is over.
pub(crate) async fn until_answered<T, F, A>(
    lanes: &Lanes,
    patience: &Patience,
    upload: &Upload,
    mut ask: F,
) -> Result<T, Fault>
where
    F: FnMut(u32) -> A,
    A: Future<Output = Result<T, Fault>>,
{
    let (mut tries, mut corrupt, mut refused) = (0, 0, 0);
    loop {
        let lane = lanes.enter().await;
        let outcome = ask(tries).await;
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
        corrupt += u32::from(fault.error.kind == UploadErrorKind::Corrupt);
        refused += u32::from(fault.class == Class::Credentials);
        if corrupt == CORRUPT_TRIES || refused == CREDENTIALS_TRIES || patience.over(lanes.answered()) {
            return Err(Fault { class: Class::Final, ..fault });
        }
        if fault.class == Class::Busy || fault.error.kind == UploadErrorKind::Stalled {
            lanes.busy(fault.wait);
        }
        upload.set_trouble(Some(fault.error.message));
        tokio::time::sleep(pause(tries).max(fault.wait.unwrap_or_default())).await;
        tries += 1;
    }
}
