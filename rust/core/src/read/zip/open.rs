//! Finding the directory from the file's end, and indexing it.

use std::sync::atomic::AtomicUsize;

use super::layout::{END_LENGTH, END64_LENGTH, End, LOCAL_LENGTH, LOCATOR_LENGTH, RECORD, Record, locator};
use super::place::Place;
use super::{Zip, is_file};
use crate::cancel::CancelToken;
use crate::read::fault::Fault;
use crate::read::index::Indexing;
use crate::read::limits::Limits;
use crate::read::member::MemberKind;
use crate::read::source::Source;

/// Members indexed between two looks at the flag: some milliseconds.
const LOOK_EVERY: u64 = 1 << 16;

/// The longest comment behind the end record.
const COMMENT: usize = 65_535;

/// Where things are, once the end record is understood.
struct Found {
    end: End,
    /// In the file.
    directory: u64,
    directory_end: u64,
    /// Where the archive ends in the file.
    archive_end: u64,
    /// Where its first end record stands, straight behind the directory in an honest archive.
    end_at: u64,
    /// Bytes between the zip64 end record and its locator.
    between: u64,
    /// Where something stands behind the end record, in the file, that others may take for it.
    rival_end: Option<u64>,
    zip64: bool,
}

/// Whether an end record stands near the file's end.
pub(crate) fn has_end(source: &dyn Source) -> Result<bool, Fault> {
    Ok(End::find(&tail(source)?.0).is_some())
}

fn tail(source: &dyn Source) -> Result<(Vec<u8>, u64), Fault> {
    let length = source.length().min((LOCATOR_LENGTH + END_LENGTH + COMMENT) as u64);
    let start = source.length() - length;
    let mut bytes = vec![0; length as usize];
    let count = source.read_at(&mut bytes, start)?;
    bytes.truncate(count);
    Ok((bytes, start))
}

fn find_directory(source: &dyn Source) -> Result<Found, Fault> {
    let (tail, tail_start) = tail(source)?;
    let Some((mut end, at)) = End::find(&tail) else {
        return Err(Fault::corrupt("no end record of a zip; the file is cut short, or is no zip"));
    };
    let comment = usize::from(u16::from_le_bytes([tail[at + END_LENGTH - 2], tail[at + END_LENGTH - 1]]));
    let archive_end = tail_start + (at + END_LENGTH + comment) as u64;
    let rival_end = End::rival(&tail, at).map(|rival| tail_start + rival as u64);
    let mut directory_end = tail_start + at as u64;
    let (mut between, mut zip64) = (0, false);
    if let Some(locator_at) = at.checked_sub(LOCATOR_LENGTH)
        && let Some((record_at, disks)) = locator(&tail[locator_at..])
    {
        if disks > 1 {
            return Err(multi_disk());
        }
        let locator_at = tail_start + locator_at as u64;
        match end64(source, record_at, locator_at)? {
            Some((wide, wide_at)) if !end.agrees(&wide) => {
                return Err(Fault::corrupt("the zip64 end record contradicts the end record").at(wide_at));
            }
            Some((wide, wide_at)) => {
                (end, directory_end, zip64) = (wide, wide_at, true);
                between = locator_at.saturating_sub(wide_at + END64_LENGTH as u64);
            }
            None if end.is_full() => {
                return Err(Fault::corrupt("the zip64 end record is not where its locator says").at(record_at));
            }
            None => {}
        }
    }
    if end.disk != 0 || end.directory_disk != 0 || end.count_here != end.count {
        return Err(multi_disk());
    }
    let directory = directory_end.checked_sub(end.length).ok_or_else(|| {
        Fault::corrupt(format!("the directory claims {} bytes, and the file has fewer", end.length)).at(directory_end)
    })?;
    Ok(Found { end, directory, directory_end, archive_end, end_at: directory_end, between, rival_end, zip64 })
}

