//! Azure's block blobs. Blocks are named after the upload and their number, so that what a killed process left is known by its names;
//! every block comes with its MD5, which the service compares.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use object_store::azure::{AzureAuthorizer, AzureConfigKey, AzureCredentialProvider, MicrosoftAzureBuilder};
use object_store::client::{HttpRequest, HttpRequestBody};

use crate::body::Range;
use crate::checksum::{Digests, Wanted, base64};
use crate::destination::{Destination, bad};
use crate::error::{Class, Fault, Result, UploadErrorKind};
use crate::meter::Meter;
use crate::plan::Limits;
use crate::s3::{no_option, plain, quickly, refuse_plain};
use crate::sign;
use crate::target::{Listed, Part, Proof, Remote, Stale, Taken, Target};
use crate::wire::{Answer, Payload, Span, Wire, spanning};
use crate::xml;

/// What the emulator's only account is called.
const EMULATED: &str = "devstoreaccount1";

/// Options that would change what our own requests say, and do not, are refused rather than passed over.
fn is_heeded(key: AzureConfigKey) -> bool {
    use AzureConfigKey as Key;
    matches!(
        key,
        Key::AccountName
            | Key::AccessKey
            | Key::ClientId
            | Key::ClientSecret
            | Key::AuthorityId
            | Key::AuthorityHost
            | Key::SasKey
            | Key::Token
            | Key::UseEmulator
            | Key::Endpoint
            | Key::MsiEndpoint
            | Key::ObjectId
            | Key::MsiResourceId
            | Key::FederatedTokenFile
            | Key::UseAzureCli
            | Key::SkipSignature
    )
}

/// A container, and who we are to it.
pub(crate) struct Container {
    wire: Wire,
    /// `https://account.blob.core.windows.net/container`
    base: String,
    account: String,
    credentials: Option<AzureCredentialProvider>,
}

impl Container {
    pub fn new(destination: &Destination, wire: Wire) -> Result<Self> {
        let (retry, options) = quickly();
        let mut builder = MicrosoftAzureBuilder::new().with_container_name(&destination.bucket);
        builder = builder.with_retry(retry).with_client_options(options);
        let mut endpoint = None;
        for (name, value) in destination.own_options() {
            match name {
                "endpoint" => endpoint = Some(value.to_owned()),
                "ca_bundle" | "allow_http" => {}
                _ => {
                    let key = name
                        .parse::<AzureConfigKey>()
                        .ok()
                        .filter(|key| is_heeded(*key))
                        .ok_or_else(|| no_option(name, "azure"))?;
                    builder = builder.with_config(key, value);
                }
            }
        }
        let config = |key: AzureConfigKey| builder.get_config_value(&key).filter(|value| !value.is_empty());
        let on = |key| config(key).is_some_and(|value| value == "true");
        let emulated = on(AzureConfigKey::UseEmulator);
        let account = config(AzureConfigKey::AccountName).or_else(|| emulated.then(|| EMULATED.to_owned()));
        let account = account.ok_or_else(|| bad(format!("`{}` needs the option account_name", destination.uri)))?;
        let endpoint = endpoint.or_else(|| config(AzureConfigKey::Endpoint)).unwrap_or_else(|| {
            if emulated {
                format!("http://127.0.0.1:10000/{EMULATED}")
            } else {
                format!("https://{account}.blob.core.windows.net")
            }
        });
        refuse_plain(Some(&endpoint), destination)?;
        let anonymous = on(AzureConfigKey::SkipSignature);
        let credentials = if anonymous {
            None
        } else {
            let built = builder.with_account(&account).build();
            let built = built.map_err(|error| bad(format!("cannot use `{}`: {}", destination.uri, plain(&error))))?;
            Some(Arc::clone(built.credentials()))
        };
        let base = format!("{}/{}", endpoint.trim_end_matches('/'), sign::encode(&destination.bucket, false));
        Ok(Self { wire, base, account, credentials })
    }

    /// Address and headers of a request, signed.
    async fn authorize(&self, method: &Method, url: &str, headers: HeaderMap) -> Result<(String, HeaderMap), Fault> {
        let wrong = |why: String| {
            Fault::new(Class::Final, UploadErrorKind::BadDestination, format!("`{url}` cannot be asked: {why}"))
        };
        let mut request: HttpRequest = http::Request::builder()
            .method(method.clone())
            .uri(url)
            .body(HttpRequestBody::empty())
            .map_err(|error| wrong(error.to_string()))?;
        *request.headers_mut() = headers;
        if let Some(credentials) = &self.credentials {
            let credential = credentials.get_credential().await.map_err(|error| {
                let message = format!(
                    "no credentials for {}: {}; set an account key, a SAS token, or an identity",
                    self.base,
                    plain(&error)
                );
                Fault::new(Class::Credentials, UploadErrorKind::NoCredentials, message)
            })?;
            let signed = AzureAuthorizer::new(&credential, &self.account).try_authorize(&mut request);
            signed.map_err(|error| wrong(plain(&error)))?;
        } else {
            request.headers_mut().insert("x-ms-version", HeaderValue::from_static("2023-11-03"));
        }
        Ok((request.uri().to_string(), std::mem::take(request.headers_mut())))
    }
}

