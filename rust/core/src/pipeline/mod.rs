//! Plan → archive bytes: workers read and pack in any order, the sink gets everything in the plan's.

mod blocks;
mod budget;
mod large;
mod order;
mod output;
mod packer;
mod press;
mod record;
mod source;
#[cfg(test)]
mod tests;
mod worker;

use std::ops::Range;

use budget::Budget;
use order::Shared;
use output::Output;
pub(crate) use output::{Written, cut_short};
use packer::Method;
pub(crate) use record::Record;
use worker::Worker;

use crate::cancel::CancelToken;
use crate::error::{Error, Result, Stage};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::request::{Format, PackOptions};
use crate::sink::Sink;
use crate::threads::on_threads;

/// The least memory in which these options can pack into this format.
pub(crate) fn least_memory(format: Format, options: &PackOptions) -> u64 {
    Budget::least(Method::new(format, options).around)
}

/// Pack these members of the plan into the sink. Returns once every thread has ended, also on errors.
pub(crate) fn run<S: Sink>(
    plan: &Plan,
    members: Range<usize>,
    format: Format,
    options: &PackOptions,
    sink: S,
    cancel: &CancelToken,
    progress: &Progress,
) -> Result<Written<S>> {
    let method = Method::new(format, options);
    let budget = Budget::new(options.memory, options.jobs, method.around);
    let output = Output::new(sink, method.frame, method.around, options, members.len(), progress);
    let shared = Shared::new((plan, members), options, method, budget, cancel, progress, output);
    on_threads(budget.workers, || work(&shared));
    let closed = if shared.should_stop() { Ok(()) } else { Worker::new(&shared).close() };
    // Whatever ended the pack first is what is said of it.
    let output = shared.finish()?;
    cancel.check(Stage::Pack)?;
    closed?;
    output.finish(plan, options.stamps, || cancel.check(Stage::Pack), progress)
}

fn work<S: Sink>(shared: &Shared<'_, S>) {
    let _alarm = Alarm(shared);
    Worker::new(shared).run();
}

/// Ends the pack when a worker panics, so that no other waits for its batch for ever.
struct Alarm<'a, 'b, S: Sink>(&'a Shared<'b, S>);

impl<S: Sink> Drop for Alarm<'_, '_, S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::cancelled(Stage::Pack));
        }
    }
}
