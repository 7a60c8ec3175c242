//! What a watch has uploaded, for the one that goes on where it was killed; and the lock that keeps two from being at one tree.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Version;
use crate::error::Result;
use crate::journal::{Journal, path_value, value_path};

/// One line for each file that was uploaded.
pub(super) struct Ledger(Journal);

impl Ledger {
    /// What was uploaded from a folder to a place so far. `None` where another process is at it.
    pub fn open(state_dir: &Path, folder: &Path, to: &str) -> Result<Option<(Self, HashMap<PathBuf, Version>)>> {
        let mut known = HashMap::new();
        let place = crate::journal::watch_place(state_dir, folder, to);
        // However long: a watch may have seen millions of files.
        let opened = Journal::open_each(place, u64::MAX, |line| known.extend(record(&line)))?;
        Ok(opened.ok().map(|journal| (Self(journal), known)))
    }

    /// A file is uploaded as it was in this version.
    pub fn add(&mut self, path: &Path, version: &Version) -> Result<()> {
        let Version { dev, ino, size, mtime } = *version;
        // Not waited for: what a power cut takes is looked up on the server, and found there.
        self.0.append(&json!({ "path": path_value(path), "version": [dev, ino, size, mtime.0, mtime.1] }), false)
    }
}

fn record(line: &Value) -> Option<(PathBuf, Version)> {
    let path = value_path(line.get("path")?)?;
    let [dev, ino, size, seconds, nanoseconds] = line.get("version")?.as_array()?.as_slice() else { return None };
    let mtime = (seconds.as_i64()?, nanoseconds.as_u64()?);
    Some((path, Version { dev: dev.as_u64()?, ino: ino.as_u64()?, size: size.as_u64()?, mtime }))
}
