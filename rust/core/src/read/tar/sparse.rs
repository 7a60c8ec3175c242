//! Sparse files: which stretches of a file a tar holds, in GNU's old form, in star's, and in pax 0.0, 0.1 and 1.0. The rest is
//! zeros.

use super::layout::{BLOCK, number};
use crate::read::fault::Fault;

/// What one stretch of a map takes in memory.
const STRETCH_BYTES: u64 = 16;

/// In GNU's old form, and star's: an offset and a length of twelve digits each.
const OLD_STRETCH: usize = 24;

/// Where a stretch begins in the file, and its length.
pub(super) type Stretch = (u64, u64);

/// The map of one file, which has been checked: its stretches are in order, inside the file, and all the data there is.
#[derive(Debug)]
pub(super) struct Map {
    /// Where the data stand in the tar; members are found by it.
    pub start: u64,
    /// Bytes of the data, a map in front of the stretches among them.
    pub packed: u64,
    size: u64,
    /// Where each stretch begins in the file and in the data. It ends where the next one begins in the data.
    stretches: Box<[(u64, u64)]>,
}

impl Map {
    /// A file of `size` bytes whose `stretches` stand behind the first `ahead` of `packed` bytes of data.
    pub fn new(mut stretches: Vec<Stretch>, size: u64, (start, ahead, packed): (u64, u64, u64)) -> Result<Self, Fault> {
        let (mut end, mut from) = (0, ahead);
        stretches.retain(|(_, length)| *length > 0);
        let count = stretches.len();
        for (number, (at, length)) in stretches.iter_mut().enumerate() {
            if *at < end {
                return Err(Fault::corrupt(format!("its sparse map goes back to byte {at} from byte {end}")));
            }
            end = at.checked_add(*length).filter(|end| *end <= size).ok_or_else(|| {
                Fault::corrupt(format!("its sparse map has {length} bytes at {at} of a file of {size}"))
            })?;
            // GNU tar begins each stretch in a block of its own, and the others where the last one ended.
            if number + 1 < count && !length.is_multiple_of(BLOCK as u64) {
                return Err(Fault::unsupported(
                    "a stretch of its sparse map ends inside a block, behind which readers look for the next in two places",
                ));
            }
            // Both are below the size of a file, so that no sum of theirs is beyond measure.
            (*length, from) = (from, from.saturating_add(*length));
        }
        if from != packed {
            return Err(Fault::corrupt(format!(
                "its sparse map accounts for {from} bytes of data, and it has {packed}"
            )));
        }
        Ok(Self { start, packed, size, stretches: stretches.into() })
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What it takes in memory.
    pub fn bytes(&self) -> u64 {
        self.stretches.len() as u64 * STRETCH_BYTES
    }

    fn from(&self, number: usize) -> u64 {
        self.stretches.get(number).map_or(self.packed, |stretch| stretch.1)
    }

    /// What stands at `offset` of the file: the place in the data, or `None` in a hole; and for how many bytes.
    pub fn run(&self, offset: u64) -> (Option<u64>, u64) {
        let next = self.stretches.partition_point(|(at, _)| *at <= offset);
        if let Some((at, from)) = next.checked_sub(1).map(|last| self.stretches[last])
            && let Some(left) = (self.from(next) - from).checked_sub(offset - at).filter(|left| *left > 0)
        {
            return (Some(from + offset - at), left);
        }
        let until = self.stretches.get(next).map_or(self.size, |stretch| stretch.0);
        (None, until.saturating_sub(offset))
    }

    /// How far into the data one has to be to read on from `offset` of the file.
    pub fn place(&self, offset: u64) -> u64 {
        let next = self.stretches.partition_point(|(at, _)| *at <= offset);
        self.run(offset).0.unwrap_or_else(|| self.from(next))
    }
}

const NO_NUMBERS: &str = "its sparse map is no list of numbers";
const TWO_MAPS: &str = "it has two sparse maps";

fn no_numbers() -> Fault {
    Fault::corrupt(NO_NUMBERS)
}

/// Digits alone, as all writers have it.
fn decimal(digits: &[u8]) -> Result<u64, &'static str> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok().filter(|_| is_number).and_then(|digits| digits.parse().ok());
    number.filter(|number: &u64| i64::try_from(*number).is_ok()).ok_or(NO_NUMBERS)
}

/// What pax records say of a sparse file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// Its real name, where the other one was left to readers who know no sparse files.
    pub name: Option<Vec<u8>>,
    pub size: Option<u64>,
    /// Of the map: major and minor.
    version: (Option<u64>, Option<u64>),
    count: Option<u64>,
    /// Versions below 1 have it here.
    map: Option<Vec<Stretch>>,
    /// Of a stretch whose length is to come.
    offset: Option<u64>,
    /// What is wrong with the records, to be said when it is known whose they are.
    broken: Option<&'static str>,
}

impl Records {
    /// Take in `GNU.sparse.KEY=VALUE`.
    pub fn take(&mut self, key: &[u8], value: &[u8]) {
        if let Err(what) = self.note(key, value) {
            self.broken = Some(what);
        }
    }

