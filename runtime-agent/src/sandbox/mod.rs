//! The place where a worker's processes run: the only part of the agent that starts and ends processes.
//!
//! Owns: namespaces, the root file system, cgroup membership, Landlock, seccomp, rlimits, and the worker's first
//! process (pid 1 of its pid namespace). Never knows: Lambda, HTTP, the link.
//!
//! ```text
//!  Sandbox::enter ──> up ──attach──> up, with the function's code ──kill_all──> up, empty (files stay) ──drop──> gone
//!                      └──spawn──> processes, whose ends come out of take_exits()
//! ```

mod confine;
mod enter;
mod error;
mod files;
mod first;
mod memory;
mod network;
mod outside;
mod root;
mod ruleset;
mod seccomp;
mod spawn;
pub(crate) mod trial;

pub(crate) use error::{SandboxError, SpawnError};
pub(crate) use memory::MemoryUse;

use confine::Confinement;
use files::Files;
use first::First;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use warmpod_link::worker::SandboxSpec;

/// A process of the sandbox: its pid as the agent sees it, not as it sees itself. Names the process until
/// [`Sandbox::take_exits`] has told its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ProcessId(pub u32);

/// Where a new process was when it failed.
#[derive(Clone, Copy)]
enum Step {
    Descriptors,
    Directory,
    Files,
    Limits,
    Ids,
    Capabilities,
    Landlock,
    Seccomp,
    Exec,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    Signaled(i32),
}

/// A process to start. It becomes the leader of its own process group.
pub(crate) struct Command<'a> {
    pub(crate) program: &'a Path,
    pub(crate) arguments: &'a [String],
    /// Complete: nothing of the agent's own environment is passed on.
    pub(crate) environment: &'a [(String, String)],
    pub(crate) directory: &'a Path,
    /// Standard output and standard error.
    pub(crate) output: OwnedFd,
    /// Further descriptors, with the numbers that they have in the process (3 and up). Standard input is /dev/null.
    pub(crate) descriptors: Vec<(i32, OwnedFd)>,
}

/// What a claim adds to a sandbox that is already up.
pub(crate) struct Attachment<'a> {
    /// Shown read-only at /var/task.
    pub(crate) code: &'a Path,
    /// Merged read-only at /opt, later ones over earlier ones.
    pub(crate) layers: &'a [PathBuf],
    /// Size of /tmp.
    pub(crate) ephemeral_mib: u32,
}

pub(crate) struct Sandbox {
    children: BTreeSet<ProcessId>,
    /// Readable while a child's end has not been taken.
    signals: OwnedFd,
    memory: memory::Meter,
    world: Option<World>,
    /// Where the function's code and its last layer are, as its processes see them.
    code: PathBuf,
    layer: PathBuf,
}

/// What stands between the function's processes and the machine.
struct World {
    files: Option<Files>,
    first: Option<First>,
    confinement: Confinement,
    layers: Vec<String>,
}

impl Sandbox {
    /// Makes the sandbox. The process has one thread, and is changed for good: it is inside afterwards.
    /// With no spec the processes run beside the agent, with nothing of its own making between them.
    pub(crate) fn enter(spec: Option<&SandboxSpec>) -> Result<Sandbox, SandboxError> {
        let memory = memory::Meter::open(spec.map_or(&[], |spec| &spec.cgroups));
        let world = spec.map(enter::enter).transpose()?;
        let signals = crate::sys::child_signals().map_err(|source| SandboxError::step("watch for exits", source))?;
        if world.as_ref().is_none_or(|world| world.first.is_none()) {
            // Orphans come to the agent, so that kill_all finds them.
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
                .map_err(|errno| SandboxError::step("become the reaper of orphans", errno.into()))?;
        }
        Ok(Sandbox {
            children: BTreeSet::new(),
            signals,
            memory,
            world,
            code: PathBuf::from("/var/task"),
            layer: PathBuf::from("/opt"),
        })
    }