/// One blob.
pub(crate) struct Azure {
    container: Arc<Container>,
    uri: String,
    url: String,
    overwrite: bool,
}

impl Azure {
    pub fn new(container: Arc<Container>, uri: &str, key: &str, overwrite: bool) -> Self {
        let url = format!("{}/{}", container.base, sign::encode(key, true));
        Self { container, uri: uri.to_owned(), url, overwrite }
    }

    async fn ask(
        &self,
        method: Method,
        query: &str,
        mut headers: HeaderMap,
        payload: Payload,
        meter: Option<Arc<Meter>>,
    ) -> Result<Answer, Fault> {
        let length = match &payload {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Range(range, _) => range.length,
        };
        if method == Method::PUT {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let url = if query.is_empty() { self.url.clone() } else { format!("{}?{query}", self.url) };
        let (url, headers) = self.container.authorize(&method, &url, headers).await?;
        let meter = meter.unwrap_or_else(|| Arc::new(Meter::new(Arc::default())));
        let answer = self.container.wire.send(method, &url, headers, payload, meter, &self.uri).await?;
        match self.fault(&answer) {
            Some(fault) => Err(fault),
            None => Ok(answer),
        }
    }

    fn fault(&self, answer: &Answer) -> Option<Fault> {
        use UploadErrorKind::{Corrupt, Denied, Exists, NoSuchBucket, Rejected, TooLarge, Unreachable};
        if answer.status.is_success() {
            return None;
        }
        let code = answer.header("x-ms-error-code").map(str::to_owned);
        let code = code.or_else(|| xml::error(&answer.body).map(|(code, _)| code)).unwrap_or_default();
        let (class, kind, next) = match (code.as_str(), answer.status) {
            ("ServerBusy", _) | (_, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => {
                (Class::Busy, Unreachable, "try again later")
            }
            ("Md5Mismatch" | "Crc64Mismatch", _) => (Class::Again, Corrupt, "check the network between here and there"),
            ("InvalidBlockList" | "InvalidBlockId" | "InvalidBlobOrBlock", _) => {
                (Class::BadPart, Corrupt, "start it again")
            }
            ("BlobAlreadyExists" | "ConditionNotMet", _) | (_, StatusCode::PRECONDITION_FAILED) => {
                (Class::Final, Exists, "choose another name, or allow overwriting")
            }
            ("AuthenticationFailed", _) | (_, StatusCode::UNAUTHORIZED) => {
                (Class::Credentials, Denied, "check the credentials and this machine's clock")
            }
            (_, StatusCode::FORBIDDEN) => {
                (Class::Final, Denied, "check the credentials and their right to write there")
            }
            (_, StatusCode::NOT_FOUND) => {
                (Class::Final, NoSuchBucket, "create the container, or check its name and the account")
            }
            (_, StatusCode::PAYLOAD_TOO_LARGE) => {
                (Class::Final, TooLarge, "split the file, or use compress(shard_size=…)")
            }
            (_, StatusCode::REQUEST_TIMEOUT) => (Class::Again, Unreachable, "try again later"),
            (_, status) if status.is_server_error() => (Class::Again, Unreachable, "try again later"),
            _ => (Class::Final, Rejected, "check the destination's options"),
        };
        let what = if code.is_empty() { format!("the server says {}", answer.status) } else { code };
        let mut fault = Fault::new(class, kind, format!("cannot upload to `{}`: {what}; {next}", self.uri));
        (fault.wait, fault.answered) = (answer.retry_after(), true);
        Some(fault)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).ok();
        pairs.iter().filter_map(|(name, text)| Some((HeaderName::from_static(name), value(text)?))).collect()
    }

    fn publish_headers(&self, token: &str) -> HeaderMap {
        let mut headers = Self::headers(&[("x-ms-meta-vhpack_upload", token)]);
        if !self.overwrite {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        headers
    }
}

fn md5_header(headers: &mut HeaderMap, digests: &Digests) {
    if let Some(value) = digests.md5.and_then(|md5| HeaderValue::from_str(&base64(&md5)).ok()) {
        headers.insert("content-md5", value);
    }
}

/// The names of all blocks of a blob have one length.
fn block(upload: &str, number: u64) -> String {
    base64(format!("{upload:.16}-{number:06}").as_bytes())
}

#[async_trait]
impl Target for Azure {
    fn limits(&self) -> Option<Limits> {
        Some(Limits::AZURE)
    }

    fn before(&self, proof: Proof) -> Option<Wanted> {
        Some(self.wanted(proof))
    }

    fn wanted(&self, _: Proof) -> Wanted {
        Wanted { md5: true, ..Wanted::default() }
    }

    fn proof(&self) -> Proof {
        Proof::Refuses
    }

    async fn head(&self) -> Result<Option<Remote>, Fault> {
        match self.ask(Method::HEAD, "", HeaderMap::new(), Payload::Bytes(Bytes::new()), None).await {
            Ok(answer) => Ok(Some(Remote {
                size: answer.length(),
                token: answer.header("x-ms-meta-vhpack_upload").map(str::to_owned),
                // The MD5 that a blob of one PUT has, as other stores' tags.
                tag: answer.header("content-md5").and_then(|text| {
                    Some(crate::checksum::hex(&base64::engine::general_purpose::STANDARD.decode(text).ok()?))
                }),
                ..Remote::default()
            })),
            Err(fault) if fault.error.kind == UploadErrorKind::NoSuchBucket => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    async fn put(&self, range: Range, known: Digests, token: &str, meter: Arc<Meter>) -> Result<Taken, Fault> {
        let mut headers = self.publish_headers(token);
        headers.insert("x-ms-blob-type", HeaderValue::from_static("BlockBlob"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        md5_header(&mut headers, &known);
        self.ask(Method::PUT, "", headers, Payload::Range(range, Wanted::default()), Some(meter)).await?;
        Ok(Taken { tag: String::new(), digests: known })
    }

    async fn create(&self, token: &str) -> Result<String, Fault> {
        Ok(token.to_owned())
    }

    async fn part(
        &self,
        upload: &str,
        number: u64,
        range: Range,
        known: Option<Digests>,
        meter: Arc<Meter>,
    ) -> Result<Taken, Fault> {
        let digests = known.unwrap_or_default();
        let mut headers = HeaderMap::new();
        md5_header(&mut headers, &digests);
        let name = block(upload, number);
        let query = sign::query(&[("comp", "block"), ("blockid", &name)]);
        self.ask(Method::PUT, &query, headers, Payload::Range(range, Wanted::default()), Some(meter)).await?;
        Ok(Taken { tag: name, digests })
    }

    async fn parts(&self, upload: &str) -> Result<Option<Vec<Listed>>, Fault> {
        let query = "blocklisttype=uncommitted&comp=blocklist";
        let answer = match self.ask(Method::GET, query, HeaderMap::new(), Payload::Bytes(Bytes::new()), None).await {
            // Nothing was ever sent there: nor is there an upload to be lost.
            Err(fault) if fault.error.kind == UploadErrorKind::NoSuchBucket => return Ok(Some(Vec::new())),
            other => other?,
        };
        let texts = xml::texts(&answer.body);
        let blocks = xml::each(&texts, "BlockList/UncommittedBlocks/Block");
        let listed = blocks.into_iter().filter_map(|block_| {
            let text = |name: &str| block_.iter().find(|(at, _)| *at == name).map(|(_, text)| *text);
            let (name, size) = (text("Name")?, text("Size")?.parse().ok()?);
            let plain = base64::engine::general_purpose::STANDARD.decode(name).ok()?;
            let number = std::str::from_utf8(&plain).ok()?.rsplit_once('-')?.1.parse().ok()?;
            if block(upload, number) != name {
                return None;
            }
            Some(Listed { number, tag: name.to_owned(), size })
        });
        Ok(Some(listed.collect()))
    }

    async fn complete(&self, upload: &str, parts: &[Part], _: u64) -> Result<(), Fault> {
        let mut headers = self.publish_headers(upload);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        for part in parts {
            let _ = write!(text, "<Latest>{}</Latest>", part.tag);
        }
        text.push_str("</BlockList>");
        self.ask(Method::PUT, "comp=blocklist", headers, Payload::Bytes(text.into()), None).await.map(|_| ())
    }

    /// Blocks that nobody commits vanish after a week; they cannot be removed by name.
    async fn abort(&self, _: &str) -> Result<(), Fault> {
        Ok(())
    }

    async fn read_back(&self, span: &Span, whole: bool) -> Result<u64, Fault> {
        let (url, headers) = self.container.authorize(&Method::GET, &self.url, spanning(span, whole)).await?;
        let (status, crc64) = self.container.wire.read(&url, headers, span, whole, &self.uri).await?;
        match self.fault(&Answer::of(status)) {
            Some(fault) => Err(fault),
            None => Ok(crc64),
        }
    }

    async fn stale(&self) -> Result<Vec<Stale>, Fault> {
        Ok(Vec::new())
    }
}
