//! `warmpod-agent keep`: waits until a gateway and all its workers are gone, however they went, and removes what they
//! cannot remove themselves.
//!
//! It holds no state and needs no message: gateway and agents share a lock on one file, and this waits to have it alone.
//! If by then a new gateway uses the data directory, everything is the new one's business.

use rustix::event::{Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use warmpod_link::KeepSpec;

/// How long a lock may stay behind a dead process, or a starting gateway without its second one.
const PATIENCE_TENTHS: u32 = 50;
const TENTH: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

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
    if !wait_until_nobody_is_left(&spec, &alone)? {
        return Ok(());
    }
    for cgroup in &spec.cgroups {
        remove_cgroup(cgroup)?;
    }
    if let Some(bridge) = &spec.bridge {
        crate::bridge::take_down(bridge);
    }
    match fs::remove_dir_all(&spec.run_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Waits for the workers' lock. True with it in hand: then a gateway that starts now waits for it, and makes everything
/// anew. False if a new gateway is there already.
fn wait_until_nobody_is_left(spec: &KeepSpec, workers: &File) -> io::Result<bool> {
    rustix::io::retry_on_intr(|| flock(workers, FlockOperation::LockExclusive))?;
    if spec.run_dir.join("closed").exists() {
        return Ok(true);
    }
    let Some(gateway) = open(&spec.gateway_lock)? else { return Ok(true) };
    for _ in 0..PATIENCE_TENTHS {
        if flock(&gateway, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(true);
        }
        // A dying process lets go of one lock after the other. A new gateway takes this one next.
        flock(workers, FlockOperation::Unlock)?;
        poll(&mut [], Some(&TENTH))?;
        if flock(workers, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(false);
        }
    }
    Ok(false)
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        // Removed in good order.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a cgroup and those below it. A process lets go of its lock before it leaves its cgroup, so the last ones may
/// still be on their way out.
fn remove_cgroup(folder: &Path) -> io::Result<()> {
    for _ in 0..PATIENCE_TENTHS {
        if try_remove(folder) {
            return Ok(());
        }
        poll(&mut [], Some(&TENTH))?;
    }
    Ok(())
}

/// A cgroup has files that cannot be removed, and folders that must be, inner ones first. True when it is gone.
fn try_remove(folder: &Path) -> bool {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            try_remove(&entry.path());
        }
    }
    fs::remove_dir(folder).map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true)
}
