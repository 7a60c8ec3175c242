//! The floors: what the kernel and libdeflate need for the bytes themselves, with no archive around them.
//!
//! ```text
//! floor pack DIR OUT [--threads N] [--level L] [--gather KIB] [--order name|inode|found] [--sync] [--unlink]
//! floor copy FILE OUT [--threads N] [--sync]
//! floor read DIR [--threads N] [--order name|inode|found]
//! floor create DIR INTO [--threads N]
//! floor unlink DIR [--threads N] [--order name|inode|found]
//! floor clone DIR NEW [--threads N]
//! floor run [--stdout FILE] -- COMMAND...
//! ```
//!
//! `pack` opens, reads and closes every file below DIR and writes every byte to OUT; with `--level` every file goes through
//! libdeflate first. `read` opens, reads and closes the files, and keeps nothing. `create` makes files of the same names and sizes in
//! the empty folder INTO: openat, write, close. Names and sizes are listed before the clock starts. `run` is no floor: it starts a command from a process of 2 MiB, so
//! that the peak memory it reports is the command's own. Each prints one JSON object on one line.

mod clock;
mod copy;
mod create;
mod error;
mod listing;
mod pack;
mod read;
mod run;
mod tree;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::clock::Phases;
use crate::error::{Failure, Result};
use crate::listing::{Listing, Order};

/// What the command line asked for, beside the subcommand.
struct Arguments {
    paths: Vec<PathBuf>,
    threads: usize,
    level: Option<i32>,
    gather: usize,
    order: Order,
    sync: bool,
    unlink: bool,
    stdout: Option<PathBuf>,
    command: Vec<OsString>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Self> {
        let mut parsed = Self {
            paths: Vec::new(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            level: None,
            gather: 256,
            order: Order::Name,
            sync: false,
            unlink: false,
            stdout: None,
            command: Vec::new(),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| Failure::usage(&word));
            match word.to_str() {
                Some("--threads") => parsed.threads = number(&value()?)?,
                Some("--level") => parsed.level = Some(number(&value()?)?),
                Some("--gather") => parsed.gather = number(&value()?)?,
                Some("--order") => parsed.order = Order::named(&value()?)?,
                Some("--stdout") => parsed.stdout = Some(value()?.into()),
                Some("--sync") => parsed.sync = true,
                Some("--unlink") => parsed.unlink = true,
                Some("--") => parsed.command.extend(words.by_ref()),
                Some(option) if option.starts_with("--") => return Err(Failure::usage(&word)),
                _ => parsed.paths.push(word.into()),
            }
        }
        Ok(parsed)
    }

    fn path(&self, position: usize) -> Result<&PathBuf> {
        let missing = || Failure::new("a path is missing; see the head of benches/src/main.rs");
        self.paths.get(position).ok_or_else(missing)
    }
}

fn number<T: std::str::FromStr>(word: &OsString) -> Result<T> {
    let parsed = word.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| Failure::usage(word))
}

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let subcommand = words.next().unwrap_or_default();
    let outcome = Arguments::parse(words).and_then(|arguments| perform(&subcommand, &arguments));
    match outcome {
        Ok(line) => {
            let written = writeln!(std::io::stdout(), "{line}");
            if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failure) => {
            // Nobody is left to tell when stderr is closed too.
            let _ = writeln!(std::io::stderr(), "floor: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn perform(subcommand: &OsString, arguments: &Arguments) -> Result<String> {
    match subcommand.to_str() {
        Some("pack") => pack(arguments),
        Some("copy") => {
            let mut phases = Phases::default();
            copy::copy(arguments.path(0)?, arguments.path(1)?, arguments.threads, arguments.sync, &mut phases)
        }
        Some("read") => read(arguments),
        Some("create") => create(arguments),
        Some("unlink") => {
            let mut phases = Phases::default();
            let listing = phases.time("list", || Listing::read(arguments.path(0)?, arguments.order))?;
            phases.time("unlink", || tree::unlink(&listing, arguments.threads))?;
            Ok(format!("{{\"files\":{},\"phases\":{phases}}}", listing.len()))
        }
        Some("clone") => tree::clone(arguments.path(0)?, arguments.path(1)?, arguments.threads),
        Some("run") => run::run(&arguments.command, arguments.stdout.as_deref()),
        _ => Err(Failure::usage(subcommand)),
    }
}

fn pack(arguments: &Arguments) -> Result<String> {
    let mut phases = Phases::default();
    let listing = phases.time("list", || Listing::read(arguments.path(0)?, arguments.order))?;
    let output = pack::Output::create(arguments.path(1)?)?;
    let bytes_in = phases
        .time("pack", || pack::pack(&listing, &output, arguments.threads, arguments.level, arguments.gather << 10))?;
    if arguments.sync {
        phases.time("sync", || output.sync())?;
    }
    if arguments.unlink {
        phases.time("unlink", || tree::unlink(&listing, arguments.threads))?;
    }
    let (files, bytes_out) = (listing.len(), output.len());
    Ok(format!("{{\"files\":{files},\"bytes_in\":{bytes_in},\"bytes_out\":{bytes_out},\"phases\":{phases}}}"))
}

fn read(arguments: &Arguments) -> Result<String> {
    let mut phases = Phases::default();
    let listing = phases.time("list", || Listing::read(arguments.path(0)?, arguments.order))?;
    let bytes_in = phases.time("read", || read::read_files(&listing, arguments.threads))?;
    Ok(format!("{{\"files\":{},\"bytes_in\":{bytes_in},\"phases\":{phases}}}", listing.len()))
}

fn create(arguments: &Arguments) -> Result<String> {
    let mut phases = Phases::default();
    let (planned, root) = phases.time("list", || {
        let listing = Listing::read(arguments.path(0)?, Order::Name)?;
        Ok((create::plan(&listing)?, create::folders(&listing, arguments.path(1)?)?))
    })?;
    let bytes_out = phases.time("create", || create::create(&planned, &root, arguments.threads))?;
    Ok(format!("{{\"files\":{},\"bytes_out\":{bytes_out},\"phases\":{phases}}}", planned.len()))
}
