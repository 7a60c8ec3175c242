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
pub(crate) struct Remembered {
    pub uri: String,
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
}

pub(crate) fn begin(
    destination: &Destination,
    path: &Path,
    token: &str,
    part_size: u64,
    total: Option<u64>,
    remove_after: bool,
) -> Value {
    let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    json!({
        "t": "begin", "v": 1, "uri": destination.uri, "path": path_value(path), "options": without_secrets(&destination.options),
        "token": token, "part_size": part_size, "total": total, "remove_after": remove_after, "created": created,
    })
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
pub(crate) fn whole(path: &Path, total: u64) -> Value {
    json!({ "t": "whole", "path": path_value(path), "total": total })
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
        path: value_path(&first["path"])?,
        options: options.collect::<Option<_>>()?,
        token: text(&first["token"])
            .filter(|token| token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()))?,
        part_size: first["part_size"].as_u64().filter(|size| *size > 0)?,
        total: first["total"].as_u64(),
        growing: first["total"].is_null(),
        remove_after: first["remove_after"].as_bool()?,
        created: first["created"].as_f64()?,
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
                found.growing = false;
            }
            Some("completing") => found.completing = true,
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
