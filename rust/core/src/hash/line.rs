//! Lines as `sha256sum`, `b3sum`, `xxhsum` and `rhash` write and check them.

use std::borrow::Cow;
use std::io::Write as _;

use super::algorithm::{Algorithm, OneOrTwo, Sum};

/// Add the line of one file: digest, two spaces, name.
///
/// A name that holds a backslash or a newline is escaped and the line begins with a backslash, as those tools have it.
/// A carriage return is escaped for `sha256sum` only; the others read it as it is. `xxhsum` knows escapes from 0.8.2 on, and
/// all its versions read a line that does not begin with a backslash as it is: there, only a newline asks for them.
pub fn sum_line(line: &mut Vec<u8>, algorithm: Algorithm, sum: &Sum, name: &[u8]) {
    let special = |byte: &u8| matches!(byte, b'\\' | b'\n') || (*byte == b'\r' && algorithm == Algorithm::Sha256);
    let escaped = match algorithm {
        Algorithm::Xxh3 => name.contains(&b'\n'),
        _ => name.iter().any(special),
    };
    if escaped {
        line.push(b'\\');
    }
    // Writing to a Vec cannot fail.
    let _ = write!(line, "{sum}  ");
    if escaped {
        for byte in name {
            match byte {
                b'\\' => line.extend_from_slice(br"\\"),
                b'\n' => line.extend_from_slice(br"\n"),
                b'\r' if special(byte) => line.extend_from_slice(br"\r"),
                byte => line.push(*byte),
            }
        }
    } else {
        line.extend_from_slice(name);
    }
    line.push(b'\n');
}

/// The lines of a list, without what ends them.
pub(super) fn lines(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = || list.split(|&byte| byte == b'\n');
    // A name may end with a carriage return. The line ends of another system are on every line.
    let foreign = lines().all(|line| line.is_empty() || line.ends_with(b"\r"));
    lines().map(move |line| if foreign { line.strip_suffix(b"\r").unwrap_or(line) } else { line })
}

/// What a line says: the file, and which digests it may have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    pub name: Cow<'a, [u8]>,
    pub sum: Sum,
    pub algorithms: OneOrTwo<Algorithm>,
}

/// Read one line, in either form; `None` where it is no such line, or speaks of a digest that is none of ours or none
/// of those `wanted`.
pub(super) fn parse(line: &[u8], wanted: Option<Algorithm>) -> Option<Claim<'_>> {
    let (line, escaped) = line.strip_prefix(b"\\").map_or((line, false), |rest| (rest, true));
    let (digits, name, algorithms) = tagged(line).or_else(|| plain(line))?;
    let sum = read_digits(digits)?;
    let algorithms = match wanted {
        None => algorithms,
        Some(wanted) if algorithms.contains(&wanted) => OneOrTwo::one(wanted),
        Some(_) => return None,
    };
    let fits = algorithms.first.length() == sum.bytes().len();
    let name = if escaped { Cow::Owned(unescape(name)?) } else { Cow::Borrowed(name) };
    (fits && !name.is_empty() && !name.contains(&0)).then_some(Claim { name, sum, algorithms })
}

type Parts<'a> = (&'a [u8], &'a [u8], OneOrTwo<Algorithm>);

/// `SHA256 (name) = digits`; the name may hold anything, so its end is looked for from behind.
fn tagged(line: &[u8]) -> Option<Parts<'_>> {
    let (algorithm, rest) = Algorithm::ALL.into_iter().find_map(|algorithm| {
        let rest = line.strip_prefix(algorithm.tag().as_bytes())?.strip_prefix(b" (")?;
        Some((algorithm, rest))
    })?;
    let cut = rest.windows(4).rposition(|four| four == b") = ")?;
    Some((&rest[cut + 4..], &rest[..cut], OneOrTwo::one(algorithm)))
}

/// `digits  name`, or `digits *name` of a file read as binary; the number of digits tells the digest.
fn plain(line: &[u8]) -> Option<Parts<'_>> {
    let cut = line.iter().position(|&byte| byte == b' ')?;
    let (digits, name) = (&line[..cut], line.get(cut + 2..)?);
    if !matches!(line[cut + 1], b' ' | b'*') {
        return None;
    }
    let algorithms = match digits.len() {
        8 => OneOrTwo::one(Algorithm::Crc32),
        32 => OneOrTwo::one(Algorithm::Xxh3),
        64 => OneOrTwo { first: Algorithm::Sha256, other: Some(Algorithm::Blake3) },
        _ => return None,
    };
    Some((digits, name, algorithms))
}

