//! What earlier processes left: looked at, taken over, or cleaned away.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::asked;
use crate::credentials::Renewable;
use crate::destination::{Destination, Options};
use crate::engine::Uploader;
use crate::error::{Result, UploadError, UploadErrorKind};
use crate::journal::{self, Journal};
use crate::transfer::parts::abort_nameless;
use crate::transfer::record::{self, Remembered};
use crate::upload::Upload;

/// A journal, as it stands.
#[derive(Debug, Clone)]
pub struct Record {
    /// The journal's file.
    pub journal: PathBuf,
    /// `sending` while its process lives, `interrupted` when it does not, `unreadable` where it is none of ours.
    pub state: &'static str,
    /// Where the upload goes.
    pub uri: String,
    /// Where it comes from.
    pub path: PathBuf,
    /// Bytes that the server has.
    pub bytes_sent: u64,
    /// Bytes in all, once that was known.
    pub bytes_total: Option<u64>,
    /// Whether the process that has it lives.
    pub alive: bool,
    /// When it was begun, in seconds since 1970.
    pub created: f64,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// An unfinished upload on a server, and what became of it.
#[derive(Debug, Clone)]
pub struct Swept {
    /// The object that it would have become.
    pub uri: String,
    /// Its id on the server.
    pub id: String,
    /// Seconds since it was begun.
    pub age: f64,
    /// Whether it was aborted.
    pub aborted: bool,
    /// Why it was not.
    pub error: Option<String>,
}

/// Options for resuming and sweeping, by scheme: journals hold no secrets.
pub type OptionsByScheme = std::collections::BTreeMap<String, Options>;

fn journals(state_dir: &Path) -> Vec<PathBuf> {
    names(state_dir, |name| name.ends_with(".v1.jsonl") && !name.ends_with(asked::SUFFIX))
}

fn lists(state_dir: &Path) -> Vec<PathBuf> {
    names(state_dir, |name| name.ends_with(asked::SUFFIX))
}

fn names(state_dir: &Path, ours: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = crate::disk::read_dir(state_dir) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = paths.filter(|path| ours(&path.to_string_lossy())).collect();
    found.sort();
    found
}

fn merged(uri: &str, theirs: &Options, given: &OptionsByScheme) -> Options {
    let scheme = uri.split("://").next().unwrap_or_default();
    let scheme = match scheme {
        "az" | "abfs" | "abfss" => "azure",
        "https" => "http",
        "s3a" => "s3",
        other => other,
    };
    let mut options = given.get(scheme).cloned().unwrap_or_default();
    options.extend(theirs.clone());
    options
}

enum Found {
    Ours(Remembered, bool),
    Empty,
    Unreadable(bool, String),
}

fn find(path: &Path) -> Found {
    match journal::look(path) {
        Ok((records, alive)) if records.is_empty() && !alive => Found::Empty,
        Ok((records, alive)) => match record::read(&records) {
            Some(remembered) if journal::place(path.parent().unwrap_or(Path::new("")), &remembered.uri) == path => {
                Found::Ours(remembered, alive)
            }
            _ => Found::Unreadable(alive, what_it_is(&records)),
        },
        Err(error) => Found::Unreadable(false, crate::error::reason(&error)),
    }
}

fn what_it_is(records: &[serde_json::Value]) -> String {
    match records.first().map(|first| &first["v"]) {
        Some(version) if version.is_u64() && *version != 1 => {
            format!("it is of version {version}, and this vhpack reads 1")
        }
        _ => "it is not as vhpack writes it".to_owned(),
    }
}

impl Uploader {
    /// All journals, those of living processes included.
    pub fn records(&self) -> Vec<Record> {
        let mut found = Vec::new();
        for path in journals(self.state_dir()) {
            let mut record = Record {
                journal: path.clone(),
                state: "unreadable",
                uri: String::new(),
                path: PathBuf::new(),
                bytes_sent: 0,
                bytes_total: None,
                alive: false,
                created: 0.0,
                error: None,
            };
            match find(&path) {
                Found::Empty => continue,
                Found::Unreadable(alive, why) => {
                    record.alive = alive;
                    record.error = Some(format!("the journal `{}` cannot be used: {why}; remove it", path.display()));
                }
                Found::Ours(remembered, alive) => {
                    record.state = if alive { "sending" } else { "interrupted" };
                    record.bytes_sent = remembered.parts.values().map(|part| part.length).sum();
                    record.bytes_total = remembered.total;
                    record.alive = alive;
                    record.created = remembered.created;
                    record.uri = remembered.uri;
                    record.path = remembered.path;
                }
            }
            found.push(record);
        }
        for path in lists(self.state_dir()) {
            let Ok((records, alive)) = journal::look(&path) else { continue };
            for asked in asked::left(&records) {
                // What has begun has a journal that tells more.
                if found.iter().any(|record| record.uri == asked.uri) {
                    continue;
                }
                found.push(Record {
                    journal: path.clone(),
                    state: if alive { "queued" } else { "interrupted" },
                    bytes_sent: 0,
                    bytes_total: crate::disk::metadata(&asked.path).ok().map(|meta| meta.len()),
                    uri: asked.uri,
                    path: asked.path,
                    alive,
                    created: asked.created as f64,
                    error: None,
                });
            }
        }
        found
    }

