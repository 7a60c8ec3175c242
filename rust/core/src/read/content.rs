//! A member's bytes: whole, checked against their CRC, or in portions from any position.

use super::container::Container;
use super::decode::{Stream, expect_whole_end, is_just, unpack_whole};
use super::fault::Fault;
use super::member::{Member, MemberKind, Packing};
use super::source::Source;
use super::zip;

/// Packed members up to this size are unpacked from memory, two to three times as fast as in portions.
const WHOLE: u64 = 16 << 20;

/// Skipped at a time on the way to a position.
const SKIP: usize = 64 << 10;

/// Refuse a member that has no bytes to give, or none that can be read.
pub(crate) fn check(member: &Member) -> Result<(), Fault> {
    match member.kind {
        MemberKind::Link if member.packing == Packing::Tar => {
            Err(Fault::unsupported("it is a symbolic link, and has no bytes of its own; read what it leads to"))
        }
        MemberKind::File | MemberKind::Link => zip::check_readable(member),
        MemberKind::Directory => Err(Fault::unsupported("it is a folder, and has no bytes to read")),
        MemberKind::HardLink => Err(Fault::unsupported("it is a hard link that leads to no file; read another member")),
        MemberKind::Special => Err(Fault::unsupported("it is a device, FIFO or socket, and has no bytes to read")),
    }
}

fn check_crc(member: &Member, found: u32) -> Result<(), Fault> {
    match member.crc {
        Some(crc) if crc != found => {
            let what = format!("its bytes are damaged: CRC {found:08x} instead of {crc:08x}");
            Err(Fault::corrupt(what).at(member.offset))
        }
        _ => Ok(()),
    }
}

/// Unpack a member into `out`, which has exactly its size, and check it.
pub(crate) fn read_into(
    container: &Container,
    source: &dyn Source,
    member: &Member,
    out: &mut [u8],
) -> Result<(), Fault> {
    read_whole(container, source, member, out, false)
}

/// The same, and refuse bytes behind the packed stream, too, which readers pass over.
pub(crate) fn read_strictly(
    container: &Container,
    source: &dyn Source,
    member: &Member,
    out: &mut [u8],
) -> Result<(), Fault> {
    read_whole(container, source, member, out, true)
}

fn read_whole(
    container: &Container,
    source: &dyn Source,
    member: &Member,
    out: &mut [u8],
    is_strict: bool,
) -> Result<(), Fault> {
    check(member)?;
    let Container::Zip(zip) = container else {
        return read_in_portions(container, source, member, out);
    };
    if member.packing == Packing::Stored {
        zip.read_stored(source, member, out)?;
        return check_crc(member, crc32fast::hash(out));
    }
    if member.packed > WHOLE {
        return read_in_portions(container, source, member, out);
    }
    let (mut packed, start) = zip.packed(source, member)?;
    if is_strict && member.packing == Packing::Deflate && is_just(&mut packed, start, member.crc, out) {
        return Ok(());
    }
    // What is damaged is unpacked once more, and maybe twice, to say what is wrong with it.
    unpack_whole(member.packing, &packed[start..], out)?;
    check_crc(member, crc32fast::hash(out))?;
    if is_strict { expect_whole_end(member.packing, &packed[start..], out) } else { Ok(()) }
}

fn read_in_portions(container: &Container, source: &dyn Source, member: &Member, out: &mut [u8]) -> Result<(), Fault> {
    let mut content = Content::new(container, source, member)?;
    let mut at = 0;
    while at < out.len() {
        at += content.read_at(container, source, member, at as u64, &mut out[at..])?;
    }
    content.finish(container, source, member)
}

/// Reads one member in portions. Sequential reading is checked against the CRC at its end.
pub(crate) struct Content {
    /// Where the member's bytes, packed or not, begin.
    start: u64,
    /// For packed members.
    stream: Option<Stream>,
    /// How far the stream has come.
    position: u64,
    crc: crc32fast::Hasher,
    /// How many bytes from the beginning the CRC is of.
    hashed: u64,
}

impl Content {
    pub fn new(container: &Container, source: &dyn Source, member: &Member) -> Result<Self, Fault> {
        check(member)?;
        let start = container.data_start(source, member)?;
        let stream = match member.packing {
            Packing::Stored | Packing::Tar | Packing::Sparse => None,
            packing => Some(Stream::new(packing, start, start + member.packed, container.limits())?),
        };
        Ok(Self { start, stream, position: 0, crc: crc32fast::Hasher::new(), hashed: 0 })
    }

    /// Read some bytes from `offset` on; zero only at the member's end.
    pub fn read_at(
        &mut self,
        container: &Container,
        source: &dyn Source,
        member: &Member,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize, Fault> {
        let left = member.size.saturating_sub(offset);
        let wanted = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let out = &mut out[..wanted];
        let count = if member.packing == Packing::Sparse {
            container.read_sparse(source, member, out, offset)?
        } else if self.stream.is_none() {
            container.read_at(source, out, self.start + offset)?
        } else {
            self.skip_to(source, offset)?;
            self.unpack(source, out)?
        };
        if count == 0 {
            return Err(super::decode::shorter().at(member.offset));
        }
        let end = offset + count as u64;
        // Who looks at the beginning and then reads all from there on again has left no gap.
        if member.crc.is_some() && (offset..end).contains(&self.hashed) {
            self.crc.update(&out[(self.hashed - offset) as usize..count]);
            self.hashed = end;
        }
        // Each time that the end is reached: damage that was told once is no less damaged when it is read again.
        if end == member.size {
            self.finish(container, source, member)?;
        }
        Ok(count)
    }

    fn unpack(&mut self, source: &dyn Source, out: &mut [u8]) -> Result<usize, Fault> {
        let Some(stream) = &mut self.stream else { return Ok(0) };
        let count = stream.read(source, out)?;
        self.position += count as u64;
        Ok(count)
    }

    /// How many bytes have to be unpacked on the way to `offset`.
    pub fn way(&self, offset: u64) -> u64 {
        match &self.stream {
            None => 0,
            Some(_) if offset < self.position => offset,
            Some(_) => offset - self.position,
        }
    }

    /// Go on to `offset`, but not further than `most` bytes.
    pub fn approach(&mut self, source: &dyn Source, offset: u64, most: u64) -> Result<(), Fault> {
        let from = if offset < self.position { 0 } else { self.position };
        if self.stream.is_none() { Ok(()) } else { self.skip_to(source, offset.min(from.saturating_add(most))) }
    }

    fn skip_to(&mut self, source: &dyn Source, offset: u64) -> Result<(), Fault> {
        if offset < self.position {
            if let Some(stream) = &mut self.stream {
                stream.restart();
            }
            self.position = 0;
        }
        let mut scratch = Vec::new();
        while self.position < offset {
            scratch.resize(SKIP, 0);
            let step = scratch.len().min(usize::try_from(offset - self.position).unwrap_or(SKIP));
            if self.unpack(source, &mut scratch[..step])? == 0 {
                return Err(super::decode::shorter());
            }
        }
        Ok(())
    }

    /// Check what was read from the first byte to the last without a gap.
    pub fn finish(&mut self, _: &Container, source: &dyn Source, member: &Member) -> Result<(), Fault> {
        if member.crc.is_none() || self.hashed < member.size {
            return Ok(());
        }
        if let Some(stream) = &mut self.stream
            && self.position == member.size
        {
            stream.expect_end(source)?;
        }
        check_crc(member, self.crc.clone().finalize())
    }
}
