//! The floor of extraction: the files, with no archive that they come from.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, statat};
use rustix::io::{Errno, write};

use crate::error::{Failure, Result};
use crate::listing::{CLAIM, Folder, Listing, at, on_threads};

/// What is written stays in the second-level cache, as what a fast reader has just inflated or read.
const CONTENTS: usize = 256 << 10;

/// A file to come, relative to the new folder.
pub struct Planned {
    path: CString,
    size: usize,
}

/// Note path and size of every listed file.
pub fn plan(listing: &Listing) -> Result<Vec<Planned>> {
    let claims = listing.claims();
    let mut planned = Vec::with_capacity(listing.len());
    loop {
        let taken = claims.take();
        if taken.len() == 0 {
            return Ok(planned);
        }
        for (folder, name) in taken {
            let stat = statat(&folder.handle, name, AtFlags::SYMLINK_NOFOLLOW).map_err(at("stat", name))?;
            planned.push(Planned { path: folder.below(name), size: usize::try_from(stat.st_size).unwrap_or(0) });
        }
    }
}

/// Make the listed folders in the empty folder `target`.
pub fn folders(listing: &Listing, target: &Path) -> Result<Folder> {
    for folder in listing.folders.iter().skip(1) {
        let path = target.join(OsStr::from_bytes(folder.path.to_bytes()));
        mkdirat(CWD, &path, Mode::from_raw_mode(0o755)).map_err(Failure::while_trying("create the folder", &path))?;
    }
    Folder::open(target)
}

/// Create, fill and close each file; give the bytes written.
pub fn create(planned: &[Planned], root: &Folder, threads: usize) -> Result<u64> {
    let contents: Vec<_> = (0..CONTENTS).map(|at| ((at * at) >> 7) as u8).collect();
    let chunks = Mutex::new(planned.chunks(CLAIM));
    on_threads(threads, || {
        let mut written = 0;
        loop {
            let chunk = chunks.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(chunk) = chunk else {
                return Ok(written);
            };
            for file in chunk {
                create_file(root, &file.path, file.size, &contents).map_err(at("create", &file.path))?;
                written += file.size as u64;
            }
        }
    })
}

fn create_file(root: &Folder, path: &CStr, size: usize, contents: &[u8]) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(&root.handle, path, flags, Mode::from_raw_mode(0o644))?;
    let mut rest = size;
    while rest > 0 {
        match write(&file, &contents[..rest.min(contents.len())])? {
            0 => return Err(Errno::NOSPC),
            written => rest -= written,
        }
    }
    Ok(())
}
