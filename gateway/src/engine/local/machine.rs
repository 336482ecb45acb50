//! What this machine offers for isolation, found out once at the start by trials.
//!
//! Every layer is asked for together first, which is how nearly every machine answers yes. Only if that fails is each
//! tried by itself, so that one that is missing does not take the others with it.

use super::cgroups::Cgroups;
use super::trials::{self, NOTHING, bare};
use super::{LocalConfig, LocalError, NetworkChoice};
use serde::Serialize;
use std::path::Path;
use warmpod_link::worker::{IdMap, Layers, Network};

/// One thing that the machine has or lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is, the same on every machine.
    pub layer: &'static str,
    pub on: bool,
    /// What there is, or why there is none.
    pub detail: String,
    /// What that means, and what to install or set.
    pub advice: Option<&'static str>,
}

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) layers: Layers,
    pub(super) network: Network,
    pub(super) cgroups: Option<Cgroups>,
    pub(super) findings: Vec<Finding>,
}

/// A switch of [`Layers`] with what to say about it.
struct Layer {
    name: &'static str,
    switch: fn(&mut Layers) -> &mut bool,
    /// Needs a user namespace to be had by an ordinary user.
    within: bool,
    advice: &'static str,
}

const LAYERS: &[Layer] = &[
    Layer {
        name: "user namespace",
        switch: |layers| &mut layers.users,
        within: false,
        advice: "the agents keep the gateway's own rights; allow user namespaces (user.max_user_namespaces, \
                 kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns=0)",
    },
    Layer {
        name: "own root file system",
        switch: |layers| &mut layers.files,
        within: true,
        advice: "functions see the machine's files as far as Landlock lets them, and /tmp is shared; allow mount \
                 namespaces (in a container: the seccomp profile or CAP_SYS_ADMIN)",
    },
    Layer {
        name: "pid namespace",
        switch: |layers| &mut layers.processes,
        within: true,
        advice: "functions see the machine's processes; allow pid namespaces with a /proc of their own (in a \
                 container: an unmasked /proc)",
    },
    Layer {
        name: "ipc, uts and cgroup namespaces",
        switch: |layers| &mut layers.ipc,
        within: true,
        advice: "functions share the machine's System V IPC",
    },
    Layer {
        name: "no capabilities, no new privileges",
        switch: |layers| &mut layers.capabilities,
        within: true,
        advice: "functions keep the gateway's capabilities",
    },
    Layer {
        name: "resource limits",
        switch: |layers| &mut layers.limits,
        within: true,
        advice: "a fork bomb is stopped by the pids cgroup only, where there is one",
    },
    Layer {
        name: "Landlock",
        switch: |layers| &mut layers.landlock,
        within: true,
        advice: "one layer less behind the namespaces; needs Linux 5.13 with landlock in the lsm= list",
    },
    Layer {
        name: "seccomp",
        switch: |layers| &mut layers.seccomp,
        within: true,
        advice: "functions can make any system call; needs a kernel with seccomp filters",
    },
];

impl Machine {
    pub(super) async fn examine(config: &LocalConfig, installation: &str) -> Result<Machine, LocalError> {
        let agent = config.agent.as_path();
        let mut findings = Vec::new();
        let layers = examine_layers(agent, &mut findings).await?;
        let network = examine_network(config, layers, &mut findings).await?;
        let cgroups = if config.cgroups { Cgroups::open(installation) } else { Err("switched off".to_owned()) };
        for controller in ["memory", "pids", "cpu"] {
            findings.push(controller_finding(controller, cgroups.as_ref()));
        }
        Ok(Machine { layers, network, cgroups: cgroups.ok(), findings })
    }
}

/// Whose ids workers have on this machine; the number matters to no trial.
pub(super) fn trial_ids() -> IdMap {
    if rustix::process::geteuid().is_root() { IdMap::Range { base: 0x7FFD_0000 } } else { IdMap::Single }
}

