//! A bucket: its address, its credentials, and what was learned of its server on the way.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Method};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredentialProvider};
use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use super::answers;
use crate::credentials::Renewable;
use crate::destination::{Destination, Scheme, bad};
use crate::error::{Class, Fault, Result, UploadError, UploadErrorKind};
use crate::meter::Meter;
use crate::sign::{self, Keys, Request};
use crate::target::{Proof, Remote};
use crate::wire::{Answer, Payload, Span, Wire, spanning};
use crate::xml;

/// Who we are to the store.
enum Access {
    Aws(AwsCredentialProvider),
    /// Given by the caller, who is asked for new ones when they are refused.
    Given(Arc<Renewable>),
    Google(GcpCredentialProvider),
    Anonymous,
}

/// What a request was signed with; whether it was wrong is a question of this, and not of what holds by now.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    region: String,
    skew: i64,
}

/// A bucket of S3 or Google.
pub(crate) struct Store {
    wire: Wire,
    /// `https://host`
    base: String,
    host: String,
    /// The path before a key: `/bucket`, or nothing where the host names it.
    pub(super) prefix: String,
    /// Amazon's own: the host names the region, and this bucket where it says one.
    amazon: Option<String>,
    region: Mutex<String>,
    /// How often it was another region, or another time, than was thought.
    corrections: AtomicU32,
    listings: Mutex<HashMap<String, Arc<Listed>>>,
    access: Access,
    /// The machine, or whoever it asks, has given keys before.
    has_had_keys: AtomicBool,
    google: bool,
    pub(super) sign_payload: bool,
    skew: AtomicI64,
    /// How its word is tested; see `rust/DESIGN.md` on why nothing is tried here.
    pub(super) proof: Proof,
}

/// Instance and container services are a hop away; when they do not answer soon, they are not there.
pub(crate) fn quickly() -> (RetryConfig, ClientOptions) {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(1), base: 2.0 };
    let retry = RetryConfig { backoff, max_retries: 2, retry_timeout: Duration::from_secs(10) };
    let options = ClientOptions::new()
        .with_timeout(Duration::from_secs(5))
        .with_connect_timeout(Duration::from_secs(2))
        .with_allow_http(true);
    (retry, options)
}

/// The names in a folder.
type Listing = Option<Arc<HashSet<String>>>;

/// A listing, and when it was made: by whoever came first, while the others wait for it alone.
type Listed = tokio::sync::OnceCell<(Instant, Listing)>;

/// Folders whose names are kept: files come folder by folder, and a listing may take a megabyte.
const LISTED: usize = 32;

/// How long a listing saves looks at single objects.
const LISTING_HOLDS: Duration = Duration::from_secs(60);

/// Longer listings take longer than they save.
const LISTING_PAGES: usize = 20;

/// How often a store's region or clock may turn out to be another than was thought.
const CORRECTIONS: u32 = 4;

/// Keys that were refused are renewed by another thread, which looks this often and a little more.
const RENEWED_WITHIN: Duration = Duration::from_secs(1);

/// Options that would change what our own requests say, and do not, are refused rather than passed over.
fn is_heeded(key: AmazonS3ConfigKey) -> bool {
    use AmazonS3ConfigKey as Key;
    matches!(
        key,
        Key::AccessKeyId
            | Key::SecretAccessKey
            | Key::Token
            | Key::Region
            | Key::DefaultRegion
            | Key::Endpoint
            | Key::ImdsV1Fallback
            | Key::VirtualHostedStyleRequest
            | Key::MetadataEndpoint
            | Key::ContainerCredentialsRelativeUri
            | Key::ContainerCredentialsFullUri
            | Key::ContainerAuthorizationTokenFile
            | Key::WebIdentityTokenFile
            | Key::RoleArn
            | Key::RoleSessionName
            | Key::StsEndpoint
            | Key::SkipSignature
    )
}

pub(crate) fn no_option(name: &str, scheme: &str) -> UploadError {
    bad(format!("`{name}` is no option of {scheme}:// that uploads heed; see help(vhpack.set_upload_destination)"))
}

/// `allow_http=false` is a promise.
pub(crate) fn refuse_plain(endpoint: Option<&str>, destination: &Destination) -> Result<()> {
    let forbidden = destination.options.get("allow_http").is_some_and(|word| word == "false");
    match endpoint.filter(|endpoint| forbidden && !endpoint.starts_with("https://")) {
        Some(endpoint) => Err(bad(format!("the endpoint `{endpoint}` is not encrypted, and allow_http is false"))),
        None => Ok(()),
    }
}

/// Options that are ours; the others are those of `object_store`.
const OURS: [&str; 4] = ["ca_bundle", "checksum", "allow_http", "unsigned_payload"];

