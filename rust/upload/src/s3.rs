//! S3, and Google Cloud Storage in the dialect of S3 that its XML interface is: one request each, signed and understood.

mod answers;
mod store;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

pub(crate) use self::store::{Store, no_option, plain, quickly, refuse_plain};
use crate::body::Range;
use crate::checksum::{Digests, Wanted, base64, hex};
use crate::error::{Class, Fault, Result, UploadErrorKind};
use crate::meter::Meter;
use crate::plan::Limits;
use crate::sign;
use crate::target::{Listed, Part, Proof, Remote, Stale, Taken, Target};
use crate::wire::{Answer, Payload, Span};
use crate::xml;

/// One object of a bucket.
pub(crate) struct S3 {
    store: Arc<Store>,
    uri: String,
    key: String,
    /// The path of the object, encoded.
    path: String,
    overwrite: bool,
}

type Query<'a> = &'a [(&'a str, &'a str)];

/// Pages of a list that are asked for: ten have all parts that an upload may have. A server whose lists have no end is not believed.
const PAGES: usize = 100;

fn header(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

impl S3 {
    pub fn new(store: Arc<Store>, uri: &str, key: &str, overwrite: bool) -> Self {
        let path = format!("{}/{}", store.prefix, sign::encode(key, true));
        Self { store, uri: uri.to_owned(), key: key.to_owned(), path, overwrite }
    }

    async fn ask(&self, method: Method, query: Query<'_>, headers: HeaderMap, payload: Bytes) -> Result<Answer, Fault> {
        let sha256 = hex(&crate::checksum::sha256(&payload));
        self.store.ask(method, &self.path, query, headers, (Payload::Bytes(payload), sha256), None, &self.uri).await
    }

    async fn send(
        &self,
        query: Query<'_>,
        headers: HeaderMap,
        range: Range,
        known: Option<&Digests>,
        wanted: Wanted,
        meter: Arc<Meter>,
    ) -> Result<Answer, Fault> {
        let sha256 =
            known.and_then(|known| known.sha256).map_or_else(|| sign::UNSIGNED.to_owned(), |sha256| hex(&sha256));
        self.store
            .ask(
                Method::PUT,
                &self.path,
                query,
                headers,
                (Payload::Range(range, wanted), sha256),
                Some(meter),
                &self.uri,
            )
            .await
    }

    /// Headers that let the server refuse bytes that are not those that we read.
    fn checksums(&self, known: &Digests) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.store.google() {
            if let Some(crc32c) = known.crc32c {
                header(&mut headers, "x-goog-hash", &format!("crc32c={}", base64(&crc32c.to_be_bytes())));
            }
        } else if self.store.proof == Proof::Refuses {
            header(&mut headers, "x-amz-checksum-crc64nvme", &base64(&known.crc64.to_be_bytes()));
        }
        headers
    }

    fn token(&self, headers: &mut HeaderMap, token: &str) {
        let name = if self.store.google() { "x-goog-meta-vhpack-upload" } else { "x-amz-meta-vhpack-upload" };
        header(headers, name, token);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    }

    fn condition(&self, headers: &mut HeaderMap) {
        if !self.overwrite {
            if self.store.google() {
                header(headers, "x-goog-if-generation-match", "0");
            } else {
                headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
            }
        }
    }

    fn taken(&self, answer: &Answer, known: Option<Digests>) -> Result<Taken, Fault> {
        let tag = answer.etag().ok_or_else(|| {
            Fault::new(
                Class::Again,
                UploadErrorKind::Rejected,
                format!("the server took bytes of `{}` without naming them", self.uri),
            )
        })?;
        let digests = known.or(answer.digests).unwrap_or_default();
        Ok(Taken { tag, digests })
    }

    fn unclear(&self, what: &str) -> Fault {
        Fault::new(
            Class::Again,
            UploadErrorKind::Rejected,
            format!("the server's answer names no {what} for `{}`", self.uri),
        )
    }
}

#[async_trait]
impl Target for S3 {
    fn limits(&self) -> Option<Limits> {
        Some(Limits::S3)
    }

