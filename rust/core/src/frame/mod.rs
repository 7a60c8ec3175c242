//! Container bytes around members: no file, no codec, no thread.

pub mod zip;
