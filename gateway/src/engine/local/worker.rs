//! One worker's process on this machine: started, watched until it is gone, and cleaned up after.
//!
//! ```text
//!  start ──> running ──(the agent ends, or is killed)──> emptied ──> removed ──> Exited
//! ```
//! The agent holds its worker together: its end ends every process of it. `emptied` waits for that where there is a
//! cgroup to see it by.

use super::Shared;
use super::slots::Slot;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio_util::sync::CancellationToken;
use warmpod_link::{WorkerId, WorkerSpec};

/// How long an agent that was told to end at once may take to do it in order.
const ORDERLY: Duration = Duration::from_secs(1);
/// Between two looks at a cgroup that is not empty yet.
const LOOK: Duration = Duration::from_millis(2);
/// Characters of an agent's complaint in the log.
const COMPLAINT: usize = 1000;

/// A worker that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) worker: WorkerId,
    pub(super) slot: Option<Slot>,
    agent: OwnedFd,
    /// Cancelled when nothing of it is left.
    gone: CancellationToken,
}

/// What its end is seen by: our own child, or a process that an earlier gateway started.
pub(super) enum Watched {
    Child(Child),
    Adopted,
}

impl Running {
    pub(super) fn new(worker: WorkerId, slot: Option<Slot>, pid: u32) -> io::Result<Arc<Running>> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let agent = pidfd_open(pid, PidfdFlags::NONBLOCK).or_else(|_| pidfd_open(pid, PidfdFlags::empty()))?;
        Ok(Arc::new(Running { worker, slot, agent, gone: CancellationToken::new() }))
    }

    /// Ends it, and waits until it is gone.
    pub(super) async fn stop(&self, grace: Duration) {
        if tokio::time::timeout(grace, self.gone.cancelled()).await.is_ok() {
            return;
        }
        // Gone in between: then its watcher is about to say so.
        let _ = pidfd_send_signal(&self.agent, Signal::TERM);
        if tokio::time::timeout(ORDERLY, self.gone.cancelled()).await.is_err() {
            let _ = pidfd_send_signal(&self.agent, Signal::KILL);
            self.gone.cancelled().await;
        }
    }

    /// Watches it until it has ended, and removes what it leaves.
    pub(super) async fn watch(self: Arc<Running>, watched: Watched, shared: Arc<Shared>) {
        let reason = match watched {
            Watched::Child(mut child) => {
                if let Some(complaints) = child.stderr.take() {
                    log(self.worker, complaints).await;
                }
                match child.wait().await {
                    Ok(status) => format!("the agent ended with {status}"),
                    Err(error) => format!("the agent cannot be waited for: {error}"),
                }
            }
            Watched::Adopted => match self.ended().await {
                Ok(()) => "the agent ended".to_owned(),
                Err(error) => format!("the agent cannot be watched: {error}"),
            },
        };
        self.clean_up(&shared).await;
        shared.forget(&self);
        self.gone.cancel();
        shared.tell_exit(self.worker, reason).await;
    }

    async fn ended(&self) -> io::Result<()> {
        #[expect(deprecated, reason = "unsound for types that lie about their descriptor, which OwnedFd does not")]
        let agent = AsyncFd::new(self.agent.try_clone()?)?;
        agent.readable().await.map(drop)
    }

    async fn clean_up(&self, shared: &Shared) {
        let Some(cgroups) = &shared.machine.cgroups else { return };
        while !cgroups.remove(self.worker) {
            // Only where there is no pid namespace to end them.
            for pid in cgroups.processes(self.worker) {
                if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Starts an agent and hands it its spec. `held` is the lock that every agent inherits: see `keeper`.
pub(super) async fn spawn(agent: &Path, spec: &WorkerSpec, held: File) -> io::Result<Child> {
    let mut child = Command::new(agent)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(held)
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let bytes = postcard::to_stdvec(spec).map_err(io::Error::other)?;
    match child.stdin.take() {
        Some(mut stdin) => stdin.write_all(&bytes).await?,
        None => return Err(io::ErrorKind::BrokenPipe.into()),
    }
    Ok(child)
}

/// Passes an agent's complaints on, until nobody of it holds the pipe any more.
async fn log(worker: WorkerId, complaints: ChildStderr) {
    let mut lines = BufReader::new(complaints).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line: String = String::from_utf8_lossy(&line).chars().take(COMPLAINT).collect();
        tracing::warn!(%worker, "agent: {line}");
    }
}
