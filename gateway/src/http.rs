//! From a client's socket to a service and back: the only place that knows HTTP on the client's side.
//!
//! Each event loop is a thread of its own that accepts its own clients (SO_REUSEPORT), so no work is handed between
//! threads. Invoke is matched before anything else. What warmpod does not serve goes to the upstream.
//!
//! Hostile clients: a connection has 30 s for a request's head and between two parts of its body, heads and bodies are
//! bounded, and there is a cap on connections.

mod invoke;
mod listener;
mod own;

pub use listener::{Listening, listen, serve};

use crate::lambda::{DOWNLOAD_PATH, Input, Lambda, LambdaError};
use crate::upstream::Upstream;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::time::timeout;
use uuid::Uuid;
use warmpod_protocol::fault::{NOT_IMPLEMENTED, REQUEST_ENTITY_TOO_LARGE};
use warmpod_protocol::rest_json::{self, Answer};
use warmpod_protocol::{Caller, Fault};

/// Between two parts of a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bodies of all operations that have no limit of their own.
const MAX_BODY: usize = 8 * 1024 * 1024;

pub type Body = Either<Full<Bytes>, Incoming>;

/// What all connections share.
pub struct Gateway {
    pub lambda: Arc<Lambda>,
    pub pool: crate::pool::Pool,
    pub upstream: Option<Upstream>,
    /// The largest CreateFunction or UpdateFunctionCode request, bytes.
    pub max_code_request: usize,
    pub started: tokio::time::Instant,
    pub stopping: AtomicBool,
}

impl Gateway {
    pub async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let id = Uuid::new_v4();
        if invoke::is_invoke(request.method(), request.uri().path()) {
            return invoke::handle(&self.lambda, id, request).await.map(Either::Left);
        }
        let mut answer = self.route(id, request).await;
        stamp(&mut answer, id);
        answer
    }

    async fn route(&self, id: Uuid, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if path.starts_with("/_warmpod/") || path == "/_localstack/health" {
            return own::handle(self, request).await.map(Either::Left);
        }
        let Some((route, labels)) = rest_json::find(request.method(), request.uri()) else {
            return self.elsewhere(request).await;
        };
        let takes_code = matches!(route.operation, "CreateFunction" | "UpdateFunctionCode");
        let limit = if takes_code { self.max_code_request } else { MAX_BODY };
        let (parts, body) = request.into_parts();
        let body = match read_body(body, limit).await {
            Ok(body) => body,
            Err(BodyError::TooLarge) => {
                let text = format!("Request must be smaller than {limit} bytes for the {} operation", route.operation);
                return refused(&Fault::new(&REQUEST_ENTITY_TOO_LARGE, text));
            }
            Err(BodyError::Broken) => return plain(StatusCode::BAD_REQUEST, "the request's body broke off\n"),
            Err(BodyError::Slow) => return plain(StatusCode::REQUEST_TIMEOUT, "the request's body came too slowly\n"),
        };
        let caller = caller(&parts);
        let input = Input { labels, query: parts.uri.query(), headers: &parts.headers, body };
        match self.lambda.serve(&caller, route, input).await {
            Ok(answer) => answer.map(Full::new).map(Either::Left),
            Err(fault) => {
                tracing::debug!(request = %id, operation = route.operation, code = fault.code.name, message = %fault.message, "refused");
                refused(&fault)
            }
        }
    }

    /// A request for a service that is not served here.
    async fn elsewhere(&self, request: Request<Incoming>) -> Response<Body> {
        let service = caller_service(&request);
        let form = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        match &self.upstream {
            Some(upstream) => match upstream.forward(request).await {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::warn!(%error, service, "a call could not be passed on");
                    plain(StatusCode::BAD_GATEWAY, &format!("{error}\n"))
                }
            },
            None => {
                let text = format!(
                    "warmpod does not serve this call (service: {service}). Start it with --upstream URL to pass such calls on to another AWS endpoint."
                );
                match form || matches!(service.as_str(), "s3" | "route53" | "cloudfront") {
                    true => refused_in_xml(&text),
                    false => refused(&Fault::new(&NOT_IMPLEMENTED, text).with("__type", NOT_IMPLEMENTED.name)),
                }
            }
        }
    }
}

fn caller_service(request: &Request<Incoming>) -> String {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let caller = Caller::of(authorization, request.uri().query());
    let service =
        caller.service.filter(|service| service.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    service.unwrap_or("unsigned, none can be told").to_owned()
}

/// Who signed the request.
fn caller(parts: &http::request::Parts) -> Caller<'_> {
    let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    Caller::of(authorization, parts.uri.query())
}

fn refused(fault: &Fault) -> Response<Body> {
    rest_json::encode_fault(fault).map(Full::new).map(Either::Left)
}

/// For clients of the services that speak XML: others' cannot be read by them.
fn refused_in_xml(text: &str) -> Response<Body> {
    let code = NOT_IMPLEMENTED.name;
    let body = format!(
        "<?xml version=\"1.0\"?><ErrorResponse><Error><Code>{code}</Code><Message>{text}</Message></Error></ErrorResponse>"
    );
    let mut answer = plain(StatusCode::NOT_IMPLEMENTED, &body);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::copy_from_slice(text.as_bytes()))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// Adds the request id that every answer of AWS carries.
fn stamp<B>(answer: &mut Response<B>, id: Uuid) {
    let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = id.as_hyphenated().encode_lower(&mut buffer);
    if let Ok(value) = HeaderValue::from_str(text) {
        answer.headers_mut().entry("x-amzn-requestid").or_insert(value);
    }
}

#[derive(Debug)]
enum BodyError {
    TooLarge,
    Broken,
    Slow,
}

/// The whole body, at most `limit` bytes. One that says it is larger is refused before a byte of it is read.
async fn read_body(mut body: Incoming, limit: usize) -> Result<Bytes, BodyError> {
    use hyper::body::Body as _;
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge);
    }
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let frame = match timeout(BODY_TIMEOUT, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => return Err(BodyError::Broken),
            Ok(None) => break,
            Err(_) => return Err(BodyError::Slow),
        };
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > limit {
            return Err(BodyError::TooLarge);
        }
        // Most bodies are one part: they are passed on as they came, without a copy.
        if first.is_empty() && rest.is_empty() {
            first = data;
            if body.is_end_stream() {
                return Ok(first);
            }
            continue;
        }
        if rest.is_empty() {
            let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(limit);
            rest.reserve(first.len() + data.len() + expected);
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// Whether a path is the gateway's own download of code.
fn is_download(method: &Method, path: &str) -> bool {
    method == Method::GET && path.starts_with(DOWNLOAD_PATH)
}

fn lambda_refused(error: LambdaError) -> Answer {
    rest_json::encode_fault(&Fault::from(error))
}
