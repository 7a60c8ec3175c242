//! One request and its answer: sent, watched for stalls, and read. What an answer means is the targets' business.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, StatusCode};

use crate::body::{Range, RangeBody};
use crate::checksum::{Digests, Wanted};
use crate::error::{Class, Fault, Result, UploadError, UploadErrorKind};
use crate::meter::{Bucket, Meter};

/// No answer that we ask for is longer: a listing of a thousand names of a thousand bytes each.
const LONGEST_ANSWER: usize = 4 << 20;

/// Connections to what answers at all are there within a few round trips.
const CONNECT: Duration = Duration::from_secs(20);

/// The connections of one destination.
#[derive(Clone)]
pub(crate) struct Wire {
    client: reqwest::Client,
    stall: Duration,
    bucket: Arc<Bucket>,
}

/// What to send.
pub(crate) enum Payload {
    Bytes(Bytes),
    Range(Range, Wanted),
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Of the payload, where it was a range.
    pub digests: Option<Digests>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// How long the server asks to be left alone; never so long that nobody would call it waiting.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?;
        Some(Duration::from_secs(text.trim().parse::<u64>().ok()?.min(300)))
    }

    /// The tag without quotes.
    pub fn etag(&self) -> Option<String> {
        self.header("etag").map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned())
    }
}

impl Wire {
    /// `ca_bundle` is a file of certificates to believe beside the system's.
    pub fn new(stall: Duration, bucket: Arc<Bucket>, ca_bundle: Option<&str>) -> Result<Self> {
        // Whoever was first has set it; both are the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("vhpack/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT.min(stall))
            .pool_idle_timeout(Duration::from_secs(20))
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = ca_bundle {
            let bad = |why: &dyn std::fmt::Display| {
                UploadError::new(
                    UploadErrorKind::BadDestination,
                    format!("cannot use the certificates in `{path}`: {why}; check ca_bundle"),
                )
            };
            let pem = crate::disk::read(path).map_err(|error| bad(&error))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| bad(&error))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|error| {
            let message = format!("cannot prepare connections: {}; check the system's certificates", chain(&error));
            UploadError::new(UploadErrorKind::BadDestination, message)
        })?;
        Ok(Self { client, stall, bucket })
    }

    /// Send a request. An answer of any status is an answer; a `Fault` means that there was none.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        payload: Payload,
        meter: Arc<Meter>,
    ) -> Result<Answer, Fault> {
        let url = url.parse().map_err(|error| {
            Fault::new(
                Class::Final,
                UploadErrorKind::BadDestination,
                format!("`{url}` is no address: {error}; check the endpoint"),
            )
        })?;
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = headers;
        let mut digests = None;
        *request.body_mut() = match payload {
            Payload::Bytes(bytes) if bytes.is_empty() => None,
            Payload::Bytes(bytes) => Some(bytes.into()),
            Payload::Range(range, _) if range.length == 0 => None,
            Payload::Range(range, wanted) => {
                let body = RangeBody::new(range, wanted, Arc::clone(&meter), Arc::clone(&self.bucket));
                digests = Some(body.digests());
                Some(reqwest::Body::wrap(body))
            }
        };
        let exchange = self.exchange(request, &meter);
        let watch = async {
            loop {
                let patience = meter.patience(self.stall);
                if patience.is_zero() {
                    break;
                }
                tokio::time::sleep(patience).await;
            }
        };
        let mut answer = tokio::select! {
            answer = exchange => answer?,
            () = watch => {
                let message = format!("nothing has moved for {} seconds", self.stall.as_secs_f32());
                return Err(Fault::new(Class::Again, UploadErrorKind::Stalled, message));
            }
        };
        if answer.status.is_success() {
            meter.keep();
        }
        answer.digests = digests.and_then(|digests| *digests.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        Ok(answer)
    }

    async fn exchange(&self, request: reqwest::Request, meter: &Meter) -> Result<Answer, Fault> {
        let lost = |error: reqwest::Error| match meter.broken() {
            Some(why) => {
                let kind = UploadErrorKind::SourceChanged;
                Fault::new(Class::Final, kind, format!("cannot read it on while it is sent: {why}"))
            }
            None => Fault::new(Class::Again, UploadErrorKind::Unreachable, chain(&error.without_url())),
        };
        let mut response = self.client.execute(request).await.map_err(lost)?;
        meter.touch();
        let mut body = BytesMut::new();
        while let Some(piece) = response.chunk().await.map_err(lost)? {
            meter.touch();
            if body.len() + piece.len() > LONGEST_ANSWER {
                return Err(Fault::new(Class::Again, UploadErrorKind::Rejected, "the answer has no end"));
            }
            body.extend_from_slice(&piece);
        }
        let headers = std::mem::take(response.headers_mut());
        Ok(Answer { status: response.status(), headers, body: body.freeze(), digests: None })
    }

    /// GET, each piece of the answer handed to `take` as it comes, until it says that it has enough.
    pub async fn read(
        &self,
        url: &str,
        headers: HeaderMap,
        meter: Arc<Meter>,
        take: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<StatusCode, Fault> {
        let lost =
            |error: reqwest::Error| Fault::new(Class::Again, UploadErrorKind::Unreachable, chain(&error.without_url()));
        let exchange = async {
            let mut response = self.client.get(url).headers(headers).send().await.map_err(lost)?;
            meter.touch();
            while let Some(piece) = response.chunk().await.map_err(lost)? {
                meter.touch();
                take(&piece);
            }
            Ok(response.status())
        };
        let watch = async {
            while !meter.patience(self.stall).is_zero() {
                tokio::time::sleep(meter.patience(self.stall)).await;
            }
        };
        tokio::select! {
            status = exchange => status,
            () = watch => Err(Fault::new(Class::Again, UploadErrorKind::Stalled, "nothing has moved")),
        }
    }
}

/// An error and its causes: the outermost alone says "error sending request".
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