impl Store {
    pub fn new(destination: &Destination, wire: Wire, given: Option<Arc<Renewable>>) -> Result<Self> {
        match destination.scheme {
            Scheme::Gs => Self::google_bucket(destination, wire),
            _ => Self::amazon(destination, wire, given),
        }
    }

    fn amazon(destination: &Destination, wire: Wire, given: Option<Arc<Renewable>>) -> Result<Self> {
        let (retry, options) = quickly();
        let mut builder =
            AmazonS3Builder::new().with_bucket_name(&destination.bucket).with_retry(retry).with_client_options(options);
        for (name, value) in destination.own_options().filter(|(name, _)| !OURS.contains(name)) {
            let key = name
                .parse::<AmazonS3ConfigKey>()
                .ok()
                .filter(|key| is_heeded(*key))
                .ok_or_else(|| no_option(name, "s3"))?;
            builder = builder.with_config(key, value);
        }
        let config = |key: AmazonS3ConfigKey| builder.get_config_value(&key).filter(|value| !value.is_empty());
        let on = |key| config(key).is_some_and(|value| matches!(value.as_str(), "true" | "1" | "on" | "yes"));
        let region = config(AmazonS3ConfigKey::Region)
            .or_else(|| config(AmazonS3ConfigKey::DefaultRegion))
            .unwrap_or_else(|| "us-east-1".to_owned());
        let endpoint = config(AmazonS3ConfigKey::Endpoint);
        refuse_plain(endpoint.as_deref(), destination)?;
        let amazon = endpoint.is_none();
        let virtual_host =
            if amazon { !destination.bucket.contains('.') } else { on(AmazonS3ConfigKey::VirtualHostedStyleRequest) };
        let before = if virtual_host { format!("{}.", destination.bucket) } else { String::new() };
        let endpoint = endpoint.unwrap_or_else(|| format!("https://{before}s3.{region}.amazonaws.com"));
        let access = match given {
            Some(given) => Access::Given(given),
            None if on(AmazonS3ConfigKey::SkipSignature) => Access::Anonymous,
            None => {
                // What is asked here is no request of ours: only its credentials are used.
                let built = builder
                    .with_region(&region)
                    .build()
                    .map_err(|error| bad(format!("cannot use `{}`: {}", destination.uri, plain(&error))))?;
                Access::Aws(Arc::clone(built.credentials()))
            }
        };
        let prefix = if virtual_host { String::new() } else { format!("/{}", destination.bucket) };
        let sign_payload = destination.options.get("unsigned_payload").is_some_and(|word| word == "false");
        let mut store = Self::at(&endpoint, &prefix, region, access, wire)?;
        store.sign_payload = sign_payload;
        store.amazon = amazon.then_some(before);
        store.proof = match destination.options.get("checksum").map(String::as_str) {
            None | Some("auto") if amazon || store.host.ends_with(".amazonaws.com") => Proof::Refuses,
            None | Some("auto" | "md5") => Proof::Tags,
            Some("crc64nvme") => Proof::Refuses,
            Some(other) => {
                return Err(bad(format!("checksum is {other:?}; it must be one of auto, crc64nvme, md5")));
            }
        };
        Ok(store)
    }

    fn google_bucket(destination: &Destination, wire: Wire) -> Result<Self> {
        let (retry, options) = quickly();
        let mut builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(&destination.bucket)
            .with_retry(retry)
            .with_client_options(options);
        let mut endpoint = "https://storage.googleapis.com".to_owned();
        for (name, value) in destination.own_options().filter(|(name, _)| !OURS.contains(name)) {
            if matches!(name, "endpoint" | "base_url") {
                value.clone_into(&mut endpoint);
                continue;
            }
            let name = if name == "credentials_file" { "service_account" } else { name };
            let key: Option<GoogleConfigKey> = name.parse().ok();
            let key = key.filter(|key| !matches!(key, GoogleConfigKey::Client(_) | GoogleConfigKey::Bucket));
            builder = builder.with_config(key.ok_or_else(|| no_option(name, "gs"))?, value);
        }
        refuse_plain(Some(&endpoint), destination)?;
        let anonymous = builder.get_config_value(&GoogleConfigKey::SkipSignature).is_some_and(|value| value == "true");
        let access = if anonymous {
            Access::Anonymous
        } else {
            let built =
                builder.build().map_err(|error| bad(format!("cannot use `{}`: {}", destination.uri, plain(&error))))?;
            Access::Google(Arc::clone(built.credentials()))
        };
        let mut store = Self::at(&endpoint, &format!("/{}", destination.bucket), String::new(), access, wire)?;
        store.google = true;
        if store.host.ends_with(".googleapis.com") {
            store.proof = Proof::Refuses;
        }
        Ok(store)
    }

