//! Where files go: a URI and its options, read and checked before anything else happens.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::{Result, UploadError, UploadErrorKind};

/// Options of a destination, as the binding and the journal have them.
pub type Options = BTreeMap<String, String>;

/// The kinds of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    S3,
    Gs,
    Azure,
    File,
    Http,
}

/// Options that every destination has.
const COMMON: [&str; 3] = ["part_size", "concurrency", "overwrite"];

/// What tells of secrets; such options are never written down.
const SECRETS: [&str; 14] = [
    "key",
    "secret",
    "token",
    "password",
    "sas",
    "header",
    "authorization",
    "credential",
    "service_account",
    "signature",
    "part_urls",
    "complete_url",
    "abort_url",
    "profile",
];

/// A URI taken apart. Keys are literal: what follows the bucket is the name, whatever characters it has.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub uri: String,
    pub scheme: Scheme,
    /// Bucket or container, or HTTP's host; empty for files.
    pub bucket: String,
    pub key: String,
    pub options: Options,
    pub part_size: Option<u64>,
    pub concurrency: Option<usize>,
    pub overwrite: bool,
}

/// Options that say which server a bucket is looked for on, behind the prefix of a cloud.
const SERVERS: [&str; 6] = ["endpoint", "endpoint_url", "endpoint_url_s3", "base_url", "account_name", "use_emulator"];
const PREFIXES: [&str; 4] = ["aws_", "google_", "azure_storage_", "azure_"];

/// What tells an object from every other: two servers may have a bucket of the same name.
pub fn place_of(uri: &str, options: &Options) -> String {
    let mut place = uri.to_owned();
    for (name, value) in options {
        let plain = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        if SERVERS.contains(&plain) && !uri.starts_with("file:") {
            place.push('\n');
            place.push_str(value.trim_end_matches('/'));
        }
    }
    place
}

pub(crate) fn bad(message: impl Into<String>) -> UploadError {
    UploadError::new(UploadErrorKind::BadDestination, message)
}

impl Destination {
    pub fn parse(uri: &str, options: &Options) -> Result<Self> {
        let (scheme, rest) = uri.split_once("://").ok_or_else(|| {
            let message = format!(
                "`{uri}` has no scheme; say s3://bucket/name, gs://, azure://, file:///folder/name or https://"
            );
            UploadError::new(UploadErrorKind::UnknownScheme, message)
        })?;
        let kind = match scheme.to_ascii_lowercase().as_str() {
            "s3" | "s3a" => Scheme::S3,
            "gs" => Scheme::Gs,
            "azure" | "az" | "abfs" | "abfss" => Scheme::Azure,
            "file" => Scheme::File,
            "http" | "https" => Scheme::Http,
            _ => {
                let message =
                    format!("cannot upload to `{uri}`: {scheme}:// is none of s3, gs, azure, az, file, http, https");
                return Err(UploadError::new(UploadErrorKind::UnknownScheme, message));
            }
        };
        let (bucket, key) = match kind {
            Scheme::S3 | Scheme::Gs | Scheme::Azure => {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                (bucket.to_owned(), key.to_owned())
            }
            Scheme::File => (String::new(), decode(rest.strip_prefix("localhost").unwrap_or(rest), uri)?),
            Scheme::Http => (rest.split('/').next().unwrap_or_default().to_owned(), rest.to_owned()),
        };
        check(uri, kind, &bucket, &key)?;
        let number = |name: &str| match options.get(name) {
            None => Ok(None),
            Some(text) => match text.parse::<u64>() {
                Ok(number) if number > 0 => Ok(Some(number)),
                _ => Err(bad(format!("{name} is {text:?}; it must be a whole number above 0"))),
            },
        };
        let overwrite = match options.get("overwrite").map(String::as_str) {
            None | Some("true") => true,
            Some("false") => false,
            Some(other) => return Err(bad(format!("overwrite is {other:?}; it must be true or false"))),
        };
        Ok(Self {
            uri: uri.to_owned(),
            scheme: kind,
            bucket,
            key,
            part_size: number("part_size")?,
            concurrency: number("concurrency")?.map(|number| number.min(256) as usize),
            overwrite,
            options: options.clone(),
        })
    }

