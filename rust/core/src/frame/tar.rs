//! The tar container: ustar headers, and pax `x` headers before those members that ustar cannot describe.
//!
//! A header is a function of its member alone: owner and group are 0 and unnamed, since who packs is no property of what
//! is packed, and there are no times of access or change. Nothing ever has to be patched: what a header says is known
//! before the bytes.

use super::Member;

/// Headers, and contents with their padding, come in multiples of this.
pub const BLOCK: usize = 512;

/// What ends an archive: two blocks of zeros. GNU tar and Python fill up to 10,240 bytes, a tape's record; no reader of
/// files asks for it, and ten thousand shards would each carry a tape's worth of nothing.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Field lengths of ustar.
const NAME: usize = 100;
const PREFIX: usize = 155;
const LINK: usize = 100;

/// Sizes and times from here on do not fit into eleven octal digits.
const OCTAL_FROM: u64 = 1 << 33;

/// The name of every extended header, as Python writes it; readers that know pax never show it.
const EXTENDED_NAME: &[u8] = b"././@PaxHeader";

const KIND_BITS: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;

/// Zeros behind contents of this length.
pub fn padding(length: u64) -> usize {
    (length.wrapping_neg() % BLOCK as u64) as usize
}

/// Length of [`header`].
pub fn header_length(member: &Member<'_>) -> usize {
    match extended_records(member).len() {
        0 => BLOCK,
        length => BLOCK + length + padding(length as u64) + BLOCK,
    }
}

/// Append the member's header, and an extended one before it where that is needed.
pub fn header(out: &mut Vec<u8>, member: &Member<'_>) {
    let records = extended_records(member);
    if !records.is_empty() {
        let extended = Fields { name: EXTENDED_NAME, size: records.len() as u64, mode: 0o644, ..Fields::default() };
        extended.put(out, b'x');
        out.extend_from_slice(&records);
        out.resize(out.len() + padding(records.len() as u64), 0);
    }
    let name = [member.name.0, member.name.1].concat();
    let kind = match member.mode & KIND_BITS {
        DIRECTORY => b'5',
        SYMLINK => b'2',
        _ => b'0',
    };
    // What an extended header says stands in the plain one cut short or as zero, for readers that know no better.
    let (prefix, name) = split(&name).unwrap_or((b"", &name[..name.len().min(NAME)]));
    let fitting = |value: u64| if value < OCTAL_FROM { value } else { 0 };
    let fields = Fields {
        prefix,
        name,
        link: &member.link[..member.link.len().min(LINK)],
        size: if kind == b'0' { fitting(member.size) } else { 0 },
        mtime: u64::try_from(member.mtime).map_or(0, fitting),
        mode: member.mode & 0o7777,
    };
    fields.put(out, kind);
}

/// Prefix and name as ustar keeps them apart: cut at a slash, which neither holds.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME {
        return Some((b"", name));
    }
    // The last byte may be the slash of a folder, behind which no name is left.
    let from = name.len() - NAME - 1;
    let cut = from + name.get(from..name.len() - 1)?.iter().position(|&byte| byte == b'/')?;
    (cut > 0 && cut <= PREFIX).then(|| (&name[..cut], &name[cut + 1..]))
}

/// The pax records that the member needs, sorted by key; empty for most.
fn extended_records(member: &Member<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let long_link = member.link.len() > LINK;
    // A link may lead anywhere, also where no UTF-8 leads; as it is, it stands in ustar's field where it fits.
    let is_text = std::str::from_utf8(member.link).is_ok();
    if long_link && !is_text {
        record(&mut out, "hdrcharset", b"BINARY");
    }
    if long_link || (is_text && !member.link.is_ascii()) {
        record(&mut out, "linkpath", member.link);
    }
    if !u64::try_from(member.mtime).is_ok_and(|mtime| mtime < OCTAL_FROM) {
        record(&mut out, "mtime", member.mtime.to_string().as_bytes());
    }
    let name_fits = member.name_length() <= NAME || split(&[member.name.0, member.name.1].concat()).is_some();
    if !(member.name.0.is_ascii() && member.name.1.is_ascii() && name_fits) {
        record(&mut out, "path", &[member.name.0, member.name.1].concat());
    }
    if member.size >= OCTAL_FROM {
        record(&mut out, "size", member.size.to_string().as_bytes());
    }
    out
}

