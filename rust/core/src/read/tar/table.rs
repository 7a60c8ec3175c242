//! A tar's members, found in one pass over its headers: a tar has no directory, so this is the only one there is.

use super::layout::{BLOCK, Extension, Header, LONGEST_EXTENSION, Purpose, is_header, text};
use super::sparse::{Lines, Map, Old, Records};
use crate::cancel::CancelToken;
use crate::read::fault::Fault;
use crate::read::index::{Index, Indexing};
use crate::read::limits::{Limits, NAME_BYTES};
use crate::read::member::{Member, MemberKind, Packing, other_spelling};

/// A member in 56 bytes; name and link target stand in [`Table::names`], one after the other, and the map of a sparse file
/// in [`Table::maps`].
struct Record {
    header: u64,
    start: u64,
    size: u64,
    mtime: i64,
    names_at: u64,
    nanoseconds: u32,
    mode: u16,
    name_length: u16,
    link_length: u16,
    kind: MemberKind,
    sparse: bool,
    /// Of a hard link: the number of the file whose bytes it has, or [`NONE`]. One to a symbolic link is a link itself, and
    /// this the number of the one whose end it has.
    target: u32,
}

const NONE: u32 = u32::MAX;

/// What a member takes in memory beside its name: the record, and an entry of the index.
const MEMBER_BYTES: u64 = size_of::<Record>() as u64 + 8;

/// All members.
pub(crate) struct Table {
    index: Index,
    records: Vec<Record>,
    names: Vec<u8>,
    /// Of the sparse files, in the order of their data.
    maps: Vec<Map>,
    /// Files, of several with one name the last.
    pub files: u64,
    /// Numbers of the members that a later one has the name of.
    pub superseded: Vec<u32>,
    /// Where the end mark begins, in the tar stream.
    pub end: u64,
    /// Whether there is one; else the stream ends there, or inside the last member.
    pub is_marked: bool,
}

/// Reads a tar stream at a position; the count is short only at its end.
pub(super) type ReadAt<'a> = &'a mut dyn FnMut(&mut [u8], u64) -> Result<usize, Fault>;

impl Table {
    pub fn members(&self) -> u64 {
        self.records.len() as u64
    }

    fn name(&self, record: &Record) -> &[u8] {
        &self.names[record.names_at as usize..][..record.name_length.into()]
    }

    fn link(&self, record: &Record) -> &[u8] {
        let other = (record.kind == MemberKind::Link).then(|| self.records.get(record.target as usize)).flatten();
        let record = other.unwrap_or(record);
        &self.names[record.names_at as usize + usize::from(record.name_length)..][..record.link_length.into()]
    }

    pub fn member(&self, number: usize) -> Option<Member> {
        let record = self.records.get(number)?;
        let link = self.link(record);
        let has_link = matches!(record.kind, MemberKind::Link | MemberKind::HardLink);
        Some(Member {
            name: self.name(record).to_vec(),
            size: record.size,
            packed: self.map_at(record).map_or(record.size, |map| map.packed),
            packing: if record.sparse { Packing::Sparse } else { Packing::Tar },
            kind: record.kind,
            link: has_link.then(|| link.to_vec()),
            mode: record.mode.into(),
            mtime: Some((record.mtime, record.nanoseconds)),
            crc: None,
            offset: record.header,
            start: Some(record.start),
            flags: 0,
            raw_name: None,
            target: (record.kind == MemberKind::HardLink && record.target != NONE).then_some(record.target),
        })
    }

    /// The map of a sparse member.
    pub(super) fn map(&self, member: &Member) -> Option<&Map> {
        let is_sparse = member.packing == Packing::Sparse;
        member.start.filter(|_| is_sparse).and_then(|start| self.map_of(start))
    }

    fn map_at(&self, record: &Record) -> Option<&Map> {
        record.sparse.then(|| self.map_of(record.start)).flatten()
    }

    fn map_of(&self, start: u64) -> Option<&Map> {
        self.maps.binary_search_by_key(&start, |map| map.start).ok().map(|number| &self.maps[number])
    }

