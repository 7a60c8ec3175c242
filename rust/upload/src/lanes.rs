//! How many requests are under way at one destination: more as long as it goes well, half as many when the server says that it is
//! busy, and a pause for as long as it asks for.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Requests at first: enough to hide a round trip, few enough not to flood a small server.
const FIRST: f64 = 4.0;

#[derive(Debug)]
struct State {
    limit: f64,
    used: usize,
    /// The server has been busy once: from then on lanes come one for each round, not one for each answer.
    careful: bool,
    quiet_until: Option<Instant>,
    halved: Option<Instant>,
}

/// The lanes to one destination.
#[derive(Debug)]
pub(crate) struct Lanes {
    most: f64,
    state: Mutex<State>,
    freed: Notify,
    answered: AtomicBool,
}

/// Leave to have one request under way.
pub(crate) struct Lane<'a> {
    lanes: &'a Lanes,
}

impl Lanes {
    pub fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        let state = State { limit: FIRST.min(most), used: 0, careful: false, quiet_until: None, halved: None };
        Self { most, state: Mutex::new(state), freed: Notify::new(), answered: AtomicBool::new(false) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn enter(&self) -> Lane<'_> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let quiet = {
                let mut state = self.state();
                let quiet = state
                    .quiet_until
                    .map(|until| until.saturating_duration_since(Instant::now()))
                    .filter(|left| !left.is_zero());
                if quiet.is_none() && (state.used as f64) < state.limit.floor() {
                    state.used += 1;
                    return Lane { lanes: self };
                }
                quiet
            };
            match quiet {
                Some(quiet) => tokio::time::sleep(quiet).await,
                None => freed.await,
            }
        }
    }

    /// How many may be under way now.
    pub fn limit(&self) -> usize {
        self.state().limit as usize
    }

    /// Whether the server has ever said anything.
    pub fn answered(&self) -> bool {
        self.answered.load(Relaxed)
    }

    pub fn set_answered(&self) {
        self.answered.store(true, Relaxed);
    }

    /// A request went well.
    pub fn well(&self) {
        self.set_answered();
        let mut state = self.state();
        let step = if state.careful { 1.0 / state.limit } else { 0.5 };
        state.limit = (state.limit + step).min(self.most);
        drop(state);
        self.freed.notify_one();
    }

    /// The server is busy, or connections time out. Answers to requests of one burst count once.
    pub fn busy(&self, wait: Option<Duration>) {
        let mut state = self.state();
        let now = Instant::now();
        state.careful = true;
        if state.halved.is_none_or(|halved| now.duration_since(halved) > Duration::from_secs(1)) {
            state.limit = (state.limit / 2.0).max(1.0);
            state.halved = Some(now);
        }
        if let Some(wait) = wait {
            state.quiet_until = Some(state.quiet_until.map_or(now + wait, |until| until.max(now + wait)));
        }
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        self.lanes.state().used -= 1;
        self.lanes.freed.notify_one();
    }
}
