//! The few answers of S3 that are XML, as paths and texts; no server's order or namespace is relied on.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Nothing that we ask for nests deeper.
const DEEPEST: usize = 16;

/// Nor is longer, once its elements are named in full: a hostile server must not make much of little.
const LONGEST: usize = 16 << 20;

/// Characters of what a server says that are told to people.
const MOST_SAID: usize = 1000;

/// Elements with text, in order: their path (`ListPartsResult/Part/ETag`) and the text. What is no XML gives what came before.
pub(crate) fn texts(body: &[u8]) -> Vec<(String, String)> {
    let mut reader = Reader::from_reader(body);
    let (mut path, mut text, mut found): (Vec<String>, String, Vec<(String, String)>) = Default::default();
    let mut length = 0;
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) => {
                if path.len() == DEEPEST {
                    return found;
                }
                path.push(String::from_utf8_lossy(start.local_name().as_ref()).into_owned());
                text.clear();
            }
            Ok(Event::End(_)) => {
                length += path.iter().map(String::len).sum::<usize>() + text.len();
                if length > LONGEST {
                    return found;
                }
                found.push((path.join("/"), std::mem::take(&mut text).trim().to_owned()));
                path.pop();
            }
            Ok(Event::Text(part)) => text.push_str(&String::from_utf8_lossy(&part)),
            Ok(Event::CData(part)) => text.push_str(&String::from_utf8_lossy(&part)),
            Ok(Event::GeneralRef(name)) => text.push_str(match &*name {
                b"amp" => "&",
                b"lt" => "<",
                b"gt" => ">",
                b"quot" => "\"",
                b"apos" => "'",
                other => match character(other) {
                    Some(character) => {
                        text.push(character);
                        continue;
                    }
                    None => "",
                },
            }),
            Ok(Event::Eof) | Err(_) => return found,
            Ok(_) => {}
        }
    }
}

/// `#34` or `#x22`.
fn character(name: &[u8]) -> Option<char> {
    let digits = std::str::from_utf8(name).ok()?.strip_prefix('#')?;
    let code = match digits.strip_prefix('x') {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    char::from_u32(code)
}

/// The same without the root element, whose name is not the same everywhere: `Part/ETag`.
pub(crate) fn inside(body: &[u8]) -> Vec<(String, String)> {
    texts(body).into_iter().filter_map(|(path, text)| Some((path.split_once('/')?.1.to_owned(), text))).collect()
}

/// The first text at `path`.
pub(crate) fn first<'a>(texts: &'a [(String, String)], path: &str) -> Option<&'a str> {
    texts.iter().find(|(at, _)| at == path).map(|(_, text)| text.as_str())
}

/// The repeated elements at `path`, each with the texts of its children.
pub(crate) fn each<'a>(texts: &'a [(String, String)], path: &str) -> Vec<Vec<(&'a str, &'a str)>> {
    let (mut all, mut one) = (Vec::new(), Vec::new());
    for (at, text) in texts {
        if at == path {
            all.push(std::mem::take(&mut one));
        } else if let Some(child) = at.strip_prefix(path).and_then(|rest| rest.strip_prefix('/')) {
            one.push((child, text.as_str()));
        }
    }
    all
}

/// Code and message of an error, wherever it stands: some answers say 200 and have one.
pub(crate) fn error(body: &[u8]) -> Option<(String, String)> {
    let texts = texts(body);
    let code = texts.iter().find(|(path, _)| path == "Error/Code" || path.ends_with("/Error/Code"))?;
    let message = texts.iter().find(|(path, _)| path.ends_with("Error/Message")).map_or("", |(_, text)| text);
    // Told on terminals, which take some characters for commands.
    let plain =
        |text: &str| text.chars().take(MOST_SAID).map(|char| if char.is_control() { ' ' } else { char }).collect();
    Some((plain(&code.1), plain(message)))
}

/// Text as it stands in an element.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_whatever_the_order() {
        let body = b"<?xml version=\"1.0\"?><ListPartsResult xmlns=\"x\"><Part><ETag>&#34;a&quot;</ETag><Size>3</Size><PartNumber>1</PartNumber>\
            </Part><Part><PartNumber>2</PartNumber></Part><IsTruncated>false</IsTruncated></ListPartsResult>";
        let texts = texts(body);
        assert_eq!(first(&texts, "ListPartsResult/IsTruncated"), Some("false"));
        let parts = each(&texts, "ListPartsResult/Part");
        assert_eq!(parts, [vec![("ETag", "\"a\""), ("Size", "3"), ("PartNumber", "1")], vec![("PartNumber", "2")]]);
    }

    #[test]
    fn the_roots_name_does_not_matter() {
        for root in ["ListPartsResult", "ListPartsResponse"] {
            let body = format!("<{root}><Part><Size>3</Size></Part><IsTruncated>true</IsTruncated></{root}>");
            let texts = inside(body.as_bytes());
            assert_eq!(each(&texts, "Part"), [vec![("Size", "3")]]);
            assert_eq!(first(&texts, "IsTruncated"), Some("true"));
        }
    }

    #[test]
    fn errors_are_found_and_rubbish_is_survived() {
        let body = b"<Error><Code>NoSuchUpload</Code><Message>gone &amp; lost</Message></Error>";
        assert_eq!(error(body), Some(("NoSuchUpload".to_owned(), "gone & lost".to_owned())));
        for rubbish in [&b""[..], b"<", b"<a><b></a>", b"\xff\xfe<Error>", b"{}", b"</Error>"] {
            assert_eq!(error(rubbish), None);
        }
        assert!(texts(&b"<a>".repeat(100_000)).len() < 100);
        let root = "r".repeat(1 << 20);
        let many = format!("<{root}>{}</{root}>", "<a></a>".repeat(100_000));
        assert!(texts(many.as_bytes()).len() < 100, "a long name for each of many children");
    }
}
