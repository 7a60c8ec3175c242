//! The one door to the disk: every call that touches a file stands here and below, without policy.

mod lock;
mod look;
mod modes;
mod system;
mod tick;
mod tree;
mod writers;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

pub(crate) use lock::{Held, lock, lock_directory, lock_soon};
pub(crate) use look::tells_nothing;
pub(crate) use modes::{set_file_mode, set_mode, set_mode_of};
pub(crate) use rustix::event::Timespec;
use rustix::event::{PollFd, PollFlags};
pub(crate) use rustix::fs::Stat;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
pub(crate) use system::{clone, exchange, most_open, sync_system};
pub(crate) use tick::{fstat_at_rest, second};
pub(crate) use tree::{create_over, list};
pub(crate) use writers::has_writers;

/// Longest path that is handed to the kernel whole; `PATH_MAX` counts the final NUL.
const PATH_MAX: usize = 4095;

/// What a directory entry or a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Link,
    Special,
}

impl Kind {
    pub fn of(stat: &Stat) -> Self {
        Self::of_type(FileType::from_raw_mode(stat.st_mode)).unwrap_or(Self::Special)
    }

    /// `None` where the file system does not say, and only a stat can.
    fn of_type(kind: FileType) -> Option<Self> {
        match kind {
            FileType::RegularFile => Some(Self::File),
            FileType::Directory => Some(Self::Directory),
            FileType::Symlink => Some(Self::Link),
            FileType::Unknown => None,
            _ => Some(Self::Special),
        }
    }
}

/// The name of what a special file is, for people.
pub(crate) fn special_name(stat: &Stat) -> &'static str {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "a special file",
    }
}

/// Identity and state of a file: the same values mean that nobody has touched it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Stamp {
    pub dev: u64,
    pub ino: u64,
    pub size: u64,
    pub mtime: i64,
    pub mtime_ns: u32,
}

impl Stamp {
    #[expect(clippy::cast_sign_loss, reason = "sizes and nanoseconds are never negative")]
    pub fn of(stat: &Stat) -> Self {
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: stat.st_size as u64,
            mtime: stat.st_mtime,
            mtime_ns: stat.st_mtime_nsec as u32,
        }
    }
}

/// What tells a file or folder from every other, whatever leads to it.
pub(crate) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

pub(crate) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// `directory/name`, both as bytes.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(directory.len() + 1 + name.len());
    joined.extend_from_slice(directory);
    if !name.is_empty() {
        if joined.last() != Some(&b'/') {
            joined.push(b'/');
        }
        joined.extend_from_slice(name);
    }
    joined
}

pub(crate) fn lstat(path: &Path) -> io::Result<Stat> {
    Ok(rustix::fs::lstat(path)?)
}

pub(crate) fn stat(path: &Path) -> io::Result<Stat> {
    Ok(rustix::fs::stat(path)?)
}

pub(crate) fn lstat_at(directory: impl AsFd, name: &[u8]) -> io::Result<Stat> {
    Ok(rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

pub(crate) fn stat_at(directory: impl AsFd, name: &[u8]) -> io::Result<Stat> {
    Ok(rustix::fs::statat(directory, name, AtFlags::empty())?)
}

pub(crate) fn fstat(file: impl AsFd) -> io::Result<Stat> {
    Ok(rustix::fs::fstat(file)?)
}

/// What an ordinary user may still write to the disk that `path` is on.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

pub(crate) fn canonical(path: &Path) -> io::Result<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    std::fs::canonicalize(path)
}

pub(crate) fn read_link(directory: impl AsFd, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(directory, name, Vec::new())?.into_bytes())
}

/// Open a directory for listing and syncing, however long its path is.
pub(crate) fn open_directory(path: &[u8]) -> io::Result<OwnedFd> {
    open_folder(path, OFlags::RDONLY)
}

/// [`open_directory`], where its name is no link.
pub(crate) fn open_directory_itself(path: &[u8]) -> io::Result<OwnedFd> {
    open_folder(path, OFlags::RDONLY | OFlags::NOFOLLOW)
}

/// Open a directory for reaching what is in it: its names may be unreadable, as long as it may be entered.
pub(crate) fn enter_directory(path: &[u8]) -> io::Result<OwnedFd> {
    open_folder(path, OFlags::PATH)
}

/// [`enter_directory`], where its name is no link.
pub(crate) fn enter_directory_itself(path: &[u8]) -> io::Result<OwnedFd> {
    open_folder(path, OFlags::PATH | OFlags::NOFOLLOW)
}

