//! The local engine: workers are sandboxed processes of this machine. No root and no Docker needed.
//!
//! A worker is an agent, started in one step: the gateway makes its cgroup and hands it a spec; the agent builds its own
//! sandbox and dials back. What this machine offers for isolation is found out once, at the start ([`machine`]); what is
//! missing is said in the log and by `warmpod doctor`.
//!
//! ```text
//!  mod          the engine: start, limit, adopt, stop
//!  machine      what there is (trials run the agent in throw-away sandboxes)
//!  interpreters which runtimes the machine has        world   what a worker sees of the machine
//!  cgroups      limits                                slots   id ranges and addresses
//!  worker       one worker's process                  keeper  nothing is left after kill -9
//! ```

mod cgroups;
mod interpreters;
mod keeper;
mod machine;
mod network;
mod slots;
mod trials;
mod worker;
mod world;

pub use machine::Finding;

use super::{ClassId, Engine, EngineEvent, Limits, StartError, StartOrder};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use interpreters::{Interpreters, Offer};
use keeper::Keeper;
use machine::{Machine, Reach};
use slots::{Slot, Slots};
use std::collections::HashMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use warmpod_link::worker::{ENDPOINT_SOCKET, GatewayAddress, IdMap, Network, SandboxSpec};
use warmpod_link::{KeepSpec, WorkerId, WorkerSpec};
use worker::{Running, Watched};

#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("the agent {path} cannot be run; is it installed beside warmpod?")]
    Agent {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} cannot be used for running workers")]
    RunDir {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("isolation is required, but this machine lacks: {0}; see `warmpod doctor`")]
    NotIsolated(String),
}

/// Which network workers get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum NetworkChoice {
    /// A network of their own where that can be had, else the machine's
    #[default]
    Automatic,
    /// Loopback only: functions reach this endpoint and nothing else
    Loopback,
    /// The machine's, as far as Landlock lets them
    Host,
}

#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// The program `warmpod-agent`.
    pub agent: PathBuf,
    /// Runtime interface clients: `python/3.12` and so on.
    pub runtimes_dir: PathBuf,
    /// For sockets and locks, made and removed by the engine. See [`run_dir`].
    pub run_dir: PathBuf,
    /// Unpacked code is below its `code`.
    pub data_dir: PathBuf,
    /// The file that the gateway holds locked while it uses the data directory.
    pub lock: PathBuf,
    pub orphan_timeout: Duration,
    pub require_isolation: bool,
    /// A runtime runs on its own version or not at all.
    pub exact_runtimes: bool,
    pub network: NetworkChoice,
    /// TCP ports that functions may connect to where they use the machine's network.
    pub host_ports: Vec<u16>,
    pub cgroups: bool,
    /// CPU as a hard limit in AWS's proportion, not only as a share.
    pub cpu_quota: bool,
    /// Name server of the functions; none: the machine's.
    pub dns: Option<IpAddr>,
    /// Further lines of their /etc/hosts.
    pub hosts: Vec<(IpAddr, String)>,
    /// The variables PATH and HOME, for finding interpreters.
    pub path: Option<String>,
    pub home: Option<PathBuf>,
}

impl LocalConfig {
    /// What functions connect to besides the gateway where they use the machine's network: names, HTTP, HTTPS.
    pub const HOST_PORTS: &[u16] = &[53, 80, 443];
}

/// Where the sockets and locks of the installation with this data directory go: short, and reachable by other ids.
/// `runtime_dir` is the variable XDG_RUNTIME_DIR.
pub fn run_dir(data_dir: &Path, runtime_dir: Option<&Path>) -> PathBuf {
    let user = rustix::process::geteuid();
    let base = match runtime_dir {
        _ if user.is_root() => PathBuf::from("/run/warmpod"),
        Some(folder) if folder.is_absolute() => folder.join("warmpod"),
        _ => PathBuf::from(format!("/tmp/warmpod-{}", user.as_raw())),
    };
    base.join(installation(data_dir))
}