    fn at(endpoint: &str, prefix: &str, region: String, access: Access, wire: Wire) -> Result<Self> {
        let endpoint = endpoint.trim_end_matches('/');
        let url: reqwest::Url =
            endpoint.parse().map_err(|error| bad(format!("the endpoint `{endpoint}` is no address: {error}")))?;
        let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https"));
        let host = host.ok_or_else(|| bad(format!("the endpoint `{endpoint}` is no address; say https://host")))?;
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let base = format!("{}://{host}", url.scheme());
        Ok(Self {
            wire,
            base,
            host,
            prefix: format!("{}{prefix}", url.path().trim_end_matches('/')),
            amazon: None,
            region: Mutex::new(region),
            corrections: AtomicU32::new(0),
            listings: Mutex::default(),
            access,
            has_had_keys: AtomicBool::new(false),
            google: false,
            sign_payload: false,
            skew: AtomicI64::new(0),
            proof: Proof::Tags,
        })
    }

    pub(super) fn google(&self) -> bool {
        self.google
    }

    /// True where a request was signed with another time than the server has: then it is worth another try.
    pub(super) fn correct_clock(&self, ahead: i64, signed: &Signed) -> bool {
        if (self.skew.swap(ahead, Relaxed) - ahead).abs() > 60 && !self.may_correct() {
            return false;
        }
        (signed.skew - ahead).abs() > 60
    }

    /// True where a request was signed for another region than the bucket's.
    pub(super) fn move_to(&self, region: &str, signed: &Signed) -> bool {
        let mut now = self.region.lock().unwrap_or_else(PoisonError::into_inner);
        // A part of a host's name, which nobody is to lead elsewhere by it.
        let is_name = region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if region.is_empty() || !is_name || (*now != region && !self.may_correct()) {
            return false;
        }
        region.clone_into(&mut now);
        signed.region != region
    }

    /// Servers that contradict each other would have it go back and forth for ever.
    fn may_correct(&self) -> bool {
        self.corrections.fetch_add(1, Relaxed) < CORRECTIONS
    }

    fn signing(&self) -> Signed {
        let region = self.region.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Signed { region, skew: self.skew.load(Relaxed) }
    }

    /// Whom to ask: Amazon has a host for each region.
    fn place(&self, signed: &Signed) -> (String, String) {
        match &self.amazon {
            None => (self.base.clone(), self.host.clone()),
            Some(before) => {
                let host = format!("{before}s3.{}.amazonaws.com", signed.region);
                (format!("https://{host}"), host)
            }
        }
    }