/// [`enter_directory`], where the path still leads to the directory that it led to; `None` where another took its place.
pub(crate) fn enter_same(path: &[u8], expected: (u64, u64)) -> io::Result<Option<OwnedFd>> {
    let directory = enter_directory(path)?;
    let same = identity(&fstat(&directory)?) == expected;
    Ok(same.then_some(directory))
}

/// What tells a folder from one that has its place and its numbers: when it was made, where the file system keeps that,
/// and which file system it is on. Inodes are used again, and device numbers, too.
pub(crate) type Origin = (i64, u32, u64);

/// The folder's origin, where it is there.
pub(crate) fn origin(path: &[u8]) -> Option<Origin> {
    origin_of(enter_directory(path).ok()?)
}

/// The number that the device of a folder has now, where the folder at `path` is still the one of this identity and origin, and
/// its disk was given another number when it was mounted again. Where birth or volume is not known, nobody can tell.
pub(crate) fn renumbered(path: &[u8], (device, inode): (u64, u64), origin: Origin) -> Option<u64> {
    let (seconds, nanoseconds, volume) = origin;
    if (seconds, nanoseconds) == (0, 0) || volume == 0 {
        return None;
    }
    let folder = enter_directory(path).ok()?;
    let now = fstat(&folder).ok()?;
    let same = now.st_dev != device && now.st_ino == inode && origin_of(&folder) == Some(origin);
    same.then_some(now.st_dev)
}

fn origin_of(folder: impl AsFd) -> Option<Origin> {
    let flags = rustix::fs::StatxFlags::BTIME;
    let stat = rustix::fs::statx(&folder, c"", AtFlags::EMPTY_PATH, flags).ok()?;
    let volume = rustix::fs::fstatvfs(&folder).ok()?.f_fsid;
    // Overlayfs shows the birth of whatever layer a folder is in, and the first change brings that to another.
    let is_overlay = rustix::fs::fstatfs(&folder).is_ok_and(|disk| disk.f_type == 0x794c_7630);
    let has_birth = !is_overlay && rustix::fs::StatxFlags::from_bits_retain(stat.stx_mask).contains(flags);
    let birth = if has_birth { (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec) } else { (0, 0) };
    Some((birth.0, birth.1, volume))
}

fn open_folder(path: &[u8], how: OFlags) -> io::Result<OwnedFd> {
    let flags = how | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if path.len() <= PATH_MAX {
        return Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
    }
    let mut cut = path[..PATH_MAX].iter().rposition(|&b| b == b'/').unwrap_or(0);
    let on_the_way = flags - OFlags::NOFOLLOW;
    let mut directory = rustix::fs::openat(CWD, &path[..cut], on_the_way, Mode::empty())?;
    while cut < path.len() {
        let rest = &path[cut + 1..];
        let length = if rest.len() <= PATH_MAX {
            rest.len()
        } else {
            rest[..PATH_MAX].iter().rposition(|&b| b == b'/').unwrap_or(rest.len())
        };
        let flags = if length == rest.len() { flags } else { on_the_way };
        directory = rustix::fs::openat(&directory, &rest[..length], flags, Mode::empty())?;
        cut += 1 + length;
    }
    Ok(directory)
}

