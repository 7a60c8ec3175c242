//! Plain HTTP: one PUT; or parts to addresses that somebody signed beforehand, so that no credentials are here at all.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::body::Range;
use crate::checksum::{Digests, Wanted};
use crate::destination::{Destination, bad};
use crate::error::{Class, Fault, Result, UploadErrorKind};
use crate::meter::Meter;
use crate::plan::Limits;
use crate::target::{Listed, Part, Proof, Remote, Stale, Taken, Target};
use crate::wire::{Answer, Payload, Span, Wire, spanning};
use crate::xml;

/// Addresses for the parts of one upload, in the order of the parts.
#[derive(Debug, Clone)]
pub(crate) struct Presigned {
    parts: Vec<String>,
    complete: String,
    abort: Option<String>,
}

/// One address.
pub(crate) struct HttpTarget {
    wire: Wire,
    uri: String,
    headers: HeaderMap,
    presigned: Option<Presigned>,
    overwrite: bool,
}

impl HttpTarget {
    pub fn new(destination: &Destination, wire: Wire) -> Result<Self> {
        let mut headers = HeaderMap::new();
        let (mut parts, mut complete, mut abort) = (Vec::new(), None, None);
        for (name, value) in destination.own_options() {
            match (name, name.strip_prefix("header:")) {
                ("ca_bundle", _) => {}
                ("part_urls", _) => parts = value.split_ascii_whitespace().map(str::to_owned).collect(),
                ("complete_url", _) => complete = Some(value.to_owned()),
                ("abort_url", _) => abort = Some(value.to_owned()),
                (_, Some(header)) => {
                    let pair = header.parse::<HeaderName>().ok().zip(HeaderValue::from_str(value).ok());
                    let (name, mut value) = pair.ok_or_else(|| {
                        bad(format!("`{header}` is no header that can be sent; check its name and value"))
                    })?;
                    value.set_sensitive(true);
                    headers.insert(name, value);
                }
                _ => {
                    return Err(bad(format!(
                        "`{name}` is no option of http(s)://; say header:NAME, ca_bundle, or part_urls with complete_url"
                    )));
                }
            }
        }
        let presigned = match (parts.is_empty(), complete) {
            (true, None) => None,
            (false, Some(complete)) if destination.part_size.is_some() => Some(Presigned { parts, complete, abort }),
            _ => return Err(bad("part_urls, complete_url and part_size belong together: give all three, or none")),
        };
        Ok(Self { wire, uri: destination.uri.clone(), headers, presigned, overwrite: destination.overwrite })
    }

    fn presigned(&self) -> Result<&Presigned, Fault> {
        let none =
            || Fault::new(Class::Final, UploadErrorKind::BadDestination, format!("`{}` takes no parts", self.uri));
        self.presigned.as_ref().ok_or_else(none)
    }

    async fn ask(
        &self,
        method: Method,
        url: &str,
        mut headers: HeaderMap,
        payload: Payload,
        meter: Arc<Meter>,
    ) -> Result<Answer, Fault> {
        // Addresses that were signed have their own say; headers may be secrets of another host.
        if url == self.uri {
            headers.extend(self.headers.clone());
        }
        if method == Method::PUT && matches!(&payload, Payload::Range(range, _) if range.length == 0) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let answer = self.wire.send(method, url, headers, payload, meter, &self.uri).await?;
        match self.fault(&answer) {
            Some(fault) => Err(fault),
            None => Ok(answer),
        }
    }

