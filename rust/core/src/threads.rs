//! Threads that are over when the call that started them is.

use std::thread::{Builder, scope};

/// Run `work` on up to `count` threads, the calling one among them, and return what each made once all have ended. A
/// system that grants fewer threads gets the work done by those.
///
/// Every thread is joined by its handle: a scope alone waits for the closures, and a caller that counts threads
/// after an interrupt would still see some on their way out.
pub(crate) fn on_threads<T: Send>(count: usize, work: impl Fn() -> T + Sync) -> Vec<T> {
    scope(|scope| {
        let others: Vec<_> = (1..count).map_while(|_| Builder::new().spawn_scoped(scope, &work).ok()).collect();
        let mut results = vec![work()];
        for thread in others {
            match thread.join() {
                Ok(result) => results.push(result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    })
}
