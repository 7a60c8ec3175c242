//! What a store's refusal means, and what may be done about it.

use std::time::SystemTime;

use http::StatusCode;

use super::store::{Signed, Store};
use crate::error::{Class, Fault, UploadErrorKind};
use crate::sign::http_date;
use crate::wire::Answer;
use crate::xml;

/// The fault that an answer is; `None` where it is none. Some stores say 200 and put an error into the body.
pub(super) fn fault(store: &Store, answer: &Answer, signed: &Signed, uri: &str) -> Option<Fault> {
    let named = if answer.body.is_empty() { None } else { xml::error(&answer.body) };
    if answer.status.is_success() && named.is_none() {
        return None;
    }
    let (code, words) = named.unwrap_or_default();
    let (class, kind, next) = judge(store, answer, signed, &code);
    let what = match (code.is_empty(), words.is_empty()) {
        (true, _) => match answer.header("location") {
            Some(place) => format!("the server says {} and leads to {place}", answer.status),
            None => format!("the server says {}", answer.status),
        },
        (false, true) => code,
        (false, false) => format!("{code}: {}", words.trim_end_matches('.')),
    };
    let mut fault = Fault::new(class, kind, format!("cannot upload to `{uri}`: {what}; {next}"));
    fault.wait = answer.retry_after();
    fault.answered = true;
    Some(fault)
}

fn judge(store: &Store, answer: &Answer, signed: &Signed, code: &str) -> (Class, UploadErrorKind, &'static str) {
    use Class::{Again, BadPart, Busy, Credentials, Final, NoUpload, Unsupported};
    use UploadErrorKind::{Corrupt, Denied, Exists, NoSuchBucket, Rejected, TooLarge, Unreachable};
    match code {
        "SlowDown"
        | "ServiceUnavailable"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "Busy" => {
            return (Busy, Unreachable, "try again later");
        }
        "InternalError" | "RequestTimeout" | "OperationAborted" | "ConditionalRequestConflict" | "IncompleteBody" => {
            return (Again, Unreachable, "try again later");
        }
        "NoSuchUpload" => return (NoUpload, Rejected, "start it again"),
        "InvalidPart" | "InvalidPartOrder" => return (BadPart, Corrupt, "start it again"),
        "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" => {
            return (Again, Corrupt, "check the network between here and the server");
        }
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired" => {
            return (Credentials, Denied, "get new credentials");
        }
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" => {
            return (Credentials, Denied, "check the access key and its secret");
        }
        "RequestTimeTooSkewed" if correct_clock(store, answer, signed) => {
            return (Again, Denied, "set this machine's clock");
        }
        "RequestTimeTooSkewed" => return (Final, Denied, "set this machine's clock"),
        "NoSuchBucket" => return (Final, NoSuchBucket, "create the bucket, or check its name and the endpoint"),
        "PreconditionFailed" => return (Final, Exists, "choose another name, or allow overwriting"),
        "EntityTooLarge" => return (Final, TooLarge, "split the file, or use compress(shard_size=…)"),
        "NotImplemented" | "MethodNotAllowed" => return (Unsupported, Rejected, "check that the endpoint speaks S3"),
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            let right = answer.header("x-amz-bucket-region").map(str::to_owned);
            let right = right.or_else(|| {
                xml::texts(&answer.body)
                    .iter()
                    .find(|(path, _)| path == "Error/Region")
                    .map(|(_, region)| region.clone())
            });
            let moved = right.is_some_and(|region| store.move_to(&region, signed));
            return (if moved { Again } else { Final }, NoSuchBucket, "set the bucket's own region");
        }
        "InvalidRequest" | "InvalidArgument" => return (Unsupported, Rejected, "check the destination's options"),
        _ => {}
    }
    match answer.status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => (Busy, Unreachable, "try again later"),
        StatusCode::REQUEST_TIMEOUT => (Again, Unreachable, "try again later"),
        StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
            (Unsupported, Rejected, "check that the endpoint speaks S3")
        }
        status if status.is_server_error() => (Again, Unreachable, "try again later"),
        StatusCode::UNAUTHORIZED => (Credentials, Denied, "check the credentials"),
        StatusCode::FORBIDDEN => (Final, Denied, "check the credentials and their right to write there"),
        StatusCode::NOT_FOUND => (Final, NoSuchBucket, "create the bucket, or check its name and the endpoint"),
        StatusCode::PRECONDITION_FAILED => (Final, Exists, "choose another name, or allow overwriting"),
        StatusCode::MOVED_PERMANENTLY | StatusCode::TEMPORARY_REDIRECT | StatusCode::BAD_REQUEST
            if answer.header("x-amz-bucket-region").is_some_and(|region| store.move_to(region, signed)) =>
        {
            (Again, NoSuchBucket, "set the bucket's own region")
        }
        status if status.is_redirection() => {
            (Final, UploadErrorKind::BadDestination, "use the endpoint that it leads to")
        }
        StatusCode::PAYLOAD_TOO_LARGE => (Final, TooLarge, "split the file, or use compress(shard_size=…)"),
        status if status.is_success() => (Again, Rejected, "try again later"),
        _ => (Final, Rejected, "check the destination's options"),
    }
}

/// Go by the server's clock from now on; false where that was tried before, or it does not say what time it is.
fn correct_clock(store: &Store, answer: &Answer, signed: &Signed) -> bool {
    let Some(theirs) = answer.header("date").and_then(http_date) else { return false };
    let now = SystemTime::now();
    let ahead = match theirs.duration_since(now) {
        Ok(ahead) => ahead.as_secs() as i64,
        Err(behind) => -(behind.duration().as_secs() as i64),
    };
    store.correct_clock(ahead, signed)
}
