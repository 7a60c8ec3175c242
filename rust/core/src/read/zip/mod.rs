//! The zip container: the directory is streamed once into an index, and read again wherever a member is asked for.

mod layout;
mod names;
mod open;
mod place;

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::fault::Fault;
use super::index::Index;
use super::limits::Limits;
use super::member::{Member, MemberKind, Packing};
use super::source::Source;
pub(crate) use open::has_end;
pub(crate) use place::Direct;
use place::Place;

use layout::{Broken, FLAG_DESCRIPTOR, FLAG_ENCRYPTED, FLAG_PATCH, LOCAL_LENGTH, LocalHeader, RECORD_LENGTH, Record};

/// How much of the directory is held at once. Its largest record takes 192 KiB.
const PORTION: usize = 1 << 20;

/// Read behind a record's or a header's expected end, so that extra fields of the usual length need no second call.
const SLACK: usize = 64;

/// Deflate makes at most 258 bytes of two bits; what claims more lies, and no memory is taken for it.
const DEFLATE_RATIO: u64 = 1032;
/// Zstandard makes at most a block of 128 KiB of four bytes.
const ZSTD_RATIO: u64 = 32_768;

/// An opened zip.
pub(crate) struct Zip {
    index: Index,
    places: Vec<Place>,
    /// Where the directory lies in the file.
    directory: u64,
    directory_end: u64,
    /// Bytes before the archive's own first.
    pub shift: u64,
    /// Where the end record ends; what follows is not the archive's.
    pub end: u64,
    /// Where something stands behind the end record that other readers may take for it.
    pub rival_end: Option<u64>,
    /// Bytes between the directory and the records of its end.
    pub hidden: u64,
    pub limits: Limits,
    /// Regular files, of several with one name the last.
    pub files: u64,
    /// Numbers of the members that a later one has the name of.
    pub superseded: Vec<u32>,
    pub members: u64,
    /// How long the last local header's extra field was: the next one's is as long, mostly.
    extra_seen: AtomicUsize,
}

impl Zip {
    /// The member of this name; the last, where there are several.
    pub fn find(&self, source: &dyn Source, name: &[u8]) -> Result<Option<Member>, Fault> {
        for number in self.index.candidates(name) {
            let member = self.member(source, number, name.len())?;
            if member.name == name {
                return Ok(Some(member));
            }
        }
        Ok(None)
    }

    /// Where the directory begins in the file.
    pub fn directory(&self) -> u64 {
        self.directory
    }

    /// A name that several members bear, if there is one.
    pub fn repeated(&self, source: &dyn Source) -> Result<Option<Member>, Fault> {
        for (first, second) in self.index.doubles() {
            let (first, second) = (self.member(source, first, 0)?, self.member(source, second, 0)?);
            if first.name == second.name {
                return Ok(Some(second));
            }
        }
        Ok(None)
    }

    /// The member that may bear this name, where it can be read by its local header alone.
    pub fn direct(&self, name: &[u8]) -> Option<Direct> {
        let number = self.index.candidates(name).next()?;
        self.places.get(number)?.direct(self.shift)
    }

    /// Read what [`direct`](Self::direct) found into `out`. `false` where the local header is not what the directory has
    /// made expect, or the bytes are damaged: the way by the directory says what it is then.
    pub fn read_direct(&self, source: &dyn Source, name: &[u8], direct: Direct, out: &mut [u8]) -> Result<bool, Fault> {
        let mut head = vec![0; LOCAL_LENGTH + name.len() + self.extra_seen.load(Relaxed)];
        let count = source.read_two_at(&mut head, out, direct.offset)?;
        if count < head.len() + out.len() {
            return Ok(false);
        }
        let size = u64::from(direct.size);
        Ok(LocalHeader::parse(&head).is_ok_and(|header| {
            header.length == head.len()
                && header.name == name
                && header.method == 0
                && header.flags & (FLAG_ENCRYPTED | FLAG_DESCRIPTOR) == 0
                && (header.size, header.packed, header.crc) == (size, size, direct.crc)
        }) && direct.offset + count as u64 <= self.directory
            && crc32fast::hash(out) == direct.crc)
    }

    /// The member with this number.
    fn member(&self, source: &dyn Source, number: usize, name_length: usize) -> Result<Member, Fault> {
        let at = self.directory + self.places.get(number).map_or(0, Place::position);
        let room = usize::try_from(self.directory_end - at).unwrap_or(usize::MAX);
        let mut bytes = vec![0; (RECORD_LENGTH + name_length + SLACK).min(room)];
        loop {
            let count = source.read_at(&mut bytes, at)?;
            match Record::parse(&bytes[..count]) {
                Ok(record) => return Ok(record.member(self.shift)),
                Err(Broken::Short) if count == bytes.len() && count < room => bytes.resize((count * 8).min(room), 0),
                Err(broken) => return Err(changed(broken).at(at)),
            }
        }
    }

