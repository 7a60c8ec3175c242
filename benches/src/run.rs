//! Start a command and report its time and its peak memory.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::error::{Failure, Result};

/// Run `command` to its end; its standard output goes to the file `stdout`, or nowhere.
///
/// The kernel counts a child's peak memory from the moment it was forked, so the parent has to be small: this program, not Python.
pub fn run(command: &[OsString], stdout: Option<&Path>) -> Result<String> {
    let [program, arguments @ ..] = command else {
        return Err(Failure::new("there is no command after `--`"));
    };
    let stdout = match stdout {
        None => Stdio::null(),
        Some(path) => create(path)?,
    };
    let mut child = Command::new(program);
    child.args(arguments).stdin(Stdio::null()).stdout(stdout);
    let started = Instant::now();
    let status = child.status().map_err(Failure::while_trying("start", Path::new(program)))?;
    let wall = started.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|cause| Failure::new(cause.to_string()))?;
    let (user, system) = (seconds(usage.user_time()), seconds(usage.system_time()));
    let memory = usage.max_rss() * 1024;
    let code = status.code().unwrap_or(-1);
    Ok(format!(
        "{{\"exit\":{code},\"wall\":{wall:.6},\"user\":{user:.6},\"system\":{system:.6},\"peak_memory\":{memory}}}"
    ))
}

fn create(path: &Path) -> Result<Stdio> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let opened = openat(CWD, path, flags, Mode::from_raw_mode(0o644));
    opened.map(Stdio::from).map_err(Failure::while_trying("create", path))
}

fn seconds(time: TimeVal) -> f64 {
    Duration::from_micros(time.num_microseconds().unsigned_abs()).as_secs_f64()
}
