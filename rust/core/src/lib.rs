//! Packs trees of files into archives that anyone can open.
//!
//! ```text
//!  sources ──scan──▶ entries ──plan──▶ members ──workers──▶ framed batches ──order──▶ sink ──commit──▶ archive
//!           folders            names,             read, judge,              turns,           sync,        │
//!           on threads         order              compress                  digest           publish      ▼
//!                                                                                             remove originals
//! ```
//!
//! [`pack`] runs all of it; [`plan`] stops before anything is written; [`read`] opens what others or it have written. The crate is synchronous, knows no Python and no
//! network, and keeps no state between calls. `rust/DESIGN.md` gives the reasons and the numbers.

#[cfg(not(target_os = "linux"))]
compile_error!("vhpack is built for Linux: it leans on O_TMPFILE, getdents64 and /proc");

mod adopt;
mod bound;
mod cancel;
pub mod codec;
mod commit;
mod digest;
mod error;
mod folder;
pub mod frame;
mod fs;
mod growing;
mod hash;
mod journal;
mod list;
mod manifest;
mod mark;
mod pack;
mod paths;
mod pipeline;
mod plan;
mod progress;
pub mod read;
mod refuse;
mod remove;
mod report;
mod request;
mod reread;
mod resume;
mod scan;
mod shard;
mod sink;
mod stem;
mod target;
mod threads;

pub use adopt::{Adoption, Manner, adopt};
pub use cancel::CancelToken;
pub use codec::versions;
pub use error::{Error, ErrorKind, Result, Stage, show};
pub use folder::{Seen, exchange, look_through, sync_system, write_file};
pub use growing::{End, Follower, Growing, Growth};
pub use hash::{
    Algorithm, CheckReport, CheckRequest, HashReport, HashRequest, Sum, Verdict, check, hash, hash_both, sum_line,
};
pub use pack::{pack, plan};
pub use progress::{Counter, Phase, Progress};
pub use report::{PackReport, PlanReport, Remark};
pub use request::{
    CodecChoice, DEFAULT_LEVEL, DEFAULT_MEMORY, DEFAULT_ZSTD_LEVEL, Format, Layout, Names, OnChange, Originals,
    PackOptions, PackRequest, Stamps, Symlinks,
};
