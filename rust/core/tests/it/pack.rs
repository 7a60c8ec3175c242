//! The facade, end to end: what a pack leaves on disk, and what it never does.

use std::fs;
use std::path::Path;

use vhpack_core::{
    CancelToken, ErrorKind, OnChange, Originals, PackOptions, PackReport, PackRequest, Progress, Result, Stamps, pack,
    plan,
};

fn request(sources: &[&Path], target: &Path, options: PackOptions) -> PackRequest {
    PackRequest { sources: sources.iter().collect(), target: Some(target.into()), options, ..PackRequest::default() }
}

fn run(request: &PackRequest) -> Result<PackReport> {
    pack(request, &Progress::default(), &CancelToken::default())
}

/// Text, noise, an empty file, an empty folder, a file of several blocks of each sort.
fn tree(root: &Path) {
    let noise = |length: usize, mut state: u64| -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    };
    fs::create_dir_all(root.join("a/empty")).unwrap();
    fs::create_dir_all(root.join("b")).unwrap();
    for i in 0..300 {
        fs::write(root.join(format!("a/{i:03}.txt")), format!("line {i}\n").repeat(i)).unwrap();
        fs::write(root.join(format!("b/{i:03}.bin")), noise(i * 40, i as u64)).unwrap();
    }
    fs::write(root.join("a.txt"), b"sorted between the folder and its files").unwrap();
    fs::write(root.join("large.bin"), noise(5 << 20, 7)).unwrap();
    fs::write(root.join("large.txt"), "a large text\n".repeat(700_000)).unwrap();
    fs::write(root.join("medium.txt"), "a medium text\n".repeat(200_000)).unwrap();
}

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn bytes_depend_on_neither_threads_nor_memory() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    tree(&source);
    let mut digests = Vec::new();
    for (jobs, memory) in [(1, 1 << 20), (1, 256 << 20), (2, 256 << 20), (3, 40 << 20), (16, 256 << 20)] {
        for stamps in [Stamps::Original, Stamps::Fixed(315_532_800)] {
            let target = folder.path().join(format!("{jobs}-{memory}-{stamps:?}.zip"));
            let options = PackOptions { jobs, memory, stamps, ..PackOptions::default() };
            let report = run(&request(&[&source], &target, options)).unwrap();
            assert_eq!(report.files, 604);
            assert_eq!(report.bytes_out, fs::metadata(&target).unwrap().len());
            digests.push((stamps, report.archives[0].1, fs::read(&target).unwrap()));
        }
    }
    for (stamps, digest, bytes) in &digests {
        let first = digests.iter().find(|(other, ..)| other == stamps).unwrap();
        assert_eq!((digest, bytes == &first.2), (&first.1, true));
        assert_eq!(*digest, twox_hash::XxHash3_128::oneshot(bytes));
    }
}

#[test]
fn originals_go_only_after_the_archive_is_there_and_folders_stay() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    tree(&source);
    let target = folder.path().join("all.zip");
    let options = PackOptions { originals: Originals::Remove, ..PackOptions::default() };
    let report = run(&request(&[&source], &target, options)).unwrap();
    assert_eq!((report.removed, report.kept.len()), (604, 0));
    assert_eq!(listing(&source), ["a", "b"]);
    assert_eq!(listing(&source.join("a")), ["empty"]);
    assert_eq!(listing(folder.path()), ["all.zip", "source"]);
}

#[test]
fn a_cancelled_pack_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    tree(&source);
    let cancel = CancelToken::default();
    cancel.cancel();
    let target = folder.path().join("all.zip");
    let options = PackOptions { originals: Originals::Remove, ..PackOptions::default() };
    let error = pack(&request(&[&source], &target, options), &Progress::default(), &cancel).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(listing(folder.path()), ["source"]);
    assert_eq!(listing(&source).len(), 6);
}