    /// Sign `headers` for a request, by whatever credentials are good now.
    async fn authorize(&self, headers: &mut HeaderMap, request: &Request<'_>, signed: &Signed) -> Result<(), Fault> {
        let none = |error: &object_store::Error| {
            let message = format!(
                "no credentials for {}: {}; set the access key and its secret, or give the machine a role",
                self.base,
                plain(error)
            );
            // What never gave any has been asked three times by then: a machine without a role answers nothing, and is waited for each time.
            let class = if self.has_had_keys.load(Relaxed) { Class::Credentials } else { Class::Final };
            Fault::new(class, UploadErrorKind::NoCredentials, message)
        };
        let keys = match &self.access {
            Access::Anonymous => return Ok(()),
            Access::Google(provider) => {
                let credential = provider.get_credential().await.map_err(|error| none(&error))?;
                self.has_had_keys.store(true, Relaxed);
                if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", credential.bearer)) {
                    value.set_sensitive(true);
                    headers.insert(AUTHORIZATION, value);
                }
                return Ok(());
            }
            Access::Given(given) => given.keys(),
            Access::Aws(provider) => {
                let credential = provider.get_credential().await.map_err(|error| none(&error))?;
                self.has_had_keys.store(true, Relaxed);
                Keys::new(&credential.key_id, &credential.secret_key, credential.token.as_deref())
            }
        };
        let shift = Duration::from_secs(signed.skew.unsigned_abs());
        let now = if signed.skew < 0 { SystemTime::now() - shift } else { SystemTime::now() + shift };
        sign::sign(headers, request, &keys, &signed.region, now).map_err(|_| {
            let message = format!(
                "the access key, the token or the region for {} has characters that no request may have; check where they come from",
                self.base
            );
            Fault::new(Class::Final, UploadErrorKind::NoCredentials, message)
        })
    }

    /// One request, signed; an answer that is an error becomes a fault.
    #[expect(clippy::too_many_arguments, reason = "one call of HTTP has as many sides")]
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        mut headers: HeaderMap,
        (payload, sha256): (Payload, String),
        meter: Option<Arc<Meter>>,
        uri: &str,
    ) -> Result<Answer, Fault> {
        let signed = self.signing();
        let (base, host) = self.place(&signed);
        let request = Request { method: method.as_str(), host: &host, path, query, payload: &sha256 };
        self.authorize(&mut headers, &request, &signed).await?;
        let length = match &payload {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Range(range, _) => range.length,
        };
        if length == 0 && matches!(method, Method::PUT | Method::POST) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let url = match query {
            [] => format!("{base}{path}"),
            _ => format!("{base}{path}?{}", sign::query(query)),
        };
        let meter = meter.unwrap_or_else(|| Arc::new(Meter::new(Arc::default())));
        let answer = self.wire.send(method, &url, headers, payload, meter, uri).await?;
        match answers::fault(self, &answer, &signed, uri) {
            None => Ok(answer),
            Some(mut fault) => {
                if let Access::Given(given) = &self.access {
                    // An answer to HEAD has no body to say what is wrong.
                    let wordless = answer.body.is_empty() && matches!(answer.status.as_u16(), 400 | 403);
                    if fault.class == Class::Credentials || (wordless && given.suspect()) {
                        given.want();
                        (fault.class, fault.wait) = (Class::Credentials, Some(RENEWED_WITHIN));
                    }
                }
                Err(fault)
            }
        }
    }

    pub(super) fn remote(answer: &Answer) -> Remote {
        let decoded = |text: &str| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(text).ok()
        };
        // A checksum of the parts' checksums says nothing of the whole.
        let composite = answer.header("x-amz-checksum-type").is_some_and(|kind| kind.eq_ignore_ascii_case("composite"));
        let crc64 = answer.header("x-amz-checksum-crc64nvme").filter(|text| !composite && !text.contains('-'));
        let crc32c = answer
            .headers
            .get_all("x-goog-hash")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','));
        let crc32c = { crc32c }.find_map(|text| text.trim().strip_prefix("crc32c="));
        let token = answer.header("x-amz-meta-vhpack-upload").or_else(|| answer.header("x-goog-meta-vhpack-upload"));
        Remote {
            size: answer.length(),
            tag: answer.etag(),
            crc64: crc64.and_then(decoded).and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?))),
            crc32c: crc32c.and_then(decoded).and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?))),
            token: token.map(str::to_owned),
        }
    }

    /// The names in a folder, as they were within the last minute; `None` where they are too many, or not to be had. Whoever
    /// finds a name there looks at the object itself before he believes it.
    pub(super) async fn listing(&self, folder: &str, uri: &str) -> Listing {
        let listed = {
            let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
            listings.retain(|_, one| one.get().is_none_or(|(listed, _)| listed.elapsed() < LISTING_HOLDS));
            if listings.len() >= LISTED && !listings.contains_key(folder) {
                listings.clear();
            }
            Arc::clone(listings.entry(folder.to_owned()).or_default())
        };
        let look = async || (Instant::now(), self.list(folder, uri).await.ok().flatten().map(Arc::new));
        listed.get_or_init(look).await.1.clone()
    }

    async fn list(&self, folder: &str, uri: &str) -> Result<Option<HashSet<String>>, Fault> {
        let path = format!("{}/", self.prefix);
        let (mut names, mut token) = (HashSet::new(), String::new());
        for _ in 0..LISTING_PAGES {
            let mut query = vec![("list-type", "2"), ("prefix", folder), ("delimiter", "/"), ("max-keys", "1000")];
            if !token.is_empty() {
                query.push(("continuation-token", &token));
            }
            let nothing = (Payload::Bytes(bytes::Bytes::new()), crate::checksum::hex(&crate::checksum::sha256(b"")));
            let answer = self.ask(Method::GET, &path, &query, HeaderMap::new(), nothing, None, uri).await?;
            let texts = xml::inside(&answer.body);
            names.extend(texts.iter().filter(|(at, _)| at == "Contents/Key").map(|(_, name)| name.clone()));
            let next = xml::first(&texts, "NextContinuationToken").unwrap_or_default();
            if xml::first(&texts, "IsTruncated") != Some("true") || next.is_empty() {
                return Ok(Some(names));
            }
            next.clone_into(&mut token);
        }
        Ok(None)
    }

    pub(super) async fn read_back(&self, path: &str, span: &Span, whole: bool, uri: &str) -> Result<u64, Fault> {
        let mut headers = spanning(span, whole);
        let empty = crate::checksum::hex(&crate::checksum::sha256(b""));
        let signed = self.signing();
        let (base, host) = self.place(&signed);
        let request = Request { method: "GET", host: &host, path, query: &[], payload: &empty };
        self.authorize(&mut headers, &request, &signed).await?;
        let (status, crc64) = self.wire.read(&format!("{base}{path}"), headers, span, whole, uri).await?;
        match answers::fault(self, &Answer::of(status), &signed, uri) {
            Some(fault) => Err(fault),
            None => Ok(crc64),
        }
    }
}

/// The words of `object_store` on one line.
pub(crate) fn plain(error: &object_store::Error) -> String {
    let text = crate::wire::chain(error);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
