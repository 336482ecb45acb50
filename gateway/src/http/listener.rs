//! Sockets: listening, accepting, and the graceful end of connections.

use super::Gateway;
use crate::pool::environment::set_event_loop;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// For the head of a request, and for an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The most of a request's head.
const MAX_HEAD: usize = 64 * 1024;
const BACKLOG: i32 = 1024;

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{0} is in use; stop what listens there, or choose another address with --listen")]
    InUse(SocketAddr),
    #[error("cannot listen on {0}")]
    Refused(SocketAddr, #[source] io::Error),
}

/// Sockets of one address, one for each event loop.
pub struct Listening {
    pub address: SocketAddr,
    pub sockets: Vec<std::net::TcpListener>,
}

/// Listens with as many sockets as there are event loops.
pub fn listen(address: SocketAddr, event_loops: usize) -> Result<Listening, ListenError> {
    // Another process must not share the port by accident: the first socket is bound without SO_REUSEPORT as a probe.
    drop(bind(address, false).map_err(|error| refused(address, error))?);
    let first = bind(address, true).map_err(|error| refused(address, error))?;
    let address = first.local_addr().map_err(|error| refused(address, error))?;
    let mut sockets = vec![first];
    for _ in 1..event_loops {
        sockets.push(bind(address, true).map_err(|error| refused(address, error))?);
    }
    Ok(Listening { address, sockets })
}

fn refused(address: SocketAddr, error: io::Error) -> ListenError {
    match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        _ => ListenError::Refused(address, error),
    }
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves clients until `stop`, then lets what runs finish within `grace`.
pub async fn serve(
    gateway: Arc<Gateway>,
    event_loop: usize,
    socket: std::net::TcpListener,
    local: Option<UnixListener>,
    connections: Arc<Semaphore>,
    stop: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    set_event_loop(event_loop);
    let listener = TcpListener::from_std(socket)?;
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD).half_close(false);
    let tasks = tokio_util::task::TaskTracker::new();
    loop {
        // A place is taken before a connection: beyond the cap clients wait in the kernel's queue.
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = connections.clone().acquire_owned() => permit.map_err(io::Error::other)?,
        };
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let _ = client.set_nodelay(true);
                    connect(&gateway, &http, &graceful, &tasks, permit, client);
                }
                Err(error) => pause(error).await,
            },
            accepted = accept_local(local.as_ref()) => match accepted {
                Ok(client) => connect(&gateway, &http, &graceful, &tasks, permit, client),
                Err(error) => pause(error).await,
            },
        }
    }
    drop(listener);
    tasks.close();
    if timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("calls in flight did not finish within the grace period and are cut off");
    }
    Ok(())
}

async fn accept_local(local: Option<&UnixListener>) -> io::Result<tokio::net::UnixStream> {
    match local {
        Some(local) => local.accept().await.map(|(client, _)| client),
        None => std::future::pending().await,
    }
}

/// Out of descriptors, most likely: the next accept fails as well until some are free again.
async fn pause(error: io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn connect(
    gateway: &Arc<Gateway>,
    http: &http1::Builder,
    graceful: &GracefulShutdown,
    tasks: &tokio_util::task::TaskTracker,
    permit: OwnedSemaphorePermit,
    client: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) {
    let gateway = gateway.clone();
    let service = service_fn(move |request| {
        let gateway = gateway.clone();
        async move { Ok::<_, Infallible>(gateway.handle(request).await) }
    });
    let connection = graceful.watch(http.serve_connection(TokioIo::new(client), service));
    tasks.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a client's connection ended");
        }
        drop(permit);
    });
}
