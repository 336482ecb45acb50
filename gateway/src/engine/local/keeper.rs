//! What is left when a gateway is killed: nothing, because of the keeper. It is one more process of the agent's program
//! that waits for a lock.
//!
//! ```text
//!  RUN_DIR/workers   locked (shared) by the gateway, and, since they inherit that descriptor, by each agent
//!  keeper            waits for the lock alone: gateway and agents are gone; then removes cgroups, links, RUN_DIR,
//!                    unless a new gateway holds the data directory by then
//! ```

use super::LocalError;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use warmpod_link::KeepSpec;

/// The lock that says that somebody is there.
pub(super) fn hold(run_dir: &Path) -> Result<File, LocalError> {
    let path = run_dir.join("workers");
    let failed = |source| LocalError::RunDir { path: path.clone(), source };
    loop {
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        // Waits while an earlier keeper cleans up.
        flock(&file, FlockOperation::LockShared).map_err(|errno| failed(errno.into()))?;
        let mine = file.metadata().map_err(failed)?.ino();
        // It may have been removed in between.
        if std::fs::metadata(&path).is_ok_and(|there| there.ino() == mine) {
            return Ok(file);
        }
        std::fs::create_dir_all(run_dir).map_err(failed)?;
    }
}

/// Starts the keeper. It outlives this process, and is never waited for but by its end.
pub(super) async fn start(agent: &Path, spec: &KeepSpec) -> Result<Child, LocalError> {
    let failed = |source| LocalError::Agent { path: agent.to_owned(), source };
    let mut keeper = Command::new(agent)
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
    if let Some(mut stdin) = keeper.stdin.take() {
        stdin.write_all(&bytes).await.map_err(failed)?;
    }
    Ok(keeper)
}
