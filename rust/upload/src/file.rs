//! Targets that are files: parts are written where they belong in a file with a dot-name, which is synced and gets its name at the end.
//! Resumable as any other target: what the dot-name holds is read and compared before it is believed.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::body::{PIECE, Range};
use crate::checksum::{Digesting, Digests, Wanted};
use crate::error::{Class, Fault, Result, UploadError, UploadErrorKind};
use crate::meter::{Bucket, Meter};
use crate::plan::Limits;
use crate::source::read_exact;
use crate::target::{Listed, Part, Proof, Remote, Stale, Taken, Target};
use crate::turns::blocking;
use crate::wire::Span;

/// The end of dot-names.
pub(crate) const SUFFIX: &str = ".vhpart";

pub(crate) struct FileTarget {
    uri: String,
    path: PathBuf,
    overwrite: bool,
    bucket: Arc<Bucket>,
}

impl FileTarget {
    pub fn new(uri: &str, path: PathBuf, overwrite: bool, bucket: Arc<Bucket>) -> Self {
        Self { uri: uri.to_owned(), path, overwrite, bucket }
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    fn staged(&self, upload: &str) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default();
        let mut staged = OsString::from(".");
        // A name may have 255 bytes; what is cut off is told apart by the token.
        let most = name.to_string_lossy().chars().take(50).collect::<String>();
        staged.push(most);
        staged.push(format!(".{upload}{SUFFIX}"));
        self.folder().join(staged)
    }

    fn failed(&self, attempt: &str, cause: &io::Error) -> Fault {
        let (kind, next) = match cause.kind() {
            io::ErrorKind::NotFound => (UploadErrorKind::NoSuchBucket, "create the folder, or check its name"),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                (UploadErrorKind::Denied, "choose a folder that you may write to")
            }
            io::ErrorKind::AlreadyExists => (UploadErrorKind::Exists, "choose another name, or allow overwriting"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                (UploadErrorKind::Rejected, "free some space there")
            }
            _ => (UploadErrorKind::Rejected, "check the disk"),
        };
        UploadError::io(kind, &format!("{attempt} `{}`", self.uri), cause, next).into()
    }

    /// Copy a range into the staged file at `offset`.
    async fn copy(
        &self,
        staged: PathBuf,
        make: bool,
        offset: u64,
        range: Range,
        meter: &Arc<Meter>,
    ) -> Result<Digests, Fault> {
        let (bucket, counted) = (Arc::clone(&self.bucket), Arc::clone(meter));
        let (known, turns) = (range.known, range.turns.clone());
        let ended = Ended::default();
        let stop = Arc::clone(&ended.0);
        let work = move || {
            let file = OpenOptions::new().write(true).create_new(make).mode(0o666).open(&staged)?;
            let mut digesting = Digesting::new(Wanted::default());
            let mut buffer = vec![0; PIECE.min(range.length) as usize];
            let mut done = 0;
            loop {
                if stop.load(Relaxed) {
                    // Nobody waits any more; what is staged for one request alone has nobody else to remove it.
                    if make {
                        crate::disk::remove_file(&staged)?;
                    }
                    return Err(io::ErrorKind::Interrupted.into());
                }
                if done == range.length {
                    return Ok(digesting.finish());
                }
                let piece = bucket.frame(PIECE.min(range.length - done) as usize);
                let piece = &mut buffer[..piece];
                match &range.bytes {
                    Some(bytes) => piece.copy_from_slice(&bytes[done as usize..done as usize + piece.len()]),
                    None => read_exact(&*range.source, piece, range.offset + done)
                        .map_err(|error| Source(error).into_io())?,
                }
                while let Some(wait) = bucket.take(piece.len()) {
                    counted.touch();
                    std::thread::sleep(wait);
                }
                digesting.update(piece);
                file.write_all_at(piece, offset + done)?;
                done += piece.len() as u64;
                counted.sent(piece.len() as u64);
            }
        };
        let digests = turns.run(work).await.map_err(|error| match Source::of(&error) {
            Some(why) => Fault::new(
                Class::Final,
                UploadErrorKind::SourceChanged,
                format!("cannot read it on while it is sent: {why}"),
            ),
            None => self.failed("write", &error),
        })?;
        if known.is_some_and(|known| known != digests.crc64) {
            return Err(Fault::new(
                Class::Final,
                UploadErrorKind::SourceChanged,
                "cannot read it on while it is sent: the file changed",
            ));
        }
        meter.keep();
        Ok(digests)
    }

    /// Sync the staged file and give it its name.
    async fn publish(&self, staged: PathBuf) -> Result<(), Fault> {
        let (path, folder, overwrite) = (self.path.clone(), self.folder().to_owned(), self.overwrite);
        let work = move || {
            crate::disk::open(&staged)?.sync_all()?;
            // One after the other: of two that differ in case alone, the second is to find the first.
            let turn = folds_case(&staged).then(|| FOLDING.lock().unwrap_or_else(PoisonError::into_inner));
            if turn.is_some()
                && let Some(other) = spelled_otherwise(&path)?
            {
                return Ok(Some(other));
            }
            if overwrite {
                crate::disk::rename(&staged, &path)?;
            } else {
                crate::disk::hard_link(&staged, &path)?;
                crate::disk::remove_file(&staged)?;
            }
            crate::disk::open(folder)?.sync_all().map(|()| None)
        };
        match blocking(work).await.map_err(|error| self.failed("finish", &error))? {
            None => Ok(()),
            Some(other) => {
                let message = format!(
                    "`{}` is there already as `{}`, and that disk takes no notice of case; choose another name",
                    self.uri,
                    other.display()
                );
                Err(Fault::new(Class::Final, UploadErrorKind::Exists, message))
            }
        }
    }

    async fn crc_of(&self, path: PathBuf, span: Span) -> io::Result<(u64, u64)> {
        let work = move || {
            let file = crate::disk::open(path)?;
            let mut digesting = Digesting::new(Wanted::default());
            let mut buffer = vec![0; PIECE as usize];
            let mut at = span.start;
            loop {
                let most = PIECE.min(span.end - at) as usize;
                match file.read_at(&mut buffer[..most], at)? {
                    0 => return Ok((at - span.start, digesting.finish().crc64)),
                    read => {
                        digesting.update(&buffer[..read]);
                        at += read as u64;
                    }
                }
            }
        };
        blocking(work).await
    }

    /// Whether there is a file of this name, links not followed.
    async fn is_there(path: PathBuf) -> bool {
        blocking(move || crate::disk::symlink_metadata(path)).await.is_ok()
    }

    fn gone(staged: &Path) -> Fault {
        let message = format!("`{}` has gone; start it again", staged.display());
        Fault::new(Class::NoUpload, UploadErrorKind::Rejected, message)
    }
}