    fn fault(&self, answer: &Answer) -> Option<Fault> {
        use UploadErrorKind::{BadDestination, Denied, Exists, NoSuchBucket, Rejected, TooLarge, Unreachable};
        let named = if self.presigned.is_some() { xml::error(&answer.body) } else { None };
        if answer.status.is_success() && named.is_none() {
            return None;
        }
        let (class, kind, next) = match (named.as_ref().map(|(code, _)| code.as_str()), answer.status) {
            (Some("NoSuchUpload"), _) => (Class::NoUpload, Rejected, "ask for new addresses"),
            (Some("InvalidPart" | "InvalidPartOrder"), _) => (Class::BadPart, Rejected, "start it again"),
            (_, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => {
                (Class::Busy, Unreachable, "try again later")
            }
            (_, StatusCode::REQUEST_TIMEOUT) => (Class::Again, Unreachable, "try again later"),
            // An earlier request whose connection has gone may have it for as long as the server has not noticed.
            (_, StatusCode::LOCKED) => (Class::Again, Unreachable, "wait until whoever writes to it has ended"),
            (_, status) if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => {
                (Class::Again, Unreachable, "try again later")
            }
            (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                (Class::Final, Denied, "check the credentials, or ask for a new address")
            }
            (_, StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::GONE) => {
                (Class::Final, NoSuchBucket, "create the folder, or check the address")
            }
            (_, StatusCode::PRECONDITION_FAILED) => (Class::Final, Exists, "choose another name, or allow overwriting"),
            (_, StatusCode::PAYLOAD_TOO_LARGE) => {
                (Class::Final, TooLarge, "split the file, or use compress(shard_size=…)")
            }
            (_, status) if status.is_redirection() => {
                (Class::Final, BadDestination, "use the address that it leads to")
            }
            (_, status) if status.is_success() => (Class::Again, Rejected, "try again later"),
            _ => (Class::Final, Rejected, "check that the server takes PUT"),
        };
        let what = named
            .map_or_else(|| format!("the server says {}", answer.status), |(code, words)| format!("{code}: {words}"));
        let mut fault = Fault::new(class, kind, format!("cannot upload to `{}`: {what}; {next}", self.uri));
        (fault.wait, fault.answered) = (answer.retry_after(), true);
        Some(fault)
    }

    /// The folders above the target, from the first on, as `WebDAV` makes them. Whether that did any good shows when the file is sent again.
    async fn make_folders(&self) {
        let Ok(method) = Method::from_bytes(b"MKCOL") else { return };
        let start = self.uri.find("://").map_or(0, |at| at + 3);
        let ends = self.uri[start..].match_indices('/').map(|(at, _)| start + at).skip(1);
        for end in ends {
            let url = &self.uri[..=end];
            let nothing = Payload::Bytes(Bytes::new());
            let _ = self.wire.send(method.clone(), url, self.headers.clone(), nothing, Self::quiet(), &self.uri).await;
        }
    }

    fn quiet() -> Arc<Meter> {
        Arc::new(Meter::new(Arc::default()))
    }
}

#[async_trait]
impl Target for HttpTarget {
    fn limits(&self) -> Option<Limits> {
        self.presigned.as_ref().map(|presigned| Limits {
            smallest_part: 1,
            most_parts: presigned.parts.len() as u64,
            ..Limits::S3
        })
    }

    fn before(&self, _: Proof) -> Option<Wanted> {
        None
    }

    fn wanted(&self, _: Proof) -> Wanted {
        Wanted { md5: true, ..Wanted::default() }
    }

    fn proof(&self) -> Proof {
        if self.presigned.is_some() { Proof::Tags } else { Proof::ReadBack }
    }

