//! Signatures of S3's requests (Signature Version 4). Our own rather than those of `object_store`, whose clock cannot be corrected: a machine
//! that is 16 minutes off is refused by every server, and the server says what time it is.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, InvalidHeaderValue};

use crate::checksum::{hex, hmac, sha256};

/// What the body's hash is said to be where it is not signed.
pub(crate) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// A key pair, and the token that temporary ones come with.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
}

impl Keys {
    /// Files of secrets end with a line's end, which is none of the secret's.
    pub fn new(id: &str, secret: &str, token: Option<&str>) -> Self {
        Self {
            id: id.trim().to_owned(),
            secret: secret.trim().to_owned(),
            token: token.map(|token| token.trim().to_owned()),
        }
    }
}

/// What a request is about, as far as it is signed.
pub(crate) struct Request<'a> {
    pub method: &'a str,
    pub host: &'a str,
    /// Encoded, as it goes out.
    pub path: &'a str,
    /// Names and values, not encoded.
    pub query: &'a [(&'a str, &'a str)],
    pub payload: &'a str,
}

/// Add the headers that sign a request; `headers` are all signed, too.
///
/// # Errors
/// A key, a token or the region has characters that no header may have; nothing must be sent without them.
pub(crate) fn sign(
    headers: &mut HeaderMap,
    request: &Request<'_>,
    keys: &Keys,
    region: &str,
    now: SystemTime,
) -> Result<(), InvalidHeaderValue> {
    let (day, time) = stamp(now);
    let mut add = |name: &'static str, value: &str| -> Result<(), InvalidHeaderValue> {
        let mut value = HeaderValue::from_str(value)?;
        value.set_sensitive(name == "x-amz-security-token");
        headers.insert(HeaderName::from_static(name), value);
        Ok(())
    };
    add("x-amz-date", &time)?;
    add("x-amz-content-sha256", request.payload)?;
    if let Some(token) = &keys.token {
        add("x-amz-security-token", token)?;
    }
    let mut signed: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).trim().to_owned()))
        .collect();
    signed.push((HOST.as_str().to_owned(), request.host.to_owned()));
    signed.sort();
    let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, query(request.query));
    for (name, value) in &signed {
        let _ = writeln!(canonical, "{name}:{value}");
    }
    let _ = write!(canonical, "\n{names}\n{}", request.payload);
    let scope = format!("{day}/{region}/s3/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&sha256(canonical.as_bytes())));
    let key = [region.as_bytes(), b"s3", b"aws4_request"]
        .iter()
        .fold(hmac(format!("AWS4{}", keys.secret).as_bytes(), day.as_bytes()), |key, word| hmac(&key, word));
    let signature = hex(&hmac(&key, text.as_bytes()));
    let value =
        format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", keys.id);
    let mut value = HeaderValue::from_str(&value)?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    Ok(())
}

/// A query as it is signed and sent: sorted, everything but letters, digits and `-._~` encoded.
pub(crate) fn query(pairs: &[(&str, &str)]) -> String {
    let mut pairs: Vec<(String, String)> =
        pairs.iter().map(|(name, value)| (encode(name, false), encode(value, false))).collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Percent-encode all but letters, digits, `-._~` and, in paths, slashes.
pub(crate) fn encode(text: &str, path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            b'/' if path => out.push('/'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// `20260102` and `20260102T030405Z`.
fn stamp(now: SystemTime) -> (String, String) {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (year, month, day) = civil((seconds / 86_400) as i64);
    let date = format!("{year:04}{month:02}{day:02}");
    let time = format!("{date}T{:02}{:02}{:02}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    (date, time)
}

/// Year, month and day of a day since 1970, counted from a year that begins in March, so that the leap day is its last.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The time that a server gives in `Date`: "Sun, 06 Nov 1994 08:49:37 GMT".
pub(crate) fn http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let (day, year): (i64, i64) = (day.parse().ok()?, year.parse().ok()?);
    let mut clock = time.split(':').map(|part| part.parse::<u64>().ok());
    let seconds = clock.next()?? * 3600 + clock.next()?? * 60 + clock.next()??;
    if !(1..=31).contains(&day) || !(1970..=9999).contains(&year) {
        return None;
    }
    // The reverse of `civil`, found by it: a year has 366 days at most.
    let first = (year - 1970) * 365 + (year - 1969) / 4 - 1;
    let days = (first..first + 400).find(|days| civil(*days) == (year, month, day))?;
    Some(UNIX_EPOCH + Duration::from_secs(days as u64 * 86_400 + seconds))
}

/// The time that a listing gives: "2009-10-12T17:50:30.000Z".
pub(crate) fn iso_date(text: &str) -> Option<SystemTime> {
    let (date, time) = text.split_once('T')?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (date.next()?, date.next()?.parse::<usize>().ok()?, date.next()?);
    let time = time.split(['.', 'Z', '+']).next()?;
    let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        .get(month.checked_sub(1)?)?;
    http_date(&format!("Day, {day} {month} {year} {time} GMT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_signed_as_in_the_published_example() {
        let mut headers = HeaderMap::new();
        headers.insert("range", HeaderValue::from_static("bytes=0-9"));
        let empty = hex(&sha256(b""));
        let request = Request {
            method: "GET",
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: &[],
            payload: &empty,
        };
        let keys = Keys {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            token: None,
        };
        let now = http_date("Fri, 24 May 2013 00:00:00 GMT").unwrap();
        sign(&mut headers, &request, &keys, "us-east-1", now).unwrap();
        let value = headers[AUTHORIZATION].to_str().unwrap();
        assert!(value.ends_with("f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"), "{value}");
        assert_eq!(headers["x-amz-date"], "20130524T000000Z");
    }

    #[test]
    fn dates_are_read_as_they_are_written() {
        for (text, stamped) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", "19941106T084937Z"),
            ("Thu, 29 Feb 2024 23:59:59 GMT", "20240229T235959Z"),
            ("Thu, 01 Jan 1970 00:00:00 GMT", "19700101T000000Z"),
            ("Sat, 31 Dec 2095 12:00:00 GMT", "20951231T120000Z"),
        ] {
            assert_eq!(stamp(http_date(text).unwrap()).1, stamped);
        }
        for text in
            ["", "Sun, 06 Nov 1994", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 99999 08:49:37 GMT", "a b c d e GMT"]
        {
            assert_eq!(http_date(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_encoded_byte_by_byte() {
        assert_eq!(encode("a b/%+ü~", true), "a%20b/%25%2B%C3%BC~");
        assert_eq!(query(&[("uploadId", "x/y"), ("partNumber", "2")]), "partNumber=2&uploadId=x%2Fy");
    }
}
