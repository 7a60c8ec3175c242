//! The manifest beside an archive: JSON Lines, a head and a line for each member.
//!
//! ```text
//! {"vhpack_manifest":1,"archive":"images.zip","format":"zip","size":1234,"xxh3-128":"…","members":2}
//! {"name":"a/1.png","kind":"file","size":1100,"offset":0,"packed":1100,"codec":"stored","crc32":"0a1b2c3d","xxh3-128":"…"}
//! ```
//!
//! `offset` is where the member's header begins, in a compressed tar within the tar. Digests are of contents; of a link, of
//! the path that it holds. A manifest describes the archive whose size and digest its head has, and no other.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Result, Stage, show};
use crate::fs::{self, Kind};
use crate::pipeline::{Record, Written};
use crate::plan::Plan;
use crate::request::Format;
use crate::sink::{Sink, StagedFile, remove_leftovers};
use crate::target::Target;

/// What every manifest begins with.
const HEAD: &[u8] = b"{\"vhpack_manifest\":";

/// The version of the format: readers refuse higher ones.
pub(crate) const VERSION: u32 = 1;

/// Portions in which lines are written.
const PORTION: usize = 1 << 20;

/// Refuse a place for the manifest that cannot be written, or that holds a file that may not be replaced.
pub(crate) fn check_place(target: &Target, force: bool) -> Result<()> {
    let place = target.manifest();
    if place.name.len() > 255 {
        let message = format!("{} is too long a name for a manifest; choose a shorter one", show(&place.shown));
        return Err(Error::new(ErrorKind::Usage, Stage::Plan, message).at(&place.shown));
    }
    let Ok(stat) = fs::lstat(&place.real()) else { return Ok(()) };
    let refuse = |kind, message: String| Err(Error::new(kind, Stage::Plan, message).at(&place.shown));
    match Kind::of(&stat) {
        Kind::Directory => {
            let message = format!("cannot write the manifest {}: it is a directory; move it away", show(&place.shown));
            refuse(ErrorKind::TargetIsDirectory, message)
        }
        Kind::Special => {
            let message = format!("cannot write the manifest {}: it is a FIFO, socket or device", show(&place.shown));
            refuse(ErrorKind::SpecialFile, message)
        }
        Kind::File | Kind::Link if !force => refuse(
            ErrorKind::TargetExists,
            format!("{} exists; choose another name, or replace it with force", show(&place.shown)),
        ),
        Kind::File | Kind::Link => Ok(()),
    }
}

/// Write the manifest of an archive that is complete, ready to be published.
pub(crate) fn stage(
    target: &Target,
    plan: &Plan,
    written: &Written<StagedFile>,
    durable: bool,
    check: impl Fn() -> Result<()>,
) -> Result<StagedFile> {
    let mut sink = StagedFile::create(&target.manifest(), durable)?;
    let mut text = head(target, written);
    for (record, hash) in written.records.iter().zip(&written.hashes) {
        line(&mut text, plan, record, *hash);
        if text.len() >= PORTION {
            check()?;
            sink.write(text.as_bytes())?;
            text.clear();
        }
    }
    sink.write(text.as_bytes())?;
    if durable {
        sink.sync(check)?;
    }
    Ok(sink)
}

/// Remove the manifest of an archive that has been replaced; what is no manifest stays, and so does one that was there without
/// an archive: that may have been moved away, and have nothing else that describes it.
pub(crate) fn clear(target: &Target) {
    if target.replaces.is_none() {
        return;
    }
    let place = target.manifest();
    let Ok(folder) = fs::enter_directory(place.folder.as_os_str().as_bytes()) else { return };
    remove_leftovers(&folder, &place.name);
    let mut head = [0; HEAD.len()];
    let read = fs::open_file(&folder, &place.name, false).and_then(|file| fs::read_at(&file, &mut head, 0));
    if read.is_ok() && head == *HEAD {
        // One that stays names another digest than the archive's, which tells readers.
        let _ = fs::unlink(&folder, &place.name);
    }
}

/// Whether a manifest stands beside the archive that describes just these bytes of it.
pub(crate) fn is_there(target: &Target, archives: &[(PathBuf, u128)]) -> bool {
    let Some((_, digest)) = archives.iter().find(|(path, _)| *path == target.shown) else { return false };
    let place = target.manifest();
    let mut start = [0; 4096];
    let read = fs::enter_directory(place.folder.as_os_str().as_bytes())
        .and_then(|folder| fs::open_file(&folder, &place.name, false))
        .and_then(|file| fs::read_at(&file, &mut start, 0));
    let said = format!("\"xxh3-128\":\"{digest:032x}\",\"members\":");
    let head = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    read.is_ok() && head.starts_with(HEAD) && head.windows(said.len()).any(|part| part == said.as_bytes())
}

fn head(target: &Target, written: &Written<StagedFile>) -> String {
    let format = match target.format {
        Format::Zip => "zip",
        Format::Tar => "tar",
        Format::TarGz => "tar.gz",
        Format::TarZst => "tar.zst",
    };
    format!(
        "{{\"vhpack_manifest\":{VERSION},\"archive\":{},\"format\":\"{format}\",\"size\":{},\"xxh3-128\":\"{:032x}\",\"members\":{}}}\n",
        quoted(&String::from_utf8_lossy(&target.name)),
        written.length,
        written.digest,
        written.records.len(),
    )
}

fn line(text: &mut String, plan: &Plan, record: &Record, hash: u128) {
    let (folder, name) = plan.member(&plan.entries()[record.entry as usize]);
    let name = [folder, name].concat();
    let kind = match (record.is_file(), record.is_directory()) {
        (true, _) => "file",
        (_, true) => "directory",
        _ => "link",
    };
    let codec = match record.codec {
        Codec::Store => "stored",
        Codec::Deflate => "deflate",
        Codec::Zstd => "zstd",
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{{\"name\":{},\"kind\":\"{kind}\",\"size\":{},\"offset\":{},\"packed\":{},\"codec\":\"{codec}\",\"crc32\":\"{:08x}\",\"xxh3-128\":\"{hash:032x}\"}}",
        quoted(&String::from_utf8_lossy(&name)),
        record.size(),
        record.offset,
        record.packed,
        record.crc,
    );
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            // Line separators are no control characters, but some readers of lines break at them.
            '\0'..='\x1f' | '\x7f' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\u{:04x}", char as u32);
            }
            _ => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn names_are_one_json_string_on_one_line() {
        assert_eq!(quoted("a/é🦀"), "\"a/é🦀\"");
        assert_eq!(quoted("a\"b\\c\n\0\u{2028}"), "\"a\\\"b\\\\c\\u000a\\u0000\\u2028\"");
    }
}
