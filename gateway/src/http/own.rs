//! The gateway's own pages, under `/_warmpod/`: health, the list of operations, the pool, downloads of code.

use super::{Gateway, is_download};
use crate::lambda::{DOWNLOAD_PATH, OPERATIONS};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use warmpod_protocol::model::lambda;

pub async fn handle(gateway: &Gateway, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    match path {
        "/_warmpod/health" | "/_localstack/health" => health(gateway),
        "/_warmpod/operations" => answer(StatusCode::OK, &operations()),
        "/_warmpod/pool" => answer(StatusCode::OK, &json!(gateway.pool.census().await)),
        _ if is_download(request.method(), path) => download(gateway, &request).await,
        _ => answer(StatusCode::NOT_FOUND, &json!({ "message": format!("{path} is not a page of warmpod") })),
    }
}

fn health(gateway: &Gateway) -> Response<Full<Bytes>> {
    let stopping = gateway.stopping.load(Ordering::Acquire);
    let (status, word) =
        if stopping { (StatusCode::SERVICE_UNAVAILABLE, "stopping") } else { (StatusCode::OK, "running") };
    let body = json!({
        "status": word,
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeSeconds": gateway.started.elapsed().as_secs(),
        "services": { "lambda": word },
    });
    answer(status, &body)
}

/// Every operation of AWS for the services that are served, and whether it is implemented.
fn operations() -> Value {
    let lambda: serde_json::Map<String, Value> = lambda::ROUTES
        .iter()
        .map(|route| (route.operation.to_owned(), json!(OPERATIONS.contains(&route.operation))))
        .collect();
    json!({ "lambda": lambda })
}

async fn download(gateway: &Gateway, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let digest = &request.uri().path()[DOWNLOAD_PATH.len()..];
    match gateway.lambda.download(digest, request.uri().query().unwrap_or_default()).await {
        Some(zip) => {
            let mut answer = Response::new(Full::new(zip));
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
            answer
        }
        None => answer(
            StatusCode::FORBIDDEN,
            &json!({ "message": "This address has expired or was changed; call GetFunction again." }),
        ),
    }
}

fn answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
