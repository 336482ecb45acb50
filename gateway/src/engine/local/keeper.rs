//! What is left when a gateway is killed: nothing, because of the keeper. It is one more process of the agent's program
//! that waits for a lock.
//!
//! ```text
//!  RUN_DIR/workers   locked (shared) by the gateway, and, since they inherit that descriptor, by each agent
//!  RUN_DIR/closed    the gateway left in good order
//!  keeper            waits for the lock alone: gateway and agents are gone; then removes cgroups, bridge and RUN_DIR,
//!                    unless a new gateway holds the data directory by then
//! ```

use super::LocalError;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use warmpod_link::KeepSpec;

/// How long the keeper may take to clean up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The lock that says that somebody is there.
pub(super) fn lock(run_dir: &Path) -> Result<File, LocalError> {
    let path = run_dir.join("workers");
    let failed = |source| LocalError::RunDir { path: path.clone(), source };
    loop {
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        // Waits while an earlier keeper cleans up.
        flock(&file, FlockOperation::LockShared).map_err(|errno| failed(errno.into()))?;
        let mine = file.metadata().map_err(failed)?.ino();
        // It may have been removed in between.
        if std::fs::metadata(&path).is_ok_and(|there| there.ino() == mine) {
            let _ = std::fs::remove_file(run_dir.join("closed"));
            return Ok(file);
        }
        std::fs::create_dir_all(run_dir).map_err(failed)?;
    }
}

pub(super) struct Keeper {
    process: Child,
    lock: File,
}

impl Keeper {
    /// Starts the keeper, which outlives this process. `lock` is what it waits for.
    pub(super) async fn start(agent: &Path, spec: &KeepSpec, lock: File) -> Result<Keeper, LocalError> {
        let failed = |source| LocalError::Agent { path: agent.to_owned(), source };
        let mut process = Command::new(agent)
            .arg("keep")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let bytes = postcard::to_stdvec(spec).map_err(|error| failed(std::io::Error::other(error)))?;
        if let Some(mut stdin) = process.stdin.take() {
            stdin.write_all(&bytes).await.map_err(failed)?;
        }
        Ok(Keeper { process, lock })
    }

    /// For an agent to inherit.
    pub(super) fn lock_for_worker(&self) -> std::io::Result<File> {
        self.lock.try_clone()
    }

    /// The last worker is gone: lets the keeper do its work, and waits for it.
    pub(super) async fn finish(mut self, run_dir: &Path) {
        let closed = std::fs::write(run_dir.join("closed"), "");
        drop(self.lock);
        match (closed, tokio::time::timeout(PATIENCE, self.process.wait()).await) {
            (Ok(()), Ok(Ok(status))) if status.success() => {}
            (closed, ended) => tracing::warn!(?closed, ?ended, "the keeper did not clean up"),
        }
    }
}