#[test]
fn an_earlier_archive_survives_a_failed_pack() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("all.zip");
    fs::write(&target, b"earlier").unwrap();
    let missing = folder.path().join("missing");
    let options = PackOptions { force: true, ..PackOptions::default() };
    let error = run(&request(&[&missing], &target, options)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(fs::read(&target).unwrap(), b"earlier");
    let error = run(&request(&[folder.path()], &target, PackOptions::default())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetExists);
}

#[test]
fn the_target_is_never_its_own_source() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), b"a").unwrap();
    let target = folder.path().join("all.zip");
    for round in 0..3 {
        let options = PackOptions { force: true, ..PackOptions::default() };
        let report = run(&request(&[&folder.path().join("*")], &target, options)).unwrap();
        assert_eq!(report.files, 1);
        assert_eq!(report.skipped.len(), usize::from(round > 0));
    }
}

#[test]
fn a_plan_names_what_a_pack_would_hold() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    tree(&source);
    let target = folder.path().join("all.zip");
    let request = request(&[&source], &target, PackOptions::default());
    let planned = plan(&request, &CancelToken::default()).unwrap();
    assert!(!target.exists());
    let report = run(&request).unwrap();
    assert_eq!((planned.files, planned.directories, planned.bytes_in), (report.files, 1, report.bytes_in));
    assert!(planned.members.is_sorted_by(|a, b| a.as_bytes() < b.as_bytes()));
    assert_eq!(planned.members[..2], ["a.txt", "a/000.txt"]);
}

#[test]
fn a_missing_name_among_literals_is_left_out_where_changes_are_skipped() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), b"a").unwrap();
    let names = [folder.path().join("a.txt"), folder.path().join("gone.txt")];
    let target = folder.path().join("all.zip");
    let options = PackOptions { on_change: OnChange::Skip, ..PackOptions::default() };
    let report = run(&request(&[&names[0], &names[1]], &target, options)).unwrap();
    assert_eq!((report.files, report.skipped.len()), (1, 1));
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
fn an_interrupted_removal_is_finished_by_the_same_call_and_never_packed_over() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    for i in 0..20_000 {
        fs::write(source.join(format!("{i:05}")), [0; 10]).unwrap();
    }
    let target = folder.path().join("all.zip");
    let options = PackOptions { originals: Originals::Remove, force: true, jobs: 1, ..PackOptions::default() };
    let call = request(&[&source], &target, options);
    let error = interrupt_removal(&call, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let left = listing(&source).len();
    assert!(0 < left && left < 20_000, "{left} originals left");
    let archive = fs::read(&target).unwrap();

    let over = PackRequest { options: PackOptions { force: true, ..PackOptions::default() }, ..call.clone() };
    assert_eq!(run(&over).unwrap_err().kind(), ErrorKind::TargetExists);
    assert_eq!(fs::read(&target).unwrap(), archive);

    let report = run(&call).unwrap();
    assert_eq!((report.files, report.removed), (20_000, left as u64));
    assert_eq!(listing(&source), [""; 0]);
    assert_eq!(fs::read(&target).unwrap(), archive);
    assert_eq!(listing(folder.path()), ["all.zip", "source"]);
}

#[test]
fn files_made_again_after_an_interrupted_removal_are_packed_again() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    let make = || (0..20_000).for_each(|i| fs::write(source.join(format!("{i:05}")), b"x").unwrap());
    make();
    let target = folder.path().join("all.zip");
    let options = PackOptions { originals: Originals::Remove, force: true, jobs: 1, ..PackOptions::default() };
    let call = request(&[&source], &target, options);
    interrupt_removal(&call, 1).unwrap_err();
    fs::remove_dir_all(&source).unwrap();
    fs::create_dir(&source).unwrap();
    make();
    let report = run(&call).unwrap();
    assert_eq!((report.files, report.removed, report.stored), (20_000, 20_000, 20_000));
    assert_eq!(listing(folder.path()), ["all.zip", "source"]);
}