/// Open a file for reading; never blocks on a FIFO, follows a link only when told.
pub(crate) fn open_file(directory: impl AsFd, name: &[u8], follow: bool) -> io::Result<OwnedFd> {
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

/// Open the file at `path` for reading, where it is no link.
pub(crate) fn open_path(path: &Path) -> io::Result<OwnedFd> {
    open_file(CWD, path.as_os_str().as_bytes(), false)
}

/// Read from the current position until `buffer` is full or the file ends; the count read.
pub(crate) fn read_full(file: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::read(&file, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}

/// One `read` that should take all: short only at the end of the file.
pub(crate) fn read_once(file: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::io::read(&file, &mut *buffer) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Read from standard input what is there, waiting for it no longer than `patience`; `None` when nothing came.
pub(crate) fn read_stdin(buffer: &mut [u8], patience: &Timespec) -> io::Result<Option<usize>> {
    let stdin = rustix::stdio::stdin();
    let mut waiting = [PollFd::new(&stdin, PollFlags::IN)];
    match rustix::event::poll(&mut waiting, Some(patience)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(None),
        Ok(_) => Ok(Some(read_once(stdin, buffer)?)),
        Err(error) => Err(error.into()),
    }
}

/// Fill `buffer` from `offset`, or as much as the file holds; the count read.
pub(crate) fn read_at(file: impl AsFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(&file, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}

/// Fill `head` and then `body` from `offset` with one call, or as much as the file holds; the count read.
pub(crate) fn read_two_at(file: impl AsFd, head: &mut [u8], body: &mut [u8], offset: u64) -> io::Result<usize> {
    let (in_head, whole) = (head.len(), head.len() + body.len());
    let read = loop {
        match rustix::io::preadv(&file, &mut [io::IoSliceMut::new(head), io::IoSliceMut::new(body)], offset) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    if read == whole || read == 0 {
        return Ok(read);
    }
    if read < in_head {
        let more = read_at(&file, &mut head[read..], offset + read as u64)?;
        if read + more < in_head {
            return Ok(read + more);
        }
    }
    let have = read.max(in_head);
    Ok(have + read_at(&file, &mut body[have - in_head..], offset + have as u64)?)
}

pub(crate) fn write_all(file: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&file, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Leave a hole of so many bytes where the file is written next.
pub(crate) fn skip(file: impl AsFd, hole: u64) -> io::Result<()> {
    let hole = i64::try_from(hole).map_err(|_| io::ErrorKind::FileTooLarge)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Current(hole))?;
    Ok(())
}

/// Cut the file to a length, or fill it up with a hole.
pub(crate) fn set_length(file: impl AsFd, length: u64) -> io::Result<()> {
    Ok(rustix::fs::ftruncate(&file, length)?)
}

pub(crate) fn write_at(file: impl AsFd, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(&file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Cut the file to `length` and go on writing there.
pub(crate) fn rewind(file: impl AsFd, length: u64) -> io::Result<()> {
    rustix::fs::ftruncate(&file, length)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(length))?;
    Ok(())
}

/// Hand the range to the disk; `wait` returns only when it is there. A hint: durability needs [`sync_file`].
///
/// A write that has failed is reported once to each open file, and this may be the call that is told of it, so that [`sync_file`]
/// on the same one learns of nothing any more.
pub(crate) fn write_back(file: impl AsFd, offset: u64, length: u64, wait: bool) -> io::Result<()> {
    let mut flags = libc::SYNC_FILE_RANGE_WRITE;
    if wait {
        flags |= libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    }
    let (Ok(offset), Ok(length)) = (offset.try_into(), length.try_into()) else { return Ok(()) };
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the call touches no memory of ours.
    #[expect(unsafe_code, reason = "no safe wrapper of this call exists")]
    let call = || unsafe { libc::sync_file_range(file.as_fd().as_raw_fd(), offset, length, flags) };
    while call() != 0 {
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            // Not known there, or not allowed: nothing was looked at.
            Some(libc::ENOSYS | libc::EPERM | libc::EINVAL | libc::ESPIPE | libc::EOPNOTSUPP) => return Ok(()),
            _ => return Err(error),
        }
    }
    Ok(())
}

pub(crate) fn sync_file(file: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| rustix::fs::fdatasync(&file))?)
}

/// Wait until the file's bytes and what the file system says of it, its modes too, are on disk.
pub(crate) fn sync_whole(file: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| rustix::fs::fsync(&file))?)
}

/// Wait until all that was done on the file system of an open folder is on its disk; `false` where that may not be asked
/// for, or says nothing, and only what was done in the folder itself is.
pub(crate) fn sync_disk(directory: impl AsFd) -> io::Result<bool> {
    if system::is_in_user_space(&directory)? {
        return sync_directory(directory).map(|()| false);
    }
    match rustix::io::retry_on_intr(|| rustix::fs::syncfs(&directory)) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => sync_directory(directory).map(|()| false),
        Err(error) => Err(error.into()),
    }
}

/// Whether a loss of power leaves no later change on the disk of an open folder without the earlier ones. Btrfs brings what is
/// synced to the disk before the rest, FAT keeps no order, and of overlays, FUSE and networks nobody knows what is behind.
pub(crate) fn keeps_order(directory: impl AsFd) -> bool {
    // XFS, ext4, tmpfs.
    rustix::fs::fstatfs(directory).is_ok_and(|disk| matches!(disk.f_type, 0x5846_5342 | 0xEF53 | 0x0102_1994))
}

