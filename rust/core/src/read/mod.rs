//! Archives that exist: open, list, read single members, from any writer and without trust.
//!
//! ```text
//!  source ──open──▶ container ──find──▶ member ──content──▶ bytes
//!  pread only       zip: an index of the directory          CRC checked, no more than announced
//! ```
//!
//! Nothing is held that a member does not need: names of a zip stay in its directory on disk. An [`Archive`] has no
//! position, so threads share it, and a process may inherit it.

mod container;
mod content;
mod decode;
mod digests;
mod extract;
mod fault;
mod glob;
mod index;
mod limits;
mod manifest;
mod many;
mod member;
mod paced;
mod room;
mod source;
mod tar;
mod verify;
mod zip;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage, show, show_bytes};
use crate::fs::{self, Kind};

use container::Container;
pub use container::Format;
use content::Content;
pub use digests::Sums;
pub use extract::{Existing, ExtractReport, ExtractRequest};
use fault::Fault;
use glob::Glob;
pub use limits::Limits;
pub use manifest::{Manifest, ManifestHead, ManifestMember};
pub use member::{Member, MemberKind, Packing};
use source::FileSource;
pub use source::Source;
pub use verify::{Damage, VerifyReport};

/// An opened archive.
pub struct Archive {
    path: PathBuf,
    source: Box<dyn Source>,
    container: Container,
    limits: Limits,
}

