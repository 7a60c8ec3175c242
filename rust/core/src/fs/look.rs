//! What a failed look at a name says.

use std::io;

/// Whether a failed look at a name leaves it open what is there: too many open files, say, or a disk that does not answer.
pub(crate) fn tells_nothing(error: &io::Error) -> bool {
    let telling = [
        libc::ENOENT,
        libc::ENOTDIR,
        libc::EACCES,
        libc::EPERM,
        libc::ELOOP,
        libc::ENAMETOOLONG,
        libc::ENXIO,
        libc::ENODEV,
        libc::EISDIR,
        libc::EINVAL,
        libc::ESPIPE,
    ];
    error.raw_os_error().is_some_and(|code| !telling.contains(&code))
}