/// Held between a look and a name, where names that differ in case are one.
static FOLDING: Mutex<()> = Mutex::new(());

/// Whether a file that is there is there in the other case, too.
fn folds_case(there: &Path) -> bool {
    let mut name = there.file_name().unwrap_or_default().as_bytes().to_owned();
    for byte in &mut name {
        *byte = if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
    }
    crate::disk::symlink_metadata(there.with_file_name(OsStr::from_bytes(&name))).is_ok()
}

/// What stands under this name where it is spelled in another case: to give the name to a new file would be its end.
fn spelled_otherwise(path: &Path) -> io::Result<Option<OsString>> {
    let (Some(name), Some(folder)) = (path.file_name(), path.parent()) else { return Ok(None) };
    if crate::disk::symlink_metadata(path).is_err() {
        return Ok(None);
    }
    let plain = name.to_string_lossy().to_lowercase();
    let mut other = None;
    for entry in crate::disk::read_dir(folder)? {
        let there = entry?.file_name();
        if there == name {
            return Ok(None);
        }
        if there.to_string_lossy().to_lowercase() == plain {
            other = Some(there);
        }
    }
    Ok(Some(other.unwrap_or_else(|| name.to_owned())))
}

/// Removes a staged file that has not got its name when nobody waits for it any more, at whatever moment that is.
struct Staged(Option<PathBuf>);

impl Drop for Staged {
    fn drop(&mut self) {
        if let (Some(staged), Ok(here)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            here.spawn_blocking(move || crate::disk::remove_file(staged));
        }
    }
}

/// Set when the future that waits for a thread's work is dropped.
#[derive(Default)]
struct Ended(Arc<AtomicBool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A failure of the source, carried through `io::Error` beside those of the target.
#[derive(Debug)]
struct Source(io::Error);

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::error::reason(&self.0))
    }
}

impl std::error::Error for Source {}

impl Source {
    fn into_io(self) -> io::Error {
        io::Error::other(self)
    }

    fn of(error: &io::Error) -> Option<String> {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()).map(ToString::to_string)
    }
}

#[async_trait]
impl Target for FileTarget {
    fn limits(&self) -> Option<Limits> {
        Some(Limits::FILE)
    }

    fn before(&self, _: Proof) -> Option<Wanted> {
        None
    }

    fn wanted(&self, _: Proof) -> Wanted {
        Wanted::default()
    }

    fn proof(&self) -> Proof {
        Proof::ReadBack
    }

