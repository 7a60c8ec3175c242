//! Floors 1 and 2: every byte of every file into one output, and nothing else.

use std::ffi::CStr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use libdeflater::{CompressionLvl, Compressor};
use rustix::buffer::spare_capacity;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, fdatasync, openat};
use rustix::io::{pwrite, read};

use crate::error::{Failure, Result};
use crate::listing::{Folder, Listing, at, on_threads};

/// Room kept free before a file is read, so that one `read` takes nearly every file whole.
const ROOM: usize = 64 << 10;

/// The output, written at offsets that threads reserve: nobody waits for order.
pub struct Output {
    handle: OwnedFd,
    end: AtomicU64,
}

impl Output {
    pub fn create(path: &Path) -> Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let opened = openat(CWD, path, flags, Mode::from_raw_mode(0o644));
        Ok(Self { handle: opened.map_err(Failure::while_trying("create", path))?, end: AtomicU64::new(0) })
    }

    pub fn len(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    pub fn sync(&self) -> Result<()> {
        fdatasync(&self.handle).map_err(|cause| Failure::new(format!("cannot sync the output: {cause}")))
    }

    /// Write all of `gathered` and empty it.
    fn write(&self, gathered: &mut Vec<u8>) -> Result<()> {
        let mut offset = self.end.fetch_add(gathered.len() as u64, Ordering::Relaxed);
        let mut rest = gathered.as_slice();
        while !rest.is_empty() {
            let written = pwrite(&self.handle, rest, offset);
            let written = written.map_err(|cause| Failure::new(format!("cannot write the output: {cause}")))?;
            offset += written as u64;
            rest = &rest[written..];
        }
        gathered.clear();
        Ok(())
    }
}

/// Pack the files of `listing` into `output`; give the number of bytes read.
///
/// A thread writes when it has `gather` bytes: fewer cost more system calls, more leave the second-level cache.
pub fn pack(listing: &Listing, output: &Output, threads: usize, level: Option<i32>, gather: usize) -> Result<u64> {
    let claims = listing.claims();
    let level = level.map(CompressionLvl::new).transpose();
    let level = level.map_err(|_| Failure::new("libdeflate's levels are 0 to 12"))?;
    on_threads(threads, || {
        let mut deflater = level.map(Deflater::new);
        let mut gathered = Vec::with_capacity(gather + ROOM);
        let mut bytes_in = 0;
        loop {
            let taken = claims.take();
            if taken.len() == 0 {
                break;
            }
            for (folder, name) in taken {
                let read = match &mut deflater {
                    None => read_whole(folder, name, &mut gathered),
                    Some(deflater) => deflater.append(folder, name, &mut gathered),
                };
                bytes_in += read.map_err(at("read", name))? as u64;
                if gathered.len() >= gather {
                    output.write(&mut gathered)?;
                }
            }
        }
        output.write(&mut gathered)?;
        Ok(bytes_in)
    })
}

/// Append a file's bytes in three system calls: a `read` that was offered more room than it filled has met the end.
fn read_whole(folder: &Folder, name: &CStr, into: &mut Vec<u8>) -> rustix::io::Result<usize> {
    let file = openat(&folder.handle, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let start = into.len();
    loop {
        into.reserve(ROOM);
        let room = into.capacity() - into.len();
        if read(&file, spare_capacity(into))? < room {
            return Ok(into.len() - start);
        }
    }
}

struct Deflater {
    compressor: Compressor,
    raw: Vec<u8>,
    encoded: Vec<u8>,
}

impl Deflater {
    fn new(level: CompressionLvl) -> Self {
        Self { compressor: Compressor::new(level), raw: Vec::with_capacity(ROOM), encoded: Vec::new() }
    }

    fn append(&mut self, folder: &Folder, name: &CStr, into: &mut Vec<u8>) -> rustix::io::Result<usize> {
        self.raw.clear();
        let size = read_whole(folder, name, &mut self.raw)?;
        let bound = self.compressor.deflate_compress_bound(size);
        if self.encoded.len() < bound {
            self.encoded.resize(bound, 0);
        }
        // The bound is libdeflate's own promise; the copy behind it is 1 % of what compressing costs.
        let encoded = self.compressor.deflate_compress(&self.raw, &mut self.encoded).unwrap_or(0);
        into.extend_from_slice(&self.encoded[..encoded]);
        Ok(size)
    }
}
