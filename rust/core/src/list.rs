//! The bytes of a list of originals: which archive holds them, and which they are.
//!
//! ```text
//! magic | state | archive's stamp and digest | call that made it and what it counted | folders and originals | seal
//! ```
//!
//! The seal is the digest of all but itself and the state, which alone changes later.

use std::path::Path;

use crate::digest::Digest;
use crate::fs::Stamp;
use crate::remove::{Folder, Original, Standing};
use crate::report::PackReport;

const MAGIC: &[u8] = b"vhpack removing 5\n";
/// What lists of every version begin with.
const FAMILY: usize = b"vhpack removing ".len();
const SEAL: usize = 16;
const FOLDER: u8 = 0;

/// Where the state stands.
pub(crate) const STATE_AT: u64 = MAGIC.len() as u64;

/// How far the removal has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The list may be half written, and no original was touched.
    Prepared,
    /// The list is whole and on disk: originals are being removed.
    Removing,
    /// The removal has ended, and the list names what is left of the sources.
    Ended,
}

impl State {
    pub const fn byte(self) -> u8 {
        match self {
            Self::Prepared => b'p',
            Self::Removing => b'r',
            Self::Ended => b'e',
        }
    }

    /// What a list says of itself; one that was cut short before it could say anything was never used.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let Some(state) = bytes.get(MAGIC.len()) else {
            return MAGIC.starts_with(bytes).then_some(Self::Prepared);
        };
        if !bytes.starts_with(MAGIC) {
            // A crash may leave the length without the bytes.
            return bytes.iter().all(|&byte| byte == 0).then_some(Self::Prepared);
        }
        [Self::Prepared, Self::Removing, Self::Ended].into_iter().find(|known| known.byte() == *state)
    }
}

/// Whether it is a list that another version of this program has written.
pub(crate) fn is_of_another_version(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC[..FAMILY]) && bytes.len() > MAGIC.len() && !bytes.starts_with(MAGIC)
}

/// The archive that a list is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    pub archive: Stamp,
    pub digest: u128,
    pub made: Made,
}

/// What is known of the call that made the archive, and all its shards: who finishes it reports on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    /// What the sources were, as a digest.
    pub call: u128,
    /// How many archives it made.
    pub archives: u64,
    /// Files, folders, links, bytes of the files; files that are stored, deflated, in zstd.
    counts: [u64; 7],
}

impl Made {
    pub fn new(call: u128, report: &PackReport) -> Self {
        let PackReport { files, directories, links, bytes_in, stored, deflated, zstd, .. } = *report;
        let archives = report.archives.len() as u64;
        Self { call, archives, counts: [files, directories, links, bytes_in, stored, deflated, zstd] }
    }

    /// A report with nothing but what was counted then.
    pub fn report(&self) -> PackReport {
        let [files, directories, links, bytes_in, stored, deflated, zstd] = self.counts;
        PackReport { files, directories, links, bytes_in, stored, deflated, zstd, ..PackReport::default() }
    }
}

/// So many bytes say what a list is about.
pub(crate) const HEADER: usize = MAGIC.len() + 1 + 36 + 16 + 16 + 8 + 56;

pub(crate) fn encode(state: State, listed: Listed, originals: &[Original<'_>]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.push(state.byte());
    put_stamp(&mut out, &listed.archive);
    out.extend_from_slice(&listed.digest.to_le_bytes());
    out.extend_from_slice(&listed.made.call.to_le_bytes());
    out.extend_from_slice(&listed.made.archives.to_le_bytes());
    listed.made.counts.iter().for_each(|count| out.extend_from_slice(&count.to_le_bytes()));
    let mut folder: Option<&Folder<'_>> = None;
    for original in originals {
        if folder != Some(original.folder) {
            folder = Some(original.folder);
            put_folder(&mut out, original.folder);
        }
        out.push(original.standing as u8);
        put_text(&mut out, original.name);
        put_stamp(&mut out, &original.stamp);
    }
    let seal = seal(&out);
    out.extend_from_slice(&seal);
    out
}

fn seal(listed: &[u8]) -> [u8; SEAL] {
    let mut digest = Digest::new();
    digest.update(&listed[..MAGIC.len()]);
    digest.update(&listed[MAGIC.len() + 1..]);
    digest.finish().to_le_bytes()
}

/// What the list is about, and the folders on it, in order; `None` unless it is whole.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Listed, Vec<Folder<'_>>)> {
    let mut rest = sealed(bytes)?;
    let listed = take_listed(&mut rest)?;
    let mut folders = Vec::new();
    while !rest.is_empty() {
        match take_line(&mut rest)? {
            Line::Folder(folder) => folders.push(folder),
            // An original belongs to the folder before it.
            Line::Original(..) if folders.is_empty() => return None,
            Line::Original(..) => {}
        }
    }
    Some((listed, folders))
}

/// Stamp and digest of the archive that a list is about, by its first bytes, whether it is whole or not; `None` before
/// originals may be gone. These stand where they are in lists of every version.
pub(crate) fn about(head: &[u8]) -> Option<(Stamp, u128)> {
    let version = head.strip_prefix(&MAGIC[..FAMILY])?;
    let digits = version.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (&state, mut rest) = version[digits..].strip_prefix(b"\n")?.split_first()?;
    if state == State::Prepared.byte() {
        return None;
    }
    Some((take_stamp(&mut rest)?, u128::from_le_bytes(take(&mut rest)?)))
}

