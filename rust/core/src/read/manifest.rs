//! The manifest beside an archive, read line by line: who wrote it is as unknown as with an archive.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::source::{FileSource, Source};
use crate::error::{Error, ErrorKind, Result, Stage, show};
use crate::fs::{self, Kind};
use crate::manifest::VERSION;

/// Read at a time.
const PORTION: usize = 64 << 10;

/// More than twice a line whose name has 65,535 characters, each of them escaped.
const LONGEST_LINE: usize = 1 << 20;

/// What a manifest says of its archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestHead {
    /// The archive's name, without folders.
    pub archive: String,
    /// Its size in bytes.
    pub size: u64,
    /// XXH3-128 of all of it.
    pub digest: u128,
    /// How many lines follow.
    pub members: u64,
}

/// What a manifest says of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestMember {
    /// Its name.
    pub name: String,
    /// `file`, `link` or `directory`.
    pub kind: &'static str,
    /// Bytes of its content.
    pub size: u64,
    /// Where its header begins; in a compressed tar, within the tar.
    pub offset: u64,
    /// Bytes that it takes there.
    pub packed: u64,
    /// CRC-32 of its content; of a link, of the path that it holds.
    pub crc: u32,
    /// XXH3-128 of the same.
    pub digest: u128,
}

/// Reads a manifest: its head when it is opened, then a member at each step, holding one line. It ends after an error, and is
/// whole where it ended without one: as many members as its head promises.
pub struct Manifest {
    path: PathBuf,
    source: Box<dyn Source>,
    head: ManifestHead,
    lines: Lines,
    /// Members read.
    count: u64,
    is_over: bool,
}

impl Manifest {
    /// Open the file at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |cause| {
            let error = Error::io(Stage::Read, "read the manifest", path, cause);
            if error.kind() != ErrorKind::NotFound {
                return error;
            }
            error.with_message(format!("there is no manifest {}; a pack with --manifest writes one", show(path)))
        };
        let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
        let file = fs::open_file(rustix::fs::CWD, bytes, true).map_err(failed)?;
        let stat = fs::fstat(&file).map_err(failed)?;
        if Kind::of(&stat) != Kind::File {
            let what = if Kind::of(&stat) == Kind::Directory { "a folder" } else { fs::special_name(&stat) };
            return Err(none(path, 1, &format!("it is {what}")));
        }
        Self::from_source(path, Box::new(FileSource::new(file, stat.st_size.cast_unsigned())))
    }

    /// Read one from wherever `source` does; `path` names it in errors.
    pub fn from_source(path: &Path, source: Box<dyn Source>) -> Result<Self> {
        let mut lines = Lines::default();
        let head = lines.next(path, &*source)?.map(|line| head(path, line)).transpose()?;
        let head = head.ok_or_else(|| none(path, 1, NO_HEAD))?;
        Ok(Self { path: path.into(), source, head, lines, count: 0, is_over: false })
    }

    /// What it says of the archive.
    pub fn head(&self) -> &ManifestHead {
        &self.head
    }

    fn step(&mut self) -> Result<Option<ManifestMember>> {
        let promised = self.head.members;
        let Some(line) = self.lines.next(&self.path, &*self.source)? else {
            if self.count == promised {
                return Ok(None);
            }
            let what = format!("its head promises {promised} members, and it ends after {}", self.count);
            return Err(none(&self.path, self.lines.number, &what));
        };
        if self.count == promised {
            let what = format!("its head promises {promised} members, and more follow");
            return Err(none(&self.path, self.lines.number, &what));
        }
        let member = member(line).map_err(|what| none(&self.path, self.lines.number, &what))?;
        self.count += 1;
        Ok(Some(member))
    }
}

impl Iterator for Manifest {
    type Item = Result<ManifestMember>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let step = self.step().transpose();
        self.is_over = !matches!(step, Some(Ok(_)));
        step
    }
}

const NO_HEAD: &str = "it does not begin with the head of one";

fn none(path: &Path, line: u64, what: &str) -> Error {
    let message = format!("{} is no whole manifest: line {line}: {what}; pack anew with --manifest", show(path));
    Error::new(ErrorKind::Corrupt, Stage::Read, message).at(path)
}

