//! Names of members as text: UTF-8 where the archive or the bytes say so, else DOS's code page.

use std::borrow::Cow;

use super::layout::extra_field;

/// The upper half of code page 437.
const UPPER: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// Info-ZIP's field for a name in UTF-8 beside one in another encoding.
const UNICODE_PATH: u16 = 0x7075;

/// The name as it reads. Writers on Linux leave out the flag for UTF-8 names, so bytes that are UTF-8 are taken for it;
/// text in code page 437 hardly ever is.
pub(super) fn decode<'a>(raw: &'a [u8], says_utf8: bool, extra: &'a [u8]) -> Cow<'a, [u8]> {
    if says_utf8 {
        return Cow::Borrowed(raw);
    }
    // Also beside ASCII: who cannot write a letter writes a question mark, and what else the field says, unzip believes.
    if let Some(name) = unicode_path(raw, extra) {
        return Cow::Borrowed(name);
    }
    if raw.is_ascii() || std::str::from_utf8(raw).is_ok() {
        return Cow::Borrowed(raw);
    }
    let character = |&byte: &u8| match byte.checked_sub(0x80) {
        None => char::from(byte),
        Some(upper) => UPPER.chars().nth(upper.into()).unwrap_or(char::REPLACEMENT_CHARACTER),
    };
    Cow::Owned(raw.iter().map(character).collect::<String>().into_bytes())
}

/// The field holds a version, the CRC of the other name, and the name.
fn unicode_path<'a>(raw: &[u8], extra: &'a [u8]) -> Option<&'a [u8]> {
    let [1, rest @ ..] = extra_field(extra, UNICODE_PATH)? else { return None };
    let (crc, name) = rest.split_first_chunk()?;
    let is_name = !name.is_empty() && std::str::from_utf8(name).is_ok();
    (is_name && u32::from_le_bytes(*crc) == crc32fast::hash(raw)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn names_are_utf8_where_they_can_be_and_code_page_437_else() {
        assert_eq!(&*decode("ä".as_bytes(), true, b""), "ä".as_bytes());
        assert_eq!(&*decode("ä".as_bytes(), false, b""), "ä".as_bytes());
        assert_eq!(&*decode(b"\x84\xff", false, b""), "ä\u{a0}".as_bytes());
        let mut extra = vec![0x75, 0x70, 7, 0, 1];
        extra.extend(crc32fast::hash(b"\x84").to_le_bytes());
        extra.extend("é".as_bytes());
        assert_eq!(&*decode(b"\x84", false, &extra), "é".as_bytes());
        assert_eq!(&*decode(b"\x84", false, &extra[..9]), "ä".as_bytes(), "an empty name is none");
        let beside =
            |raw: &[u8]| [&[0x75, 0x70, 7, 0, 1][..], &crc32fast::hash(raw).to_le_bytes(), "é".as_bytes()].concat();
        assert_eq!(&*decode(b"?", false, &beside(b"?")), "é".as_bytes());
        assert_eq!(&*decode(b"?", false, &beside(b"!")), b"?");
        assert_eq!(&*decode(b"?", true, &beside(b"?")), b"?");
        assert_eq!(&*decode(b"\x85", false, &extra), "à".as_bytes());
    }
}
