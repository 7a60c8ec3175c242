//! What a process was asked to send and has not finished: one list for each process, so that a file that still waited its turn
//! when the process was killed is not forgotten. A line when it is asked for, a line when it is done; no syncing, since a list that
//! a power cut takes is of files that a power cut left unsent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::destination::{Options, without_secrets};
use crate::error::Result;
use crate::journal::{self, Journal, path_value, value_path};
use crate::transfer::token;

/// The end of such lists' names.
pub(crate) const SUFFIX: &str = ".asked.v1.jsonl";

/// One file to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub path: PathBuf,
    pub uri: String,
    pub options: Options,
    pub remove_after: bool,
    pub created: u64,
}

/// The list of this process.
#[derive(Default)]
pub(crate) struct AskedList {
    journal: Option<Journal>,
    open: usize,
    next: u64,
}

impl AskedList {
    /// Write down what was asked for; the number by which `done` knows it.
    pub fn add(&mut self, state_dir: &Path, asked: &Asked) -> Result<u64> {
        if self.journal.is_none() {
            journal::make_folder(state_dir)?;
            // A name that nobody has: a list is never appended to by a second process.
            let place = state_dir.join(format!("{}-{}{SUFFIX}", std::process::id(), token()));
            self.journal = Journal::open(place)?.ok().map(|(journal, _)| journal);
        }
        self.next += 1;
        if let Some(journal) = &mut self.journal {
            let record = json!({
                "t": "asked", "n": self.next, "path": path_value(&asked.path), "uri": asked.uri,
                "options": without_secrets(&asked.options), "remove_after": asked.remove_after, "created": asked.created,
            });
            journal.append(&record, false)?;
        }
        self.open += 1;
        Ok(self.next)
    }

    /// It needs not be remembered any more.
    pub fn done(&mut self, number: u64) {
        self.open -= 1;
        if self.open > 0 {
            if let Some(journal) = &mut self.journal {
                // Not written down, it is sent again, found to be there, and skipped.
                let _ = journal.append(&json!({ "t": "done", "n": number }), false);
            }
        } else if let Some(journal) = self.journal.take() {
            journal.remove();
        }
    }
}

/// Now, in seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What is left of a list.
pub(crate) fn left(records: &[Value]) -> Vec<Asked> {
    let mut open = BTreeMap::new();
    for record in records {
        match (record["t"].as_str(), record["n"].as_u64()) {
            (Some("asked"), Some(number)) => {
                if let Some(asked) = read(record) {
                    open.insert(number, asked);
                }
            }
            (Some("done"), Some(number)) => {
                open.remove(&number);
            }
            _ => {}
        }
    }
    open.into_values().collect()
}

fn read(record: &Value) -> Option<Asked> {
    let options =
        record["options"].as_object()?.iter().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    Some(Asked {
        path: value_path(&record["path"])?,
        uri: record["uri"].as_str()?.to_owned(),
        options: options.collect::<Option<_>>()?,
        remove_after: record["remove_after"].as_bool()?,
        created: record["created"].as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_and_not_done_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let mut list = AskedList::default();
        let asked = |name: &str| Asked {
            path: PathBuf::from(name),
            uri: format!("s3://bucket/{name}"),
            options: Options::from([
                ("region".to_owned(), "x".to_owned()),
                ("secret_access_key".to_owned(), "y".to_owned()),
            ]),
            remove_after: true,
            created: 1,
        };
        let first = list.add(folder.path(), &asked("a")).unwrap();
        list.add(folder.path(), &asked("b c\u{fc}\n")).unwrap();
        list.done(first);
        let place = crate::disk::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let (records, alive) = journal::look(&place).unwrap();
        assert!(alive);
        let left = left(&records);
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].path.to_str().unwrap(), left[0].options.len()), ("b c\u{fc}\n", 1));
        list.done(2);
        assert!(!place.exists());
    }
}
