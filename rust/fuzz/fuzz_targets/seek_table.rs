//! Seek tables of zstd files, by themselves and as part of an archive.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use vhpack_core::read::seek_table;

fuzz_target!(|bytes: &[u8]| {
    let bytes = bytes.to_vec();
    if let Some(starts) = seek_table(&bytes) {
        assert!(starts.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        assert!(starts.last().is_some_and(|last| last.0 <= bytes.len() as u64));
    }
    common::use_all(bytes);
});
