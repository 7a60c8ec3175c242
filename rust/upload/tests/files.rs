//! The engine from outside, with a real target that needs no server: a folder.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests look at what the engine left on the disk, and helpers are tests, too"
)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use vhpack_upload::{Extent, Given, Identity, Options, Settings, Source, State, Upload, UploadErrorKind, Uploader};

const PART: usize = 64 << 10;

struct Ground {
    folder: TempDir,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("to")).unwrap();
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, length: usize) -> PathBuf {
        let bytes: Vec<u8> = (0..length as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect();
        std::fs::write(self.at(name), bytes).unwrap();
        self.at(name)
    }

    fn uploader(&self, max_bps: Option<u64>) -> Uploader {
        Uploader::new(Settings { state_dir: self.at("state"), max_bps, ..Settings::default() })
    }

    fn target(&self, name: &str) -> (PathBuf, String) {
        let path = self.at("to").join(name);
        let uri = format!("file://{}", path.display());
        (path, uri)
    }

    /// Names in the target's folder and in that of the journals.
    fn left(&self) -> Vec<String> {
        let list = |folder: PathBuf| {
            std::fs::read_dir(folder)
                .into_iter()
                .flatten()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        };
        let mut left: Vec<String> = list(self.at("to")).chain(list(self.at("state"))).collect();
        left.sort();
        left
    }
}

fn options() -> Options {
    Options::from([("part_size".to_owned(), PART.to_string())])
}

fn start(uploader: &Uploader, path: &Path, uri: &str) -> Arc<Upload> {
    uploader.start(path, uri, &options(), None, false, true).unwrap()
}

#[track_caller]
fn done(upload: &Upload) {
    assert!(upload.wait(Duration::from_secs(60)));
    assert_eq!(upload.error(), None);
    assert_eq!(upload.state(), State::Done);
}

#[track_caller]
fn fails(upload: &Upload) -> UploadErrorKind {
    assert!(upload.wait(Duration::from_secs(60)));
    upload.error().unwrap().kind
}

#[test]
fn files_of_every_length_arrive_and_leave_nothing_else() {
    let ground = Ground::new();
    let uploader = ground.uploader(None);
    for length in [0, 1, PART - 1, PART, PART + 1, 3 * PART, 10 * PART + 7, 1 << 20] {
        let path = ground.write("from", length);
        let (target, uri) = ground.target("to it");
        let upload = start(&uploader, &path, &uri);
        done(&upload);
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&target).unwrap());
        assert_eq!((upload.bytes_sent(), upload.bytes_total()), (length as u64, Some(length as u64)));
        assert_eq!(ground.left(), ["to it"]);
        std::fs::remove_file(target).unwrap();
    }
}

#[test]
fn files_of_every_length_arrive_at_a_pace_that_was_allowed() {
    let ground = Ground::new();
    let uploader = ground.uploader(Some(4 << 20));
    for length in [1, 1023, 1024, 1025, PART + 1, 2 * PART + 1023] {
        let path = ground.write("from", length);
        let (target, uri) = ground.target("x");
        done(&start(&uploader, &path, &uri));
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&target).unwrap());
        std::fs::remove_file(target).unwrap();
    }
}

#[test]
fn a_file_is_never_removed_from_under_itself() {
    let ground = Ground::new();
    let uploader = ground.uploader(None);
    std::os::unix::fs::symlink(ground.at("."), ground.at("link")).unwrap();
    for (folder, length) in [(".", 10), ("link", 3 * PART)] {
        let path = ground.write("from", length);
        let uri = format!("file://{}", ground.at(folder).join("from").display());
        let uri = uri.replace("/./", "/");
        let upload = uploader.start(&path, &uri, &options(), None, true, true).unwrap();
        assert_eq!(fails(&upload), UploadErrorKind::BadDestination);
        assert!(path.exists());
    }
}

