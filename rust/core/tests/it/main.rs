//! One integration binary, a file per subject.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests prepare and look at files themselves, and fail loudly"
)]

mod archives;
mod damage;
mod growing;
mod hash;
mod limits;
mod manifest;
mod pack;
mod read;
mod restarts;
mod shards;
