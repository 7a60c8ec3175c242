//! The floor of hashing: every byte of every file into memory, and forgotten.

use std::ffi::CStr;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::read;

use crate::error::Result;
use crate::listing::{Folder, Listing, at, on_threads};

/// Takes nearly every file whole, and stays in the second-level cache.
const BUFFER: usize = 64 << 10;

/// Open, read and close every listed file; give the bytes read.
pub fn read_files(listing: &Listing, threads: usize) -> Result<u64> {
    let claims = listing.claims();
    on_threads(threads, || {
        let mut buffer = vec![0; BUFFER];
        let mut bytes = 0;
        loop {
            let taken = claims.take();
            if taken.len() == 0 {
                return Ok(bytes);
            }
            for (folder, name) in taken {
                bytes += read_file(folder, name, &mut buffer).map_err(at("read", name))? as u64;
            }
        }
    })
}

/// A `read` that was offered more room than it filled has met the end: three system calls for a file that fits.
fn read_file(folder: &Folder, name: &CStr, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    let file = openat(&folder.handle, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut total = 0;
    loop {
        let filled = read(&file, &mut *buffer)?;
        total += filled;
        if filled < buffer.len() {
            return Ok(total);
        }
    }
}