fn multi_disk() -> Fault {
    Fault::unsupported(
        "it is one part of several; join them with the tool that split it, as in `zip -s 0 IN --out OUT`",
    )
}

/// The zip64 end record: where the locator says, or straight before it where bytes were put in front of the archive. Some
/// readers look in the one place only, and others in the other, so where both have a record, there are two archives.
fn end64(source: &dyn Source, stated: u64, locator_at: u64) -> Result<Option<(End, u64)>, Fault> {
    let record = |at: u64| -> Result<Option<(End, u64)>, Fault> {
        let mut bytes = [0; END64_LENGTH];
        let is_whole = at < locator_at && source.read_at(&mut bytes, at)? == END64_LENGTH;
        Ok(if is_whole { End::parse64(&bytes).map(|end| (end, at)) } else { None })
    };
    let before = locator_at.checked_sub(END64_LENGTH as u64).map_or(Ok(None), record)?;
    match (record(stated)?, before) {
        (Some((_, stated)), Some((_, before))) if stated != before => {
            let what =
                format!("there are two zip64 end records, one where the locator says and one at offset {before}");
            Err(Fault::corrupt(what).at(stated))
        }
        (stated, before) => Ok(stated.or(before)),
    }
}

/// The directory as its end record places it; where no record begins there, straight before the end record's own
/// place. The distance between the two is what stands in front of the archive.
fn place(source: &dyn Source, found: &mut Found) -> Result<u64, Fault> {
    let stated = found.end.offset;
    let mut shift = found.directory.checked_sub(stated);
    if found.end.length > 0 && (shift.is_none() || !begins_record(source, found.directory)?) {
        if !begins_record(source, stated)? {
            return Err(Fault::corrupt("there is no directory where the end record says").at(stated));
        }
        found.directory = stated;
        found.directory_end = stated.saturating_add(found.end.length);
        if found.directory_end > found.end_at {
            return Err(Fault::corrupt("the directory runs into the record of its own end").at(stated));
        }
        shift = Some(0);
    }
    shift.ok_or_else(|| Fault::corrupt("there is no directory where the end record says").at(stated))
}

fn begins_record(source: &dyn Source, at: u64) -> Result<bool, Fault> {
    let mut magic = [0; 4];
    Ok(source.read_at(&mut magic, at)? == 4 && magic == RECORD)
}

impl Zip {
    /// Stream the directory into an index, and refuse what contradicts itself or exceeds a limit.
    pub fn open(source: &dyn Source, limits: &Limits, cancel: &CancelToken) -> Result<Self, Fault> {
        let mut found = find_directory(source)?;
        let shift = place(source, &mut found)?;
        let Found { end, directory, directory_end, archive_end, end_at, between, rival_end, zip64 } = found;
        let spans = Spans::new(shift, directory);
        let mut survey = Survey { indexing: Indexing::new(), places: Vec::new(), files: 0, total: 0, spans };
        if end.length > 0 {
            Self::walk(source, directory, directory_end, |record, position| {
                survey.see(record, position, limits, cancel)
            })?;
        }
        let Survey { indexing, mut places, files, total, spans } = survey;
        places.shrink_to_fit();
        let members = indexing.len() as u64;
        let told = if zip64 { members } else { members & 0xFFFF };
        if told != end.count {
            let what = format!("the end record counts {} members, and the directory has {members}", end.count);
            return Err(Fault::corrupt(what).at(directory_end));
        }
        // Zeros where the record's last bytes never came say so of any archive; whose files would be gone without a word.
        if members == 0 && directory > 0 {
            let what = format!("the end record counts no members, and {directory} bytes stand before it");
            return Err(Fault::corrupt(what).at(end_at));
        }
        if !spans.in_order {
            check_overlaps(source, directory, directory_end, shift)?;
        }
        limits.check_total(total)?;
        let index = indexing.finish();
        let extra_seen = AtomicUsize::new(0);
        let (superseded, limits) = (Vec::new(), *limits);
        let (end, hidden) = (archive_end, end_at.saturating_sub(directory_end) + between);
        let mut zip = Self {
            index,
            places,
            directory,
            directory_end,
            shift,
            end,
            rival_end,
            hidden,
            limits,
            files,
            superseded,
            members,
            extra_seen,
        };
        zip.find_superseded(source, cancel)?;
        Ok(zip)
    }
}