async fn examine_layers(agent: &Path, findings: &mut Vec<Finding>) -> Result<Layers, LocalError> {
    let host = || Network::Host { ports: Vec::new() };
    let spec = |layers| bare(layers, trial_ids(), host());
    let all = works(agent, spec(Layers::ALL)).await?;
    let mut have = if all.is_ok() { Layers::ALL } else { NOTHING };
    let mut missing = Vec::new();
    if all.is_err() {
        for layer in LAYERS {
            let mut tried = NOTHING;
            tried.users = layer.within && have.users;
            *(layer.switch)(&mut tried) = true;
            match works(agent, spec(tried)).await? {
                Ok(_) => *(layer.switch)(&mut have) = true,
                Err(reason) => missing.push((layer.name, reason)),
            }
        }
        // Each alone, but not together: then only what needs nothing.
        if let Err(reason) = works(agent, spec(have)).await? {
            have = Layers { users: false, files: false, processes: false, ipc: false, ..have };
            missing.push(("own root file system", reason));
        }
    }
    let named = trials::layers(agent, spec(have)).await?.unwrap_or_default();
    for layer in LAYERS {
        // A kernel without Landlock refuses nothing: the agent says whether it is there.
        let shown = named.iter().find(|name| name.starts_with(layer.name));
        let on = *(layer.switch)(&mut have) && shown.is_some();
        *(layer.switch)(&mut have) = on;
        let reason = missing.iter().find(|(name, _)| *name == layer.name).map(|(_, reason)| reason.clone());
        findings.push(Finding {
            layer: layer.name,
            on,
            detail: match (on, shown) {
                (true, Some(shown)) => shown.clone(),
                _ => reason.unwrap_or_else(|| "not in this kernel".to_owned()),
            },
            advice: (!on).then_some(layer.advice),
        });
    }
    Ok(have)
}

/// The sandbox can be made, and a program started in it.
async fn works(agent: &Path, spec: warmpod_link::worker::SandboxSpec) -> Result<Result<String, String>, LocalError> {
    trials::attempt(agent, spec, &["/bin/sh", "-c", ":"]).await
}

async fn examine_network(
    config: &LocalConfig,
    layers: Layers,
    findings: &mut Vec<Finding>,
) -> Result<Network, LocalError> {
    let mut own = NOTHING;
    own.users = layers.users;
    let isolated = works(&config.agent, bare(own, trial_ids(), Network::Loopback)).await?;
    findings.push(Finding {
        layer: "network namespace",
        on: isolated.is_ok(),
        detail: isolated.as_ref().map_or_else(Clone::clone, |_| "each worker has its own loopback".to_owned()),
        advice: isolated.is_err().then_some("workers share the machine's network; allow network namespaces"),
    });
    let host = Network::Host { ports: config.host_ports.clone() };
    let (network, detail, advice) = match (config.network, isolated.is_ok()) {
        (NetworkChoice::Loopback, true) => (Network::Loopback, "none, as configured".to_owned(), None),
        (NetworkChoice::Host, _) | (_, false) => (host, "the machine's own network".to_owned(), Some(HOST_ADVICE)),
        (NetworkChoice::Automatic, true) => (host, "the machine's own network".to_owned(), Some(HOST_ADVICE)),
    };
    findings.push(Finding {
        layer: "way to the network",
        on: !matches!(network, Network::Host { .. }),
        detail,
        advice,
    });
    Ok(network)
}

const HOST_ADVICE: &str = "functions use the machine's network, limited to some ports by Landlock; run as root for a \
                           network of their own";

fn controller_finding(controller: &'static str, cgroups: Result<&Cgroups, &String>) -> Finding {
    let (layer, advice) = match controller {
        "memory" => ("cgroup memory", "MemorySize is watched, but nothing stops a burst in between; delegate a cgroup"),
        "pids" => ("cgroup pids", "processes are limited for each user only; delegate a cgroup"),
        _ => ("cgroup cpu", "a busy function takes its CPU from the others; delegate a cgroup"),
    };
    let on = cgroups.is_ok_and(|cgroups| cgroups.has(controller));
    let detail = match cgroups {
        Ok(cgroups) => cgroups.describe(),
        Err(reason) => reason.clone(),
    };
    Finding { layer, on, detail, advice: (!on).then_some(advice) }
}
