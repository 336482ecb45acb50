//! The agent's way into its sandbox: what it gives up, in which order, and why that order.
//!
//! ```text
//!  join the cgroups          as the gateway's user, who owns them
//!  fork `outside`            stays behind to write the id maps and to make the link to the machine's network
//!  unshare                   user, mount, pid, net, ipc, uts, cgroup
//!  open what will be shown   still with the ids that may pass folders such as /root, already in the own mount namespace
//!  become the namespace's root
//!  build the worker's root   see `root`
//! ```
//! The agent itself keeps the machine's view of files, in a mount namespace of its own, but with ids that own nothing
//! there: that is how it reaches the gateway's socket and shows code at a claim.

use super::confine::{Confinement, Ids};
use super::files::{Code, Files};
use super::first::First;
use super::outside::Outside;
use super::{SandboxError, World, network, root};
use crate::sys;
use rustix::fs::Mode;
use rustix::mount::MountPropagationFlags;
use rustix::process::{DumpableBehavior, getgid, getuid};
use rustix::thread::UnshareFlags;
use std::fs;
use warmpod_link::worker::{IdMap, Network, SandboxSpec};

pub(super) fn enter(spec: &SandboxSpec) -> Result<World, SandboxError> {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    for cgroup in &spec.cgroups {
        fs::write(cgroup.join("cgroup.procs"), "0")
            .map_err(|source| SandboxError::step(format!("join the cgroup {}", cgroup.display()), source))?;
    }
    // Where memory ends, a function's process goes before its agent. Only root may ask for this; the processes are set
    // the other way by `spawn`.
    let _ = fs::write("/proc/self/oom_score_adj", "-500");

    let outside = Outside::stay_behind(spec)?;
    let namespaces = namespaces(spec);
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    sys::unshare(namespaces).map_err(|source| SandboxError::step("make namespaces", source))?;
    if spec.layers.users && spec.ids == IdMap::Single {
        map_single(user, group)?;
    }
    if let Some(outside) = outside {
        outside.finish()?;
    }

    let sources = if spec.layers.files {
        rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .map_err(|errno| SandboxError::step("make its mounts private", errno.into()))?;
        Some((root::open(spec)?, Code::open(&spec.code)?))
    } else {
        None
    };
    if spec.layers.users && matches!(spec.ids, IdMap::Range { .. }) {
        become_root_of_namespace()?;
    }
    // Nobody of the same uid reads the agent's memory or follows its descriptors.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| SandboxError::step("hide its memory", errno.into()))?;

    network::set_up(&spec.network)?;
    if spec.layers.ipc {
        rustix::system::sethostname(b"sandbox")
            .map_err(|errno| SandboxError::step("set its host name", errno.into()))?;
    }
    let (files, first) = match sources {
        Some(sources) => {
            let (files, first) = Files::build(sources, spec)?;
            (Some(files), first)
        }
        None if spec.layers.processes => (None, Some(First::start()?)),
        None => (None, None),
    };
    let ids = function_ids(spec);
    Ok(World { files, first, confinement: Confinement::new(spec, ids)?, layers: describe(spec) })
}

fn namespaces(spec: &SandboxSpec) -> UnshareFlags {
    let layers = spec.layers;
    [
        (layers.users, UnshareFlags::NEWUSER),
        (layers.files, UnshareFlags::NEWNS),
        (layers.processes, UnshareFlags::NEWPID),
        (layers.ipc, UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP),
        (!matches!(spec.network, Network::Host { .. }), UnshareFlags::NEWNET),
    ]
    .into_iter()
    .filter_map(|(on, flag)| on.then_some(flag))
    .collect()
}

/// An ordinary user may map itself, to one id.
fn map_single(user: u32, group: u32) -> Result<(), SandboxError> {
    for (file, content) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{} {user} 1", Ids::FUNCTION.user)),
        ("/proc/self/gid_map", format!("{} {group} 1", Ids::FUNCTION.group)),
    ] {
        fs::write(file, content).map_err(|source| SandboxError::step(format!("write {file}"), source))?;
    }
    Ok(())
}

fn become_root_of_namespace() -> Result<(), SandboxError> {
    Ids { user: 0, group: 0 }
        .take(true)
        .map_err(|source| SandboxError::step("become the root of its user namespace", source))
}

/// Which ids the function's processes take; `None` where they cannot change.
fn function_ids(spec: &SandboxSpec) -> Option<Ids> {
    match spec.ids {
        IdMap::Range { .. } if spec.layers.users => Some(Ids::FUNCTION),
        IdMap::Range { base } => Some(Ids { user: base + Ids::FUNCTION.user, group: base + Ids::FUNCTION.group }),
        IdMap::Single => None,
    }
}

/// The layers that are on, in words for an operator.
fn describe(spec: &SandboxSpec) -> Vec<String> {
    let layers = spec.layers;
    let landlock = sys::landlock_abi();
    let network = match &spec.network {
        Network::Loopback => Some("network namespace, loopback only"),
        Network::Linked { .. } => Some("network namespace, linked to the machine"),
        Network::Host { .. } => None,
    };
    [
        (layers.users, "user namespace"),
        (layers.files, "own root file system"),
        (layers.processes, "pid namespace"),
        (layers.ipc, "ipc, uts and cgroup namespaces"),
        (network.is_some(), network.unwrap_or_default()),
        (!spec.cgroups.is_empty(), "cgroups"),
        (layers.capabilities, "no capabilities, no new privileges"),
        (layers.limits, "resource limits"),
        (layers.landlock && landlock.is_some(), &format!("Landlock, ABI {}", landlock.unwrap_or_default())),
        (layers.seccomp, "seccomp"),
    ]
    .into_iter()
    .filter(|(on, _)| *on)
    .map(|(_, name)| name.to_owned())
    .collect()
}