    async fn head(&self) -> Result<Option<Remote>, Fault> {
        let path = self.path.clone();
        match blocking(move || crate::disk::metadata(path)).await {
            Ok(meta) => Ok(Some(Remote { size: Some(meta.len()), ..Remote::default() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("look at", &error)),
        }
    }

    async fn put(&self, range: Range, known: Digests, token: &str, meter: Arc<Meter>) -> Result<Taken, Fault> {
        let staged = self.staged(token);
        let mut left = Staged(Some(staged.clone()));
        let copied = self.copy(staged.clone(), true, 0, range.clone(), &meter).await;
        let published = match copied {
            Ok(_) => self.publish(staged.clone()).await,
            Err(fault) => Err(fault),
        };
        let fault = match published {
            Ok(()) => {
                left.0 = None;
                return Ok(Taken { tag: String::new(), digests: known });
            }
            Err(fault) => fault,
        };
        let folder = self.folder().to_owned();
        let is_folder = move || Ok(crate::disk::metadata(folder).is_ok_and(|folder| folder.is_dir()));
        if fault.error.kind == UploadErrorKind::NoSuchBucket && blocking(is_folder).await.unwrap_or(false) {
            // Another process took it for what a killed one had left; it is written again.
            return Err(Fault { class: Class::Again, ..fault });
        }
        // Before it is told that it failed: whoever hears that finds nothing left.
        let _ = blocking(move || crate::disk::remove_file(staged)).await;
        Err(fault)
    }

    async fn create(&self, token: &str) -> Result<String, Fault> {
        if !self.overwrite && Self::is_there(self.path.clone()).await {
            return Err(self.failed("create", &io::ErrorKind::AlreadyExists.into()));
        }
        let staged = self.staged(token);
        let create = move || OpenOptions::new().write(true).create_new(true).mode(0o666).open(staged).map(drop);
        blocking(create).await.map_err(|error| self.failed("create", &error))?;
        Ok(token.to_owned())
    }

    async fn part(
        &self,
        upload: &str,
        number: u64,
        range: Range,
        _: Option<Digests>,
        meter: Arc<Meter>,
    ) -> Result<Taken, Fault> {
        let staged = self.staged(upload);
        if !Self::is_there(staged.clone()).await {
            return Err(Self::gone(&staged));
        }
        let offset = range.offset;
        let digests = self.copy(staged, false, offset, range, &meter).await?;
        Ok(Taken { tag: number.to_string(), digests })
    }

    async fn parts(&self, upload: &str) -> Result<Option<Vec<Listed>>, Fault> {
        let staged = self.staged(upload);
        if Self::is_there(staged.clone()).await { Ok(None) } else { Err(Self::gone(&staged)) }
    }

    async fn complete(&self, upload: &str, parts: &[Part], whole: u64) -> Result<(), Fault> {
        let staged = self.staged(upload);
        let length: u64 = parts.iter().map(|part| part.length).sum();
        let at = staged.clone();
        let cut = blocking(move || OpenOptions::new().write(true).open(at)?.set_len(length)).await;
        cut.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Self::gone(&staged),
            _ => self.failed("finish", &error),
        })?;
        // A power cut may have taken parts that a killed process had written: what is published is what was read again.
        let found = self.crc_of(staged.clone(), 0..length + 1).await.map_err(|error| self.failed("read", &error))?;
        if found != (length, whole) {
            return Err(Fault::new(
                Class::BadPart,
                UploadErrorKind::Corrupt,
                format!("`{}` does not hold what was written; check the disk", staged.display()),
            ));
        }
        self.publish(staged).await
    }

    async fn abort(&self, upload: &str) -> Result<(), Fault> {
        let staged = self.staged(upload);
        match blocking(move || crate::disk::remove_file(staged)).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.failed("remove the staged file of", &error)),
        }
    }

    async fn read_back(&self, span: &Span, whole: bool) -> Result<u64, Fault> {
        // A byte more than there should be tells that there are more.
        let span = span.start..span.end + u64::from(whole);
        let found = self.crc_of(self.path.clone(), span).await;
        found.map(|(_, crc64)| crc64).map_err(|error| self.failed("read", &error))
    }

    async fn stale(&self) -> Result<Vec<Stale>, Fault> {
        let folder = self.folder().to_owned();
        let name: String = self.path.file_name().unwrap_or_default().to_string_lossy().chars().take(50).collect();
        let look = move || {
            let mut found = Vec::new();
            for entry in crate::disk::read_dir(folder)?.flatten() {
                let staged = entry.file_name().to_string_lossy().into_owned();
                let middle = staged.strip_prefix(&format!(".{name}.")).and_then(|rest| rest.strip_suffix(SUFFIX));
                if let Some(id) = middle.filter(|id| !id.contains('.')) {
                    let age = entry.metadata().and_then(|meta| meta.modified()).ok();
                    let age = age.map(|then| SystemTime::now().duration_since(then).unwrap_or(Duration::ZERO));
                    found.push(Stale { id: id.to_owned(), age });
                }
            }
            Ok(found)
        };
        Ok(blocking(look).await.unwrap_or_default())
    }
}