/// The lines of a source, one at a time.
#[derive(Default)]
struct Lines {
    /// Of the line read last, from 1.
    number: u64,
    /// Of the source, behind the buffer.
    at: u64,
    buffer: Vec<u8>,
    /// What of the buffer has been handed out.
    done: usize,
}

impl Lines {
    /// The next line, without what ends it; `None` at the end.
    fn next(&mut self, path: &Path, source: &dyn Source) -> Result<Option<&[u8]>> {
        self.number += 1;
        // What of the buffer is known to hold no line's end.
        let mut seen = self.done;
        loop {
            if let Some(length) = self.buffer[seen..].iter().position(|&byte| byte == b'\n') {
                let line = self.done..seen + length;
                self.done = line.end + 1;
                return Ok(Some(&self.buffer[line]));
            }
            // Lines are moved together only where a portion ends, not each time that one is taken.
            self.buffer.drain(..self.done);
            self.done = 0;
            seen = self.buffer.len();
            if seen >= LONGEST_LINE {
                return Err(none(path, self.number, "it is longer than any line of a manifest can be"));
            }
            self.buffer.resize(seen + PORTION, 0);
            let count = source
                .read_at(&mut self.buffer[seen..], self.at)
                .map_err(|cause| Error::io(Stage::Read, "read the manifest", path, cause))?;
            self.buffer.truncate(seen + count);
            self.at += count as u64;
            if count == 0 {
                self.done = seen;
                return Ok((seen > 0).then_some(&self.buffer[..]));
            }
        }
    }
}

/// Looked at first: later versions may have other fields.
#[derive(Deserialize)]
struct VersionLine {
    vhpack_manifest: Option<u64>,
}

#[derive(Deserialize)]
struct HeadLine<'a> {
    #[serde(borrow)]
    archive: Cow<'a, str>,
    size: u64,
    #[serde(borrow, rename = "xxh3-128")]
    digest: Cow<'a, str>,
    members: u64,
}

#[derive(Deserialize)]
struct MemberLine<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    kind: KindWord,
    size: u64,
    offset: u64,
    packed: u64,
    #[serde(borrow)]
    crc32: Cow<'a, str>,
    #[serde(borrow, rename = "xxh3-128")]
    digest: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindWord {
    File,
    Link,
    Directory,
}

fn head(path: &Path, line: &[u8]) -> Result<ManifestHead> {
    let version = serde_json::from_slice::<VersionLine>(line);
    let version = version.map_err(|error| none(path, 1, &explained(&error)))?.vhpack_manifest;
    match version {
        None | Some(0) => return Err(none(path, 1, NO_HEAD)),
        Some(version) if version > u64::from(VERSION) => {
            let message = format!(
                "the manifest {} is of version {version}, and this vhpack reads {VERSION}; use a newer one",
                show(path)
            );
            return Err(Error::new(ErrorKind::Unsupported, Stage::Read, message).at(path));
        }
        Some(_) => {}
    }
    let line: HeadLine<'_> = serde_json::from_slice(line).map_err(|error| none(path, 1, &explained(&error)))?;
    let digest = digits(&line.digest, 32).ok_or_else(|| none(path, 1, NO_DIGEST))?;
    Ok(ManifestHead { archive: line.archive.into_owned(), size: line.size, digest, members: line.members })
}

const NO_DIGEST: &str = "its digest is not 32 hexadecimal digits";

fn member(line: &[u8]) -> Result<ManifestMember, String> {
    let line: MemberLine<'_> = serde_json::from_slice(line).map_err(|error| explained(&error))?;
    let kind = match line.kind {
        KindWord::File => "file",
        KindWord::Link => "link",
        KindWord::Directory => "directory",
    };
    let crc = digits(&line.crc32, 8).ok_or("its crc32 is not 8 hexadecimal digits")?;
    let digest = digits(&line.digest, 32).ok_or(NO_DIGEST)?;
    let (name, size, offset, packed) = (line.name.into_owned(), line.size, line.offset, line.packed);
    Ok(ManifestMember { name, kind, size, offset, packed, crc: crc as u32, digest })
}

/// A number that was written with just so many digits.
fn digits(text: &str, count: usize) -> Option<u128> {
    let is_lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == count && text.bytes().all(is_lower)).then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// What a line lacks; it is always its own first line, so only the column is worth saying.
fn explained(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.rfind(" at line ").map_or(&text[..], |end| &text[..end]);
    format!("{what} (column {})", error.column())
}