    /// Shows the function's files to the processes, those that run already too.
    pub(crate) fn attach(&mut self, what: &Attachment<'_>) -> Result<(), SandboxError> {
        if let Some(World { files: Some(files), .. }) = &self.world {
            return files.attach(what);
        }
        self.code = what.code.to_owned();
        if let Some(layer) = what.layers.last() {
            self.layer = layer.clone();
        }
        Ok(())
    }

    /// On the machine's network: lets processes that start from now on connect to this TCP port. Nothing elsewhere.
    pub(crate) fn allow_port(&mut self, port: u16) {
        if let Some(ruleset) = self.world.as_mut().and_then(|world| world.confinement.ruleset.as_mut()) {
            ruleset.allow_port(port);
        }
    }

    /// The function's code as its processes see it: /var/task wherever something can be mounted.
    pub(crate) fn code(&self) -> &Path {
        &self.code
    }

    /// The layers as the processes see them: /opt wherever something can be mounted.
    pub(crate) fn layer(&self) -> &Path {
        &self.layer
    }

    /// Whether the function's processes would find a file of that name.
    pub(crate) fn finds(&self, path: &Path) -> bool {
        match &self.world {
            Some(World { files: Some(files), .. }) => files.inside(|| Ok(path.is_file())).unwrap_or(false),
            _ => path.is_file(),
        }
    }

    pub(crate) fn spawn(&mut self, command: Command<'_>) -> Result<ProcessId, SpawnError> {
        let process = spawn::spawn(command, self.world.as_ref())?;
        self.children.insert(process);
        Ok(process)
    }

    /// Ends every process of the sandbox, and returns when they are gone. Files stay. Their ends do not come out of
    /// `take_exits`.
    pub(crate) fn kill_all(&mut self) {
        let children = &self.children;
        match self.world.as_mut().and_then(|world| world.first.as_mut()) {
            Some(first) => first.kill_all(|| children.iter().filter_map(|child| child.pid()).for_each(wait_for)),
            None => kill_descendants(children),
        }
        self.children.clear();
    }

    /// Readable when `take_exits` has something to tell.
    pub(crate) fn events(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// The processes that ended since the last call.
    pub(crate) fn take_exits(&mut self) -> Vec<(ProcessId, Ended)> {
        let mut pending = [0; 128];
        while rustix::io::read(&self.signals, &mut pending).is_ok_and(|count| count > 0) {}
        let mut exits = Vec::new();
        while let Ok(Some((pid, ended))) = reap() {
            let process = ProcessId(pid.as_raw_nonzero().get().cast_unsigned());
            // Anything else was an orphan.
            if self.children.remove(&process) {
                exits.push((process, ended));
            }
        }
        exits
    }

    /// What the processes use. `None` where it cannot be known.
    pub(crate) fn memory(&self) -> Option<MemoryUse> {
        self.memory.read()
    }

    /// The layers of isolation that are on, in plain words.
    pub(crate) fn layers(&self) -> Vec<String> {
        self.world.as_ref().map(|world| world.layers.clone()).unwrap_or_default()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.kill_all();
    }
}

impl ProcessId {
    fn pid(self) -> Option<Pid> {
        Pid::from_raw(self.0.cast_signed())
    }
}

fn wait_for(child: Pid) {
    // It was killed, or has been waited for.
    let _ = rustix::process::waitid(WaitId::Pid(child), WaitIdOptions::EXITED);
}

/// Each round ends what the round before let slip by forking; a fork with a SIGKILL pending fails.
fn kill_descendants(children: &BTreeSet<ProcessId>) {
    loop {
        let known = children.iter().filter_map(|child| child.pid());
        for pid in memory::descendants(rustix::process::getpid()).into_iter().chain(known) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        // Waits for one, takes the rest; an error says that there are no children.
        if rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED).is_err() {
            return;
        }
        while let Ok(Some(_)) = rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {}
    }
}

/// One child that has ended, if there is one.
fn reap() -> rustix::io::Result<Option<(Pid, Ended)>> {
    let Some((pid, status)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG)? else { return Ok(None) };
    let ended = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, Some(signal)) => Ended::Signaled(signal),
        (None, None) => return Ok(None),
    };
    Ok(Some((pid, ended)))
}