/// Eight characters that are the same for the same data directory.
fn installation(data_dir: &Path) -> String {
    use sha2::{Digest, Sha256};
    let path = fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    Sha256::digest(path.as_os_str().as_encoded_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

pub struct LocalEngine {
    shared: Arc<Shared>,
    interpreters: Interpreters,
    code: PathBuf,
    tasks: TaskTracker,
    keeper: Mutex<Option<Keeper>>,
}

/// What the watchers of workers need.
struct Shared {
    config: LocalConfig,
    machine: Machine,
    state: Mutex<State>,
    events: mpsc::Sender<EngineEvent>,
}

struct State {
    running: HashMap<WorkerId, Arc<Running>>,
    slots: Slots,
}

impl LocalEngine {
    /// Finds out what the machine offers, and makes what all workers share. Says once in the log what is missing.
    pub async fn new(config: LocalConfig, events: mpsc::Sender<EngineEvent>) -> Result<LocalEngine, LocalError> {
        let code = config.data_dir.join("code");
        fs::create_dir_all(&code).map_err(|source| LocalError::RunDir { path: code.clone(), source })?;
        let (machine, interpreters, keeper) = examine(&config).await?;
        if let Err(refused) = report(&machine, config.require_isolation) {
            machine.leave();
            keeper.finish(&config.run_dir).await;
            return Err(refused);
        }
        let start =
            machine.installation.as_bytes().iter().fold(0, |sum: u16, byte| sum.wrapping_mul(31) + u16::from(*byte));
        let state = State { running: HashMap::new(), slots: Slots::of_machine(start) };
        let engine = LocalEngine {
            shared: Arc::new(Shared { config, machine, state: Mutex::new(state), events }),
            interpreters,
            code,
            tasks: TaskTracker::new(),
            keeper: Mutex::new(Some(keeper)),
        };
        engine.sweep();
        Ok(engine)
    }

    /// The socket that agents dial.
    pub fn socket(&self) -> PathBuf {
        self.shared.config.run_dir.join("gateway.sock")
    }

    /// Opens that socket. Whoever may reach it proves itself by its token; the agents are users of their own.
    pub fn listen(&self) -> Result<UnixListener, LocalError> {
        self.open(self.socket())
    }

    /// Whether functions share the machine's loopback, so that nothing needs to be passed on.
    pub fn shares_loopback(&self) -> bool {
        matches!(self.shared.machine.network, Reach::Host(_))
    }

    /// Opens the socket by which agents pass on what functions send to the endpoint on their own loopback.
    pub fn listen_relay(&self) -> Result<UnixListener, LocalError> {
        self.open(self.shared.config.run_dir.join(ENDPOINT_SOCKET))
    }

    fn open(&self, path: PathBuf) -> Result<UnixListener, LocalError> {
        let failed = |source| LocalError::RunDir { path: path.clone(), source };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        let mode = if rustix::process::geteuid().is_root() { 0o666 } else { 0o600 };
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(failed)?;
        Ok(listener)
    }

    /// Ends what still runs, and removes all that the engine made. Nothing can be started any more.
    pub async fn close(&self) {
        let running: Vec<_> = self.shared.state().running.values().cloned().collect();
        futures_util::future::join_all(running.iter().map(|worker| worker.stop(Duration::ZERO))).await;
        self.shared.machine.leave();
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            keeper.finish(&self.shared.config.run_dir).await;
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The lock that says that a worker is there.
    fn lock_for_worker(&self) -> io::Result<File> {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.as_ref().map_or_else(|| Err(io::ErrorKind::NotConnected.into()), Keeper::lock_for_worker)
    }

    /// Removes the cgroups of workers that ended while no gateway was there.
    fn sweep(&self) {
        let Some(cgroups) = &self.shared.machine.cgroups else { return };
        for worker in cgroups.workers() {
            if cgroups.remove(worker) {
                tracing::debug!(%worker, "removed what a worker of an earlier gateway left");
            }
        }
    }

    async fn start_worker(&self, order: StartOrder) -> Result<(), StartError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |source: io::Error| StartError::Failed { what, source }
        };
        let offer = self.interpreters.offer(&order.template.runtime)?;
        let slot = self.shared.state().slots.take();
        let made = async {
            let cgroups = match &self.shared.machine.cgroups {
                Some(cgroups) => cgroups.make(order.worker, order.ahead).map_err(failed("make its cgroup"))?,
                None => Vec::new(),
            };
            let slot = slot.ok_or(io::ErrorKind::QuotaExceeded.into()).map_err(failed("find a free range of ids"))?;
            let spec = self.spec(&order, &offer, slot, cgroups);
            let held = self.lock_for_worker().map_err(failed("pass the lock on"))?;
            let child = worker::spawn(&self.shared.config.agent, &spec, held).await.map_err(failed("run the agent"))?;
            let pid = child.id().unwrap_or_default();
            let running = Running::new(order.worker, Some(slot), pid).map_err(failed("watch the agent"))?;
            Ok((running, child))
        };
        match made.await {
            Ok((running, child)) => {
                self.watch(running, Watched::Child(child));
                Ok(())
            }
            Err(error) => {
                if let Some(slot) = slot {
                    self.shared.state().slots.free(slot);
                }
                if let Some(cgroups) = &self.shared.machine.cgroups {
                    cgroups.remove(order.worker);
                }
                Err(error)
            }
        }
    }

    fn watch(&self, running: Arc<Running>, watched: Watched) {
        self.shared.state().running.insert(running.worker, running.clone());
        self.tasks.spawn(running.watch(watched, self.shared.clone()));
    }

    fn spec(&self, order: &StartOrder, offer: &Offer, slot: Slot, cgroups: Vec<PathBuf>) -> WorkerSpec {
        let config = &self.shared.config;
        let ClassId(class) = order.template.class();
        let (network, resolvers) = match &self.shared.machine.network {
            Reach::Linked(bridge) => (bridge.link(link_name(order.worker), slot), world::resolvers(false)),
            Reach::Loopback => (Network::Loopback, Vec::new()),
            Reach::Host(ports) => (Network::Host { ports: ports.clone() }, world::resolvers(true)),
        };
        let resolvers = config.dns.map_or(resolvers, |dns| vec![dns]);
        WorkerSpec {
            worker: order.worker,
            token: order.token,
            gateway: GatewayAddress::Unix(self.socket()),
            class,
            orphan_timeout_ms: u32::try_from(config.orphan_timeout.as_millis()).unwrap_or(u32::MAX),
            runtime: world::runtime(offer, order.ahead),
            sandbox: Some(SandboxSpec {
                read_only: world::shown(offer),
                files: world::files(&resolvers, &config.hosts),
                code: self.code.clone(),
                cgroups,
                ids: match rustix::process::geteuid().is_root() {
                    true => IdMap::Range { base: slot.first_id() },
                    false => IdMap::Single,
                },
                network,
                layers: self.shared.machine.layers,
            }),
        }
    }
}

impl Engine for LocalEngine {
    fn offers(&self, runtime: &str) -> Result<(), StartError> {
        self.interpreters.offer(runtime).map(drop)
    }

    fn start(&self, order: StartOrder) -> BoxFuture<'_, Result<(), StartError>> {
        self.start_worker(order).boxed()
    }

    fn limit(&self, worker: WorkerId, limits: Limits) -> BoxFuture<'_, Result<(), StartError>> {
        let limited = match &self.shared.machine.cgroups {
            Some(cgroups) => cgroups.limit(worker, limits, self.shared.config.cpu_quota),
            None => Ok(()),
        };
        let limited = limited.map_err(|source| StartError::Failed { what: "set its limits".to_owned(), source });
        std::future::ready(limited).boxed()
    }

    fn adopt(&self, worker: WorkerId, pid: Option<u32>) {
        if self.shared.state().running.contains_key(&worker) {
            return;
        }
        let Some(pid) = pid else { return };
        let slot = Slot::of_process(pid);
        match Running::new(worker, slot, pid) {
            Ok(running) => {
                if let Some(slot) = slot {
                    self.shared.state().slots.hold(slot);
                }
                self.watch(running, Watched::Adopted);
            }
            Err(error) => tracing::warn!(%worker, %error, "cannot watch a worker of an earlier gateway"),
        }
    }

    fn stop(&self, worker: WorkerId, grace: Duration) -> BoxFuture<'_, ()> {
        let running = self.shared.state().running.get(&worker).cloned();
        async move {
            if let Some(running) = running {
                running.stop(grace).await;
            }
        }
        .boxed()
    }
}

