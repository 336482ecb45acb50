//! Another AWS endpoint: it answers what warmpod does not serve, and holds the code that functions have in S3.
//!
//! Calls pass through as they are: path, query, headers and signature, streamed both ways.

use crate::http::Body;
use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Either, Empty, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::time::Duration;
use tokio::time::timeout;
use warmpod_protocol::{Caller, Timestamp, sigv4};

/// How long an upstream may take to begin its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// What a path segment of S3 leaves as it is.
const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
/// Headers that belong to one connection.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

type Out = Either<Incoming, Empty<Bytes>>;

#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("--upstream {0} has no host")]
    NoHost(Uri),
    #[error("the certificates of this machine cannot be read")]
    Certificates(#[source] std::io::Error),
    #[error("the upstream {upstream} cannot be reached: {source}")]
    Unreachable {
        upstream: Authority,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the upstream {0} does not answer")]
    Silent(Authority),
    #[error("S3 Error Code: {code}. S3 Error Message: {message}")]
    S3 { code: String, message: String },
    #[error("the object is larger than {0} bytes, or its transfer broke")]
    Object(u64),
    #[error("the request for {0} cannot be made")]
    Request(String),
}

#[derive(Clone)]
pub struct Upstream {
    client: Client<HttpsConnector<HttpConnector>, Out>,
    scheme: Scheme,
    authority: Authority,
}

impl Upstream {
    pub fn new(uri: &Uri) -> Result<Self, UpstreamError> {
        let authority = uri.authority().cloned().ok_or_else(|| UpstreamError::NoHost(uri.clone()))?;
        let scheme = uri.scheme().cloned().unwrap_or(Scheme::HTTP);
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(UpstreamError::Certificates)?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), scheme, authority })
    }

    /// Passes a call on and its answer back.
    pub async fn forward(&self, request: Request<Incoming>) -> Result<Response<Body>, UpstreamError> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().cloned();
        parts.uri = self.at(path.as_ref().map_or("/", |path| path.as_str()))?;
        strip(&mut parts.headers);
        let answer = self.send(Request::from_parts(parts, Either::Left(body))).await?;
        let (mut parts, body) = answer.into_parts();
        strip(&mut parts.headers);
        Ok(Response::from_parts(parts, Either::Right(body)))
    }

    /// An object of at most `limit` bytes, asked for with the caller's own key.
    pub async fn get_object(
        &self,
        caller: &Caller<'_>,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        limit: u64,
    ) -> Result<Bytes, UpstreamError> {
        let mut path = format!("/{}/{}", utf8_percent_encode(bucket, KEY), utf8_percent_encode(key, KEY));
        if let Some(version) = version {
            path.push_str(&format!("?versionId={}", utf8_percent_encode(version, NON_ALPHANUMERIC)));
        }
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let access_key = variable("AWS_ACCESS_KEY_ID").unwrap_or_else(|| caller.account.to_owned());
        let secret_key = variable("AWS_SECRET_ACCESS_KEY").unwrap_or_else(|| "test".into());
        let session_token = variable("AWS_SESSION_TOKEN");
        let signer = sigv4::Signer {
            access_key: &access_key,
            secret_key: &secret_key,
            session_token: session_token.as_deref(),
            region: caller.region,
            service: "s3",
        };
        let cannot = |_| UpstreamError::Request(path.clone());
        let mut request = Request::get(self.at(&path)?).body(Bytes::new()).map_err(cannot)?;
        signer
            .sign(&mut request, Timestamp::from_millis(crate::clock::wall().millis))
            .map_err(|_| UpstreamError::Request(path.clone()))?;
        let answer = self.send(request.map(|_| Either::Right(Empty::new()))).await?;
        let status = answer.status();
        let limit = if status == StatusCode::OK { limit } else { 64 * 1024 };
        let length = usize::try_from(limit).unwrap_or(usize::MAX);
        let body = Limited::new(answer.into_body(), length).collect().await;
        let body = body.map_err(|_| UpstreamError::Object(limit))?.to_bytes();
        match status {
            StatusCode::OK => Ok(body),
            _ => Err(s3_error(status, &String::from_utf8_lossy(&body))),
        }
    }

    fn at(&self, path: &str) -> Result<Uri, UpstreamError> {
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path);
        uri.build().map_err(|_| UpstreamError::Request(path.to_owned()))
    }

    async fn send(&self, request: Request<Out>) -> Result<Response<Incoming>, UpstreamError> {
        match timeout(ANSWER_TIMEOUT, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                Err(UpstreamError::Unreachable { upstream: self.authority.clone(), source: error.into() })
            }
            Err(_) => Err(UpstreamError::Silent(self.authority.clone())),
        }
    }
}

fn strip(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
    headers.remove(header::EXPECT);
}

/// S3's own words, from its XML.
fn s3_error(status: StatusCode, body: &str) -> UpstreamError {
    let element = |name: &str| {
        let text = body.split_once(&format!("<{name}>"))?.1.split_once(&format!("</{name}>"))?.0;
        Some(text.to_owned())
    };
    UpstreamError::S3 {
        code: element("Code").unwrap_or_else(|| status.as_u16().to_string()),
        message: element("Message").unwrap_or_else(|| status.canonical_reason().unwrap_or_default().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3s_own_words_are_passed_on() {
        let body = "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>";
        let text = s3_error(StatusCode::NOT_FOUND, body).to_string();
        assert_eq!(text, "S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist.");
    }
}
