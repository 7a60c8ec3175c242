//! Threads that are over when the call that started them is.

/// Run `work` on `count` threads, the calling one among them, and return what each made once all have ended.
///
/// Every thread is joined by its handle: a scope alone waits for the closures, and a caller that counts threads
/// after an interrupt would still see some on their way out.
pub(crate) fn on_threads<T: Send>(count: usize, work: impl Fn() -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..count).map(|_| scope.spawn(&work)).collect();
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
