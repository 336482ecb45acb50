//! The gateway's life: lock, load, listen, serve, drain, leave nothing behind.
//!
//! ```text
//!  lock data ─> open store ─> start engine and pool ─> load functions ─> let agents in ─> listen ─> ready
//!  SIGTERM ─> no new calls ─> calls in flight finish ─> events' attempts finish ─> workers end ─> store closes
//! ```

use crate::config::{Config, EngineKind, ServeArgs, Variables};
use crate::engine::Engine;
use crate::engine::local::{LocalConfig, LocalEngine, run_dir};
use crate::http::{self, Gateway, Listening};
use crate::lambda::variables::Endpoint;
use crate::lambda::{self, Lambda, Parts};
use crate::pool::core::Settings;
use crate::pool::{Pool, environment};
use crate::store::blob::Blobs;
use crate::store::{DataDirLock, Store};
use crate::upstream::Upstream;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Port at which functions find this gateway on their own loopback; the agent relays it.
const RELAY_PORT: u16 = 4566;
/// How long a worker that is told to leave may take.
const WORKER_GRACE: Duration = Duration::from_secs(3);
const SWEEP: Duration = Duration::from_secs(600);

type Failure = Box<dyn Error>;

pub fn run(args: ServeArgs, variables: &dyn Variables) -> Result<(), Failure> {
    let config = Config::resolve(args, variables)?;
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    if config.engine == EngineKind::Kubernetes {
        return Err("the kubernetes engine is not part of this version; use --engine local".into());
    }
    let _lock = DataDirLock::take(&config.data_dir)?;
    let listening = http::listen(config.listen, config.event_loops)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(config, listening))
}

async fn serve(config: Config, listening: Listening) -> Result<(), Failure> {
    environment::set_event_loop(0);
    let started = Instant::now();
    let mut signals = Signals::listen()?;
    let Listening { address, sockets } = listening;
    // Three groups of tasks, ended in this order: calls, the pool's workers, the store's writes.
    let (calls, workers, writes) = (TaskTracker::new(), TaskTracker::new(), TaskTracker::new());
    let blobs = Blobs::open(&config.data_dir)?;
    let (store, loaded) = Store::open(&config.data_dir, &writes).await?;
    let (events, engine_events) = mpsc::channel(1024);
    let engine = Arc::new(LocalEngine::new(local_config(&config, address), events).await?);
    let (pool, door) = Pool::start(
        pool_settings(&config),
        engine.clone() as Arc<dyn Engine>,
        engine_events,
        loaded.key.clone(),
        WORKER_GRACE,
        workers.clone(),
    );
    let upstream = config.upstream.as_ref().map(Upstream::new).transpose()?;
    let parts = Parts {
        config: config.lambda.clone(),
        pool: pool.clone(),
        store,
        blobs,
        upstream: upstream.clone(),
        endpoint: Some(endpoint(&config, address, engine.shares_loopback())),
        public_url: format!("http://{}", reachable(address)),
        tasks: calls.clone(),
    };
    let (lambda, inbox) = Lambda::open(parts, loaded).await?;
    let relay = engine.listen_relay()?;
    door.open(engine.listen()?);

    let stop = CancellationToken::new();
    calls.spawn(lambda::queue::run(lambda.clone(), inbox, stop.clone()));
    calls.spawn(sweep(lambda.clone(), stop.clone()));
    let gateway = Arc::new(Gateway {
        lambda,
        pool: pool.clone(),
        upstream,
        max_code_request: usize::try_from(config.lambda.create_request_size).unwrap_or(usize::MAX),
        started,
        stopping: AtomicBool::new(false),
    });
    let loops = EventLoops::start(&gateway, &config, sockets, relay, &stop)?;
    tracing::info!("warmpod {} serves http://{address}", env!("CARGO_PKG_VERSION"));

    signals.wait().await;
    tracing::info!("stopping: calls in flight finish first");
    gateway.stopping.store(true, Ordering::Release);
    stop.cancel();
    loops.finish().await;
    drop(gateway);
    calls.close();
    if timeout(config.shutdown_grace, calls.wait()).await.is_err() {
        tracing::warn!("some invocations did not finish within the grace period");
    }
    pool.close().await;
    drop(pool);
    engine.close().await;
    workers.close();
    if timeout(WORKER_GRACE, workers.wait()).await.is_err() {
        tracing::warn!("some of the pool's tasks did not end");
    }
    writes.close();
    if timeout(WORKER_GRACE, writes.wait()).await.is_err() {
        tracing::debug!("the store closes with the process");
    }
    tracing::info!("stopped");
    Ok(())
}