    /// Call `each` with every record and its position, in the directory's order.
    fn walk(
        source: &dyn Source,
        directory: u64,
        end: u64,
        mut each: impl FnMut(&Record<'_>, u64) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let length = end - directory;
        let mut buffer = vec![0; PORTION.min(usize::try_from(length).unwrap_or(PORTION))];
        // Of the directory: where the buffer's first byte stands, and how many of its bytes are read.
        let (mut base, mut filled) = (0_u64, 0);
        loop {
            let room = (buffer.len() - filled).min(usize::try_from(length - base).unwrap_or(usize::MAX) - filled);
            filled += source.read_at(&mut buffer[filled..filled + room], directory + base + filled as u64)?;
            let mut at = 0;
            loop {
                match Record::parse(&buffer[at..filled]) {
                    Ok(record) => {
                        each(&record, base + at as u64)?;
                        at += record.length;
                    }
                    Err(Broken::Short) if at > 0 && base + (filled as u64) < length => break,
                    Err(broken) => {
                        let gone = base + at as u64;
                        return finish_walk(&buffer[at..filled], length - gone, broken, directory + gone);
                    }
                }
                if at == filled && base + filled as u64 == length {
                    return Ok(());
                }
            }
            buffer.copy_within(at..filled, 0);
            filled -= at;
            base += at as u64;
        }
    }

    /// Call `each` with every member, in the directory's order.
    pub fn each(&self, source: &dyn Source, each: &mut dyn FnMut(Member) -> Result<(), Fault>) -> Result<(), Fault> {
        if self.members == 0 {
            return Ok(());
        }
        Self::walk(source, self.directory, self.directory_end, |record, _| each(record.member(self.shift)))
    }

    /// Read the local header in front of a member's data and hold it against the directory; the position of the data.
    pub fn data_start(&self, source: &dyn Source, member: &Member) -> Result<u64, Fault> {
        let mut bytes = vec![0; LOCAL_LENGTH + member.raw_name().len() + SLACK];
        let header = self.local_header(source, member, &mut bytes)?;
        Ok(member.offset + header.length as u64)
    }

    /// The local header, read into `bytes`, which grows where it has to.
    fn local_header<'a>(
        &self,
        source: &dyn Source,
        member: &Member,
        bytes: &'a mut Vec<u8>,
    ) -> Result<LocalHeader<'a>, Fault> {
        let count = source.read_at(bytes, member.offset)?;
        let needed = bytes[..count].first_chunk().map(layout::local_length);
        if let Some(needed) = needed
            && needed > count
        {
            bytes.resize(needed, 0);
            let count = source.read_at(bytes, member.offset)?;
            bytes.truncate(count);
        } else {
            bytes.truncate(count);
        }
        let header = LocalHeader::parse(bytes).map_err(|broken| no_local_header(broken).at(member.offset))?;
        self.check_header(member, &header)?;
        Ok(header)
    }

    fn check_header(&self, member: &Member, header: &LocalHeader<'_>) -> Result<(), Fault> {
        check_local(member, header).map_err(|fault| fault.at(member.offset))?;
        let end = (member.offset + header.length as u64).checked_add(member.packed);
        if end.is_none_or(|end| end > self.directory) {
            return Err(Fault::corrupt("its data runs into the directory").at(member.offset));
        }
        Ok(())
    }

    /// Read a stored member straight to where it is wanted, in one call where its header is as long as it seems.
    pub fn read_stored(&self, source: &dyn Source, member: &Member, out: &mut [u8]) -> Result<(), Fault> {
        let fixed = LOCAL_LENGTH + member.raw_name().len();
        let mut head = vec![0; fixed + self.extra_seen.load(Relaxed)];
        let count = source.read_two_at(&mut head, out, member.offset)?;
        let guessed = head.len();
        head.truncate(count);
        let start = match LocalHeader::parse(&head) {
            Ok(header) => {
                self.check_header(member, &header)?;
                if header.length == guessed && count == guessed + out.len() {
                    return Ok(());
                }
                header.length
            }
            Err(_) => self.local_header(source, member, &mut head)?.length,
        };
        self.extra_seen.store(start - fixed, Relaxed);
        if source.read_at(out, member.offset + start as u64)? < out.len() {
            return Err(Fault::corrupt("the archive ends inside its data").at(member.offset));
        }
        Ok(())
    }

    /// A member's packed bytes and where they begin in the buffer that is returned; for what fits in memory.
    pub fn packed(&self, source: &dyn Source, member: &Member) -> Result<(Vec<u8>, usize), Fault> {
        let packed = member.packed as usize;
        let mut bytes = vec![0; LOCAL_LENGTH + member.raw_name().len() + SLACK + packed];
        let start = self.local_header(source, member, &mut bytes)?.length;
        let have = bytes.len();
        if have < start + packed {
            bytes.resize(start + packed, 0);
            let count = source.read_at(&mut bytes[have..], member.offset + have as u64)?;
            if count < start + packed - have {
                return Err(Fault::corrupt("the archive ends inside its data").at(member.offset));
            }
        }
        bytes.truncate(start + packed);
        Ok((bytes, start))
    }

    /// Check what follows a member's data, where its writer promised a descriptor; the end of all that is the member's.
    pub fn member_end(&self, source: &dyn Source, member: &Member) -> Result<u64, Fault> {
        let mut bytes = vec![0; LOCAL_LENGTH + member.raw_name().len() + SLACK];
        let header = self.local_header(source, member, &mut bytes)?;
        let end = member.offset + header.length as u64 + member.packed;
        if header.flags & FLAG_DESCRIPTOR == 0 {
            return Ok(end);
        }
        let mut behind = [0; 24];
        let count = source.read_at(&mut behind, end)?;
        let expected = (member.crc.unwrap_or(0), member.packed, member.size);
        let wide = header.zip64 || member.packed > u64::from(u32::MAX) || member.size > u64::from(u32::MAX);
        match layout::descriptor(&behind[..count], expected, wide) {
            Some(length) => Ok(end + length as u64),
            None => Err(Fault::corrupt("the descriptor behind its data contradicts the directory").at(end)),
        }
    }
}

