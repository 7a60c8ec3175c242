//! Digests of files: found under the rules of a pack, read on all cores, handed out in order; and lists of them checked.

mod algorithm;
mod files;
mod line;
mod tree;
mod work;

use std::time::{Duration, Instant};

use algorithm::OneOrTwo;
pub use algorithm::{Algorithm, Sum};
use files::Files;
pub use line::sum_line;

use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::progress::{Phase, Progress};
use crate::report::Remark;
use crate::request::{Names, PackOptions};

/// What to hash, and how.
#[derive(Debug, Clone)]
pub struct HashRequest {
    /// Each a path that exists, else a pattern, as for a pack.
    pub sources: Names,
    /// Paths that are never read as patterns.
    pub literals: Names,
    /// Patterns of what to leave out, as for a pack.
    pub exclude: Vec<Vec<u8>>,
    /// Wildcards match names that start with a dot, too.
    pub hidden: bool,
    /// Hash standard input instead of files; its name is `-`.
    pub stdin: bool,
    /// Which digest; default XXH3, which costs the least.
    pub algorithm: Algorithm,
    /// Threads; default one per available core.
    pub jobs: usize,
}

impl Default for HashRequest {
    fn default() -> Self {
        Self {
            sources: Names::default(),
            literals: Names::default(),
            exclude: Vec::new(),
            hidden: false,
            stdin: false,
            algorithm: Algorithm::default(),
            jobs: PackOptions::default().jobs,
        }
    }
}

/// What was hashed.
#[derive(Debug, Clone, Default)]
pub struct HashReport {
    /// Files hashed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What the sources named and was left out.
    pub skipped: Vec<Remark>,
    /// What the user should know, whole sentences.
    pub warnings: Vec<String>,
    /// Wall time of the call.
    pub elapsed: Duration,
}

/// Hash files, and hand each one's name and digest, or what stands in its way, to `each` in the order of their names.
///
/// Names are absolute where the source is, else relative to the working directory. An error from `each` ends the call.
///
/// ```
/// use vhpack_core::{CancelToken, HashRequest, Progress, hash};
///
/// let folder = tempfile::tempdir()?;
/// # #[expect(clippy::disallowed_methods)]
/// std::fs::write(folder.path().join("a.txt"), "abc")?;
/// let request = HashRequest { sources: [folder.path()].into_iter().collect(), ..HashRequest::default() };
/// let mut sums = Vec::new();
/// hash(&request, &Progress::default(), &CancelToken::default(), |_, sum| {
///     sums.push(sum?.to_string());
///     Ok(())
/// })?;
/// assert_eq!(sums, ["06b05ab6733a618578af5f94892f3950"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn hash(
    request: &HashRequest,
    progress: &Progress,
    cancel: &CancelToken,
    mut each: impl FnMut(&[u8], Result<Sum>) -> Result<()> + Send,
) -> Result<HashReport> {
    let start = Instant::now();
    check_jobs(request.jobs)?;
    progress.enter(Phase::Scan);
    let mut report = HashReport::default();
    if request.stdin {
        progress.enter(Phase::Hash);
        each(b"-", Ok(work::stdin(request.algorithm, progress, cancel)?))?;
        report.files = 1;
    } else {
        let wanted = files::find(request, cancel)?;
        let files = &wanted.files;
        progress.total_files.set(files.len() as u64);
        progress.enter(Phase::Hash);
        let algorithm = OneOrTwo::one(request.algorithm);
        let hashed = &mut report.files;
        work::run(files, &|_| algorithm, request.jobs, progress, cancel, |index, sums| {
            let sum = sums.map(|sums| sums.first);
            *hashed += u64::from(sum.is_ok());
            each(&not_stdin(files.shown(index)), sum)
        })?;
        (report.skipped, report.warnings) = (wanted.skipped, wanted.warnings);
    }
    report.bytes = progress.bytes_in.get();
    report.elapsed = start.elapsed();
    Ok(report)
}

