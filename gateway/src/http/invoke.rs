//! Invoke in HTTP: headers in, headers out. Kept apart because it is the one call whose every microsecond counts.

use super::{BodyError, caller, lambda_refused, read_body, stamp};
use crate::lambda::invoke::{Call, InvocationType, Invoked, MAX_ASYNCHRONOUS, MAX_SYNCHRONOUS, too_large};
use crate::lambda::{Lambda, LambdaError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::sync::Arc;
use uuid::Uuid;

const PREFIX: &str = "/2015-03-31/functions/";
const SUFFIX: &str = "/invocations";

pub fn is_invoke(method: &Method, path: &str) -> bool {
    method == Method::POST
        && path.starts_with(PREFIX)
        && path.ends_with(SUFFIX)
        && path.len() > PREFIX.len() + SUFFIX.len()
}

pub async fn handle(lambda: &Arc<Lambda>, id: Uuid, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let mut answer = match run(lambda, id, &parts, body).await {
        Ok(answer) => answer,
        Err(error) => lambda_refused(error).map(Full::new),
    };
    stamp(&mut answer, id);
    answer
}

async fn run(
    lambda: &Arc<Lambda>,
    id: Uuid,
    parts: &http::request::Parts,
    body: Incoming,
) -> Result<Response<Full<Bytes>>, LambdaError> {
    let path = parts.uri.path();
    let name = decoded(&path[PREFIX.len()..path.len() - SUFFIX.len()])?;
    let qualifier = parts.uri.query().and_then(qualifier).map(decoded).transpose()?;
    let headers = &parts.headers;
    let kind = InvocationType::parse(text(headers, "x-amz-invocation-type"))?;
    if headers.contains_key("x-amz-durable-execution-name") || headers.contains_key("x-amz-tenant-id") {
        return Err(LambdaError::NotImplemented(
            "Durable executions and tenant isolation are not implemented by this endpoint; call Invoke without their headers".into(),
        ));
    }
    let limit = if kind == InvocationType::Event { MAX_ASYNCHRONOUS } else { MAX_SYNCHRONOUS };
    let payload = match read_body(body, limit).await {
        Ok(payload) => payload,
        Err(BodyError::TooLarge) => return Err(too_large(kind, content_length(headers).unwrap_or(limit + 1))),
        Err(BodyError::Broken) => {
            return Err(LambdaError::InvalidRequestContent("The request's body broke off.".into()));
        }
        Err(BodyError::Slow) => {
            return Err(LambdaError::InvalidRequestContent("The request's body came too slowly.".into()));
        }
    };
    let call = Call {
        request: id,
        name: &name,
        qualifier: qualifier.as_deref(),
        kind,
        tail: asks_for_tail(text(headers, "x-amz-log-type"))?,
        client_context: text(headers, "x-amz-client-context"),
        trace: text(headers, "x-amzn-trace-id"),
        payload,
    };
    let invoked = lambda.invoke(&caller(parts), call).await?;
    Ok(match invoked {
        Invoked::DryRun => empty(StatusCode::NO_CONTENT),
        Invoked::Accepted { trace } => {
            let mut answer = empty(StatusCode::ACCEPTED);
            insert(answer.headers_mut(), "x-amzn-trace-id", &trace.short());
            answer
        }
        Invoked::Answered { answer: given, group, trace } => {
            let mut answer = Response::new(Full::new(given.body));
            let headers = answer.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            insert(headers, "x-amz-executed-version", &group.spec.environment.version);
            insert(headers, "x-amzn-trace-id", &trace.short());
            if given.function_error {
                headers.insert("x-amz-function-error", HeaderValue::from_static("Unhandled"));
            }
            // There is one only where it was asked for.
            if !given.tail.is_empty() {
                insert(headers, "x-amz-log-result", &STANDARD.encode(&given.tail));
            }
            answer
        }
    })
}

fn asks_for_tail(log_type: Option<&str>) -> Result<bool, LambdaError> {
    match log_type {
        None | Some("None") => Ok(false),
        Some("Tail") => Ok(true),
        Some(other) => Err(LambdaError::Validation(format!(
            "1 validation error detected: Value '{other}' at 'logType' failed to satisfy constraint: Member must satisfy enum value set: [None, Tail]"
        ))),
    }
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    text(headers, "content-length")?.parse().ok()
}

fn qualifier(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("Qualifier=")).filter(|qualifier| !qualifier.is_empty())
}

fn decoded(text: &str) -> Result<Cow<'_, str>, LambdaError> {
    percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| LambdaError::Validation("The request's path is not UTF-8.".into()))
}
