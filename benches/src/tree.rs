//! Trees of files: removed in parallel, or cloned so that a removal can be measured again.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, syncfs, unlinkat};
use rustix::io::{read, write};

use crate::error::{Failure, Result};
use crate::listing::{Folder, Listing, Order, at, on_threads};

/// Remove every listed file, and no folder.
pub fn unlink(listing: &Listing, threads: usize) -> Result<u64> {
    let claims = listing.claims();
    on_threads(threads, || {
        let mut removed = 0;
        loop {
            let taken = claims.take();
            if taken.len() == 0 {
                return Ok(removed);
            }
            for (folder, name) in taken {
                unlinkat(&folder.handle, name, AtFlags::empty()).map_err(at("remove", name))?;
                removed += 1;
            }
        }
    })
}

/// Copy the files below `source` into the new folder `target`, in the order of their names as a job would have written them.
pub fn clone(source: &Path, target: &Path, threads: usize) -> Result<String> {
    let listing = Listing::read(source, Order::Name)?;
    for folder in &listing.folders {
        let path = below(target, folder);
        mkdirat(CWD, &path, Mode::from_raw_mode(0o755)).map_err(Failure::while_trying("create the folder", &path))?;
    }
    let root = Folder::open(target)?;
    let claims = listing.claims();
    let bytes = on_threads(threads, || {
        let mut contents = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            let taken = claims.take();
            if taken.len() == 0 {
                return Ok(bytes);
            }
            for (folder, name) in taken {
                bytes += clone_file(folder, name, &root, &mut contents).map_err(at("clone", name))?;
            }
        }
    })?;
    syncfs(&root.handle).map_err(Failure::while_trying("sync", target))?;
    Ok(format!("{{\"files\":{},\"bytes\":{bytes}}}", listing.len()))
}

fn below(target: &Path, folder: &Folder) -> PathBuf {
    let relative = OsStr::from_bytes(folder.path.to_bytes());
    if relative.is_empty() { target.to_owned() } else { target.join(relative) }
}

fn clone_file(folder: &Folder, name: &CStr, root: &Folder, contents: &mut [u8]) -> rustix::io::Result<u64> {
    let source = openat(&folder.handle, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = openat(&root.handle, folder.below(name), flags, Mode::from_raw_mode(0o644))?;
    let mut total = 0;
    loop {
        let filled = read(&source, &mut *contents)?;
        if filled == 0 {
            return Ok(total);
        }
        let mut rest = &contents[..filled];
        while !rest.is_empty() {
            rest = &rest[write(&target, rest)?..];
        }
        total += filled as u64;
    }
}
