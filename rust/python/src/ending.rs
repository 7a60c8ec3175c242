//! `run_at_exit`: a program that is started when this process has ended, and is told how; Python's own end is told nothing of that.

use std::ffi::OsString;

use pyo3::prelude::*;

#[pyfunction]
pub(crate) fn run_at_exit(command: Vec<OsString>) -> bool {
    last::run(command)
}

#[cfg(target_env = "gnu")]
mod last {
    use std::ffi::{OsString, c_int, c_void};
    use std::process::Command;
    use std::ptr::null_mut;
    use std::sync::{Mutex, PoisonError};

    /// What is to be run, and at whose end: a fork that outlives its parent's last moments has an end of its own.
    static LAST: Mutex<Option<(u32, Vec<OsString>)>> = Mutex::new(None);

    #[expect(unsafe_code, reason = "a call of the GNU C library's that no crate offers")]
    unsafe extern "C" {
        safe fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    }

    /// Have a command run at the end, with the exit status as its last argument. One at most: the one before is forgotten.
    pub(super) fn run(command: Vec<OsString>) -> bool {
        let before = LAST.lock().unwrap_or_else(PoisonError::into_inner).replace((std::process::id(), command));
        before.is_some() || on_exit(at_exit, null_mut()) == 0
    }

    extern "C" fn at_exit(status: c_int, _: *mut c_void) {
        let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((process, command)) = last
            && process == std::process::id()
            && let [program, words @ ..] = &command[..]
        {
            // Whoever waits for this process may go on with what that program does. There is nobody left to tell of its failure.
            let _ = Command::new(program).args(words).arg((status & 0xff).to_string()).status();
        }
    }
}

#[cfg(not(target_env = "gnu"))]
mod last {
    /// There is no such call.
    pub(super) fn run(_: Vec<std::ffi::OsString>) -> bool {
        false
    }
}
