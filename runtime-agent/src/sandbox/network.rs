//! The worker's network: a loopback that is up, and its end of a link to the machine where there is to be one.

use super::SandboxError;
use super::netlink::Route;
use rustix::process::Pid;
use warmpod_link::worker::Network;

/// Of a fresh network namespace.
const LOOPBACK: u32 = 1;

/// From inside the network namespace, as its root.
pub(super) fn set_up(network: &Network) -> Result<(), SandboxError> {
    if matches!(network, Network::Host { .. }) {
        return Ok(());
    }
    Route::open()
        .and_then(|mut route| route.up(LOOPBACK))
        .map_err(|source| SandboxError::step("bring its loopback up", source))
}

/// From outside, as the machine's root: a pair of links, one end at the bridge, one in the agent's namespace.
pub(super) fn link(network: &Network, _agent: Pid) -> Result<(), SandboxError> {
    match network {
        Network::Linked { .. } => {
            Err(SandboxError::step("make a link to the machine", std::io::ErrorKind::Unsupported.into()))
        }
        Network::Loopback | Network::Host { .. } => Ok(()),
    }
}

/// Removes a link of the machine, if it is there.
pub(crate) fn remove_link(_name: &str) {}
