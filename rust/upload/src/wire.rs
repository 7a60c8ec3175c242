//! One request and its answer: sent, watched for stalls, and read. What an answer means is the targets' business.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_RANGE, RANGE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::body::{Range, RangeBody};
use crate::checksum::{Digesting, Digests, Wanted};
use crate::error::{Class, Fault, Result, UploadError, UploadErrorKind};
use crate::meter::{Bucket, Meter};

/// No answer that we ask for is longer: a listing of a thousand names of a thousand bytes each.
const LONGEST_ANSWER: usize = 4 << 20;

/// Connections to what answers at all are there within a few round trips.
const CONNECT: Duration = Duration::from_secs(20);

/// How long a body is held back where the one before broke off: a server that refuses at sight of the head has said so by then.
/// One that answers and closes while bytes are still coming resets the connection, and the reset may overtake the answer.
const HOLD: Duration = Duration::from_secs(1);

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

/// Bytes of an object, from the first on to before the second.
pub(crate) type Span = std::ops::Range<u64>;

/// Headers that ask for a span of an object; none where that is the whole.
pub(crate) fn spanning(span: &Span, whole: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("bytes={}-{}", span.start, span.end.saturating_sub(1)));
    if let (false, Ok(value)) = (whole, value) {
        headers.insert(RANGE, value);
    }
    headers
}

/// Whether an answer says that it is just this span. Some servers (rclone) do so without the status for it.
fn gives(headers: &HeaderMap, span: &Span) -> bool {
    let said = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    said.is_some_and(|said| said.starts_with(&format!("bytes {}-{}/", span.start, span.end.saturating_sub(1))))
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
    /// Nothing but a status.
    pub fn of(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new(), digests: None }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// How long the object is that HEAD was asked of; a server need not say it.
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
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

    /// Send a request on behalf of an upload to `uri`. An answer of any status is an answer; a `Fault` means that there was none.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        payload: Payload,
        meter: Arc<Meter>,
        uri: &str,
    ) -> Result<Answer, Fault> {
        let url: reqwest::Url = url.parse().map_err(|error| {
            Fault::new(
                Class::Final,
                UploadErrorKind::BadDestination,
                format!("`{url}` is no address: {error}; check the endpoint"),
            )
        })?;
        let place = place(&url);
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = headers;
        let mut digests = None;
        *request.body_mut() = match payload {
            Payload::Bytes(bytes) if bytes.is_empty() => None,
            Payload::Bytes(bytes) => Some(bytes.into()),
            Payload::Range(range, _) if range.length == 0 => None,
            Payload::Range(range, wanted) => {
                let hold = range.held.then(|| HOLD.min(self.stall / 2));
                let body = RangeBody::new(range, wanted, hold, Arc::clone(&meter), Arc::clone(&self.bucket));
                digests = Some(body.digests());
                Some(reqwest::Body::wrap(body))
            }
        };
        let mut answer = self.watched(&meter, uri, &place, self.exchange(request, &meter)).await?;
        if answer.status.is_success() {
            meter.keep();
        }
        answer.digests = digests.and_then(|digests| *digests.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        Ok(answer)
    }

    /// An exchange, ended when nothing has moved for too long; that there was no answer is told with where it was to come from, since
    /// an object's name does not say which server was asked.
    async fn watched<T>(
        &self,
        meter: &Meter,
        uri: &str,
        place: &str,
        exchange: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let watch = async {
            loop {
                let patience = meter.patience(self.stall);
                if patience.is_zero() {
                    break;
                }
                tokio::time::sleep(patience).await;
            }
        };
        let outcome = tokio::select! {
            outcome = exchange => outcome,
            () = watch => {
                let message = format!("nothing has moved for {} seconds", self.stall.as_secs_f32());
                Err(Fault::new(Class::Again, UploadErrorKind::Stalled, message))
            }
        };
        outcome.map_err(|mut fault| {
            if fault.class == Class::Again {
                fault.error.message = format!(
                    "cannot upload to `{uri}` at {place}: {}; check the address and the network",
                    fault.error.message
                );
            }
            fault
        })
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

    /// CRC-64 of what GET gives: a span of an object, which `headers` must ask for since they may be signed. What goes on behind the
    /// end that it should have is read no further, and has another value.
    pub async fn read(
        &self,
        url: &str,
        headers: HeaderMap,
        span: &Span,
        whole: bool,
        uri: &str,
    ) -> Result<(StatusCode, u64), Fault> {
        let lost =
            |error: reqwest::Error| Fault::new(Class::Again, UploadErrorKind::Unreachable, chain(&error.without_url()));
        let meter = Meter::new(Arc::default());
        let exchange = async {
            let mut response = self.client.get(url).headers(headers).send().await.map_err(lost)?;
            meter.touch();
            if !whole && response.status() == StatusCode::OK && !gives(response.headers(), span) {
                let message = "the server gives no spans of what it has";
                return Err(Fault::new(Class::Unsupported, UploadErrorKind::Rejected, message));
            }
            let (mut digesting, mut left) = (Digesting::new(Wanted::default()), Some(span.end - span.start));
            while let (Some(most), Some(piece)) = (left, response.chunk().await.map_err(lost)?) {
                meter.touch();
                digesting.update(&piece);
                left = most.checked_sub(piece.len() as u64);
            }
            Ok((response.status(), digesting.finish().crc64))
        };
        let place = url.parse().map_or_else(|_| url.to_owned(), |url| self::place(&url));
        self.watched(&meter, uri, &place, exchange).await
    }
}

/// The server of an address: what follows may have been signed.
fn place(url: &reqwest::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
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
