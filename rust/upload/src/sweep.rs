//! What earlier processes left: looked at, taken over, or cleaned away.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::asked::{self, Asked};
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
    /// `sending` while its process lives, `interrupted` when it does not, `packing` where that was packing what it sent, `given up`
    /// where only its parts are left to be removed, `unreadable` where it is none of ours.
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

impl Record {
    fn unreadable(journal: PathBuf) -> Self {
        Self {
            journal,
            state: "unreadable",
            uri: String::new(),
            path: PathBuf::new(),
            bytes_sent: 0,
            bytes_total: None,
            alive: false,
            created: 0.0,
            error: None,
        }
    }
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

/// How long a server gets to forget an upload. One that does not is not asked again for the next.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// Options by scheme.
pub type OptionsByScheme = std::collections::BTreeMap<String, Options>;

/// Options for resuming and sweeping, since journals hold no secrets: those that the environment has, beneath the journals' own, and those
/// that were given, above them; and the keys of a profile.
#[derive(Default)]
pub struct Given {
    /// What holds where a journal says nothing.
    pub beneath: OptionsByScheme,
    /// What holds whatever a journal says.
    pub above: OptionsByScheme,
    /// For S3.
    pub credentials: Option<Arc<Renewable>>,
}

impl Given {
    fn options(&self, uri: &str, theirs: &Options) -> Options {
        let scheme = scheme_of(uri);
        let mut options = self.beneath.get(scheme).cloned().unwrap_or_default();
        options.extend(theirs.clone());
        options.extend(self.above.get(scheme).cloned().unwrap_or_default());
        options
    }

