//! The list of originals that are about to be removed, beside their archive, until they are.
//!
//! A call that is killed while it removes leaves an archive and some of the originals. The same call again would find
//! those, and put an archive of them in the place of the only copy of the rest. The list lets it finish instead.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use crate::commit::Committed;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::fs::{self, Stamp};
use crate::remove::Original;
use crate::target::{JOURNAL_SUFFIX, Target, dot_name};

const MAGIC: &[u8] = b"vhpack removing 1\n";
/// Written before each folder's originals.
const FOLDER: u8 = 0;
const FILE: u8 = 1;
const LINK: u8 = 2;

/// The list while originals are removed.
pub(crate) struct Journal {
    folder: OwnedFd,
    name: Vec<u8>,
}

impl Journal {
    /// Write the list, and return when it is on disk.
    pub fn begin(target: &Target, committed: &Committed, originals: &[Original<'_>]) -> Result<Self> {
        let path = target.real();
        let failed = |error: io::Error| {
            let message = format!(
                "{} is complete, and no original was removed: cannot write the list of them beside it: {}; remove them by hand",
                crate::error::show(&target.shown),
                crate::error::reason(&error)
            );
            Error::io(Stage::Remove, "write", &path, error).with_message(message)
        };
        let folder = fs::open_directory(target.folder.as_os_str().as_bytes()).map_err(failed)?;
        let stat = fs::lstat_at(&folder, &target.name).map_err(failed)?;
        if fs::identity(&stat) != committed.identity {
            let message = format!(
                "{} was replaced by another pack as soon as it was complete, so no original was removed; pack again",
                crate::error::show(&target.shown)
            );
            return Err(Error::new(ErrorKind::TargetExists, Stage::Remove, message).at(&target.shown));
        }
        let name = dot_name(&target.name, "", JOURNAL_SUFFIX);
        let bytes = encode(&Stamp::of(&stat), committed, originals);
        let journal = Self { folder, name };
        journal.write(&bytes).map_err(|error| {
            let _ = fs::unlink(&journal.folder, &journal.name);
            failed(error)
        })?;
        Ok(journal)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let file = match fs::create_private(&self.folder, &self.name) {
            // What lies there is of an archive that has been replaced.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::unlink(&self.folder, &self.name)?;
                fs::create_private(&self.folder, &self.name)?
            }
            other => other?,
        };
        fs::write_all(&file, bytes)?;
        fs::sync_file(&file)?;
        fs::sync_directory(&self.folder)
    }

    /// Nothing is left to remove.
    pub fn forget(&self) {
        // A list that stays is found stale, or finished, by the next pack to this target.
        let _ = fs::unlink(&self.folder, &self.name);
    }
}

/// Forget a list beside the target, which is of an archive that has been replaced.
pub(crate) fn clear(target: &Target) {
    if let Ok(folder) = fs::enter_directory(target.folder.as_os_str().as_bytes()) {
        let name = dot_name(&target.name, "", JOURNAL_SUFFIX);
        if fs::lstat_at(&folder, &name).is_ok() {
            Journal { folder, name }.forget();
        }
    }
}

/// A removal that was begun and not finished.
pub(crate) struct Unfinished {
    journal: Journal,
    bytes: Vec<u8>,
    /// The archive.
    pub target: Target,
    /// XXH3-128 of the archive.
    pub digest: u128,
    pub length: u64,
}

impl Unfinished {
    /// The list beside the target, where the target is still the archive it is about.
    pub fn find(target: &Target) -> Result<Option<Self>> {
        let name = dot_name(&target.name, "", JOURNAL_SUFFIX);
        let Ok(folder) = fs::open_directory(target.folder.as_os_str().as_bytes()) else { return Ok(None) };
        let Ok(file) = fs::open_file(&folder, &name, false) else { return Ok(None) };
        let path = target.folder.join(fs::path(&name));
        let failed = |error: io::Error| Error::io(Stage::Plan, "read", &path, error);
        let stat = fs::fstat(&file).map_err(failed)?;
        // Whoever can write the list decides what is removed: it must be ours alone.
        if !fs::is_ours_alone(&stat) {
            return Ok(None);
        }
        let size = Stamp::of(&stat).size;
        let mut bytes = vec![0; size as usize];
        fs::read_at(&file, &mut bytes, 0).map_err(failed)?;
        let journal = Journal { folder, name };
        // Half written: nothing was removed yet.
        let Some(header) = Header::decode(&bytes) else { return Ok(None) };
        let Ok(stat) = fs::lstat_at(&journal.folder, &target.name) else { return Ok(None) };
        let (listed, now) = (header.archive, Stamp::of(&stat));
        let found = Self { digest: header.digest, length: listed.size, journal, bytes, target: target.clone() };
        // A copy that was put in its place, or a file system that was mounted again, has another stamp and the same bytes.
        let is_about_it = listed == now || (listed.size == now.size && found.check_archive(|| Ok(())).is_ok());
        Ok(is_about_it.then_some(found))
    }