    async fn head(&self) -> Result<Option<Remote>, Fault> {
        if self.presigned.is_some() {
            let message = format!("`{}` is written by signed addresses, and cannot be looked at", self.uri);
            return Err(Fault::new(Class::Final, UploadErrorKind::Denied, message));
        }
        match self.ask(Method::HEAD, &self.uri, HeaderMap::new(), Payload::Bytes(Bytes::new()), Self::quiet()).await {
            Ok(answer) => Ok(Some(Remote { size: answer.length(), tag: answer.etag(), ..Remote::default() })),
            Err(fault) if fault.error.kind == UploadErrorKind::NoSuchBucket => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    async fn put(&self, range: Range, known: Digests, _: &str, meter: Arc<Meter>) -> Result<Taken, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if !self.overwrite {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        // A file that fits into one part goes to the first address, and is completed as the others are.
        let url = self.presigned.as_ref().and_then(|presigned| presigned.parts.first()).unwrap_or(&self.uri);
        let length = range.length;
        let send = || Payload::Range(range.clone(), Wanted::default());
        let answer = match self.ask(Method::PUT, url, headers.clone(), send(), Arc::clone(&meter)).await {
            Err(fault) if fault.error.kind == UploadErrorKind::NoSuchBucket && self.presigned.is_none() => {
                self.make_folders().await;
                self.ask(Method::PUT, url, headers, send(), Arc::new(meter.anew())).await?
            }
            other => other?,
        };
        let tag = answer.etag().unwrap_or_default();
        if self.presigned.is_some() {
            let part = Part { number: 1, tag: tag.clone(), length, crc64: known.crc64, crc32c: None, md5: known.md5 };
            self.complete("", &[part], known.crc64).await?;
        }
        Ok(Taken { tag, digests: known })
    }

    async fn create(&self, token: &str) -> Result<String, Fault> {
        Ok(token.to_owned())
    }

    async fn part(
        &self,
        _: &str,
        number: u64,
        range: Range,
        _: Option<Digests>,
        meter: Arc<Meter>,
    ) -> Result<Taken, Fault> {
        let presigned = self.presigned()?;
        let url = presigned.parts.get(number as usize - 1).ok_or_else(|| {
            let message = format!(
                "`{}` has addresses for {} parts, and needs more; ask for more, or larger parts",
                self.uri,
                presigned.parts.len()
            );
            Fault::new(Class::Final, UploadErrorKind::TooLarge, message)
        })?;
        let answer = self
            .ask(Method::PUT, url, HeaderMap::new(), Payload::Range(range, self.wanted(Proof::Tags)), meter)
            .await?;
        let tag = answer.etag().unwrap_or_default();
        Ok(Taken { tag, digests: answer.digests.unwrap_or_default() })
    }

    async fn parts(&self, _: &str) -> Result<Option<Vec<Listed>>, Fault> {
        Ok(None)
    }

    async fn complete(&self, _: &str, parts: &[Part], _: u64) -> Result<(), Fault> {
        let mut text = String::from("<CompleteMultipartUpload>");
        for part in parts {
            let (number, tag) = (part.number, xml::escape(&part.tag));
            let _ = write!(text, "<Part><PartNumber>{number}</PartNumber><ETag>\"{tag}\"</ETag></Part>");
        }
        text.push_str("</CompleteMultipartUpload>");
        let url = self.presigned()?.complete.clone();
        self.ask(Method::POST, &url, HeaderMap::new(), Payload::Bytes(text.into()), Self::quiet()).await.map(|_| ())
    }

    async fn abort(&self, _: &str) -> Result<(), Fault> {
        let Some(url) = self.presigned.as_ref().and_then(|presigned| presigned.abort.clone()) else { return Ok(()) };
        match self.ask(Method::DELETE, &url, HeaderMap::new(), Payload::Bytes(Bytes::new()), Self::quiet()).await {
            Err(fault) if fault.class != Class::NoUpload && fault.error.kind != UploadErrorKind::NoSuchBucket => {
                Err(fault)
            }
            _ => Ok(()),
        }
    }

    async fn read_back(&self, span: &Span, whole: bool) -> Result<u64, Fault> {
        let mut headers = spanning(span, whole);
        headers.extend(self.headers.clone());
        let (status, crc64) = self.wire.read(&self.uri, headers, span, whole, &self.uri).await?;
        match self.fault(&Answer::of(status)) {
            Some(fault) => Err(fault),
            None => Ok(crc64),
        }
    }

    async fn stale(&self) -> Result<Vec<Stale>, Fault> {
        Ok(Vec::new())
    }
}
