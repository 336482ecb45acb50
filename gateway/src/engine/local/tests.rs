//! The engine with real agents on this machine. The agent's program is the one that was built beside these tests.

use super::cgroups::Cgroups;
use super::*;
use crate::engine::{MemoryMib, WorkerTemplate};
use rustix::fs::{FlockOperation, flock};
use std::io::Read;
use std::os::unix::net::UnixListener as StdListener;
use tempfile::TempDir;
use uuid::Uuid;
use warmpod_link::Credential;
use warmpod_link::control::{Hello, decode};
use warmpod_link::worker::{Layers, Network};

/// One installation: a data directory with its lock held, as by a gateway.
pub(crate) struct Installation {
    folder: TempDir,
    _lock: File,
}

impl Installation {
    pub(crate) fn new() -> Installation {
        let folder = TempDir::new_in("/var/tmp").expect("a temporary folder can be made");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).expect("it is ours");
        let lock = File::create(folder.path().join("lock")).expect("it is ours");
        flock(&lock, FlockOperation::LockExclusive).expect("nobody else has it");
        Installation { folder, _lock: lock }
    }

    pub(crate) fn config(&self) -> LocalConfig {
        LocalConfig {
            agent: agent(),
            runtimes_dir: self.folder.path().join("runtimes"),
            run_dir: self.folder.path().join("run"),
            data_dir: self.folder.path().to_owned(),
            lock: self.folder.path().join("lock"),
            orphan_timeout: Duration::from_secs(45),
            require_isolation: false,
            exact_runtimes: false,
            network: NetworkChoice::Automatic,
            host_ports: LocalConfig::HOST_PORTS.to_vec(),
            cgroups: true,
            cpu_quota: false,
            dns: None,
            hosts: Vec::new(),
            path: None,
            home: None,
        }
    }

    pub(super) async fn engine(&self) -> (LocalEngine, mpsc::Receiver<EngineEvent>) {
        let (events, receiver) = mpsc::channel(16);
        (LocalEngine::new(self.config(), events).await.expect("the engine starts"), receiver)
    }
}

fn agent() -> PathBuf {
    let tests = std::env::current_exe().expect("this is a program");
    let agent = tests.ancestors().nth(2).expect("it lies in deps").join("warmpod-agent");
    assert!(agent.exists(), "build warmpod-agent with the same profile first: {} is missing", agent.display());
    agent
}

fn order() -> StartOrder {
    StartOrder {
        worker: WorkerId(Uuid::new_v4()),
        token: Credential([7; 32]),
        template: WorkerTemplate { runtime: "provided.al2023".to_owned() },
        ahead: false,
    }
}

/// Starts a worker and waits until its agent has said hello; the agent's pid comes with it.
async fn start(engine: &LocalEngine, order: StartOrder) -> (Hello, u32, std::os::unix::net::UnixStream) {
    let listener = engine.listen().expect("the socket is free").into_std().expect("it was async");
    engine.start(order).await.expect("the worker starts");
    tokio::task::spawn_blocking(move || hello(&listener)).await.expect("nothing panics there")
}

fn hello(listener: &StdListener) -> (Hello, u32, std::os::unix::net::UnixStream) {
    listener.set_nonblocking(false).expect("a socket");
    let (mut connection, _) = listener.accept().expect("the agent dials");
    let mut bytes = Vec::new();
    let mut one = [0; 256];
    loop {
        if let Some((hello, _)) = decode(&bytes).expect("an agent's hello") {
            let peer = rustix::net::sockopt::socket_peercred(&connection).expect("a Unix socket");
            return (hello, peer.pid.as_raw_nonzero().get().cast_unsigned(), connection);
        }
        let count = connection.read(&mut one).expect("the agent writes");
        assert_ne!(count, 0, "the agent left");
        bytes.extend(&one[..count]);
    }
}

fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_dials_in_and_leaves_nothing_when_it_is_stopped() {
    let installation = Installation::new();
    let (engine, mut events) = installation.engine().await;
    let order = order();
    let (hello, pid, _connection) = start(&engine, order.clone()).await;
    assert_eq!((hello.worker, hello.credential), (order.worker, order.token));
    let cgroups: Vec<PathBuf> = engine.shared.machine.cgroups.iter().flat_map(Cgroups::leftovers).collect();
    for cgroup in &cgroups {
        assert!(cgroup.join(order.worker.to_string()).exists(), "{}", cgroup.display());
    }

    engine.stop(order.worker, Duration::ZERO).await;
    assert!(!is_there(pid));
    for cgroup in &cgroups {
        assert!(!cgroup.join(order.worker.to_string()).exists(), "{}", cgroup.display());
    }
    let Some(EngineEvent::Exited { worker, .. }) = events.recv().await else { panic!("the exit is told") };
    assert_eq!(worker, order.worker);

    engine.close().await;
    assert!(!installation.folder.path().join("run").exists());
    assert!(cgroups.iter().all(|cgroup| !cgroup.exists()));
    let links = fs::read_dir("/sys/class/net").expect("every machine has links");
    let link = engine.shared.machine.bridge.as_ref().map(|bridge| bridge.name.clone()).unwrap_or_default();
    assert!(links.flatten().all(|other| other.file_name() != *link));
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_the_engine_ends_its_workers() {
    let installation = Installation::new();
    let (engine, mut events) = installation.engine().await;
    let (_, pid, _connection) = start(&engine, order()).await;
    engine.close().await;
    assert!(!is_there(pid));
    assert!(matches!(events.recv().await, Some(EngineEvent::Exited { .. })));
    assert!(engine.start(order()).await.is_err(), "a closed engine starts nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_an_earlier_gateway_is_adopted_and_can_be_stopped() {
    let installation = Installation::new();
    let (first, _) = installation.engine().await;
    let order = order();
    let (_, pid, connection) = start(&first, order.clone()).await;
    let slot = Slot::of_process(pid);
    // As if killed: nothing of it is told to end.
    drop(first);

    let (second, mut events) = installation.engine().await;
    second.adopt(order.worker, Some(pid));
    if let Some(slot) = slot {
        let mut state = second.shared.state();
        let taken: Vec<Slot> = std::iter::from_fn(|| state.slots.take()).collect();
        assert!(!taken.contains(&slot), "a living worker keeps its slot");
        taken.into_iter().for_each(|slot| state.slots.free(slot));
    }
    assert!(is_there(pid));
    second.stop(order.worker, Duration::ZERO).await;
    drop(connection);
    let Some(EngineEvent::Exited { worker, .. }) = events.recv().await else { panic!("the exit is told") };
    assert_eq!(worker, order.worker);
    second.close().await;
    assert!(!installation.folder.path().join("run").exists());
}

#[test]
fn cgroups_of_a_gateway_that_was_started_elsewhere_are_remembered() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let (record, worker) = (folder.path().join("record"), WorkerId(Uuid::new_v4()));
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir_all(elsewhere.join(worker.to_string())).expect("it is ours");
    fs::write(&record, format!("{}\n", elsewhere.display())).expect("it is ours");
    let name = format!("test-{}", std::process::id());
    let Ok(cgroups) = Cgroups::open(&name, &record) else { return };
    assert!(cgroups.leftovers().contains(&elsewhere));
    assert_eq!(cgroups.workers(), [worker]);
    assert!(cgroups.remove(worker));
    assert!(!elsewhere.join(worker.to_string()).exists());
    cgroups.leave();
    cgroups.leftovers().iter().for_each(|folder| drop(fs::remove_dir(folder)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_is_told() {
    let installation = Installation::new();
    let (engine, mut events) = installation.engine().await;
    let (_, pid, _connection) = start(&engine, order()).await;
    let agent = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a pid");
    rustix::process::kill_process(agent, rustix::process::Signal::KILL).expect("it is ours");
    let Some(EngineEvent::Exited { reason, .. }) = events.recv().await else { panic!("the exit is told") };
    assert!(reason.contains("signal: 9"), "{reason}");
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn isolation_can_be_required() {
    let installation = Installation::new();
    let mut config = installation.config();
    config.cgroups = false;
    config.require_isolation = true;
    let (events, _receiver) = mpsc::channel(1);
    let refused = LocalEngine::new(config, events).await.map(drop).expect_err("cgroups are switched off");
    assert!(refused.to_string().contains("cgroup memory"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_hog_and_a_fork_bomb_hurt_only_themselves() {
    let installation = Installation::new();
    let (engine, _events) = installation.engine().await;
    let Some(cgroups) = &engine.shared.machine.cgroups else { return engine.close().await };
    let layers = Layers { limits: false, ..engine.shared.machine.layers };
    let worker = WorkerId(Uuid::new_v4());
    let mut sandbox = trials::bare(layers, machine::trial_ids(), Network::Host { ports: Vec::new() });
    sandbox.cgroups = cgroups.make(worker, false).expect("a folder can be made");
    let run = async |script: &str| {
        trials::attempt(&installation.config().agent, sandbox.clone(), &["/bin/sh", "-c", script])
            .await
            .expect("the agent runs")
    };
    if cgroups.has("memory") {
        let small = Limits { memory: MemoryMib(16), ephemeral: MemoryMib(16) };
        engine.limit(worker, small).await.expect("limits can be written");
        // Files in memory count, as what is in variables does.
        let hog = "a=0123456789abcdef; while :; do a=$a$a; done";
        let ended = run(hog).await.expect_err("it is killed");
        assert!(ended.contains("137"), "{ended}");
        assert_eq!(run("echo fine").await.as_deref(), Ok("fine"));
    }
    if cgroups.has("pids") {
        let bomb = "i=0; while [ $i -lt 1100 ]; do sleep 600 & i=$((i+1)); done; echo all";
        assert!(run(bomb).await.is_err(), "1,100 processes are too many");
    }
    engine.close().await;
}
#[tokio::test(flavor = "multi_thread")]
async fn the_findings_can_be_had_without_an_engine_and_leave_nothing() {
    let installation = Installation::new();
    let findings = findings(&installation.config()).await.expect("the agent runs");
    assert!(findings.iter().any(|finding| finding.layer == "runtime python3.x"));
    assert!(!installation.folder.path().join("run").exists());
}
