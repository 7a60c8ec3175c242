//! Zips, told by their first or last bytes.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| common::use_all(bytes.to_vec()));
