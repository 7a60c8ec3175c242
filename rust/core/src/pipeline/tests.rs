//! The pipeline against a sink in memory that fails wherever it is told to.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::run;
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::request::{CodecChoice, Format, OnChange, PackOptions, PackRequest};
use crate::scan::Sources;
use crate::sink::Sink;
use crate::target::Target;

/// Holds the archive, and fails at one of its calls.
struct MemorySink {
    bytes: Vec<u8>,
    calls: AtomicUsize,
    fails_at: usize,
    sealed: u64,
    open: Option<Range<u64>>,
    /// How many bytes behind an open header were final, at most.
    behind: u64,
}

impl MemorySink {
    fn failing_at(fails_at: usize) -> Self {
        Self { bytes: Vec::new(), calls: AtomicUsize::new(0), fails_at, sealed: 0, open: None, behind: 0 }
    }

    fn call(&self) -> Result<()> {
        if self.calls.fetch_add(1, Ordering::Relaxed) + 1 == self.fails_at {
            return Err(Error::new(ErrorKind::NoSpace, Stage::Pack, "full"));
        }
        Ok(())
    }
}

impl Sink for MemorySink {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.call()?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn patch(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.call()?;
        let end = offset + bytes.len() as u64;
        let is_open = self.open.as_ref().is_some_and(|open| open.start <= offset && end <= open.end);
        assert!(offset >= self.sealed || is_open, "{offset}..{end} was final");
        self.bytes[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read_back(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.call()?;
        let rest = &self.bytes[offset as usize..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn rewind(&mut self, offset: u64) -> Result<()> {
        self.call()?;
        assert!(offset >= self.sealed, "{offset} was final up to {}", self.sealed);
        self.bytes.truncate(offset as usize);
        Ok(())
    }

    fn seal(&mut self, sealed: u64, open: Option<&Range<u64>>) {
        assert!(self.sealed <= sealed && sealed <= self.bytes.len() as u64);
        (self.sealed, self.open) = (sealed, open.cloned());
        self.behind = self.behind.max(open.map_or(0, |open| sealed - open.end.min(sealed)));
    }
}

#[expect(clippy::disallowed_methods, reason = "a test prepares its files itself")]
fn planned(folder: &Path) -> Plan {
    let source = folder.join("source");
    std::fs::create_dir(&source).unwrap();
    for i in 0..200 {
        std::fs::write(source.join(format!("{i:03}")), format!("{i} ").repeat(i * 50)).unwrap();
    }
    for name in ["050-large", "150-large"] {
        std::fs::write(source.join(name), "large ".repeat(1_000_000)).unwrap();
    }
    let request = PackRequest { sources: [&source].into_iter().collect(), ..PackRequest::default() };
    let found = Sources::look_up(&request, false, &CancelToken::default()).unwrap().scan(&CancelToken::default());
    let target = Target::resolve(&folder.join("all.zip")).unwrap();
    Plan::new(found.unwrap(), &target, &[], false, &CancelToken::default()).unwrap()
}

#[test]
fn a_failure_of_the_sink_at_any_call_ends_every_worker_and_is_returned() {
    let folder = tempfile::tempdir().unwrap();
    let plan = planned(folder.path());
    fail_at_every_call(&plan, Format::Zip, &[1, 2, 4]);
    for format in [Format::Tar, Format::TarGz, Format::TarZst] {
        fail_at_every_call(&plan, format, &[1, 3]);
    }
}

fn fail_at_every_call(plan: &Plan, format: Format, all_jobs: &[usize]) {
    let pack = |jobs, fails_at| {
        let options = PackOptions { jobs, ..PackOptions::default() };
        let sink = MemorySink::failing_at(fails_at);
        run(plan, 0..plan.entries().len(), format, &options, sink, &CancelToken::default(), &Progress::default())
    };
    let whole = pack(1, 0).unwrap();
    for &jobs in all_jobs {
        let mut calls = 0;
        loop {
            calls += 1;
            match pack(jobs, calls) {
                Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace, "{jobs} jobs, call {calls}"),
                Ok(written) => {
                    assert_eq!((written.length, written.digest), (whole.length, whole.digest));
                    assert!(written.sink.bytes == whole.sink.bytes && calls > written.sink.calls.into_inner());
                    break;
                }
            }
        }
    }
}

/// What a pack of one large file says of it while it is written: how much behind its open header is final.
fn final_behind_the_header(content: &[u8], codec: CodecChoice, on_change: OnChange) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test prepares its files itself")]
    std::fs::write(folder.path().join("large"), content).unwrap();
    let source = folder.path().join("large");
    let request = PackRequest { sources: [&source].into_iter().collect(), ..PackRequest::default() };
    let found = Sources::look_up(&request, false, &CancelToken::default()).unwrap().scan(&CancelToken::default());
    let target = Target::resolve(&folder.path().join("all.zip")).unwrap();
    let plan = Plan::new(found.unwrap(), &target, &[], false, &CancelToken::default()).unwrap();
    let options = PackOptions { codec, on_change, ..PackOptions::default() };
    let sink = MemorySink::failing_at(0);
    let written = run(&plan, 0..1, Format::Zip, &options, sink, &CancelToken::default(), &Progress::default()).unwrap();
    assert_eq!((written.sink.sealed, written.sink.open), (written.length, None));
    written.sink.behind
}

#[test]
fn large_members_are_final_while_they_are_written_where_nothing_can_take_them_back() {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let noise: Vec<u8> = (0..6 << 20).map(|_| next()).collect();
    let text = b"a line of text\n".repeat(600_000);
    let noise_length = noise.len() as u64;
    assert_eq!(final_behind_the_header(&noise, CodecChoice::Auto, OnChange::Error), noise_length);
    assert!(final_behind_the_header(&text, CodecChoice::Auto, OnChange::Error) > 0);
    // Deflated first, and then stored: final only from its second beginning on.
    assert_eq!(final_behind_the_header(&noise, CodecChoice::Deflate, OnChange::Error), noise_length);
    for (content, codec) in [(&noise, CodecChoice::Auto), (&noise, CodecChoice::Deflate), (&text, CodecChoice::Auto)] {
        assert_eq!(final_behind_the_header(content, codec, OnChange::Skip), 0);
    }
}