impl Zip {
    /// Only names whose hashes agree are read, which in an honest archive are next to none.
    fn find_superseded(&mut self, source: &dyn Source, cancel: &CancelToken) -> Result<(), Fault> {
        let named = |number| {
            let member = self.member(source, number, 0);
            if cancel.is_cancelled() { Err(Fault::cancelled()) } else { member }
        };
        let superseded = self.index.superseded(|a, b| Ok(named(a)?.name == named(b)?.name))?;
        let mut files = 0;
        for &number in &superseded {
            files += u64::from(named(number as usize)?.kind == MemberKind::File);
        }
        (self.superseded, self.files) = (superseded, self.files - files);
        Ok(())
    }
}

/// What one pass over the directory finds out.
struct Survey {
    indexing: Indexing,
    places: Vec<Place>,
    files: u64,
    total: u64,
    spans: Spans,
}

impl Survey {
    fn see(&mut self, record: &Record<'_>, position: u64, limits: &Limits, cancel: &CancelToken) -> Result<(), Fault> {
        let name = record.decoded_name();
        if record.disk != 0 {
            return Err(multi_disk().in_member(&name));
        }
        if name.is_empty() {
            return Err(Fault::corrupt("a member has no name").at(position));
        }
        let count = self.indexing.len() as u64 + 1;
        limits.check_members(count)?;
        if count.is_multiple_of(LOOK_EVERY) && cancel.is_cancelled() {
            return Err(Fault::cancelled());
        }
        self.total = self.total.saturating_add(record.size);
        self.files += u64::from(is_file(record));
        self.spans.see(record).map_err(|fault| fault.in_member(&name))?;
        self.places.push(Place::of(record, position, *name == *record.name)?);
        self.indexing.push(&name)
    }
}

/// What a member takes at least: its local header's extra field is not known yet.
fn span(record: &Record<'_>) -> Option<(u64, u64)> {
    let length = (LOCAL_LENGTH + record.name.len()) as u64;
    Some((record.offset, record.offset.checked_add(length)?.checked_add(record.packed)?))
}

/// Members mostly lie in the directory's order, which shows by itself that none overlaps another.
struct Spans {
    in_order: bool,
    last_end: u64,
    shift: u64,
    directory: u64,
}

impl Spans {
    fn new(shift: u64, directory: u64) -> Self {
        Self { in_order: true, last_end: 0, shift, directory }
    }

    fn see(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        let at = record.offset.saturating_add(self.shift);
        match span(record) {
            Some((start, end)) if end.checked_add(self.shift).is_some_and(|end| end <= self.directory) => {
                self.in_order &= start >= self.last_end;
                self.last_end = end;
                Ok(())
            }
            _ => Err(Fault::corrupt("it would lie outside the archive's data").at(at)),
        }
    }
}

/// Of members in any order: whether two share bytes, which is how small archives unpack to enormous ones.
fn check_overlaps(source: &dyn Source, directory: u64, end: u64, shift: u64) -> Result<(), Fault> {
    let mut spans = Vec::new();
    Zip::walk(source, directory, end, |record, _| {
        spans.extend(span(record));
        Ok(())
    })?;
    spans.sort_unstable();
    let Some(pair) = spans.windows(2).find(|pair| pair[1].0 < pair[0].1) else { return Ok(()) };
    let mut name = Vec::new();
    Zip::walk(source, directory, end, |record, _| {
        if record.offset == pair[1].0 {
            name = record.decoded_name().into_owned();
        }
        Ok(())
    })?;
    Err(Fault::corrupt("it overlaps another member").at(pair[1].0 + shift).in_member(&name))
}