/// Refuse what cannot be read, before anything is done for it.
pub(crate) fn check_readable(member: &Member) -> Result<(), Fault> {
    if member.flags & FLAG_ENCRYPTED != 0 {
        return Err(Fault::unsupported("it is encrypted; decrypt the archive with the tool that made it"));
    }
    if member.flags & FLAG_PATCH != 0 {
        return Err(Fault::unsupported("it is a patch to other data"));
    }
    let largest = match member.packing {
        Packing::Stored | Packing::Tar => {
            if member.size != member.packed {
                return Err(Fault::corrupt("it is stored, and yet its two sizes differ"));
            }
            return Ok(());
        }
        Packing::Deflate => DEFLATE_RATIO,
        Packing::Zstd => ZSTD_RATIO,
        // Its map was held against its sizes when the tar was opened.
        Packing::Sparse => return Ok(()),
        Packing::Other(method) => {
            return Err(Fault::unsupported(format!("it is packed with method {method}, which vhpack does not know")));
        }
    };
    if member.size / largest > member.packed {
        return Err(Fault::corrupt(format!("{} bytes cannot unpack to {}", member.packed, member.size)));
    }
    Ok(())
}

/// Beside a descriptor a local header has nothing for CRC and sizes, which are not known yet, unless it has them already.
/// Anything else is what readers of streams would go by.
fn may_be_unknown(told: u64) -> bool {
    told == 0 || told == u64::from(u32::MAX)
}

fn check_local(member: &Member, header: &LocalHeader<'_>) -> Result<(), Fault> {
    let method = match member.packing {
        Packing::Stored | Packing::Tar | Packing::Sparse => 0,
        Packing::Deflate => 8,
        Packing::Zstd => 93,
        Packing::Other(other) => other,
    };
    let is_late = header.flags & FLAG_DESCRIPTOR != 0;
    let is_told = |told: u64, known: u64| told == known || (is_late && may_be_unknown(told));
    let wrong = if header.name != member.raw_name() {
        "name"
    } else if header.method != method {
        "method"
    } else if (header.flags ^ member.flags) & (FLAG_ENCRYPTED | FLAG_DESCRIPTOR) != 0 {
        "flags"
    } else if !is_told(header.crc.into(), member.crc.unwrap_or(0).into()) {
        "CRC"
    } else if !is_told(header.size, member.size) || !is_told(header.packed, member.packed) {
        "size"
    } else {
        return Ok(());
    };
    Err(Fault::corrupt(format!("its local header has another {wrong} than the directory")))
}

fn no_local_header(broken: Broken) -> Fault {
    Fault::corrupt(match broken {
        Broken::Short => "the archive ends inside its local header",
        Broken::Foreign => "there is no local header where the directory says",
        Broken::Zip64 => "its local header lacks the sizes of its zip64 field",
    })
}

fn changed(broken: Broken) -> Fault {
    match broken {
        Broken::Zip64 => Fault::corrupt("a record of the directory lacks the values of its zip64 field"),
        Broken::Short | Broken::Foreign => Fault::corrupt("the directory has changed since the archive was opened"),
    }
}

/// What ended the directory `left` bytes before its length was used up: the digital signature that may stand there, or damage.
fn finish_walk(rest: &[u8], left: u64, broken: Broken, at: u64) -> Result<(), Fault> {
    const SIGNATURE: &[u8] = b"PK\x05\x05";
    let signature = rest.strip_prefix(SIGNATURE).and_then(|rest| rest.first_chunk());
    let is_signature = signature.is_some_and(|length| 6 + u64::from(u16::from_le_bytes(*length)) == left);
    match broken {
        Broken::Foreign | Broken::Short if is_signature => Ok(()),
        Broken::Foreign => Err(Fault::corrupt("there is no record of the directory here").at(at)),
        Broken::Short => Err(Fault::corrupt("the directory ends inside a record").at(at)),
        Broken::Zip64 => Err(changed(broken).at(at)),
    }
}

fn is_file(record: &Record<'_>) -> bool {
    record.kind() == MemberKind::File
}