/// The originals on a whole list, with the `folders` that it was decoded to. They are made only when they are needed, since
/// there may be millions.
pub(crate) fn originals<'a>(bytes: &'a [u8], folders: &'a [Folder<'a>]) -> impl Iterator<Item = Original<'a>> {
    let mut rest = sealed(bytes).map_or(&[][..], |sealed| &sealed[HEADER - MAGIC.len() - 1..]);
    let mut next = folders.iter();
    let mut folder = None;
    std::iter::from_fn(move || {
        loop {
            match take_line(&mut rest)? {
                Line::Folder(_) => folder = next.next(),
                Line::Original(name, standing, stamp) => {
                    let folder = folder?;
                    return Some(Original { folder, name, standing, stamp: folder.stamp_now(stamp) });
                }
            }
        }
    })
}

/// What stands between the state and the seal, where that fits.
fn sealed(bytes: &[u8]) -> Option<&[u8]> {
    let (listed, found) = bytes.split_last_chunk::<SEAL>()?;
    (listed.len() >= HEADER && seal(listed) == *found).then(|| &listed[MAGIC.len() + 1..])
}

enum Line<'a> {
    Folder(Folder<'a>),
    Original(&'a [u8], Standing, Stamp),
}

fn take_line<'a>(rest: &mut &'a [u8]) -> Option<Line<'a>> {
    let (&tag, after) = rest.split_first()?;
    *rest = after;
    let text = take_text(rest)?;
    if tag != FOLDER {
        return Some(Line::Original(text, Standing::of(tag)?, take_stamp(rest)?));
    }
    let identity = (u64::from_le_bytes(take(rest)?), u64::from_le_bytes(take(rest)?));
    let birth = (i64::from_le_bytes(take(rest)?), u32::from_le_bytes(take(rest)?));
    let volume = u64::from_le_bytes(take(rest)?);
    let origin = (birth.1 != u32::MAX).then_some((birth.0, birth.1, volume));
    Some(Line::Folder(Folder { path: text, identity, origin, renumbered: None }))
}

fn put_folder(out: &mut Vec<u8>, folder: &Folder<'_>) {
    out.push(FOLDER);
    put_text(out, folder.path);
    let (device, inode) = folder.identity;
    out.extend_from_slice(&device.to_le_bytes());
    out.extend_from_slice(&inode.to_le_bytes());
    let (seconds, nanoseconds, volume) = folder.origin.unwrap_or((0, u32::MAX, 0));
    out.extend_from_slice(&seconds.to_le_bytes());
    out.extend_from_slice(&nanoseconds.to_le_bytes());
    out.extend_from_slice(&volume.to_le_bytes());
}

/// Folder and name of a path, as a list keeps them.
pub(crate) fn split(path: &Path) -> (&[u8], &[u8]) {
    use std::os::unix::ffi::OsStrExt as _;
    let path = path.as_os_str().as_bytes();
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(0) => (b"/", &path[1..]),
        Some(cut) => (&path[..cut], &path[cut + 1..]),
        None => (b"", path),
    }
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

fn take_listed(rest: &mut &[u8]) -> Option<Listed> {
    let archive = take_stamp(rest)?;
    let digest = u128::from_le_bytes(take(rest)?);
    let call = u128::from_le_bytes(take(rest)?);
    let archives = u64::from_le_bytes(take(rest)?);
    let mut counts = [0; 7];
    for count in &mut counts {
        *count = u64::from_le_bytes(take(rest)?);
    }
    Some(Listed { archive, digest, made: Made { call, archives, counts } })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_whole_or_nothing() {
        let stamp = Stamp { dev: 1, ino: 2, size: 3, mtime: -4, mtime_ns: 5 };
        let known = [&b"/a"[..], b"/b", b"/"].map(|path| Folder {
            path,
            identity: (7, 8),
            origin: Some((9, 1, 2)),
            renumbered: None,
        });
        let original = |folder: usize, name, standing| Original { folder: &known[folder], name, standing, stamp };
        let originals = [
            original(0, &b"1"[..], Standing::File),
            original(0, b"2", Standing::Link),
            original(1, b"1", Standing::Reached),
            original(2, b"c", Standing::LeftOut),
        ];
        let made = Made { call: 11, archives: 3, counts: [1, 2, 3, 4, 5, 6, 7] };
        let listed = Listed { archive: stamp, digest: 9, made };
        let mut bytes = encode(State::Prepared, listed, &originals);
        for state in [State::Removing, State::Ended, State::Prepared] {
            bytes[STATE_AT as usize] = state.byte();
            assert_eq!(State::of(&bytes), Some(state));
            let (header, folders) = decode(&bytes).unwrap();
            assert_eq!(header, listed);
            assert_eq!(folders, known);
            let begun = (state != State::Prepared).then_some((stamp, 9));
            assert_eq!(about(&bytes[..HEADER]), begun);
            let other = [&b"vhpack removing 12\n"[..], &bytes[MAGIC.len()..HEADER]].concat();
            assert_eq!(about(&other), begun);
            let found: Vec<_> = super::originals(&bytes, &folders).collect();
            assert_eq!(found, originals);
        }
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_none(), "cut at {cut}");
            assert_eq!(State::of(&bytes[..cut]), Some(State::Prepared), "cut at {cut}");
            if cut != STATE_AT as usize {
                let mut damaged = bytes.clone();
                damaged[cut] ^= 1;
                assert!(decode(&damaged).is_none(), "damaged at {cut}");
            }
        }
    }
}
