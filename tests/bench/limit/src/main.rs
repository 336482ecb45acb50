//! The bare limit of any Lambda-compatible gateway: an HTTP front and the Runtime API in one process. No agent, no
//! sandbox, no routing, no concurrency limits, no logs, no deadlines. What a product adds is seen against it.
//!
//! `limit ENVIRONMENTS BOOTSTRAP [ARGUMENT]…` prints the front's address once the runtimes run, and ends with SIGTERM.

mod exchange;

use exchange::Exchange;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

type Answer = Response<Full<Bytes>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [environments, bootstrap @ ..] = &arguments[..] else { return Err("limit ENVIRONMENTS BOOTSTRAP…".into()) };
    // Both listen before a runtime starts: one that is refused gives up for good.
    let front_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let runtime_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (front_address, api) = (front_listener.local_addr()?, runtime_listener.local_addr()?.to_string());
    let exchange = Arc::new(Exchange::default());
    tokio::spawn(serve(front_listener, exchange.clone(), front));
    tokio::spawn(serve(runtime_listener, exchange.clone(), runtime));
    let runtimes: Vec<Child> =
        (0..environments.parse()?).map(|_| start(bootstrap, &api)).collect::<Result<_, Box<dyn Error>>>()?;
    println!("http://{front_address}");
    signal(SignalKind::terminate())?.recv().await;
    drop(runtimes);
    Ok(())
}

fn start(bootstrap: &[String], api: &str) -> Result<Child, Box<dyn Error>> {
    let (program, arguments) = bootstrap.split_first().ok_or("a bootstrap is missing")?;
    let child = Command::new(program)
        .args(arguments)
        .env("AWS_LAMBDA_RUNTIME_API", api)
        .envs([("AWS_LAMBDA_FUNCTION_NAME", "echo"), ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")])
        .envs([("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")])
        .envs([("AWS_LAMBDA_LOG_GROUP_NAME", "echo"), ("AWS_LAMBDA_LOG_STREAM_NAME", "echo")])
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}

async fn serve<F>(listener: TcpListener, exchange: Arc<Exchange>, handle: fn(Arc<Exchange>, Request<Incoming>) -> F)
where
    F: Future<Output = Result<Answer, hyper::Error>> + Send + 'static,
{
    while let Ok((client, _)) = listener.accept().await {
        let _ = client.set_nodelay(true);
        let exchange = exchange.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let handled = handle(exchange.clone(), request);
                async move { Ok::<_, Infallible>(handled.await.unwrap_or_else(|_| status(StatusCode::BAD_REQUEST))) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(client), service).await;
        });
    }
}

/// Invoke.
async fn front(exchange: Arc<Exchange>, request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let event = request.into_body().collect().await?.to_bytes();
    Ok(match exchange.invoke(event).await {
        Some(answer) => Response::new(Full::new(answer)),
        None => status(StatusCode::BAD_GATEWAY),
    })
}

/// The Runtime API: `next`, and everything else is an answer.
async fn runtime(exchange: Arc<Exchange>, request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let path = request.uri().path();
    if path.ends_with("/next") {
        let (id, event) = exchange.next().await;
        let mut answer = Response::new(Full::new(event));
        let headers = answer.headers_mut();
        for (name, value) in [
            ("lambda-runtime-deadline-ms", "4102444800000"),
            ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:echo"),
            ("lambda-runtime-trace-id", "Root=1-00000000-000000000000000000000000;Sampled=0"),
            ("content-type", "application/json"),
        ] {
            headers.insert(name, hyper::header::HeaderValue::from_static(value));
        }
        let id = format!("00000000-0000-0000-0000-{id:012x}");
        headers.insert("lambda-runtime-aws-request-id", id.parse().expect("digits make a header"));
        return Ok(answer);
    }
    let id = path.split('/').rev().nth(1).and_then(|id| u64::from_str_radix(id.rsplit('-').next()?, 16).ok());
    let answer = request.into_body().collect().await?.to_bytes();
    if let Some(id) = id {
        exchange.answer(id, answer);
    }
    Ok(status(StatusCode::ACCEPTED))
}

fn status(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}