/// Read files that are known to be there once, and return two digests of each, in the order in which they are named.
///
/// Names that share a folder are best named one behind the other. Nothing is looked up before a file is opened, so a link
/// leads to its file, and a pattern is a name like any other.
///
/// ```
/// use vhpack_core::{Algorithm, CancelToken, Progress, hash_both};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a*.txt");
/// # #[expect(clippy::disallowed_methods)]
/// std::fs::write(&path, "abc")?;
/// let algorithms = [Algorithm::Sha256, Algorithm::Xxh3];
/// let sums = hash_both(&[path].into_iter().collect(), algorithms, 1, &Progress::default(), &CancelToken::default())?;
/// assert_eq!(sums[0][1].to_string(), "06b05ab6733a618578af5f94892f3950");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn hash_both(
    names: &Names,
    algorithms: [Algorithm; 2],
    jobs: usize,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Vec<[Sum; 2]>> {
    check_jobs(jobs)?;
    let mut files = Files::default();
    for name in names.iter() {
        files.add(name);
    }
    progress.total_files.set(files.len() as u64);
    progress.enter(Phase::Hash);
    let wanted = OneOrTwo { first: algorithms[0], other: Some(algorithms[1]) };
    let mut found = Vec::with_capacity(files.len());
    work::run(&files, &|_| wanted, jobs, progress, cancel, |_, sums| {
        let sums = sums?;
        found.push([sums.first, sums.other.unwrap_or(sums.first)]);
        Ok(())
    })?;
    Ok(found)
}

/// A list of digests to check files against.
#[derive(Debug, Clone, Default)]
pub struct CheckRequest {
    /// Lines of `vhpack hash`, `sha256sum`, `b3sum`, `xxhsum` or `rhash --crc32`, plain or tagged.
    pub list: Vec<u8>,
    /// Read lines of this digest only; by default the line's own, and where that leaves two, either will do.
    pub algorithm: Option<Algorithm>,
    /// Threads; 0 for one per available core.
    pub jobs: usize,
}

/// What became of a line.
#[derive(Debug)]
pub enum Verdict {
    /// The file has the digest.
    Same,
    /// The file has another.
    Differs,
    /// The file is missing or cannot be read.
    Unreadable(Error),
}

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// Files that have their digests.
    pub same: u64,
    /// Files that have others.
    pub differing: u64,
    /// Files that are missing or cannot be read.
    pub unreadable: u64,
    /// Numbers of the lines that could not be read, from 1.
    pub malformed: Vec<u64>,
    /// Bytes read.
    pub bytes: u64,
    /// Wall time of the call.
    pub elapsed: Duration,
}

/// Check the files that a list names, and hand each name and verdict to `each` in the list's order.
///
/// Empty lines and comments (`#`, `;`) are passed over; what else is no line of a list is counted, never ignored.
pub fn check(
    request: &CheckRequest,
    progress: &Progress,
    cancel: &CancelToken,
    mut each: impl FnMut(&[u8], Verdict) + Send,
) -> Result<CheckReport> {
    let start = Instant::now();
    let jobs = if request.jobs == 0 { PackOptions::default().jobs } else { request.jobs };
    check_jobs(jobs)?;
    let mut report = CheckReport::default();
    let (mut files, mut claims) = (Files::default(), Vec::new());
    for (number, line) in (1..).zip(line::lines(&request.list)) {
        if matches!(line, [] | [b'#' | b';', ..]) {
            continue;
        }
        match line::parse(line, request.algorithm) {
            None => report.malformed.push(number),
            Some(claim) => {
                files.add(&claim.name);
                claims.push((claim.sum, claim.algorithms));
            }
        }
    }
    if claims.is_empty() {
        let message = "the list holds no line of a digest and a name; give one that vhpack hash, sha256sum, b3sum, xxhsum or rhash --crc32 wrote";
        return Err(Error::new(ErrorKind::Usage, Stage::Hash, message));
    }
    progress.total_files.set(claims.len() as u64);
    progress.enter(Phase::Hash);
    let (claims, files) = (&claims, &files);
    let CheckReport { same, differing, unreadable, .. } = &mut report;
    work::run(files, &|index| claims[index].1, jobs, progress, cancel, |index, sums| {
        let (verdict, count) = match sums {
            Err(error) => (Verdict::Unreadable(error), &mut *unreadable),
            Ok(sums) if sums.contains(&claims[index].0) => (Verdict::Same, &mut *same),
            Ok(_) => (Verdict::Differs, &mut *differing),
        };
        *count += 1;
        each(&files.shown(index), verdict);
        Ok(())
    })?;
    report.bytes = progress.bytes_in.get();
    report.elapsed = start.elapsed();
    Ok(report)
}

/// A file's name that the tools would take for standard input, told apart from it.
fn not_stdin(shown: Vec<u8>) -> Vec<u8> {
    if matches!(&shown[..], b"-" | b"stdin") { [b"./", &shown[..]].concat() } else { shown }
}

fn check_jobs(jobs: usize) -> Result<()> {
    if (1..=1024).contains(&jobs) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, Stage::Hash, "jobs is a number of threads from 1 to 1024"))
}
