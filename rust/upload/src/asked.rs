//! What a process was asked to send and has not finished: one list for each process, so that a file that still waited its turn
//! when the process was killed is not forgotten. A line when it is asked for, a line when it is done; no syncing, since a list that
//! a power cut takes is of files that a power cut left unsent.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::destination::{Options, place_of, without_secrets};
use crate::error::Result;
use crate::journal::{self, Journal, path_value, value_path};
use crate::source::Identity;
use crate::transfer::record::{time_value, value_time};
use crate::transfer::token;

/// The end of such lists' names.
pub(crate) const SUFFIX: &str = ".asked.v1.jsonl";

/// One file to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub path: PathBuf,
    /// How long it was, and when it was written last: another under its name is not what was asked for.
    pub state: Option<(u64, i128)>,
    pub uri: String,
    pub options: Options,
    pub remove_after: bool,
    pub created: u64,
}

impl Asked {
    /// What tells the object that it becomes from every other.
    pub fn place(&self) -> String {
        place_of(&self.uri, &self.options)
    }

    /// What is another about the file that bears the name now; `None` where nothing is, or nothing was noted. That it is missing
    /// is told by whoever opens it.
    pub fn differs(&self) -> Option<String> {
        let now = Identity::of(&crate::disk::metadata(&self.path).ok()?);
        let (size, mtime) = self.state?;
        if now.size != size {
            Some(format!("it has {} bytes, and had {size}", now.size))
        } else if now.mtime != mtime {
            Some("it was written to since".to_owned())
        } else {
            None
        }
    }
}

/// Lines in one file: ten thousand bytes each still make a file that is read back whole.
const SHEET: u64 = 5_000;

/// One file of a list.
struct Sheet {
    journal: Journal,
    open: HashSet<u64>,
    /// The first number that is none of its own any more.
    end: u64,
}

/// The list of this process, in sheets: each goes when all that it names is done.
#[derive(Default)]
pub(crate) struct AskedList {
    /// By their first numbers.
    sheets: BTreeMap<u64, Sheet>,
    next: u64,
}

impl AskedList {
    /// Write down what was asked for; the number by which `done` knows it.
    pub fn add(&mut self, state_dir: &Path, asked: &Asked) -> Result<u64> {
        if self.sheets.last_key_value().is_none_or(|(_, sheet)| sheet.end <= self.next) {
            journal::make_folder(state_dir)?;
            // A name that nobody has: a list is never appended to by a second process.
            let place = state_dir.join(format!("{}-{}{SUFFIX}", std::process::id(), token()));
            if let Ok((journal, _)) = Journal::open(place)? {
                self.sheets.insert(self.next, Sheet { journal, open: HashSet::new(), end: self.next + SHEET });
            }
        }
        let number = self.next;
        if let Some(mut sheet) = self.sheets.last_entry() {
            let record = json!({
                "t": "asked", "n": number, "path": path_value(&asked.path), "uri": asked.uri,
                "size": asked.state.map(|(size, _)| size), "mtime": time_value(asked.state.map(|(_, mtime)| mtime)),
                "options": without_secrets(&asked.options), "remove_after": asked.remove_after, "created": asked.created,
            });
            sheet.get_mut().journal.append(&record, false)?;
            sheet.get_mut().open.insert(number);
        }
        self.next += 1;
        Ok(number)
    }

    /// It needs not be remembered any more.
    pub fn done(&mut self, number: u64) {
        let Some((first, sheet)) = self.sheets.range_mut(..=number).next_back() else { return };
        if !sheet.open.remove(&number) {
            return;
        }
        if !sheet.open.is_empty() {
            // Not written down, it is sent again, found to be there, and skipped.
            let _ = sheet.journal.append(&done(number), false);
            return;
        }
        let first = *first;
        if let Some(sheet) = self.sheets.remove(&first) {
            sheet.journal.remove();
        }
    }
}

/// Now, in seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// One of a list needs not be remembered any more.
pub(crate) fn done(number: u64) -> Value {
    json!({ "t": "done", "n": number })
}

/// What is left of a list, by number.
pub(crate) fn left(records: &[Value]) -> Vec<(u64, Asked)> {
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
    open.into_iter().collect()
}

fn read(record: &Value) -> Option<Asked> {
    let options =
        record["options"].as_object()?.iter().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    Some(Asked {
        path: value_path(&record["path"])?,
        state: record["size"].as_u64().zip(value_time(&record["mtime"])),
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
            state: Some((3, 1_700_000_000_123_456_789)),
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
        let left: Vec<Asked> = left(&records).into_iter().map(|(_, asked)| asked).collect();
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].path.to_str().unwrap(), left[0].options.len()), ("b c\u{fc}\n", 1));
        assert_eq!(left[0].state, Some((3, 1_700_000_000_123_456_789)));
        list.done(first + 1);
        assert!(!place.exists());
    }
}