    fn keys(&self, uri: &str) -> Option<Arc<Renewable>> {
        self.credentials.as_ref().filter(|_| scheme_of(uri) == "s3").cloned()
    }
}

fn scheme_of(uri: &str) -> &str {
    match uri.split("://").next().unwrap_or_default() {
        "az" | "abfs" | "abfss" => "azure",
        "https" => "http",
        "s3a" => "s3",
        other => other,
    }
}

fn journals(state_dir: &Path) -> Vec<PathBuf> {
    names(state_dir, |name| name.ends_with(".v1.jsonl") && !name.ends_with(asked::SUFFIX))
}

/// The newest first: of two processes that were to send something to one place, the later one is right.
fn lists(state_dir: &Path) -> Vec<PathBuf> {
    let mut found = names(state_dir, |name| name.ends_with(asked::SUFFIX));
    let written = |path: &PathBuf| crate::disk::symlink_metadata(path).and_then(|meta| meta.modified()).ok();
    found.sort_by_cached_key(|path| std::cmp::Reverse(written(path)));
    found
}

fn names(state_dir: &Path, ours: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = crate::disk::read_dir(state_dir) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = paths.filter(|path| ours(&path.to_string_lossy())).collect();
    found.sort();
    found
}

enum Found {
    Ours(Box<Remembered>, bool),
    Empty,
    Unreadable(bool, String),
}

fn find(path: &Path) -> Found {
    match journal::look(path) {
        Ok((records, alive)) if records.is_empty() && !alive => Found::Empty,
        Ok((records, alive)) => match record::read(&records) {
            Some(remembered) if journal::place(path.parent().unwrap_or(Path::new("")), &remembered.place) == path => {
                Found::Ours(Box::new(remembered), alive)
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
        let (mut found, mut known) = (Vec::new(), HashSet::new());
        for path in journals(self.state_dir()) {
            let mut record = Record::unreadable(path.clone());
            match find(&path) {
                Found::Empty => continue,
                Found::Unreadable(alive, why) => {
                    record.alive = alive;
                    record.error = Some(format!("the journal `{}` cannot be used: {why}; remove it", path.display()));
                }
                Found::Ours(remembered, alive) => {
                    record.state = match (alive, remembered.given_up, remembered.growing) {
                        (true, _, _) => "sending",
                        (false, true, _) => "given up",
                        (false, false, true) => "packing",
                        (false, false, false) => "interrupted",
                    };
                    record.bytes_sent = remembered.parts.values().map(|part| part.length).sum();
                    record.bytes_total = remembered.total;
                    record.alive = alive;
                    record.created = remembered.created;
                    known.insert(remembered.place);
                    record.uri = remembered.uri;
                    record.path = remembered.path;
                }
            }
            found.push(record);
        }
        for path in lists(self.state_dir()) {
            let (records, alive) = match journal::look(&path) {
                Ok(looked) => looked,
                Err(error) => {
                    let why = crate::error::reason(&error);
                    let error = Some(format!("the list `{}` cannot be used: {why}; remove it", path.display()));
                    found.push(Record { error, ..Record::unreadable(path) });
                    continue;
                }
            };
            for (_, asked) in asked::left(&records) {
                // What has begun has a journal that tells more.
                if !known.insert(asked.place()) {
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
    pub fn resume(&self, given: &Given) -> Vec<Arc<Upload>> {
        let (mut taken, mut known): (Vec<Arc<Upload>>, HashSet<String>) = Default::default();
        let (mut silent, mut outdated) = (HashSet::new(), Vec::new());
        for path in journals(self.state_dir()) {
            match find(&path) {
                Found::Ours(_, true) | Found::Unreadable(true, _) => {}
                Found::Ours(remembered, false) if remembered.growing => {}
                Found::Empty => {
                    if let Ok(Ok((journal, _))) = Journal::open(path) {
                        journal.remove();
                    }
                }
                Found::Ours(remembered, false) if remembered.given_up => {
                    if self.abort(&remembered, given, &mut silent).is_ok()
                        && let Ok(Ok((journal, _))) = Journal::open(path)
                    {
                        journal.remove();
                    }
                }
                Found::Ours(remembered, false) if scheme_of(&remembered.uri) == "http" => {
                    let message = format!(
                        "`{}` was sent to addresses that were signed for it, which are not recorded: upload it again to new ones",
                        remembered.path.display()
                    );
                    let error = UploadError::new(UploadErrorKind::BadDestination, message);
                    taken.push(failed(&remembered.uri, &remembered.path, error));
                }
                Found::Ours(remembered, false) => {
                    let asked = Asked {
                        state: remembered.total.zip(remembered.mtime),
                        path: remembered.path,
                        uri: remembered.uri,
                        options: remembered.options,
                        remove_after: remembered.remove_after,
                        created: remembered.created as u64,
                    };
                    match self.go_on(&asked, given) {
                        // A later process may have been asked for what bears the name now.
                        Some(upload) if has_changed(&upload) => outdated.push((remembered.place, upload)),
                        begun => {
                            known.insert(remembered.place);
                            taken.extend(begun);
                        }
                    }
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
            let (mut list, records) = match Journal::open(path.clone()) {
                Ok(Ok(opened)) => opened,
                Ok(Err(_)) => continue,
                Err(error) => {
                    taken.push(failed("", &path, error));
                    continue;
                }
            };
            let left = asked::left(&records);
            self.clear_staged(&left);
            let mut kept = false;
            for (number, asked) in &left {
                let begun = if known.insert(asked.place()) { self.go_on(asked, given) } else { None };
                // What could not even be begun is on no other list.
                if begun.as_ref().is_some_and(|upload| upload.error().is_some()) {
                    kept = true;
                } else {
                    let _ = list.append(&asked::done(*number), false);
                }
                taken.extend(begun);
            }
            if !kept {
                list.remove();
            }
        }
        taken.extend(outdated.into_iter().filter(|(place, _)| !known.contains(place)).map(|(_, upload)| upload));
        taken
    }

    /// What a process that was killed while it wrote small files left beside their targets; one in parts has a journal.
    fn clear_staged(&self, left: &[(u64, Asked)]) {
        // Few folders have any, and are many files' own.
        let mut staging: HashMap<PathBuf, bool> = HashMap::new();
        for (_, asked) in left.iter().filter(|(_, asked)| asked.uri.starts_with("file:")) {
            let Ok(destination) = Destination::parse(&asked.uri, &asked.options) else { continue };
            let folder = destination.file().parent().map(Path::to_owned).unwrap_or_default();
            let has_any = *staging
                .entry(folder)
                .or_insert_with_key(|folder| !names(folder, |name| name.ends_with(crate::file::SUFFIX)).is_empty());
            if !has_any || crate::disk::metadata(journal::place(self.state_dir(), &asked.place())).is_ok() {
                continue;
            }
            // What cannot be removed now is found by the next that looks.
            let _ = self.block_on(async |shared| {
                let (target, _) = shared.place(&destination, None)?;
                for stale in target.stale().await.unwrap_or_default() {
                    let _ = target.abort(&stale.id).await;
                }
                Ok(())
            });
        }
    }

    fn go_on(&self, asked: &Asked, given: &Given) -> Option<Arc<Upload>> {
        let Asked { uri, path, options, remove_after, .. } = asked;
        if let Some(other) = asked.differs() {
            let message = format!(
                "`{}` is not what was to be sent to `{uri}` any more: {other}; upload it again, or have `vhpack uploads --sweep` give it up",
                path.display()
            );
            return Some(failed(uri, path, UploadError::new(UploadErrorKind::SourceChanged, message)));
        }
        let all = given.options(uri, options);
        match self.take_over(path, uri, &all, options, given.keys(uri), *remove_after) {
            Ok(upload) => Some(upload),
            // It is being uploaded by this very process.
            Err(error) if error.kind == UploadErrorKind::Exists => None,
            Err(error) => Some(failed(uri, path, error)),
        }
    }

    /// Abort what dead processes left on servers and nobody will finish, if it is older than `older_than`.
    pub fn sweep(&self, older_than: Duration, dry_run: bool, given: &Given) -> Result<Vec<Swept>> {
        let (mut swept, mut silent) = (Vec::new(), HashSet::new());
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
                match self.abort(&remembered, given, &mut silent) {
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
                let (now, left) = (asked::now(), asked::left(&records));
                if left.iter().all(|(_, asked)| now.saturating_sub(asked.created) >= older_than.as_secs()) {
                    self.clear_staged(&left);
                    list.remove();
                }
            }
        }
        Ok(swept)
    }

    /// `silent` are the servers that have not answered: scheme and bucket.
    fn abort(&self, remembered: &Remembered, given: &Given, silent: &mut HashSet<String>) -> Result<()> {
        let uri = &remembered.uri;
        let server = uri.split('/').take(3).collect::<Vec<_>>().join("/");
        let no_answer = || UploadError::new(UploadErrorKind::Stalled, "the server does not answer; try again later");
        if silent.contains(&server) {
            return Err(no_answer());
        }
        let (options, credentials) = (given.options(uri, &remembered.options), given.keys(uri));
        let destination = Destination::parse(uri, &options)?;
        self.block_on(async move |shared| {
            let (target, _) = shared.place(&destination, credentials.as_ref())?;
            let work = async {
                match &remembered.id {
                    Some(id) => target.abort(id).await,
                    None => abort_nameless(&*target, remembered.created, &remembered.token, "").await.map(drop),
                }
            };
            match tokio::time::timeout(ANSWERS_WITHIN, work).await {
                Ok(Err(fault)) if fault.answered => Err(fault.error),
                Ok(Ok(())) => Ok(()),
                silence => {
                    silent.insert(server);
                    Err(silence.map_or_else(
                        |_| no_answer(),
                        |outcome| outcome.map_or_else(|fault| fault.error, |()| no_answer()),
                    ))
                }
            }
        })
    }
}

fn has_changed(upload: &Upload) -> bool {
    upload.error().is_some_and(|error| error.kind == UploadErrorKind::SourceChanged)
}

fn failed(uri: &str, path: &Path, error: UploadError) -> Arc<Upload> {
    let upload = Upload::new(uri, path, false);
    upload.finish(Err(error));
    Arc::new(upload)
}
