//! Where the archive goes: format by suffix, folder, and what is there already.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, Stage, show};
use crate::fs::{self, Kind, Stamp};
use crate::paths::fold_alike;
use crate::request::Format;

/// Beside a target while it is staged where the file system knows no unnamed files.
pub(crate) const STAGED_SUFFIX: &[u8] = b".vhpack-staged";

/// Beside a target while its originals are removed.
pub(crate) const JOURNAL_SUFFIX: &[u8] = b".vhpack-removing";

/// Behind the name of an archive: the name of its manifest.
pub(crate) const MANIFEST_SUFFIX: &[u8] = b".manifest.jsonl";

/// A hidden name for what belongs to the archive `name`, within the 255 bytes of a component.
pub(crate) fn dot_name(name: &[u8], middle: &str, suffix: &[u8]) -> Vec<u8> {
    let room = 255 - 1 - middle.len() - suffix.len();
    if name.len() <= room {
        return [b".", name, middle.as_bytes(), suffix].concat();
    }
    // Names that begin alike must not share what belongs to one of them.
    let mut digest = Digest::new();
    digest.update(name);
    let whole = format!("-{:016x}", digest.finish() as u64);
    [b".", &name[..room - whole.len()], whole.as_bytes(), middle.as_bytes(), suffix].concat()
}

/// The archive to write. Its folder exists; links on the way to it are resolved.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// As the caller spelled it, made absolute.
    pub shown: PathBuf,
    /// The folder, without links.
    pub folder: PathBuf,
    /// The name in that folder.
    pub name: Vec<u8>,
    /// What its suffix says, as the caller spelled it.
    pub format: Format,
    /// The link that the caller named, by folder and name, where it leads to the target.
    link: Option<(PathBuf, Vec<u8>)>,
    /// What bore the name when the pack began.
    pub replaces: Option<Stamp>,
    /// The list that an earlier pack had left beside it then.
    pub list: Option<Stamp>,
}

impl Target {
    /// Check suffix, folder and what is there; nothing is created.
    pub fn resolve(path: &Path) -> Result<Self> {
        let format = format_of(path)?;
        let shown = std::path::absolute(path)
            .map_err(|error| Error::io(Stage::Plan, "find the working directory for", path, error))?;
        let real = match fs::lstat(&shown) {
            Ok(stat) => existing(&shown, Kind::of(&stat))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => shown.clone(),
            Err(error) => return Err(Error::io(Stage::Plan, "write", &shown, error)),
        };
        let folder = real.parent().unwrap_or(Path::new("/"));
        let folder = fs::canonical(folder).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let message =
                    format!("cannot write {}: its folder {} does not exist; create it first", show(path), show(folder));
                missing_folder(message, path)
            }
            _ => Error::io(Stage::Plan, "enter", folder, error),
        })?;
        let name_of = |path: &Path| path.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        let link = match shown.parent().map(fs::canonical) {
            Some(Ok(folder)) if real != shown => Some((folder, name_of(&shown))),
            Some(Err(error)) if real != shown => {
                return Err(Error::io(Stage::Plan, "find the folder of", &shown, error));
            }
            _ => None,
        };
        let name = name_of(&real);
        // A look that fails is no word that there is nothing.
        let there = |path: &Path| match fs::lstat(path) {
            Ok(stat) => Ok(Some(Stamp::of(&stat))),
            Err(error) if fs::tells_nothing(&error) => Err(Error::io(Stage::Plan, "look at", path, error)),
            Err(_) => Ok(None),
        };
        let replaces = there(&real)?;
        let list = there(&folder.join(fs::path(&dot_name(&name, "", JOURNAL_SUFFIX))))?;
        Ok(Self { shown, folder, name, format, link, replaces, list })
    }

    /// `resized.zip` in the working directory for sources in `…/resized`.
    pub fn default_path(common: &[u8]) -> Result<PathBuf> {
        match fs::path(common).file_name() {
            Some(name) => {
                let mut name = name.to_owned().into_vec();
                name.extend_from_slice(b".zip");
                Ok(fs::path(&name).into())
            }
            None => Err(Error::new(
                ErrorKind::Usage,
                Stage::Plan,
                "the sources' common directory is `/`, which gives no name to the archive; name it with -o or target",
            )),
        }
    }

    /// The target as one that was not there when the pack began, whatever bears its name by now.
    pub fn unknown(self) -> Self {
        Self { replaces: None, list: None, ..self }
    }

    /// The target under the name of the link that leads to it: there an earlier pack may have left its list.
    pub fn by_link(&self) -> Option<Self> {
        let (folder, name) = self.link.clone()?;
        Some(Self { folder, name, link: None, ..self.clone() })
    }

    /// Whether the file at `path` is the one that the target replaces, whatever leads there.
    pub fn is_replaced(&self, path: &[u8]) -> bool {
        let own = self.replaces.map(|stamp| (stamp.dev, stamp.ino));
        own.is_some() && fs::stat(fs::path(path)).ok().map(|stat| fs::identity(&stat)) == own
    }

    /// Whether the file `name` in `folder` is what the target replaces, spelled in another case: a file system that folds
    /// case lists one spelling and opens both. Some give each spelling an inode of its own, so size and time have to do; a copy
    /// beside it with the same is left out, too, which loses nothing.
    pub fn is_in_another_case(&self, folder: &[u8], name: &[u8]) -> bool {
        let Some(own) = self.replaces else { return false };
        if !fold_alike(name, &self.name) {
            return false;
        }
        let at = fs::canonical(fs::path(folder));
        if !at.is_ok_and(|at| fold_alike(at.as_os_str().as_bytes(), self.folder.as_os_str().as_bytes())) {
            return false;
        }
        let there = fs::lstat(fs::path(&fs::join(folder, name))).map(|stat| Stamp::of(&stat));
        there.is_ok_and(|there| Stamp { dev: own.dev, ino: own.ino, ..there } == own)
    }

    /// Where the archive's manifest stands.
    pub fn manifest(&self) -> Self {
        // It stands beside the archive, and so not where a link to that stands.
        let mut shown = if self.link.is_some() { self.real() } else { self.shown.clone() }.into_os_string();
        shown.push(OsStr::from_bytes(MANIFEST_SUFFIX));
        let name = [&self.name[..], MANIFEST_SUFFIX].concat();
        let replaces = fs::lstat(&self.folder.join(fs::path(&name))).ok().map(|stat| Stamp::of(&stat));
        Self { shown: shown.into(), name, link: None, replaces, list: None, ..self.clone() }
    }

    /// The path of one of the shards that take this target's place: `images-00000.zip` for `images.zip`.
    pub fn shard_path(&self, number: u64) -> PathBuf {
        let name = self.shown.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        let (stem, suffix) = name.split_at(name.len() - Format::suffix_length(name));
        let name = [stem, format!("-{number:05}").as_bytes(), suffix].concat();
        self.shown.with_file_name(fs::path(&name))
    }

    /// The number of the shard that `name` would be.
    fn shard_number(&self, name: &[u8]) -> Option<u64> {
        let own = self.shown.file_name()?.as_bytes();
        let (stem, suffix) = own.split_at(own.len() - Format::suffix_length(own));
        let digits = name.strip_prefix(stem)?.strip_prefix(b"-")?.strip_suffix(suffix)?;
        let is_number = digits.len() >= 5 && digits.iter().all(u8::is_ascii_digit);
        if is_number { std::str::from_utf8(digits).ok()?.parse().ok() } else { None }
    }

    /// Whether the file `name` in `folder` is or could be a shard of this target.
    pub fn is_shard(&self, folder: &[u8], name: &[u8]) -> bool {
        let own = || self.shown.parent().and_then(|own| fs::canonical(own).ok());
        self.shard_number(name).is_some() && fs::canonical(fs::path(folder)).ok() == own()
    }

    /// The numbers of the shards that are there, in order.
    pub fn shards_there(&self) -> Result<Vec<u64>> {
        let folder = self.shown.parent().unwrap_or(Path::new("/"));
        let failed = |error| Error::io(Stage::Plan, "list", folder, error);
        let opened = fs::open_directory(folder.as_os_str().as_bytes()).map_err(failed)?;
        let mut numbers = Vec::new();
        let seen = fs::list(&opened, |name, _| {
            numbers.extend(self.shard_number(name));
            Ok(())
        });
        seen.map_err(failed)?;
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The target without links.
    pub fn real(&self) -> PathBuf {
        self.folder.join(fs::path(&self.name))
    }

    /// Refuse a target that exists, where it is not to be replaced.
    pub fn refuse_existing(&self) -> Result<()> {
        if self.exists() { Err(exists(&self.shown)) } else { Ok(()) }
    }

    /// Whether the name is taken.
    pub fn exists(&self) -> bool {
        fs::lstat(&self.real()).is_ok()
    }

    /// Whether the file `name` in `folder` is the target, however the folder is spelled.
    pub fn is(&self, folder: &[u8], name: &[u8]) -> bool {
        let at = |place: &Path| fs::canonical(fs::path(folder)).is_ok_and(|folder| folder == place);
        (name == self.name && at(&self.folder))
            || self.link.as_ref().is_some_and(|(place, link)| name == link && at(place))
    }
}