    fn note(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"major" => self.version.0 = Some(decimal(value)?),
            b"minor" => self.version.1 = Some(decimal(value)?),
            b"numblocks" => self.count = Some(decimal(value)?),
            b"offset" if self.offset.is_none() => self.offset = Some(decimal(value)?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or(NO_NUMBERS)?;
                self.map.get_or_insert_default().push((offset, decimal(value)?));
            }
            b"map" => {
                let mut numbers = value.split(|&byte| byte == b',').filter(|_| !value.is_empty()).map(decimal);
                let mut map = Vec::new();
                while let Some(offset) = numbers.next() {
                    map.push((offset?, numbers.next().ok_or(NO_NUMBERS)??));
                }
                if self.map.replace(map).is_some() {
                    return Err(TWO_MAPS);
                }
            }
            b"offset" => return Err(NO_NUMBERS),
            _ => {}
        }
        Ok(())
    }

    /// What it takes in memory, beyond its name.
    pub fn bytes(&self) -> u64 {
        self.map.as_ref().map_or(0, |map| map.len() as u64 * STRETCH_BYTES)
    }

    /// The map that stands in the records, and none where it stands in front of the data.
    pub fn map(&mut self) -> Result<Option<Vec<Stretch>>, Fault> {
        if let Some(what) = self.broken.or(self.offset.map(|_| NO_NUMBERS)) {
            return Err(Fault::corrupt(what));
        }
        match (self.version, self.map.take()) {
            ((Some(1), Some(0)), None) => Ok(None),
            ((Some(1), _), Some(_)) => Err(Fault::corrupt(TWO_MAPS)),
            ((None | Some(0), _), Some(map)) => match self.count {
                Some(count) if count != map.len() as u64 => {
                    let what = format!("its sparse map has {} stretches, and {count} were announced", map.len());
                    Err(Fault::corrupt(what))
                }
                _ => Ok(Some(map)),
            },
            ((None | Some(0), _), None) if self.count.is_none_or(|count| count == 0) && self.version.0.is_none() => {
                Ok(Some(Vec::new()))
            }
            ((None | Some(0), _), None) => Err(Fault::corrupt("its sparse map is missing")),
            ((Some(major), minor), _) => {
                let minor = minor.unwrap_or_default();
                Err(Fault::unsupported(format!(
                    "its sparse map is of version {major}.{minor}, which nobody has described"
                )))
            }
        }
    }
}

/// A map of version 1.0: lines of digits in front of the data, the count of stretches first.
#[derive(Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    count: Option<u64>,
    offset: Option<u64>,
    pub stretches: Vec<Stretch>,
}

impl Lines {
    /// What it takes in memory.
    pub fn bytes(&self) -> u64 {
        self.stretches.len() as u64 * STRETCH_BYTES
    }

    /// Take in a block of the data; whether the map ends in it.
    pub fn see(&mut self, block: &[u8; BLOCK]) -> Result<bool, Fault> {
        for &byte in block {
            if byte != b'\n' {
                if self.line.len() == 20 {
                    return Err(no_numbers());
                }
                self.line.push(byte);
                continue;
            }
            let number = decimal(&self.line).map_err(Fault::corrupt)?;
            self.line.clear();
            match (self.count, self.offset.take()) {
                (None, _) => self.count = Some(number),
                (_, None) => self.offset = Some(number),
                (_, Some(offset)) => self.stretches.push((offset, number)),
            }
            if self.offset.is_none() && self.count == Some(self.stretches.len() as u64) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A map of GNU's old form, or of star's: some stretches in the header, more of them in blocks behind it.
pub(super) struct Old {
    size: Option<u64>,
    more: bool,
    ended: bool,
    stretches: Vec<Stretch>,
}

impl Old {
    /// What a header has of it.
    pub fn begin(header: &[u8; BLOCK]) -> Result<Self, Fault> {
        let is_gnu = &header[257..263] == b"ustar ";
        let size = number(&header[if is_gnu { 483..495 } else { 452..464 }]).and_then(|size| u64::try_from(size).ok());
        let mut old = Self { size, more: true, ended: false, stretches: Vec::new() };
        if is_gnu {
            old.add(&header[386..482], header[482])?;
        } else if header[345] == 0 && header[366] != 0 {
            // Else star has the rest of a long name there, and the map begins in the next block.
            old.add(&header[356..452], header[355])?;
        }
        Ok(old)
    }

    /// Whether the next block goes on with it.
    pub fn goes_on(&self) -> bool {
        self.more
    }

    /// Take in a block behind the header.
    pub fn see(&mut self, block: &[u8; BLOCK]) -> Result<(), Fault> {
        self.add(&block[..504], block[504])
    }

    fn add(&mut self, stretches: &[u8], more: u8) -> Result<(), Fault> {
        for stretch in stretches.chunks_exact(OLD_STRETCH) {
            let (offset, length) = stretch.split_at(OLD_STRETCH / 2);
            self.ended |= length[0] == 0;
            if self.ended {
                // Some readers stop here, and others go on.
                if stretch.iter().any(|&byte| byte != 0) {
                    return Err(Fault::corrupt("its sparse map goes on behind its end"));
                }
                continue;
            }
            let natural = |field| number(field).and_then(|number| u64::try_from(number).ok());
            self.stretches.push((natural(offset).ok_or_else(no_numbers)?, natural(length).ok_or_else(no_numbers)?));
        }
        self.more = more != 0;
        if self.more && self.ended {
            return Err(Fault::corrupt("its sparse map goes on behind its end"));
        }
        Ok(())
    }

    /// What it takes in memory.
    pub fn bytes(&self) -> u64 {
        self.stretches.len() as u64 * STRETCH_BYTES
    }

    /// The same as records would say it.
    pub fn finish(self) -> Records {
        Records { size: self.size, map: Some(self.stretches), ..Records::default() }
    }
}
