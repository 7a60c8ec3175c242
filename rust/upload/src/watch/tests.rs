//! A watch against a trainer that marks, moves, writes, removes and crashes.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::*;

const URI: &str = "s3://bucket/run";

/// A folder to be watched, and one for what a watch remembers.
struct Ground {
    folder: tempfile::TempDir,
    state: tempfile::TempDir,
}

#[expect(clippy::disallowed_methods, reason = "tests prepare their files themselves")]
impl Ground {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), state: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn mode(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn marked(&self, name: &str, content: &str) {
        self.write(name, content);
        self.mode(name, 0o444);
    }

    fn is_marked(&self, name: &str) -> bool {
        std::fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o222 == 0
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    fn watcher(&self) -> Watcher {
        self.try_watcher().unwrap()
    }

    fn try_watcher(&self) -> Option<Watcher> {
        Watcher::new(self.folder.path(), URI, self.state.path()).unwrap()
    }
}

/// Take what is ready, end it well, and count how often each name was handed out, until `enough` or too long.
fn take(
    watcher: &mut Watcher,
    counts: &mut BTreeMap<String, usize>,
    enough: impl Fn(&BTreeMap<String, usize>) -> bool,
) {
    let until = Instant::now() + Duration::from_secs(60);
    while !enough(counts) {
        assert!(Instant::now() < until, "{counts:?}");
        for ready in watcher.ready(100, Duration::from_millis(50)) {
            *counts.entry(ready.path.to_str().unwrap().to_owned()).or_default() += 1;
            watcher.ended(&ready.path, Ended::Done).unwrap();
        }
    }
}

fn taken(watcher: &mut Watcher, enough: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    take(watcher, &mut counts, |counts| counts.len() >= enough);
    counts
}

/// What is handed out while the tree is looked at twice from end to end, and everything that waits is decided.
fn the_rest(watcher: &mut Watcher) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..2 {
        let rounds = watcher.rounds();
        watcher.walk.restart();
        let until = Instant::now() + Duration::from_secs(60);
        while watcher.rounds() == rounds || watcher.waiting() > 0 {
            assert!(Instant::now() < until);
            for ready in watcher.ready(100, Duration::from_millis(20)) {
                *counts.entry(ready.path.to_str().unwrap().to_owned()).or_default() += 1;
                watcher.ended(&ready.path, Ended::Done).unwrap();
            }
        }
    }
    counts
}

fn once(names: &[&str]) -> BTreeMap<String, usize> {
    names.iter().map(|name| ((*name).to_owned(), 1)).collect()
}

#[test]
fn files_are_ready_when_they_are_marked_wherever_they_come_from() {
    let ground = Ground::new();
    ground.marked("there before", "1");
    ground.write("unmarked", "1");
    let mut watcher = ground.watcher();
    assert_eq!(taken(&mut watcher, 1), once(&["there before"]));
    assert!(watcher.is_told());
    ground.marked("new", "2");
    ground.marked("new folder/below/it", "3");
    ground.marked("staged", "4");
    ground.write(".hidden.vhpack-staged", "not yet");
    ground.mode(".hidden.vhpack-staged", 0o444);
    std::os::unix::fs::symlink(ground.path("new"), ground.path("link")).unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), ground.path("linked folder")).unwrap();
    assert_eq!(taken(&mut watcher, 3), once(&["new", "new folder/below/it", "staged"]));
    // Marked elsewhere, and moved into place; a whole folder, too.
    ground.mode("unmarked", 0o444);
    ground.rename("unmarked", "new folder/moved");
    assert_eq!(taken(&mut watcher, 1), once(&["new folder/moved"]));
    ground.rename("new folder", "another");
    ground.marked("another/below/late", "5");
    assert_eq!(taken(&mut watcher, 3), once(&["another/below/it", "another/below/late", "another/moved"]));
}

#[test]
fn a_version_is_handed_out_once_and_a_new_one_again() {
    let ground = Ground::new();
    ground.marked("a", "1");
    let mut watcher = ground.watcher();
    assert_eq!(taken(&mut watcher, 1), once(&["a"]));
    for _ in 0..3 {
        ground.mode("a", 0o644);
        ground.mode("a", 0o444);
    }
    assert_eq!(the_rest(&mut watcher), BTreeMap::new());
    ground.mode("a", 0o644);
    ground.marked("a", "12");
    assert_eq!(the_rest(&mut watcher), once(&["a"]));
}

#[test]
fn what_is_still_written_to_waits() {
    let ground = Ground::new();
    let mut watcher = ground.watcher();
    ground.marked("a", "");
    for length in 1..8 {
        // Whoever has the file open goes on writing behind the mark.
        ground.mode("a", 0o644);
        ground.marked("a", &"x".repeat(length));
        assert_eq!(watcher.ready(9, STABLE / 4), []);
    }
    assert_eq!(taken(&mut watcher, 1), once(&["a"]));
    ground.marked("b", "gone before its second look");
    watcher.ready(9, STABLE / 4);
    ground.remove("b");
    assert_eq!(the_rest(&mut watcher), BTreeMap::new());
}