impl Archive {
    /// Open and index the file at `path`.
    pub fn open(path: &Path, limits: Limits, cancel: &CancelToken) -> Result<Self> {
        let failed = |cause| Error::io(Stage::Read, "open", path, cause);
        let file = fs::open_file(rustix::fs::CWD, std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()), true)
            .map_err(failed)?;
        let stat = fs::fstat(&file).map_err(failed)?;
        if Kind::of(&stat) != Kind::File {
            let what = match Kind::of(&stat) {
                Kind::Directory => "a folder",
                _ => fs::special_name(&stat),
            };
            let message = format!("cannot open {}: it is {what}; name an archive", show(path));
            return Err(Error::new(ErrorKind::Unsupported, Stage::Read, message).at(path));
        }
        let source = FileSource::new(file, stat.st_size.cast_unsigned());
        Self::from_source(path, Box::new(source), limits, cancel)
    }

    /// Open an archive that lies in memory, or wherever else `source` reads; `path` names it in errors.
    pub fn from_source(path: &Path, source: Box<dyn Source>, limits: Limits, cancel: &CancelToken) -> Result<Self> {
        let container = Container::open(&*source, &limits, cancel).map_err(|fault| fault.of(path))?;
        if container.members() == 0 && container.format() == Format::Tar && !may_be_tar(path) {
            let what = "it is all zeros, which is a tar of nothing, and its name is another format's; make it anew";
            return Err(Fault::corrupt(what).of(path));
        }
        Ok(Self { path: path.into(), source, container, limits })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file is.
    pub fn format(&self) -> Format {
        self.container.format()
    }

    /// How many regular files it holds, hard links to them among these, and of several with one name the last.
    pub fn files(&self) -> u64 {
        self.container.files()
    }

    /// How many members of any kind it holds.
    pub fn count(&self) -> u64 {
        self.container.members()
    }

    /// What is odd about the archive and does not keep it from being read, whole sentences: a tar without its end mark, or
    /// with something behind it.
    pub fn warnings(&self) -> Vec<String> {
        let sentence = |what: String| format!("{}: {what}.", show(&self.path));
        self.container.oddity().map(sentence).into_iter().collect()
    }

    fn explain(&self, fault: Fault) -> Error {
        fault.of(&self.path)
    }

    /// The member of this name, the last where there are several.
    pub fn find(&self, name: &[u8]) -> Result<Option<Member>> {
        self.container.find(&*self.source, name).map_err(|fault| self.explain(fault))
    }

    /// The member of this name, or [`MemberNotFound`](ErrorKind::MemberNotFound).
    pub fn member(&self, name: &[u8]) -> Result<Member> {
        self.find(name)?.ok_or_else(|| {
            let message = format!("{} has no member {}; names() has all", show(&self.path), show_bytes(name));
            Error::new(ErrorKind::MemberNotFound, Stage::Read, message).at(&self.path)
        })
    }

    /// The member whose bytes this one has: itself, or the file that a hard link leads to. That file's name may be a later
    /// member's by now.
    pub fn content_of(&self, member: Member) -> Member {
        self.container.target(&member).unwrap_or(member)
    }

    /// The member whose bytes one of this name has: itself, the file of a hard link, or where a symbolic link leads inside the
    /// archive.
    pub fn readable(&self, name: &[u8]) -> Result<Member> {
        let first = self.content_of(self.member(name)?);
        let mut member = first.clone();
        for _ in 0..limits::LINKS {
            if member.kind != MemberKind::Link {
                return Ok(member);
            }
            let target = self.link_target(&member)?;
            let path = member.path_of_target(&target);
            let spellings = path.into_iter().flat_map(|path| [member::other_spelling(&path), path].into_iter().rev());
            let mut found = spellings.map(|path| self.find(&path));
            let Some(next) = found.find_map(Result::transpose).transpose()? else {
                let what = format!("it is a link to {}, which is no member of the archive", show_bytes(&target));
                return Err(self.explain_in(&first, Fault::unsupported(what)));
            };
            member = self.content_of(next);
        }
        Err(self.explain_in(&first, Fault::unsupported("it is one of many links that lead to each other")))
    }

    /// Whether a file can be read by this name: it is a file's own, or that of a link to one inside the archive.
    pub fn contains(&self, name: &[u8]) -> Result<bool> {
        match self.find(name)? {
            Some(member) if member.kind == MemberKind::Link => match self.readable(name) {
                Ok(end) => Ok(end.is_file()),
                Err(error) if error.kind() == ErrorKind::Unsupported => Ok(false),
                Err(error) => Err(error),
            },
            member => Ok(member.is_some_and(|member| member.is_file())),
        }
    }

    /// Members in the archive's order; with patterns, those that match one.
    pub fn members(&self, patterns: Option<&[Vec<u8>]>) -> Result<Vec<Member>> {
        let globs: Option<Vec<Glob>> = patterns.map(|texts| texts.iter().map(|text| Glob::new(text)).collect());
        let mut found = Vec::new();
        let wanted = |member: &Member| globs.as_ref().is_none_or(|globs| globs.iter().any(|g| g.matches(&member.name)));
        self.each(&mut |member| {
            if wanted(&member) {
                found.push(member);
            }
            Ok(())
        })?;
        for member in &mut found {
            if member.kind == MemberKind::Link && member.link.is_none() {
                member.link = self.link_target(member).ok();
            }
        }
        Ok(found)
    }

    /// Call `each` with every member, in the archive's order, holding none.
    fn each(&self, each: &mut dyn FnMut(Member) -> Result<(), Fault>) -> Result<()> {
        self.container.each(&*self.source, each).map_err(|fault| self.explain(fault))
    }

    /// Names of regular files, hard links to them among these, in the archive's order; with a pattern, those that match it.
    /// A name that several members bear stands once, where the last of them does, which is the one that is read by it.
    pub fn names(&self, pattern: Option<&[u8]>) -> Result<Vec<Vec<u8>>> {
        let glob = pattern.map(Glob::new);
        let mut names = Vec::new();
        let mut superseded = self.container.superseded().iter().peekable();
        let mut number = 0;
        self.each(&mut |member| {
            let is_hidden = superseded.next_if_eq(&&number).is_some();
            number += 1;
            if !is_hidden && member.is_file() && glob.as_ref().is_none_or(|glob| glob.matches(&member.name)) {
                names.push(member.name);
            }
            Ok(())
        })?;
        Ok(names)
    }

    fn link_target(&self, member: &Member) -> Result<Vec<u8>> {
        if let Some(link) = &member.link {
            return Ok(link.clone());
        }
        if member.size > limits::LINK_BYTES {
            let fault = Fault::corrupt("the target of the link is longer than a path can be");
            return Err(self.explain(fault.in_member(&member.name).at(member.offset)));
        }
        let mut target = vec![0; member.size as usize];
        self.read_into(member, &mut target)?;
        Ok(target)
    }

    /// Unpack a member into `out`, which is exactly as long as it, and check its CRC.
    pub fn read_into(&self, member: &Member, out: &mut [u8]) -> Result<()> {
        if out.len() as u64 != member.size {
            let message =
                format!("{} has {} bytes, and the buffer {}", show_bytes(&member.name), member.size, out.len());
            return Err(Error::new(ErrorKind::Usage, Stage::Read, message));
        }
        content::read_into(&self.container, &*self.source, member, out).map_err(|fault| self.explain_in(member, fault))
    }

    fn explain_in(&self, member: &Member, fault: Fault) -> Error {
        self.explain(fault.in_member(&member.name).at(member.offset))
    }

    /// Refuse a member that cannot be read, or that claims more bytes than its packed ones may make.
    pub fn check_readable(&self, member: &Member) -> Result<()> {
        content::check(member)
            .and_then(|()| self.container.check_extent(member))
            .and_then(|()| self.limits.check_total(member.size))
            .map_err(|fault| self.explain_in(member, fault))
    }

    /// The same, and one that is more than memory has room for; after this, memory of its size may be taken.
    pub fn check_holdable(&self, member: &Member) -> Result<()> {
        self.check_readable(member)?;
        self.limits.check_held(member.size, self.source.length()).map_err(|fault| self.explain_in(member, fault))
    }

    /// The size of the member of this name, where [`read_direct`](Self::read_direct) may read it.
    pub fn direct(&self, name: &[u8]) -> Option<Direct> {
        match &self.container {
            Container::Zip(zip) => zip.direct(name).map(Direct),
            Container::Tar(..) => None,
        }
    }

    /// Unpack a stored member into `out` with one read and no look into the directory. `false` where that did not give
    /// the member and its CRC; [`member`](Self::member) and [`read_into`](Self::read_into) then say what is the matter.
    pub fn read_direct(&self, name: &[u8], direct: Direct, out: &mut [u8]) -> Result<bool> {
        match &self.container {
            Container::Zip(zip) => {
                zip.read_direct(&*self.source, name, direct.0, out).map_err(|fault| self.explain(fault))
            }
            Container::Tar(..) => Ok(false),
        }
    }

    /// A member's bytes, checked.
    pub fn read(&self, member: &Member) -> Result<Vec<u8>> {
        self.read_in_steps(member, &CancelToken::default())
    }

    /// The same, ended by `cancel` between two steps.
    pub fn read_in_steps(&self, member: &Member, cancel: &CancelToken) -> Result<Vec<u8>> {
        self.check_holdable(member)?;
        let mut bytes = Vec::new();
        let length = usize::try_from(member.size).unwrap_or(usize::MAX);
        if bytes.try_reserve_exact(length).is_err() {
            let what = format!("its {length} bytes do not fit into memory; read it in portions");
            return Err(self.explain_in(member, Fault::new(ErrorKind::LimitExceeded, what)));
        }
        bytes.resize(length, 0);
        self.read_into_in_steps(member, &mut bytes, cancel)?;
        Ok(bytes)
    }
}

