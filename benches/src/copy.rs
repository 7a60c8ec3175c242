//! One large file, copied in blocks by several threads.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, Mode, OFlags, fdatasync, openat};
use rustix::io::{pread, pwrite};

use crate::clock::Phases;
use crate::error::{Failure, Result};
use crate::listing::on_threads;

/// Fits the second-level cache, so that what was read is still there to be written.
const BLOCK: usize = 1 << 20;

/// Copy `source` to `target`; each thread takes the next block.
pub fn copy(source: &Path, target: &Path, threads: usize, sync: bool, phases: &mut Phases) -> Result<String> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let input = openat(CWD, source, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let input = input.map_err(Failure::while_trying("open", source))?;
    let output = openat(CWD, target, flags, Mode::from_raw_mode(0o644));
    let output = output.map_err(Failure::while_trying("create", target))?;
    let next = AtomicU64::new(0);
    let copied = phases.time("copy", || {
        on_threads(threads, || {
            let mut block = vec![0; BLOCK];
            let mut copied = 0;
            loop {
                let offset = next.fetch_add(BLOCK as u64, Ordering::Relaxed);
                let size = pread(&input, &mut block, offset).map_err(Failure::while_trying("read", source))?;
                if size == 0 {
                    return Ok(copied);
                }
                let written =
                    pwrite(&output, &block[..size], offset).map_err(Failure::while_trying("write", target))?;
                if written < size {
                    return Err(Failure::new("the disk took only a part of a block"));
                }
                copied += size as u64;
            }
        })
    })?;
    if sync {
        phases.time("sync", || fdatasync(&output)).map_err(Failure::while_trying("sync", target))?;
    }
    Ok(format!("{{\"bytes\":{copied},\"phases\":{phases}}}"))
}
