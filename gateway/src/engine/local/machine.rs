//! What this machine offers for isolation, found out once at the start by trials.
//!
//! Every layer is asked for together first, which is how nearly every machine answers yes. Only if that fails is each
//! tried by itself, so that one that is missing does not take the others with it.

use super::cgroups::Cgroups;
use super::network::Bridge;
use super::slots::Slot;
use super::trials::{self, NOTHING, bare};
use super::{LocalConfig, LocalError, NetworkChoice};
use serde::Serialize;
use std::path::Path;
use warmpod_link::BridgeSpec;
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
    pub(super) installation: String,
    pub(super) layers: Layers,
    pub(super) network: Reach,
    pub(super) cgroups: Option<Cgroups>,
    /// What was made of a bridge, whether or not it is of use.
    pub(super) bridge: Option<BridgeSpec>,
    pub(super) findings: Vec<Finding>,
}

/// How workers reach the network.
#[derive(Clone, Debug)]
pub(super) enum Reach {
    Linked(Bridge),
    Loopback,
    Host(Vec<u16>),
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
        let (network, bridge) = examine_network(config, installation, layers, &mut findings).await?;
        let cgroups = match config.cgroups {
            true => Cgroups::open(installation, &config.run_dir.join("cgroups")),
            false => Err("switched off".to_owned()),
        };
        for controller in ["memory", "pids", "cpu"] {
            findings.push(controller_finding(controller, cgroups.as_ref()));
        }
        let installation = installation.to_owned();
        Ok(Machine { installation, layers, network, cgroups: cgroups.ok(), bridge, findings })
    }

    /// Takes this process out of what is about to be removed.
    pub(super) fn leave(&self) {
        if let Some(cgroups) = &self.cgroups {
            cgroups.leave();
        }
    }
}

/// Whose ids workers have on this machine; the number matters to no trial.
pub(super) fn trial_ids() -> IdMap {
    if rustix::process::geteuid().is_root() { IdMap::Range { base: Slot::LAST.first_id() } } else { IdMap::Single }
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
    installation: &str,
    layers: Layers,
    findings: &mut Vec<Finding>,
) -> Result<(Reach, Option<BridgeSpec>), LocalError> {
    let mut made = None;
    let mut own = NOTHING;
    own.users = layers.users;
    let isolated = works(&config.agent, bare(own, trial_ids(), Network::Loopback)).await?;
    findings.push(Finding {
        layer: "network namespace",
        on: isolated.is_ok(),
        detail: isolated.as_ref().map_or_else(Clone::clone, |_| "each worker has its own".to_owned()),
        advice: isolated.is_err().then_some("workers share the machine's network; allow network namespaces"),
    });
    let host = || (Reach::Host(config.host_ports.clone()), "the machine's own network".to_owned());
    let (reach, detail) = match (config.network, isolated.is_ok()) {
        (NetworkChoice::Host, _) | (_, false) => host(),
        (NetworkChoice::Loopback, true) => (Reach::Loopback, "loopback only, as configured".to_owned()),
        (NetworkChoice::Automatic, true) if rustix::process::geteuid().is_root() => {
            match link(&config.agent, installation, own, &mut made).await? {
                Ok(bridge) => {
                    let detail = bridge.to_string();
                    (Reach::Linked(bridge), detail)
                }
                Err(reason) => {
                    let (reach, detail) = host();
                    (reach, format!("{detail}; no bridge: {reason}"))
                }
            }
        }
        (NetworkChoice::Automatic, true) => host(),
    };
    let on = !matches!(reach, Reach::Host(_));
    findings.push(Finding { layer: "network of its own", on, detail, advice: (!on).then_some(HOST_ADVICE) });
    Ok((reach, made))
}

/// Makes the bridge, and tries whether a sandbox can be linked to it.
async fn link(
    agent: &Path,
    installation: &str,
    layers: Layers,
    made: &mut Option<BridgeSpec>,
) -> Result<Result<Bridge, String>, LocalError> {
    let spec = BridgeSpec { name: format!("wp{installation}") };
    *made = Some(spec.clone());
    let bridge = match Bridge::make(agent, &spec).await? {
        Ok(bridge) => bridge,
        Err(reason) => return Ok(Err(reason)),
    };
    let network = bridge.link(format!("wt{installation}"), Slot::LAST);
    Ok(works(agent, bare(layers, trial_ids(), network)).await?.map(|_| bridge))
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
