//! Manifests are read as they were written, and what is none says which line is wrong and why.

use std::path::Path;

use vhpack_core::read::{Manifest, ManifestMember};
use vhpack_core::{CancelToken, Error, ErrorKind, PackOptions, PackRequest, Progress, Result, pack};

const HEAD: &str = r#"{"vhpack_manifest":1,"archive":"a.zip","format":"zip","size":9,"xxh3-128":"00000000000000000000000000000001","members":COUNT}"#;
const LINE: &str = r#"{"name":"NAME","kind":"file","size":1,"offset":2,"packed":3,"codec":"stored","crc32":"0000000a","xxh3-128":"0000000000000000000000000000000b"}"#;

fn manifest(names: &[&str]) -> String {
    let lines: Vec<String> = names.iter().map(|name| LINE.replace("NAME", name)).collect();
    [&[HEAD.replace("COUNT", &names.len().to_string())], &lines[..], &[String::new()]].concat().join("\n")
}

fn read(text: impl Into<Vec<u8>>) -> Result<Vec<ManifestMember>> {
    Manifest::from_source(Path::new("m.jsonl"), Box::new(text.into()))?.collect()
}

fn refused(text: impl Into<Vec<u8>>) -> Error {
    read(text).unwrap_err()
}

#[test]
fn what_pack_writes_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir_all(source.join("empty")).unwrap();
    for name in ["a b", "\u{2028}line\n", "quote\"\\", "é🦀"] {
        std::fs::write(source.join(name), name).unwrap();
    }
    let target = folder.path().join("all.tar.zst");
    let options = PackOptions { manifest: true, ..PackOptions::default() };
    let request = PackRequest {
        sources: vhpack_core::Names::from_joined(source.to_str().unwrap().as_bytes()),
        target: Some(target.clone()),
        options,
        ..PackRequest::default()
    };
    let report = pack(&request, &Progress::default(), &CancelToken::default()).unwrap();
    let manifest = Manifest::open(&report.manifests[0]).unwrap();
    let head = manifest.head().clone();
    assert_eq!((head.archive.as_str(), head.members), ("all.tar.zst", 5));
    assert_eq!((head.size, head.digest), (std::fs::metadata(&target).unwrap().len(), report.archives[0].1));
    let members: Vec<ManifestMember> = manifest.map(Result::unwrap).collect();
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["a b", "empty/", "quote\"\\", "é🦀", "\u{2028}line\n"]);
    for member in members.iter().filter(|member| member.kind == "file") {
        assert_eq!((member.size, member.crc), (member.name.len() as u64, crc32fast::hash(member.name.as_bytes())));
    }
    assert_eq!(members[1].kind, "directory");
}

#[test]
fn lines_may_end_and_fields_stand_as_json_allows() {
    let plain = manifest(&["a", "b"]);
    let expected = read(plain.as_bytes()).unwrap();
    assert_eq!(expected[1], ManifestMember { name: "b".into(), ..expected[0].clone() });
    assert_eq!((expected[0].size, expected[0].offset, expected[0].packed, expected[0].crc), (1, 2, 3, 10));
    assert_eq!(read(plain.trim_end()).unwrap(), expected, "without its last line's end");
    assert_eq!(read(plain.replace('\n', "\r\n")).unwrap(), expected);
    assert_eq!(read(plain.replace("\"kind\"", " \"new\" : [{\"x\":null}, 1.5] , \"kind\"")).unwrap(), expected);
    // A name of the greatest length, all of it escaped, and lines across every portion.
    let long = "\\u0001".repeat(65_535);
    let names: Vec<&str> = std::iter::repeat_n(long.as_str(), 5).collect();
    assert!(read(manifest(&names)).unwrap().iter().all(|member| member.name.len() == 65_535));
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let two = manifest(&["a", "b"]);
    let wrong = [
        (String::new(), "line 1: it does not begin"),
        ("\n".into(), "line 1: EOF"),
        ("[1]\n".into(), "line 1: invalid type"),
        ("{\"name\":\"a\"}\n".into(), "line 1: it does not begin"),
        ("{\"vhpack_manifest\":0}\n".into(), "line 1: it does not begin"),
        ("{\"vhpack_manifest\":1}\n".into(), "line 1: missing field `archive`"),
        ("[".repeat(100_000), "line 1: "),
        (two.replace("\"name\":\"b\"", "\"name\":7"), "line 3: invalid type"),
        (two.replace("\"name\":\"b\",", ""), "line 3: missing field `name`"),
        (two.replace("\"name\":\"b\"", "\"name\":\"b\",\"name\":\"c\""), "line 3: duplicate field"),
        (two.replace("0000000a", "0000000A"), "line 2: its crc32 is not"),
        (two.replace("0000000b", "000000b"), "line 2: its digest is not"),
        (two.replace("\"size\":1,", "\"size\":-1,"), "line 2: invalid value"),
        (two.replace("\"size\":1,", "\"size\":18446744073709551616,"), "line 2: invalid type"),
        (two.replace("file", "device"), "line 2: unknown variant"),
        (two.replace("\"members\":2", "\"members\":3"), "line 4: its head promises 3 members, and it ends after 2"),
        (two.replace("\"members\":2", "\"members\":1"), "line 3: its head promises 1 members, and more follow"),
        (two[..two.len() - 30].into(), "line 3: EOF"),
        (format!("{two}\n"), "line 4: its head promises 2 members, and more follow"),
        (two.replace("\"b\"", &format!("\"{}\"", "b".repeat(2 << 20))), "line 3: it is longer"),
    ];
    for (text, expected) in wrong {
        let error = refused(text);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let message = error.to_string();
        assert!(message.starts_with("`m.jsonl` is no whole manifest: ") && message.contains(expected), "{message}");
    }
    assert_eq!(refused(two.replace("\"a\"", "\"\u{d}\"").into_bytes()).kind(), ErrorKind::Corrupt);
    assert_eq!(refused([two.as_bytes(), b"\xff"].concat()).kind(), ErrorKind::Corrupt);
    let later = refused("{\"vhpack_manifest\":2,\"other\":1}\n");
    assert!(later.kind() == ErrorKind::Unsupported && later.to_string().contains("of version 2"), "{later}");
}

#[test]
fn it_ends_after_an_error() {
    let text = manifest(&["a", "b", "c"]).replace("\"name\":\"b\"", "\"name\":0");
    let mut manifest = Manifest::from_source(Path::new("m"), Box::new(text.into_bytes())).unwrap();
    assert!(manifest.next().unwrap().is_ok() && manifest.next().unwrap().is_err());
    assert!(manifest.next().is_none() && manifest.next().is_none());
}

#[test]
fn files_that_are_none_are_told_by_their_path() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Manifest::open(&folder.path().join("a.manifest.jsonl")).err().unwrap();
    assert_eq!((missing.kind(), missing.errno()), (ErrorKind::NotFound, Some(2)));
    assert!(missing.to_string().contains("--manifest"), "{missing}");
    let directory = Manifest::open(folder.path()).err().unwrap();
    assert!(directory.kind() == ErrorKind::Corrupt && directory.to_string().contains("a folder"), "{directory}");
}
