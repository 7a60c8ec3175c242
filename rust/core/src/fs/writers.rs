//! Who has a file open for writing.

use std::os::fd::{AsFd, AsRawFd as _};

/// What `fcntl` calls the choice of a signal; the `libc` crate has it for few systems, and it is the same on all.
const F_SETSIG: libc::c_int = 10;

/// Whether any process has the file open for writing, or mapped so; `false` where the file system, or the file's owner, does not
/// let that be known.
///
/// The kernel leases a file for reading to whoever asks, but not while somebody can write to it. The lease ends with `file`.
pub(crate) fn has_writers(file: impl AsFd) -> bool {
    let descriptor = file.as_fd().as_raw_fd();
    // Who opens the file for writing at this very moment waits for us to close it, and we are sent a signal: one that is ignored
    // unless somebody asks for it, instead of the usual one, which ends the process.
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the calls touch no memory of ours.
    #[expect(unsafe_code, reason = "no safe wrapper of this call exists")]
    let refused = unsafe {
        libc::fcntl(descriptor, F_SETSIG, libc::SIGURG) == 0
            && libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_RDLCK) != 0
    };
    refused && std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}