#[test]
fn sidecars_come_after_everything_else() {
    let ground = Ground::new();
    ground.marked("a.bin.metadata.json", "{}");
    ground.marked("valohai.metadata.jsonl", "{}");
    ground.marked("a.bin", "1");
    let mut watcher = ground.watcher();
    let mut order = Vec::new();
    let until = Instant::now() + Duration::from_secs(60);
    while order.len() < 3 {
        assert!(Instant::now() < until, "{order:?}");
        let ready = watcher.ready(9, Duration::from_millis(300));
        for ready in ready {
            if order.is_empty() {
                // Still under way: nothing that describes it may pass it.
                assert_eq!(watcher.ready(9, 3 * STABLE), []);
            }
            watcher.ended(&ready.path, Ended::Done).unwrap();
            order.push(ready.path.to_str().unwrap().to_owned());
        }
    }
    assert_eq!(order[0], "a.bin");
}

#[test]
fn the_end_takes_what_is_left_and_tries_again_what_failed() {
    let ground = Ground::new();
    ground.marked("a", "1");
    ground.write("b", "2");
    ground.write("deep/c", "");
    ground.write("valohai.metadata.jsonl", "{}");
    let mut watcher = ground.watcher();
    let ready = loop {
        match &watcher.ready(9, Duration::from_millis(100))[..] {
            [ready] => break ready.clone(),
            other => assert_eq!(other, []),
        }
    };
    watcher.ended(&ready.path, Ended::Failed).unwrap();
    assert!(the_rest(&mut watcher).is_empty() && !watcher.is_finished());
    watcher.finish();
    let mut counts = BTreeMap::new();
    while !watcher.is_finished() {
        for ready in watcher.ready(9, Duration::from_millis(100)) {
            *counts.entry(ready.path.to_str().unwrap().to_owned()).or_default() += 1;
            watcher.ended(&ready.path, if ready.path == Path::new("a") { Ended::Failed } else { Ended::Done }).unwrap();
        }
    }
    assert_eq!(counts, once(&["a", "b", "deep/c", "valohai.metadata.jsonl"]));
    assert!(counts.keys().all(|name| ground.is_marked(name)));
}

#[test]
fn a_watch_goes_on_where_one_was_killed_and_two_are_never_at_one_folder() {
    let ground = Ground::new();
    ground.marked("a", "1");
    let mut watcher = ground.watcher();
    assert_eq!(taken(&mut watcher, 1), once(&["a"]));
    assert!(ground.try_watcher().is_none());
    let elsewhere = Watcher::new(ground.folder.path(), "s3://bucket/other", ground.state.path()).unwrap();
    assert!(elsewhere.is_some());
    drop(watcher);
    ground.marked("b", "2");
    let mut watcher = ground.watcher();
    assert_eq!(the_rest(&mut watcher), once(&["b"]));
}

#[test]
fn events_that_are_lost_lose_no_file() {
    let count = if soak() { 20_000 } else { 2_000 };
    let ground = Ground::new();
    ground.write("x", "");
    ground.write("y", "");
    let mut watcher = ground.watcher();
    the_rest(&mut watcher);
    // More than any queue holds, while nobody listens; two names, since equal events in a row count once.
    for _ in 0..20_000 {
        ground.mode("x", 0o600);
        ground.mode("y", 0o600);
    }
    for number in 0..count {
        ground.marked(&format!("{}/{number}", number % 7), "content");
    }
    let counts = taken(&mut watcher, count);
    assert!(counts.len() == count && counts.values().all(|times| *times == 1));
    assert_eq!(the_rest(&mut watcher), BTreeMap::new());
}

/// Whether the tests are to do more of everything.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment what to do")]
fn soak() -> bool {
    std::env::var_os("VHPACK_SOAK").is_some()
}

#[test]
fn the_folder_of_records_is_no_output() {
    let ground = Ground::new();
    ground.marked("a", "1");
    let state = ground.path("state");
    let mut watcher = Watcher::new(ground.folder.path(), URI, &state).unwrap().unwrap();
    ground.marked("state/notes", "1");
    watcher.finish();
    let mut counts = BTreeMap::new();
    while !watcher.is_finished() {
        for ready in watcher.ready(9, Duration::from_millis(50)) {
            *counts.entry(ready.path.to_str().unwrap().to_owned()).or_default() += 1;
            watcher.ended(&ready.path, Ended::Done).unwrap();
        }
    }
    assert_eq!(counts, once(&["a"]));
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let ground = Ground::new();
    for name in ["missing", "file"] {
        if name == "file" {
            ground.write(name, "");
        }
        let error = Watcher::new(&ground.path(name), URI, ground.state.path()).err().unwrap();
        assert_eq!(error.kind, UploadErrorKind::SourceMissing);
        assert!(error.message.contains(name), "{error}");
    }
}
