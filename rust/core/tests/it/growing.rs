//! Archives that are read while they are packed: the same bytes, and none that may still change.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use vhpack_core::{
    CancelToken, CodecChoice, End, ErrorKind, Follower, Growing, OnChange, Originals, PackOptions, PackReport,
    PackRequest, Progress, Result, pack,
};

/// Small parts, so that headers and ends fall within many of them.
const PART: u64 = 10_007;

/// What a reader made of one archive.
struct Copied {
    path: PathBuf,
    bound: u64,
    bytes: Vec<u8>,
    end: End,
}

/// Copies each archive on a thread of its own, part by part, each as soon as it is final.
#[derive(Debug, Default)]
struct Copier(Mutex<Vec<JoinHandle<Copied>>>);

impl Follower for Copier {
    fn follow(&self, archive: Arc<Growing>) {
        self.0.lock().unwrap().push(std::thread::spawn(move || copy(&archive)));
    }
}

fn copy(archive: &Growing) -> Copied {
    let mut bytes = Vec::new();
    let mut missing: Vec<u64> = Vec::new();
    let mut next = 0;
    let end = loop {
        let wanted = |number: u64| number * PART..(number + 1) * PART;
        let growth = archive.wait(
            |growth| growth.end.is_some() || growth.length.is_some() || growth.holds(&wanted(next)),
            Duration::from_secs(60),
        );
        let last = growth.length.unwrap_or(u64::MAX);
        while growth.sealed >= wanted(next).start
            && wanted(next).start < last
            && growth.sealed >= last.min(wanted(next).end)
        {
            missing.push(next);
            next += 1;
        }
        missing.retain(|&number| {
            let range = wanted(number).start..wanted(number).end.min(last);
            if !growth.holds(&range) {
                return true;
            }
            let (start, end) = (range.start as usize, range.end as usize);
            bytes.resize(bytes.len().max(end), 0);
            archive.read_at(&mut bytes[start..end], range.start).unwrap();
            false
        });
        if let Some(end) = growth.end {
            break end;
        }
        if growth.length.is_some() {
            let growth = archive.wait(|growth| growth.end.is_some(), Duration::from_secs(60));
            assert!(growth.end.is_some() || !missing.is_empty());
        }
    };
    assert!(end == End::Aborted || (missing.is_empty() && archive.is_unchanged()));
    Copied { path: archive.path().into(), bound: archive.bound(), bytes, end }
}

fn followed(sources: &Path, target: &Path, options: &PackOptions) -> (Result<PackReport>, Vec<Copied>) {
    let copier = Arc::new(Copier::default());
    let options = PackOptions { follower: Some(Arc::clone(&copier) as Arc<dyn Follower>), ..options.clone() };
    let request = PackRequest {
        sources: [sources].into_iter().collect(),
        target: Some(target.into()),
        options,
        ..PackRequest::default()
    };
    let report = pack(&request, &Progress::default(), &CancelToken::default());
    let all = copier.0.lock().unwrap().drain(..).map(|thread| thread.join().unwrap()).collect();
    (report, all)
}

fn noise(length: usize, mut state: u64) -> Vec<u8> {
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Small files around a large one that is stored, one that is deflated, and one that is taken back and stored.
fn tree(root: &Path) {
    fs::create_dir_all(root.join("empty")).unwrap();
    for i in 0..200 {
        fs::write(root.join(format!("{i:03}.txt")), format!("line {i}\n").repeat(i)).unwrap();
    }
    fs::write(root.join("020-noise"), noise(9 << 20, 3)).unwrap();
    fs::write(root.join("040-text"), "a large text\n".repeat(700_000)).unwrap();
    fs::write(root.join("060-small-noise"), noise(5 << 20, 5)).unwrap();
}

fn with_each_format(check: impl Fn(&str, PackOptions)) {
    for suffix in ["zip", "tar", "tar.gz", "tar.zst"] {
        for on_change in [OnChange::Error, OnChange::Skip] {
            for jobs in [1, 3] {
                let codec = if suffix == "zip" && jobs == 3 { CodecChoice::Deflate } else { CodecChoice::Auto };
                check(suffix, PackOptions { jobs, codec, on_change, ..PackOptions::default() });
            }
        }
    }
}

#[test]
fn who_reads_along_gets_the_archive_to_the_byte_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    tree(&source);
    with_each_format(|suffix, options| {
        let alone = folder.path().join(format!("alone.{suffix}"));
        let target = folder.path().join(format!("all.{suffix}"));
        let request = PackRequest {
            sources: [&source].into_iter().collect(),
            target: Some(alone.clone()),
            options: options.clone(),
            ..PackRequest::default()
        };
        pack(&request, &Progress::default(), &CancelToken::default()).unwrap();
        let (report, all) = followed(&source, &target, &options);
        report.unwrap();
        let [copied] = &all[..] else { panic!("{suffix}") };
        let there = fs::read(&target).unwrap();
        assert!(copied.bytes == there, "{suffix}");
        assert!(there == fs::read(&alone).unwrap(), "{suffix}");
        assert_eq!((copied.path.as_path(), copied.end), (target.as_path(), End::Finished));
        let length = there.len() as u64;
        assert!(copied.bound >= length, "{suffix}: {} for {length}", copied.bound);
        for path in [alone, target] {
            fs::remove_file(path).unwrap();
        }
    });
}