fn pool_settings(config: &Config) -> Settings {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Settings {
        generic_floor: config.generic_workers,
        // None at all where none were asked for.
        generic_ceiling: if config.generic_workers == 0 { 0 } else { config.generic_workers.max(8) },
        // More than a few beside each other only make each other late.
        starting_limit: (cores * 2).max(4),
        start_timeout: config.lambda.environment_timeout,
        unknown_service_cap: 128,
        failures_told: 3,
        target_decay: Duration::from_secs(60),
    }
}

pub(crate) fn local_config(config: &Config, address: SocketAddr) -> LocalConfig {
    let host_ports = LocalConfig::HOST_PORTS.iter().copied().chain([address.port()]).collect();
    LocalConfig {
        agent: config.agent.clone(),
        runtimes_dir: config.runtimes_dir.clone(),
        run_dir: run_dir(&config.data_dir, config.runtime_dir.as_deref()),
        data_dir: config.data_dir.clone(),
        lock: DataDirLock::path(&config.data_dir),
        orphan_timeout: config.orphan_timeout,
        require_isolation: config.require_isolation,
        exact_runtimes: config.exact_runtimes,
        network: config.network,
        host_ports,
        cgroups: true,
        cpu_quota: config.cpu_quota,
        dns: config.lambda.dns,
        hosts: Vec::new(),
        path: config.path.clone(),
        home: config.home.clone(),
    }
}

/// Where functions find this gateway: at the agent's relay, or on the loopback that they share with it.
fn endpoint(config: &Config, address: SocketAddr, shares_loopback: bool) -> Endpoint {
    let host = config.lambda.gateway_host.clone().unwrap_or_else(|| "127.0.0.1".into());
    Endpoint { host, port: if shares_loopback { address.port() } else { RELAY_PORT } }
}

/// An address that clients on this machine can use.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip().is_unspecified() {
        true => SocketAddr::from(([127, 0, 0, 1], address.port())),
        false => address,
    }
}

/// The threads that serve calls. The first loop is the main thread's own.
struct EventLoops {
    own: tokio::task::JoinHandle<std::io::Result<()>>,
    threads: Vec<std::thread::JoinHandle<std::io::Result<()>>>,
}

impl EventLoops {
    fn start(
        gateway: &Arc<Gateway>,
        config: &Config,
        sockets: Vec<std::net::TcpListener>,
        relay: UnixListener,
        stop: &CancellationToken,
    ) -> std::io::Result<Self> {
        let connections = Arc::new(Semaphore::new(config.max_connections));
        let mut sockets = sockets.into_iter().enumerate();
        let Some((_, first)) = sockets.next() else { return Err(std::io::ErrorKind::AddrNotAvailable.into()) };
        let grace = config.shutdown_grace;
        let tasks = TaskTracker::new();
        let own =
            tasks.spawn(http::serve(gateway.clone(), 0, first, Some(relay), connections.clone(), stop.clone(), grace));
        let mut threads = Vec::new();
        for (number, socket) in sockets {
            let serving = http::serve(gateway.clone(), number, socket, None, connections.clone(), stop.clone(), grace);
            threads.push(std::thread::Builder::new().name(format!("loop-{number}")).spawn(move || {
                tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serving)
            })?);
        }
        Ok(Self { own, threads })
    }

    async fn finish(self) {
        match self.own.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "an event loop failed"),
            Err(error) => tracing::error!(%error, "an event loop panicked"),
        }
        for thread in self.threads {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(Ok(())))) {
                tracing::error!("an event loop failed");
            }
        }
    }
}

async fn sweep(lambda: Arc<Lambda>, stop: CancellationToken) {
    loop {
        lambda.sweep_code().await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
    }
}

/// What asks the gateway to stop. Listened to from the start: a signal that comes while it starts is not lost.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