/// `LENGTH key=value\n`, where LENGTH counts itself.
fn record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[derive(Default)]
struct Fields<'a> {
    prefix: &'a [u8],
    name: &'a [u8],
    link: &'a [u8],
    size: u64,
    mtime: u64,
    mode: u32,
}

impl Fields<'_> {
    fn put(&self, out: &mut Vec<u8>, kind: u8) {
        let start = out.len();
        out.resize(start + BLOCK, 0);
        let block = &mut out[start..];
        for (at, text) in [(0, self.name), (157, self.link), (257, b"ustar\x0000"), (345, self.prefix)] {
            block[at..at + text.len()].copy_from_slice(text);
        }
        octal(&mut block[100..107], self.mode.into());
        for number in [108, 116, 329, 337] {
            octal(&mut block[number..number + 7], 0);
        }
        octal(&mut block[124..135], self.size);
        octal(&mut block[136..147], self.mtime);
        block[156] = kind;
        // The sum is taken with spaces in its own place.
        block[148..156].fill(b' ');
        let sum = block.iter().copied().map(u64::from).sum();
        octal(&mut block[148..154], sum);
        block[154] = 0;
    }
}

/// Fill a field with octal digits, zeros first.
fn octal(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::*;
    use proptest::prelude::*;

    fn member<'a>(name: &'a [u8], link: &'a [u8], size: u64, mtime: i64) -> Member<'a> {
        let mode = if link.is_empty() { 0o100_644 } else { 0o120_777 };
        Member { name: (b"", name), link, method: Method::Stored, crc: 0, size, packed: size, mtime, mode }
    }

    fn framed(member: &Member<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        header(&mut out, member);
        out
    }

    #[test]
    fn extended_headers_stand_only_where_ustar_does_not_suffice() {
        let long = [b"p".repeat(155), b"n".repeat(100)].join(&b'/');
        let name_of_101 = b"n".repeat(101);
        let folder = [b"p".repeat(10), b"n".repeat(100), Vec::new()].join(&b'/');
        for (name, link, size, mtime, extended) in [
            (&b"a.txt"[..], &b""[..], 0, 0, false),
            (&b"n".repeat(100), b"", OCTAL_FROM - 1, OCTAL_FROM.cast_signed() - 1, false),
            (&long, b"", 1, 1, false),
            (&long[1..], b"", 1, 1, false),
            (&[&long[..], b"n"].concat(), b"", 1, 1, true),
            (&name_of_101, b"", 1, 1, true),
            (&folder, b"", 0, 1, true),
            ("é".as_bytes(), b"", 1, 1, true),
            (b"a", &b"l".repeat(100), 1, 1, false),
            (b"a", &b"l".repeat(101), 1, 1, true),
            (b"a", b"\xff", 1, 1, false),
            (b"a", "é".as_bytes(), 1, 1, true),
            (b"a", b"", OCTAL_FROM, 1, true),
            (b"a", b"", 1, -1, true),
            (b"a", b"", 1, OCTAL_FROM.cast_signed(), true),
        ] {
            let member = member(name, link, size, mtime);
            assert_eq!(framed(&member).len() > BLOCK, extended, "{:?} {size} {mtime}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn records_count_their_own_length() {
        let value = [b'v'; 300];
        for length in 0..value.len() {
            let mut out = Vec::new();
            record(&mut out, "path", &value[..length]);
            let digits = out.iter().position(|&byte| byte == b' ').unwrap();
            assert_eq!(std::str::from_utf8(&out[..digits]).unwrap(), out.len().to_string());
        }
    }

    proptest! {
        #[test]
        fn headers_have_the_length_announced_and_whole_blocks(
            name in "[a-zé/]{1,300}",
            link in proptest::collection::vec(1_u8.., 0..130),
            size in any::<u64>(),
            mtime in any::<i64>(),
        ) {
            let member = member(name.as_bytes(), &link, size, mtime);
            let framed = framed(&member);
            prop_assert_eq!(framed.len(), header_length(&member));
            prop_assert_eq!(framed.len() % BLOCK, 0);
        }
    }
}
