//! The bytes of a list of originals: which archive holds them, and which they are.
//!
//! ```text
//! magic | state | archive's stamp | archive's digest | folders and originals | seal
//! ```
//!
//! The seal is the digest of all but itself and the state, which alone changes later.

use std::path::Path;

use crate::digest::Digest;
use crate::fs::Stamp;
use crate::remove::{Original, Standing};

const MAGIC: &[u8] = b"vhpack removing 3\n";
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

/// The archive that a list is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    pub archive: Stamp,
    pub digest: u128,
}

const HEADER: usize = MAGIC.len() + 1 + 36 + 16;

pub(crate) fn encode(state: State, listed: Listed, originals: &[Original<'_>]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.push(state.byte());
    put_stamp(&mut out, &listed.archive);
    out.extend_from_slice(&listed.digest.to_le_bytes());
    let mut folder: Option<&[u8]> = None;
    for original in originals {
        if folder != Some(original.folder) {
            folder = Some(original.folder);
            out.push(FOLDER);
            put_text(&mut out, original.folder);
            let (device, inode) = original.folder_identity;
            out.extend_from_slice(&device.to_le_bytes());
            out.extend_from_slice(&inode.to_le_bytes());
            let (seconds, nanoseconds, volume) = original.folder_origin.unwrap_or((0, u32::MAX, 0));
            out.extend_from_slice(&seconds.to_le_bytes());
            out.extend_from_slice(&nanoseconds.to_le_bytes());
            out.extend_from_slice(&volume.to_le_bytes());
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

/// What the list is about, and all that is on it; `None` unless it is whole.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Listed, Vec<Original<'_>>)> {
    let (listed, found) = bytes.split_last_chunk::<SEAL>()?;
    if listed.len() < HEADER || seal(listed) != *found {
        return None;
    }
    let mut rest = &listed[MAGIC.len() + 1..];
    let header = Listed { archive: take_stamp(&mut rest)?, digest: u128::from_le_bytes(take(&mut rest)?) };
    let mut originals = Vec::new();
    let (mut folder, mut folder_identity, mut folder_origin): (&[u8], _, _) = (b"", (0, 0), None);
    while let Some((&tag, after)) = rest.split_first() {
        rest = after;
        let text = take_text(&mut rest)?;
        if tag == FOLDER {
            folder = text;
            folder_identity = (u64::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
            let birth = (i64::from_le_bytes(take(&mut rest)?), u32::from_le_bytes(take(&mut rest)?));
            let volume = u64::from_le_bytes(take(&mut rest)?);
            folder_origin = (birth.1 != u32::MAX).then_some((birth.0, birth.1, volume));
            continue;
        }
        let stamp = take_stamp(&mut rest)?;
        originals.push(Original {
            folder,
            folder_identity,
            folder_origin,
            name: text,
            standing: Standing::of(tag)?,
            stamp,
        });
    }
    Some((header, originals))
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
        let original = |folder, name, standing| Original {
            folder,
            folder_identity: (7, 8),
            folder_origin: Some((9, 1, 2)),
            name,
            standing,
            stamp,
        };
        let originals = [
            original(&b"/a"[..], &b"1"[..], Standing::File),
            original(b"/a", b"2", Standing::Link),
            original(b"/b", b"1", Standing::Reached),
            original(b"/", b"c", Standing::LeftOut),
        ];
        let listed = Listed { archive: stamp, digest: 9 };
        let mut bytes = encode(State::Prepared, listed, &originals);
        for state in [State::Removing, State::Ended, State::Prepared] {
            bytes[STATE_AT as usize] = state.byte();
            assert_eq!(State::of(&bytes), Some(state));
            let (header, found) = decode(&bytes).unwrap();
            assert_eq!(header, listed);
            assert!(
                found
                    .iter()
                    .map(|one| (one.path(), one.standing))
                    .eq(originals.iter().map(|one| (one.path(), one.standing)))
            );
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