    /// The last member of this name; one that leads to nothing only where no other has it.
    pub fn find(&self, name: &[u8]) -> Option<Member> {
        let mut lost = None;
        for number in self.index.candidates(name).filter(|&number| self.name(&self.records[number]) == name) {
            if !self.is_lost(number) {
                return self.member(number);
            }
            lost = lost.or(Some(number));
        }
        lost.and_then(|number| self.member(number))
    }

    /// Go through the stream from header to header; it lies in a file of `packed` bytes.
    pub fn read(read: ReadAt<'_>, packed: u64, limits: &Limits, cancel: &CancelToken) -> Result<Self, Fault> {
        let mut survey = Survey {
            read,
            cancel,
            packed,
            records: Vec::new(),
            names: Vec::new(),
            maps: Vec::new(),
            held: 0,
            total: 0,
            mtime_of_all: None,
            ahead: None,
            end: 0,
            is_marked: true,
        };
        let mut at = 0;
        while let Some(next) = survey.member(at, limits)? {
            at = next;
        }
        let Survey { mut records, mut names, mut maps, end, is_marked, .. } = survey;
        records.shrink_to_fit();
        names.shrink_to_fit();
        maps.shrink_to_fit();
        let mut table = Self::of(records, names, end)?;
        if table.drop_repeats() {
            table = Self::of(table.records, table.names, end)?;
        }
        (table.maps, table.is_marked) = (maps, is_marked);
        Ok(table)
    }

    /// The table of these members, hard links led to their files.
    fn of(records: Vec<Record>, names: Vec<u8>, end: u64) -> Result<Self, Fault> {
        let (index, superseded) = (Indexing::new().finish(), Vec::new());
        let mut table = Self { index, records, names, maps: Vec::new(), files: 0, superseded, end, is_marked: true };
        let mut indexing = Indexing::new();
        for record in &table.records {
            indexing.push(table.name(record))?;
        }
        table.index = indexing.finish();
        for number in 0..table.records.len() {
            let record = &mut table.records[number];
            if record.kind == MemberKind::HardLink || record.target != NONE {
                (record.kind, record.target) = (MemberKind::HardLink, NONE);
                let (kind, target) = table.target(number).unwrap_or((MemberKind::HardLink, NONE));
                (table.records[number].kind, table.records[number].target) = (kind, target);
            }
            table.files += u64::from(table.is_file(number));
        }
        table.superseded = table.index.superseded(|a, b| {
            let takes_place = !table.is_lost(b) || table.is_lost(a);
            Ok(takes_place && table.name(&table.records[a]) == table.name(&table.records[b]))
        })?;
        let hidden = table.superseded.iter().filter(|&&number| table.is_file(number as usize)).count();
        table.files -= hidden as u64;
        Ok(table)
    }

    fn is_file(&self, number: usize) -> bool {
        let record = &self.records[number];
        record.kind == MemberKind::File || (record.kind == MemberKind::HardLink && record.target != NONE)
    }

    /// Whether it is a hard link to nothing, which takes no file's name: GNU tar makes none, and the file stays.
    fn is_lost(&self, number: usize) -> bool {
        let record = &self.records[number];
        record.kind == MemberKind::HardLink && record.target == NONE
    }

    /// The file that a hard link means: when it was packed, its target was what the last member before it says, whatever
    /// a later one of the same name may be.
    fn target(&self, number: usize) -> Option<(MemberKind, u32)> {
        let link = self.link(&self.records[number]);
        let before =
            |name: &[u8]| self.index.before(name, number).find(|&before| self.name(&self.records[before]) == name);
        let other = other_spelling(link);
        let found = before(link).max(before(&other))?;
        let record = &self.records[found];
        match record.kind {
            MemberKind::File => Some((MemberKind::HardLink, found as u32)),
            MemberKind::Link if record.target == NONE => Some((MemberKind::Link, found as u32)),
            kind => Some((kind, record.target)).filter(|_| record.target != NONE),
        }
    }

