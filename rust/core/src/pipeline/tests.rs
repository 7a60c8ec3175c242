//! The pipeline against a sink in memory that fails wherever it is told to.

use std::path::Path;

use super::run;
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::request::{Format, PackOptions, PackRequest};
use crate::scan::Sources;
use crate::sink::Sink;
use crate::target::Target;

/// Holds the archive, and fails at one of its calls.
struct MemorySink {
    bytes: Vec<u8>,
    calls: usize,
    fails_at: usize,
}

impl MemorySink {
    fn failing_at(fails_at: usize) -> Self {
        Self { bytes: Vec::new(), calls: 0, fails_at }
    }

    fn call(&mut self) -> Result<()> {
        self.calls += 1;
        if self.calls == self.fails_at {
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
        self.bytes[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read_back(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.call()?;
        let rest = &self.bytes[offset as usize..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn rewind(&mut self, offset: u64) -> Result<()> {
        self.call()?;
        self.bytes.truncate(offset as usize);
        Ok(())
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
                    assert!(written.sink.bytes == whole.sink.bytes && calls > written.sink.calls);
                    break;
                }
            }
        }
    }
}