#[test]
fn what_is_there_already_is_not_sent_again() {
    let ground = Ground::new();
    let uploader = ground.uploader(None);
    let path = ground.write("from", 1 << 20);
    let (target, uri) = ground.target("x");
    done(&start(&uploader, &path, &uri));
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let before = inode(&target);
    let again = start(&uploader, &path, &uri);
    done(&again);
    assert!(again.skipped());
    assert_eq!(inode(&target), before);
    // The same length, one byte another.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[777_777] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let other = start(&uploader, &path, &uri);
    done(&other);
    assert!(!other.skipped());
    assert_eq!(std::fs::read(&target).unwrap(), bytes);
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_never_published() {
    type Change = (&'static str, fn(&Path));
    let changes: [Change; 3] = [
        ("cut", |path| std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(PART as u64).unwrap()),
        ("grown", |path| {
            use std::io::Write as _;
            std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
        }),
        ("rewritten under its old time", |path| {
            use std::os::unix::fs::FileExt as _;
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            let then = file.metadata().unwrap().modified().unwrap();
            file.write_all_at(b"other", 3).unwrap();
            file.set_modified(then).unwrap();
        }),
    ];
    for (what, change) in changes {
        let ground = Ground::new();
        // Slow enough to be changed half-way.
        let uploader = ground.uploader(Some(1 << 20));
        let path = ground.write("from", 1 << 20);
        let (target, uri) = ground.target("x");
        let upload = start(&uploader, &path, &uri);
        while upload.bytes_sent() < 2 * PART as u64 {
            std::thread::sleep(Duration::from_millis(2));
        }
        change(&path);
        assert_eq!(fails(&upload), UploadErrorKind::SourceChanged, "{what}");
        assert!(!target.exists(), "{what}");
        assert_eq!(ground.left(), [""; 0], "{what}");
    }
}

#[test]
fn a_cancelled_upload_leaves_nothing() {
    let ground = Ground::new();
    let uploader = ground.uploader(Some(256 << 10));
    let path = ground.write("from", 1 << 20);
    let (_, uri) = ground.target("x");
    let upload = start(&uploader, &path, &uri);
    while upload.bytes_sent() == 0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    upload.cancel();
    assert_eq!(fails(&upload), UploadErrorKind::Cancelled);
    assert_eq!(upload.state(), State::Cancelled);
    assert_eq!(ground.left(), [""; 0]);
}

#[test]
fn the_newest_upload_to_a_name_wins_and_the_same_is_the_same() {
    let ground = Ground::new();
    let uploader = ground.uploader(Some(1 << 20));
    let (first, second) = (ground.write("first", 1 << 20), ground.write("second", 200_000));
    let (target, uri) = ground.target("x");
    let before = start(&uploader, &first, &uri);
    assert!(Arc::ptr_eq(&before, &start(&uploader, &first, &uri)));
    let refused = uploader.start(&second, &uri, &options(), None, false, false).unwrap_err();
    assert_eq!(refused.kind, UploadErrorKind::Exists);
    let after = start(&uploader, &second, &uri);
    assert_eq!(fails(&before), UploadErrorKind::Cancelled);
    done(&after);
    assert_eq!(std::fs::read(target).unwrap(), std::fs::read(second).unwrap());
    assert_eq!(ground.left(), ["x"]);
}

#[test]
fn a_name_that_is_taken_is_kept_where_overwriting_is_not_allowed() {
    let ground = Ground::new();
    let uploader = ground.uploader(None);
    let (target, uri) = ground.target("x");
    std::fs::write(&target, b"theirs").unwrap();
    for length in [10, 5 * PART] {
        let mut options = options();
        options.insert("overwrite".to_owned(), "false".to_owned());
        let upload = uploader.start(&ground.write("from", length), &uri, &options, None, false, true).unwrap();
        assert_eq!(fails(&upload), UploadErrorKind::Exists);
        assert_eq!(std::fs::read(&target).unwrap(), b"theirs");
        assert_eq!(ground.left(), ["x"]);
    }
}

#[test]
fn an_original_goes_only_after_its_upload_was_verified() {
    let ground = Ground::new();
    let uploader = ground.uploader(None);
    let path = ground.write("from", 5 * PART);
    let upload = uploader.start(&path, &ground.target("x").1, &options(), None, true, true).unwrap();
    done(&upload);
    assert!(upload.removed() && !path.exists());
    let path = ground.write("from", 5 * PART);
    let nowhere = format!("file://{}", ground.at("no such folder/x").display());
    let upload = uploader.start(&path, &nowhere, &options(), None, true, true).unwrap();
    assert_eq!(fails(&upload), UploadErrorKind::NoSuchBucket);
    assert!(path.exists() && !upload.removed());
}

#[test]
fn what_cannot_be_uploaded_says_so() {
    let ground = Ground::new();
    let uploader = ground.uploader(None);
    let (_, uri) = ground.target("x");
    assert_eq!(fails(&start(&uploader, &ground.at("missing"), &uri)), UploadErrorKind::SourceMissing);
    assert_eq!(fails(&start(&uploader, &ground.at("to"), &uri)), UploadErrorKind::SourceMissing);
    let path = ground.write("from", 10);
    let wrong = |uri: &str, options: &Options| {
        uploader.start(&path, uri, options, None, false, true).map(|upload| fails(&upload))
    };
    assert_eq!(wrong("gopher://x/y", &Options::new()).unwrap_err().kind, UploadErrorKind::UnknownScheme);
    let odd = Options::from([("colour".to_owned(), "blue".to_owned())]);
    assert_eq!(ground.left(), [""; 0]);
    assert_eq!(wrong(&uri, &odd).unwrap(), UploadErrorKind::BadDestination);
    // Another option may put that right, so the file is still on the list of what was asked for; of parts there are none.
    let left = ground.left();
    assert!(matches!(&left[..], [list] if list.ends_with(".asked.v1.jsonl")), "{left:?}");
}

#[test]
fn hostile_journals_are_told_and_torn_ones_are_taken_for_what_is_left() {
    let ground = Ground::new();
    let uploader = ground.uploader(None);
    std::fs::create_dir(ground.at("state")).unwrap();
    let nested = vec![b'['; 100_000];
    let rubbish: [&[u8]; 4] = [b"\xff\xfe\0\0", b"{\"t\":\"begin\"}\t00000000\n", b"", &nested];
    for (number, bytes) in rubbish.into_iter().enumerate() {
        std::fs::write(ground.at("state").join(format!("{number:032}.v1.jsonl")), bytes).unwrap();
        std::fs::write(ground.at("state").join(format!("{number}.asked.v1.jsonl")), bytes).unwrap();
    }
    assert!(uploader.records().iter().all(|record| record.state == "unreadable"));
    for upload in uploader.resume(&Given::default()) {
        assert_eq!(fails(&upload), UploadErrorKind::Journal);
    }
    // None of them stands in a new upload's way.
    let path = ground.write("from", 3 * PART);
    done(&start(&uploader, &path, &ground.target("x").1));
}

#[test]
fn a_full_disk_for_journals_is_an_error_and_the_original_stays() {
    let ground = Ground::new();
    std::fs::write(ground.at("state"), b"no folder").unwrap();
    let path = ground.write("from", 3 * PART);
    let refused = ground.uploader(None).start(&path, &ground.target("x").1, &options(), None, true, true).unwrap_err();
    assert_eq!(refused.kind, UploadErrorKind::Journal);
    assert!(path.exists());
}

/// A file on a mount whose server has gone: whoever touches it waits until that is back.
struct Hanging {
    path: PathBuf,
    door: Arc<Mutex<()>>,
    at: At,
}

/// What of it hangs.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Reading,
    Looking,
}

impl Hanging {
    fn hang(&self, at: At) {
        if self.at == at {
            drop(self.door.lock().unwrap());
        }
    }
}

impl Source for Hanging {
    fn path(&self) -> &Path {
        &self.path
    }

    fn extent(&self) -> Extent {
        Extent::Complete(self.bound())
    }

    fn bound(&self) -> u64 {
        3 * PART as u64
    }

    fn read_at(&self, buffer: &mut [u8], _: u64) -> std::io::Result<usize> {
        self.hang(At::Reading);
        buffer.fill(7);
        Ok(buffer.len())
    }

    fn identity(&self) -> Option<Identity> {
        None
    }

    fn still(&self) -> Result<(), String> {
        self.hang(At::Looking);
        Ok(())
    }
}

#[test]
fn a_disk_that_hangs_keeps_no_other_files_waiting() {
    let ground = Ground::new();
    let uploader = ground.uploader(None);
    let door = Arc::default();
    let shut = Mutex::lock(&door).unwrap();
    // More of them than there are threads, at places of their own.
    let hung: Vec<Arc<Upload>> = (0..40)
        .map(|number| {
            let at = if number % 2 == 0 { At::Reading } else { At::Looking };
            let source = Arc::new(Hanging { path: ground.at("hung"), door: Arc::clone(&door), at });
            let mut options = options();
            options.insert("concurrency".to_owned(), (1 + number).to_string());
            uploader.follow(source, &ground.target(&format!("hung-{number}")).1, &options, None).unwrap()
        })
        .collect();
    for length in [10, 3 * PART] {
        let path = ground.write("from", length);
        let (target, uri) = ground.target("x");
        done(&start(&uploader, &path, &uri));
        assert_eq!(std::fs::read(path).unwrap(), std::fs::read(target).unwrap());
    }
    drop(shut);
    for upload in &hung {
        done(upload);
    }
}

#[test]
fn an_archive_is_not_sent_onto_itself() {
    let ground = Ground::new();
    let uploader = ground.uploader(None);
    std::os::unix::fs::symlink(ground.at("to"), ground.at("link")).unwrap();
    let source = Hanging { path: ground.at("link/x"), door: Arc::default(), at: At::Reading };
    let upload = uploader.follow(Arc::new(source), &ground.target("x").1, &options(), None).unwrap();
    assert_eq!(fails(&upload), UploadErrorKind::BadDestination);
    assert_eq!(ground.left(), [""; 0]);
}