    pub fn originals(&self) -> Vec<Original<'_>> {
        decode(&self.bytes).unwrap_or_default()
    }

    /// The archive reads as it was written.
    pub fn check_archive(&self, check: impl Fn() -> Result<()>) -> Result<()> {
        let target = &self.target;
        let failed = |error: io::Error| Error::io(Stage::Remove, "read back", &target.shown, error);
        let file = fs::open_file(&self.journal.folder, &target.name, false).map_err(failed)?;
        let (mut digest, mut offset) = (Digest::new(), 0);
        let mut portion = vec![0; 1 << 20];
        loop {
            check()?;
            let count = fs::read_at(&file, &mut portion, offset).map_err(failed)?;
            if count == 0 {
                break;
            }
            digest.update(&portion[..count]);
            offset += count as u64;
        }
        if digest.finish() == self.digest {
            return Ok(());
        }
        let message = format!(
            "{} is not as an interrupted pack left it, so no more originals were removed; compare them with it by hand",
            crate::error::show(&target.shown)
        );
        Err(Error::new(ErrorKind::Io, Stage::Remove, message).at(&target.shown))
    }

    /// Forget the list, which is finished or of no use any more.
    pub fn forget(&self) {
        self.journal.forget();
    }
}

struct Header {
    archive: Stamp,
    digest: u128,
}

impl Header {
    /// `None` unless the list is whole.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (listed, seal) = bytes.split_last_chunk::<16>()?;
        let mut digest = Digest::new();
        digest.update(listed);
        if digest.finish().to_le_bytes() != *seal {
            return None;
        }
        let mut rest = listed.strip_prefix(MAGIC)?;
        Some(Self { archive: take_stamp(&mut rest)?, digest: u128::from_le_bytes(take(&mut rest)?) })
    }

    const LENGTH: usize = MAGIC.len() + 36 + 16;
}

fn encode(archive: &Stamp, committed: &Committed, originals: &[Original<'_>]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put_stamp(&mut out, archive);
    out.extend_from_slice(&committed.digest.to_le_bytes());
    let mut folder: &[u8] = b"";
    for original in originals {
        if original.folder != folder {
            folder = original.folder;
            out.push(FOLDER);
            put_text(&mut out, folder);
            let (device, inode) = original.folder_identity;
            out.extend_from_slice(&device.to_le_bytes());
            out.extend_from_slice(&inode.to_le_bytes());
        }
        out.push(if original.is_link { LINK } else { FILE });
        put_text(&mut out, original.name);
        put_stamp(&mut out, &original.stamp);
    }
    let mut digest = Digest::new();
    digest.update(&out);
    out.extend_from_slice(&digest.finish().to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<Vec<Original<'_>>> {
    let (listed, _) = bytes.split_last_chunk::<16>()?;
    let mut rest = listed.get(Header::LENGTH..)?;
    let mut originals = Vec::new();
    let (mut folder, mut folder_identity): (&[u8], _) = (b"", (0, 0));
    while let Some((&tag, after)) = rest.split_first() {
        rest = after;
        let text = take_text(&mut rest)?;
        if tag == FOLDER {
            folder = text;
            folder_identity = (u64::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
            continue;
        }
        let stamp = take_stamp(&mut rest)?;
        originals.push(Original { folder, folder_identity, name: text, is_link: tag == LINK, stamp });
    }
    Some(originals)
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text);
}

fn put_stamp(out: &mut Vec<u8>, stamp: &Stamp) {
    for field in [stamp.dev, stamp.ino, stamp.size, stamp.mtime.cast_unsigned()] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&stamp.mtime_ns.to_le_bytes());
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (field, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*field)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take(rest)?) as usize;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(text)
}

fn take_stamp(rest: &mut &[u8]) -> Option<Stamp> {
    Some(Stamp {
        dev: u64::from_le_bytes(take(rest)?),
        ino: u64::from_le_bytes(take(rest)?),
        size: u64::from_le_bytes(take(rest)?),
        mtime: i64::from_le_bytes(take(rest)?),
        mtime_ns: u32::from_le_bytes(take(rest)?),
    })
}
