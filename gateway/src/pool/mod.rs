//! The one owner of all workers' life: starting, claiming, leasing, keeping alive, draining, reaping.
//!
//! A service registers a [`Group`] for each function version and leases environments from it; it never sees an engine
//! or a worker. Inside:
//!
//! ```text
//!  service ──lease──> group ── pop ──> environment ──invoke──> agent        (no task, no lock across an await)
//!                       │ nobody idle
//!                       └─ Waiting ─> driver ─ apply ─> core ─ Start, Claim, Stop ─> engine, agents
//!                                       ^
//!  agents dial in at the door ──────────┘
//! ```

mod agents;
pub mod core;
mod driver;
pub mod environment;
pub mod group;
pub mod identity;
pub mod limits;
mod shelf;

pub use self::core::Census;
pub use driver::chain;
pub use group::{Group, GroupSpec, InvocationError, Lease, LeaseError};

use self::core::{Core, GroupId, Settings};
use crate::engine::{Engine, EngineEvent};
use agents::{Door, Expected};
use driver::{Driver, Message};
use identity::InstallationKey;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use warmpod_link::WorkerId;

/// Messages that may wait for the owner.
const INBOX: usize = 4096;

#[derive(Clone)]
pub struct Pool {
    owner: mpsc::Sender<Message>,
    tasks: TaskTracker,
    engine: Arc<dyn Engine>,
    next_group: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Pool {
    /// Starts the owner and the door. `agents` is the socket where they dial in.
    pub fn start(
        settings: Settings,
        engine: Arc<dyn Engine>,
        events: mpsc::Receiver<EngineEvent>,
        key: InstallationKey,
        stop_grace: Duration,
        tasks: TaskTracker,
    ) -> (Self, PoolDoor) {
        let (owner, inbox) = mpsc::channel(INBOX);
        let expected = Expected::default();
        let core = Core::new(settings, || WorkerId(Uuid::new_v4()));
        let driver =
            Driver::new(core, engine.clone(), key.clone(), expected.clone(), tasks.clone(), stop_grace, owner.clone());
        tasks.spawn(driver.run(inbox, events));
        let stop = CancellationToken::new();
        let door = Door { key, owner: owner.clone(), tasks: tasks.clone(), stop: stop.clone(), expected };
        (Self { owner, tasks, engine, next_group: Arc::new(AtomicU64::new(1)), stop }, PoolDoor(door))
    }

    /// Whether functions of this runtime can run here; the error names what to install.
    pub fn offers(&self, runtime: &str) -> Result<(), crate::engine::StartError> {
        self.engine.offers(runtime)
    }

    /// A function version that may be invoked from now on.
    pub async fn register(&self, spec: GroupSpec) -> Arc<Group> {
        let id = GroupId(self.next_group.fetch_add(1, Ordering::Relaxed));
        let group = Group::new(id, spec, self.owner.clone(), self.tasks.clone());
        let _ = self.owner.send(Message::Register(group.clone())).await;
        group
    }

    /// Its code or configuration changed, or it was deleted: what runs ends well, nothing new starts.
    pub async fn retire(&self, group: &Group) {
        let _ = self.owner.send(Message::Retire(group.id)).await;
    }

    pub async fn census(&self) -> Census {
        let (reply, census) = oneshot::channel();
        let _ = self.owner.send(Message::Census(reply)).await;
        census.await.unwrap_or_default()
    }

    /// Stops all workers; returns when they are gone.
    pub async fn close(&self) {
        let (done, gone) = oneshot::channel();
        if self.owner.send(Message::Close(done)).await.is_ok() {
            let _ = gone.await;
        }
        self.stop.cancel();
    }
}

/// Opened once the functions are known, so that workers of an earlier gateway find theirs.
pub struct PoolDoor(Door);

impl PoolDoor {
    pub fn open(self, listener: UnixListener) {
        let tasks = self.0.tasks.clone();
        tasks.spawn(self.0.serve(listener));
    }
}