impl Shared {
    /// Held for a few instructions at a time. A panic elsewhere leaves it whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, running: &Running) {
        let mut state = self.state();
        state.running.remove(&running.worker);
        if let Some(slot) = running.slot {
            state.slots.free(slot);
        }
    }

    async fn tell_exit(&self, worker: WorkerId, reason: String) {
        // Nobody listens any more: the gateway leaves.
        let _ = self.events.send(EngineEvent::Exited { worker, reason }).await;
    }
}

/// At most 15 characters, and different for each worker.
fn link_name(worker: WorkerId) -> String {
    let id = worker.0.simple().to_string();
    format!("wp{}", &id[id.len() - 12..])
}

/// What the machine offers to workers, without starting any: for `doctor`. Leaves nothing behind.
pub async fn findings(config: &LocalConfig) -> Result<Vec<Finding>, LocalError> {
    let (machine, interpreters, keeper) = examine(config).await?;
    machine.leave();
    keeper.finish(&config.run_dir).await;
    Ok(machine.findings.into_iter().chain(interpreters.findings()).collect())
}

/// Finds out what there is. What that makes is the keeper's to remove.
async fn examine(config: &LocalConfig) -> Result<(Machine, Interpreters, Keeper), LocalError> {
    make_run_dir(&config.run_dir)?;
    let lock = keeper::lock(&config.run_dir)?;
    let installation = installation(&config.data_dir);
    let (machine, interpreters) = tokio::join!(
        Machine::examine(config, &installation),
        Interpreters::find(config.path.as_deref(), config.home.as_deref(), &config.runtimes_dir, config.exact_runtimes),
    );
    let machine = machine?;
    let keep = KeepSpec {
        run_dir: config.run_dir.clone(),
        gateway_lock: config.lock.clone(),
        cgroups: machine.cgroups.as_ref().map(|cgroups| cgroups.leftovers()).unwrap_or_default(),
        bridge: machine.bridge.clone(),
    };
    let keeper = Keeper::start(&config.agent, &keep, lock).await?;
    Ok((machine, interpreters, keeper))
}

/// Other users, which agents are to the machine, may pass through it but not look around.
fn make_run_dir(path: &Path) -> Result<(), LocalError> {
    let failed = |source| LocalError::RunDir { path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(failed)?;
    for folder in [path.parent(), Some(path)].into_iter().flatten() {
        if folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("warmpod")) || folder == path {
            fs::set_permissions(folder, Permissions::from_mode(0o711)).map_err(failed)?;
        }
    }
    Ok(())
}

fn report(machine: &Machine, required: bool) -> Result<(), LocalError> {
    let missing: Vec<&Finding> = machine.findings.iter().filter(|finding| !finding.on).collect();
    if required && !missing.is_empty() {
        return Err(LocalError::NotIsolated(
            missing.iter().map(|finding| finding.layer).collect::<Vec<_>>().join(", "),
        ));
    }
    for finding in missing {
        tracing::warn!("no {}: {}; {}", finding.layer, finding.detail, finding.advice.unwrap_or_default());
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