/// Zeros say nothing of their format, so the name may.
fn may_be_tar(path: &Path) -> bool {
    let name = path.file_name().map_or(&[][..], std::os::unix::ffi::OsStrExt::as_bytes);
    crate::request::Format::of(name).is_none_or(|format| format == crate::request::Format::Tar)
}

/// A stored member of a zip that can be read without its record in the directory.
#[derive(Debug, Clone, Copy)]
pub struct Direct(zip::Direct);

impl Direct {
    /// Bytes of the member.
    pub fn size(&self) -> usize {
        self.0.size as usize
    }
}

/// Where frames begin by the seek table of a zstd file, packed and unpacked; for fuzzing.
#[doc(hidden)]
pub fn seek_table(source: &dyn Source) -> Option<Vec<(u64, u64)>> {
    tar::seek_table(source).ok().flatten().map(|table| table.starts)
}

/// Reads one member in portions, from any position.
///
/// What is stored is read where it lies. What is packed goes on where the last portion ended; a position before
/// that begins again from the member's first byte. The CRC is checked when the last byte is reached without a gap.
pub struct MemberReader {
    archive: Arc<Archive>,
    member: Member,
    content: Mutex<Content>,
}

impl MemberReader {
    /// Begin to read `member`.
    pub fn new(archive: Arc<Archive>, member: Member) -> Result<Self> {
        archive.check_readable(&member)?;
        let content = Content::new(&archive.container, &*archive.source, &member)
            .map_err(|fault| archive.explain_in(&member, fault))?;
        Ok(Self { archive, member, content: Mutex::new(content) })
    }

    /// The member.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// Refuse to hold so many of its bytes at once, if they are more than memory has room for; after this, memory for them may
    /// be taken.
    pub fn check_holdable(&self, length: u64) -> Result<()> {
        let Self { archive, member, .. } = self;
        archive.limits.check_held(length, archive.source.length()).map_err(|fault| archive.explain_in(member, fault))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // A reader that panicked has left a position behind at worst, and is not there: nothing here panics.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fill `out` from `offset`; the count read is short only at the member's end.
    pub fn read_at(&self, out: &mut [u8], offset: u64) -> Result<usize> {
        let Self { archive, member, .. } = self;
        let mut content = self.content();
        let mut filled = 0;
        while filled < out.len() {
            let at = offset.saturating_add(filled as u64);
            let count = content
                .read_at(&archive.container, &*archive.source, member, at, &mut out[filled..])
                .map_err(|fault| archive.explain_in(member, fault))?;
            if count == 0 {
                break;
            }
            filled += count;
        }
        Ok(filled)
    }
}
