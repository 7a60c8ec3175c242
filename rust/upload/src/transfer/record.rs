//! The journal's records: what an upload was asked to do, and which parts the server has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::checksum::{from_hex, hex};
use crate::destination::{Destination, Options, without_secrets};
use crate::journal::{path_value, value_path};
use crate::target::Part;

/// What a journal says.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is what one line of the journal says, or does not")]
pub(crate) struct Remembered {
    pub uri: String,
    /// What tells the object from every other.
    pub place: String,
    pub path: PathBuf,
    pub options: Options,
    pub token: String,
    pub part_size: u64,
    pub total: Option<u64>,
    pub remove_after: bool,
    pub growing: bool,
    pub created: f64,
    pub id: Option<String>,
    pub parts: BTreeMap<u64, Part>,
    pub completing: bool,
    /// Nobody is to go on with it: its parts are to be removed from the server.
    pub given_up: bool,
    /// When the file was written last, in nanoseconds: another is none of this upload's business.
    pub mtime: Option<i128>,
}

/// What an upload begins with.
pub(crate) struct Begin<'a> {
    pub destination: &'a Destination,
    pub place: &'a str,
    /// What the next process is to find.
    pub options: &'a Options,
    pub path: &'a Path,
    pub token: &'a str,
    pub part_size: u64,
    pub total: Option<u64>,
    pub remove_after: bool,
    pub mtime: Option<i128>,
}

impl Begin<'_> {
    pub fn record(&self) -> Value {
        let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        json!({
            "t": "begin", "v": 1, "uri": self.destination.uri, "place": self.place, "path": path_value(self.path),
            "options": without_secrets(self.options), "token": self.token, "part_size": self.part_size,
            "total": self.total, "remove_after": self.remove_after, "created": created, "mtime": time_value(self.mtime),
        })
    }
}

/// Nanoseconds as text: JSON's numbers are too short for them.
pub(crate) fn time_value(time: Option<i128>) -> Value {
    time.map_or(Value::Null, |time| json!(time.to_string()))
}

pub(crate) fn value_time(value: &Value) -> Option<i128> {
    value.as_str()?.parse().ok()
}

/// The upload is not wanted any more.
pub(crate) fn given_up() -> Value {
    json!({ "t": "given up" })
}

pub(crate) fn upload(id: &str) -> Value {
    json!({ "t": "upload", "id": id })
}

pub(crate) fn part(part: &Part) -> Value {
    json!({
        "t": "part", "n": part.number, "len": part.length, "crc": format!("{:016x}", part.crc64), "tag": part.tag,
        "md5": part.md5.map(|md5| hex(&md5)), "crc32c": part.crc32c,
    })
}

/// The source is complete, and where it lies: from now on a killed process can be taken over.
pub(crate) fn whole(path: &Path, total: u64, mtime: Option<i128>) -> Value {
    json!({ "t": "whole", "path": path_value(path), "total": total, "mtime": time_value(mtime) })
}

pub(crate) fn completing() -> Value {
    json!({ "t": "completing" })
}

/// What the records say; `None` where they do not begin as ours do.
pub(crate) fn read(records: &[Value]) -> Option<Remembered> {
    let (first, rest) = records.split_first()?;
    if first["t"] != "begin" || first["v"] != 1 {
        return None;
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let options =
        first["options"].as_object()?.iter().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    let mut found = Remembered {
        uri: text(&first["uri"])?,
        place: text(&first["place"])?,
        path: value_path(&first["path"])?,
        options: options.collect::<Option<_>>()?,
        token: text(&first["token"])
            .filter(|token| token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()))?,
        part_size: first["part_size"].as_u64().filter(|size| *size > 0)?,
        total: first["total"].as_u64(),
        growing: first["total"].is_null(),
        remove_after: first["remove_after"].as_bool()?,
        created: first["created"].as_f64()?,
        mtime: value_time(&first["mtime"]),
        ..Remembered::default()
    };
    for record in rest {
        match record["t"].as_str() {
            Some("upload") => found.id = text(&record["id"]),
            Some("part") => {
                let part = read_part(record)?;
                found.parts.insert(part.number, part);
            }
            Some("whole") => {
                found.path = value_path(&record["path"])?;
                found.total = record["total"].as_u64();
                found.mtime = value_time(&record["mtime"]);
                found.growing = false;
            }
            Some("completing") => found.completing = true,
            Some("given up") => found.given_up = true,
            _ => {}
        }
    }
    Some(found)
}

fn read_part(record: &Value) -> Option<Part> {
    let md5 = match record["md5"].as_str() {
        Some(text) => Some(from_hex(text)?.try_into().ok()?),
        None => None,
    };
    Some(Part {
        number: record["n"].as_u64().filter(|number| (1..=1 << 32).contains(number))?,
        length: record["len"].as_u64()?,
        crc64: u64::from_str_radix(record["crc"].as_str()?, 16).ok()?,
        crc32c: record["crc32c"].as_u64().and_then(|crc| u32::try_from(crc).ok()),
        tag: record["tag"].as_str()?.to_owned(),
        md5,
    })
}
