//! Which names may become paths below the destination, and which links may lead where.

use crate::read::limits::DEPTH;

/// `NAME_MAX`.
const LONGEST_PART: usize = 255;

/// The parts of a member's name below the destination, or why it has no place there. Empty for the destination itself.
pub(super) fn parts(name: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if name.contains(&0) {
        return Err("its name holds a NUL, where systems end a name");
    }
    if name.starts_with(b"/") || name.starts_with(b"\\") {
        return Err("its name is absolute");
    }
    if let [letter, b':', rest @ ..] = name
        && letter.is_ascii_alphabetic()
        && matches!(rest.first(), None | Some(b'/' | b'\\'))
    {
        return Err("its name begins with a drive letter");
    }
    // A backslash is a character like any other here, unless it would lead outside where it separates folders.
    if name.split(|&b| b == b'/' || b == b'\\').any(|part| part == b"..") {
        return Err("its name leads outside the destination by `..`");
    }
    let parts: Vec<&[u8]> = name.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.iter().any(|part| part.len() > LONGEST_PART) {
        return Err("a part of its name is longer than 255 bytes, which no file system takes");
    }
    if parts.len() > DEPTH {
        return Err("its name is nested deeper than 512 folders");
    }
    Ok(parts)
}

/// Why a symbolic link in a folder `depth` below the destination must not be made, if it must not.
///
/// Steps up are counted from the link's own folder, which is a real one; behind a name they are refused, since the name
/// may be a link, and `..` then leads elsewhere than it seems.
pub(super) fn refuse_link(target: &[u8], depth: usize) -> Option<&'static str> {
    if target.is_empty() || target.contains(&0) {
        return Some("the link leads nowhere");
    }
    if target.starts_with(b"/") {
        return Some("the link leads to an absolute path");
    }
    let (mut up, mut behind_name) = (0, false);
    for part in target.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".") {
        match (part == b"..", behind_name) {
            (true, true) => return Some("the link goes up behind a name, which may be a link itself"),
            (true, false) => up += 1,
            (false, _) => behind_name = true,
        }
    }
    (up > depth).then_some("the link leads outside the destination")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_destination() {
        for bad in [
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/..",
            "..",
            "C:/x",
            "c:\\x",
            "C:",
            "\\x",
            "a\\..\\..\\x",
            "..\\x",
            "a\0b",
        ] {
            assert!(parts(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for (good, count) in
            [("a/b", 2), ("./a//b/", 2), ("a\\b", 1), ("...", 1), ("..a/b..", 2), ("./", 0), ("a:b", 1)]
        {
            assert_eq!(parts(good.as_bytes()).map(|parts| parts.len()), Ok(count), "{good:?}");
        }
        assert!(parts(&b"d/".repeat(DEPTH + 1)).is_err());
        assert!(parts(&[b"d/".as_slice(), &b"n".repeat(LONGEST_PART)].concat()).is_ok());
        assert!(parts(&[b"d/".as_slice(), &b"n".repeat(LONGEST_PART + 1)].concat()).is_err());
    }

    #[test]
    fn links_stay_below_the_destination() {
        for (target, depth, refused) in [
            ("a", 0, false),
            ("../a", 1, false),
            ("../a", 0, true),
            ("../../a", 1, true),
            ("a/../b", 3, true),
            ("/a", 3, true),
            ("", 0, true),
            ("./a/./b", 0, false),
            ("..", 1, false),
        ] {
            assert_eq!(refuse_link(target.as_bytes(), depth).is_some(), refused, "{target} at {depth}");
        }
    }
}
