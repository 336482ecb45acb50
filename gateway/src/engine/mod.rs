//! Where workers are made. One trait, an implementation a folder; only the pool talks to it.
//!
//! An engine starts and stops workers and says what became of them. It never decides when: that is the pool's. It never
//! speaks to an agent: readiness is the agent's own dial-in, and an engine only reports what goes wrong.
//!
//! ```text
//!  start ──> starting ──(agent dials in; the pool sees it)──> up ──> stop ──> EngineEvent::Exited
//!               └──────────── dies, cannot start ───────────────────────────> EngineEvent::Exited
//! ```

pub mod local;

use futures_util::future::BoxFuture;
use std::time::Duration;
use warmpod_link::{Credential, WorkerId};

/// Memory in MiB, as AWS counts a function's MemorySize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemoryMib(pub u32);

/// What a worker is made from. Workers of equal templates are interchangeable until they are claimed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkerTemplate {
    /// The runtime's identifier as AWS names it, such as `python3.12`.
    pub runtime: String,
}

impl WorkerTemplate {
    /// The class of workers made from this template; comes back in an agent's hello.
    pub fn class(&self) -> ClassId {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(self.runtime.as_bytes());
        ClassId(digest.iter().take(8).fold(0, |class, byte| class << 8 | u64::from(*byte)))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassId(pub u64);

/// One worker to start.
#[derive(Clone, Debug)]
pub struct StartOrder {
    pub worker: WorkerId,
    pub token: Credential,
    pub template: WorkerTemplate,
    /// Nobody waits for it: it may take its time to prepare its interpreter for whoever comes.
    pub ahead: bool,
}

/// What a claim asks of the worker's limits. The worker's template had none, or the class's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub memory: MemoryMib,
    pub ephemeral: MemoryMib,
}

#[derive(Debug)]
pub enum EngineEvent {
    /// The worker is gone, whoever ended it.
    Exited { worker: WorkerId, reason: String },
}

/// Why a worker could not be started. The text reaches the function's state and the operator's log.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    RuntimeMissing(String),
    #[error("cannot start a worker: {what}")]
    Failed {
        what: String,
        #[source]
        source: std::io::Error,
    },
}

pub trait Engine: Send + Sync + 'static {
    /// Whether functions of this runtime can run here; the error names what to install.
    fn offers(&self, runtime: &str) -> Result<(), StartError>;

    /// Starts a worker; returns when its process (or pod) exists, not when it is ready.
    fn start(&self, order: StartOrder) -> BoxFuture<'_, Result<(), StartError>>;

    /// Sets the limits of a worker that is about to be claimed.
    fn limit(&self, worker: WorkerId, limits: Limits) -> BoxFuture<'_, Result<(), StartError>>;

    /// Takes over a worker that an earlier gateway started; `pid` is its agent's, from the socket's credentials.
    fn adopt(&self, worker: WorkerId, pid: Option<u32>);

    /// Ends a worker: at once with no grace, else after the agent had that long to leave by itself. Returns when it and
    /// all that belongs to it (processes, mounts, cgroups, links) are gone. Unknown workers are gone already.
    fn stop(&self, worker: WorkerId, grace: Duration) -> BoxFuture<'_, ()>;
}