    /// Drop hard links that say nothing new, as GNU tar writes them where a file is named twice: to the file of their own
    /// name, or once more to where the last one of their name leads.
    fn drop_repeats(&mut self) -> bool {
        let repeats: Vec<u64> = (0..self.records.len())
            .filter(|&number| self.is_repeat(number))
            .map(|number| self.records[number].header)
            .collect();
        self.records.retain(|record| repeats.binary_search(&record.header).is_err());
        !repeats.is_empty()
    }

    fn is_repeat(&self, number: usize) -> bool {
        let record = &self.records[number];
        if record.target == NONE {
            return false;
        }
        let name = self.name(record);
        let last = self.index.before(name, number).find(|&before| self.name(&self.records[before]) == name);
        last.is_some_and(|last| last == record.target as usize || self.records[last].target == record.target)
    }
}

struct Survey<'a> {
    read: ReadAt<'a>,
    cancel: &'a CancelToken,
    packed: u64,
    records: Vec<Record>,
    names: Vec<u8>,
    maps: Vec<Map>,
    /// Bytes of all that the table will hold.
    held: u64,
    total: u64,
    /// What global headers say of all members that have no time of their own in pax records.
    mtime_of_all: Option<(i64, u32)>,
    /// A block that was looked at before its turn, and where it stands: a packed stream does not go back for nothing.
    ahead: Option<(u64, [u8; BLOCK])>,
    end: u64,
    is_marked: bool,
}