    /// Take over every upload whose process is dead. Archives that were still growing wait for the call that packs them again.
    pub fn resume(&self, given: &OptionsByScheme, credentials: Option<&Arc<Renewable>>) -> Vec<Arc<Upload>> {
        let mut taken = Vec::new();
        for path in journals(self.state_dir()) {
            match find(&path) {
                Found::Ours(_, true) | Found::Unreadable(true, _) => {}
                Found::Ours(remembered, false) if remembered.growing => {}
                Found::Empty => {
                    if let Ok(Ok((journal, _))) = Journal::open(path) {
                        journal.remove();
                    }
                }
                Found::Ours(remembered, false) => {
                    let Remembered { uri, path, options, remove_after, .. } = &remembered;
                    taken.extend(self.take_over(uri, path, options, *remove_after, given, credentials));
                }
                Found::Unreadable(false, why) => {
                    let message = format!(
                        "the journal `{}` cannot be used: {why}; upload its file again, and remove it",
                        path.display()
                    );
                    taken.push(failed("", &path, UploadError::new(UploadErrorKind::Journal, message)));
                }
            }
        }
        for path in lists(self.state_dir()) {
            // Locked while it is taken over, so that of two processes that resume one gets each file.
            let Ok(Ok((list, records))) = Journal::open(path) else { continue };
            for asked in asked::left(&records) {
                if taken.iter().any(|upload| upload.uri() == asked.uri) {
                    continue;
                }
                self.clear_staged(&asked);
                taken.extend(self.take_over(
                    &asked.uri,
                    &asked.path,
                    &asked.options,
                    asked.remove_after,
                    given,
                    credentials,
                ));
            }
            list.remove();
        }
        taken
    }

    /// What a process that was killed while it wrote a small file left beside the target; one in parts has a journal.
    fn clear_staged(&self, asked: &asked::Asked) {
        if !asked.uri.starts_with("file:")
            || crate::disk::metadata(journal::place(self.state_dir(), &asked.uri)).is_ok()
        {
            return;
        }
        let Ok(destination) = Destination::parse(&asked.uri, &asked.options) else { return };
        // What cannot be removed now is found by the next that looks.
        let _ = self.block_on(async |shared| {
            let (target, _) = shared.place(&destination, None)?;
            for stale in target.stale().await.unwrap_or_default() {
                let _ = target.abort(&stale.id).await;
            }
            Ok(())
        });
    }

    fn take_over(
        &self,
        uri: &str,
        path: &Path,
        options: &Options,
        remove_after: bool,
        given: &OptionsByScheme,
        credentials: Option<&Arc<Renewable>>,
    ) -> Option<Arc<Upload>> {
        let options = merged(uri, options, given);
        let credentials = credentials.filter(|_| uri.starts_with("s3")).cloned();
        match self.start(path, uri, &options, credentials, remove_after, false) {
            Ok(upload) => Some(upload),
            // It is being uploaded by this very process.
            Err(error) if error.kind == UploadErrorKind::Exists => None,
            Err(error) => Some(failed(uri, path, error)),
        }
    }

    /// Abort what dead processes left on servers and nobody will finish, if it is older than `older_than`.
    pub fn sweep(
        &self,
        older_than: Duration,
        dry_run: bool,
        given: &OptionsByScheme,
        credentials: Option<&Arc<Renewable>>,
    ) -> Result<Vec<Swept>> {
        let mut swept = Vec::new();
        for path in journals(self.state_dir()) {
            let Found::Ours(remembered, false) = find(&path) else { continue };
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            let age = (now - remembered.created).max(0.0);
            if age < older_than.as_secs_f64() {
                continue;
            }
            let mut found = Swept {
                uri: remembered.uri.clone(),
                id: remembered.id.clone().unwrap_or_default(),
                age,
                aborted: false,
                error: None,
            };
            if !dry_run {
                let options = merged(&remembered.uri, &remembered.options, given);
                let credentials = credentials.filter(|_| remembered.uri.starts_with("s3")).cloned();
                match self.abort(&remembered, &options, credentials) {
                    Ok(()) => {
                        found.aborted = true;
                        if let Ok(Ok((journal, _))) = Journal::open(path) {
                            journal.remove();
                        }
                    }
                    Err(error) => found.error = Some(error.message),
                }
            }
            swept.push(found);
        }
        if !dry_run {
            for path in lists(self.state_dir()) {
                let Ok(Ok((list, records))) = Journal::open(path) else { continue };
                let now = asked::now();
                if asked::left(&records).iter().all(|asked| now.saturating_sub(asked.created) >= older_than.as_secs()) {
                    list.remove();
                }
            }
        }
        Ok(swept)
    }

    fn abort(&self, remembered: &Remembered, options: &Options, credentials: Option<Arc<Renewable>>) -> Result<()> {
        let destination = Destination::parse(&remembered.uri, options)?;
        self.block_on(async move |shared| {
            let (target, _) = shared.place(&destination, credentials.as_ref())?;
            let work = async {
                match &remembered.id {
                    Some(id) => target.abort(id).await,
                    None => abort_nameless(&*target, remembered.created, "").await.map(|_| ()),
                }
            };
            match tokio::time::timeout(Duration::from_secs(60), work).await {
                Ok(outcome) => outcome.map_err(|fault| fault.error),
                Err(_) => {
                    Err(UploadError::new(UploadErrorKind::Stalled, "the server does not answer; try again later"))
                }
            }
        })
    }
}

fn failed(uri: &str, path: &Path, error: UploadError) -> Arc<Upload> {
    let upload = Upload::new(uri, path);
    upload.finish(Err(error));
    Arc::new(upload)
}
