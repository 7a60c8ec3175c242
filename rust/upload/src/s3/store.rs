//! A bucket: its address, its credentials, and what was learned of its server on the way.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Method};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredentialProvider};
use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use super::answers;
use crate::checksum::Wanted;
use crate::credentials::Renewable;
use crate::destination::{Destination, Scheme, bad};
use crate::error::{Class, Fault, Result, UploadErrorKind};
use crate::meter::Meter;
use crate::sign::{self, Keys, Request};
use crate::target::{Proof, Remote};
use crate::wire::{Answer, Payload, Wire};

/// Who we are to the store.
enum Access {
    Aws(AwsCredentialProvider),
    /// Given by the caller, who is asked for new ones when they are refused.
    Given(Arc<Renewable>),
    Google(GcpCredentialProvider),
    Anonymous,
}

/// A bucket of S3 or Google.
pub(crate) struct Store {
    wire: Wire,
    /// `https://host`
    base: String,
    host: String,
    /// The path before a key: `/bucket`, or nothing where the host names it.
    pub(super) prefix: String,
    region: Mutex<String>,
    access: Access,
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
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&destination.bucket)
            .with_retry(retry)
            .with_client_options(options);
        for (name, value) in destination.own_options().filter(|(name, _)| !OURS.contains(name)) {
            let key: AmazonS3ConfigKey = name.parse().map_err(|_| {
                bad(format!("`{name}` is no option of s3://; see the documentation of upload destinations"))
            })?;
            builder = builder.with_config(key, value);
        }
        let config = |key: AmazonS3ConfigKey| builder.get_config_value(&key).filter(|value| !value.is_empty());
        let on = |key| config(key).is_some_and(|value| matches!(value.as_str(), "true" | "1" | "on" | "yes"));
        let region = config(AmazonS3ConfigKey::Region)
            .or_else(|| config(AmazonS3ConfigKey::DefaultRegion))
            .unwrap_or_else(|| "us-east-1".to_owned());
        let endpoint = config(AmazonS3ConfigKey::S3Endpoint).or_else(|| config(AmazonS3ConfigKey::Endpoint));
        let amazon = endpoint.is_none();
        let virtual_host =
            if amazon { !destination.bucket.contains('.') } else { on(AmazonS3ConfigKey::VirtualHostedStyleRequest) };
        let endpoint = endpoint.unwrap_or_else(|| {
            if virtual_host {
                format!("https://{}.s3.{region}.amazonaws.com", destination.bucket)
            } else {
                format!("https://s3.{region}.amazonaws.com")
            }
        });
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
        let mut builder = GoogleCloudStorageBuilder::from_env()
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
            let key: GoogleConfigKey = name.parse().map_err(|_| {
                bad(format!("`{name}` is no option of gs://; see the documentation of upload destinations"))
            })?;
            builder = builder.with_config(key, value);
        }
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
            region: Mutex::new(region),
            access,
            google: false,
            sign_payload: false,
            skew: AtomicI64::new(0),
            proof: Proof::Tags,
        })
    }

    pub(super) fn google(&self) -> bool {
        self.google
    }

    /// True where the clock had not been corrected to that before.
    pub(super) fn correct_clock(&self, ahead: i64) -> bool {
        (self.skew.swap(ahead, Relaxed) - ahead).abs() > 60
    }

    /// True where the region is another than was thought.
    pub(super) fn move_to(&self, region: &str) -> bool {
        let mut now = self.region.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = *now != region && !region.is_empty();
        region.clone_into(&mut now);
        moved
    }

    fn now(&self) -> SystemTime {
        let skew = self.skew.load(Relaxed);
        let shift = Duration::from_secs(skew.unsigned_abs());
        if skew < 0 { SystemTime::now() - shift } else { SystemTime::now() + shift }
    }

    /// Sign `headers` for a request, by whatever credentials are good now.
    async fn authorize(&self, headers: &mut HeaderMap, request: &Request<'_>) -> Result<(), Fault> {
        let none = |error: &object_store::Error| {
            let message = format!(
                "no credentials for {}: {}; set the access key and its secret, or give the machine a role",
                self.base,
                plain(error)
            );
            Fault::new(Class::Credentials, UploadErrorKind::NoCredentials, message)
        };
        let keys = match &self.access {
            Access::Anonymous => return Ok(()),
            Access::Google(provider) => {
                let credential = provider.get_credential().await.map_err(|error| none(&error))?;
                if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", credential.bearer)) {
                    value.set_sensitive(true);
                    headers.insert(AUTHORIZATION, value);
                }
                return Ok(());
            }
            Access::Given(given) => given.keys(),
            Access::Aws(provider) => {
                let credential = provider.get_credential().await.map_err(|error| none(&error))?;
                Keys {
                    id: credential.key_id.clone(),
                    secret: credential.secret_key.clone(),
                    token: credential.token.clone(),
                }
            }
        };
        let region = self.region.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sign::sign(headers, request, &keys, &region, self.now());
        Ok(())
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
        let request = Request { method: method.as_str(), host: &self.host, path, query, payload: &sha256 };
        self.authorize(&mut headers, &request).await?;
        let length = match &payload {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Range(range, _) => range.length,
        };
        if length == 0 && matches!(method, Method::PUT | Method::POST) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let url = match query {
            [] => format!("{}{path}", self.base),
            _ => format!("{}{path}?{}", self.base, sign::query(query)),
        };
        let meter = meter.unwrap_or_else(|| Arc::new(Meter::new(Arc::default())));
        let answer = self.wire.send(method, &url, headers, payload, meter).await.map_err(|mut fault| {
            if fault.class == Class::Again {
                fault.error.message =
                    format!("cannot upload to `{uri}`: {}; check the endpoint and the network", fault.error.message);
            }
            fault
        })?;
        match answers::fault(self, &answer, uri) {
            None => Ok(answer),
            Some(fault) => {
                if let (Class::Credentials, Access::Given(given)) = (fault.class, &self.access) {
                    given.want();
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
            size: answer.header("content-length").and_then(|text| text.parse().ok()).unwrap_or_default(),
            tag: answer.etag(),
            crc64: crc64.and_then(decoded).and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?))),
            crc32c: crc32c.and_then(decoded).and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?))),
            token: token.map(str::to_owned),
        }
    }

    pub(super) async fn read_back(&self, path: &str, uri: &str) -> Result<u64, Fault> {
        let mut headers = HeaderMap::new();
        let empty = crate::checksum::hex(&crate::checksum::sha256(b""));
        let request = Request { method: "GET", host: &self.host, path, query: &[], payload: &empty };
        self.authorize(&mut headers, &request).await?;
        let mut digesting = crate::checksum::Digesting::new(Wanted::default());
        let meter = Arc::new(Meter::new(Arc::default()));
        let status = self
            .wire
            .read(&format!("{}{path}", self.base), headers, meter, &mut |bytes| digesting.update(bytes))
            .await?;
        let answer = Answer { status, headers: HeaderMap::new(), body: Bytes::new(), digests: None };
        match answers::fault(self, &answer, uri) {
            Some(fault) => Err(fault),
            None => Ok(digesting.finish().crc64),
        }
    }
}

/// The words of `object_store` on one line.
pub(crate) fn plain(error: &object_store::Error) -> String {
    let text = crate::wire::chain(error);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