#[test]
fn each_shard_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    tree(&source);
    let options = PackOptions { shard_size: 8 << 20, ..PackOptions::default() };
    let (report, all) = followed(&source, &folder.path().join("all.tar"), &options);
    let report = report.unwrap();
    assert!(report.archives.len() > 2);
    assert_eq!(report.archives.len(), all.len());
    for ((path, _), copied) in report.archives.iter().zip(&all) {
        assert!(copied.path == *path && copied.bytes == fs::read(path).unwrap());
        assert!(copied.bound >= copied.bytes.len() as u64 && copied.bound < 30 << 20);
    }
}

#[derive(Debug)]
struct Rival(Copier, PathBuf);
impl Follower for Rival {
    fn follow(&self, archive: Arc<Growing>) {
        fs::write(&self.1, "another's").unwrap();
        self.0.follow(archive);
    }
}

#[test]
fn a_pack_that_fails_tells_who_reads_along() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    tree(&source);
    // One more name than the header of an archive that exists: known only when it is to be published.
    let target = folder.path().join("all.zip");
    let rival = Arc::new(Rival(Copier::default(), target.clone()));
    let options = PackOptions {
        follower: Some(Arc::clone(&rival) as Arc<dyn Follower>),
        read_only: true,
        ..PackOptions::default()
    };
    let request = PackRequest {
        sources: [&source].into_iter().collect(),
        target: Some(target.clone()),
        options,
        ..PackRequest::default()
    };
    let error = pack(&request, &Progress::default(), &CancelToken::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetExists);
    let copied = rival.0.0.lock().unwrap().pop().unwrap().join().unwrap();
    assert_eq!(copied.end, End::Aborted);
    assert_eq!(fs::read(&target).unwrap(), b"another's");
}

#[derive(Debug)]
struct Look(Mutex<Option<JoinHandle<u32>>>);
impl Follower for Look {
    fn follow(&self, archive: Arc<Growing>) {
        let look = move || {
            let growth = archive.wait(|growth| growth.end.is_some(), Duration::from_secs(60));
            assert_eq!(growth.end, Some(End::Finished));
            fs::metadata(archive.path()).unwrap().permissions().mode() & 0o777
        };
        *self.0.lock().unwrap() = Some(std::thread::spawn(look));
    }
}

#[test]
fn archives_are_marked_before_they_are_said_to_be_finished() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    tree(&source);
    let target = folder.path().join("all.zip");
    let look = Arc::new(Look(Mutex::new(None)));
    let options = PackOptions {
        follower: Some(Arc::clone(&look) as Arc<dyn Follower>),
        read_only: true,
        originals: Originals::Remove,
        ..PackOptions::default()
    };
    let request = PackRequest {
        sources: [&source].into_iter().collect(),
        target: Some(target),
        options,
        ..PackRequest::default()
    };
    assert_eq!(pack(&request, &Progress::default(), &CancelToken::default()).unwrap().removed, 203);
    let mode = look.0.lock().unwrap().take().unwrap().join().unwrap();
    assert_eq!(mode & 0o222, 0);
    assert_ne!(mode & 0o444, 0);
}
