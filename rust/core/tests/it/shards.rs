//! Shards: what a killed call leaves, and what the next one makes of it.

use std::fs;
use std::path::Path;

use vhpack_core::{CancelToken, ErrorKind, Originals, PackOptions, PackReport, PackRequest, Progress, Result, pack};

fn request(source: &Path, target: &Path, options: PackOptions) -> PackRequest {
    PackRequest {
        sources: [source].into_iter().collect(),
        target: Some(target.into()),
        options,
        ..PackRequest::default()
    }
}

fn run(request: &PackRequest) -> Result<PackReport> {
    pack(request, &Progress::default(), &CancelToken::default())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Cancel once this many originals are gone.
fn interrupt_removal(request: &PackRequest, after: u64) -> Result<PackReport> {
    let (progress, cancel) = (Progress::default(), CancelToken::default());
    std::thread::scope(|scope| {
        let call = scope.spawn(|| pack(request, &progress, &cancel));
        while progress.removed.get() < after && !call.is_finished() {
            std::hint::spin_loop();
        }
        cancel.cancel();
        call.join().unwrap()
    })
}

#[test]
fn an_interrupted_removal_of_shards_is_finished_and_no_shard_is_packed_over() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    for i in 0..20_000 {
        fs::write(source.join(format!("{i:05}")), [0; 10]).unwrap();
    }
    let target = folder.path().join("all.tar");
    let options = PackOptions {
        originals: Originals::Remove,
        force: true,
        jobs: 1,
        shard_size: 50_000,
        ..PackOptions::default()
    };
    let call = request(&source, &target, options);
    // All of the first shard's originals are gone by then, and some of the second's.
    let error = interrupt_removal(&call, 6_000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let left = names(&source).len();
    assert!(0 < left && left < 15_000, "{left} originals left");
    let shards =
        || (0..4).map(|i| fs::read(folder.path().join(format!("all-{i:05}.tar"))).unwrap()).collect::<Vec<_>>();
    let archives = shards();

    let over = PackRequest {
        options: PackOptions { force: true, shard_size: 50_000, ..PackOptions::default() },
        ..call.clone()
    };
    assert_eq!(run(&over).unwrap_err().kind(), ErrorKind::TargetExists);
    assert!(shards() == archives);

    let report = run(&call).unwrap();
    assert_eq!((report.files, report.removed, report.archives.len()), (20_000, left as u64, 4));
    assert_eq!(names(&source), [""; 0]);
    assert!(shards() == archives);
    let left: Vec<_> = names(folder.path()).into_iter().filter(|name| name.starts_with('.')).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_failure_in_a_later_shard_keeps_the_earlier_ones_and_all_originals() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    for i in 0..10 {
        fs::write(source.join(format!("{i}")), [i; 1000]).unwrap();
    }
    // A folder where the third shard is to be: refused before anything is written.
    fs::create_dir(folder.path().join("all-00002.zip")).unwrap();
    let options =
        PackOptions { shard_size: 2_000, originals: Originals::Remove, force: true, ..PackOptions::default() };
    let call = request(&source, &folder.path().join("all.zip"), options);
    assert_eq!(run(&call).unwrap_err().kind(), ErrorKind::TargetIsDirectory);
    assert_eq!(names(folder.path()), ["all-00002.zip", "source"]);
    assert_eq!(names(&source).len(), 10);
}