impl Survey<'_> {
    /// The block at `at`; `None` where the stream ends before or inside it.
    fn block(&mut self, at: u64) -> Result<Option<[u8; BLOCK]>, Fault> {
        if let Some((_, block)) = self.ahead.filter(|ahead| ahead.0 == at) {
            return Ok(Some(block));
        }
        // Each may be in a frame of its own, and any number of them may speak of one member.
        if self.cancel.is_cancelled() {
            return Err(Fault::cancelled());
        }
        let mut block = [0; BLOCK];
        Ok(((self.read)(&mut block, at)? == BLOCK).then_some(block))
    }

    /// The data of a header that speaks of the next one.
    fn extension(&mut self, header: &Header, at: u64) -> Result<Vec<u8>, Fault> {
        if header.size > LONGEST_EXTENSION {
            return Err(Fault::corrupt(format!("a header's extension claims {} bytes", header.size)).at(at));
        }
        let mut bytes = vec![0; header.size as usize];
        if (self.read)(&mut bytes, at + BLOCK as u64)? < bytes.len() {
            return Err(Fault::corrupt("it ends inside a header's extension").at(at));
        }
        Ok(bytes)
    }

    /// Take in the member whose first header stands at `first`; where the next one's stands, or `None` at the end mark, or
    /// where all ends without one: what stands before is still worth listing.
    fn member(&mut self, mut first: u64, limits: &Limits) -> Result<Option<u64>, Fault> {
        // What pax says of a name counts more than GNU's own header does, whichever comes first.
        let (mut extension, mut gnu) = (Extension::default(), Extension::default());
        let mut at = first;
        loop {
            let Some(block) = self.block(at)? else {
                if at == first && !self.records.is_empty() {
                    (self.end, self.is_marked) = (at, false);
                    return Ok(None);
                }
                return Err(cut_short(at));
            };
            if block == [0; BLOCK] {
                // A global header may stand alone, as where nothing was archived.
                if extension == Extension::default() && gnu == Extension::default() {
                    self.end = at;
                    return Ok(None);
                }
                return Err(Fault::corrupt("a header's extension stands before the end mark").at(first));
            }
            let header = Header::parse(&block).map_err(|fault| fault.at(at))?;
            if matches!(header.purpose, Purpose::Member(_) | Purpose::Sparse) {
                extension.name = extension.name.or(gnu.name.take());
                extension.link = extension.link.or(gnu.link.take());
            }
            match header.purpose {
                Purpose::Member(kind) => return self.take(&header, kind, extension, first, at, limits).map(Some),
                Purpose::Sparse => {
                    let name = extension.name.as_ref().unwrap_or(&header.name);
                    let named = |fault: Fault| fault.at(first).in_member(name);
                    let map = self.old_map(&block, &mut at, limits).map_err(named)?;
                    if extension.sparse.is_some() {
                        return Err(named(Fault::corrupt("it has two sparse maps")));
                    }
                    extension.sparse = Some(Box::new(map));
                    return self.take(&header, MemberKind::File, extension, first, at, limits).map(Some);
                }
                Purpose::Pax => {
                    let records = self.extension(&header, at)?;
                    extension.add(&records).map_err(|fault| fault.at(at))?;
                    let map = extension.sparse.as_ref().map_or(0, |sparse| sparse.bytes());
                    limits.check_table(self.held + map, self.packed).map_err(|fault| fault.at(at))?;
                }
                Purpose::Global => {
                    let mut global = Extension::default();
                    global.add(&self.extension(&header, at)?).map_err(|fault| fault.at(at))?;
                    if global.is_harmful_for_all() {
                        return Err(Fault::unsupported("a global header names or sizes all members alike").at(at));
                    }
                    if global.is_continued {
                        return Err(other_volume().at(at));
                    }
                    if global.mtime.is_some() || global.own_mtime {
                        self.mtime_of_all = global.mtime;
                    }
                }
                Purpose::Continued => return Err(other_volume().at(first).in_member(&header.name)),
                Purpose::LongName => gnu.name = Some(text(&self.extension(&header, at)?).to_vec()),
                Purpose::LongLink => gnu.link = Some(text(&self.extension(&header, at)?).to_vec()),
                Purpose::Label => {
                    first = after(at, header.size)?;
                    (extension, gnu) = Default::default();
                }
            }
            at = after(at, header.size)?;
        }
    }

    /// Whether the bytes that a hard link's header at `at` states follow it. GNU tar and Python say never, so not where the
    /// next header stands straight behind; where it stands behind the bytes, those two cannot read on.
    fn link_has_bytes(&mut self, at: u64, size: u64) -> Result<bool, Fault> {
        let mut begins = |at: u64| -> Result<bool, Fault> {
            let block = self.block(at)?;
            self.ahead = block.map(|block| (at, block));
            Ok(block.is_some_and(|block| block == [0; BLOCK] || is_header(&block)))
        };
        Ok(!begins(after(at, 0)?)? && begins(after(at, size)?)?)
    }

    /// Memory for one more member, so that a lack of it is an error and not the end of the process.
    fn make_room(&mut self, names: usize) -> Result<(), Fault> {
        let enough = self.records.try_reserve(1).is_ok() && self.names.try_reserve(names).is_ok();
        if enough { Ok(()) } else { Err(Fault::no_memory("the list of its members")) }
    }

    fn take(
        &mut self,
        header: &Header,
        kind: MemberKind,
        mut extension: Extension,
        first: u64,
        at: u64,
        limits: &Limits,
    ) -> Result<u64, Fault> {
        // The other name is for readers who know no sparse files.
        let sparse_name = extension.sparse.as_mut().and_then(|sparse| sparse.name.take());
        let mut name = sparse_name.or(extension.name).unwrap_or_else(|| header.name.clone());
        let stated = if header.has_data { extension.size.unwrap_or(header.size) } else { 0 };
        // Before ustar a folder was told by the slash alone. A longer name than the header's may have been cut behind one. What
        // has bytes would lose them as a folder.
        let is_folder = kind == MemberKind::File && stated == 0 && extension.sparse.is_none() && name.ends_with(b"/");
        let kind = if is_folder { MemberKind::Directory } else { kind };
        if kind == MemberKind::Directory && !name.ends_with(b"/") {
            name.push(b'/');
        }
        let link = extension.link.unwrap_or_else(|| header.link.clone());
        let link_size = if kind == MemberKind::HardLink { extension.size.unwrap_or(header.link_size) } else { 0 };
        let has_bytes = link_size > 0 && self.link_has_bytes(at, link_size)?;
        // With all that a file has, it is one.
        let kind = if has_bytes { MemberKind::File } else { kind };
        let packed = if has_bytes { link_size } else { stated };
        let refused = |fault: Fault| fault.at(first).in_member(&name);
        if name.is_empty() || name.len() > NAME_BYTES || link.len() > NAME_BYTES {
            return Err(refused(Fault::corrupt("its name, or its link's, has no byte or more than 65,535")));
        }
        limits.check_members(self.records.len() as u64 + 1).map_err(refused)?;
        let next = after(at, packed).map_err(refused)?;
        let start = at + BLOCK as u64;
        let sparse = extension.sparse.map(|mut sparse| match kind {
            MemberKind::File if !name.ends_with(b"/") => self.map(&mut sparse, start, packed, limits),
            _ => Err(Fault::corrupt("it has a sparse map, and is no file")),
        });
        let sparse = sparse.transpose().map_err(refused)?;
        let size = sparse.as_ref().map_or(packed, Map::size);
        self.total = self.total.saturating_add(size);
        limits.check_total(self.total).map_err(refused)?;
        self.held += MEMBER_BYTES + (name.len() + link.len()) as u64 + sparse.as_ref().map_or(0, Map::bytes);
        limits.check_table(self.held, self.packed).map_err(refused)?;
        self.make_room(name.len() + link.len()).map_err(refused)?;
        let mtime_of_all = self.mtime_of_all.filter(|_| !extension.own_mtime);
        let (mtime, nanoseconds) = extension.mtime.or(mtime_of_all).unwrap_or((header.mtime, 0));
        self.records.push(Record {
            header: first,
            start,
            size: if kind == MemberKind::Directory { 0 } else { size },
            mtime,
            names_at: self.names.len() as u64,
            nanoseconds,
            mode: header.mode as u16,
            name_length: name.len() as u16,
            link_length: link.len() as u16,
            kind,
            sparse: sparse.is_some(),
            target: NONE,
        });
        self.names.extend_from_slice(&name);
        self.names.extend_from_slice(&link);
        self.maps.extend(sparse);
        Ok(next)
    }

    /// The map of GNU's old form, or star's, in a header and in the blocks behind it; `at` goes to the last of these.
    fn old_map(&mut self, header: &[u8; BLOCK], at: &mut u64, limits: &Limits) -> Result<Records, Fault> {
        let mut map = Old::begin(header)?;
        while map.goes_on() {
            *at += BLOCK as u64;
            map.see(&self.block(*at)?.ok_or_else(map_cut_short)?)?;
            limits.check_table(self.held + map.bytes(), self.packed)?;
        }
        Ok(map.finish())
    }

    /// The map of a sparse file whose data stand at `start`; that of version 1.0 is the first of them.
    fn map(&mut self, records: &mut Records, start: u64, packed: u64, limits: &Limits) -> Result<Map, Fault> {
        let stretches = records.map()?;
        let size = records.size.ok_or_else(|| Fault::corrupt("its sparse map has no size of the file"))?;
        if let Some(stretches) = stretches {
            return Map::new(stretches, size, (start, 0, packed));
        }
        let (mut lines, mut ahead) = (Lines::default(), 0);
        loop {
            if packed - ahead < BLOCK as u64 {
                return Err(Fault::corrupt("its sparse map goes on behind its data"));
            }
            let block = self.block(start + ahead)?.ok_or_else(map_cut_short)?;
            ahead += BLOCK as u64;
            if lines.see(&block)? {
                return Map::new(lines.stretches, size, (start, ahead, packed));
            }
            limits.check_table(self.held + lines.bytes(), self.packed)?;
        }
    }
}

fn map_cut_short() -> Fault {
    Fault::corrupt("the archive ends inside its sparse map")
}

fn other_volume() -> Fault {
    Fault::unsupported(
        "it is a later one of several volumes, and begins inside a file; extract them together, as with `tar -xM -f FIRST -f NEXT`",
    )
}

fn cut_short(at: u64) -> Fault {
    Fault::corrupt("it ends where a header should be; it was probably cut short").at(at)
}

/// Where the next header stands, behind a header at `at` and its data.
fn after(at: u64, size: u64) -> Result<u64, Fault> {
    let blocks = size.div_ceil(BLOCK as u64);
    let next = blocks.checked_mul(BLOCK as u64).and_then(|data| data.checked_add(at)?.checked_add(BLOCK as u64));
    next.filter(|next| *next < i64::MAX as u64).ok_or_else(|| Fault::corrupt("its size is beyond all measure").at(at))
}