pub(crate) fn sync_directory(directory: impl AsFd) -> io::Result<()> {
    match rustix::io::retry_on_intr(|| rustix::fs::fsync(&directory)) {
        // Some network file systems cannot sync a directory; there is nothing to wait for then.
        Err(rustix::io::Errno::INVAL) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A file without a name in `directory`, where the file system can make one and it can be given a name later.
pub(crate) fn create_unnamed(directory: impl AsFd) -> io::Result<Option<OwnedFd>> {
    create_unnamed_member(directory, 0o666)
}

/// The same, with these modes less the umask.
pub(crate) fn create_unnamed_member(directory: impl AsFd, mode: u32) -> io::Result<Option<OwnedFd>> {
    use rustix::io::Errno;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::openat(&directory, ".", flags, Mode::from_raw_mode(mode & 0o777)) {
        Ok(file) => Ok(rustix::fs::access(fd_path(&file), rustix::fs::Access::EXISTS).is_ok().then_some(file)),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A new file named `name`, with the modes that the umask leaves; fails when the name is taken.
pub(crate) fn create_named(directory: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    create(directory, name, 0o666)
}

/// A new file named `name` that nobody else may read or write; fails when the name is taken.
pub(crate) fn create_private(directory: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let file = create(&directory, name, 0o600)?;
    // Whatever the umask took of it; where modes are fixed there is none.
    let _ = rustix::fs::fchmod(&file, Mode::from_raw_mode(0o600));
    Ok(file)
}

fn create(directory: impl AsFd, name: &[u8], mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(mode))?)
}

/// A new file named `name` for writing, with these modes less the umask; fails when the name is taken, by a link too.
pub(crate) fn create_member(directory: impl AsFd, name: &[u8], mode: u32) -> io::Result<OwnedFd> {
    create(directory, name, mode & 0o777)
}

/// A new folder with the modes that the umask leaves; `false` when the name is taken.
pub(crate) fn create_directory(directory: impl AsFd, name: &[u8]) -> io::Result<bool> {
    match rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o777)) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Open the folder `name` in `directory` for reaching what is in it; a link is refused.
pub(crate) fn enter_at(directory: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

/// Create every folder of `path` that is not there.
pub(crate) fn create_directories(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

pub(crate) fn create_link(target: &[u8], directory: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(target, directory, name)?)
}

/// Another name for a file; where the old name is a link, for the link itself.
pub(crate) fn create_hard_link(from: impl AsFd, old: &[u8], directory: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::linkat(from, old, directory, name, AtFlags::empty())?)
}

fn modified((seconds, nanoseconds): (i64, u32)) -> rustix::fs::Timestamps {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    rustix::fs::Timestamps { last_access: time, last_modification: time }
}

/// Set the times of an open file.
pub(crate) fn set_time(file: impl AsFd, time: (i64, u32)) -> io::Result<()> {
    Ok(rustix::fs::futimens(file, &modified(time))?)
}

/// Set the times of what bears the name, a link itself.
pub(crate) fn set_time_at(directory: impl AsFd, name: &[u8], time: (i64, u32)) -> io::Result<()> {
    Ok(rustix::fs::utimensat(directory, name, &modified(time), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Another name for the file at a path; fails when the name is taken.
pub(crate) fn link(path: &Path, name: &Path) -> io::Result<()> {
    Ok(rustix::fs::link(path, name)?)
}

/// A regular file under one name that belongs to this user and that no other may write to.
pub(crate) fn is_ours_alone(stat: &Stat) -> bool {
    Kind::of(stat) == Kind::File
        && stat.st_uid == rustix::process::geteuid().as_raw()
        && stat.st_mode & 0o022 == 0
        && stat.st_nlink == 1
}

fn fd_path(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// Give an unnamed file its name; fails when the name is taken.
pub(crate) fn link_unnamed(file: impl AsFd, directory: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::linkat(CWD, fd_path(file), directory, name, AtFlags::SYMLINK_FOLLOW)?)
}

/// Move `from` to `to` in one directory, replacing what is there.
pub(crate) fn replace(directory: impl AsFd, from: &[u8], to: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::renameat(&directory, from, &directory, to)?)
}

/// Move `from` to `to` in one directory; fails when the name is taken.
pub(crate) fn rename_new(directory: impl AsFd, from: &[u8], to: &[u8]) -> io::Result<()> {
    use rustix::fs::RenameFlags;
    use rustix::io::Errno;
    match rustix::fs::renameat_with(&directory, from, &directory, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            // A file system without that flag: a hard link refuses a taken name just as well.
            match rustix::fs::linkat(&directory, from, &directory, to, AtFlags::empty()) {
                Ok(()) => return Ok(rustix::fs::unlinkat(&directory, from, AtFlags::empty())?),
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {}
                Err(error) => return Err(error.into()),
            }
            // FAT knows no links either. Who packs into the directory holds its lock meanwhile; another's file that
            // appears between these two lines is the one that is lost, on file systems that offer nothing better.
            match rustix::fs::statat(&directory, to, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(Errno::NOENT) => replace(directory, from, to),
                Err(error) => Err(error.into()),
            }
        }
        other => Ok(other?),
    }
}

pub(crate) fn unlink(directory: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(directory, name, AtFlags::empty())?)
}
