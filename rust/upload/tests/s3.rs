//! The engine from outside, with a server in this process that speaks S3 and checks signatures: `s3s` over a folder.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests look at what the server left on the disk, and helpers are tests, too"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use vhpack_upload::{Given, Options, OptionsByScheme, Settings, State, Upload, UploadErrorKind, Uploader};

const PART: usize = 5 << 20;
const KEY: &str = "ACCESSKEY0001";
const SECRET: &str = "SECRETKEY0001";

/// A server with the bucket `bucket`, a folder of files, and one of records.
struct Ground {
    folder: TempDir,
    port: u16,
    _server: Runtime,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("store/bucket")).unwrap();
        let mut service = S3ServiceBuilder::new(FileSystem::new(folder.path().join("store")).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        let server = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = server.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        server.spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let service = service.clone();
                tokio::spawn(async move {
                    // That a client went away is its own business.
                    let _ =
                        Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(connection), service).await;
                });
            }
        });
        Self { folder, port, _server: server }
    }

    fn write(&self, name: &str, length: usize) -> PathBuf {
        let bytes: Vec<u8> = (0..length as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect();
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn uploader(&self, max_bps: Option<u64>) -> Uploader {
        Uploader::new(Settings { state_dir: self.folder.path().join("state"), max_bps, ..Settings::default() })
    }

    /// Whether the records name a part that has arrived.
    fn has_noted_a_part(&self) -> bool {
        std::fs::read_dir(self.folder.path().join("state"))
            .into_iter()
            .flatten()
            .any(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap().contains("\"t\":\"part\""))
    }

    fn options(&self) -> Options {
        [
            ("endpoint", format!("http://127.0.0.1:{}", self.port)),
            ("allow_http", "true".to_owned()),
            ("access_key_id", KEY.to_owned()),
            ("secret_access_key", SECRET.to_owned()),
            ("part_size", PART.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn start(&self, uploader: &Uploader, path: &Path, key: &str) -> Arc<Upload> {
        uploader.start(path, &format!("s3://bucket/{key}"), &self.options(), None, false, true).unwrap()
    }

    #[track_caller]
    fn arrived(&self, upload: &Upload, path: &PathBuf, key: &str) {
        assert!(upload.wait(Duration::from_secs(60)));
        assert_eq!((upload.error(), upload.state()), (None, State::Done));
        let there = std::fs::read(self.folder.path().join("store/bucket").join(key)).unwrap();
        assert!(there == std::fs::read(path).unwrap(), "it arrived changed");
        assert_eq!(std::fs::read_dir(self.folder.path().join("state")).unwrap().count(), 0);
    }
}

#[track_caller]
fn fails(upload: &Upload) -> UploadErrorKind {
    assert!(upload.wait(Duration::from_secs(60)));
    upload.error().unwrap().kind
}

#[test]
fn files_of_one_request_and_of_parts_arrive() {
    let ground = Ground::new();
    let uploader = ground.uploader(None);
    for (length, key) in [(0, "empty"), (1000, "folder/a b%+.bin"), (PART, "a part"), (2 * PART + 1, "three parts")] {
        let path = ground.write("from", length);
        ground.arrived(&ground.start(&uploader, &path, key), &path, key);
    }
}

#[test]
fn what_a_dead_process_had_sent_is_not_sent_again() {
    let ground = Ground::new();
    // More than are under way at a time, so that some are noted while others wait.
    let path = ground.write("from", 12 * PART);
    let reused = ["x", "y", "z"].into_iter().any(|key| {
        let uploader = ground.uploader(Some(32 << 20));
        let upload = ground.start(&uploader, &path, key);
        while !ground.has_noted_a_part() {
            assert!(!upload.wait(Duration::from_millis(5)), "it was to be interrupted");
        }
        // Its threads end where they are, as those of a killed process do.
        drop(uploader);
        let uploader = ground.uploader(None);
        let beneath = OptionsByScheme::from([("s3".to_owned(), ground.options())]);
        let [resumed] = uploader.resume(&Given { beneath, ..Given::default() }).try_into().unwrap();
        ground.arrived(&resumed, &path, key);
        // This server writes what comes of one part by two connections into one file; where a part of the dead one's came in between,
        // all is rightly sent again.
        resumed.bytes_reused() >= PART as u64
    });
    assert!(reused, "all of it was sent again, three times");
}

#[test]
fn a_wrong_secret_is_told() {
    let ground = Ground::new();
    let uploader = ground.uploader(None);
    for length in [1000, 2 * PART] {
        let path = ground.write("from", length);
        let mut options = ground.options();
        options.insert("secret_access_key".to_owned(), "another".to_owned());
        let upload = uploader.start(&path, "s3://bucket/x", &options, None, false, true).unwrap();
        assert_eq!(fails(&upload), UploadErrorKind::Denied);
        assert!(path.exists());
    }
}
