//! What a process of the function gives up between fork and exec, last of all: its ids, capabilities, limits, and then,
//! with no way back, what Landlock and seccomp take.

use super::ruleset::Ruleset;
use super::seccomp::Filters;
use super::{SandboxError, Step};
use rustix::process::{Gid, Resource, Rlimit, Signal, Uid, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io;
use warmpod_link::worker::{IdMap, SandboxSpec};

/// A user and a group, as numbers of the namespace that the process is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Ids {
    /// AWS's `sbx_user1051`.
    pub(super) const FUNCTION: Ids = Ids { user: 993, group: 990 };

    /// Real, effective and saved ids, and no further groups where those can be given up.
    pub(super) fn take(self, groups: bool) -> io::Result<()> {
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
        if groups {
            rustix::thread::set_thread_groups(&[])?;
        }
        rustix::thread::set_thread_res_gid(group, group, group)?;
        rustix::thread::set_thread_res_uid(user, user, user)?;
        Ok(())
    }
}

pub(super) struct Confinement {
    pub(super) ids: Option<Ids>,
    capabilities: bool,
    limits: Vec<(Resource, Rlimit)>,
    pub(super) ruleset: Option<Ruleset>,
    filters: Option<Filters>,
}

impl Confinement {
    pub(super) fn new(spec: &SandboxSpec, ids: Option<Ids>) -> Result<Confinement, SandboxError> {
        Ok(Confinement {
            ids,
            capabilities: spec.layers.capabilities,
            limits: if spec.layers.limits { limits(spec) } else { Vec::new() },
            ruleset: spec.layers.landlock.then(|| Ruleset::new(spec)),
            filters: if spec.layers.seccomp { Some(Filters::compile()?) } else { None },
        })
    }

    /// For the child of a fork only.
    pub(super) fn apply(&self) -> Result<(), (Step, io::Error)> {
        let at = |step| move |error: io::Error| (step, error);
        for (resource, limit) in &self.limits {
            setrlimit(*resource, *limit).map_err(io::Error::from).map_err(at(Step::Limits))?;
        }
        if self.capabilities {
            empty_bounding_set().map_err(at(Step::Capabilities))?;
        } else {
            rustix::thread::set_keep_capabilities(true).map_err(io::Error::from).map_err(at(Step::Capabilities))?;
        }
        if let Some(ids) = self.ids {
            ids.take(true).map_err(at(Step::Ids))?;
        }
        if self.capabilities {
            drop_capabilities().map_err(at(Step::Capabilities))?;
        } else {
            keep_capabilities().map_err(at(Step::Capabilities))?;
        }
        // A change of ids clears it, so it comes after.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(io::Error::from)
            .map_err(at(Step::Ids))?;
        if let Some(ruleset) = &self.ruleset {
            ruleset.enforce().map_err(at(Step::Landlock))?;
        }
        if let Some(filters) = &self.filters {
            filters.apply().map_err(at(Step::Seccomp))?;
        }
        Ok(())
    }
}

/// AWS's limits, but no core dumps, and never more than what the machine allows already.
fn limits(spec: &SandboxSpec) -> Vec<(Resource, Rlimit)> {
    let at_most = |resource, soft: u64, hard: Option<u64>| {
        let maximum = match (getrlimit(resource).maximum, hard) {
            (Some(allowed), Some(hard)) => Some(allowed.min(hard)),
            (allowed, hard) => hard.or(allowed),
        };
        (resource, Rlimit { current: Some(maximum.map_or(soft, |maximum| maximum.min(soft))), maximum })
    };
    let mut limits = vec![
        at_most(Resource::Nofile, 1024, Some(1024)),
        at_most(Resource::Core, 0, Some(0)),
        at_most(Resource::Stack, 8 * 1024 * 1024, None),
        at_most(Resource::Memlock, 65536, Some(65536)),
    ];
    // Before Linux 5.14 this counted all processes of the machine's user, not those of a user namespace.
    if matches!(spec.ids, IdMap::Range { .. }) || (spec.layers.users && counts_per_namespace()) {
        limits.push(at_most(Resource::Nproc, 1024, Some(1024)));
    }
    limits
}

fn counts_per_namespace() -> bool {
    let system = rustix::system::uname();
    let mut numbers =
        system.release().to_str().unwrap_or_default().split('.').map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(14))
}

/// So that no file's capabilities and no setuid bit can bring one back.
fn empty_bounding_set() -> io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // Newer than this kernel.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            // Not ours to drop: then it is not ours to have either, and no_new_privs keeps it so.
            Err(rustix::io::Errno::PERM) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn drop_capabilities() -> io::Result<()> {
    // Not on a kernel without ambient capabilities, where there are none to clear.
    let _ = rustix::thread::clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// For trials of the other layers: what the process has stays with it through the exec.
fn keep_capabilities() -> io::Result<()> {
    let permitted = rustix::thread::capabilities(None)?.permitted;
    rustix::thread::set_capabilities(None, CapabilitySets { effective: permitted, permitted, inheritable: permitted })?;
    for capability in permitted.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}
