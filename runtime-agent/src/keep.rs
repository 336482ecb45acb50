//! `warmpod-agent keep`: waits until a gateway and all its workers are gone, however they went, and removes what they
//! cannot remove themselves.
//!
//! It holds no state and needs no message: gateway and agents share a lock on one file, and this waits to have it alone.
//! If by then a new gateway uses the data directory, everything is the new one's business.

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use warmpod_link::KeepSpec;

pub(crate) fn run() -> ExitCode {
    match keep() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "warmpod's keeper: {error}");
            ExitCode::FAILURE
        }
    }
}

fn keep() -> io::Result<()> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    let spec: KeepSpec = postcard::from_bytes(&bytes).map_err(io::Error::other)?;
    let Some(alone) = open(&spec.run_dir.join("workers"))? else { return Ok(()) };
    rustix::io::retry_on_intr(|| flock(&alone, FlockOperation::LockExclusive))?;
    // With the workers' lock in hand: a gateway that starts now waits for it, then makes everything anew.
    let left_in_order = spec.run_dir.join("closed").exists();
    if !left_in_order
        && let Some(lock) = open(&spec.gateway_lock)?
        && flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
    {
        return Ok(());
    }
    for cgroup in &spec.cgroups {
        remove_cgroup(cgroup);
    }
    if let Some(bridge) = &spec.bridge {
        crate::bridge::take_down(bridge);
    }
    match fs::remove_dir_all(&spec.run_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        // Removed in good order.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A cgroup has files that cannot be removed, and folders that must be, inner ones first.
fn remove_cgroup(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}
