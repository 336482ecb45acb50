//! Signature Version 4 for requests that we send: to S3 for code, later to queues and topics, through an upstream.
//!
//! The headers are signed, the body by its hash. S3 differs from all other services: its path is signed as it is, and the
//! hash travels in a header. Who signed a request that we receive is `Caller`'s matter.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use crate::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// What a path may hold unencoded.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub struct Signer<'a> {
    pub access_key: &'a str,
    pub secret_key: &'a str,
    pub session_token: Option<&'a str>,
    pub region: &'a str,
    /// As in the scope: `s3`, `sqs`.
    pub service: &'a str,
}

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("cannot sign a request to {0}: the URI has no host")]
    NoHost(Uri),
    #[error("cannot sign a request to {0}: access key or session token have characters that no header can carry")]
    UnprintableCredentials(Uri),
}

impl Signer<'_> {
    /// Signs a request with an absolute URI: adds Host, X-Amz-Date, Authorization and what else the service wants.
    pub fn sign<B: AsRef<[u8]>>(&self, request: &mut Request<B>, now: Timestamp) -> Result<(), SignError> {
        let moment = now.basic();
        let hash = hex(&Sha256::digest(request.body().as_ref()));
        let uri = request.uri().clone();
        let host = host(&uri).ok_or_else(|| SignError::NoHost(uri.clone()))?;
        let carried =
            |text: &str| HeaderValue::from_str(text).map_err(|_| SignError::UnprintableCredentials(uri.clone()));

        let mut add = |name: &'static str, value: &str| {
            request.headers_mut().insert(HeaderName::from_static(name), carried(value)?);
            Ok(())
        };
        add("host", &host)?;
        add("x-amz-date", &moment)?;
        if let Some(token) = self.session_token {
            add("x-amz-security-token", token)?;
        }
        if self.service == "s3" {
            add("x-amz-content-sha256", &hash)?;
        }

        let (names, headers) = canonical_headers(request.headers());
        let path = if self.service == "s3" { root(&uri).to_owned() } else { encoded_path(root(&uri)) };
        let query = canonical_query(uri.query().unwrap_or_default());
        let canonical = format!("{}\n{path}\n{query}\n{headers}\n{names}\n{hash}", request.method());

        let date = &moment[..8];
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let secret = format!("AWS4{}", self.secret_key);
        let key = [date, self.region, self.service, "aws4_request"]
            .iter()
            .fold(secret.into_bytes(), |key, part| mac(&key, part).to_vec());
        let signature = hex(&mac(&key, &text));

        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key
        );
        request.headers_mut().insert(header::AUTHORIZATION, carried(&authorization)?);
        Ok(())
    }
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Host and port, the scheme's own port left out, as clients send it.
fn host(uri: &Uri) -> Option<String> {
    let host = uri.host()?;
    let ordinary = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    Some(match uri.port_u16().filter(|port| *port != ordinary) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

fn root(uri: &Uri) -> &str {
    if uri.path().is_empty() { "/" } else { uri.path() }
}

/// The path without dots and doubled slashes, encoded once more: what all services but S3 sign.
fn encoded_path(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let tail = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    percent_encode(format!("/{}{tail}", kept.join("/")).as_bytes(), PATH).to_string()
}

/// The raw pairs in order; the URI has them encoded already.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(&str, &str)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&")
}

/// The names of the signed headers, and the headers in canonical form. What a proxy may change is not signed.
fn canonical_headers(headers: &HeaderMap) -> (String, String) {
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).filter(|name| !is_unsigned(name)).collect();
    names.sort_unstable();
    let mut canonical = String::new();
    for name in &names {
        let values = headers
            .get_all(*name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).split_whitespace().collect::<Vec<_>>().join(" "));
        let _ = writeln!(canonical, "{name}:{}", values.collect::<Vec<_>>().join(","));
    }
    (names.join(";"), canonical)
}

fn is_unsigned(name: &str) -> bool {
    matches!(name, "authorization" | "connection" | "expect" | "transfer-encoding" | "user-agent" | "x-amzn-trace-id")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That signatures are right, tests/wire asks botocore.
    #[test]
    fn what_cannot_be_signed_is_told() {
        let signer =
            |access_key| Signer { access_key, secret_key: "s", session_token: None, region: "r", service: "s3" };
        let mut relative = Request::get("/bucket/key").body("").unwrap();
        let error = signer("a").sign(&mut relative, Timestamp::default()).unwrap_err();
        assert_eq!(error.to_string(), "cannot sign a request to /bucket/key: the URI has no host");
        let mut request = Request::get("http://host/bucket/key").body("").unwrap();
        let error = signer("a\nb").sign(&mut request, Timestamp::default()).unwrap_err();
        assert!(matches!(error, SignError::UnprintableCredentials(_)));
    }
}