    /// What is not an option of every destination.
    pub fn own_options(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = self.options.iter().filter(|(name, _)| !COMMON.contains(&name.as_str()));
        own.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Uploads with the same value share connections, credentials and lanes.
    pub fn endpoint(&self) -> String {
        let options: Vec<String> = self.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{:?} {} {}", self.scheme, self.bucket, options.join("\n"))
    }

    /// Whether addresses were signed for this one use: they are secrets, and of no use to another process.
    pub fn is_signed(&self) -> bool {
        self.scheme == Scheme::Http && (self.options.contains_key("part_urls") || self.key.contains('?'))
    }

    /// The file of a file:// URI.
    pub fn file(&self) -> PathBuf {
        PathBuf::from(&self.key)
    }
}

/// Options without what must not be written down.
pub(crate) fn without_secrets(options: &Options) -> Options {
    let harmless = |name: &str| !SECRETS.iter().any(|word| name.contains(word)) || name == "part_size";
    options.iter().filter(|(name, _)| harmless(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn check(uri: &str, scheme: Scheme, bucket: &str, key: &str) -> Result<()> {
    if matches!(scheme, Scheme::S3 | Scheme::Gs | Scheme::Azure) && bucket.is_empty() {
        return Err(bad(format!(
            "`{uri}` names no bucket; say {}://bucket/name",
            uri.split(':').next().unwrap_or("s3")
        )));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'$' | b':');
    if matches!(scheme, Scheme::S3 | Scheme::Gs | Scheme::Azure) && !bucket.bytes().all(is_name) {
        return Err(bad(format!(
            "`{bucket}` in `{uri}` can be no bucket's name; say SCHEME://BUCKET/NAME, and options apart"
        )));
    }
    if scheme == Scheme::Http && bucket.contains('@') {
        let host = bucket.rsplit('@').next().unwrap_or_default();
        return Err(bad(format!(
            "the address of {host} has an account in it, which would be shown wherever it is told; give it as header:Authorization"
        )));
    }
    if scheme == Scheme::Http && key.contains('#') {
        return Err(bad(format!("`{uri}` has a #, behind which servers see nothing; write it %23")));
    }
    if key.is_empty() || key.ends_with('/') {
        return Err(bad(format!("`{uri}` names no object; add a name behind the last slash")));
    }
    if key.chars().any(char::is_control) {
        return Err(bad(format!(
            "`{}` has control characters, which names of objects must not have; rename the file",
            uri.escape_debug()
        )));
    }
    // Clients and servers on the way take these for steps through folders, and would write elsewhere.
    if scheme != Scheme::Http && key.split('/').any(|step| step == "." || step == "..") {
        return Err(bad(format!("`{uri}` has a step `.` or `..`; write the name without it")));
    }
    if scheme == Scheme::File && !key.starts_with('/') {
        return Err(bad(format!("`{uri}` is not an absolute path; say file:///folder/name")));
    }
    if scheme != Scheme::File && key.len() > 1024 && scheme != Scheme::Http {
        return Err(bad(format!("the name in `{uri}` has {} bytes; stores take 1024: shorten it", key.len())));
    }
    Ok(())
}

/// Percent-decode a path.
fn decode(text: &str, uri: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        if *first == b'%' {
            let code =
                more.get(..2).and_then(|pair| std::str::from_utf8(pair).ok()).and_then(crate::checksum::from_hex);
            let code = code.ok_or_else(|| {
                bad(format!("`{uri}` has a % that two hexadecimal digits do not follow; write it %25"))
            })?;
            bytes.extend(code);
            rest = &more[2..];
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    String::from_utf8(bytes).map_err(|_| bad(format!("`{uri}` is not UTF-8 once decoded")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(uri: &str) -> Result<Destination> {
        Destination::parse(uri, &Options::new())
    }

    #[test]
    fn keys_are_literal_and_paths_are_decoded() {
        let object = parse("s3://bucket/a b/%41+ü?#.bin").unwrap();
        assert_eq!((object.bucket.as_str(), object.key.as_str()), ("bucket", "a b/%41+ü?#.bin"));
        assert_eq!(parse("file:///tmp/a%20b%25").unwrap().file(), PathBuf::from("/tmp/a b%"));
        assert_eq!(parse("file://localhost/tmp/a").unwrap().file(), PathBuf::from("/tmp/a"));
    }

    #[test]
    fn one_name_on_two_servers_is_two_places() {
        let at = |name: &str, value: &str| place_of("s3://bucket/x", &[(name.to_owned(), value.to_owned())].into());
        assert_eq!(at("region", "x"), "s3://bucket/x");
        assert_eq!(at("endpoint", "http://a/"), at("aws_endpoint_url", "http://a"));
        assert_ne!(at("endpoint", "http://a"), at("endpoint", "http://b"));
    }

    #[test]
    fn what_names_no_object_is_refused() {
        for uri in [
            "s3://bucket?region=x/name",
            "https://host/run#7/name",
            "https://user:word@host/name",
            "s3://",
            "s3:///name",
            "s3://bucket",
            "s3://bucket/",
            "s3://b/a/../c",
            "s3://b/.",
            "s3://b/a\n",
            "file://host/x",
            "file:///tmp/%4",
        ] {
            assert_eq!(parse(uri).unwrap_err().kind, UploadErrorKind::BadDestination, "{uri}");
        }
        for uri in ["ftp://host/name", "/tmp/x", "name", ""] {
            assert_eq!(parse(uri).unwrap_err().kind, UploadErrorKind::UnknownScheme, "{uri}");
        }
        assert_eq!(parse(&format!("s3://b/{}", "x".repeat(1025))).unwrap_err().kind, UploadErrorKind::BadDestination);
    }

    #[test]
    fn secrets_are_not_written_down() {
        let all: Options = [
            "secret_access_key",
            "access_key_id",
            "session_token",
            "header:Authorization",
            "sas_token",
            "region",
            "part_size",
            "endpoint",
            "endpoint_url_sts",
            "part_urls",
            "complete_url",
        ]
        .map(|name| (name.to_owned(), "x".to_owned()))
        .into();
        let kept = without_secrets(&all);
        assert_eq!(
            kept.keys().map(String::as_str).collect::<Vec<_>>(),
            ["endpoint", "endpoint_url_sts", "part_size", "region"]
        );
    }
}