fn read_digits(digits: &[u8]) -> Option<Sum> {
    if !digits.len().is_multiple_of(2) || digits.len() > 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Sum::new(&bytes[..digits.len() / 2]))
}

fn unescape(name: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::super::algorithm::oneshot;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_name_is_read_back_from_its_line(
            name in prop::collection::vec(prop_oneof![Just(b'\\'), Just(b'\n'), Just(b'\r'), 1..=255_u8], 1..20),
            at in 0..4_usize,
        ) {
            let algorithm = Algorithm::ALL[at];
            let sum = oneshot(algorithm, &name);
            let mut line = Vec::new();
            sum_line(&mut line, algorithm, &sum, &name);
            let line = line.strip_suffix(b"\n").unwrap();
            prop_assert!(!line.contains(&b'\n'));
            let claim = parse(line, Some(algorithm)).unwrap();
            prop_assert_eq!((&claim.name[..], claim.sum, claim.algorithms), (&name[..], sum, OneOrTwo::one(algorithm)));
        }

        #[test]
        fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&line, None);
        }
    }

    #[test]
    fn a_backslash_is_escaped_where_all_versions_of_the_tool_know_escapes() {
        for algorithm in Algorithm::ALL {
            let mut lines = Vec::new();
            for name in [&b"a\\b"[..], b"a\\\n"] {
                sum_line(&mut lines, algorithm, &oneshot(algorithm, name), name);
            }
            let lines = String::from_utf8(lines).unwrap();
            let [first, second, ""] = lines.split('\n').collect::<Vec<_>>()[..] else { panic!("{lines}") };
            let plain = algorithm == Algorithm::Xxh3;
            assert_eq!(first.starts_with('\\'), !plain, "{first}");
            assert!(first.ends_with(if plain { r"  a\b" } else { r"  a\\b" }), "{first}");
            assert!(second.starts_with('\\') && second.ends_with(r"  a\\\n"), "{second}");
        }
    }

    #[test]
    fn line_ends_of_another_system_are_no_part_of_names() {
        let read = |list: &'static str| lines(list.as_bytes()).collect::<Vec<_>>();
        assert_eq!(read("a\r\nb\r\n\r\n"), [&b"a"[..], b"b", b"", b""]);
        assert_eq!(read("a\r\nb\n"), [&b"a\r"[..], b"b", b""]);
    }

    #[test]
    fn both_forms_are_read() {
        let read = |line: &str| parse(line.as_bytes(), None).map(|claim| (claim.name.into_owned(), claim.algorithms));
        let file = |name: &str, algorithms| Some((name.as_bytes().to_vec(), algorithms));
        let digits = "ab".repeat(32);
        assert_eq!(read("352441c2  a b"), file("a b", OneOrTwo::one(Algorithm::Crc32)));
        assert_eq!(read("352441C2 *a"), file("a", OneOrTwo::one(Algorithm::Crc32)));
        assert_eq!(read("CRC32 (a) = 352441c2"), file("a", OneOrTwo::one(Algorithm::Crc32)));
        assert_eq!(
            read(&format!("{digits}  a")),
            file("a", OneOrTwo { first: Algorithm::Sha256, other: Some(Algorithm::Blake3) })
        );
        assert_eq!(read(&format!("BLAKE3 (a) = b) = {digits}")), file("a) = b", OneOrTwo::one(Algorithm::Blake3)));
        assert_eq!(read(&format!("\\SHA256 (a\\nb) = {digits}")), file("a\nb", OneOrTwo::one(Algorithm::Sha256)));
        let others = ["MD5 (a) = 00", "352441c2 a", "352441cx  a", "352441c2  ", "\\352441c2  a\\x", "", "# comment"];
        assert_eq!(others.map(read), [const { None }; 7]);
        assert_eq!(parse(format!("SHA256 (a) = {digits}").as_bytes(), Some(Algorithm::Blake3)), None);
    }
}
