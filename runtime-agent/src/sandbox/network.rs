//! The worker's network: a loopback that is up, and its end of a link to the machine where there is to be one.

use super::SandboxError;
use crate::bridge;
use crate::netlink::route::{Link, Route};
use rustix::process::Pid;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use warmpod_link::worker::Network;

/// From inside the network namespace, as its root.
pub(super) fn set_up(network: &Network) -> Result<(), SandboxError> {
    let up = |route: &Route| -> io::Result<()> {
        route.up(Link::LOOPBACK)?;
        if let Network::Linked { address, prefix, router, .. } = network {
            let ethernet = bridge::index("eth0")?;
            route.add_address(ethernet, Ipv4Addr::from(*address), *prefix)?;
            route.up(ethernet)?;
            route.add_default_route(Ipv4Addr::from(*router), ethernet)?;
            // A connection that nobody has open any more keeps the namespace, and with it the link: not for minutes.
            fs::write("/proc/sys/net/ipv4/tcp_orphan_retries", "1")?;
            fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", "1")?;
        }
        Ok(())
    };
    if matches!(network, Network::Host { .. }) {
        return Ok(());
    }
    Route::open().and_then(|route| up(&route)).map_err(|source| SandboxError::step("bring its network up", source))
}

/// From outside, as the machine's root: a pair of links, one end at the bridge, one in the agent's namespace. Both go
/// when that namespace goes.
pub(super) fn link(network: &Network, agent: Pid) -> Result<(), SandboxError> {
    let Network::Linked { interface, bridge, .. } = network else { return Ok(()) };
    let pid = agent.as_raw_nonzero().get().cast_unsigned();
    let make = || -> io::Result<()> {
        let route = Route::open()?;
        route.add_pair(interface, bridge::index(bridge)?, pid)?;
        route.isolate_port(bridge::index(interface)?)
    };
    make().map_err(|source| SandboxError::step(format!("link it to the bridge {bridge}"), source))
}