    fn before(&self, proof: Proof) -> Option<Wanted> {
        let sha256 = self.store.sign_payload;
        let refuses = proof == Proof::Refuses;
        (refuses || sha256).then_some(Wanted { crc32c: self.store.google(), md5: !refuses, sha256 })
    }

    fn wanted(&self, proof: Proof) -> Wanted {
        Wanted { crc32c: self.store.google(), md5: proof != Proof::Refuses, sha256: self.store.sign_payload }
    }

    fn proof(&self) -> Proof {
        self.store.proof
    }

    async fn may_be_there(&self) -> bool {
        let folder = self.key.rfind('/').map_or("", |end| &self.key[..=end]);
        let listing = self.store.listing(folder, &self.uri).await;
        listing.as_ref().is_none_or(|names| names.contains(&self.key))
    }

    async fn head(&self) -> Result<Option<Remote>, Fault> {
        let mut headers = HeaderMap::new();
        if !self.store.google() {
            header(&mut headers, "x-amz-checksum-mode", "ENABLED");
        }
        match self.ask(Method::HEAD, &[], headers, Bytes::new()).await {
            Ok(answer) => Ok(Some(Store::remote(&answer))),
            Err(fault) if fault.error.kind == UploadErrorKind::NoSuchBucket => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    async fn put(&self, range: Range, known: Digests, token: &str, meter: Arc<Meter>) -> Result<Taken, Fault> {
        let mut headers = self.checksums(&known);
        self.token(&mut headers, token);
        self.condition(&mut headers);
        let answer = self.send(&[], headers, range, Some(&known), Wanted::default(), meter).await?;
        self.taken(&answer, Some(known))
    }

    async fn create(&self, token: &str) -> Result<String, Fault> {
        let mut headers = HeaderMap::new();
        self.token(&mut headers, token);
        if !self.store.google() && self.store.proof == Proof::Refuses {
            header(&mut headers, "x-amz-checksum-algorithm", "CRC64NVME");
            header(&mut headers, "x-amz-checksum-type", "FULL_OBJECT");
        }
        let answer = self.ask(Method::POST, &[("uploads", "")], headers, Bytes::new()).await?;
        let texts = xml::texts(&answer.body);
        let id = texts.iter().find(|(path, _)| path.ends_with("UploadId")).map(|(_, text)| text.clone());
        id.filter(|id| !id.is_empty()).ok_or_else(|| self.unclear("upload"))
    }

    async fn part(
        &self,
        upload: &str,
        number: u64,
        range: Range,
        known: Option<Digests>,
        meter: Arc<Meter>,
    ) -> Result<Taken, Fault> {
        let number = number.to_string();
        let headers = known.as_ref().map_or_else(HeaderMap::new, |known| self.checksums(known));
        let wanted = if known.is_some() { Wanted::default() } else { self.wanted(Proof::Tags) };
        let answer = self
            .send(&[("partNumber", &number), ("uploadId", upload)], headers, range, known.as_ref(), wanted, meter)
            .await?;
        self.taken(&answer, known)
    }

    async fn parts(&self, upload: &str) -> Result<Option<Vec<Listed>>, Fault> {
        let (mut all, mut marker) = (Vec::new(), String::new());
        for _ in 0..PAGES {
            let mut query = vec![("uploadId", upload), ("max-parts", "1000")];
            if !marker.is_empty() {
                query.push(("part-number-marker", &marker));
            }
            let answer = match self.ask(Method::GET, &query, HeaderMap::new(), Bytes::new()).await {
                Err(fault) if fault.class == Class::Unsupported => return Ok(None),
                other => other?,
            };
            let texts = xml::inside(&answer.body);
            for part in xml::each(&texts, "Part") {
                let text = |name: &str| part.iter().find(|(at, _)| *at == name).map(|(_, text)| *text);
                let number = |name: &str| text(name).and_then(|text| text.parse().ok());
                let (Some(number), Some(size)) = (number("PartNumber"), number("Size")) else { return Ok(None) };
                // A server that lists parts without naming them leaves the journal as the only witness.
                let Some(tag) = text("ETag") else { return Ok(None) };
                all.push(Listed { number, size, tag: tag.trim_matches('"').to_owned() });
            }
            let next = xml::first(&texts, "NextPartNumberMarker").unwrap_or_default();
            if xml::first(&texts, "IsTruncated") != Some("true") || next == marker || next.is_empty() {
                return Ok(Some(all));
            }
            next.clone_into(&mut marker);
        }
        Err(self.unclear("end of the parts"))
    }

    async fn complete(&self, upload: &str, parts: &[Part], whole: u64) -> Result<(), Fault> {
        let proof = self.store.proof == Proof::Refuses && !self.store.google();
        let mut text = String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
        for part in parts {
            let tag = xml::escape(&part.tag);
            let _ = write!(text, "<Part><PartNumber>{}</PartNumber><ETag>\"{tag}\"</ETag>", part.number);
            if proof {
                let crc64 = base64(&part.crc64.to_be_bytes());
                let _ = write!(text, "<ChecksumCRC64NVME>{crc64}</ChecksumCRC64NVME>");
            }
            text.push_str("</Part>");
        }
        text.push_str("</CompleteMultipartUpload>");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        self.condition(&mut headers);
        if proof {
            header(&mut headers, "x-amz-checksum-crc64nvme", &base64(&whole.to_be_bytes()));
            header(&mut headers, "x-amz-checksum-type", "FULL_OBJECT");
        }
        self.ask(Method::POST, &[("uploadId", upload)], headers, text.into()).await.map(|_| ())
    }

    async fn abort(&self, upload: &str) -> Result<(), Fault> {
        match self.ask(Method::DELETE, &[("uploadId", upload)], HeaderMap::new(), Bytes::new()).await {
            Ok(_) => Ok(()),
            Err(fault) if fault.class == Class::NoUpload => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    async fn read_back(&self, span: &Span, whole: bool) -> Result<u64, Fault> {
        self.store.read_back(&self.path, span, whole, &self.uri).await
    }

    async fn stale(&self) -> Result<Vec<Stale>, Fault> {
        let path = format!("{}/", self.store.prefix);
        let (mut all, mut after) = (Vec::new(), (String::new(), String::new()));
        for _ in 0..PAGES {
            let mut query = vec![("uploads", ""), ("prefix", self.key.as_str()), ("max-uploads", "1000")];
            if !after.0.is_empty() {
                query.extend([("key-marker", after.0.as_str()), ("upload-id-marker", after.1.as_str())]);
            }
            let payload = (Payload::Bytes(Bytes::new()), hex(&crate::checksum::sha256(b"")));
            let answer =
                match self.store.ask(Method::GET, &path, &query, HeaderMap::new(), payload, None, &self.uri).await {
                    // What rclone says where there are none.
                    Err(fault) if fault.class == Class::NoUpload => return Ok(all),
                    other => other?,
                };
            let texts = xml::inside(&answer.body);
            // By the server's own clock: ours may be another.
            let now = answer.header("date").and_then(sign::http_date).unwrap_or_else(SystemTime::now);
            for upload in xml::each(&texts, "Upload") {
                let text = |name: &str| upload.iter().find(|(at, _)| *at == name).map(|(_, text)| (*text).to_owned());
                let (Some(key), Some(id)) = (text("Key"), text("UploadId")) else { continue };
                if key != self.key {
                    continue;
                }
                let begun = text("Initiated").and_then(|text| sign::iso_date(&text));
                all.push(Stale { id, age: begun.map(|begun| now.duration_since(begun).unwrap_or_default()) });
            }
            let next = |name: &str| xml::first(&texts, name).unwrap_or_default().to_owned();
            let marker = (next("NextKeyMarker"), next("NextUploadIdMarker"));
            if next("IsTruncated") != "true" || marker == after || marker.0.is_empty() {
                return Ok(all);
            }
            after = marker;
        }
        Ok(all)
    }
}
