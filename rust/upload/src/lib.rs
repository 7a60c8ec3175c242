//! Sends files to object storage: bounded memory, resumable in another process, verified against what the server has.
//!
//! [`Uploader`] is the engine of a process, [`Upload`] the handle of one upload, [`Source`] what is sent.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "rates and progress are for people; sizes of files and counts of seconds are far from where these would matter"
)]

mod asked;
mod azure;
mod body;
mod checksum;
mod credentials;
mod destination;
mod disk;
mod engine;
mod error;
mod file;
mod growing;
mod journal;
mod lanes;
mod md5;
mod meter;
mod plan;
mod retry;
mod s3;
mod sign;
mod source;
mod sweep;
mod target;
mod transfer;
mod turns;
mod upload;
pub mod watch;
mod web;
mod wire;
mod xml;

pub use credentials::Renewable;
pub use destination::{Options, place_of};
pub use engine::{Settings, Uploader};
/// In a forked child: the descriptors that hold the parent's locks, to be closed by the caller. Takes no lock itself.
pub fn descriptors_to_close_in_child() -> Vec<i32> {
    journal::locked_in_child()
}

pub use error::{Result, UploadError, UploadErrorKind};
pub use growing::GrowingSource;
pub use source::{Extent, FileSource, Identity, Source};
pub use sweep::{Given, OptionsByScheme, Record, Swept};
pub use upload::{State, Upload};
