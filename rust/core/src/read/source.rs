//! Where an archive's bytes come from: positions and lengths, no state between calls.

use std::io;
use std::os::fd::OwnedFd;

use crate::fs;

/// Bytes that can be read at any position, by any number of threads and processes at once.
pub trait Source: Send + Sync {
    /// How many there are.
    fn length(&self) -> u64;

    /// Fill `buffer` from `offset`, or as much as there is; the count read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fill `head` and then `body`, as one [`read_at`](Self::read_at) would.
    fn read_two_at(&self, head: &mut [u8], body: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.read_at(head, offset)?;
        if count < head.len() {
            return Ok(count);
        }
        Ok(count + self.read_at(body, offset.saturating_add(count as u64))?)
    }
}

/// A file, read with `pread` alone: processes that inherit it share no position.
pub(crate) struct FileSource {
    file: OwnedFd,
    length: u64,
}

impl FileSource {
    pub fn new(file: OwnedFd, length: u64) -> Self {
        Self { file, length }
    }
}

impl Source for FileSource {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        // The system takes such a place for a wrong call; a header that states it has nothing there, as behind any end.
        if i64::try_from(offset).is_err() { Ok(0) } else { fs::read_at(&self.file, buffer, offset) }
    }

    fn read_two_at(&self, head: &mut [u8], body: &mut [u8], offset: u64) -> io::Result<usize> {
        fs::read_two_at(&self.file, head, body, offset)
    }
}

impl Source for Vec<u8> {
    fn length(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}