fn missing_folder(message: String, path: &Path) -> Error {
    let cause = io::Error::from_raw_os_error(libc::ENOENT);
    Error::io(Stage::Plan, "write", path, cause).with_message(message)
}

fn format_of(path: &Path) -> Result<Format> {
    // A name that is a suffix and nothing else is a hidden file's.
    let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
    if let Some(format) = name.get(1..).and_then(Format::of) {
        return Ok(format);
    }
    let known: Vec<_> = Format::SUFFIXES.iter().map(|(suffix, _)| *suffix).collect();
    let message = format!(
        "Unrecognized compression format for {}: the name must end in one of: {}",
        show(path),
        known.join(", ")
    );
    Err(Error::new(ErrorKind::UnknownFormat, Stage::Plan, message).at(path))
}

fn exists(path: &Path) -> Error {
    let message = format!("{} exists; choose another name, or replace it with force", show(path));
    Error::new(ErrorKind::TargetExists, Stage::Plan, message).at(path)
}

/// What a taken name means; the path to write to, which is a link's end where the name is a link.
fn existing(path: &Path, kind: Kind) -> Result<PathBuf> {
    match kind {
        Kind::Directory => {
            let message = format!("cannot write {}: it is a directory; name a file in it", show(path));
            Err(Error::new(ErrorKind::TargetIsDirectory, Stage::Plan, message).at(path))
        }
        Kind::Special => {
            let message =
                format!("cannot write {}: it is a FIFO, socket or device, and an archive would replace it", show(path));
            Err(Error::new(ErrorKind::SpecialFile, Stage::Plan, message).at(path))
        }
        Kind::File => Ok(path.into()),
        Kind::Link => {
            let end = fs::canonical(path).map_err(|error| Error::io(Stage::Plan, "follow the link", path, error))?;
            let stat = fs::stat(&end).map_err(|error| Error::io(Stage::Plan, "follow the link", path, error))?;
            existing(&end, Kind::of(&stat))
        }
    }
}
