//! The place where a worker's processes run: the only part of the agent that starts and ends processes.
//!
//! Owns: namespaces, the root file system, cgroup membership, Landlock, seccomp, rlimits, and the worker's first
//! process (pid 1 of its pid namespace). Never knows: Lambda, HTTP, the link.
//!
//! ```text
//!  Sandbox::enter ──> up ──attach──> up, with the function's code ──kill_all──> up, empty (files stay) ──drop──> gone
//!                      └──spawn──> processes, whose ends come out of take_exits()
//! ```

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A process of the sandbox, by the pid that the sandbox gave it (not one of the machine's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub u32);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exited(i32),
    Signaled(i32),
}

/// A process to start. It becomes the leader of its own process group.
pub struct Command<'a> {
    pub program: &'a Path,
    pub arguments: &'a [String],
    /// Complete: nothing of the agent's own environment is passed on.
    pub environment: &'a [(String, String)],
    pub directory: &'a Path,
    /// Standard output and standard error.
    pub output: OwnedFd,
    /// Further descriptors, with the numbers that they have in the process (3 and up). Standard input is /dev/null.
    pub descriptors: Vec<(i32, OwnedFd)>,
}

/// What a claim adds to a sandbox that is already up.
pub struct Attachment<'a> {
    /// Shown read-only at /var/task.
    pub code: &'a Path,
    /// Merged read-only at /opt, later ones over earlier ones.
    pub layers: &'a [PathBuf],
    /// Size of /tmp.
    pub ephemeral_mib: u32,
}
