//! The keeper removes what a killed gateway leaves, once its workers are gone too, and nothing of a new gateway's.

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use warmpod_link::KeepSpec;

/// A process that has a lock, as a gateway or an agent has: it goes when the process goes.
struct Holder(Child);

impl Holder {
    fn of(lock: File) -> Holder {
        Holder(Command::new("sleep").arg("600").stdout(OwnedFd::from(lock)).spawn().expect("sleep is everywhere"))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Installation {
    folder: TempDir,
}

impl Installation {
    fn new() -> Installation {
        let this = Installation { folder: TempDir::new().expect("a temporary folder can be made") };
        fs::create_dir_all(this.path("cgroup/worker")).expect("it is ours");
        fs::create_dir(this.path("run")).expect("it is ours");
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn locked(&self, name: &str, how: FlockOperation) -> File {
        let file = File::create(self.path(name)).expect("it is ours");
        flock(&file, how).expect("nobody is in the way");
        file
    }

    fn keeper(&self) -> Child {
        let spec = KeepSpec {
            run_dir: self.path("run"),
            gateway_lock: self.path("lock"),
            cgroups: vec![self.path("cgroup")],
            bridge: None,
        };
        let mut keeper = Command::new(env!("CARGO_BIN_EXE_warmpod-agent"))
            .arg("keep")
            .stdin(Stdio::piped())
            .spawn()
            .expect("the agent can be started");
        let bytes = postcard::to_stdvec(&spec).expect("a spec can be written");
        keeper.stdin.take().expect("it is piped").write_all(&bytes).expect("the keeper reads it");
        keeper
    }

    fn is_clean(&self) -> bool {
        !self.path("run").exists() && !self.path("cgroup").exists()
    }
}

#[test]
fn what_a_killed_gateway_left_is_removed_when_its_last_worker_is_gone() {
    let installation = Installation::new();
    let workers = installation.locked("run/workers", FlockOperation::LockShared);
    let worker = Holder::of(workers.try_clone().expect("a file"));
    let gateway = Holder::of(workers);
    let data = Holder::of(installation.locked("lock", FlockOperation::LockExclusive));
    let mut keeper = installation.keeper();
    drop((gateway, data));
    assert!(keeper.try_wait().expect("it is ours").is_none(), "a worker is left");
    assert!(!installation.is_clean());
    drop(worker);
    assert!(keeper.wait().expect("it is ours").success());
    assert!(installation.is_clean());
}

#[test]
fn a_lock_that_is_let_go_a_little_later_does_not_mislead_it() {
    let installation = Installation::new();
    let workers = Holder::of(installation.locked("run/workers", FlockOperation::LockShared));
    let data = Holder::of(installation.locked("lock", FlockOperation::LockExclusive));
    let mut keeper = installation.keeper();
    drop(workers);
    drop(data);
    assert!(keeper.wait().expect("it is ours").success());
    assert!(installation.is_clean());
}

#[test]
fn what_a_new_gateway_uses_is_left_alone() {
    let installation = Installation::new();
    let _data = Holder::of(installation.locked("lock", FlockOperation::LockExclusive));
    let workers = File::create(installation.path("run/workers")).expect("it is ours");
    let mut keeper = installation.keeper();
    let has_it = format!(" WRITE {} ", keeper.id());
    while !fs::read_to_string("/proc/locks").expect("Linux").lines().any(|line| line.contains(&has_it)) {
        std::thread::yield_now();
    }
    // As a new gateway does, which has the data directory by then.
    flock(&workers, FlockOperation::LockShared).expect("the keeper lets go");
    assert!(keeper.wait().expect("it is ours").success());
    assert!(!installation.is_clean());
}

#[test]
fn in_good_order_the_gateway_may_still_be_there() {
    let installation = Installation::new();
    let workers = installation.locked("run/workers", FlockOperation::LockShared);
    let _data = installation.locked("lock", FlockOperation::LockExclusive);
    let mut keeper = installation.keeper();
    fs::write(installation.path("run/closed"), "").expect("it is ours");
    drop(workers);
    assert!(keeper.wait().expect("it is ours").success());
    assert!(installation.is_clean());
}
